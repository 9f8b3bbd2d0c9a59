//! Audit lines as events of the Open Cybersecurity Schema Framework, version 1.6.0.
//!
//! What agents asked for is HTTP Activity (4002); calls of the control API are API Activity (6003), and Account Change (3001)
//! where they made, changed or ended an agent or a token; what concerns the process is Application Lifecycle (6002).
//! What the schema has no place for stands in `unmapped` under our own names. The agent is the source endpoint: it is the
//! agent's bytes that OCSF counts as `bytes_out`. Characters that move a terminal's cursor are escaped.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The version of the schema.
pub const VERSION: &str = "1.6.0";
/// Fields that have a place in the schema; all others are `unmapped`.
const MAPPED: [&str; 15] = [
    "ts",
    "seq",
    "req",
    "agent",
    "token",
    "method",
    "host",
    "port",
    "path",
    "verdict",
    "code",
    "reason",
    "status",
    "bytes_in",
    "bytes_out",
];
/// The methods that the schema knows, with their activities.
const METHODS: [(&str, u64); 9] = [
    ("CONNECT", 1),
    ("DELETE", 2),
    ("GET", 3),
    ("HEAD", 4),
    ("OPTIONS", 5),
    ("POST", 6),
    ("PUT", 7),
    ("TRACE", 8),
    ("PATCH", 9),
];

/// One line as an event in one line; `None` for what is no audit line. `source` names the chain.
pub fn event(line: &str, source: Option<&str>) -> Option<String> {
    let record: Map<String, Value> = serde_json::from_str(line).ok()?;
    let line = Line(&record);
    let mut event = line.common(source)?;
    match line.text("kind")? {
        "request" | "open" | "connect" | "exchange" => line.http(&mut event),
        "control" => line.control(&mut event),
        _ => line.lifecycle(&mut event),
    }
    Some(escaped(&Value::Object(event).to_string()))
}

struct Line<'a>(&'a Map<String, Value>);

