//! A proxy of one's own: started as a hardened child, ended with whoever started it. Shared by `run` and `demo`.
//!
//! The launcher reads no secret. What it makes is the agent's own token, in files of a folder that only we may enter; nothing
//! secret is on a command line or in an environment.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use control::cli::{Env, Exit, Failure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use super::folder::PrivateFolder;
use crate::publish;

/// How long a proxy may take until it serves: Argon2id and a slow disk included.
const START: Duration = Duration::from_secs(15);
/// How often the ready file is looked for.
const LOOK: Duration = Duration::from_millis(4);
/// How long its end may take, its own drain included.
const END: Duration = Duration::from_secs(5);
/// What is in flight when the agent has ended is nobody's any more.
const DRAIN: &str = "1s";

/// What a proxy of one's own is started with.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    /// More flags of `doorward proxy`.
    pub(crate) flags: Vec<OsString>,
    /// Its whole environment.
    pub(crate) vars: Vec<(OsString, OsString)>,
    /// Where its log goes; `None`: to our stderr.
    pub(crate) log: Option<PathBuf>,
}

/// A proxy that serves.
#[derive(Debug)]
pub(crate) struct Sidecar {
    child: Child,
    folder: PrivateFolder,
    /// The agent's environment, as published.
    pub(crate) agent_env: Vec<(String, String)>,
    /// `127.0.0.1:40123`.
    pub(crate) address: String,
}

/// What we need of the ready file.
#[derive(Debug, Deserialize)]
struct Ready {
    proxy: Option<String>,
}

impl Sidecar {
    /// Starts a proxy on a free loopback port and waits until it serves.
    pub(crate) async fn start(env: &Env, setup: Setup) -> Result<Self, Failure> {
        let folder = PrivateFolder::new(env)?;
        let (ready_file, token_file) = (folder.path().join("ready.json"), folder.path().join("agent.token"));
        let published = folder.path().join("published");
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&published)
            .map_err(|error| cannot("make", &published, &error))?;
        put_private(&token_file, agent_lines()?.as_bytes())?;
        let log = match &setup.log {
            Some(path) => {
                fs::File::create(path).map(Stdio::from).map_err(|error| cannot("write", path, &error))?
            }
            None => Stdio::inherit(),
        };
        let mut command = doorward()?;
        command.arg("proxy").args(["--listen", "127.0.0.1:0", "--drain", DRAIN, "--end-with-parent"]);
        command.arg("--ready-file").arg(&ready_file).arg("--publish").arg(&published);
        command.arg("--agent-token-file").arg(&token_file).args(&setup.flags);
        command.env_clear().envs(setup.vars);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        // A Ctrl-C on the terminal is the agent's business; the proxy ends when the agent has ended.
        command.process_group(0);
        let mut child =
            command.spawn().map_err(|error| failed(format!("cannot start the proxy: {error}")))?;
        let ready = wait_for(&ready_file, &mut child).await?;
        let address = ready.proxy.as_deref().and_then(|url| url.strip_prefix("http://"));
        let address = address.ok_or_else(|| failed("the proxy names no address"))?.to_owned();
        let agent_env = read_agent_env(&published.join("agent.env"))?;
        Ok(Self { child, folder, agent_env, address })
    }

    /// What agents may read.
    pub(crate) fn published(&self) -> PathBuf {
        self.folder.path().join("published")
    }

    /// Everything that was written for it.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// What the kernel shows of it to processes of the same user.
    pub(crate) fn process_files(&self) -> Vec<PathBuf> {
        let of = |id: u32| ["cmdline", "environ"].map(|file| PathBuf::from(format!("/proc/{id}/{file}")));
        self.child.id().map(of).into_iter().flatten().collect()
    }

    /// Waits until the proxy ends by itself, which it should not.
    pub(crate) async fn ended(&mut self) -> Option<ExitStatus> {
        self.child.wait().await.ok()
    }

    /// Ends the proxy and removes what was written for it.
    pub(crate) async fn end(mut self) {
        send(&self.child, Signal::TERM);
        if tokio::time::timeout(END, self.child.wait()).await.is_err() {
            // It had its time. What remains is to make sure; a failure means that it is gone.
            drop(self.child.kill().await);
        }
    }
}

/// Sends a signal to a child that has not been waited for.
pub(crate) fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, signal)
    {
        tracing::debug!(%error, "signal not delivered");
    }
}

/// This very program.
pub(crate) fn doorward() -> Result<Command, Failure> {
    let own =
        std::env::current_exe().map_err(|error| failed(format!("cannot find our own program: {error}")))?;
    Ok(Command::new(own))
}

/// Writes a file that only we may read.
pub(crate) fn put_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    opened.and_then(|mut file| file.write_all(bytes)).map_err(|error| cannot("write", path, &error))
}

/// Text of `bytes` random bytes in hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> Result<Zeroizing<String>, Failure> {
    let mut random = Zeroizing::new(vec![0; bytes]);
    getrandom::fill(&mut random).map_err(|error| failed(format!("no randomness: {error}")))?;
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    Ok(Zeroizing::new(random.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()))
}

fn fresh_token() -> Result<Zeroizing<String>, Failure> {
    random_hex(32)
}

/// One agent: by its token, and by our uid on a listener that knows uids. Who has our uid can read the agent's token from
/// its environment anyway.
fn agent_lines() -> Result<Zeroizing<String>, Failure> {
    let (token, uid) = (fresh_token()?, rustix::process::geteuid().as_raw());
    Ok(Zeroizing::new(format!("agent:{}\nagent:uid={uid}\n", &*token)))
}

async fn wait_for(ready_file: &Path, child: &mut Child) -> Result<Ready, Failure> {
    let deadline = Instant::now() + START;
    loop {
        // It is renamed into place, so it is whole.
        if let Ok(text) = fs::read(ready_file) {
            return serde_json::from_slice(&text)
                .map_err(|_| failed("the proxy's ready file cannot be read"));
        }
        if child.try_wait().ok().flatten().is_some() {
            return Err(failed("the proxy did not start; its own message is above"));
        }
        if Instant::now() > deadline {
            return Err(failed(format!("the proxy does not serve after {} s", START.as_secs())));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn read_agent_env(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| cannot("read", path, &error))?;
    publish::read_dotenv(&text)
        .ok_or_else(|| failed(format!("{} is not as the proxy writes it", path.display())))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    failed(format!("cannot {what} {}: {error}", path.display()))
}

fn failed(why: impl Into<String>) -> Failure {
    Failure::new(Exit::Error, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_256_random_bits() {
        let (one, other) = (fresh_token().unwrap(), fresh_token().unwrap());
        assert_eq!(one.len(), 64);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }
}
