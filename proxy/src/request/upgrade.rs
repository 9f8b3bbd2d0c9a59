//! WebSocket: the agent's handshake over h1 or h2 becomes an h1 upgrade upstream, on a connection of its own.
//!
//! Nothing is forwarded past the upgrade before a valid 101 (RFC 6455 section 4.1: status, Upgrade, Connection, accept
//! value); a 101 with a wrong accept value is DW2010. The connection counts in the pool's limits, and its handshake has
//! the limits of every request. What comes after it is [`carry`]'s.

mod carry;

use std::pin::pin;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use control::refusal::{Code, Refusal};
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use sha1::{Digest, Sha1};

use super::Outcome;
use super::answer::{self, Body, Held};
use super::body::{RequestBody, UpstreamBody};
use super::challenge;
use super::listing::Shown;
use super::parse::Upgrade;
use super::record::Record;
use super::refuse::Refused;
use super::scrub::frames::FrameScrubber;
use super::scrub::{self, Search};
use super::send::{self, Signed, Way};
use crate::conn::Conn;
use crate::conn::flow::Flow;
use crate::limits;
use crate::plan::Served;
use crate::upstream::pool::{Lease, SendError};
use carry::Carrier;

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A handshake that the upstream agreed to; nothing was forwarded yet.
pub(crate) struct WebSocket {
    kind: Upgrade,
    headers: HeaderMap,
    agent: OnUpgrade,
    upstream: OnUpgrade,
    scrubber: Option<FrameScrubber>,
    lease: Lease,
    held: Held,
}

/// Does the handshake with the upstream. Its refusal is an answer like any other.
pub(super) async fn handshake(
    way: &Way<'_>,
    mut signed: Signed,
    (kind, agent): (Upgrade, OnUpgrade),
    mut search: Option<Option<Search>>,
    served: &Served,
    held: Held,
    record: &mut Record,
) -> Result<Outcome, Refused> {
    let key = websocket_key(&mut signed.head.headers)?;
    if matches!(search, Some(Some(_))) {
        // Compressed payloads could not be searched.
        signed.head.headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    }
    let (answer, lease) = ask(way, &mut signed, &mut search, record).await?;
    if kind == Upgrade::Http2 && answer.status().is_success() {
        // To an extended CONNECT this would say that the stream is a WebSocket from here on.
        return Err(Refusal::new(
            Code::Dw2010,
            "the upstream answered a WebSocket handshake without agreeing to it",
        )
        .into());
    }
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let idle = limits::time(way.limits.stream_idle);
        let answer = answer.map(|body| UpstreamBody::new(body, lease, Arc::clone(&signed.progress), idle));
        let answer = answer.map(Shown::Whole);
        let mut response = answer::scrub(answer, search, served, way.limits, held)?;
        answer::begin(&mut response).await?;
        return Ok(Outcome::Answer(response));
    }
    refuse_false(answer.headers(), &key)?;
    let mut headers = answer.headers().clone();
    answer::clean(&mut headers, &served.provider.response.strip_headers);
    let search = search.flatten();
    if let Some(search) = &search {
        scrub::headers::scrub(&search.scanner, &*search.watch, &mut headers)
            .map_err(|error| answer::unscrubbable(&error))?;
    }
    let scrubber = search.map(FrameScrubber::new);
    let upstream = hyper::upgrade::on(answer);
    Ok(Outcome::WebSocket(Box::new(WebSocket { kind, headers, agent, upstream, scrubber, lease, held })))
}

/// Asks; if the upstream wants a challenge answered first, once more with the answer.
async fn ask(
    way: &Way<'_>,
    signed: &mut Signed,
    search: &mut Option<Option<Search>>,
    record: &mut Record,
) -> Result<(Response<Incoming>, Lease), Refused> {
    let Some(answering) = signed.answering.take() else { return ask_once(way, signed, record).await };
    let headers = signed.head.headers.clone();
    let (mut answer, lease) = ask_once(way, signed, record).await?;
    let response = challenge::respond(way, &answering, &mut answer, &signed.head, search)?;
    let Some(value) = response else { return Ok((answer, lease)) };
    drop((answer, lease));
    signed.head.headers = headers;
    signed.head.headers.try_insert(AUTHORIZATION, value).map_err(|_| challenge::too_large())?;
    let (mut answer, lease) = ask_once(way, signed, record).await?;
    answer.headers_mut().remove(challenge::INFO);
    Ok((answer, lease))
}

