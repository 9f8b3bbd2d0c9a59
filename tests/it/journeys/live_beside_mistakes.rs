//! What must reach a running proxy although some file is bad: revocation, rotation and deletion. The rest waits.

use std::time::Duration;

use harness::proxy::build::provider_yaml;
use harness::within::until;

use crate::world::{HOST, World, bearer_and};

/// Within which revocation and rotation are effective, live tunnels included.
const LIMIT: Duration = harness::within::DEADLINE;

/// A world whose provider file has a mistake since it was started.
async fn with_a_mistake() -> World {
    let world = World::bearer().await;
    world.agent().get(HOST, "/").await.assert_ok();
    world.proxy.write_provider("demo", &provider_yaml("demo", &bearer_and("polcy: {}")));
    let reported = async || world.proxy.admin_get("/readyz?verbose").1.contains("polcy");
    until("the mistake", LIMIT, reported).await;
    world
}

/// The mistake is still told, and the old routes still serve.
async fn assert_as_before(world: &World) {
    let (_, report) = world.proxy.admin_get("/readyz?verbose");
    assert!(report.contains("DW6001") && report.contains("polcy"), "{report}");
    assert_eq!(world.proxy.metric("doorward_reload_failed"), Some(1.0));
}

#[tokio::test]
async fn a_removed_token_is_refused_although_a_provider_file_is_bad() {
    let world = with_a_mistake().await;
    let mut tls = world.agent().tls(HOST).await;
    tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.assert_ok();
    world.proxy.write_tokens("another:another-token-0123456789abcdef\n");
    until("the 407", LIMIT, async || world.agent().connect("api.example.com:443").await.status == 407).await;
    tls.assert_closed().await;
    let another = world.agent().with_basic("agent", "another-token-0123456789abcdef");
    another.get(HOST, "/another").await.assert_ok();
    assert_as_before(&world).await;
}

#[tokio::test]
async fn a_rotated_secret_is_used_although_a_provider_file_is_bad() {
    let mut world = with_a_mistake().await;
    let fresh = harness::canary::fresh();
    world.proxy.rotate("canary", "token", &fresh);
    let wanted = format!("Bearer {fresh}");
    until("the new value", LIMIT, async || {
        world.agent().get(HOST, "/").await.assert_ok();
        world.origin.last().headers_named("authorization") == [wanted.as_str()]
    })
    .await;
    assert_as_before(&world).await;
}

#[tokio::test]
async fn a_deleted_secret_is_not_used_although_a_provider_file_is_bad() {
    let world = with_a_mistake().await;
    std::fs::remove_dir_all(world.proxy.path("secrets/canary")).unwrap();
    until("the refusal", LIMIT, async || world.agent().get(HOST, "/").await.status == 503).await;
    world.agent().get(HOST, "/").await.assert_refused(503, "DW1004");
    assert_as_before(&world).await;
}

#[tokio::test]
async fn a_secret_that_is_rotated_away_from_a_host_is_not_sent_there_any_more() {
    let (home, value) = (harness::Home::keyed(), harness::canary::fresh());
    home.add("canary", &value, &["--hosts", HOST]).assert_ok();
    let builder = harness::Proxy::builder().vault(&home).canary(&value).bearer(HOST);
    let mut world = World::built(harness::Origin::builder(&[HOST]), builder).await;
    world.agent().get(HOST, "/").await.assert_ok();
    let fresh = harness::canary::fresh();
    world.proxy.watch(&fresh);
    home.rotate("canary", &fresh, &["--hosts", "elsewhere.example.com"]).assert_ok();
    until("the refusal", LIMIT, async || world.agent().get(HOST, "/").await.status == 503).await;
    world.agent().get(HOST, "/").await.assert_refused(503, "DW1004");
    let (_, report) = world.proxy.admin_get("/readyz?verbose");
    assert!(report.contains("is not bound to `api.example.com`"), "{report}");
    assert!(world.origin.requests().iter().all(|seen| !seen.contains(&fresh)), "sent where it is not bound");
}
