//! Client certificates towards upstreams that verify them.

use std::time::Duration;

use harness::ca::{Client, Flaw};
use harness::within::until;
use harness::{Home, Origin, Proxy, ProxyBuilder};

use crate::world::{HOST, OTHER, World, bearer_and, token};

const SOON: Duration = harness::within::DEADLINE;
const MTLS: &str = "type: http-token\nhost: api.example.com\nauth: {type: mtls, secretRef: corp}";
const BESIDE: &str = "tls: {clientCert: {secretRef: corp}}";

fn with(builder: ProxyBuilder, certificate: &str, key: &str) -> ProxyBuilder {
    // Each worker pools for itself.
    let builder = builder.arg("--workers").arg("1");
    builder.public_value("corp", "tls.crt", certificate).public_value("corp", "tls.key", key)
}

async fn world(spec: &str, up: &str, client: &Client) -> World {
    let builder = with(Proxy::builder().provider("demo", spec), &client.certificate, &client.key);
    let mut world = World::built(Origin::builder(&[HOST]).only(up).certified_clients(), builder).await;
    world.proxy.watch(&client.telling());
    world
}

#[tokio::test]
async fn an_agent_that_is_not_granted_the_provider_gets_no_connection_with_its_certificate() {
    const ONE: &str = "token-of-one-0123456789abcdef";
    const TWO: &str = "token-of-two-0123456789abcdef";
    let client = Client::new("corp", Flaw::None);
    let agent = |name: &str, provider: &str| {
        format!(
            "apiVersion: doorward.dev/v1alpha1\nkind: Agent\nmetadata: {{name: {name}}}\nspec: {{providers: [{provider}]}}\n"
        )
    };
    let builder = Proxy::builder().tokens(&format!("one:{ONE}\ntwo:{TWO}\n"), ONE).provider("demo", MTLS);
    let builder = builder.provider("other", &token("type: bearer").replace(HOST, OTHER));
    let builder = builder.file("one", &agent("one", "demo")).file("two", &agent("two", "other"));
    let origin = Origin::builder(&[HOST]).certified_clients().start().await;
    let proxy = with(builder, &client.certificate, &client.key).origin(&origin).start().await;
    let two = proxy.agent().with_basic("a", TWO);
    let refused = two.refused("api.example.com:443").await;
    assert!(refused.status == 403 && refused.is("DW3003"), "{refused:?}");
    origin.assert_untouched();
    proxy.agent().get(HOST, "/").await.assert_ok();
    let refused = two.refused("api.example.com:443").await;
    assert!(refused.is("DW3003"), "{refused:?}");
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn what_policy_denies_opens_no_connection() {
    let client = Client::new("corp", Flaw::None);
    let rule = "policy: {httpRules: [{id: reads, methods: [GET], paths: [\"/**\"], effect: allow}]}";
    let world = world(&format!("{MTLS}\n{rule}"), "h1", &client).await;
    world.agent().post(HOST, "/", "X: y", b"").await.assert_refused(403, "DW1002");
    world.origin.assert_untouched();
    world.agent().get(HOST, "/").await.assert_ok();
}

#[tokio::test]
async fn a_certificate_that_the_upstream_does_not_take_reaches_nothing() {
    for up in ["h1", "h2"] {
        let client = Client::new("corp", Flaw::UnknownCa);
        let world = world(MTLS, up, &client).await;
        let reply = world.agent().get(HOST, "/").await;
        assert!(reply.status == 502, "{up}: {}", reply.text());
        assert!(matches!(reply.code().as_deref(), Some("DW2004" | "DW2006")), "{up}: {}", reply.text());
        world.assert_nothing_left();
    }
}

#[tokio::test]
async fn without_a_certificate_nothing_gets_in() {
    let spec = token("type: bearer");
    let world = World::with(Origin::builder(&[HOST]).certified_clients(), &spec).await;
    assert_eq!(world.agent().get(HOST, "/").await.status, 502);
    world.assert_nothing_left();
}

#[tokio::test]
async fn a_key_that_is_not_the_certificates_is_refused_by_name_and_sends_nothing() {
    let (client, other) = (Client::new("corp", Flaw::None), Client::new("other", Flaw::None));
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIBvTBXBgkqhkiG\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (certificate, key) in [
        (client.certificate.as_str(), other.key.as_str()),
        (&client.certificate, encrypted),
        (&client.certificate, "not a key at all"),
        ("not a certificate", &client.key),
        (&client.key, &client.key),
    ] {
        let builder = with(Proxy::builder().provider("demo", MTLS), certificate, key);
        let mut world = World::built(Origin::builder(&[HOST]).certified_clients(), builder).await;
        world.proxy.watch(&client.telling());
        world.proxy.watch(&other.telling());
        world.agent().get(HOST, "/").await.assert_refused(503, "DW1004");
        world.origin.assert_untouched();
    }
}

#[test]
fn what_is_no_pair_of_certificate_and_key_is_not_stored() {
    let (client, other) = (Client::new("corp", Flaw::None), Client::new("other", Flaw::None));
    let home = Home::keyed();
    let add = |certificate: &str, key: &str| {
        home.write("crt", certificate);
        home.write("pem", key);
        let at = |key: &str, file: &str| format!("{key}={}", home.path(file).to_str().unwrap());
        let (crt, pem) = (at("tls.crt", "crt"), at("tls.key", "pem"));
        home.run(&["add", "secret", "corp", "--from-file", &crt, "--from-file", &pem], "")
    };
    let encrypted = client.key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let half = client.key.lines().take(2).collect::<Vec<_>>().join("\n");
    for (certificate, key, words) in [
        (client.certificate.as_str(), other.key.as_str(), "does not belong to the first certificate"),
        (&client.certificate, &encrypted, "key `tls.key` is an encrypted private key: expected one without"),
        (&client.certificate, &half, "key `tls.key` is no PEM private key: expected"),
        (&client.certificate, &format!("{}{}", client.key, other.key), "`tls.key` is no PEM private key"),
        ("hello, world", &client.key, "key `tls.crt` is no PEM certificates: expected"),
        (&format!("{}{}", client.certificate, client.key), &client.key, "`tls.crt` is no PEM certificates"),
    ] {
        let ran = add(certificate, key);
        ran.assert_fails(1, words);
        assert!(!ran.stderr.contains(&client.telling()) && !ran.stdout.contains(&client.telling()));
    }
    assert_eq!(home.run(&["get", "secrets", "-o", "name"], "").assert_ok().stdout, "");
    add(&client.certificate, &client.key).assert_ok();
}

#[tokio::test]
async fn the_upstream_is_shown_the_certificate_and_nothing_is_put_on_requests() {
    let without_auth = format!("type: http-token\nhost: {HOST}\n{BESIDE}");
    for (up, spec) in [("h1", MTLS), ("h2", MTLS), ("h1", &without_auth), ("h2", &without_auth)] {
        let client = Client::new("corp", Flaw::None);
        let world = world(spec, up, &client).await;
        let reply = world.agent().ask(HOST, "GET /a HTTP/1.1\nAuthorization: agents").await;
        reply.assert_ok();
        let seen = world.origin.only();
        assert_eq!(seen.client.as_deref(), Some(client.der.as_slice()), "{up} {spec}");
        assert_eq!(seen.headers_named("authorization"), ["agents"]);
        let line = world.proxy.audit().request("/a").await;
        assert_eq!((&line["scheme"], &line["secret"]), (&"mtls".into(), &"corp".into()), "{line}");
    }
}

#[tokio::test]
async fn a_certificate_stands_beside_another_scheme() {
    for up in ["h1", "h2"] {
        let client = Client::new("corp", Flaw::None);
        let world = world(&bearer_and(BESIDE), up, &client).await;
        for _ in 0..3 {
            world.agent().get(HOST, "/").await.assert_ok();
        }
        world.assert_injected();
        assert!(world.origin.requests().iter().all(|seen| seen.client.as_deref() == Some(&*client.der)));
        let line = world.proxy.audit().request("/").await;
        assert_eq!((&line["secret"], &line["client_cert"]), (&"canary".into(), &"corp".into()), "{line}");
        // Its connections are kept like any other.
        assert_eq!(world.origin.handshakes(), 1, "{up}");
    }
}

#[tokio::test]
async fn a_host_that_no_injection_covers_is_shown_the_certificate_and_loses_overrides_all_the_same() {
    let client = Client::new("corp", Flaw::None);
    let spec = format!(
        "type: http-token\nhosts: [{HOST}, {OTHER}]\nauth:\n  secretRef: canary\n  inject: [{{hosts: [{OTHER}], header: X-A}}]\n{BESIDE}"
    );
    let world = world(&spec, "h1", &client).await;
    world
        .agent()
        .ask(HOST, "GET /x HTTP/1.1\nX-Forwarded-For: 1\nX-HTTP-Method-Override: PUT")
        .await
        .assert_ok();
    let seen = world.origin.only();
    assert_eq!(seen.client.as_deref(), Some(&*client.der));
    assert!(seen.headers.iter().all(|(name, _)| !name.starts_with("x-")), "{seen:#?}");
    let line = world.proxy.audit().request("/x").await;
    assert_eq!((&line["scheme"], &line["secret"]), (&"mtls".into(), &"corp".into()), "{line}");
    assert!(line.get("client_cert").is_none(), "{line}");
}

#[tokio::test]
async fn a_rotated_certificate_is_shown_on_new_connections_and_the_old_ones_carry_nothing_more() {
    for up in ["h1", "h2"] {
        let (first, second) = (Client::new("corp", Flaw::None), Client::new("corp", Flaw::None));
        let mut world = world(&bearer_and(BESIDE), up, &first).await;
        let mut tunnel = world.agent().client("h1", HOST).await;
        tunnel.get("/").await.assert_ok();
        world.proxy.watch(&second.telling());
        harness::proxy::build::put(&world.proxy.path("secrets/corp/tls.crt"), &second.certificate);
        harness::proxy::build::put(&world.proxy.path("secrets/corp/tls.key"), &second.key);
        until("the new certificate", SOON, async || {
            tunnel.get("/").await;
            world.origin.last().client.as_deref() == Some(&*second.der)
        })
        .await;
        for seen in world.origin.requests() {
            let is_first = seen.client.as_deref() == Some(&*first.der);
            assert_eq!(is_first, seen.connection == 0, "{up}: {seen:?}");
        }
        let turned = world.origin.requests().iter().position(|seen| seen.connection != 0).unwrap();
        assert!(world.origin.requests()[turned..].iter().all(|seen| seen.connection != 0), "{up}");
    }
}

#[tokio::test]
async fn providers_with_different_certificates_share_no_connection() {
    let (one, two) = (Client::new("one", Flaw::None), Client::new("two", Flaw::None));
    let other = MTLS.replace(HOST, OTHER).replace("corp", "second");
    let builder = Proxy::builder().provider("demo", MTLS).provider("other", &other);
    let builder = with(builder, &one.certificate, &one.key);
    let builder = builder.public_value("second", "tls.crt", &two.certificate);
    let builder = builder.public_value("second", "tls.key", &two.key);
    let world = World::built(Origin::builder(&[HOST, OTHER]).certified_clients(), builder).await;
    for (host, client) in [(HOST, &one), (OTHER, &two), (HOST, &one)] {
        world.agent().get(host, "/").await.assert_ok();
        assert_eq!(world.origin.last().client.as_deref(), Some(&*client.der));
    }
    assert_eq!(world.origin.handshakes(), 2);
}

#[tokio::test]
async fn a_websocket_is_opened_with_the_certificate() {
    let client = Client::new("corp", Flaw::None);
    let world = world(MTLS, "h1", &client).await;
    let head = "GET /ws HTTP/1.1\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    world.agent().ask(HOST, head).await;
    assert_eq!(world.origin.only().client.as_deref(), Some(&*client.der));
}

#[tokio::test]
async fn a_secret_without_both_keys_degrades_its_provider() {
    let client = Client::new("corp", Flaw::None);
    let builder = Proxy::builder().provider("demo", &bearer_and(BESIDE));
    let builder = builder.public_value("corp", "tls.crt", &client.certificate);
    let world = World::built(Origin::builder(&[HOST]).certified_clients(), builder).await;
    let (_, report) = world.proxy.admin_get("/readyz?verbose");
    assert!(report.contains("default/demo: DW1004: secret `default/corp` has no key `tls.key`"), "{report}");
    world.agent().get(HOST, "/").await.assert_refused(503, "DW1004");
    world.origin.assert_untouched();
}
