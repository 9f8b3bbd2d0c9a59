//! Who may manage no secrets comes to no value: by no token of an agent, no attachment, no document.

use harness::Server;
use serde_json::json;

use super::github;

const AGENTS: &str = "/v1/projects/default/agents";
const PROVIDERS: &str = "/v1/projects/default/providers";

#[tokio::test]
async fn a_developer_is_shown_no_agents_token_by_any_call() {
    let server = Server::start().await;
    server.post(AGENTS, json!({"name": "theirs"})).await.is(201);
    let developer = server.token(Some("default"), "developer").await;
    let any = [("if-match", "*")];
    let mine = json!({"name": "mine"});
    let key = [("idempotency-key", "k")];
    for _ in 0..2 {
        let made = server.call_with(&developer, "POST", AGENTS, &key, Some(&mine)).await;
        assert!(made.json()["token"].is_null() && made.json()["agent"]["name"] == "mine", "{}", made.json());
    }
    for name in ["mine", "theirs"] {
        let path = format!("{AGENTS}/{name}/rotate");
        let rotated = server.call_with(&developer, "POST", &path, &any, Some(&json!({}))).await;
        rotated.refused(403, "DW6005");
    }
    // Whoever may manage secrets gives it one.
    let manager = server.token(Some("default"), "manager").await;
    let path = format!("{AGENTS}/mine/rotate");
    let rotated = server.call_with(&manager, "POST", &path, &any, Some(&json!({}))).await;
    assert!(rotated.is(200).json()["token"].as_str().unwrap().starts_with("dwa_"));
    let revoke = format!("{AGENTS}/mine/revoke");
    server.call_with(&developer, "POST", &revoke, &any, None).await.is(200);
}

#[tokio::test]
async fn a_developer_attaches_nothing_that_brings_a_secret() {
    let server = Server::start().await;
    server.secret("default", "pat").await;
    server.post(AGENTS, json!({"name": "bot"})).await.is(201);
    server.post(PROVIDERS, json!({"document": github("gh", "pat")})).await.is(201);
    let open = "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {name: open}\nspec:\n  type: http-token\n  host: open.example.com\n  policy: {httpRules: [{id: all, methods: [GET], paths: [\"/**\"], effect: allow}]}\n";
    server.post(PROVIDERS, json!({"document": open})).await.is(201);
    server.post("/v1/projects/default/variables", json!({"name": "region", "value": "eu"})).await.is(201);
    let developer = server.token(Some("default"), "developer").await;
    let path = format!("{AGENTS}/bot/attachments");
    for (body, status) in [
        (json!({"kind": "secret", "name": "pat"}), 403),
        (json!({"kind": "env", "name": "PAT", "secret": "pat"}), 403),
        (json!({"kind": "provider", "name": "gh"}), 403),
        (json!({"kind": "provider", "name": "open"}), 201),
        (json!({"kind": "env", "name": "REGION", "variable": "region"}), 201),
    ] {
        let answer = server.call_as(&developer, "POST", &path, Some(&body)).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.json());
    }
    let manager = server.token(Some("default"), "manager").await;
    let body = json!({"kind": "provider", "name": "gh"});
    server.call_as(&manager, "POST", &path, Some(&body)).await.is(201);
}

#[tokio::test]
async fn nobody_makes_a_token_that_outlives_his_own() {
    let server = Server::start().await;
    let tokens = "/v1/projects/default/tokens";
    let (soon, later) = ("2099-01-01T00:00:00Z", "2099-01-02T00:00:00Z");
    let body = |name: &str, expires: Option<&str>| json!({"name": name, "role": "admin", "expires": expires});
    let made = server.post(tokens, body("ends", Some(soon))).await;
    let ends = made.is(201).json()["token"].as_str().unwrap().to_owned();
    let refused = server.call_as(&ends, "POST", tokens, Some(&body("longer", Some(later)))).await;
    refused.refused(403, "DW6005");
    let same = server.call_as(&ends, "POST", tokens, Some(&body("endless", None))).await;
    assert_eq!(same.is(201).json()["apiToken"]["expires"], soon);
    let agent = |name: &str, expires: Option<&str>| json!({"name": name, "expires": expires});
    server.call_as(&ends, "POST", AGENTS, Some(&agent("a", Some(later)))).await.refused(403, "DW6005");
    let made = server.call_as(&ends, "POST", AGENTS, Some(&agent("b", None))).await;
    assert_eq!(made.is(201).json()["agent"]["expires"], soon);
    let rotate = json!({"expires": later});
    let path = format!("{AGENTS}/b/rotate");
    let any = [("if-match", "*")];
    server.call_with(&ends, "POST", &path, &any, Some(&rotate)).await.refused(403, "DW6005");
    let rotated = server.call_with(&ends, "POST", &path, &any, Some(&json!({}))).await;
    assert_eq!(rotated.is(200).json()["agent"]["expires"], soon);
    // One that does not end makes what does not end.
    let free = server.post(tokens, body("free", None)).await;
    assert!(free.is(201).json()["apiToken"]["expires"].is_null());
}
