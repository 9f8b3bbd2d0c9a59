//! The commands that need no data plane: one file each. `proxy` joins them with its own into the one binary.
//!
//! Data goes to stdout, everything else to stderr, both through [`Output`]; no format ever prints a secret value.

pub mod output;
pub mod add;
pub mod import;
pub mod get;
pub mod types;
pub mod models;
pub mod rotate;
pub mod clone;
pub mod database;
pub mod key;
pub mod unlock;
pub mod backup;
pub mod delete;
pub mod allow;
pub mod vault;
pub mod values;
pub(crate) mod dotenv;
pub mod listing;
pub(crate) mod when;
pub mod users;
pub mod check;
mod check_body;
pub mod check_leak;
pub mod convert;
pub mod schema;
pub mod explain;
pub mod audit;
pub mod remote;
pub mod objects;
pub mod apply;
mod difference;
pub mod asks;
pub mod attach;
pub mod agents;
pub mod approve;
pub mod cards;
pub mod described;
pub mod members;
pub(crate) mod served;
pub mod token;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};

use crate::catalog::SchemeSpec;
use crate::config::Home;
use crate::secret::Secret;
pub use output::Output;

/// The commands of this crate.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Store a new secret or variable.
    #[command(subcommand, visible_alias = "create")]
    Add(add::Add),
    /// Take over a `.env` file, all or nothing.
    Import(import::Import),
    /// List what is stored; no format shows a secret's value.
    #[command(subcommand)]
    Get(get::Get),
    /// Show everything that is known of one thing.
    #[command(subcommand)]
    Describe(get::Describe),
    /// Give a secret new values.
    #[command(subcommand)]
    Rotate(rotate::Rotate),
    /// Return to the values before the last rotation.
    #[command(subcommand)]
    Rollback(rotate::Rollback),
    /// Copy a secret to another project.
    #[command(subcommand)]
    Clone(clone::Clone),
    /// Rotate the vault's keys.
    #[command(subcommand)]
    Key(key::Key),
    /// Hand its passphrase to a server that was started without it.
    Unlock(unlock::Unlock),
    /// Write everything that the vault holds to an encrypted file.
    Backup(backup::Backup),
    /// Read a backup into a new vault.
    Restore(backup::Restore),
    /// Remove a secret, a variable, or an object of a server.
    #[command(subcommand)]
    Delete(delete::Delete),
    /// Make what a folder of documents says, and remove what it no longer says with `--prune`.
    Apply(apply::Apply),
    /// Say what `apply` would change.
    Diff(apply::Diff),
    /// Give an agent of a server a secret, provider, model provider or variable.
    Attach(attach::Attach),
    /// Take it away again.
    Detach(attach::Detach),
    /// Let something happen that waits for a person.
    #[command(subcommand)]
    Approve(approve::Approve),
    /// Refuse a request that waits for a person.
    #[command(subcommand)]
    Deny(asks::Deny),
    /// End the token of an agent of a server at once.
    #[command(subcommand)]
    Revoke(agents::Revoke),
    /// Change an object of a server.
    #[command(subcommand)]
    Set(members::Set),
    /// Work with a server from now on.
    Login(remote::login::Login),
    /// End the token of a login with the issuer, and forget it.
    Logout(remote::login::Logout),
    /// Choose between servers and the local vault.
    #[command(subcommand)]
    Context(remote::login::Context),
    /// API tokens of a server.
    #[command(subcommand)]
    Token(token::Token),
    /// What the token of the server may do.
    #[command(subcommand)]
    Auth(token::Auth),
    /// Allow a provider file of a project folder, as it is now.
    Allow(allow::Allow),
    /// Rewrite documents of `pai.io/v1` as documents of doorward.
    Convert(convert::Convert),
    /// Check requests, provider files, and what an agent could read, without running anything.
    Check(check::Check),
    /// Print the JSON Schema of a kind of document.
    Schema(schema::Schema),
    /// Say what a code means and what a human can do.
    Explain(explain::Explain),
    /// Read and verify the audit.
    Audit(audit::Audit),
}

impl Command {
    /// Whether a browser is started, which shall inherit no limit of ours.
    pub fn opens_browser(&self) -> bool {
        matches!(self, Self::Login(login) if login.opens_browser())
    }

    /// Runs the command. Makes a runtime where it needs one, so it must not be called on one.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        match self {
            Self::Add(command) => command.run(env),
            Self::Import(command) => command.run(env),
            Self::Get(command) => command.run(env),
            Self::Describe(command) => command.run(env),
            Self::Rotate(command) => command.run(env),
            Self::Rollback(command) => command.run(env),
            Self::Clone(command) => command.run(env),
            Self::Key(command) => command.run(env),
            Self::Unlock(command) => command.run(env),
            Self::Backup(command) => command.run(env),
            Self::Restore(command) => command.run(env),
            Self::Delete(command) => command.run(env),
            Self::Apply(command) => command.run(env),
            Self::Diff(command) => command.run(env),
            Self::Attach(command) => command.run(env),
            Self::Detach(command) => command.run(env),
            Self::Approve(command) => command.run(env),
            Self::Deny(command) => command.run(env),
            Self::Revoke(command) => command.run(env),
            Self::Set(command) => command.run(env),
            Self::Login(command) => command.run(env),
            Self::Logout(command) => command.run(env),
            Self::Context(command) => command.run(env),
            Self::Token(command) => command.run(env),
            Self::Auth(command) => command.run(env),
            Self::Allow(command) => command.run(env),
            Self::Convert(command) => command.run(env),
            Self::Check(command) => command.run(env),
            Self::Schema(command) => command.run(env),
            Self::Explain(command) => command.run(env),
            Self::Audit(command) => {
                let home = Home::find(env).map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
                command.run(env, &home.audit_dir())
            }
        }
    }
}

