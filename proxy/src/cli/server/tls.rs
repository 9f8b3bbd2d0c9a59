//! The server's certificate: files of the operator's, or one that the server signs for its own names with a CA of its own.
//!
//! Refuses names that are not the server's: no certificate is made for whatever a client asks for; and keys that everybody
//! can read.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use certs::{Authority, Leaf};
use control::api::serve::Tls;
use control::cli::{Exit, Failure};
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::clients::{Clients, certified};

/// A certificate is made anew this long before it ends.
const AHEAD: Duration = Duration::from_secs(3600);
/// Permission bits of everybody.
const OTHERS: u32 = 0o007;

fn error(why: impl fmt::Display) -> Failure {
    Failure::new(Exit::Error, why.to_string())
}

/// From the operator's files.
pub(super) fn from_files(
    certificate: &Path,
    key: &Path,
    clients: Option<Arc<Clients>>,
) -> Result<Tls, Failure> {
    let at = |path: &Path, why: &dyn fmt::Display| error(format!("{}: {why}", path.display()));
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|why| at(certificate, &why))?;
    // Through links, by which Kubernetes mounts it; a group may read it (`defaultMode: 0440` with `fsGroup`).
    let mode = std::fs::metadata(key).map_err(|why| at(key, &why))?.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(at(
            key,
            &format!("everybody on the machine can use it (mode {:04o}); run: chmod o-rwx", mode & 0o7777),
        ));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|why| at(key, &why))?;
    let takes_clients = clients.is_some();
    let config = builder(clients)?.with_single_cert(chain, private).map_err(|why| at(certificate, &why))?;
    Ok(offered(config, takes_clients))
}

/// With a CA that is kept in `dir`, whose certificate clients are given (`ca.crt`).
pub(super) fn self_signed(
    dir: &Path,
    names: &[String],
    clients: Option<Arc<Clients>>,
) -> Result<Tls, Failure> {
    let authority = Authority::load_or_create(dir, SystemTime::now())
        .map_err(|why| error(format!("the server's CA in {}: {why}", dir.display())))?;
    let own = OwnNames {
        names: names.iter().map(|name| name.trim_matches(['[', ']']).to_owned()).collect(),
        authority,
        leaves: Mutex::default(),
    };
    // A name that no certificate can be made for is told now, not at the first call.
    for name in &own.names {
        own.leaf(name).ok_or_else(|| error(format!("no certificate can be made for `{name}`")))?;
    }
    let takes_clients = clients.is_some();
    Ok(offered(builder(clients)?.with_cert_resolver(Arc::new(own)), takes_clients))
}

fn builder(
    clients: Option<Arc<Clients>>,
) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>, Failure> {
    let builder = ServerConfig::builder_with_provider(certs::crypto::provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(error)?;
    Ok(match clients {
        Some(clients) => builder.with_client_cert_verifier(clients),
        None => builder.with_no_client_auth(),
    })
}

fn offered(mut config: ServerConfig, takes_clients: bool) -> Tls {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if takes_clients {
        // A session that is taken up again is not verified again: its certificate may be over by then, or its root taken away.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Tls { config: Arc::new(config), certified }
}

struct OwnNames {
    authority: Authority,
    /// The first is for clients that name none, as those do that call an address.
    names: Vec<String>,
    leaves: Mutex<BTreeMap<String, Leaf>>,
}

impl fmt::Debug for OwnNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnNames").field("names", &self.names).finish_non_exhaustive()
    }
}

impl OwnNames {
    fn leaf(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let now = SystemTime::now();
        let mut leaves = self.leaves.lock();
        if let Some(leaf) = leaves.get(name).filter(|leaf| now + AHEAD < leaf.not_after) {
            return Some(Arc::clone(&leaf.certified));
        }
        let host = ServerName::try_from(name.to_owned()).ok()?;
        let leaf = self.authority.sign(&host, now).ok()?;
        let certified = Arc::clone(&leaf.certified);
        leaves.insert(name.to_owned(), leaf);
        Some(certified)
    }
}

impl ResolvesServerCert for OwnNames {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        let name = match &asked {
            Some(asked) => self.names.iter().find(|name| *name == asked)?,
            None => self.names.first()?,
        };
        self.leaf(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_key_that_everybody_can_read() {
        let dir = tempfile::tempdir().unwrap();
        self_signed(dir.path(), &["localhost".to_owned()], None).unwrap();
        let (certificate, key) = (dir.path().join("ca.crt"), dir.path().join("copy.key"));
        std::fs::copy(dir.path().join("ca.key"), &key).unwrap();
        let mode = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        let refused = from_files(&certificate, &key, None).unwrap_err();
        assert!(refused.to_string().contains("chmod"), "{refused}");
        mode(0o440);
        from_files(&certificate, &key, None).unwrap();
    }
}
