//! The command line against a server: the same verbs and the same output as with the local vault.

use harness::{Home, Server};
use serde_json::Value;

use super::github;

/// Without what differs between two places: ages, times, fingerprints.
fn comparable(text: &str) -> Value {
    let mut all: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let objects = match &mut all {
        Value::Array(list) => list.iter_mut().collect::<Vec<_>>(),
        one => vec![one],
    };
    for object in objects {
        for field in ["created", "changed", "fingerprints", "version"] {
            object.as_object_mut().unwrap().remove(field);
        }
    }
    all
}

#[tokio::test]
async fn the_verbs_say_the_same_with_a_server_and_with_the_local_vault() {
    let server = Server::start().await;
    let home = Home::keyed();
    let (first, second) = (server.canary(), server.canary());
    let root = server.root().to_owned();
    let steps: [(&[&str], &str, i32); 12] = [
        (&["add", "secret", "pat", "--from-stdin", "token", "--for", "github"], &first, 0),
        (&["add", "secret", "pat", "--from-stdin", "token", "--for", "github"], &first, 6),
        (&["add", "variable", "REGION=eu"], "", 0),
        (&["rotate", "secret", "pat", "--from-stdin", "token"], &second, 0),
        (&["rotate", "secret", "none", "--from-stdin", "token"], &second, 5),
        (&["rollback", "secret", "pat"], "", 0),
        (&["get", "secrets", "-o", "name"], "", 0),
        (&["get", "variables", "-o", "name"], "", 0),
        (&["describe", "secret", "none"], "", 5),
        (&["describe", "variable", "REGION", "-o", "name"], "", 0),
        (&["delete", "variable", "REGION"], "", 0),
        (&["delete", "variable", "REGION"], "", 5),
    ];
    for (words, input, code) in steps {
        let local = home.run(words, input);
        let remote = server.doorward(&root, words, input);
        assert_eq!((local.code, remote.code), (Some(code), Some(code)), "{words:?} {local:?} {remote:?}");
        assert_eq!(local.stdout, remote.stdout, "{words:?}");
        if code == 0 {
            assert_eq!(local.stderr, remote.stderr, "{words:?}");
        }
    }
    let words = ["describe", "secret", "pat", "-o", "json"];
    let (local, remote) = (home.run(&words, ""), server.doorward(&root, &words, ""));
    assert_eq!(comparable(&local.stdout), comparable(&remote.stdout));
    let words = ["get", "secrets", "-o", "json"];
    let (local, remote) = (home.run(&words, ""), server.doorward(&root, &words, ""));
    assert_eq!(comparable(&local.stdout), comparable(&remote.stdout));
}

#[tokio::test]
async fn an_import_says_the_same_and_is_whole() {
    let server = Server::start().await;
    let home = Home::keyed();
    let value = server.canary();
    home.write("app.env", &format!("GITHUB_TOKEN=ghp_{value}\nREGION=eu\n"));
    let file = home.path("app.env").display().to_string();
    let root = server.root().to_owned();
    for (words, code) in
        [(vec!["import", &file, "--dry-run"], 0), (vec!["import", &file], 0), (vec!["import", &file], 6)]
    {
        let (local, remote) = (home.run(&words, ""), server.doorward(&root, &words, ""));
        assert_eq!((local.code, remote.code), (Some(code), Some(code)), "{local:?} {remote:?}");
        assert_eq!(local.stdout, remote.stdout);
        assert_eq!(local.stderr, remote.stderr);
    }
}

