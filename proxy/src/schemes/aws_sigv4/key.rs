//! Signing keys: derived from the secret access key, kept for a day, wiped when they go.
//!
//! Invariants: intermediate keys stand in wiped arrays only; what aws-lc keeps of a key it wipes itself when it frees it
//! (`HMAC_CTX_cleanup`, `EC_KEY_free`). The cache is bounded and holds no key of a day that is over.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, sign_to_buffer};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use control::secret::Secret;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::scope::{Algorithm, Stamp, TERMINATOR};

/// How many regions and services one credential is kept ready for.
const KEPT: usize = 64;
/// The order of P-256's group minus two (FIPS 186-5 section A.2.2; SP 800-186 section 3.2.1.3), big-endian.
const ORDER_MINUS_TWO: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x4f,
];

/// A key could not be derived; nothing of it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no AWS signing key can be derived from this secret")]
pub struct KeyFault;

/// The SigV4 key of one day, region and service.
pub struct SigningKey {
    key: Key,
    scope: Box<str>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Derives it: four HMACs, one inside the other.
    pub fn derive(secret: &Secret, day: &str, region: &str, service: &str) -> Result<Self, KeyFault> {
        let mut first = Zeroizing::new(Vec::with_capacity(secret.len() + 4));
        first.extend_from_slice(b"AWS4");
        // exposed: it is the root of the signing key; the copy is wiped
        first.extend_from_slice(secret.expose());
        let mut key = mac(&first, day.as_bytes())?;
        for part in [region, service, TERMINATOR] {
            key = mac(&*key, part.as_bytes())?;
        }
        let scope = [day, "/", region, "/", service, "/", TERMINATOR].concat().into();
        Ok(Self { key: Key::new(HMAC_SHA256, &*key), scope })
    }

    /// The credential scope: `20150830/us-east-1/s3/aws4_request`.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// The signature of a string to sign, in hex.
    pub fn sign(&self, text: &[u8]) -> [u8; 64] {
        hex(sign(&self.key, text).as_ref())
    }

    fn is_for(&self, day: &str, region: &str, service: &str) -> bool {
        let mut parts = self.scope.split('/');
        parts.next() == Some(day) && parts.next() == Some(region) && parts.next() == Some(service)
    }
}

fn mac(key: &[u8], text: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyFault> {
    let mut out = Zeroizing::new([0; 32]);
    sign_to_buffer(&Key::new(HMAC_SHA256, key), text, &mut *out).map_err(|_| KeyFault)?;
    Ok(out)
}

/// 32 bytes as 64 hexadecimal digits.
pub fn hex(bytes: &[u8]) -> [u8; 64] {
    let mut out = [b'0'; 64];
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    let digits = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    out.iter_mut().zip(digits).for_each(|(slot, digit)| *slot = digit);
    out
}

/// The SigV4A key of a credential; it does not depend on day, region or service.
pub struct EcdsaKey(EcdsaKeyPair);

impl fmt::Debug for EcdsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EcdsaKey")
    }
}

impl EcdsaKey {
    /// Derives it (SP 800-108 in counter mode with HMAC-SHA256, then FIPS 186-5 section A.2.2).
    pub fn derive(secret: &Secret, key_id: &[u8]) -> Result<Self, KeyFault> {
        let mut root = Zeroizing::new(Vec::with_capacity(secret.len() + 5));
        root.extend_from_slice(b"AWS4A");
        // exposed: it is the root of the signing key; the copy is wiped
        root.extend_from_slice(secret.expose());
        let mut input = Zeroizing::new(Vec::with_capacity(key_id.len() + 40));
        for counter in 1..=254_u8 {
            input.clear();
            input.extend_from_slice(&1_u32.to_be_bytes());
            input.extend_from_slice(Algorithm::Ecdsa.name().as_bytes());
            input.push(0);
            input.extend_from_slice(key_id);
            input.push(counter);
            input.extend_from_slice(&256_u32.to_be_bytes());
            let mut candidate = mac(&root, &input)?;
            // Big-endian: arrays compare as numbers. One in 2^32 is over; which one it was tells nothing of the next.
            if *candidate <= ORDER_MINUS_TWO {
                add_one(&mut candidate);
                return Self::of_scalar(&*candidate);
            }
        }
        Err(KeyFault)
    }

