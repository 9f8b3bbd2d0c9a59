//! Projects, secrets, variables, imports, pages, watches, keys that count once.

use std::sync::Arc;

use harness::Server;
use harness::postgres::Postgres;
use harness::server::Answer;
use serde_json::{Value, json};

use super::github;

const SECRETS: &str = "/v1/projects/default/secrets";
const VARIABLES: &str = "/v1/projects/default/variables";

#[tokio::test]
async fn values_go_in_and_never_come_out() {
    let server = Server::start().await;
    let (value, made) = server.secret("default", "pat").await;
    assert_eq!(made.headers["location"], "/v1/projects/default/secrets/pat");
    let one = server.get(&format!("{SECRETS}/pat")).await;
    let shown = one.is(200).json();
    assert_eq!(shown["keys"], json!(["token"]));
    assert!(shown["hosts"].as_array().unwrap().contains(&json!("api.github.com")), "{shown}");
    assert_eq!(one.etag(), "\"v1\"");
    for path in [SECRETS, "/v1/projects/default/changes?since=0", "/v1/projects/default/audit/export"] {
        server.get(path).await.is(200);
    }
    // The fingerprint tells two values apart and the same one from itself.
    let again = json!({"name": "same", "values": {"token": value}, "for": "github"});
    let same = server.post(SECRETS, again).await.is(201).json();
    assert_eq!(same["fingerprints"], shown["fingerprints"]);
    let (_, other) = server.secret("default", "other").await;
    assert_ne!(other.json()["fingerprints"], shown["fingerprints"]);
}

#[tokio::test]
async fn dw6009_refuses_taken_names_and_unusable_content() {
    let server = Server::start().await;
    let (value, _) = server.secret("default", "pat").await;
    let with =
        |name: &str, values: Value| json!({"name": name, "values": values, "hosts": ["a.example.com"]});
    server.post(SECRETS, with("pat", json!({"token": value}))).await.refused(409, "DW6009");
    for body in [
        with("Bad_name", json!({"token": value})),
        with("a/b", json!({"token": value})),
        with(&"a".repeat(254), json!({"token": value})),
        with("a", json!({})),
        with("a", json!({"token": "short"})),
        with("a", json!({"token": format!("{value}\nx: y")})),
        with("a", json!({"../token": value})),
        json!({"name": "a", "values": {"token": value}, "hosts": ["*"]}),
        json!({"name": "a", "values": {"token": value}, "for": "nothing"}),
        json!({"name": "a", "values": {"token": value}, "for": "http-token"}),
        json!({"name": "a", "values": {"token": value}, "for": "github", "expires": "2001-01-01T00:00:00Z"}),
        json!({"name": "a", "values": {"token": value}, "for": "github", "expires": "tomorrow"}),
        json!({"name": "a", "values": {"token": value}, "for": "github", "description": "\u{1}"}),
    ] {
        server.post(SECRETS, body).await.refused(422, "DW6016");
    }
    server.post(VARIABLES, json!({"name": "region", "value": "eu"})).await.is(201);
    server.post(VARIABLES, json!({"name": "region", "value": "us"})).await.refused(409, "DW6009");
    server.post("/v1/projects", json!({"name": "default"})).await.refused(409, "DW6009");
    server.post("/v1/projects", json!({"name": "Not A Name"})).await.refused(422, "DW6016");
}

#[tokio::test]
async fn dw6016_a_project_without_leave_takes_no_secret_that_may_go_anywhere() {
    let server = Server::start().await;
    server.post("/v1/projects", json!({"name": "strict"})).await.is(201);
    let value = server.canary();
    let path = "/v1/projects/strict/secrets";
    server.post(path, json!({"name": "a", "values": {"token": value}})).await.refused(422, "DW6016");
    server
        .post(path, json!({"name": "a", "values": {"token": value}, "hosts": ["a.example.com"]}))
        .await
        .is(201);
    let unbound = json!({"name": "free", "values": {"token": value}});
    server.post(SECRETS, unbound).await.is(201);
    let copy = server.post(&format!("{SECRETS}/free/clone"), json!({"project": "strict"})).await;
    copy.refused(422, "DW6016");
    let import = json!({"text": format!("MY_TOKEN={value}")});
    let refused = server.post("/v1/projects/strict/import", import).await;
    assert!(
        refused.refused(422, "DW6016").json()["errors"][0]
            .as_str()
            .unwrap()
            .starts_with("line 1: no provider type")
    );
}

/// The same on both databases.
async fn both() -> (Arc<Postgres>, [Server; 2]) {
    let postgres = Postgres::shared();
    let second = Server::setup().database(postgres.database()).start().await;
    (postgres, [Server::start().await, second])
}

