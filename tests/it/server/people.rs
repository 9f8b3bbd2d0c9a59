//! People who log in with an issuer: whom the server takes them for, what they may do, and until when.

use std::os::unix::fs::PermissionsExt as _;

use harness::ca::TestCa;
use harness::home::finish;
use harness::idp::{CLIENT, Idp, Signing};
use harness::server::Answer;
use harness::{Home, Server, canary};
use serde_json::{Value, json};

const REDIRECT: &str = "http://127.0.0.1:40123/callback";

struct World {
    idp: Idp,
    server: Server,
}

impl World {
    async fn new() -> Self {
        Self::with(Idp::start().await, &[]).await
    }

    async fn with(idp: Idp, more: &[&str]) -> Self {
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), TestCa::world().pem()).unwrap();
        let path = ca.path().display().to_string();
        let url = idp.url();
        let flags = [
            "--oidc-issuer",
            &url,
            "--oidc-client-id",
            CLIENT,
            "--oidc-ca",
            &path,
            "--limit",
            "failed-logins=1000",
        ];
        let server = Server::setup().flags(&[&flags, more].concat()).start().await;
        Self { idp, server }
    }

    async fn member(&self, project: Option<&str>, body: Value) -> Answer {
        let path = project.map_or("/v1/members".to_owned(), |one| format!("/v1/projects/{one}/members"));
        self.server.post(&path, body).await
    }

    /// What the person's program does, with the issuer's code.
    async fn log_in(&self) -> Answer {
        let (verifier, nonce) = (canary::fresh().repeat(2), canary::fresh().repeat(2));
        let code = self.idp.code(&verifier, REDIRECT, &nonce);
        self.bring(&code, &verifier, &nonce, REDIRECT).await
    }

    async fn bring(&self, code: &str, verifier: &str, nonce: &str, redirect: &str) -> Answer {
        self.server.watch(code);
        self.server.watch(verifier);
        let body =
            json!({"code": code, "verifier": verifier, "nonce": nonce, "redirectUri": redirect}).to_string();
        let headers = [("content-type", "application/json")];
        let answer = self.server.send("POST", "/v1/login", &headers, body.as_bytes()).await;
        let secrets: Vec<String> = self.idp.set(|state| std::mem::take(&mut state.secrets));
        for secret in secrets {
            self.server.watch(&secret);
        }
        answer
    }

    async fn token(&self) -> String {
        let given = self.log_in().await;
        let token = given.is(201).json()["token"].as_str().unwrap().to_owned();
        self.server.watch(&token);
        token
    }
}

/// One forgery: what it is, and how it is made.
type Forged = (&'static str, fn(&mut Value, &mut Value));

#[tokio::test]
async fn dw6030_an_id_token_that_is_not_for_this_login_opens_nothing() {
    let world = World::new().await;
    world.member(None, json!({"subject": "subject-1", "role": "owner"})).await.is(201);
    for signing in [Signing::None, Signing::Shared, Signing::Broken, Signing::Foreign] {
        world.idp.set(|state| state.signing = signing);
        let refused = world.log_in().await;
        refused.refused(403, "DW6030");
        assert!(refused.json()["detail"].as_str().unwrap().contains("id token"), "{signing:?}");
    }
    world.idp.set(|state| state.signing = Signing::Rsa);
    let forged: [Forged; 19] = [
        ("iss", |_, claims| claims["iss"] = json!("https://evil.example")),
        ("aud", |_, claims| claims["aud"] = json!("another")),
        ("aud empty", |_, claims| claims["aud"] = json!([])),
        ("several aud", |_, claims| claims["aud"] = json!([CLIENT, "another"])),
        ("azp", |_, claims| claims["azp"] = json!("another")),
        ("exp", |_, claims| claims["exp"] = json!(1_000_000_000)),
        ("no exp", |_, claims| claims["exp"] = Value::Null),
        ("exp text", |_, claims| claims["exp"] = json!("9999999999")),
        ("nbf", |_, claims| claims["nbf"] = json!(9_999_999_999_u64)),
        ("iat old", |_, claims| claims["iat"] = json!(1_000_000_000)),
        ("iat future", |_, claims| claims["iat"] = json!(9_999_999_999_u64)),
        ("nonce", |_, claims| claims["nonce"] = json!("another")),
        ("no nonce", |_, claims| claims["nonce"] = Value::Null),
        ("no sub", |_, claims| claims["sub"] = json!("")),
        ("odd sub", |_, claims| claims["sub"] = json!("subject-1\n")),
        ("kid", |header, _| header["kid"] = json!("another")),
        ("crit", |header, _| header["crit"] = json!(["exp"])),
        ("alg", |header, _| header["alg"] = json!("RS512")),
        ("alg of another key", |header, _| header["alg"] = json!("ES256")),
    ];
    for (what, forge) in forged {
        world.idp.set(|state| state.forge = Some(forge));
        let refused = world.log_in().await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "DW6030"), "{what}: {}", refused.json());
    }
    // A claim twice: two readers could take different ones.
    world.idp.set(|state| {
        state.forge = None;
        state.text = Some(|text| text.replacen('{', "{\"sub\":\"subject-1\",", 1));
    });
    world.log_in().await.refused(403, "DW6030");
    world.idp.set(|state| state.text = None);
    world.log_in().await.is(201);
    world.idp.set(|state| state.signing = Signing::P256);
    world.log_in().await.is(201);
    // However many tokens name keys that nobody has: the issuer is asked once in a while.
    assert_eq!(world.idp.set(|state| state.looks), 1);
}

