//! Tokens that a stored secret is exchanged for: by a real issuer that verifies, for agents that never see one.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use harness::ca::Flaw;
use harness::within::until;
use harness::{Origin, Proxy, ProxyBuilder};

use crate::issuer::{Issuer, LOGIN};
use crate::world::{HOST, OTHER};

const SOON: Duration = harness::within::DEADLINE;

/// The spec of a provider that exchanges a client's credentials, with more lines.
fn client_credentials(more: &str) -> String {
    format!(
        "type: http-token\nhost: {HOST}\nauth:\n  type: oauth2-client-credentials\n  secretRef: oauth\n  \
         tokenUrl: https://{LOGIN}/oauth/token\n  agentEnvVar: API_TOKEN\n{more}"
    )
}

fn builder(issuer: &Issuer, spec: &str) -> ProxyBuilder {
    let (id, secret) = issuer.get(|state| (state.client_id.clone(), state.client_secret.clone()));
    Proxy::builder()
        .provider("demo", spec)
        .public_value("oauth", "client_id", &id)
        .secret("oauth", "client_secret", &secret)
        .origin(&issuer.login)
        .origin(&issuer.api)
}

/// Has everything that the issuer gave out searched for when the proxy ends.
fn watch_all(proxy: &mut Proxy, issuer: &Issuer) {
    issuer.secrets().iter().for_each(|secret| proxy.watch(secret));
}

async fn code(proxy: &Proxy) -> Option<String> {
    proxy.agent().get(HOST, "/").await.code()
}

#[tokio::test]
async fn dw1005_a_redirect_of_the_issuer_is_refused_and_never_followed() {
    let (issuer, elsewhere) = (Issuer::start().await, Origin::start("elsewhere.example.net").await);
    let location = ("location".to_owned(), "https://elsewhere.example.net/oauth/token".to_owned());
    for status in [301, 307, 308] {
        issuer.set(|state| state.fails = Some((status, vec![location.clone()])));
        let proxy = builder(&issuer, &client_credentials("")).origin(&elsewhere).start().await;
        let reply = proxy.agent().get(HOST, "/").await;
        assert_eq!((reply.status, reply.code().as_deref()), (503, Some("DW1005")), "{}", reply.text());
        assert!(reply.text().contains("redirect"), "{}", reply.text());
        elsewhere.assert_untouched();
        issuer.api.assert_untouched();
    }
}

#[tokio::test]
async fn refuses_an_issuer_at_a_private_address_or_with_a_foreign_certificate() {
    let issuer = Issuer::start().await;
    let spec = client_credentials("");
    for (builder, expected) in [
        (builder(&issuer, &spec).strict_addresses(), "DW2005"),
        (
            builder(&issuer, &format!("{spec}network: {{allowCIDRs: [10.0.0.0/8]}}")).strict_addresses(),
            "DW2005",
        ),
    ] {
        let proxy = builder.start().await;
        assert_eq!(code(&proxy).await.as_deref(), Some(expected));
    }
    issuer.login.assert_untouched();
    let foreign = Issuer::with(|login| login.flaw(Flaw::UnknownCa)).await;
    let proxy = builder(&foreign, &spec).start().await;
    assert_eq!(code(&proxy).await.as_deref(), Some("DW2004"));
    assert!(foreign.login.requests().is_empty(), "the secret was sent");
    // The provider's own list holds for its token endpoint too.
    let spec = format!("{spec}network: {{allowCIDRs: [127.0.0.0/8]}}");
    let mut proxy = builder(&issuer, &spec).strict_addresses().start().await;
    proxy.agent().get(HOST, "/").await.assert_ok();
    watch_all(&mut proxy, &issuer);
}

