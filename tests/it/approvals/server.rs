//! With a server: a sidecar asks it, a person answers there, and the sidecar hears of it by its stream.

use harness::within::until;
use harness::{Agent, Origin, Proxy, Server, canary};
use serde_json::{Value, json};

use super::{SOON, asked, asking};
use crate::world::HOST;

const PROJECT: &str = "team-a";

fn of(path: &str) -> String {
    format!("/v1/projects/{PROJECT}/{path}")
}

/// A server with an agent `coder` whose provider asks, and an origin.
struct Team {
    server: Server,
    origin: Origin,
    token: String,
}

/// A sidecar and its agent's own token.
struct Sidecar {
    proxy: Proxy,
    token: String,
}

impl Sidecar {
    fn agent(&self) -> Agent {
        self.proxy.agent().with_basic("agent", &self.token)
    }

    async fn post(&self, path: &str, body: &[u8]) -> harness::Reply {
        self.agent().post(HOST, path, "", body).await
    }
}

fn document(more: &str) -> Value {
    let spec = asking(more).replace("secretRef: canary", "secretRef: pat");
    json!({"document": harness::proxy::build::provider_yaml("demo", &spec)})
}

impl Team {
    async fn new(more: &str) -> Self {
        Self::on(Server::start().await, more).await
    }

    async fn on(server: Server, more: &str) -> Self {
        server.project(PROJECT).await;
        let value = server.canary();
        let secret = json!({"name": "pat", "values": {"token": value}, "hosts": [HOST]});
        server.post(&of("secrets"), secret).await.is(201);
        server.post(&of("providers"), document(more)).await.is(201);
        let made = server.post(&of("agents"), json!({"name": "coder"})).await;
        let token = made.is(201).json()["token"].as_str().unwrap().to_owned();
        server.watch(&token);
        let path = of("agents/coder/attachments");
        server.post(&path, json!({"kind": "provider", "name": "demo"})).await.is(201);
        Self { server, origin: Origin::start(HOST).await, token }
    }

    async fn sidecar(&self) -> Sidecar {
        let file = self.server.path(&format!("sidecar-{}", canary::fresh()));
        harness::proxy::build::put(&file, &self.token);
        let builder = Proxy::builder().no_token().without_secrets().origin(&self.origin);
        let builder = builder.arg("--control").arg(self.server.url());
        let builder = builder.arg("--control-ca").arg(self.server.ca().to_str().unwrap());
        let proxy = builder.arg("--control-token-file").arg(file.to_str().unwrap()).start().await;
        let env = proxy.agent_env();
        let (_, url) = env.iter().find(|(name, _)| name == "https_proxy").expect("https_proxy");
        let token = url.split_once("agent:").and_then(|(_, rest)| rest.split_once('@')).unwrap().0.to_owned();
        Sidecar { proxy, token }
    }

    async fn asks(&self) -> Vec<Value> {
        let listed = self.server.get(&of("asks")).await;
        listed.is(200).json()["items"].as_array().unwrap().clone()
    }

    async fn open_ask(&self) -> Value {
        let is_open = |ask: &Value| ask["state"] == "open";
        until("a question", SOON, async || self.asks().await.iter().any(is_open)).await;
        self.asks().await.into_iter().find(is_open).unwrap()
    }

    async fn decide(&self, id: &str, verb: &str, body: Value) -> harness::server::Answer {
        self.server.change("POST", &of(&format!("asks/{id}/{verb}")), "*", Some(body)).await
    }
}

#[tokio::test]
async fn a_sidecar_asks_its_server_and_hears_of_the_answer_by_its_stream() {
    let team = Team::new(", ask: {hold: 60s}").await;
    let sidecar = team.sidecar().await;
    let agent = sidecar.agent();
    let sending = tokio::spawn(async move { agent.post(HOST, "/a?x=1", "", b"one").await });
    let ask = team.open_ask().await;
    for (field, wanted) in [
        ("agent", "coder"),
        ("project", PROJECT),
        ("path", "/a?x=1"),
        ("rule", "ask-first"),
        ("method", "POST"),
    ] {
        assert_eq!(ask[field], wanted, "{ask}");
    }
    let id = ask["name"].as_str().unwrap().to_owned();
    team.decide(&id, "approve", json!({})).await.is(200);
    sending.await.unwrap().assert_ok();
    let line = sidecar.proxy.audit().wait_for("an approved request", |line| line["approval"] == *id).await;
    assert_eq!(line["verdict"], "allow");
    assert_eq!(team.server.get(&of(&format!("asks/{id}"))).await.is(200).json()["state"], "used");
    // Who decided what, by the digest of all that it was bound to.
    let audit = team.server.get(&of("audit?limit=1000")).await;
    let lines = audit.is(200).json()["items"].to_string();
    let binding = ask["binding"].as_str().unwrap();
    let told = format!("ask {id} approved once, agent coder, binding {binding}");
    assert!(lines.contains(&told), "{told}: {lines}");
}

