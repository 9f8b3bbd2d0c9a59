//! What every call passes: host, origin, token, rate, body. Refusals before anything is looked up.

use harness::Server;
use harness::postgres::Postgres;
use serde_json::json;

use super::foreign;

#[tokio::test]
async fn dw6015_refuses_other_hosts_and_pages_of_other_origins() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.root());
    let auth = ("authorization", bearer.as_str());
    for headers in [
        &[auth, ("host", "evil.example")][..],
        &[auth, ("host", "127.0.0.1.evil.example")],
        &[auth, ("origin", "https://evil.example")],
        &[auth, ("origin", "null")],
        &[auth, ("sec-fetch-site", "cross-site")],
    ] {
        server.send("GET", "/v1/projects", headers, b"").await.refused(421, "DW6015");
    }
    server.send("GET", "/v1/projects", &[auth, ("host", "localhost:3130")], b"").await.is(200);
}

#[tokio::test]
async fn dw6004_refuses_calls_without_a_valid_token_without_saying_why() {
    let server = Server::start().await;
    let mut bodies = Vec::new();
    for value in [
        None,
        Some("Bearer ".to_owned()),
        Some("Bearer x".to_owned()),
        Some(format!("Bearer {}", foreign("dwt"))),
        Some(format!("Bearer {}", foreign("dwb"))),
        Some(format!("Basic {}", server.root())),
        Some(format!("Bearer {}x", server.root())),
        Some(format!("Bearer  {}", server.root())),
    ] {
        let header = value.as_deref().map(|value| ("authorization", value));
        let headers: Vec<_> = header.into_iter().collect();
        let answer = server.send("GET", "/v1/projects", &headers, b"").await;
        bodies.push(answer.refused(401, "DW6004").without_id());
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"doorward\"");
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    let twice = format!("Bearer {}", server.root());
    let two = [("authorization", twice.as_str()), ("authorization", twice.as_str())];
    server.send("GET", "/v1/projects", &two, b"").await.refused(401, "DW6004");
}

#[tokio::test]
async fn dw6006_refuses_an_agents_token_by_its_prefix() {
    let server = Server::start().await;
    let made = server.post("/v1/projects/default/agents", json!({"name": "bot"})).await;
    let token = made.is(201).json()["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("dwa_"), "{token}");
    for token in [token, foreign("dwa")] {
        server.call_as(&token, "GET", "/v1/projects", None).await.refused(403, "DW6006");
    }
}

#[tokio::test]
async fn dw6014_slows_down_who_calls_too_often_or_guesses() {
    let server =
        Server::setup().flags(&["--limit", "token-calls=1", "--limit", "token-burst=3"]).start().await;
    for _ in 0..3 {
        server.get("/v1/can-i").await.is(200);
    }
    let mut refused = server.get("/v1/can-i").await;
    // One call a second comes back, however slow this machine is.
    for _ in 0..20 {
        if refused.status == 429 {
            break;
        }
        refused = server.get("/v1/can-i").await;
    }
    refused.refused(429, "DW6014");
    assert!(refused.headers.contains_key("retry-after"));
    let guessed = Server::setup().flags(&["--limit", "failed-logins=1"]).start().await;
    let mut last = 0;
    for _ in 0..40 {
        last = guessed.call_as(&foreign("dwt"), "GET", "/v1/can-i", None).await.status;
        if last == 429 {
            break;
        }
    }
    assert_eq!(last, 429);
    // Whoever has a right one is not locked out by those who guess beside him.
    guessed.get("/v1/can-i").await.is(200);
}

#[tokio::test]
async fn dw6003_refuses_bodies_and_never_quotes_them() {
    let server = Server::start().await;
    let path = "/v1/projects/default/secrets";
    let canary = server.canary();
    for body in [
        canary.clone(),
        format!("\"{canary}\""),
        format!("{{\"{canary}\": 1}}"),
        format!("{{\"name\": \"a\", \"values\": \"{canary}\"}}"),
        format!("{{\"name\": \"a\", \"values\": {{\"token\": [\"{canary}\"]}}}}"),
        format!("{{\"name\": \"a\", \"values\": {{\"token\": \"{canary}\"}}, \"vlaues\": 1}}"),
        format!("{{\"name\": \"a\", \"values\": {{\"token\": \"{canary}\", \"token\": \"{canary}\"}}}}"),
        format!("{{\"name\": \"a\", \"name\": \"b\", \"values\": {{\"token\": \"{canary}\"}}}}"),
        format!("{{\"name\": \"a\", \"values\": {{\"token\": \"{canary}\"}}}}{{}}"),
    ] {
        let bearer = format!("Bearer {}", server.root());
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        server.send("POST", path, &headers, body.as_bytes()).await.refused(400, "DW6003");
        for other in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-7"] {
            let headers = [("authorization", bearer.as_str()), ("content-type", other)];
            server.send("POST", path, &headers, body.as_bytes()).await.refused(415, "DW6013");
        }
    }
    server.get("/v1/projects?limit=0").await.refused(400, "DW6003");
    server.get("/v1/projects?limit=1&limit=2").await.refused(400, "DW6003");
    server.get(&format!("/v1/projects?{canary}=1")).await.refused(400, "DW6003");
    server.get(&format!("/v1/projects?cursor={canary}")).await.refused(400, "DW6003");
}

