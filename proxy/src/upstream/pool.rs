//! Upstream connections of one worker, kept for the next request of the same agent, provider, target and secret version.
//!
//! A [`Slot`] is one such identity; connections never move between slots. h1 connections go back only after a complete
//! exchange; surplus bytes, early answers and failed upgrades close them. h2 connections are shared by the requests of
//! their slot up to the peer's limit. Everything is bounded, and a request waits for a place no longer than
//! `upstream-wait`.

mod alone;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use control::refusal::{Code, Refusal};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::tls::Offer;
use super::{Link, Peer, Upstream};
use crate::limits::{self, Limits};
use crate::request::body::RequestBody;
use alone::Alone;

/// The connections of one identity.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Most recently used last: the rest may go idle and be closed.
    idle: Vec<Idle>,
    shared: Vec<Arc<Shared>>,
    open: usize,
    dialling: usize,
    /// Connections that are not pooled, from before their dial.
    alone: usize,
    in_flight: usize,
    speaks: Speaks,
}

/// What the last handshake with this upstream settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Speaks {
    #[default]
    Unknown,
    Http1,
    Http2,
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<RequestBody>,
    task: AbortHandle,
    since: Instant,
}

/// An h2 connection.
#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    task: AbortHandle,
    streams: AtomicUsize,
    most: Arc<AtomicUsize>,
    idle_since: Mutex<Instant>,
}

impl Shared {
    fn has_room(&self, limits: &Limits) -> bool {
        let most = self.most.load(Ordering::Relaxed).min(limits::count(limits.h2_streams));
        !self.sender.is_closed() && self.streams.load(Ordering::Relaxed) < most
    }
}

/// Which connection a request got.
#[derive(Debug)]
enum Conn {
    Http1 { sender: http1::SendRequest<RequestBody>, task: AbortHandle },
    Http2(Arc<Shared>),
}

/// A connection lent to one exchange. Dropped without [`Lease::finish`], an h1 connection is closed.
#[derive(Debug)]
pub(crate) struct Lease {
    conn: Option<Conn>,
    seat: Seat,
    /// Whether the connection served another request before: only then may a failure be a race with its idle close.
    pub(crate) reused: bool,
    /// Of a connection that is not pooled.
    alone: Option<Alone>,
}

/// One request counted in; counted out on drop.
#[derive(Debug)]
struct Seat(Arc<Slot>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.state.lock().in_flight -= 1;
        self.0.changed.notify_waiters();
    }
}

/// What [`Slot::take`] found.
enum Found {
    Conn(Conn),
    Dial,
    Dialling,
    Full,
}

/// Why a request did not get an answer.
pub(crate) enum SendError {
    /// hyper gave the request back: nothing of it was sent.
    Unsent(Box<Request<RequestBody>>),
    /// It may have been sent.
    Broken(hyper::Error),
}

impl Slot {
    /// A connection with room for one request: an idle or shared one, else a new one.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        upstream: &Upstream,
        peer: Peer<'_>,
    ) -> Result<Lease, Refusal> {
        let limits = &upstream.limits;
        let seat = self.seat(limits)?;
        let wait = limits::time(limits.upstream_wait);
        let deadline = Instant::now() + wait;
        loop {
            let changed = self.changed.notified();
            match self.take(limits, Instant::now() >= deadline) {
                Found::Conn(conn) => return Ok(Lease { conn: Some(conn), seat, reused: true, alone: None }),
                Found::Dial => {
                    // Boxed: a request that finds a connection does not carry the room for a dial.
                    let conn = Box::pin(self.dial(upstream, peer)).await?;
                    return Ok(Lease { conn: Some(conn), seat, reused: false, alone: None });
                }
                // Past the deadline it dials for itself: where dials fail, a queue of them would last for minutes.
                Found::Dialling => {
                    drop(timeout(deadline.saturating_duration_since(Instant::now()), changed).await)
                }
                Found::Full
                    if timeout(deadline.saturating_duration_since(Instant::now()), changed)
                        .await
                        .is_err() =>
                {
                    return Err(full(wait));
                }
                Found::Full => {}
            }
        }
    }

    fn seat(self: &Arc<Self>, limits: &Limits) -> Result<Seat, Refusal> {
        let mut state = self.state.lock();
        if state.in_flight >= limits::count(limits.upstream_in_flight) {
            return Err(full(Duration::from_secs(1)));
        }
        state.in_flight += 1;
        Ok(Seat(Arc::clone(self)))
    }

    fn take(&self, limits: &Limits, waited: bool) -> Found {
        let mut state = self.state.lock();
        if let Some(conn) = state.ready(limits) {
            return Found::Conn(conn);
        }
        // One dial at a time until it is known whether the upstream speaks h1: a burst on a cold slot would otherwise
        // open a connection for each request where one h2 connection serves them all.
        if !waited && state.dialling > 0 && state.speaks != Speaks::Http1 {
            return Found::Dialling;
        }
        if state.taken() >= limits::count(limits.upstream_connections) {
            return Found::Full;
        }
        state.dialling += 1;
        Found::Dial
    }

    async fn dial(self: &Arc<Self>, upstream: &Upstream, peer: Peer<'_>) -> Result<Conn, Refusal> {
        let _dialling = Dialling(self);
        let link = upstream.connect(peer, Offer::Both).await?;
        match link {
            Link::Plain(stream) => self.http1(stream, &upstream.limits).await,
            Link::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.http2(stream, &upstream.limits).await
            }
            Link::Tls(stream) => self.http1(stream, &upstream.limits).await,
        }
    }

    async fn http1<S>(self: &Arc<Self>, stream: S, limits: &Limits) -> Result<Conn, Refusal>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, conn) =
            http1_settings(limits).handshake(TokioIo::new(stream)).await.map_err(handshake_failed)?;
        let open = Open::count(self, Speaks::Http1);
        let task = tokio::spawn(async move {
            let _open = open;
            if let Err(error) = conn.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(Conn::Http1 { sender, task: task.abort_handle() })
    }

    async fn http2<S>(self: &Arc<Self>, stream: S, limits: &Limits) -> Result<Conn, Refusal>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, conn) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .max_header_list_size(limits::count32(limits.header_bytes))
            .max_concurrent_reset_streams(limits::count(limits.h2_local_resets))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(handshake_failed)?;
        let open = Open::count(self, Speaks::Http2);
        let most = Arc::new(AtomicUsize::new(conn.current_max_send_streams()));
        let task = tokio::spawn(drive_http2(conn, Arc::clone(&most), open));
        let shared = Arc::new(Shared {
            sender,
            task: task.abort_handle(),
            streams: AtomicUsize::new(1),
            most,
            idle_since: Mutex::new(Instant::now()),
        });
        self.state.lock().shared.push(Arc::clone(&shared));
        Ok(Conn::Http2(shared))
    }

    /// Closes what has been idle for too long; true if nothing is left here.
    pub(crate) fn sweep(&self, limits: &Limits) -> bool {
        let limit = limits::time(limits.pool_idle);
        let mut state = self.state.lock();
        state.idle.retain(|idle| {
            let keep = idle.since.elapsed() < limit && !idle.sender.is_closed();
            if !keep {
                idle.task.abort();
            }
            keep
        });
        state.shared.retain(|shared| {
            let unused = shared.streams.load(Ordering::Relaxed) == 0;
            let expired = unused && shared.idle_since.lock().elapsed() >= limit;
            if expired {
                shared.task.abort();
            }
            !expired && !shared.sender.is_closed()
        });
        state.open == 0 && state.in_flight == 0 && state.dialling == 0
    }
}