impl Line<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.0.get(key)?.as_u64()
    }

    /// What every class has.
    fn common(&self, source: Option<&str>) -> Option<Map<String, Value>> {
        let ts = self.text("ts")?;
        let at = OffsetDateTime::parse(ts, &Rfc3339).ok()?;
        let (severity, status, action, disposition) = match self.text("verdict") {
            Some("allow") => (1, 1, 1, 1),
            Some("deny") => (3, 2, 2, 2),
            Some("would-deny") => (2, 1, 1, 17),
            Some("error") => (3, 2, 1, 27),
            Some(_) | None => (1, 0, 0, 0),
        };
        let unmapped: Map<_, _> = self
            .0
            .iter()
            .filter(|(key, value)| !MAPPED.contains(&key.as_str()) && !value.is_null())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let event = json!({
            "time": i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()?,
            "severity_id": severity,
            "status_id": status,
            "status_code": self.text("code"),
            "status_detail": self.text("reason"),
            "message": self.text("reason"),
            "duration": self.number("elapsed_us").map(|us| us / 1000),
            "action_id": action,
            "disposition_id": disposition,
            "metadata": present(json!({
                "version": VERSION,
                "profiles": ["security_control"],
                "product": {"name": "doorward", "vendor_name": "doorward", "version": env!("CARGO_PKG_VERSION")},
                "uid": self.text("hash"),
                "sequence": self.number("seq"),
                "correlation_uid": self.text("req"),
                "original_time": ts,
                "log_name": source,
            })),
            "unmapped": unmapped,
        });
        if let Value::Object(event) = present(event) { Some(event) } else { None }
    }

    fn http(&self, event: &mut Map<String, Value>) {
        let method = self.text("method");
        let activity = match (self.text("kind"), method) {
            (Some("connect"), _) => 1,
            (_, Some(method)) => METHODS.iter().find(|(name, _)| *name == method).map_or(99, |(_, id)| *id),
            (_, None) => 0,
        };
        class(event, (4, 2), activity, method);
        event.insert("http_request".to_owned(), self.http_request());
        self.http_response(event);
        if let Some(host) = self.text("host") {
            let endpoint = json!({"hostname": host, "port": self.number("port")});
            event.insert("dst_endpoint".to_owned(), present(endpoint));
        }
        event.insert("src_endpoint".to_owned(), self.caller());
        if let (Some(from), Some(to)) = (self.number("bytes_in"), self.number("bytes_out")) {
            let traffic = json!({"bytes_out": from, "bytes_in": to, "bytes": from.saturating_add(to)});
            event.insert("traffic".to_owned(), traffic);
        }
    }

    fn http_request(&self) -> Value {
        let (host, port, path) = (self.text("host"), self.number("port"), self.text("path"));
        let url = match (host, path) {
            (_, Some(path)) => Some(present(json!({"hostname": host, "port": port, "path": path}))),
            (Some(host), None) => {
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                Some(json!({"url_string": format!("//{host}{port}")}))
            }
            (None, None) => None,
        };
        // Others stand in `activity_name` alone: the schema knows these.
        let method = self.text("method").filter(|method| METHODS.iter().any(|(known, _)| known == method));
        present(json!({"http_method": method, "url": url, "uid": self.text("req")}))
    }

    fn http_response(&self, event: &mut Map<String, Value>) {
        if let Some(status) = self.number("status") {
            event.insert("http_response".to_owned(), json!({"code": status}));
        }
    }

    /// Who asked, as far as it is known.
    fn caller(&self) -> Value {
        match (self.text("agent"), self.text("conn")) {
            (Some(agent), conn) => present(json!({"name": agent, "uid": conn})),
            (None, Some(conn)) => json!({"uid": conn}),
            (None, None) => json!({"name": "unknown"}),
        }
    }

    fn control(&self, event: &mut Map<String, Value>) {
        let name = self.text("agent").unwrap_or("unknown");
        let actor = json!({"user": present(json!({"name": name, "uid": self.text("token")}))});
        event.insert("actor".to_owned(), actor);
        event.insert("src_endpoint".to_owned(), self.caller());
        event.insert("http_request".to_owned(), self.http_request());
        self.http_response(event);
        if let Some((name, activity, verb)) = self.account() {
            class(event, (3, 1), activity, Some(verb));
            event.insert("user".to_owned(), json!({"name": name}));
            return;
        }
        let method = self.text("method");
        let activity = match method {
            Some("GET" | "HEAD") => 2,
            // Beside the making of objects there are verbs, which change what is there.
            Some("POST") if self.did().is_some_and(|did| did.ends_with(" created")) => 1,
            Some("POST" | "PUT" | "PATCH") => 3,
            Some("DELETE") => 4,
            Some(_) => 99,
            None => 0,
        };
        class(event, (6, 3), activity, method);
        let operation = [method, self.text("path")].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let operation = if operation.is_empty() { "unknown".to_owned() } else { operation };
        let api = json!({"operation": operation, "service": {"name": "doorward"}});
        event.insert("api".to_owned(), api);
        if let Some(secret) = self.text("secret") {
            event.insert("resources".to_owned(), json!([{"name": secret, "type": "secret"}]));
        }
    }

    /// What a call did to what; what is said beside follows a comma, which no name holds.
    fn did(&self) -> Option<&str> {
        let reason = self.text("reason")?;
        Some(reason.split_once(", ").map_or(reason, |(did, _)| did))
    }

    /// The agent or token that a call made, changed or ended.
    fn account(&self) -> Option<(&str, u64, &str)> {
        if self.text("verdict") != Some("allow") {
            return None;
        }
        let mut words = self.did()?.split(' ');
        let (kind, name, verb, end) = (words.next()?, words.next()?, words.next()?, words.next());
        let activity = match verb {
            "created" => 1,
            "rotated" => 3,
            "revoked" => 5,
            "deleted" => 6,
            _ => 99,
        };
        (matches!(kind, "agent" | "token") && end.is_none()).then_some((name, activity, verb))
    }

    fn lifecycle(&self, event: &mut Map<String, Value>) {
        let reason = self.text("reason").unwrap_or_default();
        let activity = match reason {
            "started" => 3,
            "stopped" => 4,
            "reloaded" => 8,
            _ => 99,
        };
        let name = if reason.is_empty() { "other" } else { reason };
        class(event, (6, 2), activity, Some(name));
        event.insert("app".to_owned(), json!({"name": "doorward", "vendor_name": "doorward"}));
    }
}

/// The class of a category, and what was done; `other` names an activity that the schema does not.
fn class(event: &mut Map<String, Value>, (category, class): (u64, u64), activity: u64, other: Option<&str>) {
    let class = category * 1000 + class;
    for (key, value) in [
        ("category_uid", category),
        ("class_uid", class),
        ("activity_id", activity),
        ("type_uid", class * 100 + activity),
    ] {
        event.insert(key.to_owned(), value.into());
    }
    if let (99, Some(other)) = (activity, other) {
        event.insert("activity_name".to_owned(), other.into());
    }
}

/// Without what is not known.
fn present(value: Value) -> Value {
    if let Value::Object(fields) = value {
        return Value::Object(fields.into_iter().filter(|(_, value)| !value.is_null()).collect());
    }
    value
}

/// JSON in which nothing moves a terminal's cursor: outside of its strings there is nothing of the kind.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        if c.is_control() || super::is_format(c) {
            for unit in c.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                if write!(text, "\\u{unit:04x}").is_err() {
                    text.clear();
                }
            }
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
#[path = "ocsf_tests.rs"]
mod tests;
