//! The commands that need the data plane or certificates: one file each. `main` joins them with those of `control`.

pub mod proxy;
pub mod server;
pub mod following;
pub mod listening;
pub mod run;
pub mod demo;
pub mod connect;
pub mod environment;
pub mod inject;
pub mod trust;
pub mod doctor;
pub mod health;
pub mod completion;
pub mod man;
pub mod version;
pub(crate) mod sidecar;
pub(crate) mod through;
pub(crate) mod folder;
pub(crate) mod logging;
pub(crate) mod vault;

use std::path::Path;
use std::sync::Arc;

use clap::Subcommand;
use control::cli::{Away, Browser, Came, Env, Exit, Failure};

/// The settings of a TLS client that trusts the system's roots and those of a file.
///
/// # Errors
/// The file holds no certificates.
pub fn trusting(more: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, String> {
    let more: Vec<&Path> = more.into_iter().collect();
    let roots = certs::Roots::system().with_extra(&more).map_err(|error| error.to_string())?;
    let builder = rustls::ClientConfig::builder_with_provider(certs::crypto::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots.store()).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Sends a person's browser to the page of a login, and waits until it comes back.
///
/// # Errors
/// No code came, or one of another login.
pub fn browse(
    env: &Env,
    browser: Browser,
    page: &mut dyn FnMut(&Away<'_>) -> Result<String, Failure>,
) -> Result<Came, Failure> {
    connect::browse(env, browser, page)
}

/// The commands of the data plane.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the sidecar proxy.
    Proxy(Box<proxy::Proxy>),
    /// Run the vault and its control API for a team.
    Server(Box<server::Server>),
    /// Run a program whose requests get their credentials from a proxy that ends with it.
    Run(Box<run::Run>),
    /// Show the whole journey with a vault, a proxy, an origin and an agent of its own; nothing leaves this machine.
    Demo(demo::Demo),
    /// Make a secret and its provider, and see that the credential works, in one step.
    Connect(Box<connect::Connect>),
    /// Print the environment of an agent, as a running proxy publishes it.
    Env(environment::Environment),
    /// Put the sidecar into Kubernetes workloads.
    Inject(Box<inject::Inject>),
    /// Hand out or look at the CA that agents trust.
    #[command(subcommand)]
    Trust(trust::Trust),
    /// Look for what would go wrong: clients, variables, CA, vault, process (exit 7 where something would).
    Doctor(Box<doctor::Doctor>),
    /// Ask a proxy whether it is ready (exit 0) or not (exit 7).
    Health(health::Health),
    /// Print the completion script of a shell.
    Completion(completion::Completion),
    /// Print manual pages, for man(1).
    Man(man::Man),
    /// Show the version.
    Version(version::Version),
    /// The demo's agent where there is no curl.
    #[command(hide = true)]
    DemoClient(demo::client::Client),
}

impl Command {
    /// Whether it starts an agent, which must not inherit our own limits; such a command reads no stored secret.
    pub fn is_launcher(&self) -> bool {
        // `connect` hardens itself when its browser runs.
        let opens_browser = matches!(self, Self::Connect(command) if command.opens_browser());
        opens_browser || matches!(self, Self::Run(_) | Self::Demo(_))
    }

    /// Runs it; `line` is the whole command line's grammar.
    pub fn run(self, env: &Env, line: clap::Command) -> Result<Exit, Failure> {
        match self {
            Self::Proxy(command) => command.run(env),
            Self::Server(command) => command.run(env),
            Self::Run(command) => command.run(env),
            Self::Demo(command) => command.run(env),
            Self::Connect(command) => command.run(env),
            Self::Env(command) => command.run(env),
            Self::Inject(command) => command.run(env),
            Self::Trust(command) => command.run(env),
            Self::Doctor(command) => command.run(env),
            Self::Health(command) => command.run(env),
            Self::Completion(command) => command.run(env, line),
            Self::Man(command) => command.run(env, line),
            Self::Version(command) => command.run(env),
            Self::DemoClient(command) => command.run(env),
        }
    }
}
