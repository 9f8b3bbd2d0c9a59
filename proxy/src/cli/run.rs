//! `doorward run -- CMD`: a program with a proxy of its own, which ends with it.
//!
//! A plain launcher: it reads no secret, and the program inherits no limit of ours. It is told what it is: advisory, since
//! a program that ignores its proxy variables can go around them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use clap::Args;
use control::cli::vault::VaultArgs;
use control::cli::{Env, Exit, Failure};
use control::config::Home;
use control::project;
use control::provider::{self, Provider};
use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind, signal};

use super::following::ControlArgs;
use super::sidecar::{self, Setup, Sidecar};
use crate::java;

/// Run a program whose requests get their credentials from a proxy that ends with it.
#[derive(Args, Clone, Debug)]
pub struct Run {
    /// A provider of the home, NAME or TYPE/NAME (repeatable); default: all of them.
    #[arg(long, env = "DOORWARD_WITH", value_name = "PROVIDER", value_delimiter = ',')]
    with: Vec<String>,
    /// Provider files, or folders of them (repeatable).
    #[arg(long, env = "DOORWARD_PROVIDERS", value_name = "PATH", value_delimiter = ',')]
    providers: Vec<PathBuf>,
    #[command(flatten)]
    vault: VaultArgs,
    #[command(flatten)]
    control: ControlArgs,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Variables that lead a client around the proxy or to other roots, beside those that are set anyway.
const STRAY: &[&str] = &[
    "all_proxy",
    "ws_proxy",
    "WS_PROXY",
    "wss_proxy",
    "PIP_PROXY",
    "npm_config_proxy",
    "npm_config_https_proxy",
    "npm_config_noproxy",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "SSL_CERT_DIR",
    "SSLKEYLOGFILE",
];

/// What belongs to another proxy of the same user.
const NOT_INHERITED: &[&str] =
    &["DOORWARD_ADMIN", "DOORWARD_LISTEN", "DOORWARD_PUBLISH", "DOORWARD_READY_FILE", "DOORWARD_PROVIDERS"];

impl Run {
    /// Runs the program; its exit code is ours.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| failed(error.to_string()))?.block_on(self.launch(env))
    }

    async fn launch(self, env: &Env) -> Result<Exit, Failure> {
        let mut signals =
            Signals::new().map_err(|error| failed(format!("cannot wait for signals: {error}")))?;
        let inherited =
            |(name, _): &(&OsString, &OsString)| !NOT_INHERITED.iter().any(|other| *name == other);
        let vars =
            env.vars.iter().filter(inherited).map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut sidecar = Sidecar::start(env, Setup { flags: self.flags(env)?, vars, log: None }).await?;
        env.output.say(format!(
            "doorward: proxy on {}; enforcement: advisory (a wrapper is not a sandbox)",
            sidecar.address
        ));
        let outcome = self.agent(env, &sidecar).and_then(|mut command| {
            let program = self.command.first().map(|word| word.display().to_string()).unwrap_or_default();
            command.spawn().map_err(|error| not_started(&program, &error))
        });
        let status = match outcome {
            Ok(mut agent) => attend(env, &mut agent, &mut sidecar, &mut signals).await,
            Err(failure) => {
                sidecar.end().await;
                return Err(failure);
            }
        };
        sidecar.end().await;
        status.map(|status| Exit::Child(code(status))).map_err(|error| failed(error.to_string()))
    }

