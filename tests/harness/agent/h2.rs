//! A well-behaved HTTP/2 (or streaming HTTP/1.1) client: hyper's, through the tunnel.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::Agent;
use super::reply::Reply;
use crate::sweep::Sweep;
use crate::within::within;

pub type Body = BoxBody<Bytes, hyper::Error>;

/// A request body that the test sends piece by piece; dropping it ends the body.
pub type BodySender = mpsc::Sender<Result<Frame<Bytes>, hyper::Error>>;

enum Sender {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>),
}

/// One connection to one host inside a tunnel.
pub struct Client {
    sender: Sender,
    host: String,
    sweep: Sweep,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Agent {
    /// An HTTP/2 connection to `host`.
    pub async fn h2(&self, host: &str) -> Client {
        let tls = self.tunnel(&format!("{host}:443")).alpn(&["h2"]).open().await;
        assert_eq!(tls.alpn.as_deref(), Some("h2"));
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        let (sender, connection) =
            within("h2", builder.handshake(TokioIo::new(tls.into_io()))).await.unwrap();
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Client { sender: Sender::H2(sender), host: host.to_owned(), sweep: self.sweep.clone(), driver }
    }

    /// An HTTP/1.1 connection to `host` whose bodies stream.
    pub async fn h1(&self, host: &str) -> Client {
        let tls = self.tls(host).await;
        let io = TokioIo::new(tls.into_io());
        let (sender, connection) = within("h1", http1::handshake(io)).await.unwrap();
        let driver = tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        Client { sender: Sender::H1(sender), host: host.to_owned(), sweep: self.sweep.clone(), driver }
    }

    /// An HTTP/2 or HTTP/1.1 connection, by name: `h2` or `h1`.
    pub async fn client(&self, protocol: &str, host: &str) -> Client {
        if protocol == "h2" { self.h2(host).await } else { self.h1(host).await }
    }
}

impl Client {
    /// A request to this host; the authority is where the protocol wants it.
    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let builder = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap());
        match self.sender {
            Sender::H1(_) => builder.uri(path).header("host", &self.host),
            Sender::H2(_) => builder.uri(format!("https://{}{path}", self.host)),
        }
    }

    /// The answer's head; its body streams.
    pub async fn open(&mut self, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        let response = match &mut self.sender {
            Sender::H1(sender) => {
                within("h1 ready", sender.ready()).await?;
                within("h1 answer", sender.send_request(request)).await?
            }
            Sender::H2(sender) => {
                within("h2 ready", sender.ready()).await?;
                within("h2 answer", sender.send_request(request)).await?
            }
        };
        for (name, value) in response.headers() {
            self.sweep.note("h2 headers", format!("{name}: ").as_bytes());
            self.sweep.note("h2 headers", value.as_bytes());
            self.sweep.note("h2 headers", b"\n");
        }
        Ok(response)
    }

    /// A request and its whole answer.
    pub async fn send(&mut self, request: Request<Body>) -> Reply {
        let response = self.open(request).await.expect("an answer");
        let reply = collect(response).await;
        self.sweep.note(&self.sweep.label("h2 body"), &reply.body);
        for (name, value) in &reply.trailers {
            self.sweep.note("h2 trailers", format!("{name}: {value}\n").as_bytes());
        }
        reply
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        let request = self.request("GET", path).body(empty()).unwrap();
        self.send(request).await
    }

    /// The same request so many times at once, each on a stream of its own: all answers.
    pub async fn crowd(&self, path: &str, many: usize) -> Vec<Reply> {
        let Sender::H2(sender) = &self.sender else { panic!("one HTTP/1.1 connection has no streams") };
        let one = || async {
            let mut sender = sender.clone();
            let request = self.request("GET", path).body(empty()).unwrap();
            let response = within("h2 answer", sender.send_request(request)).await.expect("an answer");
            let reply = collect(response).await;
            self.sweep.note("h2 headers", format!("{:?}\n", reply.headers).as_bytes());
            self.sweep.note(&self.sweep.label("h2 body"), &reply.body);
            reply
        };
        futures_util::future::join_all((0..many).map(|_| one())).await
    }

    /// A WebSocket over HTTP/2 (RFC 8441).
    pub async fn websocket(
        &mut self,
        path: &str,
    ) -> Result<WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>, Reply> {
        let mut request =
            self.request("CONNECT", path).header("sec-websocket-version", "13").body(empty()).unwrap();
        request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
        let response = self.open(request).await.expect("an answer");
        if response.status() != 200 {
            return Err(collect(response).await);
        }
        let upgraded = within("h2 websocket", hyper::upgrade::on(response)).await.unwrap();
        Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await)
    }
}

/// Reads an answer to its end; `complete` is false if it was cut.
pub async fn collect(response: Response<Incoming>) -> Reply {
    let (head, mut body) = response.into_parts();
    let mut reply = Reply {
        status: head.status.as_u16(),
        headers: pairs(&head.headers),
        complete: true,
        ..Reply::default()
    };
    while let Some(frame) = within("a body frame", body.frame()).await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => reply.body.extend_from_slice(&data),
            Ok(Err(frame)) => {
                reply.trailers = frame.into_trailers().map(|map| pairs(&map)).unwrap_or_default()
            }
            Err(_) => {
                reply.complete = false;
                break;
            }
        }
    }
    reply
}

pub fn pairs(map: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// A body that is sent as the test goes.
pub fn channel() -> (BodySender, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|frame| (frame, receiver))
    });
    (sender, BodyExt::boxed(StreamBody::new(Box::pin(stream))))
}
