//! Invariant 8 over HTTP/1.1: ambiguous framing is refused, the connection closes, and nothing leaves.

use harness::Reply;

use crate::world::{HOST, World};

/// Sends the bytes in a tunnel, reads the answer, and checks that the connection is closed after it.
async fn send(world: &World, bytes: &[u8]) -> Reply {
    let mut tls = world.agent().tls(HOST).await;
    let reply = tls.exchange(bytes).await;
    tls.assert_closed().await;
    reply
}

/// Every case is answered 400 (or `status`), the connection closes, and the origin never hears of it.
async fn all_refused(cases: &[(&str, &str)]) {
    let world = World::bearer().await;
    for (what, request) in cases {
        let reply = send(&world, request.as_bytes()).await;
        assert_eq!(reply.status, 400, "{what}: {reply:?}");
        assert_eq!(reply.code().as_deref(), Some("DW2008"), "{what}: {reply:?}");
    }
    world.assert_nothing_left();
    let line = world.proxy.audit().code("DW2008").await;
    assert_eq!(line["verdict"], "deny", "{line}");
}

#[tokio::test]
async fn dw2008_refuses_missing_and_duplicate_host() {
    all_refused(&[
        ("no Host", "GET / HTTP/1.1\r\n\r\n"),
        ("two equal", "GET / HTTP/1.1\r\nHost: api.example.com\r\nHost: api.example.com\r\n\r\n"),
        ("two different", "GET / HTTP/1.1\r\nHost: api.example.com\r\nHost: other.example.com\r\n\r\n"),
        ("other first", "GET / HTTP/1.1\r\nHost: other.example.com\r\nHost: api.example.com\r\n\r\n"),
        ("other case", "GET / HTTP/1.1\r\nHost: api.example.com\r\nhOST: api.example.com\r\n\r\n"),
    ])
    .await;
}

/// hyper settles these by RFC 9112 section 6.3 before we see them (chunked wins); what goes out has one framing.
#[tokio::test]
async fn content_length_beside_transfer_encoding_never_leaves_with_both() {
    let heads = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
    ];
    for head in heads {
        let world = World::bearer().await;
        let request =
            format!("POST / HTTP/1.1\r\nHost: api.example.com\r\n{head}\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        world.agent().tls(HOST).await.exchange(request.as_bytes()).await;
        for seen in world.origin.requests() {
            assert_eq!(seen.body, b"abc", "{head}: {seen:?}");
            assert!(seen.header("content-length").is_none_or(|length| length == "3"), "{head}: {seen:?}");
        }
    }
}

#[tokio::test]
async fn refuses_odd_or_repeated_content_length() {
    let cases = [
        ("two different", "Content-Length: 5\r\nContent-Length: 6"),
        ("list", "Content-Length: 5, 5"),
        ("plus", "Content-Length: +5"),
        ("minus", "Content-Length: -5"),
        ("hex", "Content-Length: 0x5"),
        ("empty", "Content-Length:"),
        ("words", "Content-Length: five"),
        ("fraction", "Content-Length: 5.0"),
        ("inner space", "Content-Length: 5 5"),
        ("overflow", "Content-Length: 18446744073709551616"),
    ];
    let world = World::bearer().await;
    for (what, header) in cases {
        let request = format!("POST / HTTP/1.1\r\nHost: api.example.com\r\n{header}\r\n\r\nhello");
        let reply = send(&world, request.as_bytes()).await;
        reply.assert_refused(400, "DW2008");
        assert!(reply.text().contains("doorward DW2008"), "{what}: {reply:?}");
    }
    world.assert_nothing_left();
}

