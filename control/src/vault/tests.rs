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
async fn refuses_every_edited_row_and_leaves_the_others_usable() {
    for sql in [
        "UPDATE versions SET hosts = 'a.example,evil.example' WHERE name = 'one'",
        "UPDATE versions SET hosts = 'evil.example' WHERE name = 'one'",
        "UPDATE versions SET hosts = '*.a.example' WHERE name = 'one'",
        "UPDATE versions SET hosts = 'a.example:8443' WHERE name = 'one'",
        "UPDATE versions SET hosts = NULL WHERE name = 'one'",
        "UPDATE versions SET hosts = '' WHERE name = 'one'",
        "UPDATE versions SET hosts = 'A.example' WHERE name = 'one'",
        "UPDATE versions SET expires = 9999999999 WHERE name = 'one'",
        "UPDATE versions SET sealed_as = 1 WHERE name = 'one'; UPDATE sealed_values SET sealed_as = 1 WHERE name = 'one'",
        "UPDATE sealed_values SET key = 'password' WHERE name = 'one'",
        "UPDATE sealed_values SET record = (SELECT record FROM sealed_values WHERE name = 'two') WHERE name = 'one'",
        "UPDATE sealed_values SET record = (SELECT record FROM sealed_values WHERE project = 'other') WHERE name = 'one'",
        "UPDATE sealed_values SET record = cast(substr(record, 1, length(record) - 1) || x'00' AS BLOB) WHERE name = 'one'",
        "UPDATE sealed_values SET record = x'' WHERE name = 'one'",
    ] {
        let place = Place::new();
        let local = place.local().await;
        local.add("other", vec![bound("one", "value-oth", &["a.example"])], vec![]).await.unwrap();
        local
            .add(
                "default",
                vec![bound("one", "value-old", &["a.example"]), entry("two", "value-one")],
                vec![],
            )
            .await
            .unwrap();
        local.rotate("default", &name("one"), change("value-one")).await.unwrap();
        let vault = vault(&local);
        assert!(read(&vault, "one").await.unwrap().1);
        place
            .edit("DELETE FROM sealed_values WHERE name = 'one' AND sealed_as = 1 AND project = 'default'")
            .await;
        place.edit(sql).await;
        assert!(matches!(read(&vault, "one").await, Err(OpenError::Sealed(_))), "{sql}");
        assert!(read(&vault, "two").await.unwrap().1, "{sql}");
    }
}

#[tokio::test]
async fn refuses_hosts_that_a_secret_is_not_bound_to() {
    let place = Place::new();
    let local = place.local().await;
    local
        .add("default", vec![bound("one", "value-one", &["a.example", "*.b.example:8443"])], vec![])
        .await
        .unwrap();
    let vault = vault(&local);
    for target in ["evil.example:443", "a.example:80", "x.b.example:443", "b.example:8443"] {
        assert!(matches!(vault.open(&permit("one", target)).await, Err(OpenError::NotBound(_))), "{target}");
    }
    for target in ["a.example:443", "x.b.example:8443"] {
        let opened = vault.open(&permit("one", target)).await.unwrap();
        let evil = permit("one", "evil.example:443");
        assert!(matches!(opened.terms.admit(&evil, noon), Err(OpenError::NotBound(_))), "a kept secret");
    }
}

#[tokio::test]
async fn refuses_expired_secrets_also_where_they_were_kept() {
    let place = Place::new();
    let local = place.local().await;
    let end = noon().unix_timestamp();
    let ended = Entry { expires: Some(end), ..entry("ended", "value-one") };
    let ending = Entry { expires: Some(end + 1), ..entry("ending", "value-one") };
    local.add("default", vec![ended, ending], vec![]).await.unwrap();
    let vault = vault(&local);
    assert!(matches!(read(&vault, "ended").await, Err(OpenError::Expired(_))));
    assert!(matches!(
        vault.facts(&policy::load_check(), &secret_ref("ended")).await,
        Err(OpenError::Expired(_))
    ));
    let permit = permit("ending", "a.example:443");
    let opened = vault.open(&permit).await.unwrap();
    opened.terms.admit(&permit, noon).unwrap();
    let later = noon() + time::Duration::seconds(1);
    assert!(matches!(opened.terms.admit(&permit, || later), Err(OpenError::Expired(_))));
}

