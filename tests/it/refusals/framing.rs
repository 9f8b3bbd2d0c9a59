//! Invariant 8 over HTTP/1.1: ambiguous framing is refused, the connection closes, and nothing leaves.
//!
//! Each case is pinned to its status and code on the wire and in the audit's line of that very request.

use harness::Reply;
use serde_json::Value;

use crate::world::{HOST, World};

/// Sends the bytes in a tunnel, reads the answer, and checks that the connection is closed after it.
async fn send(world: &World, bytes: &[u8]) -> Reply {
    let mut tls = world.agent().tls(HOST).await;
    let reply = tls.exchange(bytes).await;
    tls.assert_closed().await;
    reply
}

/// The answer is this refusal, and the audit has one line of the same request with the same code, status and sentence.
pub(super) async fn assert_refused(world: &World, what: &str, reply: &Reply, status: u16, verdict: &str) {
    assert_eq!((reply.status, reply.code().as_deref()), (status, Some("DW2008")), "{what}: {reply:?}");
    let (id, detail) = (reply.header("doorward-request-id").unwrap(), &reply.json()["detail"]);
    let of_it = |line: &Value| line["req"] == id && line["kind"] == "request";
    let line = world.proxy.audit().wait_for(what, of_it).await;
    let told = [&line["code"], &line["verdict"], &line["host"], &line["reason"]];
    assert_eq!(told, [&"DW2008".into(), &verdict.into(), &HOST.into(), detail], "{what}: {line}");
    assert_eq!(line["status"], status, "{what}: {line}");
    assert_eq!(world.proxy.audit().lines().iter().filter(|line| of_it(line)).count(), 1, "{what}");
}

/// Every case is refused, the connection closes, and the origin never hears of it.
async fn all_refused<T: AsRef<str>>(status: u16, cases: &[(&str, T)]) {
    let world = World::bearer().await;
    for (what, request) in cases {
        let reply = send(&world, request.as_ref().as_bytes()).await;
        assert_refused(&world, what, &reply, status, "deny").await;
    }
    world.assert_nothing_left();
}

