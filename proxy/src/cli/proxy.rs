//! `doorward proxy`: the sidecar. Its flags are a contract (CLI.md); each has a `DOORWARD_…` variable.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use control::audit::{Destination, Durability};
use control::cli::asks::AsksArgs;
use control::cli::vault::VaultArgs;
use control::cli::{Env, Exit, Failure};
use control::config::Home;
use control::keyfile::external::is_folder_of_tokens;
use control::project::ProjectFolders;
use control::provider::covers_only_metadata;
use control::vault::directory::Directory;
use control::vault::{Source, Vault};
use ipnet::IpNet;
use time::OffsetDateTime;

use crate::app::{self, Settings};
use crate::cli::following::ControlArgs;
use crate::cli::listening::ListenArgs;
use crate::limits::Limits;
use crate::loader::{AgentProof, Control, Sources};
use crate::process::supervisor::Supervisor;
use crate::process::{self, Confinement, Programs, SelfCheck};
use crate::request::inject::subject::Private;
use crate::upstream::corporate::CorporateProxy;
use crate::upstream::guard::Addresses;
use crate::watch::Watched;

/// The flags of `doorward proxy`.
#[derive(Args, Clone, Debug)]
pub struct Proxy {
    /// Where agents connect.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// Where /livez, /readyz and /metrics are answered.
    #[arg(long, env = "DOORWARD_ADMIN", value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// Provider files, or folders of them (repeatable).
    #[arg(long, env = "DOORWARD_PROVIDERS", value_name = "PATH", value_delimiter = ',')]
    pub providers: Vec<PathBuf>,
    /// A project folder: provider files below it are used only as `doorward allow` has pinned them (repeatable).
    #[arg(long, hide = true, value_name = "DIR")]
    pub pinned_below: Vec<PathBuf>,
    /// A folder of secrets, as Kubernetes or compose mounts it.
    #[arg(long, env = "DOORWARD_SECRETS", value_name = "DIR")]
    pub secrets: Option<PathBuf>,
    /// A local vault and its master key.
    #[command(flatten)]
    pub vault: VaultArgs,
    /// A control server that is followed.
    #[command(flatten)]
    pub control: ControlArgs,
    /// Worker threads; default: the cores, at most 4.
    #[arg(long, env = "DOORWARD_WORKERS", value_name = "N")]
    pub workers: Option<usize>,
    /// The agents and their tokens; required off loopback.
    #[arg(long, env = "DOORWARD_AGENT_TOKEN_FILE", value_name = "FILE")]
    pub agent_token_file: Option<PathBuf>,
    /// Whoever reaches a listener on loopback is the agent of the control server, and shows no token: for pods, whose loopback nobody
    /// else reaches.
    #[arg(long, env = "DOORWARD_NO_AGENT_TOKEN", requires = "control", conflicts_with = "agent_token_file")]
    pub no_agent_token: bool,
    /// Where the CA is kept (ca.crt, ca.key); without it the CA lives in memory.
    #[arg(long, env = "DOORWARD_CA_DIR", value_name = "DIR")]
    pub ca_dir: Option<PathBuf>,
    /// Where ca.crt, ca-bundle.crt and agent.env are written for the agents.
    #[arg(long, env = "DOORWARD_PUBLISH", value_name = "DIR")]
    pub publish: Option<PathBuf>,
    /// Extra roots for upstreams, PEM (repeatable).
    #[arg(long, env = "DOORWARD_UPSTREAM_CA", value_name = "FILE", value_delimiter = ',')]
    pub upstream_ca: Vec<PathBuf>,
    /// A corporate proxy: http://user:pass@host:port.
    #[arg(long, env = "DOORWARD_UPSTREAM_PROXY", value_name = "URL", hide_env_values = true)]
    pub upstream_proxy: Option<String>,
    /// The same from a file, so that its password is not in argv.
    #[arg(
        long,
        env = "DOORWARD_UPSTREAM_PROXY_FILE",
        value_name = "FILE",
        conflicts_with = "upstream_proxy"
    )]
    pub upstream_proxy_file: Option<PathBuf>,
    /// `HOST:PORT:ADDR[:PORT]` instead of DNS (repeatable).
    #[arg(long, env = "DOORWARD_RESOLVE", value_name = "HOST:PORT:ADDR[:PORT]", value_delimiter = ',')]
    pub resolve: Vec<String>,
    /// A private range that upstreams may be in (repeatable).
    #[arg(long, env = "DOORWARD_ALLOW_CIDR", value_name = "CIDR", value_delimiter = ',')]
    pub allow_cidr: Vec<IpNet>,
    /// Where audit lines go: a file, or - for stdout.
    #[arg(long, env = "DOORWARD_AUDIT", value_name = "FILE")]
    pub audit: Option<PathBuf>,
    /// When an audit line is safe.
    #[arg(long, env = "DOORWARD_AUDIT_DURABILITY", value_enum, default_value = "batch")]
    pub audit_durability: Durability,
    /// Where it is kept what people are asked.
    #[command(flatten)]
    pub asks: AsksArgs,
    /// What is logged, in tracing's syntax.
    #[arg(long, env = "DOORWARD_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// How it is logged.
    #[arg(long, env = "DOORWARD_LOG_FORMAT", value_enum, default_value = "auto")]
    pub log_format: LogFormat,
    /// A limit, NAME=VALUE (repeatable).
    #[arg(long, env = "DOORWARD_LIMIT", value_name = "NAME=VALUE", value_delimiter = ',')]
    pub limit: Vec<String>,
    /// Show every limit and exit.
    #[arg(long)]
    pub print_limits: bool,
    /// How long what is in flight may take at SIGTERM.
    #[arg(long, env = "DOORWARD_DRAIN", value_name = "TIME")]
    pub drain: Option<String>,
    /// Written when everything serves.
    #[arg(long, env = "DOORWARD_READY_FILE", value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// End as at SIGTERM when whoever started us ends, however it ends.
    #[arg(long, hide = true)]
    pub end_with_parent: bool,
}

