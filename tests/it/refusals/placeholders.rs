//! Placeholders: replaced on one named surface, refused everywhere else (DW1007).

use harness::{Origin, Proxy};

use crate::world::{HOST, OTHER, World, bearer, token};

const DUMMY: &str = "ghp_dw0dummyDUMMY0123456789abcdefghijkl";

fn surface(place: &str) -> String {
    token(&format!("placeholder: {DUMMY}, inject: [{{hosts: [{HOST}], placeholder: {{in: [\"{place}\"]}}}}]"))
}

async fn in_header() -> World {
    World::of(&surface("header:X-Key")).await
}

#[tokio::test]
async fn dw1007_refuses_a_dummy_in_headers_that_servers_reflect() {
    let world = in_header().await;
    for name in [
        "User-Agent",
        "Referer",
        "Origin",
        "Cookie",
        "Accept",
        "Accept-Language",
        "Traceparent",
        "Tracestate",
        "X-Request-Id",
        "If-None-Match",
        "If-Match",
        "Authorization",
        "X-Other",
        "Content-Type",
    ] {
        let reply = world.agent().ask(HOST, &format!("GET / HTTP/1.1\n{name}: a {DUMMY} b")).await;
        reply.assert_refused(403, "DW1007");
    }
    world.assert_nothing_left();
    assert_eq!(world.proxy.audit().code("DW1007").await["verdict"], "deny");
}

#[tokio::test]
async fn refuses_a_dummy_in_path_and_query_when_it_is_bound_to_a_header() {
    let world = in_header().await;
    let encoded = DUMMY.replace('_', "%5F");
    let every: String = DUMMY.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for target in [
        format!("/{DUMMY}"),
        format!("/x/{DUMMY}/y"),
        format!("/?key={DUMMY}"),
        format!("/?{DUMMY}"),
        format!("/?key={encoded}"),
        format!("/{encoded}"),
        format!("/?key={every}"),
        format!("/{every}"),
    ] {
        let reply = world.agent().ask(HOST, &format!("GET {target} HTTP/1.1\nX-Key: {DUMMY}")).await;
        reply.assert_refused(403, "DW1007");
    }
    world.assert_nothing_left();
}

#[tokio::test]
async fn refuses_another_providers_dummy() {
    let (a, b) = (Origin::start(HOST).await, Origin::start(OTHER).await);
    let second = "ghp_dw0secondSECOND123456789abcdefghijk";
    let other = bearer()
        .replace(HOST, OTHER)
        .replace("type: bearer", &format!("type: bearer, placeholder: {second}"));
    let builder = Proxy::builder().provider("demo", &surface("header:X-Key")).provider("other", &other);
    let proxy = builder.origin(&a).origin(&b).start().await;
    proxy.agent().ask(HOST, &format!("GET / HTTP/1.1\nX-Key: {second}")).await.assert_refused(403, "DW1007");
    proxy
        .agent()
        .ask(HOST, &format!("GET / HTTP/1.1\nAuthorization: Bearer {second}"))
        .await
        .assert_refused(403, "DW1007");
    proxy
        .agent()
        .ask(OTHER, &format!("GET / HTTP/1.1\nAuthorization: Bearer {DUMMY}"))
        .await
        .assert_refused(403, "DW1007");
    proxy.agent().get(OTHER, &format!("/?x={DUMMY}")).await.assert_refused(403, "DW1007");
    assert!(a.requests().is_empty() && b.requests().is_empty());
}

