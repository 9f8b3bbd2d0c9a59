//! Limits of an agent, of a provider and of time.

use std::time::{Duration, Instant};

use harness::agent::h2;
use harness::origin::raw::{RawOrigin, Step};
use harness::{Origin, Proxy, answer};

use crate::world::{HOST, World, bearer, bearer_and};

/// The bearer world with one limit changed.
async fn limited(name: &str, value: &str, answer: answer::Answer) -> World {
    let builder = Proxy::builder().bearer(HOST).limit(name, value);
    World::built(Origin::builder(&[HOST]).answer(answer), builder).await
}

#[tokio::test]
async fn print_limits_names_every_limit() {
    let output = std::process::Command::new(harness::binary::doorward())
        .args(["proxy", "--print-limits"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.lines().count() >= 20, "{text}");
}

#[tokio::test]
async fn a_limit_of_one_provider_does_not_touch_another() {
    let origin = Origin::builder(&[HOST, "other.example.com"]).start().await;
    let other = bearer().replace(HOST, "other.example.com");
    let builder = Proxy::builder()
        .provider("demo", &bearer_and("limits: {requestsPerMinute: 1}"))
        .provider("other", &other);
    let proxy = builder.origin(&origin).start().await;
    proxy.agent().get(HOST, "/").await.assert_ok();
    proxy.agent().get(HOST, "/").await.assert_refused(429, "DW1009");
    for _ in 0..3 {
        proxy.agent().get("other.example.com", "/").await.assert_ok();
    }
}

#[tokio::test]
async fn tunnels_over_an_agents_limit_are_refused_and_recover() {
    let world = limited("agent-tunnels", "8", answer::echo()).await;
    let head = world.agent().connect_head("api.example.com:443");
    let mut held = Vec::new();
    let mut refused = None;
    for _ in 0..12 {
        let mut pipe = world.agent().dial().await;
        pipe.send(head.as_bytes()).await;
        let reply = pipe.read_reply("CONNECT").await;
        if reply.status != 200 {
            refused = Some(reply);
            break;
        }
        held.push(pipe);
    }
    let refused = refused.expect("a refusal before 12 tunnels");
    assert_eq!(
        (refused.status, refused.any_code().as_deref(), held.len()),
        (429, Some("DW1009"), 8),
        "{refused:?}"
    );
    held.clear();
    let end = Instant::now() + harness::within::DEADLINE;
    while world.agent().connect("api.example.com:443").await.status != 200 {
        assert!(Instant::now() < end, "no recovery");
    }
}

#[tokio::test]
async fn requests_in_flight_over_an_agents_limit_are_429_and_recover() {
    let (mut feeds, answer) = answer::stream(&[]);
    let world = limited("agent-requests", "2", answer).await;
    let mut client = world.agent().h2(HOST).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let request = client.request("GET", "/").body(h2::empty()).unwrap();
        open.push((client.open(request).await.unwrap(), answer::next(&mut feeds).await));
    }
    client.get("/over").await.assert_refused(429, "DW1009");
    for (response, feed) in open {
        feed.finish();
        assert!(h2::collect(response).await.complete);
    }
    let request = client.request("GET", "/again").body(h2::empty()).unwrap();
    assert_eq!(client.open(request).await.unwrap().status(), 200);
    drop(answer::next(&mut feeds).await);
}

#[tokio::test]
async fn dw2013_an_upstream_at_its_capacity_is_503_with_retry_after() {
    let (mut feeds, answer) = answer::stream(&[]);
    let builder =
        Proxy::builder().bearer(HOST).limit("upstream-in-flight", "1").limit("upstream-wait", "100ms");
    let builder = builder.arg("--workers").arg("1");
    let world = World::built(Origin::builder(&[HOST]).answer(answer), builder).await;
    let mut client = world.agent().h2(HOST).await;
    let request = client.request("GET", "/").body(h2::empty()).unwrap();
    let response = client.open(request).await.unwrap();
    let feed = answer::next(&mut feeds).await;
    let refused = client.get("/over").await;
    refused.assert_refused(503, "DW2013");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    feed.finish();
    assert!(h2::collect(response).await.complete);
    assert_eq!(world.origin.requests().len(), 1);
}

#[tokio::test]
async fn a_body_in_which_nothing_moves_is_cut() {
    let (mut feeds, answer) = answer::stream(&[]);
    let world = limited("stream-idle", "300ms", answer).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let feed = answer::next(&mut feeds).await;
    feed.send("begun").await;
    let reply = tls.read_reply("GET").await;
    assert_eq!((reply.text().as_str(), reply.complete), ("begun", false));
    feed.reader_gone().await;
}

#[tokio::test]
async fn a_tunnel_without_requests_is_closed() {
    let world = limited("tunnel-idle", "300ms", answer::echo()).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.assert_ok();
    tls.assert_closed().await;
}

