//! Content-coded answers: read on the side, never rewritten, cut at a hit.

use harness::agent::h2;
use harness::{Origin, Proxy, answer, canary};
use http::Response;

use crate::world::{HOST, World, bearer};

const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

#[tokio::test]
async fn a_coded_echo_is_cut_before_the_secret() {
    for coding in CODINGS {
        for down in ["h1", "h2"] {
            let answer = answer::coded(coding, |seen| {
                let value = seen.header("authorization").unwrap();
                format!("{} {value} {}", "before ".repeat(50), "after ".repeat(50)).into_bytes()
            });
            let world = World::with(Origin::builder(&[HOST]).answer(answer), &bearer()).await;
            let mut client = world.agent().client(down, HOST).await;
            let request =
                client.request("GET", "/").header("accept-encoding", coding).body(h2::empty()).unwrap();
            let Ok(response) = client.open(request).await else { continue };
            let reply = h2::collect(response).await;
            let decoded = answer::decode(coding, &reply.body).await;
            world.proxy.sweep().note("decoded", &decoded);
            assert_eq!(canary::search(&decoded, world.proxy.canary()), None, "{coding} {down}");
            assert!(canary::longest_head(&decoded, world.proxy.canary()) < 16, "{coding} {down}");
            assert!(
                !reply.complete || reply.any_code().as_deref() == Some("DW2009"),
                "{coding} {down}: {reply:?}"
            );
        }
    }
}

#[tokio::test]
async fn dw2009_a_coded_echo_at_the_beginning_is_refused_with_its_code() {
    for coding in CODINGS {
        for up in ["h1", "h2"] {
            let answer = answer::coded(coding, |seen| {
                format!("<{}>", seen.header("authorization").unwrap()).into_bytes()
            });
            let world = World::with(Origin::builder(&[HOST]).only(up).answer(answer), &bearer()).await;
            for down in ["h1", "h2"] {
                let mut client = world.agent().client(down, HOST).await;
                let request = client.request("GET", "/").header("accept-encoding", coding);
                let reply = client.send(request.body(h2::empty()).unwrap()).await;
                reply.assert_refused(502, "DW2009");
            }
        }
    }
}

#[tokio::test]
async fn a_coded_stream_that_has_not_begun_does_not_keep_its_head() {
    let (mut feeds, answer) =
        answer::stream(&[("content-encoding", "gzip"), ("content-type", "text/event-stream")]);
    let world = World::with(Origin::builder(&[HOST]).answer(answer), &bearer()).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(b"GET / HTTP/1.1\r\nHost: api.example.com\r\nAccept-Encoding: gzip\r\n\r\n").await;
    let feed = answer::next(&mut feeds).await;
    assert_eq!(tls.read_head().await.status, 200);
    feed.finish();
}

#[tokio::test]
async fn a_chunk_that_stands_for_much_does_not_stop_the_worker() {
    let zeros = answer::encode("br", &vec![0; 24 << 20]).await;
    let answer = answer::made(move |seen| {
        let response = Response::builder();
        if seen.target == "/zeros" {
            return response.header("content-encoding", "br").body(answer::full(zeros.clone())).unwrap();
        }
        response.body(answer::full("quick")).unwrap()
    });
    let builder = Proxy::builder().bearer(HOST).arg("--workers").arg("1");
    let world = World::built(Origin::builder(&[HOST]).answer(answer), builder).await;
    let mut quick = world.agent().client("h2", HOST).await;
    quick.get("/quick").await.assert_ok();
    let agent = world.agent();
    let slow = tokio::spawn(async move { agent.ask(HOST, "GET /zeros HTTP/1.1\nAccept-Encoding: br").await });
    world.origin.wait_requests(2).await;
    let mut answered = 0;
    while !slow.is_finished() {
        quick.get("/quick").await.assert_ok();
        answered += 1;
    }
    slow.await.unwrap().assert_ok();
    // Some 90 turns; without them one request at most would be answered meanwhile.
    assert!(answered >= 10, "{answered} answers while one was decoded");
}

#[tokio::test]
async fn a_coded_answer_without_an_echo_passes_unchanged() {
    let text = "nothing secret here ".repeat(200);
    for coding in CODINGS {
        let copy = text.clone();
        let answer = answer::coded(coding, move |_| copy.clone().into_bytes());
        let world = World::with(Origin::builder(&[HOST]).answer(answer), &bearer()).await;
        let reply = world.agent().ask(HOST, &format!("GET / HTTP/1.1\nAccept-Encoding: {coding}")).await;
        assert_eq!(reply.assert_ok().header("content-encoding"), Some(coding));
        assert_eq!(answer::encode(coding, text.as_bytes()).await, reply.body, "{coding}");
    }
}

#[tokio::test]
async fn only_codings_that_we_can_read_are_offered_upstream() {
    let world = World::bearer().await;
    for offered in
        ["gzip, br, zstd, exotic", "exotic;q=1.0, *;q=0.5", "compress, dcb, dcz, identity;q=0", "*"]
    {
        world.agent().ask(HOST, &format!("GET / HTTP/1.1\nAccept-Encoding: {offered}")).await;
        let seen = world.origin.last();
        let sent = seen.header("accept-encoding").unwrap_or_default().to_owned();
        for coding in sent.split(',').map(|item| item.split(';').next().unwrap().trim()) {
            assert!(
                ["", "gzip", "x-gzip", "deflate", "br", "zstd", "identity"].contains(&coding),
                "{offered} → {sent}"
            );
        }
    }
}

