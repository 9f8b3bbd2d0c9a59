//! How a connection is closed: so that nobody who is still sending loses the answer.
//!
//! A socket that is closed while bytes lie in it unread sends a reset, which eats what the other side has not read yet and
//! breaks what it is just writing (RFC 9112, 9.6). So whatever ended a connection, hyper gives it back here: it says that
//! nothing more comes (TLS: close_notify, then FIN) and takes what still comes, within [`CLOSE_TIME`] and [`CLOSE_MOST`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::oneshot;

/// How long a closed connection is read.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// And how much of it: a little more than the longest body.
const CLOSE_MOST: usize = 4 << 20;
/// How long the rest of a body that nobody read is waited for, if the connection is to go on.
const REST_TIME: Duration = Duration::from_millis(100);
/// And how long that may be.
const REST_MOST: usize = 64 << 10;

/// A connection that is lent: it comes back when it is dropped.
pub(super) struct Lent<S> {
    io: Option<S>,
    back: Option<oneshot::Sender<S>>,
}

impl<S> Lent<S> {
    /// The connection, and where it comes back.
    pub(super) fn new(io: S) -> (Self, oneshot::Receiver<S>) {
        let (back, comes) = oneshot::channel();
        (Self { io: Some(io), back: Some(back) }, comes)
    }

    fn io(&mut self) -> io::Result<&mut S> {
        self.io.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S> Drop for Lent<S> {
    fn drop(&mut self) {
        if let (Some(io), Some(back)) = (self.io.take(), self.back.take()) {
            // Nobody waits for it: then it is dropped here.
            drop(back.send(io));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lent<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(self.io()?).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.io()?).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io()?).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io()?).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io()?).poll_shutdown(cx)
    }
}

/// Says that nothing more comes, and takes what still does.
pub(super) async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut io: S) {
    let closing = async {
        io.shutdown().await?;
        let (mut part, mut read) = (vec![0; 8 << 10], 0);
        while read < CLOSE_MOST {
            match io.read(&mut part).await? {
                0 => break,
                more => read += more,
            }
        }
        io::Result::Ok(())
    };
    match tokio::time::timeout(CLOSE_TIME, closing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::trace!(%error, "the other side closed it"),
        Err(_) => tracing::trace!("the other side did not close it"),
    }
}

/// The body of a request, of which is known whether all of it was read.
pub(super) struct Asked {
    body: Option<Incoming>,
    left: Left,
}

type Left = Arc<Mutex<Option<Incoming>>>;

impl Asked {
    /// The body, and what will be left of it.
    pub(super) fn new(body: Incoming) -> (Self, Rest) {
        let left = Left::default();
        (Self { body: Some(body), left: Arc::clone(&left) }, Rest(left))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !body.is_end_stream());
        *self.left.lock() = rest;
    }
}

impl Body for Asked {
    type Data = bytes::Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if frame.is_none() {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

/// What nobody read of a body.
pub(super) struct Rest(Left);

impl Rest {
    /// Reads it if it is there already, or nearly; whether the body is over then.
    pub(super) async fn drained(self, is_held: bool) -> bool {
        let Some(mut body) = self.0.lock().take() else { return true };
        if is_held || body.size_hint().lower() > REST_MOST as u64 {
            return false;
        }
        let reading = async {
            let mut read = 0;
            while let Some(frame) = body.frame().await {
                read += frame.ok()?.data_ref().map_or(0, bytes::Bytes::len);
                if read > REST_MOST {
                    return None;
                }
            }
            Some(())
        };
        matches!(tokio::time::timeout(REST_TIME, reading).await, Ok(Some(())))
    }
}
