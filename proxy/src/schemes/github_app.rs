//! `github-app`: an app's key signs a token of some minutes, GitHub gives an installation's token for it, narrowed to the
//! provider's repositories and permissions.
//!
//! Refuses keys that are no RSA PEM and installations that are no number. An agent's own call for an installation's token is
//! answered with its dummy.

use std::time::Duration;

use bytes::Bytes;
use control::catalog::{FieldKind, FieldSpec, Fields, SchemeSpec};
use control::pem::PemFault;
use control::refusal::Refusal;
use control::rule::Path;
use control::secret::Secret;
use control::target::Host;
use control::token_url::TokenUrl;
use http::Method;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::oauth2_client_credentials::token_url;
use super::shared::bearer;
use super::shared::issuer::{Ask, Issued, Issuer, Reply, unfit, unusable};
use super::shared::jwt::{Claims, SignFault, SigningKey};
use super::shared::stand_in::{self, Call, LocalAnswer, Place, StandIn};
use super::shared::surface::Surface;
use super::shared::template::sensitive;
use super::{
    ArmFault, BuildError, CREDENTIAL, Exchange, Failed, Obtained, Rendered, Scheme, Values, github_server,
};

/// GitHub takes ten minutes at most, counted by its own clock.
const LIFE: Duration = Duration::from_secs(480);
/// As GitHub's documentation says, against clocks that differ.
const BACK: Duration = Duration::from_secs(60);

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "github-app",
    auth_types: &[],
    inject_key: Some("github-app"),
    summary: "Signs as a GitHub App (keys `app_id`, `installation_id`, `private_key`) and puts the installation's token on, narrowed to the repositories of `scope` and to `config.permissions`.",
    auth_fields: &[],
    inject_fields: &[
        FieldSpec {
            name: "as",
            kind: FieldKind::Choice(&["bearer", "basic", "by-path"]),
            required: false,
            default: Some("bearer"),
            doc: "`bearer` for the API, `basic` for git (user `x-access-token`), `by-path` where both are on one host (API below `/api`).",
        },
        FieldSpec {
            name: "permissions",
            kind: FieldKind::Scopes,
            required: false,
            default: None,
            doc: "What the token may do, as `contents:read`; all that the installation may where it is left out.",
        },
        FieldSpec {
            name: "repositories",
            kind: FieldKind::Scopes,
            required: false,
            default: None,
            doc: "The names of the repositories that the token is for, without their owner; a built-in provider takes them from `scope.repositories`.",
        },
        FieldSpec {
            name: "tokenUrl",
            kind: FieldKind::TokenUrl,
            required: false,
            default: Some("https://api.github.com/"),
            doc: "The base URL of the API that gives the token.",
        },
    ],
    default_keys: &["private_key"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let puts = match fields.text("as") {
        Some("basic") => Puts::Basic(github_server::git()?),
        Some("by-path") => Puts::ByPath(github_server::git()?),
        Some(_) | None => Puts::Bearer,
    };
    Ok(Box::new(GithubApp {
        surface: Surface::Header(AUTHORIZATION),
        puts,
        api: Api { url: token_url(fields)? },
        narrowed: narrowed(fields)?,
    }))
}

/// The body that narrows a token.
fn narrowed(fields: &Fields) -> Result<String, BuildError> {
    let mut body = Map::new();
    if let Some(list) = fields.text("permissions") {
        let mut permissions = Map::new();
        for one in list.split(' ') {
            let parts = one.split_once(':').filter(|(name, level)| {
                let is_name = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
                is_name && !name.is_empty() && matches!(*level, "read" | "write" | "admin")
            });
            let invalid = |why| BuildError::Invalid { field: "permissions", why };
            let (name, level) = parts.ok_or(invalid("is a list of permissions such as `contents:read`"))?;
            if permissions.insert(name.to_owned(), level.into()).is_some() {
                return Err(invalid("names a permission twice"));
            }
        }
        body.insert("permissions".to_owned(), Value::Object(permissions));
    }
    if let Some(list) = fields.text("repositories") {
        body.insert("repositories".to_owned(), list.split(' ').collect());
    }
    Ok(Value::Object(body).to_string())
}

/// How the token is put on.
#[derive(Debug)]
enum Puts {
    Bearer,
    /// For git.
    Basic(Box<dyn Scheme>),
    /// Both are on one host.
    ByPath(Box<dyn Scheme>),
}

#[derive(Debug)]
struct GithubApp {
    surface: Surface,
    puts: Puts,
    api: Api,
    narrowed: String,
}

impl Scheme for GithubApp {
    fn surface(&self) -> &Surface {
        &self.surface
    }

    fn arm(&self, values: &Values<'_>) -> Result<Rendered, ArmFault> {
        match &self.puts {
            Puts::Bearer => bearer::arm(values),
            Puts::Basic(git) => git.arm(values),
            Puts::ByPath(git) => github_server::by_path(&**git, values),
        }
    }

    fn exchange(&self) -> Option<&dyn Exchange> {
        Some(self)
    }

    fn stand_in(&self) -> Option<&dyn StandIn> {
        Some(&self.api)
    }
}

impl Exchange for GithubApp {
    fn obtain<'a>(&'a self, issuer: &'a dyn Issuer, values: Values<'a>) -> Obtained<'a> {
        Box::pin(async move {
            let ask = self.ask(issuer, &values).map_err(|fault| unusable(&fault))?;
            issued(&issuer.ask(ask).await?, OffsetDateTime::from(issuer.now()))
        })
    }
}

