//! schemathesis against the running server, from its description: whatever is sent, no answer is a fault of the server's or one
//! that the description does not know, and none holds a value.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use harness::postgres::Postgres;
use harness::{Server, canary};
use serde_json::{Value, json};
use tokio::process::Command;

use super::installed;

/// How long it may look, in seconds, and how long it may take to come and go beside.
const BUDGET: u64 = 18;
const BESIDE: Duration = Duration::from_secs(240);

/// What holds for every answer. Left out is `positive_data_acceptance`: names of objects have to be of some that are there, and
/// documents have rules of their own, which no schema says.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
    response_schema_conformance,unsupported_method,allow_header_conformance,ignored_auth";

/// The server's description, without the streams, which do not end, and with a value that must not be seen again wherever one is
/// handed in.
fn description(mut served: Value, canary: &str) -> Value {
    for methods in served["paths"].as_object_mut().unwrap().values_mut() {
        for operation in methods.as_object_mut().unwrap().values_mut() {
            if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
                parameters.retain(|one| !matches!(one["name"].as_str(), Some("watch" | "since")));
                // Otherwise every name would be that of nothing.
                for path in parameters.iter_mut().filter(|one| one["in"] == "path") {
                    let known = if path["name"] == "project" { "default" } else { "pat" };
                    path["schema"] = json!({"type": "string", "enum": [known, "nowhere"]});
                }
                for seen in parameters.iter_mut().filter(|one| one["name"] == "If-Match") {
                    seen["schema"] = json!({"type": "string", "enum": ["*", "\"v1\""]});
                }
            }
        }
    }
    let schemas = served["components"]["schemas"].as_object_mut().unwrap();
    for (_, schema) in schemas.iter_mut().filter(|(name, _)| name.ends_with("Body")) {
        let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { continue };
        for (name, property) in properties {
            let put = match name.as_str() {
                "name" => json!({"type": "string", "pattern": "^[a-z]{1,4}$"}),
                "expires" | "grace" => {
                    json!({"enum": [null, "2099-01-01T00:00:00Z", "2001-01-01T00:00:00Z"]})
                }
                "for" => json!({"enum": [null, "github", "nothing"]}),
                "values" => json!({
                    "type": "object",
                    "properties": {"token": {"type": "string", "enum": [canary]}},
                    "required": ["token"],
                    "additionalProperties": false,
                }),
                "text" => json!({"type": "string", "enum": [format!("SOME_TOKEN={canary}")]}),
                "code" | "verifier" => json!({"type": "string", "enum": [canary]}),
                _ => continue,
            };
            *property = put;
        }
    }
    served
}

async fn run(schemathesis: &Path, server: &Server) {
    let canary = canary::fresh();
    // One that is there for certain, whatever is generated.
    let kept = json!({"name": "kept", "values": {"token": canary}, "for": "github"});
    server.post("/v1/projects/default/secrets", kept).await.is(201);
    let served = server.send("GET", "/v1/openapi.json", &[], b"").await.is(200).json();
    let file = server.path("described.json");
    std::fs::write(&file, description(served, &canary).to_string()).unwrap();
    let root = format!("Authorization: Bearer {}", server.root());
    let mut command = Command::new(schemathesis);
    command
        .arg("run")
        .arg(&file)
        .args(["--url", server.url(), "--header", &root, "--tls-verify"])
        .arg(server.ca());
    command.args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--continue-on-failure"]);
    command.args(["--max-time", &BUDGET.to_string(), "--max-examples", "10", "--no-shrink", "--seed", "1"]);
    command.args([
        "--request-timeout",
        "30",
        "--warnings",
        "off",
        "--generation-database",
        "none",
        "--no-color",
    ]);
    let report = server.path("exchanges.har");
    command.args(["--report", "har", "--output-sanitize", "false", "--report-har-path"]).arg(&report);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", server.path("client"));
    command.current_dir(server.path("")).stdin(Stdio::null()).kill_on_drop(true);
    let patience = Duration::from_secs(BUDGET) + BESIDE;
    let ended = tokio::time::timeout(patience, command.output()).await.expect("schemathesis ends");
    let output = ended.expect("schemathesis starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    let exchanges = report["log"]["entries"].as_array().unwrap();
    let has_sent = |one: &&Value| one["request"].to_string().contains(&canary);
    assert!(exchanges.iter().filter(has_sent).count() > 5, "no value was handed in, in {}", exchanges.len());
    for one in exchanges {
        let found = canary::search(one["response"].to_string().as_bytes(), &canary);
        assert!(found.is_none(), "an answer holds a value: {found:?}: {}", one["response"]);
        assert!(!one["response"].to_string().contains("DW6020"), "a fault of the server: {}", one["request"]);
    }
    // The log, the database and the answers from here on are searched for it when the server ends.
    server.watch(&canary);
    // Still there, and still itself.
    for list in [
        "",
        "/default/secrets",
        "/default/variables",
        "/default/audit?limit=1000",
        "/default/changes?since=1",
    ] {
        server.get(&format!("/v1/projects{list}")).await.is(200);
    }
    assert!(server.log().lines().count() > 100, "it was not called");
    assert!(!server.log().contains("a call ended by a panic"));
}

#[tokio::test]
async fn dw6020_no_call_that_the_description_allows_is_a_fault_of_the_server() {
    let Some(schemathesis) = installed(".ci/venv/bin/schemathesis") else { return };
    let many = ["token-calls=1000000", "token-burst=1000000", "failed-logins=1000000"]
        .map(|limit| ["--limit", limit]);
    let postgres = Postgres::shared();
    for database in [None, Some(postgres.database())] {
        let mut setup = Server::setup().flags(many.as_flattened());
        if let Some(database) = database {
            setup = setup.database(database);
        }
        let server = setup.start().await;
        server.secret("default", "pat").await;
        run(&schemathesis, &server).await;
    }
}