#[tokio::test]
async fn dw6030_a_code_of_another_login_opens_nothing() {
    let world = World::new().await;
    world.member(None, json!({"subject": "subject-1", "role": "owner"})).await.is(201);
    let (verifier, nonce) = ("v".repeat(43), "n".repeat(43));
    let code = world.idp.code(&verifier, REDIRECT, &nonce);
    world.bring(&code, &"w".repeat(43), &nonce, REDIRECT).await.refused(403, "DW6030");
    let code = world.idp.code(&verifier, REDIRECT, &nonce);
    world.bring(&code, &verifier, &nonce, "http://127.0.0.1:40124/callback").await.refused(403, "DW6030");
    let code = world.idp.code(&verifier, REDIRECT, &nonce);
    world.bring(&code, &verifier, &"m".repeat(43), REDIRECT).await.refused(403, "DW6030");
    let code = world.idp.code(&verifier, REDIRECT, &nonce);
    world.bring(&code, &verifier, &nonce, REDIRECT).await.is(201);
    world.bring(&code, &verifier, &nonce, REDIRECT).await.refused(403, "DW6030");
    for redirect in ["https://evil.example/callback", "http://evil.example:1/callback"] {
        world.bring(&canary::fresh(), &verifier, &nonce, redirect).await.refused(422, "DW6016");
    }
}

#[tokio::test]
async fn an_address_counts_where_the_issuer_has_verified_it_and_for_one_person_alone() {
    let world = World::new().await;
    world.log_in().await.refused(403, "DW6030");
    world.member(None, json!({"email": "ann@example.COM", "role": "viewer"})).await.is(201);
    world.idp.set(|state| state.is_verified = false);
    world.log_in().await.refused(403, "DW6030");
    world.idp.set(|state| state.is_verified = true);
    let token = world.token().await;
    let who = world.server.call_as(&token, "GET", "/v1/can-i", None).await.is(200).json();
    assert_eq!((&who["name"], &who["role"]), (&json!("ann@example.com"), &json!("viewer")));
    // Somebody else has the address now, at the same issuer.
    world.idp.set(|state| state.subject = "subject-2".to_owned());
    world.log_in().await.refused(403, "DW6030");
    // She has another one, and is the same.
    world.idp.set(|state| {
        state.subject = "subject-1".to_owned();
        state.email = Some("ann@elsewhere.example".to_owned());
    });
    world.log_in().await.is(201);
    let audit = world.server.get("/v1/members").await.is(200).json();
    assert_eq!(audit["items"][0]["subject"], "subject-1", "{audit}");
}

