use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Executor};
use time::OffsetDateTime;
use time::macros::datetime;

use super::local::{Change, Entry, LocalVault, WriteError};
use super::master::{KeySource, MasterError};
use super::store::{Store, StoreError};
use super::*;
use crate::agent::AgentName;
use crate::database::Database;
use crate::policy::{self, Effect, Facts, Permit, Policy, Renewal};
use crate::provider::{
    Auth, Enforcement, Mode, OnAgentCredential, Provider, RequestLimits, ResponseRules, UpstreamRules,
};
use crate::rule::Path;
use crate::secret::SecretName;
use crate::target::Target;
use crate::types::{Actions, Resolved, TypeSpec};

mod refusals;
mod renewals;

fn noon() -> OffsetDateTime {
    datetime!(2030-01-01 12:00 UTC)
}

pub(crate) fn secret_ref(name: &str) -> SecretRef {
    SecretRef { project: "default".into(), name: name.parse().unwrap() }
}

pub(crate) fn permit(secret: &str, target: &str) -> Permit {
    let auth = Auth {
        auth_type: "bearer".into(),
        secret: secret_ref(secret),
        keys: vec!["token".into()],
        injections: Vec::new(),
        token_urls: Vec::new(),
        on_agent_credential: OnAgentCredential::Replace,
        dummies: Default::default(),
        remove_headers: Vec::new(),
        remove_params: Default::default(),
        public_prefixes: &[],
    };
    let provider = Arc::new(Provider {
        digest: [0; 32],
        project: "default".into(),
        name: "test".into(),
        source: "test.yaml:1".into(),
        kind: &ANY,
        hosts: Vec::new(),
        mcp: None,
        mode: Mode::Intercept,
        verify: Default::default(),
        auth: Some(auth),
        policy: Policy { default: Effect::Allow, ..Policy::default() },
        enforcement: Enforcement::Enforce,
        limits: RequestLimits::default(),
        response: ResponseRules { redact: true, strip_headers: Vec::new(), small_ranges_allowed: false },
        keep_headers: Vec::new(),
        upstream: UpstreamRules::default(),
        log_requests: true,
        model: None,
        agent_env: Vec::new(),
    });
    policy::decide(&Facts {
        agent: &AgentName::local(),
        target: &Target::parse_authority(target).unwrap(),
        provider: &provider,
        method: &http::Method::GET,
        path: &Path::parse("/").unwrap(),
        query: None,
        body: None,
        headers: &http::HeaderMap::new(),
    })
    .unwrap()
    .permit()
    .unwrap()
}

static ANY: TypeSpec = TypeSpec {
    name: "any",
    summary: "",
    hosts: &[],
    auth: &[],
    actions: Actions::None,
    scope: None,
    verify: None,
    resolve: |_| Resolved::unknown(),
};

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn token(value: &str) -> Vec<(String, Secret)> {
    vec![("token".to_owned(), Secret::new(value.into()))]
}

fn entry(secret: &str, value: &str) -> Entry {
    Entry { name: name(secret), description: None, expires: None, hosts: None, values: token(value) }
}

fn bound(secret: &str, value: &str, hosts: &[&str]) -> Entry {
    Entry { hosts: Some(BoundHosts::parse(hosts).unwrap()), ..entry(secret, value) }
}

fn change(value: &str) -> Change {
    Change { expires: None, hosts: None, values: token(value) }
}

/// A home with a vault in it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn db(&self) -> std::path::PathBuf {
        self.dir.path().join("vault.db")
    }

    fn key(&self) -> KeySource {
        KeySource::File(self.dir.path().join("master.key"))
    }

    async fn local(&self) -> Arc<LocalVault> {
        let store = Arc::new(Database::sqlite(&self.db(), true).await.unwrap());
        Arc::new(LocalVault::unlock(store, &self.key(), noon).await.unwrap())
    }

    /// Changes the file as an attacker with write access to it would.
    async fn edit(&self, sql: &'static str) {
        let options = SqliteConnectOptions::new().filename(self.db());
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let changed = connection.execute(sql).await.unwrap().rows_affected();
        assert!(changed > 0, "{sql} changed nothing");
        connection.close().await.unwrap();
    }
}

fn vault(local: &Arc<LocalVault>) -> Vault {
    Vault::new(vec![Arc::clone(local) as Arc<dyn Source>], noon)
}

async fn read(vault: &Vault, secret: &str) -> Result<(u64, bool), OpenError> {
    let opened = vault.open(&permit(secret, "a.example:443")).await?;
    Ok((opened.version.number, opened.value("token").is_some_and(|value| value.matches(b"value-one"))))
}

