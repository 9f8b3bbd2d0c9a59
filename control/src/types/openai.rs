//! OpenAI, and the table of its API that compatible vendors share.

use super::read::{DELETE, Line, POST, READ, Segments, WRITE, by_table};
use super::{Actions, Ask, AuthSpec, InjectionSpec, Resolved, TypeSpec, VerifySpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "openai",
    summary: "OpenAI: `Authorization: Bearer` on api.openai.com.",
    hosts: &["api.openai.com"],
    auth: &[AuthSpec {
        name: "api-key",
        keys: &["api-key", "token"],
        injections: BEARER,
        public_prefixes: &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-"],
        remove_headers: &["api-key", "x-api-key"],
        remove_params: &[],
        dummy: "sk-proj-{rand:48}",
        env: &["OPENAI_API_KEY"],
    }],
    actions: Actions::Listed(ACTIONS),
    scope: None,
    verify: Some(VerifySpec { method: "GET", url: "https://api.openai.com/v1/models", expect: 200 }),
    resolve,
};

/// `Authorization: Bearer`, on every host.
pub(super) const BEARER: &[InjectionSpec] = &[InjectionSpec {
    hosts: &[],
    key: "header",
    fields: &[("header", "authorization"), ("template", "Bearer {{token}}")],
}];

/// What the compatible vendors' requests can do.
pub(super) const ACTIONS: &[&str] = &[
    "models:read",
    "models:delete",
    "chat:create",
    "chat:read",
    "chat:update",
    "chat:delete",
    "responses:create",
    "responses:read",
    "responses:delete",
    "completions:create",
    "embeddings:create",
    "moderations:create",
    "images:create",
    "audio:create",
    "videos:read",
    "videos:create",
    "videos:delete",
    "files:read",
    "files:write",
    "batches:read",
    "batches:write",
    "fine-tuning:read",
    "fine-tuning:write",
    "vector-stores:read",
    "vector-stores:write",
    "assistants:read",
    "assistants:write",
    "threads:read",
    "threads:write",
    "conversations:read",
    "conversations:write",
    "containers:read",
    "containers:write",
    "evals:read",
    "evals:write",
    "realtime:connect",
    "admin:read",
    "admin:write",
];

/// Paths behind `/v1`.
pub(super) const TABLE: &[Line] = &[
    Line(READ, "models", "models:read"),
    Line(READ, "models/**", "models:read"),
    Line(DELETE, "models/*", "models:delete"),
    Line(POST, "chat/completions", "chat:create"),
    Line(POST, "chat/completions/*", "chat:update"),
    Line(READ, "chat/completions/**", "chat:read"),
    Line(DELETE, "chat/completions/*", "chat:delete"),
    Line(POST, "responses", "responses:create"),
    Line(POST, "responses/compact", "responses:create"),
    Line(POST, "responses/input_tokens", "responses:create"),
    Line(POST, "responses/*/cancel", "responses:create"),
    Line(READ, "responses/**", "responses:read"),
    Line(DELETE, "responses/*", "responses:delete"),
    Line(POST, "completions", "completions:create"),
    Line(POST, "embeddings", "embeddings:create"),
    Line(POST, "moderations", "moderations:create"),
    Line(POST, "images/*", "images:create"),
    Line(POST, "audio/*", "audio:create"),
    Line(READ, "videos/**", "videos:read"),
    Line(POST, "videos/**", "videos:create"),
    Line(DELETE, "videos/*", "videos:delete"),
    Line(READ, "files/**", "files:read"),
    Line(WRITE, "files/**", "files:write"),
    Line(WRITE, "uploads/**", "files:write"),
    Line(READ, "batches/**", "batches:read"),
    Line(WRITE, "batches/**", "batches:write"),
    Line(READ, "fine_tuning/**", "fine-tuning:read"),
    Line(WRITE, "fine_tuning/**", "fine-tuning:write"),
    Line(READ, "vector_stores/**", "vector-stores:read"),
    Line(POST, "vector_stores/*/search", "vector-stores:read"),
    Line(WRITE, "vector_stores/**", "vector-stores:write"),
    Line(READ, "assistants/**", "assistants:read"),
    Line(WRITE, "assistants/**", "assistants:write"),
    Line(READ, "threads/**", "threads:read"),
    Line(WRITE, "threads/**", "threads:write"),
    Line(READ, "conversations/**", "conversations:read"),
    Line(WRITE, "conversations/**", "conversations:write"),
    Line(READ, "containers/**", "containers:read"),
    Line(WRITE, "containers/**", "containers:write"),
    Line(READ, "evals/**", "evals:read"),
    Line(WRITE, "evals/**", "evals:write"),
    Line(READ, "realtime", "realtime:connect"),
    Line(POST, "realtime/**", "realtime:connect"),
    Line(READ, "organization/**", "admin:read"),
    Line(WRITE, "organization/**", "admin:write"),
    Line(READ, "projects/**", "admin:read"),
    Line(WRITE, "projects/**", "admin:write"),
];

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let segments = Segments::of(ask.path);
    if segments.is(0, "v1") { by_table(ask.method, &segments.skip(1), TABLE) } else { Resolved::unknown() }
}
