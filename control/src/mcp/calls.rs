//! What an agent's message, or batch of them, asks an MCP server to do.
//!
//! Refuses members that JSON-RPC does not have (some parsers do not mind the case of keys), ids that are no id, names of
//! tools that hold spaces or control characters, batches in batches, and headers that tell a router something else.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

use super::{Fault, json};
use crate::types::UNKNOWN;

/// The most messages of one batch.
const MOST: usize = 100;

/// The longest name of a tool.
const LONGEST_NAME: usize = 256;

/// What messages can do: groups as `session/*` are for policies.
pub const ACTIONS: &[&str] = &[
    "session/initialize",
    "session/discover",
    "session/ping",
    "session/notify",
    "session/answer",
    "session/stream",
    "session/close",
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "tasks/list",
    "tasks/get",
    "tasks/result",
    "tasks/update",
    "tasks/cancel",
];

/// Methods with another name as an action.
const RENAMED: &[(&str, &str)] = &[
    ("initialize", "session/initialize"),
    ("server/discover", "session/discover"),
    ("ping", "session/ping"),
    ("subscriptions/listen", "session/stream"),
    ("notifications/initialized", "session/notify"),
    ("notifications/cancelled", "session/notify"),
    ("notifications/progress", "session/notify"),
    ("notifications/roots/list_changed", "session/notify"),
    ("notifications/elicitation/complete", "session/notify"),
    ("notifications/tasks/status", "session/notify"),
];

/// The messages of one request, in their order; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    list: Vec<Call>,
    is_batch: bool,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    action: &'static str,
    method: Option<String>,
    id: Option<Id>,
    name: Option<String>,
}

/// A message's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// A string.
    Text(String),
    /// A whole number.
    Number(i64),
}

impl Id {
    /// As JSON.
    pub fn json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Number(number) => (*number).into(),
        }
    }
}

impl Call {
    /// What it does.
    pub fn action(&self) -> &'static str {
        self.action
    }

    /// The tool that it calls.
    pub fn tool(&self) -> Option<&str> {
        self.name.as_deref().filter(|_| self.action == "tools/call")
    }

    /// Its id, where the sender waits for an answer.
    pub fn waits(&self) -> Option<&Id> {
        self.id.as_ref().filter(|_| self.method.is_some())
    }
}

impl Calls {
    /// Reads a body. Every message is read before anything is said of one.
    ///
    /// # Errors
    /// When it can be read in more than one way, or in none.
    pub fn read(body: &str, headers: &HeaderMap) -> Result<Self, Fault> {
        json::check(body)?;
        let (list, is_batch) = match json::items(body) {
            Some(items) if items.len() > MOST => return Err(Fault::Many),
            Some(items) => (items.into_iter().map(message).collect::<Result<Vec<_>, _>>()?, true),
            None => (vec![message(body)?], false),
        };
        if list.is_empty() {
            return Err(Fault::NotRpc);
        }
        let calls = Self { list, is_batch };
        calls.agree(headers)?;
        Ok(calls)
    }

