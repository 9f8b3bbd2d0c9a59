//! Upstreams that are bad, dead, slow or lying.

use harness::ca::Flaw;
use harness::origin::raw::{RawOrigin, Step};
use harness::{Origin, Proxy, answer};

use crate::world::{HOST, World, bearer, bearer_and};

async fn raw(origin: &RawOrigin) -> Proxy {
    Proxy::builder().bearer(HOST).route(HOST, 443, origin.address()).start().await
}

#[tokio::test]
async fn dw2004_refuses_every_bad_certificate() {
    for flaw in [Flaw::Expired, Flaw::NotYetValid, Flaw::OtherHost, Flaw::SelfSigned, Flaw::UnknownCa] {
        let world = World::with(Origin::builder(&[HOST]).flaw(flaw), &bearer()).await;
        let reply = world.agent().get(HOST, "/").await;
        assert_eq!(
            (reply.status, reply.code().as_deref()),
            (502, Some("DW2004")),
            "{flaw:?}: {}",
            reply.text()
        );
        world.assert_nothing_left();
        assert_eq!(world.proxy.audit().code("DW2004").await["verdict"], "error");
    }
}

#[tokio::test]
async fn refuses_an_upstream_that_speaks_no_tls() {
    let origin = RawOrigin::tcp(
        HOST,
        vec![Step::Hear(b"\x16\x03".to_vec()), Step::Say(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())],
    )
    .await;
    raw(&origin).await.agent().get(HOST, "/").await.assert_refused(502, "DW2004");
}

#[tokio::test]
async fn trust_of_one_provider_does_not_serve_another() {
    let origin = Origin::builder(&[HOST]).flaw(Flaw::UnknownCa).start().await;
    let proxy =
        Proxy::builder().bearer(HOST).origin(&origin).env("SSL_CERT_FILE", "{home}/none").start().await;
    proxy.agent().get(HOST, "/").await.assert_refused(502, "DW2004");
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn dw2006_says_that_a_dead_upstream_is_dead() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::builder().bearer(HOST).route(HOST, 443, free).start().await;
    let reply = proxy.agent().get(HOST, "/").await;
    reply.assert_refused(502, "DW2006");
    assert!(reply.text().contains("connect"), "{}", reply.text());
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_dw2006() {
    let proxy = Proxy::builder().bearer("no-such-host.invalid").start().await;
    let refused = proxy.agent().refused("no-such-host.invalid:443").await;
    assert!(matches!(refused.status, 502 | 504) && refused.is("DW2006"), "{refused:?}");
}

#[tokio::test]
async fn an_upstream_that_never_answers_ends_in_504() {
    let builder = Origin::builder(&[HOST]).answer(answer::never());
    let world = World::with(builder, &bearer_and("limits: {timeout: 1s}")).await;
    world.agent().get(HOST, "/").await.assert_refused(504, "DW2006");
    assert_eq!(world.origin.requests().len(), 1);
}

#[tokio::test]
async fn an_upstream_that_closes_before_its_answer_is_502() {
    let origin = RawOrigin::tls(HOST, vec![Step::Hear(b"\r\n\r\n".to_vec()), Step::Close]).await;
    let reply = raw(&origin).await.agent().post(HOST, "/", "X: y", b"hello").await;
    assert!(reply.status == 502 && matches!(reply.code().as_deref(), Some("DW2006" | "DW2010")), "{reply:?}");
    assert_eq!(origin.heard().len(), 1, "a POST that may have been seen is not sent again");
}

#[tokio::test]
async fn dw2010_refuses_malformed_answers() {
    let many: String = (0..150).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = "x".repeat(70 << 10);
    for (what, answer) in [
        ("no HTTP", "hello\r\n\r\n".to_owned()),
        ("no status", "HTTP/1.1 \r\n\r\n".to_owned()),
        ("status 99", "HTTP/1.1 99 X\r\n\r\n".to_owned()),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_owned()),
        ("NUL in a header", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n".to_owned()),
        ("many headers", format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n")),
        ("long header", format!("HTTP/1.1 200 OK\r\nX: {long}\r\nContent-Length: 0\r\n\r\n")),
    ] {
        let origin = RawOrigin::says(HOST, answer.as_bytes()).await;
        let reply = raw(&origin).await.agent().get(HOST, "/").await;
        assert_eq!(
            (reply.status, reply.code().as_deref()),
            (502, Some("DW2010")),
            "{what}: {}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn refuses_more_than_eight_interim_answers() {
    let early = |n: usize| {
        format!(
            "{}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(n)
        )
    };
    let origin = RawOrigin::says(HOST, early(9).as_bytes()).await;
    raw(&origin).await.agent().get(HOST, "/").await.assert_refused(502, "DW2010");
    let origin = RawOrigin::says(HOST, early(8).as_bytes()).await;
    let reply = raw(&origin).await.agent().get(HOST, "/").await;
    assert_eq!(
        (reply.assert_ok().text().as_str(), reply.interim.len()),
        ("ok", 0),
        "interim answers are dropped"
    );
}

#[tokio::test]
async fn refuses_a_101_that_nobody_asked_for() {
    let origin = RawOrigin::says(
        HOST,
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw bytes",
    )
    .await;
    let reply = raw(&origin).await.agent().get(HOST, "/").await;
    reply.assert_refused(502, "DW2010");
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let location = "https://other.example.com/elsewhere";
    let answer = answer::fixed(302, &[("location", location)], b"");
    let elsewhere = Origin::start("other.example.com").await;
    let builder = Proxy::builder()
        .bearer(HOST)
        .provider("other", &bearer().replace(HOST, "other.example.com"))
        .origin(&elsewhere);
    let world = World::built(Origin::builder(&[HOST]).answer(answer), builder).await;
    let reply = world.agent().get(HOST, "/").await;
    assert_eq!((reply.status, reply.header("location")), (302, Some(location)));
    elsewhere.assert_untouched();
}

#[tokio::test]
async fn alt_svc_and_reason_phrases_stop_here() {
    let origin = RawOrigin::says(
        HOST,
        b"HTTP/1.1 200 Very Special\r\nAlt-Svc: h3=\":443\"\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let reply = raw(&origin).await.agent().get(HOST, "/").await;
    assert_eq!(reply.assert_ok().header("alt-svc"), None);
    assert!(!reply.reason.contains("Special"), "{}", reply.reason);
}

#[tokio::test]
async fn surplus_bytes_after_an_answer_are_never_given_to_the_next_request() {
    let surplus = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirstHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    let origin = RawOrigin::says(HOST, surplus).await;
    let proxy = raw(&origin).await;
    let mut tls = proxy.agent().tls(HOST).await;
    for _ in 0..2 {
        let reply = tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
        assert_eq!(reply.text(), "first");
    }
    assert_eq!(origin.heard().len(), 2);
}
