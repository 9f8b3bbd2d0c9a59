//! The answer that the agent gets: a head written anew, a scrubbed body, and the record that closes with it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use control::refusal::{Code, Refusal};
use http::header::{
    ALT_SVC, CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue, PROXY_AUTHENTICATE, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Response, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::{Sleep, sleep_until};

use super::listing::{self, Shown};
use super::record::Record;
use super::refuse::{self, Dialect};
use super::scrub::{self, ScrubError, Scrubbed, Search};
use crate::conn::life::Exchange;
use crate::limits::{self, Limits};
use crate::plan::Served;
use crate::worker::Seat;

/// What an exchange holds until its answer is out.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) _exchange: Exchange,
    pub(crate) _seat: Seat,
}

/// Stage 10. `search` is there if a credential was put on, and says what is looked for unless the provider does not
/// redact: hop-by-hop fields and `Alt-Svc` go, the provider's `stripHeaders` go, the rest is searched.
pub(crate) fn scrub(
    mut answer: Response<Shown>,
    search: Option<Option<Search>>,
    served: &Served,
    limits: &Limits,
    held: Held,
) -> Result<Response<Body>, Refusal> {
    let injected = search.is_some();
    if answer.status().is_informational() {
        return Err(Refusal::new(Code::Dw2010, "the upstream switched protocols, which nobody asked for"));
    }
    refuse_long(answer.headers(), limits)?;
    clean(answer.headers_mut(), &served.provider.response.strip_headers);
    // What hyper keeps there, the reason phrase, is not forwarded.
    answer.extensions_mut().clear();
    *answer.version_mut() = Version::HTTP_11;
    let mut answer = scrub::response(search.flatten(), answer).map_err(|error| unscrubbable(&error))?;
    if injected {
        note_rejected(&mut answer, served, OffsetDateTime::now_utc());
    }
    Ok(answer.map(|body| Body::new(Kind::Upstream { body, _held: held })))
}

/// Still stage 10: what would have to be cut at its beginning is refused, while that can still be told.
pub(crate) async fn begin(response: &mut Response<Body>) -> Result<(), Refusal> {
    match &mut response.body_mut().0.kind {
        // Boxed: few answers are waited for here.
        Kind::Upstream { body, .. } if body.is_read_only() => {
            Box::pin(body.begin()).await.map_err(|error| unscrubbable(&error))
        }
        Kind::Upstream { .. } | Kind::Held(_) => Ok(()),
    }
}

/// From how many seconds on a difference of clocks may be why a signature was refused: AWS takes five minutes for most
/// services, and an answer is not read in the moment in which it was dated.
const SKEW: i64 = 240;

/// DW1006: passed through, with a note for whoever looks. Upstreams that are sent the time refuse what seems old or early
/// with 400 as well (`RequestExpired`, `InvalidSignatureException`); that is ours to tell only if the clocks differ.
fn note_rejected<B>(answer: &mut Response<B>, served: &Served, now: OffsetDateTime) {
    let is_timed = served.injector.is_timed();
    let skew = skew(answer.headers(), now).filter(|_| is_timed);
    let rejected = match answer.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => true,
        status => status == StatusCode::BAD_REQUEST && skew.is_some(),
    };
    if !rejected {
        return;
    }
    let version = served.made_from.version.map_or(0, |version| version.number);
    let mut note = format!("upstream-rejected-credential; revision={version}");
    if let Some(seconds) = skew {
        if served.may_tell(Instant::now()) {
            tracing::warn!(provider = %served.provider.name, seconds, "this machine's clock is ahead of the upstream's by so much");
        }
        note.push_str(&format!("; clock-skew={seconds}s"));
    }
    if let Ok(note) = HeaderValue::try_from(note) {
        answer.headers_mut().insert(HeaderName::from_static("doorward-note"), note);
    }
}

