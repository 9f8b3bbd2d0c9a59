//! Invariant 8 over HTTP/2: fields are validated before anything is translated to HTTP/1.1.
//!
//! Each case is pinned to what becomes of it ([`Fate`]). Streams that the HTTP/2 library resets by itself (RFC 9113 section 8.1.1)
//! never become requests: they have no code, and no line in the audit.

use harness::agent::rawh2::{self, DATA, End, RawH2};
use harness::{Origin, Proxy};
use serde_json::Value;

use crate::world::{HOST, World, bearer};

async fn h1_world() -> World {
    World::with(Origin::builder(&[HOST]).h1(), &bearer()).await
}

fn fields<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = rawh2::get(HOST, "/");
    fields.extend_from_slice(more);
    fields
}

/// What becomes of a malformed request.
#[derive(Debug, PartialEq)]
enum Fate {
    /// Answered with this status and DW2008, which the audit has as well.
    Refused(u64),
    /// RST_STREAM with PROTOCOL_ERROR.
    Reset,
    /// The whole connection ends, and the audit has DW2008.
    Ended,
    Other(String),
}
use Fate::{Ended, Refused, Reset};

impl Fate {
    fn of(end: &End) -> Self {
        match end {
            End::Reset(1) => Reset,
            End::Closed => Ended,
            End::Answer { body, .. } => match serde_json::from_slice::<Value>(body) {
                Ok(told) if told["code"] == "DW2008" => Refused(told["status"].as_u64().unwrap()),
                Ok(_) | Err(_) => Self::Other(format!("{end:?}")),
            },
            End::Reset(_) => Self::Other(format!("{end:?}")),
        }
    }
}

/// Each case, on a connection of its own, comes to its fate; the origin hears of none.
async fn all_come_to(cases: Vec<(Fate, Vec<(&str, &str)>)>) {
    let world = h1_world().await;
    let (mut wanted, mut found) = (Vec::new(), Vec::new());
    for (fate, fields) in cases {
        let end = world.agent().h2_fields(HOST, &fields).await;
        found.push((Fate::of(&end), fields.clone()));
        if let End::Answer { body, .. } = &end {
            let told: Value = serde_json::from_slice(body).unwrap_or_default();
            let of_it = |line: &Value| line["req"] == told["request_id"] && line["kind"] == "request";
            let line = world.proxy.audit().wait_for("its line", of_it).await;
            let pinned = [&line["code"], &line["verdict"], &line["status"], &line["reason"]];
            assert_eq!(
                pinned,
                [&"DW2008".into(), &"deny".into(), &told["status"], &told["detail"]],
                "{line}"
            );
        }
        wanted.push((fate, fields));
    }
    assert_eq!(found, wanted);
    world.assert_nothing_left();
    let told = wanted.iter().filter(|(fate, _)| *fate != Reset).count();
    let lines = || world.proxy.audit().lines();
    harness::within::until("each line in the audit", harness::within::DEADLINE, async || {
        lines().iter().filter(|line| line["code"] == "DW2008").count() == told
    })
    .await;
    assert!(lines().iter().all(|line| line["kind"] != "request" || line["code"] == "DW2008"));
}

fn all_with(
    more: Vec<(Fate, (&'static str, &'static str))>,
) -> Vec<(Fate, Vec<(&'static str, &'static str)>)> {
    more.into_iter().map(|(fate, field)| (fate, fields(&[field]))).collect()
}

#[tokio::test]
async fn refuses_fields_that_would_split_a_request_over_h1() {
    all_come_to(all_with(vec![
        (Ended, ("x-a", "b\r\nx-evil: 1")),
        (Ended, ("x-a", "b\nx-evil: 1")),
        (Ended, ("x-a", "b\rc")),
        (Ended, ("x-a", "b\0c")),
        (Ended, ("x-a\r\nx-evil", "1")),
        (Ended, ("x a", "1")),
        (Ended, ("X-Upper", "1")),
        (Ended, ("", "1")),
        (Ended, ("x:a", "1")),
    ]))
    .await;
}

