//! Wires a proxy: binds everything, then starts; ends by draining.
//!
//! The main thread is the control loop (signals, reloads, the admin port); each worker is a thread with a runtime of its
//! own. Nothing here reads the environment: `main` does, and hands over [`Settings`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use certs::Authority;
use control::audit::{Destination, Durability, Options, Sink};
use control::refusal::Code;
use sd_notify::NotifyState;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::admin::{self, Health};
use crate::conn::base_url;
use crate::limits::{self, Limits};
use crate::listen::{Bound, Listen};
use crate::loader::{Loader, Sources};
use crate::plan::Plan;
use crate::process::SelfCheck;
use crate::publish::{self, Doorway, Own, Readers};
use crate::request::inject::subject::Private;
use crate::request::model::budget::Budgets;
use crate::upstream::Upstream;
use crate::upstream::corporate::CorporateProxy;
use crate::upstream::guard::Addresses;
use crate::watch::Watcher;
use crate::worker::{self, Shared, Worker};

/// What a proxy is started with: the flags of `doorward proxy`, read and checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: Vec<Listen>,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) workers: usize,
    pub(crate) sources: Sources,
    pub(crate) ca_dir: Option<PathBuf>,
    pub(crate) publish: Option<PathBuf>,
    pub(crate) corporate: Option<CorporateProxy>,
    pub(crate) addresses: Addresses,
    /// Where the tokens of the day are kept.
    pub(crate) budgets: PathBuf,
    pub(crate) audit: Destination,
    pub(crate) durability: Durability,
    pub(crate) limits: Limits,
    /// What the process did to itself at start.
    pub(crate) selfcheck: SelfCheck,
    pub(crate) ready_file: Option<PathBuf>,
    /// What no subject token is read from.
    pub(crate) private: Private,
}

/// Why a proxy did not start. Each names what, where and how to fix.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The files are not all right; every mistake, a line each.
    #[error("{} {}\n{}", Code::Dw6001, Code::Dw6001.entry().title, .0.join("\n"))]
    Files(Vec<String>),
    /// The CA could not be loaded or made.
    #[error("the CA in `{}` cannot be used: {cause}", .dir.display())]
    Authority { dir: PathBuf, cause: certs::Error },
    /// TLS could not be set up.
    #[error("tls cannot be set up: {0}")]
    Tls(#[from] certs::Error),
    /// A listener could not be bound.
    #[error("cannot listen on {0}: {1}")]
    Bind(String, String),
    /// A file could not be written.
    #[error("cannot write `{}`: {cause}", .path.display())]
    Write { path: PathBuf, cause: std::io::Error },
    /// The audit could not be opened.
    #[error("cannot open the audit: {0}")]
    Audit(String),
    /// The system refused a thread, a runtime or a signal handler.
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
    /// A worker ended by itself, which is a bug: the rest of it would serve ever fewer connections.
    #[error("a worker ended unexpectedly, the log says why; the proxy was shut down")]
    Worker,
}

/// What the workers are told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Order {
    /// Rises when they have to look at their connections again: a new plan, an expired token.
    pub(crate) look: u64,
    /// Stop accepting, finish what is in flight until this instant.
    pub(crate) drain: Option<Instant>,
}

/// Runs a proxy until it is told to end.
pub(crate) fn run(settings: Settings) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let mut proxy = Proxy::start(settings).await?;
        let ended = proxy.control(&mut signals).await;
        proxy.drain(&mut signals).await;
        ended
    })
}

/// A proxy that serves.
struct Proxy {
    shared: Arc<Shared>,
    health: Arc<Health>,
    loader: Loader,
    watcher: Watcher,
    orders: watch::Sender<Order>,
    workers: Vec<JoinHandle<()>>,
    /// Hears of a worker's end.
    ended: mpsc::Receiver<()>,
    bound: Bound,
    published: Published,
}

