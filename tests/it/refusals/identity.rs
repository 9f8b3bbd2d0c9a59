//! Who is asking: tokens missing, wrong, expired, revoked.

use harness::{Origin, Proxy, within};

use crate::world::{HOST, World, bearer};

#[tokio::test]
async fn dw3001_refuses_a_connect_without_credentials() {
    let world = World::bearer().await;
    let reply = world.agent().without_authorization().connect("api.example.com:443").await;
    assert_eq!(
        (reply.status, reply.header("proxy-authenticate")),
        (407, Some("Basic realm=\"doorward\"")),
        "{reply:?}"
    );
    assert_eq!(reply.any_code().as_deref(), Some("DW3001"));
    world.origin.assert_untouched();
    assert_eq!(world.proxy.audit().code("DW3001").await["verdict"], "deny");
}

#[tokio::test]
async fn refuses_wrong_credentials_and_never_says_which_part_was_wrong() {
    let world = World::bearer().await;
    let agent = world.agent().without_authorization();
    let token = world.proxy.token().to_owned();
    let mut bodies = Vec::new();
    for agent in [
        agent.clone().with_basic("agent", "wrong-token-wrong-token-wrong"),
        agent.clone().with_basic("agent", ""),
        agent.clone().with_basic("", ""),
        agent.clone().with_basic("agent", &token[..token.len() - 1]),
        agent.clone().with_basic("agent", &format!("{token}x")),
        agent.clone().with_basic("agent", &token.to_uppercase()),
        agent.clone().with_authorization("Bearer wrong"),
        agent.clone().with_authorization("Basic !!!"),
        agent.clone().with_authorization("Basic"),
        agent.clone().with_authorization(&format!("Digest {token}")),
        agent.clone().with_authorization(&token),
    ] {
        let reply = agent.connect("api.example.com:443").await;
        assert_eq!(reply.status, 407, "{:?}: {reply:?}", agent.authorization());
        // What is no credential at all counts as missing; every wrong one gets the same words.
        if reply.any_code().as_deref() == Some("DW3001") {
            continue;
        }
        let mut body = reply.text();
        // The request's own number may differ; nothing else may.
        if let Some(id) = reply.header("doorward-request-id") {
            body = body.replace(id, "ID");
        }
        bodies.push(body);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:#?}");
    world.origin.assert_untouched();
}

#[tokio::test]
async fn two_proxy_authorization_headers_are_refused() {
    let world = World::bearer().await;
    let agent = world.agent();
    let good = agent.authorization().unwrap();
    for pair in [["Basic d3Jvbmc6d3Jvbmc=", good], [good, "Basic d3Jvbmc6d3Jvbmc="]] {
        let head = format!(
            "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\nProxy-Authorization: {}\r\nProxy-Authorization: {}\r\n\r\n",
            pair[0], pair[1]
        );
        let reply = agent.raw(head.as_bytes()).await;
        assert!(matches!(reply.status, 400 | 407), "{reply:?}");
    }
}

#[tokio::test]
async fn the_token_is_accepted_as_user_as_password_and_as_bearer() {
    let world = World::bearer().await;
    let agent = world.agent().without_authorization();
    let token = world.proxy.token();
    for agent in [
        agent.clone().with_basic("agent", token),
        agent.clone().with_basic("x", token),
        agent.clone().with_basic("", token),
        agent.clone().with_basic(token, ""),
        agent.clone().with_basic(token, "x"),
        agent.clone().with_authorization(&format!("Bearer {token}")),
        agent.clone().with_authorization(&format!("bearer {token}")),
    ] {
        agent.get(HOST, "/").await.assert_ok();
    }
    assert_eq!(world.proxy.audit().request("/").await["agent"], "worker");
}

#[tokio::test]
async fn a_407_keeps_the_connection_for_a_second_try() {
    let world = World::bearer().await;
    let mut pipe = world.agent().dial().await;
    pipe.send(world.agent().without_authorization().connect_head("api.example.com:443").as_bytes()).await;
    let reply = pipe.read_reply("CONNECT").await;
    assert_eq!(reply.status, 407);
    pipe.send(world.agent().connect_head("api.example.com:443").as_bytes()).await;
    assert_eq!(pipe.read_head().await.status, 200);
    let agent = world.agent();
    let mut tls = agent.tunnel("api.example.com:443").handshake(pipe).await.unwrap();
    tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.assert_ok();
}

#[tokio::test]
async fn a_407_closes_when_bytes_already_wait() {
    let world = World::bearer().await;
    let mut pipe = world.agent().dial().await;
    let refused = world.agent().without_authorization().connect_head("api.example.com:443");
    pipe.send(format!("{refused}{}", world.agent().connect_head("api.example.com:443")).as_bytes()).await;
    assert_eq!(pipe.read_reply("CONNECT").await.status, 407);
    pipe.assert_closed().await;
}

#[tokio::test]
async fn dw3002_refuses_an_expired_token() {
    let origin = Origin::start(HOST).await;
    let file = "# two agents\n\n  old:expired-token-0123456789abcdef expires=2020-01-01T00:00:00Z  \nnew:fresh-token-0123456789abcdef expires=2099-01-01T00:00:00Z\n";
    let builder =
        Proxy::builder().tokens(file, "expired-token-0123456789abcdef").bearer(HOST).origin(&origin);
    let proxy = builder.start().await;
    let reply = proxy.agent().connect("api.example.com:443").await;
    assert_eq!((reply.status, reply.any_code().as_deref()), (407, Some("DW3002")), "{reply:?}");
    origin.assert_untouched();
    proxy.agent().with_basic("agent", "fresh-token-0123456789abcdef").get(HOST, "/").await.assert_ok();
    assert_eq!(proxy.audit().request("/").await["agent"], "new");
}

#[tokio::test]
async fn a_removed_token_loses_its_live_tunnels() {
    let world = World::bearer().await;
    let mut idle = world.agent().tls(HOST).await;
    idle.exchange(b"GET /before HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.assert_ok();
    world.proxy.write_tokens("worker:another-token-0123456789abcdef\n");
    let closed = tokio::time::timeout(harness::within::DEADLINE, idle.read_to_end()).await;
    assert!(closed.is_ok(), "the idle tunnel lives on");
    assert_eq!(world.agent().connect("api.example.com:443").await.status, 407);
    let again = world.agent().with_basic("a", "another-token-0123456789abcdef");
    again.get(HOST, "/after").await.assert_ok();
    let targets: Vec<_> = world.origin.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/before", "/after"]);
}

#[tokio::test]
async fn a_removed_token_loses_a_stream_in_flight() {
    let (mut feeds, answer) = harness::answer::stream(&[("content-type", "text/event-stream")]);
    let world = World::with(Origin::builder(&[HOST]).answer(answer), &bearer()).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let feed = harness::answer::next(&mut feeds).await;
    feed.send("data: 1\n\n").await;
    tls.read_until(b"data: 1\n\n").await;
    world.proxy.write_tokens("worker:another-token-0123456789abcdef\n");
    let cut = tokio::time::timeout(harness::within::DEADLINE, async {
        tls.read_to_end().await;
        feed.reader_gone().await;
    });
    assert!(cut.await.is_ok(), "the stream lives on");
}

#[tokio::test]
async fn without_a_token_file_loopback_needs_none() {
    let origin = Origin::start(HOST).await;
    let proxy = Proxy::builder().no_token().bearer(HOST).origin(&origin).start().await;
    proxy.agent().get(HOST, "/").await.assert_ok();
    assert_eq!(within("audit", proxy.audit().request("/")).await["verdict"], "allow");
}
