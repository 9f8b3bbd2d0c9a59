//! What an issuer says of itself (OpenID Connect Discovery 1.0): where its endpoints are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::{ACCEPT, AUTHORIZATION};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{OidcError, coded, field};
use crate::outgoing::{Ask, Outgoing, Place};
use crate::secret::Secret;

/// How the server shows its own secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// RFC 6749, section 2.3.1; what is meant where nothing is said.
    Basic,
    /// In the form.
    Post,
}

/// The endpoints.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) authorization: String,
    pub(super) token: Place,
    pub(super) keys: Place,
    shows: Shows,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
}

impl Facts {
    pub(super) async fn read(issuer: &str, outgoing: &Outgoing) -> Result<Self, OidcError> {
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let place = Place::parse(&url).map_err(OidcError::Unreachable)?;
        let answer = outgoing.call(&place, Ask::get()).await.map_err(OidcError::Unreachable)?;
        if !answer.status.is_success() {
            return Err(OidcError::Unusable("discovery document"));
        }
        Self::parse(issuer, &answer.body)
    }

    fn parse(issuer: &str, text: &[u8]) -> Result<Self, OidcError> {
        let unusable = || OidcError::Unusable("discovery document");
        let document: Document = serde_json::from_slice(text).map_err(|_| unusable())?;
        // Otherwise one issuer could speak for another (section 4.3).
        if document.issuer != issuer {
            return Err(OidcError::Unusable("discovery document, which is another issuer's,"));
        }
        if document.code_challenge_methods_supported.is_some_and(|all| !all.iter().any(|one| one == "S256")) {
            return Err(OidcError::Unusable("discovery document, which is without PKCE by S256,"));
        }
        let place = |url: &str| Place::parse(url).map_err(|_| unusable());
        place(&document.authorization_endpoint)?;
        let ways = document.token_endpoint_auth_methods_supported.unwrap_or_default();
        let has = |way: &str| ways.iter().any(|one| one == way);
        let shows = match has("client_secret_post") && !has("client_secret_basic") {
            true => Shows::Post,
            false => Shows::Basic,
        };
        Ok(Self {
            token: place(&document.token_endpoint)?,
            keys: place(&document.jwks_uri)?,
            authorization: document.authorization_endpoint,
            shows,
        })
    }

    /// The call that shows a code (RFC 6749, section 4.1.3; RFC 7636, section 4.5).
    pub(super) fn exchange(
        &self,
        client: &str,
        secret: Option<&Secret>,
        code: &Secret,
        verifier: &Secret,
        redirect: &str,
    ) -> Result<Ask, OidcError> {
        let mut form = Zeroizing::new(Vec::with_capacity(16 * 1024));
        field(&mut form, "grant_type", b"authorization_code");
        // exposed: shown to the issuer that gave it
        field(&mut form, "code", code.expose());
        field(&mut form, "redirect_uri", redirect.as_bytes());
        // exposed: proves to the issuer that the login is this one
        field(&mut form, "code_verifier", verifier.expose());
        if secret.is_none() || self.shows == Shows::Post {
            field(&mut form, "client_id", client.as_bytes());
        }
        let mut authorization = None;
        match (secret, self.shows) {
            // exposed: the server's own secret, shown to the issuer that knows it
            (Some(secret), Shows::Post) => field(&mut form, "client_secret", secret.expose()),
            (Some(secret), Shows::Basic) => authorization = Some(basic(client, secret)?),
            (None, _) => {}
        }
        let ask = Ask::post("application/x-www-form-urlencoded", form);
        let ask = ask.with(ACCEPT, HeaderValue::from_static("application/json"));
        Ok(match authorization {
            Some(value) => ask.with(AUTHORIZATION, value),
            None => ask,
        })
    }
}

fn basic(client: &str, secret: &Secret) -> Result<HeaderValue, OidcError> {
    let mut pair = Zeroizing::new(Vec::with_capacity(3 * (client.len() + secret.len()) + 1));
    coded(&mut pair, client.as_bytes());
    pair.push(b':');
    // exposed: the server's own secret, shown to the issuer that knows it
    coded(&mut pair, secret.expose());
    let mut text = Zeroizing::new(String::with_capacity(6 + 2 * pair.len() + 4));
    text.push_str("Basic ");
    STANDARD.encode_string(pair.as_slice(), &mut text);
    let mut value = HeaderValue::from_str(&text).map_err(|_| OidcError::Unusable("client secret"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://issuer.example/realm";

    fn document() -> Value {
        json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://issuer.example/authorize",
            "token_endpoint": "https://issuer.example/token",
            "jwks_uri": "https://keys.example/jwks",
        })
    }

    #[test]
    fn refuses_what_is_another_issuers_or_is_not_https() {
        for (field, value) in [
            ("issuer", json!("https://issuer.example/realm/")),
            ("issuer", json!("https://evil.example")),
            ("token_endpoint", json!("http://issuer.example/token")),
            ("jwks_uri", json!("file:///etc/passwd")),
            ("authorization_endpoint", json!("javascript:alert(1)")),
            ("code_challenge_methods_supported", json!(["plain"])),
            ("jwks_uri", Value::Null),
        ] {
            let mut document = document();
            document[field] = value.clone();
            let text = document.to_string();
            assert!(Facts::parse(ISSUER, text.as_bytes()).is_err(), "{field} {value}");
        }
        Facts::parse(ISSUER, document().to_string().as_bytes()).unwrap();
    }

    #[test]
    fn the_secret_is_shown_as_the_issuer_wants_it() {
        let secret = Secret::new(b"s:e c".to_vec());
        let (code, verifier) = (Secret::new(b"c&d".to_vec()), Secret::new(b"v".to_vec()));
        let shown = |ways: &[&str]| {
            let mut document = document();
            document["token_endpoint_auth_methods_supported"] = json!(ways);
            let facts = Facts::parse(ISSUER, document.to_string().as_bytes()).unwrap();
            facts.exchange("me", Some(&secret), &code, &verifier, "http://127.0.0.1:1/callback").unwrap()
        };
        let basic = format!("{:?}", shown(&[]));
        assert!(basic.contains("Sensitive") && !basic.contains("s%3Ae"), "{basic}");
        let post = shown(&["client_secret_post"]).into_body();
        let post = String::from_utf8(post.to_vec()).unwrap();
        assert_eq!(
            post,
            "grant_type=authorization_code&code=c%26d&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcallback\
             &code_verifier=v&client_id=me&client_secret=s%3Ae%20c"
        );
    }
}