    /// The flags of the proxy: where things are, never what they are.
    fn flags(&self, env: &Env) -> Result<Vec<OsString>, Failure> {
        if self.vault.key.master_key_fd.is_some() {
            return Err(usage(
                "--master-key-fd: the program would inherit the descriptor; use --master-key-file or --master-key-command",
            ));
        }
        if self.vault.key.passphrase {
            return Err(usage("--passphrase: the terminal belongs to the program; use --passphrase-file"));
        }
        if self.vault.key.master_key_kms.is_some() {
            return Err(usage(
                "--master-key-kms: the program would inherit the credentials for it; start `doorward proxy` apart, as another user",
            ));
        }
        let mut flags = Vec::new();
        let mut flag = |name: &str, value: Option<OsString>| {
            if let Some(value) = value {
                flags.extend([OsString::from(name), value]);
            }
        };
        flag("--home", env.globals.home.clone().map(OsString::from));
        flag("--project", env.globals.project.clone().map(OsString::from));
        flag("--vault", self.vault.vault.clone().map(OsString::from));
        flag("--master-key-file", self.vault.key.master_key_file.clone().map(OsString::from));
        flag("--master-key-command", self.vault.key.master_key_command.clone().map(OsString::from));
        let service = &self.vault.key.service;
        flag("--master-key-transit", self.vault.key.master_key_transit.clone().map(OsString::from));
        flag("--transit-token-file", service.transit_token_file.clone().map(OsString::from));
        flag("--kms-ca", service.kms_ca.clone().map(OsString::from));
        flag("--passphrase-file", self.vault.key.passphrase_file.clone().map(OsString::from));
        for (name, value) in self.control.flags() {
            flag(name, Some(value));
        }
        // Java can send no token: the kernel tells this listener whose process connects.
        flag("--listen", Some("uid:127.0.0.1:0".into()));
        flag("--log", env.var("DOORWARD_LOG").is_none().then(|| "warn".into()));
        for path in &self.providers {
            flag("--providers", Some(path.clone().into()));
        }
        for folder in self.projects() {
            flag("--pinned-below", Some(folder.into()));
        }
        for path in named(&self.with, env)? {
            flag("--providers", Some(path.into()));
        }
        Ok(flags)
    }

    /// The folders that the program may well write in and whose provider files others may have written: the project that we are
    /// in, and those that the provider files lie in.
    fn projects(&self) -> BTreeSet<PathBuf> {
        let here = std::env::current_dir().ok();
        let given = provider::files(&self.providers).into_iter().chain(self.providers.iter().cloned());
        given.chain(here).filter_map(|path| project::folder_of(&path)).collect()
    }

    /// The program, with the published environment over the inherited one.
    fn agent(&self, env: &Env, sidecar: &Sidecar) -> Result<Command, Failure> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(usage("which program?"));
        };
        let vars = agent_vars(env, &sidecar.agent_env);
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(vars);
        Ok(command)
    }
}

/// What the agent gets: ours over what we inherited, without doorward's own flags (some are secrets) and strays.
fn agent_vars(env: &Env, ours: &[(String, String)]) -> BTreeMap<OsString, OsString> {
    let kept = |name: &OsString| {
        let text = name.to_string_lossy();
        !text.starts_with("DOORWARD_") && !STRAY.contains(&&*text)
    };
    let inherited =
        env.vars.iter().filter(|(name, _)| kept(name)).map(|(name, value)| (name.clone(), value.clone()));
    let ours = ours.iter().map(|(name, value)| match name.as_str() {
        java::VARIABLE => (name.into(), java::joined(env.var(java::VARIABLE), value).into()),
        _ => (name.into(), value.into()),
    });
    inherited.chain(ours).collect()
}

