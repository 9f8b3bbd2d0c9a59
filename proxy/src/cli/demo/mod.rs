//! `doorward demo`: the whole journey on one machine, for real: a vault, a proxy, a TLS origin and an agent process, and proof
//! that the credential arrived and that nothing the agent could read holds it.
//!
//! Exit 0 only if all of it held. Nothing leaves the machine, and nothing stays on it.

pub mod client;
mod agent;
mod evidence;
mod origin;
mod page;

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use clap::Args;
use control::cli::{Env, Exit, Failure};
use control::secret::Secret;
use tokio::io::AsyncWriteExt as _;
use tokio::signal::unix::{SignalKind, signal};

use self::agent::{Agent, Answer};
use self::evidence::Evidence;
use self::origin::Origin;
use super::folder::PrivateFolder;
use super::sidecar::{self, Setup, Sidecar};

/// A name that is nobody's (RFC 8375 and ICANN reserve `internal`).
const HOST: &str = "api.demo.internal";
/// What the demo's agent may do, as anyone would write it.
const PROVIDER: &str = include_str!("provider.yaml");
/// The variable that gets the dummy.
const DUMMY: &str = "DEMO_API_TOKEN";

/// Show the whole journey with a vault, a proxy, an origin and an agent of its own; nothing leaves this machine.
#[derive(Args, Clone, Copy, Debug)]
pub struct Demo {
    /// Leave it running and say how to use it.
    #[arg(long)]
    keep: bool,
}

/// Everything that runs.
struct Stage {
    home: PrivateFolder,
    credential: Secret,
    origin: Origin,
    sidecar: Sidecar,
    agent: Agent,
}

/// What the agent got for its three requests.
#[derive(Debug)]
struct Answers {
    allowed: Answer,
    denied: Answer,
    elsewhere: Answer,
}

impl Demo {
    /// Runs it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| failed(error.to_string()))?.block_on(self.play(env))
    }

    async fn play(self, env: &Env) -> Result<Exit, Failure> {
        let start = Instant::now();
        let stage = Stage::set(env).await?;
        let outcome = stage.act().await;
        let held = match outcome {
            Ok(answers) => stage.tell(env, &answers, start).await,
            Err(failure) => Err(failure),
        };
        if self.keep && matches!(held, Ok(true)) {
            stage.keep(env).await?;
        }
        stage.sidecar.end().await;
        Ok(if held? { Exit::Ok } else { Exit::Error })
    }
}

impl Stage {
    /// A home, a secret in its vault, an origin, and a proxy between.
    async fn set(env: &Env) -> Result<Self, Failure> {
        let home = PrivateFolder::new(env)?;
        let credential = Secret::new(format!("demo_live_{}", &*sidecar::random_hex(20)?).into_bytes());
        store(home.path(), &credential).await?;
        let origin = Origin::start(HOST, &credential).await;
        let origin = origin.map_err(|error| failed(format!("the origin did not start: {error}")))?;
        let (provider, ca) = (home.path().join("demo.yaml"), home.path().join("origin-ca.crt"));
        sidecar::put_private(&provider, PROVIDER.as_bytes())?;
        sidecar::put_private(&ca, origin.ca.as_bytes())?;
        let resolve = format!("{HOST}:443:{}", origin.address);
        let flags: [(&str, OsString); 8] = [
            ("--home", home.path().into()),
            ("--providers", provider.into()),
            ("--upstream-ca", ca.into()),
            ("--resolve", resolve.into()),
            ("--allow-cidr", "127.0.0.1/32".into()),
            ("--audit", home.path().join("audit.jsonl").into()),
            ("--log", "info".into()),
            ("--log-format", "json".into()),
        ];
        let flags = flags.into_iter().flat_map(|(flag, value)| [flag.into(), value]).collect();
        let log = home.path().join("proxy.log");
        let started = Sidecar::start(env, Setup { flags, vars: Vec::new(), log: Some(log.clone()) }).await;
        let sidecar = started.map_err(|failure| with_log(failure, &log))?;
        let agent = Agent::new(env, &sidecar.agent_env);
        Ok(Self { home, credential, origin, sidecar, agent })
    }

    /// What the agent does: what it may, what it may not, and where it may not.
    async fn act(&self) -> Result<Answers, Failure> {
        Ok(Answers {
            allowed: self.agent.ask("GET", "https://api.demo.internal/v1/user").await?,
            denied: self.agent.ask("DELETE", "https://api.demo.internal/v1/user").await?,
            elsewhere: self.agent.ask("GET", "https://elsewhere.demo.internal/").await?,
        })
    }

    /// Prints what happened; whether all of it held.
    async fn tell(&self, env: &Env, answers: &Answers, start: Instant) -> Result<bool, Failure> {
        let audit = evidence::audit(&self.home.path().join("audit.jsonl")).await?;
        let evidence = Evidence { stage: self, answers, audit: &audit };
        let page = page::page(&evidence);
        let checks = evidence.checks(&page);
        env.output.data(page);
        for check in &checks {
            env.output.data(format!("  {}  {}", if check.held { "ok    " } else { "FAILED" }, check.what));
        }
        let held = checks.iter().all(|check| check.held);
        let verdict = if held { "all of it held" } else { "something did NOT hold" };
        env.output.data(format!("\n{verdict}, in {} ms", start.elapsed().as_millis()));
        Ok(held)
    }

    /// Says how to use what runs, and waits to be ended.
    async fn keep(&self, env: &Env) -> Result<(), Failure> {
        let listen = |kind| signal(kind).map_err(|error| failed(error.to_string()));
        let (mut int, mut term) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        env.output.data(page::usage(&self.sidecar.published(), self.home.path(), &self.sidecar.address));
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
        Ok(())
    }
}

/// Puts the credential into the vault as anyone does: by `doorward add secret`, from standard input.
async fn store(home: &Path, credential: &Secret) -> Result<(), Failure> {
    let mut command = sidecar::doorward()?;
    command.arg("--home").arg(home).args([
        "--no-input",
        "add",
        "secret",
        "demo-api",
        "--from-stdin",
        "token",
        "--hosts",
        HOST,
    ]);
    command
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed(format!("cannot start doorward: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // exposed: into the vault's own door
        let written = stdin.write_all(credential.expose()).await;
        written.map_err(|error| failed(format!("cannot hand over the secret: {error}")))?;
    }
    let output = child.wait_with_output().await.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(format!("the secret was not stored: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// The log is in the folder that goes away with us.
fn with_log(failure: Failure, log: &Path) -> Failure {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    Failure::new(failure.exit, format!("{failure}\n{}", log.trim_end()))
}

fn failed(why: impl Into<String>) -> Failure {
    Failure::new(Exit::Error, why)
}
