//! `azure-client-credentials`: an application's id and secret, or its certificate, are exchanged at Microsoft's token
//! endpoint for a token of one audience.
//!
//! Refuses tenants that are no UUID and certificates without their key. The agent's own calls to the login host are answered by the
//! proxy: discovery, and a dummy for every token. A call to a Key Vault that carries no credential goes on without one: its
//! clients ask so first, without their body, to be told where tokens are given.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use control::catalog::{FieldKind, FieldSpec, Fields, SchemeSpec};
use control::pem;
use control::refusal::Refusal;
use control::rule::Path;
use control::secret::Secret;
use control::target::Host;
use control::token_url::TokenUrl;
use http::Method;
use http::header::AUTHORIZATION;

use super::oauth2_client_credentials::token_url;
use super::shared::bearer;
use super::shared::issuer::{Ask, ClientAuth, Form, Issuer, unusable};
use super::shared::jwt::{Claims, SigningKey};
use super::shared::stand_in::{self, Call, LocalAnswer, Place, StandIn};
use super::shared::surface::Surface;
use super::{
    ArmFault, Armed, BuildError, CREDENTIAL, Exchange, Obtained, Outgoing, Rendered, Scheme, Values,
};

/// Key Vault's audience in each cloud.
const VAULTS: &[&str] =
    &["https://vault.azure.net", "https://vault.usgovcloudapi.net", "https://vault.azure.cn"];
const JWT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long an assertion lives; it is used at once.
const LIFE: Duration = Duration::from_secs(300);

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "azure-client-credentials",
    auth_types: &[],
    inject_key: Some("azure-client-credentials"),
    summary: "Exchanges an application's `client_id` with its `client_secret` (or its `certificate`: PEM, with the private key) for a token of the resource, put on as `Authorization: Bearer`. The agent's own calls to the login host are answered by the proxy with dummies.",
    auth_fields: &[],
    inject_fields: &[
        FieldSpec {
            name: "audience",
            kind: FieldKind::Text,
            required: true,
            default: None,
            doc: "What the token is for, as `https://storage.azure.com`.",
        },
        FieldSpec {
            name: "tenantId",
            kind: FieldKind::Labels,
            required: true,
            default: None,
            doc: "The directory (tenant) id, a UUID in lower case.",
        },
        FieldSpec {
            name: "cloud",
            kind: FieldKind::Choice(&["public", "usgovernment", "china"]),
            required: false,
            default: Some("public"),
            doc: "Which cloud it is; a built-in provider takes its hosts, login host and audiences from it.",
        },
        FieldSpec {
            name: "tokenUrl",
            kind: FieldKind::TokenUrl,
            required: false,
            default: Some("https://login.microsoftonline.com/"),
            doc: "The login host.",
        },
    ],
    default_keys: &["client_secret", "certificate"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let audience = fields.text("audience").ok_or(BuildError::Missing("audience"))?;
    let tenant = fields.text("tenantId").ok_or(BuildError::Missing("tenantId"))?;
    if !is_uuid(tenant) {
        return Err(BuildError::Invalid {
            field: "tenantId",
            why: "is not the UUID of a directory (tenant)",
        });
    }
    let login = token_url(fields)?;
    Ok(Box::new(AzureClientCredentials {
        surface: bearer::surface(),
        scope: [audience.trim_end_matches('/'), "/.default"].concat(),
        asks_first: VAULTS.contains(&audience.trim_end_matches('/')),
        path: ["/", tenant, "/oauth2/v2.0/token"].concat(),
        entra: Entra { login: login.clone(), instance: instance(fields.text("cloud")) },
        login,
    }))
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

#[derive(Debug)]
struct AzureClientCredentials {
    surface: Surface,
    scope: String,
    /// The audience's clients send a call without a credential first.
    asks_first: bool,
    login: TokenUrl,
    path: String,
    entra: Entra,
}

impl Scheme for AzureClientCredentials {
    fn surface(&self) -> &Surface {
        &self.surface
    }

    fn arm(&self, values: &Values<'_>) -> Result<Rendered, ArmFault> {
        let Rendered { armed, echoes } = bearer::arm(values)?;
        let armed: Box<dyn Armed> = if self.asks_first { Box::new(AfterChallenge(armed)) } else { armed };
        Ok(Rendered { armed, echoes })
    }

    fn exchange(&self) -> Option<&dyn Exchange> {
        Some(self)
    }

    fn stand_in(&self) -> Option<&dyn StandIn> {
        Some(&self.entra)
    }
}

/// Goes onto calls that carry a credential already.
#[derive(Debug)]
struct AfterChallenge(Box<dyn Armed>);

impl Armed for AfterChallenge {
    fn place(&self, out: &mut Outgoing<'_>) -> Result<(), Refusal> {
        if out.head().headers.contains_key(AUTHORIZATION) { self.0.place(out) } else { Ok(()) }
    }
}

impl Exchange for AzureClientCredentials {
    fn obtain<'a>(&'a self, issuer: &'a dyn Issuer, values: Values<'a>) -> Obtained<'a> {
        Box::pin(async move {
            let form = self.form(issuer, &values).map_err(|fault| unusable(&fault))?;
            let ask = Ask { path: self.path.clone(), ..Ask::form(&self.login, form) };
            issuer.ask(ask).await?.token()
        })
    }
}

