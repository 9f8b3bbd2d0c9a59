//! Google Cloud, Azure and GitHub Apps: the agent's own token calls are answered without a step outside, and the real ones go
//! to the issuer alone.

use harness::{Home, Origin, Proxy, Reply, answer};
use http::Response;

const TOKEN: &str = "ya29.c4nary-of-the-issuer";
const STORAGE: &str = "storage.googleapis.com";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const JWT: &[u8] = b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=x.y.z";
const METADATA: &str = "http://metadata.google.internal/computeMetadata/v1";

/// A key file with the published key of RFC 7515.
fn key_file() -> String {
    serde_json::json!({
        "type": "service_account",
        "private_key": include_str!("../../../control/src/types/gcp/dummy.pem"),
        "client_email": "real@p.iam.gserviceaccount.com",
    })
    .to_string()
}

/// Google: an issuer that gives one token, and an API that shows what it was sent.
async fn google(status: u16, says: &'static str) -> Origin {
    let hosts = ["oauth2.googleapis.com", "accounts.google.com", STORAGE];
    let make = move |seen: &harness::Seen| {
        if seen.authority == "oauth2.googleapis.com" {
            return Response::builder().status(status).body(answer::full(says)).unwrap();
        }
        let text = format!("you sent {}", seen.header("authorization").unwrap_or_default());
        Response::new(answer::full(text))
    };
    Origin::builder(&hosts).answer(answer::made(make)).start().await
}

async fn proxy(origin: &Origin, trap: &Origin, more: &str) -> Proxy {
    let spec = format!("type: gcp\nauth: {{secretRef: cloud}}\n{more}");
    let mut proxy = Proxy::builder()
        .provider("cloud", &spec)
        .public_value("cloud", "key.json", &key_file())
        .origin(origin)
        .route("metadata.google.internal", 80, trap.address())
        .start()
        .await;
    proxy.watch(TOKEN);
    proxy
}

/// Where nothing may ever arrive.
async fn trap() -> Origin {
    Origin::builder(&["metadata.google.internal"]).plain().start().await
}

async fn plain(proxy: &Proxy, url: &str, headers: &str) -> Reply {
    let agent = proxy.agent();
    let proof = agent.authorization().unwrap();
    let host = url.split('/').nth(2).unwrap();
    let head = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n{headers}Proxy-Authorization: {proof}\r\n\r\n");
    agent.raw(head.as_bytes()).await
}

#[tokio::test]
async fn the_metadata_server_is_never_reached_and_gives_a_dummy_to_agents_of_the_provider_alone() {
    let (origin, trap) = (google(200, "").await, trap().await);
    let gcp = proxy(&origin, &trap, "").await;
    let flavor = "Metadata-Flavor: Google\r\n";
    let token = format!("{METADATA}/instance/service-accounts/default/token");
    plain(&gcp, &token, "").await.assert_refused(403, "DW1002");
    plain(&gcp, &format!("{METADATA}/instance/attributes/kube-env"), flavor)
        .await
        .assert_refused(403, "DW1002");
    plain(&gcp, "http://169.254.169.254/latest/meta-data/", flavor).await.any_code().expect("refused");
    let reply = plain(&gcp, &token, flavor).await;
    assert!(reply.assert_ok().text().contains("ya29.dw0"), "{}", reply.text());
    assert_eq!(reply.header("metadata-flavor"), Some("Google"));
    let other =
        Proxy::builder().bearer(STORAGE).route("metadata.google.internal", 80, trap.address()).start().await;
    let reply = plain(&other, &token, flavor).await;
    assert!(reply.any_code().is_some() && reply.status >= 400, "{}", reply.text());
    trap.assert_untouched();
    origin.assert_untouched();
}

#[tokio::test]
async fn googles_token_endpoints_are_answered_with_a_dummy_and_open_for_nothing_else() {
    let (origin, trap) = (google(200, "").await, trap().await);
    let proxy = proxy(&origin, &trap, "").await;
    let agent = proxy.agent();
    for (host, path) in [("oauth2.googleapis.com", "/token"), ("accounts.google.com", "/o/oauth2/token")] {
        for (headers, body) in [
            (FORM, &b"grant_type=password"[..]),
            ("Content-Type: text/plain", JWT),
            (FORM, b"grant_type=refresh_token&grant_type=password"),
        ] {
            agent.post(host, path, headers, body).await.assert_refused(403, "DW1002");
        }
        let reply = agent.post(host, path, FORM, JWT).await;
        assert!(reply.assert_ok().text().contains("ya29.dw0"), "{}", reply.text());
    }
    assert!(agent.get("accounts.google.com", "/signin").await.code().is_some());
    origin.assert_untouched();
}

#[tokio::test]
async fn a_key_file_is_exchanged_once_and_its_token_goes_to_the_api_and_never_back() {
    const SAYS: &str =
        r#"{"access_token":"ya29.c4nary-of-the-issuer","expires_in":3599,"token_type":"Bearer"}"#;
    let (origin, trap) = (google(200, SAYS).await, trap().await);
    let proxy = proxy(&origin, &trap, "").await;
    let path = "/storage/v1/b/acme/o/a%2Fb?alt=media";
    for _ in 0..2 {
        let reply =
            proxy.agent().ask(STORAGE, &format!("GET {path} HTTP/1.1\nAuthorization: Bearer own")).await;
        assert_eq!(reply.assert_ok().text(), format!("you sent Bearer {}", "*".repeat(TOKEN.len())));
    }
    let seen = origin.requests();
    let asked: Vec<&str> = seen.iter().map(|seen| seen.authority.as_str()).collect();
    assert_eq!(asked, ["oauth2.googleapis.com", STORAGE, STORAGE]);
    assert!(String::from_utf8_lossy(&seen[0].body).contains("&assertion=ey"));
    assert_eq!(seen[2].headers_named("authorization"), [format!("Bearer {TOKEN}")]);
    assert_eq!(seen[2].target, path);
}

