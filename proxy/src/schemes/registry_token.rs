//! `registry-token`: a container registry's credential goes to its token service, which gives a token for one repository and
//! for no more than the request does (the Docker registry's token authentication).
//!
//! Refuses answers that hold two different tokens. The agent's own calls to the token service are answered by the proxy with
//! a dummy. Invariants: the credential goes to the token service that the provider names and never to the registry, whatever
//! realm that names; a token's scope is read from the very line that policy judged.

use std::time::SystemTime;

use bytes::Bytes;
use control::catalog::{FieldKind, FieldSpec, Fields, SchemeSpec};
use control::refusal::Refusal;
use control::rule::Path;
use control::secret::Secret;
use control::target::Host;
use control::token_url::TokenUrl;
use control::types::registry_scope;
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::shared::basic_auth;
use super::shared::bearer;
use super::shared::issuer::{Ask, Issued, Issuer, Reply, unfit, unusable};
use super::shared::stand_in::{self, Call, DUMMY_LIFE, LocalAnswer, Place, StandIn, looks_like};
use super::shared::surface::Surface;
use super::shared::template::sensitive;
use super::{ArmFault, BuildError, CREDENTIAL, Exchange, Failed, Judged, Obtained, Rendered, Scheme, Values};

/// What the specification says of an answer that does not say.
const UNSAID: u64 = 60;
/// Scopes are made of names, colons, commas and slashes.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "registry-token",
    auth_types: &[],
    inject_key: Some("registry-token"),
    summary: "Exchanges a registry's credential (keys `username` and `password`) at its token service for a token of the repository that the request names, put on as `Authorization: Bearer`. The agent's own calls to the token service are answered by the proxy with a dummy.",
    auth_fields: &[],
    inject_fields: &[
        FieldSpec {
            name: "tokenService",
            kind: FieldKind::TokenService,
            required: false,
            default: None,
            doc: "The URL of the token service.",
        },
        FieldSpec {
            name: "service",
            kind: FieldKind::ServiceName,
            required: false,
            default: None,
            doc: "The registry's name there.",
        },
    ],
    default_keys: &["password", "token"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let text = |name: &'static str| fields.text(name).ok_or(BuildError::Missing(name));
    let field = "tokenService";
    let url = TokenUrl::parse(text(field)?)
        .map_err(|_| BuildError::Invalid { field, why: "is no URL of a token service" })?;
    Ok(Box::new(RegistryToken {
        surface: bearer::surface(),
        service: utf8_percent_encode(text("service")?, QUERY).to_string(),
        tokens: TokenService(url.clone()),
        url,
    }))
}

#[derive(Debug)]
struct RegistryToken {
    surface: Surface,
    url: TokenUrl,
    /// Percent-coded.
    service: String,
    tokens: TokenService,
}

impl Scheme for RegistryToken {
    fn surface(&self) -> &Surface {
        &self.surface
    }

    fn arm(&self, values: &Values<'_>) -> Result<Rendered, ArmFault> {
        bearer::arm(values)
    }

    fn exchange(&self) -> Option<&dyn Exchange> {
        Some(self)
    }

    fn stand_in(&self) -> Option<&dyn StandIn> {
        Some(&self.tokens)
    }
}

impl Exchange for RegistryToken {
    /// The scope, as the token service takes it.
    fn part(&self, judged: &Judged<'_>) -> Result<String, Refusal> {
        let (method, line) = (&judged.head.method, &judged.head.target);
        // Without the second repository the registry mounts nothing; the upload begins empty.
        let query = line.query().filter(|_| judged.by_action);
        Ok(registry_scope(method, line.path(), query).unwrap_or_default())
    }

    fn method(&self) -> Method {
        Method::GET
    }

    fn obtain<'a>(&'a self, issuer: &'a dyn Issuer, values: Values<'a>) -> Obtained<'a> {
        Box::pin(async move {
            let ask = self.ask(issuer.part(), &values).map_err(|fault| unusable(&fault))?;
            let reply = issuer.ask(ask).await?;
            // A repository that the account may not see says nothing of the others.
            let of_part = matches!(reply.status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
            issued(&reply, issuer.now()).map_err(|failed| failed.of_part_if(of_part))
        })
    }
}

impl RegistryToken {
    fn ask(&self, part: &str, values: &Values<'_>) -> Result<Ask, ArmFault> {
        // exposed: into the request to the token service, which its secret is bound to
        let (user, password) = (values.of("username")?.expose(), values.of(CREDENTIAL)?.expose());
        if user.contains(&b':') {
            return Err(ArmFault::Character { key: "username".to_owned() });
        }
        let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + password.len() + 1));
        pair.extend_from_slice(user);
        pair.push(b':');
        pair.extend_from_slice(password);
        let mut path = [self.url.path(), "?service=", &self.service].concat();
        for scope in part.split(' ').filter(|scope| !scope.is_empty()) {
            path.push_str("&scope=");
            path.extend(utf8_percent_encode(scope, QUERY));
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(AUTHORIZATION, sensitive(basic_auth::encoded(&pair))?);
        Ok(Ask { target: self.url.target().clone(), method: Method::GET, path, headers, body: Bytes::new() })
    }
}

/// The token is called one of two names; both mean the same.
fn issued(reply: &Reply, now: SystemTime) -> Result<Issued, Failed> {
    let mut object = reply.object()?;
    let life = object.seconds("expires_in").map_err(|_| unfit("its expires_in is no number of seconds"))?;
    // Services that keep their tokens count from when they made them. A clock that is ahead ends none before its time.
    let life = life.unwrap_or(UNSAID);
    let age = object.text("issued_at").and_then(|text| age(text, now)).unwrap_or_default();
    let life = life.saturating_sub(age).max(UNSAID.min(life));
    let (token, other) = (object.take("token"), object.take("access_token"));
    if let (Some(token), Some(other)) = (&token, &other) {
        // exposed: compared in constant time
        if !token.matches(other.expose()) {
            return Err(unfit("it holds two different tokens"));
        }
    }
    let token = token.or(other).ok_or_else(|| unfit("it has no token"))?;
    Issued::new(token, Some(life))
}

/// How many seconds ago something was; none where that is yet to come.
fn age(text: &Secret, now: SystemTime) -> Option<u64> {
    // exposed: a moment, no secret
    let at = OffsetDateTime::parse(std::str::from_utf8(text.expose()).ok()?, &Rfc3339).ok()?;
    u64::try_from((OffsetDateTime::from(now) - at).whole_seconds()).ok()
}

/// Stands in for the token service.
#[derive(Debug)]
struct TokenService(TokenUrl);

impl StandIn for TokenService {
    fn places(&self) -> Vec<Place> {
        vec![Place { target: self.0.target().clone(), plain: false }]
    }

    fn covers(&self, host: &Host, path: &Path) -> bool {
        self.0.target().host == *host && looks_like(path, self.0.path())
    }

    /// A GET, as clients ask with Basic or without; or a form of OAuth.
    fn answer(&self, call: &Call<'_>) -> Result<LocalAnswer, Refusal> {
        if call.method != Method::GET {
            stand_in::token_answer(call, &["password", "refresh_token"])?;
        }
        let body = serde_json::json!({
            "token": call.dummy,
            "access_token": call.dummy,
            "expires_in": DUMMY_LIFE,
        });
        Ok(LocalAnswer { content_type: "application/json", headers: Vec::new(), body: body.to_string() })
    }
}

#[cfg(test)]
#[path = "registry_token_tests.rs"]
mod tests;
