//! WebSocket: the agent's handshake over h1 or h2 becomes an h1 upgrade upstream, on a connection of its own.
//!
//! Nothing is forwarded past the upgrade before a valid 101 (RFC 6455 section 4.1: status, Upgrade, Connection, accept
//! value); a 101 with a wrong accept value is DW2010. The upstream's frames are read, so that echoes are masked in their
//! payloads; broken frames end the connection with 1002.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use control::refusal::{Code, Refusal};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::Outcome;
use super::answer::{self, Answered, Body, Held};
use super::body::{RequestBody, UpstreamBody};
use super::parse::Upgrade;
use super::record::Record;
use super::scrub::frames::FrameScrubber;
use super::scrub::{self, Search};
use super::send::{Signed, Way};
use crate::conn::Conn;
use crate::conn::life;
use crate::limits;
use crate::plan::Served;
use crate::upstream::Link;
use crate::upstream::guard::late;
use crate::upstream::tls::Offer;

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// How much is read at once in either direction.
const CHUNK: usize = 16 * 1024;

/// A handshake that the upstream agreed to; nothing was forwarded yet.
pub(crate) struct WebSocket {
    kind: Upgrade,
    headers: HeaderMap,
    agent: OnUpgrade,
    upstream: OnUpgrade,
    scrubber: Option<FrameScrubber>,
    held: Held,
}

/// Does the handshake with the upstream. Its refusal is an answer like any other.
pub(super) async fn handshake(
    way: &Way<'_>,
    mut signed: Signed,
    (kind, agent): (Upgrade, OnUpgrade),
    search: Option<Option<Search>>,
    served: &Served,
    held: Held,
) -> Result<Outcome, Refusal> {
    let key = websocket_key(&mut signed.head.headers)?;
    if matches!(search, Some(Some(_))) {
        // Compressed payloads could not be searched.
        signed.head.headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    }
    let answer = ask(way, &mut signed).await?;
    if kind == Upgrade::Http2 && answer.status().is_success() {
        // To an extended CONNECT this would say that the stream is a WebSocket from here on.
        return Err(Refusal::new(
            Code::Dw2010,
            "the upstream answered a WebSocket handshake without agreeing to it",
        ));
    }
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let idle = limits::time(way.limits.stream_idle);
        let answer = answer.map(|body| UpstreamBody::alone(body, Arc::clone(&signed.progress), idle));
        let response = answer::scrub(answer, search, served, way.limits)?;
        return Ok(Outcome::Answer(Answered { response, held }));
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
    Ok(Outcome::WebSocket(Box::new(WebSocket { kind, headers, agent, upstream, scrubber, held })))
}

async fn ask(way: &Way<'_>, signed: &mut Signed) -> Result<Response<Incoming>, Refusal> {
    let request = request(way, signed)?;
    let mut sender = connect(way).await?;
    let limit = limits::time(way.limits.upstream_first_byte);
    match timeout(limit, sender.send_request(request)).await {
        Err(_) => Err(late("first byte", limit)),
        Ok(Err(error)) => Err(super::send::broken(&error)),
        Ok(Ok(answer)) => Ok(answer),
    }
}

