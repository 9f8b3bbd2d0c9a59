//! Following the control server: the snapshot of this sidecar's agent and every change of it, and what is said back.
//!
//! Refuses servers that do not verify, snapshots that do not authenticate, and everything once the server has been silent for
//! longer than `--max-stale` (DW5002). A server that says that the agent is gone takes everything from it at once. Nothing is
//! written to disk.

pub(crate) mod asks;
mod back_off;
mod lines;
mod link;
mod reader;
mod ship;
mod shown;
mod url;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use control::audit::Sink;
use control::refusal::Code;
use control::sync::lease::Lease;
use control::sync::seal::SealError;
use control::sync::source::Followed;
use control::sync::wire;
use http::HeaderValue;
use http_body_util::Full;
use hyper::client::conn::http2;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

pub(crate) use link::Server;
pub(crate) use shown::{CertificateFiles, Shown, TokenFile};
pub(crate) use url::ControlUrl;

use back_off::BackOff;
use link::{Caller, Parted};

/// How long the first snapshot is waited for.
const FIRST: Duration = Duration::from_secs(30);
/// How often it is looked whether the server has been silent for too long.
const LOOK: Duration = Duration::from_millis(500);

/// How long what was given for a token that ended is used, where there is another one that the server was not shown yet.
const REVOKED: Duration = Duration::from_secs(5);

/// How the following goes, for readiness and metrics.
#[derive(Debug, Default)]
pub(crate) struct Status {
    connected: AtomicBool,
    /// The revision of the last snapshot that came.
    pub(crate) revision: AtomicU64,
    /// The revision of the snapshot that is in force.
    pub(crate) applied: AtomicU64,
    pub(crate) connections: AtomicU64,
    /// Bytes of the audit that the server does not have.
    pub(crate) unshipped: AtomicU64,
    /// Why the last connection ended or could not be made.
    trouble: Mutex<Option<Arc<str>>>,
}

impl Status {
    /// Whether the stream stands.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Why not, where it does not.
    pub(crate) fn trouble(&self) -> Option<Arc<str>> {
        self.trouble.lock().clone()
    }

    fn up(&self) {
        self.connected.store(true, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::Relaxed);
        *self.trouble.lock() = None;
    }

    fn down(&self, why: &Parted) {
        self.connected.store(false, Ordering::Relaxed);
        *self.trouble.lock() = Some(why.to_string().into());
    }
}

/// What the tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) followed: Arc<Followed>,
    pub(crate) shown: Arc<Shown>,
    pub(crate) status: Arc<Status>,
    /// What this process is known by at the server, however often it connects.
    id: HeaderValue,
    /// Rises with each snapshot and with a revocation.
    told: watch::Sender<u64>,
    /// The revision that is to be acknowledged.
    acks: watch::Receiver<u64>,
    /// Questions that were decided.
    decided: broadcast::Sender<asks::Decided>,
    /// The stream's connection, where it takes other calls too.
    h2: Mutex<Option<http2::SendRequest<Full<Bytes>>>>,
}

impl Shared {
    fn tell(&self) {
        self.told.send_modify(|told| *told += 1);
    }
}

/// The task that follows, as the process's control loop sees it.
#[derive(Debug)]
pub(crate) struct Following {
    pub(crate) status: Arc<Status>,
    followed: Arc<Followed>,
    told: watch::Receiver<u64>,
    acks: watch::Sender<u64>,
    server: Arc<Server>,
    shared: Arc<Shared>,
    /// The revision that the next plan is made from.
    seen: u64,
    /// It was said that the server has been silent for too long.
    lapsed: bool,
}

/// What the control loop hears of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Another snapshot, or that there is none any more.
    Change,
    /// Nothing, for too long.
    Silence,
}

/// Waits for something to be heard; for ever where no server is followed.
pub(crate) async fn heard(following: &mut Option<Following>) -> Heard {
    match following {
        Some(following) => following.next().await,
        None => std::future::pending().await,
    }
}

/// What readiness tells of the server.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) status: Arc<Status>,
    pub(crate) lease: Lease,
    followed: Arc<Followed>,
}

impl Told {
    /// Whether the end that the server set for the agent has come. Nobody has to be asked for that: it holds also where the
    /// server is away, for as long as nothing else is heard of it.
    pub(crate) fn has_ended(&self, now: SystemTime) -> bool {
        let end = self.followed.held().and_then(|held| held.snapshot().expires);
        let end = end.and_then(|end| u64::try_from(end).ok());
        end.is_some_and(|end| UNIX_EPOCH + Duration::from_secs(end) <= now)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (status, lease) = (&self.status, &self.lease);
        let of = |value: &AtomicU64| value.load(Ordering::Relaxed);
        write!(f, "control: ")?;
        if status.is_connected() {
            write!(f, "connected")?;
        } else {
            write!(f, "not connected")?;
        }
        write!(f, ", revision {}, in force {}", of(&status.revision), of(&status.applied))?;
        match lease.silent() {
            Some(silent) => write!(f, ", heard {} s ago of {} s", silent.as_secs(), lease.life().as_secs())?,
            None => write!(f, ", nothing is held")?,
        }
        if lease.is_over() {
            write!(f, ": {} what it gave is not used", Code::Dw5002)?;
        }
        match status.trouble() {
            Some(trouble) => write!(f, " ({trouble})"),
            None => Ok(()),
        }
    }
}

