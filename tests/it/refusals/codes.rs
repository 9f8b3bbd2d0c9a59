//! The codes that no other file names: a test for each.

use harness::{Origin, Proxy, answer};

use crate::world::{HOST, World, bearer, bearer_and, token};

#[tokio::test]
async fn dw1004_a_missing_secret_is_503_and_nothing_goes_out_without_it() {
    let world = World::of(&bearer().replace("secretRef: canary", "secretRef: absent")).await;
    let reply = world.agent().get(HOST, "/").await;
    reply.assert_refused(503, "DW1004");
    world.assert_nothing_left();
    let (status, body) = world.proxy.admin_get("/readyz?verbose");
    assert!(body.contains("DW1004") || body.contains("absent"), "{status} {body}");
}

#[tokio::test]
async fn dw1004_a_missing_key_is_503() {
    let world = World::of(&bearer().replace("secretKey: token", "secretKey: absent")).await;
    world.agent().get(HOST, "/").await.assert_refused(503, "DW1004");
    world.assert_nothing_left();
}

#[tokio::test]
async fn dw1006_an_upstream_that_refuses_our_credential_is_passed_through_with_a_note() {
    for status in [401, 403] {
        let answer = answer::fixed(status, &[("www-authenticate", "Bearer")], b"bad credentials");
        let world = World::with(Origin::builder(&[HOST]).answer(answer), &bearer()).await;
        let reply = world.agent().get(HOST, "/").await;
        assert_eq!((reply.status, reply.text().as_str()), (status, "bad credentials"));
        let note = reply.header("doorward-note").unwrap_or_default();
        assert!(note.starts_with("upstream-rejected-credential; revision="), "{reply:?}");
        let line = world.proxy.audit().request("/").await;
        assert_eq!(line["code"], "DW1006", "{line}");
    }
}

#[tokio::test]
async fn dw1006_tells_of_clocks_that_differ_where_a_signature_was_refused() {
    let signed = "type: http-token\nhost: api.example.com\nauth: {type: hmac, secretRef: canary, secretKey: token, sign: \"{{timestamp}}{{path}}\", headers: {X-Sig: \"{{signature}}\"}}";
    let past = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (spec, status, skewed) in
        [(signed, 400, true), (signed, 403, true), (&bearer(), 403, false), (&bearer(), 400, false)]
    {
        let answer = answer::fixed(status, &[("date", past)], b"<Code>RequestTimeTooSkewed</Code>");
        let world = World::with(Origin::builder(&[HOST]).answer(answer), spec).await;
        let reply = world.agent().get(HOST, "/").await;
        assert_eq!((reply.status, reply.text().as_str()), (status, "<Code>RequestTimeTooSkewed</Code>"));
        let note = reply.header("doorward-note").unwrap_or_default();
        assert_eq!(note.contains("; clock-skew="), skewed, "{status} {note}");
        let code = &world.proxy.audit().request("/").await["code"];
        assert_eq!(code == "DW1006", skewed || status == 403, "{code}");
    }
}

#[tokio::test]
async fn dw1008_reject_refuses_an_agent_that_sends_its_own_credential() {
    let world = World::of(&token("type: bearer, onAgentCredential: reject")).await;
    let reply = world.agent().ask(HOST, "GET / HTTP/1.1\nAuthorization: Bearer own").await;
    assert_eq!((reply.status, reply.code().as_deref()), (403, Some("DW1008")), "{}", reply.text());
    world.assert_nothing_left();
    world.agent().get(HOST, "/").await.assert_ok();
    world.assert_injected();
}

