//! The way to the upstream: resolve, check, dial, verify, pool. Everything here belongs to one worker.

pub(crate) mod address;
pub(crate) mod corporate;
pub(crate) mod guard;
pub(crate) mod identity;
pub(crate) mod pool;
pub(crate) mod resolve;
pub(crate) mod tls;
pub(crate) mod exchange;

use std::sync::Arc;

use control::agent::AgentName;
use control::provider::{Mode, Provider};
use control::refusal::Refusal;
use control::target::Target;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::limits::Limits;
use corporate::CorporateProxy;
use guard::{Addresses, Guard};
use tls::{Offer, UpstreamTls};

/// One worker's way out.
#[derive(Debug)]
pub(crate) struct Upstream {
    guard: Guard,
    corporate: Option<Arc<CorporateProxy>>,
    limits: Arc<Limits>,
}

/// A connection that is ready for HTTP.
pub(crate) enum Link {
    /// `tls.mode: plain`.
    Plain(TcpStream),
    /// Verified TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// For whom and by which identity a connection is made; connections are never shared between two of these.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer<'a> {
    pub(crate) agent: &'a AgentName,
    pub(crate) provider: &'a Provider,
    pub(crate) tls: &'a UpstreamTls,
    pub(crate) target: &'a Target,
}

impl Upstream {
    pub(crate) fn new(
        addresses: Arc<Addresses>,
        corporate: Option<Arc<CorporateProxy>>,
        limits: Arc<Limits>,
    ) -> Self {
        Self { guard: Guard::new(addresses, Arc::clone(&limits)), corporate, limits }
    }

    /// A TCP connection to the target, through the corporate proxy if there is one.
    pub(crate) async fn tunnel(&self, target: &Target, provider: &Provider) -> Result<TcpStream, Refusal> {
        match &self.corporate {
            None => self.guard.dial(target, provider).await,
            Some(corporate) => corporate.tunnel(&self.guard, target, provider, &self.limits).await,
        }
    }

    /// A connection that is ready for HTTP, verified unless the provider says `tls.mode: plain`.
    pub(crate) async fn connect(&self, peer: Peer<'_>, offer: Offer) -> Result<Link, Refusal> {
        let stream = self.tunnel(peer.target, peer.provider).await?;
        if peer.provider.mode == Mode::Plain {
            return Ok(Link::Plain(stream));
        }
        let stream = peer.tls.handshake(stream, peer.target, peer.agent, offer, &self.limits).await?;
        Ok(Link::Tls(Box::new(stream)))
    }
}