#[tokio::test]
async fn dw2009_an_unknown_coding_fails_closed() {
    for coding in ["exotic", "gzip, exotic", "compress", "aws-chunked"] {
        let answer = answer::fixed(200, &[("content-encoding", coding)], b"whatever this is");
        let world = World::with(Origin::builder(&[HOST]).answer(answer), &bearer()).await;
        world.agent().get(HOST, "/").await.assert_refused(502, "DW2009");
    }
}

#[tokio::test]
async fn two_codings_on_top_of_each_other_hide_nothing() {
    let answer = answer::with(|mut exchange| async move {
        exchange.body().await;
        let echo = exchange.seen.header("authorization").unwrap().to_owned();
        let inner = answer::encode("gzip", echo.as_bytes()).await;
        let outer = answer::encode("br", &inner).await;
        Response::builder().header("content-encoding", "gzip, br").body(answer::full(outer)).unwrap()
    });
    let world = World::with(Origin::builder(&[HOST]).answer(answer), &bearer()).await;
    let reply = world.agent().ask(HOST, "GET / HTTP/1.1\nAccept-Encoding: gzip, br").await;
    let inner = answer::decode("br", &reply.body).await;
    let decoded = answer::decode("gzip", &inner).await;
    assert_eq!(canary::search(&decoded, world.proxy.canary()), None);
}

#[tokio::test]
async fn a_body_that_is_not_in_its_stated_coding_fails_closed() {
    for coding in CODINGS {
        let answer = answer::made(move |seen| {
            let echo = seen.header("authorization").unwrap().to_owned();
            Response::builder().header("content-encoding", coding).body(answer::full(echo)).unwrap()
        });
        let world = World::with(Origin::builder(&[HOST]).answer(answer), &bearer()).await;
        let reply = world.agent().ask(HOST, &format!("GET / HTTP/1.1\nAccept-Encoding: {coding}")).await;
        assert!(reply.status == 502 || !reply.complete, "{coding}: {reply:?}");
    }
}

#[tokio::test]
async fn bytes_behind_the_end_of_a_coded_body_hide_nothing() {
    for coding in CODINGS {
        let answer = answer::with(move |mut exchange| async move {
            exchange.body().await;
            let mut body = answer::encode(coding, b"harmless").await;
            body.extend_from_slice(exchange.seen.header("authorization").unwrap().as_bytes());
            Response::builder().header("content-encoding", coding).body(answer::full(body)).unwrap()
        });
        let world = World::with(Origin::builder(&[HOST]).answer(answer), &bearer()).await;
        let reply = world.agent().ask(HOST, &format!("GET / HTTP/1.1\nAccept-Encoding: {coding}")).await;
        assert_eq!(canary::search(&reply.body, world.proxy.canary()), None, "{coding}");
    }
}

#[tokio::test]
async fn a_decompression_bomb_is_cut_and_costs_little_memory() {
    for coding in ["gzip", "br", "zstd"] {
        let answer = answer::with(move |mut exchange| async move {
            exchange.body().await;
            let body = answer::encode(coding, &vec![0; 8 << 20]).await;
            Response::builder().header("content-encoding", coding).body(answer::full(body)).unwrap()
        });
        let builder = Proxy::builder().bearer(HOST).limit("decoded-bytes", "1MiB");
        let world = World::built(Origin::builder(&[HOST]).answer(answer), builder).await;
        let (before, _) = world.proxy.rss();
        let reply = world.agent().ask(HOST, &format!("GET / HTTP/1.1\nAccept-Encoding: {coding}")).await;
        assert!(reply.status == 502 || !reply.complete, "{coding}: {} {}", reply.status, reply.body.len());
        let (_, peak) = world.proxy.rss();
        assert!(peak.saturating_sub(before) < 40 << 10, "{coding}: {before} → {peak} KiB");
    }
}

#[tokio::test]
async fn grpc_and_connect_messages_are_asked_for_uncoded() {
    let world = World::bearer().await;
    let headers = "grpc-accept-encoding: gzip, deflate\nconnect-accept-encoding: gzip\nTE: trailers";
    world.agent().ask(HOST, &format!("GET / HTTP/1.1\n{headers}")).await;
    let seen = world.origin.only();
    assert_eq!(seen.headers_named("grpc-accept-encoding"), ["identity"]);
    assert_eq!(seen.headers_named("connect-accept-encoding"), ["identity"]);
}

#[tokio::test]
async fn coded_events_pass_as_the_encoder_flushes_them() {
    use tokio::io::AsyncWriteExt as _;
    let (mut feeds, answer) =
        answer::stream(&[("content-type", "text/event-stream"), ("content-encoding", "gzip")]);
    let world = World::with(Origin::builder(&[HOST]).h1().answer(answer), &bearer()).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(b"GET / HTTP/1.1\r\nHost: api.example.com\r\nAccept-Encoding: gzip\r\n\r\n").await;
    let feed = answer::next(&mut feeds).await;
    let mut encoder = async_compression::tokio::write::GzipEncoder::new(Vec::new());
    let mut coded = Vec::new();
    tls.read_until(b"\r\n\r\n").await;
    for n in 0..3 {
        let event = format!("data: event {n} {}\n\n", "x".repeat(n * 100));
        encoder.write_all(event.as_bytes()).await.unwrap();
        encoder.flush().await.unwrap();
        let piece = std::mem::take(encoder.get_mut());
        feed.send(piece).await;
        while !canary::contains(&answer::decode("gzip", &coded).await, event.as_bytes()) {
            // Chunk by chunk: size line, data, line end.
            let line = tls.read_until(b"\r\n").await;
            let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            coded.extend(tls.read_some(size).await);
            tls.read_some(2).await;
        }
    }
}