#[tokio::test]
async fn versions_rise_through_rotation_rollback_and_a_name_used_again() {
    let place = Place::new();
    let local = place.local().await;
    let vault = vault(&local);
    let one = name("one");
    local.add("default", vec![bound("one", "value-one", &["a.example"])], vec![]).await.unwrap();
    let mut revision = local.store().revision().await.unwrap();
    assert_eq!(read(&vault, "one").await.unwrap(), (1, true));
    assert_eq!(local.rotate("default", &one, change("value-two")).await.unwrap(), 2);
    assert_eq!(read(&vault, "one").await.unwrap(), (2, false));
    assert_eq!(local.rotate("default", &one, change("value-three")).await.unwrap(), 3);
    assert_eq!(local.roll_back("default", &one).await.unwrap(), 4);
    let opened = vault.open(&permit("one", "a.example:443")).await.unwrap();
    assert!(opened.value("token").unwrap().matches(b"value-two"));
    assert!(opened.terms.hosts.is_some(), "rotation keeps the bound hosts");
    assert_eq!(local.roll_back("default", &one).await.unwrap(), 5);
    let opened = vault.open(&permit("one", "a.example:443")).await.unwrap();
    assert!(opened.value("token").unwrap().matches(b"value-three"));
    assert!(local.store().delete_secret("default", &one).await.unwrap());
    assert!(!local.store().delete_secret("default", &one).await.unwrap());
    assert!(matches!(read(&vault, "one").await, Err(OpenError::Missing(_))));
    local.add("default", vec![entry("one", "value-one")], vec![]).await.unwrap();
    assert_eq!(read(&vault, "one").await.unwrap(), (6, true));
    let now = local.store().revision().await.unwrap();
    assert!(now > std::mem::replace(&mut revision, now) + 4);
}

