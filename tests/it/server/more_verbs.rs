//! The verbs that only a server has, and those that work with its documents in the place of files.

use harness::ca::TestCa;
use harness::{Home, Origin, Server, answer};
use serde_json::{Value, json};

use super::github;

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn an_agents_token_is_rotated_and_revoked() {
    let server = Server::start().await;
    let root = server.root().to_owned();
    let run = |words: &[&str]| server.doorward(&root, words, "");
    run(&["rotate", "agent", "bot"]).assert_fails(5, "agent `bot` does not exist");
    run(&["revoke", "agent", "bot"]).assert_fails(5, "agent `bot` does not exist");
    let first = run(&["add", "agent", "bot"]).assert_ok().stdout.trim().to_owned();
    server.watch(&first);
    let file = server.path("bot.token").display().to_string();
    run(&["rotate", "agent", "bot", "--expires", "90d", "--token-file", &file]).assert_ok();
    let second = std::fs::read_to_string(&file).unwrap();
    assert!(second.starts_with("dwa_") && second.trim() != first);
    let view = server.get("/v1/projects/default/agents/bot").await.is(200).json();
    assert!(view["expires"].is_string(), "{view}");
    run(&["revoke", "agent", "bot"]).assert_ok();
    assert!(run(&["describe", "agent", "bot"]).assert_ok().stdout.contains("revoked"));
    assert!(run(&["get", "agents"]).assert_ok().stdout.contains("revoked"));
}

#[tokio::test]
async fn a_withheld_provider_is_approved_by_who_may_manage_secrets() {
    let server = Server::start().await;
    server.project("team").await;
    server.secret("team", "pat").await;
    let (root, developer) = (server.root().to_owned(), server.token(Some("team"), "developer").await);
    let path = "/v1/projects/team/providers";
    let made = server.post(path, json!({"document": github("gh", "pat")})).await;
    let moved = github("gh", "pat").replace("type: github", "type: github\n  host: api.github.com");
    let body = json!({"document": moved});
    server.change("PUT", &format!("{path}/gh"), &made.is(201).etag(), Some(body)).await.is(200);
    let run = |token: &str, words: &[&str]| server.doorward(token, &[&["-n", "team"], words].concat(), "");
    assert!(run(&root, &["get", "providers"]).assert_ok().stdout.contains("secret withheld"));
    let described = run(&root, &["describe", "provider", "gh"]);
    assert!(described.assert_ok().stdout.contains("withheld until it is approved"), "{described:?}");
    run(&developer, &["approve", "provider", "gh"]).assert_fails(1, "DW6005");
    run(&root, &["approve", "provider", "hg"]).assert_fails(5, "did you mean `gh`?");
    run(&root, &["approve", "provider", "gh"]).assert_ok();
    assert!(!run(&root, &["get", "providers"]).assert_ok().stdout.contains("withheld"));
    assert!(run(&root, &["approve", "provider", "gh"]).assert_ok().stderr.contains("holds nothing back"));
}

#[tokio::test]
async fn hints_are_shown_where_the_project_keeps_them() {
    let server = Server::start().await;
    let root = server.root().to_owned();
    let run = |words: &[&str], input: &str| server.doorward(&root, words, input);
    run(&["add", "project", "open", "--hints"], "").assert_ok();
    run(&["add", "project", "shut"], "").assert_ok();
    assert!(run(&["describe", "project", "open"], "").assert_ok().stdout.contains("first and last four"));
    let value = format!("abcd{}wxyz", server.canary());
    server.watch(&value);
    for (project, is_shown) in [("open", true), ("shut", false)] {
        let add = ["-n", project, "add", "secret", "pat", "--from-stdin", "token", "--for", "github"];
        run(&add, &value).assert_ok();
        let told = run(&["-n", project, "describe", "secret", "pat"], "").assert_ok().stdout.clone();
        assert_eq!(told.contains("abcd…wxyz"), is_shown, "{told}");
        let object = server.get(&format!("/v1/projects/{project}/secrets/pat")).await.json();
        assert_eq!(object.get("hints").is_some(), is_shown, "{object}");
    }
}