#[tokio::test]
async fn refuses_another_master_key_at_once() {
    let place = Place::new();
    place.local().await.add("default", vec![entry("one", "value-one")], vec![]).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(Database::sqlite(&place.db(), false).await.unwrap());
    let digits = KeySource::Command(vec!["printf".into(), "ab".repeat(32)]);
    assert!(matches!(LocalVault::unlock(Arc::clone(&store), &digits, noon).await, Err(MasterError::Wrong)));
    let gone = KeySource::File(place.dir.path().join("other.key"));
    assert!(matches!(
        LocalVault::unlock(Arc::clone(&store), &gone, noon).await,
        Err(MasterError::Missing(_))
    ));
    place.edit("DELETE FROM meta").await;
    assert!(matches!(LocalVault::unlock(store, &place.key(), noon).await, Err(MasterError::CheckMissing)));
}

#[tokio::test]
async fn refuses_database_files_that_others_can_read_or_swap() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    drop(place.local().await);
    let chmod = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap()
    };
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.db()), 0o600);
    for open in [0o640, 0o604, 0o660] {
        chmod(&place.db(), open);
        assert!(matches!(Database::sqlite(&place.db(), true).await, Err(StoreError::File(_))), "{open:o}");
    }
    chmod(&place.db(), 0o600);
    chmod(place.dir.path(), 0o777);
    assert!(matches!(Database::sqlite(&place.db(), true).await, Err(StoreError::File(_))));
    chmod(place.dir.path(), 0o700);
    let link = place.dir.path().join("link.db");
    std::os::unix::fs::symlink(place.db(), &link).unwrap();
    assert!(matches!(Database::sqlite(&link, true).await, Err(StoreError::File(_))));
    let none = place.dir.path().join("none.db");
    assert!(matches!(Database::sqlite(&none, false).await, Err(StoreError::NoVault(_))));
    assert!(!none.exists());
}

#[tokio::test]
async fn refuses_values_and_names_without_storing_anything() {
    let place = Place::new();
    let local = place.local().await;
    local.add("default", vec![entry("one", "value-one")], vec![("V".into(), "1".into())]).await.unwrap();
    let before = local.store().revision().await.unwrap();
    let short = local.add("default", vec![entry("two", "value-one"), entry("three", "short")], vec![]).await;
    assert!(matches!(short, Err(WriteError::Value(_))));
    let taken =
        local.add("default", vec![entry("two", "value-one"), entry("one", "value-one")], vec![]).await;
    assert!(matches!(taken, Err(WriteError::Store(StoreError::SecretExists(_)))));
    let variable =
        local.add("default", vec![entry("two", "value-one")], vec![("V".into(), "2".into())]).await;
    assert!(matches!(variable, Err(WriteError::Store(StoreError::VariableExists(_)))));
    let none = local.rotate("default", &name("two"), change("value-two")).await;
    assert!(matches!(none, Err(WriteError::Store(StoreError::NoSecret(_)))));
    let first = local.roll_back("default", &name("one")).await;
    assert!(matches!(first, Err(WriteError::Store(StoreError::NoEarlier(_)))));
    assert_eq!(local.store().revision().await.unwrap(), before);
    assert_eq!(local.store().secrets("default").await.unwrap().len(), 1);
}

#[tokio::test]
async fn objects_of_another_project_look_missing() {
    let place = Place::new();
    let local = place.local().await;
    local.add("other", vec![entry("one", "value-one")], vec![]).await.unwrap();
    assert!(matches!(read(&vault(&local), "one").await, Err(OpenError::Missing(_))));
    assert!(local.store().secret("default", &name("one")).await.unwrap().is_none());
}

#[tokio::test]
async fn refuses_a_secret_without_the_key_that_is_needed() {
    let place = Place::new();
    let local = place.local().await;
    let values = vec![("password".to_owned(), Secret::new(b"value-one".to_vec()))];
    local.add("default", vec![Entry { values, ..entry("one", "") }], vec![]).await.unwrap();
    assert!(
        matches!(read(&vault(&local), "one").await, Err(OpenError::MissingKey(_, key)) if key == "token")
    );
}

