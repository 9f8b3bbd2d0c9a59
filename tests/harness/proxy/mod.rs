//! One running `doorward proxy`, and the search of all that it let out when it ends.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::agent::{Agent, Via};
use crate::audit::Audit;
use crate::sweep::Sweep;

pub mod build;

/// The proxy's process, its files and what is known of it.
pub struct Proxy {
    child: Child,
    command: Command,
    home: tempfile::TempDir,
    ready: Value,
    token: Option<String>,
    secrets: Vec<String>,
    audit: Audit,
    sweep: Sweep,
    ended: Option<ExitStatus>,
    chain_unchecked: std::cell::Cell<bool>,
}

/// A `doorward proxy` that ended before it was ready.
#[derive(Debug)]
pub struct Failure {
    pub code: Option<i32>,
    pub stderr: String,
}

impl Proxy {
    pub fn builder() -> build::ProxyBuilder {
        build::ProxyBuilder::default()
    }

    /// The secret that this proxy injects under the name `canary`.
    pub fn canary(&self) -> &str {
        &self.secrets[0]
    }

    /// Adds another value that must not be seen anywhere.
    pub fn watch(&mut self, secret: &str) {
        self.secrets.push(secret.to_owned());
    }

    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    pub fn ready(&self) -> &Value {
        &self.ready
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The address of the TCP listener.
    pub fn address(&self) -> SocketAddr {
        address(&self.ready["proxy"])
    }

    pub fn admin(&self) -> SocketAddr {
        address(&self.ready["admin"])
    }

    /// Our CA alone, as agents are given it.
    pub fn ca_pem(&self) -> String {
        std::fs::read_to_string(self.ready["ca"].as_str().expect("ready file: ca")).unwrap()
    }

    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    pub fn sweep(&self) -> &Sweep {
        &self.sweep
    }

    /// What the proxy logged so far.
    pub fn log(&self) -> String {
        std::fs::read(self.path("stderr"))
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }

    /// An agent with the right token that trusts our CA.
    pub fn agent(&self) -> Agent {
        self.agent_via(Via::Tcp(self.address()))
    }

    /// An agent on the unix listener of that path.
    pub fn unix_agent(&self, path: &Path) -> Agent {
        self.agent_via(Via::Unix(path.to_owned()))
    }

    fn agent_via(&self, via: Via) -> Agent {
        let agent = Agent::new(via, self.ca_pem(), self.sweep.clone());
        match &self.token {
            Some(token) => agent.with_basic("agent", token),
            None => agent,
        }
    }

    /// The parsed `agent.env`, as an agent's shell would read it.
    pub fn agent_env(&self) -> Vec<(String, String)> {
        self.agent_env_now().expect("publish/agent.env")
    }

    /// The same while agents come and go: without an agent there is none.
    pub fn agent_env_now(&self) -> Option<Vec<(String, String)>> {
        std::fs::read_to_string(self.path("publish/agent.env")).ok().map(|text| parse_env(&text))
    }

    /// The dummy that agents hold in `variable`.
    pub fn dummy(&self, variable: &str) -> String {
        let env = self.agent_env();
        let found = env.iter().find(|(name, _)| name == variable);
        found.unwrap_or_else(|| panic!("{variable} is not in agent.env: {env:?}")).1.clone()
    }

    /// `GET path` on the admin listener: status and body.
    pub fn admin_get(&self, path: &str) -> (u16, String) {
        let answer = plain_get(self.admin(), path).expect("the admin listener answers");
        self.sweep.note("admin answers", answer.1.as_bytes());
        answer
    }

    /// The sum of the samples of a metric (by its exact name), if it is exported.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.admin_get("/metrics");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let values: Vec<f64> = samples
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// A file below this proxy's home.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.home.path().join(relative)
    }

    /// Replaces a provider file, atomically, as an editor would.
    pub fn write_provider(&self, name: &str, text: &str) {
        build::put(&self.path(&format!("providers/{name}.yaml")), text);
    }

    pub fn remove_provider(&self, name: &str) {
        std::fs::remove_file(self.path(&format!("providers/{name}.yaml"))).unwrap();
    }

    /// Replaces the value of a key of a secret; the new value is watched for as well.
    pub fn rotate(&mut self, secret: &str, key: &str, value: &str) {
        self.watch(value);
        build::put(&self.path(&format!("secrets/{secret}/{key}")), value);
    }

    pub fn write_tokens(&self, text: &str) {
        build::put(&self.path("tokens"), text);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the proxy lives");
    }

