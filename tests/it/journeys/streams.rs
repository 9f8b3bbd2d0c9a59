//! Streams: nothing waits for what comes next, and an end on one side is an end on the other.

use std::time::Duration;

use bytes::Bytes;
use harness::agent::h2;
use harness::{Origin, answer, within};
use http_body_util::BodyExt as _;
use hyper::body::Frame;

use crate::world::{HOST, World, bearer};

const SIDES: [(&str, &str); 4] = [("h1", "h1"), ("h1", "h2"), ("h2", "h1"), ("h2", "h2")];

async fn between(upstream: &str, answer: answer::Answer) -> World {
    World::with(Origin::builder(&[HOST]).only(upstream).answer(answer), &bearer()).await
}

async fn next_piece(response: &mut http::Response<hyper::body::Incoming>) -> Option<Bytes> {
    let frame = within("a piece", response.body_mut().frame()).await?;
    // h2 ends a stream with an empty frame.
    frame.ok()?.into_data().ok().filter(|data| !data.is_empty())
}

#[tokio::test]
async fn an_event_is_received_before_the_next_one_is_sent() {
    for (down, up) in SIDES {
        let (mut feeds, answer) = answer::stream(&[("content-type", "text/event-stream")]);
        let world = between(up, answer).await;
        let mut client = world.agent().client(down, HOST).await;
        let request = client.request("GET", "/events").header("accept", "text/event-stream");
        let mut response = client.open(request.body(h2::empty()).unwrap()).await.unwrap();
        let feed = answer::next(&mut feeds).await;
        for n in 0..5 {
            let event = format!("data: event {n}\n\n");
            assert!(feed.send(event.clone()).await);
            let mut seen = Vec::new();
            while seen.len() < event.len() {
                seen.extend_from_slice(&next_piece(&mut response).await.expect("an event"));
            }
            assert_eq!(seen, event.as_bytes(), "{down}→{up}");
        }
        feed.finish();
        assert!(next_piece(&mut response).await.is_none());
    }
}

#[tokio::test]
async fn an_event_that_begins_like_the_secret_is_held_only_for_a_moment() {
    let (mut feeds, answer) = answer::stream(&[("content-type", "text/event-stream")]);
    let world = between("h1", answer).await;
    let mut client = world.agent().h1(HOST).await;
    let mut response = client.open(client.request("GET", "/").body(h2::empty()).unwrap()).await.unwrap();
    let feed = answer::next(&mut feeds).await;
    // Four bytes of the secret at the end of what has arrived: forwarded at once.
    let event = format!("data: {}", &world.proxy.canary()[..4]);
    feed.send(event.clone()).await;
    let mut seen = Vec::new();
    while seen.len() < event.len() {
        seen.extend_from_slice(&next_piece(&mut response).await.expect("an event"));
    }
    feed.send(" and on\n\n").await;
    feed.finish();
    while let Some(piece) = next_piece(&mut response).await {
        seen.extend_from_slice(&piece);
    }
    assert_eq!(seen, format!("{event} and on\n\n").as_bytes());
}

