//! Bodies on their way: the agent's towards the upstream, the upstream's towards the scrubber.
//!
//! Bodies are streamed with the peers' own back-pressure; nothing is collected here. Request trailers are dropped.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};

use crate::schemes::aws_sigv4::payload::{Payload, PayloadError, PayloadFault, Stream};
use crate::upstream::pool::Lease;

/// What the two directions of one exchange know of each other.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Bytes of the request's body that were handed on.
    sent: AtomicU64,
    /// The request was handed on whole.
    whole: AtomicBool,
    /// Interim answers so far.
    interim: AtomicU64,
    /// How many are too many.
    most_interim: AtomicU64,
    /// `Expect: 100-continue`: the body may go.
    may_send: AtomicBool,
    waiting: Mutex<Option<Waker>>,
    /// Why the body was cut.
    fault: Mutex<Option<Fault>>,
}

impl Progress {
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Relaxed)
    }

    /// Why the body was cut, if that is of the agent's doing: the upstream never had all of it.
    pub(crate) fn fault(&self) -> Option<Fault> {
        *self.fault.lock()
    }

    /// Notes that the agent's body cannot be read on.
    fn unread(&self, error: hyper::Error) -> RequestBodyError {
        *self.fault.lock() = Some(Fault::of(&error));
        RequestBodyError::Agent(error)
    }

    /// Notes that the body is another one than was signed.
    fn unsigned(&self, fault: PayloadFault) -> RequestBodyError {
        *self.fault.lock() = Some(Fault::Payload(fault));
        RequestBodyError::Payload(fault)
    }

    pub(crate) fn allow_interim(&self, most: u64) {
        self.most_interim.store(most, Ordering::Relaxed);
    }

    pub(crate) fn has_too_many_interim(&self) -> bool {
        self.interim.load(Ordering::Relaxed) > self.most_interim.load(Ordering::Relaxed)
    }

    /// Notes an interim answer; 100 lets the body go.
    pub(crate) fn note_interim(&self, status: http::StatusCode) {
        self.interim.fetch_add(1, Ordering::Relaxed);
        if status == http::StatusCode::CONTINUE {
            self.open_gate();
        }
    }

    /// Lets a body that waits for 100 go.
    pub(crate) fn open_gate(&self) {
        self.may_send.store(true, Ordering::Relaxed);
        if let Some(waker) = self.waiting.lock().take() {
            waker.wake();
        }
    }
}

/// The agent's body as the upstream gets it.
#[derive(Debug)]
pub(crate) struct RequestBody {
    kind: Kind,
    gate: Option<Pin<Box<Sleep>>>,
    progress: Arc<Progress>,
}

enum Kind {
    Empty,
    Whole(Bytes),
    Stream(Incoming),
    /// Boxed: few requests carry one.
    Payload(Box<Payload<Incoming>>),
    /// The same of one that is held.
    HeldPayload(Box<Payload<Full<Bytes>>>),
}

/// A whole body may hold a credential.
impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Whole(_) => "Whole",
            Self::Stream(_) => "Stream",
            Self::Payload(_) => "Payload",
            Self::HeldPayload(_) => "HeldPayload",
        })
    }
}

/// What is wrong with an agent's body, in words for the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// It is not what was signed.
    #[error(transparent)]
    Payload(PayloadFault),
    /// Its chunks cannot be read in one way.
    #[error("the body's chunks are malformed")]
    Chunks,
    /// The connection or its stream ended before it did.
    #[error("the body ended before it was whole")]
    Early,
}

impl Fault {
    /// hyper's decoder of chunks speaks of input and data that are invalid; anything else is the connection's end.
    fn of(error: &hyper::Error) -> Self {
        let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
        match source.map(io::Error::kind) {
            Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Self::Chunks,
            Some(_) | None => Self::Early,
        }
    }
}

/// Why a request's body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestBodyError {
    /// The agent's connection failed in the middle of its body, or its chunks are malformed.
    #[error("the agent's body ended early")]
    Agent(#[source] hyper::Error),
    /// It is not what was signed.
    #[error(transparent)]
    Payload(PayloadFault),
}

