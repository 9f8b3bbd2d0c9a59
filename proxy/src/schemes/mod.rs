//! Auth schemes: how a credential gets onto a request. One file each, one line each in [`SCHEMES`].
//!
//! For: the injection stage, which builds the schemes of a provider, arms them once for each version of its secret and
//! places them on requests. Refuses secrets that lack a key or hold bytes which the surface cannot carry.
//! Invariants: a scheme reaches the request only through [`Outgoing`]; what it places it also names as an [`Echo`], so
//! that answers are searched for it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use control::agent::AgentName;
use control::catalog::{Fields, SchemeSpec};
use control::refusal::Refusal;
use control::secret::Secret;
use control::target::Target;
use control::vault::Opened;
use http::Method;
use zeroize::Zeroizing;

pub mod outgoing;
mod header;
mod api_key;
mod query;
mod basic;
mod path;
mod cookie;
mod body;
mod placeholder;
mod mtls;
mod hmac;
mod digest;
pub mod aws_sigv4;
mod oauth2_client_credentials;
pub(crate) mod oauth2_refresh;
mod jwt_bearer;
mod gcp_service_account;
mod gcp_workload_identity;
mod azure_client_credentials;
mod github_app;
mod github_server;
mod registry_token;
pub mod shared;
#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
pub(crate) mod exchanges;

pub use outgoing::{Bounds, Errand, Head, Outgoing, Placed};
pub use shared::issuer::{Issued, Issuer};
pub use shared::stand_in::StandIn;
pub use shared::surface::Surface;
pub use shared::token::Failed;

/// Every scheme. A new one is its file and its line here.
pub static SCHEMES: &[SchemeEntry] = &[
    SchemeEntry { spec: &header::SPEC, build: header::build },
    SchemeEntry { spec: &api_key::SPEC, build: api_key::build },
    SchemeEntry { spec: &query::SPEC, build: query::build },
    SchemeEntry { spec: &basic::SPEC, build: basic::build },
    SchemeEntry { spec: &path::SPEC, build: path::build },
    SchemeEntry { spec: &cookie::SPEC, build: cookie::build },
    SchemeEntry { spec: &body::SPEC, build: body::build },
    SchemeEntry { spec: &placeholder::SPEC, build: placeholder::build },
    SchemeEntry { spec: &aws_sigv4::scheme::SPEC, build: aws_sigv4::scheme::build },
    SchemeEntry { spec: &mtls::SPEC, build: mtls::build },
    SchemeEntry { spec: &hmac::SPEC, build: hmac::build },
    SchemeEntry { spec: &digest::SPEC, build: digest::build },
    SchemeEntry { spec: &oauth2_client_credentials::SPEC, build: oauth2_client_credentials::build },
    SchemeEntry { spec: &oauth2_refresh::SPEC, build: oauth2_refresh::build },
    SchemeEntry { spec: &jwt_bearer::SPEC, build: jwt_bearer::build },
    SchemeEntry { spec: &gcp_service_account::SPEC, build: gcp_service_account::build },
    SchemeEntry { spec: &gcp_workload_identity::SPEC, build: gcp_workload_identity::build },
    SchemeEntry { spec: &azure_client_credentials::SPEC, build: azure_client_credentials::build },
    SchemeEntry { spec: &github_app::SPEC, build: github_app::build },
    SchemeEntry { spec: &registry_token::SPEC, build: registry_token::build },
    SchemeEntry { spec: &github_server::SPEC, build: github_server::build },
];

static SPECS: LazyLock<Vec<&'static SchemeSpec>> =
    LazyLock::new(|| SCHEMES.iter().map(|entry| entry.spec).collect());

/// The schemes as data, for config validation, the JSON schema, prompts and docs.
pub fn specs() -> &'static [&'static SchemeSpec] {
    &SPECS
}

