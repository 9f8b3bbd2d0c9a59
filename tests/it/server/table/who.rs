//! Who may call what: each role on each endpoint, callers of another project, tokens of another class. Refusals change nothing.

use std::sync::Arc;

use harness::postgres::Postgres;
use harness::server::Answer;
use serde_json::json;

use super::world::World;
use super::{Held, P, ROLES, Row, named, rows};
use crate::server::foreign;

/// A token of each role there.
async fn holders(world: &World, project: Option<&str>) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for role in ROLES {
        all.push((role, world.server.token(project, role).await));
    }
    all
}

fn may(row: &Row, role: &str, project: Option<&str>) -> bool {
    let rank = |role: &str| ROLES.iter().position(|one| *one == role).expect("a role");
    rank(role) >= rank(row.least) && (project.is_none() || row.held != Held::Installation)
}

#[tokio::test]
async fn each_role_may_what_its_row_says_and_nothing_else() {
    for world in World::both().await {
        let (own, all) = (holders(&world, Some("own")).await, holders(&world, None).await);
        for row in rows().iter().filter(|row| row.held != Held::Nobody) {
            let (mut path, mut etag, mut name) = world.place(row).await;
            let of_its_own = match row.is_of_its_own_project() {
                true => holders(&world, Some(&name)).await,
                false => Vec::new(),
            };
            let in_project = if row.is_of_its_own_project() { &of_its_own } else { &own };
            let callers: Vec<_> = in_project
                .iter()
                .map(|(role, token)| (*role, Some("own"), token))
                .chain(all.iter().map(|(role, token)| (*role, None, token)))
                .collect();
            let told = |role: &str, project: &Option<&str>| {
                format!("{} {}, {role} of {}", row.method, row.path, project.unwrap_or("the installation"))
            };
            for (role, project, token) in callers.iter().filter(|(role, of, _)| !may(row, role, *of)) {
                let body = row.body.map(|body| body(&name));
                let answer = world.call_of(token, row, &path, &row.seen(&etag), body.as_ref()).await;
                let seen = (answer.status, answer.code());
                assert_eq!(seen, (403, "DW6005".to_owned()), "{}", told(role, project));
            }
            // The first of them finds everything as it was before the refusals: the same version, a free name.
            let mut is_used = false;
            for (role, project, token) in callers.iter().filter(|(role, of, _)| may(row, role, *of)) {
                // A project with the tokens of those who were refused in it is not empty.
                if row.is_of_its_own_project() && row.method == "DELETE"
                    || is_used && row.method != "GET" && !row.is_of_its_own_project()
                {
                    (path, etag, name) = world.place(row).await;
                }
                let body = row.body.map(|body| body(&name));
                let answer = world.call_of(token, row, &path, &row.seen(&etag), body.as_ref()).await;
                // A copy needs the other project as well, of which he knows nothing.
                let is_foreign = row.path.ends_with("/clone") && project.is_some();
                let status = if is_foreign { 404 } else { row.status };
                assert_eq!(answer.status, status, "{}: {}", told(role, project), answer.json());
                is_used |= !is_foreign;
                if row.is_of_its_own_project() {
                    etag = "*".to_owned();
                }
            }
        }
    }
}

/// Everything that a caller sees of an answer, but the call's own id and the time.
fn seen(answer: &Answer) -> (u16, Vec<String>, String) {
    let id = answer.headers["doorward-request-id"].to_str().unwrap();
    let own = ["doorward-request-id", "date"];
    let headers = answer.headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let headers = headers.map(|(name, value)| format!("{name}: {value:?}")).collect();
    (answer.status, headers, String::from_utf8(answer.body.to_vec()).unwrap().replace(id, ""))
}

/// The path with another name at this place.
fn renamed(path: &str, place: usize, name: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts[place] = name;
    parts.join("/")
}

