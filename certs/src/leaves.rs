//! The cache of leaves: host to a TLS configuration that is ready to accept.
//!
//! Bounded, and single flight for each host: many connections to a new host mint one leaf. Keeps invariant: a TLS
//! session that began under one host's configuration cannot be resumed under another's (or an older
//! leaf's), because each configuration encrypts tickets with keys of its own and stores no sessions.
//!
//! Minting is synchronous on purpose. It costs less than waking another thread twice, so the reactor
//! is not held up for longer than by one TLS handshake, and a waiter of the same host waits that long at most.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use quick_cache::sync::{Cache, EntryAction, EntryResult};
use rustls::ServerConfig;
use rustls::compress::CompressionCache;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::ServerName;

use crate::leaf::{self, Leaf};
use crate::{Authority, Error, crypto};

/// A leaf with less life left than this is replaced before it is used again.
const MARGIN: Duration = Duration::from_secs(60 * 60);

/// Each costs an encryption and about 200 bytes on the wire; few clients resume at all.
const TICKETS: usize = 1;

/// TLS configurations by host, minted on first use.
///
/// Measured (release build, 20 000 hosts): 4.1 KiB for each cached host, C heap included, so 4.1 MiB when 1024 are
/// cached; 100 µs of CPU for a new host (the leaf 90, its ticket keys 4), 0.1 µs for a cached one.
pub struct Leaves {
    authority: Arc<Authority>,
    /// All that the configurations have in common.
    common: ServerConfig,
    cache: Cache<String, Cached>,
    minted: AtomicU64,
}

#[derive(Clone)]
struct Cached {
    config: Arc<ServerConfig>,
    not_before: SystemTime,
    replace_at: SystemTime,
}

impl Leaves {
    /// An empty cache for about `capacity` hosts.
    pub fn new(authority: Arc<Authority>, capacity: usize) -> Result<Self, Error> {
        Ok(Self { authority, common: common()?, cache: Cache::new(capacity), minted: AtomicU64::new(0) })
    }

    /// The configuration to accept a client's TLS for `host` with: ALPN h2 and http/1.1, TLS 1.2 and 1.3.
    pub fn config_for(&self, host: &ServerName<'_>, now: SystemTime) -> Result<Arc<ServerConfig>, Error> {
        let name = leaf::canonical(host)?;
        if let Some(cached) = self.cache.get(name.as_ref())
            && cached.is_usable(now)
        {
            return Ok(cached.config);
        }
        let entry = self.cache.entry(name.as_ref(), None, |_, cached| {
            if cached.is_usable(now) {
                EntryAction::Retain(Arc::clone(&cached.config))
            } else {
                EntryAction::ReplaceWithGuard
            }
        });
        match entry {
            EntryResult::Retained(config) => Ok(config),
            EntryResult::Replaced(place, _) | EntryResult::Vacant(place) => {
                let cached = self.mint(host, now)?;
                let config = Arc::clone(&cached.config);
                // Refused only if the place was taken away meanwhile; the configuration is good all the same.
                drop(place.insert(cached));
                Ok(config)
            }
            // Neither is ever returned: we wait without a limit and never ask for removal.
            EntryResult::Removed(..) | EntryResult::Timeout => Ok(self.mint(host, now)?.config),
        }
    }

    /// How many leaves were minted since the start, for metrics.
    pub fn minted(&self) -> u64 {
        self.minted.load(Ordering::Relaxed)
    }

    /// How many hosts are cached.
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// Whether no host is cached.
    pub fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }

    fn mint(&self, host: &ServerName<'_>, now: SystemTime) -> Result<Cached, Error> {
        let leaf = self.authority.sign(host, now)?;
        self.minted.fetch_add(1, Ordering::Relaxed);
        let mut config = self.common.clone();
        config.ticketer = crypto::ticketer()?;
        config.cert_resolver = Arc::new(OneLeaf(Arc::clone(&leaf.certified)));
        Ok(Cached {
            config: Arc::new(config),
            not_before: leaf.not_before,
            replace_at: replace_at(&leaf, now),
        })
    }
}

impl fmt::Debug for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaves")
            .field("len", &self.len())
            .field("minted", &self.minted())
            .finish_non_exhaustive()
    }
}

impl Cached {
    /// Also false when the clock was set back to before the leaf.
    fn is_usable(&self, now: SystemTime) -> bool {
        (self.not_before..self.replace_at).contains(&now)
    }
}

/// One hour before the end; for a leaf cut short by the CA's own end, half way, so that it is cached at all.
fn replace_at(leaf: &Leaf, now: SystemTime) -> SystemTime {
    let left = leaf.not_after.duration_since(now).unwrap_or_default();
    now + left.saturating_sub(MARGIN).max(left / 2)
}

fn common() -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(NoLeaf));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = TICKETS;
    config.max_early_data_size = 0;
    config.cert_compressors = Vec::new();
    config.cert_compression_cache = Arc::new(CompressionCache::Disabled);
    Ok(config)
}

/// Serves its leaf whatever the client's SNI says: the proxy compares SNI and CONNECT host itself.
#[derive(Debug)]
struct OneLeaf(Arc<CertifiedKey>);

impl ResolvesServerCert for OneLeaf {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Stands in the common part, which never accepts a connection.
#[derive(Debug)]
struct NoLeaf;

impl ResolvesServerCert for NoLeaf {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

#[cfg(test)]
mod tests;