#[tokio::test]
async fn a_source_that_fails_ends_the_search_and_a_missing_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("one"), "value-one").unwrap();
    let files: Arc<dyn Source> = Arc::new(directory::Directory::new(dir.path()));
    let place = Place::new();
    let local: Arc<dyn Source> = place.local().await;
    let both = Vault::new(vec![local, Arc::clone(&files)], noon);
    assert!(read(&both, "one").await.unwrap().1);
    let locked = Vault::new(vec![Arc::new(Locked), files], noon);
    assert!(matches!(read(&locked, "one").await, Err(OpenError::Locked)));
    let check = policy::load_check();
    assert_eq!(both.facts(&check, &secret_ref("one")).await.unwrap().keys, ["token"]);
    assert!(matches!(locked.facts(&check, &secret_ref("one")).await, Err(OpenError::Locked)));
}

#[tokio::test]
async fn what_stands_before_a_secret_in_another_source_is_another_version_however_it_counts() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new();
    let local = place.local().await;
    local.add("default", vec![entry("one", "value-two")], vec![]).await.unwrap();
    let files: Arc<dyn Source> = Arc::new(directory::Directory::new(dir.path()));
    let both = Vault::new(vec![files, local], noon);
    let (check, secret) = (policy::load_check(), secret_ref("one"));
    let before = both.facts(&check, &secret).await.unwrap().version;
    std::fs::write(dir.path().join("one"), "value-one").unwrap();
    let after = both.facts(&check, &secret).await.unwrap().version;
    assert_eq!((before.number, after.number), (1, 1));
    assert!(before != after && !both.is_renewal(before, after, &secret));
    assert!(read(&both, "one").await.unwrap().1, "what stands first is opened");
    std::fs::remove_file(dir.path().join("one")).unwrap();
    assert_eq!(both.facts(&check, &secret).await.unwrap().version, before);
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

/// The renewal of a provider that asks for its tokens at `login.example`.
fn renewal() -> Renewal {
    let permit = permit("oauth", "api.example:443");
    let mut provider = Arc::clone(permit.provider());
    drop(permit);
    let url = TokenUrl::parse("https://login.example/token").unwrap();
    Arc::get_mut(&mut provider).unwrap().auth.as_mut().unwrap().token_urls = vec![url];
    let facts = Facts {
        agent: &AgentName::local(),
        target: &Target::parse_authority("api.example:443").unwrap(),
        provider: &provider,
        method: &http::Method::GET,
        path: &Path::parse("/").unwrap(),
        query: None,
        body: None,
        headers: &http::HeaderMap::new(),
    };
    policy::decide(&facts).unwrap().permit().unwrap().renewal()
}

#[tokio::test]
async fn a_secret_is_opened_for_a_renewal_only_if_it_is_bound_to_the_token_host() {
    let place = Place::new();
    let local = place.local().await;
    local.add("default", vec![bound("oauth", "value-one", &["api.example"])], Vec::new()).await.unwrap();
    let vault = Vault::new(vec![Arc::clone(&local) as Arc<dyn Source>], noon);
    assert!(matches!(vault.open_for_renewal(&renewal()).await, Err(OpenError::NotBound(_))));
    let hosts = BoundHosts::parse(&["api.example", "login.example"]).unwrap();
    let both = Change { hosts: Some(hosts), ..change("value-one") };
    local.rotate("default", &name("oauth"), both).await.unwrap();
    assert!(
        vault
            .open_for_renewal(&renewal())
            .await
            .unwrap()
            .opened
            .value("token")
            .unwrap()
            .matches(b"value-one")
    );
    let (renewal, elsewhere) = (renewal(), Target::parse_authority("login.example:8443").unwrap());
    assert!(
        !renewal.covers(&elsewhere) && !renewal.covers(&Target::parse_authority("api.example:443").unwrap())
    );
    assert!(renewal.covers(&Target::parse_authority("login.example:443").unwrap()));
}

