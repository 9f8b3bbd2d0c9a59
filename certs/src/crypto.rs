//! The one module that knows which crypto provider rustls runs on (aws-lc-rs, post-quantum key
//! exchange first). Everything else asks `provider()`: with two providers compiled in, rustls'
//! plain builders panic, so no config is ever built without naming this one.

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ProducesTickets;
use rustls::sign::SigningKey;
use rustls_pki_types::PrivatePkcs8KeyDer;
use sha2::{Digest, Sha256};

static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();

/// The crypto provider that every rustls config of ours is built with.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}

/// Makes our provider the default of the process, for libraries that ask for none by name.
/// Idempotent; a default that is already there stays.
pub fn install() {
    // The error is only "somebody was first", which is what idempotent means here.
    drop(CryptoProvider::install_default(provider().as_ref().clone()));
}

/// A fresh ticket encrypter with keys of its own, rotated by itself.
pub(crate) fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    aws_lc_rs::Ticketer::new()
}

/// Makes an ECDSA key usable by rustls; borrows the bytes, so that the caller can wipe them.
pub(crate) fn ecdsa_key(pkcs8: &[u8]) -> Result<Arc<dyn SigningKey>, rustls::Error> {
    aws_lc_rs::sign::any_ecdsa_type(&PrivatePkcs8KeyDer::from(pkcs8).into())
}

/// Lower-case hex of the SHA-256 of `bytes`.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn install_twice_keeps_one_default() {
        install();
        install();
        assert!(CryptoProvider::get_default().is_some());
    }

    #[test]
    fn the_first_key_exchange_offered_is_post_quantum() {
        assert_eq!(provider().kx_groups[0].name(), rustls::NamedGroup::X25519MLKEM768);
    }
}
