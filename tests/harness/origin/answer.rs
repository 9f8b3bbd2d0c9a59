//! What an origin answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{handshake::derive_accept_key, protocol::Role};

use super::Exchange;

pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Body = BoxBody<Bytes, Error>;

/// A program for an origin: from a request to its answer.
pub type Answer = Arc<dyn Fn(Exchange) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync>;

/// Any async function as an answer.
pub fn with<F, R>(function: F) -> Answer
where
    F: Fn(Exchange) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    Arc::new(move |exchange| Box::pin(function(exchange)))
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// The request itself as text: request line, headers, blank line, body.
pub fn echo() -> Answer {
    with(|mut exchange| async move {
        let body = exchange.body().await;
        let seen = &exchange.seen;
        let mut text = format!("{} {}\n", seen.method, seen.target).into_bytes();
        for (name, value) in &seen.headers {
            text.extend_from_slice(format!("{name}: {value}\n").as_bytes());
        }
        text.push(b'\n');
        text.extend_from_slice(&body);
        Response::builder().header("content-type", "text/plain").body(full(text)).unwrap()
    })
}

/// Always the same answer, after the request's body was read.
pub fn fixed(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let headers: Vec<(String, String)> =
        headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let body = Bytes::copy_from_slice(body);
    with(move |mut exchange| {
        let mut response = Response::builder().status(status);
        for (name, value) in &headers {
            response = response.header(name, value);
        }
        let response = response.body(full(body.clone())).unwrap();
        async move {
            exchange.body().await;
            response
        }
    })
}

/// An answer made from the request by a plain function, after its body was read.
pub fn made(make: impl Fn(&super::Seen) -> Response<Body> + Send + Sync + 'static) -> Answer {
    let make = Arc::new(make);
    with(move |mut exchange| {
        let make = make.clone();
        async move {
            exchange.body().await;
            make(&exchange.seen)
        }
    })
}

/// Never answers.
pub fn never() -> Answer {
    with(|_exchange| std::future::pending())
}

/// The test's end of one streamed answer.
pub struct Feed(mpsc::Sender<Result<Frame<Bytes>, Error>>);

impl Feed {
    /// One piece, flushed as it is. False if nobody reads any more.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(bytes.into()))).await.is_ok()
    }

    pub async fn trailers(&self, trailers: &[(&'static str, &str)]) {
        let mut map = HeaderMap::new();
        for (name, value) in trailers {
            map.insert(*name, value.parse().unwrap());
        }
        let _ = self.0.send(Ok(Frame::trailers(map))).await;
    }

    /// Breaks the connection (h1) or resets the stream (h2) in the middle of the body.
    pub async fn cut(self) {
        let _ = self.0.send(Err("cut by the test".into())).await;
    }

    /// Ends the body.
    pub fn finish(self) {}

    /// Resolves when the reader has gone.
    pub async fn reader_gone(&self) {
        crate::within::within("the origin's reader to go", self.0.closed()).await;
    }
}

/// Streamed answers: each request takes the next feed from the receiver that is given back.
pub fn stream(headers: &[(&str, &str)]) -> (mpsc::UnboundedReceiver<Feed>, Answer) {
    let (feeds, receiver) = mpsc::unbounded_channel();
    let headers: Vec<(String, String)> =
        headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let answer = with(move |_exchange| {
        let (sender, body) = mpsc::channel(1);
        let _ = feeds.send(Feed(sender));
        let mut response = Response::builder();
        for (name, value) in &headers {
            response = response.header(name, value);
        }
        let response = response.body(channel_body(body)).unwrap();
        async move { response }
    });
    (receiver, answer)
}

fn channel_body(receiver: mpsc::Receiver<Result<Frame<Bytes>, Error>>) -> Body {
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|frame| (frame, receiver))
    });
    BodyExt::boxed(StreamBody::new(Box::pin(stream)))
}

/// The request's body comes back frame by frame while it is still being sent, then `trailers`.
pub fn mirror(content_type: &'static str, trailers: &'static [(&'static str, &'static str)]) -> Answer {
    with(move |exchange| async move {
        let (sender, body) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut incoming = exchange.request.into_body();
            while let Some(Ok(frame)) = incoming.frame().await {
                let Ok(data) = frame.into_data() else { continue };
                if sender.send(Ok(Frame::data(data))).await.is_err() {
                    return;
                }
            }
            Feed(sender).trailers(trailers).await;
        });
        Response::builder().header("content-type", content_type).body(channel_body(body)).unwrap()
    })
}

