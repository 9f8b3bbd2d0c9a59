//! What is not opened, and what is not stored.

use super::*;

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
