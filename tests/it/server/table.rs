//! The table of all endpoints: what each does when all is well, and what holds for all of its kind, on both databases.
//!
//! An endpoint of docs/openapi.json without a row fails, and so does a row without an endpoint.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::idp::{CLIENT, Idp};
use harness::postgres::Postgres;
use harness::server::Answer;
use harness::{Server, ca::TestCa};
use serde_json::{Value, json};

use super::github;

/// What holds for an endpoint beside its success.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    method: &'static str,
    path: &'static str,
    /// The status when all is well.
    status: u16,
    /// The body that it takes.
    body: Option<fn(&str) -> Value>,
    /// Changes an object that is there: needs `If-Match`.
    is_change: bool,
    /// Makes something under an `Idempotency-Key`.
    is_once: bool,
    /// A list in pages, of what is made by the POST of the same path.
    is_list: bool,
}

const fn read(path: &'static str) -> Row {
    Row { method: "GET", path, status: 200, body: None, is_change: false, is_once: false, is_list: false }
}

const fn list(path: &'static str) -> Row {
    Row { is_list: true, ..read(path) }
}

const fn make(path: &'static str, body: fn(&str) -> Value) -> Row {
    Row { method: "POST", status: 201, body: Some(body), is_once: true, ..read(path) }
}

const fn change(
    method: &'static str,
    path: &'static str,
    status: u16,
    body: Option<fn(&str) -> Value>,
) -> Row {
    Row { method, status, body, is_change: true, ..read(path) }
}

const fn gone(path: &'static str) -> Row {
    change("DELETE", path, 204, None)
}

const P: &str = "/v1/projects/{project}";

/// Path under the project.
macro_rules! p {
    ($rest:literal) => {
        concat!("/v1/projects/{project}", $rest)
    };
}

fn secret(name: &str) -> Value {
    json!({"name": name, "values": {"token": "0123456789abcdef"}, "for": "github"})
}

fn rotated(_: &str) -> Value {
    json!({"values": {"token": "fedcba9876543210"}})
}

fn document(name: &str) -> Value {
    json!({"document": github(name, "base")})
}

fn model(name: &str) -> Value {
    json!({"document": format!(
        "apiVersion: doorward.dev/v1alpha1\nkind: ModelProvider\nmetadata: {{name: {name}}}\nspec: {{provider: openai, apiKeySecretRef: {{name: key}}}}\n"
    )})
}

fn named(name: &str) -> Value {
    json!({"name": name})
}

fn token(name: &str) -> Value {
    json!({"name": name, "role": "viewer"})
}

fn member(name: &str) -> Value {
    json!({"subject": name, "role": "viewer"})
}

fn role(_: &str) -> Value {
    json!({"role": "developer"})
}

fn nothing(_: &str) -> Value {
    json!({})
}

fn variable(name: &str) -> Value {
    json!({"name": name, "value": "v"})
}

fn value(_: &str) -> Value {
    json!({"value": "w"})
}

fn attachment(name: &str) -> Value {
    json!({"kind": "env", "name": format!("V_{}", name.replace('-', "_").to_uppercase()), "variable": "region"})
}

fn identities(name: &str) -> Value {
    json!({"identities": [format!("spiffe://example.org/{name}")]})
}

fn elsewhere(_: &str) -> Value {
    json!({"project": "other"})
}

fn pruned(_: &str) -> Value {
    json!({"before": "2001-01-01T00:00:00Z"})
}

fn import(name: &str) -> Value {
    json!({"text": format!("REGION_{}=eu", name.replace('-', "_").to_uppercase())})
}

