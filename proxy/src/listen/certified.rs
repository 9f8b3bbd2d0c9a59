//! The TLS of `tls:` listeners: the operator's certificate, read again when its files change, or leaves that the proxy's own
//! CA signs for the names that agents call it by.
//!
//! Refuses a certificate that is not for these names, is not valid now or has another key, and a key that everybody can
//! read; when that happens to a running proxy, it goes on with the one before. No leaf is made for whatever name a client
//! asks for. HTTP/1.1 alone is offered; no session is resumed, so that a certificate that was replaced serves nobody more.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use certs::{Authority, Leaf};
use parking_lot::Mutex;
use rustls::client::verify_server_name;
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ConfigBuilder, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A leaf is made anew this long before it ends.
const AHEAD: Duration = Duration::from_secs(60 * 60);
/// Permission bits of everybody.
const OTHERS: u32 = 0o007;

/// What the certificate of `tls:` listeners is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// What agents call the proxy by; the first is published, and is for clients that name none.
    pub(crate) names: Vec<ServerName<'static>>,
    /// Certificate and key; `None`: leaves of the proxy's own CA.
    pub(crate) files: Option<(PathBuf, PathBuf)>,
}

impl Certificate {
    /// The files that it is read from.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().flat_map(|(certificate, key)| [certificate, key])
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", .path.display())]
pub(crate) struct Unusable {
    path: PathBuf,
    why: String,
}

/// The TLS that `tls:` listeners accept with.
#[derive(Debug)]
pub(crate) struct Certified {
    own: Certificate,
    now: ArcSwap<ServerConfig>,
    /// A digest of the files as they were read.
    read: Mutex<[u8; 32]>,
}

impl Certified {
    /// Reads the files, or makes the first leaf of each name: what cannot be had is told now, not at the first call.
    pub(crate) fn new(own: Certificate, authority: &Arc<Authority>) -> Result<Self, Unusable> {
        let (config, read) = match &own.files {
            Some((certificate, key)) => {
                let files = Files::read(certificate, key)?;
                (files.config(&own.names, SystemTime::now())?, files.digest())
            }
            None => (of_leaves(&own.names, authority)?, [0; 32]),
        };
        Ok(Self { own, now: ArcSwap::from(config), read: Mutex::new(read) })
    }

    /// What a connection is accepted with.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.now.load_full()
    }

    /// What agents call the proxy by.
    pub(crate) fn name(&self) -> Option<&ServerName<'static>> {
        self.own.names.first()
    }

    /// Takes what the files say now, where it is other than before and can be used. Tells whether it was taken.
    pub(crate) fn reread(&self, now: SystemTime) -> Result<bool, Unusable> {
        let Some((certificate, key)) = &self.own.files else { return Ok(false) };
        let files = Files::read(certificate, key)?;
        let digest = files.digest();
        if *self.read.lock() == digest {
            return Ok(false);
        }
        self.now.store(files.config(&self.own.names, now)?);
        *self.read.lock() = digest;
        Ok(true)
    }
}

