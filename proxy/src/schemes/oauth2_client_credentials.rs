//! `oauth2-client-credentials` (RFC 6749 section 4.4): a client's id and secret are exchanged for a token, which goes out as
//! `Authorization: Bearer`.

use control::catalog::{FieldKind, FieldSpec, Fields, SchemeSpec};
use control::token_url::TokenUrl;

use super::shared::bearer;
use super::shared::issuer::{Ask, ClientAuth, Form, Issuer, unusable};
use super::shared::stand_in::{StandIn, TokenEndpoint};
use super::shared::surface::Surface;
use super::{ArmFault, BuildError, CREDENTIAL, Exchange, Obtained, Rendered, Scheme, Values};

/// The field that every scheme with a token endpoint has.
pub(super) const TOKEN_URL: FieldSpec = FieldSpec {
    name: "tokenUrl",
    kind: FieldKind::TokenUrl,
    required: true,
    default: None,
    doc: "The token endpoint, `https://` only. The secret has to be bound to its host too; it is never open to the agent.",
};

/// What is asked for.
pub(super) const SCOPES: FieldSpec = FieldSpec {
    name: "scopes",
    kind: FieldKind::Scopes,
    required: false,
    default: None,
    doc: "The scopes that are asked for; the issuer's default where they are left out.",
};

/// How the client says who it is.
pub(super) const CLIENT_AUTH: FieldSpec = FieldSpec {
    name: "clientAuth",
    kind: FieldKind::Choice(ClientAuth::WORDS),
    required: false,
    default: Some("basic"),
    doc: "How the client's id and secret are sent to the token endpoint: `basic` (in the Authorization header) or `post` (in the form).",
};

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "oauth2-client-credentials",
    auth_types: &["oauth2-client-credentials"],
    inject_key: None,
    summary: "Exchanges a client's id and secret (keys `client_id` and `client_secret`) for a short-lived token, which is put on as `Authorization: Bearer`. The agent's own call to the token endpoint is answered by the proxy with a dummy.",
    auth_fields: &[
        TOKEN_URL,
        SCOPES,
        CLIENT_AUTH,
        FieldSpec {
            name: "audience",
            kind: FieldKind::Text,
            required: false,
            default: None,
            doc: "The `audience` parameter that some issuers ask for.",
        },
        FieldSpec {
            name: "resource",
            kind: FieldKind::Text,
            required: false,
            default: None,
            doc: "The `resource` parameter (RFC 8707).",
        },
    ],
    inject_fields: &[],
    default_keys: &["client_secret"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let text = |name| fields.text(name).map(str::to_owned);
    Ok(Box::new(ClientCredentials {
        surface: bearer::surface(),
        endpoint: TokenEndpoint(token_url(fields)?),
        scopes: text("scopes"),
        client_auth: ClientAuth::of(fields.text("clientAuth")),
        audience: text("audience"),
        resource: text("resource"),
    }))
}

/// The validated URL of the field.
pub(super) fn token_url(fields: &Fields) -> Result<TokenUrl, BuildError> {
    let text = fields.text("tokenUrl").ok_or(BuildError::Missing("tokenUrl"))?;
    let why = "is no URL of a token endpoint";
    TokenUrl::parse(text).map_err(|_| BuildError::Invalid { field: "tokenUrl", why })
}

#[derive(Debug)]
struct ClientCredentials {
    surface: Surface,
    endpoint: TokenEndpoint,
    scopes: Option<String>,
    client_auth: ClientAuth,
    audience: Option<String>,
    resource: Option<String>,
}

impl Scheme for ClientCredentials {
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

impl Exchange for ClientCredentials {
    fn obtain<'a>(&'a self, issuer: &'a dyn Issuer, values: Values<'a>) -> Obtained<'a> {
        Box::pin(async move {
            let ask = self.ask(&values).map_err(|fault| unusable(&fault))?;
            issuer.ask(ask).await?.token()
        })
    }
}

impl ClientCredentials {
    fn ask(&self, values: &Values<'_>) -> Result<Ask, ArmFault> {
        let form = Form::grant("client_credentials")
            .client(self.client_auth, values.of("client_id")?, values.of(CREDENTIAL)?)?
            .with_some("scope", self.scopes.as_deref())
            .with_some("audience", self.audience.as_deref())
            .with_some("resource", self.resource.as_deref());
        Ok(Ask::form(&self.endpoint.0, form))
    }
}