#[tokio::test]
async fn refuses_answers_that_are_no_token_in_words_of_its_own() {
    let issuer = Issuer::start().await;
    let token = "\"access_token\":\"canary-of-the-issuer\"";
    let long = format!("{{{token},\"token_type\":\"Bearer\",\"x\":\"{}\"}}", "y".repeat(70_000));
    for (says, words) in [
        (format!("{{{token},{token},\"token_type\":\"Bearer\"}}"), "twice"),
        (format!("{{{token},\"token_type\":\"mac\"}}"), "Bearer"),
        (format!("{{{token},\"token_type\":\"Bearer\",\"expires_in\":0}}"), "expired"),
        (long, "over 65536 bytes"),
        ("<html>".to_owned(), "not one JSON object"),
    ] {
        issuer.set(|state| state.says = Some(says));
        let proxy = builder(&issuer, &client_credentials("")).start().await;
        let reply = proxy.agent().get(HOST, "/").await;
        assert_eq!(reply.code().as_deref(), Some("DW2010"), "{}", reply.text());
        assert!(reply.text().contains(words) && !reply.text().contains("canary"), "{}", reply.text());
    }
    issuer.set(|state| state.client_secret = "another-secret".to_owned());
    let proxy = builder(&issuer, &client_credentials("")).start().await;
    std::fs::write(proxy.path("secrets/oauth/client_secret"), "not-the-right-one").unwrap();
    let refused = async || code(&proxy).await.as_deref() == Some("DW1005");
    until("the issuer to refuse", SOON, refused).await;
    let reply = proxy.agent().get(HOST, "/").await;
    assert!(reply.text().contains("invalid_client"), "{}", reply.text());
    issuer.api.assert_untouched();
}

#[tokio::test]
async fn a_secret_that_is_not_bound_to_the_token_host_is_refused_at_load_with_the_line() {
    let home = harness::Home::keyed();
    let (id, secret) = ("client-of-the-test", harness::canary::fresh());
    home.run(&["add", "secret", "oauth", "--from-stdin", "client_secret", "--hosts", HOST], &secret)
        .assert_ok();
    let refused = Proxy::builder().vault(&home).provider("demo", &client_credentials("")).try_start().await;
    let stderr = refused.err().unwrap().stderr;
    assert!(stderr.contains(&format!("secret `oauth` is not bound to `{LOGIN}`")), "{id} {stderr}");
    assert!(stderr.contains("demo.yaml:"), "{stderr}");
    for (url, words) in [
        ("http://login.example.net/oauth/token", "has to begin with `https://`"),
        ("https://u@login.example.net/oauth/token", "no valid host"),
        ("https://login.example.net/oauth/token?x", "query"),
    ] {
        let spec = client_credentials("").replace(&format!("https://{LOGIN}/oauth/token"), url);
        let stderr = Proxy::builder().provider("demo", &spec).try_start().await.err().unwrap().stderr;
        assert!(stderr.contains("demo.yaml:") && stderr.contains(words), "{stderr}");
    }
}

#[tokio::test]
async fn a_burst_shares_one_exchange_and_no_form_of_the_token_reaches_an_agent() {
    let issuer = Issuer::start().await;
    issuer.set(|state| state.takes = Duration::from_millis(300));
    let builder = builder(&issuer, &client_credentials("")).arg("--workers").arg("4");
    let mut proxy = builder.start().await;
    let burst = join_all((0..50).map(|_| async { proxy.agent().get(HOST, "/echo").await })).await;
    for reply in &burst {
        reply.assert_ok();
        assert!(reply.text().starts_with("Bearer ****"), "{}", reply.text());
    }
    assert_eq!((issuer.asked(), issuer.get(|state| state.issued.len())), (1, 1));
    let token = issuer.get(|state| state.issued[0].0.clone());
    assert!(
        issuer
            .api
            .requests()
            .iter()
            .all(|seen| seen.headers_named("authorization") == [format!("Bearer {token}")])
    );
    // The audit says which secret and in which way.
    let line = proxy.audit().request("/echo").await;
    assert_eq!((&line["secret"], &line["scheme"]), (&"oauth".into(), &"oauth2-client-credentials".into()));
    let line = proxy.audit().wait_for("the exchange", |line| line["kind"] == "exchange").await;
    let said =
        ["agent", "provider", "secret", "scheme", "host", "path", "verdict"].map(|key| line[key].clone());
    let expected = ["worker", "demo", "oauth", "oauth2-client-credentials", LOGIN, "/oauth/token", "allow"];
    assert_eq!(said, expected.map(serde_json::Value::from));
    watch_all(&mut proxy, &issuer);
}