/// What the operator's files say.
struct Files<'a> {
    certificate: (&'a Path, Vec<u8>),
    key: (&'a Path, Zeroizing<Vec<u8>>),
}

impl<'a> Files<'a> {
    fn read(certificate: &'a Path, key: &'a Path) -> Result<Self, Unusable> {
        // Through links, by which Kubernetes mounts it; a group may read it (`defaultMode: 0440` with `fsGroup`).
        let mode = std::fs::metadata(key).map_err(|why| at(key, &why))?.permissions().mode();
        if mode & OTHERS != 0 {
            let mode = mode & 0o7777;
            let why = format!("everybody on the machine can use it (mode {mode:04o}); run: chmod o-rwx");
            return Err(at(key, &why));
        }
        Ok(Self {
            certificate: (certificate, std::fs::read(certificate).map_err(|why| at(certificate, &why))?),
            key: (key, Zeroizing::new(std::fs::read(key).map_err(|why| at(key, &why))?)),
        })
    }

    fn digest(&self) -> [u8; 32] {
        Sha256::digest([Sha256::digest(&self.certificate.1), Sha256::digest(&*self.key.1)].concat()).into()
    }

    fn config(&self, names: &[ServerName<'_>], now: SystemTime) -> Result<Arc<ServerConfig>, Unusable> {
        let (path, text) = (self.certificate.0, &self.certificate.1);
        let facts = certs::trust::describe(path, text, now).map_err(|why| at(path, &why))?;
        if !facts.is_valid {
            return Err(at(path, &format!("it is not valid now (until {})", facts.not_after)));
        }
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        let chain = chain.map_err(|why| at(path, &why))?;
        let parsed = ParsedCertificate::try_from(&facts.certificate).map_err(|why| at(path, &why))?;
        for name in names {
            verify_server_name(&parsed, name)
                .map_err(|_| at(path, &format!("it is not for `{}`, which agents call", name.to_str())))?;
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key.1).map_err(|why| at(self.key.0, &why))?;
        let config = builder().and_then(|builder| builder.with_single_cert(chain, key));
        Ok(offered(config.map_err(|why| at(path, &why))?))
    }
}

fn at(path: &Path, why: &dyn fmt::Display) -> Unusable {
    Unusable { path: path.to_owned(), why: why.to_string() }
}

fn of_leaves(
    names: &[ServerName<'static>],
    authority: &Arc<Authority>,
) -> Result<Arc<ServerConfig>, Unusable> {
    let own = Names { names: names.to_vec(), authority: Arc::clone(authority), leaves: Mutex::default() };
    for name in names {
        own.leaf(name).map_err(|why| at(Path::new(&*name.to_str()), &why))?;
    }
    let config = builder().map(|builder| builder.with_cert_resolver(Arc::new(own)));
    Ok(offered(config.map_err(|why| at(Path::new("tls"), &why))?))
}

fn builder() -> Result<ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(certs::crypto::provider());
    Ok(builder.with_safe_default_protocol_versions()?.with_no_client_auth())
}

fn offered(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// Leaves of our own CA, for these names and no other.
struct Names {
    names: Vec<ServerName<'static>>,
    authority: Arc<Authority>,
    leaves: Mutex<BTreeMap<String, Leaf>>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Names {
    fn leaf(&self, name: &ServerName<'_>) -> Result<Arc<CertifiedKey>, certs::Error> {
        let now = SystemTime::now();
        let mut leaves = self.leaves.lock();
        let text = name.to_str().into_owned();
        if let Some(leaf) = leaves.get(&text).filter(|leaf| now + AHEAD < leaf.not_after) {
            return Ok(Arc::clone(&leaf.certified));
        }
        let leaf = self.authority.sign(name, now)?;
        let certified = Arc::clone(&leaf.certified);
        leaves.insert(text, leaf);
        Ok(certified)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        let name = match &asked {
            Some(asked) => self.names.iter().find(|name| *name.to_str() == **asked)?,
            // Whoever calls an address names none.
            None => self.names.first()?,
        };
        self.leaf(name).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&'static str]) -> Vec<ServerName<'static>> {
        names.iter().map(|name| ServerName::try_from(*name).unwrap()).collect()
    }

    /// A certificate in `dir` in the place of what is there: that of a fresh authority, which is for no name at all.
    fn write(dir: &Path) -> (PathBuf, PathBuf) {
        let (certificate, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        for file in [&certificate, &key] {
            drop(std::fs::remove_file(file));
        }
        Authority::load_or_create(dir, SystemTime::now()).unwrap();
        (certificate, key)
    }

    fn of_files(files: &(PathBuf, PathBuf), called: &[&'static str]) -> Result<Certified, Unusable> {
        let authority = Arc::new(Authority::generate(SystemTime::now()).unwrap());
        Certified::new(Certificate { names: names(called), files: Some(files.clone()) }, &authority)
    }

    #[test]
    fn refuses_files_that_agents_could_not_verify_or_that_everybody_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |files: &(PathBuf, PathBuf), called: &[&'static str], why: &str| {
            let told = of_files(files, called).unwrap_err().to_string();
            assert!(told.contains(why), "{told}");
        };
        refused(&(dir.path().join("none.crt"), dir.path().join("none.key")), &[], "none.key");
        let files = write(dir.path());
        of_files(&files, &[]).unwrap();
        refused(&files, &["proxy.example"], "not for `proxy.example`");
        std::fs::set_permissions(&files.1, std::fs::Permissions::from_mode(0o644)).unwrap();
        refused(&files, &[], "chmod");
        std::fs::set_permissions(&files.1, std::fs::Permissions::from_mode(0o440)).unwrap();
        of_files(&files, &[]).unwrap();
        let other = tempfile::tempdir().unwrap();
        refused(&(files.0, write(other.path()).1), &[], "ca.crt");
    }

    #[test]
    fn refuses_a_certificate_that_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = write(dir.path());
        let files = Files::read(&certificate, &key).unwrap();
        files.config(&[], SystemTime::now()).unwrap();
        let late = SystemTime::now() + Duration::from_secs(100 * 365 * 24 * 60 * 60);
        let told = files.config(&[], late).unwrap_err().to_string();
        assert!(told.contains("not valid now"), "{told}");
    }

    #[test]
    fn goes_on_with_the_certificate_before_where_the_new_one_cannot_be_used() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = write(dir.path());
        let certified = of_files(&files, &[]).unwrap();
        let (before, now) = (certified.config(), SystemTime::now());
        assert!(!certified.reread(now).unwrap());
        // Half of a renewal: the key is still the old one's.
        let renewed = write(other.path());
        std::fs::copy(&renewed.0, &files.0).unwrap();
        certified.reread(now).unwrap_err();
        assert!(Arc::ptr_eq(&before, &certified.config()));
        std::fs::copy(&renewed.1, &files.1).unwrap();
        assert!(certified.reread(now).unwrap());
        assert!(!Arc::ptr_eq(&before, &certified.config()));
    }
}
