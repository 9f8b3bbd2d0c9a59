//! The keys of a provider's and an agent's document, with what each means.

use super::super::{config_schema, model_schema};
use super::{Field, Shape, TEXTS, later, optional, required};

const HEAD: [Field; 3] = [
    required("apiVersion", Shape::Text, "`doorward.dev/v1alpha1`."),
    required("kind", Shape::Text, "The kind of this document."),
    required("metadata", Shape::Map(METADATA), "Its name and project."),
];

pub(super) const PROVIDER: &[Field] =
    &[HEAD[0], HEAD[1], HEAD[2], required("spec", Shape::Map(SPEC), "What it is.")];
pub(super) const AGENT: &[Field] =
    &[HEAD[0], HEAD[1], HEAD[2], required("spec", Shape::Map(AGENT_SPEC), "What it may use.")];
pub(super) const MODEL_PROVIDER: &[Field] =
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
        "What happens; `ask` lets through what a person has approved: `doorward get asks`.",
    ),
    optional("reason", Shape::Text, "Shown to the agent when the rule denies."),
    optional("ask", Shape::Map(ASK), "How `effect: ask` asks."),
];

const ASK: &[Field] = &[
    optional(
        "hold",
        Shape::Text,
        "How long a request waits for the answer before it is refused, at most `5m`; without it, it is refused at once and may be sent again.",
    ),
    optional(
        "preview",
        Shape::Bool,
        "`true`: who may approve sees the first 4 KiB of the body, while the question is open.",
    ),
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

pub(in crate::provider) const LIMITS: &[Field] = &[
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

pub(in crate::provider) const NETWORK: &[Field] = &[optional(
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
    required("expect", Shape::Choice(&["allow", "deny", "ask"]), "The verdict."),
    optional("rule", Shape::Text, "The id of the rule that has to settle it."),
];
