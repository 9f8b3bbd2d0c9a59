//! CONNECT, TLS with any name and ALPN, and raw bytes through it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::reply::{Reply, dechunk, parse_head};
use super::{Agent, BoxIo, Via};
use crate::sweep::Sweep;
use crate::within::within;

/// A byte stream whose reads are swept; plain, or the inside of TLS.
pub struct Pipe {
    io: BoxIo,
    held: BytesMut,
    sweep: Sweep,
    /// Under which its bytes are swept: each connection is one stream.
    label: String,
    pub alpn: Option<String>,
    pub chain: Vec<CertificateDer<'static>>,
}

/// The inside of TLS.
pub type Tls = Pipe;

impl Pipe {
    pub fn new(io: BoxIo, sweep: Sweep) -> Self {
        let label = sweep.label("answers");
        Self { io, held: BytesMut::new(), sweep, label, alpn: None, chain: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.expect("write");
    }

    pub async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        within("write", async {
            self.io.write_all(bytes).await?;
            self.io.flush().await
        })
        .await
    }

    /// Closes our half.
    pub async fn finish(&mut self) {
        let _ = within("shutdown", self.io.shutdown()).await;
    }

    /// Sends a request and reads its answer.
    pub async fn exchange(&mut self, bytes: &[u8]) -> Reply {
        // A refusal may come, and the connection close, before the last byte was written.
        let _ = self.try_send(bytes).await;
        let method =
            String::from_utf8_lossy(bytes.split(|&b| b == b' ').next().unwrap_or_default()).into_owned();
        self.read_reply(&method).await
    }

    /// More bytes; false at the end.
    async fn fill(&mut self) -> bool {
        let before = self.held.len();
        // A close without close_notify or a reset ends the stream as well.
        let read = within("bytes from the proxy", self.io.read_buf(&mut self.held)).await.unwrap_or(0);
        self.sweep.note(&self.label, &self.held[before..]);
        read > 0
    }

    /// The next `n` bytes, fewer at the end.
    pub async fn read_some(&mut self, n: usize) -> Vec<u8> {
        while self.held.len() < n && self.fill().await {}
        let n = n.min(self.held.len());
        self.held.split_to(n).to_vec()
    }

    /// Whatever arrives next; empty at the end.
    pub async fn read_any(&mut self) -> Vec<u8> {
        if self.held.is_empty() {
            self.fill().await;
        }
        self.held.split().to_vec()
    }

    /// Reads until `needle` has arrived, and gives everything up to and with it.
    pub async fn read_until(&mut self, needle: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.held, needle) {
                return self.held.split_to(at + needle.len()).to_vec();
            }
            let seen = String::from_utf8_lossy(&self.held).into_owned();
            assert!(self.fill().await, "closed before {:?}: {seen}", String::from_utf8_lossy(needle));
        }
    }

    pub async fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill().await {}
        self.held.split().to_vec()
    }

    /// Panics unless the other side closes without another byte.
    pub async fn assert_closed(&mut self) {
        let rest = self.read_to_end().await;
        assert!(rest.is_empty(), "more bytes before the close: {:?}", String::from_utf8_lossy(&rest));
    }

    /// The head of the next final answer, its body left unread. A closed connection gives status 0.
    pub async fn read_head(&mut self) -> Reply {
        let mut interim = Vec::new();
        loop {
            if let Some((mut reply, used)) = parse_head(&self.held) {
                self.held.advance(used);
                if matches!(reply.status, 100 | 102..=199) {
                    interim.push(reply.status);
                    continue;
                }
                reply.interim = interim;
                return reply;
            }
            if !self.fill().await {
                return Reply { interim, body: self.held.split().to_vec(), ..Reply::default() };
            }
        }
    }

    /// The next answer with its body.
    pub async fn read_reply(&mut self, method: &str) -> Reply {
        let mut reply = self.read_head().await;
        let tunnel = method == "CONNECT" && reply.status == 200;
        if reply.status == 0 || tunnel || method == "HEAD" || matches!(reply.status, 101 | 204 | 304) {
            reply.complete = reply.status != 0;
        } else if reply.header("transfer-encoding").is_some() {
            self.read_chunked(&mut reply).await;
        } else if let Some(length) = reply.header("content-length").map(|n| n.parse::<usize>().unwrap()) {
            reply.body = self.read_some(length).await;
            reply.complete = reply.body.len() == length;
        } else {
            reply.body = self.read_to_end().await;
            reply.complete = true;
        }
        // What chunks took apart is searched as one, too.
        self.sweep.note(&self.sweep.label("body"), &reply.body);
        reply
    }

    async fn read_chunked(&mut self, reply: &mut Reply) {
        let mut more = true;
        loop {
            let (body, trailers, used) = dechunk(&self.held);
            if used.is_none() && more {
                more = self.fill().await;
                continue;
            }
            self.held.advance(used.unwrap_or(self.held.len()));
            (reply.body, reply.trailers, reply.complete) = (body, trailers, used.is_some());
            return;
        }
    }

    /// The stream itself, for another protocol; bytes that were read ahead are lost, so there must be none.
    pub fn into_io(self) -> BoxIo {
        assert!(self.held.is_empty(), "bytes were read ahead");
        Box::new(Swept { io: self.io, sweep: self.sweep, label: self.label })
    }
}

