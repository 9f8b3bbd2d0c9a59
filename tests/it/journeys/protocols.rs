//! HTTP/1.1 and HTTP/2 on each side, and what may not change on the way.

use harness::agent::h2;
use harness::origin::raw::{RawOrigin, Step};
use harness::{Origin, Proxy, answer};

use crate::world::{HOST, World, bearer};

const SIDES: [(&str, &str); 4] = [("h1", "h1"), ("h1", "h2"), ("h2", "h1"), ("h2", "h2")];

async fn between(upstream: &str, answer: answer::Answer) -> World {
    World::with(Origin::builder(&[HOST]).only(upstream).answer(answer), &bearer()).await
}

#[tokio::test]
async fn a_request_arrives_whole_in_all_four_combinations() {
    for (down, up) in SIDES {
        let world = between(up, answer::echo()).await;
        let mut client = world.agent().client(down, HOST).await;
        let request = client
            .request("PUT", "/a/b?c=d&e")
            .header("x-one", "1")
            .header("x-two", "2a")
            .header("x-two", "2b");
        let reply = client.send(request.body(h2::full("the body")).unwrap()).await;
        assert!(reply.assert_ok().text().ends_with("the body"), "{down}→{up}: {reply:?}");
        let seen = world.origin.only();
        assert_eq!(
            (seen.method.as_str(), seen.target.as_str(), seen.authority.as_str()),
            ("PUT", "/a/b?c=d&e", HOST)
        );
        assert_eq!(seen.version, if up == "h2" { "HTTP/2.0" } else { "HTTP/1.1" });
        assert_eq!((seen.header("x-one"), seen.headers_named("x-two")), (Some("1"), vec!["2a", "2b"]));
        assert_eq!((seen.body.as_slice(), seen.complete), (&b"the body"[..], true));
        assert_eq!(seen.sni.as_deref(), Some(HOST));
        world.assert_injected();
    }
}