impl RequestBody {
    /// No body, or one that is held whole.
    pub(crate) fn whole(bytes: Bytes, progress: Arc<Progress>) -> Self {
        let kind = if bytes.is_empty() { Kind::Empty } else { Kind::Whole(bytes) };
        progress.whole.store(matches!(kind, Kind::Empty), Ordering::Relaxed);
        Self { kind, gate: None, progress }
    }

    /// The agent's body as it arrives.
    pub(crate) fn stream(body: Incoming, progress: Arc<Progress>) -> Self {
        if body.is_end_stream() {
            return Self::whole(Bytes::new(), progress);
        }
        Self { kind: Kind::Stream(body), gate: None, progress }
    }

    /// The agent's body as a signature needs it.
    pub(crate) fn payload(
        body: Incoming,
        stream: Stream,
        progress: Arc<Progress>,
    ) -> Result<Self, PayloadFault> {
        if body.is_end_stream() {
            stream.allows_nothing()?;
            return Ok(Self::whole(Bytes::new(), progress));
        }
        Ok(Self { kind: Kind::Payload(Box::new(stream.of(body))), gate: None, progress })
    }

    /// The same of a body that is held whole.
    pub(crate) fn held_payload(
        body: Bytes,
        stream: Stream,
        progress: Arc<Progress>,
    ) -> Result<Self, PayloadFault> {
        if body.is_empty() {
            stream.allows_nothing()?;
            return Ok(Self::whole(Bytes::new(), progress));
        }
        Ok(Self { kind: Kind::HeldPayload(Box::new(stream.of(Full::new(body)))), gate: None, progress })
    }

    /// Holds the body back until [`Progress::open_gate`] or for this time (RFC 9110 section 10.1.1).
    pub(crate) fn wait_for_continue(&mut self, wait: Duration) {
        if matches!(self.kind, Kind::Stream(_) | Kind::Payload(_)) {
            self.gate = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }

    /// The same body again, for a retry; `None` where bytes of it are gone, or it is longer than this.
    pub(crate) fn again(&self, most: usize) -> Option<Self> {
        let kind = match &self.kind {
            Kind::Empty => Kind::Empty,
            Kind::Whole(bytes) if bytes.len() <= most => Kind::Whole(bytes.clone()),
            Kind::Whole(_) | Kind::Stream(_) | Kind::Payload(_) | Kind::HeldPayload(_) => return None,
        };
        Some(Self { kind, gate: None, progress: Arc::clone(&self.progress) })
    }

    /// The same body for another request, with a progress of its own; `None` where it is not held whole.
    pub(crate) fn afresh(&self) -> Option<(Self, Arc<Progress>)> {
        let bytes = match &self.kind {
            Kind::Empty => Bytes::new(),
            Kind::Whole(bytes) => bytes.clone(),
            Kind::Stream(_) | Kind::Payload(_) | Kind::HeldPayload(_) => return None,
        };
        let progress = Arc::new(Progress::default());
        Some((Self::whole(bytes, Arc::clone(&progress)), progress))
    }

    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.gate else { return Poll::Ready(()) };
        *self.progress.waiting.lock() = Some(cx.waker().clone());
        if !self.progress.may_send.load(Ordering::Relaxed) {
            ready!(sleep.as_mut().poll(cx));
        }
        self.gate = None;
        Poll::Ready(())
    }