impl Proxy {
    /// Reads, binds and opens everything, then starts; nothing is left running where something is wrong.
    async fn start(settings: Settings) -> Result<Self, StartError> {
        let limits = Arc::new(settings.limits.clone());
        let authority = Arc::new(authority(settings.ca_dir.as_deref())?);
        // The watcher first: what changes while we load is seen afterwards.
        let mut watcher = Watcher::new(settings.sources.watched())?;
        let has_tokens = settings.sources.token_file.is_some();
        let audit = open_audit(&settings, &limits)?;
        let mut loader = Loader::new(settings.sources, &limits);
        let loaded = loader.load(None).await.map_err(StartError::Files)?;
        watcher.follow(loader.named());
        let bound = Bound::bind(&settings.listen, has_tokens)?;
        let admin = settings.admin.map(admin::bind).transpose()?;
        let admin_address = admin.as_ref().map(|admin| admin.address);
        let budgets = Budgets::new(Some(settings.budgets), SystemTime::now);
        let shared =
            Arc::new(Shared::new(loaded.plan, limits, audit, &authority, budgets, settings.private)?);
        let health = Arc::new(Health::new(Arc::clone(&shared), loaded.degraded, settings.selfcheck));
        let own = bound.tcp_addresses().chain(admin_address).collect();
        let addresses = Arc::new(settings.addresses.with_own(own));
        let corporate = settings.corporate.map(Arc::new);
        let (orders, _) = watch::channel(Order::default());
        let (ends, ended) = mpsc::channel(1);
        let mut workers = Vec::new();
        for _ in 0..settings.workers {
            let upstream =
                Upstream::new(Arc::clone(&addresses), corporate.clone(), Arc::clone(&shared.limits));
            let worker = Worker::new(Arc::clone(&shared), upstream);
            let orders = orders.subscribe();
            let serving = move |listeners| worker::serve(worker, listeners, orders);
            workers.push(bound.start_worker(serving, ends.clone()).await?);
        }
        if let Some(admin) = admin {
            tokio::spawn(admin.serve(Arc::clone(&health)));
        }
        let published = Published::new(settings.publish, settings.ready_file, &bound);
        published.write(&authority, &loader, &shared.plan.load())?;
        shared.audit.lifecycle("started", shared.plan.load().revision);
        tracing::info!(listeners = ?bound.names(), "serving");
        published.ready(&bound, admin_address)?;
        tell_systemd(NotifyState::Ready);
        Ok(Self { shared, health, loader, watcher, orders, workers, ended, bound, published })
    }

    /// Reloads as files change, until the process is told to end, or has to.
    async fn control(&mut self, signals: &mut Signals) -> Result<(), StartError> {
        loop {
            let expiry = self.shared.plan.load().next_expiry(SystemTime::now());
            tokio::select! {
                _ = signals.term.recv() => return Ok(()),
                _ = signals.int.recv() => return Ok(()),
                _ = self.ended.recv() => return Err(StartError::Worker),
                _ = signals.hup.recv() => {
                    if let Err(error) = self.shared.audit.reopen().await {
                        tracing::error!(error = %crate::plan::chain(&error), "audit not reopened");
                    }
                    self.reload().await;
                }
                () = self.watcher.changed() => self.reload().await,
                () = self.shared.budgets.due() => self.shared.budgets.write(),
                () = sleep_until(expiry) => self.tell(),
            }
        }
    }

    /// A new plan, or the old one and a report of what is wrong.
    async fn reload(&mut self) {
        let current = self.shared.plan.load_full();
        let loaded = self.loader.load(Some(&current)).await;
        self.watcher.follow(self.loader.named());
        match loaded {
            Err(mistakes) => {
                self.health.reload_failed(mistakes);
                if let Some(plan) = self.loader.refresh(&current).await {
                    tracing::info!(revision = plan.revision, "tokens and secrets reloaded");
                    self.shared.audit.lifecycle("reloaded", plan.revision);
                    self.swap(&current, plan);
                    self.health.swapped();
                    self.tell();
                }
            }
            Ok(loaded) if loaded.plan.is_same(&current) => self.health.reloaded(loaded.degraded),
            Ok(loaded) => {
                let revision = loaded.plan.revision;
                self.swap(&current, loaded.plan);
                self.health.reloaded(loaded.degraded);
                self.shared.metrics.reloads.inc();
                self.shared.audit.lifecycle("reloaded", revision);
                self.tell();
                if let Err(error) = self.published.write_env(&self.loader, &self.shared.plan.load()) {
                    tracing::error!(%error, "environment not published");
                }
                tracing::info!(revision, "plan reloaded");
            }
        }
    }

