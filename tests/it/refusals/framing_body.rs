//! Invariant 8 of bodies over HTTP/1.1: a length that is ambiguous, chunks that are malformed, trailers.

use harness::Origin;

use super::framing::assert_refused;
use crate::world::{HOST, World, bearer};

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n";

/// hyper settles these by RFC 9112 section 6.3 before we see them (chunked wins; a length that is repeated is one length); what
/// goes out has one framing, which is ours.
#[tokio::test]
async fn a_length_beside_chunks_or_repeated_leaves_with_one_framing() {
    const CHUNKS: &str = "3\r\nabc\r\n0\r\n\r\n";
    for (head, body, framing) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", CHUNKS, (None, Some("chunked"))),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", CHUNKS, (None, Some("chunked"))),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 6",
            CHUNKS,
            (None, Some("chunked")),
        ),
        ("Transfer-Encoding: Chunked", CHUNKS, (None, Some("chunked"))),
        ("Content-Length: 3\r\nContent-Length: 3", "abc", (Some("3"), None)),
    ] {
        for up in ["h1", "h2"] {
            let world = World::with(Origin::builder(&[HOST]).only(up), &bearer()).await;
            let request = format!("POST / HTTP/1.1\r\nHost: api.example.com\r\n{head}\r\n\r\n{body}");
            world.agent().tls(HOST).await.exchange(request.as_bytes()).await.assert_ok();
            let seen = world.origin.only();
            assert_eq!((seen.body.as_slice(), seen.complete), (&b"abc"[..], true), "{head}: {seen:?}");
            let coding = framing.1.filter(|_| up == "h1");
            let found = (seen.headers_named("content-length"), seen.headers_named("transfer-encoding"));
            assert_eq!(found, (Vec::from_iter(framing.0), Vec::from_iter(coding)), "{head}: {seen:?}");
        }
    }
}

#[tokio::test]
async fn a_body_with_bad_chunks_is_refused_and_never_reaches_the_origin_as_a_whole() {
    let extended = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20 << 10));
    let trailers = format!("5\r\nhello\r\n0\r\nX: {}\r\n\r\n", "y".repeat(100 << 10));
    let cases = [
        "xyz\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;a=b\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-T: a\rb\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5;\x01\r\nhello\r\n0\r\nX y: z\0\r\n\r\n",
        &extended,
        &trailers,
    ];
    for up in ["h1", "h2"] {
        let world = World::with(Origin::builder(&[HOST]).only(up), &bearer()).await;
        for body in cases {
            let mut tls = world.agent().tls(HOST).await;
            let reply = tls.exchange(format!("{CHUNKED}{body}").as_bytes()).await;
            let what = format!("{up} {:?}", &body[..body.len().min(60)]);
            // It was let through, and found out on its way.
            assert_refused(&world, &what, &reply, 400, "error").await;
            assert!(reply.text().contains("the body's chunks are malformed"), "{what}: {reply:?}");
            tls.assert_closed().await;
        }
        assert!(world.origin.requests().iter().all(|seen| !seen.complete), "{:#?}", world.origin.requests());
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_blamed_on_the_agent_and_never_reaches_the_origin_as_a_whole() {
    let sized = "POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 9\r\n\r\nhello";
    for request in [sized.to_owned(), format!("{CHUNKED}5\r\nhello\r\n"), format!("{CHUNKED}9\r\nhello")] {
        let world = World::bearer().await;
        let mut tls = world.agent().tls(HOST).await;
        tls.send(request.as_bytes()).await;
        world.origin.wait_requests(1).await;
        tls.finish().await;
        let reply = tls.read_reply("POST").await;
        assert_refused(&world, &request, &reply, 400, "error").await;
        assert!(reply.text().contains("the body ended before it was whole"), "{request}: {reply:?}");
        assert!(!world.origin.only().complete);
    }
}

#[tokio::test]
async fn extensions_of_chunks_are_dropped() {
    let world = World::bearer().await;
    let request = format!("{CHUNKED}3;evil=1\r\nabc\r\n2 ; x=\"y\"\r\nde\r\n0;z\r\n\r\n");
    world.agent().tls(HOST).await.exchange(request.as_bytes()).await.assert_ok();
    let seen = world.origin.only();
    assert_eq!((seen.body.as_slice(), seen.complete), (&b"abcde"[..], true), "{seen:?}");
    assert!(!seen.contains("evil"), "{seen:?}");
}

#[tokio::test]
async fn request_trailers_are_dropped() {
    let world = World::bearer().await;
    let request = "POST / HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n\
                   5\r\nhello\r\n0\r\nAuthorization: Bearer evil\r\nX-T: 1\r\n\r\n";
    world.agent().tls(HOST).await.exchange(request.as_bytes()).await.assert_ok();
    let seen = world.origin.only();
    assert_eq!((seen.body.as_slice(), seen.trailers.len()), (&b"hello"[..], 0), "{seen:?}");
    world.assert_injected();
}
