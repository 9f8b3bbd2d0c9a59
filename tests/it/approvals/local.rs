//! Without a server: questions in a file of the user's, `doorward approve ask` beside the proxy.

use std::time::{Duration, Instant};

use harness::agent::{h2, ws};
use harness::{Origin, Proxy, answer};

use super::{asked, asking, asks, open_ask, person};
use crate::clients::Client;
use crate::world::{HOST, World};

#[tokio::test]
async fn dw1003_refuses_what_nobody_has_approved_and_says_no_way_around_it() {
    let world = World::of(&asking("")).await;
    let reply = world.agent().post(HOST, "/repos/a?force=1", "x-note: 1\r\n", b"{\"all\": true}").await;
    reply.assert_refused(403, "DW1003");
    assert_eq!(reply.header("retry-after"), Some("15"));
    let body = reply.json();
    let id = asked(body["detail"].as_str().unwrap());
    assert_eq!(body["request_id"], reply.header("doorward-request-id").unwrap());
    assert!(body["rule"].as_str().unwrap().starts_with("ask-first (demo.yaml:"), "{body}");
    let text = reply.text();
    for way in ["approve ask", "--any-body", "effect", "doorward get"] {
        assert!(!text.contains(way), "{text}");
    }
    world.assert_nothing_left();
    let ask = &asks(&world.proxy)[0];
    for (field, wanted) in [
        ("name", id.as_str()),
        ("state", "open"),
        ("agent", "worker"),
        ("provider", "demo"),
        ("rule", "ask-first"),
        ("method", "POST"),
        ("host", "api.example.com:443"),
        ("path", "/repos/a?force=1"),
        ("scheme", "api_key"),
        ("request", body["request_id"].as_str().unwrap()),
    ] {
        assert_eq!(ask[field], wanted, "{ask}");
    }
    assert_eq!(ask["bodyBytes"], 13);
    let line = world.proxy.audit().code("DW1003").await;
    assert_eq!((&line["verdict"], &line["status"]), (&"deny".into(), &403.into()));
    assert!(line["reason"].as_str().unwrap().contains(&id), "{line}");
    // What the rule does not ask about is let through.
    world.agent().get(HOST, "/repos/a").await.assert_ok();
    // Nothing of the body, a header's value or the credential is kept.
    let kept = std::fs::read(world.proxy.path(".local/state/doorward/asks/asks.db")).unwrap();
    let wal = std::fs::read(world.proxy.path(".local/state/doorward/asks/asks.db-wal")).unwrap_or_default();
    for text in ["{\"all\"", world.proxy.canary()] {
        let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(!holds(&kept) && !holds(&wal), "{text}");
    }
}

#[tokio::test]
async fn what_is_approved_goes_out_once_and_nothing_else_does() {
    let world = World::of(&asking("")).await;
    let send = async |method: &str, path: &str, headers: &str, body: &str| {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nContent-Length: {length}\r\n{headers}");
        world.agent().tls(HOST).await.exchange(&harness::agent::wire(HOST, &head, body.as_bytes())).await
    };
    const HEADERS: &str = "x-kind: a\r\n";
    let first = send("POST", "/a?x=1", HEADERS, "one").await;
    first.assert_refused(403, "DW1003");
    let id = asked(first.json()["detail"].as_str().unwrap());
    person(&world.proxy, &["approve", "ask", &id]).assert_ok();
    for (method, path, headers, body) in [
        ("DELETE", "/a?x=1", HEADERS, "one"),
        ("POST", "/a?x=2", HEADERS, "one"),
        ("POST", "/a/?x=1", HEADERS, "one"),
        ("POST", "/A?x=1", HEADERS, "one"),
        ("POST", "/a?x=1", HEADERS, "two"),
        ("POST", "/a?x=1", HEADERS, "one "),
        ("POST", "/a?x=1", HEADERS, ""),
        ("POST", "/a?x=1", "x-kind: b\r\n", "one"),
        ("POST", "/a?x=1", "x-kind: a\r\nx-more: 1\r\n", "one"),
    ] {
        send(method, path, headers, body).await.assert_refused(403, "DW1003");
    }
    world.assert_nothing_left();
    // What clients change with each attempt is no difference.
    send("POST", "/a?x=1", "x-kind: a\r\ntraceparent: 00-1-2-01\r\n", "one").await.assert_ok();
    world.assert_injected();
    assert_eq!(world.origin.only().body, b"one");
    let line = world.proxy.audit().wait_for("an approved request", |line| line["approval"] == *id).await;
    assert_eq!((&line["verdict"], &line["status"]), (&"allow".into(), &200.into()));
    send("POST", "/a?x=1", HEADERS, "one").await.assert_refused(403, "DW1003");
    assert_eq!(world.origin.requests().len(), 1);
    let shown = person(&world.proxy, &["describe", "ask", &id]);
    assert!(shown.assert_ok().stdout.contains("used"), "{shown:?}");
    person(&world.proxy, &["approve", "ask", &id]).assert_fails(6, "cannot be decided any more");
    person(&world.proxy, &["approve", "ask", "0000"]).assert_fails(5, "does not exist");
}

