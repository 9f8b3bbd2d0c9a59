//! A server that is started with another key than its database's: it says so, ends, and has changed nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use harness::Server;
use harness::home::{Ran, finish};
use harness::postgres::Postgres;
use sqlx::Connection as _;

/// Every file below a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut folders, mut found) = (vec![folder.to_owned()], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let (name, bytes) = (path.display().to_string(), std::fs::read(&path).unwrap());
            // SQLite's own, for as long as somebody has it open: an index, and a log in which nothing is.
            let is_its_own = name.ends_with("-shm") || name.ends_with("-wal") && bytes.is_empty();
            if !is_its_own {
                found.insert(name, bytes);
            }
        }
    }
    found
}

/// Puts everything into the database's file that its log holds yet.
async fn settle(file: &Path) {
    let mut link = sqlx::SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut link).await.unwrap();
    link.close().await.unwrap();
}

/// The files that are not what they were.
fn differing<'a>(
    before: &'a BTreeMap<String, Vec<u8>>,
    after: &'a BTreeMap<String, Vec<u8>>,
) -> Vec<&'a str> {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    names.into_iter().filter(|name| before.get(*name) != after.get(*name)).map(String::as_str).collect()
}

/// Every row of every table.
fn rows(postgres: &Postgres, url: &str) -> BTreeMap<String, String> {
    let tables =
        postgres.sql(url, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'");
    let of = |table: &str| postgres.sql(url, &format!("SELECT t::text FROM \"{table}\" t ORDER BY 1"));
    tables.lines().map(|table| (table.to_owned(), of(table))).collect()
}

/// The same server, started with other words beside.
fn started(server: &Server, database: &str, words: &[&str]) -> Ran {
    let mut command = Command::new(harness::binary::doorward());
    command.arg("--home").arg(server.path("home")).args([
        "server",
        "--self-signed",
        "--listen",
        "127.0.0.1:0",
    ]);
    command.args(["--database", database]).args(words).env_clear().env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command, "")
}

#[tokio::test]
async fn a_wrong_master_key_is_told_at_the_start_and_changes_nothing() {
    let (keys, postgres) = (tempfile::tempdir().unwrap(), Postgres::shared());
    let at = |name: &str| keys.path().join(name).display().to_string();
    for (name, text) in [
        ("other", "0f".repeat(32)),
        ("none", "no key at all".into()),
        ("phrase", "correct horse battery".into()),
    ] {
        harness::proxy::build::put(Path::new(&at(name)), &text);
    }
    let url = postgres.database();
    for database in [None, Some(&url)] {
        let setup = || database.map_or_else(Server::setup, |url| Server::setup().database(url));
        let mut server = setup().start().await;
        server.secret("default", "kept").await;
        assert_eq!(server.stop().await.code(), Some(0));
        let file = server.path("home").join("data/server.db");
        let sqlite = format!("sqlite:{}", file.display());
        if database.is_none() {
            settle(&file).await;
        }
        let named = database.unwrap_or(&sqlite);
        let rows = || database.map(|url| rows(&postgres, url));
        let before = (files(&server.path("home")), files(keys.path()), rows());
        for (words, why) in [
            (["--master-key-file", &at("other")], "this is not the master key of this vault"),
            (["--master-key-file", &at("none")], "32 bytes"),
            (["--master-key-file", &at("absent")], "absent"),
            (["--passphrase-file", &at("phrase")], "passphrase"),
            (["--master-key-command", &format!("/bin/cat {}", at("other"))], "not the master key"),
        ] {
            started(&server, named, &words).assert_fails(1, why);
            let after = (files(&server.path("home")), files(keys.path()), rows());
            assert_eq!(differing(&before.0, &after.0), Vec::<&str>::new(), "{words:?}");
            assert!(after.1 == before.1, "{words:?} changed a key");
            assert!(after.2 == before.2, "{words:?} changed a row");
        }
        let server = server.restart(setup()).await;
        server.get("/v1/projects/default/secrets/kept").await.is(200);
        let body = serde_json::json!({"values": {"token": server.canary()}});
        server.change("POST", "/v1/projects/default/secrets/kept/rotate", "*", Some(body)).await.is(200);
    }
}
