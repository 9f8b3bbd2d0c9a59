//! `gcp-service-account`: a key file signs an assertion, Google's token endpoint gives an access token for it (RFC 7523); or
//! the signed token goes out itself, where the API takes it.
//!
//! Refuses key files that are none. The agent's own token calls are answered with its dummy: at Google's token endpoints
//! and, over plain http, in the place of the metadata server, which is never dialled. The key file's `token_uri` is not used:
//! what is signed goes to the provider's token endpoint.

use std::time::Duration;

use control::catalog::{FieldKind, FieldSpec, Fields, SchemeSpec};
use control::keyfile::{KeyFileFault, ServiceAccount};
use control::secret::Secret;
use control::token_url::TokenUrl;
use http::Method;

use super::oauth2_client_credentials::token_url;
use super::shared::bearer;
use super::shared::issuer::{Ask, Form, Issued, Issuer, unusable};
use super::shared::jwt::{Claims, KeyFault, SignFault, SigningKey};
use super::shared::stand_in::{self, Call, DUMMY_LIFE, LocalAnswer, Place, StandIn, looks_like};
use super::shared::surface::Surface;
use super::{ArmFault, BuildError, CREDENTIAL, Exchange, Obtained, Rendered, Scheme, Values};
use control::refusal::Refusal;
use control::rule::Path;
use control::target::{Host, Target};

/// What is asked for where nothing is said: all that the account's roles allow.
pub(super) const EVERYTHING: &str = "https://www.googleapis.com/auth/cloud-platform";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The longest that Google allows.
const LIFE: Duration = Duration::from_secs(3600);
/// Clocks differ; Google refuses what was made in its future.
const BACK: Duration = Duration::from_secs(10);

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "gcp-service-account",
    auth_types: &[],
    inject_key: Some("gcp-service-account"),
    summary: "Signs with a service account's key file (key `key.json`) and puts Google's token for it on as `Authorization: Bearer`. The agent's own token calls, also those to the metadata server, are answered by the proxy with a dummy.",
    auth_fields: &[],
    inject_fields: &[
        FieldSpec {
            name: "scopes",
            kind: FieldKind::Scopes,
            required: false,
            default: Some(EVERYTHING),
            doc: "The OAuth scopes that are asked for.",
        },
        FieldSpec {
            name: "token",
            kind: FieldKind::Choice(&["exchanged", "self-signed"]),
            required: false,
            default: Some("exchanged"),
            doc: "`exchanged`: an access token of Google's token endpoint. `self-signed`: a token that the key signs itself, for APIs that take it; nothing is asked for.",
        },
        FieldSpec {
            name: "tokenUrl",
            kind: FieldKind::TokenUrl,
            required: false,
            default: Some("https://oauth2.googleapis.com/token"),
            doc: "Google's token endpoint, or a private one in front of it.",
        },
        FieldSpec {
            name: "project",
            kind: FieldKind::Labels,
            required: false,
            default: None,
            doc: "The project that the agent's libraries are told.",
        },
    ],
    default_keys: &["key.json"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let endpoint = token_url(fields)?;
    let project = fields.text("project").map(str::to_owned);
    if project.as_ref().is_some_and(|project| project.contains(',')) {
        return Err(BuildError::Invalid { field: "project", why: "names more than one" });
    }
    Ok(Box::new(GcpServiceAccount {
        surface: bearer::surface(),
        scopes: fields.text("scopes").unwrap_or(EVERYTHING).to_owned(),
        self_signed: fields.text("token") == Some("self-signed"),
        google: Google { endpoint: endpoint.clone(), project },
        endpoint,
    }))
}

#[derive(Debug)]
struct GcpServiceAccount {
    surface: Surface,
    scopes: String,
    self_signed: bool,
    endpoint: TokenUrl,
    google: Google,
}

impl Scheme for GcpServiceAccount {
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
        Some(&self.google)
    }
}

impl Exchange for GcpServiceAccount {
    fn asks(&self) -> bool {
        !self.self_signed
    }

    fn obtain<'a>(&'a self, issuer: &'a dyn Issuer, values: Values<'a>) -> Obtained<'a> {
        Box::pin(async move {
            let signed = self.signed(issuer, &values).map_err(|fault| unusable(&fault))?;
            if self.self_signed {
                let token = Secret::new(signed.as_bytes().to_vec());
                return Issued::new(token, Some((LIFE - BACK).as_secs()));
            }
            let form = Form::grant(JWT_BEARER).with("assertion", signed.as_bytes());
            issuer.ask(Ask::form(&self.endpoint, form)).await?.token()
        })
    }
}

impl GcpServiceAccount {
    fn signed(
        &self,
        issuer: &dyn Issuer,
        values: &Values<'_>,
    ) -> Result<zeroize::Zeroizing<String>, ArmFault> {
        // exposed: read into a signing key, which is wiped when it goes
        let account = ServiceAccount::read(values.of(CREDENTIAL)?.expose()).map_err(in_file)?;
        let key = SigningKey::of_pem(&account.private_key).map_err(in_key)?;
        let claims = Claims::lasting(issuer.now(), BACK, LIFE - BACK).map_err(unsigned)?;
        let claims = claims.with("iss", &*account.client_email).with("scope", &*self.scopes);
        let claims = if self.self_signed {
            claims.with("sub", &*account.client_email)
        } else {
            claims.with("aud", self.endpoint.to_string())
        };
        let id = account.private_key_id.as_deref().map(|id| ("kid", id));
        key.sign(id.as_slice(), &claims).map_err(unsigned)
    }
}