#[tokio::test]
async fn status_headers_and_body_come_back_in_all_four_combinations() {
    for (down, up) in SIDES {
        let headers = [
            ("x-a", "1"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("content-type", "x/y"),
            ("retry-after", "7"),
        ];
        let world = between(up, answer::fixed(418, &headers, b"short and stout")).await;
        let mut client = world.agent().client(down, HOST).await;
        let reply = client.get("/").await;
        assert_eq!((reply.status, reply.text().as_str()), (418, "short and stout"), "{down}→{up}");
        for (name, value) in headers {
            assert!(reply.headers_named(name).contains(&value), "{down}→{up} {name}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn head_204_and_304_have_no_body() {
    for (down, up) in SIDES {
        for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
            let world = between(up, answer::fixed(status, &[("etag", "\"x\"")], b"")).await;
            let mut client = world.agent().client(down, HOST).await;
            let request = client.request(method, "/").body(h2::empty()).unwrap();
            let reply = client.send(request).await;
            assert_eq!((reply.status, reply.body.len()), (status, 0), "{down}→{up} {method}");
            assert_eq!(reply.header("etag"), Some("\"x\""));
            client.get("/again").await;
        }
    }
}

#[tokio::test]
async fn head_keeps_the_length_that_the_origin_states() {
    let origin = RawOrigin::says(HOST, b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n").await;
    let proxy = Proxy::builder().bearer(HOST).route(HOST, 443, origin.address()).start().await;
    let reply = proxy.agent().ask(HOST, "HEAD / HTTP/1.1").await;
    assert_eq!(reply.assert_ok().header("content-length"), Some("12345"));
}

#[tokio::test]
async fn declared_and_grpc_trailers_come_through() {
    for (down, up) in [("h2", "h2"), ("h2", "h1"), ("h1", "h1")] {
        let (mut feeds, answer) =
            answer::stream(&[("content-type", "application/grpc"), ("trailer", "grpc-status, x-t")]);
        let world = between(up, answer).await;
        let mut client = world.agent().client(down, HOST).await;
        let request = client.request("POST", "/pkg.Service/Call").header("te", "trailers");
        let response = client.open(request.body(h2::full("in")).unwrap()).await.unwrap();
        let feed = answer::next(&mut feeds).await;
        feed.send("out").await;
        feed.trailers(&[("grpc-status", "0"), ("x-t", "1")]).await;
        feed.finish();
        let reply = h2::collect(response).await;
        assert_eq!((reply.text().as_str(), reply.complete), ("out", true), "{down}→{up}");
        assert_eq!(
            (reply.trailer("grpc-status"), reply.trailer("x-t")),
            (Some("0"), Some("1")),
            "{down}→{up}: {reply:?}"
        );
        if up == "h2" {
            assert_eq!(world.origin.only().header("te"), Some("trailers"));
        }
    }
}

#[tokio::test]
async fn expect_100_is_answered_when_the_origin_says_so() {
    let script = vec![
        Step::Say(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        Step::Hear(b"hello".to_vec()),
        Step::Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()),
    ];
    let origin = RawOrigin::tls(HOST, script).await;
    let proxy = Proxy::builder().bearer(HOST).route(HOST, 443, origin.address()).start().await;
    let mut tls = proxy.agent().tls(HOST).await;
    tls.send(b"PUT / HTTP/1.1\r\nHost: api.example.com\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await;
    assert_eq!(tls.read_until(b"\r\n\r\n").await, b"HTTP/1.1 100 Continue\r\n\r\n");
    tls.send(b"hello").await;
    assert_eq!(tls.read_reply("PUT").await.assert_ok().text(), "ok");
}

#[tokio::test]
async fn a_final_answer_to_expect_100_saves_the_body() {
    let origin = RawOrigin::says(
        HOST,
        b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
    )
    .await;
    let proxy = Proxy::builder().bearer(HOST).route(HOST, 443, origin.address()).start().await;
    let mut tls = proxy.agent().tls(HOST).await;
    tls.send(b"PUT / HTTP/1.1\r\nHost: api.example.com\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await;
    let reply = tls.read_reply("PUT").await;
    assert_eq!((reply.status, reply.interim.len(), reply.text().as_str()), (417, 0, "no"));
    assert!(!origin.text().contains("hello"));
}

#[tokio::test]
async fn expect_100_towards_h2_is_not_sent_and_the_body_arrives() {
    let world = between("h2", answer::echo()).await;
    let mut tls = world.agent().tls(HOST).await;
    tls.send(b"PUT / HTTP/1.1\r\nHost: api.example.com\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await;
    tls.read_until(b"HTTP/1.1 100 Continue\r\n\r\n").await;
    tls.send(b"hello").await;
    assert!(tls.read_reply("PUT").await.assert_ok().text().ends_with("hello"));
    assert_eq!(world.origin.only().header("expect"), None);
}

#[tokio::test]
async fn alpn_offers_both_and_prefers_h2_whatever_the_upstream_speaks() {
    for up in ["h1", "h2"] {
        let world = between(up, answer::echo()).await;
        for (offered, chosen) in [
            (&["h2", "http/1.1"][..], Some("h2")),
            (&["http/1.1", "h2"], Some("h2")),
            (&["http/1.1"], Some("http/1.1")),
            (&[], None),
        ] {
            let tls = world.agent().tunnel("api.example.com:443").alpn(offered).open().await;
            assert_eq!(tls.alpn.as_deref(), chosen, "{offered:?}");
        }
    }
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_accepted() {
    static EACH: [[&rustls::SupportedProtocolVersion; 1]; 2] =
        [[&rustls::version::TLS12], [&rustls::version::TLS13]];
    let world = World::bearer().await;
    for versions in &EACH {
        let agent = world.agent();
        let mut tls = agent.tunnel("api.example.com:443").versions(versions).open().await;
        tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.assert_ok();
    }
}

#[tokio::test]
async fn http_1_0_is_answered_in_its_way() {
    let world = World::bearer().await;
    let mut tls = world.agent().tls(HOST).await;
    let reply = tls.exchange(b"GET / HTTP/1.0\r\nHost: api.example.com\r\n\r\n").await;
    assert_eq!(reply.assert_ok().header("transfer-encoding"), None);
    tls.assert_closed().await;
    world.assert_injected();
}

#[tokio::test]
async fn forty_h2_streams_at_once_all_come_back() {
    for up in ["h1", "h2"] {
        let world = between(up, answer::echo()).await;
        let mut client = world.agent().h2(HOST).await;
        let mut open = Vec::new();
        for n in 0..40 {
            let request = client.request("GET", &format!("/{n}")).body(h2::empty()).unwrap();
            open.push(client.open(request).await.unwrap());
        }
        for (n, response) in open.into_iter().enumerate() {
            let reply = h2::collect(response).await;
            assert_eq!(reply.text().lines().next(), Some(format!("GET /{n}").as_str()));
        }
    }
}

#[tokio::test]
async fn upstream_connections_are_reused_for_one_agent_and_provider() {
    let world = between("h1", answer::echo()).await;
    let mut tls = world.agent().tls(HOST).await;
    for _ in 0..5 {
        tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.assert_ok();
    }
    assert_eq!(world.origin.connections(), 1);
}

#[tokio::test]
async fn upstream_connections_are_not_shared_between_agents() {
    let origin = Origin::builder(&[HOST]).start().await;
    let (one, two) = ("token-of-one-0123456789abcdef", "token-of-two-0123456789abcdef");
    let builder = Proxy::builder().bearer(HOST).origin(&origin).arg("--workers").arg("1");
    let proxy = builder.tokens(&format!("one:{one}\ntwo:{two}\n"), one).start().await;
    proxy.agent().get(HOST, "/1").await.assert_ok();
    proxy.agent().with_basic("a", two).get(HOST, "/2").await.assert_ok();
    let connections: Vec<_> = origin.requests().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 1]);
}

#[tokio::test]
async fn a_bodyless_request_survives_a_pooled_connection_that_died() {
    let answer = answer::fixed(200, &[("connection", "close")], b"ok");
    let world = between("h1", answer).await;
    let mut tls = world.agent().tls(HOST).await;
    for _ in 0..3 {
        let reply = tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
        assert_eq!(reply.assert_ok().text(), "ok");
    }
}

#[tokio::test]
async fn responses_carry_nothing_of_the_upstreams_hops() {
    let answer = answer::fixed(
        200,
        &[("keep-alive", "timeout=5"), ("proxy-authenticate", "Basic"), ("x-kept", "1")],
        b"ok",
    );
    let world = between("h1", answer).await;
    let reply = world.agent().get(HOST, "/").await;
    assert_eq!((reply.header("keep-alive"), reply.header("proxy-authenticate")), (None, None), "{reply:?}");
    assert_eq!(reply.header("x-kept"), Some("1"));
    let line = world.proxy.audit().request("/").await;
    assert!(!line["req"].is_null(), "{line}");
}
