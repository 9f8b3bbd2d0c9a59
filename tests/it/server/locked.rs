//! A server that was started without its passphrase: shut, until somebody who may hands it in over the unix socket.

use std::process::Command;

use harness::home::{Ran, finish};
use harness::{Server, canary};
use serde_json::json;

const PHRASE: &str = "correct horse battery";

fn unlock(server: &Server, url: &str, token: &str, phrase: &str) -> Ran {
    let (token_file, file) = (server.path("unlock.token"), server.path("unlock.phrase"));
    harness::proxy::build::put(&token_file, token);
    harness::proxy::build::put(&file, phrase);
    let mut command = Command::new(harness::binary::doorward());
    command
        .arg("--home")
        .arg(server.path("client"))
        .args(["unlock", "--passphrase-file"])
        .arg(&file)
        .env_clear();
    command.env("HOME", server.path("client")).env("DOORWARD_SERVER", url);
    command.env("DOORWARD_SERVER_CA", server.ca()).env("DOORWARD_TOKEN_FILE", &token_file);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    finish(command, "")
}

/// A server whose key is a passphrase's, with a secret, started again without it.
async fn locked() -> (Server, String) {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("phrase");
    harness::proxy::build::put(&file, PHRASE);
    let flags = ["--passphrase-file", file.to_str().unwrap()];
    let server = Server::setup().flags(&flags).start().await;
    server.secret("default", "pat").await;
    let manager = server.token(None, "manager").await;
    let owner = server.token(Some("default"), "owner").await;
    (server.restart(Server::setup()).await, format!("{manager} {owner}"))
}

#[tokio::test]
async fn dw5001_a_server_without_its_passphrase_is_shut_until_it_is_handed_in() {
    let (server, tokens) = locked().await;
    let socket = format!("unix:{}", server.path("api.sock").display());
    let root = server.root().to_owned();
    server.get("/v1/projects").await.refused(503, "DW5001");
    server.get("/v1/openapi.json").await.refused(503, "DW5001");
    server.send("GET", "/v1/sync", &[], b"").await.refused(503, "DW5001");
    server.send("GET", "/v1/projects", &[("host", "evil.example")], b"").await.refused(421, "DW6015");
    assert_eq!(server.admin("/readyz").await.status, 503);
    assert_eq!(server.admin("/livez").await.status, 200);

    let body = json!({"passphrase": PHRASE}).to_string();
    let headers =
        [("authorization", format!("Bearer {root}")), ("content-type", "application/json".to_owned())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    server.send("POST", "/v1/unlock", &headers, body.as_bytes()).await.refused(403, "DW6005");
    unlock(&server, server.url(), &root, PHRASE).assert_fails(2, "unix socket");
    let typed = &headers[1..];
    server.send_unix("POST", "/v1/unlock", typed, body.as_bytes()).await.refused(401, "DW6004");
    server.send_unix("POST", "/v1/unlock", &headers, b"{}").await.refused(400, "DW6003");
    for token in tokens.split(' ') {
        unlock(&server, &socket, token, PHRASE).assert_fails(1, "project:admin");
    }
    let wrong = canary::fresh();
    server.watch(&wrong);
    unlock(&server, &socket, &root, &wrong).assert_fails(1, "not the master key");
    server.get("/v1/projects").await.refused(503, "DW5001");

    unlock(&server, &socket, &root, PHRASE).assert_ok();
    let mut answer = server.get("/v1/projects/default/secrets/pat").await;
    while answer.status == 503 {
        answer = server.get("/v1/projects/default/secrets/pat").await;
    }
    let made = answer.is(200);
    let change = json!({"values": {"token": server.canary()}});
    server
        .change("POST", "/v1/projects/default/secrets/pat/rotate", &made.etag(), Some(change))
        .await
        .is(200);
    assert_eq!(server.admin("/readyz").await.status, 200);
    let told = server.get("/v1/audit?path=/v1/unlock").await.is(200).json();
    let told: Vec<_> =
        told["items"].as_array().unwrap().iter().map(|one| one["record"]["verdict"].clone()).collect();
    assert_eq!(told, [json!("deny"), json!("deny"), json!("deny"), json!("allow")]);
    unlock(&server, &socket, &root, PHRASE).assert_fails(5, "");
}
