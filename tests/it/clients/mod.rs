//! Real clients before the real binary, under the vendors' own host names.
//!
//! A client process gets what the proxy publishes in `agent.env`, a PATH and an empty HOME, and nothing else. Whatever it prints is searched
//! for the canary at once. Python and Node libraries come from `.ci/venv` and `.ci/node_modules`, which `.ci/run` makes: where they are
//! absent, a test says so and returns, but fails under `CI=true`. So it is with Java. curl and git are never skipped.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use harness::origin::OriginBuilder;
use harness::{Origin, Proxy, ProxyBuilder, canary};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

mod aws;
mod aws_sdk_rust;
mod chat;
mod cloud;
mod curl;
mod git;
mod grpc;
mod java;
mod launched;
mod mcp;
mod models;
mod node;
mod python;
mod schema;
mod registry;
mod secured;
mod websocket;

/// Where the clients' libraries and scripts are, seen from the workspace root.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// An interpreter that reads its libraries on a loaded machine needs much longer than its requests.
const PATIENCE: Duration = Duration::from_secs(180);

/// One proxy, one origin, and a home for the clients of both.
pub(crate) struct Client {
    pub(crate) proxy: Proxy,
    pub(crate) origin: Origin,
    home: tempfile::TempDir,
}

/// What a client printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Client {
    /// Clients of a proxy with the provider `vendor` of this spec, before this origin.
    pub(crate) async fn of(origin: OriginBuilder, spec: &str) -> Self {
        Self::built(origin, Proxy::builder().provider("vendor", spec)).await
    }

    pub(crate) async fn built(origin: OriginBuilder, proxy: ProxyBuilder) -> Self {
        let origin = origin.start().await;
        let proxy = proxy.origin(&origin).start().await;
        Self { proxy, origin, home: tempfile::tempdir().unwrap() }
    }

    /// The clients' HOME, and where they are started.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// A file in the clients' HOME.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.home().join(name), bytes).unwrap();
    }

    /// Runs a client to its end.
    pub(crate) async fn run(&self, program: impl AsRef<Path>, args: &[&str]) -> Printed {
        run(&self.proxy, self.home(), program.as_ref(), args).await
    }

    /// The one request at the origin carries the canary as a bearer token.
    #[track_caller]
    pub(crate) fn assert_injected(&self) {
        let seen = self.origin.only();
        let bearer = format!("Bearer {}", self.proxy.canary());
        assert_eq!(seen.headers_named("authorization"), [bearer], "{seen:#?}");
    }

    /// The credential as the client sees it in an echo.
    pub(crate) fn masked(&self) -> String {
        format!("Bearer {}", "*".repeat(self.proxy.canary().len()))
    }
}

impl Printed {
    #[track_caller]
    pub(crate) fn assert_ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn assert_failed(self) -> Self {
        assert_ne!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn assert_says(self, text: &str) -> Self {
        assert!(
            self.out.contains(text) || self.err.contains(text),
            "no {text:?} in\n{}\n{}",
            self.out,
            self.err
        );
        self
    }
}

/// A client process in `home` with the environment that this proxy publishes.
pub(crate) fn command(proxy: &Proxy, home: &Path, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(proxy.agent_env());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home);
    command.current_dir(home).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn run(proxy: &Proxy, home: &Path, program: &Path, args: &[&str]) -> Printed {
    let name = program.file_name().unwrap().to_string_lossy().into_owned();
    let ended = tokio::time::timeout(PATIENCE, command(proxy, home, program).args(args).output()).await;
    let output =
        ended.unwrap_or_else(|_| panic!("{name} still runs after {PATIENCE:?}")).expect("the client starts");
    for (stream, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        proxy.sweep().note(&format!("{name}'s {stream}"), bytes);
        assert_eq!(canary::search(bytes, proxy.canary()), None, "{name}'s {stream}");
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Printed { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A script beside these tests.
pub(crate) fn script(name: &str) -> String {
    format!("{ROOT}/tests/it/clients/{name}")
}

/// What `.ci/run` installs at this place, or none where it has not run.
fn installed(below: &str) -> Option<PathBuf> {
    let path = Path::new(ROOT).canonicalize().unwrap().join(below);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{below} is not there, and CI skips nothing");
    eprintln!("skipped: needs {below}, which .ci/run makes");
    None
}

/// The Python that has the client libraries.
pub(crate) fn python() -> Option<PathBuf> {
    installed(".ci/venv/bin/python")
}

/// The folder of the client libraries for Node.
pub(crate) fn node_modules() -> Option<String> {
    let path = installed(".ci/node_modules")?;
    Some(path.into_os_string().into_string().unwrap())
}

/// A Python program as the origin of `host`, with a certificate of the harness's authority.
pub(crate) struct Server {
    port: u16,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
    _files: tempfile::TempDir,
}

impl Server {
    /// Starts it as `python SCRIPT CERTIFICATE KEY`; the first line that it prints is its port.
    pub(crate) async fn start(python: &Path, name: &str, host: &str) -> Self {
        Self::start_for(python, name, &[host], &[]).await
    }

    /// The same for several hosts, with more arguments.
    pub(crate) async fn start_for(python: &Path, name: &str, hosts: &[&str], more: &[&str]) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (certificate, key) = harness::ca::server_pem(hosts);
        std::fs::write(files.path().join("tls.crt"), certificate).unwrap();
        std::fs::write(files.path().join("tls.key"), key).unwrap();
        let mut command = Command::new(python);
        command.args([&script(name), "tls.crt", "tls.key"]).args(more).current_dir(files.path()).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("python starts");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut server = Self { port: 0, lines, _child: child, _files: files };
        server.port = server.line().await.parse().expect("a port");
        server
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The next line that it prints.
    pub(crate) async fn line(&mut self) -> String {
        let line =
            tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("the server says something");
        line.unwrap().expect("the server lives")
    }
}