#[tokio::test]
async fn refuses_pseudo_headers_that_would_split_a_request_line() {
    let cases = [
        (Ended, 0, "GET /admin HTTP/1.1\r\nx: y"),
        (Ended, 0, "GE T"),
        (Ended, 0, ""),
        (Refused(400), 1, "ftp"),
        (Reset, 1, "http s"),
        (Reset, 3, ""),
        (Reset, 3, "no-slash"),
        (Reset, 3, "/a b"),
        (Reset, 3, "/a HTTP/1.1\r\nHost: evil.example.net\r\n\r\n"),
        (Reset, 3, "/a\0"),
        (Reset, 3, "https://other.example.com/"),
    ];
    let cases = cases.map(|(fate, n, value)| {
        let mut fields = rawh2::get(HOST, "/");
        fields[n].1 = value;
        (fate, fields)
    });
    all_come_to(cases.into()).await;
}

#[tokio::test]
async fn refuses_missing_repeated_late_and_unknown_pseudo_headers() {
    let get = rawh2::get(HOST, "/");
    let without =
        |n: usize| get.iter().enumerate().filter(|(m, _)| *m != n).map(|(_, f)| *f).collect::<Vec<_>>();
    let mut late = without(3);
    late.extend([("x-a", "b"), (":path", "/")]);
    all_come_to(vec![
        (Reset, without(0)),
        (Reset, without(1)),
        (Reset, without(3)),
        (Reset, fields(&[(":path", "/two")])),
        (Reset, fields(&[(":method", "GET")])),
        (Reset, fields(&[(":authority", HOST)])),
        (Reset, fields(&[(":status", "200")])),
        (Ended, fields(&[(":evil", "1")])),
        (Reset, late),
    ])
    .await;
}

#[tokio::test]
async fn refuses_connection_specific_fields() {
    all_come_to(all_with(vec![
        (Reset, ("connection", "close")),
        (Reset, ("connection", "authorization")),
        (Reset, ("transfer-encoding", "chunked")),
        (Reset, ("upgrade", "websocket")),
        (Reset, ("keep-alive", "1")),
        (Reset, ("proxy-connection", "close")),
        (Reset, ("te", "gzip")),
        (Reset, ("te", "trailers, chunked")),
    ]))
    .await;
}

#[tokio::test]
async fn refuses_odd_or_repeated_content_length_over_h2() {
    all_come_to(vec![
        (Refused(400), fields(&[("content-length", "0"), ("content-length", "0")])),
        (Reset, fields(&[("content-length", "0"), ("content-length", "5")])),
        (Refused(400), fields(&[("content-length", "00")])),
        (Refused(400), fields(&[("content-length", "")])),
        (Reset, fields(&[("content-length", "5")])),
        (Reset, fields(&[("content-length", "+0")])),
        (Reset, fields(&[("content-length", "0x0")])),
        (Reset, fields(&[("content-length", "0, 0")])),
        (Reset, fields(&[("content-length", "18446744073709551616")])),
    ])
    .await;
}

async fn post(connection: &mut RawH2, length: &str, body: &[u8]) -> End {
    let mut fields = rawh2::get(HOST, "/");
    fields[0].1 = "POST";
    fields.push(("content-length", length));
    connection.open(1, &fields).await;
    connection.send(DATA, 1, 1, body).await;
    connection.end_of(1).await
}

#[tokio::test]
async fn refuses_a_body_that_differs_from_its_content_length() {
    for up in ["h1", "h2"] {
        let world = World::with(Origin::builder(&[HOST]).only(up), &bearer()).await;
        for (length, fate) in
            [("3", Reset), ("9", Reset), ("x", Reset), ("-1", Reset), ("05", Refused(400)), ("", Reset)]
        {
            let end = post(&mut world.agent().raw_h2(HOST).await, length, b"hello").await;
            assert_eq!(Fate::of(&end), fate, "{length}: {end:?}");
        }
        let requests = world.origin.requests();
        assert!(requests.iter().all(|seen| !seen.complete), "{requests:#?}");
    }
}

#[tokio::test]
async fn refuses_a_header_list_over_the_limit() {
    let world = h1_world().await;
    let long = "x".repeat(15 << 10);
    // 75 KiB of fields are read and refused by us; at 150 KiB HTTP/2 itself ends the connection.
    for (many, fate) in [(5, Refused(431)), (10, Ended)] {
        let names: Vec<String> = (0..many).map(|n| format!("x-{n}")).collect();
        let more: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), long.as_str())).collect();
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
        assert_eq!(Fate::of(&end), fate, "{end:?}");
    }
    world.assert_nothing_left();
    for status in [431, 400] {
        let is_it = |line: &Value| line["code"] == "DW2008" && line["status"] == status;
        world.proxy.audit().wait_for("its line", is_it).await;
    }
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
