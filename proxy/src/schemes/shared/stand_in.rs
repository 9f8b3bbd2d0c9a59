//! What the proxy itself answers in an issuer's place: the agent's own token calls get a dummy, so that unmodified client
//! libraries start. Nothing of such a call is ever forwarded.
//!
//! Refuses all at such a place that is not a call for one of the agent's own tokens: the endpoint takes the very credential
//! that doorward puts on, and could give the agent a token for it. Invariant: what is answered holds dummies alone.

use control::refusal::{Code, Refusal};
use control::rule::Path;
use control::target::{Host, Target};
use control::token_url::TokenUrl;
use http::Method;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::strict::Object;

/// Somewhere that is never dialled for an agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Host and port.
    pub target: Target,
    /// Whether plain `http://` is spoken there.
    pub plain: bool,
}

/// A call of the agent's own.
#[derive(Debug)]
pub struct Call<'a> {
    /// The method.
    pub method: &'a Method,
    /// The canonical path.
    pub path: &'a Path,
    /// The query.
    pub query: Option<&'a str>,
    /// The headers as they came.
    pub headers: &'a HeaderMap,
    /// The body, read whole.
    pub body: &'a [u8],
    /// The dummy that the agent holds of this provider.
    pub dummy: &'a str,
}

/// What the agent gets.
#[derive(Debug)]
pub struct LocalAnswer {
    /// The media type.
    pub content_type: &'static str,
    /// More headers (`Metadata-Flavor`).
    pub headers: Vec<(&'static str, &'static str)>,
    /// The body: dummies and constants.
    pub body: String,
}

/// The part of a scheme that answers in the issuer's place.
pub trait StandIn: Send + Sync {
    /// The places that it answers for.
    fn places(&self) -> Vec<Place>;

    /// Whether this path of this host, at whatever port, is the issuer's, in any spelling that a server may take for it.
    fn covers(&self, host: &Host, path: &Path) -> bool;

    /// Answers a call; refuses what is no call for a token.
    fn answer(&self, call: &Call<'_>) -> Result<LocalAnswer, Refusal>;
}

/// Stands in for the token endpoint of one URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEndpoint(pub TokenUrl);

/// The grants that clients begin with: their own credentials.
const GRANTS: [&str; 3] =
    ["client_credentials", "refresh_token", "urn:ietf:params:oauth:grant-type:jwt-bearer"];

/// How long the dummy is said to live, seconds.
pub const DUMMY_LIFE: u32 = 3600;

impl StandIn for TokenEndpoint {
    fn places(&self) -> Vec<Place> {
        vec![Place { target: self.0.target().clone(), plain: false }]
    }

    fn covers(&self, host: &Host, path: &Path) -> bool {
        self.0.target().host == *host && looks_like(path, self.0.path())
    }

    fn answer(&self, call: &Call<'_>) -> Result<LocalAnswer, Refusal> {
        token_answer(call, &GRANTS)
    }
}

/// Stands in for the endpoints of a login's client, which may be several, and which it asks with a refresh token: the answer
/// has one, and the scopes by which a client tells what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginEndpoints {
    /// The endpoints.
    pub all: Vec<TokenEndpoint>,
    /// The scopes, separated by blanks.
    pub scopes: Option<String>,
}

impl StandIn for LoginEndpoints {
    fn places(&self) -> Vec<Place> {
        self.all.iter().flat_map(TokenEndpoint::places).collect()
    }

    fn covers(&self, host: &Host, path: &Path) -> bool {
        self.all.iter().any(|one| one.covers(host, path))
    }

    fn answer(&self, call: &Call<'_>) -> Result<LocalAnswer, Refusal> {
        let mut body = token_body(call, &GRANTS)?;
        if asks_for(call, "refresh_token") {
            body.insert("refresh_token".to_owned(), call.dummy.into());
        }
        body.extend(self.scopes.iter().map(|scopes| ("scope".to_owned(), scopes.as_str().into())));
        Ok(json(body))
    }
}

