//! A token of a Kubernetes ServiceAccount as it comes in: its form, and when it says that it ends. Nothing of it is believed
//! before the API server has reviewed it; its end only shortens what is kept and streamed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The longest token. Those of Kubernetes have one or two KiB.
const MOST: usize = 16 * 1024;
/// A token that nobody has verified.
#[derive(Debug)]
pub(in crate::sync::server) struct Jwt {
    text: Secret,
    digest: [u8; 32],
    ends: i64,
}

#[derive(Deserialize)]
struct Claims {
    exp: i64,
}

impl Jwt {
    /// Three parts in base64url, of which the second names an end. The tokens that Kubernetes once made without one are none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if text.len() > MOST || !text.split('.').all(|part| !part.is_empty() && part.bytes().all(is_plain)) {
            return None;
        }
        let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims).ok()?);
        // An array would be read as the fields in their order.
        if claims.first() != Some(&b'{') {
            return None;
        }
        let Claims { exp: ends } = serde_json::from_slice(&claims).ok()?;
        let digest = Sha256::digest(text).into();
        Some(Self { text: Secret::new(text.as_bytes().to_vec()), digest, ends })
    }

    pub(super) fn text(&self) -> &Secret {
        &self.text
    }

    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// When it ends, as it says, unix seconds.
    pub(super) fn ends(&self) -> i64 {
        self.ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coded(claims: &str) -> String {
        format!("eyJhbGciOiJSUzI1NiJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn refuses_what_is_no_token_with_an_end() {
        let good = coded(r#"{"exp":7,"sub":"x"}"#);
        for text in [
            coded("{}"),
            coded(r#"{"exp":"7"}"#),
            coded(r#"{"exp":7,"exp":9}"#),
            coded("[7]"),
            coded("x"),
            format!("{good}."),
            format!("{good}="),
            format!("{good} "),
            good.replace(".c2ln", "."),
            good.replace(".c2ln", ""),
            "eyJ..".to_owned(),
            format!("eyJ{}.e30.c2ln", "A".repeat(MOST)),
        ] {
            assert!(Jwt::parse(&text).is_none(), "{text}");
        }
        let jwt = Jwt::parse(&good).unwrap();
        assert_eq!((jwt.ends(), jwt.text().matches(good.as_bytes())), (7, true));
        assert!(!format!("{jwt:?}").contains("c2ln"));
    }
}
