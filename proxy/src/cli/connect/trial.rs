//! Whether a credential works: the type's call, through a proxy of its own, with a vault that nobody else can open.
//!
//! The vault's key is in two pipes and never on a disk; the proxy's audit goes where that of every proxy goes.

use std::ffi::OsString;
use std::io::{PipeReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

use control::cli::vault::{KeyArgs, VaultArgs, project};
use control::cli::{Env, Exit, Failure};
use control::provider::{Mode, Verify};
use control::secret::Secret;
use control::vault::local::{Entry, LocalVault};
use rustix::io::{FdFlags, fcntl_setfd};
use zeroize::Zeroizing;

use super::draft::Draft;
use super::failed;
use crate::cli::folder::PrivateFolder;
use crate::cli::sidecar::{self, Setup, Sidecar};
use crate::cli::through::{Answer, Call, Through};

/// How long a service may think before it answers.
const PATIENCE: &str = "20s";
/// The proxy's own limits end first, and say why.
const LATE: Duration = Duration::from_secs(60);
/// The longest answer that is looked at.
const ANSWER_MAX: u64 = 64 * 1024;
/// The bytes of a vault's key.
const KEY: usize = 32;

/// A trial that went well, with the vault that it was made with: an issuer may have put other values into it in the place
/// of those that it was shown, which are void now.
#[derive(Debug)]
pub(super) struct Tried {
    /// What to tell.
    pub(super) told: String,
    folder: PrivateFolder,
    key: Zeroizing<Vec<u8>>,
}

impl Tried {
    /// Makes what the trial's vault holds now the secret's, in the vault that keeps it.
    pub(super) async fn carry_renewed(
        &self,
        env: &Env,
        draft: &Draft,
        to: &LocalVault,
    ) -> Result<(), Failure> {
        let pipe = pipe(&self.key)?;
        let own = unlocked(env, &self.folder.path().join(VAULT), &pipe).await?;
        Ok(own.carry_renewed(project(env)?, &draft.secret, to).await?)
    }
}

impl Tried {
    /// Whether the trial's vault holds other values now than those that were tried.
    pub(super) async fn was_renewed(&self, env: &Env, draft: &Draft) -> Result<bool, Failure> {
        let args = VaultArgs { vault: Some(self.folder.path().join(VAULT)), key: KeyArgs::default() };
        let row = args.store(env).await?.secret(project(env)?, &draft.secret).await?;
        Ok(row.is_some_and(|row| row.version > 1))
    }
}

/// The trial's vault in its folder.
const VAULT: &str = "vault.db";

/// Tries the credential; what to tell, or why it does not do.
pub(super) fn run(
    env: &Env,
    draft: &Draft,
    resolve: &[String],
    values: &[(String, Secret)],
) -> Result<Tried, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| failed(error.to_string()))?.block_on(tried(env, draft, resolve, values))
}

async fn tried(
    env: &Env,
    draft: &Draft,
    resolve: &[String],
    values: &[(String, Secret)],
) -> Result<Tried, Failure> {
    let Some(verify) = &draft.provider.verify else { return Err(failed("there is no call that verifies")) };
    let folder = PrivateFolder::new(env)?;
    let mut key = Zeroizing::new(vec![0; KEY]);
    getrandom::fill(&mut key).map_err(|error| failed(format!("no randomness: {error}")))?;
    let vault = folder.path().join(VAULT);
    fill(env, draft, &vault, &key, values).await?;
    let file = folder.path().join("provider.yaml");
    sidecar::put_private(&file, draft.trial.as_bytes())?;
    let pipe = pipe(&key)?;
    let flags = flags(env, &vault, &pipe, &file, resolve);
    let log = folder.path().join("proxy.log");
    let started = Sidecar::start(env, Setup { flags, vars: vars(env), log: Some(log.clone()) }).await;
    drop(pipe);
    let sidecar = started.map_err(|failure| with_log(&failure, &log))?;
    let outcome = call(&sidecar, verify, draft.provider.mode).and_then(|answer| judge(verify, answer));
    sidecar.end().await;
    outcome.map(|told| Tried { told, folder, key })
}

/// Opens the trial's vault.
async fn unlocked(env: &Env, vault: &Path, key: &PipeReader) -> Result<LocalVault, Failure> {
    let number = u32::try_from(key.as_raw_fd()).map_err(|error| failed(error.to_string()))?;
    let args = VaultArgs {
        vault: Some(vault.to_owned()),
        key: KeyArgs { master_key_fd: Some(number), ..KeyArgs::default() },
    };
    args.unlock(env).await
}

/// Seals the values once more, for the trial.
async fn fill(
    env: &Env,
    draft: &Draft,
    vault: &Path,
    key: &[u8],
    values: &[(String, Secret)],
) -> Result<(), Failure> {
    let pipe = pipe(key)?;
    let entry = Entry {
        name: draft.secret.clone(),
        description: None,
        expires: None,
        hosts: Some(draft.hosts.clone()),
        // exposed: to be sealed a second time, into the vault of the trial
        values: values
            .iter()
            .map(|(key, value)| (key.clone(), Secret::new(value.expose().to_vec())))
            .collect(),
    };
    unlocked(env, vault, &pipe).await?.add(project(env)?, vec![entry], vec![]).await?;
    Ok(())
}

