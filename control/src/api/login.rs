//! `/v1/login`: people come with what their issuer gave them, and get a token that ends soon.
//!
//! The person's own program does the browser's part (authorization code with PKCE, RFC 7636 and 8252) and brings code, verifier
//! and nonce; the server shows the code to the issuer and verifies the id token itself. Nothing is kept between the two calls,
//! so that any replica can answer the second. Refuses redirects that are not to this person's own machine, and everybody who
//! is a member of nothing. The id token goes no further than [`crate::oidc`].

use axum::extract::State;
use http::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Json, SecretText};
use super::call::{Call, Did};
use super::can_i::{GrantView, grant};
use super::problem::{Answer, Problem, ProblemSchema};
use super::token::{self, Class};
use super::{Api, Done, Sent, agents, bounded_value, caller, shown, tokens};
use crate::audit::{Entry, Kind, Verdict};
use crate::oidc::{Identity, Issuer, OidcError};
use crate::refusal::Code;
use crate::registry::{Act, NewToken, ObjectKind, Person, RegistryError, Role, Seen};

/// The path.
const PATH: &str = "/v1/login";
/// The largest body: a code, a verifier and two short texts.
const BODY: usize = 16 * 1024;
/// The longest code, as issuers make them.
pub(super) const CODE: usize = 4096;
/// The longest verifier (RFC 7636, section 4.1), and the longest nonce.
pub(super) const VERIFIER: usize = 128;
pub(super) const NONCE: usize = 128;
/// More than the longest address on the person's own machine has.
pub(super) const REDIRECT: usize = 64;
/// What is asked of the issuer.
const SCOPE: &str = "openid email";

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(way, login, logout))
}

/// Whether a call needs no token.
pub(super) fn is_open(method: &Method, path: &str) -> bool {
    path == PATH && (method == Method::GET || method == Method::POST)
}

/// Where people log in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoginWay {
    pub(crate) issuer: String,
    /// What the server is called there.
    pub(crate) client_id: String,
    /// Where a person agrees.
    pub(crate) authorization_url: String,
    pub(crate) scope: String,
}

/// What a person's program brings.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct LoginBody {
    /// What the issuer sent the browser back with. Write-only.
    #[schema(value_type = String, write_only)]
    code: SecretText,
    /// The PKCE verifier, whose SHA-256 the issuer was shown. Write-only.
    #[schema(value_type = String, write_only)]
    verifier: SecretText,
    /// What the issuer was asked to put into the id token: 43 to 128 letters, digits, `-`, `.`, `_`, `~`.
    nonce: String,
    /// Where the browser was sent back to: `http://127.0.0.1:PORT/callback` or `http://[::1]:PORT/callback`.
    redirect_uri: String,
}

/// A token for somebody who logged in, shown this once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct LoggedIn {
    pub(crate) token: String,
    /// Who the server takes him for.
    pub(crate) name: String,
    pub(crate) expires: String,
    pub(crate) grants: Vec<GrantView>,
}

/// What is said where nobody can log in.
pub(super) fn no_issuer() -> Problem {
    Problem::new(Code::Dw6030, "this server has no issuer that people log in with (--oidc-issuer)")
}

fn issuer(api: &Api) -> Answer<&Issuer> {
    api.oidc.as_deref().ok_or_else(no_issuer)
}

fn problem(error: &OidcError) -> Problem {
    let why = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    tracing::warn!(%error, why, "a login was refused");
    match error {
        OidcError::Unreachable(_) | OidcError::Unusable(_) => {
            Problem::new(Code::Dw6031, format!("{error}{why}"))
        }
        OidcError::Refused | OidcError::Token(_) => Problem::new(Code::Dw6030, format!("{error}{why}")),
    }
}

/// Say where people log in.
#[utoipa::path(get, path = "/v1/login", tag = "login", security(()),
    responses((status = 200, body = LoginWay), (status = "4XX", body = ProblemSchema)))]
async fn way(State(api): State<Api>) -> Answer<Sent<LoginWay>> {
    let issuer = issuer(&api)?;
    let authorization_url = issuer.authorization_url().await.map_err(|error| problem(&error))?;
    Ok(Sent::ok(LoginWay {
        issuer: issuer.issuer().to_owned(),
        client_id: issuer.client().to_owned(),
        authorization_url,
        scope: SCOPE.to_owned(),
    }))
}

/// Log in with what the issuer gave.
#[utoipa::path(post, path = "/v1/login", tag = "login", security(()), request_body = LoginBody,
    responses((status = 201, body = LoggedIn), (status = "4XX", body = ProblemSchema)))]