#[tokio::test]
async fn an_upstream_without_a_first_byte_in_time_is_504() {
    let world = limited("upstream-first-byte", "200ms", answer::never()).await;
    let reply = world.agent().get(HOST, "/").await;
    reply.assert_refused(504, "DW2006");
    assert!(reply.text().contains(" ms") || reply.text().contains("ms"), "{}", reply.text());
}

#[tokio::test]
async fn an_upstream_that_accepts_and_says_nothing_fails_its_handshake_in_time() {
    let origin = RawOrigin::tcp(HOST, vec![Step::Hold]).await;
    let builder =
        Proxy::builder().bearer(HOST).limit("upstream-tls", "200ms").route(HOST, 443, origin.address());
    let proxy = builder.start().await;
    let reply = proxy.agent().get(HOST, "/").await;
    assert!(matches!(reply.status, 502 | 504), "{reply:?}");
    assert!(matches!(reply.code().as_deref(), Some("DW2004" | "DW2006")), "{reply:?}");
}

#[tokio::test]
async fn denied_names_do_not_starve_allowed_ones() {
    let mut world = World::bearer().await;
    let mut at_connect = 0;
    for n in 0..40 {
        let refused = world.agent().refused(&format!("h{n}.denied.example.net:443")).await;
        assert!(refused.is("DW1001"), "{refused:?}");
        at_connect += usize::from(refused.at_connect);
    }
    assert!(at_connect > 0, "forty leaves were minted for denied names");
    world.agent().get(HOST, "/").await.assert_ok();
    assert!(world.proxy.alive());
}

#[tokio::test]
async fn a_silent_client_is_closed_by_the_head_deadline() {
    let world = limited("connect-head", "300ms", answer::echo()).await;
    let mut pipes = vec![world.agent().dial().await, world.agent().dial().await];
    pipes[1].send(b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: api").await;
    for pipe in &mut pipes {
        let rest = pipe.read_to_end().await;
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{rest:?}");
    }
}

#[tokio::test]
async fn a_head_that_trickles_is_closed_by_its_deadline() {
    let world = limited("request-head", "300ms", answer::echo()).await;
    let mut tls = world.agent().tls(HOST).await;
    let start = Instant::now();
    tls.send(b"GET / HTTP/1.1\r\n").await;
    // Each byte is progress; the deadline is for the whole head.
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    while start.elapsed() < harness::within::DEADLINE && tls.try_send(b"X").await.is_ok() {
        pace.tick().await;
    }
    assert!(start.elapsed() < harness::within::DEADLINE, "still open");
    world.assert_nothing_left();
}

#[tokio::test]
async fn a_handshake_that_stalls_is_closed_by_its_deadline() {
    let world = limited("tls-handshake", "300ms", answer::echo()).await;
    for stalled in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut pipe = world.agent().dial().await;
        pipe.send(world.agent().connect_head("api.example.com:443").as_bytes()).await;
        assert_eq!(pipe.read_head().await.status, 200);
        pipe.send(stalled).await;
        pipe.read_to_end().await;
    }
    world.origin.assert_untouched();
}

#[tokio::test]
async fn a_providers_timeout_does_not_cut_a_stream_that_has_begun() {
    let (mut feeds, answer) = answer::stream(&[]);
    let world =
        World::with(Origin::builder(&[HOST]).h1().answer(answer), &bearer_and("limits: {timeout: 1s}")).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let feed = answer::next(&mut feeds).await;
    let (start, mut pace) = (Instant::now(), tokio::time::interval(Duration::from_millis(100)));
    // An event each 100 ms, until the timeout is well over.
    while start.elapsed() < Duration::from_millis(1300) {
        pace.tick().await;
        assert!(feed.send("event").await, "cut after {:?}", start.elapsed());
        tls.read_until(b"event").await;
    }
}

#[tokio::test]
async fn a_request_that_finds_no_seat_costs_nothing_of_the_rate() {
    let (mut feeds, answer) = answer::stream(&[]);
    let builder = Proxy::builder()
        .provider("demo", &bearer_and("limits: {requestsPerMinute: 2}"))
        .limit("agent-requests", "1");
    let world = World::built(Origin::builder(&[HOST]).answer(answer), builder).await;
    let mut client = world.agent().h2(HOST).await;
    let request = client.request("GET", "/").body(h2::empty()).unwrap();
    let response = client.open(request).await.unwrap();
    let feed = answer::next(&mut feeds).await;
    for _ in 0..3 {
        let refused = client.get("/over").await;
        refused.assert_refused(429, "DW1009");
        assert!(refused.text().contains("in flight"), "{}", refused.text());
    }
    feed.finish();
    assert!(h2::collect(response).await.complete);
    // The second of this minute's two.
    let request = client.request("GET", "/again").body(h2::empty()).unwrap();
    assert_eq!(client.open(request).await.unwrap().status(), 200);
    drop(answer::next(&mut feeds).await);
}