#[tokio::test]
async fn dw6010_a_secret_is_rotated_rolled_back_and_deleted_in_the_version_that_was_seen() {
    let (_postgres, servers) = both().await;
    for server in servers {
        versions(server).await;
    }
}

async fn versions(server: Server) {
    let (_, made) = server.secret("default", "pat").await;
    let (path, first) = (format!("{SECRETS}/pat"), made.etag());
    let rotate = json!({"values": {"token": server.canary()}});
    let second = server.change("POST", &format!("{path}/rotate"), &first, Some(rotate.clone())).await;
    assert_eq!(second.is(200).json()["revision"], 2);
    assert_eq!(second.json()["hosts"], made.json()["hosts"], "hosts stay as they were");
    server.change("POST", &format!("{path}/rotate"), &first, Some(rotate)).await.refused(412, "DW6010");
    server.change("POST", &format!("{path}/rollback"), &first, None).await.refused(412, "DW6010");
    let third = server.change("POST", &format!("{path}/rollback"), &second.etag(), None).await;
    assert_eq!(third.is(200).json()["fingerprints"], made.json()["fingerprints"]);
    server.change("DELETE", &path, &second.etag(), None).await.refused(412, "DW6010");
    server.change("DELETE", &path, &third.etag(), None).await.is(204);
    server.get(&path).await.refused(404, "DW6007");
    server.change("DELETE", &path, "*", None).await.refused(404, "DW6007");
    let fresh = server.secret("default", "pat").await.1;
    let none = server.change("POST", &format!("{path}/rollback"), &fresh.etag(), None).await;
    none.refused(422, "DW6016");
}

#[tokio::test]
async fn of_concurrent_writers_one_wins_and_the_others_are_told() {
    let (_postgres, servers) = both().await;
    for server in servers {
        concurrent(server).await;
    }
}

async fn concurrent(server: Server) {
    let (_, made) = server.secret("default", "pat").await;
    let path = format!("{SECRETS}/pat/rotate");
    let values: Vec<String> = (0..8).map(|_| server.canary()).collect();
    let calls = values
        .iter()
        .map(|value| server.change("POST", &path, "\"v1\"", Some(json!({"values": {"token": value}}))));
    let answers: Vec<Answer> = futures_util::future::join_all(calls).await;
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    let lost = answers.iter().filter(|answer| answer.status == 412 && answer.code() == "DW6010").count();
    assert_eq!((won, lost), (1, 7), "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
    assert_eq!(made.etag(), "\"v1\"");
    let creates = (0..8).map(|_| server.post(VARIABLES, json!({"name": "one", "value": "x"})));
    let answers: Vec<Answer> = futures_util::future::join_all(creates).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.code() == "DW6009").count(), 7);
}

#[tokio::test]
async fn a_secret_is_copied_to_a_project_where_the_caller_manages_secrets_too() {
    let server = Server::start().await;
    server.project("other").await;
    let (_, made) = server.secret("default", "pat").await;
    let clone = format!("{SECRETS}/pat/clone");
    let of_default = server.token(Some("default"), "owner").await;
    let body = json!({"project": "other"});
    server.call_as(&of_default, "POST", &clone, Some(&body)).await.refused(404, "DW6007");
    let copy = server.post(&clone, body.clone()).await;
    assert_eq!(copy.is(201).json()["project"], "other");
    assert_eq!(copy.json()["hosts"], made.json()["hosts"]);
    server.post(&clone, body).await.refused(409, "DW6009");
    server.post(&clone, json!({"project": "nowhere"})).await.refused(404, "DW6007");
}

#[tokio::test]
async fn a_variable_is_read_changed_and_deleted() {
    let server = Server::start().await;
    let made = server.post(VARIABLES, json!({"name": "AWS_REGION", "value": "eu-west-1"})).await;
    let path = format!("{VARIABLES}/AWS_REGION");
    assert_eq!(server.get(&path).await.is(200).json()["value"], "eu-west-1");
    let changed =
        server.change("PUT", &path, &made.is(201).etag(), Some(json!({"value": "us-east-1"}))).await;
    assert_eq!(changed.is(200).json()["value"], "us-east-1");
    server.change("PUT", &path, &made.etag(), Some(json!({"value": "x"}))).await.refused(412, "DW6010");
    server.change("DELETE", &path, &made.etag(), None).await.refused(412, "DW6010");
    server.change("DELETE", &path, &changed.etag(), None).await.is(204);
    server.get(&path).await.refused(404, "DW6007");
}