/// A pipe with the key in it, for one reader.
fn pipe(key: &[u8]) -> Result<PipeReader, Failure> {
    let made = std::io::pipe().and_then(|(reader, mut writer)| writer.write_all(key).map(|()| reader));
    made.map_err(|error| failed(format!("cannot make a pipe: {error}")))
}

fn flags(env: &Env, vault: &Path, key: &PipeReader, file: &Path, resolve: &[String]) -> Vec<OsString> {
    let mut flags = Vec::new();
    let mut flag = |name: &str, value: OsString| flags.extend([OsString::from(name), value]);
    if let Some(home) = &env.globals.home {
        flag("--home", home.into());
    }
    flag("--vault", vault.into());
    flag("--master-key-fd", key.as_raw_fd().to_string().into());
    flag("--providers", file.into());
    flag("--log", "warn".into());
    flag("--limit", format!("upstream-first-byte={PATIENCE}").into());
    resolve.iter().for_each(|one| flag("--resolve", one.into()));
    // The one that the proxy shall have.
    if let Err(error) = fcntl_setfd(key, FdFlags::empty()) {
        tracing::debug!(%error, "descriptor not handed on");
    }
    flags
}

/// What finds the home and the way out, and nothing else that configures another proxy.
fn vars(env: &Env) -> Vec<(OsString, OsString)> {
    const HOME: [&str; 6] = ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "TMPDIR", "PATH"];
    const WAY: [&str; 4] = [
        "DOORWARD_ALLOW_CIDR",
        "DOORWARD_UPSTREAM_CA",
        "DOORWARD_UPSTREAM_PROXY",
        "DOORWARD_UPSTREAM_PROXY_FILE",
    ];
    HOME.iter().chain(&WAY).filter_map(|name| Some(((*name).into(), env.var(name)?.into()))).collect()
}

fn call(sidecar: &Sidecar, verify: &Verify, mode: Mode) -> Result<Answer, Failure> {
    let var = |name: &str| {
        sidecar.agent_env.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value.as_str())
    };
    let mut headers: Vec<String> = verify
        .headers
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}: {}", value.to_str().ok()?)))
        .collect();
    headers.push("User-Agent: doorward".to_owned());
    if !verify.headers.contains_key(http::header::ACCEPT) {
        headers.push("Accept: */*".to_owned());
    }
    if verify.body.is_some() {
        headers.push("Content-Type: application/json".to_owned());
    }
    let host = verify.target.host.to_string();
    let through = Through { proxy: var("HTTPS_PROXY"), bundle: var("SSL_CERT_FILE"), late: LATE };
    let answer = through.ask(&Call {
        method: verify.method.as_str(),
        host: &host,
        port: verify.target.port,
        is_plain: mode == Mode::Plain,
        path: &verify.path_and_query,
        headers: &headers,
        body: verify.body.unwrap_or_default(),
    });
    answer.map_err(|error| failed(format!("not verified: the proxy of the trial gave no answer: {error}")))
}

/// Says what the answer means.
fn judge(verify: &Verify, answer: Answer) -> Result<String, Failure> {
    // The path may hold the dummy, which says nothing to anybody.
    let what = format!("{} to {}", verify.method, verify.target.host);
    if answer.header("proxy-status").is_some_and(|status| status.starts_with("doorward;")) {
        return Err(refused(&what, answer));
    }
    let status = answer.status();
    let rejected = answer.header("doorward-note").is_some_and(|note| note.starts_with("upstream-rejected"));
    if rejected || status == 401 {
        return Err(failed(format!("the credential is refused: {what} was answered {status}")));
    }
    if status != verify.expect {
        return Err(failed(format!(
            "not verified: {what} was answered {status}, and {} was expected",
            verify.expect
        )));
    }
    if let Some(says) = verify.says {
        let body = answer.body(ANSWER_MAX).map_err(|error| failed(format!("not verified: {error}")))?;
        if !body.replace(' ', "").contains(says) {
            return Err(failed(format!(
                "the credential is refused: {what} was answered {status}, and says so"
            )));
        }
    }
    Ok(format!("verified: {what} was answered {status}"))
}

/// A refusal of our own proxy: the service was not reached, or the credential cannot be used.
fn refused(what: &str, answer: Answer) -> Failure {
    let status = answer.status();
    let code = answer
        .header("proxy-status")
        .and_then(|text| text.split("details=\"").nth(1))
        .and_then(|text| text.split('"').next())
        .unwrap_or_default()
        .to_owned();
    let length =
        answer.header("content-length").and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    let body = answer.body(length.min(ANSWER_MAX)).unwrap_or_default();
    let json = body.find('{').and_then(|at| body.get(at..)).unwrap_or_default();
    let told: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let detail = ["/detail", "/error/data/detail"].iter().find_map(|at| told.pointer(at)?.as_str());
    let detail = detail.map_or_else(|| format!("it answered {status}"), str::to_owned);
    let is_away = ["DW2004", "DW2005", "DW2006", "DW2013"].contains(&code.as_str());
    let (exit, why) = if is_away { (Exit::Unhealthy, "not reached") } else { (Exit::Error, "not verified") };
    Failure::new(exit, format!("{why}: {what}: {code}: {detail}"))
}

fn with_log(failure: &Failure, log: &Path) -> Failure {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    Failure::new(failure.exit, format!("{failure}\n{}", log.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_holds_the_key_for_one_reader() {
        let mut read = Vec::new();
        std::io::Read::read_to_end(&mut pipe(b"0123").unwrap(), &mut read).unwrap();
        assert_eq!(read, b"0123");
    }
}
