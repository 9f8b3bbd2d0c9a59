//! Setting up a proxy: its files, its flags, and waiting until it serves.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::{Failure, Proxy};
use crate::ca::TestCa;
use crate::origin::Origin;
use crate::sweep::Sweep;
use crate::{audit::Audit, binary, canary};

/// Where the audit goes.
enum AuditTo {
    File,
    Path(String),
}

/// A proxy to be. Unless told otherwise: one loopback listener, one token, loopback origins allowed, a secret `canary`.
pub struct ProxyBuilder {
    canary: String,
    providers: Vec<(String, String)>,
    secrets: Vec<(String, String, String)>,
    hidden: Vec<String>,
    tokens: Option<String>,
    token: Option<String>,
    listen: Vec<String>,
    cidrs: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    audit: AuditTo,
    drain: String,
    log: String,
    secrets_dir: bool,
    binary: Option<std::path::PathBuf>,
    shell: Option<String>,
}

impl Default for ProxyBuilder {
    fn default() -> Self {
        let token = format!("agent-token-{}", canary::fresh());
        Self {
            canary: canary::fresh(),
            providers: Vec::new(),
            secrets: Vec::new(),
            hidden: Vec::new(),
            tokens: Some(format!("worker:{token}\n")),
            token: Some(token),
            listen: vec!["127.0.0.1:0".to_owned()],
            cidrs: vec!["127.0.0.0/8".to_owned()],
            args: Vec::new(),
            env: Vec::new(),
            audit: AuditTo::File,
            drain: "1s".to_owned(),
            log: "info,doorward=trace,proxy=trace,control=trace,certs=trace".to_owned(),
            secrets_dir: true,
            binary: None,
            shell: None,
        }
    }
}

impl ProxyBuilder {
    /// Another value for the secret `canary`.
    pub fn canary(mut self, value: &str) -> Self {
        self.canary = value.to_owned();
        self
    }

    /// A provider file `NAME.yaml` whose `spec` is `spec` (lines of YAML, not indented).
    pub fn provider(self, name: &str, spec: &str) -> Self {
        let text = provider_yaml(name, spec);
        self.file(name, &text)
    }

