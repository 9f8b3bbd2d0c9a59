//! Where a run goes: through which proxy, to which host, in which HTTP version, and the dialling of it.

use crate::{BenchError, Result};
use base64::Engine;
use http::HeaderValue;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const HEAD_LIMIT: usize = 16 * 1024;

/// The HTTP version spoken on both sides of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
}

impl Protocol {
    /// The name in ALPN.
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Self::H1 => b"http/1.1",
            Self::H2 => b"h2",
        }
    }

    /// The value of the origin's version header.
    pub fn origin_name(self) -> &'static str {
        match self {
            Self::H1 => "1.1",
            Self::H2 => "2",
        }
    }
}

/// One destination by one road.
#[derive(Debug, Clone)]
pub struct Target {
    /// The CONNECT proxy; `None` dials the origin.
    pub proxy: Option<SocketAddr>,
    /// The origin's address, for direct runs.
    pub origin: SocketAddr,
    /// Host of CONNECT, SNI and `Host`.
    pub host: String,
    /// Port of CONNECT and `Host`.
    pub port: u16,
    /// Password of the proxy's Basic authentication.
    pub token: Option<String>,
    /// The credential, which only a direct run sends itself.
    pub credential: Option<HeaderValue>,
    /// Trust and ALPN.
    pub tls: Arc<ClientConfig>,
    /// What to speak.
    pub protocol: Protocol,
}

impl Target {
    /// The same road to another host.
    pub fn with_host(&self, host: String) -> Self {
        Self { host, ..self.clone() }
    }

    /// `host` or `host:port`.
    pub fn authority(&self) -> String {
        if self.port == 443 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// TCP, CONNECT and TLS.
    pub async fn dial(&self) -> Result<TlsStream<TcpStream>> {
        let mut tcp = TcpStream::connect(self.proxy.unwrap_or(self.origin)).await?;
        tcp.set_nodelay(true)?;
        if self.proxy.is_some() {
            self.connect(&mut tcp).await?;
        }
        let name = ServerName::try_from(self.host.clone())
            .map_err(|_| BenchError::Usage(format!("host {}", self.host)))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await?;
        let spoken = stream.get_ref().1.alpn_protocol().unwrap_or(b"http/1.1");
        if spoken != self.protocol.alpn() {
            return Err(BenchError::Unsupported(format!("{:?} towards the agent", self.protocol)));
        }
        Ok(stream)
    }

    async fn connect(&self, tcp: &mut TcpStream) -> Result<()> {
        let authority = format!("{}:{}", self.host, self.port);
        let mut head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(token) = &self.token {
            let basic = base64::engine::general_purpose::STANDARD.encode(format!("agent:{token}"));
            head.push_str(&format!("Proxy-Authorization: Basic {basic}\r\n"));
        }
        head.push_str("\r\n");
        tcp.write_all(head.as_bytes()).await?;
        let mut answer = Vec::with_capacity(256);
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() > HEAD_LIMIT || tcp.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        let first = answer.split(|b| *b == b'\r').next().unwrap_or_default();
        let first = String::from_utf8_lossy(first);
        match first.split(' ').nth(1) {
            Some("200") => Ok(()),
            _ => Err(BenchError::Refused(first.into_owned())),
        }
    }
}
