//! `doorward server`: the vault and its control API for a team. Each flag has a `DOORWARD_…` variable.
//!
//! Hardened as the sidecar is. Off loopback it listens with TLS alone. The first start makes the root token, in a file of
//! the owner's; `doorward server init` does so without serving.

mod clients;
mod kubernetes;
mod oidc;
mod tls;
mod upkeep;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use control::api::install::{self, Root};
use control::api::serve::{self, Bound, Listen};
use control::api::{Ground, Limits, Names};
use control::cli::vault::KeyArgs;
use control::cli::{Env, Exit, Failure};
use control::config::Home;
use control::database::{Database, DatabaseUrl};
use control::registry::Registry;
use control::vault::local::LocalVault;
use control::vault::master::MasterError;
use control::vault::store::Store;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::proxy::LogFormat;
use crate::process::supervisor::Supervisor;
use crate::process::{self, Confinement, Programs};
use crate::publish::{self, Readers};

/// How long following other processes' writes rests after a failure.
const FOLLOW_AGAIN: Duration = Duration::from_secs(1);

/// Threads that serve: one that is busy keeps no other call, and no signal, waiting.
const THREADS_MAX: usize = 4;
/// Threads for what takes its time: checks of documents, key commands.
const BLOCKING_MAX: usize = 16;

/// The flags of `doorward server`.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Server {
    #[command(subcommand)]
    first: Option<First>,
    #[command(flatten)]
    place: Place,
    /// Where clients connect: an address with its port, or unix:PATH for this user and root (repeatable).
    #[arg(
        long,
        env = "DOORWARD_SERVER_LISTEN",
        value_name = "ADDR",
        value_delimiter = ',',
        default_value = "127.0.0.1:3130"
    )]
    listen: Vec<String>,
    /// Another name or address that clients call the server by (repeatable).
    #[arg(long, env = "DOORWARD_SERVER_HOST", value_name = "NAME", value_delimiter = ',')]
    host: Vec<String>,
    /// The server's certificate chain, PEM.
    #[arg(long, env = "DOORWARD_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, env = "DOORWARD_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Sign a certificate for the server's own names, with a CA that is kept in its data folder.
    #[arg(long, env = "DOORWARD_SELF_SIGNED", conflicts_with = "tls_cert")]
    self_signed: bool,
    /// Let sidecars in by certificates (X.509-SVIDs) of these authorities, PEM; read again when it changes.
    #[arg(long, env = "DOORWARD_CLIENT_CA", value_name = "FILE")]
    client_ca: Option<PathBuf>,
    #[command(flatten)]
    kubernetes: kubernetes::KubernetesArgs,
    #[command(flatten)]
    oidc: oidc::OidcArgs,
    /// Where /livez, /readyz and /metrics are answered.
    #[arg(long, env = "DOORWARD_ADMIN", value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// What is logged, in tracing's syntax.
    #[arg(long, env = "DOORWARD_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
    /// How it is logged.
    #[arg(long, env = "DOORWARD_LOG_FORMAT", value_enum, default_value = "auto")]
    log_format: LogFormat,
    /// A limit, NAME=VALUE (repeatable).
    #[arg(long, env = "DOORWARD_SERVER_LIMIT", value_name = "NAME=VALUE", value_delimiter = ',')]
    limit: Vec<String>,
    /// How long audit records are kept, as `90d`; without it, for ever.
    #[arg(long, env = "DOORWARD_AUDIT_KEEP", value_name = "TIME")]
    audit_keep: Option<String>,
    /// Show every limit and exit.
    #[arg(long)]
    print_limits: bool,
    /// How many seconds calls in flight may take at SIGTERM.
    #[arg(long, env = "DOORWARD_DRAIN", value_name = "TIME")]
    drain: Option<String>,
    /// Written when everything serves.
    #[arg(long, env = "DOORWARD_READY_FILE", value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// What is done before the first start.
#[derive(Subcommand, Clone, Debug)]
enum First {
    /// Make the database, the master key and the root token, and exit.
    Init(Init),
}

