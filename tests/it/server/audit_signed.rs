//! What is kept elsewhere of the audit finds what somebody with the whole database has cut off; searching and exporting say
//! the same of a file and of a server.

use std::path::{Path, PathBuf};

use harness::home::Ran;
use harness::{Home, Server};
use serde_json::{Value, json};
use sqlx::Connection as _;

fn audit(server: &Server, words: &[&str]) -> Ran {
    server.doorward(server.root(), &[&["audit"], words].concat(), "")
}

fn kept(server: &Server, name: &str, text: &str) -> PathBuf {
    let path = server.path(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn sql(path: &Path, sql: &str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut link = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut link).await.unwrap();
    link.close().await.unwrap();
}

async fn busy() -> Server {
    let server = Server::start().await;
    for n in 0..6 {
        let body = json!({"name": format!("v{n}"), "value": "x"});
        server.post("/v1/projects/default/variables", body).await.is(201);
    }
    server
}

#[tokio::test]
async fn an_export_whose_end_was_cut_off_does_not_verify_against_what_was_signed() {
    let server = busy().await;
    let signed = audit(&server, &["checkpoint"]);
    let checkpoints = kept(&server, "checkpoints.jsonl", &signed.assert_ok().stdout);
    assert!(signed.stdout.contains("\"source\":\"control\""), "{signed:?}");
    let pem = audit(&server, &["key"]);
    let key = kept(&server, "key.pem", &pem.assert_ok().stdout);
    let export = audit(&server, &["export", "--installation"]);
    let whole = kept(&server, "whole.jsonl", &export.assert_ok().stdout);
    let flags = ["--exported", "--checkpoints", text(&checkpoints), "--key", text(&key)];
    let verify = |file: &Path| audit(&server, &[&["verify"], &flags[..], &[text(file)]].concat());
    let ok = verify(&whole);
    assert!(ok.assert_ok().stdout.contains("1 checkpoints, signed to"), "{ok:?}");
    let mut lines: Vec<_> = export.stdout.lines().collect();
    lines.truncate(lines.len() - 2);
    let cut = kept(&server, "cut.jsonl", &format!("{}\n", lines.join("\n")));
    let found = verify(&cut);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.stdout.contains("was cut off"), "{found:?}");
    // The key that the server shows is one that other programs read.
    assert!(pem.stdout.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    assert_eq!(server.get("/v1/audit/key").await.is(200).json()["algorithm"], "ed25519");
}

#[tokio::test]
async fn a_database_from_which_records_and_checkpoints_were_cut_is_found_with_what_was_kept() {
    let mut server = busy().await;
    let checkpoints = audit(&server, &["checkpoint"]);
    let checkpoints = kept(&server, "checkpoints.jsonl", &checkpoints.assert_ok().stdout);
    let key = audit(&server, &["key"]);
    let key = kept(&server, "key.pem", &key.assert_ok().stdout);
    let words = ["verify", "--installation", "--checkpoints", text(&checkpoints), "--key", text(&key)];
    let words = words.map(str::to_owned);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert!(audit(&server, &words).assert_ok().stdout.contains("checkpoints that were kept elsewhere hold"));
    // A project sees a part of that chain.
    let of_project = ["verify", "--checkpoints", text(&checkpoints), "--key", text(&key)];
    audit(&server, &of_project).assert_fails(2, "give --installation");
    assert_eq!(server.stop().await.code(), Some(0));
    let database = server.path("home").join("data/server.db");
    sql(
        &database,
        "DELETE FROM audit WHERE seq > 3; DELETE FROM audit_checkpoints;
         UPDATE audit_chains SET seq = 3, hash = (SELECT hash FROM audit WHERE seq = 3) WHERE source = 'control';",
    )
    .await;
    let server = server.restart(Server::setup()).await;
    let alone = server.get("/v1/audit/verify").await.is(200).json();
    assert_eq!(alone["intact"], true, "the chain by itself cannot show it: {alone}");
    let found = audit(&server, &words);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.stdout.contains("is not there, or not the one that was signed"), "{found:?}");
}

