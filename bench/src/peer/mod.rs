//! Who is measured. Each peer is one file that knows how to start it on a core, with the same duty: intercept, add one header, re-encrypt.
//!
//! A peer that is not on the machine gives `NotInstalled`, which a report shows as "not run".

mod doorward;
mod envoy;
mod floor;
mod hudsucker;
mod mitmproxy;
mod squid;

use crate::load::{Protocol, Target};
use crate::rig::{CREDENTIAL, Process, Rig};
use crate::{BenchError, Result, pki};
use clap::ValueEnum;
use http::HeaderValue;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a peer may take to serve; mitmproxy starts an interpreter on a shared machine.
const START: Duration = Duration::from_secs(30);

/// A proxy under measurement, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// No proxy: the generator talks to the origin.
    Direct,
    /// The least that this stack can do.
    Floor,
    /// The product, everything switched on.
    Doorward,
    /// hudsucker 0.25, a Rust interception library, as its example sets it up.
    Hudsucker,
    /// mitmproxy's mitmdump with an addon of ten lines.
    Mitmproxy,
    /// squid with ssl-bump.
    Squid,
    /// Envoy: CONNECT terminated into an internal listener that terminates TLS.
    Envoy,
}

impl Peer {
    /// All peers, in the order of the table.
    pub const ALL: [Self; 7] = [
        Self::Direct,
        Self::Floor,
        Self::Doorward,
        Self::Hudsucker,
        Self::Mitmproxy,
        Self::Squid,
        Self::Envoy,
    ];

    /// The name on the command line and in the history.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Floor => "floor",
            Self::Doorward => "doorward",
            Self::Hudsucker => "hudsucker",
            Self::Mitmproxy => "mitmproxy",
            Self::Squid => "squid",
            Self::Envoy => "envoy",
        }
    }

    /// Starts it and waits until it takes connections.
    pub fn start(self, rig: &Rig, job: Job) -> Result<Running> {
        match self {
            Self::Direct => Ok(Running::direct(rig, job.protocol)),
            Self::Floor => floor::start(rig, job),
            Self::Doorward => doorward::start(rig, job, Provider::Rules),
            Self::Hudsucker => hudsucker::start(rig, job),
            Self::Mitmproxy => mitmproxy::start(rig, job),
            Self::Squid => squid::start(rig, job),
            Self::Envoy => envoy::start(rig, job),
        }
    }
}

/// What doorward's provider is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Three rules for the paths of the scenarios.
    Rules,
    /// A model's, whose answers are counted.
    Counted,
    /// The same without a model.
    Uncounted,
}

/// Starts doorward with one of its providers.
pub fn doorward(rig: &Rig, job: Job, provider: Provider) -> Result<Running> {
    doorward::start(rig, job, provider)
}

/// What a peer is started for.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// Spoken on both sides.
    pub protocol: Protocol,
    /// How many never-seen hosts must be reachable.
    pub cold_hosts: usize,
}

/// A started peer. Dropping it ends the process and removes its folder.
#[derive(Debug)]
pub struct Running {
    process: Option<Process>,
    proxy: Option<SocketAddr>,
    roots: Vec<PathBuf>,
    port: u16,
    token: Option<String>,
    admin: Option<SocketAddr>,
    origin: SocketAddr,
    protocol: Protocol,
    _folder: Option<TempDir>,
}

impl Running {
    fn direct(rig: &Rig, protocol: Protocol) -> Self {
        Self {
            process: None,
            proxy: None,
            roots: vec![rig.pki().join("ca.crt")],
            port: 443,
            token: None,
            admin: None,
            origin: rig.origin(protocol),
            protocol,
            _folder: None,
        }
    }

    /// A peer whose own resolver maps names to the loopback, so that CONNECT must name the origin's real port.
    fn by_real_port(
        rig: &Rig,
        protocol: Protocol,
        process: Process,
        proxy: SocketAddr,
        folder: TempDir,
    ) -> Self {
        let direct = Self::direct(rig, protocol);
        Self { port: direct.origin.port(), ..Self::by_443(rig, protocol, process, proxy, folder) }
    }

    /// A peer that is told where a host's port 443 is.
    fn by_443(rig: &Rig, protocol: Protocol, process: Process, proxy: SocketAddr, folder: TempDir) -> Self {
        Self {
            process: Some(process),
            proxy: Some(proxy),
            _folder: Some(folder),
            ..Self::direct(rig, protocol)
        }
    }

    /// The process whose cost is measured; none for direct runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// The sum of a metric over its labels, if the proxy shows it.
    pub fn metric(&self, name: &str) -> Result<Option<f64>> {
        let admin =
            self.admin.ok_or_else(|| BenchError::Unsupported("this peer shows no metrics".to_owned()))?;
        let mut stream = TcpStream::connect(admin)?;
        let head = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let values: Vec<f64> = text
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        Ok((!values.is_empty()).then(|| values.iter().sum()))
    }

    /// The road through this peer.
    pub fn target(&self) -> Result<Target> {
        Ok(Target {
            proxy: self.proxy,
            origin: self.origin,
            host: pki::HOST.to_owned(),
            port: self.port,
            token: self.token.clone(),
            credential: self.proxy.is_none().then(|| HeaderValue::from_static(CREDENTIAL)),
            tls: pki::client_config_without_resumption(&self.roots, &[self.protocol.alpn()])?,
            protocol: self.protocol,
        })
    }
}

/// A loopback port for peers that cannot say which one they took. It lies below those that the kernel hands out by itself, so that no
/// connection of another process takes it between this look and the peer's start.
fn free_address() -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 8_000).unwrap_or(0);
    for _ in 0..1_000 {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(BenchError::Timeout("no free port".to_owned()))
}

/// Waits until a peer that cannot announce itself takes connections.
fn wait_for(process: &mut Process, address: SocketAddr, name: &str) -> Result<()> {
    wait_until(process, name, || TcpStream::connect(address).ok().map(drop))
}

/// Asks again and again until there is an answer, the process has ended or its time is over.
fn wait_until<T>(process: &mut Process, name: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + START;
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if process.has_ended() {
            return Err(BenchError::Answer(format!("{name} ended before it served")));
        }
        if Instant::now() >= end {
            return Err(BenchError::Timeout(format!("{name} did not serve within {START:?}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Finds a program on the PATH or among the tools that CI installs into the repository.
fn find(program: &str, tool: &str) -> Result<PathBuf> {
    let local = repository().join(".ci/tools").join(tool).join("bin").join(program);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = [PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")];
    std::iter::once(local)
        .chain(std::env::split_paths(&path).chain(extra).map(|folder| folder.join(program)))
        .find(|file| file.is_file())
        .ok_or_else(|| BenchError::NotInstalled(program.to_owned()))
}

/// The top of the working tree.
pub(crate) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Fills `@NAME@` places of a template.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value))
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).map_err(BenchError::io(format!("writing {}", file.display())))
}
