//! Every endpoint of the description: no token, an agent's, another project's, a role without the permission.
//!
//! The list comes from the server, so that an endpoint that is added is tested without being named here.

use harness::Server;
use serde_json::{Value, json};

use super::{foreign, github};

const PROJECT: &str = "own";

/// Methods and paths with the names of objects that are there.
fn endpoints(description: &Value) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (template, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            // The way in needs no token.
            if operation["security"] == json!([{}]) {
                continue;
            }
            let folder = template.split('/').nth(4).unwrap_or_default();
            let name = match folder {
                "secrets" | "variables" | "providers" | "model-providers" | "agents" => "thing",
                _ => "none",
            };
            let path = template
                .replace("{project}", PROJECT)
                .replace("{kind}", "provider")
                .replace("{secret}", "thing")
                .replace("{variable}", "thing")
                .replace("{agent}", "thing")
                .replace("{id}", "none")
                .replace("{ask}", "none")
                .replace("{name}", name);
            all.push((method.to_uppercase(), template.clone(), path));
        }
    }
    assert!(all.len() > 40, "{all:?}");
    all
}

/// A body that fits the schema.
pub(super) fn body(method: &str, template: &str) -> Option<Value> {
    if !matches!(method, "POST" | "PUT") {
        return None;
    }
    let last = template.rsplit('/').next().unwrap();
    Some(match last {
        "deny" => json!({}),
        "approve" if template.contains("/asks/") => json!({}),
        "rollback" | "revoke" | "approve" | "checkpoints" | "verified" => return None,
        "prune" => json!({"before": "2001-01-01T00:00:00Z"}),
        "projects" => json!({"name": "another"}),
        "secrets" => json!({"name": "another", "values": {"token": "0123456789"}, "for": "github"}),
        "rotate" if template.contains("/agents/") => json!({}),
        "rotate" => json!({"values": {"token": "0123456789"}}),
        "clone" => json!({"project": "other"}),
        "variables" => json!({"name": "another", "value": "v"}),
        "import" => json!({"text": "REGION=eu"}),
        "providers" | "model-providers" => json!({"document": github("another", "thing")}),
        "agents" => json!({"name": "another"}),
        "identities" => json!({"identities": []}),
        "attachments" => json!({"kind": "secret", "name": "thing"}),
        "tokens" => json!({"name": "another", "role": "viewer"}),
        "members" => json!({"subject": "another", "role": "viewer"}),
        "{id}" => json!({"role": "viewer"}),
        "{project}" => json!({}),
        "{variable}" => json!({"value": "w"}),
        "{name}" => json!({"document": github("thing", "thing")}),
        other => panic!("no body for {method} {template} ({other})"),
    })
}

pub(super) async fn world() -> (Server, Vec<(String, String, String)>) {
    let server = Server::setup()
        .flags(&["--limit", "token-calls=100000", "--limit", "failed-logins=100000"])
        .start()
        .await;
    for project in [PROJECT, "other"] {
        server.project(project).await;
        server.secret(project, "thing").await;
    }
    let base = format!("/v1/projects/{PROJECT}");
    server.post(&format!("{base}/variables"), json!({"name": "thing", "value": "v"})).await.is(201);
    server.post(&format!("{base}/agents"), json!({"name": "thing"})).await.is(201);
    server.post(&format!("{base}/providers"), json!({"document": github("thing", "thing")})).await.is(201);
    let description = server.send("GET", "/v1/openapi.json", &[], b"").await;
    let all = endpoints(&description.is(200).json());
    (server, all)
}

