//! `jwt-bearer` (RFC 7523): an assertion signed with the secret's private key is exchanged for a token, which goes out as
//! `Authorization: Bearer`.

use std::time::Duration;

use control::catalog::{FieldKind, FieldSpec, Fields, SchemeSpec};
use zeroize::Zeroizing;

use super::oauth2_client_credentials::{SCOPES, TOKEN_URL, token_url};
use super::shared::bearer;
use super::shared::issuer::{Ask, Form, Issuer, unusable};
use super::shared::jwt::{Claims, SigningKey};
use super::shared::stand_in::{StandIn, TokenEndpoint};
use super::shared::surface::Surface;
use super::{ArmFault, BuildError, CREDENTIAL, Exchange, Obtained, Rendered, Scheme, Values};

const fn text(name: &'static str, required: bool, doc: &'static str) -> FieldSpec {
    FieldSpec { name, kind: FieldKind::Text, required, default: None, doc }
}

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "jwt-bearer",
    auth_types: &["jwt-bearer"],
    inject_key: None,
    summary: "Exchanges an assertion that is signed with the secret's private key (key `private_key`, PEM; RS256 or ES256 by the key) for a short-lived token, which is put on as `Authorization: Bearer`.",
    auth_fields: &[
        TOKEN_URL,
        SCOPES,
        text("issuer", true, "Who signs: the assertion's `iss`."),
        text("subject", false, "For whom: its `sub`; the issuer where it is left out."),
        text("audience", false, "For which issuer of tokens: its `aud`; the token URL where it is left out."),
        text("keyId", false, "The `kid` in the assertion's header, for issuers that know several keys."),
    ],
    inject_fields: &[],
    default_keys: &["private_key"],
};

/// How long an assertion lives: long enough for clocks that differ, too short to be worth stealing.
const ASSERTION_LIFE: Duration = Duration::from_secs(300);
/// How far it is antedated, for issuers whose clock is behind.
const ANTEDATED: Duration = Duration::from_secs(10);

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let url = token_url(fields)?;
    let text = |name| fields.text(name).map(str::to_owned);
    let issuer = text("issuer").ok_or(BuildError::Missing("issuer"))?;
    Ok(Box::new(JwtBearer {
        surface: bearer::surface(),
        subject: text("subject").unwrap_or_else(|| issuer.clone()),
        audience: text("audience").unwrap_or_else(|| url.to_string()),
        issuer,
        key_id: text("keyId"),
        scopes: text("scopes"),
        endpoint: TokenEndpoint(url),
    }))
}

#[derive(Debug)]
struct JwtBearer {
    surface: Surface,
    endpoint: TokenEndpoint,
    issuer: String,
    subject: String,
    audience: String,
    key_id: Option<String>,
    scopes: Option<String>,
}

impl Scheme for JwtBearer {
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
        Some(&self.endpoint)
    }
}

impl Exchange for JwtBearer {
    fn obtain<'a>(&'a self, issuer: &'a dyn Issuer, values: Values<'a>) -> Obtained<'a> {
        Box::pin(async move {
            let assertion = self.assertion(issuer, &values).map_err(|fault| unusable(&fault))?;
            let form = Form::grant(GRANT)
                .with("assertion", assertion.as_bytes())
                .with_some("scope", self.scopes.as_deref());
            issuer.ask(Ask::form(&self.endpoint.0, form)).await?.token()
        })
    }
}

impl JwtBearer {
    fn assertion(&self, issuer: &dyn Issuer, values: &Values<'_>) -> Result<Zeroizing<String>, ArmFault> {
        let unfit =
            |why: String| ArmFault::Unfit { key: values.own_key().unwrap_or("private_key").to_owned(), why };
        let key = SigningKey::of_secret(values.of(CREDENTIAL)?).map_err(|fault| unfit(fault.to_string()))?;
        let claims = Claims::lasting(issuer.now(), ANTEDATED, ASSERTION_LIFE)
            .map_err(|fault| unfit(fault.to_string()))?
            .with("iss", self.issuer.as_str())
            .with("sub", self.subject.as_str())
            .with("aud", self.audience.as_str())
            .with("jti", unique()?);
        let header: Vec<(&str, &str)> = self.key_id.iter().map(|id| ("kid", id.as_str())).collect();
        key.sign(&header, &claims).map_err(|fault| unfit(fault.to_string()))
    }
}

/// Issuers may take an assertion once only (RFC 7523 section 3).
fn unique() -> Result<String, ArmFault> {
    let mut bytes = [0; 16];
    let drawn = getrandom::fill(&mut bytes);
    drawn.map_err(|_| ArmFault::Unfit {
        key: "private_key".to_owned(),
        why: "finds no randomness".to_owned(),
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
