//! The two tokens of an agent that is managed by a server: the sidecar's (`dwa_…`), which opens the stream, and the agent's
//! own (`dwp_…`), which opens nothing but the sidecar's proxy port.
//!
//! The agent must never hold the first: with it, it could ask the server for its own secrets, sealed to a key of its own. The
//! second is made from the first in one direction, so that nothing has to be handed out twice.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What the sidecar's token begins with.
pub const SIDECAR_PREFIX: &str = "dwa_";
/// What the agent's own token begins with.
pub const AGENT_PREFIX: &str = "dwp_";
/// 32 bytes as base64url.
const BODY: usize = 43;

/// A JSON object in base64url, as headers of JWTs begin.
const JWT_BEGIN: &[u8] = b"eyJ";

/// Whether a token is a JWT, as those of Kubernetes ServiceAccounts are: by its form alone, before anything is looked up.
pub fn is_jwt(token: &[u8]) -> bool {
    token.starts_with(JWT_BEGIN) && token.iter().filter(|byte| **byte == b'.').count() == 2
}

/// The text is not a sidecar's token. Says nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sidecar's token is `dwa_` and 43 characters, as the server printed it when the agent was made")]
pub struct TokenError;

/// A sidecar's token.
#[derive(Debug)]
pub struct SidecarToken(Secret);

impl SidecarToken {
    /// Reads the token, with space around it.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim_ascii();
        let body = text.strip_prefix(SIDECAR_PREFIX).ok_or(TokenError)?;
        let fits =
            body.len() == BODY && body.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if fits { Ok(Self(Secret::new(text.as_bytes().to_vec()))) } else { Err(TokenError) }
    }

    /// One that no server knows: what the agent's own is made from where the sidecar shows its server something that changes from
    /// hour to hour.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn of_nobody() -> Result<Self, getrandom::Error> {
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *random)?;
        Ok(Self(Secret::new(text(SIDECAR_PREFIX, &random))))
    }

    /// The token itself.
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// What the agent authenticates with at its sidecar.
    pub fn agents_own(&self) -> Secret {
        // exposed: input of a keyed digest
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.expose()) else {
            // A key of any length is one; an empty token would be no way in.
            return Secret::new(Vec::new());
        };
        mac.update(b"doorward agent's own token 1");
        let digest = Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()));
        Secret::new(text(AGENT_PREFIX, &digest))
    }
}

fn text(prefix: &str, bytes: &[u8; 32]) -> Vec<u8> {
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + BODY));
    text.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
    std::mem::take(&mut *text).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_texts_that_are_no_sidecars_token() {
        let body = "A".repeat(BODY);
        for bad in [
            String::new(),
            body.clone(),
            format!("dwt_{body}"),
            format!("dwp_{body}"),
            format!("dwa_{body}A"),
            format!("dwa_{}", "A".repeat(BODY - 1)),
            format!("dwa_{}=", "A".repeat(BODY - 1)),
            format!("dwa_{} dwa_", "A".repeat(BODY - 5)),
        ] {
            assert_eq!(SidecarToken::parse(&bad).unwrap_err(), TokenError, "{bad}");
        }
        assert!(SidecarToken::parse(&format!(" dwa_{body}\n")).is_ok());
    }

    #[test]
    fn tells_jwts_by_their_form() {
        assert!(is_jwt(b"eyJhbGci.e30.c2ln"));
        for text in ["dwa_AAAA", "dwt_a.b.c", "eyJ", "eyJ.a", "eyJ.a.b.c", "a.b.c", ""] {
            assert!(!is_jwt(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn the_agents_own_token_follows_from_the_sidecars_and_is_of_another_class() {
        let of = |c: &str| SidecarToken::parse(&format!("dwa_{}", c.repeat(BODY))).unwrap().agents_own();
        let own = of("A");
        let text = str::from_utf8(own.expose()).unwrap();
        assert!(text.starts_with(AGENT_PREFIX) && text.len() == AGENT_PREFIX.len() + BODY);
        assert!(of("A").matches(own.expose()) && !of("B").matches(own.expose()));
        let fresh = SidecarToken::of_nobody().unwrap();
        assert!(SidecarToken::parse(str::from_utf8(fresh.secret().expose()).unwrap()).is_ok());
        assert!(!SidecarToken::of_nobody().unwrap().secret().matches(fresh.secret().expose()));
    }
}
