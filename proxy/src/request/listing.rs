//! Between the stages 9 and 10: the tools that an MCP server's answer shows are those that policy lets through.
//!
//! Comes before the scrubber, which so sees the very bytes that the agent gets: what is cut out here cannot put a
//! credential together behind it. Refuses (DW2010) an answer that it cannot read: coded, too long, of another type; a
//! stream of events is cut there. Of a stream at most one event is held, and each goes on as soon as it is whole. What is
//! held counts as the agent's bodies do that are held whole, and may take no longer than they.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use control::mcp::events::{EventFault, Events};
use control::mcp::{Listing, listing};
use control::provider::{Enforcement, Provider};
use control::refusal::{Code, Refusal};
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, IF_RANGE, RANGE,
};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use super::body::{UpstreamBody, UpstreamBodyError};
use super::record::Record;
use super::scrub::ScrubError;
use super::send::Answer;
use crate::limits::held::{Holding, Lease};
use crate::limits::{self, Limits};
use crate::plan::Served;

/// What the agent is told of an answer that is not shown.
pub(crate) const UNREAD: &str = "the MCP server's answer cannot be read for the tools that it shows";

/// What the agent is told of one that does not come to its end.
const SLOW: &str = "body: the upstream's answer takes longer than what is held whole may";

/// Whether the answers of this provider are looked through.
pub(crate) fn filters(provider: &Provider) -> bool {
    provider.policy.tools().is_some() && provider.enforcement == Enforcement::Enforce
}

/// Asks for answers that can be read: whole, and not coded.
pub(crate) fn ask_plainly(headers: &mut HeaderMap) {
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.remove(RANGE);
    headers.remove(IF_RANGE);
}

/// The answer with the tools that may be seen.
pub(crate) async fn of(
    answer: Answer,
    served: &Served,
    limits: &Limits,
    record: &mut Record,
) -> Result<Response<Shown>, Refusal> {
    if !filters(&served.provider) {
        return Ok(answer.map(Shown::Whole));
    }
    // Boxed: few answers are looked through.
    Box::pin(shown(answer, served, limits::count(limits.mcp_message), record)).await
}

/// What an answer is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Events,
    Other,
}

async fn shown(
    answer: Answer,
    served: &Served,
    most: usize,
    record: &mut Record,
) -> Result<Response<Shown>, Refusal> {
    if answer.body().is_end_stream() {
        return Ok(answer.map(Shown::Whole));
    }
    let (status, kind) = (answer.status(), kind(answer.headers()));
    if kind == Kind::Other {
        // Results come with 200 and as one of the two kinds; the rest is text for people.
        let is_text = status != StatusCode::OK && status != StatusCode::PARTIAL_CONTENT;
        return if is_text { Ok(answer.map(Shown::Whole)) } else { Err(unread()) };
    }
    if answer.headers().get_all(CONTENT_ENCODING).iter().any(|coding| coding != "identity")
        || status == StatusCode::PARTIAL_CONTENT
    {
        return Err(unread());
    }
    let (mut head, body) = answer.into_parts();
    let digests = ["content-digest", "repr-digest", "digest", "content-md5"].map(HeaderName::from_static);
    for name in [CONTENT_LENGTH, ETAG, ACCEPT_RANGES].iter().chain(&digests) {
        head.headers.remove(name);
    }
    let provider = Arc::clone(&served.provider);
    let shown = if kind == Kind::Events {
        let lease = record.holding().empty();
        let events = Some(Events::new(most));
        Shown::Events(Box::new(Stream { body, events, lease, since: None, provider, trailers: None }))
    } else {
        let holding = record.holding();
        let whole = record.while_lasting(hold(body, most, holding)).await?;
        match listed(whole, &provider) {
            Some(list) => Shown::Held(list),
            // The status alone says enough.
            None if status.is_client_error() || status.is_server_error() => Shown::Held(Bytes::new()),
            None => return Err(unread()),
        }
    };
    Ok(Response::from_parts(head, shown))
}