#[tokio::test]
async fn a_search_of_a_server_and_of_its_export_print_the_same() {
    let server = busy().await;
    server.get("/v1/projects/default/variables/none").await.is(404);
    let bad = json!({"name": "v0", "value": "x"});
    server.post("/v1/projects/default/variables", bad).await.refused(409, "DW6009");
    let export = audit(&server, &["export"]);
    let file = kept(&server, "export.jsonl", &export.assert_ok().stdout);
    assert_eq!(
        export.stdout.as_bytes(),
        server.get("/v1/projects/default/audit/export").await.is(200).body.as_ref(),
        "by pages, and as one stream"
    );
    let home = Home::keyed();
    for (words, some) in [
        (vec![], true),
        (vec!["--verdict", "deny", "--code", "DW6009"], true),
        (vec!["--path", "variables", "-o", "json"], true),
        (vec!["--since", "1h", "--until", "2999-01-01", "-o", "jsonl"], true),
        (vec!["--agent", "nobody", "-o", "json"], false),
        (vec!["--until", "2001-01-01"], false),
        (vec!["--host", "a&b=c"], false),
    ] {
        let remote = audit(&server, &[&["search", "--source", "control"], &words[..]].concat());
        let local =
            home.command(&[&["audit", "search"], &words[..], &[text(&file)]].concat()).output().unwrap();
        assert_eq!(remote.assert_ok().stdout, String::from_utf8_lossy(&local.stdout), "{words:?}");
        assert_eq!(remote.stdout.trim().len() > 2, some, "{words:?} {remote:?}");
    }
    let refused = server.get("/v1/projects/default/audit?since=yesterday").await;
    refused.refused(400, "DW6003");
    server.get("/v1/projects/default/audit?nonsense=1").await.refused(400, "DW6003");
    // Pages of a search go on where the last one ended.
    let mut found = 0;
    let mut after = 0;
    loop {
        let path = format!("/v1/projects/default/audit?path=variables&limit=2&after={after}");
        let page = server.get(&path).await.is(200).json();
        found += page["items"].as_array().unwrap().len();
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(found, 7);
}

#[tokio::test]
async fn records_are_exported_as_ocsf_events_by_either_way() {
    let server = busy().await;
    server.post("/v1/projects/default/agents", json!({"name": "bot"})).await.is(201);
    let export = audit(&server, &["export", "--format", "ocsf"]);
    let streamed = server.get("/v1/projects/default/audit/export?format=ocsf").await;
    assert_eq!(export.assert_ok().stdout.as_bytes(), streamed.is(200).body.as_ref());
    let events: Vec<Value> = export.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let classes: Vec<_> = events.iter().map(|event| event["class_uid"].as_u64().unwrap()).collect();
    assert!(classes.contains(&6003) && classes.contains(&3001), "{classes:?}");
    assert!(events.iter().all(|event| event["metadata"]["log_name"] == "control"));
    server.get("/v1/projects/default/audit/export?format=xml").await.refused(400, "DW6003");
}

#[tokio::test]
async fn pruning_drops_nothing_that_is_not_old_and_is_for_the_installation_alone() {
    let server = busy().await;
    let before = server.get("/v1/audit/verify").await.is(200).json()["records"].as_u64();
    audit(&server, &["checkpoint"]).assert_ok();
    audit(&server, &["prune", "--before", "90d"]).assert_ok();
    let after = server.get("/v1/audit/verify").await.is(200).json();
    assert!(after["records"].as_u64() >= before && after["intact"] == true, "{after}");
    for time in ["2999-01-01T00:00:00Z", "yesterday"] {
        server.post("/v1/audit/prune", json!({"before": time})).await.refused(422, "DW6016");
    }
    let owner = server.token(Some("default"), "owner").await;
    let body = json!({"before": "2001-01-01T00:00:00Z"});
    server.call_as(&owner, "POST", "/v1/audit/prune", Some(&body)).await.refused(403, "DW6005");
    server.call_as(&owner, "GET", "/v1/audit", None).await.refused(403, "DW6005");
    server.call_as(&owner, "GET", "/v1/projects/default/audit/checkpoints", None).await.is(200);
    server.call_as(&owner, "GET", "/v1/audit/key", None).await.is(200);
}