#[tokio::test]
async fn what_an_issuer_renewed_is_kept_only_over_the_version_that_it_was_shown() {
    let place = Place::new();
    let local = place.local().await;
    let hosts = &["api.example", "login.example"];
    local.add("default", vec![bound("oauth", "value-one", hosts)], Vec::new()).await.unwrap();
    let vault = Vault::new(vec![Arc::clone(&local) as Arc<dyn Source>], noon);
    let (renewal, secret) = (renewal(), secret_ref("oauth"));
    let next = |text: &str| Secret::new(text.into());
    for (version, value) in [(1, "refresh-two"), (2, "refresh-three")] {
        let shown = vault.open_for_renewal(&renewal).await.unwrap();
        assert_eq!(shown.opened.version.number, version);
        vault.renew(&renewal, &shown, vec![("refresh_token".to_owned(), next(value))]).await.unwrap();
    }
    assert!(
        vault.is_renewal(1.into(), 3.into(), &secret)
            && vault.is_renewal(2.into(), 3.into(), &secret)
            && !vault.is_renewal(3.into(), 2.into(), &secret)
    );
    let shown = vault.open_for_renewal(&renewal).await.unwrap();
    let opened = &shown.opened;
    assert!(opened.value("refresh_token").unwrap().matches(b"refresh-three"));
    assert!(opened.value("token").unwrap().matches(b"value-one"));
    assert_eq!(opened.terms.hosts.as_ref().unwrap().patterns(), *hosts);
    // A person came between: what the issuer gave for the old value is not put over the new one.
    local.rotate("default", &name("oauth"), change("value-two")).await.unwrap();
    let raced = vault.renew(&renewal, &shown, vec![("refresh_token".to_owned(), next("refresh-four"))]).await;
    assert!(matches!(raced, Err(OpenError::Changed(_))));
    assert!(!vault.is_renewal(3.into(), 4.into(), &secret) && !vault.is_renewal(1.into(), 4.into(), &secret));
    assert!(vault.is_renewal(4.into(), 4.into(), &secret));
    assert_eq!(vault.open_for_renewal(&renewal).await.unwrap().opened.version.number, 4);
}

#[tokio::test]
async fn what_an_issuer_renewed_leaves_the_version_that_a_person_can_roll_back_to() {
    let place = Place::new();
    let local = place.local().await;
    let hosts = &["api.example", "login.example"];
    local.add("default", vec![bound("oauth", "value-one", hosts)], Vec::new()).await.unwrap();
    let vault = Vault::new(vec![Arc::clone(&local) as Arc<dyn Source>], noon);
    let renewal = renewal();
    let renew = async |value: &str| {
        let shown = vault.open_for_renewal(&renewal).await.unwrap();
        vault.renew(&renewal, &shown, vec![("token".to_owned(), Secret::new(value.into()))]).await.unwrap();
    };
    // Nothing that a person entered came before: what the issuer made void is not kept.
    renew("renewed-one").await;
    let none = local.roll_back("default", &name("oauth")).await;
    assert!(matches!(none, Err(WriteError::Store(StoreError::NoEarlier(_)))));
    local.rotate("default", &name("oauth"), change("value-two")).await.unwrap();
    renew("renewed-two").await;
    renew("renewed-three").await;
    local.roll_back("default", &name("oauth")).await.unwrap();
    let shown = vault.open_for_renewal(&renewal).await.unwrap();
    assert!(shown.opened.value("token").unwrap().matches(b"renewed-one"));
}

/// A vault whose writes fail when they are told to.
#[derive(Debug)]
struct Failing {
    local: Arc<LocalVault>,
    writes_fail: AtomicUsize,
}

impl Source for Failing {
    fn open<'a>(&'a self, permit: &'a Permit, secret: &'a SecretRef) -> Opening<'a, Opened> {
        self.local.open(permit, secret)
    }

    fn facts<'a>(&'a self, secret: &'a SecretRef) -> Opening<'a, SecretFacts> {
        self.local.facts(secret)
    }

    fn renew<'a>(&'a self, permit: &'a Permit, renewed: Renewed<'a>) -> Opening<'a, u64> {
        let fails = |left: usize| left.checked_sub(1);
        match self.writes_fail.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails) {
            Ok(_) => {
                let full = std::io::Error::other("disk full");
                Box::pin(async move { Err(OpenError::source(renewed.secret, full)) })
            }
            Err(_) => self.local.renew(permit, renewed),
        }
    }
}

