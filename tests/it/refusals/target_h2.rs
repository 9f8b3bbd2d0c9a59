//! Invariant 1 over HTTP/2: `:authority` and `Host`, on every stream.

use harness::agent::{h2, rawh2};
use harness::{Origin, Proxy};

use crate::world::{HOST, OTHER, World};

fn with<'a>(mut fields: Vec<(&'a str, &'a str)>, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    fields.extend_from_slice(more);
    fields
}

#[tokio::test]
async fn refuses_authority_that_differs_from_connect() {
    let (a, b) = (Origin::start(HOST).await, Origin::start(OTHER).await);
    let proxy = Proxy::builder().bearer(HOST).origin(&a).origin(&b).start().await;
    for authority in [OTHER, "evil.example.net", "api.example.com:8443", "127.0.0.1"] {
        let end = proxy.agent().h2_fields(HOST, &rawh2::get(authority, "/")).await;
        assert_eq!(end.code().as_deref(), Some("DW2007"), "{authority}: {end:?}");
    }
    a.assert_untouched();
    b.assert_untouched();
}

#[tokio::test]
async fn refuses_host_that_differs_from_authority() {
    let world = World::bearer().await;
    let end = world.agent().h2_fields(HOST, &with(rawh2::get(HOST, "/"), &[("host", OTHER)])).await;
    assert_eq!(end.code().as_deref(), Some("DW2007"), "{end:?}");
    let end = world.agent().h2_fields(HOST, &with(rawh2::get(OTHER, "/"), &[("host", HOST)])).await;
    assert_eq!(end.code().as_deref(), Some("DW2007"), "{end:?}");
    world.assert_nothing_left();
}

#[tokio::test]
async fn refuses_duplicate_host_over_h2() {
    let world = World::bearer().await;
    for hosts in [
        [("host", HOST), ("host", HOST)],
        [("host", HOST), ("host", OTHER)],
        [("host", OTHER), ("host", HOST)],
    ] {
        let end = world.agent().h2_fields(HOST, &with(rawh2::get(HOST, "/"), &hosts)).await;
        assert_eq!(end.code().as_deref(), Some("DW2008"), "{hosts:?}: {end:?}");
    }
    world.assert_nothing_left();
}

#[tokio::test]
async fn refuses_authority_that_is_no_authority() {
    let world = World::bearer().await;
    for authority in [
        "",
        "user@api.example.com",
        "api.example.com:",
        "api.example.com:0443",
        "api.example.com/",
        "a b",
        "[api.example.com]",
    ] {
        let end = world.agent().h2_fields(HOST, &rawh2::get(authority, "/")).await;
        assert!(!matches!(end, rawh2::End::Answer { status: Some(200), .. }), "{authority:?}: {end:?}");
    }
    world.assert_nothing_left();
}

#[tokio::test]
async fn refuses_a_request_that_names_no_host_at_all() {
    let world = World::bearer().await;
    let fields = [(":method", "GET"), (":scheme", "https"), (":path", "/")];
    let end = world.agent().h2_fields(HOST, &fields).await;
    assert!(!matches!(end, rawh2::End::Answer { status: Some(200), .. }), "{end:?}");
    world.assert_nothing_left();
}

#[tokio::test]
async fn each_stream_of_a_connection_is_checked_by_itself() {
    let world = World::bearer().await;
    let mut client = world.agent().h2(HOST).await;
    client.get("/good").await.assert_ok();
    let request = http::Request::builder().uri("https://other.example.com/bad").body(h2::empty()).unwrap();
    client.send(request).await.assert_refused(421, "DW2007");
    // The connection may end with that stream; a new one serves.
    let mut client = world.agent().h2(HOST).await;
    client.get("/good-again").await.assert_ok();
    let targets: Vec<_> = world.origin.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/good", "/good-again"]);
}

#[tokio::test]
async fn refuses_sni_that_differs_from_connect_over_h2() {
    let world = World::bearer().await;
    let tls = world.agent().tunnel("api.example.com:443").sni(OTHER).alpn(&["h2"]).try_open().await;
    // It may close at once instead.
    if let Ok(tls) = tls {
        let mut connection = rawh2::RawH2::over(tls).await;
        connection.request(1, &rawh2::get(HOST, "/")).await;
        let end = connection.end_of(1).await;
        assert!(matches!(end.code().as_deref(), Some("DW2007") | None), "{end:?}");
    }
    world.assert_nothing_left();
    world.proxy.audit().code("DW2007").await;
}
