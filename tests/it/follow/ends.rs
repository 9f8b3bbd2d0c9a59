//! An agent whose end has come: nothing of it is served any more, and its sidecar says so.

use harness::postgres::Postgres;
use harness::relay::Relay;
use harness::within::until;
use harness::{Origin, Server, answer};

use super::team::{AUTHORITY, Following, SOON, Team};
use crate::world::HOST;

/// The revision that the sidecar has in force.
fn in_force(sidecar: &Following) -> u64 {
    let (_, ready) = sidecar.proxy.admin_get("/readyz?verbose");
    let after = ready.split_once("in force ").map_or("", |(_, rest)| rest);
    after.split(|c: char| !c.is_ascii_digit()).next().and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn an_agent_whose_end_has_come_is_refused_and_its_sidecar_is_not_ready_although_nobody_told_it() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    let team = Team::on(Server::setup().database(&url).start().await).await;
    let relay = Relay::before(&team.server).await;
    let (mut feeds, answer) = answer::stream(&[]);
    let origin = Origin::builder(&[HOST]).h1().answer(answer).start().await;
    let sidecar = Following::start(&team, team.coder_via(&relay).origin(&origin)).await;
    let mut tls = sidecar.agent().tls(HOST).await;
    tls.send(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let feed = answer::next(&mut feeds).await;
    feed.send("begun").await;
    tls.read_until(b"begun").await;
    assert_eq!(sidecar.proxy.admin_get("/readyz").0, 200);
    // Time enough for the sidecar to hear of its end before the server is away.
    let before = in_force(&sidecar);
    postgres
        .sql(&url, "UPDATE agents SET expires = extract(epoch FROM now())::bigint + 8 WHERE name = 'coder'");
    // Another change has the agent's rows read again.
    team.rotate("pat").await;
    until("the end to be known", SOON, async || in_force(&sidecar) > before).await;
    relay.close();
    until("the end", SOON, async || sidecar.agent().connect(AUTHORITY).await.status == 407).await;
    let (status, ready) = sidecar.proxy.admin_get("/readyz?verbose");
    assert_eq!(status, 503, "{ready}");
    let cut = tokio::time::timeout(SOON, tls.read_to_end()).await;
    assert!(cut.is_ok(), "the stream lives on");
    feed.reader_gone().await;
    // The server, when it is there again, says the same.
    relay.open();
    until("the server's word", SOON, async || {
        sidecar.proxy.log().contains("the server took everything from this agent")
    })
    .await;
    assert_eq!(sidecar.proxy.admin_get("/readyz").0, 503);
}