    fn swap(&self, current: &Plan, plan: Plan) {
        let plan = Arc::new(plan);
        self.shared.plan.store(Arc::clone(&plan));
        current.drop_tokens(&plan);
        plan.forget_older(&self.shared.incidents);
    }

    /// Has every worker look at its connections again.
    fn tell(&self) {
        self.orders.send_modify(|order| order.look += 1);
    }

    /// Stops accepting, lets what is in flight finish, and ends; a second signal ends at once. Files are followed to the
    /// end: an agent that is revoked during the drain loses its streams as at other times.
    async fn drain(mut self, signals: &mut Signals) {
        self.health.drain();
        self.shared.draining.store(true, Ordering::Relaxed);
        tracing::info!("draining");
        tell_systemd(NotifyState::Stopping);
        let deadline = Instant::now() + limits::time(self.shared.limits.drain);
        self.orders.send_modify(|order| order.drain = Some(deadline));
        // The workers hold clones of the sockets and close them; these are the last.
        drop(std::mem::take(&mut self.bound));
        let workers = std::mem::take(&mut self.workers);
        let mut joined = tokio::task::spawn_blocking(move || {
            for worker in workers {
                if worker.join().is_err() {
                    tracing::error!("a worker panicked");
                }
            }
        });
        loop {
            let expiry = self.shared.plan.load().next_expiry(SystemTime::now());
            tokio::select! {
                _ = &mut joined => break,
                () = signals.ended() => self.orders.send_modify(|order| order.drain = Some(Instant::now())),
                () = self.watcher.changed() => self.reload().await,
                () = self.shared.budgets.due() => self.shared.budgets.write(),
                () = sleep_until(expiry) => self.tell(),
            }
        }
        self.shared.budgets.write();
        self.published.remove();
        self.shared.audit.lifecycle("stopped", self.shared.plan.load().revision);
        if self.shared.audit.close().await.is_err() {
            tracing::error!("the audit's last lines could not be written");
        }
    }
}

async fn sleep_until(when: Option<SystemTime>) {
    match when.map(|when| when.duration_since(SystemTime::now()).unwrap_or_default()) {
        Some(wait) => tokio::time::sleep(wait + Duration::from_millis(1)).await,
        None => std::future::pending().await,
    }
}

/// What is written for agents and for whoever started us.
#[derive(Debug)]
struct Published {
    /// The directory, and what agents are told in it.
    doorway: Option<(PathBuf, Doorway)>,
    /// Where agents send their token.
    address: Option<SocketAddr>,
    /// Where none is asked for, since the listener knows its peer.
    knowing: Option<SocketAddr>,
    ready_file: Option<PathBuf>,
}

/// The ready file (CLI.md).
#[derive(Serialize)]
struct Ready {
    proxy: Option<String>,
    listeners: Vec<String>,
    admin: Option<String>,
    ca: Option<PathBuf>,
    ca_bundle: Option<PathBuf>,
    pid: u32,
}

impl Published {
    fn new(dir: Option<PathBuf>, ready_file: Option<PathBuf>, bound: &Bound) -> Self {
        let address = bound.proxy_address();
        let doorway = dir.map(|dir| {
            let doorway = Doorway {
                address: address.map(|address| address.to_string()),
                ca: dir.join("ca.crt"),
                bundle: dir.join("ca-bundle.crt"),
                truststore: dir.join("truststore.p12"),
            };
            (dir, doorway)
        });
        Self { doorway, address, knowing: bound.knowing_address(), ready_file }
    }

    fn write(&self, authority: &Authority, loader: &Loader, plan: &Plan) -> Result<(), StartError> {
        let Some((dir, doorway)) = &self.doorway else { return Ok(()) };
        std::fs::create_dir_all(dir).map_err(|cause| StartError::Write { path: dir.clone(), cause })?;
        let bundle = certs::trust::combined_bundle(authority, loader.system_roots());
        put(&doorway.ca, authority.certificate_pem().as_bytes(), Readers::All)?;
        put(&doorway.bundle, bundle.as_bytes(), Readers::All)?;
        // Java can do nothing with it where it would have to send a token.
        if plan.agents.is_none() || self.knowing.is_some() {
            let store = certs::trust::java_truststore_of(&doorway.bundle, bundle.as_bytes())?;
            put(&doorway.truststore, &store, Readers::All)?;
        }
        self.write_env(loader, plan)
    }

