//! Upstream connections of one worker, kept for the next request of the same agent, provider, target and secret version.
//!
//! A [`Slot`] is one such identity; connections never move between slots. h1 connections go back only after a complete
//! exchange; surplus bytes, early answers and failed upgrades close them. h2 connections are shared by the requests of
//! their slot up to the peer's limit. Everything is bounded, and a request waits for a place no longer than
//! `upstream-wait`.

mod alone;

use std::future::{Future, poll_fn, ready};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use control::refusal::{Code, Refusal};
use futures_util::TryFutureExt as _;
use futures_util::future::Either;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
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
    shared: Vec<Multiplexed>,
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
    /// The first sweep that found it idle.
    since: Option<Instant>,
}

/// An h2 connection, as the pool keeps it.
#[derive(Debug)]
struct Multiplexed {
    conn: Arc<Shared>,
    /// The first sweep that found it without a stream since the last one began.
    since: Option<Instant>,
}

/// An h2 connection.
#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    task: AbortHandle,
    streams: AtomicUsize,
    most: Arc<AtomicUsize>,
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

impl Conn {
    /// Waits for the end of the exchange before, which is over but for hyper's own steps; false: it took the connection with it.
    async fn is_free(&mut self) -> bool {
        match self {
            Self::Http1 { sender, .. } => sender.ready().await.is_ok(),
            Self::Http2(_) => true,
        }
    }
}

/// A connection lent to one exchange. Dropped without [`Lease::finish`], an h1 connection is closed.
#[derive(Debug)]
pub(crate) struct Lease {
    conn: Option<Conn>,
    seat: Seat,
    /// Whether the connection served another request before.
    pub(crate) reused: bool,
    /// Whether it rested since, for as long as a sweep takes to see it: only then may a failure be a race with its idle
    /// close, for which a copy of the request is worth its cost.
    pub(crate) rested: bool,
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
    Ready(Ready),
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
        let ready = self.state.lock().ready(limits);
        if let Some(mut ready) = ready
            && ready.conn.is_free().await
        {
            return Ok(Lease::again(ready, seat));
        }
        // Boxed: a request that finds a connection does not carry the room for the wait and the dial.
        Box::pin(self.wait(upstream, peer, seat)).await
    }

    /// Waits until there is room, or dials.
    async fn wait(
        self: &Arc<Self>,
        upstream: &Upstream,
        peer: Peer<'_>,
        seat: Seat,
    ) -> Result<Lease, Refusal> {
        let limits = &upstream.limits;
        let wait = limits::time(limits.upstream_wait);
        let deadline = Instant::now() + wait;
        loop {
            let changed = self.changed.notified();
            match self.take(limits, Instant::now() >= deadline) {
                Found::Ready(mut ready) => {
                    if ready.conn.is_free().await {
                        return Ok(Lease::again(ready, seat));
                    }
                }
                Found::Dial => return Ok(Lease::new(self.dial(upstream, peer).await?, seat)),
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
        if let Some(ready) = state.ready(limits) {
            return Found::Ready(ready);
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
        let shared =
            Arc::new(Shared { sender, task: task.abort_handle(), streams: AtomicUsize::new(1), most });
        self.state.lock().shared.push(Multiplexed { conn: Arc::clone(&shared), since: None });
        Ok(Conn::Http2(shared))
    }

    /// Closes what has been idle for too long; true if nothing is left here.
    pub(crate) fn sweep(&self, limits: &Limits) -> bool {
        let (limit, now) = (limits::time(limits.pool_idle), Instant::now());
        let expired =
            |since: &mut Option<Instant>| now.saturating_duration_since(*since.get_or_insert(now)) >= limit;
        let mut state = self.state.lock();
        state.idle.retain_mut(|idle| {
            let keep = !expired(&mut idle.since) && !idle.sender.is_closed();
            if !keep {
                idle.task.abort();
            }
            keep
        });
        state.shared.retain_mut(|Multiplexed { conn, since }| {
            let expired = conn.streams.load(Ordering::Relaxed) == 0 && expired(since);
            if expired {
                conn.task.abort();
            }
            !expired && !conn.sender.is_closed()
        });
        state.open == 0 && state.in_flight == 0 && state.dialling == 0
    }
}

impl State {
    /// Connections that there are or will be.
    fn taken(&self) -> usize {
        self.open + self.dialling + self.alone
    }

    fn ready(&mut self, limits: &Limits) -> Option<Ready> {
        while let Some(Idle { sender, task, since }) = self.idle.pop() {
            if !sender.is_closed() {
                return Some(Ready { conn: Conn::Http1 { sender, task }, rested: since.is_some() });
            }
        }
        let found = self.shared.iter_mut().find(|shared| shared.conn.has_room(limits))?;
        found.conn.streams.fetch_add(1, Ordering::Relaxed);
        let rested = found.since.take().is_some();
        Some(Ready { conn: Conn::Http2(Arc::clone(&found.conn)), rested })
    }
}

/// A connection that served a request before.
struct Ready {
    conn: Conn,
    rested: bool,
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
    /// A connection that is new.
    fn new(conn: Conn, seat: Seat) -> Self {
        Self { conn: Some(conn), seat, reused: false, rested: false, alone: None }
    }

    /// A connection from the pool.
    fn again(Ready { conn, rested }: Ready, seat: Seat) -> Self {
        Self { conn: Some(conn), seat, reused: true, rested, alone: None }
    }

    /// Hands the request over; what is given back waits for the answer's head, and holds nothing of the request.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError>> + use<> {
        match &mut self.conn {
            Some(Conn::Http1 { sender, .. }) => {
                Either::Left(Either::Left(sender.try_send_request(request).map_err(unanswered)))
            }
            Some(Conn::Http2(shared)) => {
                let sending = shared.sender.clone().try_send_request(request);
                Either::Left(Either::Right(sending.map_err(unanswered)))
            }
            None => Either::Right(ready(Err(SendError::Unsent(Box::new(request))))),
        }
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
                self.seat.0.state.lock().idle.push(Idle { sender, task, since: None });
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
                shared.streams.fetch_sub(1, Ordering::Relaxed);
            }
            None => {}
        }
    }
}

fn unanswered(mut error: TrySendError<Request<RequestBody>>) -> SendError {
    match error.take_message() {
        Some(request) => SendError::Unsent(Box::new(request)),
        None => SendError::Broken(error.into_error()),
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
