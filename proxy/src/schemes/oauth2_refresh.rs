//! `oauth2-refresh` (RFC 6749 section 6): a stored refresh token is exchanged for a token, which goes out as
//! `Authorization: Bearer`. Where the issuer gives another refresh token, that one is kept before the token is used.

use control::catalog::{Fields, SchemeSpec};

use super::oauth2_client_credentials::{CLIENT_AUTH, SCOPES, TOKEN_URL, token_url};
use super::shared::bearer;
use super::shared::issuer::{Ask, ClientAuth, Form, Issuer, unusable};
use super::shared::stand_in::{StandIn, TokenEndpoint};
use super::shared::surface::Surface;
use super::{ArmFault, BuildError, CREDENTIAL, Exchange, Obtained, Rendered, Scheme, Values};

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "oauth2-refresh",
    auth_types: &["oauth2-refresh"],
    inject_key: None,
    summary: "Exchanges a refresh token (keys `refresh_token`, `client_id` and, for confidential clients, `client_secret`) for a short-lived token, which is put on as `Authorization: Bearer`. Where the issuer gives another refresh token with each use, the vault has to hold the secret: the new one is kept there before the token is used. A stored `access_token` is not used, since its end is not known.",
    auth_fields: &[TOKEN_URL, SCOPES, CLIENT_AUTH],
    inject_fields: &[],
    default_keys: &["refresh_token"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    Ok(Box::new(Refresh {
        surface: bearer::surface(),
        endpoint: TokenEndpoint(token_url(fields)?),
        scopes: fields.text("scopes").map(str::to_owned),
        client_auth: ClientAuth::of(fields.text("clientAuth")),
    }))
}

#[derive(Debug)]
struct Refresh {
    surface: Surface,
    endpoint: TokenEndpoint,
    scopes: Option<String>,
    client_auth: ClientAuth,
}

impl Scheme for Refresh {
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

impl Exchange for Refresh {
    fn obtain<'a>(&'a self, issuer: &'a dyn Issuer, values: Values<'a>) -> Obtained<'a> {
        Box::pin(async move {
            let ask = self.ask(&values).map_err(|fault| unusable(&fault))?;
            // Kept under the key that was shown, which `secretKey` may name.
            issuer.ask(ask).await?.refreshed(values.own_key().unwrap_or("refresh_token"))
        })
    }

    fn renews(&self) -> bool {
        true
    }
}

impl Refresh {
    fn ask(&self, values: &Values<'_>) -> Result<Ask, ArmFault> {
        // exposed: into the request to the token endpoint, which its secret is bound to
        let token = values.of(CREDENTIAL)?.expose();
        let form = Form::grant("refresh_token").with("refresh_token", token);
        let id = values.of("client_id")?;
        let form = match values.of("client_secret") {
            Ok(secret) => form.client(self.client_auth, id, secret)?,
            // exposed: a public client says its id in the form (RFC 6749 section 3.2.1)
            Err(_) => form.with("client_id", id.expose()),
        };
        Ok(Ask::form(&self.endpoint.0, form.with_some("scope", self.scopes.as_deref())))
    }
}