    /// One file for each agent, with its own token and the dummies of its providers.
    fn write_env(&self, loader: &Loader, plan: &Plan) -> Result<(), StartError> {
        let Some((dir, doorway)) = &self.doorway else { return Ok(()) };
        let tokens = loader.tokens().map_err(StartError::Files)?;
        let names = plan.agent_names();
        for name in &names {
            let asks_nothing = match &plan.agents {
                None => self.address.or(self.knowing),
                Some(agents) => self.knowing.filter(|_| agents.has_uid(name)),
            };
            let dummies =
                plan.routes.providers_of(name).flat_map(|provider| provider.agent_env.iter().cloned());
            let mut dummies: Vec<_> = dummies.collect();
            for file in plan.routes.providers_of(name).filter_map(|provider| provider.agent_file()) {
                let path = match &file.folder {
                    None => dir.join(&file.name),
                    Some(folder) => publish::folder(&dir.join(folder))
                        .map_err(|cause| StartError::Write { path: dir.join(folder), cause })?,
                };
                let at = if file.folder.is_some() { path.join(&file.name) } else { path.clone() };
                put(&at, file.text.as_bytes(), Readers::All)?;
                dummies.push((file.variable.to_owned(), path.display().to_string()));
            }
            // Where a token is asked for, the vendor's own host is the way: no client sends both token and key.
            if let Some(address) = asks_nothing {
                let own = plan.routes.providers_of(name);
                dummies.extend(base_url::variables(own, &dummies, &address.to_string()));
            }
            let own = Own {
                token: tokens.iter().find(|(agent, _)| agent == name).map(|(_, token)| token),
                asks_nothing,
                dummies,
            };
            let env = zeroize::Zeroizing::new(publish::dotenv(&publish::agent_env(doorway, &own)));
            put(&publish::env_file(dir, name, names.len() == 1), env.as_bytes(), Readers::Owner)?;
        }
        publish::remove_stale(dir, doorway, &names)
            .map_err(|cause| StartError::Write { path: dir.clone(), cause })
    }

    /// Says that everything serves, last of all.
    fn ready(&self, bound: &Bound, admin: Option<SocketAddr>) -> Result<(), StartError> {
        let Some(path) = &self.ready_file else { return Ok(()) };
        let doorway = self.doorway.as_ref().map(|(_, doorway)| doorway);
        let ready = Ready {
            proxy: bound.proxy_address().map(|address| format!("http://{address}")),
            listeners: bound.names(),
            admin: admin.map(|address| format!("http://{address}")),
            ca: doorway.map(|doorway| doorway.ca.clone()),
            ca_bundle: doorway.map(|doorway| doorway.bundle.clone()),
            pid: std::process::id(),
        };
        let text = serde_json::to_vec(&ready).map_err(std::io::Error::other)?;
        put(path, &text, Readers::All)
    }

    /// Nobody should find a proxy that is gone.
    fn remove(&self) {
        if let Some(path) = &self.ready_file
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, "ready file not removed");
        }
    }
}

fn put(path: &std::path::Path, bytes: &[u8], readers: Readers) -> Result<(), StartError> {
    publish::write(path, bytes, readers).map_err(|cause| StartError::Write { path: path.to_owned(), cause })
}

/// Tells whoever supervises us, if anybody asked for it (`NOTIFY_SOCKET`, sd_notify(3)).
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd not told");
    }
}

fn authority(dir: Option<&std::path::Path>) -> Result<Authority, StartError> {
    match dir {
        None => Ok(Authority::generate(SystemTime::now())?),
        Some(dir) => Authority::load_or_create(dir, SystemTime::now())
            .map_err(|cause| StartError::Authority { dir: dir.to_owned(), cause }),
    }
}

fn open_audit(settings: &Settings, limits: &Limits) -> Result<Sink, StartError> {
    let options = Options {
        destination: settings.audit.clone(),
        durability: settings.durability,
        capacity: limits::count(limits.audit_ring),
        clock: SystemTime::now,
    };
    Sink::start(&options).map_err(|error| StartError::Audit(crate::plan::chain(&error)))
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn ended(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