/// How operators' logs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

/// Most workers that pay: a sidecar has one or two cores, and each worker has an upstream pool of its own.
const WORKERS_MOST: usize = 4;

impl Proxy {
    /// Runs a proxy until it is told to end.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let limits = self.limits()?;
        if self.print_limits {
            env.output.data(limits.print().trim_end());
            return Ok(Exit::Ok);
        }
        super::logging::start(&self.log, self.log_format)?;
        if self.end_with_parent {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
                .map_err(error)?;
        }
        let mut selfcheck = process::harden();
        // Before the vault is opened: Landlock holds for this thread and those that it starts.
        process::confine(&mut selfcheck, &self.confinement(env)?);
        tracing::info!(%selfcheck, "process measures");
        let settings = self.settings(env, limits, selfcheck)?;
        app::run(settings).map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
        Ok(Exit::Ok)
    }

    fn limits(&self) -> Result<Limits, Failure> {
        let mut limits = Limits::default();
        for setting in &self.limit {
            limits.set(setting).map_err(usage)?;
        }
        if let Some(drain) = &self.drain {
            limits.set(&format!("drain={drain}")).map_err(usage)?;
        }
        Ok(limits)
    }

    /// What has to be read and written from now on. Folders that are still to be made are made here.
    fn confinement(&self, env: &Env) -> Result<Confinement, Failure> {
        let home = self.home(env)?;
        // Where the audit goes elsewhere, the file system may be one that nothing can be written to.
        let prepared = home.prepare();
        let is_bare = prepared.is_err() && !self.needs_home();
        if !is_bare {
            prepared.map_err(error)?;
        }
        let folder = |path: &PathBuf| {
            path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
        };
        let mut write = vec![home.audit_dir(), folder(&home.budgets_file()), folder(&home.asks_db())];
        if is_bare {
            write.clear();
        }
        for dir in &write {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(|cause| error(format!("{}: {cause}", dir.display())))?;
        }
        for dir in self.publish.iter().chain(&self.ca_dir) {
            std::fs::create_dir_all(dir).map_err(|cause| error(format!("{}: {cause}", dir.display())))?;
            write.push(dir.clone());
        }
        write.extend(self.listen.sockets().map(|path| folder(&path)));
        let audit = self.audit.iter().filter(|path| path.as_os_str() != "-");
        write.extend(audit.chain(&self.ready_file).chain(&self.asks.asks).map(folder));
        let own_vault = (!is_bare).then(|| home.vault_db());
        write.extend(self.vault.vault.clone().or(own_vault).as_ref().map(folder));
        let mut read = vec![home.providers_dir(), folder(&home.master_key())];
        read.extend(self.providers.iter().flat_map(|path| [path.clone(), folder(path)]));
        read.extend(self.secrets.iter().cloned());
        let files = [
            &self.agent_token_file,
            &self.upstream_proxy_file,
            &self.vault.key.master_key_file,
            &self.vault.key.passphrase_file,
        ];
        read.extend(
            files
                .into_iter()
                .flatten()
                .chain(&self.upstream_ca)
                .chain(self.control.files())
                .chain(self.listen.files())
                .map(folder),
        );
        read.extend(self.vault.key.service_files(env).iter().map(folder));
        // Roots that provider files name may lie anywhere; mistakes in the files are reported when they are loaded.
        if let Ok(files) = control::provider::load_allowed(
            &self.providers,
            crate::schemes::specs(),
            &ProjectFolders::new(self.pinned_below.clone(), home).gate(),
        ) {
            read.extend(
                files
                    .providers
                    .iter()
                    .filter_map(|provider| provider.upstream.extra_roots.as_ref())
                    .map(folder),
            );
            let injections =
                files.providers.iter().flat_map(|one| &one.auth).flat_map(|auth| &auth.injections);
            let subjects = injections.filter_map(|one| one.fields.text("subjectTokenFile"));
            // A link could lead to all there is.
            let narrow =
                |folder: &PathBuf| folder.canonicalize().is_ok_and(|folder| is_folder_of_tokens(&folder));
            read.extend(subjects.map(|file| folder(&PathBuf::from(file))).filter(narrow));
        }
        read.retain(|path| path.exists());
        let programs =
            if self.vault.key.master_key_command.is_some() { Programs::Allowed } else { Programs::Refused };
        Ok(Confinement { read, write, programs })
    }

    fn settings(self, env: &Env, limits: Limits, selfcheck: SelfCheck) -> Result<Settings, Failure> {
        if self.workers == Some(0) {
            return Err(usage("--workers takes a number from 1"));
        }
        let (control, given) = self.control.open()?.unzip();
        let proof = if self.no_agent_token { AgentProof::Place } else { AgentProof::Token };
        let given = given.map(|given| Control { proof, ..given });
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (listen, certificate) = self.listen.listeners()?;
        Ok(Settings {
            listen,
            certificate,
            admin: self.admin,
            workers: self.workers.unwrap_or(cores.min(WORKERS_MOST)),
            ca_dir: self.ca_dir.clone(),
            // Absolute: the agent reads `agent.env` from a folder of its own.
            publish: self.publish.as_ref().map(std::path::absolute).transpose().map_err(error)?,
            corporate: corporate(self.upstream_proxy.as_deref(), self.upstream_proxy_file.as_deref())?,
            addresses: self.addresses()?,
            budgets: Some(self.home(env)?.budgets_file())
                .filter(|file| self.needs_home() || file.parent().is_some_and(Path::is_dir)),
            asks: self.asks_file(env)?,
            audit: self.audit(env)?,
            durability: self.audit_durability,
            selfcheck,
            limits,
            ready_file: self.ready_file.clone(),
            supervisor: Supervisor::of(env),
            private: self.private(env)?,
            control,
            sources: self.sources(env, given)?,
        })
    }

    /// What the proxy lives on: its home, its secrets, and the folders of its keys.
    fn private(&self, env: &Env) -> Result<Private, Failure> {
        let home = self.home(env)?;
        let files = [
            &self.agent_token_file,
            &self.upstream_proxy_file,
            &self.vault.key.master_key_file,
            &self.vault.key.passphrase_file,
            &self.vault.vault,
        ];
        // A folder that is all there is would hold the tokens too.
        let around = |file: &PathBuf| {
            let folder = file.canonicalize().ok()?.parent()?.to_owned();
            Some(if is_folder_of_tokens(&folder) { folder } else { file.clone() })
        };
        let mut own = vec![home.config_dir().to_owned(), home.audit_dir()];
        own.extend(home.vault_db().parent().map(Path::to_owned));
        own.extend(home.budgets_file().parent().and_then(Path::parent).map(Path::to_owned));
        own.extend(self.asks.asks.iter().cloned());
        own.extend(self.secrets.iter().chain(&self.ca_dir).chain(&self.publish).cloned());
        let more = self.control.files().chain(self.listen.files());
        own.extend(files.into_iter().flatten().chain(more).filter_map(around));
        Ok(Private::of(own))
    }

    /// Where it is kept what people are asked; `None`: at the control server, or nowhere, so that nothing that asks is let
    /// through.
    fn asks_file(&self, env: &Env) -> Result<Option<PathBuf>, Failure> {
        let own =
            || Ok(Some(self.home(env)?.asks_db()).filter(|file| file.parent().is_some_and(Path::is_dir)));
        match &self.asks.asks {
            _ if self.control.control.is_some() => Ok(None),
            Some(file) => Ok(Some(file.clone())),
            None => own(),
        }
    }

    /// Whether something has to be kept in the installation's folders.
    fn needs_home(&self) -> bool {
        self.control.control.is_none() && self.audit.is_none()
    }

    /// The folders of the installation. A sidecar that is told where everything goes needs none.
    fn home(&self, env: &Env) -> Result<Home, Failure> {
        match Home::find(env) {
            Err(_) if !self.needs_home() => Ok(Home::under(Path::new("/var/lib/doorward"))),
            found => found.map_err(error),
        }
    }

    fn addresses(&self) -> Result<Addresses, Failure> {
        if let Some(cidr) = self.allow_cidr.iter().find(|cidr| covers_only_metadata(cidr)) {
            return Err(usage(format!("--allow-cidr {cidr}: cloud metadata can never be reached")));
        }
        let mut addresses = Addresses { allowed: self.allow_cidr.clone(), ..Addresses::default() };
        for text in &self.resolve {
            addresses.overrides.add(text).map_err(usage)?;
        }
        Ok(addresses)
    }

    fn audit(&self, env: &Env) -> Result<Destination, Failure> {
        Ok(match &self.audit {
            Some(path) if path.as_os_str() == "-" => Destination::Stdout,
            Some(path) => Destination::File(path.clone()),
            None => {
                let home = self.home(env)?;
                home.prepare()
                    .map_err(|cause| error(format!("{cause}; give --audit FILE, or --audit - for stdout")))?;
                Destination::Directory(home.audit_dir())
            }
        })
    }

    /// The control server first, then the secrets directory, then the vault; without any, the home's own vault if there is one.
    fn sources(self, env: &Env, control: Option<Control>) -> Result<Sources, Failure> {
        // The server first: what it gave under a name is not to be had elsewhere, whatever becomes of it.
        let followed = control.iter().map(|control| Arc::clone(&control.followed) as Arc<dyn Source>);
        let mut sources: Vec<Arc<dyn Source>> = followed.collect();
        let mut vault_paths = Vec::new();
        if let Some(dir) = &self.secrets {
            if !dir.is_dir() {
                return Err(usage(format!("--secrets {}: there is no such folder", dir.display())));
            }
            sources.push(Arc::new(Directory::new(dir)));
            vault_paths.push(Watched::Tree(dir.clone()));
        }
        let home = self.home(env)?;
        let file = match (&self.vault.vault, &self.secrets) {
            (Some(file), _) => Some(file.clone()),
            (None, None) => Some(home.vault_db()).filter(|file| control.is_none() && file.exists()),
            (None, Some(_)) => None,
        };
        if let Some(file) = file {
            sources.push(super::vault::open(&self.vault, env)?);
            vault_paths.push(Watched::File(file));
        }
        let providers = match self.providers.as_slice() {
            [] => Some(home.providers_dir())
                .filter(|dir| control.is_none() && dir.is_dir())
                .into_iter()
                .collect(),
            given => given.to_vec(),
        };
        Ok(Sources {
            providers,
            projects: ProjectFolders::new(self.pinned_below, home),
            token_file: self.agent_token_file,
            upstream_ca: self.upstream_ca,
            vault: Arc::new(Vault::new(sources, OffsetDateTime::now_utc)),
            vault_paths,
            control,
        })
    }
}

/// The corporate proxy of a URL, or of one in a file.
pub(super) fn corporate(url: Option<&str>, file: Option<&Path>) -> Result<Option<CorporateProxy>, Failure> {
    let text = match (url, file) {
        (Some(url), _) => zeroize::Zeroizing::new(url.to_owned()),
        (None, Some(file)) => zeroize::Zeroizing::new(
            std::fs::read_to_string(file).map_err(|error| usage(format!("{}: {error}", file.display())))?,
        ),
        (None, None) => return Ok(None),
    };
    CorporateProxy::parse(text.trim()).map(Some).map_err(usage)
}

fn usage(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, why.to_string())
}

fn error(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Error, why.to_string())
}
