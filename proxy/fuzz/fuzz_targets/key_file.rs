//! Whatever a person stores as a key file or a PEM text: it is a key, or a fault that shows nothing of it.
#![no_main]

use control::keyfile::ServiceAccount;
use control::keyfile::external::ExternalAccount;
use control::pem::{PrivateKey, first_certificate};
use libfuzzer_sys::fuzz_target;
use proxy::schemes::shared::jwt::SigningKey;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(account) = ServiceAccount::read(bytes) {
        assert!(
            account.client_email.contains('@') && account.client_email.bytes().all(|b| b.is_ascii_graphic())
        );
        assert!(control::keyfile::TOKEN_URIS.contains(&account.token_uri));
    }
    if let Ok(account) = ExternalAccount::read(bytes) {
        assert!(account.file.is_absolute() && account.audience.starts_with("//iam.googleapis.com/projects/"));
    }
    drop(first_certificate(bytes));
    if PrivateKey::read(bytes).is_err() {
        assert!(SigningKey::of_pem(bytes).is_err());
    }
});