    fn sent_whole(&self) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        self.progress.whole.store(true, Ordering::Relaxed);
        Poll::Ready(None)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        ready!(self.poll_gate(cx));
        let this = &mut *self;
        let data = match &mut this.kind {
            Kind::Empty => return this.sent_whole(),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                this.kind = Kind::Empty;
                bytes
            }
            Kind::Stream(body) => match ready!(Pin::new(body).poll_frame(cx)) {
                None => return this.sent_whole(),
                Some(Err(error)) => return Poll::Ready(Some(Err(this.progress.unread(error)))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    // Request trailers are always dropped; they are also the end.
                    Err(_trailers) => return this.sent_whole(),
                },
            },
            Kind::Payload(body) => match ready!(Pin::new(body.as_mut()).poll_frame(cx)) {
                None => return this.sent_whole(),
                Some(Err(PayloadError::Inner(error))) => {
                    return Poll::Ready(Some(Err(this.progress.unread(error))));
                }
                Some(Err(PayloadError::Fault(fault))) => {
                    return Poll::Ready(Some(Err(this.progress.unsigned(fault))));
                }
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            },
            Kind::HeldPayload(body) => match ready!(Pin::new(body.as_mut()).poll_frame(cx)) {
                None => return this.sent_whole(),
                Some(Err(PayloadError::Inner(never))) => match never {},
                Some(Err(PayloadError::Fault(fault))) => {
                    return Poll::Ready(Some(Err(this.progress.unsigned(fault))));
                }
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            },
        };
        this.progress.sent.fetch_add(data.len() as u64, Ordering::Relaxed);
        if this.is_end_stream() {
            this.progress.whole.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Whole(_) => false,
            Kind::Stream(body) => body.is_end_stream(),
            Kind::Payload(body) => body.is_end_stream(),
            Kind::HeldPayload(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(body) => body.size_hint(),
            Kind::Payload(body) => body.size_hint(),
            Kind::HeldPayload(body) => body.size_hint(),
        }
    }
}

/// The upstream's body; gives its connection back at the end, and ends with an error when nothing moves for too long.
#[derive(Debug)]
pub(crate) struct UpstreamBody {
    body: Incoming,
    lease: Option<Lease>,
    progress: Arc<Progress>,
    idle: Idle,
}

/// What a response body can end with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamBodyError {
    /// The upstream's connection failed.
    #[error("the upstream's body ended early")]
    Broken(#[source] hyper::Error),
    /// Nothing moved in either direction.
    #[error("nothing moved for {0:?}")]
    Idle(Duration),
}

/// A deadline that is armed only once a body makes us wait, and re-armed only when it fires.
#[derive(Debug)]
struct Idle {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Since the timer is there.
    last: Option<Instant>,
    sent: u64,
}

impl UpstreamBody {
    pub(crate) fn new(body: Incoming, lease: Lease, progress: Arc<Progress>, idle: Duration) -> Self {
        let idle = Idle { limit: idle, timer: None, last: None, sent: progress.sent() };
        let mut this = Self { body, lease: Some(lease), progress, idle };
        if this.body.is_end_stream() {
            this.end();
        }
        this
    }

    /// The exchange is over; the connection is kept only if the request went out whole as well.
    fn end(&mut self) {
        if let Some(lease) = self.lease.take()
            && self.progress.is_whole()
        {
            lease.finish();
        }
    }
}

impl Idle {
    fn poll_expired(&mut self, progress: &Progress, cx: &mut Context<'_>) -> Poll<()> {
        let last = self.last.get_or_insert_with(Instant::now);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(*last + self.limit)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if progress.sent() != self.sent {
                self.sent = progress.sent();
                *last = Instant::now();
            }
            if last.elapsed() >= self.limit {
                return Poll::Ready(());
            }
            timer.as_mut().reset(*last + self.limit);
        }
    }

    fn moved(&mut self) {
        if let Some(last) = &mut self.last {
            *last = Instant::now();
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = UpstreamBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamBodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Pending => {
                ready!(this.idle.poll_expired(&this.progress, cx));
                this.lease = None;
                Poll::Ready(Some(Err(UpstreamBodyError::Idle(this.idle.limit))))
            }
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                this.lease = None;
                Poll::Ready(Some(Err(UpstreamBodyError::Broken(error))))
            }
            Poll::Ready(Some(Ok(frame))) => {
                this.idle.moved();
                if this.body.is_end_stream() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_body_is_not_shown_and_is_replayed_only_within_its_limit() {
        let body = RequestBody::whole(Bytes::from_static(b"canary-value"), Arc::default());
        assert!(!format!("{body:?}").contains("canary"));
        assert!(body.again(11).is_none());
        assert!(body.again(12).is_some());
    }
}