fn in_file(fault: KeyFileFault) -> ArmFault {
    ArmFault::Unfit { key: "key.json".to_owned(), why: fault.to_string() }
}

fn in_key(fault: KeyFault) -> ArmFault {
    ArmFault::Unfit { key: "key.json".to_owned(), why: fault.to_string() }
}

fn unsigned(SignFault: SignFault) -> ArmFault {
    ArmFault::Unfit {
        key: "key.json".to_owned(),
        why: "cannot sign now (what does the clock say?)".to_owned(),
    }
}

/// Stands in for Google's token endpoints and for the metadata server.
#[derive(Debug)]
pub(super) struct Google {
    pub(super) endpoint: TokenUrl,
    pub(super) project: Option<String>,
}

/// Token endpoints by host and path, the last two for libraries of old.
const ENDPOINTS: &[(&str, &str)] = &[
    ("oauth2.googleapis.com", "/token"),
    ("www.googleapis.com", "/oauth2/v4/token"),
    ("accounts.google.com", "/o/oauth2/token"),
];
/// The metadata server by name and by address.
const METADATA: &[&str] = &["metadata.google.internal", "169.254.169.254"];
/// What is asked below it.
const METADATA_PATHS: &[&str] = &["computemetadata", "0.1", "v1beta1"];
/// The default service account's folder.
const DEFAULT: &str = "/computeMetadata/v1/instance/service-accounts/default";

impl StandIn for Google {
    fn places(&self) -> Vec<Place> {
        let tls = ENDPOINTS.iter().filter_map(|(host, _)| Target::parse_host(host, 443).ok());
        let tls = tls.chain([self.endpoint.target().clone()]);
        let plain = METADATA.iter().filter_map(|host| Target::parse_host(host, 80).ok());
        let mut places: Vec<Place> = Vec::new();
        for place in tls
            .map(|target| Place { target, plain: false })
            .chain(plain.map(|target| Place { target, plain: true }))
        {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    fn covers(&self, host: &Host, path: &Path) -> bool {
        let is_at = |name: &str| Target::parse_host(name, 443).is_ok_and(|target| target.host == *host);
        if METADATA.iter().any(|name| is_at(name)) {
            let first = path.as_str().split('/').find(|segment| !segment.is_empty()).unwrap_or_default();
            return path.as_str() == "/" || METADATA_PATHS.contains(&&*first.to_ascii_lowercase());
        }
        (*host == self.endpoint.target().host && looks_like(path, self.endpoint.path()))
            // Google's hosts may serve each other's paths.
            || (ENDPOINTS.iter().any(|(name, _)| is_at(name))
                && ENDPOINTS.iter().any(|(_, endpoint)| looks_like(path, endpoint)))
    }

    fn answer(&self, call: &Call<'_>) -> Result<LocalAnswer, Refusal> {
        let path = call.path.as_str();
        if path != "/" && !path.starts_with("/computeMetadata/") {
            return stand_in::token_answer(call, &[JWT_BEARER, "refresh_token"]);
        }
        self.metadata(call)
    }
}

impl Google {
    /// The few things that client libraries ask the metadata server for.
    fn metadata(&self, call: &Call<'_>) -> Result<LocalAnswer, Refusal> {
        // Google's own refuses calls without it: a browser or a redirect cannot send it.
        let asks = call.headers.get("metadata-flavor").is_some_and(|flavor| flavor == "Google");
        let path = call.path.as_str().trim_end_matches('/');
        if *call.method != Method::GET || !(asks || path.is_empty()) {
            return Err(stand_in::not_open());
        }
        let project = self.project.as_deref().unwrap_or("doorward");
        let text = |text: &str| metadata_answer("application/text", text.to_owned());
        if path.is_empty() {
            return Ok(text("computeMetadata/\n"));
        }
        if path == DEFAULT {
            let account = serde_json::json!({"aliases": ["default"], "email": EMAIL, "scopes": [EVERYTHING]});
            return Ok(metadata_answer("application/json", account.to_string()));
        }
        let below = path.strip_prefix(DEFAULT).and_then(|below| below.strip_prefix('/'));
        match (below, path) {
            (Some("token"), _) => {
                let token = serde_json::json!({
                    "access_token": call.dummy,
                    "expires_in": DUMMY_LIFE,
                    "token_type": "Bearer",
                });
                Ok(metadata_answer("application/json", token.to_string()))
            }
            (Some("email"), _) => Ok(text(EMAIL)),
            (Some("scopes"), _) => Ok(text(EVERYTHING)),
            (_, "/computeMetadata/v1/project/project-id") => Ok(text(project)),
            (
                _,
                "/computeMetadata/v1/universe/universe-domain"
                | "/computeMetadata/v1/universe/universe_domain",
            ) => Ok(text("googleapis.com")),
            _ => Err(stand_in::not_open()),
        }
    }
}

/// The account that the agent is told of.
const EMAIL: &str = "agent@doorward.iam.gserviceaccount.com";

fn metadata_answer(content_type: &'static str, body: String) -> LocalAnswer {
    LocalAnswer { content_type, headers: vec![("metadata-flavor", "Google")], body }
}

#[cfg(test)]
mod tests;
