//! The table of all endpoints: what each does when all is well, who may call it, and what holds for all of its kind, on both
//! databases.
//!
//! An endpoint of docs/openapi.json without a row fails, and so does a row without an endpoint.

mod world;
mod kinds;
mod bounds;
mod who;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::github;

/// The roles, each with all that the ones before it may, and more.
const ROLES: [&str; 5] = ["viewer", "developer", "manager", "admin", "owner"];

/// Where the caller has to have his role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Held {
    /// In the project that the path names, or in the installation.
    #[default]
    Project,
    /// In any project, or in the installation.
    Anywhere,
    /// In the installation: a role in a project, whatever it is, opens nothing.
    Installation,
    /// Nobody is asked.
    Nobody,
}

/// What holds for an endpoint beside its success.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    method: &'static str,
    path: &'static str,
    /// The least of [`ROLES`] that may.
    least: &'static str,
    held: Held,
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

impl Row {
    /// Changes a project itself: it gets one of its own each time.
    fn is_of_its_own_project(&self) -> bool {
        self.path == P && self.method != "GET"
    }

    /// The headers of a call of something in this version.
    fn seen<'a>(&self, etag: &'a str) -> Vec<(&'static str, &'a str)> {
        self.is_change.then_some(("if-match", etag)).into_iter().collect()
    }
}