#[tokio::test]
async fn a_login_is_kept_until_another_context_is_chosen() {
    let server = Server::start().await;
    let home = Home::keyed();
    home.write("token", server.root());
    home.write("wrong", &super::foreign("dwt"));
    let (token, wrong) = (home.path("token"), home.path("wrong"));
    let ca = server.ca().display().to_string();
    let login = |file: &std::path::Path| {
        let file = file.display().to_string();
        let words =
            ["login", "--server", server.url(), "--token-file", &file, "--server-ca", &ca, "--name", "team"];
        harness::home::finish(home.command(&words), "")
    };
    login(&wrong).assert_fails(4, "doorward login");
    login(&token).assert_ok();
    let plain = |words: &[&str]| harness::home::finish(home.command(words), "");
    plain(&["add", "variable", "A=b"]).assert_ok();
    server.get("/v1/projects/default/variables/A").await.is(200);
    assert!(plain(&["context", "list"]).assert_ok().stdout.contains("*        team"));
    plain(&["context", "use", "local"]).assert_ok();
    assert_eq!(plain(&["get", "variables", "-o", "name"]).assert_ok().stdout, "");
    let named = plain(&["get", "variables", "-o", "name", "--context", "team"]);
    assert_eq!(named.assert_ok().stdout, "variable/A\n");
    plain(&["context", "use", "nowhere"]).assert_fails(5, "context `nowhere` does not exist");
    plain(&["context", "forget", "team"]).assert_ok();
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(home.path("home/config/logins.json")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_folder_of_documents_is_applied_with_a_diff_a_dry_run_and_pruning() {
    let server = Server::start().await;
    let home = Home::keyed();
    let root = server.root().to_owned();
    let value = server.canary();
    let add = ["add", "secret", "pat", "--from-stdin", "token", "--for", "github"];
    home.run(&add, &value).assert_ok();
    server.doorward(&root, &add, &value).assert_ok();
    let folder = home.path("files").display().to_string();
    std::fs::create_dir(&folder).unwrap();
    home.write("files/gh.yaml", &github("gh", "pat"));
    let both = |words: &[&str]| {
        let local = harness::home::finish(home.command(words), "");
        let remote = server.doorward(&root, words, "");
        assert_eq!(
            (local.code, &local.stdout),
            (remote.code, &remote.stdout),
            "{words:?} {local:?} {remote:?}"
        );
        remote
    };
    let dry = both(&["apply", "-f", &folder, "--dry-run"]);
    assert_eq!(dry.assert_ok().stdout, "provider/gh created (dry run)\n");
    server.get("/v1/projects/default/providers/gh").await.refused(404, "DW6007");
    assert_eq!(both(&["apply", "-f", &folder]).assert_ok().stdout, "provider/gh created\n");
    assert_eq!(both(&["apply", "-f", &folder]).assert_ok().stdout, "provider/gh unchanged\n");
    home.write("files/gh.yaml", &github("gh", "pat").replace("issues:read", "issues:*"));
    let diff = both(&["diff", "-f", &folder]).assert_ok().stdout.clone();
    assert_eq!(
        diff,
        "provider/gh\n-  policy: {allow: [\"issues:read\"]}\n+  policy: {allow: [\"issues:*\"]}\n"
    );
    assert_eq!(both(&["apply", "-f", &folder]).assert_ok().stdout, "provider/gh changed\n");
    home.write("files/gh.yaml", &github("hub", "pat"));
    let pruned = both(&["apply", "-f", &folder, "--prune"]);
    assert_eq!(pruned.code, Some(0), "{pruned:?}");
    assert!(pruned.stdout.contains("provider/gh pruned") && pruned.stdout.contains("provider/hub created"));
    home.write("files/gh.yaml", "kind: Nothing\n");
    assert_eq!(both(&["apply", "-f", &folder]).code, Some(1));
}

#[tokio::test]
async fn a_document_that_the_server_refuses_leaves_the_others_unapplied() {
    let server = Server::start().await;
    let home = Home::keyed();
    let folder = home.path("files").display().to_string();
    std::fs::create_dir(&folder).unwrap();
    server.secret("default", "pat").await;
    // By themselves both are right; the server lacks the secret of the second.
    home.write("files/a.yaml", &github("gh", "pat"));
    home.write(
        "files/b.yaml",
        &github("hub", "none")
            .replace("github\n", "http-token\n  host: b.example.com\n")
            .replace("type: pat", "type: bearer")
            .replace("  policy: {allow: [\"issues:read\"]}\n", ""),
    );
    let root = server.root().to_owned();
    let applied = server.doorward(&root, &["apply", "-f", &folder], "");
    applied.assert_fails(1, "DW6016");
    server.get("/v1/projects/default/providers/gh").await.refused(404, "DW6007");
}

#[tokio::test]
async fn tokens_agents_and_attachments_are_made_on_the_command_line() {
    let server = Server::start().await;
    let root = server.root().to_owned();
    let run = |token: &str, words: &[&str]| server.doorward(token, words, "");
    server.secret("default", "pat").await;
    let made = run(&root, &["token", "create", "ci", "--role", "viewer"]);
    let token = made.assert_ok().stdout.trim().to_owned();
    assert!(token.starts_with("dwt_"));
    run(&token, &["auth", "can-i", "secrets:read"]).assert_ok();
    assert_eq!(run(&token, &["auth", "can-i", "secrets:manage"]).code, Some(3));
    run(&token, &["delete", "secret", "pat"]).assert_fails(1, "DW6005");
    let file = server.path("agent.token").display().to_string();
    run(&root, &["add", "agent", "bot", "--token-file", &file]).assert_ok();
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("dwa_"));
    run(&root, &["attach", "secret", "pat", "--agent", "bot"]).assert_ok();
    run(&root, &["attach", "secret", "pat", "--agent", "bot"]).assert_fails(6, "DW6009");
    let list = run(&root, &["get", "attachments", "--agent", "bot"]);
    assert!(list.assert_ok().stdout.contains("secret"), "{list:?}");
    run(&root, &["delete", "secret", "pat"]).assert_fails(6, "DW6002");
    run(&root, &["detach", "secret", "pat", "--agent", "bot"]).assert_ok();
    run(&root, &["detach", "secret", "pat", "--agent", "bot"]).assert_fails(5, "is not attached");
    run(&root, &["delete", "secret", "pat"]).assert_ok();
    run(&root, &["token", "revoke", "ci"]).assert_ok();
    run(&token, &["auth", "can-i"]).assert_fails(4, "DW6004");
}

#[tokio::test]
async fn a_root_token_that_an_orchestrator_gives_is_taken_and_a_text_that_is_none_is_refused() {
    let start = async |token: &str| {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("given");
        harness::proxy::build::put(&file, token);
        let mut command = std::process::Command::new(harness::binary::doorward());
        command.env_clear().arg("--home").arg(home.path().join("home")).args(["server", "init"]);
        command.arg("--root-token-file").arg(&file);
        let output = command.output().unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), token);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = start("dwt_not-a-root-token").await;
    assert!(code == Some(1) && said.contains("holds no root token") && !said.contains("dwt_"), "{said}");
    let (code, said) = start(&format!("dwb_{}\n", "A".repeat(43))).await;
    assert_eq!(code, Some(0), "{said}");
}