fn rows() -> Vec<Row> {
    let mut rows = vec![
        list("/v1/projects"),
        make("/v1/projects", named),
        read(P),
        change("PUT", P, 200, Some(nothing)),
        gone(P),
        list(p!("/secrets")),
        make(p!("/secrets"), secret),
        read(p!("/secrets/{secret}")),
        gone(p!("/secrets/{secret}")),
        change("POST", p!("/secrets/{secret}/rotate"), 200, Some(rotated)),
        change("POST", p!("/secrets/{secret}/rollback"), 200, None),
        make(p!("/secrets/{secret}/clone"), elsewhere),
        list(p!("/variables")),
        make(p!("/variables"), variable),
        read(p!("/variables/{variable}")),
        change("PUT", p!("/variables/{variable}"), 200, Some(value)),
        gone(p!("/variables/{variable}")),
        Row { status: 200, is_once: false, ..make(p!("/import"), import) },
        list(p!("/agents")),
        make(p!("/agents"), named),
        read(p!("/agents/{agent}")),
        gone(p!("/agents/{agent}")),
        change("POST", p!("/agents/{agent}/rotate"), 200, Some(nothing)),
        change("POST", p!("/agents/{agent}/revoke"), 200, None),
        change("PUT", p!("/agents/{agent}/identities"), 200, Some(identities)),
        read(p!("/agents/{agent}/attachments")),
        make(p!("/agents/{agent}/attachments"), attachment),
        gone(p!("/agents/{agent}/attachments/{kind}/{name}")),
        list(p!("/tokens")),
        make(p!("/tokens"), token),
        read(p!("/tokens/{id}")),
        gone(p!("/tokens/{id}")),
        list("/v1/tokens"),
        make("/v1/tokens", token),
        read("/v1/tokens/{id}"),
        gone("/v1/tokens/{id}"),
        list(p!("/members")),
        make(p!("/members"), member),
        read(p!("/members/{id}")),
        change("PUT", p!("/members/{id}"), 200, Some(role)),
        gone(p!("/members/{id}")),
        list("/v1/members"),
        make("/v1/members", member),
        read("/v1/members/{id}"),
        change("PUT", "/v1/members/{id}", 200, Some(role)),
        gone("/v1/members/{id}"),
        read("/v1/login"),
        // Its success needs a person: server/people.rs.
        Row { method: "POST", status: 422, ..read("/v1/login") },
        // Only for the token of a login: server/people.rs.
        Row { method: "DELETE", status: 403, ..read("/v1/login") },
        read("/v1/can-i"),
        read("/v1/types"),
        read(p!("/provider-cards")),
        read(p!("/audit")),
        read(p!("/audit/sources")),
        read(p!("/audit/verify")),
        read(p!("/audit/export")),
        read(p!("/changes")),
        read(p!("/audit/checkpoints")),
        read("/v1/audit"),
        read("/v1/audit/checkpoints"),
        Row { method: "POST", ..read("/v1/audit/checkpoints") },
        read("/v1/audit/export"),
        read("/v1/audit/key"),
        Row { method: "POST", body: Some(pruned), ..read("/v1/audit/prune") },
        read("/v1/audit/sources"),
        read("/v1/audit/verify"),
        // Only a sidecar makes one: their successes are in journeys/.
        read(p!("/asks")),
        Row { status: 404, ..read(p!("/asks/{ask}")) },
        Row { status: 404, method: "POST", body: Some(nothing), ..read(p!("/asks/{ask}/approve")) },
        Row { status: 404, method: "POST", body: Some(nothing), ..read(p!("/asks/{ask}/deny")) },
    ];
    rows.extend([
        list(p!("/providers")),
        make(p!("/providers"), document),
        read(p!("/providers/{name}")),
        change("PUT", p!("/providers/{name}"), 200, Some(document)),
        gone(p!("/providers/{name}")),
        change("POST", p!("/providers/{name}/approve"), 200, None),
        change("POST", p!("/providers/{name}/verified"), 200, None),
        list(p!("/model-providers")),
        make(p!("/model-providers"), model),
        read(p!("/model-providers/{name}")),
        change("PUT", p!("/model-providers/{name}"), 200, Some(model)),
        gone(p!("/model-providers/{name}")),
        change("POST", p!("/model-providers/{name}/approve"), 200, None),
        change("POST", p!("/model-providers/{name}/verified"), 200, None),
    ]);
    rows
}

#[test]
fn every_endpoint_of_the_description_has_a_row() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let description: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let mut described = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    let rows = rows();
    let tested: BTreeSet<_> = rows.iter().map(|row| (row.method.to_owned(), row.path.to_owned())).collect();
    assert_eq!(tested.len(), rows.len(), "a row stands there twice");
    let untested: Vec<_> = described.difference(&tested).collect();
    assert!(untested.is_empty(), "without a row: {untested:?}");
    let unknown: Vec<_> = tested.difference(&described).collect();
    assert!(unknown.is_empty(), "rows of nothing: {unknown:?}");
}

/// A server with everything that the rows need.
struct World {
    server: Server,
    count: AtomicUsize,
    _idp: Idp,
    _postgres: Option<Arc<Postgres>>,
}

