//! vLLM's server: OpenAI's API behind `/v1`, and its own calls beside it.
//!
//! Its development calls (weights, adapters, sleep, RPC to the workers) change what everybody is served, so they are
//! `admin:write`.

use super::compatible::{self, KEY, VENDOR};
use super::read::{Line, POST, READ, Segments, WRITE, by_table};
use super::shapes::ok;
use super::{Actions, Ask, AuthSpec, Resolved, TypeSpec, UNKNOWN};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "vllm",
    summary: "A vLLM server on a host of your own: `Authorization: Bearer` with its `--api-key`.",
    auth: &[AuthSpec { dummy: "sk-{rand:48}", env: &["OPENAI_API_KEY"], ..KEY }],
    actions: Actions::Listed(&[
        "models:read",
        "chat:create",
        "messages:create",
        "responses:create",
        "responses:read",
        "completions:create",
        "embeddings:create",
        "scores:create",
        "audio:create",
        "realtime:connect",
        "tokens:count",
        "server:read",
        "admin:write",
    ]),
    verify: Some(ok("https://{host}/v1/models")),
    resolve,
    ..VENDOR
};

/// Behind `/v1`.
const OWN: &[Line] = &[
    Line(POST, "messages", "messages:create"),
    Line(POST, "messages/count_tokens", "tokens:count"),
    Line(POST, "score", "scores:create"),
    Line(POST, "rerank", "scores:create"),
    Line(POST, "load_lora_adapter", "admin:write"),
    Line(POST, "unload_lora_adapter", "admin:write"),
];

/// At the root.
const ROOT: &[Line] = &[
    Line(READ, "health", "server:read"),
    Line(READ, "ping", "server:read"),
    Line(READ, "version", "server:read"),
    Line(READ, "load", "server:read"),
    Line(READ, "metrics", "server:read"),
    Line(POST, "tokenize", "tokens:count"),
    Line(POST, "detokenize", "tokens:count"),
    Line(POST, "pooling", "embeddings:create"),
    Line(POST, "classify", "scores:create"),
    Line(POST, "score", "scores:create"),
    Line(POST, "rerank", "scores:create"),
    Line(POST, "v2/rerank", "scores:create"),
    Line(READ, "is_sleeping", "server:read"),
    Line(WRITE, "sleep", "admin:write"),
    Line(WRITE, "wake_up", "admin:write"),
    Line(WRITE, "reset_prefix_cache", "admin:write"),
    Line(WRITE, "reset_mm_cache", "admin:write"),
    Line(WRITE, "collective_rpc", "admin:write"),
    Line(WRITE, "update_weights", "admin:write"),
    Line(WRITE, "start_profile", "admin:write"),
    Line(WRITE, "stop_profile", "admin:write"),
];

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let root = by_table(ask.method, &Segments::of(ask.path), ROOT);
    if root.action == UNKNOWN { compatible::resolve_versioned(ask, &SPEC, OWN) } else { root }
}