/// `size` bytes in pieces of 64 KiB, length declared.
pub fn volume(size: usize) -> Answer {
    with(move |mut exchange| async move {
        exchange.body().await;
        let (sender, body) = mpsc::channel(1);
        tokio::spawn(async move {
            let piece = Bytes::from(vec![b'v'; 64 << 10]);
            let mut left = size;
            while left > 0 {
                let n = left.min(piece.len());
                if sender.send(Ok(Frame::data(piece.slice(..n)))).await.is_err() {
                    return;
                }
                left -= n;
            }
        });
        Response::builder().header("content-length", size).body(channel_body(body)).unwrap()
    })
}

/// Counts the bytes of the request's body without keeping them.
pub fn count() -> Answer {
    with(|mut exchange| async move {
        let mut total = 0;
        while let Some(Ok(frame)) = exchange.request.body_mut().frame().await {
            total += frame.data_ref().map_or(0, Bytes::len);
        }
        Response::new(full(total.to_string()))
    })
}

/// `body` in a content coding.
pub async fn encode(coding: &str, body: &[u8]) -> Vec<u8> {
    macro_rules! through {
        ($encoder:expr) => {{
            let mut encoder = $encoder;
            encoder.write_all(body).await.unwrap();
            encoder.shutdown().await.unwrap();
            encoder.into_inner()
        }};
    }
    match coding {
        "gzip" => through!(GzipEncoder::new(Vec::new())),
        "deflate" => through!(ZlibEncoder::new(Vec::new())),
        "br" => through!(BrotliEncoder::new(Vec::new())),
        "zstd" => through!(ZstdEncoder::new(Vec::new())),
        other => panic!("no coding {other}"),
    }
}

/// As much of a coded body as can be read; what comes before a cut counts.
pub async fn decode(coding: &str, body: &[u8]) -> Vec<u8> {
    use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
    use tokio::io::AsyncReadExt as _;
    let mut reader: Pin<Box<dyn tokio::io::AsyncRead + Send + '_>> = match coding {
        "gzip" => Box::pin(GzipDecoder::new(body)),
        "deflate" => Box::pin(ZlibDecoder::new(body)),
        "br" => Box::pin(BrotliDecoder::new(body)),
        "zstd" => Box::pin(ZstdDecoder::new(body)),
        other => panic!("no coding {other}"),
    };
    let mut out = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(n @ 1..) = reader.read(&mut piece).await {
        out.extend_from_slice(&piece[..n]);
    }
    out
}

/// A coded body made from each request by `make`.
pub fn coded(coding: &'static str, make: impl Fn(&super::Seen) -> Vec<u8> + Send + Sync + 'static) -> Answer {
    let make = Arc::new(make);
    with(move |mut exchange| {
        let make = make.clone();
        async move {
            exchange.body().await;
            let body = encode(coding, &make(&exchange.seen)).await;
            Response::builder().header("content-encoding", coding).body(full(body)).unwrap()
        }
    })
}

/// A WebSocket server that sends every message back, `made` by a function of the handshake and the message.
pub fn websocket(
    make: impl Fn(
        &super::Seen,
        tokio_tungstenite::tungstenite::Message,
    ) -> Option<tokio_tungstenite::tungstenite::Message>
    + Send
    + Sync
    + 'static,
) -> Answer {
    let make = Arc::new(make);
    with(move |mut exchange| {
        let make = make.clone();
        async move {
            let Some(key) = exchange.seen.header("sec-websocket-key") else {
                return Response::builder().status(426).body(full("websocket only")).unwrap();
            };
            let accept = derive_accept_key(key.as_bytes());
            let upgrade = hyper::upgrade::on(&mut exchange.request);
            tokio::spawn(async move {
                let Ok(upgraded) = upgrade.await else { return };
                let io = TokioIo::new(upgraded);
                let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
                while let Some(Ok(message)) = socket.next().await {
                    if !(message.is_text() || message.is_binary()) {
                        continue;
                    }
                    let Some(answer) = make(&exchange.seen, message) else { continue };
                    if socket.send(answer).await.is_err() {
                        break;
                    }
                }
            });
            let response = Response::builder()
                .status(101)
                .header("connection", "Upgrade")
                .header("upgrade", "websocket");
            response.header("sec-websocket-accept", accept).body(full("")).unwrap()
        }
    })
}

/// One feed at a time, for tests that open several streams in turn.
pub async fn next(feeds: &mut mpsc::UnboundedReceiver<Feed>) -> Feed {
    crate::within::within("a request at the origin", feeds.recv()).await.expect("the origin lives")
}

/// A slot that the test can refill while the origin runs.
#[derive(Clone)]
pub struct Switch(Arc<Mutex<Answer>>);

impl Switch {
    pub fn new(first: Answer) -> (Self, Answer) {
        let switch = Self(Arc::new(Mutex::new(first)));
        let shared = switch.clone();
        let answer = with(move |exchange| {
            let current = shared.0.lock().unwrap().clone();
            current(exchange)
        });
        (switch, answer)
    }

    pub fn set(&self, answer: Answer) {
        *self.0.lock().unwrap() = answer;
    }
}
