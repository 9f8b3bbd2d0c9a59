//! Agents that ask without pause, through several sidecars, and an origin that judges each request when it arrives.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use harness::{Origin, answer};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::team::Following;
use crate::world::HOST;

/// How long after a rotation the value before may still arrive.
const STALE: Duration = Duration::from_secs(5);
/// Connections of the agents at each sidecar.
const LANES: u64 = 4;

/// The values that count, each with the moment at which another one took its place.
#[derive(Default)]
struct Values(Mutex<Vec<(String, Option<Instant>)>>);

/// What became of the requests.
#[derive(Default)]
pub(super) struct Tally {
    values: Values,
    injected: AtomicU64,
    paths: Mutex<BTreeSet<String>>,
    faults: Mutex<Vec<String>>,
}

impl Tally {
    /// From now on this value may arrive, too.
    pub(super) fn comes(&self, value: &str) {
        self.values.0.lock().unwrap().push((format!("Bearer {value}"), None));
    }

    /// From now on the last value counts; those before may arrive for a while.
    pub(super) fn counts(&self) {
        let mut values = self.values.0.lock().unwrap();
        let last = values.len() - 1;
        values.iter_mut().take(last).for_each(|(_, retired)| *retired = retired.or(Some(Instant::now())));
    }

    /// Requests that arrived with a credential that counts.
    pub(super) fn injected(&self) -> u64 {
        self.injected.load(Ordering::Relaxed)
    }

    /// Their paths.
    pub(super) fn paths(&self) -> BTreeSet<String> {
        self.paths.lock().unwrap().clone()
    }

    pub(super) fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap().clone()
    }

    fn fault(&self, text: String) {
        self.faults.lock().unwrap().push(text);
    }

    fn judge(&self, path: &str, put: &[String]) {
        let values = self.values.0.lock().unwrap();
        let found = values.iter().find(|(value, _)| put == [value.as_str()]);
        match found {
            None => self.fault(format!("{path}: no credential, or a wrong one")),
            Some((_, Some(retired))) if retired.elapsed() > STALE => {
                self.fault(format!("{path}: a secret that was rotated {:?} ago", retired.elapsed()));
            }
            Some(_) => {
                self.injected.fetch_add(1, Ordering::Relaxed);
                self.paths.lock().unwrap().insert(path.to_owned());
            }
        }
    }

    /// An origin that judges what arrives.
    pub(super) async fn origin(self: &Arc<Self>) -> Origin {
        let own = Arc::clone(self);
        let answer = answer::made(move |seen| {
            let put: Vec<String> =
                seen.headers_named("authorization").iter().map(|one| (*one).to_owned()).collect();
            own.judge(&seen.target, &put);
            Response::new(answer::full("done"))
        });
        Origin::builder(&[HOST]).answer(answer).start().await
    }
}

/// Where the agents of one sidecar find it. It changes when the sidecar is killed and started again.
pub(super) struct Door {
    at: Mutex<(SocketAddr, String, String)>,
    /// How often it was killed.
    kills: AtomicU64,
    down: AtomicBool,
}

impl Door {
    pub(super) fn of(sidecar: &Following) -> Arc<Self> {
        let door =
            Self { at: Mutex::new(place(sidecar)), kills: AtomicU64::new(0), down: AtomicBool::new(false) };
        Arc::new(door)
    }

    /// The sidecar is about to be killed: what is under way there is nobody's fault.
    pub(super) fn close(&self) {
        self.down.store(true, Ordering::SeqCst);
        self.kills.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn open(&self, sidecar: &Following) {
        *self.at.lock().unwrap() = place(sidecar);
        self.down.store(false, Ordering::SeqCst);
    }
}

fn place(sidecar: &Following) -> (SocketAddr, String, String) {
    (sidecar.proxy.address(), sidecar.proxy.ca_pem(), STANDARD.encode(format!("agent:{}", sidecar.token)))
}

/// Agents at work; they end with this.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    lanes: JoinSet<()>,
    begun: Instant,
    before: u64,
}

impl Load {
    /// So many requests in a second, through these doors.
    pub(super) fn start(doors: &[Arc<Door>], tally: &Arc<Tally>, rate: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut lanes = JoinSet::new();
        let all = u64::try_from(doors.len()).unwrap() * LANES;
        for (number, door) in doors.iter().enumerate() {
            for lane in 0..LANES {
                let name = format!("/s{number}/l{lane}");
                let pace = Duration::from_secs_f64(all as f64 / rate as f64);
                lanes.spawn(run(Arc::clone(door), Arc::clone(tally), Arc::clone(&stop), name, pace));
            }
        }
        Self { stop, lanes, begun: Instant::now(), before: tally.injected() }
    }

    /// Lets what is under way end; requests in a second, as they were reached.
    pub(super) async fn end(mut self, tally: &Tally) -> f64 {
        self.stop.store(true, Ordering::SeqCst);
        let rate = (tally.injected() - self.before) as f64 / self.begun.elapsed().as_secs_f64();
        while let Some(ended) = self.lanes.join_next().await {
            ended.unwrap();
        }
        rate
    }
}

async fn run(door: Arc<Door>, tally: Arc<Tally>, stop: Arc<AtomicBool>, name: String, pace: Duration) {
    let mut ticks = tokio::time::interval(pace);
    let (mut sender, mut kills) = (None, 0);
    let mut number = 0_u64;
    while !stop.load(Ordering::SeqCst) {
        ticks.tick().await;
        let now = door.kills.load(Ordering::SeqCst);
        if door.down.load(Ordering::SeqCst) {
            sender = None;
            continue;
        }
        if kills != now {
            (sender, kills) = (None, now);
        }
        number += 1;
        let path = format!("{name}/{number}");
        let asked = ask(&door, &mut sender, &path).await;
        let was_killed = door.kills.load(Ordering::SeqCst) != kills;
        match asked {
            Ok((200, _)) => {}
            Ok((status, body)) => tally.fault(format!("{path}: {status} {body}")),
            Err(_) if was_killed => sender = None,
            Err(why) => {
                tally.fault(format!("{path}: {why}"));
                sender = None;
            }
        }
    }
}

type Sender = SendRequest<Empty<Bytes>>;
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// One request over the tunnel that is kept, or a fresh one.
async fn ask(door: &Door, kept: &mut Option<Sender>, path: &str) -> Result<(u16, String), Failed> {
    let sender = match kept {
        Some(sender) if !sender.is_closed() => sender,
        _ => kept.insert(tunnel(door).await?),
    };
    sender.ready().await?;
    let request = Request::get(path).header("host", HOST).body(Empty::new())?;
    let asking = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await?
}

async fn tunnel(door: &Door) -> Result<Sender, Failed> {
    let (address, ca, proof) = door.at.lock().unwrap().clone();
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let head = format!(
        "CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\nProxy-Authorization: Basic {proof}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err(String::from_utf8_lossy(&answer).into_owned().into());
    }
    let config = harness::ca::client_config(&ca, &["http/1.1"], rustls::DEFAULT_VERSIONS);
    let name = ServerName::try_from(HOST)?;
    let tls = tokio_rustls::TlsConnector::from(config).connect(name, stream).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
