//! The drill of a restore: everything is lost but a backup and the master key, and what comes back is served elsewhere.

use std::path::Path;
use std::process::{Command, Stdio};

use harness::home::{Ran, finish};
use harness::postgres::Postgres;
use harness::{Origin, Server};

use super::team::{SOON, Team, of};
use crate::world::HOST;

fn doorward(home: &Path, words: &[&str]) -> Ran {
    let mut command = Command::new(harness::binary::doorward());
    command.arg("--home").arg(home).args(words).env_clear().env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command, "")
}

/// From one database to the other: what is lost may have been on either.
async fn drill(from: Option<&str>, to: Option<&str>) {
    let kept = tempfile::tempdir().unwrap();
    let at = |name: &str| kept.path().join(name).display().to_string();
    let key = ["--master-key-file".to_owned(), at("master.key")];
    let key = key.each_ref().map(String::as_str);
    let setup = |url: Option<&str>| {
        let setup = Server::setup().flags(&key);
        url.map_or(setup.clone(), |url| setup.database(url))
    };
    let mut team = Team::on(setup(from).start().await).await;
    // A version that is not the first, and an earlier one to return to.
    let (first, second) = (team.value.clone(), team.rotate("pat").await);
    let own = format!("sqlite:{}", team.server.path("home").join("data/server.db").display());
    let (backup, database) = (at("backup"), from.unwrap_or(&own));
    let home = team.server.path("operator");
    let words = [&["backup", &backup, "--database", database][..], &key].concat();
    doorward(&home, &words).assert_ok();
    team.server.kill();

    let fresh = format!("sqlite:{}", kept.path().join("restored.db").display());
    let target = to.unwrap_or(&fresh);
    let restore = [&["restore", &backup, "--database", target][..], &key].concat();
    let told = doorward(&home, &restore);
    // Two of the secret, and the key that the audit is signed with.
    assert!(told.assert_ok().stderr.contains("3 of 3 values open"), "{told:?}");
    // Nothing is put on top of what is there.
    let again = doorward(&home, &restore);
    assert_ne!(again.code, Some(0), "{again:?}");

    let mut server = setup(Some(target)).start().await;
    server.act_as(team.server.root());
    let team = Team { server, token: team.token.clone(), value: second.clone() };
    let origin = Origin::start(HOST).await;
    let sidecar = team.coder(&origin).await;
    sidecar.shows(&origin, HOST, &second).await;
    let rolled = team.server.change("POST", &of("secrets/pat/rollback"), "*", None).await;
    rolled.is(200);
    sidecar.shows(&origin, HOST, &first).await;
    let verified = team.server.get("/v1/audit/verify").await.is(200).json();
    assert_eq!(verified["intact"], true, "{verified}");
    harness::within::until("the acknowledgement", SOON, async || {
        team.attachments("coder").await.iter().all(|one| one["synced"] == true)
    })
    .await;
}

#[tokio::test]
async fn a_backup_of_sqlite_is_restored_to_postgresql_and_a_sidecar_gets_what_it_had() {
    let postgres = Postgres::shared();
    drill(None, Some(&postgres.database())).await;
}

#[tokio::test]
async fn a_backup_of_postgresql_is_restored_to_sqlite_and_a_sidecar_gets_what_it_had() {
    let postgres = Postgres::shared();
    drill(Some(&postgres.database()), None).await;
}