/// The proxy has one runtime for each worker; the vault was opened on yet another that is gone.
#[test]
fn opens_from_any_runtime_also_when_its_own_is_gone() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let place = Place::new();
    let first = runtime();
    let local = first.block_on(async {
        let local = place.local().await;
        local.add("default", vec![entry("one", "value-one")], vec![]).await.unwrap();
        local
    });
    drop(first);
    let vault = Arc::new(vault(&local));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let vault = Arc::clone(&vault);
            std::thread::spawn(move || {
                for _ in 0..5 {
                    let worker = runtime();
                    worker.block_on(async {
                        // A request that is dropped in the middle must not block those after it.
                        tokio::select! { biased; _ = read(&vault, "one") => {}, () = std::future::ready(()) => {} }
                        for _ in 0..20 {
                            assert!(read(&vault, "one").await.unwrap().1);
                        }
                    });
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

#[tokio::test]
async fn two_processes_that_rotate_at_once_lose_nothing() {
    let place = Place::new();
    let one = place.local().await;
    one.add("default", vec![entry("one", "value-one")], vec![]).await.unwrap();
    let two = place.local().await;
    let secret = name("one");
    let mut made = 0;
    for round in 0..10 {
        let (a, b) = (change(&format!("value-a{round}")), change(&format!("value-b{round}")));
        let (a, b) = tokio::join!(one.rotate("default", &secret, a), two.rotate("default", &secret, b));
        for result in [a, b] {
            match result {
                Ok(_) => made += 1,
                Err(WriteError::Store(StoreError::Raced(_))) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert_eq!(read(&vault(&one), "one").await.unwrap().0, 1 + made);
}

/// Every form of the canary that a reader of the disk would search for.
fn forms(value: &str) -> Vec<Vec<u8>> {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    let bytes = value.as_bytes();
    let mut forms = vec![bytes.to_vec(), hex::encode(bytes).into(), hex::encode_upper(bytes).into()];
    for skip in 0..3 {
        // Three alignments; the edges depend on what stands beside, so they are left off.
        let inner = &bytes[skip..skip + (bytes.len() - skip) / 3 * 3];
        forms.extend([STANDARD_NO_PAD.encode(inner).into(), URL_SAFE_NO_PAD.encode(inner).into()]);
    }
    forms.push(bytes.iter().flat_map(|b| format!("%{b:02x}").into_bytes()).collect());
    forms.push(bytes.iter().flat_map(|b| format!("\\u{b:04x}").into_bytes()).collect());
    forms.push(bytes.iter().rev().copied().collect());
    // A half is enough to betray it: pages and frames may cut a value.
    forms.push(bytes[..bytes.len() / 2].to_vec());
    forms.push(bytes[bytes.len() / 2..].to_vec());
    forms
}

fn canary_in(dir: &std::path::Path, canary: &str) -> Option<std::path::PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| {
        // SQLite removes its log when the last connection closes: what is gone holds nothing.
        let bytes = std::fs::read(path).unwrap_or_default();
        forms(canary).iter().any(|form| memchr::memmem::find(&bytes, form).is_some())
    })
}

#[tokio::test]
async fn no_file_holds_a_value_in_any_form() {
    let canary = "Canary/7fQ+zKxW2vB9~mNpR4tYhJ";
    let place = Place::new();
    let local = place.local().await;
    local.add("default", vec![entry("one", canary)], vec![]).await.unwrap();
    assert_eq!(canary_in(place.dir.path(), canary), None);
    local.rotate("default", &name("one"), change(&format!("{canary}2"))).await.unwrap();
    local.roll_back("default", &name("one")).await.unwrap();
    assert!(
        std::fs::read_dir(place.dir.path()).unwrap().count() >= 4,
        "database, log, index and key are there"
    );
    assert_eq!(canary_in(place.dir.path(), canary), None);
    local.store().delete_secret("default", &name("one")).await.unwrap();
    drop(local);
    assert_eq!(canary_in(place.dir.path(), canary), None);
    std::fs::write(place.dir.path().join("plain"), format!("x{canary}x")).unwrap();
    assert!(canary_in(place.dir.path(), canary).is_some(), "the search finds what is there");
}

/// The process that [`survives_kill_9_at_any_moment`] kills: writes as fast as it can and says what was committed.
#[test]
#[ignore = "run as a child by survives_kill_9_at_any_moment, which hands it a folder on its input"]
fn writes_until_killed() {
    let mut dir = String::new();
    std::io::stdin().read_line(&mut dir).unwrap();
    if dir.is_empty() {
        return;
    }
    let dir = std::path::PathBuf::from(dir.trim_end());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(Database::sqlite(&dir.join("vault.db"), true).await.unwrap());
        let key = KeySource::File(dir.join("master.key"));
        let local = LocalVault::unlock(store, &key, noon).await.unwrap();
        for number in 0.. {
            let secret = format!("s{}", number % 7);
            let version = match number / 7 % 5 {
                0 if local.store().secret("default", &name(&secret)).await.unwrap().is_none() => {
                    local
                        .add("default", vec![bound(&secret, &value_of(&secret, 0), &["a.example"])], vec![])
                        .await
                        .unwrap();
                    0
                }
                4 => {
                    local.roll_back("default", &name(&secret)).await.unwrap();
                    0
                }
                _ => {
                    local.rotate("default", &name(&secret), change(&value_of(&secret, number))).await.unwrap()
                }
            };
            println!("\ncommitted {secret} {version}");
        }
    });
}

fn value_of(secret: &str, number: u64) -> String {
    format!("value of {secret}, number {number}")
}

#[test]
fn survives_kill_9_at_any_moment() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};
    let place = Place::new();
    for round in 0..10_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "vault::tests::writes_until_killed", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{}", place.dir.path().display()).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut committed = std::collections::BTreeMap::new();
        let mut note = |line: String| {
            if let ["committed", secret, version] = line.split(' ').collect::<Vec<_>>()[..] {
                let version: u64 = version.parse().unwrap();
                committed
                    .entry(secret.to_owned())
                    .and_modify(|v: &mut u64| *v = version.max(*v))
                    .or_insert(version);
            }
        };
        let mut seed = [0; 2];
        getrandom::fill(&mut seed).unwrap();
        // Some rounds end while the vault is being made, the others after some writes and a moment of any length.
        for _ in 0..usize::from(seed[0]) / 4 * usize::from(round > 1) {
            note(lines.next().unwrap().unwrap());
        }
        std::thread::sleep(std::time::Duration::from_micros(u64::from(seed[1]) * 40));
        child.kill().unwrap();
        lines.map_while(Result::ok).for_each(note);
        child.wait().unwrap();
        verify(&place, &committed);
    }
}

/// Every committed version is there or was followed by a later one, everything that is listed opens, nothing is torn.
fn verify(place: &Place, committed: &std::collections::BTreeMap<String, u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let local = place.local().await;
        let rows = local.store().secrets("default").await.unwrap();
        for (secret, version) in committed {
            let row =
                rows.iter().find(|row| row.name.as_str() == secret).expect("a committed secret is gone");
            assert!(row.version >= *version, "{secret}: {} after {version}", row.version);
        }
        let vault = vault(&local);
        for row in rows {
            assert_eq!(row.keys.len(), 1);
            let opened = vault.open(&permit(row.name.as_str(), "a.example:443")).await.unwrap();
            let value = String::from_utf8(opened.value("token").unwrap().expose().to_vec()).unwrap();
            assert!(value.starts_with(&format!("value of {}, ", row.name)), "{value}");
        }
        let mut connection =
            SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(place.db())).await.unwrap();
        let report: String =
            sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
        assert_eq!(report, "ok");
    });
}
