//! Policy as agents feel it: order, defaults, enforcement, and what a refusal says.

use harness::agent::h2;
use harness::{Origin, Proxy};

use crate::world::{HOST, OTHER, World, bearer, bearer_and, token};

#[tokio::test]
async fn a_refusal_is_one_object_that_every_reader_prints() {
    let rules = "policy: {httpRules: [{id: no-delete, methods: [DELETE], paths: [\"/**\"], effect: deny, reason: \"agents never delete\"}], allow: [\"*\"]}";
    let world = World::of(&bearer_and(rules)).await;
    let reply = world.agent().ask(HOST, "DELETE /repos/x HTTP/1.1").await;
    reply.assert_refused(403, "DW1002");
    let body = reply.json();
    for key in ["type", "title", "detail", "hint", "request_id", "message"] {
        assert!(body[key].is_string(), "{key}: {body:#}");
    }
    assert_eq!((&body["status"], &body["provider"]), (&403.into(), &"demo".into()));
    // Which rule, and where it stands.
    let rule = body["rule"].as_str().unwrap();
    assert!(rule.contains("no-delete") && rule.contains("demo.yaml:"), "{rule}");
    assert!(reply.text().contains("agents never delete"), "{body:#}");
    for key in ["type", "code", "message"] {
        assert!(body["error"][key].is_string(), "error.{key}: {body:#}");
    }
    assert_eq!(body["error"]["code"], "DW1002");
    assert_eq!(reply.header("x-should-retry"), Some("false"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("doorward-request-id"), body["request_id"].as_str());
    assert!(reply.header("proxy-status").is_some_and(|value| value.contains("doorward")), "{reply:?}");
    assert!(reply.header("content-type").is_some_and(|value| value.contains("json")), "{reply:?}");
    world.assert_nothing_left();
}

#[tokio::test]
async fn git_gets_its_refusal_as_plain_text() {
    let world = World::bearer().await;
    let mut tls = world.agent().tunnel("denied.example.net:443").open().await;
    let request = "GET /x.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: denied.example.net\r\nUser-Agent: git/2.47.0\r\n\r\n";
    let reply = tls.exchange(request.as_bytes()).await;
    assert_eq!(reply.status, 403);
    assert!(reply.header("content-type").is_some_and(|value| value.starts_with("text/plain")), "{reply:?}");
    assert!(reply.text().contains("DW1001"), "{}", reply.text());
}

#[tokio::test]
async fn a_refusal_over_h2_is_the_same() {
    let rules = "policy: {httpRules: [{id: no-delete, methods: [DELETE], paths: [\"/**\"], effect: deny}], allow: [\"*\"]}";
    let world = World::of(&bearer_and(rules)).await;
    let mut client = world.agent().h2(HOST).await;
    let request = client.request("DELETE", "/").body(h2::full("x".repeat(100_000))).unwrap();
    client.send(request).await.assert_refused(403, "DW1002");
    client.get("/").await.assert_ok();
}

#[tokio::test]
async fn the_first_matching_rule_settles_it() {
    let rules = "
policy:
  httpRules:
  - {id: special, methods: [GET], paths: [/a/special], effect: allow}
  - {id: no-a, methods: [\"*\"], paths: [\"/a/**\"], effect: deny}
  - {id: late, methods: [\"*\"], paths: [\"/a/x\"], effect: allow}
  defaultAction: deny";
    let world = World::of(&bearer_and(rules)).await;
    let agent = world.agent();
    agent.get(HOST, "/a/x").await.assert_refused(403, "DW1002");
    agent.ask(HOST, "POST /a/special HTTP/1.1\nContent-Length: 0").await.assert_refused(403, "DW1002");
    agent.get(HOST, "/b").await.assert_refused(403, "DW1002");
    world.assert_nothing_left();
    agent.get(HOST, "/a/special").await.assert_ok();
}

#[tokio::test]
async fn an_empty_allow_list_allows_nothing() {
    for policy in ["policy: {allow: []}", "policy: {httpRules: []}", "policy: {defaultAction: deny}"] {
        let world = World::of(&bearer_and(policy)).await;
        let reply = world.agent().get(HOST, "/").await;
        assert_eq!((reply.status, reply.code().as_deref()), (403, Some("DW1002")), "{policy}");
        world.assert_nothing_left();
    }
}

#[tokio::test]
async fn audit_enforcement_lets_a_violation_pass_and_says_would_deny() {
    let lines = "policy: {httpRules: [{id: no-delete, methods: [DELETE], paths: [\"/**\"], effect: deny}], allow: [\"*\"]}\naudit: {enforcement: audit}";
    let world = World::of(&bearer_and(lines)).await;
    world.agent().ask(HOST, "DELETE /x HTTP/1.1").await.assert_ok();
    let line = world.proxy.audit().request("/x").await;
    assert_eq!(line["verdict"], "would-deny", "{line}");
    assert!(line["rule"].as_str().unwrap().contains("no-delete"), "{line}");
}

#[tokio::test]
async fn audit_enforcement_never_lets_an_address_pass() {
    let origin = Origin::start(HOST).await;
    let spec = bearer_and("audit: {enforcement: audit}");
    let proxy = Proxy::builder().strict_addresses().provider("demo", &spec).origin(&origin).start().await;
    proxy.agent().get(HOST, "/").await.assert_refused(403, "DW2005");
    origin.assert_untouched();
}

#[tokio::test]
async fn the_most_specific_host_wins() {
    let hosts = ["api.example.com", "deep.api.example.com", "x.example.com"];
    let origin = Origin::builder(&hosts).start().await;
    let spec =
        |host: &str, header: &str| token(&format!("type: header, header: {header}")).replace(HOST, host);
    let proxy = Proxy::builder()
        .provider("wide", &spec("\"*.example.com\"", "X-Wide"))
        .provider("exact", &spec("api.example.com", "X-Exact"))
        .origin(&origin)
        .start()
        .await;
    for (host, header) in [(hosts[0], "x-exact"), (hosts[1], "x-wide"), (hosts[2], "x-wide")] {
        proxy.agent().get(host, "/").await.assert_ok();
        let seen = origin.last();
        assert_eq!(seen.headers_named(header), [proxy.canary()], "{host}");
        assert_eq!(seen.headers.iter().filter(|(_, value)| value == proxy.canary()).count(), 1);
    }
    let refused = proxy.agent().refused("example.com:443").await;
    assert!(refused.is("DW1001"), "{refused:?}");
}

#[tokio::test]
async fn a_secret_goes_to_its_providers_hosts_and_to_no_other_allowed_host() {
    let (a, b) = (Origin::start(HOST).await, Origin::start(OTHER).await);
    let other = bearer().replace(HOST, OTHER).replace("secretRef: canary", "secretRef: second");
    let second = "second-secret-value-0123456789abcdefgh";
    let builder = Proxy::builder().bearer(HOST).provider("other", &other).secret("second", "token", second);
    let proxy = builder.origin(&a).origin(&b).start().await;
    proxy.agent().get(HOST, "/").await.assert_ok();
    proxy.agent().get(OTHER, "/").await.assert_ok();
    assert!(a.only().contains(proxy.canary()) && !a.only().contains(second));
    assert!(b.only().contains(second) && !b.only().contains(proxy.canary()));
}

#[tokio::test]
async fn an_undecided_upload_is_refused_before_its_body_is_sent() {
    let rules = "policy: {httpRules: [{id: no-post, methods: [POST], paths: [\"/**\"], effect: deny}], allow: [\"*\"]}";
    let world = World::of(&bearer_and(rules)).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(b"POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 1000000\r\n\r\n").await;
    tls.read_reply("POST").await.assert_refused(403, "DW1002");
    world.assert_nothing_left();
}