impl AzureClientCredentials {
    fn form(&self, issuer: &dyn Issuer, values: &Values<'_>) -> Result<Form, ArmFault> {
        let (id, credential) = (values.of("client_id")?, values.of(CREDENTIAL)?);
        let form = Form::grant("client_credentials").with("scope", self.scope.as_bytes());
        // exposed: looked at for its form alone
        if !credential.expose().starts_with(b"-----BEGIN") && !holds_block(credential) {
            return form.client(ClientAuth::Post, id, credential);
        }
        let signed = self.assertion(issuer, id, credential)?;
        Ok(form
            // exposed: into the request to the token endpoint
            .with("client_id", id.expose())
            .with("client_assertion_type", JWT_ASSERTION.as_bytes())
            .with("client_assertion", signed.as_bytes()))
    }

    /// What says that the application holds its certificate's key (RFC 7523, section 3).
    fn assertion(
        &self,
        issuer: &dyn Issuer,
        id: &Secret,
        certificate: &Secret,
    ) -> Result<zeroize::Zeroizing<String>, ArmFault> {
        let unfit = |why: String| ArmFault::Unfit { key: "certificate".to_owned(), why };
        let key = SigningKey::of_secret(certificate).map_err(|fault| unfit(fault.to_string()))?;
        if key.algorithm() != "RS256" {
            return Err(unfit(pem::PemFault::NotRsa.to_string()));
        }
        // exposed: its certificate is hashed, which is public
        let der = pem::first_certificate(certificate.expose()).map_err(|fault| unfit(fault.to_string()))?;
        let thumbprint = URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der));
        // exposed: the id names who signs
        let id = std::str::from_utf8(id.expose())
            .map_err(|_| ArmFault::Character { key: "client_id".to_owned() })?;
        let unsigned = |_| unfit("cannot sign now (what does the clock say?)".to_owned());
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| unfit("cannot sign: no randomness".to_owned()))?;
        let claims = Claims::lasting(issuer.now(), Duration::ZERO, LIFE)
            .map_err(unsigned)?
            .with("aud", ["https://", &self.login.target().authority(443), &self.path].concat())
            .with("iss", id)
            .with("sub", id)
            .with("jti", URL_SAFE_NO_PAD.encode(random));
        key.sign(&[("x5t#S256", &thumbprint)], &claims).map_err(unsigned)
    }
}

/// `openssl` writes remarks before the first block.
fn holds_block(value: &Secret) -> bool {
    // exposed: looked at for its form alone
    memchr::memmem::find(value.expose(), b"\n-----BEGIN ").is_some()
}

/// Stands in for the login host, all of it: no token of it is for the agent.
#[derive(Debug)]
struct Entra {
    login: TokenUrl,
    /// What its discovery calls the cloud.
    instance: &'static str,
}

fn instance(cloud: Option<&str>) -> &'static str {
    match cloud {
        Some("usgovernment") => "microsoftonline.us",
        Some("china") => "partner.microsoftonline.cn",
        Some(_) | None => "microsoftonline.com",
    }
}

impl StandIn for Entra {
    fn places(&self) -> Vec<Place> {
        vec![Place { target: self.login.target().clone(), plain: false }]
    }

    fn covers(&self, host: &Host, _path: &Path) -> bool {
        self.login.target().host == *host
    }

    fn answer(&self, call: &Call<'_>) -> Result<LocalAnswer, Refusal> {
        let segments: Vec<&str> = call.path.as_str().split('/').filter(|part| !part.is_empty()).collect();
        let get = *call.method == Method::GET;
        let host = self.login.target().authority(443);
        match segments.as_slice() {
            ["common", "discovery", "instance"] if get => Ok(json(discovery(&host))),
            [tenant, ".well-known", "openid-configuration"]
            | [tenant, "v2.0", ".well-known", "openid-configuration"]
                if get && is_tenant(tenant) =>
            {
                Ok(json(configuration(&host, tenant, self.instance)))
            }
            [tenant, "oauth2", "token"] | [tenant, "oauth2", "v2.0", "token"] if is_tenant(tenant) => {
                stand_in::token_answer(call, &["client_credentials", "refresh_token"])
            }
            _ => Err(stand_in::not_open()),
        }
    }
}

fn is_tenant(text: &str) -> bool {
    text.len() <= 100 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

fn json(value: serde_json::Value) -> LocalAnswer {
    LocalAnswer { content_type: "application/json", headers: Vec::new(), body: value.to_string() }
}

/// Which hosts are one cloud.
fn discovery(host: &str) -> serde_json::Value {
    serde_json::json!({
        "tenant_discovery_endpoint": format!("https://{host}/common/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{
            "preferred_network": host,
            "preferred_cache": host,
            "aliases": [host],
        }],
    })
}

/// Where a tenant gives tokens.
fn configuration(host: &str, tenant: &str, instance: &str) -> serde_json::Value {
    let base = format!("https://{host}/{tenant}");
    serde_json::json!({
        "token_endpoint": format!("{base}/oauth2/v2.0/token"),
        "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{base}/oauth2/v2.0/devicecode"),
        "issuer": format!("{base}/v2.0"),
        "jwks_uri": format!("{base}/discovery/v2.0/keys"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "tenant_region_scope": null,
        "cloud_instance_name": instance,
    })
}

#[cfg(test)]
mod tests;