#[tokio::test]
async fn refuses_to_decide_for_who_may_not_or_has_seen_another_version() {
    let team = Team::new("").await;
    let sidecar = team.sidecar().await;
    let id = asked(sidecar.post("/a", b"one").await.json()["detail"].as_str().unwrap());
    let server = &team.server;
    server.project("team-b").await;
    let (one, approve) = (of(&format!("asks/{id}")), of(&format!("asks/{id}/approve")));
    let any = [("if-match", "*")];
    let body = json!({});
    let post = async |token: &str, path: &str| server.call_with(token, "POST", path, &any, Some(&body)).await;
    post(&team.token, &approve).await.refused(403, "DW6006");
    post(&sidecar.token, &approve).await.refused(401, "DW6004");
    let viewer = server.token(Some(PROJECT), "viewer").await;
    post(&viewer, &approve).await.refused(403, "DW6005");
    server.call_as(&viewer, "GET", &one, None).await.refused(403, "DW6005");
    // A developer reads and denies, and does not approve the use of a secret.
    let developer = server.token(Some(PROJECT), "developer").await;
    server.call_as(&developer, "GET", &one, None).await.is(200);
    post(&developer, &approve).await.refused(403, "DW6005");
    let foreign = server.token(Some("team-b"), "owner").await;
    let missing = post(&foreign, &approve).await.refused(404, "DW6007").without_id();
    let none = post(server.root(), &of("asks/0000/approve")).await;
    assert_eq!(none.refused(404, "DW6007").without_id(), missing, "another project's is as a missing one");
    let elsewhere = approve.replace(PROJECT, "team-b");
    post(server.root(), &elsewhere).await.refused(404, "DW6007");
    server.post(&approve, json!({})).await.refused(428, "DW6011");
    server.change("POST", &approve, "\"v1\"", Some(json!({}))).await.refused(412, "DW6010");
    for body in [json!({"forSeconds": 0}), json!({"forSeconds": 604_801})] {
        server.change("POST", &approve, "*", Some(body)).await.refused(422, "DW6016");
    }
    server.change("POST", &approve, "*", Some(json!({"for": 1}))).await.refused(400, "DW6003");
    sidecar.post("/a", b"one").await.assert_refused(403, "DW1003");
    post(&developer, &of(&format!("asks/{id}/deny"))).await.is(200);
    let reply = sidecar.post("/a", b"one").await;
    assert!(reply.text().contains("a person has denied it"), "{}", reply.text());
    assert!(team.origin.requests().is_empty());
}

#[tokio::test]
async fn of_two_sidecars_one_gets_an_approval_for_once() {
    let team = Team::new("").await;
    let (one, other) = (team.sidecar().await, team.sidecar().await);
    let id = asked(one.post("/a", b"one").await.json()["detail"].as_str().unwrap());
    let same = asked(other.post("/a", b"one").await.json()["detail"].as_str().unwrap());
    assert_eq!(id, same, "one question for both");
    team.decide(&id, "approve", json!({})).await.is(200);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let (first, second) = tokio::join!(one.post("/a", b"one"), other.post("/a", b"one"));
        statuses.extend([first.status, second.status]);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403, 403, 403, 403, 403]);
    assert_eq!(team.origin.requests().len(), 1);
}

#[tokio::test]
async fn what_was_approved_ends_with_the_agent_and_with_the_document() {
    let team = Team::new("").await;
    let sidecar = team.sidecar().await;
    let id = asked(sidecar.post("/a", b"one").await.json()["detail"].as_str().unwrap());
    team.decide(&id, "approve", json!({"forSeconds": 3600, "anyBody": true})).await.is(200);
    sidecar.post("/a", b"two").await.assert_ok();
    let changed = document(", reason: other");
    team.server.change("PUT", &of("providers/demo"), "*", Some(changed)).await.is(200);
    // At once, before the sidecar has heard of it.
    let reply = sidecar.post("/a", b"two").await;
    reply.assert_refused(403, "DW1003");
    let refused = team.decide(&id, "approve", json!({})).await;
    refused.refused(412, "DW6010");
    let sent = team.origin.requests().len();
    assert_eq!(sent, 1);
    team.server.change("POST", &of("agents/coder/revoke"), "*", None).await.is(200);
    assert!(team.asks().await.is_empty());
    until("the end of the agent", SOON, async || {
        sidecar.agent().refused("api.example.com:443").await.is("DW3002")
    })
    .await;
}

