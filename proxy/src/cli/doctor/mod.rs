//! `doorward doctor`: what would go wrong, found before it does: clients and what they obey, traps in the agent's
//! environment, CA, keys, vault, and what this kernel lets a process do to protect itself.

mod clients;
mod finding;
mod python;
mod traps;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use clap::Args;
use control::cli::vault::VaultArgs;
use control::cli::{Env, Exit, Failure, Format};
use control::config::Home;
use control::refusal::Code;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use self::clients::{CLIENTS, Client};
use self::finding::{Finding, State};
use self::traps::Vars;
use crate::process::{self, Confinement};
use crate::publish;

/// A client that does not tell its version in this time is not asked further.
const VERSION: Duration = Duration::from_secs(3);
/// The first Node that reads proxy variables.
const NODE_WITH_PROXY: u32 = 24;

/// Look for what would go wrong: clients, variables, CA, vault, process (exit 7 where something would).
#[derive(Args, Clone, Debug)]
pub struct Doctor {
    /// Judge the environment that a running proxy publishes there; default: the one that doctor runs in.
    #[arg(long, env = "DOORWARD_PUBLISH", value_name = "DIR")]
    publish: Option<PathBuf>,
    #[command(flatten)]
    vault: VaultArgs,
}

impl Doctor {
    /// Looks at everything and prints it.
    pub fn run(&self, env: &Env) -> Result<Exit, Failure> {
        let format = env.globals.output;
        if !matches!(format, Format::Table | Format::Wide | Format::Json | Format::Jsonl) {
            return Err(Failure::new(Exit::Usage, "doctor prints -o table, json or jsonl"));
        }
        let mut present: Vec<&Client> =
            CLIENTS.iter().filter(|client| is_in_path(env, client.program)).collect();
        let mut findings: Vec<Finding> =
            present.iter().map(|client| Finding::good(client.name, client.obeys())).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
        if present.iter().any(|client| client.program == "python3") {
            let (found, packages) = runtime.block_on(python::packages(env));
            findings.extend(found);
            present.extend(packages);
        }
        findings.extend(self.environment(env, &present)?);
        findings.extend(runtime.block_on(node(env, &present)));
        findings.extend(files(env));
        findings.push(runtime.block_on(self.vault(env)));
        drop(runtime);
        // Last of all: this process is confined from here on.
        findings.extend(measures());
        if format == Format::Json {
            env.output.data(findings.iter().map(Finding::json).collect::<serde_json::Value>());
        }
        for finding in findings.iter().filter(|_| format != Format::Json) {
            if format == Format::Jsonl { env.output.data(finding.json()) } else { env.output.data(finding) }
        }
        let is_well = findings.iter().all(|finding| finding.state != State::Bad);
        Ok(if is_well { Exit::Ok } else { Exit::Unhealthy })
    }

    fn environment(&self, env: &Env, present: &[&Client]) -> Result<Vec<Finding>, Failure> {
        let vars = self.vars(env)?;
        let mut findings = traps::bypass(&vars);
        if !traps::has_proxy(&vars) {
            let how =
                "no proxy variable is set here: run doctor in the agent's environment, or give --publish DIR";
            findings.insert(0, Finding::note("environment", how));
            return Ok(findings);
        }
        findings.extend(traps::upper_case_only(&vars, present));
        findings.extend(traps::ignoring(&vars, present));
        findings.extend(traps::behind_tls(&vars, present));
        findings.extend(traps::without_roots(&vars, present));
        findings.extend(traps::bundles(&vars, certificates));
        Ok(findings)
    }

    fn vars(&self, env: &Env) -> Result<Vars, Failure> {
        let Some(folder) = &self.publish else {
            let text = |text: &std::ffi::OsString| text.to_string_lossy().into_owned();
            return Ok(env.vars.iter().map(|(name, value)| (text(name), text(value))).collect());
        };
        let path = folder.join("agent.env");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Failure::new(Exit::NotFound, format!("{}: {error}", path.display())))?;
        let vars = publish::read_dotenv(&text).ok_or_else(|| {
            Failure::new(Exit::Error, format!("{} is not as the proxy writes it", path.display()))
        })?;
        Ok(vars.into_iter().collect())
    }

    /// Whether the vault opens with its key. A vault that is not there is none of ours to make.
    async fn vault(&self, env: &Env) -> Finding {
        let file = match (&self.vault.vault, Home::find(env)) {
            (Some(file), _) => file.clone(),
            (None, Ok(home)) => home.vault_db(),
            (None, Err(error)) => return Finding::bad("vault", None, error.to_string()),
        };
        if !file.exists() {
            return Finding::note("vault", format!("there is none yet in {}", file.display()));
        }
        match self.vault.unlock(env).await {
            Ok(_) => Finding::good("vault", format!("{} opens with its key", file.display())),
            Err(failure) => Finding::bad("vault", Code::Dw5001, failure.to_string()),
        }
    }
}

