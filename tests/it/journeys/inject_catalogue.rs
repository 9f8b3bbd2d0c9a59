//! The catalogue's types whose credential goes elsewhere than into a bearer token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::{Origin, Proxy};

const KEY: &str = "canary-of-the-catalogue-0123456789";

async fn vendor(spec: &str, host: &str) -> (Proxy, Origin) {
    let origin = Origin::start(host).await;
    let proxy = Proxy::builder()
        .canary(KEY)
        .public_value("canary", "account_sid", "AC0123456789")
        .public_value("canary", "username", "robot")
        .provider("vendor", spec)
        .origin(&origin)
        .start()
        .await;
    (proxy, origin)
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn gitlab_gets_its_token_where_the_client_put_the_dummy_and_nowhere_else() {
    let host = "gitlab.com";
    let (proxy, origin) = vendor("type: gitlab\nauth: {secretRef: canary}", host).await;
    let (agent, dummy) = (proxy.agent(), proxy.dummy("GITLAB_TOKEN"));
    assert!(dummy.starts_with("glpat-"), "{dummy}");
    for refused in [format!("X-Token: {dummy}"), format!("Cookie: session={dummy}")] {
        let head = format!("GET /api/v4/user HTTP/1.1\n{refused}");
        agent.ask(host, &head).await.assert_refused(403, "DW1007");
    }
    assert!(origin.requests().is_empty(), "{:#?}", origin.requests());
    // Never into a URL, which servers log: the parameter goes.
    agent.get(host, &format!("/api/v4/user?private_token={dummy}&a=b")).await.assert_ok();
    assert_eq!(origin.last().target, "/api/v4/user?a=b");
    assert!(!origin.last().contains(KEY));
    for (name, sent, received) in [
        ("private-token", dummy.clone(), KEY.to_owned()),
        ("authorization", format!("Bearer {dummy}"), format!("Bearer {KEY}")),
        ("authorization", basic("oauth2", &dummy), basic("oauth2", KEY)),
    ] {
        let head = format!("GET /acme/api.git/info/refs?service=git-upload-pack HTTP/1.1\n{name}: {sent}");
        agent.ask(host, &head).await.assert_ok();
        assert_eq!(origin.last().headers_named(name), [received]);
    }
    agent.get(host, "/api/v4/projects").await.assert_ok();
    assert!(!origin.last().contains(KEY));
}

#[tokio::test]
async fn azure_openai_gets_api_key_and_loses_authorization() {
    let host = "acme.openai.azure.com";
    let spec = format!("type: azure-openai\nhost: {host}\nauth: {{secretRef: canary}}");
    let (proxy, origin) = vendor(&spec, host).await;
    let path = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";
    let headers = "Api-Key: own\nAuthorization: Bearer own";
    proxy.agent().post(host, path, headers, b"{}").await.assert_ok();
    let seen = origin.only();
    assert_eq!(seen.headers_named("api-key"), [KEY]);
    assert!(!seen.contains("own"), "{seen:#?}");
    assert_eq!(seen.target, path);
}

#[tokio::test]
async fn twilio_gets_basic_with_the_account_of_the_secret() {
    let host = "api.twilio.com";
    let (proxy, origin) = vendor("type: twilio\nauth: {secretRef: canary}", host).await;
    let dummy = proxy.dummy("TWILIO_AUTH_TOKEN");
    let path = "/2010-04-01/Accounts/AC0123456789/Messages.json";
    for user in ["AC0123456789", "AC9999999999"] {
        let headers = format!("Authorization: {}", basic(user, &dummy));
        proxy.agent().post(host, path, &headers, b"Body=x").await.assert_ok();
        assert_eq!(origin.last().headers_named("authorization"), [basic("AC0123456789", KEY)]);
    }
}

#[tokio::test]
async fn registries_and_indexes_get_basic_in_their_own_form() {
    for (spec, host, path, sent) in [
        ("type: pypi\nauth: {secretRef: canary}", "upload.pypi.org", "/legacy/", basic("__token__", KEY)),
        (
            "type: docker-registry\nhost: r.example\nauth: {secretRef: canary}",
            "r.example",
            "/v2/app/blobs/uploads/",
            basic("robot", KEY),
        ),
        (
            "type: npm\nauth: {type: bearer, secretRef: canary}",
            "registry.npmjs.org",
            "/-/npm/v1/security/advisories/bulk",
            format!("Bearer {KEY}"),
        ),
    ] {
        let (proxy, origin) = vendor(spec, host).await;
        proxy.agent().post(host, path, "Authorization: Bearer own", b"x").await.assert_ok();
        assert_eq!(origin.only().headers_named("authorization"), [sent], "{host}");
    }
}

#[tokio::test]
async fn an_index_that_takes_no_credential_gets_none() {
    let host = "pypi.org";
    let (proxy, origin) = vendor("type: pypi\nauth: {secretRef: canary}", host).await;
    proxy.agent().get(host, "/simple/requests/").await.assert_ok();
    assert!(!origin.only().contains(KEY));
    let head = format!("GET /simple/requests/ HTTP/1.1\nAuthorization: {}", proxy.dummy("UV_PUBLISH_TOKEN"));
    proxy.agent().ask(host, &head).await.assert_refused(403, "DW1007");
}

#[tokio::test]
async fn linear_and_serper_get_the_bare_key_in_their_header() {
    for (kind, host, header) in
        [("linear", "api.linear.app", "authorization"), ("serper", "google.serper.dev", "x-api-key")]
    {
        let (proxy, origin) = vendor(&format!("type: {kind}\nauth: {{secretRef: canary}}"), host).await;
        proxy.agent().post(host, "/graphql", &format!("{header}: own"), b"{}").await.assert_ok();
        assert_eq!(origin.only().headers_named(header), [KEY], "{kind}");
    }
}