#[tokio::test]
async fn no_endpoint_answers_without_a_token_of_its_class() {
    let (server, all) = world().await;
    for (method, template, path) in all {
        let body = body(&method, &template);
        for (token, status, code) in [
            (foreign("dwt"), 401, "DW6004"),
            (foreign("dwa"), 403, "DW6006"),
            ("x".to_owned(), 401, "DW6004"),
        ] {
            let answer = server.call_as(&token, &method, &path, body.as_ref()).await;
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn objects_of_another_project_look_exactly_like_missing_ones() {
    let (server, all) = world().await;
    let stranger = server.token(Some("other"), "owner").await;
    let mut tried = 0;
    for (method, template, path) in all.iter().filter(|(_, template, _)| template.contains("{project}")) {
        let body = body(method, template);
        let missing_path = path.replace(&format!("/projects/{PROJECT}"), "/projects/nowhere");
        let etag = [("if-match", "*")];
        let theirs = server.call_with(&stranger, method, path, &etag, body.as_ref()).await;
        let missing = server.call_with(&stranger, method, &missing_path, &etag, body.as_ref()).await;
        assert_eq!(theirs.refused(404, "DW6007").without_id(), missing.without_id(), "{method} {path}");
        assert_eq!(theirs.body.len(), missing.body.len(), "{method} {path}");
        tried += 1;
    }
    assert!(tried > 35, "{tried}");
    // And nothing has happened there.
    server.get(&format!("/v1/projects/{PROJECT}/secrets/thing")).await.is(200);
    let list = server.call_as(&stranger, "GET", "/v1/projects", None).await.is(200).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    server.call_as(&stranger, "GET", "/v1/tokens", None).await.refused(403, "DW6005");
    let new = json!({"name": "mine"});
    server.call_as(&stranger, "POST", "/v1/projects", Some(&new)).await.refused(403, "DW6005");
}

#[tokio::test]
async fn dw6005_a_viewer_changes_nothing_and_reads_no_audit_and_no_tokens() {
    let (server, all) = world().await;
    let viewer = server.token(Some(PROJECT), "viewer").await;
    for (method, template, path) in &all {
        let body = body(method, template);
        let answer = server.call_with(&viewer, method, path, &[("if-match", "*")], body.as_ref()).await;
        let admins = ["/audit", "/tokens", "/members", "/asks"];
        let closed = method != "GET" || admins.iter().any(|part| template.contains(part));
        if closed {
            answer.refused(403, "DW6005");
        } else {
            assert!(matches!(answer.status, 200 | 404), "{method} {path}: {}", answer.json());
        }
    }
}

#[tokio::test]
async fn each_role_may_do_what_the_table_says() {
    let (server, _) = world().await;
    let table = [
        ("owner", "secrets:read secrets:manage providers:manage agents:manage audit:read project:admin"),
        ("admin", "secrets:read secrets:manage providers:manage agents:manage audit:read project:admin"),
        ("manager", "secrets:read secrets:manage providers:manage agents:manage audit:read"),
        ("developer", "secrets:read providers:manage agents:manage"),
        ("viewer", "secrets:read"),
    ];
    for (role, permissions) in table {
        let token = server.token(Some(PROJECT), role).await;
        let told = server.call_as(&token, "GET", "/v1/can-i", None).await.is(200).json();
        let listed: Vec<_> =
            told["permissions"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
        assert_eq!(listed.join(" "), permissions, "{role}");
        for permission in table[0].1.split(' ') {
            let path = format!("/v1/can-i?permission={permission}&project={PROJECT}");
            let told = server.call_as(&token, "GET", &path, None).await.is(200).json();
            assert_eq!(
                told["allowed"],
                permissions.split(' ').any(|one| one == permission),
                "{role} {permission}"
            );
        }
        server.call_as(&token, "GET", "/v1/can-i?project=other", None).await.refused(404, "DW6007");
    }
    server.get("/v1/can-i?permission=everything").await.refused(400, "DW6003");
}

#[tokio::test]
async fn dw6011_every_change_of_what_is_there_names_its_version() {
    let (server, all) = world().await;
    let mut tried = 0;
    for (method, template, path) in &all {
        let names_an_object = path.contains("/thing") && !template.contains("/attachments");
        let changes = matches!(method.as_str(), "PUT" | "DELETE")
            || ["rotate", "rollback", "revoke", "approve", "verified"]
                .iter()
                .any(|verb| template.ends_with(verb));
        if !(names_an_object && changes) || template.contains("model-providers") {
            continue;
        }
        let body = body(method, template);
        let without = server.call_with(server.root(), method, path, &[], body.as_ref()).await;
        assert_eq!((without.status, without.code().as_str()), (428, "DW6011"), "{method} {path}");
        for odd in ["v1", "\"1\"", "W/\"v1\"", "\"v1\", \"v2\"", "\"vx\""] {
            let answer =
                server.call_with(server.root(), method, path, &[("if-match", odd)], body.as_ref()).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "DW6003"), "{method} {path} {odd}");
        }
        let stale = server
            .call_with(server.root(), method, path, &[("if-match", "\"v999999\"")], body.as_ref())
            .await;
        assert_eq!((stale.status, stale.code().as_str()), (412, "DW6010"), "{method} {path}");
        tried += 1;
    }
    assert!(tried >= 9, "{tried}");
}
