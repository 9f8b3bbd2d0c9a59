//! PEM in and out. Reading is strict: a malformed entry is an error that names the file and the entry,
//! never skipped. Text that holds a key is wiped when dropped.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::Error;

const LINE: usize = 64;

/// Every certificate of a PEM text, in its order; at least one.
pub(crate) fn read_certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut certificates = Vec::new();
    for (index, entry) in CertificateDer::pem_slice_iter(text).enumerate() {
        let entry = entry.map_err(|source| Error::Pem { path: path.to_owned(), entry: index + 1, source })?;
        certificates.push(entry);
    }
    if certificates.is_empty() {
        return Err(Error::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}

/// The first private key of a PEM text: PKCS#8, SEC1 or PKCS#1, not encrypted.
///
/// Known weakness: the parser's own base64 buffer, freed at once, is not wiped.
pub(crate) fn read_key(path: &Path, text: &[u8]) -> Result<Zeroizing<PrivateKeyDer<'static>>, Error> {
    // The parser's reason is dropped: it may repeat a line of the key file.
    PrivateKeyDer::from_pem_slice(text)
        .map(Zeroizing::new)
        .map_err(|_| Error::NoKey { path: path.to_owned() })
}

/// The certificates as one PEM text.
pub(crate) fn certificates<'a>(ders: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> String {
    let mut text = String::new();
    for der in ders {
        block(&mut text, "CERTIFICATE", &STANDARD.encode(der));
    }
    text
}

/// A PKCS#8 key as PEM, in memory that is wiped.
pub(crate) fn private_key(pkcs8: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(pkcs8));
    // Room for all of it at once: a string that grows leaves unwiped copies behind.
    let mut text = Zeroizing::new(String::with_capacity(body.len() + body.len() / LINE + 96));
    block(&mut text, "PRIVATE KEY", &body);
    text
}

fn block(text: &mut String, label: &str, base64: &str) {
    for part in ["-----BEGIN ", label, "-----\n"] {
        text.push_str(part);
    }
    let mut rest = base64;
    while let Some((line, tail)) = rest.split_at_checked(LINE) {
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    if !rest.is_empty() {
        text.push_str(rest);
        text.push('\n');
    }
    for part in ["-----END ", label, "-----\n"] {
        text.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATH: &str = "corp.pem";

    fn entry(bytes: &[u8]) -> String {
        certificates([&CertificateDer::from(bytes.to_vec())])
    }

    #[test]
    fn names_the_entry_that_is_malformed() {
        let text = format!("{}{}", entry(b"one"), entry(b"two").replace("dHdv", "!!!!"));
        let error = read_certificates(Path::new(PATH), text.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "corp.pem: certificate 2 is not valid PEM");
    }

    #[test]
    fn refuses_an_entry_without_its_end() {
        let text = entry(b"one").replace("-----END CERTIFICATE-----\n", "");
        let error = read_certificates(Path::new(PATH), text.as_bytes()).unwrap_err();
        assert!(matches!(error, Error::Pem { entry: 1, .. }), "{error}");
    }

    #[test]
    fn refuses_a_file_without_certificates() {
        for text in ["", "hello\n", "\u{30}\u{82}"] {
            let error = read_certificates(Path::new(PATH), text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), "corp.pem holds no PEM certificate");
        }
    }

    #[test]
    fn an_error_about_a_key_repeats_nothing_of_it() {
        let text = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0!\n-----END PRIVATE KEY-----\n";
        let error = read_key(Path::new("ca.key"), text.as_bytes()).unwrap_err();
        assert!(!format!("{error:?}{error}").contains("c2Vj"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ders in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..5)) {
            let ders: Vec<_> = ders.into_iter().map(CertificateDer::from).collect();
            let text = certificates(&ders);
            prop_assert!(text.lines().all(|line| line.len() <= LINE));
            prop_assert_eq!(read_certificates(Path::new(PATH), text.as_bytes()).unwrap(), ders);
        }

        #[test]
        fn reading_never_panics(text in any::<Vec<u8>>()) {
            drop(read_certificates(Path::new(PATH), &text));
            drop(read_key(Path::new(PATH), &text));
        }
    }
}
