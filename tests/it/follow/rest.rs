//! What lies on disk holds no value, and what is changed there is not delivered; everything else goes on.

use std::path::Path;

use harness::postgres::Postgres;
use harness::within::until;
use harness::{Home, Origin, Server, canary};
use serde_json::json;

use super::team::{AUTHORITY, SOON, Team, document, of};
use crate::world::{HOST, OTHER};

/// Every file below a folder, and what is in it.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // The templates that PostgreSQL comes with.
            if ["base/1", "base/4", "base/5"].iter().any(|template| path.ends_with(template)) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                found.push((path.display().to_string(), bytes));
            }
        }
    }
    found
}

/// No file below the folder holds one of these, plain, in hex or in base64, or escaped.
#[track_caller]
fn assert_absent(folder: &Path, secrets: &[String]) {
    let all = files(folder);
    assert!(!all.is_empty(), "{} is empty", folder.display());
    for (name, bytes) in all {
        for secret in secrets {
            let hex = hex::encode(secret);
            let is_there =
                [secret.as_bytes(), hex.as_bytes()].iter().any(|form| canary::contains(&bytes, form));
            assert!(!is_there, "{name} holds a value");
        }
        // Logs and backups are read in every way; for tables and their log, the two that databases write are enough.
        if name.ends_with("/log") || name.ends_with("/backup") {
            let reading = canary::Reading::of(&bytes);
            secrets.iter().for_each(|secret| assert_eq!(reading.holds(secret), None, "{name}"));
        }
    }
}

/// Values go in by every way, and some of it fails.
async fn busy(team: &Team) -> Vec<String> {
    let server = &team.server;
    let mut secrets = vec![team.value.clone(), team.token.clone(), server.root().to_owned()];
    secrets.push(team.rotate("pat").await);
    secrets.push(team.secret("second", OTHER).await);
    // Twice the same name, a stale version, an unknown project, a value that cannot be stored.
    let value = server.canary();
    let body = json!({"name": "second", "values": {"token": value}, "hosts": [OTHER]});
    server.post(&of("secrets"), body.clone()).await.is(409);
    server.post("/v1/projects/nowhere/secrets", body).await.is(404);
    let rotate = json!({"values": {"token": value}});
    server.change("POST", &of("secrets/second/rotate"), "\"v99\"", Some(rotate)).await.is(412);
    let odd = json!({"name": "odd", "values": {"token": format!("{value}\u{0}")}, "hosts": [OTHER]});
    assert!(server.post(&of("secrets"), odd).await.status >= 400);
    secrets.push(value);
    let value = server.canary();
    let (root, words) = (server.root().to_owned(), ["-n", super::team::PROJECT, "import"]);
    let file = server.path("client.env");
    harness::proxy::build::put(&file, &format!("IMPORTED_TOKEN=ghp_{value}\n"));
    server.doorward(&root, &[&words[..], &[file.to_str().unwrap()]].concat(), "").assert_ok();
    std::fs::remove_file(file).unwrap();
    secrets.push(value);
    server.change("POST", &of("secrets/pat/rollback"), "*", None).await;
    secrets
}

/// A backup of what the server has, by whoever operates it.
fn backup(server: &Server, database: &str, file: &Path) {
    let temporary = server.path("temporary");
    std::fs::create_dir_all(&temporary).unwrap();
    let mut command = std::process::Command::new(harness::binary::doorward());
    command.arg("--home").arg(server.path("home")).arg("backup").arg(file).args(["--database", database]);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("TMPDIR", &temporary);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    harness::home::finish(command, "").assert_ok();
    assert!(files(&temporary).is_empty(), "something stayed behind");
}

