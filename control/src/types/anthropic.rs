//! Anthropic: `x-api-key`; the SDKs' own `Authorization` goes, or the two credentials would contradict each other.

use super::read::{DELETE, Line, POST, READ, Segments, WRITE, by_table};
use super::shapes::{API_KEY, BY_RULES, ok};
use super::{Actions, Ask, AuthSpec, InjectionSpec, Resolved, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "anthropic",
    summary: "Anthropic: `x-api-key` on api.anthropic.com; the agent's `Authorization` is removed.",
    hosts: &["api.anthropic.com"],
    auth: &[AuthSpec {
        injections: &[InjectionSpec {
            hosts: &[],
            key: "header",
            fields: &[("header", "x-api-key"), ("template", "{{token}}")],
        }],
        public_prefixes: &["sk-ant-api03-", "sk-ant-admin01-", "sk-ant-"],
        remove_headers: &["authorization"],
        dummy: "sk-ant-api03-{rand:95}",
        env: &["ANTHROPIC_API_KEY"],
        ..API_KEY
    }],
    actions: Actions::Listed(&[
        "models:read",
        "messages:create",
        "messages:count",
        "completions:create",
        "batches:read",
        "batches:create",
        "batches:delete",
        "files:read",
        "files:write",
        "skills:read",
        "skills:write",
        "admin:read",
        "admin:write",
    ]),
    verify: Some(ok("https://api.anthropic.com/v1/models?limit=1")),
    resolve,
    ..BY_RULES
};

const TABLE: &[Line] = &[
    Line(READ, "models", "models:read"),
    Line(READ, "models/*", "models:read"),
    Line(POST, "messages", "messages:create"),
    Line(POST, "messages/count_tokens", "messages:count"),
    Line(READ, "messages/batches/**", "batches:read"),
    Line(POST, "messages/batches", "batches:create"),
    Line(POST, "messages/batches/*/cancel", "batches:delete"),
    Line(DELETE, "messages/batches/*", "batches:delete"),
    Line(POST, "complete", "completions:create"),
    Line(READ, "files/**", "files:read"),
    Line(WRITE, "files/**", "files:write"),
    Line(READ, "skills/**", "skills:read"),
    Line(WRITE, "skills/**", "skills:write"),
    Line(READ, "organizations/**", "admin:read"),
    Line(WRITE, "organizations/**", "admin:write"),
];

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let segments = Segments::of(ask.path);
    if segments.is(0, "v1") { by_table(ask.method, &segments.skip(1), TABLE) } else { Resolved::unknown() }
}