#[tokio::test]
async fn a_rotation_at_a_server_keeps_the_version_before_for_its_grace() {
    let server = Server::start().await;
    let root = server.root().to_owned();
    server.secret("default", "pat").await;
    let value = server.canary();
    let words = ["rotate", "secret", "pat", "--from-stdin", "token", "--grace", "1h"];
    server.doorward(&root, &words, &value).assert_ok();
    server.doorward(&root, &["rollback", "secret", "pat"], "").assert_ok();
    let seen = server.get("/v1/projects/default/secrets/pat").await;
    let body = json!({"values": {"token": value}, "grace": "2001-01-01T00:00:00Z"});
    let path = "/v1/projects/default/secrets/pat/rotate";
    server.change("POST", path, &seen.etag(), Some(body)).await.refused(422, "DW6016");
}

#[tokio::test]
async fn a_request_is_checked_by_what_the_server_has_for_the_agent() {
    let server = Server::start().await;
    let root = server.root().to_owned();
    let run = |words: &[&str]| server.doorward(&root, words, "");
    server.secret("default", "pat").await;
    let path = "/v1/projects/default/providers";
    server.post(path, json!({"document": github("gh", "pat")})).await.is(201);
    run(&["add", "agent", "with"]).assert_ok();
    run(&["add", "agent", "without"]).assert_ok();
    run(&["attach", "provider", "gh", "--agent", "with"]).assert_ok();
    let issues = "https://api.github.com/repos/a/b/issues";
    let check = |agent: &str, method: &str| run(&["check", "request", method, issues, "--agent", agent]);
    let allowed = check("with", "GET");
    assert!(allowed.assert_ok().stdout.contains("secret default/pat"), "{allowed:?}");
    assert_eq!(check("with", "DELETE").code, Some(3));
    let denied = check("without", "GET");
    assert_eq!(denied.code, Some(3), "{denied:?}");
    assert!(denied.stdout.contains("DW1001"), "{denied:?}");
    check("nobody", "GET").assert_fails(5, "agent `nobody` does not exist");
    run(&["check", "request", "GET", issues]).assert_ok();
}

#[tokio::test]
async fn providers_of_files_are_shown_as_those_of_a_server() {
    let server = Server::start().await;
    let home = Home::keyed();
    let root = server.root().to_owned();
    let value = server.canary();
    let add = ["add", "secret", "pat", "--from-stdin", "token", "--for", "github"];
    home.run(&add, &value).assert_ok();
    server.doorward(&root, &add, &value).assert_ok();
    home.write("gh.yaml", &github("gh", "pat"));
    let file = home.path("gh.yaml").display().to_string();
    let both = |words: &[&str]| {
        let local = harness::home::finish(home.command(words), "");
        (local, server.doorward(&root, words, ""))
    };
    both(&["apply", "-f", &file]);
    for words in [
        &["get", "providers", "-o", "name"][..],
        &["get", "providers", "-o", "json"],
        &["describe", "provider", "gh", "-o", "json"],
    ] {
        let (local, remote) = both(words);
        let plain = |text: &str| {
            let mut value: Value = serde_json::from_str(text).unwrap_or_else(|_| text.into());
            let one = if value.is_array() { &mut value[0] } else { &mut value };
            if let Some(fields) = one.as_object_mut() {
                ["created", "changed", "version"].iter().for_each(|name| drop(fields.remove(*name)));
            }
            value
        };
        assert_eq!(plain(&local.assert_ok().stdout), plain(&remote.assert_ok().stdout), "{words:?}");
    }
    let (local, remote) = both(&["describe", "provider", "hg"]);
    assert_eq!((local.code, &local.stderr), (remote.code, &remote.stderr));
}

#[tokio::test]
async fn what_is_in_use_is_listed_and_kept() {
    let server = Server::start().await;
    let root = server.root().to_owned();
    let run = |words: &[&str]| server.doorward(&root, words, "");
    server.secret("default", "pat").await;
    server.post("/v1/projects/default/providers", json!({"document": github("gh", "pat")})).await.is(201);
    run(&["add", "agent", "bot"]).assert_ok();
    run(&["attach", "provider", "gh", "--agent", "bot"]).assert_ok();
    let kept = run(&["delete", "secret", "pat"]);
    kept.assert_fails(6, "DW6002");
    assert!(kept.stderr.contains("provider gh"), "{kept:?}");
    let kept = run(&["delete", "provider", "gh"]);
    kept.assert_fails(6, "DW6002");
    assert!(kept.stderr.contains("agent bot"), "{kept:?}");
}

