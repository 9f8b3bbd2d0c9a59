//! What is sent in the wrong place is quoted nowhere: a value in every string field and map key of every call of the
//! description, and in every place of a document, is in no answer, no log and no record. [`Server`] searches them at its end.

use harness::Server;
use serde_json::{Value, json};

use super::endpoints::{body, world};
use super::github;

/// Free text that is kept and shown, since that is what it is for: the last part of the path, and the field.
const FREE: &[(&str, &str)] = &[
    ("projects", "description"),
    ("{project}", "description"),
    ("secrets", "description"),
    ("agents", "description"),
    ("tokens", "name"),
    ("variables", "value"),
    ("{variable}", "value"),
];

/// A value that is no name, host, time or type of anything, and must not be seen again.
fn misplaced(server: &Server) -> String {
    format!("ghp_{} !", server.canary())
}

/// The bodies with a misplaced value in this field.
fn variants(server: &Server, good: &Value, field: &str, schema: &Value) -> Vec<Value> {
    let with = |value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let mut all = vec![with(json!(misplaced(server))), with(json!([misplaced(server)]))];
    all.push(with(json!({misplaced(server): misplaced(server)})));
    if schema.get("additionalProperties").is_some() || schema.get("propertyNames").is_some() {
        // A key that can be one, whose value cannot.
        for value in ["", "short", " blank ", "line\nbreak"] {
            all.push(with(json!({format!("ghp_{}", server.canary()): value})));
        }
        all.push(with(json!({"token": format!("{}\n", misplaced(server))})));
        all.push(with(json!({"key.json": misplaced(server)})));
    }
    all
}

#[tokio::test]
async fn a_value_in_the_wrong_field_is_quoted_by_no_call() {
    let (server, all) = world().await;
    let description = server.send("GET", "/v1/openapi.json", &[], b"").await.json();
    let mut tried = 0;
    for (method, template, path) in &all {
        let Some(good) = body(method, template) else { continue };
        let schema = &description["paths"][template][method.to_lowercase()]["requestBody"]["content"]["application/json"]
            ["schema"];
        let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()).expect("a named schema");
        let schema = &description["components"]["schemas"][name];
        let last = template.rsplit('/').next().unwrap();
        let mut wrong =
            vec![json!(misplaced(&server)), json!([misplaced(&server)]), json!({misplaced(&server): 1})];
        for (field, of_field) in schema["properties"].as_object().into_iter().flatten() {
            if !FREE.contains(&(last, field)) {
                wrong.extend(variants(&server, &good, field, of_field));
            }
        }
        for one in wrong {
            let answer =
                server.call_with(server.root(), method, path, &[("if-match", "*")], Some(&one)).await;
            assert!((400..500).contains(&answer.status), "{method} {path} {one}: {}", answer.json());
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
    // And what is said of queries.
    for path in ["projects", "projects/own/secrets", "projects/own/audit", "can-i", "projects/own/changes"] {
        for name in ["cursor", "limit", "source", "permission", "project", "since", "watch", "after"] {
            let query = format!("/v1/{path}?{name}=ghp_{}", server.canary());
            assert!(matches!(server.get(&query).await.status, 400 | 404), "{query}");
        }
    }
    server.get("/v1/projects/own/audit/export").await.is(200);
}

#[tokio::test]
async fn a_value_in_the_wrong_place_of_a_document_or_env_text_is_not_quoted() {
    let server = Server::start().await;
    server.secret("default", "pat").await;
    let good = github("gh", "pat");
    for (from, to) in [
        ("{name: gh}", "{name: CANARY}"),
        ("{name: gh}", "{name: gh, CANARY: 1}"),
        ("{name: gh}", "{name: gh, namespace: CANARY}"),
        ("kind: Provider", "kind: CANARY"),
        ("doorward.dev/v1alpha1", "CANARY"),
        ("type: github", "type: CANARY"),
        ("type: github", "CANARY: github"),
        ("type: pat", "type: CANARY"),
        ("secretRef: pat", "secretRef: CANARY"),
        ("secretRef: pat", "secretRef: {name: CANARY}"),
        ("secretRef: pat", "CANARY: pat"),
        ("secretRef: pat", "secretRef: pat, agentEnvVar: CANARY"),
        ("\"issues:read\"", "\"CANARY\""),
        ("policy: {", "policy: {CANARY: 1, "),
        ("policy: {", "policy: {httpRules: [{id: CANARY, methods: [CANARY], paths: [CANARY]}], "),
        ("  policy:", "  host: CANARY\n  policy:"),
        ("  policy:", "  tests: [{request: \"GET CANARY\", expect: allow}]\n  policy:"),
        ("  policy:", "  tests: [{request: \"DELETE /repos/a/CANARY\", expect: allow}]\n  policy:"),
        (
            "  policy:",
            "  tests: [{request: \"GET /repos/a/b/issues\", expect: allow, rule: CANARY}]\n  policy:",
        ),
        ("  policy:", "  tls: {mode: CANARY, upstreamCA: CANARY}\n  policy:"),
        ("  policy:", "  response: {stripHeaders: [\"CANARY !\"], redact: CANARY}\n  policy:"),
    ] {
        let text = good.replace(from, &to.replace("CANARY", &format!("ghp_{}", server.canary())));
        assert_ne!(text, good, "{from}");
        let answer = server.post("/v1/projects/default/providers", json!({"document": text})).await;
        assert_eq!(answer.status, 422, "{to}: {}", answer.json());
    }
    // The last line of a key that was pasted where lines are NAME=VALUE.
    for text in ["CANARY=", "CANARY==", "export CANARY=\"", "CANARY", "A=b\nCANARY= "] {
        let text = text.replace("CANARY", &format!("ghp_{}", server.canary()));
        for dry in [true, false] {
            let body = json!({"text": text, "dryRun": dry});
            let answer = server.post("/v1/projects/default/import", body).await;
            assert!(matches!(answer.status, 200 | 422), "{}", answer.json());
        }
    }
    server.get("/v1/projects/default/audit/export").await.is(200);
}