fn is_in_path(env: &Env, program: &str) -> bool {
    std::env::split_paths(env.var("PATH").unwrap_or_default()).any(|folder| folder.join(program).is_file())
}

fn certificates(path: &str) -> Option<usize> {
    let text = std::fs::read(path).ok()?;
    let count = CertificateDer::pem_slice_iter(&text).filter(Result::is_ok).count();
    (count > 0).then_some(count)
}

/// Old Nodes go direct whatever their environment says.
async fn node(env: &Env, present: &[&Client]) -> Option<Finding> {
    present.iter().find(|client| client.program == "node")?;
    let mut command = tokio::process::Command::new("node");
    command
        .arg("--version")
        .env_clear()
        .env("PATH", env.var("PATH")?)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(VERSION, command.output()).await.ok()?.ok()?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let major: u32 = version.trim_start_matches('v').split('.').next()?.parse().ok()?;
    Some(if major < NODE_WITH_PROXY {
        Finding::note(
            "node",
            format!(
                "{version}: its fetch reads no proxy variable, it goes direct; Node {NODE_WITH_PROXY} does with NODE_USE_ENV_PROXY=1"
            ),
        )
        .with_code(Code::Dw4002)
    } else {
        Finding::good("node", version)
    })
}

/// The CA and the modes of everything that holds a key.
fn files(env: &Env) -> Vec<Finding> {
    let Ok(home) = Home::find(env) else { return Vec::new() };
    let ca = home.ca_dir();
    let mut findings: Vec<_> = [home.master_key(), home.vault_db(), ca.join("ca.key")]
        .iter()
        .filter_map(|path| private(path))
        .collect();
    let certificate = ca.join("ca.crt");
    if let Ok(text) = std::fs::read(&certificate) {
        findings.push(match certs::trust::describe(&certificate, &text, SystemTime::now()) {
            Ok(facts) if facts.is_valid => {
                Finding::good("CA", format!("valid until {}, SHA-256 {}", facts.not_after, facts.fingerprint))
            }
            Ok(facts) => Finding::bad(
                "CA",
                None,
                format!(
                    "not valid now (until {}); remove {} and ca.key beside it, a new one is made",
                    facts.not_after,
                    certificate.display()
                ),
            ),
            Err(error) => Finding::bad("CA", None, error.to_string()),
        });
    }
    findings
}

/// Readable by nobody but us; `None` where there is no such file.
fn private(path: &Path) -> Option<Finding> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    let name = path.display().to_string();
    let is_ours = meta.uid() == rustix::process::geteuid().as_raw() || meta.uid() == 0;
    Some(match meta.mode() & 0o777 {
        mode if mode & 0o077 != 0 => Finding::bad(
            name,
            None,
            format!("others may use it (mode {mode:04o}); run: chmod 600 {}", path.display()),
        ),
        _ if !is_ours => Finding::bad(name, None, format!("belongs to another user (uid {})", meta.uid())),
        mode => Finding::good(name, format!("mode {mode:04o}")),
    })
}

/// What a proxy can do here to protect itself: done to this process, and asked back.
fn measures() -> Vec<Finding> {
    let mut found = process::harden();
    process::confine(&mut found, &Confinement::default());
    let measures = found.measures().iter().map(|measure| {
        let detail = format!(
            "{}{}{}",
            measure.state,
            if measure.detail.is_empty() { "" } else { ", " },
            measure.detail
        );
        match measure.state {
            process::State::On => Finding::good(measure.name, detail),
            process::State::Off | process::State::Unsupported => Finding::note(measure.name, detail),
        }
    });
    measures.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_that_others_may_read_is_bad() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(private(&path).is_none());
        std::fs::write(&path, "x").unwrap();
        for (mode, state) in
            [(0o640, State::Bad), (0o604, State::Bad), (0o600, State::Good), (0o400, State::Good)]
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(private(&path).unwrap().state, state, "{mode:o}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_no_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle");
        std::fs::write(&path, "nothing").unwrap();
        assert_eq!(certificates(path.to_str().unwrap()), None);
    }
}