impl World {
    /// One for each database.
    async fn both() -> [Self; 2] {
        [Self::on(None).await, Self::on(Some(Postgres::shared())).await]
    }

    async fn on(postgres: Option<Arc<Postgres>>) -> Self {
        let idp = Idp::start().await;
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), TestCa::world().pem()).unwrap();
        let (url, path) = (idp.url(), ca.path().display().to_string());
        let flags = ["--limit", "token-calls=100000", "--limit", "token-burst=100000"];
        let oidc = ["--oidc-issuer", &url, "--oidc-client-id", CLIENT, "--oidc-ca", &path];
        let mut setup = Server::setup().flags(&flags).flags(&oidc);
        if let Some(postgres) = &postgres {
            setup = setup.database(postgres.database());
        }
        let server = setup.start().await;
        for project in ["own", "other"] {
            server.project(project).await;
            server.secret(project, "base").await;
        }
        let key = json!({"name": "key", "values": {"api-key": "0123456789abcdef"}, "for": "openai"});
        server.post("/v1/projects/own/secrets", key).await.is(201);
        server.post("/v1/projects/own/variables", variable("region")).await.is(201);
        Self { server, count: AtomicUsize::new(0), _idp: idp, _postgres: postgres }
    }

    fn fresh(&self) -> String {
        format!("t-{}", self.count.fetch_add(1, Ordering::Relaxed))
    }

    async fn call(&self, row: &Row, path: &str, more: &[(&str, &str)], body: Option<&Value>) -> Answer {
        self.server.call_with(self.server.root(), row.method, path, more, body).await
    }

    /// The path of a row with an object of its own in it, and the ETag of what it changes.
    async fn place(&self, row: &Row) -> (String, String, String) {
        let name = self.fresh();
        let own = if row.path == P && row.method != "GET" { name.as_str() } else { "own" };
        let path = row.path.replace("{project}", own);
        let made = |folder: &'static str, body: Value| {
            let path = if row.path.starts_with("/v1/projects/") {
                format!("/v1/projects/own/{folder}")
            } else {
                format!("/v1/{folder}")
            };
            async move { self.server.post(&path, body).await }
        };
        let at = |path: String, etag: String| (path, etag, name.clone());
        if own != "own" {
            let made = self.server.post("/v1/projects", named(&name)).await;
            return at(path, made.is(201).etag());
        }
        if row.path.contains("{secret}") {
            let first = made("secrets", secret(&name)).await;
            let path = path.replace("{secret}", &name);
            let etag = first.is(201).etag();
            if !row.path.ends_with("/rollback") {
                return at(path, etag);
            }
            let all = format!("/v1/projects/own/secrets/{name}/rotate");
            return at(path, self.server.change("POST", &all, &etag, Some(rotated(""))).await.is(200).etag());
        }
        if row.path.contains("{variable}") {
            let made = made("variables", variable(&name)).await;
            return at(path.replace("{variable}", &name), made.is(201).etag());
        }
        if row.path.contains("{agent}") {
            let agent = made("agents", named(&name)).await;
            let path = path.replace("{agent}", &name);
            if !row.path.contains("{kind}") {
                return at(path, agent.is(201).etag());
            }
            let all = format!("/v1/projects/own/agents/{name}/attachments");
            let etag = self.server.post(&all, attachment("x")).await.is(201).etag();
            return at(path.replace("{kind}", "env").replace("{name}", "V_X"), etag);
        }
        if row.path.contains("{id}") {
            let (folder, body) = match row.path.contains("/members/") {
                true => ("members", member(&name)),
                false => ("tokens", token(&name)),
            };
            let made = made(folder, body).await;
            let object = made.is(201).json();
            let id = [&object["id"], &object["apiToken"]["id"]].into_iter().find_map(Value::as_str).unwrap();
            return at(path.replace("{id}", id), made.etag());
        }
        if row.path.contains("/model-providers/{name}") {
            let made = made("model-providers", model(&name)).await;
            return at(path.replace("{name}", &name), made.is(201).etag());
        }
        if row.path.contains("/providers/{name}") {
            let made = made("providers", document(&name)).await;
            return at(path.replace("{name}", &name), made.is(201).etag());
        }
        at(path, "*".to_owned())
    }

    /// A call that works.
    async fn good(&self, row: &Row) -> Answer {
        let (path, etag, name) = self.place(row).await;
        let body = row.body.map(|body| body(&name));
        let etag = [("if-match", etag.as_str())];
        let more = if row.is_change { &etag[..] } else { &[] };
        self.call(row, &path, more, body.as_ref()).await
    }
}

