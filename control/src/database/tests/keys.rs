//! Rotating keys, backups, grace time, hints.

use std::sync::Arc;

use super::bed::{ANY, Bed, agent, all, entry, name, noon, now, open, project, provider, values};
use super::on_both;
use crate::database::{Database, RestoreError};
use crate::registry::{Attached, DocumentKind, ProjectSettings, Registry};
use crate::secret::SecretRef;
use crate::vault::backup::{BackupError, BackupReader, BackupWriter};
use crate::vault::local::{Change, LocalVault, NextKey, WriteError};
use crate::vault::master::{KeySource, MasterError};
use crate::vault::store::{Store, StoreError};
use crate::vault::succession::{earlier_file, next_file};
use crate::vault::{OpenError, Renewed, Source, tests};

on_both!(
    a_running_vault_follows_a_rotation_of_the_master_key,
    a_rotation_that_ended_before_the_file_was_renamed_is_finished,
    after_three_rotations_a_backup_of_each_key_still_restores,
    a_replica_that_follows_puts_its_own_next_file_in_place,
    a_record_that_does_not_decrypt_is_left_and_named,
    a_rotation_of_one_projects_key_leaves_the_others,
    rotations_while_others_read_and_write_lose_nothing,
    what_a_backup_holds_comes_back_in_either_database,
    a_restored_vault_rotates_rolls_back_and_keeps_a_renewed_token,
    refuses_to_restore_over_what_is_there_or_from_half_a_backup,
    a_version_can_be_returned_to_until_its_grace_time_ends,
    hints_are_kept_where_the_project_says_so_and_for_long_values_alone,
    a_secret_is_copied_to_another_project_without_its_users,
);

/// Whether the value that the vault opens is this one.
async fn opens(vault: &LocalVault, secret: &str, value: &str) -> bool {
    let permit = tests::permit(secret, "a.example:443");
    let secret = SecretRef { project: "one".into(), name: name(secret) };
    let opened = vault.open(&permit, &secret).await;
    opened.is_ok_and(|opened| opened.value("token").is_some_and(|found| found.matches(value.as_bytes())))
}

fn key_file(bed: &Bed) -> std::path::PathBuf {
    bed.dir.path().join("master.key")
}

async fn a_running_vault_follows_a_rotation_of_the_master_key(bed: &Bed) {
    let running = bed.vault().await;
    running.add("one", vec![entry("s", "value-of-s")], vec![]).await.unwrap();
    let change = Change { expires: None, hosts: None, values: values("value-two") };
    running.rotate("one", &name("s"), change).await.unwrap();
    let before = Store::secret(&bed.db, "one", &name("s")).await.unwrap().unwrap();
    let first = std::fs::read(key_file(bed)).unwrap();
    let (left, kept) = bed.vault().await.rotate_master(NextKey::SameFile(key_file(bed))).await.unwrap();
    assert!(left.is_empty());
    assert_eq!(kept, Some(earlier_file(&key_file(bed), 1)));
    assert_ne!(std::fs::read(key_file(bed)).unwrap(), first);
    assert_eq!(std::fs::read(earlier_file(&key_file(bed), 1)).unwrap(), first);
    assert!(!next_file(&key_file(bed)).exists());
    // The vault that was open all the time, in another process for all that it knows.
    assert!(opens(&running, "s", "value-two").await);
    running.roll_back("one", &name("s")).await.unwrap();
    assert!(opens(&running, "s", "value-of-s").await, "earlier versions are under the new key, too");
    running.add("one", vec![entry("t", "value-of-t")], vec![]).await.unwrap();
    assert!(opens(&bed.vault().await, "t", "value-of-t").await);
    let after = Store::secret(&bed.db, "one", &name("s")).await.unwrap().unwrap();
    assert_ne!(before.keys, after.keys, "fingerprints are the new key's");
    // The key that was replaced opens nothing.
    let old = KeySource::File(earlier_file(&key_file(bed), 1));
    let store: Arc<dyn Store> = Arc::new(bed.db.clone());
    assert!(matches!(LocalVault::unlock(store, &old, noon).await, Err(MasterError::Wrong)));
    // To a passphrase, which the running one cannot know.
    let passphrase = KeySource::Passphrase(crate::secret::Secret::new(b"correct horse battery".to_vec()));
    running.rotate_master(NextKey::Other(passphrase)).await.unwrap();
    assert!(opens(&running, "t", "value-of-t").await, "it made the rotation itself");
    let store: Arc<dyn Store> = Arc::new(bed.db.clone());
    let file = LocalVault::unlock(store, &bed.key(), noon).await;
    assert!(matches!(file, Err(MasterError::Kind { made_with_passphrase: true })));
}

