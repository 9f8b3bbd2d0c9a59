//! What a connection has shown, and whether anything moves on it.
//!
//! Refuses to hold connections for nothing: one that showed no valid token is closed after [`UNPROVEN_TIME`], one on which
//! nothing moves after [`IDLE_TIME`], one whose peer takes nothing of what is written after [`WRITE_TIME`].

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use http::Extensions;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Sleep;

/// How long a connection lives without a valid token.
const UNPROVEN_TIME: Duration = Duration::from_secs(30);
/// How long a connection lives on which nothing moves. Streams say that they are alive more often than that.
const IDLE_TIME: Duration = Duration::from_secs(300);
/// How long a peer may take nothing of what is written.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// One connection's standing; requests carry it.
pub(crate) struct Standing {
    is_proven: AtomicBool,
    /// The place among those without a token: given back with the first valid one.
    place: Mutex<Option<Box<dyn Send>>>,
    begun: Instant,
    /// Milliseconds from the beginning to the last move.
    moved: AtomicU64,
    unproven_time: Duration,
    given_up: Notify,
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing").field("is_proven", &self.is_proven).finish_non_exhaustive()
    }
}

impl Standing {
    /// Of a peer that needs no token to stay: the socket's, and those of the admin port.
    pub(super) fn proven() -> Arc<Self> {
        Arc::new(Self::new(true, None))
    }

    /// Of somebody unknown.
    pub(super) fn unproven(place: impl Send + 'static) -> Arc<Self> {
        Arc::new(Self::new(false, Some(Box::new(place))))
    }

    /// The same, over sooner.
    #[cfg(test)]
    pub(super) fn unproven_for(place: impl Send + 'static, unproven_time: Duration) -> Arc<Self> {
        Arc::new(Self { unproven_time, ..Self::new(false, Some(Box::new(place))) })
    }

    fn new(is_proven: bool, place: Option<Box<dyn Send>>) -> Self {
        Self {
            is_proven: is_proven.into(),
            place: Mutex::new(place),
            begun: Instant::now(),
            moved: AtomicU64::new(0),
            unproven_time: UNPROVEN_TIME,
            given_up: Notify::new(),
        }
    }

    /// That of the request's connection.
    pub(crate) fn of(extensions: &Extensions) -> Option<Arc<Self>> {
        extensions.get::<Arc<Self>>().cloned()
    }

    /// Ends the connection: its peer does not take what it asked for.
    pub(crate) fn give_up(&self) {
        self.given_up.notify_one();
    }

    /// A valid token came on the request's connection.
    pub(crate) fn confirm(extensions: &Extensions) {
        if let Some(standing) = extensions.get::<Arc<Self>>() {
            standing.is_proven.store(true, Ordering::Relaxed);
            drop(standing.place.lock().take());
        }
    }

    /// Something moved.
    pub(super) fn note(&self) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(since, Ordering::Relaxed);
    }

    /// Returns when the connection has lived long enough for what it is.
    pub(super) async fn overdue(&self) -> &'static str {
        tokio::select! {
            why = self.outlived() => why,
            () = self.given_up.notified() => "nobody reads",
        }
    }

    async fn outlived(&self) -> &'static str {
        tokio::time::sleep(self.unproven_time).await;
        if !self.is_proven.load(Ordering::Relaxed) {
            return "no valid token";
        }
        loop {
            let last = Duration::from_millis(self.moved.load(Ordering::Relaxed));
            let idle = self.begun.elapsed().saturating_sub(last);
            let Some(left) = IDLE_TIME.checked_sub(idle).filter(|left| !left.is_zero()) else {
                return "nothing moves";
            };
            tokio::time::sleep(left).await;
        }
    }
}

/// A body that notes what moves.
pub(super) struct Moving {
    pub(super) body: Body,
    pub(super) standing: Arc<Standing>,
}

impl hyper::body::Body for Moving {
    type Data = axum::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(hyper::body::Body::poll_frame(Pin::new(&mut self.body), cx));
        self.standing.note();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        hyper::body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        hyper::body::Body::size_hint(&self.body)
    }
}

/// A connection that fails when its peer takes nothing for [`WRITE_TIME`].
pub(super) struct Impatient<S> {
    io: S,
    stuck: Option<Pin<Box<Sleep>>>,
    patience: Duration,
}

impl<S> Impatient<S> {
    pub(super) fn new(io: S) -> Self {
        Self { io, stuck: None, patience: WRITE_TIME }
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let patience = self.patience;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stuck.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.io).poll_shutdown(cx);
        self.judge(cx, ended)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let patience = Duration::from_millis(200);
        let (mut peer, ours) = tokio::io::duplex(4);
        let mut ours = Impatient { patience, ..Impatient::new(ours) };
        let writing = tokio::time::timeout(Duration::from_secs(5), ours.write_all(b"more than fits"));
        let refused = writing.await.expect("an end").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        let mut first = [0; 4];
        peer.read_exact(&mut first).await.unwrap();

        let (mut slow, ours) = tokio::io::duplex(4);
        let mut ours = Impatient { patience, ..Impatient::new(ours) };
        let reading = async {
            let mut all = Vec::new();
            while all.len() < 14 {
                // Altogether longer than the patience, and never so without a move.
                tokio::time::sleep(patience / 3).await;
                slow.read_buf(&mut all).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(ours.write_all(b"more than fits"), reading);
        written.unwrap();
    }

    #[tokio::test]
    async fn a_connection_without_a_valid_token_is_overdue_and_gives_its_place_back_with_one() {
        let place = Arc::new(());
        let standing = Standing::unproven_for(Arc::clone(&place), Duration::from_millis(20));
        let overdue = tokio::time::timeout(Duration::from_secs(5), standing.overdue()).await;
        assert_eq!(overdue, Ok("no valid token"));
        let mut extensions = Extensions::new();
        extensions.insert(Arc::clone(&standing));
        assert_eq!(Arc::strong_count(&place), 2);
        Standing::confirm(&extensions);
        assert_eq!(Arc::strong_count(&place), 1);
        let longer = tokio::time::timeout(Duration::from_millis(100), standing.overdue()).await;
        assert!(longer.is_err(), "it may stay");
    }
}
