//! `gcp-workload-identity`: a subject token, which something else keeps fresh in a file, is exchanged at Google's security
//! token service (RFC 8693); with what it gives a service account is impersonated, if the credential file names one.
//!
//! Refuses files that are no token. The agent's own token calls are answered as for a service account. Invariant: the subject
//! token goes to the token service alone, the federated token to the impersonation endpoint alone where one is used.

use bytes::Bytes;
use control::catalog::{FieldKind, FieldSpec, Fields, SchemeSpec};
use control::keyfile::external::{ExternalAccount, STS};
use control::secret::Secret;
use control::token_url::TokenUrl;
use http::Method;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::gcp_service_account::{EVERYTHING, Google};
use super::oauth2_client_credentials::token_url;
use super::shared::bearer;
use super::shared::issuer::{Ask, Form, Issued, Issuer, Reply, unfit, unusable};
use super::shared::stand_in::StandIn;
use super::shared::strict::Object;
use super::shared::surface::Surface;
use super::shared::template::sensitive;
use super::shared::token::Because;
use super::{
    ArmFault, BuildError, CREDENTIAL, Exchange, Failed, Obtained, Rendered, SHORTEST_VALUE, Scheme, Values,
};

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The longest subject token: SAML's are.
const SUBJECT_MOST: usize = 32 << 10;

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "gcp-workload-identity",
    auth_types: &[],
    inject_key: Some("gcp-workload-identity"),
    summary: "Exchanges the subject token in a file, as a credential file of workload identity federation says it (key `key.json`, `type: external_account`), for Google's token, put on as `Authorization: Bearer`. The agent's own token calls, also those to the metadata server, are answered by the proxy with a dummy.",
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
            name: "subjectTokenFile",
            kind: FieldKind::File,
            required: true,
            default: None,
            doc: "The file with the subject token. The one that the credential file names is not read.",
        },
        FieldSpec {
            name: "tokenUrl",
            kind: FieldKind::TokenUrl,
            required: false,
            default: Some(STS),
            doc: "Google's security token service, or a private endpoint in front of it.",
        },
        FieldSpec {
            name: "impersonationUrl",
            kind: FieldKind::TokenUrl,
            required: false,
            default: Some("https://iamcredentials.googleapis.com/"),
            doc: "Where service accounts are impersonated, or a private endpoint in front of it.",
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
    let file = fields.text("subjectTokenFile").ok_or(BuildError::Missing("subjectTokenFile"))?.into();
    let sts = token_url(fields)?;
    let project = fields.text("project").map(str::to_owned);
    if project.as_ref().is_some_and(|project| project.contains(',')) {
        return Err(BuildError::Invalid { field: "project", why: "names more than one" });
    }
    let field = "impersonationUrl";
    let url = fields.text(field).ok_or(BuildError::Missing(field))?;
    let impersonation = TokenUrl::parse(url)
        .map_err(|_| BuildError::Invalid { field, why: "is no URL of a token endpoint" })?;
    Ok(Box::new(WorkloadIdentity {
        surface: bearer::surface(),
        scopes: fields.text("scopes").unwrap_or(EVERYTHING).to_owned(),
        file,
        google: Google { endpoint: sts.clone(), project },
        sts,
        impersonation,
    }))
}

#[derive(Debug)]
struct WorkloadIdentity {
    surface: Surface,
    scopes: String,
    /// The operator's choice: whoever writes the credential file must not have the proxy send other files.
    file: std::path::PathBuf,
    sts: TokenUrl,
    impersonation: TokenUrl,
    google: Google,
}