/// Gives the agent its agreement and carries the stream from then on.
pub(crate) fn begin(conn: &Arc<Conn>, socket: WebSocket, mut record: Record) -> Response<Body> {
    let WebSocket { kind, mut headers, agent, upstream, scrubber, held } = socket;
    let status = agreed(kind, &mut headers);
    record.answered(status);
    let idle = limits::time(conn.worker.shared.limits.tunnel_idle);
    let carrier = Carrier {
        agent,
        upstream,
        scrubber,
        idle,
        conn: Arc::clone(conn),
        record,
        up: 0,
        down: 0,
        _held: held,
    };
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
    headers.insert(HOST, HeaderValue::from_str(way.authority.as_str()).map_err(|_| cannot())?);
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

async fn connect(way: &Way<'_>) -> Result<http1::SendRequest<RequestBody>, Refusal> {
    match way.upstream.connect(way.peer, Offer::Http1).await? {
        Link::Plain(stream) => speak(stream).await,
        Link::Tls(stream) => speak(stream).await,
    }
}

async fn speak<S>(stream: S) -> Result<http1::SendRequest<RequestBody>, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, conn) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| super::send::broken(&error))?;
    tokio::spawn(async move {
        if let Err(error) = conn.with_upgrades().await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(sender)
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

/// Carries a WebSocket once both sides agreed, until one ends, nothing moves, or the connection has to close.
struct Carrier {
    agent: OnUpgrade,
    upstream: OnUpgrade,
    /// `None`: nothing was injected, so there is nothing to mask.
    scrubber: Option<FrameScrubber>,
    idle: Duration,
    /// Keeps the agent's connection registered for as long as the stream lives.
    conn: Arc<Conn>,
    record: Record,
    up: u64,
    down: u64,
    _held: Held,
}

impl Carrier {
    async fn run(mut self) {
        let conn = Arc::clone(&self.conn);
        if life::until_closed(&conn.life, self.carry()).await.is_none() {
            tracing::debug!("websocket closed with its connection");
        }
        self.record.received(self.up);
        self.record.sent(self.down);
    }

    async fn carry(&mut self) {
        let (Ok(agent), Ok(upstream)) = tokio::join!(&mut self.agent, &mut self.upstream) else { return };
        let (agent_read, agent_write) = tokio::io::split(TokioIo::new(agent));
        let (upstream_read, upstream_write) = tokio::io::split(TokioIo::new(upstream));
        let scrubber = self.scrubber.take();
        let record = &mut self.record;
        let lasting = async {
            tokio::time::sleep_until(record.lasts_from()).await;
            record.note_lasting();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = plain(agent_read, upstream_write, self.idle, &mut self.up) => {}
            () = masked(upstream_read, agent_write, scrubber, self.idle, &mut self.down) => {}
            () = lasting => {}
        }
    }
}

async fn plain<R, W>(mut from: R, mut to: W, idle: Duration, carried: &mut u64)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut chunk = BytesMut::with_capacity(CHUNK);
    while let Ok(Ok(count @ 1..)) = timeout(idle, from.read_buf(&mut chunk)).await {
        if to.write_all(&chunk.split()).await.is_err() || to.flush().await.is_err() {
            return;
        }
        *carried += count as u64;
        chunk.reserve(CHUNK);
    }
    // The other side learns of the end; if it cannot be told it is gone already.
    to.shutdown().await.ok();
}

type Half<T> = tokio::io::WriteHalf<TokioIo<T>>;

async fn masked<R>(
    mut from: R,
    mut to: Half<Upgraded>,
    scrubber: Option<FrameScrubber>,
    idle: Duration,
    carried: &mut u64,
) where
    R: AsyncRead + Unpin,
{
    let Some(mut scrubber) = scrubber else { return plain(from, to, idle, carried).await };
    let mut chunk = BytesMut::with_capacity(CHUNK);
    loop {
        let wait = scrubber.deadline().map_or(idle, |at| at.saturating_duration_since(Instant::now()));
        let released = match timeout(wait, from.read_buf(&mut chunk)).await {
            Err(_) if scrubber.deadline().is_some() => Err(scrubber.expire()),
            Err(_) | Ok(Err(_) | Ok(0)) => break,
            Ok(Ok(_)) => scrubber.push(chunk.split().freeze(), Instant::now()),
        };
        let Ok(released) = released else {
            // RFC 6455 section 7.4.1: 1002, protocol error.
            to.write_all(&[0x88, 0x02, 0x03, 0xea]).await.ok();
            break;
        };
        if to.write_all(&released).await.is_err() || to.flush().await.is_err() {
            return;
        }
        *carried += released.len() as u64;
        chunk.reserve(CHUNK);
    }
    // As in `plain`.
    to.shutdown().await.ok();
}
