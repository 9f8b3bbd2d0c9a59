//! How a person logs in at a vendor whose subscription an agent shall use: the facts, as data.
//!
//! For: `doorward connect TYPE --oauth`. Where the tokens are asked for, and by which client, stands in the auth type's
//! injection, once for the login and for every later renewal. Nothing here is secret: the clients are public ones
//! (RFC 6749 section 2.1) and hold no secret of their own; PKCE (RFC 7636) binds a code to who asked for it.

use super::{InjectionSpec, TypeSpec, VerifySpec, anthropic, openai};

/// The auth type of a login.
pub const OAUTH: &str = "oauth";

/// One vendor's login.
#[derive(Debug)]
pub struct LoginSpec {
    /// The page on which a person agrees.
    pub authorize: &'static str,
    /// What it wants to be told beside the parameters of RFC 6749 and RFC 7636.
    pub params: &'static [(&'static str, &'static str)],
    /// What is asked for, separated by blanks.
    pub scopes: &'static str,
    /// Where the browser comes back to.
    pub redirect: RedirectSpec,
    /// The vendor's own page, which shows the code to who has no browser on this machine; `None`: the address of the failed
    /// redirect is pasted.
    pub page: Option<&'static str>,
    /// Whether the token endpoint takes a code as JSON and with its `state`; if not, as a form (RFC 6749).
    pub json_with_state: bool,
    /// Where the id token names the account, for the header that the API wants: an object and a key in it.
    pub account: Option<(&'static str, &'static str)>,
    /// The login by a code that is typed on another device.
    pub device: Option<DeviceSpec>,
    /// The actions that the provider allows where nothing is said: what the subscription is for, and no other part of the
    /// account.
    pub allow: &'static [&'static str],
    /// The call that tells whether the login works.
    pub verify: VerifySpec,
    /// That call's action: allowed while a login is tried, whatever is allowed afterwards.
    pub verify_action: &'static str,
}

/// The address of our listener, as the vendor has it registered.
#[derive(Debug)]
pub struct RedirectSpec {
    /// The name under which the browser finds us: a name or address of this machine alone.
    pub host: &'static str,
    /// The ports, in order; empty: any.
    pub ports: &'static [u16],
    /// The path.
    pub path: &'static str,
}

/// A vendor's own login by a typed code, which comes before RFC 8628 and gives an authorization code in the end.
#[derive(Debug)]
pub struct DeviceSpec {
    /// Where the code to be typed is asked for.
    pub codes: &'static str,
    /// Where it is asked whether it was typed.
    pub polls: &'static str,
    /// Where a person types it.
    pub page: &'static str,
    /// The redirect address that the code is bound to.
    pub redirect: &'static str,
    /// How long the code is good, seconds.
    pub life: u64,
}

impl TypeSpec {
    /// The login of its vendor.
    pub fn login(&self) -> Option<&'static LoginSpec> {
        match self.name {
            "openai" => Some(&openai::LOGIN),
            "anthropic" => Some(&anthropic::LOGIN),
            _ => None,
        }
    }

    /// The hosts of a provider that names none: those of a login where that is the auth type.
    pub fn own_hosts(&self, auth_type: Option<&str>) -> Vec<&'static str> {
        let login = self.auth.iter().find(|auth| auth_type == Some(OAUTH) && auth.name == OAUTH);
        match login {
            Some(auth) => hosts(auth.injections).collect(),
            None => self.hosts.to_vec(),
        }
    }

    /// The call that tells whether a credential of this auth type works.
    pub(crate) fn verify_of(&'static self, auth_type: &str) -> Option<&'static VerifySpec> {
        match (self.name, auth_type) {
            (_, OAUTH) => self.login().map(|login| &login.verify),
            // Basic is git's; the API takes no such credential, and git has no path that every account could ask for.
            ("gitlab", "basic") => None,
            _ => self.verify.as_ref(),
        }
    }
}

fn hosts(injections: &'static [InjectionSpec]) -> impl Iterator<Item = &'static str> {
    injections.iter().flat_map(|one| one.hosts).copied()
}
