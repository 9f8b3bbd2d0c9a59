//! What holds for all endpoints of a kind: those that change, that make, that list, that take a body.

use serde_json::{Value, json};

use super::rows;
use super::world::World;

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
async fn of_several_who_make_the_same_at_once_one_does_and_the_others_are_told() {
    for world in World::both().await {
        let makes = |row: &super::Row| row.is_once || row.path.ends_with("/import");
        for row in rows().into_iter().filter(makes) {
            let (path, _, name) = world.place(&row).await;
            let body = row.body.map(|body| body(&name));
            let call = || world.call(&row, &path, &[], body.as_ref());
            let (one, two, three) = tokio::join!(call(), call(), call());
            let mut seen = [one, two, three].map(|answer| (answer.status, answer.code()));
            seen.sort();
            let taken = (409, "DW6009".to_owned());
            let wanted = [(row.status, String::new()), taken.clone(), taken];
            assert_eq!(seen, wanted, "{} {path}", row.method);
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