#[tokio::test]
async fn of_many_that_wait_for_one_approval_exactly_one_goes_out() {
    let world = World::of(&asking(", ask: {hold: 5s}")).await;
    let sending = (0..6).map(|_| {
        let agent = world.agent();
        tokio::spawn(async move { agent.post(HOST, "/a", "", b"one").await })
    });
    let sending: Vec<_> = sending.collect();
    let ask = open_ask(&world.proxy).await;
    assert_eq!(asks(&world.proxy).len(), 1, "one question, however often it is asked");
    person(&world.proxy, &["approve", "ask", ask["name"].as_str().unwrap()]).assert_ok();
    let mut statuses = Vec::new();
    for one in sending {
        statuses.push(one.await.unwrap().status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403, 403, 403, 403, 403]);
    assert_eq!(world.origin.requests().len(), 1);
}

#[tokio::test]
async fn a_request_that_waits_goes_out_as_it_is_approved() {
    let world = World::of(&asking(", ask: {hold: 60s}")).await;
    let agent = world.agent();
    let mut client = agent.h2(HOST).await;
    let request = client.request("POST", "/a").body(h2::full("one")).unwrap();
    let sending = tokio::spawn(async move { client.send(request).await });
    let ask = open_ask(&world.proxy).await;
    person(&world.proxy, &["approve", "ask", ask["name"].as_str().unwrap(), "--once"]).assert_ok();
    let began = Instant::now();
    sending.await.unwrap().assert_ok();
    // It looks four times a second; of a loaded machine only that it did not wait for the end is asked.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    world.assert_injected();
}

#[tokio::test]
async fn a_denial_is_told_at_once_and_remembered() {
    let world = World::of(&asking(", ask: {hold: 60s}")).await;
    let agent = world.agent();
    let sending = tokio::spawn(async move { agent.post(HOST, "/a", "", b"one").await });
    let ask = open_ask(&world.proxy).await;
    person(&world.proxy, &["deny", "ask", ask["name"].as_str().unwrap()]).assert_ok();
    for reply in [sending.await.unwrap(), world.agent().post(HOST, "/a", "", b"one").await] {
        reply.assert_refused(403, "DW1003");
        assert!(reply.text().contains("a person has denied it"), "{}", reply.text());
        let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((3000..=3600).contains(&wait), "{wait}");
    }
    world.assert_nothing_left();
}