#[tokio::test]
async fn dw6007_what_is_no_path_is_nothing() {
    let server = Server::start().await;
    for path in ["/", "/v1", "/v1/", "/v2/projects", "/v1/projects/", "/v1/projects/default/none", "/livez"] {
        server.get(path).await.refused(404, "DW6007");
    }
}

#[tokio::test]
async fn dw6008_a_path_has_its_own_methods_only() {
    let server = Server::start().await;
    for (method, path) in
        [("PATCH", "/v1/projects"), ("DELETE", "/v1/projects/default/secrets"), ("TRACE", "/v1/can-i")]
    {
        server.call(method, path, None).await.refused(405, "DW6008");
    }
}

#[tokio::test]
async fn dw6012_refuses_bodies_over_their_bound() {
    let server = Server::start().await;
    let canary = server.canary();
    let values = json!({"name": "a", "values": {"token": canary.repeat(8000)}});
    server.post("/v1/projects/default/secrets", values).await.refused(413, "DW6012");
    let text = json!({"document": canary.repeat(30_000)});
    server.post("/v1/projects/default/providers", text).await.refused(413, "DW6012");
}

#[tokio::test]
async fn dw6018_a_lost_database_is_told_and_nothing_is_lost() {
    let postgres = Postgres::start();
    let server = Server::setup().database(postgres.database()).start().await;
    server.secret("default", "kept").await;
    postgres.kill();
    let path = "/v1/projects/default/secrets/kept";
    server.get(path).await.refused(503, "DW6018");
    assert_eq!(server.admin("/readyz").await.status, 503);
    postgres.go();
    let back = async || server.get(path).await.status == 200;
    harness::within::until("the database is back", std::time::Duration::from_secs(30), back).await;
    server.admin("/readyz").await.is(200);
}

#[tokio::test]
async fn every_answer_has_the_id_of_its_call_and_is_kept_nowhere() {
    let server = Server::start().await;
    for answer in [server.get("/v1/projects").await, server.get("/v1/none").await] {
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        let id = answer.headers["doorward-request-id"].to_str().unwrap();
        if answer.status == 404 {
            assert_eq!(answer.json()["request_id"], id);
        }
    }
}

#[tokio::test]
async fn the_unix_socket_asks_for_the_same_token() {
    let server = Server::start().await;
    server.send_unix("GET", "/v1/projects", &[], b"").await.refused(401, "DW6004");
    let bearer = format!("Bearer {}", server.root());
    server.send_unix("GET", "/v1/projects", &[("authorization", &bearer)], b"").await.is(200);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(server.path("api.sock")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn the_admin_port_tells_health_and_nothing_else() {
    let server = Server::start().await;
    server.get("/v1/projects").await.is(200);
    server.admin("/livez").await.is(200);
    server.admin("/readyz").await.is(200);
    let metrics = server.admin("/metrics").await;
    let text = String::from_utf8(metrics.is(200).body.to_vec()).unwrap();
    assert!(text.contains("doorward_api_calls_total{status=\"2xx\"}") && text.ends_with("# EOF\n"), "{text}");
    assert_eq!(server.admin("/v1/projects").await.status, 404);
}

#[tokio::test]
async fn the_root_token_is_made_once_in_a_file_of_the_owners() {
    let server = Server::start().await;
    let file = server.ready()["root_token_file"].as_str().unwrap().to_owned();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let root = server.root().to_owned();
    assert!(root.starts_with("dwb_"));
    let server = server.restart(Server::setup()).await;
    assert_eq!(server.root(), root, "a second start makes no other token");
    server.get("/v1/projects").await.is(200);
}

#[tokio::test]
async fn ends_cleanly_at_sigterm_and_keeps_what_it_has() {
    let mut server = Server::start().await;
    server.secret("default", "kept").await;
    assert_eq!(server.stop().await.code(), Some(0), "{}", server.log());
    assert!(!server.path("ready").exists() && !server.path("api.sock").exists());
    let server = server.restart(Server::setup()).await;
    server.get("/v1/projects/default/secrets/kept").await.is(200);
}