#[tokio::test]
async fn what_an_issuer_changed_is_never_shown_again_although_its_successor_could_not_be_written() {
    let place = Place::new();
    let local = place.local().await;
    let hosts = &["api.example", "login.example"];
    local.add("default", vec![bound("oauth", "value-one", hosts)], Vec::new()).await.unwrap();
    let source = Arc::new(Failing { local: Arc::clone(&local), writes_fail: AtomicUsize::new(0) });
    let vault = Vault::new(vec![Arc::clone(&source) as Arc<dyn Source>], noon);
    let (renewal, next) = (renewal(), |text: &str| Secret::new(text.into()));
    let fail = |times| source.writes_fail.store(times, Ordering::Relaxed);
    // One that fails is tried again within the exchange.
    let shown = vault.open_for_renewal(&renewal).await.unwrap();
    fail(1);
    vault.renew(&renewal, &shown, vec![("token".to_owned(), next("value-two"))]).await.unwrap();
    // One that goes on failing is held; until it is written nothing is shown.
    let shown = vault.open_for_renewal(&renewal).await.unwrap();
    assert!(shown.opened.value("token").unwrap().matches(b"value-two"));
    fail(4);
    let failed = vault.renew(&renewal, &shown, vec![("token".to_owned(), next("value-three"))]).await;
    assert!(matches!(failed, Err(OpenError::Source(..))));
    assert!(matches!(vault.open_for_renewal(&renewal).await, Err(OpenError::Source(..))));
    let shown = vault.open_for_renewal(&renewal).await.unwrap();
    assert!(shown.opened.value("token").unwrap().matches(b"value-three"));
    assert!(vault.is_renewal(1.into(), 3.into(), &secret_ref("oauth")) && shown.opened.version.number == 3);
    // What a person enters meanwhile counts, and what was held is dropped.
    fail(3);
    assert!(vault.renew(&renewal, &shown, vec![("token".to_owned(), next("value-four"))]).await.is_err());
    local.rotate("default", &name("oauth"), change("value-five")).await.unwrap();
    let shown = vault.open_for_renewal(&renewal).await.unwrap();
    assert!(shown.opened.version.number == 4 && shown.opened.value("token").unwrap().matches(b"value-five"));
}

#[tokio::test]
async fn a_directory_takes_no_renewed_value_and_shows_the_void_one_no_more() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("oauth"), "value-one").unwrap();
    let vault = Vault::new(vec![Arc::new(directory::Directory::new(dir.path()))], noon);
    let renewal = renewal();
    let shown = vault.open_for_renewal(&renewal).await.unwrap();
    let refused = vault
        .renew(&renewal, &shown, vec![("token".to_owned(), Secret::new(b"value-two".to_vec()))])
        .await
        .unwrap_err();
    assert!(
        matches!(refused, OpenError::ReadOnly(_)) && refused.to_string().contains("keep it in the vault")
    );
    assert!(matches!(vault.open_for_renewal(&renewal).await, Err(OpenError::ReadOnly(_))));
    std::fs::write(dir.path().join("oauth"), "value-three").unwrap();
    let shown = vault.open_for_renewal(&renewal).await.unwrap();
    assert!(shown.opened.value("token").unwrap().matches(b"value-three"));
}

#[tokio::test]
async fn a_secret_is_opened_for_a_renewal_whichever_target_the_request_had() {
    let place = Place::new();
    let local = place.local().await;
    local.add("default", vec![bound("oauth", "value-one", &["login.example"])], Vec::new()).await.unwrap();
    let vault = Vault::new(vec![Arc::clone(&local) as Arc<dyn Source>], noon);
    let shown = vault.open_for_renewal(&renewal()).await.unwrap();
    // The request itself is refused, each time that it asks.
    let permit = permit("oauth", "api.example:443");
    assert!(matches!(shown.opened.terms.admit(&permit, noon), Err(OpenError::NotBound(_))));
    assert!(matches!(vault.open(&permit).await, Err(OpenError::NotBound(_))));
}