impl GithubApp {
    fn ask(&self, issuer: &dyn Issuer, values: &Values<'_>) -> Result<Ask, ArmFault> {
        let installation = identifier(values, "installation_id", |b| b.is_ascii_digit())?;
        let path = [self.api.base(), "/app/installations/", &installation, "/access_tokens"].concat();
        let signed = signed(issuer, values)?;
        let mut value = Zeroizing::new(Vec::with_capacity(signed.len() + 7));
        value.extend_from_slice(b"Bearer ");
        value.extend_from_slice(signed.as_bytes());
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let version = HeaderName::from_static("x-github-api-version");
        headers.insert(version, HeaderValue::from_static("2022-11-28"));
        headers.insert(AUTHORIZATION, sensitive(value)?);
        Ok(Ask {
            target: self.api.url.target().clone(),
            method: Method::POST,
            path,
            headers,
            body: Bytes::from(self.narrowed.clone()),
        })
    }
}

/// Who the app is, signed by its key.
fn signed(issuer: &dyn Issuer, values: &Values<'_>) -> Result<Zeroizing<String>, ArmFault> {
    let unfit = |why: String| ArmFault::Unfit { key: "private_key".to_owned(), why };
    // Its number, or its client id.
    let app = identifier(values, "app_id", |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))?;
    let key = SigningKey::of_secret(values.of(CREDENTIAL)?).map_err(|fault| unfit(fault.to_string()))?;
    if key.algorithm() != "RS256" {
        return Err(unfit(PemFault::NotRsa.to_string()));
    }
    let unsigned = |SignFault: SignFault| unfit("cannot sign now (what does the clock say?)".to_owned());
    let claims = Claims::lasting(issuer.now(), BACK, LIFE).map_err(unsigned)?.with("iss", app);
    key.sign(&[], &claims).map_err(unsigned)
}

/// A value that says who; it is no secret.
fn identifier(values: &Values<'_>, key: &str, fits: impl Fn(u8) -> bool) -> Result<String, ArmFault> {
    // exposed: it names an app or an installation
    let text = values.of(key)?.expose();
    if text.is_empty() || text.len() > 100 || !text.iter().all(|byte| fits(*byte)) {
        return Err(ArmFault::Character { key: key.to_owned() });
    }
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// GitHub's answer: a token and the moment at which it ends.
fn issued(reply: &Reply, now: OffsetDateTime) -> Result<Issued, Failed> {
    let mut object = reply.object()?;
    let ends = object.text("expires_at").and_then(|text| {
        // exposed: a moment, no secret
        let text = std::str::from_utf8(text.expose()).ok()?;
        OffsetDateTime::parse(text, &Rfc3339).ok()
    });
    let ends = ends.ok_or_else(|| unfit("it does not say when the token ends"))?;
    let life = u64::try_from((ends - now).whole_seconds()).unwrap_or_default();
    let token: Secret = object.take("token").ok_or_else(|| unfit("it has no token"))?;
    Issued::new(token, Some(life))
}

/// Stands in for the API where it gives installations their tokens.
#[derive(Debug)]
struct Api {
    url: TokenUrl,
}

impl Api {
    /// What stands before the API's paths: nothing, or `/api/v3`.
    fn base(&self) -> &str {
        self.url.path().trim_end_matches('/')
    }

    /// The segments of a path behind the base, if it begins with it; in any case, with more slashes than needed.
    fn below<'p>(&self, path: &'p [u8]) -> Option<Vec<&'p [u8]>> {
        let mut segments = path.split(|b| *b == b'/').filter(|segment| !segment.is_empty());
        let base = self.base().split('/').filter(|part| !part.is_empty());
        for part in base {
            segments.next().filter(|segment| segment.eq_ignore_ascii_case(part.as_bytes()))?;
        }
        Some(segments.take(5).collect())
    }
}

impl StandIn for Api {
    fn places(&self) -> Vec<Place> {
        vec![Place { target: self.url.target().clone(), plain: false }]
    }

    fn covers(&self, host: &Host, path: &Path) -> bool {
        let is_own = |path: &[u8]| {
            self.below(path).is_some_and(|segments| is_endpoint(&segments) || is_revocation(&segments))
        };
        self.url.target().host == *host
            && (is_own(path.as_str().as_bytes()) || path.wide_forms().iter().any(is_own))
    }

    fn answer(&self, call: &Call<'_>) -> Result<LocalAnswer, Refusal> {
        let asked = self.below(call.path.as_str().as_bytes());
        if *call.method != Method::POST || !asked.is_some_and(|segments| is_endpoint(&segments)) {
            return Err(stand_in::not_open());
        }
        // It never ends: it is a dummy.
        let body = serde_json::json!({
            "token": call.dummy,
            "expires_at": "2099-01-01T00:00:00Z",
            "permissions": {},
            "repository_selection": "selected",
        });
        Ok(LocalAnswer { content_type: "application/json", headers: Vec::new(), body: body.to_string() })
    }
}

/// `/installation/token`: an agent could revoke the token there that all agents of the provider use.
fn is_revocation(segments: &[&[u8]]) -> bool {
    let [installation, token] = segments else { return false };
    installation.eq_ignore_ascii_case(b"installation") && token.eq_ignore_ascii_case(b"token")
}

/// `/app/installations/ID/access_tokens`
fn is_endpoint(segments: &[&[u8]]) -> bool {
    let [app, installations, _, tokens] = segments else { return false };
    app.eq_ignore_ascii_case(b"app")
        && installations.eq_ignore_ascii_case(b"installations")
        && tokens.eq_ignore_ascii_case(b"access_tokens")
}

#[cfg(test)]
mod tests;
