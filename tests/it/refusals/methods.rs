//! Methods that never pass, and methods that are not what they look like.

use harness::agent::h2;

use crate::world::{HOST, World, bearer_and};

#[tokio::test]
async fn dw2011_refuses_trace_track_and_connect_inside_a_tunnel() {
    let world = World::bearer().await;
    for method in ["TRACE", "TRACK"] {
        let reply = world.agent().ask(HOST, &format!("{method} / HTTP/1.1")).await;
        reply.assert_refused(405, "DW2011");
    }
    let mut tls = world.agent().tls(HOST).await;
    for target in ["api.example.com:443", "other.example.com:443"] {
        let reply =
            tls.exchange(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).await;
        assert!(matches!(reply.status, 405 | 421), "{target}: {reply:?}");
        tls = world.agent().tls(HOST).await;
    }
    world.assert_nothing_left();
}

#[tokio::test]
async fn refuses_trace_and_plain_connect_over_h2() {
    let world = World::bearer().await;
    let mut client = world.agent().h2(HOST).await;
    let request = client.request("TRACE", "/").body(h2::empty()).unwrap();
    client.send(request).await.assert_refused(405, "DW2011");
    let request =
        http::Request::builder().method("CONNECT").uri("api.example.com:443").body(h2::empty()).unwrap();
    let outcome = client.open(request).await;
    assert!(outcome.map_or(true, |response| response.status() != 200));
    world.assert_nothing_left();
}

#[tokio::test]
async fn methods_are_case_sensitive_in_rules() {
    let rules = "policy: {httpRules: [{id: read, methods: [GET], paths: [\"/**\"], effect: allow}], defaultAction: deny}";
    let world = World::of(&bearer_and(rules)).await;
    for method in ["get", "Get", "POST", "GETS", "HEAD"] {
        let reply = world.agent().ask(HOST, &format!("{method} / HTTP/1.1")).await;
        assert_eq!(reply.status, 403, "{method}: {reply:?}");
    }
    world.assert_nothing_left();
    world.agent().get(HOST, "/").await.assert_ok();
}

#[tokio::test]
async fn an_override_header_does_not_change_the_method_upstream() {
    let rules = "policy: {httpRules: [{id: no-delete, methods: [DELETE], paths: [\"/**\"], effect: deny}], allow: [\"*\"]}";
    let world = World::of(&bearer_and(rules)).await;
    let smuggle = "X-HTTP-Method-Override: DELETE\nX-HTTP-Method: DELETE\nX-Method-Override: DELETE";
    world.agent().ask(HOST, &format!("POST /x HTTP/1.1\nContent-Length: 0\n{smuggle}")).await.assert_ok();
    let seen = world.origin.only();
    assert!(!seen.contains("DELETE"), "{seen:#?}");
}
