//! Signed JSON web tokens (RFC 7515, RFC 7519): the assertions with which tokens are bought.
//!
//! Signs with RS256 or ES256, whichever the key is for; the time is passed in. Refuses keys that are no RSA key of 2048 to
//! 8192 bits and no key of P-256. Invariants: keys stand in what aws-lc wipes when it frees it (`EVP_PKEY_free`), all else that holds
//! them is wiped; a signed token is a credential, so it stands in wiped text of its final size.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use control::pem::{KeyForm, KeyKind, PemFault, PrivateKey};
use control::secret::Secret;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// The largest signature: RSA with 8192 bits.
const LONGEST_SIGNATURE: usize = 1024;

/// Why a key cannot sign. Tells nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It is not there, or damaged.
    #[error("{0}")]
    Pem(PemFault),
    /// It is another key than what can be signed with.
    #[error("holds a private key that is neither RSA of 2048 to 8192 bits nor of the curve P-256")]
    Unfit,
}

/// A token could not be signed: the clock or the key does not allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token cannot be signed")]
pub struct SignFault;

/// A private key that signs tokens.
pub struct SigningKey(Pair);

enum Pair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.algorithm()).finish()
    }
}

impl SigningKey {
    /// Of a secret that is a PEM text: PKCS#8, PKCS#1 or SEC1.
    pub fn of_secret(secret: &Secret) -> Result<Self, KeyFault> {
        // exposed: parsed into a key that is wiped when it goes
        Self::of_pem(secret.expose())
    }

    /// Of a PEM text inside a secret (the `private_key` of a key file).
    pub fn of_pem(text: &[u8]) -> Result<Self, KeyFault> {
        let key = PrivateKey::read(text).map_err(KeyFault::Pem)?;
        let pair = match (key.kind(), key.form) {
            (KeyKind::Rsa, KeyForm::Pkcs1) => RsaKeyPair::from_der(&key.der).map(Pair::Rsa),
            (KeyKind::Rsa, _) => RsaKeyPair::from_pkcs8(&key.der).map(Pair::Rsa),
            (KeyKind::Ec, _) => {
                let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
                EcdsaKeyPair::from_private_key_der(signing, &key.der).map(Pair::Ecdsa)
            }
            (KeyKind::Other, _) => return Err(KeyFault::Unfit),
        };
        pair.map(Self).map_err(|_| KeyFault::Unfit)
    }

    /// The `alg` of what it signs.
    pub fn algorithm(&self) -> &'static str {
        match &self.0 {
            Pair::Rsa(_) => "RS256",
            Pair::Ecdsa(_) => "ES256",
        }
    }

    /// A signed token: `alg` and `typ` are set, `header` adds to them (`kid`, `x5t#S256`).
    pub fn sign(&self, header: &[(&str, &str)], claims: &Claims) -> Result<Zeroizing<String>, SignFault> {
        let mut all = Map::new();
        all.insert("alg".to_owned(), self.algorithm().into());
        all.insert("typ".to_owned(), "JWT".into());
        all.extend(header.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
        let bytes = |map| serde_json::to_vec(map).map_err(|_| SignFault);
        self.compact(&bytes(&all)?, &bytes(&claims.0)?)
    }

    /// The compact form of a header and a payload (RFC 7515, section 7.1).
    fn compact(&self, header: &[u8], payload: &[u8]) -> Result<Zeroizing<String>, SignFault> {
        let coded = |length: usize| length.div_ceil(3) * 4;
        let room = coded(header.len()) + coded(payload.len()) + coded(LONGEST_SIGNATURE) + 2;
        let mut token = Zeroizing::new(String::with_capacity(room));
        URL_SAFE_NO_PAD.encode_string(header, &mut token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self.signature(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(&*signature, &mut token);
        debug_assert!(token.len() <= room, "text that grows leaves an unwiped copy");
        Ok(token)
    }

    fn signature(&self, input: &[u8]) -> Result<Zeroizing<Vec<u8>>, SignFault> {
        match &self.0 {
            Pair::Rsa(pair) => {
                let mut signature = Zeroizing::new(vec![0; pair.public_modulus_len()]);
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input, &mut signature)
                    .map_err(|_| SignFault)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&SystemRandom::new(), input).map_err(|_| SignFault)?;
                Ok(Zeroizing::new(signature.as_ref().to_vec()))
            }
        }
    }
}

/// What a token says. None of it is secret.
#[derive(Clone, Debug, Default)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// Made at `now` (`iat`), good for `life` after it (`exp`). `back` antedates it, for issuers whose clock is behind.
    pub fn lasting(now: SystemTime, back: Duration, life: Duration) -> Result<Self, SignFault> {
        let now = now.duration_since(UNIX_EPOCH).map_err(|_| SignFault)?;
        let issued = now.checked_sub(back).ok_or(SignFault)?;
        let expires = now.checked_add(life).ok_or(SignFault)?;
        Ok(Self::default().with("iat", issued.as_secs()).with("exp", expires.as_secs()))
    }

    /// With this claim.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
