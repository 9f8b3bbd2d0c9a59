//! What binds a code to the login that asked for it: PKCE with S256 (RFC 7636), and `state` against codes of others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use control::secret::Secret;
use zeroize::Zeroizing;

/// One login's secrets, all of them random.
#[derive(Debug)]
pub(super) struct Pkce {
    /// Shown to the token endpoint alone.
    pub(super) verifier: Secret,
    /// Comes back with the code.
    pub(super) state: Secret,
    /// The name of the page of ours from which the browser starts.
    pub(super) entry: Secret,
}

impl Pkce {
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        Ok(Self { verifier: random()?, state: random()?, entry: random()? })
    }

    /// The verifier's SHA-256 (RFC 7636 section 4.2).
    pub(super) fn challenge(&self) -> String {
        // exposed: hashed; the hash is what the browser carries
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.verifier.expose());
        URL_SAFE_NO_PAD.encode(hash)
    }
}

/// 256 bits as 43 characters.
fn random() -> Result<Secret, getrandom::Error> {
    let mut bits = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut *bits)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bits.as_slice()).into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_rfc_7636_appendix_b() {
        let verifier = Secret::new(b"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_vec());
        let pkce = Pkce { verifier, state: Secret::new(Vec::new()), entry: Secret::new(Vec::new()) };
        assert_eq!(pkce.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn no_two_logins_share_anything() {
        let (one, other) = (Pkce::new().unwrap(), Pkce::new().unwrap());
        let values = [&one.verifier, &one.state, &one.entry, &other.verifier, &other.state, &other.entry];
        for (index, value) in values.iter().enumerate() {
            assert_eq!(value.len(), 43);
            assert!(values.iter().skip(index + 1).all(|later| !later.matches(value.expose())));
        }
    }
}