    fn of_scalar(scalar: &[u8]) -> Result<Self, KeyFault> {
        let private = PrivateKey::from_private_key(&ECDH_P256, scalar).map_err(|_| KeyFault)?;
        let public = private.compute_public_key().map_err(|_| KeyFault)?;
        EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            scalar,
            public.as_ref(),
        )
        .map(Self)
        .map_err(|_| KeyFault)
    }

    /// The signature of a string to sign, DER in hex. Not deterministic: aws-lc takes a random nonce.
    pub fn sign(&self, text: &[u8]) -> Result<String, KeyFault> {
        let signature = self.0.sign(&SystemRandom::new(), text).map_err(|_| KeyFault)?;
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        Ok(signature.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
    }

    #[cfg(test)]
    pub(super) fn public(&self) -> &[u8] {
        use aws_lc_rs::signature::KeyPair as _;
        self.0.public_key().as_ref()
    }
}

fn add_one(number: &mut [u8; 32]) {
    for byte in number.iter_mut().rev() {
        let (sum, carries) = byte.overflowing_add(1);
        *byte = sum;
        if !carries {
            return;
        }
    }
}

/// The keys of one credential, derived where they are first needed.
#[derive(Debug, Default)]
pub struct Keys {
    derived: Mutex<Vec<Arc<SigningKey>>>,
    ecdsa: OnceLock<Result<Arc<EcdsaKey>, KeyFault>>,
}

impl Keys {
    /// The SigV4 key of this day, region and service.
    pub fn of(
        &self,
        secret: &Secret,
        stamp: &Stamp,
        region: &str,
        service: &str,
    ) -> Result<Arc<SigningKey>, KeyFault> {
        let day = stamp.day();
        let mut derived = self.derived.lock();
        if let Some(key) = derived.iter().find(|key| key.is_for(day, region, service)) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(SigningKey::derive(secret, day, region, service)?);
        derived.retain(|key| key.scope().starts_with(day));
        if derived.len() >= KEPT {
            derived.remove(0);
        }
        derived.push(Arc::clone(&key));
        Ok(key)
    }

    /// The SigV4A key.
    pub fn ecdsa(&self, secret: &Secret, key_id: &[u8]) -> Result<Arc<EcdsaKey>, KeyFault> {
        self.ecdsa.get_or_init(|| EcdsaKey::derive(secret, key_id).map(Arc::new)).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn secret() -> Secret {
        Secret::new(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec())
    }

    fn stamp(day: u64) -> Stamp {
        Stamp::at(SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400)).unwrap()
    }

    #[test]
    fn a_key_is_derived_once_for_each_day_region_and_service() {
        let (keys, secret) = (Keys::default(), secret());
        let first = keys.of(&secret, &stamp(1), "us-east-1", "s3").unwrap();
        assert!(Arc::ptr_eq(&first, &keys.of(&secret, &stamp(1), "us-east-1", "s3").unwrap()));
        for other in [
            keys.of(&secret, &stamp(1), "us-east-2", "s3").unwrap(),
            keys.of(&secret, &stamp(1), "us-east-1", "sts").unwrap(),
            keys.of(&secret, &stamp(2), "us-east-1", "s3").unwrap(),
        ] {
            assert_ne!(first.sign(b"x"), other.sign(b"x"));
        }
    }

    #[test]
    fn the_cache_is_bounded_and_forgets_days_that_are_over() {
        let (keys, secret) = (Keys::default(), secret());
        for index in 0..200 {
            keys.of(&secret, &stamp(1), &format!("r-{index}"), "s3").unwrap();
        }
        assert_eq!(keys.derived.lock().len(), KEPT);
        keys.of(&secret, &stamp(2), "us-east-1", "s3").unwrap();
        assert_eq!(keys.derived.lock().len(), 1);
    }

    #[test]
    fn debug_shows_nothing_of_a_key() {
        let key = SigningKey::derive(&secret(), "20150830", "us-east-1", "iam").unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey { scope: \"20150830/us-east-1/iam/aws4_request\", .. }");
        assert_eq!(format!("{:?}", EcdsaKey::derive(&secret(), b"AKID").unwrap()), "EcdsaKey");
    }

    #[test]
    fn one_is_added_with_carry() {
        let mut number = [0xff; 32];
        number[0] = 1;
        add_one(&mut number);
        assert_eq!((number[0], &number[1..]), (2, &[0_u8; 31][..]));
    }
}