#[tokio::test]
async fn a_project_is_changed_and_deleted_when_it_is_empty() {
    let server = Server::start().await;
    server.project("short").await;
    let path = "/v1/projects/short";
    let read = server.get(path).await;
    let body = json!({"description": "for a while"});
    let changed = server.change("PUT", path, &read.etag(), Some(body)).await;
    assert_eq!(changed.is(200).json()["allowUnboundSecrets"], false);
    server.post("/v1/projects/short/variables", json!({"name": "a", "value": "b"})).await.is(201);
    server.change("DELETE", path, "*", None).await.refused(409, "DW6002");
    server.change("DELETE", "/v1/projects/short/variables/a", "*", None).await.is(204);
    server.change("DELETE", path, "*", None).await.is(204);
    server.get(path).await.refused(404, "DW6007");
}

#[tokio::test]
async fn an_env_text_is_taken_over_whole_or_not_at_all() {
    let server = Server::start().await;
    let (github, own) = (format!("ghp_{}", server.canary()), server.canary());
    let text = format!("# mine\nGITHUB_TOKEN={github}\nREGION=eu\nMY_PASSWORD='{own}'\n");
    let path = "/v1/projects/default/import";
    let dry = server.post(path, json!({"text": text, "dryRun": true})).await.is(200).json();
    assert_eq!(dry["imported"], false);
    assert_eq!(dry["lines"][0]["knownProvider"], "github");
    assert_eq!(dry["lines"][1]["becomes"], "variable");
    assert_eq!(dry["lines"][2]["becomes"], "secret");
    server.get(&format!("{SECRETS}/GITHUB_TOKEN")).await.refused(404, "DW6007");
    let done = server.post(path, json!({"text": text})).await.is(200).json();
    assert_eq!(done["imported"], true);
    assert_eq!(server.get(&format!("{VARIABLES}/REGION")).await.is(200).json()["value"], "eu");
    let again = format!("NEW=x\n{text}");
    let clash = server.post(path, json!({"text": again})).await;
    assert_eq!(clash.refused(409, "DW6009").json()["errors"].as_array().unwrap().len(), 3);
    server.get(&format!("{VARIABLES}/NEW")).await.refused(404, "DW6007");
    let bad = format!("A\nB='{own}\n");
    let refused = server.post(path, json!({"text": bad})).await;
    assert_eq!(refused.refused(422, "DW6016").json()["errors"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn lists_come_in_pages_that_hold_everything_once() {
    let server = Server::start().await;
    for n in 0..7 {
        server.post(VARIABLES, json!({"name": format!("v{n}"), "value": "x"})).await.is(201);
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("{VARIABLES}?limit=3{cursor}")).await.is(200).json();
        names.extend(page["items"].as_array().unwrap().iter().map(|one| one["name"].clone()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(names, (0..7).map(|n| json!(format!("v{n}"))).collect::<Vec<_>>());
}

#[tokio::test]
async fn dw6017_a_key_makes_a_repeated_call_count_once() {
    let (_postgres, servers) = both().await;
    for server in servers {
        repeated(server).await;
    }
}

async fn repeated(server: Server) {
    let value = server.canary();
    let body = json!({"name": "pat", "values": {"token": value}, "for": "github"});
    let key = [("idempotency-key", "k-1")];
    let post = async |body: &Value| server.call_with(server.root(), "POST", SECRETS, &key, Some(body)).await;
    post(&body).await.is(201);
    let again = post(&body).await;
    assert_eq!(again.is(200).headers["idempotency-replayed"], "true");
    assert_eq!(again.json()["revision"], 1);
    let other = json!({"name": "other", "values": {"token": value}, "for": "github"});
    post(&other).await.refused(422, "DW6017");
    // Another token's key is another key.
    let admin = server.token(None, "admin").await;
    server.call_with(&admin, "POST", SECRETS, &key, Some(&other)).await.is(201);
    // A token is shown once, to the first of the two.
    let agent = json!({"name": "bot"});
    let key = [("idempotency-key", "k-2")];
    let path = "/v1/projects/default/agents";
    let first = server.call_with(server.root(), "POST", path, &key, Some(&agent)).await;
    assert!(first.is(201).json()["token"].is_string());
    let second = server.call_with(server.root(), "POST", path, &key, Some(&agent)).await;
    assert!(second.is(200).json()["token"].is_null());
    for odd in ["", "a b", &"k".repeat(129)] {
        let key = [("idempotency-key", odd)];
        server.call_with(server.root(), "POST", SECRETS, &key, Some(&body)).await.refused(400, "DW6003");
    }
}

#[tokio::test]
async fn changes_are_told_as_a_list_and_as_a_stream() {
    let (_postgres, servers) = both().await;
    for server in servers {
        changes(server).await;
    }
}

async fn changes(server: Server) {
    let before =
        server.get("/v1/projects/default/changes").await.is(200).json()["revision"].as_u64().unwrap();
    server.secret("default", "pat").await;
    server.post(VARIABLES, json!({"name": "region", "value": "eu"})).await.is(201);
    let told = server.get(&format!("/v1/projects/default/changes?since={before}")).await.is(200).json();
    let kinds: Vec<_> = told["items"].as_array().unwrap().iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(kinds, [json!("secret"), json!("variable")]);
    let mut stream = server.watch_changes(&format!("{SECRETS}?watch=true&since={before}")).await;
    let first = stream.event("change").await;
    assert_eq!((first["kind"].as_str(), first["name"].as_str()), (Some("secret"), Some("pat")));
    server.secret("default", "later").await;
    assert_eq!(stream.event("change").await["name"], "later");
}

#[tokio::test]
async fn cards_show_what_is_connected() {
    let server = Server::start().await;
    server.secret("default", "pat").await;
    server.post("/v1/projects/default/providers", json!({"document": github("gh", "pat")})).await.is(201);
    let cards = server.get("/v1/projects/default/provider-cards").await.is(200).json();
    let card = |name: &str| {
        let all = cards["items"].as_array().unwrap();
        all.iter().find(|card| card["type"]["name"] == name).unwrap().clone()
    };
    assert_eq!(card("github")["connected"], true);
    let own = &card("github")["providers"][0];
    assert_eq!(
        (&own["secrets"], &own["auth"], &own["expires"]),
        (&json!(["pat"]), &json!("pat"), &json!(null))
    );
    assert_eq!(card("anthropic")["connected"], false);
    let types = server.get("/v1/types").await.is(200).json();
    assert_eq!(types["items"].as_array().unwrap().len(), cards["items"].as_array().unwrap().len());
}

#[tokio::test]
async fn one_key_for_two_objects_is_refused_however_their_names_are_written() {
    let server = Server::start().await;
    server.secret("default", "pa").await;
    server.secret("default", "pb").await;
    let rotate = json!({"values": {"token": server.canary()}});
    let headers = [("if-match", "*"), ("idempotency-key", "once")];
    let first = server
        .call_with(server.root(), "POST", &format!("{SECRETS}/p%61/rotate"), &headers, Some(&rotate))
        .await;
    assert_eq!(first.is(200).json()["revision"], 2);
    let other = server
        .call_with(server.root(), "POST", &format!("{SECRETS}/p%62/rotate"), &headers, Some(&rotate))
        .await;
    other.refused(422, "DW6017");
    assert_eq!(server.get(&format!("{SECRETS}/pb")).await.json()["revision"], 1);
}

#[tokio::test]
async fn dw6016_a_rollback_brings_no_secret_back_that_may_go_anywhere() {
    let (_postgres, servers) = both().await;
    for server in servers {
        let value = server.canary();
        server.post(SECRETS, json!({"name": "free", "values": {"token": value}})).await.is(201);
        let bound = json!({"values": {"token": server.canary()}, "hosts": ["a.example.com"]});
        server.change("POST", &format!("{SECRETS}/free/rotate"), "*", Some(bound)).await.is(200);
        let settings = json!({"allowUnboundSecrets": false});
        server.change("PUT", "/v1/projects/default", "*", Some(settings)).await.is(200);
        server.change("POST", &format!("{SECRETS}/free/rollback"), "*", None).await.refused(422, "DW6016");
        let kept = server.get(&format!("{SECRETS}/free")).await.is(200).json();
        assert_eq!((kept["revision"].as_u64(), kept["hosts"][0].as_str()), (Some(2), Some("a.example.com")));
    }
}

#[tokio::test]
async fn a_project_of_a_deleted_name_is_told_no_changes_of_the_one_before() {
    let server = Server::start().await;
    server.project("again").await;
    let path = "/v1/projects/again/variables";
    server.post(path, json!({"name": "theirs", "value": "x"})).await.is(201);
    server.change("DELETE", &format!("{path}/theirs"), "*", None).await.is(204);
    server.change("DELETE", "/v1/projects/again", "*", None).await.is(204);
    server.project("again").await;
    let changes = server.get("/v1/projects/again/changes?since=0").await.is(200).json();
    let items = changes["items"].as_array().unwrap();
    assert!(!items.is_empty() && items.iter().all(|one| one["kind"] == "project"), "{changes}");
}
