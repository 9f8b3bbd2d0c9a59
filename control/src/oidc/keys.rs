//! The issuer's keys (RFC 7517): those that can sign an id token here, and no others.
//!
//! Refuses symmetric keys (whoever can verify with one can sign with it), RSA under 2048 bits and curves other than P-256.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// The most keys of a set that are looked at.
const MOST: usize = 100;

/// How an id token may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alg {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Alg {
    /// Reads it as a header writes it; `none` and those with shared keys are no algorithms here.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }
}

#[derive(Clone)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Uncompressed.
    P256(Vec<u8>),
}

/// One public key.
#[derive(Clone)]
pub struct Key {
    id: Option<String>,
    material: Material,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("alg", &self.alg()).finish_non_exhaustive()
    }
}

impl Key {
    /// The one algorithm that it is for.
    pub fn alg(&self) -> Alg {
        match self.material {
            Material::Rsa { .. } => Alg::Rs256,
            Material::P256(_) => Alg::Es256,
        }
    }

    /// Whether it signed this.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Rsa { n, e } => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            Material::P256(point) => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                key.verify(message, signature).is_ok()
            }
        }
    }
}

/// A key set.
#[derive(Clone, Debug)]
pub struct Keys(Vec<Key>);

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Reads a set; keys that are not for signing here are passed over. `None`: it is no set.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let set: Set = serde_json::from_slice(text).ok()?;
        let read = |value: serde_json::Value| key(serde_json::from_value(value).ok()?);
        Some(Self(set.keys.into_iter().take(MOST).filter_map(read).collect()))
    }

    /// The key of that name and algorithm; without a name, the only one of the algorithm.
    pub(super) fn find(&self, alg: Alg, id: Option<&str>) -> Option<Key> {
        let mut fitting = self.0.iter().filter(|key| key.alg() == alg);
        if let Some(id) = id {
            return fitting.find(|key| key.id.as_deref() == Some(id)).cloned();
        }
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => None,
        }
    }
}

fn key(jwk: Jwk) -> Option<Key> {
    let bytes = |text: Option<&String>| URL_SAFE_NO_PAD.decode(text?).ok();
    if jwk.r#use.as_deref().is_some_and(|usage| usage != "sig") {
        return None;
    }
    let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let mut n = bytes(jwk.n.as_ref())?;
            let zeros = n.iter().take_while(|byte| **byte == 0).count();
            n.drain(..zeros);
            Material::Rsa { n, e: bytes(jwk.e.as_ref())? }
        }
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes(jwk.x.as_ref())?, bytes(jwk.y.as_ref())?);
            if x.len() != 32 || y.len() != 32 {
                return None;
            }
            Material::P256([&[4][..], &x, &y].concat())
        }
        _ => return None,
    };
    let key = Key { id: jwk.kid, material };
    // A key that is for another algorithm is not used for this one.
    let fits = jwk.alg.as_deref().is_none_or(|alg| Alg::parse(alg) == Some(key.alg()));
    fits.then_some(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn passes_over_keys_that_are_not_for_signing_here() {
        let set = json!({"keys": [
            {"kty": "oct", "kid": "a", "k": "c2VjcmV0"},
            {"kty": "RSA", "kid": "b", "use": "enc", "n": "AQAB", "e": "AQAB"},
            {"kty": "RSA", "kid": "c", "alg": "RS512", "n": "AQAB", "e": "AQAB"},
            {"kty": "EC", "kid": "d", "crv": "P-384", "x": "AQAB", "y": "AQAB"},
            {"kty": "EC", "kid": "e", "crv": "P-256", "x": "AQAB", "y": "AQAB"},
            {"kty": "RSA", "kid": "f", "n": "!", "e": "AQAB"},
            {"kty": 7},
            {"kty": "RSA", "kid": "g", "n": "AQAB", "e": "AQAB"},
        ]});
        let keys = Keys::parse(set.to_string().as_bytes()).unwrap();
        assert_eq!(keys.0.len(), 1);
        assert!(keys.find(Alg::Rs256, Some("g")).is_some());
        assert!(keys.find(Alg::Es256, Some("g")).is_none(), "a key is for its own algorithm alone");
        assert!(keys.find(Alg::Rs256, Some("b")).is_none());
        assert!(keys.find(Alg::Rs256, None).is_some());
        // Too small to verify anything.
        assert!(!keys.find(Alg::Rs256, None).unwrap().has_signed(b"x", b"y"));
        for text in ["", "[]", "{}", "{\"keys\": 1}"] {
            assert!(Keys::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn without_a_name_only_an_only_key_is_meant() {
        let rsa = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"});
        let set = json!({"keys": [rsa, rsa]});
        assert!(Keys::parse(set.to_string().as_bytes()).unwrap().find(Alg::Rs256, None).is_none());
    }
}