/// A server, and an origin for what is connected.
struct World {
    server: Server,
    origin: Origin,
    value: String,
}

impl World {
    async fn with(answer: answer::Answer) -> Self {
        let server = Server::start().await;
        let origin = Origin::builder(&["api.openai.com"]).answer(answer).start().await;
        let value = server.canary();
        std::fs::write(server.path("ca.pem"), TestCa::world().pem()).unwrap();
        Self { server, origin, value }
    }

    async fn run(&self, words: &[&str]) -> harness::home::Ran {
        let resolve = format!("api.openai.com:443:{}", self.origin.address());
        let ca = self.server.path("ca.pem").display().to_string();
        let vars = [
            ("DOORWARD_UPSTREAM_CA", ca.as_str()),
            ("DOORWARD_ALLOW_CIDR", "127.0.0.1/32"),
            ("DOORWARD_RESOLVE", resolve.as_str()),
        ];
        let root = self.server.root().to_owned();
        tokio::task::block_in_place(|| self.server.doorward_with(&root, words, &self.value, &vars))
    }
}

const CONNECT: [&str; 5] = ["--no-input", "connect", "openai", "--from-stdin", "api-key"];

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_tried_here_and_kept_at_the_server_with_what_was_seen() {
    let world = World::with(answer::fixed(200, &[("content-type", "application/json")], b"{}")).await;
    let ran = world.run(&CONNECT).await;
    ran.assert_ok();
    assert!(ran.stderr.contains("verified: GET to api.openai.com was answered 200"), "{ran:?}");
    let sent = world.origin.only();
    assert_eq!(sent.headers_named("authorization"), [format!("Bearer {}", world.value)]);
    let card = async || {
        let cards = world.server.get("/v1/projects/default/provider-cards").await.is(200).json();
        cards["items"].as_array().unwrap().iter().find(|one| one["type"]["name"] == "openai").unwrap().clone()
    };
    let shown = card().await;
    assert_eq!(shown["connected"], true, "{shown}");
    assert!(shown["providers"][0]["verified"].is_string(), "{shown}");
    let listed = world.run(&["get", "cards", "--connected", "-o", "name"]).await;
    assert_eq!(listed.assert_ok().stdout, "card/openai\n");
    let told = world.run(&["describe", "card", "openai"]).await.assert_ok().stdout.clone();
    assert!(one_line(&told).contains("by root"), "{told}");
    world.run(&CONNECT).await.assert_fails(6, "exists");
    // Another value is not the one that was seen to work.
    let name = shown["providers"][0]["secrets"][0].as_str().unwrap();
    let words = ["rotate", "secret", name, "--from-stdin", "api-key"];
    world.run(&words).await.assert_ok();
    assert_eq!(card().await["providers"][0]["verified"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_credential_that_is_refused_the_server_keeps_nothing() {
    let world = World::with(answer::fixed(401, &[], b"no")).await;
    world.run(&CONNECT).await.assert_fails(1, "nothing was kept");
    for list in ["secrets", "providers"] {
        let found = world.server.get(&format!("/v1/projects/default/{list}")).await.is(200).json();
        assert_eq!(found["items"], json!([]), "{list}");
    }
}

#[tokio::test]
async fn what_works_on_a_database_is_not_done_to_the_local_vault_of_who_is_logged_in() {
    let server = Server::start().await;
    let root = server.root().to_owned();
    let file = server.path("copy.backup").display().to_string();
    let other = server.ca().display().to_string();
    for words in [&["backup", file.as_str()][..], &["restore", &other], &["key", "rotate"]] {
        let ended = server.doorward(&root, words, "a passphrase that is long enough\n");
        ended.assert_fails(2, "name the server's with --database");
    }
    assert!(!std::path::Path::new(&file).exists());
}
