//! Audit files that are rotated while the server is away: no line is lost to it, and what is lost is said.

use harness::balancer::Balancer;
use harness::within::{eventually, until};
use harness::{Origin, Server};
use rustix::process::Signal;
use serde_json::Value;

use super::shipping::paths;
use super::team::{Following, SOON, Team};
use crate::world::HOST;

/// A request, its line in the file, and the file rotated away; its text.
async fn rotated(sidecar: &Following, path: &str) -> String {
    sidecar.agent().get(HOST, path).await.assert_ok();
    let audit = sidecar.proxy.audit();
    audit.request(path).await;
    let away = audit.path().with_extension(format!("jsonl{}", path.replace('/', ".")));
    std::fs::rename(audit.path(), &away).unwrap();
    sidecar.proxy.signal(Signal::HUP);
    eventually("another audit file", SOON, || audit.path().exists().then_some(())).await;
    std::fs::read_to_string(away).unwrap()
}

async fn followed(team: &Team, balancer: &Balancer, origin: &Origin) -> Following {
    let ca = team.server.ca().to_str().unwrap().to_owned();
    let sidecar = team.sidecar(&balancer.url(), &ca, &team.token);
    let sidecar = Following::start(team, sidecar.origin(origin)).await;
    sidecar.agent().get(HOST, "/before").await.assert_ok();
    team.is_shipped(&sidecar).await;
    sidecar
}

#[tokio::test]
async fn three_rotations_during_an_outage_lose_no_line_and_change_no_order() {
    let mut team = Team::new().await;
    let balancer = Balancer::before(&[&team.server]).await;
    let origin = Origin::start(HOST).await;
    let sidecar = followed(&team, &balancer, &origin).await;
    team.server.kill();
    let mut before = String::new();
    for path in ["/one", "/two", "/three"] {
        before += &rotated(&sidecar, path).await;
    }
    sidecar.agent().get(HOST, "/four").await.assert_ok();
    team.server.again(Server::setup()).await;
    balancer.to(&[&team.server]);
    until("all files at the server", SOON, async || {
        let sources = team.sources().await;
        let [(source, _)] = sources.as_slice() else { return false };
        let kept = team.exported(source).await;
        kept.contains("/four") && kept == before.clone() + &sidecar.proxy.audit().text()
    })
    .await;
    let (source, last) = team.sources().await[0].clone();
    let verified = team.verified(&source).await;
    assert_eq!((&verified["intact"], verified["records"].as_u64()), (&Value::Bool(true), Some(last)));
}

#[tokio::test]
async fn a_file_that_continues_nothing_at_the_server_begins_a_chain_of_its_own_and_says_so() {
    let mut team = Team::new().await;
    let balancer = Balancer::before(&[&team.server]).await;
    let origin = Origin::start(HOST).await;
    let mut sidecar = followed(&team, &balancer, &origin).await;
    let first = team.sources().await[0].0.clone();
    team.server.kill();
    rotated(&sidecar, "/lost").await;
    sidecar.agent().get(HOST, "/kept").await.assert_ok();
    sidecar.proxy.audit().request("/kept").await;
    // Who starts anew knows only of the file that has the name.
    sidecar.proxy.kill();
    team.server.again(Server::setup()).await;
    balancer.to(&[&team.server]);
    sidecar.proxy.restart().await;
    let sidecar = sidecar.renamed();
    let mut second = String::new();
    until("the file in a chain of its own", SOON, async || {
        let sources = team.sources().await;
        let Some((source, _)) = sources.iter().find(|(source, _)| *source != first) else { return false };
        second.clone_from(source);
        let kept = team.exported(source).await;
        kept.contains("shipped from there on as") && kept == sidecar.proxy.audit().text()
    })
    .await;
    assert!(paths(&team.exported(&second).await).contains("/kept"));
    for source in [&first, &second] {
        assert_eq!(team.verified(source).await["intact"], true, "{source}");
    }
    // The next start goes on with it.
    let mut sidecar = sidecar;
    sidecar.proxy.kill();
    sidecar.proxy.restart().await;
    let sidecar = sidecar.renamed();
    sidecar.agent().get(HOST, "/after").await.assert_ok();
    until("the same chain", SOON, async || {
        let kept = team.exported(&second).await;
        kept.contains("/after") && kept == sidecar.proxy.audit().text()
    })
    .await;
    assert_eq!(team.sources().await.len(), 2);
}
