//! OpenRouter: OpenAI's API behind `/api/v1`, and its own account calls.

use super::openai::{BEARER, TABLE};
use super::read::{Line, READ, Segments, WRITE, by_table};
use super::{Actions, Ask, AuthSpec, Resolved, TypeSpec, UNKNOWN, VerifySpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "openrouter",
    summary: "OpenRouter: `Authorization: Bearer` on openrouter.ai.",
    hosts: &["openrouter.ai"],
    auth: &[AuthSpec {
        name: "api-key",
        keys: &["api-key", "token"],
        injections: BEARER,
        public_prefixes: &["sk-or-v1-", "sk-or-"],
        remove_headers: &["x-api-key"],
        remove_params: &[],
        dummy: "sk-or-v1-{rand:64}",
        env: &["OPENROUTER_API_KEY"],
    }],
    actions: Actions::Listed(&[
        "models:read",
        "chat:create",
        "responses:create",
        "completions:create",
        "embeddings:create",
        "messages:create",
        "generation:read",
        "account:read",
        "admin:read",
        "admin:write",
    ]),
    scope: None,
    verify: Some(VerifySpec { method: "GET", url: "https://openrouter.ai/api/v1/key", expect: 200 }),
    resolve,
};

const OWN: &[Line] = &[
    Line(&[http::Method::POST], "messages", "messages:create"),
    Line(READ, "generation", "generation:read"),
    Line(READ, "key", "account:read"),
    Line(READ, "auth/key", "account:read"),
    Line(READ, "credits", "account:read"),
    Line(READ, "activity", "account:read"),
    Line(READ, "providers", "models:read"),
    Line(READ, "endpoints/**", "models:read"),
    Line(READ, "keys/**", "admin:read"),
    Line(WRITE, "keys/**", "admin:write"),
    Line(WRITE, "auth/**", "admin:write"),
    Line(WRITE, "credits/**", "admin:write"),
];

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let segments = Segments::of(ask.path);
    if !(segments.is(0, "api") && segments.is(1, "v1")) {
        return Resolved::unknown();
    }
    let rest = segments.skip(2);
    let own = by_table(ask.method, &rest, OWN);
    let resolved = if own.action == UNKNOWN { by_table(ask.method, &rest, TABLE) } else { own };
    if SPEC.actions.names().iter().any(|name| *name == resolved.action) {
        resolved
    } else {
        Resolved::unknown()
    }
}
