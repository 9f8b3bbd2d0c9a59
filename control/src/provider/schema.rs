//! The files' grammar as data: from this table follow validation, its messages, the JSON Schema and the reference.
//!
//! What a later release brings stands here too, so that it is refused by its name and never ignored.

use std::fmt;

use super::report::{Report, shown_key, suggestion};
use super::tree::{Node, Value};
use super::{config_schema, model_schema};
use crate::catalog::SchemeSpec;

/// What may stand in a place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Text,
    Bool,
    /// A whole number from 1.
    Count,
    Choice(&'static [&'static str]),
    List(&'static Self),
    /// These keys.
    Map(&'static [Field]),
    /// Any names as keys.
    Named(&'static Self),
    /// `auth`: these keys and those of the scheme table's auth types.
    Auth(&'static [Field]),
    /// An entry of `auth.inject`: these keys and those of the scheme table.
    Inject(&'static [Field]),
}

/// Whether a key has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    Optional,
    /// Known, but brought by a later release.
    Later,
}

/// A key of a map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) need: Need,
    pub(super) doc: &'static str,
}

pub(super) const fn required(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { name, shape, need: Need::Required, doc }
}

pub(super) const fn optional(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { name, shape, need: Need::Optional, doc }
}

const fn later(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { name, shape, need: Need::Later, doc }
}

pub(super) const TEXTS: Shape = Shape::List(&Shape::Text);

/// A kind of document.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) api_versions: &'static [&'static str],
    pub(super) fields: &'static [Field],
    pub(super) doc: &'static str,
}

/// Our own version of the files.
pub(super) const API_VERSION: &str = "doorward.dev/v1alpha1";

/// The kinds that files may hold.
pub(super) static KINDS: &[Kind] = &[
    Kind {
        name: "Provider",
        api_versions: &[API_VERSION, "pai.io/v1"],
        fields: PROVIDER,
        doc: "Where an agent may send requests, what it may do there, and how the credential is put on.",
    },
    Kind {
        name: "Agent",
        api_versions: &[API_VERSION],
        fields: AGENT,
        doc: "Which providers an agent of the token file may use. With no Agent document every agent has all.",
    },
    Kind {
        name: "ModelProvider",
        api_versions: &[API_VERSION, "pai.io/v1"],
        fields: MODEL_PROVIDER,
        doc: "A model vendor: the models that may be asked, and budgets of tokens. Works intercepted, and as a base URL.",
    },
];

const HEAD: [Field; 3] = [
    required("apiVersion", Shape::Text, "`doorward.dev/v1alpha1`."),
    required("kind", Shape::Text, "The kind of this document."),
    required("metadata", Shape::Map(METADATA), "Its name and project."),
];

const PROVIDER: &[Field] = &[HEAD[0], HEAD[1], HEAD[2], required("spec", Shape::Map(SPEC), "What it is.")];
const AGENT: &[Field] =
    &[HEAD[0], HEAD[1], HEAD[2], required("spec", Shape::Map(AGENT_SPEC), "What it may use.")];
const MODEL_PROVIDER: &[Field] =
    &[HEAD[0], HEAD[1], HEAD[2], required("spec", Shape::Map(model_schema::SPEC), "What it is.")];

const METADATA: &[Field] = &[
    required("name", Shape::Text, "A DNS label style name, unique in its project."),
    optional("namespace", Shape::Text, "The project; `default` where it is left out."),
    optional("labels", Shape::Named(&Shape::Text), "For people and tools; not read."),
    optional("annotations", Shape::Named(&Shape::Text), "For people and tools; not read."),
];

const AGENT_SPEC: &[Field] = &[
    required("providers", TEXTS, "The names of the providers that the agent may use, of its own project."),
    optional("modelProviders", TEXTS, "The names of the model providers that the agent may use."),
    later(
        "env",
        Shape::List(&Shape::Named(&Shape::Text)),
        "Environment entries; `secretRef` needs a vault and an attachment.",
    ),
];

const SPEC: &[Field] = &[
    required("type", Shape::Text, "A built-in type, or `http-token` for anything else."),
    optional("host", Shape::Text, "One host; `host:port` for another port than 443."),
    optional("hosts", TEXTS, "Several hosts: exact, or `*.x` for one or more whole labels in front of x."),
    optional(
        "auth",
        Shape::Auth(AUTH),
        "The credential. Without it the hosts are allowed and nothing is injected.",
    ),
    optional("config", Shape::Map(config_schema::CONFIG), "Settings of the cloud types."),
    optional(
        "policy",
        Shape::Map(POLICY),
        "What may be done. With neither `allow` nor `httpRules`: everything.",
    ),
    optional(
        "scope",
        Shape::Map(SCOPE),
        "What it may be done to; out of scope is refused even if the action is allowed.",
    ),
    optional("limits", Shape::Map(LIMITS), "Rate and time limits."),
    optional("request", Shape::Map(REQUEST), "What is done to requests."),
    optional("response", Shape::Map(RESPONSE), "What is done to answers."),
    optional("tls", Shape::Map(TLS), "What happens inside the tunnel, and how the upstream is verified."),
    optional(
        "network",
        Shape::Map(NETWORK),
        "Addresses that are refused by default and that this provider needs.",
    ),
    optional("audit", Shape::Map(AUDIT), "What is recorded, and whether violations are refused."),
    optional(
        "tests",
        Shape::List(&Shape::Map(TEST)),
        "Requests with the expected verdict, run by `doorward check`.",
    ),
    optional("mcp", Shape::Map(MCP), "mcp: where the server is."),
    later(
        "env",
        Shape::List(&Shape::Named(&Shape::Text)),
        "Environment entries; `secretRef` needs a vault and an attachment.",
    ),
];

const MCP: &[Field] = &[
    required(
        "url",
        Shape::Text,
        "The server's URL; its host is the provider's, and only its path is let through.",
    ),
    optional(
        "transport",
        Shape::Choice(&["streamable-http", "sse"]),
        "`streamable-http` where it is left out; with `sse` messages may go to any path in the folder of the URL, as the server tells.",
    ),
];

const AUTH: &[Field] = &[
    optional("type", Shape::Text, "How the credential is put on; the type's own where it is left out."),
    required("secretRef", Shape::Text, "The name of the secret. Never its value."),
    optional("secretKey", Shape::Text, "The secret's key; the default is the auth type's."),
    optional(
        "placeholder",
        Shape::Text,
        "The dummy that the agent holds, 8 characters or more; made by the type where it is left out.",
    ),
    optional("removeHeaders", TEXTS, "Agent headers that must not go upstream beside the injected one."),
    optional(
        "agentEnvVar",
        Shape::Text,
        "The variable that gets the dummy in the agent; the type's own where it is left out.",
    ),
    optional(
        "agentEnv",
        Shape::Named(&Shape::Map(AGENT_ENV)),
        "More variables, each with a dummy shaped as its library expects.",
    ),
    optional(
        "inject",
        Shape::List(&Shape::Inject(INJECT)),
        "Where the credential is put, by host; replaces the type's way.",
    ),
    optional(
        "onAgentCredential",
        Shape::Choice(&["replace", "placeholder-only", "reject"]),
        "What happens when the agent sends a credential of its own.",
    ),
    optional("verify", Shape::Map(VERIFY), "The call that tells whether the credential works."),
];

const AGENT_ENV: &[Field] = &[
    optional(
        "placeholder",
        Shape::Text,
        "The shape of the dummy, with `{rand:N}` or `{digits:N}`; the main dummy where it is left out.",
    ),
    later("secretRef", Shape::Text, "A real value in the agent's environment."),
];

const INJECT: &[Field] = &[optional(
    "hosts",
    TEXTS,
    "The hosts that this entry is for; all of the provider's where it is left out.",
)];

const VERIFY: &[Field] = &[
    optional("method", Shape::Text, "The method; `GET` where it is left out."),
    required("url", Shape::Text, "The URL, on a host of this provider."),
    optional("expect", Shape::Count, "The status of a credential that works; 200 where it is left out."),
];

const POLICY: &[Field] = &[
    optional(
        "httpRules",
        Shape::List(&Shape::Map(HTTP_RULE)),
        "The first match settles it; scope and limits still apply.",
    ),
    optional(
        "allow",
        TEXTS,
        "Actions of the type, with `*`; `[\"*\"]` allows everything, also what the type does not know.",
    ),
    optional("deny", TEXTS, "Actions of the type, with `*`; beats `allow`."),
    optional(
        "defaultAction",
        Shape::Choice(&["deny", "allow"]),
        "For actions that neither list names; deny where it is left out.",
    ),
    optional("mcp", Shape::Map(TOOLS), "mcp: the tools that may be called and are shown."),
];

const TOOLS: &[Field] = &[
    optional(
        "allowedTools",
        TEXTS,
        "Names of tools, with `*`; an empty list allows none, and without it all are allowed that are not denied.",
    ),
    optional(
        "deniedTools",
        TEXTS,
        "Names of tools, with `*`; beats `allowedTools`, and case does not matter.",
    ),
];

const HTTP_RULE: &[Field] = &[
    optional("id", Shape::Text, "The name that refusals and the audit show."),
    optional("methods", TEXTS, "Case-sensitive; `[\"*\"]` or none for any."),
    optional("paths", TEXTS, "Globs: `*` within a segment, `**` any number of segments; none for any path."),
    required(
        "effect",
        Shape::Choice(&["allow", "deny", "ask"]),
        "What happens; `ask` comes with a later release.",
    ),
    optional("reason", Shape::Text, "Shown to the agent when the rule denies."),
];

const SCOPE: &[Field] = &[
    optional(
        "repositories",
        TEXTS,
        "github: `owner/name`; docker-registry: `name`, `owner/name` or deeper; with `*` within any part.",
    ),
    optional("channels", TEXTS, "slack: channel ids."),
    optional(
        "resources",
        TEXTS,
        "aws: ARN patterns (`arn:aws:s3:::bucket/prefix/*`); the account is `*` where a request does not name one. On a host that is not AWS' own the path's first segment is the bucket.",
    ),
];

pub(super) const LIMITS: &[Field] = &[
    optional("requestsPerMinute", Shape::Count, "Requests in one minute, for each agent."),
    optional("timeout", Shape::Text, "From the request's end to the answer's head: `30s`, `2m`, `500ms`."),
];

const REQUEST: &[Field] = &[optional(
    "keepHeaders",
    TEXTS,
    "Agent headers that are removed by default and that this provider needs.",
)];

const RESPONSE: &[Field] = &[
    optional("redact", Shape::Bool, "Mask echoes of the credential; true where it is left out."),
    optional("stripHeaders", TEXTS, "Headers of answers that the agent does not get."),
    optional("smallRanges", Shape::Choice(&["allow"]), "Let ranges under 4 KiB through to the upstream."),
];

const TLS: &[Field] = &[
    optional(
        "mode",
        Shape::Choice(&["intercept", "passthrough", "plain"]),
        "`intercept` where it is left out; `passthrough` injects nothing; `plain` is `http://`, default port 80.",
    ),
    optional(
        "upstreamCA",
        Shape::Text,
        "A file of extra roots (PEM) for this provider, relative to this file.",
    ),
    optional(
        "clientCert",
        Shape::Map(&[required("secretRef", Shape::Text, "The secret with `tls.crt` and `tls.key` (PEM).")]),
        "The client certificate that the upstream is shown, beside whatever `auth` puts on requests.",
    ),
];

pub(super) const NETWORK: &[Field] = &[optional(
    "allowCIDRs",
    TEXTS,
    "Ranges that are refused by default and that this provider needs; never cloud metadata.",
)];

const AUDIT: &[Field] = &[
    optional("logRequests", Shape::Bool, "Record requests; true where it is left out."),
    optional(
        "enforcement",
        Shape::Choice(&["enforce", "audit"]),
        "`audit` logs violations and lets them pass.",
    ),
];

const TEST: &[Field] = &[
    required("request", Shape::Text, "`METHOD /path` or `METHOD https://host/path`."),
    required("expect", Shape::Choice(&["allow", "deny"]), "The verdict."),
    optional("rule", Shape::Text, "The id of the rule that has to settle it."),
];

/// Names of fields of auth types that a later release brings.
const LATER_AUTH_FIELDS: &[&str] = &["clientId", "appId", "installationId"];

/// Checks a value against its shape and reports every mistake below it.
pub(super) fn check(node: &Node, shape: Shape, name: &str, schemes: &[&SchemeSpec], report: &mut Report<'_>) {
    let wrong = |wanted: &dyn fmt::Display| format!("`{name}` has to be {wanted}, here is {}", node.kind());
    match (shape, &node.value) {
        (Shape::Text, Value::Text(_)) | (Shape::Bool, Value::Bool(_)) => {}
        (Shape::Text, Value::Bool(_) | Value::Int(_) | Value::Float) => {
            report.mistake(node.at, format!("{}; put it in quotes", wrong(&"text")));
        }
        (Shape::Text, _) => report.mistake(node.at, wrong(&"text")),
        (Shape::Bool, _) => report.mistake(node.at, wrong(&"true or false")),
        (Shape::Count, Value::Int(number)) if *number >= 1 => {}
        (Shape::Count, _) => report.mistake(node.at, wrong(&"a whole number from 1")),
        (Shape::Choice(words), Value::Text(text)) => {
            if !words.contains(&text.as_str()) {
                let hint = suggestion(text, words.iter().copied());
                report.mistake(node.at, format!("`{name}` has to be {}{hint}", one_of(words)));
            }
        }
        (Shape::Choice(words), _) => report.mistake(node.at, wrong(&one_of(words))),
        (Shape::List(inner), Value::List(items)) => {
            items.iter().for_each(|item| check(item, *inner, name, schemes, report));
        }
        (Shape::List(_), _) => report.mistake(node.at, wrong(&"a list")),
        (Shape::Map(fields), Value::Map(_)) => check_map(node, fields, &[], schemes, report),
        (Shape::Auth(fields), Value::Map(_)) => {
            check_map(node, fields, &auth_names(schemes), schemes, report)
        }
        (Shape::Inject(fields), Value::Map(_)) => {
            check_map(node, fields, &inject_names(schemes), schemes, report)
        }
        (Shape::Named(inner), Value::Map(entries)) => {
            no_duplicates(node, report);
            let filled = entries.iter().filter(|entry| !matches!(entry.node.value, Value::Null));
            filled.for_each(|entry| check_unless_null(&entry.node, *inner, &entry.key, schemes, report));
        }
        (Shape::Map(_) | Shape::Auth(_) | Shape::Inject(_) | Shape::Named(_), _) => {
            report.mistake(node.at, wrong(&"a map"))
        }
    }
}

/// A free key may be a value in the wrong place, so it is named only where it looks like a name.
fn check_unless_null(node: &Node, shape: Shape, key: &str, schemes: &[&SchemeSpec], report: &mut Report<'_>) {
    let name = if shown_key(key).is_empty() { "the value" } else { key };
    // A name with nothing behind it: for a single value it is left out, but an emptied list or block would mean the
    // opposite of what stood there (`allow:` without its entries would allow everything).
    let single =
        matches!(shape, Shape::Text | Shape::Bool | Shape::Count | Shape::Choice(_) | Shape::Named(_));
    match node.value {
        Value::Null if single => {}
        Value::Null => {
            report.mistake(node.at, format!("`{name}` has nothing in it: fill it, or leave it out"))
        }
        Value::Bool(_) | Value::Int(_) | Value::Float | Value::Text(_) | Value::List(_) | Value::Map(_) => {
            check(node, shape, name, schemes, report);
        }
    }
}

fn one_of(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
}

pub(super) fn auth_names(schemes: &[&SchemeSpec]) -> Vec<&'static str> {
    schemes.iter().flat_map(|scheme| scheme.auth_fields).map(|field| field.name).collect()
}

