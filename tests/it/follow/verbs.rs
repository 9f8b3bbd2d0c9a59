//! The same journeys as people walk them: by the command line, to `agent.env`, to `doorward run`.

use std::process::Stdio;
use std::sync::Arc;

use harness::binary::doorward;
use harness::within::until;
use harness::{Origin, Server, answer, canary, within};
use serde_json::json;
use tokio::process::Command;

use super::team::{AUTHORITY, Following, PROJECT, SOON, Team, document, of};
use crate::world::HOST;

/// A command of the owner in the team's project.
fn verb(server: &Server, words: &[&str], input: &str) {
    let root = server.root().to_owned();
    server.doorward(&root, &[&["-n", PROJECT], words].concat(), input).assert_ok();
}

#[tokio::test]
async fn the_verbs_lead_a_credential_to_its_origin_change_it_and_take_it_back() {
    let server = Server::start().await;
    let value = server.canary();
    verb(&server, &["add", "project", PROJECT], "");
    verb(&server, &["add", "secret", "pat", "--from-stdin", "token", "--hosts", HOST], &value);
    let (file, token) = (server.path("demo.yaml"), server.path("coder.token"));
    std::fs::write(&file, document("demo", HOST, "pat")["document"].as_str().unwrap()).unwrap();
    verb(&server, &["apply", "-f", file.to_str().unwrap()], "");
    verb(&server, &["add", "agent", "coder", "--token-file", token.to_str().unwrap()], "");
    let token = std::fs::read_to_string(token).unwrap().trim().to_owned();
    server.watch(&token);
    let team = Team { server, token, value };
    let ((mut feeds, stream), echo) = (answer::stream(&[]), answer::echo());
    let answer: answer::Answer =
        Arc::new(move |asked| if asked.seen.target == "/live" { stream(asked) } else { echo(asked) });
    let origin = Origin::builder(&[HOST]).h1().answer(answer).start().await;
    let sidecar = team.coder(&origin).await;
    sidecar.is_refused(AUTHORITY, "DW1001").await;
    let attach = ["attach", "provider", "demo", "--agent", "coder"];
    verb(&team.server, &attach, "");
    until("the provider", SOON, async || !sidecar.agent().refused(AUTHORITY).await.is("DW1001")).await;
    let next = team.server.canary();
    verb(&team.server, &["rotate", "secret", "pat", "--from-stdin", "token"], &next);
    let synced = async || team.attachments("coder").await.iter().all(|one| one["synced"] == true);
    until("the acknowledgement", SOON, synced).await;
    let mut tls = sidecar.agent().tls(HOST).await;
    tls.send(b"GET /live HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let feed = answer::next(&mut feeds).await;
    feed.send("begun").await;
    tls.read_until(b"begun").await;
    assert_eq!(origin.last().headers_named("authorization"), [format!("Bearer {next}")]);
    verb(&team.server, &["detach", "provider", "demo", "--agent", "coder"], "");
    within("the stream to be cut", tls.read_to_end()).await;
    feed.reader_gone().await;
    sidecar.is_refused(AUTHORITY, "DW1001").await;
    verb(&team.server, &attach, "");
    until("the provider again", SOON, async || !sidecar.agent().refused(AUTHORITY).await.is("DW1001")).await;
    verb(&team.server, &["delete", "agent", "coder"], "");
    until("the token to end", SOON, async || sidecar.agent().connect(AUTHORITY).await.status == 407).await;
}

#[tokio::test]
async fn variables_and_exposed_secrets_reach_the_agents_environment_and_leave_it() {
    let team = Team::new().await;
    let origin = Origin::start(HOST).await;
    let sidecar = team.coder(&origin).await;
    let root = team.server.root().to_owned();
    let run = |words: &[&str]| team.server.doorward(&root, &[&["-n", PROJECT], words].concat(), "");
    // To be seen by the agent, and so in its file; nowhere else, the server included.
    let shown = canary::fresh();
    let body = json!({"name": "shown", "values": {"token": shown}, "hosts": [HOST]});
    team.server.post(&of("secrets"), body).await.is(201);
    run(&["add", "variable", "REGION=eu"]).assert_ok();
    run(&["attach", "env", "AGENT_REGION", "--variable", "REGION", "--agent", "coder"]).assert_ok();
    let attach = ["attach", "env", "SHOWN_TOKEN", "--secret", "shown", "--agent", "coder"];
    assert!(run(&attach).assert_ok().stderr.contains("will see the values"), "no warning");
    let has = |name: &str| {
        let env = sidecar.proxy.agent_env();
        env.into_iter().find(|(own, _)| own == name).map(|(_, value)| value)
    };
    until("both variables", SOON, async || {
        has("AGENT_REGION").as_deref() == Some("eu") && has("SHOWN_TOKEN").as_deref() == Some(&*shown)
    })
    .await;
    let told = sidecar.proxy.audit().wait_for("the exposure", |line| {
        line["reason"] == "secret shown exposed to the agent as SHOWN_TOKEN"
    });
    told.await;
    assert!(!sidecar.proxy.log().contains(&shown) && !sidecar.proxy.audit().text().contains(&shown));
    let path = of("variables/REGION");
    team.server.change("PUT", &path, "*", Some(json!({"value": "us"}))).await.is(200);
    until("the other value", SOON, async || has("AGENT_REGION").as_deref() == Some("us")).await;
    run(&["detach", "env", "SHOWN_TOKEN", "--agent", "coder"]).assert_ok();
    run(&["detach", "env", "AGENT_REGION", "--agent", "coder"]).assert_ok();
    until("both to be gone", SOON, async || has("AGENT_REGION").is_none() && has("SHOWN_TOKEN").is_none())
        .await;
}

#[tokio::test]
async fn a_program_of_run_gets_its_credentials_from_the_server() {
    let team = Team::new().await;
    let origin = Origin::start(HOST).await;
    let token = team.server.path("run.token");
    harness::proxy::build::put(&token, &team.token);
    let (folder, ca) = (tempfile::tempdir().unwrap(), team.server.path("world.pem"));
    std::fs::write(&ca, harness::ca::TestCa::world().pem()).unwrap();
    let url = format!("https://{HOST}/from-run");
    let mut command = Command::new(doorward());
    command.arg("--home").arg(folder.path().join("home")).args(["run", "--control", team.server.url()]);
    command.arg("--control-ca").arg(team.server.ca()).arg("--control-token-file").arg(&token);
    command.arg("--").arg(doorward()).args(["demo-client", "GET", &url, "PATH"]);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder.path());
    command.env("DOORWARD_UPSTREAM_CA", &ca).env("DOORWARD_ALLOW_CIDR", "127.0.0.1/32");
    command.env("DOORWARD_RESOLVE", format!("{HOST}:443:{}", origin.address()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let ended = within("doorward run", command.output()).await.unwrap();
    let shown =
        format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{shown}");
    assert_eq!(origin.only().headers_named("authorization"), [format!("Bearer {}", team.value)]);
    for secret in [&team.value, &team.token] {
        assert_eq!(canary::search(shown.as_bytes(), secret), None);
    }
}

#[tokio::test]
async fn a_sidecar_follows_over_the_servers_socket() {
    let team = Team::new().await;
    let origin = Origin::start(HOST).await;
    let url = format!("unix:{}", team.server.path("api.sock").display());
    let sidecar = team.sidecar(&url, team.server.ca().to_str().unwrap(), &team.token).origin(&origin);
    let sidecar = Following::start(&team, sidecar).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    let fresh = team.rotate("pat").await;
    sidecar.shows(&origin, HOST, &fresh).await;
    let synced = async || team.attachments("coder").await.iter().all(|one| one["synced"] == true);
    until("the acknowledgement", SOON, synced).await;
}