    /// The messages.
    pub fn iter(&self) -> impl Iterator<Item = &Call> {
        self.list.iter()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Whether they came as a batch.
    pub fn is_batch(&self) -> bool {
        self.is_batch
    }

    /// The tools that are called.
    pub fn tools(&self) -> impl Iterator<Item = &str> {
        self.list.iter().filter_map(Call::tool)
    }

    /// Whether some method is none of the protocol's.
    pub fn has_unknown(&self) -> bool {
        self.list.iter().any(|call| call.action == UNKNOWN)
    }

    /// Since 2026-07-28 headers repeat method and name for routers on the way; a server may trust either.
    fn agree(&self, headers: &HeaderMap) -> Result<(), Fault> {
        let spelled = |name: &str, wanted: &str| {
            name.len() == wanted.len()
                && name
                    .bytes()
                    .zip(wanted.bytes())
                    .all(|(a, b)| a == b || (b == b'-' && matches!(a, b'_' | b'.')))
        };
        for (name, value) in headers {
            let said = if spelled(name.as_str(), "mcp-method") {
                self.single().and_then(|call| call.method.as_deref())
            } else if spelled(name.as_str(), "mcp-name") {
                match self.single() {
                    Some(Call { name: None, .. }) => continue,
                    call => call.and_then(|call| call.name.as_deref()),
                }
            } else {
                continue;
            };
            if said.is_none() || plain(value.as_bytes()).as_deref() != said.map(str::as_bytes) {
                return Err(Fault::Headers);
            }
        }
        Ok(())
    }

    fn single(&self) -> Option<&Call> {
        self.list.first().filter(|_| !self.is_batch)
    }
}

/// What a header's value means: `=?base64?…?=` holds what is no plain text. `None`: it is such a form, and damaged.
fn plain(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    match value.strip_prefix(b"=?base64?").and_then(|rest| rest.strip_suffix(b"?=")) {
        Some(coded) => STANDARD.decode(coded).ok().map(Cow::Owned),
        None => Some(Cow::Borrowed(value)),
    }
}

fn message(text: &str) -> Result<Call, Fault> {
    if !json::is_object(text) {
        return Err(Fault::NotRpc);
    }
    let members = json::members(text).ok_or(Fault::NotRpc)?;
    const KNOWN: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
    if members.iter().any(|(key, _)| !KNOWN.contains(&key.as_str())) {
        return Err(Fault::NotRpc);
    }
    let member = |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
    if member("jsonrpc").and_then(json::string).as_deref() != Some("2.0") {
        return Err(Fault::NotRpc);
    }
    let id = member("id").map(id).transpose()?;
    let outcomes = usize::from(member("result").is_some()) + usize::from(member("error").is_some());
    let Some(method) = member("method") else {
        let is_answer = outcomes == 1 && id.is_some() && member("params").is_none();
        let answer = Call { action: "session/answer", method: None, id, name: None };
        return is_answer.then_some(answer).ok_or(Fault::NotRpc);
    };
    let method = json::string(method).filter(|_| outcomes == 0).ok_or(Fault::NotRpc)?;
    let params = match member("params") {
        Some(params) if json::is_object(params) => json::members(params).ok_or(Fault::NotRpc)?,
        Some(_) => return Err(Fault::NotRpc),
        None => Vec::new(),
    };
    let name = subject(&method, &params)?;
    Ok(Call { action: action(&method), method: Some(method), id, name })
}

fn id(text: &str) -> Result<Id, Fault> {
    match json::string(text) {
        Some(text) => Ok(Id::Text(text)),
        None => serde_json::from_str(text).map(Id::Number).map_err(|_| Fault::NotRpc),
    }
}

fn action(method: &str) -> &'static str {
    if let Some((_, action)) = RENAMED.iter().find(|(own, _)| *own == method) {
        return action;
    }
    let is_own = |action: &&&'static str| **action == method && !action.starts_with("session/");
    ACTIONS.iter().find(is_own).copied().unwrap_or(UNKNOWN)
}

/// What the message is about: the tool or prompt by its name, the resource by its URI.
fn subject(method: &str, params: &[(String, &str)]) -> Result<Option<String>, Fault> {
    let member =
        |name: &str| params.iter().find(|(key, _)| key == name).and_then(|(_, text)| json::string(text));
    match method {
        "tools/call" => {
            // Some parsers do not mind the case of keys, and take the last.
            if params.iter().any(|(key, _)| key != "name" && json::is_like(key, "name")) {
                return Err(Fault::NoTool);
            }
            member("name").filter(|name| is_plain(name)).map(Some).ok_or(Fault::NoTool)
        }
        "prompts/get" => Ok(member("name")),
        "resources/read" => Ok(member("uri")),
        _ => Ok(None),
    }
}

/// A name that nobody trims or cuts.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !name.chars().any(|c| c.is_control() || c.is_whitespace() || is_invisible(c))
}

/// Characters that show nothing, which servers may drop.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}' | '\u{e0000}'..='\u{e0fff}')
}
