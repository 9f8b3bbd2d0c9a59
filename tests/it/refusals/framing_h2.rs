//! Invariant 8 over HTTP/2: fields are validated before anything is translated to HTTP/1.1.

use harness::agent::rawh2::{self, DATA, End};
use harness::{Origin, Proxy};

use crate::world::{HOST, World, bearer};

async fn h1_world() -> World {
    World::with(Origin::builder(&[HOST]).h1(), &bearer()).await
}

fn fields<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = rawh2::get(HOST, "/");
    fields.extend_from_slice(more);
    fields
}

fn refused(end: &End) -> bool {
    match end {
        End::Reset(_) | End::Closed => true,
        End::Answer { .. } => {
            end.code().as_deref() == Some("DW2008") || matches!(end, End::Answer { status: Some(400), .. })
        }
    }
}

#[tokio::test]
async fn refuses_fields_that_would_split_a_request_over_h1() {
    let world = h1_world().await;
    for more in [
        ("x-a", "b\r\nx-evil: 1"),
        ("x-a", "b\nx-evil: 1"),
        ("x-a", "b\rc"),
        ("x-a", "b\0c"),
        ("x-a\r\nx-evil", "1"),
        ("x a", "1"),
        ("X-Upper", "1"),
        ("", "1"),
        ("x:a", "1"),
    ] {
        let end = world.agent().h2_fields(HOST, &fields(&[more])).await;
        assert!(refused(&end), "{more:?}: {end:?}");
    }
    world.assert_nothing_left();
}

#[tokio::test]
async fn refuses_pseudo_headers_that_would_split_a_request_line() {
    let world = h1_world().await;
    for (n, value) in [
        (0, "GET /admin HTTP/1.1\r\nx: y"),
        (0, "GE T"),
        (0, ""),
        (1, "ftp"),
        (1, "http s"),
        (3, ""),
        (3, "no-slash"),
        (3, "/a b"),
        (3, "/a HTTP/1.1\r\nHost: evil.example.net\r\n\r\n"),
        (3, "/a\0"),
        (3, "https://other.example.com/"),
    ] {
        let mut fields = rawh2::get(HOST, "/");
        fields[n].1 = value;
        let end = world.agent().h2_fields(HOST, &fields).await;
        assert!(!matches!(end, End::Answer { status: Some(200), .. }), "{n} {value:?}: {end:?}");
    }
    world.assert_nothing_left();
}

#[tokio::test]
async fn refuses_missing_repeated_late_and_unknown_pseudo_headers() {
    let world = h1_world().await;
    let get = rawh2::get(HOST, "/");
    let without =
        |n: usize| get.iter().enumerate().filter(|(m, _)| *m != n).map(|(_, f)| *f).collect::<Vec<_>>();
    let mut late = without(3);
    late.extend([("x-a", "b"), (":path", "/")]);
    let cases = [
        without(0),
        without(1),
        without(3),
        fields(&[(":path", "/two")]),
        fields(&[(":method", "GET")]),
        fields(&[(":authority", HOST)]),
        fields(&[(":status", "200")]),
        fields(&[(":evil", "1")]),
        late,
    ];
    for case in cases {
        let end = world.agent().h2_fields(HOST, &case).await;
        assert!(refused(&end), "{case:?}: {end:?}");
    }
    world.assert_nothing_left();
}