/// How many seconds our clock is ahead of the upstream's, by the answer's `Date`, if it is too much.
fn skew(headers: &HeaderMap, now: OffsetDateTime) -> Option<i64> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let theirs = OffsetDateTime::parse(date, &Rfc2822).ok()?;
    let ahead = now.unix_timestamp().checked_sub(theirs.unix_timestamp())?;
    (ahead.unsigned_abs() >= SKEW.unsigned_abs()).then_some(ahead)
}

fn refuse_long(headers: &HeaderMap, limits: &Limits) -> Result<(), Refusal> {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers.len() > limits::count(limits.header_fields) || size > limits::count(limits.header_bytes) {
        return Err(Refusal::new(Code::Dw2010, "the upstream's head is over the limit"));
    }
    Ok(())
}

/// RFC 9110 section 7.6.1, and fields that would lead the agent around us.
pub(crate) fn clean(headers: &mut HeaderMap, strip: &[HeaderName]) {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<_> = lines
        .flat_map(|line| line.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        // The scrubber reads the body by these.
        .filter(|name| !name.as_str().starts_with("content-"))
        .collect();
    const GONE: [HeaderName; 12] = [
        ALT_SVC,
        CONNECTION,
        // Ours to say.
        HeaderName::from_static("doorward-note"),
        HeaderName::from_static("doorward-request-id"),
        HeaderName::from_static("proxy-status"),
        PROXY_AUTHENTICATE,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        HeaderName::from_static("proxy-authentication-info"),
    ];
    // One look at each field that is there, which are few, and nothing else where there is nothing to remove.
    let goes = |name: &&HeaderName| GONE.contains(name) || strip.contains(name) || named.contains(name);
    let gone: Vec<HeaderName> = headers.keys().filter(goes).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

pub(super) fn unscrubbable(error: &ScrubError) -> Refusal {
    tracing::warn!(error = %crate::plan::chain(error), "answer refused");
    if listing::is_fault(error) {
        return Refusal::new(Code::Dw2010, listing::UNREAD);
    }
    if let ScrubError::Upstream(_) = error {
        return Refusal::new(Code::Dw2006, "body: the upstream's answer ended early");
    }
    Refusal::new(Code::Dw2009, "the answer cannot be searched for the credential").with_status(502)
}

/// The answer with its record, which closes when the body ends or is dropped.
pub(crate) fn recorded(mut response: Response<Body>, mut record: Record) -> Response<Body> {
    record.answered(response.status(), response.headers());
    if response.headers().contains_key("doorward-note") {
        record.credential_rejected();
    }
    response.body_mut().0.record = Some(record);
    response
}

/// A refusal as the agent gets it.
pub(crate) fn refused(
    refusal: &Refusal,
    dialect: &Dialect,
    version: Version,
    mut record: Record,
) -> Response<Body> {
    let mut response = refuse::response(refusal, &record.id(), dialect);
    let ends = matches!(refusal.code, Code::Dw2007 | Code::Dw2008 | Code::Dw3002);
    if ends && version <= Version::HTTP_11 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    // Closed at once: a client that reads no answers must not hold places in the audit's ring with refusals.
    record.sent(response.body().len() as u64);
    drop(record);
    held(response)
}

/// An answer of our own, whole.
pub(crate) fn held(response: Response<Bytes>) -> Response<Body> {
    response.map(|bytes| Body::new(Kind::Held(bytes)))
}

/// The head of a WebSocket's agreement; its record lives with its stream.
pub(crate) fn bare(status: StatusCode, mut headers: HeaderMap) -> Response<Body> {
    headers.remove(CONTENT_LENGTH);
    let mut response = Response::new(Body::new(Kind::Held(Bytes::new())));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The body of an answer; the exchange ends with it. Boxed: an answer is handed on a dozen times before it is written.
#[derive(Debug)]
pub(crate) struct Body(Box<Whole>);

#[derive(Debug)]
struct Whole {
    kind: Kind,
    record: Option<Record>,
    /// Armed once the body makes us wait: an exchange that lasts is recorded before it ends.
    lasting: Option<Pin<Box<Sleep>>>,
    noted: bool,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every body is the large one")]
enum Kind {
    Held(Bytes),
    Upstream { body: Scrubbed<Shown>, _held: Held },
}

impl Body {
    fn new(kind: Kind) -> Self {
        Self(Box::new(Whole { kind, record: None, lasting: None, noted: false }))
    }
}

impl Whole {
    fn note_lasting(&mut self, cx: &mut Context<'_>) {
        let Some(record) = &mut self.record else { return };
        let lasting = self.lasting.get_or_insert_with(|| Box::pin(sleep_until(record.lasts_from().into())));
        if !self.noted && lasting.as_mut().poll(cx).is_ready() {
            self.noted = true;
            record.note_lasting();
        }
    }

    /// What went wrong, in the record and in the log; the agent sees its stream end in the middle.
    fn failed(&mut self, error: &ScrubError) {
        let (code, reason) = match error {
            ScrubError::Upstream(_) if listing::is_fault(error) => (Code::Dw2010, listing::UNREAD),
            ScrubError::Upstream(_) => (Code::Dw2006, "body: the upstream's answer ended early"),
            ScrubError::Held
            | ScrubError::Tangled
            | ScrubError::Echoed
            | ScrubError::UnknownCoding
            | ScrubError::Coded(_) => (Code::Dw2009, "the answer was cut: it could not be searched safely"),
        };
        tracing::warn!(%code, error = %crate::plan::chain(error), "answer cut");
        if let Some(record) = &mut self.record {
            record.failed(code, reason);
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = ScrubError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ScrubError>>> {
        let this = &mut *self.0;
        let frame = match &mut this.kind {
            Kind::Held(bytes) if bytes.is_empty() => None,
            Kind::Held(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Kind::Upstream { body, .. } => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    this.note_lasting(cx);
                    return Poll::Pending;
                }
            },
        };
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(record), Some(data)) = (&mut this.record, frame.data_ref()) {
                    record.passed(data);
                }
            }
            Some(Err(error)) => this.failed(error),
            None => {}
        }
        let is_end = frame.is_none()
            || matches!((&frame, &this.kind), (Some(Ok(_)), Kind::Upstream { body, .. }) if body.is_end_stream());
        if let (true, Some(record)) = (is_end, &mut this.record) {
            record.ended();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0.kind {
            Kind::Held(bytes) => bytes.is_empty(),
            Kind::Upstream { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0.kind {
            Kind::Held(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Upstream { body, .. } => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_are_told_by_the_date_of_the_answer() {
        let now = OffsetDateTime::from_unix_timestamp(784_111_777).unwrap();
        let of = |date: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, HeaderValue::from_static(date));
            skew(&headers, now)
        };
        for none in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:45:38 GMT", "yesterday", ""] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(of("Sun, 06 Nov 1994 08:45:37 GMT"), Some(240));
        assert_eq!(of("Sun, 06 Nov 1994 09:49:37 GMT"), Some(-3600));
        assert_eq!(skew(&HeaderMap::new(), now), None);
    }

    #[test]
    fn no_upstream_hides_the_coding_of_its_body_or_speaks_for_us() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, Content-Encoding"),
            ("connection", "x-hop"),
            ("content-encoding", "gzip"),
            ("x-hop", "1"),
            ("doorward-note", "upstream-rejected-credential; revision=1"),
            ("doorward-request-id", "0-1"),
            ("proxy-status", "doorward; error=http_request_denied"),
            ("proxy-authenticate", "Basic realm=\"proxy\""),
            ("proxy-authentication-info", "rspauth=\"00\""),
            ("alt-svc", "h3=\":443\""),
            ("x-kept", "1"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        clean(&mut headers, &[]);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-encoding", "x-kept"]);
    }
}