#[tokio::test]
async fn a_role_holds_and_ends_at_once() {
    let world = World::new().await;
    let server = &world.server;
    for project in ["red", "blue", "green"] {
        server.project(project).await;
        server.secret(project, "pat").await;
    }
    let red = world.member(Some("red"), json!({"subject": "subject-1", "role": "viewer"})).await;
    world.member(Some("blue"), json!({"subject": "subject-1", "role": "admin"})).await.is(201);
    let token = world.token().await;
    let me = async |method: &str, path: &str, body: Option<Value>| {
        server.call_with(&token, method, path, &[("if-match", "*")], body.as_ref()).await
    };
    let list = me("GET", "/v1/projects", None).await.is(200).json();
    let names: Vec<_> = list["items"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["blue", "red"]);
    let page = me("GET", "/v1/projects?limit=1", None).await.is(200).json();
    let next = format!("/v1/projects?limit=1&cursor={}", page["next"].as_str().unwrap());
    assert_eq!(me("GET", &next, None).await.is(200).json()["items"][0]["name"], "red");
    let (theirs, none) = ("/v1/projects/green/secrets/pat", "/v1/projects/nowhere/secrets/pat");
    assert_eq!(
        me("GET", theirs, None).await.refused(404, "DW6007").without_id(),
        me("GET", none, None).await.without_id()
    );
    me("DELETE", "/v1/projects/red/secrets/pat", None).await.refused(403, "DW6005");
    me("DELETE", "/v1/projects/blue/secrets/pat", None).await.is(204);
    me("GET", "/v1/tokens", None).await.refused(403, "DW6005");
    // Neither in his own project nor elsewhere does he give more than he has.
    let owner = json!({"subject": "subject-1", "role": "owner"});
    me("POST", "/v1/projects/blue/members", Some(owner.clone())).await.refused(403, "DW6005");
    me("POST", "/v1/projects/red/members", Some(owner)).await.refused(403, "DW6005");
    // From the next call on.
    let id = red.is(201).json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/projects/red/members/{id}");
    let mut stream = server.watch_changes_as(&token, "/v1/projects/red/secrets?watch=true").await;
    stream.event("ready").await;
    server.change("PUT", &path, &red.etag(), Some(json!({"role": "manager"}))).await.is(200);
    server.secret("red", "other").await;
    // The stream was a viewer's, who is none any more.
    assert_eq!(stream.event("change").await, Value::Null);
    me("DELETE", "/v1/projects/red/secrets/pat", None).await.is(204);
    server.change("DELETE", &path, "*", None).await.is(204);
    me("GET", "/v1/projects/red/secrets", None).await.refused(404, "DW6007");
    let blue = server.get("/v1/projects/blue/members").await.json()["items"][0]["id"].clone();
    let last = format!("/v1/projects/blue/members/{}", blue.as_str().unwrap());
    server.change("DELETE", &last, "*", None).await.is(204);
    me("GET", "/v1/can-i", None).await.refused(401, "DW6004");
    // And a token that had not ended is not woken by what she is given later.
    world.member(Some("red"), json!({"subject": "subject-1", "role": "viewer"})).await.is(201);
    me("GET", "/v1/can-i", None).await.refused(401, "DW6004");
}

#[tokio::test]
async fn a_login_ends_soon_is_listed_and_can_be_ended() {
    let world = World::new().await;
    world.member(None, json!({"subject": "subject-1", "role": "viewer"})).await.is(201);
    let (one, other) = (world.token().await, world.token().await);
    let list = world.server.get("/v1/tokens").await.is(200).json();
    let mine: Vec<&Value> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["name"].as_str().unwrap().starts_with("ann@example.com ("))
        .collect();
    assert_eq!(mine.len(), 2, "{list}");
    for token in &mine {
        let time = |field: &str| {
            let text = token[field].as_str().unwrap();
            time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap()
        };
        let life = time("expires") - time("created");
        assert!((11..=12).contains(&life.whole_hours()), "{token}");
    }
    world.server.call_as(&one, "DELETE", "/v1/login", None).await.is(204);
    world.server.call_as(&one, "GET", "/v1/can-i", None).await.refused(401, "DW6004");
    world.server.call_as(&other, "GET", "/v1/can-i", None).await.is(200);
    world.server.call("DELETE", "/v1/login", None).await.refused(403, "DW6005");
    let list = world.server.get("/v1/tokens").await.json();
    let left = list["items"].as_array().unwrap().iter().find(|one| one["name"] != "root").unwrap();
    let path = format!("/v1/tokens/{}", left["id"].as_str().unwrap());
    world.server.change("DELETE", &path, "*", None).await.is(204);
    world.server.call_as(&other, "GET", "/v1/can-i", None).await.refused(401, "DW6004");
}

