//! OpenRouter: OpenAI's API behind `/api/v1`, and its own account calls.

use super::compatible::{self, KEY, VENDOR};
use super::read::{Line, POST, READ, WRITE};
use super::shapes::ok;
use super::{Actions, Ask, AuthSpec, Resolved, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "openrouter",
    summary: "OpenRouter: `Authorization: Bearer` on openrouter.ai.",
    hosts: &["openrouter.ai"],
    auth: &[AuthSpec {
        public_prefixes: &["sk-or-v1-", "sk-or-"],
        dummy: "sk-or-v1-{rand:64}",
        env: &["OPENROUTER_API_KEY"],
        ..KEY
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
    verify: Some(ok("https://openrouter.ai/api/v1/key")),
    resolve,
    ..VENDOR
};

const OWN: &[Line] = &[
    Line(POST, "messages", "messages:create"),
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
    compatible::resolve(ask, &SPEC, "api/v1", OWN)
}