/// Builds the scheme of this name from validated fields.
pub fn build(name: &str, fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let entry = SCHEMES.iter().find(|entry| entry.spec.name == name).ok_or(BuildError::UnknownScheme)?;
    let known = || entry.spec.auth_fields.iter().chain(entry.spec.inject_fields);
    match fields.0.keys().find(|field| !known().any(|spec| spec.name == **field)) {
        Some(field) => Err(BuildError::Unknown(field)),
        None => (entry.build)(fields),
    }
}

/// One line of the table.
#[derive(Debug)]
pub struct SchemeEntry {
    /// What the scheme needs, as data.
    pub spec: &'static SchemeSpec,
    /// Makes it from its fields.
    pub build: fn(&Fields) -> Result<Box<dyn Scheme>, BuildError>,
}

/// An auth scheme as configured for some hosts of a provider. Holds nothing secret.
pub trait Scheme: Send + Sync + fmt::Debug {
    /// Where it puts the credential.
    fn surface(&self) -> &Surface;

    /// What it has to know of the request's body. Refuses, before the secret is opened, what it could not put a credential
    /// on.
    fn judge(&self, _target: &Target, _head: &Head) -> Result<BodyNeed, Refusal> {
        Ok(BodyNeed::Nothing)
    }

    /// Renders what is placed, once for each version of the secret; for schemes with an [`Exchange`], once for each token.
    fn arm(&self, values: &Values<'_>) -> Result<Rendered, ArmFault>;

    /// How the secret is exchanged for what is placed; `None`: it is placed itself.
    fn exchange(&self) -> Option<&dyn Exchange> {
        None
    }

    /// What the proxy itself answers in the issuer's place; `None`: nothing.
    fn stand_in(&self) -> Option<&dyn StandIn> {
        None
    }
}

/// The exchange of a stored secret for a short-lived token. What it gives is armed by the same scheme, whose own value
/// (`{{token}}`) is then that token.
pub trait Exchange: Send + Sync {
    /// Asks the issuer. Pure but for what `issuer` does.
    fn obtain<'a>(&'a self, issuer: &'a dyn Issuer, values: Values<'a>) -> Obtained<'a>;

    /// The part of what the secret opens that this request needs: each part has a token of its own (one repository, one
    /// agent's session). Empty: the one token serves all requests. It is given back by [`Issuer::part`].
    fn part(&self, _judged: &Judged<'_>) -> Result<String, Refusal> {
        Ok(String::new())
    }

    /// Whether an issuer is asked at all; if not, the token is made here (self-signed).
    fn asks(&self) -> bool {
        true
    }

    /// How the issuer is asked, as the audit shows it.
    fn method(&self) -> Method {
        Method::POST
    }

    /// Whether the issuer may put another value in the place of one that it is shown: then no two exchanges of one secret
    /// run at once, whichever providers they are for.
    fn renews(&self) -> bool {
        false
    }
}

/// A request that policy let through.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// Who asks.
    pub agent: &'a AgentName,
    /// The request.
    pub head: &'a Head,
    /// Whether it was let through for what its type says that it does; not so where a rule of the operator's settled it
    /// by its line, or the type did not know it: what it does beside was judged by nobody then.
    pub by_action: bool,
}

/// A token, later.
pub type Obtained<'a> = Pin<Box<dyn Future<Output = Result<Issued, Failed>> + Send + 'a>>;

/// What a scheme has to know of a request's body, beyond what its surface says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyNeed {
    /// Nothing, or it learns it while the body streams.
    Nothing,
    /// All of it.
    Whole,
}