#[tokio::test]
async fn dw1009_over_a_providers_limit_is_429_with_retry_after() {
    let world = World::of(&bearer_and("limits: {requestsPerMinute: 3}")).await;
    let mut tls = world.agent().tls(HOST).await;
    for _ in 0..3 {
        tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.assert_ok();
    }
    let reply = tls.exchange(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    reply.assert_refused(429, "DW1009");
    let wait: u64 = reply.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(world.origin.requests().len(), 3);
}

#[tokio::test]
async fn dw1010_refuses_plain_http_where_the_provider_does_not_say_so() {
    let world = World::bearer().await;
    let agent = world.agent();
    let proof = agent.authorization().unwrap();
    for host in ["api.example.com", "api.example.com:80", "api.example.com:443"] {
        let request =
            format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: {proof}\r\n\r\n");
        let reply = agent.raw(request.as_bytes()).await;
        assert_eq!(reply.status, 403, "{host}: {reply:?}");
        if !host.ends_with("443") {
            assert_eq!(reply.code().as_deref(), Some("DW1010"), "{host}: {reply:?}");
        }
    }
    world.origin.assert_untouched();
}

#[tokio::test]
async fn dw2001_a_client_that_does_not_trust_our_ca_is_told_of_in_the_log() {
    let world = World::bearer().await;
    let stranger = world.agent().with_ca(harness::ca::TestCa::world().pem());
    let failed = stranger.tunnel("api.example.com:443").try_open().await;
    assert!(failed.is_err());
    let line = world.proxy.audit().code("DW2001").await;
    assert_eq!(line["host"], HOST, "{line}");
    world.origin.assert_untouched();
}

#[tokio::test]
async fn dw2002_distrust_of_one_host_by_an_agent_that_trusts_others_looks_like_pinning() {
    let origin = Origin::builder(&[HOST, "other.example.com"]).start().await;
    let other = bearer().replace(HOST, "other.example.com");
    let proxy = Proxy::builder().bearer(HOST).provider("other", &other).origin(&origin).start().await;
    proxy.agent().get(HOST, "/").await.assert_ok();
    let pinned = proxy.agent().with_ca(harness::ca::TestCa::world().pem());
    assert!(pinned.tunnel("other.example.com:443").try_open().await.is_err());
    let line = proxy.audit().code("DW2002").await;
    assert_eq!(line["host"], "other.example.com", "{line}");
}

#[tokio::test]
async fn dw2003_closes_a_tunnel_that_holds_no_tls() {
    let world = World::bearer().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x16\x03\x01\xff\xff\x01garbage that is no hello",
        b"\x80\x2e\x01\x03\x01",
        b"\0\0\0\0\0\0\0\0",
    ] {
        let mut pipe = world.agent().dial().await;
        pipe.send(world.agent().connect_head("api.example.com:443").as_bytes()).await;
        assert_eq!(pipe.read_head().await.status, 200);
        pipe.send(bytes).await;
        pipe.finish().await;
        let rest = pipe.read_to_end().await;
        // A TLS alert at most.
        assert!(rest.len() <= 16, "{:?}", String::from_utf8_lossy(&rest));
    }
    world.origin.assert_untouched();
    world.proxy.audit().code("DW2003").await;
}

#[tokio::test]
async fn dw2012_a_body_over_a_buffered_modes_limit_is_413() {
    let dummy = "ghp_dw0dummy0123456789";
    let auth =
        format!("placeholder: {dummy}, inject: [{{hosts: [{HOST}], placeholder: {{in: [\"body:/key\"]}}}}]");
    let world = World::of(&token(&auth)).await;
    let body = format!("{{\"key\":\"{dummy}\",\"pad\":\"{}\"}}", "x".repeat(11 << 20));
    let mut client = world.agent().h1(HOST).await;
    let request = client.request("POST", "/").header("content-type", "application/json");
    let reply = client.send(request.body(harness::agent::h2::full(body)).unwrap()).await;
    reply.assert_refused(413, "DW2012");
    world.assert_nothing_left();
}

#[tokio::test]
async fn dw2013_new_requests_while_draining_are_refused_or_closed() {
    let (mut feeds, answer) = answer::stream(&[]);
    let builder = Proxy::builder().bearer(HOST).drain("5s");
    let mut world = World::built(Origin::builder(&[HOST]).answer(answer), builder).await;
    let mut busy = world.agent().h2(HOST).await;
    let request = busy.request("GET", "/busy").body(harness::agent::h2::empty()).unwrap();
    let response = busy.open(request).await.unwrap();
    let feed = answer::next(&mut feeds).await;
    world.proxy.signal(rustix::process::Signal::TERM);
    let log = world.proxy.path("stderr");
    harness::within::eventually("drain in the log", harness::within::DEADLINE, || {
        std::fs::read_to_string(&log).ok().filter(|text| text.contains("drain"))
    })
    .await;
    let request = busy.request("GET", "/late").body(harness::agent::h2::empty()).unwrap();
    if let Ok(response) = busy.open(request).await {
        harness::agent::h2::collect(response).await.assert_refused(503, "DW2013");
    }
    feed.finish();
    assert!(harness::agent::h2::collect(response).await.complete);
    assert!(world.proxy.ended(harness::within::DEADLINE).await.success());
    assert_eq!(world.origin.requests().len(), 1);
}

#[tokio::test]
async fn dw5003_without_a_place_in_the_audit_nothing_goes_out() {
    let origin = Origin::start(HOST).await;
    let builder = Proxy::builder().bearer(HOST).origin(&origin).audit_to("/dev/full");
    let proxy = builder.start().await;
    let agent = proxy.agent();
    // The writer finds out with its first batch; from then on every use is refused.
    let mut refused = None;
    for _ in 0..50 {
        let reply = agent.refused("api.example.com:443").await;
        if reply.status != 200 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("a refusal");
    assert!(refused.status == 503 && refused.is("DW5003"), "{refused:?}");
}

#[tokio::test]
async fn dw5003_sync_durability_lets_not_even_one_request_pass_a_failed_writer() {
    let origin = Origin::start(HOST).await;
    let builder = Proxy::builder().bearer(HOST).origin(&origin).audit_to("/dev/full");
    let proxy = builder.arg("--audit-durability").arg("sync").start().await;
    let refused = proxy.agent().refused("api.example.com:443").await;
    assert!(refused.status == 503 && refused.is("DW5003"), "{refused:?}");
    assert!(origin.requests().is_empty());
}
