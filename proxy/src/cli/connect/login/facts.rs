//! What one login needs to know: of a vendor by its type, or of any issuer by flags; and the requests that follow from it.
//!
//! Refuses addresses that are not https. Where and by which client tokens are asked for is read from the provider that is
//! made, so that a login and every later renewal are of one client.

use control::cli::Failure;
use control::provider::Injection;
use control::secret::Secret;
use control::token_url::TokenUrl;
use control::types::{self, DeviceSpec, LoginSpec};

use super::super::draft::Draft;
use super::super::{Connect, failed, usage};
use super::pkce::Pkce;
use crate::schemes::ArmFault;
use crate::schemes::shared::encode::query_into;
use crate::schemes::shared::issuer::{Ask, ClientAuth, Form};
use crate::schemes::shared::json_body::JsonBody;

/// Where the browser comes back to.
#[derive(Debug)]
pub(super) struct Redirect {
    pub(super) host: String,
    pub(super) ports: Vec<u16>,
    pub(super) path: String,
}

/// A login by a typed code.
#[derive(Debug)]
pub(super) enum Device {
    /// RFC 8628.
    Standard(TokenUrl),
    /// A vendor's own.
    Vendor(&'static DeviceSpec),
}

/// One login.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    /// The vendor's own facts; `None`: an issuer that is told by flags.
    spec: Option<&'static LoginSpec>,
    authorize: Option<String>,
    pub(super) redirect: Redirect,
    pub(super) device: Option<Device>,
    pub(super) token_url: TokenUrl,
    pub(super) client_id: Secret,
    client_secret: Option<&'a Secret>,
    client_auth: ClientAuth,
    pub(super) scopes: Option<String>,
    is_json: bool,
}

impl<'a> Facts<'a> {
    pub(super) fn of(
        connect: &Connect,
        draft: &Draft,
        given: &'a [(String, Secret)],
    ) -> Result<Self, Failure> {
        let spec = types::by_name(&connect.kind).and_then(|kind| kind.login());
        let injection = draft.provider.auth.as_ref().and_then(|auth| auth.injections.first());
        let injection = injection.ok_or_else(|| failed("the provider has no login"))?;
        let text = |name: &str| injection.fields.text(name).map(str::to_owned);
        let value = |name: &str| given.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        let (authorize, device) = ways(connect, spec)?;
        let redirect = spec.map_or_else(own_redirect, |spec| Redirect {
            host: spec.redirect.host.to_owned(),
            ports: spec.redirect.ports.to_vec(),
            path: spec.redirect.path.to_owned(),
        });
        Ok(Self {
            authorize,
            redirect,
            device,
            token_url: token_url(injection)?,
            client_id: client_id(text("clientId"), value("client_id"))?,
            client_secret: value("client_secret"),
            client_auth: ClientAuth::of(injection.fields.text("clientAuth")),
            scopes: spec.map(|spec| spec.scopes.to_owned()).or_else(|| text("scopes")),
            is_json: injection.fields.text("tokenBody") == Some("json"),
            spec,
        })
    }

    /// Where the id token names the account, if the vendor's API wants it.
    pub(super) fn account(&self) -> Option<(&'static str, &'static str)> {
        self.spec.and_then(|spec| spec.account)
    }

    /// Whether the vendor is one whose answers we know.
    pub(super) fn is_vendors(&self) -> bool {
        self.spec.is_some()
    }

    /// The redirect address of a login without a listener.
    pub(super) fn shown_redirect(&self) -> String {
        if let Some(page) = self.spec.and_then(|spec| spec.page) {
            return page.to_owned();
        }
        let Redirect { host, ports, path } = &self.redirect;
        // Nobody listens there; any port that the issuer takes will do.
        format!("http://{host}:{}{path}", ports.first().copied().unwrap_or(8976))
    }

