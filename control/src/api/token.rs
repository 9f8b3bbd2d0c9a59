//! Tokens: 32 random bytes behind a prefix that says whose kind they are.
//!
//! A token of the wrong class is refused by its prefix, before any look-up. Only SHA-256 digests are kept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use crate::registry::TokenDigest;
use crate::secret::Secret;

/// Random bytes of a token.
const BYTES: usize = 32;
/// A prefix, and 32 bytes in base64url without padding.
const LENGTH: usize = 4 + 43;

/// Whose kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `dwa_`: a sidecar, on behalf of an agent. Opens `/v1/sync` and nothing else.
    Agent,
    /// `dwt_`: a person or a program that manages. Opens the API and not `/v1/sync`.
    Api,
    /// `dwb_`: the first token of an installation; as an API token of its owner.
    Root,
}

impl Class {
    /// The prefix.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Agent => "dwa_",
            Self::Api => "dwt_",
            Self::Root => "dwb_",
        }
    }

    /// By the prefix and the form; `None`: it can be no token.
    pub fn of(token: &[u8]) -> Option<Self> {
        let class = [Self::Agent, Self::Api, Self::Root]
            .into_iter()
            .find(|class| token.starts_with(class.prefix().as_bytes()))?;
        let rest = token.get(class.prefix().len()..)?;
        let fits = token.len() == LENGTH
            && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        fits.then_some(class)
    }
}

/// Why no token could be made.
#[derive(Debug, thiserror::Error)]
#[error("the system gave no random bytes")]
pub struct NoRandom;

/// Names an object in public: 64 random bits.
///
/// # Errors
/// The system has no random bytes.
pub fn random_id() -> Result<String, NoRandom> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|_| NoRandom)?;
    Ok(hex::encode(random))
}

/// Makes a token and its digest.
///
/// # Errors
/// The system has no random bytes.
pub fn mint(class: Class) -> Result<(Secret, TokenDigest), NoRandom> {
    let mut random = Zeroizing::new([0_u8; BYTES]);
    getrandom::fill(&mut *random).map_err(|_| NoRandom)?;
    let mut text = String::with_capacity(LENGTH);
    text.push_str(class.prefix());
    URL_SAFE_NO_PAD.encode_string(random.as_slice(), &mut text);
    random.zeroize();
    let digest = digest(text.as_bytes());
    Ok((Secret::new(text.into_bytes()), digest))
}

/// What is kept of a token, and looked up.
pub fn digest(token: &[u8]) -> TokenDigest {
    TokenDigest(Sha256::digest(token).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_token_of_its_class() {
        let rest = "A".repeat(43);
        for text in [
            String::new(),
            "dwt_".to_owned(),
            format!("dwx_{rest}"),
            format!("DWT_{rest}"),
            format!("dwt_{rest}A"),
            format!("dwt_{}", "=".repeat(43)),
            rest.clone(),
        ] {
            assert_eq!(Class::of(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Class::of(format!("dwa_{rest}").as_bytes()), Some(Class::Agent));
    }

    #[test]
    fn minted_tokens_differ_and_read_back() {
        for class in [Class::Agent, Class::Api, Class::Root] {
            let (token, kept) = mint(class).unwrap();
            let (other, _) = mint(class).unwrap();
            assert!(!token.matches(other.expose()));
            assert_eq!(Class::of(token.expose()), Some(class));
            assert!(digest(token.expose()).matches(&kept));
        }
    }
}