#[tokio::test]
async fn refuses_a_dummy_on_a_host_that_gets_no_credential() {
    let origin = Origin::builder(&[HOST, OTHER]).start().await;
    let open = format!("type: http-token\nhost: {OTHER}");
    let builder = Proxy::builder().provider("demo", &surface("header:X-Key")).provider("open", &open);
    let proxy = builder.origin(&origin).start().await;
    proxy.agent().ask(OTHER, &format!("GET / HTTP/1.1\nX-Key: {DUMMY}")).await.assert_refused(403, "DW1007");
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn a_header_dummy_that_is_percent_encoded_is_no_placeholder() {
    let world = in_header().await;
    let encoded = DUMMY.replace('_', "%5F");
    let reply = world.agent().ask(HOST, &format!("GET / HTTP/1.1\nX-Key: {encoded}")).await;
    // Not a placeholder in a header: sent as the text that it is.
    reply.assert_ok();
    assert_eq!(world.origin.only().headers_named("x-key"), [encoded]);
    assert!(!world.origin.only().contains(world.proxy.canary()));
}

#[tokio::test]
async fn replaces_the_dummy_on_its_surface_and_keeps_what_stands_around_it() {
    let world = in_header().await;
    world.agent().ask(HOST, &format!("GET / HTTP/1.1\nX-Key: k={DUMMY};v=1")).await.assert_ok();
    let seen = world.origin.only();
    assert_eq!(seen.headers_named("x-key"), [format!("k={};v=1", world.proxy.canary())]);
    assert!(!seen.contains(DUMMY));
}

#[tokio::test]
async fn a_replaced_value_is_not_read_again() {
    // The secret holds the dummy itself: replacing what was replaced would never end, or double.
    let tail = DUMMY;
    let builder =
        Proxy::builder().canary(&format!("canary-then-{tail}")).provider("demo", &surface("header:X-Key"));
    let world = World::built(Origin::builder(&[HOST]), builder).await;
    world.agent().ask(HOST, &format!("GET / HTTP/1.1\nX-Key: {DUMMY}")).await.assert_ok();
    assert_eq!(world.origin.only().headers_named("x-key"), [world.proxy.canary()]);
}

#[tokio::test]
async fn a_request_without_the_dummy_gets_no_secret() {
    let world = in_header().await;
    let reply = world.agent().ask(HOST, "GET / HTTP/1.1\nX-Key: other").await;
    reply.assert_ok();
    assert_eq!(world.origin.only().headers_named("x-key"), ["other"]);
    assert!(!world.origin.only().contains(world.proxy.canary()));
}

#[tokio::test]
async fn a_prompt_may_mention_dummies() {
    let world = World::of(&token(&format!("type: bearer, placeholder: {DUMMY}"))).await;
    let body = format!("{{\"prompt\": \"what is {DUMMY}?\"}}");
    world.agent().post(HOST, "/", "Content-Type: application/json", body.as_bytes()).await.assert_ok();
    assert_eq!(world.origin.only().body, body.as_bytes());
    world.assert_injected();
}

#[tokio::test]
async fn replaces_a_query_dummy_also_where_it_is_percent_encoded() {
    let world = World::of(&surface("query:key")).await;
    for spelled in [DUMMY.to_owned(), DUMMY.replace('_', "%5F")] {
        world.agent().get(HOST, &format!("/x?a=1&key={spelled}&b=2")).await.assert_ok();
        assert_eq!(world.origin.last().target, format!("/x?a=1&key={}&b=2", world.proxy.canary()));
    }
    world.agent().get(HOST, &format!("/x?other={DUMMY}")).await.assert_refused(403, "DW1007");
    world.agent().get(HOST, &format!("/{DUMMY}")).await.assert_refused(403, "DW1007");
    assert_eq!(world.origin.requests().len(), 2);
}

#[tokio::test]
async fn replaces_a_path_dummy_also_where_it_is_percent_encoded() {
    let world = World::of(&surface("path")).await;
    for spelled in [DUMMY.to_owned(), DUMMY.replace('_', "%5F")] {
        world.agent().get(HOST, &format!("/v1/{spelled}/x")).await.assert_ok();
        assert_eq!(world.origin.last().target, format!("/v1/{}/x", world.proxy.canary()));
    }
    world.agent().get(HOST, &format!("/v1/x?k={DUMMY}")).await.assert_refused(403, "DW1007");
}

#[tokio::test]
async fn replaces_a_dummy_inside_a_basic_pair() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let world = World::of(&surface("basic")).await;
    for pair in [format!("user:{DUMMY}"), format!("{DUMMY}:x"), format!(":{DUMMY}")] {
        let head = format!("GET / HTTP/1.1\nAuthorization: Basic {}", STANDARD.encode(&pair));
        world.agent().ask(HOST, &head).await.assert_ok();
        let wanted = format!("Basic {}", STANDARD.encode(pair.replace(DUMMY, world.proxy.canary())));
        assert_eq!(world.origin.last().headers_named("authorization"), [wanted]);
    }
    world
        .agent()
        .ask(HOST, &format!("GET / HTTP/1.1\nAuthorization: Bearer {DUMMY}"))
        .await
        .assert_refused(403, "DW1007");
}

#[tokio::test]
async fn replaces_a_body_dummy_at_its_pointer_and_nowhere_else() {
    let world = World::of(&surface("body:/auth/key")).await;
    let body = format!("{{\"auth\":{{\"key\":\"{DUMMY}\"}},\"n\":1}}");
    world.agent().post(HOST, "/", "Content-Type: application/json", body.as_bytes()).await.assert_ok();
    let seen = world.origin.last();
    let sent: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(sent["auth"]["key"], world.proxy.canary());
    assert_eq!(sent["n"], 1);
    assert_eq!(seen.header("content-length").and_then(|n| n.parse().ok()), Some(seen.body.len()));
    world.agent().get(HOST, &format!("/?k={DUMMY}")).await.assert_refused(403, "DW1007");
}