/// The files of the home's providers that were named.
fn named(names: &[String], env: &Env) -> Result<Vec<PathBuf>, Failure> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let folder = Home::find(env).map_err(|error| failed(error.to_string()))?.providers_dir();
    if !folder.is_dir() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("--with: there are no providers in {}", folder.display()),
        ));
    }
    let known = provider::load(std::slice::from_ref(&folder), env.schemes).map_err(|mistakes| {
        failed(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    let mut files = Vec::new();
    for name in names {
        let found = known.providers.iter().find(|provider| is_called(provider, name));
        let found = found.ok_or_else(|| unknown(name, &known.providers, &folder))?;
        let file = PathBuf::from(found.source.rsplit_once(':').map_or(&*found.source, |(file, _line)| file));
        if !files.contains(&file) {
            files.push(file);
        }
    }
    Ok(files)
}

fn is_called(provider: &Provider, name: &str) -> bool {
    match name.split_once('/') {
        Some((kind, name)) => *provider.name == *name && provider.kind.name == kind,
        None => *provider.name == *name,
    }
}

fn unknown(name: &str, known: &[std::sync::Arc<Provider>], folder: &Path) -> Failure {
    let near = known
        .iter()
        .map(|provider| (strsim::damerau_levenshtein(name, &provider.name), &provider.name))
        .min();
    let hint =
        near.filter(|(distance, _)| *distance <= 2).map(|(_, near)| format!("; did you mean `{near}`?"));
    let hint = hint.unwrap_or_default();
    Failure::new(Exit::NotFound, format!("--with {name}: no such provider in {}{hint}", folder.display()))
}

/// Waits for the agent, and hands it what we are signalled.
async fn attend(
    env: &Env,
    agent: &mut Child,
    sidecar: &mut Sidecar,
    signals: &mut Signals,
) -> std::io::Result<ExitStatus> {
    let mut is_serving = true;
    loop {
        tokio::select! {
            status = agent.wait() => return status,
            signal = signals.next() => sidecar::send(agent, signal),
            _ = sidecar.ended(), if is_serving => {
                is_serving = false;
                env.output.say("doorward: the proxy has ended; the program's requests are refused from now on");
            }
        }
    }
}

/// As shells report it: the code, or 128 and the signal's number.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(1)
}

/// What we pass on.
struct Signals {
    int: unix::Signal,
    quit: unix::Signal,
    term: unix::Signal,
    hup: unix::Signal,
    /// The terminal sends its signals to the whole group: the program has them already.
    has_terminal: bool,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            term: signal(SignalKind::terminate())?,
            hup: signal(SignalKind::hangup())?,
            has_terminal: std::io::IsTerminal::is_terminal(&std::io::stdin()),
        })
    }

    async fn next(&mut self) -> Signal {
        loop {
            let (signal, is_terminals) = tokio::select! {
                _ = self.int.recv() => (Signal::INT, true),
                _ = self.quit.recv() => (Signal::QUIT, true),
                _ = self.term.recv() => (Signal::TERM, false),
                _ = self.hup.recv() => (Signal::HUP, false),
            };
            if !(is_terminals && self.has_terminal) {
                return signal;
            }
        }
    }
}

/// 127 and 126, as shells answer.
fn not_started(program: &str, error: &std::io::Error) -> Failure {
    let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
    Failure::new(Exit::Child(code), format!("cannot start {program}: {error}"))
}

fn usage(why: &str) -> Failure {
    Failure::new(Exit::Usage, why)
}

fn failed(why: impl Into<String>) -> Failure {
    Failure::new(Exit::Error, why)
}

#[cfg(test)]
mod tests {
    use control::cli::{Globals, Output};

    use control::cli::vault::KeyArgs;

    use super::*;

    fn env(vars: &[(&str, &str)]) -> Env {
        let vars = vars.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Env {
            vars,
            globals: Globals::default(),
            schemes: &[],
            output: Output,
            tls: control::cli::no_tls,
            browse: control::cli::no_browser,
        }
    }

    #[test]
    fn the_program_inherits_no_real_credential_no_flag_of_ours_and_no_way_around() {
        let env = env(&[
            ("GITHUB_TOKEN", "real"),
            ("DOORWARD_UPSTREAM_PROXY", "http://u:p@h"),
            ("all_proxy", "x"),
            ("PATH", "/bin"),
        ]);
        let vars = agent_vars(&env, &[("GITHUB_TOKEN".to_owned(), "ghp_dummy".to_owned())]);
        let vars: Vec<_> =
            vars.iter().map(|(name, value)| (name.to_str().unwrap(), value.to_str().unwrap())).collect();
        assert_eq!(vars, [("GITHUB_TOKEN", "ghp_dummy"), ("PATH", "/bin")]);
    }

    #[test]
    fn refuses_a_descriptor_and_a_prompt_that_the_program_would_share() {
        for vault in [
            VaultArgs {
                key: KeyArgs { master_key_fd: Some(3), ..KeyArgs::default() },
                ..VaultArgs::default()
            },
            VaultArgs { key: KeyArgs { passphrase: true, ..KeyArgs::default() }, ..VaultArgs::default() },
        ] {
            let control = ControlArgs::default();
            let run = Run { with: vec![], providers: vec![], vault, control, command: vec!["true".into()] };
            assert_eq!(run.flags(&env(&[])).unwrap_err().exit, Exit::Usage);
        }
    }

    #[test]
    fn a_killed_program_exits_as_shells_say() {
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
    }
}
