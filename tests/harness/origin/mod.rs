//! Origins: real TLS servers under vendors' host names that record all they receive and answer as told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::agent::h2::pairs;
use crate::ca::{Flaw, server_config};
use crate::within::eventually;

pub mod answer;
pub mod forward;
pub mod raw;

pub use answer::{Answer, Body};

/// One request as the origin received it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    pub version: String,
    /// `:authority`, or `Host`.
    pub authority: String,
    /// Path and query as sent.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body ended as its framing says.
    pub complete: bool,
    pub trailers: Vec<(String, String)>,
    pub sni: Option<String>,
    /// The TCP connection it came on, counted from 0.
    pub connection: usize,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn headers_named(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether `text` is anywhere in the request.
    pub fn contains(&self, text: &str) -> bool {
        let everything = format!("{self:?}{}", String::from_utf8_lossy(&self.body));
        everything.contains(text) || crate::canary::contains(&self.body, text.as_bytes())
    }
}

/// What an origin has seen.
#[derive(Default)]
pub struct Record {
    requests: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    handshakes: AtomicUsize,
}

/// A request in the hands of an [`Answer`].
pub struct Exchange {
    pub seen: Seen,
    pub request: Request<Incoming>,
    record: Arc<Record>,
    index: usize,
}

impl Exchange {
    /// Reads the body to its end and records it.
    pub async fn body(&mut self) -> Bytes {
        let (mut bytes, mut trailers, mut complete) = (Vec::new(), Vec::new(), true);
        while let Some(frame) = self.request.body_mut().frame().await {
            match frame.map(hyper::body::Frame::into_data) {
                Ok(Ok(data)) => bytes.extend_from_slice(&data),
                Ok(Err(frame)) => trailers = frame.into_trailers().map(|map| pairs(&map)).unwrap_or_default(),
                Err(_) => {
                    complete = false;
                    break;
                }
            }
        }
        let mut requests = self.record.requests.lock().unwrap();
        let seen = &mut requests[self.index];
        (seen.body, seen.trailers, seen.complete) = (bytes, trailers, complete);
        self.seen = seen.clone();
        self.seen.body.clone().into()
    }
}

/// A running origin; it ends with the test's runtime or when dropped.
pub struct Origin {
    hosts: Vec<String>,
    address: SocketAddr,
    record: Arc<Record>,
    accept: tokio::task::JoinHandle<()>,
}

/// An origin to be.
pub struct OriginBuilder {
    hosts: Vec<String>,
    alpn: Vec<&'static str>,
    flaw: Flaw,
    plain: bool,
    answer: Answer,
}

impl Origin {
    /// An origin for `host` that echoes, and speaks both protocols.
    pub async fn start(host: &str) -> Self {
        Self::builder(&[host]).start().await
    }

    pub fn builder(hosts: &[&str]) -> OriginBuilder {
        OriginBuilder {
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            alpn: vec!["h2", "http/1.1"],
            flaw: Flaw::None,
            plain: false,
            answer: answer::echo(),
        }
    }

    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.record.requests.lock().unwrap().clone()
    }

    /// TCP connections accepted so far.
    pub fn connections(&self) -> usize {
        self.record.connections.load(Ordering::SeqCst)
    }

    /// TLS handshakes completed so far.
    pub fn handshakes(&self) -> usize {
        self.record.handshakes.load(Ordering::SeqCst)
    }

    /// The only request so far.
    #[track_caller]
    pub fn only(&self) -> Seen {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests.remove(0)
    }

    pub fn last(&self) -> Seen {
        self.requests().pop().expect("a request at the origin")
    }

    /// Nothing reached this origin, not even a connection.
    #[track_caller]
    pub fn assert_untouched(&self) {
        assert_eq!((self.connections(), self.requests().len()), (0, 0), "{:#?}", self.requests());
    }

    /// Waits until `n` requests have arrived.
    pub async fn wait_requests(&self, n: usize) -> Vec<Seen> {
        eventually("requests at the origin", crate::within::DEADLINE, || {
            let requests = self.requests();
            (requests.len() >= n).then_some(requests)
        })
        .await
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

impl OriginBuilder {
    pub fn h1(mut self) -> Self {
        self.alpn = vec!["http/1.1"];
        self
    }

    pub fn h2(mut self) -> Self {
        self.alpn = vec!["h2"];
        self
    }

    /// By name: `h1` or `h2` only.
    pub fn only(self, protocol: &str) -> Self {
        if protocol == "h2" { self.h2() } else { self.h1() }
    }

    pub fn flaw(mut self, flaw: Flaw) -> Self {
        self.flaw = flaw;
        self
    }

    /// No TLS: `http://`.
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    pub fn answer(mut self, answer: Answer) -> Self {
        self.answer = answer;
        self
    }

    pub async fn start(self) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let record = Arc::new(Record::default());
        let tls = (!self.plain).then(|| server_config(&self.hosts, &self.alpn, self.flaw));
        let acceptor = tls.map(tokio_rustls::TlsAcceptor::from);
        let (answer, shared) = (self.answer.clone(), record.clone());
        let accept = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                tasks.spawn(serve(stream, acceptor.clone(), answer.clone(), shared.clone(), connection));
            }
        });
        Origin { hosts: self.hosts, address, record, accept }
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: Option<tokio_rustls::TlsAcceptor>,
    answer: Answer,
    record: Arc<Record>,
    connection: usize,
) {
    let Some(acceptor) = acceptor else {
        return http(stream, false, None, answer, record, connection).await;
    };
    let Ok(mut tls) = acceptor.accept(stream).await else { return };
    let _ = tls.flush().await;
    record.handshakes.fetch_add(1, Ordering::SeqCst);
    let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let sni = tls.get_ref().1.server_name().map(str::to_owned);
    http(tls, h2, sni, answer, record, connection).await;
}

async fn http(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    h2: bool,
    sni: Option<String>,
    answer: Answer,
    record: Arc<Record>,
    connection: usize,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let seen = describe(&request, sni.clone(), connection);
        let index = {
            let mut requests = record.requests.lock().unwrap();
            requests.push(seen.clone());
            requests.len() - 1
        };
        let exchange = Exchange { seen, request, record: record.clone(), index };
        let answer = answer.clone();
        async move { Ok::<Response<Body>, std::convert::Infallible>(answer(exchange).await) }
    });
    let io = TokioIo::new(io);
    if h2 {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.max_header_list_size(1 << 20);
        let _ =
            builder.timer(TokioTimer::new()).enable_connect_protocol().serve_connection(io, service).await;
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        let connection = builder.timer(TokioTimer::new()).serve_connection(io, service);
        let _ = connection.with_upgrades().await;
    }
}

fn describe(request: &Request<Incoming>, sni: Option<String>, connection: usize) -> Seen {
    let headers = pairs(request.headers());
    let host = headers.iter().find(|(name, _)| name == "host").map(|(_, value)| value.clone());
    let authority = request.uri().authority().map(|authority| authority.to_string());
    Seen {
        method: request.method().to_string(),
        version: format!("{:?}", request.version()),
        authority: authority.or(host).unwrap_or_default(),
        target: request.uri().path_and_query().map(|target| target.to_string()).unwrap_or_default(),
        headers,
        sni,
        connection,
        ..Seen::default()
    }
}