#[tokio::test]
async fn no_value_lies_in_postgresqls_files_logs_and_backups() {
    let postgres = Postgres::start();
    let url = postgres.database();
    let team = Team::on(Server::setup().database(&url).start().await).await;
    let origin = Origin::start(HOST).await;
    let sidecar = team.coder(&origin).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    let mut secrets = busy(&team).await;
    // Statements that fail are logged, too.
    postgres.sql(&url, "ALTER TABLE sealed_values RENAME TO away");
    let value = team.server.canary();
    let body = json!({"name": "third", "values": {"token": value}, "hosts": [OTHER]});
    assert!(team.server.post(&of("secrets"), body).await.status >= 500);
    postgres.sql(&url, "ALTER TABLE away RENAME TO sealed_values");
    secrets.push(value);
    postgres.checkpoint(&url);
    let text = files(postgres.dir()).into_iter().any(|(_, bytes)| canary::contains(&bytes, b"sealed_values"));
    assert!(text, "the search sees what is stored");
    assert_absent(postgres.dir(), &secrets);
    let kept = tempfile::tempdir().unwrap();
    backup(&team.server, &url, &kept.path().join("backup"));
    assert_absent(kept.path(), &secrets);
}

#[tokio::test]
async fn no_value_lies_in_sqlites_file_its_log_and_backups() {
    let mut team = Team::new().await;
    let origin = Origin::start(HOST).await;
    let sidecar = team.coder(&origin).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    let secrets = busy(&team).await;
    // As a lost machine leaves it: with the log of what was not taken over yet.
    team.server.kill();
    let home = team.server.path("home");
    let database =
        files(&home).into_iter().map(|(name, _)| name).find(|name| name.ends_with("server.db")).unwrap();
    let folder = Path::new(&database).parent().unwrap().to_owned();
    let names: Vec<String> = files(&folder).into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().any(|name| name.ends_with("server.db-wal")), "{names:?}");
    assert_absent(&folder, &secrets);
    let kept = tempfile::tempdir().unwrap();
    backup(&team.server, &format!("sqlite:{database}"), &kept.path().join("backup"));
    assert_absent(kept.path(), &secrets);
    assert_absent(&folder, &secrets);
}

/// What somebody with the database can do to a secret's rows; what has to be put back after it.
const DAMAGES: [&str; 6] = [
    // A flipped bit in the record, at its beginning and at its end.
    "UPDATE sealed_values SET record = set_byte(record, 20, get_byte(record, 20) # 1) WHERE project = 'team-a' AND name = 'pat'",
    "UPDATE sealed_values SET record = set_byte(record, length(record) - 1, get_byte(record, length(record) - 1) # 128) WHERE project = 'team-a' AND name = 'pat'",
    // Where it may go.
    "UPDATE versions SET hosts = 'api.example.com,evil.example.com' WHERE project = 'team-a' AND name = 'pat'",
    "UPDATE versions SET hosts = NULL WHERE project = 'team-a' AND name = 'pat'",
    // Another secret's value, and the secret of this name of another project.
    "UPDATE sealed_values SET record = (SELECT record FROM sealed_values WHERE project = 'team-a' AND name = 'other' ORDER BY sealed_as DESC LIMIT 1) WHERE project = 'team-a' AND name = 'pat'",
    "UPDATE sealed_values SET record = (SELECT record FROM sealed_values WHERE project = 'team-b' AND name = 'pat') WHERE project = 'team-a' AND name = 'pat'",
];

#[tokio::test]
async fn what_was_changed_in_the_database_is_not_delivered_and_nothing_else_is_touched() {
    let postgres = Postgres::start();
    let url = postgres.database();
    let team = Team::on(Server::setup().database(&url).start().await).await;
    let other = team.secret("other", OTHER).await;
    team.server.project("team-b").await;
    let body = json!({"name": "pat", "values": {"token": team.server.canary()}, "hosts": [HOST]});
    team.server.post("/v1/projects/team-b/secrets", body).await.is(201);
    team.server.post(&of("providers"), document("other", OTHER, "other")).await.is(201);
    team.attach("coder", "provider", "other").await;
    let origin = Origin::builder(&[HOST, OTHER]).start().await;
    let sidecar = team.coder(&origin).await;
    sidecar.shows(&origin, OTHER, &other).await;
    postgres.sql(&url, "CREATE TABLE kept_values AS SELECT * FROM sealed_values; CREATE TABLE kept_versions AS SELECT * FROM versions");
    for damage in DAMAGES {
        sidecar.shows(&origin, HOST, &team.value).await;
        postgres.sql(&url, damage);
        // Another secret's change has the agent's rows read again.
        let next = team.rotate("other").await;
        sidecar.shows(&origin, OTHER, &next).await;
        until(damage, SOON, async || {
            let refused = sidecar.agent().refused(AUTHORITY).await;
            refused.status >= 500 || refused.is("DW1001")
        })
        .await;
        let before = origin.requests().len();
        assert_ne!(sidecar.agent().get(HOST, "/").await.status, 200, "{damage}");
        assert_eq!(origin.requests().len(), before, "{damage}: something left");
        postgres.sql(&url, "UPDATE sealed_values s SET record = k.record FROM kept_values k WHERE s.project = 'team-a' AND s.name = 'pat' AND (s.project, s.name, s.sealed_as, s.key) = (k.project, k.name, k.sealed_as, k.key)");
        postgres.sql(&url, "UPDATE versions v SET hosts = k.hosts FROM kept_versions k WHERE v.project = 'team-a' AND v.name = 'pat' AND (v.project, v.name, v.version) = (k.project, k.name, k.version)");
        let next = team.rotate("other").await;
        sidecar.shows(&origin, OTHER, &next).await;
    }
    sidecar.shows(&origin, HOST, &team.value).await;
}

