//! The demo's origin: a real TLS server on loopback that answers 401 unless the real credential arrives, and echoes it if it does.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use certs::Authority;
use control::secret::Secret;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::ServerName;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What came with a request, told without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presented {
    /// The value of the vault.
    RealCredential,
    /// Something else.
    SomethingElse,
    /// No `Authorization` at all.
    Nothing,
}

/// One request, as the origin saw it.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) line: String,
    pub(super) presented: Presented,
    /// The other headers.
    pub(super) headers: Vec<String>,
}

/// A running origin; ends with its runtime.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    /// Its CA, for `--upstream-ca`.
    pub(super) ca: String,
    seen: Arc<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// `Bearer` and the credential.
    wanted: Secret,
    requests: Mutex<Vec<Received>>,
}

impl Origin {
    /// Starts to serve on a free loopback port.
    pub(super) async fn start(host: &'static str, credential: &Secret) -> io::Result<Self> {
        let authority = Authority::generate(SystemTime::now()).map_err(io::Error::other)?;
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let leaf = authority.sign(&name, SystemTime::now()).map_err(io::Error::other)?;
        let config = ServerConfig::builder_with_provider(certs::crypto::provider())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(leaf.certified)));
        // exposed: the origin has to recognise the credential
        let wanted = Secret::new([b"Bearer ", credential.expose()].concat());
        let seen = Arc::new(Seen { wanted, requests: Mutex::default() });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&seen)));
        Ok(Self { address, ca: authority.certificate_pem().to_owned(), seen })
    }

    /// Every request so far.
    pub(super) fn received(&self) -> Vec<Received> {
        self.seen.requests.lock().clone()
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, seen: Arc<Seen>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, seen) = (tls.clone(), Arc::clone(&seen));
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = seen.answer(&request);
                async move { Ok::<_, Infallible>(answer) }
            });
            match tls.accept(stream).await {
                Ok(stream) => {
                    let serving = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), service);
                    if let Err(error) = serving.await {
                        tracing::debug!(%error, "demo origin: connection ended");
                    }
                }
                Err(error) => tracing::debug!(%error, "demo origin: no tls"),
            }
        });
    }
}

impl Seen {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let headers = request.headers();
        let presented = match headers.get(AUTHORIZATION) {
            Some(value) if self.wanted.matches(value.as_bytes()) => Presented::RealCredential,
            Some(_) => Presented::SomethingElse,
            None => Presented::Nothing,
        };
        let line = format!("{} {}", request.method(), request.uri().path());
        self.requests.lock().push(Received { line, presented, headers: others(headers) });
        let (status, body) = match (presented, headers.get(AUTHORIZATION)) {
            (Presented::RealCredential, Some(value)) => (StatusCode::OK, echo(value)),
            _ => (StatusCode::UNAUTHORIZED, "{\"error\": \"who are you?\"}\n".to_owned()),
        };
        let mut answer = Response::new(Full::new(Bytes::from(body)));
        *answer.status_mut() = status;
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer
    }
}

/// What a careless or hostile upstream does: the credential comes back, plainly and coded.
fn echo(authorization: &HeaderValue) -> String {
    let plain = String::from_utf8_lossy(authorization.as_bytes());
    let coded = STANDARD.encode(authorization.as_bytes());
    format!("{{\"user\": \"demo\",\n \"you_sent\": \"{plain}\",\n \"in_base64\": \"{coded}\"}}\n")
}

fn others(headers: &HeaderMap) -> Vec<String> {
    let others = headers.iter().filter(|(name, _)| *name != AUTHORIZATION);
    others.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect()
}
