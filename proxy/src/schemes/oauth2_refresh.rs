//! `oauth2-refresh` (RFC 6749 section 6): a stored refresh token is exchanged for a token, which goes out as
//! `Authorization: Bearer`. Where the issuer gives another refresh token, that one is kept before the token is used.
//!
//! A login (`doorward connect --oauth`) leaves its first token in the secret, with its end: it is used while it lives, so
//! that neither a start nor a second process has to use up the refresh token. What a vendor's API wants beside the token is
//! put on by the same scheme.

mod armed;
pub(crate) mod held;

use control::catalog::{FieldKind, FieldSpec, Fields, SchemeSpec};
use control::secret::Secret;
use control::token_url::TokenUrl;
use http::HeaderName;

use self::armed::Listed;
use self::held::Given;
use super::oauth2_client_credentials::{CLIENT_AUTH, SCOPES, TOKEN_URL, token_url};
use super::shared::bearer;
use super::shared::issuer::{Ask, ClientAuth, Form, Issued, Issuer, unusable};
use super::shared::json_body::JsonBody;
use super::shared::names;
use super::shared::stand_in::{LoginEndpoints, StandIn, TokenEndpoint};
use super::shared::surface::Surface;
use super::{ArmFault, BuildError, CREDENTIAL, Exchange, Obtained, Rendered, Scheme, Values};

const CLIENT_ID: FieldSpec = FieldSpec {
    name: "clientId",
    kind: FieldKind::Text,
    required: false,
    default: None,
    doc: "The client's id, which is no secret; in its place the secret may have a key `client_id`.",
};

const TOKEN_BODY: FieldSpec = FieldSpec {
    name: "tokenBody",
    kind: FieldKind::Choice(&["form", "json"]),
    required: false,
    default: Some("form"),
    doc: "How the token endpoint is asked: with a `form`, as RFC 6749 has it, or with a `json` object, as some issuers want it. An issuer of the second may leave out `token_type`.",
};

const fn text(name: &'static str, doc: &'static str) -> FieldSpec {
    FieldSpec { name, kind: FieldKind::Text, required: false, default: None, doc }
}

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "oauth2-refresh",
    auth_types: &["oauth2-refresh"],
    inject_key: Some("oauth2-refresh"),
    summary: "Exchanges a refresh token (keys `refresh_token`, `client_id` and, for confidential clients, `client_secret`) for a short-lived token, which is put on as `Authorization: Bearer`. Where the issuer gives another refresh token with each use, the vault has to hold the secret: the new one is kept there before the token is used. A stored `access_token` is used as long as a stored `expires_at` (seconds since 1970) says that it lives; without that its end is not known, and it is not used.",
    auth_fields: &[TOKEN_URL, SCOPES, CLIENT_AUTH, CLIENT_ID, TOKEN_BODY],
    inject_fields: &[
        TOKEN_URL,
        CLIENT_ID,
        text("tokenBody", "`form` (default) or `json`: how the token endpoint is asked."),
        text("scopes", "The scopes that are asked for, separated by blanks."),
        FieldSpec {
            name: "accountHeader",
            kind: FieldKind::HeaderName,
            required: false,
            default: None,
            doc: "A header that gets the secret's key `account_id`.",
        },
        text(
            "listed",
            "A header and a value that has to stand in its list, as `anthropic-beta: oauth-2025-04-20`; it is added where the agent does not say it itself.",
        ),
        text(
            "alsoAnswered",
            "More token endpoints, separated by blanks, whose calls of the agent are answered with a dummy; nothing is asked there.",
        ),
    ],
    default_keys: &["refresh_token"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let url = token_url(fields)?;
    let scopes = fields.text("scopes").map(str::to_owned);
    let header = |name: &str| {
        names::injectable(name).ok_or(BuildError::Invalid {
            field: "accountHeader",
            why: "names a header that cannot carry a credential",
        })
    };
    let is_json = match fields.text("tokenBody") {
        None | Some("form") => false,
        Some("json") => true,
        Some(_) => return Err(BuildError::Invalid { field: "tokenBody", why: "is not `form` or `json`" }),
    };
    Ok(Box::new(Refresh {
        surface: bearer::surface(),
        endpoint: endpoints(url.clone(), fields, scopes.clone())?,
        url,
        scopes,
        client_auth: ClientAuth::of(fields.text("clientAuth")),
        client_id: fields.text("clientId").map(str::to_owned),
        is_json,
        account_header: fields.text("accountHeader").map(header).transpose()?,
        listed: fields.text("listed").map(Listed::parse).transpose()?,
        given: Given::default(),
    }))
}

