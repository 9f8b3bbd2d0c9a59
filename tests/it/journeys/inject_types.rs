//! The built-in types: each vendor gets its credential where that vendor wants it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::{Origin, Proxy};

/// A provider of a built-in type with the canary, and one origin for `host`.
async fn vendor(kind: &str, auth: &str, host: &str) -> (Proxy, Origin) {
    let origin = Origin::start(host).await;
    let spec = format!("type: {kind}\nauth: {{type: {auth}, secretRef: canary}}");
    let proxy = Proxy::builder().provider("vendor", &spec).origin(&origin).start().await;
    (proxy, origin)
}

async fn bearer(kind: &str, auth: &str, host: &str, method: &str, path: &str) {
    let (proxy, origin) = vendor(kind, auth, host).await;
    let reply = proxy
        .agent()
        .ask(host, &format!("{method} {path} HTTP/1.1\nAuthorization: Bearer own\nContent-Length: 0"))
        .await;
    assert_eq!(reply.status, 200, "{kind}: {}", reply.text());
    let seen = origin.only();
    assert_eq!(seen.headers_named("authorization"), [format!("Bearer {}", proxy.canary())], "{kind}");
    assert_eq!(seen.target, path);
}

#[tokio::test]
async fn openai_gets_a_bearer_token() {
    bearer("openai", "api-key", "api.openai.com", "POST", "/v1/chat/completions").await;
}

#[tokio::test]
async fn openrouter_gets_a_bearer_token() {
    bearer("openrouter", "api-key", "openrouter.ai", "POST", "/api/v1/chat/completions").await;
}

#[tokio::test]
async fn venice_gets_a_bearer_token() {
    bearer("venice", "api-key", "api.venice.ai", "POST", "/api/v1/chat/completions").await;
}

#[tokio::test]
async fn slack_gets_a_bearer_token() {
    bearer("slack", "bot-token", "slack.com", "POST", "/api/chat.postMessage").await;
}

#[tokio::test]
async fn custom_is_openai_on_a_host_of_ones_own() {
    let host = "llm.example.com";
    let origin = Origin::start(host).await;
    let spec = format!("type: custom\nhost: {host}\nauth: {{type: api-key, secretRef: canary}}");
    let proxy = Proxy::builder().provider("vendor", &spec).origin(&origin).start().await;
    proxy.agent().post(host, "/v1/chat/completions", "X: y", b"{}").await.assert_ok();
    assert_eq!(origin.only().headers_named("authorization"), [format!("Bearer {}", proxy.canary())]);
}

#[tokio::test]
async fn anthropic_gets_x_api_key_and_loses_authorization() {
    let host = "api.anthropic.com";
    let (proxy, origin) = vendor("anthropic", "api-key", host).await;
    let headers = "X-Api-Key: own\nAuthorization: Bearer own\nAnthropic-Version: 2023-06-01";
    proxy.agent().post(host, "/v1/messages", headers, b"{}").await.assert_ok();
    let seen = origin.only();
    assert_eq!(seen.headers_named("x-api-key"), [proxy.canary()]);
    assert!(seen.headers_named("authorization").is_empty(), "{seen:#?}");
    assert_eq!(seen.header("anthropic-version"), Some("2023-06-01"));
}

#[tokio::test]
async fn gemini_gets_its_header_and_loses_the_key_parameter() {
    let host = "generativelanguage.googleapis.com";
    let (proxy, origin) = vendor("gemini", "api-key", host).await;
    let path = "/v1beta/models/gemini-pro:generateContent";
    proxy
        .agent()
        .post(host, &format!("{path}?key=own&alt=sse"), "X-Goog-Api-Key: own", b"{}")
        .await
        .assert_ok();
    let seen = origin.only();
    assert!(!seen.contains("own"), "{seen:#?}");
    let in_header = seen.headers_named("x-goog-api-key") == [proxy.canary()];
    let in_query = seen.target.contains(&format!("key={}", proxy.canary()));
    assert!(in_header != in_query, "exactly once: {seen:#?}");
    assert!(seen.target.contains("alt=sse"));
}

