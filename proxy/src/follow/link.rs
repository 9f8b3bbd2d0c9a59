//! One connection with the server: the stream is read, and what is in force is acknowledged.
//!
//! Over TLS 1.3 with h2 where the server speaks it, all of it goes over one connection; else each call has one of its own.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use control::refusal::Refusal;
use control::sync::seal::{SealError, SealKey};
use control::sync::source::Held;
use control::sync::wire::{Ack, End, Message, Snapshot, WireError};
use control::sync::{ACK_PATH, SEAL_KEY_HEADER, SIDECAR_HEADER, STREAM_PATH, STREAM_TYPE};
use control::target::Target;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::client::{ResolvesClientCert, Resumption};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Shared;
use super::back_off::BackOff;
use super::reader::Reader;
use super::shown::{CertificateFiles, Shown};
use super::url::ControlUrl;
use crate::upstream::guard::Guard;
use crate::upstream::tls::server_name;

/// How long a connection, its TLS and the head of an answer may take, each.
const STEP: Duration = Duration::from_secs(10);
/// A call that failed is made again with the next snapshot; this one is for the same.
const AGAIN: Duration = Duration::from_secs(1);

/// The longest answer to a call beside the stream.
const ANSWER_MOST: usize = 16 << 10;

/// Where the server is and how it is verified.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: ControlUrl,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) guard: Guard,
}