/// The flags of `doorward server init`.
#[derive(Args, Clone, Debug)]
struct Init {
    #[command(flatten)]
    place: Place,
    /// End the root token that there is, and make another one.
    #[arg(long)]
    replace: bool,
}

/// Where the server keeps its things.
#[derive(Args, Clone, Debug)]
struct Place {
    /// The database: sqlite:PATH or postgres://USER@HOST/NAME; default: server.db in the data folder.
    #[arg(long, env = "DOORWARD_DATABASE", value_name = "URL", hide_env_values = true)]
    database: Option<String>,
    /// The same from a file, so that a password in it is not in argv.
    #[arg(long, env = "DOORWARD_DATABASE_FILE", value_name = "FILE", conflicts_with = "database")]
    database_file: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    /// Where the root token is written, once; default: root.token in the configuration folder.
    #[arg(long, env = "DOORWARD_ROOT_TOKEN_FILE", value_name = "FILE")]
    root_token_file: Option<PathBuf>,
}

impl Server {
    /// Serves until it is told to end.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        if let Some(First::Init(init)) = self.first {
            return init.run(env);
        }
        let limits = self.limits()?;
        if self.print_limits {
            env.output.data(limits.print().trim_end());
            return Ok(Exit::Ok);
        }
        super::logging::start(&self.log, self.log_format)?;
        let home = home(env)?;
        home.prepare().map_err(error)?;
        let mut selfcheck = process::harden();
        // Before the master key is read: Landlock holds for this thread and those that it starts.
        process::confine(&mut selfcheck, &self.confinement(env, &home));
        tracing::info!(%selfcheck, "process measures");
        // Started after the measures above, which hold for these threads, too.
        let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, THREADS_MAX);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(BLOCKING_MAX)
            .enable_all()
            .build()
            .map_err(error)?;
        runtime.block_on(self.serve(env, &home, limits))?;
        Ok(Exit::Ok)
    }

    fn limits(&self) -> Result<Limits, Failure> {
        let mut limits = Limits::default();
        for setting in &self.limit {
            limits.set(setting).map_err(usage)?;
        }
        if let Some(drain) = &self.drain {
            let seconds = drain.strip_suffix('s').unwrap_or(drain);
            limits.set(&format!("drain-seconds={seconds}")).map_err(usage)?;
        }
        Ok(limits)
    }

    fn confinement(&self, env: &Env, home: &Home) -> Confinement {
        let folder = |path: &Path| match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            Some(dir) => dir.to_owned(),
            None => PathBuf::from("."),
        };
        let url = self.place.database.as_deref().unwrap_or_default();
        let database = url.strip_prefix("sqlite:").map(PathBuf::from).unwrap_or_else(|| home.server_db());
        let mut write = vec![folder(&database), folder(&home.server_db()), home.config_dir().to_owned()];
        write.extend(self.place.root_token_file.iter().chain(&self.ready_file).map(|path| folder(path)));
        let sockets = self.listen.iter().filter_map(|one| one.strip_prefix("unix:"));
        write.extend(sockets.map(|path| folder(Path::new(path))));
        let key = &self.place.key;
        let files = [
            &self.tls_cert,
            &self.tls_key,
            &self.client_ca,
            &key.master_key_file,
            &key.passphrase_file,
            &self.place.database_file,
        ];
        let mut read: Vec<PathBuf> = files.into_iter().flatten().map(|path| folder(path)).collect();
        read.extend(self.oidc.files().map(|path| folder(path)));
        read.extend(self.kubernetes.files().map(|path| folder(&path)));
        // A key that is made with the database is written.
        write.extend(key.master_key_file.iter().map(|path| folder(path)));
        read.extend(key.service_files(env).iter().map(|path| folder(path)));
        read.retain(|path| path.exists());
        write.retain(|path| path.exists());
        let programs = if key.master_key_command.is_some() { Programs::Allowed } else { Programs::Refused };
        Confinement { read, write, programs }
    }

    async fn serve(self, env: &Env, home: &Home, limits: Limits) -> Result<(), Failure> {
        let listen: Result<Vec<Listen>, _> =
            self.listen.iter().map(|one| Listen::from_str(one).map_err(usage)).collect();
        let keep = self.audit_keep.as_deref().map(upkeep::term).transpose()?;
        let opened = self.place.open(env, home).await?;
        if install::is_new(opened.registry.as_ref()).await.map_err(error)? {
            let file = self.place.root_token_file(home);
            match install::install(opened.registry.as_ref(), &file, Root::Keep, now()).await {
                Ok(()) => tracing::info!(file = %file.display(), "the root token was written"),
                Err(install::InstallError::Installed) => tracing::info!("another server made the root token"),
                Err(why) => return Err(error(why)),
            }
        }
        let is_tls = self.self_signed || self.tls_cert.is_some();
        let bound = Bound::bind(&listen?, is_tls).await.map_err(error)?;
        let admin = match self.admin {
            Some(address) => Some(Bound::admin(address).await.map_err(error)?),
            None => None,
        };
        let tls = self.tls(home, &bound)?;
        let oidc = self.oidc.issuer(env)?.map(Arc::new);
        let reviews = self.kubernetes.reviews(env)?.map(Arc::new);
        let supervisor = Supervisor::of(env);
        let (end, ends) = watch::channel(false);
        let registry: Arc<dyn Registry> = opened.registry.clone();
        let surface = Ground {
            registry: Arc::clone(&registry),
            store: opened.store,
            schemes: env.schemes,
            names: Names::new(bound.addresses(), self.host.clone()),
            limits: limits.clone(),
            clock: OffsetDateTime::now_utc,
            oidc,
            reviews,
            ends: ends.clone(),
        }
        .surface(opened.vault.as_ref());
        let mut term = signal(SignalKind::terminate()).map_err(error)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(error)?;
        self.ready(&bound, admin.as_ref(), home)?;
        tracing::info!(listeners = ?bound.urls(), "serving");
        // Locked as well: the passphrase is handed in where it listens.
        supervisor.ready();
        let following = tokio::spawn(follow(Arc::clone(&registry)));
        if let Some(admin) = admin {
            let (router, limits, ends) = (surface.probes(), limits.clone(), ends.clone());
            tokio::spawn(async move { serve::serve(admin, None, router, &limits, ends).await });
        }
        let serving = serve::serve(bound, tls, surface.router(), &limits, ends);
        let terms = upkeep::Terms::new(&limits, keep);
        let keeping = tokio::spawn(async move { upkeep::keep(surface.chains().await, terms).await });
        let ending = async {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("draining");
            supervisor.stopping();
            // Nobody serves any more if nobody listens to this.
            end.send_replace(true);
            // A second signal ends it at once.
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        tokio::select! {
            () = serving => {}
            () = ending => {}
        }
        following.abort();
        keeping.abort();
        if let Some(path) = &self.ready_file
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, "ready file not removed");
        }
        Ok(())
    }

    fn tls(&self, home: &Home, bound: &Bound) -> Result<Option<serve::Tls>, Failure> {
        let clients = self.client_ca.as_deref().map(clients::Clients::new).transpose();
        let clients = clients.map_err(|why| error(format!("--client-ca {why}")))?;
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            return tls::from_files(certificate, key, clients).map(Some);
        }
        if !self.self_signed {
            if clients.is_some() {
                return Err(usage("--client-ca needs TLS: --tls-cert and --tls-key, or --self-signed"));
            }
            return Ok(None);
        }
        // Who calls an address sends no name: the first that is an address is for them.
        let given = self.host.iter().map(|name| name.to_ascii_lowercase());
        let addresses = bound.addresses().into_iter().map(|address| address.to_string());
        let known = ["127.0.0.1", "::1", "localhost"].map(str::to_owned);
        let mut names: Vec<String> = addresses.chain(given).chain(known).collect();
        names.sort_by_key(|name| name.trim_matches(['[', ']']).parse::<IpAddr>().is_err());
        tls::self_signed(&home.server_ca_dir(), &names, clients).map(Some)
    }

    fn ready(&self, bound: &Bound, admin: Option<&Bound>, home: &Home) -> Result<(), Failure> {
        let Some(path) = &self.ready_file else { return Ok(()) };
        let urls = bound.urls();
        let ready = Ready {
            api: urls.iter().find(|url| url.starts_with("http")).cloned(),
            admin: admin.and_then(|admin| admin.urls().into_iter().next()),
            ca: self.self_signed.then(|| home.server_ca_dir().join("ca.crt")),
            root_token_file: Some(self.place.root_token_file(home)).filter(|file| file.exists()),
            listeners: urls,
            pid: std::process::id(),
        };
        let text = serde_json::to_vec(&ready).map_err(error)?;
        publish::write(path, &text, Readers::All).map_err(|why| error(format!("{}: {why}", path.display())))
    }
}