#[tokio::test]
async fn telegram_gets_its_token_in_the_path() {
    let host = "api.telegram.org";
    let origin = Origin::start(host).await;
    let spec = "type: telegram\nauth: {type: bot-token, secretRef: canary, agentEnvVar: TELEGRAM_BOT_TOKEN}";
    let secret = "123456789:AAcanaryCANARY0123456789abcdefghijk";
    let proxy = Proxy::builder().canary(secret).provider("vendor", spec).origin(&origin).start().await;
    let dummy = proxy.dummy("TELEGRAM_BOT_TOKEN");
    let encoded = dummy.replace(':', "%3A");
    for (asked, sent) in [
        (format!("/bot{dummy}/getMe"), "/bot@/getMe"),
        (format!("/bot{dummy}/sendMessage?chat_id=1"), "/bot@/sendMessage?chat_id=1"),
        (format!("/bot{encoded}/getMe"), "/bot@/getMe"),
        (format!("/file/bot{encoded}/photos/a.jpg"), "/file/bot@/photos/a.jpg"),
    ] {
        let reply = proxy.agent().get(host, &asked).await;
        assert_eq!(reply.status, 200, "{asked}: {}", reply.text());
        let target = origin.last().target.replace("%3A", ":");
        assert_eq!(target, sent.replace('@', secret), "{asked}");
    }
    // A token of the agent's own is replaced, as everywhere by default.
    proxy.agent().get(host, "/bot987654321:AAownOWNownOWN0123456789abcdefghijk/getMe").await;
    assert!(!origin.last().contains("AAown"), "{:#?}", origin.last());
    for line in proxy.audit().lines() {
        assert!(!line.to_string().contains(&dummy), "{line}");
    }
}

async fn github(policy: &str) -> (Proxy, Origin) {
    let hosts = [
        "api.github.com",
        "github.com",
        "uploads.github.com",
        "codeload.github.com",
        "raw.githubusercontent.com",
    ];
    let origin = Origin::builder(&hosts).start().await;
    let spec =
        format!("type: github\nauth: {{type: pat, secretRef: canary, agentEnvVar: GITHUB_TOKEN}}\n{policy}");
    let proxy = Proxy::builder().provider("github", &spec).origin(&origin).start().await;
    (proxy, origin)
}

#[tokio::test]
async fn github_gets_bearer_on_the_api_and_basic_for_git() {
    let (proxy, origin) = github("").await;
    let agent = proxy.agent();
    agent.ask("api.github.com", "GET /user HTTP/1.1\nAuthorization: token own").await.assert_ok();
    assert_eq!(origin.last().headers_named("authorization"), [format!("Bearer {}", proxy.canary())]);
    let pair = format!("Basic {}", STANDARD.encode(format!("x-access-token:{}", proxy.canary())));
    for path in
        ["/acme/api.git/info/refs?service=git-upload-pack", "/acme/api/info/refs?service=git-receive-pack"]
    {
        agent.get("github.com", path).await.assert_ok();
        assert_eq!(origin.last().headers_named("authorization"), [pair.as_str()], "{path}");
    }
}

