//! Audit lines of sidecars reach the server, each once and in their chain, whoever is killed meanwhile.

use std::collections::BTreeSet;

use harness::balancer::Balancer;
use harness::postgres::Postgres;
use harness::within::until;
use harness::{Origin, Server};
use serde_json::Value;

use super::team::{AUTHORITY, Following, SOON, Team, of};
use crate::world::HOST;

impl Team {
    /// The sources that the sidecars of `coder` ship.
    pub(super) async fn sources(&self) -> Vec<(String, u64)> {
        let all = self.server.get(&of("audit/sources")).await.is(200).json();
        let items = all["items"].as_array().unwrap().iter();
        let own = items.filter(|one| one["name"].as_str().unwrap().starts_with("sidecar/coder/"));
        own.map(|one| (one["name"].as_str().unwrap().to_owned(), one["last"].as_u64().unwrap())).collect()
    }

    /// What the server says of the chain of a source.
    pub(super) async fn verified(&self, source: &str) -> Value {
        self.server.get(&format!("{}?source={source}", of("audit/verify"))).await.is(200).json()
    }

    /// The lines of a source as the server exports them.
    pub(super) async fn exported(&self, source: &str) -> String {
        let all = self.server.get(&format!("{}?source={source}", of("audit/export"))).await;
        String::from_utf8(all.is(200).body.to_vec()).unwrap()
    }

    /// Waits until the one chain of the sidecar is at the server as it stands in the file, and verifies there.
    pub(super) async fn is_shipped(&self, sidecar: &Following) -> String {
        let mut kept = String::new();
        until("the whole file at the server", SOON, async || {
            let sources = self.sources().await;
            let [(source, _)] = sources.as_slice() else { return false };
            kept = self.exported(source).await;
            kept == sidecar.proxy.audit().text() && !kept.is_empty()
        })
        .await;
        let source = &self.sources().await[0].0;
        let verified = self.verified(source).await;
        let lines = u64::try_from(kept.lines().count()).unwrap();
        assert_eq!((&verified["intact"], verified["records"].as_u64()), (&Value::Bool(true), Some(lines)));
        kept
    }
}