async fn login(State(api): State<Api>, body: Json<LoginBody, BODY>) -> Answer<Sent<LoggedIn>> {
    let issuer = issuer(&api)?;
    let LoginBody { code, verifier, nonce, redirect_uri } = body.0;
    bounded_value("code", &code, CODE)?;
    bounded_value("verifier", &verifier, VERIFIER)?;
    check(&nonce, &redirect_uri)?;
    let given = issuer.identity(&code.0, &verifier.0, &redirect_uri, &nonce, api.now()).await;
    let who = given.map_err(|error| problem(&error))?;
    let (token, digest) = token::mint(Class::Api)?;
    let id = tokens::id(&digest.0);
    let name = who.email.clone().unwrap_or_else(|| who.subject.clone());
    let expires = api.now() + i64::try_from(api.login_minutes * 60).unwrap_or_default();
    let person = Person { issuer: issuer.issuer().to_owned(), subject: who.subject.clone() };
    let mut record = entry(&name, Verdict::Allow);
    record.token = Some(id.as_str().into());
    let new = NewToken {
        name: caller::token_name(&name, &id),
        id,
        digest,
        project: None,
        // It says nothing: the person's memberships count.
        role: Role::Viewer,
        expires: Some(expires),
        person: Some(person),
    };
    let act = Act { entry: Some(record), ..Act::at(api.now()) };
    let grants = match api.registry.sign_in(new, who.email.clone(), act).await {
        Ok(grants) => grants,
        Err(RegistryError::Missing(_)) => return Err(stranger(&api, &name, &who).await),
        Err(error) => return Err(error.into()),
    };
    let body = LoggedIn {
        token: agents::text(&token),
        name,
        expires: shown(expires),
        grants: grants.iter().map(grant).collect(),
    };
    Ok(Sent { status: http::StatusCode::CREATED, ..Sent::ok(body) })
}

/// End the token of a login; the person is logged out.
#[utoipa::path(delete, path = "/v1/login", tag = "login",
    responses((status = 204), (status = "4XX", body = ProblemSchema)))]
async fn logout(State(api): State<Api>, call: Call) -> Answer<Done> {
    let row = api.registry.token(None, &call.caller.id).await?;
    let is_of_login = row.is_some_and(|row| row.token.person.is_some());
    if !is_of_login {
        return Err(Problem::new(Code::Dw6005, "only the token of a login is ended so"));
    }
    let did = Did { status: 204, ..Did::new(ObjectKind::Token, &call.caller.name, "logged out") };
    api.registry.delete_token(None, &call.caller.id, Seen::Any, call.act(&api, &did)).await?;
    Ok(Done)
}

/// Refuses redirects that do not end on the person's own machine: a code that somebody else is sent is his.
fn check(nonce: &str, redirect: &str) -> Answer<()> {
    let odd = |why: &'static str| Problem::new(Code::Dw6016, why);
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !(43..=NONCE).contains(&nonce.len()) || !nonce.bytes().all(is_unreserved) {
        return Err(odd("`nonce` has 43 to 128 letters, digits, `-`, `.`, `_`, `~`"));
    }
    let host = ["http://127.0.0.1:", "http://[::1]:"].into_iter().find_map(|own| redirect.strip_prefix(own));
    let port = host.and_then(|rest| rest.strip_suffix("/callback"));
    let is_port = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    match port.filter(is_port).and_then(|port| port.parse::<u16>().ok()) {
        Some(1..) => Ok(()),
        Some(0) | None => Err(odd("`redirectUri` is http://127.0.0.1:PORT/callback")),
    }
}

/// Somebody whom the issuer knows, and nobody here: that he tried is recorded.
async fn stranger(api: &Api, name: &str, who: &Identity) -> Problem {
    let detail = "the issuer knows who you are, and nobody here has made you a member";
    let mut refused = entry(name, Verdict::Deny);
    refused.code = Some(Code::Dw6030);
    refused.status = 403;
    refused.reason = format!("{} is no member", who.subject).into();
    if let Err(error) = api.registry.record(None, refused).await {
        tracing::error!(%error, "a refused login was not recorded");
        return Problem::new(Code::Dw5003, "the audit cannot take a record of this call");
    }
    Problem::new(Code::Dw6030, detail)
}

fn entry(name: &str, verdict: Verdict) -> Entry {
    let mut entry = Entry::new(Kind::Control, std::time::SystemTime::now());
    entry.agent = Some(name.into());
    entry.method = Some(Method::POST);
    entry.path = Some(PATH.into());
    entry.verdict = Some(verdict);
    entry.status = 201;
    entry.reason = format!("token {name} created by a login").into();
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_redirects_to_other_machines_and_short_nonces() {
        let nonce = "n".repeat(43);
        for redirect in [
            "http://evil.example/callback",
            "https://127.0.0.1:1/callback",
            "http://127.0.0.1:1/callback/../x",
            "http://127.0.0.1:1@evil.example/callback",
            "http://127.0.0.1:/callback",
            "http://127.0.0.1:0/callback",
            "http://127.0.0.1:+1/callback",
            "http://127.0.0.1:99999/callback",
            "http://127.0.0.1:1/callback?x",
            "http://127.0.0.10:1/callback",
            "http://localhost:1/callback",
        ] {
            assert!(check(&nonce, redirect).is_err(), "{redirect}");
        }
        check(&nonce, "http://127.0.0.1:40000/callback").unwrap();
        check(&nonce, "http://[::1]:40000/callback").unwrap();
        for nonce in ["", "short", &"n".repeat(129), &"\u{e4}".repeat(43)] {
            assert!(check(nonce, "http://127.0.0.1:1/callback").is_err(), "{nonce}");
        }
    }

    #[test]
    fn only_the_way_in_needs_no_token() {
        assert!(is_open(&Method::GET, "/v1/login") && is_open(&Method::POST, "/v1/login"));
        for (method, path) in
            [(Method::DELETE, "/v1/login"), (Method::GET, "/v1/login/"), (Method::GET, "/v1/logins")]
        {
            assert!(!is_open(&method, path), "{method} {path}");
        }
    }
}
