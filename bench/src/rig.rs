//! What stays up for a whole run: the folder with the test PKI, the origin in its own process, the choice of cores.

use crate::load::Protocol;
use crate::{BenchError, Result, pki};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// What every peer must put on a request, and the origin demands.
pub const CREDENTIAL: &str = "Bearer bench-credential-0123456789abcdefghij";

/// The value without its prefix, as it lies in a secrets folder.
pub const SECRET: &str = "bench-credential-0123456789abcdefghij";

/// A process that ends with its owner.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Of a child that was started.
    pub fn new(child: Child) -> Self {
        Self(child)
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Which core runs what. With one core there is no choice.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    load: usize,
    proxy: usize,
    pinned: bool,
    count: usize,
}

impl Cores {
    /// The first core for the generator and the origin, the last for the proxy; pins this thread.
    pub fn choose() -> Result<Self> {
        let set = sched_getaffinity(None).map_err(|e| BenchError::io("reading the core mask")(e.into()))?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect();
        let (load, proxy) = (cores.first().copied().unwrap_or(0), cores.last().copied().unwrap_or(0));
        let cores = Self { load, proxy, pinned: load != proxy, count: cores.len() };
        cores.pin(load)?;
        Ok(cores)
    }

    /// No core for anybody: all share all.
    pub fn unpinned() -> Result<Self> {
        let set = sched_getaffinity(None).map_err(|e| BenchError::io("reading the core mask")(e.into()))?;
        let count = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).count();
        Ok(Self { load: 0, proxy: 0, pinned: false, count })
    }

    /// Whether proxy and generator are apart.
    pub fn are_apart(self) -> bool {
        self.pinned
    }

    /// How many there are, this thread's own pinning aside.
    pub fn count(self) -> usize {
        self.count
    }

    fn pin(self, core: usize) -> Result<()> {
        if !self.pinned {
            return Ok(());
        }
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).map_err(|e| BenchError::io("pinning to a core")(e.into()))
    }

    /// Starts a process on the proxy's core: a child inherits the mask of the thread that starts it.
    pub fn spawn_proxy(self, command: &mut Command) -> Result<Process> {
        self.pin(self.proxy)?;
        let child = command.spawn();
        self.pin(self.load)?;
        child.map(Process).map_err(BenchError::io(format!("starting {:?}", command.get_program())))
    }
}

/// The standing parts of a run.
#[derive(Debug)]
pub struct Rig {
    /// Which core runs what.
    pub cores: Cores,
    /// The `doorward` binary, if it is to be measured.
    pub doorward: Option<PathBuf>,
    folder: TempDir,
    h1: SocketAddr,
    h2: SocketAddr,
    _origin: Process,
}

impl Rig {
    /// Makes the PKI and starts the origin.
    pub fn build(doorward: Option<PathBuf>) -> Result<Self> {
        let cores = Cores::choose()?;
        // squid gives up root for a user of its own, who must be able to enter.
        let folder = tempfile::Builder::new()
            .prefix("doorward-bench-")
            .permissions(permissions(0o755))
            .tempdir()
            .map_err(BenchError::io("making a temporary folder"))?;
        pki::create(folder.path())?;
        let mut command = own_command("origin")?;
        command.arg("--pki").arg(folder.path()).args(["--credential", CREDENTIAL]);
        let (origin, line) = spawn_and_read_line(|command| Ok(Process(command.spawn()?)), &mut command)?;
        let mut addresses = line.split_whitespace().map(|word| word.parse().ok());
        match (addresses.next().flatten(), addresses.next().flatten()) {
            (Some(h1), Some(h2)) => Ok(Self { cores, doorward, folder, h1, h2, _origin: origin }),
            _ => Err(BenchError::Answer(format!("origin said {line:?}"))),
        }
    }

    /// The folder with the test PKI.
    pub fn pki(&self) -> &Path {
        self.folder.path()
    }

    /// The origin's address for a protocol.
    pub fn origin(&self, protocol: Protocol) -> SocketAddr {
        match protocol {
            Protocol::H1 => self.h1,
            Protocol::H2 => self.h2,
        }
    }

    /// A new folder for one start of one peer.
    pub fn folder_for(&self, peer: &str) -> Result<TempDir> {
        tempfile::Builder::new()
            .prefix(peer)
            .permissions(permissions(0o755))
            .tempdir_in(self.folder.path())
            .map_err(BenchError::io("making a peer's folder"))
    }
}

/// File permissions from their bits.
pub(crate) fn permissions(mode: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

/// This program with a subcommand; it ends when its standard input closes, so a killed run leaves nothing behind.
pub(crate) fn own_command(subcommand: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(subcommand).stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command)
}

/// Starts a program that prints one line when it serves, and returns that line.
pub(crate) fn spawn_and_read_line(
    spawn: impl FnOnce(&mut Command) -> Result<Process>,
    command: &mut Command,
) -> Result<(Process, String)> {
    let mut process = spawn(command)?;
    let mut line = String::new();
    if let Some(output) = process.0.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    if line.is_empty() {
        return Err(BenchError::Answer(format!("{:?} ended before it served", command.get_program())));
    }
    Ok((process, line))
}