#[tokio::test]
async fn an_expired_token_is_never_sent_while_the_issuer_is_healthy() {
    let issuer = Issuer::start().await;
    issuer.set(|state| state.life = Duration::from_secs(2));
    let mut proxy = builder(&issuer, &client_credentials("")).start().await;
    let mut tls = proxy.agent().tls(HOST).await;
    let start = Instant::now();
    let mut requests = 0;
    while start.elapsed() < Duration::from_secs(6) {
        let head = format!("GET /{requests} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        tls.exchange(head.as_bytes()).await.assert_ok();
        requests += 1;
        harness::within::pause().await;
    }
    assert_eq!(issuer.get(|state| state.wrong_at_api), 0);
    // Each 1.6 s at the earliest, 1.5 s with jitter.
    assert!((3..=5).contains(&issuer.asked()), "{} exchanges for {requests} requests", issuer.asked());
    watch_all(&mut proxy, &issuer);
}

#[tokio::test]
async fn an_outage_of_the_issuer_is_tolerated_until_the_token_expires_and_then_fails_closed() {
    let issuer = Issuer::start().await;
    issuer.set(|state| state.life = Duration::from_secs(4));
    let mut proxy = builder(&issuer, &client_credentials("")).start().await;
    let start = Instant::now();
    proxy.agent().get(HOST, "/").await.assert_ok();
    issuer.set(|state| state.fails = Some((503, Vec::new())));
    // Four seconds less a tenth: until then the token that there is serves, past its renewal at 80 %.
    while start.elapsed() < Duration::from_millis(3400) {
        proxy.agent().get(HOST, "/").await.assert_ok();
        harness::within::pause().await;
    }
    assert!(issuer.asked() > 1, "it was to be renewed before its end");
    until("the token's end", SOON, async || code(&proxy).await.is_some()).await;
    let sent = issuer.api.requests().len();
    let reply = proxy.agent().get(HOST, "/").await;
    assert_eq!((reply.status, reply.code().as_deref()), (503, Some("DW1005")), "{}", reply.text());
    assert!(reply.header("retry-after").is_some() && !reply.text().contains("canary"), "{}", reply.text());
    assert_eq!((issuer.api.requests().len(), issuer.get(|state| state.wrong_at_api)), (sent, 0));
    let (_, ready) = proxy.admin_get("/readyz?verbose");
    assert!(ready.contains("degraded default/demo: DW1005"), "{ready}");
    issuer.set(|state| state.fails = None);
    until("the issuer to be asked again", Duration::from_secs(15), async || code(&proxy).await.is_none())
        .await;
    watch_all(&mut proxy, &issuer);
}

#[tokio::test]
async fn a_new_version_of_the_secret_drops_the_token_and_an_unrelated_change_keeps_it() {
    let issuer = Issuer::start().await;
    let mut proxy = builder(&issuer, &client_credentials("")).start().await;
    proxy.agent().get(HOST, "/").await.assert_ok();
    // Another provider: the plan is made anew, with other dummies in it.
    let other = "type: http-token\nhost: other.example.com\nauth: {type: bearer, secretRef: canary, secretKey: token}";
    proxy.write_provider("other", &harness::proxy::build::provider_yaml("other", other));
    until("the new plan", SOON, async || {
        proxy.agent().refused("other.example.com:443").await.code.as_deref() != Some("DW1001")
    })
    .await;
    proxy.agent().get(HOST, "/").await.assert_ok();
    assert_eq!(issuer.asked(), 1);
    let first = issuer.get(|state| state.issued[0].0.clone());
    let fresh = harness::canary::fresh();
    issuer.set(|state| state.client_secret.clone_from(&fresh));
    proxy.rotate("oauth", "client_secret", &fresh);
    until("an exchange of the new secret", SOON, async || {
        proxy.agent().get(HOST, "/").await.assert_ok();
        issuer.asked() == 2
    })
    .await;
    assert!(!issuer.api.last().contains(&first));
    assert_eq!(issuer.get(|state| state.refused), 0);
    watch_all(&mut proxy, &issuer);
}

#[tokio::test]
async fn an_assertion_is_signed_anew_for_each_exchange_and_verified_by_the_issuer() {
    let issuer = Issuer::start().await;
    let key = rcgen::KeyPair::generate().unwrap();
    issuer.set(|state| {
        (state.signer, state.life) = (Some(key.public_key_raw().to_vec()), Duration::from_secs(1))
    });
    let spec =
        client_credentials("  issuer: robot@example.net").replace("oauth2-client-credentials", "jwt-bearer");
    let builder = || Proxy::builder().provider("demo", &spec).origin(&issuer.login).origin(&issuer.api);
    let mut proxy = builder().secret("oauth", "private_key", &key.serialize_pem()).start().await;
    until("three exchanges", SOON, async || {
        proxy.agent().get(HOST, "/").await.assert_ok();
        issuer.get(|state| state.assertions.len()) == 3
    })
    .await;
    assert_eq!(issuer.get(|state| (state.refused, state.wrong_at_api)), (0, 0));
    watch_all(&mut proxy, &issuer);
    // Another key is refused by the issuer, no key at all by the proxy.
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for (key, expected) in [(other.as_str(), "DW1005"), ("no key at all", "DW1004")] {
        let proxy = builder().secret("oauth", "private_key", key).start().await;
        assert_eq!(code(&proxy).await.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn a_token_that_the_issuer_revoked_is_renewed_after_the_api_refused_it() {
    let issuer = Issuer::start().await;
    issuer.set(|state| state.life = Duration::from_secs(10));
    let mut proxy = builder(&issuer, &client_credentials("")).start().await;
    proxy.agent().get(HOST, "/").await.assert_ok();
    issuer.set(|state| state.issued[0].1 = Instant::now());
    let reply = proxy.agent().get(HOST, "/").await;
    // The API's own answer, with our note: an operator sees that the credential was not taken.
    assert_eq!(reply.status, 401);
    assert!(
        reply.header("doorward-note").is_some_and(|note| note.starts_with("upstream-rejected-credential"))
    );
    until("another token", SOON, async || proxy.agent().get(HOST, "/").await.status == 200).await;
    assert_eq!(issuer.asked(), 2);
    watch_all(&mut proxy, &issuer);
}

#[tokio::test]
async fn an_earlier_token_that_an_upstream_recorded_is_masked_after_renewals_too() {
    let issuer = Issuer::start().await;
    issuer.set(|state| state.life = Duration::from_secs(2));
    let mut proxy = builder(&issuer, &client_credentials("")).start().await;
    // Tokens that live for seconds are refused where a busy machine takes longer than that for an exchange.
    until("the third token", harness::within::DEADLINE, async || {
        proxy.agent().get(HOST, "/").await.status == 200 && issuer.asked() >= 3
    })
    .await;
    let mut reply = proxy.agent().get(HOST, "/recorded").await;
    until("what was recorded", harness::within::DEADLINE, async || {
        reply = proxy.agent().get(HOST, "/recorded").await;
        reply.status == 200
    })
    .await;
    let issued = issuer.get(|state| state.issued.clone());
    assert!(issued.iter().all(|(token, _)| !reply.text().contains(token)), "{}", reply.text());
    // Nor does a new version of the secret end what was issued for the old one.
    let fresh = harness::canary::fresh();
    issuer.set(|state| state.client_secret.clone_from(&fresh));
    proxy.rotate("oauth", "client_secret", &fresh);
    until("tokens of the new secret", harness::within::DEADLINE, async || {
        let reply = proxy.agent().get(HOST, "/").await;
        reply.status == 200 && issuer.get(|state| state.issued.len()) > issued.len() + 1
    })
    .await;
    let reply = proxy.agent().get(HOST, "/recorded").await;
    assert!(issued.iter().all(|(token, _)| !reply.text().contains(token)), "{}", reply.text());
    watch_all(&mut proxy, &issuer);
}

#[tokio::test]
async fn a_token_of_another_provider_of_the_same_secret_is_masked_too() {
    let issuer = Issuer::start().await;
    let first = client_credentials("");
    let second = first.replace(HOST, OTHER).replace("API_TOKEN", "OTHER_TOKEN");
    let builder = builder(&issuer, &first).provider("second", &second).origin(&issuer.second);
    let mut proxy = builder.start().await;
    proxy.agent().get(OTHER, "/").await.assert_ok();
    proxy.agent().get(HOST, "/").await.assert_ok();
    let issued = issuer.get(|state| state.issued.clone());
    assert_eq!(issued.len(), 2);
    for host in [HOST, OTHER] {
        let text = proxy.agent().get(host, "/recorded").await.assert_ok().text();
        assert!(issued.iter().all(|(token, _)| !text.contains(token)), "{host}: {text}");
    }
    watch_all(&mut proxy, &issuer);
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

#[tokio::test]
async fn no_other_port_nor_plain_http_nor_a_passed_through_tunnel_leads_to_the_token_endpoint() {
    let issuer = Issuer::start().await;
    let plain = Origin::builder(&[LOGIN]).plain().start().await;
    let call = |host: &str, target: &str, more: &str| {
        let body = "grant_type=client_credentials";
        let length = body.len();
        format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\n{FORM}\r\n{more}Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let other = |host: &str, mode: &str| format!("type: http-token\nhost: {host}\ntls: {{mode: {mode}}}");
    // Passed through, its TLS would not be read.
    let proxy = builder(&issuer, &client_credentials(""))
        .provider("pass", &other(LOGIN, "passthrough"))
        .provider("other", &other(&format!("{LOGIN}:8443"), "intercept"))
        .start()
        .await;
    let (agent, dummy) = (proxy.agent(), proxy.dummy("API_TOKEN"));
    for port in [443, 8443] {
        let host = format!("{LOGIN}:{port}");
        let mut tls = agent.tunnel(&host).open().await;
        let reply = tls.exchange(call(&host, "/oauth/token.json", "").as_bytes()).await;
        reply.assert_ok();
        assert!(reply.text().contains(&dummy), "{}", reply.text());
    }
    assert_eq!(agent.get(LOGIN, "/oauth/authorize").await.code().as_deref(), Some("DW1002"));
    let proxy = builder(&issuer, &client_credentials(""))
        .provider("plain", &other(LOGIN, "plain"))
        .route(LOGIN, 80, plain.address())
        .start()
        .await;
    let proof = proxy.agent().authorization().unwrap().to_owned();
    let more = format!("Proxy-Authorization: {proof}\r\n");
    let request = call(LOGIN, &format!("http://{LOGIN}/oauth/token"), &more);
    let reply = proxy.agent().raw(request.as_bytes()).await;
    reply.assert_ok();
    assert!(reply.text().contains(&proxy.dummy("API_TOKEN")), "{}", reply.text());
    issuer.login.assert_untouched();
    plain.assert_untouched();
}

#[tokio::test]
async fn the_agents_own_token_call_is_answered_with_a_dummy_and_never_forwarded() {
    let issuer = Issuer::start().await;
    let mut proxy = builder(&issuer, &client_credentials("")).start().await;
    let dummy = proxy.dummy("API_TOKEN");
    let (agent, path) = (proxy.agent(), "/oauth/token");
    for (path, headers, body) in [
        (path, FORM, "grant_type=password&username=x"),
        (
            path,
            FORM,
            "grant_type=client_credentials&grant_type=urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("/OAuth/token/", FORM, "grant_type=password"),
        ("/oauth%2ftoken", FORM, "grant_type=password"),
        (path, "Content-Type: text/plain", "grant_type=client_credentials"),
    ] {
        let reply = agent.post(LOGIN, path, headers, body.as_bytes()).await;
        assert_eq!((reply.status, reply.code().as_deref()), (403, Some("DW1002")), "{path} {body}");
    }
    assert_eq!(agent.get(LOGIN, path).await.code().as_deref(), Some("DW1002"));
    // Beside the endpoint the host is no provider's.
    assert_eq!(agent.get(LOGIN, "/oauth/authorize").await.code().as_deref(), Some("DW1001"));
    for body in [
        format!("grant_type=client_credentials&client_secret={dummy}"),
        "grant_type=refresh_token".to_owned(),
    ] {
        let reply = agent.post(LOGIN, path, FORM, body.as_bytes()).await;
        reply.assert_ok();
        let answer: serde_json::Value = serde_json::from_str(&reply.text()).unwrap();
        assert_eq!(
            answer,
            serde_json::json!({"access_token": dummy, "token_type": "Bearer", "expires_in": 3600})
        );
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    issuer.login.assert_untouched();
    let line = proxy
        .audit()
        .wait_for("the local answer", |line| line["host"] == LOGIN && line["verdict"] == "allow")
        .await;
    assert_eq!(line["provider"], "demo");
    assert_eq!(line["reason"], "answered by the proxy in the issuer's place");
    // With the dummy the library goes on, and gets the real token put on.
    agent.ask(HOST, &format!("GET / HTTP/1.1\nAuthorization: Bearer {dummy}")).await.assert_ok();
    assert_eq!(issuer.asked(), 1);
    watch_all(&mut proxy, &issuer);
}

#[tokio::test]
async fn only_agents_that_have_the_provider_are_answered_in_the_issuers_place() {
    let issuer = Issuer::start().await;
    let grants =
        "apiVersion: doorward.dev/v1alpha1\nkind: Agent\nmetadata: {name: has}\nspec: {providers: [demo]}\n";
    let tokens = "has:token-0123456789-of-has\nlacks:token-0123456789-of-lacks\n";
    let builder = builder(&issuer, &client_credentials("")).file("grants", grants);
    let proxy = builder.tokens(tokens, "token-0123456789-of-lacks").start().await;
    let body = b"grant_type=client_credentials";
    let lacks = proxy.agent().post(LOGIN, "/oauth/token", FORM, body).await;
    assert_eq!(lacks.status, 403, "{}", lacks.text());
    let has = proxy.agent().with_basic("agent", "token-0123456789-of-has");
    has.post(LOGIN, "/oauth/token", FORM, body).await.assert_ok();
    issuer.login.assert_untouched();
}