#[tokio::test]
async fn refuses_odd_or_repeated_transfer_encoding() {
    let cases = [
        ("twice in one", "Transfer-Encoding: chunked, chunked"),
        ("two headers", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ("identity too", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
        ("identity", "Transfer-Encoding: identity"),
        ("gzip first", "Transfer-Encoding: gzip, chunked"),
        ("chunked not last", "Transfer-Encoding: chunked, gzip"),
        ("unknown", "Transfer-Encoding: xchunked"),
        ("parameter", "Transfer-Encoding: chunked;q=1"),
        ("quoted", "Transfer-Encoding: \"chunked\""),
        ("empty", "Transfer-Encoding:"),
        ("vertical tab", "Transfer-Encoding: \x0bchunked"),
        ("space before colon", "Transfer-Encoding : chunked"),
        ("folded", "Transfer-Encoding:\r\n chunked"),
    ];
    let world = World::bearer().await;
    for (what, header) in cases {
        let request =
            format!("POST / HTTP/1.1\r\nHost: api.example.com\r\n{header}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        let reply = send(&world, request.as_bytes()).await;
        reply.assert_refused(400, "DW2008");
        assert!(reply.text().contains("doorward DW2008"), "{what}: {reply:?}");
    }
    world.assert_nothing_left();
}

#[tokio::test]
async fn refuses_http_1_0_with_transfer_encoding() {
    all_refused(&[(
        "1.0 with TE",
        "POST / HTTP/1.0\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )])
    .await;
}

#[tokio::test]
async fn refuses_forbidden_bytes_and_folding_in_heads() {
    let cases = [
        ("folded", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX-A: one\r\n two\r\n\r\n"),
        ("folded first", "GET / HTTP/1.1\r\n X-A: one\r\nHost: api.example.com\r\n\r\n"),
        ("NUL in a value", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX-A: a\0b\r\n\r\n"),
        ("NUL in a name", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX\0A: a\r\n\r\n"),
        ("NUL in the target", "GET /\0 HTTP/1.1\r\nHost: api.example.com\r\n\r\n"),
        ("CR in a value", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX-A: a\rb\r\n\r\n"),
        ("space in a name", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX A: a\r\n\r\n"),
        ("space before the colon", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX-A : a\r\n\r\n"),
        ("no colon", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX-A\r\n\r\n"),
        ("no name", "GET / HTTP/1.1\r\nHost: api.example.com\r\n: a\r\n\r\n"),
        ("space in the target", "GET /a b HTTP/1.1\r\nHost: api.example.com\r\n\r\n"),
        ("no version", "GET /\r\nHost: api.example.com\r\n\r\n"),
        ("odd version", "GET / HTTP/1.2\r\nHost: api.example.com\r\n\r\n"),
        ("version 2 in text", "GET / HTTP/2.0\r\nHost: api.example.com\r\n\r\n"),
        ("bad method", "G@T(/ / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"),
        ("relative target", "GET a HTTP/1.1\r\nHost: api.example.com\r\n\r\n"),
    ];
    let world = World::bearer().await;
    for (what, request) in cases {
        let reply = send(&world, request.as_bytes()).await;
        // A close without an answer is also a refusal of what is no HTTP.
        assert!(matches!(reply.status, 0 | 400), "{what}: {reply:?}");
        assert!(reply.status == 0 || reply.code().as_deref() == Some("DW2008"), "{what}: {reply:?}");
    }
    world.assert_nothing_left();
}

#[tokio::test]
async fn a_body_with_bad_chunks_never_reaches_the_origin_as_a_whole() {
    let cases = [
        "xyz\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5;\x01\r\nhello\r\n0\r\nX y: z\0\r\n\r\n",
    ];
    let world = World::bearer().await;
    for body in cases {
        let head = "POST / HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut tls = world.agent().tls(HOST).await;
        let reply = tls.exchange(format!("{head}{body}").as_bytes()).await;
        assert!(!matches!(reply.status, 200..=299), "{body:?}: {reply:?}");
        tls.read_to_end().await;
    }
    let whole = world.origin.requests().into_iter().filter(|seen| seen.complete).count();
    assert_eq!(whole, 0);
}

#[tokio::test]
async fn a_request_hidden_in_the_body_of_a_refused_one_is_never_read() {
    let world = World::bearer().await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
    let request = format!(
        "POST / HTTP/1.1\r\nHost: api.example.com\r\nHost: api.example.com\r\nContent-Length: {}\r\n\r\n{hidden}{hidden}",
        hidden.len()
    );
    assert_eq!(send(&world, request.as_bytes()).await.status, 400);
    world.assert_nothing_left();
}

#[tokio::test]
async fn refuses_heads_over_the_limits_with_431() {
    let world = World::bearer().await;
    let long = |n: usize| "x".repeat(n);
    let many: String = (0..120).map(|n| format!("X-{n}: y\r\n")).collect();
    for (what, request) in [
        ("long URL", format!("GET /{} HTTP/1.1\r\nHost: api.example.com\r\n\r\n", long(17 << 10))),
        ("long query", format!("GET /?{} HTTP/1.1\r\nHost: api.example.com\r\n\r\n", long(17 << 10))),
        ("long value", format!("GET / HTTP/1.1\r\nHost: api.example.com\r\nX: {}\r\n\r\n", long(65 << 10))),
        ("long name", format!("GET / HTTP/1.1\r\nHost: api.example.com\r\n{}: y\r\n\r\n", long(65 << 10))),
        ("many fields", format!("GET / HTTP/1.1\r\nHost: api.example.com\r\n{many}\r\n")),
    ] {
        let reply = send(&world, request.as_bytes()).await;
        assert!(matches!(reply.status, 414 | 431), "{what}: {} {}", reply.status, reply.reason);
        assert_eq!(reply.code().as_deref(), Some("DW2008"), "{what}: {reply:?}");
    }
    world.assert_nothing_left();
    world.proxy.audit().code("DW2008").await;
}

#[tokio::test]
async fn a_head_far_over_the_limit_gets_its_answer_and_one_record() {
    let world = World::bearer().await;
    let head = format!("GET / HTTP/1.1\r\nHost: api.example.com\r\nX: {}\r\n\r\n", "x".repeat(600 << 10));
    let reply = send(&world, head.as_bytes()).await;
    reply.assert_refused(431, "DW2008");
    let id = reply.header("doorward-request-id").unwrap().to_owned();
    world.proxy.audit().wait_for("the refusal", |line| line["req"] == id.as_str()).await;
    let refused = |line: &&serde_json::Value| line["code"] == "DW2008";
    assert_eq!(world.proxy.audit().lines().iter().filter(refused).count(), 1);
}

#[tokio::test]
async fn heads_just_under_the_limits_pass() {
    let world = World::bearer().await;
    let path = format!("/{}", "x".repeat(15 << 10));
    world.agent().get(HOST, &path).await.assert_ok();
    let fields: String = (0..80).map(|n| format!("X-{n}: y\n")).collect();
    world.agent().ask(HOST, &format!("GET /many HTTP/1.1\n{fields}")).await.assert_ok();
    let value = "y".repeat(40 << 10);
    world.agent().ask(HOST, &format!("GET /long HTTP/1.1\nX-Long: {value}")).await.assert_ok();
    assert_eq!(world.origin.requests().len(), 3);
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

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_each_with_its_credential() {
    let world = World::bearer().await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(
        b"GET /1 HTTP/1.1\r\nHost: api.example.com\r\n\r\nGET /2 HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
    )
    .await;
    for path in ["GET /1", "GET /2"] {
        assert_eq!(tls.read_reply("GET").await.assert_ok().text().lines().next(), Some(path));
    }
    for seen in world.origin.requests() {
        assert_eq!(seen.headers_named("authorization"), [world.bearer_value()]);
    }
}

#[tokio::test]
async fn a_connect_head_that_is_malformed_is_refused_and_closed() {
    let world = World::bearer().await;
    let agent = world.agent();
    let proof = agent.authorization().unwrap();
    for head in [
        "CONNECT api.example.com:443 HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        "CONNECT  api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n",
        "CONNECT api.example.com:443\r\nHost: api.example.com:443\r\n",
        "CONNECT api.example.com:443 HTTP/1.1\r\nX-A: a\r\n b\r\nHost: api.example.com:443\r\n",
        "connect api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n",
    ] {
        let mut pipe = agent.dial().await;
        let reply = pipe.exchange(format!("{head}Proxy-Authorization: {proof}\r\n\r\n").as_bytes()).await;
        assert!(matches!(reply.status, 0 | 400 | 405), "{head:?}: {reply:?}");
        pipe.read_to_end().await;
    }
    world.origin.assert_untouched();
}