/// The flags that every command takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Globals {
    /// Keep configuration, data and state under one folder.
    #[arg(long, global = true, env = "DOORWARD_HOME", value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// The project (namespace) to work in.
    #[arg(
        long,
        short = 'n',
        global = true,
        env = "DOORWARD_PROJECT",
        value_name = "NAME",
        alias = "namespace"
    )]
    pub project: Option<String>,
    /// The server to work with, by the name of its login; `local` is the local vault.
    #[arg(long, global = true, env = "DOORWARD_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// How to print what is read.
    #[arg(
        long,
        short = 'o',
        global = true,
        env = "DOORWARD_OUTPUT",
        value_name = "FORMAT",
        default_value = "table"
    )]
    pub output: Format,
    /// Never ask: name the missing flag instead.
    #[arg(long, global = true, env = "DOORWARD_NO_INPUT")]
    pub no_input: bool,
}

/// How data is printed. A command that cannot print a format says so (exit 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names are the values of -o")]
pub enum Format {
    #[default]
    Table,
    Wide,
    Json,
    Yaml,
    Name,
    Jsonl,
    Sh,
    Dotenv,
    Docker,
    Pem,
    Bundle,
    Java,
}

/// What a command may use of the world around it: environment, flags, schemes, output. Read once in `main`.
#[derive(Debug)]
pub struct Env {
    /// The process environment at start.
    pub vars: BTreeMap<OsString, OsString>,
    /// The flags that every command takes.
    pub globals: Globals,
    /// The auth schemes of the data plane, as data.
    pub schemes: &'static [&'static SchemeSpec],
    /// Where to print.
    pub output: Output,
    /// How a server is trusted: the system's roots, and those of a file.
    pub tls: Tls,
    /// How a person's browser is sent somewhere, and comes back.
    pub browse: Browse,
}

/// Makes the settings of a TLS client that trusts the system's roots and those of a file. Certificates are the business of
/// another crate, which `main` knows.
pub type Tls = fn(Option<&Path>) -> Result<Arc<rustls::ClientConfig>, String>;

/// For whoever calls no server.
///
/// # Errors
/// Always.
pub fn no_tls(_: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, String> {
    Err("this command calls no server".to_owned())
}

/// Sends a person's browser to a page, whose address is made of what this login is, and waits until it comes back. Browsers,
/// and what they may inherit, are the business of another crate, which `main` knows.
pub type Browse =
    fn(&Env, Browser, &mut dyn FnMut(&Away<'_>) -> Result<String, Failure>) -> Result<Came, Failure>;

/// Which browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Browser {
    /// The one of this machine, which is opened.
    Opened,
    /// Any; the person pastes the address that it ended at.
    Pasted,
}

/// One login, as the page is told of it.
#[derive(Debug)]
pub struct Away<'a> {
    /// Where the browser is to come back to.
    pub redirect: &'a str,
    /// What comes back with it.
    pub state: &'a Secret,
    /// The PKCE challenge (S256).
    pub challenge: &'a str,
}

/// What a browser came back with.
#[derive(Debug)]
pub struct Came {
    /// Where it came back to.
    pub redirect: String,
    /// The code.
    pub code: Secret,
    /// What proves that the code is this login's.
    pub verifier: Secret,
}

/// For whoever opens no browser.
///
/// # Errors
/// Always.
pub fn no_browser(
    _: &Env,
    _: Browser,
    _: &mut dyn FnMut(&Away<'_>) -> Result<String, Failure>,
) -> Result<Came, Failure> {
    Err(Failure::new(Exit::Error, "this command opens no browser"))
}

impl Env {
    /// A variable's text, if it is set, not empty and UTF-8.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars
            .get(std::ffi::OsStr::new(name))
            .and_then(|value| value.to_str())
            .filter(|value| !value.is_empty())
    }
}

/// Exit codes of CLI.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It worked.
    Ok,
    /// An error.
    Error,
    /// The call's words are off.
    Usage,
    /// Policy says deny (`check`).
    Deny,
    /// A login is needed.
    Login,
    /// Not found.
    NotFound,
    /// A conflict: duplicate, in use.
    Conflict,
    /// Unhealthy.
    Unhealthy,
    /// The child's code (`run`).
    Child(u8),
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Error => 1,
            Exit::Usage => 2,
            Exit::Deny => 3,
            Exit::Login => 4,
            Exit::NotFound => 5,
            Exit::Conflict => 6,
            Exit::Unhealthy => 7,
            Exit::Child(code) => code,
        })
    }
}

/// A command that did not work: what to tell and how to exit. Holds nothing secret.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// How to exit.
    pub exit: Exit,
    /// What, where, how to fix.
    pub message: String,
}

impl Failure {
    /// A failure with its exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

#[cfg(test)]
mod tests;