impl Server {
    /// The TLS that a server has to verify with.
    pub(crate) fn tls(
        roots: &certs::trust::Roots,
        shown: &Shown,
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let config = ClientConfig::builder_with_provider(certs::crypto::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots.store());
        let mut config = match shown {
            Shown::Token(_) => config.with_no_client_auth(),
            Shown::Certificate(files) => {
                let files: Arc<dyn ResolvesClientCert> = Arc::<CertificateFiles>::clone(files);
                let mut config = config.with_client_cert_resolver(files);
                // A session that is taken up again would be the last certificate's.
                config.resumption = Resumption::disabled();
                config
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Why a connection ended, or was none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Parted {
    #[error("{}", .0.detail)]
    Dial(Refusal),
    #[error("{0}: {1}")]
    Socket(&'static str, std::io::Error),
    #[error("the socket belongs to user {0}, who is neither root nor us")]
    Stranger(u32),
    #[error("tls: {0}")]
    Tls(std::io::Error),
    #[error("{0}: no answer within {1} s")]
    Late(&'static str, u64),
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the server answered {0}")]
    Status(StatusCode, Option<Duration>),
    #[error("the answer is no stream of ours")]
    Foreign,
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("the server breaks the protocol: {0}")]
    Protocol(&'static str),
    #[error("the server ended the stream")]
    Ended,
    #[error("what the agent has does not fit into a message")]
    Oversized,
    #[error("the agent's token or identity is unknown, expired or revoked")]
    Revoked,
    #[error("there is something else to show the server")]
    Replaced,
    #[error("the request cannot be written")]
    Request,
}

impl Parted {
    /// When the server wants to be asked again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        if let Self::Status(_, wait) = self { *wait } else { None }
    }
}

/// A connection that is kept for all calls, or the way to make one for each.
enum Sender {
    H2(http2::SendRequest<Full<Bytes>>),
    H1,
}

/// The task of a connection ends with whoever uses it.
struct Driving(AbortHandle);

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Connects and follows until it ends.
pub(super) async fn once(server: &Arc<Server>, shared: &Arc<Shared>, back_off: &mut BackOff) -> Parted {
    match stream(server, shared, back_off).await {
        Ok(never) => match never {},
        Err(parted) => parted,
    }
}

async fn stream(
    server: &Arc<Server>,
    shared: &Arc<Shared>,
    back_off: &mut BackOff,
) -> Result<std::convert::Infallible, Parted> {
    let caller = Caller::new(server, shared)?;
    let key = Arc::clone(&caller.key);
    let ask = caller.request(Method::GET, STREAM_PATH, Bytes::new())?;
    let (sender, answer, _driving) = caller.open(ask).await?;
    let answer = accepted(answer)?;
    if answer.headers().get(CONTENT_TYPE).is_none_or(|kind| kind != STREAM_TYPE) {
        return Err(Parted::Foreign);
    }
    let lease = shared.followed.lease().clone();
    let mut reader = Reader::new(answer.into_body(), lease);
    let Message::Snapshot(first) = reader.next().await? else {
        return Err(Parted::Protocol("the first message is no snapshot"));
    };
    let mut revision = take(shared, first, &key)?;
    back_off.reset();
    shared.status.up();
    // What was decided while nobody listened; an error says that nobody waits.
    drop(shared.decided.send(None));
    let _lent = Lent::lend(shared, &sender);
    tracing::info!(revision, "following the control server");
    let reading = async {
        loop {
            match reader.next().await? {
                Message::Snapshot(_) => return Err(Parted::Protocol("a second first snapshot")),
                Message::Change(change) if change.revision <= revision => {
                    return Err(Parted::Protocol("an older revision"));
                }
                Message::Change(change) => revision = take(shared, change, &key)?,
                Message::Answered(answered) => {
                    drop(shared.decided.send(answered.ask.map(Arc::from)));
                }
                Message::Ping(ping) if ping.revision != revision => {
                    return Err(Parted::Protocol("a ping of another revision"));
                }
                Message::Ping(_) => shared.followed.lease().renew(),
                Message::End(End::Revoked) => return Err(Parted::Revoked),
                Message::End(End::Draining) => return Err(Parted::Ended),
                Message::End(End::Oversized) => return Err(Parted::Oversized),
            }
        }
    };
    tokio::select! {
        parted = reading => parted,
        parted = acknowledge(&caller, &sender) => parted,
        () = shared.shown.replaced() => Err(Parted::Replaced),
    }
}

/// Puts a snapshot in the place of the one before.
fn take(shared: &Shared, snapshot: Snapshot, key: &Arc<SealKey>) -> Result<u64, Parted> {
    let revision = snapshot.revision;
    if shared.status.revision.swap(revision, Ordering::Relaxed) > revision {
        tracing::warn!(revision, "the server is behind what it said before; was it restored from a backup?");
    }
    shared.followed.take(Held::new(snapshot, Arc::clone(key))?);
    shared.followed.lease().renew();
    shared.tell();
    Ok(revision)
}

/// Says which snapshot is in force, as it changes; again where that was not heard.
async fn acknowledge(caller: &Caller, sender: &Sender) -> Result<std::convert::Infallible, Parted> {
    let mut acks = caller.shared.acks.clone();
    acks.mark_changed();
    loop {
        if acks.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        let revision = *acks.borrow_and_update();
        // Of a snapshot that came on another connection, with another key: the server counts each by its key.
        if revision == 0 {
            continue;
        }
        let body = serde_json::to_vec(&Ack { revision }).map_err(|_| Parted::Request)?;
        match caller.call(sender, Method::POST, ACK_PATH, body.into()).await {
            Ok(()) => {}
            Err(Parted::Revoked) => return Err(Parted::Revoked),
            Err(error) => {
                tracing::debug!(%error, "revision not acknowledged");
                tokio::time::sleep(AGAIN).await;
                acks.mark_changed();
            }
        }
    }
}

/// A connection that is lent to other calls for as long as its stream stands.
struct Lent<'a>(&'a Shared);

impl<'a> Lent<'a> {
    fn lend(shared: &'a Shared, sender: &Sender) -> Self {
        *shared.h2.lock() = match sender {
            Sender::H2(sender) => Some(sender.clone()),
            Sender::H1 => None,
        };
        Self(shared)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        *self.0.h2.lock() = None;
    }
}

fn accepted(answer: Response<Incoming>) -> Result<Response<Incoming>, Parted> {
    match answer.status() {
        status if status.is_success() => Ok(answer),
        StatusCode::UNAUTHORIZED => Err(Parted::Revoked),
        status => {
            let seconds =
                answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Err(Parted::Status(status, seconds.map(Duration::from_secs)))
        }
    }
}

/// Makes requests with what the sidecar shows and this connection's key.
pub(super) struct Caller {
    pub(super) server: Arc<Server>,
    pub(super) shared: Arc<Shared>,
    key: Arc<SealKey>,
}

impl Caller {
    /// A caller with a key of its own.
    pub(super) fn new(server: &Arc<Server>, shared: &Arc<Shared>) -> Result<Self, SealError> {
        let key = Arc::new(SealKey::generate()?);
        Ok(Self { server: Arc::clone(server), shared: Arc::clone(shared), key })
    }

    /// What answers are authenticated for.
    pub(super) fn key(&self) -> &SealKey {
        &self.key
    }

    /// A call beside the stream, over its connection where that takes several calls, and its short answer.
    pub(super) async fn ask(&self, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), Parted> {
        let ask = self.request(Method::POST, path, body)?;
        let stream = self.shared.h2.lock().clone();
        let asking = async {
            let (answer, _driving) = match stream {
                Some(mut sender) => (sender.send_request(over(ask)).await?, None),
                None => {
                    let (_, answer, driving) = self.open(ask).await?;
                    (answer, Some(driving))
                }
            };
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_MOST).collect().await;
            Ok((status, body.map_err(|_| Parted::Foreign)?.to_bytes()))
        };
        timeout(STEP, asking).await.map_err(|_| Parted::Late("answer", STEP.as_secs()))?
    }

    /// A call whose answer holds nothing.
    async fn call(&self, sender: &Sender, method: Method, path: &str, body: Bytes) -> Result<(), Parted> {
        let ask = self.request(method, path, body)?;
        let answer = match sender {
            Sender::H2(sender) => {
                let mut sender = sender.clone();
                let answer = timeout(STEP, sender.send_request(over(ask))).await;
                answer.map_err(|_| Parted::Late("answer", STEP.as_secs()))??
            }
            Sender::H1 => {
                let (_, answer, _driving) = self.open(ask).await?;
                return accepted(answer).map(drop);
            }
        };
        accepted(answer).map(drop)
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Parted> {
        let authority = match &self.server.url {
            ControlUrl::Https(target) => target.authority(443),
            ControlUrl::Unix(_) => "localhost".to_owned(),
        };
        let authorization = self.shared.shown.authorization().map_err(|_| Parted::Request)?;
        let json = HeaderValue::from_static("application/json");
        let has_body = !body.is_empty();
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = format!("https://{authority}{path}").parse().map_err(|_| Parted::Request)?;
        let host = HeaderValue::try_from(authority).map_err(|_| Parted::Request)?;
        let key = HeaderValue::try_from(self.key.public().to_string()).map_err(|_| Parted::Request)?;
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        headers.insert(ACCEPT, HeaderValue::from_static(STREAM_TYPE));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("doorward/", env!("CARGO_PKG_VERSION"))));
        headers.insert(SEAL_KEY_HEADER, key);
        headers.insert(SIDECAR_HEADER, self.shared.id.clone());
        if has_body {
            headers.insert(CONTENT_TYPE, json);
        }
        Ok(request)
    }

    /// Connects and sends a first request.
    async fn open(&self, ask: Request<Full<Bytes>>) -> Result<(Sender, Response<Incoming>, Driving), Parted> {
        let (wire, is_h2) = connect(&self.server).await?;
        let sending = async { if is_h2 { over_h2(wire, ask).await } else { over_h1(wire, ask).await } };
        timeout(STEP, sending).await.map_err(|_| Parted::Late("answer", STEP.as_secs()))?
    }
}

async fn over_h2(
    wire: Box<dyn Wire>,
    ask: Request<Full<Bytes>>,
) -> Result<(Sender, Response<Incoming>, Driving), Parted> {
    let mut settings = http2::Builder::new(TokioExecutor::new());
    settings.timer(TokioTimer::new()).keep_alive_interval(Some(STEP)).keep_alive_timeout(STEP);
    let (mut sender, conn) = settings.handshake(TokioIo::new(wire)).await?;
    let driving = Driving(tokio::spawn(async move { drop(conn.await) }).abort_handle());
    let answer = sender.send_request(over(ask)).await?;
    Ok((Sender::H2(sender), answer, driving))
}

/// The request as h2 has it, which names the host in `:authority`.
fn over(mut ask: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    ask.headers_mut().remove(HOST);
    *ask.version_mut() = Version::HTTP_2;
    ask
}

async fn over_h1(
    wire: Box<dyn Wire>,
    mut ask: Request<Full<Bytes>>,
) -> Result<(Sender, Response<Incoming>, Driving), Parted> {
    let (mut sender, conn) = http1::Builder::new().handshake(TokioIo::new(wire)).await?;
    let driving = Driving(tokio::spawn(async move { drop(conn.await) }).abort_handle());
    *ask.uri_mut() = ask.uri().path().parse().map_err(|_| Parted::Request)?;
    let answer = sender.send_request(ask).await?;
    Ok((Sender::H1, answer, driving))
}

/// A connection whose other end is the server, and whether h2 is spoken on it.
async fn connect(server: &Server) -> Result<(Box<dyn Wire>, bool), Parted> {
    match &server.url {
        ControlUrl::Unix(path) => Ok((Box::new(socket(path).await?), false)),
        ControlUrl::Https(target) => tls(server, target).await,
    }
}

async fn tls(server: &Server, target: &Target) -> Result<(Box<dyn Wire>, bool), Parted> {
    let stream = server.guard.dial_configured(target).await.map_err(Parted::Dial)?;
    let name = server_name(&target.host).map_err(Parted::Dial)?;
    let connect = TlsConnector::from(Arc::clone(&server.tls)).connect(name, stream);
    let stream = timeout(STEP, connect).await.map_err(|_| Parted::Late("tls", STEP.as_secs()))?;
    let stream = stream.map_err(Parted::Tls)?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((Box::new(stream), is_h2))
}

/// The kernel says whose socket it is: nobody else may be given the token.
async fn socket(path: &Path) -> Result<UnixStream, Parted> {
    let failed = |error| Parted::Socket("the server's socket", error);
    let stream = timeout(STEP, UnixStream::connect(path)).await;
    let stream = stream.map_err(|_| Parted::Late("socket", STEP.as_secs()))?.map_err(failed)?;
    let peer = stream.peer_cred().map_err(failed)?.uid();
    let file = std::fs::symlink_metadata(path).map_err(failed)?.uid();
    let own = rustix::process::getuid().as_raw();
    match [peer, file].into_iter().find(|uid| *uid != 0 && *uid != own) {
        Some(stranger) => Err(Parted::Stranger(stranger)),
        None => Ok(stream),
    }
}