#[tokio::test]
async fn the_command_line_says_the_same_of_a_servers_questions() {
    let team = Team::new("").await;
    let sidecar = team.sidecar().await;
    let id = asked(sidecar.post("/a", b"one").await.json()["detail"].as_str().unwrap());
    let root = team.server.root().to_owned();
    let run = |words: &[&str]| team.server.doorward(&root, &[&["-n", PROJECT], words].concat(), "");
    let listed = run(&["get", "asks"]);
    assert!(listed.assert_ok().stdout.contains("api.example.com:443"), "{listed:?}");
    assert_eq!(run(&["get", "asks", "-o", "name"]).assert_ok().stdout, format!("ask/{id}\n"));
    let approved = run(&["approve", "ask", &id]);
    let said = &approved.assert_ok().stderr;
    assert!(
        said.starts_with(&format!(
            "ask/{id} approved once: coder POST api.example.com:443/a, body of 3 bytes"
        )),
        "{said}"
    );
    sidecar.post("/a", b"one").await.assert_ok();
    run(&["approve", "ask", &id]).assert_fails(6, "DW6010");
    assert_eq!(run(&["get", "asks", "-o", "name"]).assert_ok().stdout, "");
    assert_eq!(run(&["get", "asks", "--all", "-o", "name"]).assert_ok().stdout, format!("ask/{id}\n"));
    run(&["deny", "ask", "0000"]).assert_fails(5, "does not exist");
    let all: Value = serde_json::from_str(&run(&["get", "asks", "--all", "-o", "json"]).stdout).unwrap();
    assert_eq!(all[0]["decidedBy"], json!("root"));
}

#[tokio::test]
async fn an_approval_as_a_rule_changes_the_document_and_nothing_else_of_it() {
    let team = Team::new("").await;
    let sidecar = team.sidecar().await;
    let post = async |path: &str| sidecar.post(path, b"one").await;
    let id = asked(post("/a?x=1").await.json()["detail"].as_str().unwrap());
    let server = &team.server;
    let approve = of(&format!("asks/{id}/approve"));
    let both = json!({"asRule": true, "anyBody": true});
    server.change("POST", &approve, "*", Some(both)).await.refused(422, "DW6016");
    let before = document("")["document"].as_str().unwrap().to_owned();
    let settled = server.change("POST", &approve, "*", Some(json!({"asRule": true}))).await;
    assert_eq!(settled.is(200).json()["state"], "settled");
    let now = server.get(&of("providers/demo")).await.json();
    let written = format!(
        "{{\"effect\":\"allow\",\"id\":\"approved-{id}\",\"methods\":[\"POST\"],\"paths\":[\"/a\"]}}, "
    );
    assert_eq!(now["document"].as_str().unwrap().replace(&written, ""), before);
    assert_eq!(now["withheld"], false);
    until("the rule at the sidecar", SOON, async || post("/a?x=2").await.status == 200).await;
    post("/b").await.assert_refused(403, "DW1003");
    server.change("POST", &approve, "*", Some(json!({"asRule": true}))).await.refused(412, "DW6010");
}

#[tokio::test]
async fn nothing_goes_out_while_the_server_cannot_be_asked() {
    let mut team = Team::new("").await;
    let sidecar = team.sidecar().await;
    let id = asked(sidecar.post("/a", b"one").await.json()["detail"].as_str().unwrap());
    team.decide(&id, "approve", json!({"forSeconds": 3600})).await.is(200);
    sidecar.post("/a", b"one").await.assert_ok();
    team.server.stop().await;
    sidecar.post("/a", b"one").await.assert_refused(403, "DW1003");
    // What nobody is asked about goes on.
    sidecar.agent().get(HOST, "/a").await.assert_ok();
    assert_eq!(team.origin.requests().len(), 2);
}