pub(super) fn inject_names(schemes: &[&SchemeSpec]) -> Vec<&'static str> {
    let keys = schemes.iter().filter_map(|scheme| scheme.inject_key);
    keys.chain(schemes.iter().flat_map(|scheme| scheme.inject_fields).map(|field| field.name)).collect()
}

/// `also`: keys that are known and checked by whoever builds from them.
fn check_map(
    node: &Node,
    fields: &'static [Field],
    also: &[&str],
    schemes: &[&SchemeSpec],
    report: &mut Report<'_>,
) {
    no_duplicates(node, report);
    for entry in node.entries() {
        match fields.iter().find(|field| field.name == entry.key) {
            Some(field) if field.need == Need::Later => {
                report.mistake(entry.at, format!("`{}` comes with a later release", field.name));
            }
            Some(field) => check_unless_null(&entry.node, field.shape, field.name, schemes, report),
            None if also.contains(&entry.key.as_str()) => {}
            None if !also.is_empty() && LATER_AUTH_FIELDS.contains(&entry.key.as_str()) => {
                report.mistake(entry.at, format!("`{}` comes with a later release", entry.key));
            }
            None => {
                let known = fields.iter().map(|field| field.name).chain(also.iter().copied());
                let hint = suggestion(&entry.key, known);
                report.mistake(entry.at, format!("unknown field{}{hint}", shown_key(&entry.key)));
            }
        }
    }
    for field in fields.iter().filter(|field| field.need == Need::Required) {
        if node.field(field.name).is_none() {
            report.mistake(node.at, format!("`{}` is missing", field.name));
        }
    }
}

pub(super) fn no_duplicates(node: &Node, report: &mut Report<'_>) {
    let entries = node.entries();
    for (index, entry) in entries.iter().enumerate() {
        if let Some(first) = entries.iter().take(index).find(|other| other.key == entry.key) {
            let line = first.at.line;
            report.mistake(
                entry.at,
                format!("the key{} stands here twice, first in line {line}", shown_key(&entry.key)),
            );
        }
    }
}