async fn a_rotation_that_ended_before_the_file_was_renamed_is_finished(bed: &Bed) {
    let running = bed.vault().await;
    running.add("one", vec![entry("s", "value-of-s")], vec![]).await.unwrap();
    let first = std::fs::read(key_file(bed)).unwrap();
    running.rotate_master(NextKey::SameFile(key_file(bed))).await.unwrap();
    // As if the process had been killed between its commit and the renaming.
    std::fs::rename(key_file(bed), next_file(&key_file(bed))).unwrap();
    crate::private::create(&key_file(bed), &first).unwrap();
    let vault = bed.vault().await;
    assert!(opens(&vault, "s", "value-of-s").await);
    vault.rotate_master(NextKey::SameFile(key_file(bed))).await.unwrap();
    assert!(!next_file(&key_file(bed)).exists());
    assert!(opens(&bed.vault().await, "s", "value-of-s").await);
}

async fn after_three_rotations_a_backup_of_each_key_still_restores(bed: &Bed) {
    let vault = bed.vault().await;
    vault.add("one", vec![entry("s", "value-of-s")], vec![]).await.unwrap();
    let mut backups = Vec::new();
    for number in 1..=3 {
        let bytes = backup(&bed.db, &vault).await;
        let (_, kept) = vault.rotate_master(NextKey::SameFile(key_file(bed))).await.unwrap();
        assert_eq!(kept, Some(earlier_file(&key_file(bed), number)));
        backups.push((KeySource::File(kept.unwrap()), bytes));
    }
    backups.push((bed.key(), backup(&bed.db, &vault).await));
    for (number, (key, bytes)) in backups.iter().enumerate() {
        let file = bed.dir.path().join(format!("restored-{number}.db"));
        let to = Database::sqlite(&file, true).await.unwrap();
        restore_with(key, &to, bytes).await.unwrap();
        let restored = LocalVault::unlock(Arc::new(to), key, noon).await.unwrap();
        assert!(opens(&restored, "s", "value-of-s").await);
    }
}

async fn a_replica_that_follows_puts_its_own_next_file_in_place(bed: &Bed) {
    let first = bed.vault().await;
    first.add("one", vec![entry("s", "value-of-s")], vec![]).await.unwrap();
    // Another machine has files of its own.
    let own = tempfile::tempdir().unwrap();
    let file = own.path().join("master.key");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        crate::private::create(to, &std::fs::read(from).unwrap()).unwrap();
    };
    copy(&key_file(bed), &file);
    let source = KeySource::File(file.clone());
    let other = LocalVault::unlock(Arc::new(bed.again().await), &source, noon).await.unwrap();
    for number in 1..=2 {
        crate::private::create(&next_file(&key_file(bed)), &[number; 32]).unwrap();
        copy(&next_file(&key_file(bed)), &next_file(&file));
        first.rotate_master(NextKey::SameFile(key_file(bed))).await.unwrap();
        assert!(opens(&other, "s", "value-of-s").await);
        assert_eq!(std::fs::read(&file).unwrap(), [number; 32]);
        assert!(!next_file(&file).exists() && earlier_file(&file, number.into()).exists());
    }
}

async fn a_record_that_does_not_decrypt_is_left_and_named(bed: &Bed) {
    let vault = bed.vault().await;
    vault.add("one", vec![entry("s", "value-of-s"), entry("t", "value-of-t")], vec![]).await.unwrap();
    bed.sql("UPDATE versions SET hosts = 'evil.example' WHERE name = 's'").await;
    let (left, _) = vault.rotate_master(NextKey::SameFile(key_file(bed))).await.unwrap();
    assert_eq!(left, [("one".to_owned(), name("s"))]);
    assert!(opens(&vault, "t", "value-of-t").await);
    assert!(!opens(&vault, "s", "value-of-s").await);
}