#[tokio::test]
async fn github_actions_and_scope_are_enforced() {
    let policy = "policy: {allow: [\"issues:*\", \"contents:read\", \"pulls:read\"], deny: [\"repo:delete\"]}\nscope: {repositories: [\"acme/*\"]}";
    let (proxy, origin) = github(policy).await;
    let agent = proxy.agent();
    let api = "api.github.com";
    for head in [
        "DELETE /repos/acme/api HTTP/1.1",
        "POST /repos/acme/api/pulls HTTP/1.1\nContent-Length: 0",
        "PUT /repos/acme/api/collaborators/evil HTTP/1.1\nContent-Length: 0",
        "PATCH /repos/acme/api HTTP/1.1\nContent-Length: 0",
        "PUT /repos/acme/api/contents/x HTTP/1.1\nContent-Length: 0",
        "GET /repos/other/api/issues HTTP/1.1",
        "GET /repos/acme-evil/api/issues HTTP/1.1",
        "GET /repos/acme%2fapi/x/issues HTTP/1.1",
        "POST /repos/acme/api/unheard-of HTTP/1.1\nContent-Length: 0",
    ] {
        let reply = agent.ask(api, head).await;
        assert_eq!(
            (reply.status, reply.code().as_deref()),
            (403, Some("DW1002")),
            "{head}: {}",
            reply.text()
        );
    }
    agent
        .get("github.com", "/acme/api.git/info/refs?service=git-receive-pack")
        .await
        .assert_refused(403, "DW1002");
    agent
        .get("github.com", "/other/api.git/info/refs?service=git-upload-pack")
        .await
        .assert_refused(403, "DW1002");
    assert!(origin.requests().is_empty(), "{:#?}", origin.requests());
    for path in [
        "/repos/acme/api/issues",
        "/repos/acme/api/issues/1/comments",
        "/repos/acme/api/pulls",
        "/repos/acme/api/contents/README.md",
    ] {
        agent.get(api, path).await.assert_ok();
    }
    agent.get("github.com", "/acme/api.git/info/refs?service=git-upload-pack").await.assert_ok();
}

#[tokio::test]
async fn github_graphql_is_not_let_through_where_it_could_hide_something_denied() {
    let body =
        serde_json::json!({ "query": "mutation { deleteRef(input: {refId: \"x\"}) { clientMutationId } }" });
    let body = body.to_string();
    for policy in ["policy: {allow: [\"*\"], deny: [\"repo:delete\"]}", "policy: {allow: [\"issues:*\"]}"] {
        let (proxy, origin) = github(policy).await;
        let reply = proxy.agent().post("api.github.com", "/graphql", "X: y", body.as_bytes()).await;
        assert_eq!((reply.status, reply.code().as_deref()), (403, Some("DW1002")), "{policy}");
        assert!(origin.requests().is_empty());
    }
    let (proxy, _origin) = github("policy: {allow: [\"graphql:mutation\"]}").await;
    proxy.agent().post("api.github.com", "/graphql", "X: y", body.as_bytes()).await.assert_ok();
}

#[tokio::test]
async fn pai_files_load_as_they_are() {
    let origin = Origin::start("api.openai.com").await;
    let text = "apiVersion: pai.io/v1\nkind: Provider\nmetadata: {name: llm}\nspec:\n  type: openai\n  auth: {type: api-key, secretRef: canary}\n";
    let proxy = Proxy::builder().file("pai", text).origin(&origin).start().await;
    proxy.agent().get("api.openai.com", "/v1/models").await.assert_ok();
    assert_eq!(origin.only().headers_named("authorization"), [format!("Bearer {}", proxy.canary())]);
}

#[tokio::test]
async fn dummies_look_as_libraries_expect_and_open_nothing() {
    let (proxy, origin) = github("").await;
    let dummy = proxy.dummy("GITHUB_TOKEN");
    assert!(dummy.starts_with("ghp_") && dummy.contains("dw0") && dummy.len() == 40, "{dummy}");
    proxy
        .agent()
        .ask("api.github.com", &format!("GET /user HTTP/1.1\nAuthorization: token {dummy}"))
        .await
        .assert_ok();
    assert_eq!(origin.last().headers_named("authorization"), [format!("Bearer {}", proxy.canary())]);
    proxy
        .agent()
        .ask("api.github.com", &format!("GET /user HTTP/1.1\nX-Other: {dummy}"))
        .await
        .assert_refused(403, "DW1007");
    assert_eq!(origin.requests().len(), 1);
}