impl State {
    /// Connections that there are or will be.
    fn taken(&self) -> usize {
        self.open + self.dialling + self.alone
    }

    fn ready(&mut self, limits: &Limits) -> Option<Conn> {
        while let Some(Idle { sender, task, .. }) = self.idle.pop() {
            if !sender.is_closed() {
                return Some(Conn::Http1 { sender, task });
            }
        }
        let shared = self.shared.iter().find(|shared| shared.has_room(limits))?;
        shared.streams.fetch_add(1, Ordering::Relaxed);
        Some(Conn::Http2(Arc::clone(shared)))
    }
}

/// A dial under way; waiting requests look again when it ends, however it ends.
struct Dialling<'a>(&'a Slot);

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        self.0.state.lock().dialling -= 1;
        self.0.changed.notify_waiters();
    }
}

/// An open connection, counted until its task ends.
struct Open(Arc<Slot>);

impl Open {
    fn count(slot: &Arc<Slot>, speaks: Speaks) -> Self {
        let mut state = slot.state.lock();
        state.open += 1;
        state.speaks = speaks;
        Self(Arc::clone(slot))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.state.lock().open -= 1;
        self.0.changed.notify_waiters();
    }
}

/// Drives an h2 connection and keeps what the peer's SETTINGS allow where the pool sees it.
async fn drive_http2<S>(
    conn: http2::Connection<TokioIo<S>, RequestBody, TokioExecutor>,
    most: Arc<AtomicUsize>,
    open: Open,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _open = open;
    let mut conn = pin!(conn);
    let ended = poll_fn(|cx| {
        let polled = conn.as_mut().poll(cx);
        most.store(conn.current_max_send_streams(), Ordering::Relaxed);
        polled
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "upstream connection ended");
    }
}

impl Lease {
    /// Sends the request and waits for the answer's head.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        let outcome = match &mut self.conn {
            Some(Conn::Http1 { sender, .. }) => {
                if sender.ready().await.is_err() {
                    return Err(SendError::Unsent(Box::new(request)));
                }
                sender.try_send_request(request).await
            }
            Some(Conn::Http2(shared)) => shared.sender.clone().try_send_request(request).await,
            None => return Err(SendError::Unsent(Box::new(request))),
        };
        outcome.map_err(|mut error| match error.take_message() {
            Some(request) => SendError::Unsent(Box::new(request)),
            None => SendError::Broken(error.into_error()),
        })
    }

    /// Whether the connection speaks h2.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.conn, Some(Conn::Http2(_)))
    }

    /// Gives the connection back after a complete exchange: request sent whole, answer read whole.
    pub(crate) fn finish(mut self) {
        if self.alone.is_some() {
            return;
        }
        match self.conn.take() {
            Some(Conn::Http1 { sender, task }) => {
                self.seat.0.state.lock().idle.push(Idle { sender, task, since: Instant::now() });
            }
            // An h2 stream ends by itself; drop counts it out.
            shared => self.conn = shared,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.conn.take() {
            Some(Conn::Http1 { task, .. }) => task.abort(),
            Some(Conn::Http2(shared)) => {
                *shared.idle_since.lock() = Instant::now();
                shared.streams.fetch_sub(1, Ordering::Relaxed);
            }
            None => {}
        }
    }
}

fn http1_settings(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_headers(limits::count(limits.header_fields))
        .max_header_size(limits::count(limits.header_bytes))
        .max_buf_size(limits::count(limits.header_bytes).max(512 * 1024));
    builder
}

fn full(wait: Duration) -> Refusal {
    Refusal::new(Code::Dw2013, "the upstream has no room for another request").retry_after(wait)
}

fn handshake_failed(error: hyper::Error) -> Refusal {
    tracing::debug!(%error, "http handshake failed");
    Refusal::new(Code::Dw2006, "connect: the upstream did not begin to speak HTTP")
}
