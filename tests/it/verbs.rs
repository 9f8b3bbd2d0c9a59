//! The verbs that a developer or a probe types beside a proxy, each through the binary and to some purpose.

use std::process::{Command, Stdio};

use harness::home::{Ran, finish};
use harness::{Home, Origin, Proxy, canary};
use serde_json::Value;

use crate::world::{HOST, World, bearer};

/// `doorward` with these words, with no home and no settings.
fn doorward(words: &[&str]) -> Ran {
    finish(confined(Command::new(harness::binary::doorward()), words), "")
}

fn confined(mut command: Command, words: &[&str]) -> Command {
    command.args(words).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A line of shell in which `doorward` is the binary.
fn shell(line: &str) -> Ran {
    let line = format!("doorward() {{ {} \"$@\"; }}\n{line}", harness::binary::doorward().display());
    finish(confined(Command::new("bash"), &["-c", &line]), "")
}

#[tokio::test]
async fn health_says_by_its_code_whether_a_proxy_is_ready() {
    let mut world = World::of(&bearer().replace("secretRef: canary", "secretRef: absent")).await;
    let admin = format!("http://{}", world.proxy.admin());
    let degraded = doorward(&["health", "--admin", &admin]);
    assert_eq!(
        degraded.code,
        Some(0),
        "a provider without its secret does not stop the others: {degraded:?}"
    );
    assert!(degraded.stdout.contains("DW1004") || degraded.stdout.contains("absent"), "{degraded:?}");
    world.proxy.kill();
    doorward(&["health", "--admin", &admin]).assert_fails(7, &admin);
}

#[tokio::test]
async fn env_is_what_a_shell_starts_its_clients_with() {
    let world = World::bearer().await;
    let publish = world.proxy.path("publish");
    let line = format!(
        "eval \"$(doorward env --publish {} -o sh)\"; curl -sS https://{HOST}/from-the-shell",
        publish.display()
    );
    // Beside this thread, on which the origin is served.
    let ran = tokio::task::spawn_blocking(move || shell(&line)).await.unwrap();
    assert!(ran.assert_ok().stdout.contains("GET /from-the-shell"), "{ran:?}");
    assert_eq!(canary::search(ran.stdout.as_bytes(), world.proxy.canary()), None);
    world.assert_injected();
    doorward(&["env", "--publish", "/nonexistent"]).assert_fails(5, "/nonexistent");
}

#[tokio::test]
async fn trust_export_is_the_authority_that_a_proxy_serves_with_and_not_its_key() {
    let builder = Proxy::builder().bearer(HOST).arg("--ca-dir").arg("{home}/ca");
    let world = World::built(Origin::builder(&[HOST]), builder).await;
    let (folder, file) = (world.proxy.path("ca"), world.proxy.path("exported.crt"));
    let (folder, file) = (folder.to_str().unwrap(), file.to_str().unwrap());
    doorward(&["trust", "export", file, "--ca-dir", folder]).assert_ok();
    let exported = std::fs::read_to_string(file).unwrap();
    assert!(!exported.contains("PRIVATE"), "{exported}");
    world.agent().with_ca(&exported).get(HOST, "/").await.assert_ok();
    doorward(&["trust", "export", "--ca-dir", "/nonexistent"]).assert_fails(5, "--ca-dir");
}

#[test]
fn completion_is_loaded_by_bash_and_knows_the_verbs() {
    let ran = shell(
        "eval \"$(doorward completion bash)\"; COMP_WORDS=(doorward ''); COMP_CWORD=1; _doorward doorward '' doorward; echo \"${COMPREPLY[@]}\"",
    );
    let known: Vec<&str> = ran.assert_ok().stdout.split_whitespace().collect();
    for verb in
        ["proxy", "run", "demo", "add", "check", "doctor", "trust", "explain", "schema", "audit", "health"]
    {
        assert!(known.contains(&verb), "{verb}: {ran:?}");
    }
}

#[test]
fn schema_describes_each_kind_of_document() {
    for kind in doorward(&["schema"]).assert_ok().stdout.lines() {
        let printed = doorward(&["schema", kind]);
        let schema: Value = serde_json::from_str(&printed.assert_ok().stdout).unwrap();
        assert!(schema["properties"]["spec"].is_object(), "{kind}: {schema}");
    }
    let provider = doorward(&["schema", "Provider"]).stdout;
    assert!(provider.contains("secretRef") && provider.contains("httpRules"), "{provider}");
    doorward(&["schema", "Teapot"]).assert_fails(5, "Provider");
}

#[tokio::test]
async fn explain_says_offline_what_the_wire_said() {
    let world = World::bearer().await;
    let refused = world.agent().get("denied.example.net", "/").await;
    let told = refused.json();
    let explained = doorward(&["explain", told["code"].as_str().unwrap()]);
    for part in ["title", "hint"] {
        let text = told[part].as_str().unwrap();
        assert!(explained.assert_ok().stdout.contains(text), "{text}: {explained:?}");
    }
    doorward(&["explain", "DW9999"]).assert_fails(5, "unknown code");
}

#[tokio::test]
async fn audit_tail_shows_the_request_that_was_made_as_it_stands_in_the_file() {
    let world = World::bearer().await;
    for path in ["/first", "/second"] {
        world.agent().get(HOST, path).await.assert_ok();
        world.proxy.audit().request(path).await;
    }
    let file = world.proxy.audit().path().to_str().unwrap().to_owned();
    let tail = doorward(&["audit", "tail", "-l", "1", "-o", "jsonl", &file]);
    let text = world.proxy.audit().text();
    assert_eq!(tail.assert_ok().stdout.trim_end(), text.lines().last().unwrap());
    doorward(&["audit", "verify", &file]).assert_ok();
}

#[tokio::test]
async fn an_imported_env_file_serves_a_provider_and_its_other_lines_are_variables() {
    let (home, value) = (Home::keyed(), canary::fresh());
    home.write("env", &format!("OPENAI_API_KEY={value}\nLOG_LEVEL=debug\n"));
    home.run(&["import", home.path("env").to_str().unwrap()], "").assert_ok();
    let listed = home.run(&["get", "variables", "-o", "json"], "");
    assert!(listed.assert_ok().stdout.contains("LOG_LEVEL"), "{listed:?}");
    let described = home.run(&["describe", "secret", "OPENAI_API_KEY"], "");
    assert_eq!(canary::search(described.assert_ok().stdout.as_bytes(), &value), None, "{described:?}");
    let spec = "type: openai\nauth: {type: api-key, secretRef: OPENAI_API_KEY}";
    let builder = Proxy::builder().vault(&home).canary(&value).provider("llm", spec);
    let world = World::built(Origin::builder(&["api.openai.com"]), builder).await;
    world.agent().get("api.openai.com", "/v1/models").await.assert_ok();
    world.assert_injected();
}
