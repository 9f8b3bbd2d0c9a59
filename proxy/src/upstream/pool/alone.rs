//! Connections that belong to one exchange alone: a WebSocket's. They never enter the pool, but count in its limits.
//!
//! They are bounded as pooled ones are (`upstream-connections`, `upstream-in-flight`); where all places are taken, one
//! that lies idle in the pool gives way.

use std::sync::Arc;
use std::time::Instant;

use control::refusal::Refusal;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::{Conn, Lease, Slot, full, handshake_failed, http1_settings};
use crate::limits::{self, Limits};
use crate::upstream::tls::Offer;
use crate::upstream::{Link, Peer, Upstream};

/// The place of a connection that is not pooled, given back on drop.
#[derive(Debug)]
pub(super) struct Alone(Arc<Slot>);

impl Drop for Alone {
    fn drop(&mut self) {
        self.0.state.lock().alone -= 1;
        self.0.changed.notify_waiters();
    }
}

impl Slot {
    /// A new HTTP/1.1 connection that can be upgraded and is closed with its lease.
    pub(crate) async fn alone(
        self: &Arc<Self>,
        upstream: &Upstream,
        peer: Peer<'_>,
    ) -> Result<Lease, Refusal> {
        let seat = self.seat(&upstream.limits)?;
        let place = self.place(&upstream.limits).await?;
        let conn = match upstream.connect(peer, Offer::Http1).await? {
            Link::Plain(stream) => upgradeable(stream, &upstream.limits).await?,
            Link::Tls(stream) => upgradeable(stream, &upstream.limits).await?,
        };
        let mut lease = Lease::new(conn, seat);
        lease.alone = Some(place);
        Ok(lease)
    }

    /// Waits for a place, no longer than `upstream-wait`.
    async fn place(self: &Arc<Self>, limits: &Limits) -> Result<Alone, Refusal> {
        let wait = limits::time(limits.upstream_wait);
        let deadline = Instant::now() + wait;
        loop {
            let changed = self.changed.notified();
            if self.claim(limits) {
                return Ok(Alone(Arc::clone(self)));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            timeout(left, changed).await.map_err(|_| full(wait))?;
        }
    }

    /// Counts one in; if there is no room, the connection that was idle for longest is closed and makes some.
    fn claim(&self, limits: &Limits) -> bool {
        let mut state = self.state.lock();
        let has_room = state.taken() < limits::count(limits.upstream_connections);
        if has_room {
            state.alone += 1;
        } else if !state.idle.is_empty() {
            state.idle.remove(0).task.abort();
        }
        has_room
    }
}

async fn upgradeable<S>(stream: S, limits: &Limits) -> Result<Conn, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, conn) =
        http1_settings(limits).handshake(TokioIo::new(stream)).await.map_err(handshake_failed)?;
    let task = tokio::spawn(async move {
        if let Err(error) = conn.with_upgrades().await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(Conn::Http1 { sender, task: task.abort_handle() })
}
