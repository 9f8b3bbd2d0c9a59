//! What happens to a body that streams under a signature: it is checked against the hash that was signed, or its chunks
//! are written anew.
//!
//! Invariant: a body that turns out to be another one than was signed never arrives whole; its last part is held until
//! all of it is known.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_lc_rs::digest::{self, SHA256};
use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};

use super::chunked::{ChunkFault, Form};
use super::key::hex;
use super::rechunk::{Chain, RechunkError, Rechunked};
use super::sign::hash;

/// What is to happen to a body.
#[derive(Debug)]
pub enum Stream {
    /// It has to have this hash.
    Checked([u8; 64]),
    /// It comes in the agent's chunks and goes out in ours.
    Rechunked {
        /// Its form.
        form: Form,
        /// `x-amz-decoded-content-length`.
        decoded: u64,
        /// What `x-amz-trailer` announces.
        trailers: Vec<HeaderName>,
        /// The signatures, where chunks carry any.
        chain: Option<Chain>,
    },
}

/// A body is not the one that was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadFault {
    /// Its hash is another.
    #[error("the body is not the one that the agent's x-amz-content-sha256 names")]
    Hash,
    /// Its chunks are malformed.
    #[error(transparent)]
    Chunks(#[from] ChunkFault),
}

impl Stream {
    /// Whether a request without any body keeps what it promises.
    pub fn allows_nothing(&self) -> Result<(), PayloadFault> {
        match self {
            Self::Checked(wanted) if *wanted == hash(b"") => Ok(()),
            Self::Checked(_) => Err(PayloadFault::Hash),
            Self::Rechunked { .. } => Err(PayloadFault::Chunks(ChunkFault::Early)),
        }
    }

    /// The body as it goes out.
    pub fn of<B>(self, inner: B) -> Payload<B> {
        match self {
            Self::Checked(wanted) => Payload(Kind::Checked(Checked::new(inner, wanted))),
            Self::Rechunked { form, decoded, trailers, chain } => {
                Payload(Kind::Rechunked(Rechunked::new(inner, form, decoded, trailers, chain)))
            }
        }
    }
}

/// A body under a signature.
#[derive(Debug)]
pub struct Payload<B>(Kind<B>);

#[derive(Debug)]
enum Kind<B> {
    Checked(Checked<B>),
    Rechunked(Rechunked<B>),
}

/// The next part of a body.
type Next<E> = Option<Result<Frame<Bytes>, PayloadError<E>>>;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError<E> {
    /// The agent's body failed.
    #[error("the body could not be read")]
    Inner(#[source] E),
    /// It is not what was signed.
    #[error(transparent)]
    Fault(PayloadFault),
}

impl<B: Body<Data = Bytes> + Unpin> Body for Payload<B> {
    type Data = Bytes;
    type Error = PayloadError<B::Error>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next<B::Error>> {
        match &mut self.0 {
            Kind::Checked(body) => body.poll(cx),
            Kind::Rechunked(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| {
                    frame.map_err(|error| match error {
                        RechunkError::Inner(error) => PayloadError::Inner(error),
                        RechunkError::Chunks(fault) => PayloadError::Fault(PayloadFault::Chunks(fault)),
                    })
                }))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Checked(body) => body.is_done,
            Kind::Rechunked(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Checked(body) => body.size_hint(),
            Kind::Rechunked(body) => body.size_hint(),
        }
    }
}

/// Bytes as they come, each part given on when the next one is there.
struct Checked<B> {
    inner: B,
    wanted: [u8; 64],
    digest: digest::Context,
    held: Option<Bytes>,
    is_done: bool,
}

impl<B> fmt::Debug for Checked<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked").field("is_done", &self.is_done).finish_non_exhaustive()
    }
}

impl<B> Checked<B> {
    fn new(inner: B, wanted: [u8; 64]) -> Self {
        Self { inner, wanted, digest: digest::Context::new(&SHA256), held: None, is_done: false }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Checked<B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next<B::Error>> {
        loop {
            if self.is_done {
                return Poll::Ready(None);
            }
            let data = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                None => return Poll::Ready(self.end()),
                Some(Err(error)) => return Poll::Ready(Some(Err(PayloadError::Inner(error)))),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            if data.is_empty() {
                continue;
            }
            self.digest.update(&data);
            if let Some(before) = self.held.replace(data) {
                return Poll::Ready(Some(Ok(Frame::data(before))));
            }
        }
    }

    fn end(&mut self) -> Next<B::Error> {
        self.is_done = true;
        if hex(self.digest.clone().finish().as_ref()) != self.wanted {
            return Some(Err(PayloadError::Fault(PayloadFault::Hash)));
        }
        self.held.take().map(|last| Ok(Frame::data(last)))
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.as_ref().map_or(0, |held| held.len() as u64);
        let inner = self.inner.size_hint();
        inner.exact().map_or_else(SizeHint::default, |exact| SizeHint::with_exact(exact + held))
    }
}