async fn a_rotation_of_one_projects_key_leaves_the_others(bed: &Bed) {
    let vault = bed.vault().await;
    for project in ["one", "two"] {
        vault.add(project, vec![entry("s", "value-of-s")], vec![]).await.unwrap();
    }
    let records = async || bed.db.records().await.unwrap();
    let before = records().await;
    assert_eq!(vault.rotate_project("one").await.unwrap(), (1, vec![]));
    assert_eq!(vault.rotate_project("one").await.unwrap(), (2, vec![]));
    for (old, new) in before.iter().zip(&records().await) {
        assert_eq!(old.value.record == new.value.record, old.project == "two");
        assert_eq!(old.value.fingerprint, new.value.fingerprint, "the master key is the same");
        assert!(vault.opens(new));
    }
    assert!(opens(&bed.vault().await, "s", "value-of-s").await);
    vault.add("one", vec![entry("t", "value-of-t")], vec![]).await.unwrap();
    assert!(opens(&vault, "t", "value-of-t").await);
    // A record of an earlier generation's key, sealed before and written after, is refused.
    assert_eq!(bed.db.generation("one").await.unwrap(), 2);
    vault.rotate_master(NextKey::SameFile(key_file(bed))).await.unwrap();
    assert!(opens(&vault, "t", "value-of-t").await);
}