#[tokio::test]
async fn each_endpoint_does_what_it_says() {
    for world in World::both().await {
        for row in rows() {
            let answer = world.good(&row).await;
            // Login is the one that cannot work without a person.
            let (path, status) = (row.path, row.status);
            if path == "/v1/login" && row.method == "POST" {
                assert_eq!(answer.status, 415, "{}", answer.json());
                continue;
            }
            assert_eq!(answer.status, status, "{} {path}: {}", row.method, answer.json());
            let is_object = row.is_change && status == 200;
            assert!(!is_object || answer.headers.contains_key("etag"), "{} {path}", row.method);
            assert!(status != 201 || answer.headers.contains_key("location"), "{} {path}", row.method);
        }
    }
}

#[tokio::test]
async fn of_two_who_change_the_same_version_at_once_one_is_refused() {
    for world in World::both().await {
        for row in rows().into_iter().filter(|row| row.is_change) {
            let (path, etag, name) = world.place(&row).await;
            let body = row.body.map(|body| body(&name));
            let more = [("if-match", etag.as_str())];
            let call = || world.call(&row, &path, &more, body.as_ref());
            let (one, other) = tokio::join!(call(), call());
            let mut seen = [(one.status, one.code()), (other.status, other.code())];
            seen.sort();
            let what = format!("{} {path}: {seen:?}", row.method);
            // To have seen it work changes nothing of the object: both have.
            if row.path.ends_with("/verified") {
                assert_eq!((seen[0].0, seen[1].0), (200, 200), "{what}");
                continue;
            }
            assert_eq!(seen[0].0, row.status, "{what}");
            let lost = (seen[1].0, seen[1].1.as_str());
            assert!(matches!(lost, (412, "DW6010") | (404, "DW6007")), "{what}");
        }
    }
}

#[tokio::test]
async fn a_stale_or_missing_version_is_refused() {
    for world in World::both().await {
        for row in rows().into_iter().filter(|row| row.is_change) {
            let (path, _, name) = world.place(&row).await;
            let body = row.body.map(|body| body(&name));
            let refused = async |more: &[(&str, &str)]| {
                let answer = world.call(&row, &path, more, body.as_ref()).await;
                (answer.status, answer.code())
            };
            let what = format!("{} {path}", row.method);
            assert_eq!(refused(&[]).await, (428, "DW6011".to_owned()), "{what}");
            assert_eq!(refused(&[("if-match", "\"v999999\"")]).await, (412, "DW6010".to_owned()), "{what}");
            assert_eq!(refused(&[("if-match", "v1")]).await, (400, "DW6003".to_owned()), "{what}");
        }
    }
}

#[tokio::test]
async fn the_same_call_with_the_same_key_counts_once() {
    for world in World::both().await {
        for row in rows().into_iter().filter(|row| row.is_once) {
            let (path, _, name) = world.place(&row).await;
            let body = row.body.map(|body| body(&name)).unwrap();
            let key = world.fresh();
            let more = [("idempotency-key", key.as_str())];
            let first = world.call(&row, &path, &more, Some(&body)).await;
            let again = world.call(&row, &path, &more, Some(&body)).await;
            let what = format!("{} {path}: {}", row.method, again.json());
            assert_eq!((first.status, again.status), (201, 200), "{what}");
            assert_eq!(again.headers["idempotency-replayed"], "true", "{what}");
            assert_eq!(first.headers["location"], again.headers["location"], "{what}");
            // What is shown once is not shown twice.
            assert!(again.json().get("token").is_none_or(Value::is_null), "{what}");
            let other = row.body.map(|body| body(&world.fresh())).unwrap();
            if other != body {
                world.call(&row, &path, &more, Some(&other)).await.refused(422, "DW6017");
            }
            // Another caller's keys are his own.
            let theirs = world.server.token(None, "owner").await;
            let clash = world.server.call_with(&theirs, row.method, &path, &more, Some(&body)).await;
            clash.refused(409, "DW6009");
        }
    }
}

