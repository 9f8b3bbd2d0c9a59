//! Two servers on one PostgreSQL, three sidecars, agents that never pause: whatever is killed, no injection fails, no secret is
//! stale, and no audit record is lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use harness::balancer::Balancer;
use harness::postgres::Postgres;
use harness::server::Setup;
use harness::within::until;
use harness::{Origin, Server};
use serde_json::json;

use super::load::{Door, Load, Tally};
use super::shipping::paths;
use super::team::{Following, SOON, Team, of};

/// Requests in a second.
const RATE: u64 = 200;
/// Requests that have to arrive between two kills.
const BETWEEN: u64 = 200;

/// All of it, at work.
struct Stage {
    sidecars: Vec<Following>,
    url: String,
    keys: tempfile::TempDir,
    /// The first server; its API is asked.
    team: Team,
    second: Option<Server>,
    balancer: Balancer,
    doors: Vec<Arc<Door>>,
    tally: Arc<Tally>,
    _origin: Origin,
    _postgres: Postgres,
}

fn setup(url: &str, keys: &tempfile::TempDir) -> Setup {
    let key = keys.path().join("master.key").display().to_string();
    Server::setup().database(url).flags(&["--master-key-file", &key])
}

impl Stage {
    async fn new() -> Self {
        let postgres = Postgres::start();
        let (url, keys) = (postgres.database(), tempfile::tempdir().unwrap());
        let team = Team::on(setup(&url, &keys).start().await).await;
        let mut second = setup(&url, &keys).start().await;
        second.act_as(team.server.root());
        let balancer = Balancer::before(&[&team.server, &second]).await;
        let both = [team.server.ca(), second.ca()].map(|file| std::fs::read_to_string(file).unwrap());
        let ca = team.server.path("both-ca.pem");
        std::fs::write(&ca, both.concat()).unwrap();
        let tally = Arc::<Tally>::default();
        tally.comes(&team.value);
        let origin = tally.origin().await;
        let mut sidecars = Vec::new();
        for agent in ["coder", "reader", "writer"] {
            let token = match agent {
                "coder" => team.token.clone(),
                _ => team.agent(agent).await,
            };
            if agent != "coder" {
                team.attach(agent, "provider", "demo").await;
            }
            let sidecar = team.sidecar(&balancer.url(), ca.to_str().unwrap(), &token).log("info");
            let sidecar = sidecar.arg("--audit-durability").arg("write").origin(&origin);
            sidecars.push(Following::start(&team, sidecar).await);
        }
        let doors = sidecars.iter().map(Door::of).collect();
        let second = Some(second);
        Self {
            sidecars,
            url,
            keys,
            team,
            second,
            balancer,
            doors,
            tally,
            _origin: origin,
            _postgres: postgres,
        }
    }

    /// Waits for more requests, and for all sidecars to follow.
    async fn goes_on(&self) {
        let goal = self.tally.injected() + BETWEEN;
        until("more requests, and all sidecars connected", SOON, async || {
            let follows = |one: &Following| one.proxy.metric("doorward_control_connected") == Some(1.0);
            self.tally.injected() >= goal && self.sidecars.iter().all(follows)
        })
        .await;
        assert_eq!(self.tally.faults(), Vec::<String>::new());
    }

    /// Another value for the secret, told to this server.
    async fn rotate_at(&self, server: &Server) {
        let value = server.canary();
        self.tally.comes(&value);
        let body = json!({"values": {"token": value}});
        server.change("POST", &of("secrets/pat/rotate"), "*", Some(body)).await.is(200);
        self.tally.counts();
    }

    async fn rotate(&self) {
        self.rotate_at(&self.team.server).await;
    }

    async fn kill_first_server(&mut self) {
        self.team.server.kill();
        let second = self.second.as_ref().unwrap();
        self.balancer.to(&[second]);
        self.rotate_at(second).await;
        self.goes_on().await;
        self.team.server.again(setup(&self.url, &self.keys)).await;
        self.balancer.to(&[&self.team.server, self.second.as_ref().unwrap()]);
    }

    async fn kill_second_server(&mut self) {
        let mut second = self.second.take().unwrap();
        second.kill();
        self.balancer.to(&[&self.team.server]);
        self.rotate().await;
        self.goes_on().await;
        let second = second.restart(setup(&self.url, &self.keys)).await;
        self.balancer.to(&[&self.team.server, &second]);
        self.second = Some(second);
    }

    async fn kill_sidecar(&mut self, number: usize) {
        let (door, sidecar) = (&self.doors[number], &mut self.sidecars[number]);
        door.close();
        sidecar.proxy.kill();
        sidecar.proxy.restart().await;
        door.open(sidecar);
        self.rotate().await;
        self.goes_on().await;
    }

    /// Another master key, by whoever operates the servers, while both run.
    async fn rotate_master_key(&self) {
        let key = self.keys.path().join("master.key").display().to_string();
        let words = ["key", "rotate", "--database", &self.url, "--master-key-file", &key];
        let mut command = tokio::process::Command::new(harness::binary::doorward());
        command.arg("--home").arg(self.keys.path()).args(words).env_clear().env("PATH", "/usr/bin:/bin");
        let ended = harness::within("key rotate", command.output()).await.unwrap();
        assert!(ended.status.success(), "{ended:?}");
    }

    /// Every request that arrived is in a chain at the server, and the chains hold.
    async fn nothing_is_lost(&self) {
        let mut sources = Vec::new();
        until("every line at the server", SOON, async || {
            let all = self.team.server.get(&of("audit/sources")).await.is(200).json();
            sources = all["items"].as_array().unwrap().clone();
            let last = |one: &Following| one.proxy.audit().lines().last().unwrap()["seq"].as_u64().unwrap();
            let own = sources.iter().filter(|one| one["name"] != "control");
            let kept: u64 = own.map(|one| one["last"].as_u64().unwrap()).sum();
            kept == self.sidecars.iter().map(last).sum::<u64>()
        })
        .await;
        assert_eq!(sources.len(), 4, "each sidecar has one chain: {sources:?}");
        let mut missing = self.tally.paths();
        for source in sources {
            let name = source["name"].as_str().unwrap();
            let verified = self.team.verified(name).await;
            assert_eq!(verified["intact"], true, "{verified}");
            if name != "control" {
                let kept = paths(&self.team.exported(name).await);
                missing.retain(|path| !kept.contains(path));
            }
        }
        assert_eq!(missing, BTreeSet::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants the machine for itself: a step of .ci/run, or cargo test -p doorward-tests --test it -- --ignored follow::replicas"]
async fn whatever_is_killed_under_load_no_injection_fails_no_secret_is_stale_and_no_record_is_lost() {
    let mut stage = Stage::new().await;
    let load = Load::start(&stage.doors, &stage.tally, RATE);
    stage.goes_on().await;
    stage.kill_first_server().await;
    stage.kill_second_server().await;
    for number in 0..3 {
        stage.kill_sidecar(number).await;
    }
    for _ in 0..3 {
        stage.rotate().await;
        stage.goes_on().await;
    }
    for _ in 0..2 {
        stage.rotate_master_key().await;
        stage.goes_on().await;
        stage.rotate().await;
        stage.goes_on().await;
    }
    let rate = load.end(&stage.tally).await;
    assert_eq!(stage.tally.faults(), Vec::<String>::new());
    stage.nothing_is_lost().await;
    eprintln!("{rate:.0} requests/s of {RATE}, {} injections", stage.tally.injected());
}