    /// What a person is asked for then.
    pub(super) fn what_to_paste(&self) -> &'static str {
        match self.spec.and_then(|spec| spec.page) {
            Some(_) => "and paste the code that the page shows.",
            None => {
                "and paste the address that the browser ends at; that it cannot open it is as it should be."
            }
        }
    }

    /// The page on which the person agrees (RFC 6749 section 4.1.1, RFC 7636 section 4.3).
    pub(super) fn authorize_url(&self, redirect: &str, pkce: &Pkce) -> Result<String, Failure> {
        let authorize = self.authorize.as_ref().ok_or_else(|| usage("--oauth: give --authorize-url URL"))?;
        let mut url = authorize.clone().into_bytes();
        let mut separator = b'?';
        let mut put = |name: &str, value: &[u8]| {
            url.push(separator);
            separator = b'&';
            url.extend_from_slice(name.as_bytes());
            url.push(b'=');
            query_into(value, &mut url);
        };
        put("response_type", b"code");
        // exposed: a client's id is public
        put("client_id", self.client_id.expose());
        put("redirect_uri", redirect.as_bytes());
        if let Some(scopes) = &self.scopes {
            put("scope", scopes.as_bytes());
        }
        put("code_challenge", pkce.challenge().as_bytes());
        put("code_challenge_method", b"S256");
        // exposed: the browser carries it there and back
        put("state", pkce.state.expose());
        for (name, value) in self.spec.map_or(&[][..], |spec| spec.params) {
            put(name, value.as_bytes());
        }
        String::from_utf8(url).map_err(|_| failed("the address of the login is no text"))
    }

    /// The request that gives tokens for a code (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
    pub(super) fn exchange(
        &self,
        code: &Secret,
        redirect: &str,
        verifier: &Secret,
        state: Option<&Secret>,
    ) -> Result<Ask, ArmFault> {
        // exposed: into the request to the token endpoint
        let (code, verifier) = (code.expose(), verifier.expose());
        if !self.spec.map_or(self.is_json, |spec| spec.json_with_state) {
            return self.grant(
                "authorization_code",
                &[("code", code), ("redirect_uri", redirect.as_bytes()), ("code_verifier", verifier)],
            );
        }
        let mut body = JsonBody::default()
            .with("grant_type", b"authorization_code")?
            .with("code", code)?
            .with("redirect_uri", redirect.as_bytes())?
            // exposed: a client says its id in the body
            .with("client_id", self.client_id.expose())?
            .with("code_verifier", verifier)?;
        if let Some(state) = state.filter(|_| self.spec.is_some()) {
            // exposed: the token endpoint compares it too
            body = body.with("state", state.expose())?;
        }
        if let Some(secret) = self.client_secret {
            // exposed: into the request to the token endpoint
            body = body.with("client_secret", secret.expose())?;
        }
        Ok(Ask::json(&self.token_url, body))
    }

    /// A form for the token endpoint, with the client in it.
    pub(super) fn grant(&self, grant: &str, parameters: &[(&str, &[u8])]) -> Result<Ask, ArmFault> {
        let form = parameters.iter().fold(Form::grant(grant), |form, (name, value)| form.with(name, value));
        let form = match self.client_secret {
            Some(secret) => form.client(self.client_auth, &self.client_id, secret)?,
            // exposed: a public client says its id in the form (RFC 6749 section 3.2.1)
            None => form.with("client_id", self.client_id.expose()),
        };
        Ok(Ask::form(&self.token_url, form))
    }
}

/// RFC 8252 section 7.3: an address, and any port.
fn own_redirect() -> Redirect {
    Redirect { host: "127.0.0.1".to_owned(), ports: Vec::new(), path: "/callback".to_owned() }
}

/// The pages and endpoints, of the vendor or of the flags.
fn ways(
    connect: &Connect,
    spec: Option<&'static LoginSpec>,
) -> Result<(Option<String>, Option<Device>), Failure> {
    let args = &connect.login;
    let (authorize, device) = (args.authorize_url.as_deref(), args.device_url.as_deref());
    if let Some(spec) = spec {
        if authorize.is_some() || device.is_some() {
            return Err(usage("--authorize-url and --device-url: the type has its own login"));
        }
        let device = spec.device.as_ref().map(Device::Vendor);
        if args.device && device.is_none() {
            return Err(usage("--device: this vendor offers none; --no-browser needs no browser here"));
        }
        return Ok((Some(spec.authorize.to_owned()), device));
    }
    let checked =
        |flag: &str, text: &str| TokenUrl::parse(text).map_err(|error| usage(format!("{flag} {error}")));
    let device = device.map(|text| checked("--device-url", text)).transpose()?;
    let authorize = authorize.map(|text| checked("--authorize-url", text)).transpose()?;
    match (args.device, &device, &authorize) {
        (true, None, _) => Err(usage("--device: give --device-url URL")),
        (false, _, None) => {
            Err(usage("--oauth: give --authorize-url URL, or --device with --device-url URL"))
        }
        _ => Ok((authorize.map(|url| url.to_string()), device.map(Device::Standard))),
    }
}

fn token_url(injection: &Injection) -> Result<TokenUrl, Failure> {
    let url = injection.fields.text("tokenUrl").and_then(|text| TokenUrl::parse(text).ok());
    url.ok_or_else(|| failed("the provider has no token endpoint"))
}

fn client_id(field: Option<String>, given: Option<&Secret>) -> Result<Secret, Failure> {
    let id = match (field, given) {
        (Some(id), _) => Secret::new(id.into_bytes()),
        // exposed: a client's id is public; copied out of what was given
        (None, Some(id)) => Secret::new(id.expose().to_vec()),
        (None, None) => return Err(usage("--oauth: give --set auth.clientId=ID")),
    };
    // exposed: looked at, it is public
    if id.is_empty() || !id.expose().iter().all(u8::is_ascii_graphic) {
        return Err(usage("the client's id is visible ASCII"));
    }
    Ok(id)
}

#[cfg(test)]
impl Facts<'_> {
    /// Of an issuer without a vendor.
    pub(super) fn for_tests(token_url: TokenUrl) -> Self {
        Self {
            spec: None,
            authorize: Some("https://login.test/authorize".to_owned()),
            redirect: own_redirect(),
            device: None,
            token_url,
            client_id: Secret::new(b"the-client".to_vec()),
            client_secret: None,
            client_auth: ClientAuth::Basic,
            scopes: Some("a b".to_owned()),
            is_json: false,
        }
    }
}
