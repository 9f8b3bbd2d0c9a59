//! The TLS origin: answers at once, from memory, and refuses a request on which the credential is missing.
//!
//! Two listeners with the same service, one that offers HTTP/1.1 only and one that prefers h2, so that a scenario decides what a proxy can
//! speak upstream. Paths: `/json`, `/download/MIB`, `/upload`, `/echo`, `/sse/COUNT/INTERVAL_MS`, and
//! `/v1/chat/completions`, a model that writes as many tokens as it is asked for, one in each event.

use crate::load::clock;
use crate::{Result, pki};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_rustls::TlsAcceptor;

/// Names the HTTP version in which the origin got the request, so that a comparison cannot mix h1 and h2 unseen.
pub const VERSION_HEADER: &str = "x-origin-http";

const CHUNK: usize = 64 * 1024;

/// How to run the origin.
#[derive(Debug, clap::Args)]
pub struct OriginArgs {
    /// Folder with the test certificates.
    #[arg(long)]
    pub pki: PathBuf,
    /// The `Authorization` value without which every request is answered 401.
    #[arg(long)]
    pub credential: String,
}

/// Serves until the process ends; `ready` gets the HTTP/1.1-only and the h2 address.
pub async fn run(args: OriginArgs, ready: impl FnOnce(SocketAddr, SocketAddr)) -> Result<()> {
    let h1 = TcpListener::bind("127.0.0.1:0").await?;
    let h2 = TcpListener::bind("127.0.0.1:0").await?;
    ready(h1.local_addr()?, h2.local_addr()?);
    let origin = Arc::new(Origin { credential: args.credential.into_bytes(), text: text() });
    let tls1 = pki::server_config(&args.pki, &[b"http/1.1"])?;
    let tls2 = pki::server_config(&args.pki, &[b"h2", b"http/1.1"])?;
    tokio::try_join!(accept(h1, tls1.into(), Arc::clone(&origin)), accept(h2, tls2.into(), origin))?;
    Ok(())
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, origin: Arc<Origin>) -> Result<()> {
    loop {
        let (tcp, _) = listener.accept().await?;
        // A broken connection is the proxy's or the generator's to report.
        tokio::spawn(serve(tcp, tls.clone(), Arc::clone(&origin)));
    }
}

async fn serve(tcp: TcpStream, tls: TlsAcceptor, origin: Arc<Origin>) -> Option<()> {
    tcp.set_nodelay(true).ok()?;
    let stream = tls.accept(tcp).await.ok()?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| Arc::clone(&origin).answer(request));
    if is_h2 {
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .serve_connection(TokioIo::new(stream), service)
            .await
            .ok()
    } else {
        http1::Builder::new()
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), service)
            .await
            .ok()
    }
}

struct Origin {
    credential: Vec<u8>,
    text: Bytes,
}

impl Origin {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> std::result::Result<Response<Reply>, Infallible> {
        let version = request.version();
        let (status, kind, body) = self.route(request).await;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
        let name = if version == Version::HTTP_2 { "2" } else { "1.1" };
        headers.insert(VERSION_HEADER, http::HeaderValue::from_static(name));
        Ok(response)
    }

    async fn route(&self, request: Request<Incoming>) -> (StatusCode, &'static str, Reply) {
        const JSON: &str = "application/json";
        let sent = request.headers().get(AUTHORIZATION);
        if sent.is_none_or(|value| value.as_bytes() != self.credential) {
            return (StatusCode::UNAUTHORIZED, JSON, Reply::once(&b"{\"message\":\"no credential\"}"[..]));
        }
        let path = request.uri().path().to_owned();
        let mut segments = path.split('/').skip(1);
        let first = segments.next().unwrap_or_default();
        let mut number = || segments.next().and_then(|s| s.parse::<u64>().ok()).unwrap_or(1);
        match (request.method(), first) {
            (&Method::GET, "json") => (StatusCode::OK, JSON, Reply::once(SMALL)),
            (&Method::GET, "download") => {
                let left = number() * 1024 * 1024;
                (StatusCode::OK, "text/plain", Reply::Text { text: self.text.clone(), left })
            }
            (&Method::GET, "sse") => {
                let (left, pause) = (number(), Duration::from_millis(number()));
                (StatusCode::OK, "text/event-stream", Reply::events(left, pause))
            }
            (&Method::POST, "upload") => {
                let answer = format!("{{\"bytes\":{}}}", drain(request.into_body()).await);
                (StatusCode::OK, JSON, Reply::once(answer))
            }
            (&Method::POST, "v1") if path == CHAT => {
                let asked = told(request.into_body()).await;
                let pause = Duration::from_millis(asked.pause_ms);
                (StatusCode::OK, "text/event-stream", Reply::tokens(asked.max_tokens, pause))
            }
            (&Method::POST, "echo") => (StatusCode::OK, JSON, Reply::Echo(request.into_body())),
            _ => (StatusCode::NOT_FOUND, JSON, Reply::once(&b"{\"message\":\"no such path\"}"[..])),
        }
    }
}

