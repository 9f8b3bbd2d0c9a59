//! Whom doorward trusts upstream, and what agents are given to trust.
//!
//! System roots are read from fixed paths only. No environment variable plays a part (platform
//! loaders read `SSL_CERT_FILE` and `SSL_CERT_DIR`, which the agent's side may have set), and there is
//! no switch to trust less carefully. Without a system bundle, Mozilla's roots as compiled in.

mod java;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use std::{fmt, fs};

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{Authority, Error, crypto, pem};

pub use java::PASSWORD as JAVA_TRUSTSTORE_PASSWORD;

/// Where systems keep their bundle, the most common first. On macOS the last one holds Apple's roots.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

const FILE_MAX: u64 = 16 * 1024 * 1024;

/// Root certificates that upstream servers are verified against.
#[derive(Clone)]
pub struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    store: Arc<RootCertStore>,
    source: Source,
}

/// Where the system's part of the roots came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The system's bundle in this file.
    File(PathBuf),
    /// Mozilla's roots, compiled in: no bundle was found.
    BuiltIn,
}

impl Roots {
    /// The system's roots, or else Mozilla's as compiled in.
    pub fn system() -> Self {
        Self::first_of(BUNDLES.iter().map(Path::new))
    }

    fn first_of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        for path in paths {
            let Ok(text) = read(path) else { continue };
            let roots = Self::bundle(path, &text);
            if !roots.certificates.is_empty() {
                return roots;
            }
            tracing::warn!(path = %path.display(), "system root bundle holds no usable certificate");
        }
        Self::built_in()
    }

    /// The usable entries of a system's bundle: one that is broken must not end doorward, unlike in
    /// a file that the operator has named.
    fn bundle(path: &Path, text: &[u8]) -> Self {
        let mut store = RootCertStore::empty();
        let mut certificates = Vec::new();
        let mut seen = HashSet::new();
        let mut refused = 0_usize;
        for entry in CertificateDer::pem_slice_iter(text) {
            match entry {
                Ok(entry) if seen.contains(&entry) => {}
                Ok(entry) if store.add(entry.clone()).is_ok() => {
                    seen.insert(entry.clone());
                    certificates.push(entry);
                }
                Ok(_) | Err(_) => refused += 1,
            }
        }
        if refused > 0 {
            tracing::warn!(path = %path.display(), refused, "system root bundle has unusable entries");
        }
        Self { certificates, store: Arc::new(store), source: Source::File(path.to_owned()) }
    }

    /// The certificates of one PEM file and nothing else.
    pub fn only(path: &Path) -> Result<Self, Error> {
        let store = Arc::new(RootCertStore::empty());
        let none = Self { certificates: Vec::new(), store, source: Source::File(path.to_owned()) };
        none.with_extra(&[path])
    }

    fn built_in() -> Self {
        let certificates = webpki_root_certs::TLS_SERVER_ROOT_CERTS.to_vec();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(certificates.iter().cloned());
        Self { certificates, store: Arc::new(store), source: Source::BuiltIn }
    }

    /// These roots and those of some PEM files (`--upstream-ca`, a provider's `upstreamCA`).
    ///
    /// Every entry must be a certificate: the error names the file and the entry.
    pub fn with_extra(&self, files: &[impl AsRef<Path>]) -> Result<Self, Error> {
        let mut all = self.clone();
        for path in files.iter().map(AsRef::as_ref) {
            let entries = pem::read_certificates(path, &read(path)?)?;
            for (index, entry) in entries.into_iter().enumerate() {
                Arc::make_mut(&mut all.store)
                    .add(entry.clone())
                    .map_err(|_| Error::NotX509 { path: path.to_owned(), entry: index + 1 })?;
                all.certificates.push(entry);
            }
        }
        Ok(all)
    }

    /// The store that a `ClientConfig` verifies with.
    pub fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.store)
    }

    /// The certificates, the system's first.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// All of them as PEM.
    pub fn pem(&self) -> String {
        pem::certificates(&self.certificates)
    }

    /// Where the system's part came from.
    pub fn source(&self) -> &Source {
        &self.source
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.certificates.len();
        f.debug_struct("Roots")
            .field("source", &self.source)
            .field("certificates", &count)
            .finish_non_exhaustive()
    }
}

/// What `SSL_CERT_FILE` and its kind must point at: our CA, then the roots. These variables replace a
/// client's trust store, and hosts that pass through uninspected must stay verifiable.
pub fn combined_bundle(authority: &Authority, roots: &Roots) -> String {
    let mut text = authority.certificate_pem().to_owned();
    text.push_str(&roots.pem());
    text
}

/// The same for Java: a PKCS#12 truststore, for `javax.net.ssl.trustStore` with
/// `trustStoreType=PKCS12` and [`JAVA_TRUSTSTORE_PASSWORD`].
pub fn java_truststore(authority: &Authority, roots: &Roots) -> Vec<u8> {
    java::truststore(authority.chain(), roots.certificates())
}

/// The same from the text of a [`combined_bundle`], for whoever has the published files and no CA.
pub fn java_truststore_of(path: &Path, bundle: &[u8]) -> Result<Vec<u8>, Error> {
    let certificates = pem::read_certificates(path, bundle)?;
    let (authority, roots) = certificates.split_at(1.min(certificates.len()));
    Ok(java::truststore(authority, roots))
}

/// What people ask of a CA's certificate.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The certificate that signs.
    pub certificate: CertificateDer<'static>,
    /// SHA-256 in lower-case hex.
    pub fingerprint: String,
    /// Its end, RFC 3339.
    pub not_after: String,
    /// Whether `now` is within its validity.
    pub is_valid: bool,
}

/// Describes the first certificate of a PEM text, without a key.
pub fn describe(path: &Path, text: &[u8], now: SystemTime) -> Result<Facts, Error> {
    let odd = || Error::NotX509 { path: path.to_owned(), entry: 1 };
    let certificate = pem::read_certificates(path, text)?.into_iter().next().ok_or_else(odd)?;
    let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| odd())?;
    let (from, to) = (parsed.validity().not_before.to_datetime(), parsed.validity().not_after.to_datetime());
    let not_after = to.format(&Rfc3339).map_err(|_| odd())?;
    let is_valid = (from..=to).contains(&OffsetDateTime::from(now));
    let fingerprint = crypto::sha256_hex(&certificate);
    Ok(Facts { certificate, fingerprint, not_after, is_valid })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let io_error = |source| Error::Io { action: "read", path: path.to_owned(), source };
    if fs::metadata(path).map_err(io_error)?.len() > FILE_MAX {
        return Err(Error::TooLarge { path: path.to_owned(), limit: FILE_MAX });
    }
    fs::read(path).map_err(io_error)
}

#[cfg(test)]
mod tests;