async fn rotations_while_others_read_and_write_lose_nothing(bed: &Bed) {
    let other = bed.again().await;
    let (vault, file) = (bed.vault().await, key_file(bed));
    vault.add("one", vec![entry("s", "value-of-s")], vec![]).await.unwrap();
    let reader = LocalVault::unlock(Arc::new(other.clone()), &bed.key(), noon).await.unwrap();
    let writer = LocalVault::unlock(Arc::new(other), &bed.key(), noon).await.unwrap();
    let reads = async {
        for _ in 0..150 {
            assert!(opens(&reader, "s", "value-of-s").await, "a reader never fails");
        }
    };
    let writes = async {
        for number in 0..15 {
            let secret = format!("t{number}");
            loop {
                match writer.add("one", vec![entry(&secret, "value-of-t")], vec![]).await {
                    Ok(()) => break,
                    Err(WriteError::Store(StoreError::KeyRotated)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    let rotations = async {
        for _ in 0..5 {
            vault.rotate_master(NextKey::SameFile(file.clone())).await.unwrap();
            vault.rotate_project("one").await.unwrap();
        }
    };
    tokio::join!(reads, writes, rotations);
    let vault = bed.vault().await;
    let records = bed.db.records().await.unwrap();
    assert_eq!(records.len(), 16);
    assert!(records.iter().all(|row| vault.opens(row)));
}

#[derive(Debug)]
struct Failed(String);

impl<T: std::error::Error> From<T> for Failed {
    fn from(error: T) -> Self {
        Self(error.to_string())
    }
}

async fn backup(db: &Database, vault: &LocalVault) -> Vec<u8> {
    let mut writer: BackupWriter<Vec<u8>> = vault.begin_backup(Vec::new()).await.unwrap();
    db.dump::<Failed>(|line| Ok(writer.line(line)?)).await.unwrap();
    writer.end().unwrap()
}

async fn restore(bed: &Bed, to: &Database, bytes: &[u8]) -> Result<u64, Failed> {
    restore_with(&bed.key(), to, bytes).await
}

async fn restore_with(key: &KeySource, to: &Database, bytes: &[u8]) -> Result<u64, Failed> {
    let key = crate::vault::master::key_as_it_is(key).unwrap();
    let mut reader = BackupReader::begin(bytes, &crate::vault::backup::BackupKey::Master(&key))?;
    to.restore(1, || reader.chunk().map_err(|error: BackupError| error.into())).await
}

async fn what_a_backup_holds_comes_back_in_either_database(bed: &Bed) {
    let vault = bed.vault().await;
    vault.add("one", vec![entry("s", "canary-value-of-s")], vec![("V".into(), "1".into())]).await.unwrap();
    let change = Change { expires: None, hosts: None, values: values("value-two") };
    vault.rotate("one", &name("s"), change).await.unwrap();
    let db = &bed.db;
    db.add_document("one", provider("p", &["s"], &["type:github"]), now()).await.unwrap();
    db.add_agent("one", agent("a"), now()).await.unwrap();
    db.attach("one", "a", Attached::Document(DocumentKind::Provider, "p".into()), vec![], now())
        .await
        .unwrap();
    db.record(Some("one"), crate::audit::Entry::new(crate::audit::Kind::Lifecycle, std::time::UNIX_EPOCH))
        .await
        .unwrap();
    let bytes = backup(db, &vault).await;
    for clear in ["canary", "github", "value", "projects"] {
        assert!(memchr::memmem::find(&bytes, clear.as_bytes()).is_none(), "{clear}");
    }
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Database::sqlite(&dir.path().join("restored.db"), true).await.unwrap();
    let server = super::postgres::Postgres::shared();
    let postgres = open(&server.database()).await;
    for to in [sqlite, postgres] {
        restore(bed, &to, &bytes).await.unwrap();
        let restored = LocalVault::unlock(Arc::new(to.clone()), &bed.key(), noon).await.unwrap();
        assert!(opens(&restored, "s", "value-two").await);
        assert_eq!(db.projects(all()).await.unwrap(), to.projects(all()).await.unwrap());
        assert_eq!(
            db.documents("one", DocumentKind::Provider, all()).await.unwrap(),
            to.documents("one", DocumentKind::Provider, all()).await.unwrap()
        );
        assert_eq!(db.agents("one", all()).await.unwrap(), to.agents("one", all()).await.unwrap());
        let mut lines = to.audit_lines(None, "control", 0, 10).await.unwrap();
        assert!(lines.pop().unwrap().line.contains("the database was restored from a backup"));
        assert_eq!(db.audit_lines(None, "control", 0, 10).await.unwrap(), lines);
        assert_eq!(
            db.variables_page("one", all()).await.unwrap(),
            to.variables_page("one", all()).await.unwrap()
        );
        // What is written now takes no number that the lost state may have given.
        assert!(to.latest().await.unwrap() > db.latest().await.unwrap() + 1000);
        restored.roll_back("one", &name("s")).await.unwrap();
        assert!(opens(&restored, "s", "canary-value-of-s").await);
        assert!(Store::secret(&to, "one", &name("s")).await.unwrap().unwrap().version > 1000);
        to.record(None, crate::audit::Entry::new(crate::audit::Kind::Lifecycle, std::time::UNIX_EPOCH))
            .await
            .unwrap();
    }
}

async fn a_restored_vault_rotates_rolls_back_and_keeps_a_renewed_token(bed: &Bed) {
    let vault = bed.vault().await;
    vault.add("one", vec![entry("s", "value-of-s"), entry("t", "value-of-t")], vec![]).await.unwrap();
    let bytes = backup(&bed.db, &vault).await;
    let dir = tempfile::tempdir().unwrap();
    let to = Database::sqlite(&dir.path().join("restored.db"), true).await.unwrap();
    restore(bed, &to, &bytes).await.unwrap();
    let restored = LocalVault::unlock(Arc::new(to.clone()), &bed.key(), noon).await.unwrap();
    let version =
        async |secret: &str| Store::secret(&to, "one", &name(secret)).await.unwrap().unwrap().version;
    let change = |value: &str| Change { expires: None, hosts: None, values: values(value) };

    // As the API does, which has to have seen the current version.
    let stale = restored.rotate_from("one", &name("s"), 2, change("value-two"), None).await;
    assert!(matches!(stale, Err(WriteError::Store(StoreError::Raced(_)))));
    let next = restored.rotate_from("one", &name("s"), 1, change("value-two"), None).await.unwrap();
    assert_eq!((version("s").await, next > 1000), (next, true));
    assert!(opens(&restored, "s", "value-two").await);
    restored.roll_back("one", &name("s")).await.unwrap();
    assert!(opens(&restored, "s", "value-of-s").await);

    let permit = tests::permit("t", "a.example:443");
    let secret = SecretRef { project: "one".into(), name: name("t") };
    let renew = async |version: u64, value: &str| {
        let changes = values(value);
        restored.renew(&permit, Renewed { secret: &secret, version, changes: &changes }).await
    };
    let renewed = renew(1, "value-renewed").await.unwrap();
    assert_eq!((version("t").await, renewed > 1000), (renewed, true));
    assert!(opens(&restored, "t", "value-renewed").await);
    assert!(matches!(renew(1, "value-late").await, Err(OpenError::Changed(_))));
    assert!(opens(&restored, "t", "value-renewed").await);
}

async fn refuses_to_restore_over_what_is_there_or_from_half_a_backup(bed: &Bed) {
    let vault = bed.vault().await;
    for number in 0..200 {
        let mut document = provider(&format!("p{number}"), &[], &[]);
        document.text = "x".repeat(1000);
        bed.db.add_document("one", document, now()).await.unwrap();
    }
    let bytes = backup(&bed.db, &vault).await;
    let before = bed.db.latest().await.unwrap();
    let over = restore(bed, &bed.db, &bytes).await.unwrap_err();
    assert_eq!(over.0, RestoreError::NotEmpty.to_string());
    assert_eq!(bed.db.latest().await.unwrap(), before);
    let dir = tempfile::tempdir().unwrap();
    let to = Database::sqlite(&dir.path().join("restored.db"), true).await.unwrap();
    for end in [bytes.len() / 2, bytes.len() - 1] {
        assert!(restore(bed, &to, &bytes[..end]).await.is_err());
        assert!(to.projects(all()).await.unwrap().is_empty(), "nothing of half a backup stays");
    }
    restore(bed, &to, &bytes).await.unwrap();
}

async fn a_version_can_be_returned_to_until_its_grace_time_ends(bed: &Bed) {
    let vault = bed.vault().await;
    let at = noon().unix_timestamp();
    vault.add("one", vec![entry("s", "value-of-s"), entry("t", "value-of-t")], vec![]).await.unwrap();
    let change = || Change { expires: None, hosts: None, values: values("value-two") };
    for secret in ["s", "t"] {
        vault.rotate_with_grace("one", &name(secret), change(), Some(at + 60)).await.unwrap();
    }
    let late = Store::roll_back(&bed.db, "one", &name("s"), at + 60).await;
    assert!(matches!(late, Err(StoreError::NoEarlier(_))), "it is over, though nobody has tidied up");
    assert_eq!(bed.db.records().await.unwrap().len(), 4);
    Store::roll_back(&bed.db, "one", &name("t"), at + 59).await.unwrap();
    assert_eq!(Store::drop_lapsed(&bed.db, at + 59).await.unwrap(), 0);
    let revision = bed.db.latest().await.unwrap();
    assert_eq!(Store::drop_lapsed(&bed.db, at + 60).await.unwrap(), 1);
    assert_eq!(bed.db.latest().await.unwrap(), revision + 1);
    assert_eq!(bed.db.records().await.unwrap().len(), 3, "the value is gone");
    assert!(opens(&vault, "s", "value-two").await && opens(&vault, "t", "value-of-t").await);
    Store::roll_back(&bed.db, "one", &name("t"), at + 9999).await.unwrap();
}

async fn hints_are_kept_where_the_project_says_so_and_for_long_values_alone(bed: &Bed) {
    let vault = bed.vault().await;
    let long = "ghp_0123456789abcdefwxyz";
    let hints =
        async |secret: &str| Store::secret(&bed.db, "one", &name(secret)).await.unwrap().unwrap().hints;
    vault.add("one", vec![entry("before", long)], vec![]).await.unwrap();
    assert!(hints("before").await.is_empty());
    let mut settings = project("one");
    settings.settings = ProjectSettings { hints: true, ..settings.settings };
    bed.db.replace_project(settings, ANY, now()).await.unwrap();
    let short = entry("short", "0123456789abcdefxyz");
    vault.add("one", vec![entry("long", long), short], vec![]).await.unwrap();
    assert_eq!(hints("long").await, [("token".to_owned(), "ghp_…wxyz".to_owned())]);
    assert!(hints("short").await.is_empty(), "19 characters");
    assert!(hints("before").await.is_empty());
    vault.add("two", vec![entry("long", long)], vec![]).await.unwrap();
    assert!(Store::secret(&bed.db, "two", &name("long")).await.unwrap().unwrap().hints.is_empty());
}

async fn a_secret_is_copied_to_another_project_without_its_users(bed: &Bed) {
    let vault = bed.vault().await;
    vault.add("two", vec![entry("s", "value-of-s")], vec![]).await.unwrap();
    bed.db.add_document("two", provider("p", &["s"], &[]), now()).await.unwrap();
    vault.copy("two", &name("s"), "one").await.unwrap();
    assert!(opens(&vault, "s", "value-of-s").await);
    let secret = super::bed::object(crate::registry::ObjectKind::Secret, "s");
    assert!(bed.db.users("one", &secret).await.unwrap().is_empty());
    let taken = vault.copy("two", &name("s"), "one").await;
    assert!(matches!(taken, Err(WriteError::Store(StoreError::SecretExists(_)))));
    let none = vault.copy("two", &name("none"), "one").await;
    assert!(matches!(none, Err(WriteError::Store(StoreError::NoSecret(_)))));
}
