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
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::admin::{self, Health};
use crate::asker::Asker;
use crate::follow::{self, ControlUrl, Following, Heard, NoSnapshot, Server};
use crate::limits::{self, Limits};
use crate::listen::certified::{Certificate, Certified, Unusable};
use crate::listen::{Bound, Listen};
use crate::loader::{Loader, Sources};
use crate::plan::Plan;
use crate::process::SelfCheck;
use crate::process::supervisor::Supervisor;
use crate::published::Published;
use crate::request::inject::subject::Private;
use crate::request::model::budget::Budgets;
use crate::upstream::Upstream;
use crate::upstream::corporate::CorporateProxy;
use crate::upstream::guard::{Addresses, Guard};
use crate::watch::{Watched, Watcher};
use crate::worker::{self, Shared, Worker};

/// What a proxy is started with: the flags of `doorward proxy`, read and checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: Vec<Listen>,
    /// Of the `tls:` listeners among them.
    pub(crate) certificate: Option<Certificate>,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) workers: usize,
    pub(crate) sources: Sources,
    pub(crate) ca_dir: Option<PathBuf>,
    pub(crate) publish: Option<PathBuf>,
    pub(crate) corporate: Option<CorporateProxy>,
    pub(crate) addresses: Addresses,
    /// Where it is kept what people are asked, without a control server; `None`: nowhere.
    pub(crate) asks: Option<PathBuf>,
    /// Where the tokens of the day are kept; `None`: nowhere.
    pub(crate) budgets: Option<PathBuf>,
    pub(crate) audit: Destination,
    pub(crate) durability: Durability,
    pub(crate) limits: Limits,
    /// The control server, and how it is verified.
    pub(crate) control: Option<(ControlUrl, Arc<rustls::ClientConfig>)>,
    /// Who is told when it serves and when it ends.
    pub(crate) supervisor: Supervisor,
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
    /// The certificate of `tls:` listeners.
    #[error("tls: {0}")]
    Certificate(#[from] Unusable),
    /// A file could not be written.
    #[error("cannot write `{}`: {cause}", .path.display())]
    Write { path: PathBuf, cause: std::io::Error },
    /// The audit could not be opened.
    #[error("cannot open the audit: {0}")]
    Audit(String),
    /// The system refused a thread, a runtime or a signal handler.
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
    /// The control server gave nothing.
    #[error("DW5002 the control server: {0}")]
    Control(#[from] NoSnapshot),
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
        let mut proxy = tokio::select! {
            proxy = Proxy::start(settings) => proxy?,
            () = signals.ended() => return Ok(()),
        };
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
    certified: Option<Arc<Certified>>,
    published: Published,
    supervisor: Supervisor,
    following: Option<Following>,
    /// Which secrets the agent itself is given, as the audit was told last.
    exposed: Vec<String>,
}

impl Proxy {
    /// Reads, binds and opens everything, then starts; nothing is left running where something is wrong.
    async fn start(mut settings: Settings) -> Result<Self, StartError> {
        let limits = Arc::new(settings.limits.clone());
        let authority = Arc::new(authority(settings.ca_dir.as_deref())?);
        // The watcher first: what changes while we load is seen afterwards.
        let certificate = settings.certificate.iter().flat_map(Certificate::files);
        let certificate = certificate.map(|file| Watched::File(file.clone()));
        let mut watcher = Watcher::new(settings.sources.watched().into_iter().chain(certificate).collect())?;
        let certified = settings.certificate.take().map(|own| Certified::new(own, &authority)).transpose()?;
        let certified = certified.map(Arc::new);
        let has_tokens = settings.sources.has_tokens();
        let audit = open_audit(&settings, &limits)?;
        let mut following = follow(&mut settings, &limits, &audit).await?;
        let mut loader = Loader::new(settings.sources, &limits);
        if let Some(following) = &mut following {
            following.begin();
        }
        let loaded = loader.load(None).await.map_err(StartError::Files)?;
        watcher.follow(loader.named());
        let bound = Bound::bind(&settings.listen, has_tokens, certified.as_ref())?;
        let admin = settings.admin.map(admin::bind).transpose()?;
        let admin_address = admin.as_ref().map(|admin| admin.address);
        let budgets = Budgets::new(settings.budgets, SystemTime::now);
        let asker = match &following {
            Some(following) => Asker::Server(following.asker().map_err(NoSnapshot::from)?),
            None => Asker::file(settings.asks),
        };
        let shared =
            Arc::new(Shared::new(loaded.plan, limits, audit, asker, &authority, budgets, settings.private)?);
        let followed = following.as_ref().map(Following::told);
        let health =
            Arc::new(Health::new(Arc::clone(&shared), loaded.degraded, settings.selfcheck, followed));
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
        settings.supervisor.ready();
        if let Some(following) = &following {
            following.applied();
        }
        let exposed = Vec::new();
        let mut own = Self {
            shared,
            health,
            loader,
            watcher,
            orders,
            workers,
            ended,
            bound,
            certified,
            published,
            supervisor: settings.supervisor,
            following,
            exposed,
        };
        own.tell_exposed();
        Ok(own)
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
                heard = follow::heard(&mut self.following) => self.heard(heard).await,
                () = self.shared.budgets.due() => self.shared.budgets.write(),
                () = sleep_until(expiry) => self.tell(),
            }
        }
    }

    /// What the control server says, or says no more.
    async fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Change => {
                self.reload().await;
                // Of variables that the agent is given the plan knows nothing.
                self.write_env();
                self.tell_exposed();
            }
            Heard::Silence => {
                tracing::error!(code = %Code::Dw5002, "the control server has been silent for longer than is allowed");
                self.shared.audit.lifecycle("control server silent", self.shared.plan.load().revision);
                // What lives by what it gave ends, and values that it had the agent itself given are published no more.
                self.tell();
                self.write_env();
            }
        }
    }

    fn write_env(&self) {
        if let Err(error) = self.published.write_env(&self.loader, &self.shared.plan.load()) {
            tracing::error!(%error, "environment not published");
        }
    }

    /// The audit says which secrets the agent itself is given, as that changes.
    fn tell_exposed(&mut self) {
        let exposed = self.loader.exposed();
        let named = exposed.iter().filter_map(|one| Some((one.secret.as_ref()?, &one.variable)));
        let told: Vec<String> = named
            .map(|(secret, variable)| format!("secret {secret} exposed to the agent as {variable}"))
            .collect();
        if self.exposed != told {
            let revision = self.shared.plan.load().revision;
            told.iter().for_each(|reason| self.shared.audit.lifecycle(reason.clone(), revision));
            self.exposed = told;
        }
    }

    /// A new plan, or the old one and a report of what is wrong.
    async fn reload(&mut self) {
        self.renew();
        let current = self.shared.plan.load_full();
        if let Some(following) = &mut self.following {
            following.begin();
        }
        let loaded = self.loader.load(Some(&current)).await;
        let is_whole = loaded.is_ok();
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
        if let Some(following) = self.following.as_ref().filter(|_| is_whole) {
            following.applied();
        }
    }

    /// The certificate of `tls:` listeners, where its files have changed.
    fn renew(&self) {
        match self.certified.as_ref().map(|certified| certified.reread(SystemTime::now())) {
            None | Some(Ok(false)) => {}
            Some(Ok(true)) => {
                tracing::info!("the certificate of tls: listeners was read again");
                let revision = self.shared.plan.load().revision;
                self.shared.audit.lifecycle("listener certificate renewed", revision);
            }
            Some(Err(error)) => {
                tracing::error!(%error, "the new certificate of tls: listeners cannot be used; the one before goes on");
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
        self.supervisor.stopping();
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
                heard = follow::heard(&mut self.following) => self.heard(heard).await,
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

fn authority(dir: Option<&std::path::Path>) -> Result<Authority, StartError> {
    match dir {
        None => Ok(Authority::generate(SystemTime::now())?),
        Some(dir) => Authority::load_or_create(dir, SystemTime::now())
            .map_err(|cause| StartError::Authority { dir: dir.to_owned(), cause }),
    }
}

/// Starts to follow the control server, where there is one, and waits for what it says first.
async fn follow(
    settings: &mut Settings,
    limits: &Arc<Limits>,
    audit: &Sink,
) -> Result<Option<Following>, StartError> {
    let (Some((url, tls)), Some(control)) = (settings.control.take(), &settings.sources.control) else {
        return Ok(None);
    };
    let addresses = Addresses { overrides: settings.addresses.overrides.clone(), ..Addresses::default() };
    let guard = Guard::new(Arc::new(addresses), Arc::clone(limits));
    let what = (Arc::clone(&control.followed), Arc::clone(&control.shown));
    let audit = (audit, limits.audit_spool);
    Ok(Some(Following::start(Server { url, tls, guard }, what, audit).await?))
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