#[tokio::test]
async fn refuses_connection_specific_fields() {
    let world = h1_world().await;
    for more in [
        ("connection", "close"),
        ("connection", "authorization"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("te", "gzip"),
    ] {
        let end = world.agent().h2_fields(HOST, &fields(&[more])).await;
        // RFC 9113 calls these malformed; removing them is the other safe reading.
        let sent = world
            .origin
            .requests()
            .iter()
            .any(|seen| seen.header(more.0).is_some_and(|value| value == more.1));
        assert!(refused(&end) || !sent, "{more:?}: {end:?}");
    }
    assert!(
        world
            .origin
            .requests()
            .iter()
            .all(|seen| seen.headers_named("authorization") == [world.bearer_value()])
    );
}

#[tokio::test]
async fn refuses_a_body_that_differs_from_its_content_length() {
    let world = h1_world().await;
    for (length, body) in [("3", &b"hello"[..]), ("9", b"hello"), ("x", b"hello"), ("-1", b"hello")] {
        let mut connection = world.agent().raw_h2(HOST).await;
        let mut fields = rawh2::get(HOST, "/");
        fields[0].1 = "POST";
        fields.push(("content-length", length));
        connection.open(1, &fields).await;
        connection.send(DATA, 1, 1, body).await;
        let end = connection.end_of(1).await;
        assert!(!matches!(end, End::Answer { status: Some(200), .. }), "{length}: {end:?}");
    }
    assert!(world.origin.requests().iter().all(|seen| !seen.complete), "{:#?}", world.origin.requests());
}

#[tokio::test]
async fn refuses_a_header_list_over_the_limit() {
    let world = h1_world().await;
    let long = "x".repeat(15 << 10);
    let more: Vec<(&str, &str)> =
        ["a", "b", "c", "d", "e"].iter().map(|&name| (name, long.as_str())).collect();
    let mut connection = world.agent().raw_h2(HOST).await;
    let block = rawh2::block(&fields(&more));
    // HEADERS, then CONTINUATIONs: a frame holds at most 16 KiB.
    let pieces: Vec<&[u8]> = block.chunks(16 << 10).collect();
    for (n, piece) in pieces.iter().enumerate() {
        let last = if n + 1 == pieces.len() { 4 } else { 0 };
        let (kind, flags) = if n == 0 { (rawh2::HEADERS, 1 | last) } else { (9, last) };
        connection.send(kind, flags, 1, piece).await;
    }
    let end = connection.end_of(1).await;
    assert!(!matches!(end, End::Answer { status: Some(200), .. }), "{end:?}");
    world.assert_nothing_left();
}

#[tokio::test]
async fn a_flood_of_reset_streams_ends_the_connection_and_not_the_proxy() {
    let mut world = h1_world().await;
    let mut connection = world.agent().raw_h2(HOST).await;
    for n in 0..600u32 {
        connection.request(2 * n + 1, &rawh2::get(HOST, "/flood")).await;
        connection.send(rawh2::RST_STREAM, 0, 2 * n + 1, &8u32.to_be_bytes()).await;
    }
    let end = connection.end_of(100_001).await;
    assert!(matches!(end, End::Closed), "{end:?}");
    assert!(world.proxy.alive());
    world.proxy.audit().code("DW2008").await;
    world.agent().get(HOST, "/after").await.assert_ok();
}

#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection_and_not_the_proxy() {
    let mut world = h1_world().await;
    let mut connection = world.agent().raw_h2(HOST).await;
    connection.send(rawh2::HEADERS, 1, 1, &rawh2::block(&rawh2::get(HOST, "/"))).await;
    for _ in 0..2000 {
        connection.send(9, 0, 1, &rawh2::block(&[("x", "y")])).await;
    }
    let end = connection.end_of(1).await;
    assert!(!matches!(end, End::Answer { status: Some(200), .. }), "{end:?}");
    assert!(world.proxy.alive());
    world.proxy.audit().code("DW2008").await;
    world.assert_nothing_left();
}

#[tokio::test]
async fn not_http_2_after_alpn_h2_is_closed() {
    let world = h1_world().await;
    let mut tls = world.agent().tunnel("api.example.com:443").alpn(&["h2"]).open().await;
    tls.send(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let rest = tls.read_to_end().await;
    assert!(!harness::canary::contains(&rest, b"200 OK"), "{rest:?}");
    world.proxy.audit().code("DW2008").await;
    world.assert_nothing_left();
}

#[tokio::test]
async fn split_cookies_are_joined_for_h1() {
    let origin = Origin::builder(&[HOST]).h1().start().await;
    let proxy = Proxy::builder().bearer(HOST).origin(&origin).start().await;
    proxy.agent().h2_fields(HOST, &fields(&[("cookie", "a=1"), ("cookie", "b=2")])).await;
    assert_eq!(origin.only().headers_named("cookie"), ["a=1; b=2"]);
}