const fn read(path: &'static str) -> Row {
    Row {
        method: "GET",
        path,
        least: "",
        held: Held::Project,
        status: 200,
        body: None,
        is_change: false,
        is_once: false,
        is_list: false,
    }
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

/// These rows, for this role and those above it.
fn of(least: &'static str, held: Held, rows: &[Row]) -> Vec<Row> {
    rows.iter().map(|row| Row { least, held, ..*row }).collect()
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
    [in_projects(), of_the_installation(), of_everybody()].concat()
}

fn in_projects() -> Vec<Row> {
    let viewers = [
        read(P),
        list(p!("/secrets")),
        read(p!("/secrets/{secret}")),
        list(p!("/variables")),
        read(p!("/variables/{variable}")),
        list(p!("/agents")),
        read(p!("/agents/{agent}")),
        read(p!("/agents/{agent}/attachments")),
        list(p!("/providers")),
        read(p!("/providers/{name}")),
        list(p!("/model-providers")),
        read(p!("/model-providers/{name}")),
        read(p!("/provider-cards")),
        read(p!("/changes")),
    ];
    let developers = [
        make(p!("/variables"), variable),
        change("PUT", p!("/variables/{variable}"), 200, Some(value)),
        gone(p!("/variables/{variable}")),
        make(p!("/agents"), named),
        gone(p!("/agents/{agent}")),
        change("POST", p!("/agents/{agent}/revoke"), 200, None),
        make(p!("/agents/{agent}/attachments"), attachment),
        gone(p!("/agents/{agent}/attachments/{kind}/{name}")),
        make(p!("/providers"), document),
        change("PUT", p!("/providers/{name}"), 200, Some(document)),
        gone(p!("/providers/{name}")),
        change("POST", p!("/providers/{name}/verified"), 200, None),
        make(p!("/model-providers"), model),
        change("PUT", p!("/model-providers/{name}"), 200, Some(model)),
        gone(p!("/model-providers/{name}")),
        change("POST", p!("/model-providers/{name}/verified"), 200, None),
        // Only a sidecar makes one: their successes are in approvals/.
        read(p!("/asks")),
        Row { status: 404, ..read(p!("/asks/{ask}")) },
        Row { status: 404, method: "POST", body: Some(nothing), ..read(p!("/asks/{ask}/deny")) },
    ];
    let managers = [
        make(p!("/secrets"), secret),
        gone(p!("/secrets/{secret}")),
        change("POST", p!("/secrets/{secret}/rotate"), 200, Some(rotated)),
        change("POST", p!("/secrets/{secret}/rollback"), 200, None),
        make(p!("/secrets/{secret}/clone"), elsewhere),
        Row { status: 200, is_once: false, ..make(p!("/import"), import) },
        change("POST", p!("/agents/{agent}/rotate"), 200, Some(nothing)),
        change("PUT", p!("/agents/{agent}/identities"), 200, Some(identities)),
        change("POST", p!("/providers/{name}/approve"), 200, None),
        change("POST", p!("/model-providers/{name}/approve"), 200, None),
        Row { status: 404, method: "POST", body: Some(nothing), ..read(p!("/asks/{ask}/approve")) },
        read(p!("/audit")),
        read(p!("/audit/sources")),
        read(p!("/audit/verify")),
        read(p!("/audit/export")),
        read(p!("/audit/checkpoints")),
    ];
    let admins = [
        change("PUT", P, 200, Some(nothing)),
        list(p!("/tokens")),
        make(p!("/tokens"), token),
        read(p!("/tokens/{id}")),
        gone(p!("/tokens/{id}")),
        list(p!("/members")),
        make(p!("/members"), member),
        read(p!("/members/{id}")),
        change("PUT", p!("/members/{id}"), 200, Some(role)),
        gone(p!("/members/{id}")),
    ];
    let all =
        [("viewer", &viewers[..]), ("developer", &developers), ("manager", &managers), ("admin", &admins)];
    all.into_iter().flat_map(|(least, rows)| of(least, Held::Project, rows)).collect()
}

fn of_the_installation() -> Vec<Row> {
    let managers = [
        read("/v1/audit"),
        read("/v1/audit/checkpoints"),
        Row { method: "POST", ..read("/v1/audit/checkpoints") },
        read("/v1/audit/export"),
        read("/v1/audit/sources"),
        read("/v1/audit/verify"),
    ];
    let admins = [
        make("/v1/projects", named),
        gone(P),
        list("/v1/tokens"),
        make("/v1/tokens", token),
        read("/v1/tokens/{id}"),
        gone("/v1/tokens/{id}"),
        list("/v1/members"),
        make("/v1/members", member),
        read("/v1/members/{id}"),
        change("PUT", "/v1/members/{id}", 200, Some(role)),
        gone("/v1/members/{id}"),
        Row { method: "POST", body: Some(pruned), ..read("/v1/audit/prune") },
    ];
    let of = |least, rows: &[Row]| of(least, Held::Installation, rows);
    [of("manager", &managers), of("admin", &admins)].concat()
}

fn of_everybody() -> Vec<Row> {
    let viewers = [
        list("/v1/projects"),
        read("/v1/can-i"),
        read("/v1/types"),
        // Only for the token of a login: server/people.rs.
        Row { method: "DELETE", status: 403, ..read("/v1/login") },
    ];
    let nobody = [
        read("/v1/login"),
        // Its success needs a person: server/people.rs.
        Row { method: "POST", status: 422, ..read("/v1/login") },
    ];
    [
        of("viewer", Held::Anywhere, &viewers),
        of("manager", Held::Anywhere, &[read("/v1/audit/key")]),
        of("viewer", Held::Nobody, &nobody),
    ]
    .concat()
}

/// The description that is committed, which is what the server says (generated.rs).
fn description() -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[test]
fn every_endpoint_of_the_description_has_a_row() {
    let description = description();
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

#[test]
fn each_write_names_the_version_that_was_seen_or_counts_once_by_its_key() {
    let description = description();
    let mut rest = Vec::new();
    for row in rows().iter().filter(|row| row.method != "GET") {
        let operation = &description["paths"][row.path][row.method.to_lowercase()];
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let headers: Vec<_> = parameters.filter(|one| one["in"] == "header").collect();
        let names = |header: &str| headers.iter().any(|one| one["name"] == header);
        // A rotation and an import make something, too, and are told apart by the same header.
        let is_once = row.is_once || row.path.ends_with("/rotate") || row.path.ends_with("/import");
        assert_eq!(names("Idempotency-Key"), is_once, "{} {}", row.method, row.path);
        // A question is there only where a sidecar asked it: its versions are in approvals/.
        let is_change = row.is_change || row.path.contains("/asks/");
        assert_eq!(names("If-Match"), is_change, "{} {}", row.method, row.path);
        if !is_change && !row.is_once {
            rest.push((row.method, row.path));
        }
    }
    rest.sort_unstable();
    // What is imported is new or refused; the audit only grows and is cut where it is signed; a login changes nothing else.
    let known = [
        ("DELETE", "/v1/login"),
        ("POST", "/v1/audit/checkpoints"),
        ("POST", "/v1/audit/prune"),
        ("POST", "/v1/login"),
        ("POST", p!("/import")),
    ];
    assert_eq!(rest, known);
}