/// The paths of the requests in these lines.
pub(super) fn paths(lines: &str) -> BTreeSet<String> {
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| line["path"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn an_edited_a_missing_and_a_cut_line_are_found_at_the_server() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    let team = Team::on(Server::setup().database(&url).start().await).await;
    let origin = Origin::start(HOST).await;
    let sidecar = team.coder(&origin).await;
    for n in 0..4 {
        sidecar.agent().get(HOST, &format!("/{n}")).await.assert_ok();
    }
    team.is_shipped(&sidecar).await;
    let source = team.sources().await[0].0.clone();
    sidecar.proxy.skip_chain();
    drop(sidecar);
    let last = team.sources().await[0].1;
    postgres.sql(&url, "CREATE TABLE kept AS SELECT * FROM audit");
    for (damage, says) in [
        ("UPDATE audit SET line = replace(line, 'api.example.com', 'apj.example.com') WHERE seq = 3", "hash"),
        ("DELETE FROM audit WHERE seq = 3", "seq"),
        ("DELETE FROM audit WHERE seq >= 3", "are missing"),
    ] {
        postgres.sql(&url, &format!("{damage} AND source LIKE '%/sidecar/%'"));
        let verified = team.verified(&source).await;
        assert_eq!(verified["intact"], false, "{damage}: {verified}");
        assert!(verified["broken"].as_str().unwrap().contains(says), "{damage}: {verified}");
        postgres.sql(&url, "DELETE FROM audit; INSERT INTO audit SELECT * FROM kept");
        let verified = team.verified(&source).await;
        assert_eq!(
            (&verified["intact"], &verified["last"]),
            (&Value::Bool(true), &last.into()),
            "{verified}"
        );
    }
}

#[tokio::test]
async fn lines_arrive_once_whoever_is_killed_meanwhile() {
    let mut team = Team::new().await;
    let balancer = Balancer::before(&[&team.server]).await;
    let origin = Origin::start(HOST).await;
    let ca = team.server.ca().to_str().unwrap().to_owned();
    let sidecar = team.sidecar(&balancer.url(), &ca, &team.token).arg("--audit-durability").arg("write");
    let mut sidecar = Following::start(&team, sidecar.origin(&origin)).await;
    let mut asked = 0;
    for round in 0..4 {
        for _ in 0..20 {
            sidecar.agent().get(HOST, &format!("/r{asked}")).await.assert_ok();
            asked += 1;
        }
        if round % 2 == 0 {
            sidecar.proxy.kill();
            sidecar.proxy.restart().await;
            sidecar = sidecar.renamed();
        } else {
            team.server.kill();
            sidecar.agent().get(HOST, "/while-the-server-is-away").await.assert_ok();
            team.server.again(Server::setup()).await;
            balancer.to(&[&team.server]);
        }
    }
    let lines = team.is_shipped(&sidecar).await;
    let paths = paths(&lines);
    let secret = team.server.get(&of("secrets/pat")).await.is(200).json();
    assert!(secret["lastUsed"].is_string(), "{secret}");
    let missing: Vec<_> = (0..asked).filter(|n| !paths.contains(&format!("/r{n}"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(paths.contains("/while-the-server-is-away"));
}

#[tokio::test]
async fn dw5003_refuses_when_more_lines_wait_for_the_server_than_may() {
    let mut team = Team::new().await;
    let balancer = Balancer::before(&[&team.server]).await;
    let origin = Origin::start(HOST).await;
    let ca = team.server.ca().to_str().unwrap().to_owned();
    let sidecar = team.sidecar(&balancer.url(), &ca, &team.token).limit("audit-spool", "64KiB");
    let sidecar = Following::start(&team, sidecar.origin(&origin)).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    team.is_shipped(&sidecar).await;
    team.server.kill();
    let long = "x".repeat(2000);
    let mut sent = 0;
    until("the spool to be full", SOON, async || {
        sent += 1;
        let reply = sidecar.agent().get(HOST, &format!("/{sent}/{long}")).await;
        reply.any_code().as_deref() == Some("DW5003")
    })
    .await;
    assert_eq!(sidecar.proxy.admin_get("/readyz").0, 503);
    let before = origin.requests().len();
    assert!(sidecar.agent().refused(AUTHORITY).await.is("DW5003"));
    assert_eq!(origin.requests().len(), before);
    team.server.again(Server::setup()).await;
    balancer.to(&[&team.server]);
    until("requests to be taken again", SOON, async || {
        sidecar.agent().get(HOST, "/again").await.status == 200
    })
    .await;
    let lines = team.is_shipped(&sidecar).await;
    assert!(paths(&lines).contains("/again"));
}

#[tokio::test]
async fn tail_shows_the_servers_own_and_the_shipped_records_as_of_files_and_those_that_come() {
    let team = Team::new().await;
    let origin = Origin::start(HOST).await;
    let sidecar = team.coder(&origin).await;
    sidecar.agent().get(HOST, "/before").await.assert_ok();
    team.is_shipped(&sidecar).await;
    let root = team.server.root().to_owned();
    let run = |words: &[&str]| {
        let all = [&["-n", super::team::PROJECT, "audit", "tail"], words].concat();
        team.server.doorward(&root, &all, "").assert_ok().stdout.clone()
    };
    let all = run(&["-l", "1000"]);
    assert!(all.contains("/before") && all.contains("agent coder created"), "{all}");
    // The same rows as of the file.
    let file = sidecar.proxy.audit().path().to_str().unwrap().to_owned();
    let row = |text: &str| text.lines().find(|row| row.contains("/before")).unwrap().to_owned();
    assert_eq!(row(&run(&[&file])), row(&all));
    let own = run(&["--source", "control", "-l", "1"]);
    assert!(own.lines().count() == 1 && !own.contains("/before"), "{own}");
    let one = run(&["--agent", "coder", "--path", "/before", "-l", "5", "-o", "jsonl"]);
    assert!(one.lines().all(|line| line.contains("\"path\":\"/before\"")) && !one.is_empty(), "{one}");
    let words = ["-n", super::team::PROJECT, "audit", "tail", "-f", "-l", "0", "-o", "jsonl"];
    let out = team.server.path("tail.out");
    let mut command = team.server.command(&root, &words);
    command.stdout(std::fs::File::create(&out).unwrap());
    let mut follows = command.spawn().unwrap();
    let shown = || std::fs::read_to_string(&out).unwrap();
    let mut n = 0;
    // Until it has begun to follow, what is done may lie before its beginning.
    until("what comes at a sidecar", SOON, async || {
        n += 1;
        sidecar.agent().get(HOST, &format!("/after-{n}")).await.assert_ok();
        shown().contains("/after-")
    })
    .await;
    sidecar.agent().get(HOST, "/last").await.assert_ok();
    team.secret("later", "other.example.com").await;
    until("both", SOON, async || shown().contains("/last") && shown().contains("secret later created")).await;
    drop(follows.kill());
    drop(follows.wait());
    let mut lines: Vec<String> = shown().lines().map(str::to_owned).collect();
    let count = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), count, "each is shown once");
}