#[tokio::test]
async fn dw6031_an_issuer_that_fails_is_told_from_a_login_that_is_refused() {
    let world = World::new().await;
    world.idp.set(|state| state.is_broken = true);
    world.log_in().await.refused(503, "DW6031");
    world.server.send("GET", "/v1/login", &[], b"").await.refused(503, "DW6031");
    world.idp.set(|state| state.is_broken = false);
    let way = world.server.send("GET", "/v1/login", &[], b"").await.is(200).json();
    assert_eq!(way["clientId"], CLIENT);
    let none = Server::start().await;
    none.send("GET", "/v1/login", &[], b"").await.refused(403, "DW6030");
    let body = json!({"email": "a@example.com", "role": "viewer"});
    none.post("/v1/members", body).await.refused(403, "DW6030");
}

#[tokio::test]
async fn the_servers_own_secret_is_shown_to_the_issuer_and_to_nobody_else() {
    let idp = Idp::start().await;
    let secret = canary::fresh();
    idp.set(|state| state.secret = Some(secret.clone()));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{secret}\n")).unwrap();
    let path = file.path().display().to_string();
    let world = World::with(idp, &["--oidc-client-secret-file", &path]).await;
    world.server.watch(&secret);
    world.member(None, json!({"subject": "subject-1", "role": "viewer"})).await.is(201);
    world.log_in().await.is(201);
    world.idp.set(|state| state.secret = Some("another".to_owned()));
    world.log_in().await.refused(403, "DW6030");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_by_the_browser_and_out_again() {
    let world = World::new().await;
    let home = Home::keyed();
    home.write("ca.pem", TestCa::world().pem());
    let script =
        format!("#!/bin/sh\nexec curl -sL --cacert {} -o page \"$1\"\n", home.path("ca.pem").display());
    home.write("browser", &script);
    std::fs::set_permissions(home.path("browser"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let ca = world.server.ca().display().to_string();
    let run = |words: &[&str]| {
        let mut command = home.command(words);
        command.env("BROWSER", home.path("browser")).current_dir(home.path("."));
        tokio::task::block_in_place(|| finish(command, ""))
    };
    let root = world.server.root().to_owned();
    let login = ["login", "--server", world.server.url(), "--server-ca", &ca, "--oidc", "--name", "team"];
    run(&login).assert_fails(1, "DW6030");
    let add = ["add", "member", "ann@example.com", "--role", "viewer", "--installation"];
    world.server.doorward(&root, &add, "").assert_ok();
    let members = world.server.doorward(&root, &["get", "members", "--installation"], "");
    assert!(members.assert_ok().stdout.contains("not yet"), "{members:?}");
    let ran = run(&login);
    ran.assert_ok();
    assert!(ran.stderr.contains("as ann@example.com (viewer, all projects)"), "{ran:?}");
    run(&["add", "variable", "A=b"]).assert_fails(1, "DW6005");
    let set = ["set", "member", "ann@example.com", "--role", "manager", "--installation"];
    world.server.doorward(&root, &set, "").assert_ok();
    run(&["add", "variable", "A=b"]).assert_ok();
    let kept = std::fs::read_to_string(home.path("home/config/logins.json")).unwrap();
    let token = &kept[kept.find("dwt_").unwrap()..][..47];
    run(&["logout"]).assert_ok();
    world.server.call_as(token, "GET", "/v1/can-i", None).await.refused(401, "DW6004");
    assert!(!std::fs::read_to_string(home.path("home/config/logins.json")).unwrap().contains("dwt_"));
    run(&login).assert_ok();
    let gone = ["delete", "member", "ann@example.com", "--installation"];
    world.server.doorward(&root, &gone, "").assert_ok();
    run(&["get", "secrets"]).assert_fails(4, "DW6004");
    // Who did it stands in the record.
    let lines = world.server.get("/v1/projects/default/audit?limit=1000").await.is(200).json();
    assert!(lines.to_string().contains("ann@example.com"), "{lines}");
}
