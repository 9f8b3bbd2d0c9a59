//! The audit of what lasts or is cut, and of what cannot be recorded.

use harness::{Origin, Proxy, answer};

use crate::world::{HOST, OTHER, World, token};

/// A world whose audit is full: every place belongs to a request that is never answered.
async fn full() -> World {
    let builder = Proxy::builder().bearer(HOST).limit("audit-ring", "16");
    let world = World::built(Origin::builder(&[HOST]).answer(answer::never()), builder).await;
    for n in 0..16 {
        let agent = world.agent();
        tokio::spawn(async move { agent.get(HOST, &format!("/{n}")).await });
    }
    world.origin.wait_requests(16).await;
    world
}

#[tokio::test]
async fn dw5003_nothing_else_is_said_of_a_request_that_cannot_be_recorded() {
    let world = full().await;
    // Without a place in the audit an agent could try out rules unseen.
    world.agent().get(HOST, "/%00").await.assert_refused(503, "DW5003");
    world.agent().get(OTHER, "/").await.assert_refused(503, "DW5003");
}

#[tokio::test]
async fn dw5003_nothing_else_is_said_of_a_connection_that_cannot_be_recorded() {
    let world = full().await;
    // Or tokens.
    let nobody = world.agent().without_authorization().with_basic("agent", "a-guess-that-is-wrong-0123");
    for (agent, authority) in
        [(&nobody, "api.example.com:443"), (&world.agent(), "127.1:443"), (&world.agent(), "x.example:22")]
    {
        let reply = agent.connect(authority).await;
        assert_eq!(
            (reply.status, reply.any_code().as_deref()),
            (503, Some("DW5003")),
            "{authority}: {reply:?}"
        );
    }
}

#[tokio::test]
async fn a_tunnel_that_is_passed_through_is_opened_in_the_audit_and_recorded_when_it_is_cut() {
    let (mut feeds, answer) = answer::stream(&[]);
    let spec = format!("type: http-token\nhost: {HOST}\ntls: {{mode: passthrough}}");
    let builder = Proxy::builder().provider("demo", &spec).limit("audit-open-after", "100ms");
    let world = World::built(Origin::builder(&[HOST]).h1().answer(answer), builder).await;
    let agent = world.agent().with_ca(harness::ca::TestCa::world().pem());
    let mut tls = agent.tls(HOST).await;
    tls.send(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let feed = answer::next(&mut feeds).await;
    feed.send("x".repeat(10_000)).await;
    tls.read_until(&[b'x'; 10_000]).await;
    let open = world
        .proxy
        .audit()
        .wait_for("open", |line| line["kind"] == "open" && line["host"] == HOST && line["provider"] == "demo")
        .await;
    // The provider goes, and its tunnels with it.
    world.proxy.remove_provider("demo");
    tls.read_to_end().await;
    let close = world.proxy.audit().wait_for("connect", |line| line["kind"] == "connect").await;
    assert_eq!(open["req"], close["req"]);
    let (up, down) = (close["bytes_in"].as_u64().unwrap(), close["bytes_out"].as_u64().unwrap());
    assert!(up > 100 && down > 10_000, "{close}");
}

#[tokio::test]
async fn a_tunnel_that_the_drain_cuts_is_recorded_with_what_it_carried() {
    let spec = format!("type: http-token\nhost: {HOST}\ntls: {{mode: passthrough}}");
    let builder = Proxy::builder().provider("demo", &spec).drain("100ms");
    let mut world = World::built(Origin::builder(&[HOST]), builder).await;
    let agent = world.agent().with_ca(harness::ca::TestCa::world().pem());
    let mut tls = agent.tls(HOST).await;
    tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.assert_ok();
    world.proxy.signal(rustix::process::Signal::TERM);
    assert!(world.proxy.ended(harness::within::DEADLINE).await.success());
    let line = world.proxy.audit().wait_for("connect", |line| line["kind"] == "connect").await;
    assert!(line["bytes_in"].as_u64() > Some(100) && line["bytes_out"].as_u64() > Some(100), "{line}");
}

/// A provider whose credential goes into the body, which therefore has to be held.
fn held() -> String {
    token(&format!("inject: [{{hosts: [{HOST}], body: {{jsonPointer: /key}}}}]"))
}

const BEGUN: &[u8] = b"POST /held HTTP/1.1\r\nHost: api.example.com\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";

#[tokio::test]
async fn dw2008_a_held_body_of_which_nothing_comes_is_refused() {
    let builder = Proxy::builder().provider("demo", &held()).limit("stream-idle", "300ms");
    let world = World::built(Origin::builder(&[HOST]), builder).await;
    let mut tls = world.agent().tls(HOST).await;
    let reply = tls.exchange(BEGUN).await;
    reply.assert_refused(400, "DW2008");
    world.assert_nothing_left();
}

#[tokio::test]
async fn a_body_that_is_held_long_is_opened_in_the_audit() {
    let builder = Proxy::builder().provider("demo", &held()).limit("audit-open-after", "100ms");
    let world = World::built(Origin::builder(&[HOST]), builder).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(BEGUN).await;
    let open = |line: &serde_json::Value| line["kind"] == "open" && line["path"] == "/held";
    world.proxy.audit().wait_for("open", open).await;
}