#[tokio::test]
async fn a_lost_database_stops_no_agent_and_what_it_holds_is_followed_again() {
    let postgres = Postgres::start();
    let team = Team::on(Server::setup().database(postgres.database()).start().await).await;
    let origin = Origin::start(HOST).await;
    let sidecar = team.coder(&origin).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    postgres.kill();
    let rotate = json!({"values": {"token": team.server.canary()}});
    let refused = team.server.change("POST", &of("secrets/pat/rotate"), "*", Some(rotate)).await;
    refused.refused(503, "DW6018");
    sidecar.agent().get(HOST, "/").await.assert_ok();
    postgres.go();
    until("the database", SOON, async || team.server.get(&of("secrets/pat")).await.status == 200).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    let fresh = team.rotate("pat").await;
    sidecar.shows(&origin, HOST, &fresh).await;
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_lost() {
    // A file system of 6 MiB for the database, most of it taken until the test says otherwise.
    let flag = Home::keyed();
    let (folder, free) = (flag.path("disk"), flag.path("free"));
    std::fs::create_dir(&folder).unwrap();
    let script = format!(
        r#"exec unshare -rm sh -c 'mount -t tmpfs -o size=6m,mode=700 none {folder} && head -c 4500000 /dev/zero >{folder}/filler &&
            {{ (while [ ! -e {free} ]; do sleep 0.05; done; rm {folder}/filler) & }} && exec "$@"' sh "$@""#,
        folder = folder.display(),
        free = free.display()
    );
    let setup = Server::setup().database(format!("sqlite:{}", folder.join("server.db").display()));
    let team = Team::on(setup.shell(&script).start().await).await;
    let origin = Origin::start(HOST).await;
    let sidecar = team.coder(&origin).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    let text = "x".repeat(60_000);
    let mut stored = 0;
    until("the disk to be full", SOON, async || {
        let body = json!({"name": format!("V{stored}"), "value": text});
        let answer = team.server.post(&of("variables"), body).await;
        if answer.status == 201 {
            stored += 1;
            return false;
        }
        // What cannot be recorded is refused as such.
        assert!(answer.status == 503 && ["DW6018", "DW5003"].contains(&answer.code().as_str()), "{answer:?}");
        true
    })
    .await;
    assert!(stored > 0);
    team.server.get(&of("variables/V0")).await.is(200);
    sidecar.agent().get(HOST, "/").await.assert_ok();
    std::fs::write(&free, "").unwrap();
    let body = json!({"name": "AFTER", "value": text});
    until("room", SOON, async || team.server.post(&of("variables"), body.clone()).await.status == 201).await;
    for n in 0..stored {
        let kept = team.server.get(&of(&format!("variables/V{n}"))).await.is(200).json();
        assert_eq!(kept["value"], text);
    }
    assert_ne!(team.server.get(&of(&format!("variables/V{stored}"))).await.status, 200);
    let fresh = team.rotate("pat").await;
    sidecar.shows(&origin, HOST, &fresh).await;
    let verified = team.server.get(&of("audit/verify")).await.is(200).json();
    assert_eq!(verified["intact"], true, "{verified}");
}
