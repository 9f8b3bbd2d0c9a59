//! Every event is held against what the schema of that version requires, names and enumerates.

use serde_json::{Value, json};

use super::*;

fn line(fields: Value) -> String {
    let mut line = json!({
        "ts": "2027-01-15T08:00:00.123456Z", "seq": 7, "prev": "00", "kind": "request", "conn": "0a", "req": "0a-1",
        "agent": "coder", "provider": "github", "rule": null, "scheme": "bearer", "secret": "pat", "method": "GET",
        "host": "api.github.com", "port": 443, "path": "/user", "verdict": "allow", "code": null, "reason": null,
        "status": 200, "bytes_in": 3, "bytes_out": 5, "elapsed_us": 1500, "revision": 2, "hash": "ff",
    });
    for (key, value) in fields.as_object().unwrap() {
        line[key] = value.clone();
    }
    line.to_string()
}

fn shown(fields: Value) -> Value {
    serde_json::from_str(&event(&line(fields), Some("control")).unwrap()).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(include_str!("ocsf-1.6.0.json")).unwrap()
}

/// What the schema says against an object.
fn faults(schema: &Value, of: &Value, event: &Value, place: &str, found: &mut Vec<String>) {
    let attributes = of["attributes"].as_object().unwrap();
    let event = event.as_object().unwrap();
    for (name, attribute) in attributes {
        if attribute["requirement"] == "required" && !event.contains_key(name) {
            found.push(format!("{place}.{name} is required"));
        }
    }
    if let Some(some) = of["constraints"]["at_least_one"].as_array()
        && !some.iter().any(|name| event.contains_key(name.as_str().unwrap()))
    {
        found.push(format!("{place} needs one of {some:?}"));
    }
    for (name, value) in event {
        let place = format!("{place}.{name}");
        let Some(attribute) = attributes.get(name) else {
            found.push(format!("{place} is not in the schema"));
            continue;
        };
        let values = match (attribute["is_array"] == true, value) {
            (true, Value::Array(values)) => values.clone(),
            (false, value) => vec![value.clone()],
            (true, _) => {
                found.push(format!("{place} is no array"));
                continue;
            }
        };
        for value in &values {
            value_faults(schema, attribute, value, &place, found);
        }
    }
}

fn value_faults(schema: &Value, attribute: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let kind = attribute["type"].as_str().unwrap();
    let fits = match kind {
        "integer_t" | "long_t" | "timestamp_t" | "port_t" => value.is_i64() || value.is_u64(),
        "object" => value.is_object(),
        kind if kind.ends_with("_t") => value.is_string(),
        object => {
            faults(schema, &schema["objects"][object], value, place, found);
            true
        }
    };
    if !fits {
        found.push(format!("{place} is no {kind}: {value}"));
    }
    if let Some(allowed) = attribute["enum"].as_array()
        && !allowed.contains(value)
    {
        found.push(format!("{place} is {value}, none of {allowed:?}"));
    }
}

fn check(event: &Value) {
    let schema = schema();
    let class = &schema["classes"][event["class_uid"].to_string()];
    assert!(class.is_object(), "{event}");
    let mut found = Vec::new();
    faults(&schema, class, event, "event", &mut found);
    assert!(found.is_empty(), "{found:#?}\n{event:#}");
    let uid = event["class_uid"].as_u64().unwrap() * 100 + event["activity_id"].as_u64().unwrap();
    assert_eq!(event["type_uid"], uid);
    assert_eq!(event["metadata"]["version"], VERSION);
    assert_eq!(event["category_uid"], event["class_uid"].as_u64().unwrap() / 1000);
}

#[test]
fn refuses_what_is_no_audit_line() {
    for text in ["", "{}", "[]", "{\"ts\":\"x\",\"kind\":\"request\"}", "{\"ts\":\"2027-01-15T08:00:00Z\"}"] {
        assert_eq!(event(text, None), None, "{text}");
    }
}

#[test]
fn every_kind_of_line_is_complete_by_the_published_schema() {
    let nothing = json!({
        "agent": null, "host": null, "port": null, "path": null, "method": null, "conn": null, "req": null,
        "verdict": null, "status": null,
    });
    for kind in ["request", "open", "connect", "exchange", "control", "lifecycle", "recovered"] {
        let mut bare = nothing.clone();
        bare["kind"] = kind.into();
        check(&shown(bare));
        for (verdict, status) in [("allow", 200), ("deny", 403), ("would-deny", 200), ("error", 502)] {
            for method in ["GET", "POST", "DELETE", "PROPFIND"] {
                check(&shown(json!({"kind": kind, "verdict": verdict, "status": status, "method": method})));
            }
        }
    }
    for reason in [
        "agent bot created",
        "token ci revoked",
        "agent bot rotated",
        "token ci deleted",
        "started",
        "stopped",
    ] {
        for kind in ["control", "lifecycle"] {
            check(&shown(json!({"kind": kind, "reason": reason})));
        }
    }
}

#[test]
fn the_check_finds_what_is_missing_or_not_in_the_schema() {
    let schema = schema();
    let good = shown(json!({}));
    for (at, value) in [("time", Value::Null), ("severity_id", json!(77)), ("nonsense", json!(1))] {
        let mut event = good.clone();
        if value.is_null() {
            event.as_object_mut().unwrap().remove(at);
        } else {
            event[at] = value;
        }
        let mut found = Vec::new();
        faults(&schema, &schema["classes"]["4002"], &event, "event", &mut found);
        assert_eq!(found.len(), 1, "{at}: {found:?}");
    }
}

#[test]
fn requests_are_http_activity_and_the_agents_bytes_go_out() {
    let event = shown(json!({"verdict": "deny", "code": "DW1002", "reason": "no rule", "status": 403}));
    assert_eq!((&event["class_uid"], &event["activity_id"]), (&json!(4002), &json!(3)));
    assert_eq!((&event["action_id"], &event["disposition_id"]), (&json!(2), &json!(2)));
    assert_eq!(event["status_code"], "DW1002");
    assert_eq!(event["traffic"], json!({"bytes_out": 3, "bytes_in": 5, "bytes": 8}));
    assert_eq!(event["time"], 1800000000123_i64);
    assert_eq!(event["unmapped"]["secret"], "pat");
    assert_eq!(event["dst_endpoint"]["hostname"], "api.github.com");
}

#[test]
fn calls_are_api_activity_and_those_on_agents_and_tokens_account_changes() {
    let class = |reason: &str, verdict: &str| {
        let event = shown(json!({"kind": "control", "reason": reason, "verdict": verdict, "method": "POST"}));
        (event["class_uid"].as_u64().unwrap(), event["activity_id"].as_u64().unwrap())
    };
    assert_eq!(class("secret pat created", "allow"), (6003, 1));
    assert_eq!(class("secret pat rotated", "allow"), (6003, 3));
    assert_eq!(class("agent bot created", "allow"), (3001, 1));
    assert_eq!(class("token ci revoked", "allow"), (3001, 5));
    assert_eq!(class("token ci created, viewer of project a, id 0f", "allow"), (3001, 1));
    assert_eq!(class("secret pat created, a copy of project b", "allow"), (6003, 1));
    assert_eq!(class("agent bot created", "deny"), (6003, 1));
}

#[test]
fn nothing_in_an_event_moves_a_cursor() {
    let text = event(&line(json!({"path": "/\u{1b}[2J\u{9b}\u{202e}"})), None).unwrap();
    assert!(text.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{text}");
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap()["http_request"]["url"]["path"],
        "/\u{1b}[2J\u{9b}\u{202e}"
    );
}