    /// Resident memory in KiB, and its peak.
    pub fn rss(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Waits for the process to end by itself.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.ended = Some(status);
                return status;
            }
            assert!(Instant::now() < end, "the proxy still runs after {limit:?}");
            crate::within::pause().await;
        }
    }

    /// Ends it as a lost machine would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.ended = Some(self.child.wait().unwrap());
    }

    /// Starts it again, on the files that it left.
    pub async fn restart(&mut self) {
        drop(std::fs::remove_file(self.path("ready.json")));
        self.child = self.command.spawn().expect("doorward starts");
        self.ended = None;
        let home = self.home.path().to_owned();
        match build::wait_ready(&mut self.child, &home).await {
            Ok(ready) => self.ready = ready,
            Err(failure) => panic!("doorward proxy ended with {:?}:\n{}", failure.code, failure.stderr),
        }
    }

    /// For journeys that damage the audit on purpose: its chain is not judged at the end.
    pub fn skip_chain(&self) {
        self.chain_unchecked.set(true);
    }

    pub fn alive(&mut self) -> bool {
        self.ended.is_none() && self.child.try_wait().unwrap().is_none()
    }

    fn stop(&mut self) {
        if self.alive() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let end = Instant::now() + Duration::from_secs(5);
            while self.child.try_wait().unwrap().is_none() {
                if Instant::now() > end {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                }
                std::thread::sleep(crate::within::LOOK);
            }
        }
    }

    /// Everything that this proxy wrote anywhere: log, output, audit, what is published, what it keeps at home. Not the
    /// files that it was given.
    fn gather(&self) {
        self.note_folder(self.home.path());
        if !self.audit.path().starts_with(self.home.path()) {
            self.sweep.note("the audit", self.audit.text().as_bytes());
        }
    }

    fn note_folder(&self, folder: &Path) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let given = ["secrets", "providers", "tokens"].iter().any(|name| path == self.path(name));
            if path.is_dir() && !given {
                self.note_folder(&path);
            } else if path.is_file() && !given {
                let label = path.file_name().unwrap_or_default().to_string_lossy();
                self.sweep.note(&label, &std::fs::read(&path).unwrap_or_default());
            }
        }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = self.sweep.leaks(&self.secrets);
        let log = self.log();
        if log.contains("panicked at") {
            faults.push("the proxy panicked".to_owned());
        }
        if let Some(token) = self.token.as_ref().filter(|token| !token.is_empty()) {
            for (name, text) in [("the log", &log), ("the audit", &self.audit.text())] {
                if crate::canary::search(text.as_bytes(), token).is_some() {
                    faults.push(format!("the agent's token is in {name}"));
                }
            }
        }
        if !self.chain_unchecked.get() {
            faults.extend(self.audit.broken().map(|fault| format!("audit chain: {fault}")));
        }
        faults
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            eprintln!("--- the proxy's log\n{}--- its audit\n{}---", self.log(), self.audit.text());
            return;
        }
        if self.alive()
            && self.ready["admin"].is_string()
            && let Some((_, metrics)) = plain_get(self.admin(), "/metrics")
        {
            self.sweep.note("metrics", metrics.as_bytes());
        }
        self.stop();
        self.gather();
        let faults = self.faults();
        assert!(faults.is_empty(), "{faults:#?}\n--- the proxy's log\n{}", self.log());
    }
}

fn address(url: &Value) -> SocketAddr {
    let url = url.as_str().expect("an address in the ready file");
    url.trim_start_matches("http://")
        .trim_start_matches("https://")
        .trim_end_matches('/')
        .parse()
        .unwrap_or_else(|_| panic!("address {url}"))
}

fn plain_get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(crate::within::DEADLINE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let reply = crate::agent::reply::Reply::from_bytes(&bytes);
    Some((reply.status, reply.text()))
}

/// `KEY='value'` lines; inside the quotes only `'\''` is special.
pub fn parse_env(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pair = |line: &str| {
        let (name, value) = line.trim_start_matches("export ").split_once('=')?;
        let value = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')).unwrap_or(value);
        Some((name.to_owned(), value.replace("'\\''", "'")))
    };
    lines.map(|line| pair(line).unwrap_or_else(|| panic!("agent.env: {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_env_is_read_as_a_shell_reads_it() {
        let env = parse_env("# note\nA='x y'\nB=''\nC='it'\\''s'\n");
        let pairs: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("A", "x y"), ("B", ""), ("C", "it's")]);
    }
}
