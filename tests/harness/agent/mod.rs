//! Agents: what untrusted code can do with a proxy (or, in self-tests, with an origin) that it can reach.

use std::net::SocketAddr;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::sweep::Sweep;
use crate::within::within;
use reply::Reply;
use tunnel::{Pipe, TunnelBuilder};

pub mod h2;
pub mod rawh2;
pub mod reply;
pub mod tunnel;
pub mod ws;

/// Any byte stream.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}
pub type BoxIo = Box<dyn Io>;

/// What the agent's packets reach first.
#[derive(Clone, Debug)]
pub enum Via {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// No proxy: straight to an origin (self-tests of the harness).
    Direct(SocketAddr),
}

/// One agent: where its proxy is, how it authenticates, whom it trusts.
#[derive(Clone)]
pub struct Agent {
    pub(crate) via: Via,
    pub(crate) authorization: Option<String>,
    pub(crate) ca_pem: String,
    pub(crate) sweep: Sweep,
}

impl Agent {
    pub fn new(via: Via, ca_pem: String, sweep: Sweep) -> Self {
        Self { via, authorization: None, ca_pem, sweep }
    }

    /// Straight to an origin of the harness.
    pub fn direct(origin: &crate::Origin) -> Self {
        let ca = crate::ca::TestCa::world().pem().to_owned();
        Self::new(Via::Direct(origin.address()), ca, Sweep::default())
    }

    pub fn with_basic(self, user: &str, password: &str) -> Self {
        let pair = STANDARD.encode(format!("{user}:{password}"));
        self.with_authorization(&format!("Basic {pair}"))
    }

    /// The value of Proxy-Authorization as it is.
    pub fn with_authorization(mut self, value: &str) -> Self {
        self.authorization = Some(value.to_owned());
        self
    }

    pub fn without_authorization(mut self) -> Self {
        self.authorization = None;
        self
    }

    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    pub fn with_ca(mut self, pem: &str) -> Self {
        pem.clone_into(&mut self.ca_pem);
        self
    }

    /// A bare connection, nothing sent.
    pub async fn dial(&self) -> Pipe {
        let io: BoxIo = match &self.via {
            Via::Tcp(address) | Via::Direct(address) => {
                let stream = within("connect", TcpStream::connect(address)).await.expect("connect");
                stream.set_nodelay(true).unwrap();
                Box::new(stream)
            }
            Via::Unix(path) => Box::new(within("connect", UnixStream::connect(path)).await.expect("connect")),
        };
        Pipe::new(io, self.sweep.clone())
    }

    /// Sends these bytes on a fresh connection and reads one answer.
    pub async fn raw(&self, bytes: &[u8]) -> Reply {
        self.dial().await.exchange(bytes).await
    }

    /// Sends these bytes on a fresh connection and reads until it closes.
    pub async fn raw_to_end(&self, bytes: &[u8]) -> Vec<u8> {
        let mut pipe = self.dial().await;
        pipe.send(bytes).await;
        pipe.read_to_end().await
    }

    /// The head of a CONNECT for `authority` as this agent sends it.
    pub fn connect_head(&self, authority: &str) -> String {
        let proof = match &self.authorization {
            Some(value) => format!("Proxy-Authorization: {value}\r\n"),
            None => String::new(),
        };
        format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{proof}\r\n")
    }

    /// The answer to a CONNECT for `authority`.
    pub async fn connect(&self, authority: &str) -> Reply {
        let head = self.connect_head(authority);
        let mut pipe = self.dial().await;
        pipe.send(head.as_bytes()).await;
        pipe.read_reply("CONNECT").await
    }

    /// How `GET https://AUTHORITY/` is refused: at CONNECT in the reason phrase, or inside the tunnel.
    pub async fn refused(&self, authority: &str) -> Refused {
        let mut pipe = self.dial().await;
        pipe.send(self.connect_head(authority).as_bytes()).await;
        let reply = pipe.read_reply("CONNECT").await;
        if reply.status != 200 {
            return Refused { status: reply.status, code: reply.any_code(), at_connect: true };
        }
        let mut tls = self
            .tunnel(authority)
            .handshake(pipe)
            .await
            .unwrap_or_else(|error| panic!("{authority}: {error}"));
        let reply = tls.exchange(format!("GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes()).await;
        Refused { status: reply.status, code: reply.any_code(), at_connect: false }
    }

    /// A tunnel to `authority`, with TLS inside; SNI its host, ALPN http/1.1.
    pub fn tunnel(&self, authority: &str) -> TunnelBuilder<'_> {
        TunnelBuilder::new(self, authority)
    }

    /// HTTP/1.1 inside TLS to `host`, port 443.
    pub async fn tls(&self, host: &str) -> Pipe {
        self.tunnel(&format!("{host}:443")).open().await
    }

    /// One HTTP/1.1 request to `host`, written by hand: request line and headers, each line ended by `\n` here.
    pub async fn ask(&self, host: &str, head: &str) -> Reply {
        self.tls(host).await.exchange(&wire(host, head, b"")).await
    }

    /// `GET path` over HTTP/1.1.
    pub async fn get(&self, host: &str, path: &str) -> Reply {
        self.ask(host, &format!("GET {path} HTTP/1.1")).await
    }

    /// `POST path` with a body over HTTP/1.1.
    pub async fn post(&self, host: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
        let head = format!("POST {path} HTTP/1.1\n{headers}\nContent-Length: {}", body.len());
        self.tls(host).await.exchange(&wire(host, &head, body)).await
    }
}

/// A request as bytes from readable lines: CRLF ends, and `Host` added unless written out.
pub fn wire(host: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&str> = head.lines().filter(|line| !line.is_empty()).collect();
    let host_line = format!("Host: {host}");
    if !lines.iter().any(|line| line.to_ascii_lowercase().starts_with("host:")) {
        lines.insert(1, &host_line);
    }
    let mut bytes = lines.join("\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// How a destination was refused.
#[derive(Debug)]
pub struct Refused {
    pub status: u16,
    pub code: Option<String>,
    pub at_connect: bool,
}

impl Refused {
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}