#[tokio::test]
async fn both_directions_of_a_bidirectional_stream_flow_at_once() {
    for (down, up) in [("h2", "h2"), ("h2", "h1")] {
        let world = between(up, answer::mirror("application/grpc", &[("grpc-status", "0")])).await;
        let mut client = world.agent().client(down, HOST).await;
        let (sender, body) = h2::channel();
        let request = client.request("POST", "/pkg.S/Chat").header("te", "trailers").body(body).unwrap();
        let mut response = client.open(request).await.unwrap();
        for n in 0..5 {
            let message = Bytes::from(format!("message {n}"));
            sender.send(Ok(Frame::data(message.clone()))).await.unwrap();
            assert_eq!(next_piece(&mut response).await, Some(message), "{down}→{up}");
        }
        drop(sender);
        let reply = h2::collect(response).await;
        if up == "h2" {
            assert_eq!(reply.trailer("grpc-status"), Some("0"), "{reply:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_upstream() {
    for (down, up) in SIDES {
        let (mut feeds, answer) = answer::stream(&[]);
        let world = between(up, answer).await;
        let mut client = world.agent().client(down, HOST).await;
        let mut response =
            client.open(client.request("GET", "/gone").body(h2::empty()).unwrap()).await.unwrap();
        let feed = answer::next(&mut feeds).await;
        feed.send("one").await;
        assert_eq!(next_piece(&mut response).await.as_deref(), Some(&b"one"[..]));
        drop(response);
        drop(client);
        within("the upstream to be cancelled", feed.reader_gone()).await;
        world.proxy.audit().request("/gone").await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_cancels_the_upstream() {
    let world = between("h2", answer::never()).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(b"GET /unanswered HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    world.origin.wait_requests(1).await;
    drop(tls);
    let line = world.proxy.audit().request("/unanswered").await;
    assert!(line["elapsed_us"].as_u64().is_some(), "{line}");
}

#[tokio::test]
async fn an_upstream_that_breaks_off_is_seen_as_broken_off() {
    for (down, up) in SIDES {
        let (mut feeds, answer) = answer::stream(&[]);
        let world = between(up, answer).await;
        let mut client = world.agent().client(down, HOST).await;
        let response = client.open(client.request("GET", "/").body(h2::empty()).unwrap()).await.unwrap();
        let feed = answer::next(&mut feeds).await;
        feed.send("half of it").await;
        feed.cut().await;
        let reply = h2::collect(response).await;
        assert!(!reply.complete, "{down}→{up}: {reply:?}");
        assert!("half of it".starts_with(&reply.text()), "{down}→{up}");
    }
}

#[tokio::test]
async fn an_upstream_that_stops_short_of_its_length_is_seen_as_cut() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this";
    let origin = harness::origin::raw::RawOrigin::says(HOST, answer).await;
    let proxy = harness::Proxy::builder().bearer(HOST).route(HOST, 443, origin.address()).start().await;
    for protocol in ["h1", "h2"] {
        let mut client = proxy.agent().client(protocol, HOST).await;
        let response = client.open(client.request("GET", "/").body(h2::empty()).unwrap()).await.unwrap();
        assert!(!h2::collect(response).await.complete, "{protocol}");
    }
}

#[tokio::test]
async fn a_large_download_passes_whole_at_constant_memory() {
    const SIZE: usize = 64 << 20;
    for (down, up) in [("h1", "h1"), ("h2", "h2")] {
        let world = between(up, answer::volume(SIZE)).await;
        let (before, _) = world.proxy.rss();
        let mut client = world.agent().client(down, HOST).await;
        let mut response = client.open(client.request("GET", "/").body(h2::empty()).unwrap()).await.unwrap();
        let mut total = 0;
        while let Some(piece) = next_piece(&mut response).await {
            total += piece.len();
        }
        assert_eq!(total, SIZE, "{down}→{up}");
        let (_, peak) = world.proxy.rss();
        assert!(peak.saturating_sub(before) < 24 << 10, "{down}→{up}: {before} KiB, peak {peak} KiB");
    }
}

#[tokio::test]
async fn a_large_upload_passes_whole_at_constant_memory() {
    const PIECES: usize = 1024;
    for (down, up) in [("h1", "h1"), ("h2", "h2")] {
        let world = between(up, answer::count()).await;
        let (before, _) = world.proxy.rss();
        let mut client = world.agent().client(down, HOST).await;
        let (sender, body) = h2::channel();
        let feed = tokio::spawn(async move {
            let piece = Bytes::from(vec![b'u'; 64 << 10]);
            for _ in 0..PIECES {
                sender.send(Ok(Frame::data(piece.clone()))).await.unwrap();
            }
        });
        let request = client.request("POST", "/").body(body).unwrap();
        let response =
            tokio::time::timeout(Duration::from_secs(60), client.open(request)).await.unwrap().unwrap();
        assert_eq!(h2::collect(response).await.text(), (PIECES << 16).to_string(), "{down}→{up}");
        feed.await.unwrap();
        let (_, peak) = world.proxy.rss();
        assert!(peak.saturating_sub(before) < 24 << 10, "{down}→{up}: {before} KiB, peak {peak} KiB");
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_the_origin_back() {
    let (mut feeds, answer) = answer::stream(&[]);
    let world = between("h1", answer).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let feed = answer::next(&mut feeds).await;
    let piece = Bytes::from(vec![b'x'; 64 << 10]);
    let mut sent = 0;
    // 64 MiB would have to be buffered somewhere if nothing held it back.
    while sent < 1024
        && tokio::time::timeout(Duration::from_millis(700), feed.send(piece.clone())).await.is_ok()
    {
        sent += 1;
    }
    assert!(sent < 1024, "nobody read, and everything was taken");
}