impl Scheme for WorkloadIdentity {
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

impl Exchange for WorkloadIdentity {
    fn obtain<'a>(&'a self, issuer: &'a dyn Issuer, values: Values<'a>) -> Obtained<'a> {
        Box::pin(async move {
            let account = account(&values).map_err(|fault| unusable(&fault))?;
            let text = issuer.file(&self.file).await?;
            let subject = subject(&text, account.json_field.as_deref());
            let subject = subject.map_err(|fault| passing(unusable(&fault)))?;
            let scopes = if account.impersonated.is_some() { EVERYTHING } else { &self.scopes };
            let form = Form::grant(TOKEN_EXCHANGE)
                .with("audience", account.audience.as_bytes())
                .with("scope", scopes.as_bytes())
                .with("requested_token_type", ACCESS_TOKEN.as_bytes())
                // exposed: into the request to the token service, which its secret is bound to
                .with("subject_token", subject.expose())
                .with("subject_token_type", account.subject_token_type.as_bytes());
            let reply = issuer.ask(Ask::form(&self.sts, form)).await?;
            let is_stale = reply.said() == Some("invalid_grant");
            let federated =
                reply.token().map_err(|failed| if is_stale { passing(failed) } else { failed })?;
            let Some(name) = &account.impersonated else { return Ok(federated) };
            let ask = self.impersonate(name, account.seconds, &federated.token);
            let reply = issuer.ask(ask.map_err(|fault| unusable(&fault))?).await?;
            impersonated(&reply, OffsetDateTime::from(issuer.now()), account.seconds)
        })
    }
}

impl WorkloadIdentity {
    fn impersonate(&self, account: &str, seconds: u32, federated: &Secret) -> Result<Ask, ArmFault> {
        let mut value = Zeroizing::new(Vec::with_capacity(federated.len() + 7));
        value.extend_from_slice(b"Bearer ");
        // exposed: into the request to the impersonation endpoint
        value.extend_from_slice(federated.expose());
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(AUTHORIZATION, sensitive(value)?);
        let scopes: Vec<&str> = self.scopes.split(' ').collect();
        let body = serde_json::json!({"scope": scopes, "lifetime": format!("{seconds}s")});
        let base = self.impersonation.path().trim_end_matches('/');
        Ok(Ask {
            target: self.impersonation.target().clone(),
            method: Method::POST,
            path: [base, "/v1/projects/-/serviceAccounts/", account, ":generateAccessToken"].concat(),
            headers,
            body: Bytes::from(body.to_string()),
        })
    }
}

fn account(values: &Values<'_>) -> Result<ExternalAccount, ArmFault> {
    // exposed: read for where its subject token lies; nothing of it is kept
    let text = values.of(CREDENTIAL)?.expose();
    ExternalAccount::read(text)
        .map_err(|fault| ArmFault::Unfit { key: "key.json".to_owned(), why: fault.to_string() })
}

/// The token in its file.
fn subject(text: &Secret, field: Option<&str>) -> Result<Secret, ArmFault> {
    let unfit = |why: &str| ArmFault::Unfit { key: "key.json".to_owned(), why: why.to_owned() };
    let token = match field {
        Some(field) => {
            // exposed: parsed into secrets
            let object = Object::parse(text.expose()).ok();
            let found = object.and_then(|mut object| object.take(field));
            found.ok_or_else(|| unfit("points to a file that is not the JSON object that it says"))?
        }
        // exposed: copied without the blanks around it
        None => Secret::new(text.expose().trim_ascii().to_vec()),
    };
    // exposed: its bytes are looked at
    let fits = token.expose().iter().all(|b| b.is_ascii_graphic());
    if !fits || !(SHORTEST_VALUE..=SUBJECT_MOST).contains(&token.len()) {
        return Err(unfit("points to a file that holds no token"));
    }
    Ok(token)
}

/// What something else is just about to write anew is no lasting no.
fn passing(failed: Failed) -> Failed {
    Failed { because: Because::Unavailable(None), ..failed }
}

/// The answer of `generateAccessToken`.
fn impersonated(reply: &Reply, now: OffsetDateTime, asked: u32) -> Result<Issued, Failed> {
    let mut object = reply.object()?;
    let ends = object.text("expireTime").and_then(|text| {
        // exposed: a moment, no secret
        let text = std::str::from_utf8(text.expose()).ok()?;
        OffsetDateTime::parse(text, &Rfc3339).ok()
    });
    let ends = ends.ok_or_else(|| unfit("it does not say when the token ends"))?;
    let life = u64::try_from((ends - now).whole_seconds()).unwrap_or_default();
    let token = object.take("accessToken").ok_or_else(|| unfit("it has no accessToken"))?;
    // A clock that is behind would take it for longer than was asked for.
    Issued::new(token, Some(life.min(asked.into())))
}

#[cfg(test)]
#[path = "gcp_workload_identity_tests.rs"]
mod tests;
