//! What is recorded of calls: every change and every refusal of one, in a chain that holds.

use harness::Server;
use serde_json::{Value, json};

fn records(export: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(export).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn every_change_has_one_record_and_so_has_a_refused_one() {
    let server = Server::start().await;
    let path = "/v1/projects/default/secrets";
    let (_, made) = server.secret("default", "pat").await;
    let rotate = json!({"values": {"token": server.canary()}});
    server.change("POST", &format!("{path}/pat/rotate"), &made.etag(), Some(rotate.clone())).await.is(200);
    server
        .change("POST", &format!("{path}/pat/rotate"), &made.etag(), Some(rotate))
        .await
        .refused(412, "DW6010");
    server.get(path).await.is(200);
    let export = server.get("/v1/projects/default/audit/export").await;
    assert_eq!(export.is(200).headers["content-type"], "application/x-ndjson");
    let all = records(&export.body);
    let of_pat: Vec<_> =
        all.iter().filter(|one| one["path"].as_str().unwrap_or_default().contains("/pat")).collect();
    let created =
        all.iter().find(|one| one["reason"] == "secret pat created").expect("a record of the making");
    assert_eq!(created["kind"], "control");
    assert_eq!(created["secret"], "pat");
    assert_eq!(created["agent"], "root");
    assert_eq!(created["req"], made.headers["doorward-request-id"].to_str().unwrap());
    let told: Vec<_> = of_pat.iter().map(|one| (one["verdict"].clone(), one["code"].clone())).collect();
    assert_eq!(told, [(json!("allow"), Value::Null), (json!("deny"), json!("DW6010"))], "{of_pat:?}");
}

#[tokio::test]
async fn the_chain_verifies_and_pages_hold_every_record() {
    let server = Server::start().await;
    for n in 0..5 {
        let body = json!({"name": format!("v{n}"), "value": "x"});
        server.post("/v1/projects/default/variables", body).await.is(201);
    }
    let verified = server.get("/v1/projects/default/audit/verify").await.is(200).json();
    assert_eq!(verified["intact"], true, "{verified}");
    assert!(verified["records"].as_u64().unwrap() >= 5);
    let mut seen = 0;
    let mut after = 0;
    loop {
        let page =
            server.get(&format!("/v1/projects/default/audit?limit=2&after={after}")).await.is(200).json();
        seen += page["items"].as_array().unwrap().len();
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(seen, records(&server.get("/v1/projects/default/audit/export").await.body).len());
    let sources = server.get("/v1/projects/default/audit/sources").await.is(200).json();
    assert_eq!(sources["items"][0]["name"], "control");
    server.get("/v1/projects/default/audit/verify?source=nobody").await.refused(404, "DW6007");
}

#[tokio::test]
async fn a_project_sees_no_record_of_another() {
    let server = Server::start().await;
    server.project("other").await;
    server.secret("other", "theirs").await;
    let own = server.token(Some("default"), "manager").await;
    let export = server.call_as(&own, "GET", "/v1/projects/default/audit/export", None).await;
    assert!(!export.is(200).body.windows(6).any(|part| part == b"theirs"));
}

#[tokio::test]
async fn every_change_has_a_record_that_says_what_and_by_which_token() {
    let server = Server::start().await;
    let base = "/v1/projects/default";
    server.project("other").await;
    server.secret("default", "pat").await;
    server.post(&format!("{base}/variables"), json!({"name": "region", "value": "eu"})).await.is(201);
    server.post(&format!("{base}/agents"), json!({"name": "bot"})).await.is(201);
    let admin = server.post("/v1/tokens", json!({"name": "boss", "role": "admin"})).await;
    let id = admin.is(201).json()["apiToken"]["id"].as_str().unwrap().to_owned();
    let admin = admin.json()["token"].as_str().unwrap().to_owned();
    let attachments = format!("{base}/agents/bot/attachments");
    let env = json!({"kind": "env", "name": "PAT", "secret": "pat"});
    server.call_as(&admin, "POST", &attachments, Some(&env)).await.is(201);
    server
        .call_as(&admin, "POST", &format!("{base}/secrets/pat/clone"), Some(&json!({"project": "other"})))
        .await
        .is(201);
    let settings = json!({"allowUnboundSecrets": false});
    server.call_with(&admin, "PUT", base, &[("if-match", "*")], Some(&settings)).await.is(200);
    server.post(&format!("{base}/tokens"), json!({"name": "eyes", "role": "viewer"})).await.is(201);
    let of = async |project: &str| {
        records(&server.get(&format!("/v1/projects/{project}/audit/export")).await.body)
    };
    let default = of("default").await;
    let changes = server.get(&format!("{base}/changes?since=0")).await.is(200).json();
    for change in changes["items"].as_array().unwrap() {
        let record = default.iter().find(|one| one["revision"] == change["revision"]);
        let record = record.unwrap_or_else(|| panic!("no record of {change}"));
        let named = record["agent"] == "doorward" || record["token"].is_string();
        assert!(named && record["reason"].as_str().is_some_and(|text| !text.is_empty()), "{record}");
    }
    let said = |all: &[Value], text: &str| {
        let found = all.iter().find(|one| one["reason"].as_str().unwrap_or_default() == text);
        found.unwrap_or_else(|| panic!("nothing says {text}: {all:?}")).clone()
    };
    let seen =
        said(&default, "attachment bot/env/PAT attached, with the value of secret pat for the agent to see");
    assert_eq!((seen["token"].as_str(), seen["agent"].as_str()), (Some(id.as_str()), Some("boss")));
    said(&default, "secret pat copied, to project other");
    said(&of("other").await, "secret pat created, a copy of project default");
    said(&default, "project default changed, secrets without hosts not allowed, hints not kept");
    let eyes =
        default.iter().filter_map(|one| one["reason"].as_str()).find(|text| text.starts_with("token eyes"));
    assert!(eyes.is_some_and(|text| text.starts_with("token eyes created, viewer of project default, id ")));
    said(&default, "project default created, secrets without hosts allowed");
}

#[tokio::test]
async fn a_path_is_recorded_as_it_was_meant_and_a_refusal_in_its_project() {
    let server = Server::start().await;
    server.secret("default", "pat").await;
    let viewer = server.token(Some("default"), "viewer").await;
    let any = [("if-match", "*")];
    let path = "/v1/projects/def%61ult/secrets/p%61t";
    server.call_with(&viewer, "DELETE", path, &any, None).await.refused(403, "DW6005");
    // What no name can be is not kept.
    let canary = server.canary();
    let path = format!("/v1/projects/default/secrets/{canary}%20x");
    server.call_with(&viewer, "DELETE", &path, &any, None).await.refused(403, "DW6005");
    let export = server.get("/v1/projects/default/audit/export").await;
    let refused: Vec<_> = records(&export.body).into_iter().filter(|one| one["verdict"] == "deny").collect();
    let paths: Vec<_> = refused.iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert_eq!(
        paths,
        ["/v1/projects/default/secrets/pat", "/v1/projects/{project}/secrets/{secret}"],
        "{refused:?}"
    );
}

#[tokio::test]
async fn nobody_is_called_like_the_installations_own() {
    let server = Server::start().await;
    for name in ["root", "Root", " root ", "doorward", "owner"] {
        for path in ["/v1/tokens", "/v1/projects/default/tokens"] {
            server.post(path, json!({"name": name, "role": "viewer"})).await.refused(422, "DW6016");
        }
    }
}