#[tokio::test]
async fn an_approval_for_a_time_and_for_any_body_holds_for_those_and_nothing_else() {
    let world = World::of(&asking("")).await;
    let post = async |path: &str, body: &[u8]| world.agent().post(HOST, path, "", body).await;
    let id = asked(post("/a", b"one").await.json()["detail"].as_str().unwrap());
    let approved = person(&world.proxy, &["approve", "ask", &id, "--for", "1h"]);
    assert!(approved.assert_ok().stderr.contains(" approved until "), "{approved:?}");
    for _ in 0..3 {
        post("/a", b"one").await.assert_ok();
    }
    post("/a", b"two").await.assert_refused(403, "DW1003");
    person(&world.proxy, &["approve", "ask", &id, "--for", "1h", "--any-body"]).assert_ok();
    post("/a", b"three").await.assert_ok();
    post("/b", b"one").await.assert_refused(403, "DW1003");
    person(&world.proxy, &["deny", "ask", &id]).assert_ok();
    post("/a", b"one").await.assert_refused(403, "DW1003");
    person(&world.proxy, &["approve", "ask", &id, "--for", "8d"]).assert_fails(2, "--for takes");
}

#[tokio::test]
async fn a_change_of_the_rules_voids_the_approval() {
    let world = World::of(&asking("")).await;
    let post = async || world.agent().post(HOST, "/a", "", b"one").await;
    let id = asked(post().await.json()["detail"].as_str().unwrap());
    person(&world.proxy, &["approve", "ask", &id, "--for", "1h"]).assert_ok();
    post().await.assert_ok();
    let changed = asking("").replace("id: rest", "id: others");
    world.proxy.write_provider("demo", &harness::proxy::build::provider_yaml("demo", &changed));
    harness::within::until("the new rules", super::SOON, async || {
        asked_or_nothing(&post().await).is_some_and(|next| next != id)
    })
    .await;
}

fn asked_or_nothing(reply: &harness::Reply) -> Option<String> {
    (reply.status == 403).then(|| asked(reply.json()["detail"].as_str().unwrap()))
}

#[tokio::test]
async fn dw1007_nobody_is_asked_what_is_refused_or_let_through_anyway() {
    let world = World::of(&asking("")).await;
    // A dummy out of place is refused before anybody is bothered.
    let head = "POST /a HTTP/1.1\r\nContent-Length: 0\r\nX-Other: dw0aaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    let reply = world.agent().tls(HOST).await.exchange(&harness::agent::wire(HOST, head, b"")).await;
    reply.assert_refused(403, "DW1007");
    assert!(asks(&world.proxy).is_empty());
    let world = World::of(&(asking("") + "\naudit: {enforcement: audit}")).await;
    world.agent().post(HOST, "/a", "", b"one").await.assert_ok();
    let line = world.proxy.audit().code("DW1003").await;
    assert_eq!(line["verdict"], "would-deny");
    assert!(asks(&world.proxy).is_empty());
}

#[tokio::test]
async fn dw2012_a_body_that_cannot_be_held_is_refused_before_anybody_is_asked() {
    let proxy = Proxy::builder().provider("demo", &asking("")).limit("buffered-body", "1KiB");
    let world = World::built(Origin::builder(&[HOST]), proxy).await;
    world.agent().post(HOST, "/a", "", &[b'x'; 1025]).await.assert_refused(413, "DW2012");
    assert!(asks(&world.proxy).is_empty());
    world.agent().post(HOST, "/a", "", &[b'x'; 1024]).await.assert_refused(403, "DW1003");
    assert_eq!(asks(&world.proxy)[0]["bodyBytes"], 1024);
}

#[tokio::test]
async fn dw1009_an_agent_that_asks_too_often_is_slowed_down() {
    let proxy = Proxy::builder().provider("demo", &asking("")).limit("agent-asks", "2");
    let world = World::built(Origin::builder(&[HOST]), proxy).await;
    for _ in 0..2 {
        world.agent().post(HOST, "/a", "", b"").await.assert_refused(403, "DW1003");
    }
    let reply = world.agent().post(HOST, "/a", "", b"").await;
    reply.assert_refused(429, "DW1009");
    assert!(reply.header("retry-after").is_some());
}

