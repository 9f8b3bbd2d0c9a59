//! The fields of an audit line, in one list, and the entry that they are written from.
//!
//! Nothing here can hold a header value, a query, a body or a token: the entry has no place for them (STYLE rule 23).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::mcp::{Call, Calls};
use crate::refusal::Code;
use crate::secret::SecretName;
use crate::target::Target;

/// Every key of a line, in the order in which it is written. `tracing` events use the same names.
pub const FIELDS: [&str; 24] = [
    "ts",
    "seq",
    "prev",
    "kind",
    "conn",
    "req",
    "agent",
    "provider",
    "rule",
    "scheme",
    "secret",
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
    "elapsed_us",
    "revision",
    "hash",
];

/// The keys that a line has beside, before `revision`, if the request asked a model; the figures are the vendor's, or rather
/// too high where the answer was cut before it said them.
pub const MODEL_FIELDS: [&str; 4] = ["model", "tokens_in", "tokens_out", "cost_micros"];

/// The keys that a line has beside, before `revision`, if the request had messages for an MCP server: what they do, and the
/// tools that they call.
pub const MCP_FIELDS: [&str; 2] = ["mcp_method", "mcp_tool"];

/// The key that a line has beside, after `agent`, for calls of the control API: the id of the API token.
pub const TOKEN_FIELD: &str = "token";

/// What the messages of a request asked of an MCP server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McpUse {
    /// Their methods, as actions of the policy; several are parted by spaces.
    pub methods: Box<str>,
    /// The tools that they call, parted by spaces; `None`: none.
    pub tools: Option<Box<str>>,
}

impl McpUse {
    /// The most names that are shown of a batch.
    const NAMES: usize = 16;

    /// What these messages ask. A tool's name is the agent's text: one that is no plain name is shown as `?`.
    pub fn of(calls: &Calls) -> Self {
        let is_plain = |tool: &str| {
            tool.len() <= 128 && tool.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/@".contains(&b))
        };
        let tools = joined(calls.tools().map(|tool| if is_plain(tool) { tool } else { "?" }));
        Self { methods: joined(calls.iter().map(Call::action)), tools: (!tools.is_empty()).then_some(tools) }
    }
}

/// Each name once, in the order in which they came.
fn joined<'a>(names: impl Iterator<Item = &'a str>) -> Box<str> {
    let mut shown: Vec<&str> = Vec::new();
    for name in names {
        if shown.contains(&name) {
            continue;
        }
        if shown.len() == McpUse::NAMES {
            shown.push("...");
            break;
        }
        shown.push(name);
    }
    shown.join(" ").into()
}

/// The key that a line has beside, after `secret`, where a client certificate stood beside another scheme.
pub const CERTIFICATE_FIELD: &str = "client_cert";

/// The key that a line has beside, before `revision`, where a person's approval let the request out: its id.
pub const APPROVAL_FIELD: &str = "approval";

/// The key that a line of an exchange has beside, after `secret`, where the token opens a part of what the secret does: a
/// repository with what may be done to it, or a session's name.
pub const PART_FIELD: &str = "part";

/// What a request to a model used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelUse {
    /// The model, where it was read and its name is one.
    pub model: Option<Arc<str>>,
    /// What the model was given.
    pub tokens_in: u64,
    /// What it generated.
    pub tokens_out: u64,
    /// What it cost, in millionths of a dollar, where the vendor says so.
    pub cost_micros: Option<u64>,
}

/// What a line tells of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A request that has ended, or a refusal before one could be read.
    #[default]
    Request,
    /// A request that has begun: written before the secret's use, or when it lasts.
    Open,
    /// A tunnel that ended, or was refused.
    Connect,
    /// A stored secret that was exchanged for a token, for whichever requests wait for it.
    Exchange,
    /// A call of the control API that changed something, or was refused.
    Control,
    /// Start, stop, reload.
    Lifecycle,
    /// Closes a torn line.
    Recovered,
}

impl Kind {
    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Open => "open",
            Self::Connect => "connect",
            Self::Exchange => "exchange",
            Self::Control => "control",
            Self::Lifecycle => "lifecycle",
            Self::Recovered => "recovered",
        }
    }
}

/// How it was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let through.
    Allow,
    /// Refused.
    Deny,
    /// Let through although a rule denies it (`enforcement: audit`).
    WouldDeny,
    /// Let through, and failed on the way.
    Error,
}

impl Verdict {
    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::WouldDeny => "would-deny",
            Self::Error => "error",
        }
    }
}

/// Which request of which connection: `conn` of the line, and `req` as `CONN-NUMBER`, the `Doorward-Request-Id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// The connection: drawn at random when it is accepted, so that ids do not repeat after a restart.
    pub conn: u64,
    /// The request in it, from 1; 0 stands for the connection itself.
    pub number: u32,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.conn, self.number)
    }
}

/// What is recorded of one exchange. Clones are cheap. `seq`, `prev` and `hash` are the writer's.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When it began (`ts`).
    pub at: SystemTime,
    /// What the line tells of.
    pub kind: Kind,
    /// Which request (`conn`, `req`); `None` for lifecycle.
    pub id: Option<RequestId>,
    /// Who asked.
    pub agent: Option<Arc<str>>,
    /// The id of the API token that called, which is no secret.
    pub token: Option<Arc<str>>,
    /// The provider that covers the target.
    pub provider: Option<Arc<str>>,
    /// The rule that settled it, with its place.
    pub rule: Option<Arc<str>>,
    /// The auth scheme that put the credential on.
    pub scheme: Option<&'static str>,
    /// The secret that was used, by name.
    pub secret: Option<SecretName>,
    /// The secret of the client certificate that the upstream was shown, where it is not `secret` itself.
    pub client_cert: Option<SecretName>,
    /// The part of what the secret opens that a token was asked for.
    pub part: Option<Arc<str>>,
    /// The method.
    pub method: Option<http::Method>,
    /// Where it went (`host`, `port`).
    pub target: Option<Target>,
    /// The canonical path, without the query.
    pub path: Option<Arc<str>>,
    /// How it was decided.
    pub verdict: Option<Verdict>,
    /// The code of a refusal or error.
    pub code: Option<Code>,
    /// One sentence; a refusal's detail.
    pub reason: Cow<'static, str>,
    /// The status that the agent got; 0: none.
    pub status: u16,
    /// Body bytes from the agent.
    pub bytes_in: u64,
    /// Body bytes to the agent.
    pub bytes_out: u64,
    /// From its begin to its end.
    pub elapsed: Duration,
    /// What a request to a model used.
    pub model: Option<Box<ModelUse>>,
    /// What was asked of an MCP server.
    pub mcp: Option<Box<McpUse>>,
    /// The approval that let it out, where a rule asks for one.
    pub approval: Option<Arc<str>>,
    /// The version of the secret that was used; in lifecycle lines, the plan's.
    pub revision: Option<u64>,
}

impl Entry {
    /// An entry that says nothing yet.
    pub fn new(kind: Kind, at: SystemTime) -> Self {
        Self {
            at,
            kind,
            id: None,
            agent: None,
            token: None,
            provider: None,
            rule: None,
            scheme: None,
            secret: None,
            client_cert: None,
            part: None,
            method: None,
            target: None,
            path: None,
            verdict: None,
            code: None,
            reason: Cow::Borrowed(""),
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            elapsed: Duration::ZERO,
            model: None,
            mcp: None,
            approval: None,
            revision: None,
        }
    }
}