#[tokio::test]
async fn the_audit_shows_no_call_for_a_token_that_the_key_signs_itself() {
    let (origin, trap) = (google(500, "").await, trap().await);
    let proxy = proxy(&origin, &trap, "config: {token: self-signed}").await;
    proxy.agent().get(STORAGE, "/storage/v1/b/acme/o/a").await.assert_ok();
    let line = proxy.audit().wait_for("the exchange", |line| line["kind"] == "exchange").await;
    assert_eq!(line["verdict"], "allow");
    for field in ["method", "host", "target", "path"] {
        assert!(line[field].is_null(), "{line}");
    }
}

#[tokio::test]
async fn dw1005_an_issuer_that_refuses_is_told_in_our_own_words() {
    let says = r#"{"error":"invalid_grant","error_description":"c4nary: Invalid JWT Signature."}"#;
    let (origin, trap) = (google(400, says).await, trap().await);
    let proxy = proxy(&origin, &trap, "").await;
    let reply = proxy.agent().get(STORAGE, "/storage/v1/b/acme/o/a").await;
    reply.assert_refused(503, "DW1005");
    assert!(reply.text().contains("invalid_grant") && !reply.text().contains("c4nary"), "{}", reply.text());
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn wrong_key_files_and_keys_are_refused_when_they_are_stored() {
    let home = Home::keyed();
    let canary = harness::canary::fresh();
    let without = key_file().replace("client_email", "client_mail");
    for (key, value, told) in [
        ("key.json", without, "lacks the field `client_email`"),
        ("key.json", canary.clone(), "is not a service account's key file"),
        (
            "key.json",
            format!("{{\"type\":\"external_account\",\"x\":\"{canary}\"}}"),
            "lacks the field `token_url`",
        ),
        ("private_key", canary.clone(), "holds no PEM private key"),
        ("certificate", canary.clone(), "holds no PEM certificate"),
    ] {
        let ended = home.run(&["add", "secret", "cloud", "--from-stdin", key, "--for", "gcp"], &value);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(said.contains(told) && said.contains(key) && !said.contains(&canary), "{said}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_what_its_key_says_is_told_of_at_load() {
    let canary = harness::canary::fresh();
    let app = "type: github\nauth: {type: github-app, secretRef: cloud}";
    let assertion = "type: http-token\nhost: storage.googleapis.com\nauth: {type: jwt-bearer, secretRef: cloud, tokenUrl: \"https://oauth2.googleapis.com/token\", issuer: me}";
    let tenant = "config: {tenantId: 72f988bf-86f1-41af-91ab-2d7cd011db47}";
    let azure = format!("type: azure\nauth: {{secretRef: cloud}}\n{tenant}");
    let mtls = "type: http-token\nhost: storage.googleapis.com\nauth: {type: mtls, secretRef: cloud}";
    let lacking = key_file().replace("client_email", "client_mail").replace("real@", &canary);
    let lines = format!("{canary}\n{canary}");
    for (spec, key, value, told) in [
        ("type: gcp\nauth: {secretRef: cloud}", "key.json", &lacking, "lacks the field `client_email`"),
        ("type: gcp\nauth: {secretRef: cloud}", "key.json", &canary, "is not a service account's key file"),
        (app, "private_key", &canary, "holds no PEM private key"),
        (app, "installation_id", &canary, "is not a number"),
        (assertion, "private_key", &canary, "holds no PEM private key"),
        (&azure, "certificate", &canary, "holds no PEM certificate"),
        (mtls, "tls.crt", &canary, "is no PEM certificates: expected"),
        ("type: aws\nauth: {secretRef: cloud}", "secret_access_key", &lines, "is not visible ASCII"),
        ("type: stripe\nauth: {secretRef: cloud}", "api-key", &lines, "is not visible ASCII"),
    ] {
        let builder = Proxy::builder().provider("cloud", spec).public_value("cloud", key, value);
        let mut proxy = builder.start().await;
        proxy.watch(&canary);
        let (_, report) = proxy.admin_get("/readyz?verbose");
        let names = format!("the value of key `{key}`");
        assert!(
            report.contains(&names) && report.contains(told) && !report.contains(&canary),
            "{key}: {report}"
        );
    }
}

#[tokio::test]
async fn a_tenant_that_is_none_and_settings_of_other_types_are_refused_at_load_with_their_line() {
    for (spec, told) in [
        ("type: azure\nauth: {secretRef: canary}", "`config.tenantId` is missing"),
        ("type: azure\nauth: {secretRef: canary}\nconfig: {tenantId: common}", "tenantId"),
        ("type: gcp\nauth: {secretRef: canary}\nconfig: {token: both}", "`config.token` has to be"),
        (
            "type: github\nauth: {secretRef: canary}\nconfig: {permissions: [\"a:read\"]}",
            "no `config.permissions`",
        ),
        (
            "type: github\nauth: {type: github-app, secretRef: canary}\nconfig: {permissions: [contents]}",
            "permissions",
        ),
    ] {
        let failure = Proxy::builder().provider("wrong", spec).try_start().await.err().expect(told);
        assert!(failure.stderr.contains("wrong.yaml") && failure.stderr.contains(told), "{}", failure.stderr);
    }
}
