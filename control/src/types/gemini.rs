//! Gemini: `x-goog-api-key`; a `key` parameter of the agent's goes.

use super::read::{DELETE, Line, POST, READ, Segments, WRITE, by_table, is_read};
use super::shapes::{API_KEY, BY_RULES, ok};
use super::{Actions, Ask, AuthSpec, InjectionSpec, Resolved, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "gemini",
    summary: "Google's Gemini API: `x-goog-api-key` on generativelanguage.googleapis.com; the agent's `?key=` is removed.",
    hosts: &["generativelanguage.googleapis.com"],
    auth: &[AuthSpec {
        injections: &[InjectionSpec {
            hosts: &[],
            key: "header",
            fields: &[("header", "x-goog-api-key"), ("template", "{{token}}")],
        }],
        public_prefixes: &["AIza"],
        remove_headers: &["authorization"],
        remove_params: &["key", "access_token", "oauth_token"],
        dummy: "AIza{rand:35}",
        env: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        ..API_KEY
    }],
    actions: Actions::Listed(&[
        "models:read",
        "content:create",
        "tokens:count",
        "embeddings:create",
        "images:create",
        "videos:create",
        "batches:create",
        "batches:read",
        "batches:write",
        "files:read",
        "files:write",
        "caches:read",
        "caches:write",
        "operations:read",
        "operations:write",
        "tuning:read",
        "tuning:write",
        "stores:read",
        "stores:write",
        "live:connect",
        "chat:create",
    ]),
    verify: Some(ok("https://generativelanguage.googleapis.com/v1beta/models?pageSize=1")),
    resolve,
    ..BY_RULES
};

/// Paths behind `/v1` or `/v1beta`.
const TABLE: &[Line] = &[
    Line(READ, "models", "models:read"),
    Line(READ, "models/*", "models:read"),
    Line(READ, "models/*/operations/**", "operations:read"),
    Line(READ, "files/**", "files:read"),
    Line(WRITE, "files/**", "files:write"),
    Line(READ, "cachedContents/**", "caches:read"),
    Line(WRITE, "cachedContents/**", "caches:write"),
    Line(READ, "operations/**", "operations:read"),
    Line(WRITE, "operations/**", "operations:write"),
    Line(READ, "batches/**", "batches:read"),
    Line(WRITE, "batches/**", "batches:write"),
    Line(READ, "tunedModels/**", "tuning:read"),
    Line(POST, "tunedModels", "tuning:write"),
    Line(DELETE, "tunedModels/*", "tuning:write"),
    Line(READ, "fileSearchStores/**", "stores:read"),
    Line(WRITE, "fileSearchStores/**", "stores:write"),
    Line(POST, "openai/chat/completions", "chat:create"),
    Line(POST, "openai/embeddings", "embeddings:create"),
    Line(READ, "openai/models/**", "models:read"),
];

/// Custom verbs behind `models/NAME:` and `tunedModels/NAME:`.
const VERBS: &[(&str, &str)] = &[
    ("generateContent", "content:create"),
    ("streamGenerateContent", "content:create"),
    ("countTokens", "tokens:count"),
    ("embedContent", "embeddings:create"),
    ("batchEmbedContents", "embeddings:create"),
    ("asyncBatchEmbedContent", "batches:create"),
    ("batchGenerateContent", "batches:create"),
    ("predict", "images:create"),
    ("predictLongRunning", "videos:create"),
];

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let segments = Segments::of(ask.path);
    if segments.is(0, "upload") && segments.is_any(1, &["v1", "v1beta"]) && segments.is(2, "files") {
        return Resolved::free("files:write");
    }
    if segments.is(0, "ws") {
        return if is_read(ask.method) { Resolved::free("live:connect") } else { Resolved::unknown() };
    }
    if !segments.is_any(0, &["v1", "v1beta", "v1alpha"]) {
        return Resolved::unknown();
    }
    if segments.len() == 3
        && segments.is_any(1, &["models", "tunedModels"])
        && let Some((_, verb)) = segments.at(2).split_once(':')
    {
        let known = VERBS.iter().find(|(name, _)| name.eq_ignore_ascii_case(verb));
        return match known {
            Some((_, action)) if *ask.method == http::Method::POST => Resolved::free(action),
            Some(_) | None => Resolved::unknown(),
        };
    }
    by_table(ask.method, &segments.skip(1), TABLE)
}