#[tokio::test]
async fn pages_lead_to_the_end_of_each_list() {
    for world in World::both().await {
        let all = rows();
        for row in all.iter().filter(|row| row.is_list) {
            let maker = all.iter().find(|other| other.method == "POST" && other.path == row.path).unwrap();
            for _ in 0..5 {
                world.good(maker).await.is(201);
            }
            let path = row.path.replace("{project}", "own");
            let whole = world.server.get(&format!("{path}?limit=1000")).await.is(200).json();
            let names = |page: &Value| -> Vec<String> {
                let key =
                    |one: &Value| ["id", "name"].iter().find_map(|key| one[*key].as_str()).map(str::to_owned);
                page["items"].as_array().unwrap().iter().map(|one| key(one).unwrap()).collect()
            };
            assert!(whole["next"].is_null() && names(&whole).len() >= 5, "{path}: {whole}");
            let (mut found, mut cursor) = (Vec::new(), None::<String>);
            loop {
                let more = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
                let page = world.server.get(&format!("{path}?limit=2{more}")).await.is(200).json();
                assert!(names(&page).len() <= 2, "{path}: {page}");
                found.extend(names(&page));
                match page["next"].as_str() {
                    Some(next) => cursor = Some(next.to_owned()),
                    None => break,
                }
            }
            assert_eq!(found, names(&whole), "{path}");
            for odd in ["limit=0", "limit=1001", "limit=x", "cursor=!", "nothing=1", "limit=2&limit=3"] {
                world.server.get(&format!("{path}?{odd}")).await.refused(400, "DW6003");
            }
        }
    }
}

#[tokio::test]
async fn each_list_is_followed_as_it_changes() {
    for world in World::both().await {
        let all = rows();
        for row in all.iter().filter(|row| row.is_list) {
            let maker = all.iter().find(|other| other.method == "POST" && other.path == row.path).unwrap();
            let path = row.path.replace("{project}", "own");
            let mut changes = world.server.watch_changes(&format!("{path}?watch=true")).await;
            let ready = changes.event("ready").await;
            world.good(maker).await.is(201);
            let change = changes.event("change").await;
            assert!(change["revision"].as_u64() > ready["revision"].as_u64(), "{path}: {change}");
            // From a revision of before: the same again.
            let since = format!("{path}?watch=true&since={}", ready["revision"]);
            let mut again = world.server.watch_changes(&since).await;
            assert_eq!(again.event("change").await, change, "{path}");
        }
    }
}

#[tokio::test]
async fn bodies_that_do_not_fit_change_nothing() {
    for world in World::both().await {
        // The asks take no body as well as an empty one.
        for row in rows().into_iter().filter(|row| row.body.is_some() && row.status != 404) {
            let (path, etag, name) = world.place(&row).await;
            let what = format!("{} {path}", row.method);
            let bearer = format!("Bearer {}", world.server.root());
            let headers = |kind: &'static str| {
                let mut headers = vec![("authorization", bearer.as_str()), ("content-type", kind)];
                headers.extend(row.is_change.then_some(("if-match", etag.as_str())));
                headers
            };
            let mut unknown = row.body.map(|body| body(&name)).unwrap();
            unknown["unheardOf"] = json!(1);
            for text in ["", "null", "[]", "{", "{}{}", &unknown.to_string()] {
                let json = headers("application/json");
                let answer = world.server.send(row.method, &path, &json, text.as_bytes()).await;
                assert_eq!((answer.status, answer.code().as_str()), (400, "DW6003"), "{what} {text}");
            }
            let body = row.body.map(|body| body(&name).to_string()).unwrap();
            let plain = headers("text/plain");
            world.server.send(row.method, &path, &plain, body.as_bytes()).await.refused(415, "DW6013");
            let json = headers("application/json");
            let long = format!("{{\"x\": \"{}\"}}", "x".repeat(1024 * 1024));
            world.server.send(row.method, &path, &json, long.as_bytes()).await.refused(413, "DW6012");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_missing() {
    for world in World::both().await {
        for row in rows().into_iter().filter(|row| row.path.contains('{')) {
            let mut path = row.path.replace("{project}", "own").replace("{kind}", "env");
            for part in ["{secret}", "{variable}", "{agent}", "{id}", "{name}", "{ask}"] {
                path = path.replace(part, "nowhere");
            }
            if path == row.path.replace("{project}", "own") {
                path = row.path.replace("{project}", "nowhere");
            }
            let body = row.body.map(|body| body("nowhere"));
            let answer = world.call(&row, &path, &[("if-match", "*")], body.as_ref()).await;
            assert_eq!((answer.status, answer.code().as_str()), (404, "DW6007"), "{} {path}", row.method);
        }
    }
}