#[tokio::test]
async fn a_websocket_is_opened_only_once_it_is_approved() {
    let rules = "policy: {httpRules: [{id: ask-first, paths: [\"/**\"], effect: ask}]}";
    let echo = answer::websocket(|_, message| Some(message));
    let spec = crate::world::bearer_and(rules);
    let world = World::with(Origin::builder(&[HOST]).answer(echo), &spec).await;
    let reply = world.agent().ask(HOST, &ws::upgrade_head("/socket")).await;
    reply.assert_refused(403, "DW1003");
    let id = asked(reply.json()["detail"].as_str().unwrap());
    assert_eq!(asks(&world.proxy)[0]["websocket"], true);
    // The same path without a socket is another request.
    world.agent().get(HOST, "/socket").await.assert_refused(403, "DW1003");
    person(&world.proxy, &["approve", "ask", &id]).assert_ok();
    world.agent().get(HOST, "/socket").await.assert_refused(403, "DW1003");
    let opened = world.agent().websocket(HOST, "/socket", &[]).await;
    assert!(opened.is_ok(), "{:?}", opened.err());
    let again = world.agent().ask(HOST, &ws::upgrade_head("/socket")).await;
    again.assert_refused(403, "DW1003");
}

#[tokio::test]
async fn curl_is_told_waits_and_gets_its_answer_over_both_protocols() {
    for flag in ["--http1.1", "--http2"] {
        let client = Client::of(Origin::builder(&[HOST]), &asking(", ask: {hold: 20s}")).await;
        let url = format!("https://{HOST}/repos/a");
        let words = ["-sS", flag, "-w", "\n%{http_code}", "-d", "one", &url];
        let (printed, ()) = tokio::join!(client.run("curl", &words), async {
            let ask = open_ask(&client.proxy).await;
            person(&client.proxy, &["approve", "ask", ask["name"].as_str().unwrap()]).assert_ok();
        });
        printed.assert_ok().assert_says("200");
        client.assert_injected();
        let words = ["-sS", flag, "--max-time", "2", "-d", "one", &url];
        client.run("curl", &words).await;
        assert_eq!(client.origin.requests().len(), 1);
    }
}

#[tokio::test]
async fn check_request_says_ask_and_ends_with_3() {
    let home = harness::Home::keyed();
    home.write("p.yaml", &harness::proxy::build::provider_yaml("demo", &(asking("") + "\ntests:\n- {request: \"DELETE /a\", expect: ask, rule: ask-first}\n- {request: \"GET /a\", expect: allow}")));
    let file = home.path("p.yaml").display().to_string();
    let check = |words: &[&str]| harness::home::finish(home.command(words), "");
    let url = format!("https://{HOST}/a");
    let asked = check(&["check", "request", "DELETE", &url, "--providers", &file]);
    assert_eq!(asked.code, Some(3), "{asked:?}");
    assert!(asked.stdout.contains("verdict      ask, DW1003 rule `ask-first`"), "{}", asked.stdout);
    assert_eq!(check(&["check", "request", "GET", &url, "--providers", &file]).code, Some(0));
    check(&["check", "provider", "-f", &file]).assert_ok();
    home.write("p.yaml", &std::fs::read_to_string(&file).unwrap().replace("expect: ask", "expect: deny"));
    let failed = check(&["check", "provider", "-f", &file]);
    assert!(
        failed.code == Some(3) && failed.stdout.contains("expected deny, asked by ask-first"),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_person_sees_the_beginning_of_the_body_where_the_rule_says_so() {
    let world = World::of(&asking(", ask: {preview: true}")).await;
    let reply = world.agent().post(HOST, "/a", "", b"{\"all\":\ttrue}").await;
    let id = asked(reply.json()["detail"].as_str().unwrap());
    let seen = person(&world.proxy, &["describe", "ask", &id]).assert_ok().stdout.clone();
    assert!(seen.contains("{\"all\":\\ttrue}\n"), "{seen}");
    assert!(asks(&world.proxy)[0]["bodyPreview"].is_null(), "a list holds none");
    person(&world.proxy, &["approve", "ask", &id]).assert_ok();
    let seen = person(&world.proxy, &["describe", "ask", &id]).assert_ok().stdout.clone();
    assert!(!seen.contains("\"all\""), "{seen}");
    // What was approved is what goes out.
    world.agent().post(HOST, "/a", "", b"{\"all\":\ttrue}").await.assert_ok();
}