/// The same of these fields on a POST with a body of chunks.
async fn all_fields_refused(cases: &[(&str, &str)]) {
    let post = |fields: &str| {
        format!("POST / HTTP/1.1\r\nHost: api.example.com\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    };
    let cases: Vec<_> = cases.iter().map(|(what, fields)| (*what, post(fields))).collect();
    all_refused(400, &cases).await;
}

#[tokio::test]
async fn dw2008_refuses_missing_and_duplicate_host() {
    all_refused(
        400,
        &[
            ("no Host", "GET / HTTP/1.1\r\n\r\n"),
            ("two equal", "GET / HTTP/1.1\r\nHost: api.example.com\r\nHost: api.example.com\r\n\r\n"),
            ("two different", "GET / HTTP/1.1\r\nHost: api.example.com\r\nHost: other.example.com\r\n\r\n"),
            ("other first", "GET / HTTP/1.1\r\nHost: other.example.com\r\nHost: api.example.com\r\n\r\n"),
            ("other case", "GET / HTTP/1.1\r\nHost: api.example.com\r\nhOST: api.example.com\r\n\r\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn refuses_odd_or_repeated_content_length() {
    all_fields_refused(&[
        ("two different", "Content-Length: 5\r\nContent-Length: 6"),
        ("list", "Content-Length: 5, 5"),
        ("list beside one", "Content-Length: 5\r\nContent-Length: 5, 5"),
        ("plus", "Content-Length: +5"),
        ("minus", "Content-Length: -5"),
        ("hex", "Content-Length: 0x5"),
        ("octal", "Content-Length: 05"),
        ("empty", "Content-Length:"),
        ("words", "Content-Length: five"),
        ("fraction", "Content-Length: 5.0"),
        ("inner space", "Content-Length: 5 5"),
        ("overflow", "Content-Length: 18446744073709551616"),
        ("space before colon", "Content-Length : 5"),
        ("folded", "Content-Length:\r\n 5"),
        ("odd, before Transfer-Encoding", "Content-Length: +5\r\nTransfer-Encoding: chunked"),
    ])
    .await;
}

#[tokio::test]
async fn refuses_odd_or_repeated_transfer_encoding() {
    all_fields_refused(&[
        ("twice in one", "Transfer-Encoding: chunked, chunked"),
        ("two headers", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ("identity too", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
        ("identity after", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        ("identity", "Transfer-Encoding: identity"),
        ("identity beside a length", "Transfer-Encoding: identity\r\nContent-Length: 5"),
        ("identity behind a length", "Content-Length: 5\r\nTransfer-Encoding: identity"),
        ("gzip first", "Transfer-Encoding: gzip, chunked"),
        ("chunked not last", "Transfer-Encoding: chunked, gzip"),
        ("unknown", "Transfer-Encoding: xchunked"),
        ("parameter", "Transfer-Encoding: chunked;q=1"),
        ("quoted", "Transfer-Encoding: \"chunked\""),
        ("empty", "Transfer-Encoding:"),
        ("vertical tab", "Transfer-Encoding: \x0bchunked"),
        ("space before colon", "Transfer-Encoding : chunked"),
        ("folded", "Transfer-Encoding:\r\n chunked"),
        ("folded behind", "Transfer-Encoding: chunked\r\n , identity"),
        ("a bare CR before it", "X-A: b\rTransfer-Encoding: chunked"),
    ])
    .await;
}

#[tokio::test]
async fn refuses_http_1_0_with_transfer_encoding() {
    const POST: &str = "POST / HTTP/1.0\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    all_refused(400, &[("1.0 with TE", POST)]).await;
}

#[tokio::test]
async fn refuses_forbidden_bytes_and_folding_in_heads() {
    all_refused(
        400,
        &[
            ("folded", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX-A: one\r\n two\r\n\r\n"),
            ("folded by a tab", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX-A: one\r\n\ttwo\r\n\r\n"),
            ("folded first", "GET / HTTP/1.1\r\n X-A: one\r\nHost: api.example.com\r\n\r\n"),
            ("NUL in a value", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX-A: a\0b\r\n\r\n"),
            ("NUL in a name", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX\0A: a\r\n\r\n"),
            ("NUL in the target", "GET /\0 HTTP/1.1\r\nHost: api.example.com\r\n\r\n"),
            ("CR in a value", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX-A: a\rb\r\n\r\n"),
            ("CR at a value's end", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX-A: a\r\r\n\r\n"),
            ("CR as the line's end", "GET / HTTP/1.1\rHost: api.example.com\r\r"),
            ("CR in the target", "GET /a\rb HTTP/1.1\r\nHost: api.example.com\r\n\r\n"),
            ("DEL in a value", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX-A: a\x7fb\r\n\r\n"),
            ("space in a name", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX A: a\r\n\r\n"),
            ("space before the colon", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX-A : a\r\n\r\n"),
            ("space behind Host", "GET / HTTP/1.1\r\nHost : api.example.com\r\n\r\n"),
            ("no colon", "GET / HTTP/1.1\r\nHost: api.example.com\r\nX-A\r\n\r\n"),
            ("no name", "GET / HTTP/1.1\r\nHost: api.example.com\r\n: a\r\n\r\n"),
            ("space in the target", "GET /a b HTTP/1.1\r\nHost: api.example.com\r\n\r\n"),
            ("two spaces", "GET  / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"),
            ("no version", "GET /\r\nHost: api.example.com\r\n\r\n"),
            ("odd version", "GET / HTTP/1.2\r\nHost: api.example.com\r\n\r\n"),
            ("version 2 in text", "GET / HTTP/2.0\r\nHost: api.example.com\r\n\r\n"),
            ("bad method", "G@T(/ / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"),
            ("relative target", "GET a HTTP/1.1\r\nHost: api.example.com\r\n\r\n"),
        ],
    )
    .await;
}

/// RFC 9112 section 2.2 lets a lone LF end a line. It is read so by who judges, and written anew for who receives.
#[tokio::test]
async fn a_bare_lf_ends_a_line_and_what_leaves_has_one_reading() {
    let world = World::of(&crate::world::token("type: header, header: X-Api-Key")).await;
    let request = "GET /a HTTP/1.1\nHost: api.example.com\nX-A: b\nX-Api-Key: evil\nX-C: d\r\n\n";
    world.agent().tls(HOST).await.exchange(request.as_bytes()).await.assert_ok();
    let seen = world.origin.only();
    assert_eq!((seen.header("x-a"), seen.header("x-c")), (Some("b"), Some("d")), "{seen:?}");
    assert_eq!(seen.headers_named("x-api-key"), [world.proxy.canary()], "{seen:?}");
}

#[tokio::test]
async fn a_request_hidden_in_the_body_of_a_refused_one_is_never_read() {
    let hidden = "GET /hidden HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
    let request = format!(
        "POST / HTTP/1.1\r\nHost: api.example.com\r\nHost: api.example.com\r\nContent-Length: {}\r\n\r\n{hidden}{hidden}",
        hidden.len()
    );
    all_refused(400, &[("hidden", request)]).await;
}

#[tokio::test]
async fn refuses_heads_over_the_limits_with_431() {
    let long = |n: usize| "x".repeat(n);
    let many: String = (0..120).map(|n| format!("X-{n}: y\r\n")).collect();
    all_refused(
        431,
        &[
            ("long URL", format!("GET /{} HTTP/1.1\r\nHost: api.example.com\r\n\r\n", long(17 << 10))),
            ("long query", format!("GET /?{} HTTP/1.1\r\nHost: api.example.com\r\n\r\n", long(17 << 10))),
            (
                "long value",
                format!("GET / HTTP/1.1\r\nHost: api.example.com\r\nX: {}\r\n\r\n", long(65 << 10)),
            ),
            (
                "long name",
                format!("GET / HTTP/1.1\r\nHost: api.example.com\r\n{}: y\r\n\r\n", long(65 << 10)),
            ),
            ("many fields", format!("GET / HTTP/1.1\r\nHost: api.example.com\r\n{many}\r\n")),
        ],
    )
    .await;
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
    for (n, head) in [
        "CONNECT api.example.com:443 HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        "CONNECT  api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n",
        "CONNECT api.example.com:443\r\nHost: api.example.com:443\r\n",
        "CONNECT api.example.com:443 HTTP/1.1\r\nX-A: a\r\n b\r\nHost: api.example.com:443\r\n",
        "CONNECT api.example.com:443 HTTP/1.1\r\nHost : api.example.com:443\r\n",
        "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\nX-A: a\rb\r\n",
        "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\nContent-Length: 5\r\n",
        "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "connect api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut pipe = agent.dial().await;
        let reply = pipe.exchange(format!("{head}Proxy-Authorization: {proof}\r\n\r\n").as_bytes()).await;
        assert_eq!((reply.status, reply.any_code().as_deref()), (400, Some("DW2008")), "{head:?}: {reply:?}");
        pipe.assert_closed().await;
        let refused = |line: &Value| line["code"] == "DW2008" && line["verdict"] == "deny" && line["status"] == 400;
        harness::within::until("its line in the audit", harness::within::DEADLINE, async || {
            world.proxy.audit().lines().into_iter().filter(refused).count() == n + 1
        })
        .await;
    }
    world.origin.assert_untouched();
}
