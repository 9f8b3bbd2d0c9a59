//! Invariant 1: CONNECT, SNI and Host name one target, or nothing leaves.

use harness::{Agent, Origin, Proxy, Reply};

use crate::world::{HOST, OTHER, World};

/// Both hosts are allowed, each with its own provider: agreement must not depend on either being unknown.
async fn two() -> (Proxy, Origin, Origin) {
    let (a, b) = (Origin::start(HOST).await, Origin::start(OTHER).await);
    let other = format!(
        "type: http-token\nhost: {OTHER}\nauth: {{type: header, header: X-Other, secretRef: canary, secretKey: token}}"
    );
    let proxy = Proxy::builder().bearer(HOST).provider("other", &other).origin(&a).origin(&b).start().await;
    (proxy, a, b)
}

async fn ask(agent: &Agent, connect: &str, sni: &str, request: &str) -> Reply {
    let mut tls = agent.tunnel(connect).sni(sni).open().await;
    let reply = tls.exchange(request.replace('\n', "\r\n").as_bytes()).await;
    if reply.status == 421 && sni != connect.trim_end_matches(":443") {
        tls.assert_closed().await;
    }
    reply
}

fn assert_untouched(a: &Origin, b: &Origin) {
    assert!(a.requests().is_empty() && b.requests().is_empty(), "{:#?}{:#?}", a.requests(), b.requests());
}

#[tokio::test]
async fn dw2007_refuses_sni_that_differs_from_connect() {
    let (proxy, a, b) = two().await;
    let agent = proxy.agent();
    for host in [HOST, OTHER] {
        let request = format!("GET / HTTP/1.1\nHost: {host}\n\n");
        ask(&agent, "api.example.com:443", OTHER, &request).await.assert_refused(421, "DW2007");
    }
    assert_untouched(&a, &b);
    let line = proxy.audit().code("DW2007").await;
    assert_eq!(line["verdict"], "deny", "{line}");
}

#[tokio::test]
async fn refuses_sni_of_an_unknown_host_and_mints_no_leaf_for_it() {
    let (proxy, a, b) = two().await;
    let request = "GET / HTTP/1.1\nHost: api.example.com\n\n";
    // The harness verifies the leaf against the CONNECT host, not against the SNI.
    let reply = ask(&proxy.agent(), "api.example.com:443", "evil.example.net", request).await;
    reply.assert_refused(421, "DW2007");
    assert_untouched(&a, &b);
}

#[tokio::test]
async fn refuses_host_that_differs_from_connect() {
    let (proxy, a, b) = two().await;
    let agent = proxy.agent();
    for host in [
        OTHER,
        "evil.example.net",
        "api.example.com:8443",
        "127.0.0.1",
        "example.com",
        "api.example.com.evil.net",
    ] {
        let request = format!("GET / HTTP/1.1\nHost: {host}\n\n");
        ask(&agent, "api.example.com:443", HOST, &request).await.assert_refused(421, "DW2007");
    }
    assert_untouched(&a, &b);
}

#[tokio::test]
async fn refuses_host_that_is_no_host() {
    let (proxy, a, b) = two().await;
    let agent = proxy.agent();
    for host in [
        "",
        "user@api.example.com",
        "api.example.com:",
        "api.example.com:+443",
        "api.example.com/",
        "api example.com",
        "[api.example.com]",
        "api.example.com,other.example.com",
        "api.example.com#x",
        "%61pi.example.com",
    ] {
        let request = format!("GET / HTTP/1.1\nHost: {host}\n\n");
        let reply = ask(&agent, "api.example.com:443", HOST, &request).await;
        assert!(matches!(reply.status, 400 | 421), "Host {host:?}: {reply:?}");
    }
    assert_untouched(&a, &b);
}

#[tokio::test]
async fn refuses_an_absolute_form_that_differs_inside_the_tunnel() {
    let (proxy, a, b) = two().await;
    let agent = proxy.agent();
    for (target, host) in [
        ("https://other.example.com/", HOST),
        ("https://other.example.com/", OTHER),
        ("https://api.example.com/", OTHER),
        ("http://other.example.com/", HOST),
        ("https://api.example.com:8443/", HOST),
    ] {
        let request = format!("GET {target} HTTP/1.1\nHost: {host}\n\n");
        let reply = ask(&agent, "api.example.com:443", HOST, &request).await;
        reply.assert_refused(421, "DW2007");
    }
    assert_untouched(&a, &b);
}

#[tokio::test]
async fn refuses_each_disagreeing_request_on_a_connection_that_served_good_ones() {
    let world = World::bearer().await;
    let mut tls = world.agent().tls(HOST).await;
    tls.exchange(b"GET /one HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.assert_ok();
    tls.exchange(b"GET /two HTTP/1.1\r\nHost: other.example.com\r\n\r\n").await.assert_refused(421, "DW2007");
    let targets: Vec<_> = world.origin.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/one"]);
}

#[tokio::test]
async fn the_host_line_of_a_connect_decides_nothing() {
    let (proxy, _a, b) = two().await;
    let agent = proxy.agent();
    let mut pipe = agent.dial().await;
    let head = agent.connect_head("api.example.com:443").replace("Host: api", "Host: other");
    let reply = pipe.exchange(head.as_bytes()).await;
    // Refused, or ignored; if ignored, the tunnel is the CONNECT target's, as its leaf shows.
    if reply.status == 200 {
        let mut tls =
            agent.tunnel("api.example.com:443").handshake(pipe).await.expect("a leaf for the CONNECT host");
        tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.assert_ok();
    } else {
        assert!(matches!(reply.status, 400 | 421), "{reply:?}");
    }
    b.assert_untouched();
}

#[tokio::test]
async fn other_spellings_of_the_same_target_agree() {
    let (proxy, a, _b) = two().await;
    let agent = proxy.agent();
    for (connect, sni, host) in [
        ("API.example.COM:443", "api.example.com", "Api.Example.Com"),
        ("api.example.com.:443", "api.example.com", "api.example.com"),
        ("api.example.com:443", "api.example.com", "api.example.com:443"),
        ("api.example.com:443", "api.example.com", "api.example.com."),
    ] {
        let request = format!("GET / HTTP/1.1\nHost: {host}\n\n");
        let reply = ask(&agent, connect, sni, &request).await;
        assert_eq!(reply.status, 200, "{connect} {sni} {host}: {reply:?}");
    }
    assert!(a.requests().iter().all(|seen| seen.authority == HOST && seen.sni.as_deref() == Some(HOST)));
    assert_eq!(a.requests().len(), 4);
}