/// The ready file.
#[derive(Serialize)]
struct Ready {
    api: Option<String>,
    listeners: Vec<String>,
    admin: Option<String>,
    ca: Option<PathBuf>,
    root_token_file: Option<PathBuf>,
    pid: u32,
}

impl Init {
    fn run(self, env: &Env) -> Result<Exit, Failure> {
        let home = home(env)?;
        home.prepare().map_err(error)?;
        let file = self.place.root_token_file(&home);
        let root = if self.replace { Root::Replace } else { Root::Keep };
        let made = control::cli::vault::block_on(async {
            let opened = self.place.open(env, &home).await?;
            Ok(install::install(opened.registry.as_ref(), &file, root, now()).await)
        });
        match made? {
            Ok(()) => {
                env.output
                    .say(format!("the root token is in {}; keep it where few can read it", file.display()));
                Ok(Exit::Ok)
            }
            Err(why @ install::InstallError::Installed) => Err(Failure::new(Exit::Conflict, why.to_string())),
            Err(why) => Err(error(why)),
        }
    }
}

/// The database, unlocked.
struct Opened {
    registry: Arc<Database>,
    store: Arc<dyn Store>,
    /// `None`: locked, its passphrase was not given.
    vault: Option<LocalVault>,
}

impl Place {
    async fn open(&self, env: &Env, home: &Home) -> Result<Opened, Failure> {
        let url = match (&self.database, &self.database_file) {
            (Some(url), _) => DatabaseUrl::from_str(url.trim()),
            (None, Some(file)) => DatabaseUrl::read(file),
            (None, None) => Ok(DatabaseUrl::sqlite(home.server_db())),
        };
        let url = url.map_err(|why| usage(format!("--database: {why}")))?;
        let registry = Arc::new(Database::open(&url).await?);
        let store: Arc<dyn Store> = Arc::<Database>::clone(&registry);
        let source = self.key.source(env)?;
        let vault = match LocalVault::unlock(Arc::clone(&store), &source, OffsetDateTime::now_utc).await {
            Ok(vault) => Some(vault),
            Err(MasterError::Kind { made_with_passphrase: true }) if self.key.is_unnamed() => None,
            Err(why) => return Err(why.into()),
        };
        Ok(Opened { registry, store, vault })
    }

    fn root_token_file(&self, home: &Home) -> PathBuf {
        self.root_token_file.clone().unwrap_or_else(|| home.root_token())
    }
}

/// Hears of other processes' writes for as long as the server serves.
async fn follow(registry: Arc<dyn Registry>) {
    loop {
        if let Err(error) = registry.follow().await {
            tracing::warn!(%error, "changes of other servers are not heard of now");
        }
        tokio::time::sleep(FOLLOW_AGAIN).await;
    }
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

fn home(env: &Env) -> Result<Home, Failure> {
    Home::find(env).map_err(error)
}

fn usage(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, why.to_string())
}

fn error(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Error, why.to_string())
}
