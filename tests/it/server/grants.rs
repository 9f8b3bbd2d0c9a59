//! Agents, what is attached to them, and API tokens.

use harness::Server;
use serde_json::json;

use super::github;

const AGENTS: &str = "/v1/projects/default/agents";

#[tokio::test]
async fn an_agents_token_is_shown_once_rotated_and_revoked() {
    let server = Server::start().await;
    let made = server.post(AGENTS, json!({"name": "bot", "description": "triage"})).await;
    let first = made.is(201).json()["token"].as_str().unwrap().to_owned();
    let path = format!("{AGENTS}/bot");
    let read = server.get(&path).await;
    assert!(read.is(200).json().get("token").is_none());
    let rotated = server.change("POST", &format!("{path}/rotate"), &read.etag(), Some(json!({}))).await;
    let second = rotated.is(200).json()["token"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    server.change("POST", &format!("{path}/revoke"), &read.etag(), None).await.refused(412, "DW6010");
    let revoked = server.change("POST", &format!("{path}/revoke"), &rotated.etag(), None).await;
    assert!(revoked.is(200).json()["revoked"].is_string());
    server.change("DELETE", &path, &revoked.etag(), None).await.is(204);
    server.get(&path).await.refused(404, "DW6007");
    for name in ["Bot", "", "a/b", "-a"] {
        server.post(AGENTS, json!({"name": name})).await.refused(422, "DW6016");
    }
}

#[tokio::test]
async fn dw6019_an_agent_gets_no_second_credential_for_one_provider() {
    let server = Server::start().await;
    server.secret("default", "pat").await;
    server.secret("default", "other").await;
    server.post(AGENTS, json!({"name": "bot"})).await.is(201);
    for (name, secret) in [("gh", "pat"), ("hub", "other")] {
        let body = json!({"document": github(name, secret)});
        server.post("/v1/projects/default/providers", body).await.is(201);
    }
    let path = format!("{AGENTS}/bot/attachments");
    let made = server.post(&path, json!({"kind": "provider", "name": "gh"})).await;
    assert_eq!(made.is(201).json()["synced"], false, "no sidecar has it yet");
    server.post(&path, json!({"kind": "provider", "name": "gh"})).await.refused(409, "DW6009");
    let refused = server.post(&path, json!({"kind": "provider", "name": "hub"})).await;
    assert_eq!(refused.refused(409, "DW6019").json()["used_by"], json!(["provider gh"]));
    server.post(&path, json!({"kind": "secret", "name": "pat"})).await.is(201);
    server.post(&path, json!({"kind": "secret", "name": "other"})).await.refused(409, "DW6019");
    // What is attached is in use.
    let provider = "/v1/projects/default/providers/gh";
    let used = server.change("DELETE", provider, "*", None).await;
    assert_eq!(used.refused(409, "DW6002").json()["used_by"], json!(["agent bot"]));
    server.change("DELETE", &format!("{path}/provider/gh"), "*", None).await.is(204);
    server.post(&path, json!({"kind": "provider", "name": "hub"})).await.is(201);
    server.change("DELETE", provider, "*", None).await.is(204);
    server.change("DELETE", &format!("{path}/provider/gh"), "*", None).await.refused(404, "DW6007");
}

#[tokio::test]
async fn refuses_to_attach_what_is_not_there_and_variables_that_are_not_for_others_to_set() {
    let server = Server::start().await;
    server.post(AGENTS, json!({"name": "bot"})).await.is(201);
    server.secret("default", "pat").await;
    server.post("/v1/projects/default/variables", json!({"name": "region", "value": "eu"})).await.is(201);
    let path = format!("{AGENTS}/bot/attachments");
    for body in [
        json!({"kind": "secret", "name": "nothing"}),
        json!({"kind": "provider", "name": "nothing"}),
        json!({"kind": "env", "name": "REGION", "variable": "nothing"}),
        json!({"kind": "env", "name": "REGION"}),
        json!({"kind": "env", "name": "LD_PRELOAD", "variable": "region"}),
        json!({"kind": "env", "name": "HTTPS_PROXY", "variable": "region"}),
        json!({"kind": "secret", "name": "pat", "variable": "region"}),
    ] {
        server.post(&path, body).await.refused(422, "DW6016");
    }
    server.post(&path, json!({"kind": "env", "name": "REGION", "variable": "region"})).await.is(201);
    let secret = json!({"kind": "env", "name": "GH", "secret": "pat"});
    let developer = server.token(Some("default"), "developer").await;
    server.call_as(&developer, "POST", &path, Some(&secret)).await.refused(403, "DW6005");
    server.post(&path, secret).await.is(201);
    let list = server.get(&path).await.is(200).json();
    let kinds: Vec<_> = list["items"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    server.change("DELETE", "/v1/projects/default/variables/region", "*", None).await.refused(409, "DW6002");
}

#[tokio::test]
async fn nobody_makes_or_revokes_a_token_with_more_than_he_has() {
    let server = Server::start().await;
    let tokens = "/v1/projects/default/tokens";
    let admin = server.token(Some("default"), "admin").await;
    let owner = json!({"name": "boss", "role": "owner"});
    server.call_as(&admin, "POST", tokens, Some(&owner)).await.refused(403, "DW6005");
    let manager = server.token(Some("default"), "manager").await;
    let viewer = json!({"name": "eyes", "role": "viewer"});
    server.call_as(&manager, "POST", tokens, Some(&viewer)).await.refused(403, "DW6005");
    let made = server.call_as(&admin, "POST", tokens, Some(&viewer)).await;
    let token = made.is(201).json()["token"].as_str().unwrap().to_owned();
    server.call_as(&token, "GET", "/v1/can-i", None).await.is(200);
    let boss = server.post(tokens, owner).await.is(201).json()["apiToken"]["id"].as_str().unwrap().to_owned();
    let path = format!("{tokens}/{boss}");
    server.call_with(&admin, "DELETE", &path, &[("if-match", "*")], None).await.refused(403, "DW6005");
    // A revoked token ends at once.
    let one = made.headers["location"].to_str().unwrap();
    server.call_with(&admin, "DELETE", one, &[("if-match", "*")], None).await.is(204);
    server.call_as(&token, "GET", "/v1/can-i", None).await.refused(401, "DW6004");
    let wrong = json!({"name": "x", "role": "emperor"});
    server.call_as(&admin, "POST", tokens, Some(&wrong)).await.refused(400, "DW6003");
}

#[tokio::test]
async fn a_stream_of_changes_ends_with_its_token() {
    let server = Server::start().await;
    let made = server.post("/v1/tokens", json!({"name": "watcher", "role": "viewer"})).await;
    let token = made.is(201).json()["token"].as_str().unwrap().to_owned();
    let mut stream = server.watch_changes_as(&token, "/v1/projects/default/secrets?watch=true").await;
    stream.event("ready").await;
    let one = made.headers["location"].to_str().unwrap();
    server.change("DELETE", one, "*", None).await.is(204);
    assert!(stream.event("change").await.is_null(), "the stream goes on");
}