/// A stream whose reads are swept although another protocol has taken it over.
struct Swept {
    io: BoxIo,
    sweep: Sweep,
    label: String,
}

impl AsyncRead for Swept {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.sweep.note(&self.label, &buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Swept {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A tunnel with TLS to be opened.
pub struct TunnelBuilder<'a> {
    agent: &'a Agent,
    authority: String,
    sni: Option<String>,
    alpn: Vec<&'static str>,
    versions: &'static [&'static rustls::SupportedProtocolVersion],
}

impl<'a> TunnelBuilder<'a> {
    pub(super) fn new(agent: &'a Agent, authority: &str) -> Self {
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        Self {
            agent,
            authority: authority.to_owned(),
            sni: Some(host.trim_matches(['[', ']']).to_owned()),
            alpn: vec!["http/1.1"],
            versions: rustls::ALL_VERSIONS,
        }
    }

    pub fn sni(mut self, name: &str) -> Self {
        self.sni = Some(name.to_owned());
        self
    }

    /// No server_name extension at all.
    pub fn no_sni(mut self) -> Self {
        self.sni = None;
        self
    }

    pub fn alpn(mut self, names: &[&'static str]) -> Self {
        self.alpn = names.to_vec();
        self
    }

    pub fn versions(mut self, versions: &'static [&'static rustls::SupportedProtocolVersion]) -> Self {
        self.versions = versions;
        self
    }

    pub async fn open(self) -> Tls {
        let what = format!("tunnel to {}", self.authority);
        self.try_open().await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// CONNECT, then TLS. A refused CONNECT and a failed handshake are errors that say so.
    pub async fn try_open(self) -> io::Result<Tls> {
        let mut pipe = self.agent.dial().await;
        if !matches!(self.agent.via, Via::Direct(_)) {
            pipe.send(self.agent.connect_head(&self.authority).as_bytes()).await;
            let reply = pipe.read_head().await;
            if reply.status != 200 {
                return Err(io::Error::other(format!("CONNECT: {} {}", reply.status, reply.reason)));
            }
        }
        self.handshake(pipe).await
    }

    /// TLS on a stream that is already there.
    pub async fn handshake(self, pipe: Pipe) -> io::Result<Tls> {
        let (config, name) = self.client_config();
        let connector = tokio_rustls::TlsConnector::from(config);
        assert!(pipe.held.is_empty(), "bytes were read ahead");
        let sweep = pipe.sweep.clone();
        let tls = within("TLS handshake", connector.connect(name, pipe.io)).await?;
        let (_, session) = tls.get_ref();
        let alpn = session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        let chain = session.peer_certificates().unwrap_or_default().to_vec();
        let chain = chain.into_iter().map(CertificateDer::into_owned).collect();
        Ok(Pipe { alpn, chain, ..Pipe::new(Box::new(tls), sweep) })
    }

    fn client_config(&self) -> (Arc<rustls::ClientConfig>, ServerName<'static>) {
        let host = self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host);
        let host = host.trim_matches(['[', ']']).trim_end_matches('.');
        let mut config = (*crate::ca::client_config(&self.agent.ca_pem, &self.alpn, self.versions)).clone();
        config.enable_sni = self.sni.is_some();
        let verified = config.clone();
        // The certificate must be for the CONNECT host, whatever name was sent.
        if let Some(sni) = &self.sni
            && sni != host
        {
            config
                .dangerous()
                .set_certificate_verifier(Arc::new(expect::Host::new(host, &self.agent.ca_pem)));
            return (Arc::new(config), ServerName::try_from(sni.clone()).unwrap());
        }
        (Arc::new(verified), ServerName::try_from(host.to_owned()).unwrap())
    }
}

/// Verification against another name than the one in the server_name extension.
mod expect {
    use super::*;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};
    use rustls_pki_types::UnixTime;

    #[derive(Debug)]
    pub(super) struct Host {
        name: ServerName<'static>,
        inner: Arc<WebPkiServerVerifier>,
    }

    impl Host {
        pub(super) fn new(host: &str, ca_pem: &str) -> Self {
            use rustls_pki_types::pem::PemObject as _;
            let mut roots = rustls::RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
                roots.add(certificate.unwrap()).unwrap();
            }
            let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crate::ca::provider());
            Self { name: ServerName::try_from(host.to_owned()).unwrap(), inner: inner.build().unwrap() }
        }
    }

    impl ServerCertVerifier for Host {
        fn verify_server_cert(
            &self,
            end_entity: &CertificateDer<'_>,
            intermediates: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            ocsp: &[u8],
            now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp, now)
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.inner.verify_tls12_signature(message, cert, dss)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.inner.verify_tls13_signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.inner.supported_verify_schemes()
        }
    }
}
