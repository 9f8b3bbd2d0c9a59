//! `doorward proxy`: the sidecar. Its flags are a contract (CLI.md); each has a `DOORWARD_…` variable.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use control::audit::{Destination, Durability};
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
use crate::limits::Limits;
use crate::listen::Listen;
use crate::loader::Sources;
use crate::process::{self, Confinement, Programs, SelfCheck};
use crate::request::inject::subject::Private;
use crate::upstream::corporate::CorporateProxy;
use crate::upstream::guard::Addresses;
use crate::watch::Watched;

/// The flags of `doorward proxy`.
#[derive(Args, Clone, Debug)]
pub struct Proxy {
    /// Where agents connect: an address with its port, unix:PATH, or uid:ADDR on loopback for clients that can send no token
    /// (repeatable).
    #[arg(
        long,
        env = "DOORWARD_LISTEN",
        value_name = "ADDR",
        value_delimiter = ',',
        default_value = "127.0.0.1:3128"
    )]
    pub listen: Vec<String>,
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
    /// The control server (comes with the server release).
    #[arg(long, env = "DOORWARD_CONTROL", value_name = "URL")]
    pub control: Option<String>,
    /// Worker threads; default: the cores, at most 4.
    #[arg(long, env = "DOORWARD_WORKERS", value_name = "N")]
    pub workers: Option<usize>,
    /// The agents and their tokens; required off loopback.
    #[arg(long, env = "DOORWARD_AGENT_TOKEN_FILE", value_name = "FILE")]
    pub agent_token_file: Option<PathBuf>,
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
        let home = home(env)?;
        home.prepare().map_err(error)?;
        let folder = |path: &PathBuf| {
            path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
        };
        let audits = home.audit_dir();
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&audits);
        made.map_err(|cause| error(format!("{}: {cause}", audits.display())))?;
        let budgets = folder(&home.budgets_file());
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&budgets);
        made.map_err(|cause| error(format!("{}: {cause}", budgets.display())))?;
        let mut write = vec![audits, budgets];
        for dir in self.publish.iter().chain(&self.ca_dir) {
            std::fs::create_dir_all(dir).map_err(|cause| error(format!("{}: {cause}", dir.display())))?;
            write.push(dir.clone());
        }
        let sockets = self.listen.iter().filter_map(|listen| listen.strip_prefix("unix:")).map(PathBuf::from);
        write.extend(sockets.map(|path| folder(&path)));
        let audit = self.audit.iter().filter(|path| path.as_os_str() != "-");
        write.extend(audit.chain(&self.ready_file).map(folder));
        write.push(folder(&self.vault.vault.clone().unwrap_or_else(|| home.vault_db())));
        let mut read = vec![home.providers_dir(), folder(&home.master_key())];
        read.extend(self.providers.iter().flat_map(|path| [path.clone(), folder(path)]));
        read.extend(self.secrets.iter().cloned());
        let files = [
            &self.agent_token_file,
            &self.upstream_proxy_file,
            &self.vault.master_key_file,
            &self.vault.passphrase_file,
        ];
        read.extend(files.into_iter().flatten().chain(&self.upstream_ca).map(folder));
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
            if self.vault.master_key_command.is_some() { Programs::Allowed } else { Programs::Refused };
        Ok(Confinement { read, write, programs })
    }

    fn settings(self, env: &Env, limits: Limits, selfcheck: SelfCheck) -> Result<Settings, Failure> {
        if self.control.is_some() {
            return Err(usage("--control: the control server comes with a later release"));
        }
        if self.workers == Some(0) {
            return Err(usage("--workers takes a number from 1"));
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let listen: Result<Vec<Listen>, _> =
            self.listen.iter().map(|one| one.parse().map_err(usage)).collect();
        Ok(Settings {
            listen: listen?,
            admin: self.admin,
            workers: self.workers.unwrap_or(cores.min(WORKERS_MOST)),
            ca_dir: self.ca_dir.clone(),
            // Absolute: the agent reads `agent.env` from a folder of its own.
            publish: self.publish.as_ref().map(std::path::absolute).transpose().map_err(error)?,
            corporate: corporate(self.upstream_proxy.as_deref(), self.upstream_proxy_file.as_deref())?,
            addresses: self.addresses()?,
            budgets: home(env)?.budgets_file(),
            audit: self.audit(env)?,
            durability: self.audit_durability,
            selfcheck,
            limits,
            ready_file: self.ready_file.clone(),
            private: self.private(env)?,
            sources: self.sources(env)?,
        })
    }

    /// What the proxy lives on: its home, its secrets, and the folders of its keys.
    fn private(&self, env: &Env) -> Result<Private, Failure> {
        let home = home(env)?;
        let files = [
            &self.agent_token_file,
            &self.upstream_proxy_file,
            &self.vault.master_key_file,
            &self.vault.passphrase_file,
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
        own.extend(self.secrets.iter().chain(&self.ca_dir).chain(&self.publish).cloned());
        own.extend(files.into_iter().flatten().filter_map(around));
        Ok(Private::of(own))
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
                let home = home(env)?;
                home.prepare().map_err(error)?;
                Destination::Directory(home.audit_dir())
            }
        })
    }

    /// The secrets directory first, then the vault; without either, the home's own vault if there is one.
    fn sources(self, env: &Env) -> Result<Sources, Failure> {
        let mut sources: Vec<Arc<dyn Source>> = Vec::new();
        let mut vault_paths = Vec::new();
        if let Some(dir) = &self.secrets {
            if !dir.is_dir() {
                return Err(usage(format!("--secrets {}: there is no such folder", dir.display())));
            }
            sources.push(Arc::new(Directory::new(dir)));
            vault_paths.push(Watched::Tree(dir.clone()));
        }
        let home = home(env)?;
        let file = match (&self.vault.vault, &self.secrets) {
            (Some(file), _) => Some(file.clone()),
            (None, None) => Some(home.vault_db()).filter(|file| file.exists()),
            (None, Some(_)) => None,
        };
        if let Some(file) = file {
            sources.push(super::vault::open(&self.vault, env)?);
            vault_paths.push(Watched::File(file));
        }
        let providers = match self.providers.as_slice() {
            [] => Some(home.providers_dir()).filter(|dir| dir.is_dir()).into_iter().collect(),
            given => given.to_vec(),
        };
        Ok(Sources {
            providers,
            projects: ProjectFolders::new(self.pinned_below, home),
            token_file: self.agent_token_file,
            upstream_ca: self.upstream_ca,
            vault: Arc::new(Vault::new(sources, OffsetDateTime::now_utc)),
            vault_paths,
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

fn home(env: &Env) -> Result<Home, Failure> {
    Home::find(env).map_err(error)
}

fn usage(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, why.to_string())
}

fn error(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Error, why.to_string())
}