    /// A provider file as it is.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.providers.push((name.to_owned(), text.to_owned()));
        self
    }

    /// The plainest provider: the canary as a bearer token on `host`.
    pub fn bearer(self, host: &str) -> Self {
        self.provider("demo", &bearer_spec(host))
    }

    /// A key of a secret beside `canary`; its value is searched for at the end as well.
    pub fn secret(mut self, name: &str, key: &str, value: &str) -> Self {
        self.hidden.push(value.to_owned());
        self.public_value(name, key, value)
    }

    /// A key of a secret that is no secret (a user name).
    pub fn public_value(mut self, name: &str, key: &str, value: &str) -> Self {
        self.secrets.push((name.to_owned(), key.to_owned(), value.to_owned()));
        self
    }

    /// Another program in place of `doorward` (the harness's test of itself).
    pub fn binary(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// Starts it from a shell, which sets something up and ends with `exec "$@"`.
    pub fn shell(mut self, script: &str) -> Self {
        self.shell = Some(script.to_owned());
        self
    }

    /// The secrets of this vault in place of `--secrets`.
    pub fn vault(mut self, home: &crate::Home) -> Self {
        self.args.extend(home.vault_flags().iter().map(|&word| word.to_owned()));
        self.without_secrets()
    }

    /// No `--secrets` of the harness: the test gives its own source.
    pub fn without_secrets(mut self) -> Self {
        self.secrets_dir = false;
        self
    }

    /// Sends every host of `origin`, port 443, to it.
    pub fn origin(mut self, origin: &Origin) -> Self {
        for host in origin.hosts() {
            self = self.route(host, 443, origin.address());
        }
        self
    }

    pub fn route(self, host: &str, port: u16, to: std::net::SocketAddr) -> Self {
        self.arg("--resolve").arg(&format!("{host}:{port}:{}:{}", to.ip(), to.port()))
    }

    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    pub fn limit(self, name: &str, value: &str) -> Self {
        self.arg("--limit").arg(&format!("{name}={value}"))
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// No `--allow-cidr`: loopback origins are refused then.
    pub fn strict_addresses(mut self) -> Self {
        self.cidrs.clear();
        self
    }

    pub fn allow_cidr(mut self, cidr: &str) -> Self {
        self.cidrs.push(cidr.to_owned());
        self
    }

    pub fn no_token(mut self) -> Self {
        (self.tokens, self.token) = (None, None);
        self
    }

    /// A token file as it is; `token` is what agents of this proxy send.
    pub fn tokens(mut self, file: &str, token: &str) -> Self {
        (self.tokens, self.token) = (Some(file.to_owned()), Some(token.to_owned()));
        self
    }

    /// Replaces the listeners. `{home}` is this proxy's directory.
    pub fn listen(mut self, addresses: &[&str]) -> Self {
        self.listen = addresses.iter().map(|&address| address.to_owned()).collect();
        self
    }

    pub fn audit_to(mut self, path: &str) -> Self {
        self.audit = AuditTo::Path(path.to_owned());
        self
    }

    pub fn drain(mut self, duration: &str) -> Self {
        self.drain = duration.to_owned();
        self
    }

    pub fn log(mut self, filter: &str) -> Self {
        self.log = filter.to_owned();
        self
    }

    pub async fn start(self) -> Proxy {
        match self.try_start().await {
            Ok(proxy) => proxy,
            Err(failure) => panic!("doorward proxy ended with {:?}:\n{}", failure.code, failure.stderr),
        }
    }

    /// Starts it; an early end is the `Err`.
    pub async fn try_start(mut self) -> Result<Proxy, Failure> {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().to_owned();
        self.write_files(&at);
        let audit = match &self.audit {
            AuditTo::File => at.join("audit.jsonl"),
            AuditTo::Path(path) => path.replace("{home}", at.to_str().unwrap()).into(),
        };
        let mut command = self.command(&at, &audit);
        let mut child = command.spawn().expect("doorward starts");
        let ready = match wait_ready(&mut child, &at).await {
            Ok(ready) => ready,
            Err(failure) => return Err(failure),
        };
        let mut secrets = vec![self.canary];
        secrets.append(&mut self.hidden);
        let audit = Audit::at(audit);
        let (sweep, chain_unchecked) = (Sweep::default(), Default::default());
        Ok(Proxy {
            child,
            command,
            home,
            ready,
            token: self.token,
            secrets,
            audit,
            sweep,
            ended: None,
            chain_unchecked,
        })
    }

    fn write_files(&self, at: &Path) {
        for dir in ["providers", "secrets", "secrets/canary", "publish"] {
            fs::create_dir(at.join(dir)).unwrap();
            fs::set_permissions(at.join(dir), fs::Permissions::from_mode(0o700)).unwrap();
        }
        put(&at.join("upstream-ca.pem"), TestCa::world().pem());
        for (name, text) in &self.providers {
            put(&at.join(format!("providers/{name}.yaml")), text);
        }
        for key in ["token", "api-key"] {
            put(&at.join(format!("secrets/canary/{key}")), &self.canary);
        }
        for (name, key, value) in &self.secrets {
            fs::create_dir_all(at.join("secrets").join(name)).unwrap();
            put(&at.join("secrets").join(name).join(key), value);
        }
        if let Some(tokens) = &self.tokens {
            put(&at.join("tokens"), tokens);
        }
    }

    fn command(&self, at: &Path, audit: &Path) -> Command {
        let home = at.to_str().unwrap();
        let program = self.binary.clone().unwrap_or_else(|| binary::doorward().to_owned());
        let mut command = match &self.shell {
            None => Command::new(program),
            Some(script) => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", script, "sh"]).arg(program);
                command
            }
        };
        command.arg("proxy");
        for address in &self.listen {
            command.arg("--listen").arg(address.replace("{home}", home));
        }
        command.args(["--admin", "127.0.0.1:0"]);
        command.arg("--providers").arg(at.join("providers"));
        if self.secrets_dir {
            command.arg("--secrets").arg(at.join("secrets"));
        }
        command.arg("--upstream-ca").arg(at.join("upstream-ca.pem"));
        command.arg("--publish").arg(at.join("publish"));
        command.arg("--ready-file").arg(at.join("ready.json"));
        command.arg("--audit").arg(audit);
        command.args(["--drain", &self.drain, "--log", &self.log]);
        if self.tokens.is_some() {
            command.arg("--agent-token-file").arg(at.join("tokens"));
        }
        for cidr in &self.cidrs {
            command.args(["--allow-cidr", cidr]);
        }
        command.args(self.args.iter().map(|arg| arg.replace("{home}", home)));
        command.env_clear().env("HOME", at).env("RUST_BACKTRACE", "1");
        command.envs(self.env.iter().map(|(name, value)| (name, value.replace("{home}", home))));
        command.stdin(Stdio::null());
        command.stdout(fs::File::create(at.join("stdout")).unwrap());
        command.stderr(fs::File::create(at.join("stderr")).unwrap());
        command
    }
}

pub(super) async fn wait_ready(child: &mut std::process::Child, at: &Path) -> Result<Value, Failure> {
    let end = Instant::now() + crate::within::DEADLINE;
    loop {
        if let Ok(text) = fs::read_to_string(at.join("ready.json")) {
            return Ok(serde_json::from_str(&text).expect("the ready file is written atomically"));
        }
        let stderr =
            || String::from_utf8_lossy(&fs::read(at.join("stderr")).unwrap_or_default()).into_owned();
        if let Some(status) = child.try_wait().unwrap() {
            return Err(Failure { code: status.code(), stderr: stderr() });
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            panic!("no ready file:\n{}", stderr());
        }
        crate::within::pause().await;
    }
}

/// A whole Provider document from the lines of its `spec`.
pub fn provider_yaml(name: &str, spec: &str) -> String {
    let mut text =
        format!("apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {{name: {name}}}\nspec:\n");
    for line in spec.trim().lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

/// The spec of the plainest provider: the canary as a bearer token on `host`.
pub fn bearer_spec(host: &str) -> String {
    format!("type: http-token\nhost: {host}\nauth: {{type: bearer, secretRef: canary, secretKey: token}}")
}

/// Writes a file of mode 0600 and puts it in place by renaming.
pub fn put(path: &Path, text: &str) {
    let fresh = path.with_file_name(format!(".{}.new", path.file_name().unwrap().to_str().unwrap()));
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    drop(file);
    fs::rename(fresh, path).unwrap();
}