/// Where a model is asked.
pub const CHAT: &str = "/v1/chat/completions";

/// One token, as OpenAI's chat completions stream it.
pub const TOKEN: &[u8] = b"data: {\"id\":\"chatcmpl-9x\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" the\"},\"finish_reason\":null}],\"usage\":null}\n\n";

/// The last event, with the figures.
pub const TOKENS_END: &[u8] = b"data: {\"id\":\"chatcmpl-9x\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-4o\",\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7,\"total_tokens\":18}}\n\ndata: [DONE]\n\n";

/// What the last event says that was generated.
pub const TOKENS_SAID: u64 = 7;

/// What a model is asked for.
#[derive(Debug, Default, serde::Deserialize)]
struct Told {
    max_tokens: u64,
    pause_ms: u64,
}

async fn told(mut body: Incoming) -> Told {
    let mut text = Vec::new();
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        text.extend(frame.data_ref().into_iter().flatten());
    }
    serde_json::from_slice(&text).unwrap_or_default()
}

/// About what a small API answer looks like.
const SMALL: &[u8] = br#"{"id":4711,"login":"octo-bench","name":"A small answer","company":null,"public_repos":42,"followers":1234,"created_at":"2026-01-01T00:00:00Z","plan":{"name":"pro","space":976562499,"collaborators":0}}"#;

/// Log-like JSON lines: some backslashes, percent signs and ampersands, as real text has, because a scrubber looks at those.
fn text() -> Bytes {
    let mut text = Vec::with_capacity(CHUNK + 256);
    let mut line = 0_u32;
    while text.len() < CHUNK {
        line += 1;
        let next = format!(
            "{{\"line\":{line},\"level\":\"info\",\"message\":\"fetched \\\"item {}\\\" in {} ms\",\"url\":\"https://example.test/search?q=a%20b&page={}\"}}\n",
            line.wrapping_mul(2_654_435_761),
            line % 97,
            line % 13
        );
        text.extend_from_slice(next.as_bytes());
    }
    text.truncate(CHUNK);
    text.into()
}

async fn drain(mut body: Incoming) -> u64 {
    let mut bytes = 0;
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    bytes
}

enum Reply {
    Once(Option<Bytes>),
    Text { text: Bytes, left: u64 },
    Events { interval: Pin<Box<Interval>>, left: u64, next: fn(u64) -> Bytes },
    Echo(Incoming),
}

impl Reply {
    fn once(bytes: impl Into<Bytes>) -> Self {
        Self::Once(Some(bytes.into()))
    }

    fn events(left: u64, pause: Duration) -> Self {
        Self::paced(left, pause, |_| format!("data: {}\n\n", clock::nanoseconds()).into())
    }

    fn tokens(left: u64, pause: Duration) -> Self {
        Self::paced(left, pause, |left| Bytes::from_static(if left == 0 { TOKENS_END } else { TOKEN }))
    }

    /// So many events; `next` is told how many are left behind it.
    fn paced(left: u64, pause: Duration, next: fn(u64) -> Bytes) -> Self {
        let pause = pause.max(Duration::from_millis(1));
        let mut interval = tokio::time::interval_at(Instant::now() + pause, pause);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self::Events { interval: Box::pin(interval), left, next }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let data = match &mut *self {
            Self::Echo(body) => return Pin::new(body).poll_frame(context),
            Self::Once(bytes) => bytes.take(),
            Self::Text { left: 0, .. } | Self::Events { left: 0, .. } => None,
            Self::Text { text, left } => {
                *left = left.saturating_sub(text.len() as u64);
                Some(text.clone())
            }
            Self::Events { interval, left, next } => {
                ready!(interval.poll_tick(context));
                *left -= 1;
                Some(next(*left))
            }
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Once(bytes) => bytes.is_none(),
            Self::Text { left, .. } | Self::Events { left, .. } => *left == 0,
            Self::Echo(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Once(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Text { left, .. } => SizeHint::with_exact(*left),
            Self::Events { .. } => SizeHint::default(),
            Self::Echo(body) => body.size_hint(),
        }
    }
}