/// Why there is no first snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoSnapshot {
    #[error(
        "the server does not take what the sidecar shows: its token or identity is unknown, expired or revoked"
    )]
    Refused,
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("no random bytes are to be had")]
    Random,
    #[error("no snapshot within {} s: {why}", FIRST.as_secs())]
    Late { why: String },
}

impl Following {
    /// Starts following, and waits for the first snapshot.
    pub(crate) async fn start(
        server: Server,
        (followed, shown): (Arc<Followed>, Arc<Shown>),
        (audit, spool): (&Sink, u64),
    ) -> Result<Self, NoSnapshot> {
        let (told, changes) = watch::channel(0);
        let (ack, acks) = watch::channel(0);
        let status = Arc::<Status>::default();
        let shared = Arc::new(Shared {
            followed: Arc::clone(&followed),
            shown,
            status: Arc::clone(&status),
            id: id()?,
            told,
            acks,
            decided: asks::decided(),
            h2: Mutex::default(),
        });
        let server = Arc::new(server);
        tokio::spawn(follow(Arc::clone(&server), Arc::clone(&shared)));
        let is_spool = audit.file().is_some_and(|path| ship::is_spool(&path));
        if let Some(files) = if is_spool { audit.kept().await } else { None } {
            tokio::spawn(ship::ship(Caller::new(&server, &shared)?, audit.clone(), files, spool));
        } else {
            tracing::warn!("the audit is no file, so that its lines are not shipped to the control server");
        }
        let mut following =
            Self { status, followed, told: changes, acks: ack, server, shared, seen: 0, lapsed: false };
        match tokio::time::timeout(FIRST, following.told.changed()).await {
            Ok(Ok(())) if following.followed.held().is_some() => Ok(following),
            Ok(_) => Err(NoSnapshot::Refused),
            Err(_) => {
                let why = following.status.trouble().unwrap_or_else(|| "the server does not answer".into());
                Err(NoSnapshot::Late { why: why.to_string() })
            }
        }
    }

    /// For readiness and metrics.
    pub(crate) fn told(&self) -> Told {
        let followed = Arc::clone(&self.followed);
        Told { status: Arc::clone(&self.status), lease: self.lease().clone(), followed }
    }

    /// The way to the server's people.
    pub(crate) fn asker(&self) -> Result<asks::Asker, SealError> {
        Ok(asks::Asker::new(Caller::new(&self.server, &self.shared)?))
    }

    async fn next(&mut self) -> Heard {
        loop {
            let is_over = self.lease().is_over();
            // A server that took everything back is not silent: that is told of as a change.
            if is_over && !self.lapsed && self.followed.held().is_some() {
                self.lapsed = true;
                return Heard::Silence;
            }
            if self.lapsed && !is_over {
                // What was taken away for the silence is there again.
                self.lapsed = false;
                return Heard::Change;
            }
            let left = self.lease().left().max(Duration::from_millis(1));
            let look = if is_over { LOOK } else { left.min(LOOK) };
            match tokio::time::timeout(look, self.told.changed()).await {
                Ok(Ok(())) => return Heard::Change,
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => {}
            }
        }
    }

    /// A plan is about to be made: of which revision.
    pub(crate) fn begin(&mut self) {
        self.told.borrow_and_update();
        self.seen = self.followed.held().map_or(0, |held| held.snapshot().revision);
    }

    /// The plan of that revision is in force.
    pub(crate) fn applied(&self) {
        if self.seen > 0 {
            self.status.applied.store(self.seen, Ordering::Relaxed);
            self.acks.send_replace(self.seen);
        }
    }

    /// How long what the server gave holds.
    pub(crate) fn lease(&self) -> &Lease {
        self.followed.lease()
    }
}

/// A name that no other process has.
fn id() -> Result<HeaderValue, NoSnapshot> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| NoSnapshot::Random)?;
    HeaderValue::try_from(wire::Bytes(bytes).to_string()).map_err(|_| NoSnapshot::Random)
}

/// Follows for as long as the process lives.
async fn follow(server: Arc<Server>, shared: Arc<Shared>) {
    let mut back_off = BackOff::default();
    loop {
        let parted = link::once(&server, &shared, &mut back_off).await;
        if matches!(parted, Parted::Replaced) {
            // Nothing is amiss: what was shown is about to end, and there is the next.
            tracing::info!("showing the control server what has taken the place of what it was shown");
            back_off.reset();
            continue;
        }
        shared.status.down(&parted);
        let has_new_token = shared.shown.refresh();
        if !matches!(parted, Parted::Revoked) {
            tracing::warn!(why = %parted, "not connected with the control server");
        } else if has_new_token {
            // Somebody put another token in the place of the one that ended: what was taken back with that ends as soon as ever.
            shared.followed.lease().shorten(REVOKED);
            back_off.reset();
        } else {
            tracing::error!(
                "the server took everything from this agent: its token or identity is unknown, over or revoked"
            );
            shared.followed.revoke();
            shared.tell();
        }
        tokio::time::sleep(back_off.next(parted.retry_after())).await;
    }
}
