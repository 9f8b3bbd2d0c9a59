//! Client certificates: the keys `tls.crt` and `tls.key` of a secret.
//!
//! Refuses, when they are stored and again when they are opened, what is no PEM, an encrypted key, a key that TLS cannot
//! sign with, and a key that does not belong to the certificate. Says which key and what was expected, nothing of the value.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::value::ValueError;
use crate::secret::Secret;

/// The key with the certificate and those that lead to its root, its own first.
pub const CERTIFICATE: &str = "tls.crt";
/// The key with the certificate's private key.
pub const KEY: &str = "tls.key";
/// Both: a client certificate needs them.
pub const KEYS: [&str; 2] = [CERTIFICATE, KEY];

const NO_CERTIFICATE: &str = "no PEM certificates: expected `-----BEGIN CERTIFICATE-----` blocks and nothing else in PEM, the client's own first";
const NO_KEY: &str =
    "no PEM private key: expected one `-----BEGIN PRIVATE KEY-----` block (or `RSA`, `EC` before `PRIVATE`)";
const ENCRYPTED: &str =
    "an encrypted private key: expected one without a passphrase, as `openssl pkey` writes it";
const UNKNOWN_KEY: &str = "no private key that TLS signs with: expected RSA from 2048 bits, ECDSA on P-256, P-384 or P-521, or Ed25519";
const NOT_X509: &str = "no certificate that can be read: expected X.509 version 3";

/// Checks one of the two, whatever is known of the other.
pub(super) fn check(key: &str, value: &Secret) -> Result<(), ValueError> {
    match key {
        CERTIFICATE => chain(value).map(drop),
        KEY => signing_key(value).map(drop),
        _ => Ok(()),
    }
}

/// Checks that the two belong together, where both are there.
pub(super) fn check_pair(values: &[(String, Secret)]) -> Result<(), ValueError> {
    let both = find(values, CERTIFICATE).zip(find(values, KEY));
    both.map_or(Ok(()), |(certificate, key)| pair(certificate, key).map(drop))
}

/// The client certificate of an opened secret, ready for TLS.
///
/// # Errors
/// A key that is missing or unfit, by its name.
pub fn certified(values: &[(String, Secret)]) -> Result<Arc<CertifiedKey>, ValueError> {
    let get = |key: &str| find(values, key).ok_or_else(|| ValueError::Empty(key.to_owned()));
    pair(get(CERTIFICATE)?, get(KEY)?).map(Arc::new)
}

fn find<'a>(values: &'a [(String, Secret)], key: &str) -> Option<&'a Secret> {
    values.iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

fn pair(certificate: &Secret, key: &Secret) -> Result<CertifiedKey, ValueError> {
    let certified = CertifiedKey::new(chain(certificate)?, signing_key(key)?);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(ValueError::OtherKey),
        Err(_) => Err(unfit(CERTIFICATE, NOT_X509)),
    }
}

fn chain(value: &Secret) -> Result<Vec<CertificateDer<'static>>, ValueError> {
    // exposed: certificates are parsed out of it, which are shown to the upstream
    let text = value.expose();
    let mut certificates = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        match section {
            Ok((SectionKind::Certificate, der)) => certificates.push(CertificateDer::from(der)),
            // A private key here would be shown with the certificates.
            Ok(_) | Err(_) => return Err(unfit(CERTIFICATE, NO_CERTIFICATE)),
        }
    }
    // The parser passes over blocks whose label it does not know.
    if certificates.is_empty() || certificates.len() != blocks(text) {
        return Err(unfit(CERTIFICATE, NO_CERTIFICATE));
    }
    Ok(certificates)
}

/// Known weakness: the parser's own base64 buffer, freed at once, is not wiped.
fn signing_key(value: &Secret) -> Result<Arc<dyn SigningKey>, ValueError> {
    // exposed: parsed into the key that TLS signs with
    let text = value.expose();
    if holds(text, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || holds(text, b"Proc-Type: 4,ENCRYPTED") {
        return Err(unfit(KEY, ENCRYPTED));
    }
    let parameters = usize::from(holds(text, b"-----BEGIN EC PARAMETERS-----"));
    // The parser's reason is dropped: it may repeat a line of the key.
    let der = PrivateKeyDer::from_pem_slice(text).map(Zeroizing::new);
    let Ok(der) = der else { return Err(unfit(KEY, NO_KEY)) };
    if blocks(text) != 1 + parameters {
        return Err(unfit(KEY, NO_KEY));
    }
    any_supported_type(&der).map_err(|_| unfit(KEY, UNKNOWN_KEY))
}

fn blocks(text: &[u8]) -> usize {
    memchr::memmem::find_iter(text, b"-----BEGIN ").count()
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

fn unfit(key: &'static str, what: &'static str) -> ValueError {
    ValueError::Unfit(key.to_owned(), what)
}
