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
pub mod delete;
pub mod allow;
pub mod vault;
pub mod values;
mod dotenv;
pub mod listing;
mod when;
pub mod users;
pub mod check;
mod check_body;
pub mod schema;
pub mod explain;
pub mod audit;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::catalog::SchemeSpec;
use crate::config::Home;
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
    /// Remove a secret or variable.
    #[command(subcommand)]
    Delete(delete::Delete),
    /// Allow a provider file of a project folder, as it is now.
    Allow(allow::Allow),
    /// Check requests and provider files without running anything.
    Check(check::Check),
    /// Print the JSON Schema of a kind of document.
    Schema(schema::Schema),
    /// Say what a code means and what a human can do.
    Explain(explain::Explain),
    /// Read and verify the audit.
    Audit(audit::Audit),
}

impl Command {
    /// Runs the command. Makes a runtime where it needs one, so it must not be called on one.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        match self {
            Self::Add(command) => command.run(env),
            Self::Import(command) => command.run(env),
            Self::Get(command) => command.run(env),
            Self::Describe(command) => command.run(env),
            Self::Rotate(command) => command.run(env),
            Self::Rollback(command) => command.run(env),
            Self::Delete(command) => command.run(env),
            Self::Allow(command) => command.run(env),
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