#[tokio::test]
async fn refuses_to_let_a_developer_answer_by_a_change_of_the_rules() {
    let team = Team::new("").await;
    let (server, path) = (&team.server, of("providers/demo"));
    let developer = server.token(Some(PROJECT), "developer").await;
    let before = document("")["document"].as_str().unwrap().to_owned();
    let put = async |text: &str| {
        let (any, body) = ([("if-match", "*")], json!({"document": text}));
        let answer = server.call_with(&developer, "PUT", &path, &any, Some(&body)).await;
        answer.is(200).json()["withheld"].clone()
    };
    let ask = "{id: ask-first, methods: [DELETE, POST], paths: [\"/**\"], effect: ask}";
    for (from, to) in [
        ("effect: ask}", "effect: allow}"),
        (&*format!("{ask}, "), ""),
        ("{id: rest, effect: allow}]", "{id: rest, effect: allow}], defaultAction: allow"),
        ("methods: [DELETE, POST]", "methods: [DELETE]"),
        ("paths: [\"/**\"], effect: ask", "paths: [\"/a/**\"], effect: ask"),
        ("httpRules: [", "httpRules: [{id: first, methods: [POST], effect: allow}, "),
        ("policy: {", "audit: {enforcement: audit}\n  policy: {"),
    ] {
        let changed = before.replace(from, to);
        assert_ne!(changed, before, "{from}");
        server.change("PUT", &path, "*", Some(document(""))).await.is(200);
        server.change("POST", &format!("{path}/approve"), "*", None).await.is(200);
        assert_eq!(put(&format!("# another writing\n{before}")).await, false, "it means the same");
        assert_eq!(put(&changed).await, true, "{from}");
        assert_eq!(put(&before).await, true, "what was withheld stays so");
        // Whoever may approve requests may change what asks about them.
        server.change("POST", &format!("{path}/approve"), "*", None).await.is(200);
        let own = server.change("PUT", &path, "*", Some(json!({"document": changed}))).await;
        assert_eq!(own.is(200).json()["withheld"], false, "{from}");
    }
    // Nothing that a sidecar was given before goes out on it.
    server.change("PUT", &path, "*", Some(document(""))).await.is(200);
    let sidecar = team.sidecar().await;
    sidecar.post("/a", b"one").await.assert_refused(403, "DW1003");
    assert_eq!(put(&before.replace("effect: ask}", "effect: allow}")).await, true);
    let gone = async || sidecar.agent().refused("api.example.com:443").await.is("DW1001");
    until("the document is taken away", SOON, gone).await;
    // What nobody is asked about may have gone out while the change was on its way.
    assert!(team.origin.requests().iter().all(|seen| seen.method == "GET"));
}

#[tokio::test]
async fn the_beginning_of_a_body_is_for_who_may_approve_while_nobody_has() {
    let team = Team::new(", ask: {preview: true}").await;
    let sidecar = team.sidecar().await;
    let mark = canary::fresh();
    let body = format!("{{\"delete\": \"\u{1b}[2J{mark}\u{202e}\"}}\n{}", "x".repeat(5000));
    let reply = sidecar.post("/a", body.as_bytes()).await;
    let id = asked(reply.json()["detail"].as_str().unwrap());
    let one = of(&format!("asks/{id}"));
    let shown = format!("{{\"delete\": \"\\u{{1b}}[2J{mark}\\u{{202e}}\"}}\\nx");
    let server = &team.server;
    let seen = server.get(&one).await.is(200).json();
    assert!(seen["bodyPreview"].as_str().unwrap().starts_with(&shown), "{seen}");
    assert_eq!((&seen["bodyPreviewBytes"], &seen["bodyBytes"]), (&json!(4096), &json!(body.len())));
    let manager = server.token(Some(PROJECT), "manager").await;
    let seen = server.call_as(&manager, "GET", &one, None).await.is(200).json();
    assert!(seen["bodyPreview"].is_string(), "{seen}");
    let root = server.root().to_owned();
    let described = server.doorward(&root, &["-n", PROJECT, "describe", "ask", &id], "");
    let said = described.assert_ok().stdout.clone();
    assert!(said.contains(&shown) && said.contains("(the first 4096 bytes)"), "{said}");
    // Not who may only deny, not in a list, not in the answer to a decision.
    let developer = server.token(Some(PROJECT), "developer").await;
    let less = server.call_as(&developer, "GET", &one, None).await.is(200).json();
    assert!(less["bodyPreview"].is_null() && less["bodyPreviewBytes"].is_null(), "{less}");
    assert!(!server.get(&of("asks")).await.is(200).json().to_string().contains(&mark));
    // Nor at rest, nor in what is written of it.
    let lines = server.get(&of("audit?limit=1000")).await.is(200).json().to_string();
    assert!(!lines.contains(&mark) && !sidecar.proxy.audit().text().contains(&mark));
    assert!(!sidecar.proxy.log().contains(&mark) && !server.log().contains(&mark));
    assert!(!folder_holds(&server.path(""), &mark), "the server's files hold it");
    let denied = team.decide(&id, "deny", json!({})).await.is(200).json();
    assert!(denied["bodyPreview"].is_null(), "{denied}");
    let after = server.get(&one).await.is(200).json();
    assert!(after["bodyPreview"].is_null(), "{after}");
    // What is no text is not shown as one, and says so.
    let reply = sidecar.post("/a", b"\x1f\x8b\x08\xff").await;
    let id = asked(reply.json()["detail"].as_str().unwrap());
    let seen = server.get(&of(&format!("asks/{id}"))).await.is(200).json();
    assert_eq!((&seen["bodyPreview"], &seen["bodyPreviewBytes"]), (&json!(""), &json!(0)));
}

/// Whether a file below holds it.
fn folder_holds(folder: &std::path::Path, mark: &str) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| match path.is_dir() {
        true => folder_holds(&path, mark),
        false => std::fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(mark.len()).any(|part| part == mark.as_bytes())),
    })
}
