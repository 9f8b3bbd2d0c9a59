//! The server's process, and calls to it as its owner.

use crate::rig::Process;
use crate::{BenchError, Result};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body::Body as _;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long the server may take until it serves.
const START: Duration = Duration::from_secs(30);
/// Connections over which the database is filled.
const FILLERS: usize = 8;

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    process: Process,
    _folder: TempDir,
    address: SocketAddr,
    root: String,
    ca: CertificateDer<'static>,
}

impl Server {
    pub(super) async fn start(doorward: &Path, database: Option<&str>) -> Result<Self> {
        let folder = tempfile::tempdir().map_err(BenchError::io("making a temporary folder"))?;
        let at = |name: &str| folder.path().join(name);
        let mut command = Command::new(doorward);
        command.arg("--home").arg(at("home")).args(["server", "--self-signed", "--log", "error"]);
        command.args(["--listen", "127.0.0.1:0", "--limit", "token-calls=1000000"]);
        command.args(["--limit", "token-burst=1000000", "--ready-file"]).arg(at("ready"));
        if let Some(database) = database {
            command.args(["--database", database]);
        }
        command.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Process::new(command.spawn().map_err(BenchError::io("starting the server"))?);
        let end = Instant::now() + START;
        let ready: Value = loop {
            let text = std::fs::read(at("ready")).unwrap_or_default();
            if let Ok(ready) = serde_json::from_slice(&text) {
                break ready;
            }
            if process.has_ended() || Instant::now() > end {
                return Err(BenchError::Answer("the server does not serve".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let field = |name: &str| ready.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let address = field("api").trim_start_matches("https://").parse();
        let address = address.map_err(|_| BenchError::Answer("no address in the ready file".to_owned()))?;
        let root = std::fs::read_to_string(field("root_token_file"))?.trim().to_owned();
        let ca = CertificateDer::from_pem_file(field("ca"));
        let ca = ca.map_err(|_| BenchError::Answer("no CA in the ready file".to_owned()))?;
        Ok(Self { process, _folder: folder, address, root, ca })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection with TLS that is to be made.
    pub(super) fn connect(
        &self,
        tls: Arc<ClientConfig>,
    ) -> impl Future<Output = Result<TlsStream<TcpStream>>> + use<> {
        let address = self.address;
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::IpAddress(address.ip().into());
            Ok(TlsConnector::from(tls).connect(name, stream).await?)
        }
    }

    pub(super) fn tls(&self, protocol: &str) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Ok(Arc::new(config))
    }

    /// A connection for the owner's calls.
    pub(super) async fn api(&self) -> Result<Api> {
        let stream = self.connect(self.tls("http/1.1")?).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let (host, bearer) = (self.address.to_string(), format!("Bearer {}", self.root));
        Ok(Api { sender: Mutex::new(sender), host, bearer })
    }
}

/// A body that is there as a whole.
pub(super) type Whole = http_body_util::Full<Bytes>;

/// A connection for the owner's calls, one at a time.
#[derive(Debug)]
pub(super) struct Api {
    sender: Mutex<SendRequest<Whole>>,
    host: String,
    bearer: String,
}

impl Api {
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn rotate(&self, secret: &str, body: Value) -> Result<Value> {
        self.call(Method::POST, &format!("/v1/projects/default/secrets/{secret}/rotate"), Some(body)).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("authorization", &self.bearer)
            .header("if-match", "*");
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(Whole::new(body)).map_err(|e| BenchError::Usage(e.to_string()))?;
        let mut sender = self.sender.lock().await;
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let mut body = answer.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            if let Ok(data) = frame?.into_data() {
                bytes.extend_from_slice(&data);
            }
        }
        match status {
            StatusCode::OK | StatusCode::CREATED => {
                serde_json::from_slice(&bytes).map_err(|_| BenchError::Answer(format!("{path}: no JSON")))
            }
            other => Err(BenchError::Answer(format!("{path}: {other}: {}", String::from_utf8_lossy(&bytes)))),
        }
    }
}

/// All of these, over several connections; the answers in order.
pub(super) async fn post_all(server: &Server, calls: Vec<(String, Value)>) -> Result<Vec<Value>> {
    let count = calls.len();
    let calls = Arc::new(std::sync::Mutex::new(calls.into_iter().enumerate()));
    let mut fillers = tokio::task::JoinSet::new();
    for _ in 0..FILLERS {
        let (api, calls) = (server.api().await?, Arc::clone(&calls));
        fillers.spawn(async move {
            let mut made = Vec::new();
            loop {
                let next = calls.lock().ok().and_then(|mut calls| calls.next());
                let Some((n, (path, body))) = next else { return Ok::<_, BenchError>(made) };
                made.push((n, api.call(Method::POST, &path, Some(body)).await?));
            }
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(made) = fillers.join_next().await {
        all.extend(made.map_err(|e| BenchError::Answer(e.to_string()))??);
    }
    all.sort_by_key(|(n, _)| *n);
    Ok(all.into_iter().map(|(_, answer)| answer).collect())
}