/// A scheme that holds the rendered credential of one version of a secret.
pub trait Armed: Send + Sync + fmt::Debug {
    /// Puts the credential on the request. Pure.
    fn place(&self, out: &mut Outgoing<'_>) -> Result<(), Refusal>;
}

/// Answers a challenge of the upstream, for schemes that cannot know before what it asks for.
pub trait Responder: Send + Sync + fmt::Debug {
    /// The answer to the challenges of a 401, for the same request once more; `None`: they are not for this scheme.
    fn respond(
        &self,
        headers: &http::HeaderMap,
        agent: &str,
        target: &Target,
        head: &Head,
    ) -> Result<Option<Challenged>, Refusal>;
}

/// The answer to a challenge.
#[derive(Debug)]
pub struct Challenged {
    /// The value of `Authorization`.
    pub value: http::HeaderValue,
    /// What the upstream's answer is searched for, beside what it is already.
    pub echoes: Vec<Arc<Echo>>,
}

/// What arming a scheme gives.
#[derive(Debug)]
pub struct Rendered {
    /// The scheme with its credential.
    pub armed: Box<dyn Armed>,
    /// What answers are searched for.
    pub echoes: Vec<Echo>,
}

/// A secret value that goes out and must not come back.
pub struct Echo {
    /// The plain value, at least [`SHORTEST_VALUE`] bytes.
    pub value: Zeroizing<Vec<u8>>,
    /// How many of its first bytes anyone knows (`ghp_`).
    pub public_prefix: usize,
    /// User names with which it is sent as Basic credentials.
    pub basic_users: Vec<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Echo")
    }
}

/// The shortest value that can be found in an answer without false alarms (SECURITY.md, "What is scrubbed").
pub const SHORTEST_VALUE: usize = 8;

/// The name by which templates call the provider's own value.
pub(crate) const CREDENTIAL: &str = "token";

/// The values of an opened secret, as a provider names them.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    opened: &'a Opened,
    keys: &'a [String],
}

impl<'a> Values<'a> {
    /// `keys` are the provider's `secretKey` candidates, in order.
    pub fn new(opened: &'a Opened, keys: &'a [String]) -> Self {
        Self { opened, keys }
    }

    /// The value of `{{name}}`: that key of the secret; `token` is the provider's own (`secretKey`) where there is one.
    pub(crate) fn of(&self, name: &str) -> Result<&'a Secret, ArmFault> {
        if name != CREDENTIAL {
            return self.find(name).ok_or_else(|| ArmFault::Missing { key: name.to_owned() });
        }
        let own = self.keys.iter().find_map(|key| self.find(key)).or_else(|| self.find(CREDENTIAL));
        own.ok_or_else(|| ArmFault::Missing {
            key: if self.keys.is_empty() { CREDENTIAL.to_owned() } else { self.keys.join("` or `") },
        })
    }

    /// The key under which the provider's own value stands.
    pub(crate) fn own_key(&self) -> Option<&'a str> {
        self.keys.iter().map(String::as_str).find(|key| self.find(key).is_some())
    }

    fn find(&self, name: &str) -> Option<&'a Secret> {
        self.opened.values.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// Why a scheme cannot be built from its fields. The validation of provider files finds these first, with their place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// No scheme of that name.
    #[error("there is no auth scheme of this name")]
    UnknownScheme,
    /// A field that the scheme needs is not there.
    #[error("the field `{0}` is missing")]
    Missing(&'static str),
    /// A field holds what the scheme cannot use.
    #[error("the field `{field}` {why}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A field that the scheme does not have.
    #[error("the scheme has no field `{0}`")]
    Unknown(&'static str),
}

/// Why a secret cannot be used by a scheme. Names the key, never anything of the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArmFault {
    /// The secret lacks the key.
    #[error("it has no key `{key}`")]
    Missing {
        /// The key.
        key: String,
    },
    /// The value holds a byte that the surface cannot carry: CR, LF, NUL, other control bytes, or worse.
    #[error("its key `{key}` holds a character that cannot be sent here")]
    Character {
        /// The key.
        key: String,
    },
    /// The value is too short to be found in an answer.
    #[error("its key `{key}` holds fewer than {SHORTEST_VALUE} bytes")]
    Short {
        /// The key.
        key: String,
    },
    /// The value is not what its key says (a key file, a PEM text).
    #[error("its key `{key}` {why}")]
    Unfit {
        /// The key.
        key: String,
        /// What is wrong with it; nothing of the value.
        why: String,
    },
    /// A key that signs would be sent.
    #[error("its key `{key}` is what signs, which is never sent")]
    Signs {
        /// The key.
        key: String,
    },
    /// The rendered value exceeds what a request head can hold.
    #[error("its value is too long to be sent here")]
    Long,
}
