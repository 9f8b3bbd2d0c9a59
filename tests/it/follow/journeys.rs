//! A sidecar follows a real server: what is attached to its agent reaches it, and what is taken back is cut.
//!
//! Somebody who ends the TLS in between reads and records the stream; no value is ever in it.

use harness::relay::Relay;
use harness::within::until;
use harness::{Origin, answer, canary};
use serde_json::json;

use super::team::{AUTHORITY, Following, PROJECT, SOON, Team, document, of};
use crate::refusals::told::assert_told;
use crate::world::{HOST, OTHER};

#[tokio::test]
async fn refuses_the_sidecars_token_at_its_own_port_and_the_agents_at_the_server() {
    let team = Team::new().await;
    let origin = Origin::start(HOST).await;
    let sidecar = team.coder(&origin).await;
    assert!(sidecar.token.starts_with("dwp_"), "{}", sidecar.token);
    let reply = sidecar.proxy.agent().with_basic("agent", &team.token).connect(AUTHORITY).await;
    assert_eq!(reply.status, 407);
    for token in [&sidecar.token, team.server.root()] {
        let bearer = format!("Bearer {token}");
        let key = "A".repeat(43);
        let headers = [("authorization", bearer.as_str()), ("doorward-seal-key", key.as_str())];
        let answer = team.server.send("GET", "/v1/sync", &headers, b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "DW6006"));
    }
    // The sidecar's opens nothing else.
    let answer = team.server.call_as(&team.token, "GET", &of("secrets"), None).await;
    answer.refused(403, "DW6006");
}

#[tokio::test]
async fn a_token_that_nobody_knows_ends_the_start_with_its_reason() {
    let team = Team::new().await;
    let unknown = format!("dwa_{}", "B".repeat(43));
    let sidecar = team.sidecar(team.server.url(), team.server.ca().to_str().unwrap(), &unknown);
    let Err(failure) = sidecar.try_start().await else { panic!("it starts") };
    assert_eq!(failure.code, Some(1));
    assert!(failure.stderr.contains("unknown, expired or revoked"), "{}", failure.stderr);
}

#[tokio::test]
async fn a_server_that_does_not_verify_is_told_nothing() {
    let team = Team::new().await;
    let relay = Relay::before(&team.server).await;
    // The server's own authority did not sign for the one in between.
    let sidecar = team.sidecar(&relay.url(), team.server.ca().to_str().unwrap(), &team.token);
    let Err(failure) = sidecar.try_start().await else { panic!("it starts") };
    assert!(failure.stderr.contains("tls: "), "{}", failure.stderr);
    assert!(relay.said().is_empty());
}

#[tokio::test]
async fn what_is_attached_reaches_a_running_sidecar_and_is_acknowledged() {
    let team = Team::new().await;
    let origin = Origin::builder(&[HOST, OTHER]).start().await;
    let sidecar = team.coder(&origin).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    assert!(sidecar.agent().refused("other.example.com:443").await.is("DW1001"));
    let other = team.secret("other", OTHER).await;
    team.server.post(&of("providers"), document("other", OTHER, "other")).await.is(201);
    team.attach("coder", "provider", "other").await;
    sidecar.shows(&origin, OTHER, &other).await;
    until("both attachments to be synced", SOON, async || {
        let all = team.attachments("coder").await;
        all.len() == 2 && all.iter().all(|one| one["synced"] == true && one["seen"].is_string())
    })
    .await;
    let (_, ready) = sidecar.proxy.admin_get("/readyz?verbose");
    assert!(ready.contains("[+] control: connected"), "{ready}");
}

#[tokio::test]
async fn a_rotated_secret_is_injected_without_a_restart_and_no_request_fails_meanwhile() {
    let team = Team::new().await;
    let origin = Origin::start(HOST).await;
    let sidecar = team.coder(&origin).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    let mut values = vec![team.value.clone()];
    for _ in 0..3 {
        let fresh = team.rotate("pat").await;
        values.push(fresh.clone());
        let wanted = format!("Bearer {fresh}");
        until("the new value", SOON, async || {
            sidecar.agent().get(HOST, "/").await.assert_ok();
            origin.last().headers_named("authorization") == [wanted.as_str()]
        })
        .await;
    }
    let known: Vec<String> = values.iter().map(|value| format!("Bearer {value}")).collect();
    for seen in origin.requests() {
        let put = seen.headers_named("authorization");
        assert!(put.len() == 1 && known.iter().any(|value| *value == put[0]), "{put:?}");
    }
    // What was replaced is not used again once the new one was.
    let last =
        origin.requests().iter().rposition(|seen| seen.headers_named("authorization") == [known[0].as_str()]);
    let first =
        origin.requests().iter().position(|seen| seen.headers_named("authorization") == [known[1].as_str()]);
    assert!(last < first);
}