fn kind(headers: &HeaderMap) -> Kind {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else { return Kind::Other };
    let essence =
        kind.as_bytes().split(|&b| b == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    match essence.as_slice() {
        b"text/event-stream" => Kind::Events,
        essence if essence == b"application/json" || essence.ends_with(b"+json") => Kind::Json,
        _ => Kind::Other,
    }
}

/// The whole body; it has no trailers that anybody reads.
async fn hold(mut body: UpstreamBody, most: usize, holding: Holding) -> Result<Bytes, Refusal> {
    let end = Instant::now() + holding.whole;
    let (mut whole, mut length) = (holding.begin(), 0);
    loop {
        let frame = match timeout_at(end, body.frame()).await {
            Err(_) => return Err(Refusal::new(Code::Dw2006, SLOW)),
            Ok(None) => return Ok(whole.end()),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                tracing::warn!(error = %crate::plan::chain(&error), "answer refused");
                return Err(Refusal::new(Code::Dw2006, "body: the upstream's answer ended early"));
            }
        };
        let Some(data) = frame.data_ref() else { continue };
        length += data.len();
        if length > most {
            return Err(unread());
        }
        whole.push(data)?;
    }
}

/// The text as it may be shown; `None`: it cannot be read.
fn listed(whole: Bytes, provider: &Provider) -> Option<Bytes> {
    let text = std::str::from_utf8(&whole).ok()?;
    match listing::filter(text, &|tool| lets(provider, tool)) {
        Ok(Listing::Same) => Some(whole),
        Ok(Listing::Cut(list)) => Some(list.into()),
        Err(fault) => {
            tracing::warn!(error = %fault, "answer of an MCP server not read");
            None
        }
    }
}

fn lets(provider: &Provider, tool: &str) -> bool {
    provider.policy.tools().is_none_or(|tools| tools.lets(tool))
}

fn unread() -> Refusal {
    Refusal::new(Code::Dw2010, UNREAD)
}

/// The body of an answer after it was looked through.
#[derive(Debug)]
pub(crate) enum Shown {
    /// As it comes.
    Whole(UpstreamBody),
    Held(Bytes),
    Events(Box<Stream>),
}

/// A stream of events on its way.
#[derive(Debug)]
pub(crate) struct Stream {
    body: UpstreamBody,
    /// `None`: all of it is out.
    events: Option<Events>,
    /// The room for the event that is held, and since when one is.
    lease: Lease,
    since: Option<Instant>,
    provider: Arc<Provider>,
    trailers: Option<HeaderMap>,
}

/// What such a body can end with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShownError {
    #[error(transparent)]
    Upstream(#[from] UpstreamBodyError),
    #[error(transparent)]
    Event(#[from] EventFault),
    /// There is no room for an event that has to be held.
    #[error("there is no room for an event that has to be held")]
    Room,
    /// An event does not come to its end.
    #[error("an event takes longer than what is held may")]
    Slow,
}

/// Whether a stream was cut since an event of it could not be judged.
pub(crate) fn is_fault(error: &ScrubError) -> bool {
    let ScrubError::Upstream(cause) = error else { return false };
    let cause = cause.downcast_ref::<ShownError>();
    matches!(cause, Some(ShownError::Event(_) | ShownError::Room | ShownError::Slow))
}

impl Stream {
    /// Has what is held count.
    fn keep(&mut self) -> Result<(), ShownError> {
        let Some(events) = &self.events else { return Ok(()) };
        self.lease.resize(events.room()).map_err(|_| ShownError::Room)?;
        if events.held() == 0 {
            self.since = None;
            return Ok(());
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() > self.lease.whole() { Err(ShownError::Slow) } else { Ok(()) }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ShownError>>> {
        loop {
            let Some(events) = &mut self.events else {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            };
            let provider = &self.provider;
            let lets = |tool: &str| lets(provider, tool);
            let out = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Err(error)) => Err(error.into()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let out = events.push(&data, &lets).map_err(ShownError::from);
                        out.and_then(|out| self.keep().map(|()| out))
                    }
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        continue;
                    }
                },
                None => {
                    let rest = events.finish(&lets).map_err(ShownError::from);
                    self.events = None;
                    rest
                }
            };
            match out {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes.into())))),
                Err(error) => {
                    self.events = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl Body for Shown {
    type Data = Bytes;
    type Error = ShownError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ShownError>>> {
        match &mut *self {
            Self::Whole(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(ShownError::from)))
            }
            Self::Held(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Held(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Events(stream) => stream.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Held(bytes) => bytes.is_empty(),
            Self::Events(stream) => stream.events.is_none() && stream.trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Held(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Events(_) => SizeHint::default(),
        }
    }
}
