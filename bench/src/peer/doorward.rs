//! doorward as a sidecar with everything switched on: token, policy, scrubbing, audit to a file.

use super::{Job, Provider, Running, wait_until, write};
use crate::rig::{Rig, SECRET, permissions};
use crate::{BenchError, Result, pki};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TOKEN: &str = "bench-agent-token-0123456789abcdefghijklmnop";

const RULES: &str = r#"apiVersion: doorward.dev/v1alpha1
kind: Provider
metadata: {name: bench}
spec:
  type: http-token
  hosts: [origin.bench.test, "*.cold.bench.test"]
  auth: {type: bearer, secretRef: bench, secretKey: token}
  policy:
    httpRules:
    - {id: no-delete, methods: [DELETE], paths: ["/**"], effect: deny, reason: "nothing is deleted"}
    - {id: reads, methods: [GET], paths: [/json, "/download/*", "/sse/*/*"], effect: allow}
    - {id: writes, methods: [POST], paths: [/echo, /upload], effect: allow}
    defaultAction: deny
"#;

const COUNTED: &str = r#"apiVersion: doorward.dev/v1alpha1
kind: ModelProvider
metadata: {name: bench}
spec:
  provider: custom
  endpoint: https://origin.bench.test/v1
  apiKeySecretRef: {name: bench, key: token}
"#;

/// What a ModelProvider is made into, without the model.
const UNCOUNTED: &str = r#"apiVersion: doorward.dev/v1alpha1
kind: Provider
metadata: {name: bench}
spec:
  type: custom
  host: origin.bench.test
  auth: {secretRef: bench, secretKey: token}
  policy: {httpRules: [{id: endpoint, paths: [/v1, "/v1/**"], effect: allow}]}
"#;

impl Provider {
    fn file(self) -> &'static str {
        match self {
            Self::Rules => RULES,
            Self::Counted => COUNTED,
            Self::Uncounted => UNCOUNTED,
        }
    }
}

pub(super) fn start(rig: &Rig, job: Job, provider: Provider) -> Result<Running> {
    let Some(binary) = &rig.doorward else {
        return Err(BenchError::NotInstalled("give --doorward PATH".to_owned()));
    };
    let folder = rig.folder_for("doorward")?;
    let files = Files::write(folder.path(), provider.file())?;
    let mut command = Command::new(binary);
    command
        .arg("proxy")
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--workers", "1"])
        .args(["--allow-cidr", "127.0.0.0/8", "--log", "warn"])
        .arg("--providers")
        .arg(&files.provider)
        .arg("--secrets")
        .arg(&files.secrets)
        .arg("--agent-token-file")
        .arg(&files.token)
        .arg("--publish")
        .arg(&files.publish)
        .arg("--ready-file")
        .arg(&files.ready)
        .arg("--audit")
        .arg(folder.path().join("audit.jsonl"))
        .arg("--upstream-ca")
        .arg(rig.pki().join("ca.crt"))
        .env("HOME", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let port = rig.origin(job.protocol).port();
    for host in std::iter::once(pki::HOST.to_owned()).chain((0..job.cold_hosts).map(pki::cold_host)) {
        command.arg("--resolve").arg(format!("{host}:443:127.0.0.1:{port}"));
    }
    let mut process = rig.cores.spawn_proxy(&mut command)?;
    let ready = wait_until(&mut process, "doorward", || read_ready(&files.ready))?;
    let (address, admin) = (of_url(&ready.proxy)?, of_url(&ready.admin)?);
    let mut running = Running::by_443(rig, job.protocol, process, address, folder);
    running.roots.push(ready.ca);
    running.token = Some(TOKEN.to_owned());
    running.admin = Some(admin);
    Ok(running)
}

#[derive(serde::Deserialize)]
struct Ready {
    proxy: String,
    admin: String,
    ca: PathBuf,
}

fn of_url(url: &str) -> Result<SocketAddr> {
    let address = url.strip_prefix("http://").and_then(|address| address.parse().ok());
    address.ok_or_else(|| BenchError::Answer(format!("ready file names {url}")))
}

/// The file appears by a rename, so it is either absent or whole.
fn read_ready(file: &Path) -> Option<Ready> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

struct Files {
    provider: PathBuf,
    secrets: PathBuf,
    token: PathBuf,
    publish: PathBuf,
    ready: PathBuf,
}

impl Files {
    fn write(folder: &Path, provider: &str) -> Result<Self> {
        let files = Self {
            provider: folder.join("bench.yaml"),
            secrets: folder.join("secrets"),
            token: folder.join("agents"),
            publish: folder.join("public"),
            ready: folder.join("ready.json"),
        };
        let key = files.secrets.join("bench");
        fs::create_dir_all(&key)?;
        fs::create_dir_all(&files.publish)?;
        write(&files.provider, provider)?;
        write_private(&key.join("token"), SECRET)?;
        write_private(&files.token, &format!("bench:{TOKEN}\n"))?;
        for folder in [&files.secrets, &key] {
            fs::set_permissions(folder, permissions(0o700))?;
        }
        Ok(files)
    }
}

fn write_private(file: &Path, text: &str) -> Result<()> {
    write(file, text)?;
    Ok(fs::set_permissions(file, permissions(0o600))?)
}
