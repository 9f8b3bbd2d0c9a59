//! A vault's file of an earlier version opens, and nothing in it is lost.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::database::Database;
use crate::registry::Registry;
use crate::vault::local::{Change, LocalVault};
use crate::vault::master::KeySource;
use crate::vault::store::Store;

use super::bed::{ANY, name, noon, now, project, values};

/// Made by doorward before the server: secret `one` rotated once and bound, secret `two`, variable `V`.
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/vault-1");

#[tokio::test]
async fn a_vault_of_the_first_version_opens_with_all_that_it_held() {
    let dir = tempfile::tempdir().unwrap();
    let copy = |file: &str| {
        let to = dir.path().join(file);
        std::fs::copy(Path::new(FIXTURE).join(file), &to).unwrap();
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).unwrap();
        to
    };
    let (file, key) = (copy("vault.db"), KeySource::File(copy("master.key")));
    for _ in 0..2 {
        let db = Database::sqlite(&file, false).await.unwrap();
        let rows = Store::secrets(&db, "default").await.unwrap();
        let known: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.version, row.revision)).collect();
        assert_eq!(known, [("one", 2, 0), ("two", 1, 0)]);
        assert_eq!(rows[0].hosts.as_deref(), Some("a.example"));
        assert_eq!(rows[0].earlier, [1]);
        assert_eq!(Store::variables(&db, "default").await.unwrap()[0].value, "readable");
        // Its own key unlocks it; the fingerprint is that of the value that was stored then.
        LocalVault::unlock(Arc::new(db), &key, noon).await.unwrap();
    }
    let db = Database::sqlite(&file, false).await.unwrap();
    let vault = LocalVault::unlock(Arc::new(db.clone()), &key, noon).await.unwrap();
    let before = Store::secret(&db, "default", &name("two")).await.unwrap().unwrap();
    let same = Change { expires: None, hosts: None, values: values("second-value-xyz") };
    vault.rotate("default", &name("two"), same).await.unwrap();
    let after = Store::secret(&db, "default", &name("two")).await.unwrap().unwrap();
    assert_eq!(before.keys, after.keys);
    assert!(after.revision > 0);
    vault.roll_back("default", &name("one")).await.unwrap();
    // It can become a server's.
    db.add_project(project("default"), now()).await.unwrap();
    assert!(db.acting(now(), ANY).delete_secret("default", &name("one")).await.unwrap());
}

#[tokio::test]
async fn all_who_come_at_once_find_the_tables_made() {
    for _ in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new.db");
        let all = (0..8).map(|_| {
            let file = file.clone();
            tokio::spawn(async move { Database::sqlite(&file, true).await.map(drop) })
        });
        for one in futures_util::future::join_all(all).await {
            one.unwrap().unwrap();
        }
    }
}