#[tokio::test]
async fn what_another_project_has_answers_byte_for_byte_as_what_is_missing() {
    const PROJECT: usize = 3;
    const OBJECT: usize = 5;
    for world in World::both().await {
        let stranger = world.server.token(Some("other"), "owner").await;
        for row in rows().iter().filter(|row| row.path.starts_with(P)) {
            let (path, etag, name) = world.place(row).await;
            let what = format!("{} {path}", row.method);
            let call = async |path: String, name: &str| {
                let body = row.body.map(|body| body(name));
                seen(&world.call_of(&stranger, row, &path, &row.seen(&etag), body.as_ref()).await)
            };
            let theirs = call(path.clone(), &name).await;
            assert!(theirs.0 == 404 && theirs.2.contains("DW6007"), "{what}: {theirs:?}");
            assert_eq!(theirs, call(renamed(&path, PROJECT, "nowhere"), &name).await, "{what}");
            // Nor does his own project know of it.
            if row.path.split('/').nth(OBJECT).is_some_and(|part| part.starts_with('{')) {
                let in_his = renamed(&path, PROJECT, "other");
                let nothing = call(renamed(&in_his, OBJECT, "nowhere"), "nowhere").await;
                assert_eq!(call(in_his, &name).await, nothing, "{what}");
                assert_eq!(nothing.0, 404, "{what}: {nothing:?}");
            }
            // All of it is as it was.
            let body = row.body.map(|body| body(&name));
            let owners = world.call(row, &path, &row.seen(&etag), body.as_ref()).await;
            assert_eq!(owners.status, row.status, "{what}: {}", owners.json());
        }
        let (_, made) = world.server.secret("own", "copied").await;
        made.is(201);
        let owner = world.server.token(Some("own"), "owner").await;
        let copy = async |to: &str| {
            let path = "/v1/projects/own/secrets/copied/clone";
            seen(&world.server.call_as(&owner, "POST", path, Some(&json!({"project": to}))).await)
        };
        let theirs = copy("other").await;
        assert_eq!((theirs.0, &theirs), (404, &copy("nowhere").await));
    }
}

/// The paths of sidecars, which have a class of their own.
const SYNC: [(&str, &str); 4] =
    [("GET", "/v1/sync"), ("POST", "/v1/sync/ack"), ("POST", "/v1/sync/audit"), ("POST", "/v1/sync/asks")];

#[tokio::test]
async fn a_token_of_another_class_is_refused_where_there_is_no_database_to_look_it_up_in() {
    let postgres = Arc::new(Postgres::start());
    let world = World::on(Some(Arc::clone(&postgres))).await;
    let made = world.server.post("/v1/projects/own/agents", named("bot")).await;
    let agent = made.is(201).json()["token"].as_str().unwrap().to_owned();
    let api = world.server.token(None, "owner").await;
    postgres.kill();
    let refused = async |token: &str, row: &Row, path: &str| {
        let body = row.body.map(|body| body("x"));
        let answer = world.call_of(token, row, path, &row.seen("*"), body.as_ref()).await;
        (answer.status, answer.code())
    };
    let is = |status, code: &str| (status, code.to_owned());
    let jwt = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.e30.c2ln";
    for row in rows().iter().filter(|row| row.held != Held::Nobody) {
        let path = row.path.replace("{project}", "own").replace(['{', '}'], "");
        for token in [agent.as_str(), &foreign("dwa"), jwt] {
            assert_eq!(refused(token, row, &path).await, is(403, "DW6006"), "{} {path}", row.method);
        }
        for token in ["x", &foreign("dwp"), &foreign("dwz"), "dwt_short"] {
            assert_eq!(refused(token, row, &path).await, is(401, "DW6004"), "{} {path}", row.method);
        }
    }
    for (method, path) in SYNC {
        let row = Row { method, path, ..Row::default() };
        for token in [api.as_str(), world.server.root(), &foreign("dwt"), &foreign("dwb")] {
            assert_eq!(refused(token, &row, path).await, is(403, "DW6006"), "{method} {path}");
        }
        assert_eq!(refused("x", &row, path).await, is(401, "DW6004"), "{method} {path}");
        // One of the right class is looked up, which fails.
        assert_eq!(refused(&agent, &row, path).await, is(503, "DW6018"), "{method} {path}");
    }
    let row = Row { method: "GET", path: "/v1/projects", ..Row::default() };
    assert_eq!(refused(&api, &row, row.path).await, is(503, "DW6018"));
}