/// Whether a server could take the path for this one: case, parameters, codes, and slashes, dots, blanks or one `.json` at
/// the end are not told apart.
pub fn looks_like(path: &Path, wanted: &str) -> bool {
    let wanted = without_end(wanted.as_bytes());
    let is_it = |form: &[u8]| {
        let form = without_end(form);
        let before = form.len().checked_sub(JSON.len()).and_then(|at| form.split_at_checked(at));
        let bare =
            before.filter(|(_, end)| end.eq_ignore_ascii_case(JSON)).map(|(bare, _)| without_end(bare));
        form.eq_ignore_ascii_case(wanted) || bare.is_some_and(|bare| bare.eq_ignore_ascii_case(wanted))
    };
    is_it(path.as_str().as_bytes()) || path.wide_forms().iter().any(is_it)
}

/// What frameworks take for a format and not for a part of the name.
const JSON: &[u8] = b".json";

/// Without what many servers drop at the end of a path.
fn without_end(path: &[u8]) -> &[u8] {
    let last = path.iter().rposition(|&b| !matches!(b, b'/' | b'.' | b' ' | b'\t'));
    path.get(..last.map_or(0, |last| last + 1)).unwrap_or_default()
}

/// The dummy as RFC 6749, section 5.1, has it, if the call is a POST for one of these grants.
pub fn token_answer(call: &Call<'_>, grants: &[&str]) -> Result<LocalAnswer, Refusal> {
    token_body(call, grants).map(json)
}

type Body = serde_json::Map<String, serde_json::Value>;

