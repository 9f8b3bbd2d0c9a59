//! Bodies that say what their requests do: GraphQL's queries and Slack's channels. Read where that decides something, sent as
//! they came, and where they cannot be read the request is judged as one that could do more.

use harness::{Agent, Origin, Proxy, Reply};

const GITHUB: &str = "api.github.com";
const SLACK: &str = "slack.com";
const JSON: &str = "Content-Type: application/json; charset=utf-8";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const QUERY: &str = r#"{"query": "query { viewer { login } }"}"#;
const MUTATION: &str = r#"{"query": "mutation { addStar(input: {starrableId: 1}) { clientMutationId } }"}"#;
const POST_MESSAGE: &str = "/api/chat.postMessage";

async fn before(origin: &Origin, spec: &str) -> Proxy {
    Proxy::builder()
        .provider("told", &format!("{spec}\nauth: {{secretRef: canary}}"))
        .origin(origin)
        .start()
        .await
}

async fn graphql(agent: &Agent, headers: &str, body: &str) -> Reply {
    agent.post(GITHUB, "/graphql", headers, body.as_bytes()).await
}

#[tokio::test]
async fn of_graphql_a_query_may_be_allowed_without_a_mutation() {
    let origin = Origin::start(GITHUB).await;
    let proxy = before(&origin, "type: github\npolicy: {allow: [\"graphql:query\"]}").await;
    let agent = proxy.agent();
    let long = format!(r#"{{"query": "{{ a }}", "variables": {{"b": "{}"}}}}"#, "x".repeat(1 << 20));
    for (headers, body) in [
        (JSON, MUTATION),
        (FORM, QUERY),
        ("X: y", QUERY),
        ("Content-Type: application/json; charset=utf-16", QUERY),
        ("Content-Type: application/json\nContent-Type: text/plain", QUERY),
        ("Content-Type: application/json\nContent-Encoding: gzip", QUERY),
        (JSON, &*long),
    ] {
        graphql(&agent, headers, body).await.assert_refused(403, "DW1002");
    }
    // Of unknown length.
    let chunked = format!("POST /graphql HTTP/1.1\n{JSON}\nTransfer-Encoding: chunked");
    let body = format!("{:x}\r\n{QUERY}\r\n0\r\n\r\n", QUERY.len());
    let wire = harness::agent::wire(GITHUB, &chunked, body.as_bytes());
    agent.tls(GITHUB).await.exchange(&wire).await.assert_refused(403, "DW1002");
    origin.assert_untouched();
    graphql(&agent, JSON, QUERY).await.assert_ok();
    let seen = origin.only();
    assert_eq!((seen.body.as_slice(), seen.complete), (QUERY.as_bytes(), true));
    assert_eq!(seen.headers_named("authorization"), [format!("Bearer {}", proxy.canary())]);
}

#[tokio::test]
async fn a_body_that_decides_nothing_passes_unread() {
    let origin = Origin::start(GITHUB).await;
    let proxy = before(&origin, "type: github\npolicy: {allow: [\"graphql:*\"]}").await;
    let long = format!(r#"{{"query": "{{ a }}", "variables": {{"b": "{}"}}}}"#, "x".repeat(1 << 20));
    for body in [MUTATION, QUERY, &*long, "neither"] {
        graphql(&proxy.agent(), JSON, body).await.assert_ok();
        assert_eq!(origin.last().body, body.as_bytes());
    }
}

#[tokio::test]
async fn a_message_goes_to_the_channels_in_scope_and_to_no_other() {
    let origin = Origin::start(SLACK).await;
    let proxy = before(&origin, "type: slack\nscope: {channels: [C1]}").await;
    let agent = proxy.agent();
    for (path, headers, body) in [
        (POST_MESSAGE, JSON, r#"{"channel": "C2", "text": "hello"}"#),
        (POST_MESSAGE, JSON, r#"{"channel": "C1", "text": "hello", "channel": "C2"}"#),
        (POST_MESSAGE, JSON, r#"{"text": "hello"}"#),
        (POST_MESSAGE, FORM, "channel=C2&text=hello"),
        (POST_MESSAGE, FORM, "channel=C1&text=hello&channel=C2"),
        (POST_MESSAGE, FORM, r#"{"channel": "C1", "text": "hello"}"#),
        (POST_MESSAGE, "X: y", "channel=C1&text=hello"),
        ("/api/chat.postMessage?channel=C2", JSON, r#"{"channel": "C1", "text": "hello"}"#),
        ("/api/files.completeUploadExternal", JSON, r#"{"channel": "C1", "channel_id": "C2"}"#),
    ] {
        agent.post(SLACK, path, headers, body.as_bytes()).await.assert_refused(403, "DW1002");
    }
    origin.assert_untouched();
    for (headers, body) in
        [(JSON, r#"{"channel": "C1", "text": "hello"}"#), (FORM, "channel=C1&text=hello+%C3%A4")]
    {
        agent.post(SLACK, POST_MESSAGE, headers, body.as_bytes()).await.assert_ok();
        assert_eq!(origin.last().body, body.as_bytes());
    }
}