#[tokio::test]
async fn a_detached_provider_is_refused_and_its_stream_cut() {
    let team = Team::new().await;
    let (mut feeds, answer) = answer::stream(&[]);
    let origin = Origin::builder(&[HOST]).h1().answer(answer).start().await;
    let sidecar = team.coder(&origin).await;
    let mut tls = sidecar.agent().tls(HOST).await;
    tls.send(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let feed = answer::next(&mut feeds).await;
    feed.send("begun").await;
    tls.read_until(b"begun").await;
    team.detach("coder", "provider", "demo").await;
    let cut = tokio::time::timeout(SOON, tls.read_to_end()).await;
    assert!(cut.is_ok(), "the stream lives on");
    feed.reader_gone().await;
    sidecar.is_refused(AUTHORITY, "DW1001").await;
}

#[tokio::test]
async fn a_revoked_agent_loses_its_stream_and_its_token() {
    let team = Team::new().await;
    let (mut feeds, answer) = answer::stream(&[]);
    let origin = Origin::builder(&[HOST]).h1().answer(answer).start().await;
    let sidecar = team.coder(&origin).await;
    let mut tls = sidecar.agent().tls(HOST).await;
    tls.send(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let feed = answer::next(&mut feeds).await;
    feed.send("begun").await;
    tls.read_until(b"begun").await;
    team.revoke("coder").await;
    let cut = tokio::time::timeout(SOON, tls.read_to_end()).await;
    assert!(cut.is_ok(), "the stream lives on");
    feed.reader_gone().await;
    until("the token to end", SOON, async || sidecar.agent().connect(AUTHORITY).await.status == 407).await;
    assert_eq!(sidecar.proxy.admin_get("/readyz").0, 503);
}

#[tokio::test]
async fn dw5002_the_last_snapshot_serves_while_the_server_is_away_then_nothing_does_then_all_again() {
    let team = Team::new().await;
    let relay = Relay::before(&team.server).await;
    let origin = Origin::start(HOST).await;
    let sidecar = team.coder_via(&relay).arg("--max-stale").arg("20s").origin(&origin);
    let sidecar = Following::start(&team, sidecar.arg("--log-format").arg("json")).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    relay.close();
    until("the loss to be seen", SOON, async || {
        sidecar.proxy.admin_get("/readyz?verbose").1.contains("[-] control: not connected")
    })
    .await;
    sidecar.agent().get(HOST, "/").await.assert_ok();
    sidecar.is_refused(AUTHORITY, "DW5002").await;
    // What stood as the time ran out is cut: only then is a new connection left to its answer.
    until("the cut", SOON, async || sidecar.proxy.metric("doorward_control_stale") == Some(1.0)).await;
    let refused = sidecar.agent().get(HOST, "/").await;
    refused.assert_refused(503, "DW5002");
    assert_told(&sidecar.proxy, "DW5002", &refused).await;
    let (status, ready) = sidecar.proxy.admin_get("/readyz?verbose");
    assert!(status == 503 && ready.contains("DW5002"), "{ready}");
    let fresh = team.rotate("pat").await;
    relay.open();
    sidecar.shows(&origin, HOST, &fresh).await;
    assert_eq!(sidecar.proxy.metric("doorward_control_stale"), Some(0.0));
    assert!(relay.connections() > 1);
}

#[tokio::test]
async fn nobody_in_between_reads_a_value_not_even_of_the_agents_own() {
    let team = Team::new().await;
    // Of another agent, which has a sidecar of its own.
    let foreign = team.secret("foreign", OTHER).await;
    team.server.post(&of("providers"), document("foreign", OTHER, "foreign")).await.is(201);
    team.agent("other").await;
    team.attach("other", "provider", "foreign").await;
    let relay = Relay::before(&team.server).await;
    let origin = Origin::builder(&[HOST, OTHER]).start().await;
    let sidecar = Following::start(&team, team.coder_via(&relay).origin(&origin)).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    let fresh = team.rotate("pat").await;
    sidecar.shows(&origin, HOST, &fresh).await;
    let said = relay.said();
    assert!(said.windows(11).any(|part| part == b"\"snapshot\":"), "the stream was recorded");
    assert!(said.windows(9).any(|part| part == b"\"change\":"));
    for value in [&team.value, &fresh, &foreign] {
        let found = canary::search(&said, value);
        assert!(found.is_none(), "{found:?}");
    }
    // Of the other agent not even the name.
    assert!(!String::from_utf8_lossy(&said).contains("foreign"));
    assert!(sidecar.agent().refused("other.example.com:443").await.is("DW1001"));
}

#[tokio::test]
async fn a_snapshot_that_was_edited_on_the_way_is_not_taken() {
    let team = Team::new().await;
    let relay = Relay::before(&team.server).await;
    let origin = Origin::builder(&[HOST, OTHER]).start().await;
    let sidecar = Following::start(&team, team.coder_via(&relay).origin(&origin)).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    // Another destination of the same length for provider and secret.
    relay.change(Some(|bytes| {
        let text = String::from_utf8_lossy(bytes).replace("api.example.com", "apj.example.com");
        if text.len() == bytes.len() {
            *bytes = text.into_bytes();
        }
    }));
    relay.cut();
    until("the edited snapshot to be refused", SOON, async || {
        sidecar.proxy.log().contains("a sealed value does not authenticate")
    })
    .await;
    sidecar.agent().get(HOST, "/").await.assert_ok();
    assert!(sidecar.agent().refused("apj.example.com:443").await.is("DW1001"));
    relay.change(None);
    let fresh = team.rotate("pat").await;
    sidecar.shows(&origin, HOST, &fresh).await;
}

#[tokio::test]
async fn a_server_that_is_killed_and_started_again_is_found_again() {
    let team = Team::new().await;
    let origin = Origin::start(HOST).await;
    let relay = Relay::before(&team.server).await;
    let sidecar = Following::start(&team, team.coder_via(&relay).origin(&origin)).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    relay.cut();
    sidecar.agent().get(HOST, "/").await.assert_ok();
    let fresh = team.rotate("pat").await;
    sidecar.shows(&origin, HOST, &fresh).await;
    assert!(relay.connections() > 1);
}

#[tokio::test]
async fn an_earlier_document_serves_no_new_value_although_a_file_is_broken() {
    let team = Team::new().await;
    let origin = Origin::builder(&[HOST, OTHER]).start().await;
    let files = team.server.path("files");
    std::fs::create_dir_all(&files).unwrap();
    let file = files.join("own.yaml");
    let own = "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {name: own}\nspec: {type: custom, host: own.example.com}\n";
    std::fs::write(&file, own).unwrap();
    let sidecar = team.sidecar(team.server.url(), team.server.ca().to_str().unwrap(), &team.token);
    let sidecar = sidecar.arg("--providers").arg(files.to_str().unwrap()).origin(&origin);
    let sidecar = Following::start(&team, sidecar).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    std::fs::write(&file, "spec: [").unwrap();
    until("the mistake to be told", SOON, async || {
        sidecar.proxy.admin_get("/readyz?verbose").1.contains("own.yaml")
    })
    .await;
    // Narrower than before: what served until now must not go on with the new value.
    let mut narrow = document("demo", HOST, "pat");
    let text = narrow["document"].as_str().unwrap().replace(
        "spec: {",
        "spec: {policy: {httpRules: [{paths: [/public], effect: allow}, {effect: deny}]}, ",
    );
    narrow["document"] = text.into();
    let put = team.server.change("PUT", &of("providers/demo"), "*", Some(narrow)).await;
    assert_eq!(put.is(200).json()["withheld"], false);
    team.rotate("pat").await;
    sidecar.is_refused(AUTHORITY, "DW3003").await;
    let known = format!("Bearer {}", team.value);
    assert!(origin.requests().iter().all(|seen| seen.headers_named("authorization") == [known.as_str()]));
    std::fs::write(&file, own).unwrap();
    sidecar.is_refused(AUTHORITY, "DW1002").await;
}

#[tokio::test]
async fn a_withheld_document_serves_nothing_although_its_secret_is_attached_as_well() {
    let team = Team::new().await;
    let origin = Origin::builder(&[HOST, OTHER]).start().await;
    let sidecar = team.coder(&origin).await;
    team.attach("coder", "secret", "pat").await;
    sidecar.shows(&origin, HOST, &team.value).await;
    // Bound to both hosts, so that nothing but the approval is in the way.
    let body = json!({"values": {"token": team.value}, "hosts": [HOST, OTHER]});
    team.server.change("POST", &of("secrets/pat/rotate"), "*", Some(body)).await.is(200);
    let developer = team.server.token(Some(PROJECT), "developer").await;
    let moved = document("demo", OTHER, "pat");
    let headers = [("if-match", "*")];
    let path = of("providers/demo");
    let put = team.server.call_with(&developer, "PUT", &path, &headers, Some(&moved)).await;
    assert_eq!(put.is(200).json()["withheld"], true);
    sidecar.is_refused(AUTHORITY, "DW1001").await;
    assert!(sidecar.agent().refused("other.example.com:443").await.is("DW1001"));
    let approve = of("providers/demo/approve");
    team.server.change("POST", &approve, "*", None).await.is(200);
    sidecar.shows(&origin, OTHER, &team.value).await;
}

#[tokio::test]
async fn a_withheld_document_serves_nothing_although_another_document_of_the_agent_has_its_secret() {
    let team = Team::new().await;
    let origin = Origin::builder(&[HOST, OTHER]).start().await;
    let sidecar = team.coder(&origin).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    let body = json!({"values": {"token": team.value}, "hosts": [HOST, OTHER]});
    team.server.change("POST", &of("secrets/pat/rotate"), "*", Some(body)).await.is(200);
    let developer = team.server.token(Some(PROJECT), "developer").await;
    let second = document("second", OTHER, "pat");
    let made = team.server.call_as(&developer, "POST", &of("providers"), Some(&second)).await;
    assert_eq!(made.is(201).json()["withheld"], true);
    team.attach("coder", "provider", "second").await;
    // The attaching is there when this is. A new value approves nothing.
    let fresh = team.rotate("pat").await;
    sidecar.shows(&origin, HOST, &fresh).await;
    assert!(sidecar.agent().refused("other.example.com:443").await.is("DW1001"));
    let approve = of("providers/second/approve");
    team.server.change("POST", &approve, "*", None).await.is(200);
    sidecar.shows(&origin, OTHER, &fresh).await;
}

#[tokio::test]
async fn a_secret_that_a_variable_alone_shows_reaches_the_agents_environment() {
    let team = Team::new().await;
    let origin = Origin::start(HOST).await;
    let shown = canary::fresh();
    let body = json!({"name": "seen", "values": {"token": shown}, "hosts": [HOST]});
    team.server.post(&of("secrets"), body).await.is(201);
    let env = json!({"kind": "env", "name": "SEEN", "secret": "seen"});
    team.server.post(&of("agents/coder/attachments"), env).await.is(201);
    let sidecar = team.coder(&origin).await;
    let env = sidecar.proxy.agent_env();
    assert!(env.iter().any(|(name, value)| name == "SEEN" && *value == shown), "{env:?}");
}

#[tokio::test]
async fn audit_lines_reach_the_server_in_their_chain() {
    let team = Team::new().await;
    let origin = Origin::start(HOST).await;
    let sidecar = team.coder(&origin).await;
    sidecar.shows(&origin, HOST, &team.value).await;
    assert!(sidecar.agent().refused("other.example.com:443").await.is("DW1001"));
    until("the lines at the server", SOON, async || {
        let sources = team.server.get(&of("audit/sources")).await.is(200).json();
        let names: Vec<&str> =
            sources["items"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
        let Some(name) = names.iter().find(|name| name.starts_with("sidecar/coder/")) else { return false };
        let lines = team.server.get(&format!("{}?limit=500&source={name}", of("audit"))).await;
        let text = String::from_utf8_lossy(&lines.is(200).body).into_owned();
        let verified = team.server.get(&format!("{}?source={name}", of("audit/verify"))).await;
        assert_eq!(verified.status, 200, "{}", verified.json());
        text.contains("DW1001") && text.contains("api.example.com")
    })
    .await;
}

#[tokio::test]
async fn nothing_is_written_where_nothing_can_be() {
    let team = Team::new().await;
    let origin = Origin::start(HOST).await;
    // A home below a file, so that no folder can be made: as a file system that can only be read.
    let sidecar = team
        .sidecar(team.server.url(), team.server.ca().to_str().unwrap(), &team.token)
        .arg("--home")
        .arg("/dev/null/nowhere");
    let sidecar = Following::start(&team, sidecar.origin(&origin)).await;
    sidecar.shows(&origin, HOST, &team.value).await;
}
