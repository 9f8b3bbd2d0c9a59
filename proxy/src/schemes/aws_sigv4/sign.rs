//! Signatures: the string to sign, `Authorization`, and the query of a presigned request.
//!
//! Pure: what is signed, when and with which key are arguments. Refuses a life of a presigned request beyond AWS' seven
//! days. Nothing here holds a secret access key; a session token passes through wiped buffers only.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::canonical::{Unsigned, canonical, names_into, value_into};
use super::key::{EcdsaKey, KeyFault, SigningKey, hex};
use super::scope::{Algorithm, Stamp, TERMINATOR};

/// How long a presigned request may live, in seconds (AWS: seven days).
pub const LONGEST_LIFE: u32 = 7 * 24 * 60 * 60;

/// The key that signs, with the scope that goes with it.
#[derive(Clone, Debug)]
pub enum Signer {
    /// SigV4.
    Hmac(Arc<SigningKey>),
    /// SigV4A, for these regions (`*` for all).
    Ecdsa {
        /// The key.
        key: Arc<EcdsaKey>,
        /// `20150830/s3/aws4_request`.
        scope: Box<str>,
        /// `X-Amz-Region-Set`.
        regions: Box<str>,
    },
}

impl Signer {
    /// A SigV4A signer.
    pub fn ecdsa(key: Arc<EcdsaKey>, stamp: &Stamp, service: &str, regions: &str) -> Self {
        let scope = [stamp.day(), "/", service, "/", TERMINATOR].concat().into();
        Self::Ecdsa { key, scope, regions: regions.into() }
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Hmac(_) => Algorithm::Hmac,
            Self::Ecdsa { .. } => Algorithm::Ecdsa,
        }
    }

    /// The credential scope.
    pub fn scope(&self) -> &str {
        match self {
            Self::Hmac(key) => key.scope(),
            Self::Ecdsa { scope, .. } => scope,
        }
    }

    fn sign(&self, text: &[u8]) -> Result<String, KeyFault> {
        match self {
            Self::Hmac(key) => Ok(String::from_utf8_lossy(&key.sign(text)).into_owned()),
            Self::Ecdsa { key, .. } => key.sign(text),
        }
    }
}

/// A signature over a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature(pub String);

/// The hash of bytes as AWS writes it.
pub fn hash(bytes: &[u8]) -> [u8; 64] {
    hex(digest(&SHA256, bytes).as_ref())
}

/// The string to sign of a canonical request.
pub fn string_to_sign(signer: &Signer, stamp: &Stamp, canonical: &[u8]) -> Vec<u8> {
    let hash = hash(canonical);
    let parts = [signer.algorithm().name(), stamp.text(), signer.scope()];
    let mut out = Vec::with_capacity(160);
    for part in parts {
        out.extend_from_slice(part.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(&hash);
    out
}

/// Signs a request whose headers are complete.
pub fn signature(
    signer: &Signer,
    stamp: &Stamp,
    request: &Unsigned<'_>,
    names: &[&str],
) -> Result<Signature, KeyFault> {
    let canonical = canonical(request, names);
    signer.sign(&string_to_sign(signer, stamp, &canonical)).map(Signature)
}

/// The value of `Authorization`.
pub fn authorization(
    signer: &Signer,
    key_id: &[u8],
    names: &[&str],
    signature: &Signature,
) -> Zeroizing<Vec<u8>> {
    let listed: usize = names.iter().map(|name| name.len() + 1).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(key_id.len() + listed + signature.0.len() + 128));
    out.extend_from_slice(signer.algorithm().name().as_bytes());
    out.extend_from_slice(b" Credential=");
    out.extend_from_slice(key_id);
    out.push(b'/');
    out.extend_from_slice(signer.scope().as_bytes());
    out.extend_from_slice(b", SignedHeaders=");
    names_into(names, &mut out);
    out.extend_from_slice(b", Signature=");
    out.extend_from_slice(signature.0.as_bytes());
    out
}

/// What stands in the query of a presigned request.
#[derive(Clone, Copy)]
pub struct Presign<'a> {
    /// The access key id.
    pub key_id: &'a [u8],
    /// The session token.
    pub session_token: Option<&'a [u8]>,
    /// How many seconds it lives.
    pub life: u32,
}

impl std::fmt::Debug for Presign<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presign").field("life", &self.life).finish_non_exhaustive()
    }
}

/// A presigned request's `X-Amz-Expires` is not within AWS' bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("X-Amz-Expires has to be a number of seconds from 1 to {LONGEST_LIFE}")]
pub struct LifeFault;

/// Reads `X-Amz-Expires`.
pub fn life(text: &str) -> Result<u32, LifeFault> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let life = if is_number { text.parse().ok() } else { None };
    life.filter(|life| (1..=LONGEST_LIFE).contains(life)).ok_or(LifeFault)
}

/// The whole query of a presigned request, signature included. `request.query` is without any signing parameter.
pub fn presigned(
    signer: &Signer,
    stamp: &Stamp,
    request: &Unsigned<'_>,
    names: &[&str],
    presign: &Presign<'_>,
) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let mut query = with_parameters(signer, stamp, request.query, names, presign);
    let text = std::str::from_utf8(&query).map_err(|_| KeyFault)?;
    let signature = signature(signer, stamp, &Unsigned { query: text, ..*request }, names)?;
    query.extend_from_slice(b"&X-Amz-Signature=");
    query.extend_from_slice(signature.0.as_bytes());
    Ok(query)
}

fn with_parameters(
    signer: &Signer,
    stamp: &Stamp,
    query: &str,
    names: &[&str],
    presign: &Presign<'_>,
) -> Zeroizing<Vec<u8>> {
    let listed: usize = names.iter().map(|name| name.len() + 3).sum();
    let token = presign.session_token.map_or(0, |token| token.len() * 3);
    // Room for all of it: a buffer that grows leaves copies behind that are not wiped.
    let room = query.len() + presign.key_id.len() * 3 + listed + token + signer.scope().len() * 3 + 512;
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    out.extend_from_slice(query.as_bytes());
    let mut put = |name: &str, write: &dyn Fn(&mut Vec<u8>)| {
        if !out.is_empty() {
            out.push(b'&');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        write(&mut out);
    };
    put("X-Amz-Algorithm", &|out| out.extend_from_slice(signer.algorithm().name().as_bytes()));
    put("X-Amz-Credential", &|out| {
        value_into(presign.key_id, out);
        value_into(b"/", out);
        value_into(signer.scope().as_bytes(), out);
    });
    put("X-Amz-Date", &|out| out.extend_from_slice(stamp.text().as_bytes()));
    put("X-Amz-Expires", &|out| out.extend_from_slice(presign.life.to_string().as_bytes()));
    if let Signer::Ecdsa { regions, .. } = signer {
        put("X-Amz-Region-Set", &|out| value_into(regions.as_bytes(), out));
    }
    put("X-Amz-SignedHeaders", &|out| {
        for (index, name) in names.iter().enumerate() {
            if index > 0 {
                value_into(b";", out);
            }
            value_into(name.as_bytes(), out);
        }
    });
    if let Some(token) = presign.session_token {
        put("X-Amz-Security-Token", &|out| value_into(token, out));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_presigned_life_beyond_seven_days() {
        for bad in ["", "0", "-1", "+5", "604801", "1e3", "99999999999", " 5", "5 "] {
            assert!(life(bad).is_err(), "{bad:?}");
        }
        assert_eq!(life("604800"), Ok(604_800));
        assert_eq!(life("0900"), Ok(900));
    }
}