fn token_body(call: &Call<'_>, grants: &[&str]) -> Result<Body, Refusal> {
    if call.method != Method::POST || !grants.iter().any(|grant| asks_for(call, grant)) {
        return Err(not_open());
    }
    let members: [(&str, serde_json::Value); 3] = [
        ("access_token", call.dummy.into()),
        ("token_type", "Bearer".into()),
        ("expires_in", DUMMY_LIFE.into()),
    ];
    Ok(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn json(body: Body) -> LocalAnswer {
    let body = serde_json::Value::Object(body).to_string();
    LocalAnswer { content_type: "application/json", headers: Vec::new(), body }
}

/// The one `grant_type` of a form, or of a JSON object, as some clients send.
fn asks_for(call: &Call<'_>, grant: &str) -> bool {
    if call.headers.contains_key(CONTENT_ENCODING) {
        return false;
    }
    let mut kinds = call.headers.get_all(CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else { return false };
    match essence(kind) {
        b"application/x-www-form-urlencoded" => form_says(call.body, grant),
        b"application/json" => Object::parse(call.body)
            .is_ok_and(|object| object.text("grant_type").is_some_and(|said| said.matches(grant.as_bytes()))),
        _ => false,
    }
}

fn essence(kind: &HeaderValue) -> &[u8] {
    kind.as_bytes().split(|&b| b == b';').next().unwrap_or_default().trim_ascii()
}

fn form_says(body: &[u8], grant: &str) -> bool {
    let decoded = |text: &[u8]| {
        let text: Vec<u8> = text.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
        percent_encoding::percent_decode(&text).collect::<Vec<u8>>()
    };
    let mut said = body.split(|&b| b == b'&').filter_map(|pair| {
        let at = pair.iter().position(|&b| b == b'=')?;
        let (name, value) = pair.split_at_checked(at)?;
        (decoded(name) == b"grant_type").then(|| decoded(value.get(1..).unwrap_or_default()))
    });
    said.next().is_some_and(|value| value == grant.as_bytes()) && said.next().is_none()
}

/// The endpoint is the proxy's alone.
pub fn not_open() -> Refusal {
    Refusal::new(
        Code::Dw1002,
        "the token endpoint of a provider is for the proxy alone: the agent's own token calls are answered with a dummy, anything else is refused",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    fn answered(method: Method, kind: &str, body: &str) -> Result<LocalAnswer, Refusal> {
        let mut headers = HeaderMap::new();
        for one in kind.split('|').filter(|kind| !kind.is_empty()) {
            headers.append(CONTENT_TYPE, HeaderValue::from_str(one).unwrap());
        }
        let path = Path::parse("/token").unwrap();
        let call = Call {
            method: &method,
            path: &path,
            query: None,
            headers: &headers,
            body: body.as_bytes(),
            dummy: "dummy-1",
        };
        TokenEndpoint(TokenUrl::parse("https://a.example/token").unwrap()).answer(&call)
    }

    #[test]
    fn refuses_what_is_no_call_for_a_token_of_the_agents_own() {
        for (method, kind, body) in [
            (Method::GET, FORM, "grant_type=client_credentials"),
            (Method::PUT, FORM, "grant_type=client_credentials"),
            (Method::POST, "", "grant_type=client_credentials"),
            (Method::POST, "text/plain", "grant_type=client_credentials"),
            (Method::POST, &format!("{FORM}|{FORM}"), "grant_type=client_credentials"),
            (Method::POST, FORM, ""),
            (Method::POST, FORM, "grant_type"),
            (Method::POST, FORM, "grant_type=password"),
            (Method::POST, FORM, "grant_type=urn:ietf:params:oauth:grant-type:token-exchange"),
            (Method::POST, FORM, "grant_type=client_credentials&grant_type=password"),
            (Method::POST, FORM, "grant_type=client_credentials&grant%5Ftype=password"),
            (Method::POST, FORM, "GRANT_TYPE=client_credentials"),
            (Method::POST, "application/json", r#"{"grant_type":"password"}"#),
            (Method::POST, "application/json", r#"{"grant_type":"refresh_token","grant_type":"password"}"#),
            (Method::POST, "application/json", r#"[{"grant_type":"refresh_token"}]"#),
        ] {
            assert_eq!(answered(method, kind, body).unwrap_err().code, Code::Dw1002, "{kind} {body}");
        }
    }

    #[test]
    fn answers_the_agents_own_grants_with_the_dummy() {
        for (kind, body) in [
            (FORM, "grant_type=client_credentials&scope=x"),
            ("application/x-www-form-urlencoded; charset=UTF-8", "refresh_token=x&grant_type=refresh_token"),
            (FORM, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=x"),
            ("application/json", r#"{"grant_type":"refresh_token","refresh_token":"x","client_id":"y"}"#),
        ] {
            let answer = answered(Method::POST, kind, body).unwrap();
            assert_eq!(answer.body, r#"{"access_token":"dummy-1","expires_in":3600,"token_type":"Bearer"}"#);
        }
    }

    #[test]
    fn covers_every_spelling_of_the_endpoint() {
        let endpoint = TokenEndpoint(TokenUrl::parse("https://a.example/oauth/token").unwrap());
        let host = endpoint.0.target().host.clone();
        for path in [
            "/oauth/token",
            "/oauth/token/",
            "/oauth/token//",
            "/OAuth/Token",
            "/oauth/%74oken",
            "/oauth%2ftoken",
            "/oauth%252Ftoken",
            "/oauth;x=y/token",
            "/oauth/token;x",
            "//oauth//token",
            "/x/../oauth/token",
            "/oauth/token.json",
            "/oauth/token.JSON/",
            "/oauth/token%20",
            "/oauth/token.",
            "/oauth/token/%2e%20/",
        ] {
            assert!(endpoint.covers(&host, &Path::parse(path).unwrap()), "{path}");
        }
        for path in [
            "/",
            "/oauth",
            "/oauth/tokens",
            "/oauth/token.jsonl",
            "/oauth/.json",
            "/oauth/token/info",
            "/v1/oauth/token",
        ] {
            assert!(!endpoint.covers(&host, &Path::parse(path).unwrap()), "{path}");
        }
    }
}