/// Where the agent's own calls are answered.
fn endpoints(url: TokenUrl, fields: &Fields, scopes: Option<String>) -> Result<LoginEndpoints, BuildError> {
    let why = "is no list of URLs of token endpoints";
    let more = fields.text("alsoAnswered").unwrap_or_default().split_ascii_whitespace();
    let more: Result<Vec<TokenUrl>, _> = more.map(TokenUrl::parse).collect();
    let more = more.map_err(|_| BuildError::Invalid { field: "alsoAnswered", why })?;
    Ok(LoginEndpoints { all: std::iter::once(url).chain(more).map(TokenEndpoint).collect(), scopes })
}

#[derive(Debug)]
struct Refresh {
    surface: Surface,
    endpoint: LoginEndpoints,
    url: TokenUrl,
    scopes: Option<String>,
    client_auth: ClientAuth,
    client_id: Option<String>,
    is_json: bool,
    account_header: Option<HeaderName>,
    listed: Option<Listed>,
    given: Given,
}

impl Scheme for Refresh {
    fn surface(&self) -> &Surface {
        &self.surface
    }

    fn arm(&self, values: &Values<'_>) -> Result<Rendered, ArmFault> {
        armed::arm(values, self.account_header.as_ref(), self.listed.as_ref())
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
            let beside = self.beside(&values).map_err(|fault| unusable(&fault))?;
            let mut issued = match self.given.stored(issuer.now(), &values) {
                Some(stored) => stored,
                None => self.refreshed(issuer, &values).await?,
            };
            if issued.fault.is_none() {
                self.given.remember(&issued.token);
            }
            issued.beside = beside;
            Ok(issued)
        })
    }

    fn renews(&self) -> bool {
        true
    }
}

impl Refresh {
    async fn refreshed(&self, issuer: &dyn Issuer, values: &Values<'_>) -> Result<Issued, super::Failed> {
        let ask = self.ask(values).map_err(|fault| unusable(&fault))?;
        // Kept under the key that was shown, which `secretKey` may name.
        let key = values.own_key().unwrap_or("refresh_token");
        let mut issued = issuer.ask(ask).await?.refreshed(key, self.is_json)?;
        held::settle(&mut issued, issuer.now(), values);
        Ok(issued)
    }

    /// What goes onto requests beside the token.
    fn beside(&self, values: &Values<'_>) -> Result<Vec<(String, Secret)>, ArmFault> {
        if self.account_header.is_none() {
            return Ok(Vec::new());
        }
        // exposed: copied beside the token, into the header that the vendor wants it in
        let account = Secret::new(values.of(armed::ACCOUNT)?.expose().to_vec());
        Ok(vec![(armed::ACCOUNT.to_owned(), account)])
    }

    fn ask(&self, values: &Values<'_>) -> Result<Ask, ArmFault> {
        let own = self.client_id.as_ref().map(|id| Secret::new(id.clone().into_bytes()));
        let id = match &own {
            Some(id) => id,
            None => values.of("client_id")?,
        };
        // exposed: into the request to the token endpoint, which its secret is bound to
        let token = values.of(CREDENTIAL)?.expose();
        if self.is_json {
            return self.json(token, id, values);
        }
        let form = Form::grant("refresh_token").with("refresh_token", token);
        let form = match values.of("client_secret") {
            Ok(secret) => form.client(self.client_auth, id, secret)?,
            // exposed: a public client says its id in the form (RFC 6749 section 3.2.1)
            Err(_) => form.with("client_id", id.expose()),
        };
        Ok(Ask::form(&self.url, form.with_some("scope", self.scopes.as_deref())))
    }

    fn json(&self, token: &[u8], id: &Secret, values: &Values<'_>) -> Result<Ask, ArmFault> {
        let mut body = JsonBody::default().with("grant_type", b"refresh_token")?;
        // exposed: a client says its id in the body
        body = body.with("refresh_token", token)?.with("client_id", id.expose())?;
        if let Ok(secret) = values.of("client_secret") {
            // exposed: into the request to the token endpoint, which its secret is bound to
            body = body.with("client_secret", secret.expose())?;
        }
        if let Some(scopes) = &self.scopes {
            body = body.with("scope", scopes.as_bytes())?;
        }
        Ok(Ask::json(&self.url, body))
    }
}

#[cfg(test)]
mod tests;