async fn ask_once(
    way: &Way<'_>,
    signed: &mut Signed,
    record: &mut Record,
) -> Result<(Response<Incoming>, Lease), Refused> {
    let mut request = request(way, signed)?;
    send::count_interim(&mut request, &signed.progress, way.limits);
    let mut lease = way.slot.alone(way.upstream, way.peer).await?;
    match send::exchange(pin!(lease.send(request)), way, &signed.progress, record).await? {
        Ok(answer) => Ok((answer, lease)),
        Err(SendError::Unsent(_)) => Err(send::closed().into()),
        Err(SendError::Broken(error)) => Err(send::broken(&error).into()),
    }
}

/// Gives the agent its agreement and carries the stream from then on.
pub(crate) fn begin(conn: &Arc<Conn>, socket: WebSocket, mut record: Record) -> Response<Body> {
    let WebSocket { kind, mut headers, agent, upstream, scrubber, lease, held } = socket;
    let status = agreed(kind, &mut headers);
    record.answered(status, &HeaderMap::new());
    let limits = &conn.worker.shared.limits;
    let flow = Flow::new(limits::time(limits.tunnel_idle), limits::time(limits.tunnel_write));
    let conn = Arc::clone(conn);
    let carrier = Carrier { agent, upstream, scrubber, flow, conn, record, _held: (held, lease) };
    tokio::spawn(carrier.run());
    answer::bare(status, headers)
}

/// The agent's key; an h2 handshake has none and gets one.
fn websocket_key(headers: &mut HeaderMap) -> Result<HeaderValue, Refusal> {
    if let Some(key) = headers.get(SEC_WEBSOCKET_KEY) {
        return Ok(key.clone());
    }
    let mut nonce = [0_u8; 16];
    getrandom::fill(&mut nonce).map_err(|_| Refusal::new(Code::Dw2006, "connect: no random numbers"))?;
    let key =
        HeaderValue::try_from(STANDARD.encode(nonce)).map_err(|_| Refusal::new(Code::Dw2008, "no key"))?;
    headers.insert(SEC_WEBSOCKET_KEY, key.clone());
    Ok(key)
}

fn request(way: &Way<'_>, signed: &mut Signed) -> Result<Request<RequestBody>, Refusal> {
    let cannot = || Refusal::new(Code::Dw2008, "the request target cannot be sent");
    let mut headers = std::mem::take(&mut signed.head.headers);
    headers.remove(CONTENT_LENGTH);
    headers.insert(HOST, way.named.host.clone());
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.entry(SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
    let body = RequestBody::whole(Bytes::new(), Arc::clone(&signed.progress));
    let mut request = Request::new(body);
    *request.method_mut() = Method::GET;
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = signed.head.target.as_str().parse().map_err(|_| cannot())?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// RFC 6455 section 4.1, the client's checks.
fn refuse_false(headers: &HeaderMap, key: &HeaderValue) -> Result<(), Refusal> {
    let is = |name, value: &str| {
        headers.get(name).is_some_and(|found| {
            found
                .as_bytes()
                .split(|b| *b == b',')
                .any(|part| part.trim_ascii().eq_ignore_ascii_case(value.as_bytes()))
        })
    };
    let expected = STANDARD.encode(Sha1::new().chain_update(key.as_bytes()).chain_update(GUID).finalize());
    let accepted =
        headers.get(SEC_WEBSOCKET_ACCEPT).is_some_and(|found| found.as_bytes() == expected.as_bytes());
    if is(UPGRADE, "websocket") && is(CONNECTION, "upgrade") && accepted {
        return Ok(());
    }
    Err(Refusal::new(Code::Dw2010, "the upstream's switch of protocols is not the one that was asked for"))
}

/// The head that the agent gets: 101 over h1, 200 over h2 (RFC 8441 section 5).
fn agreed(kind: Upgrade, headers: &mut HeaderMap) -> StatusCode {
    match kind {
        Upgrade::Http1 => {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            StatusCode::SWITCHING_PROTOCOLS
        }
        Upgrade::Http2 => {
            headers.remove(SEC_WEBSOCKET_ACCEPT);
            StatusCode::OK
        }
    }
}
