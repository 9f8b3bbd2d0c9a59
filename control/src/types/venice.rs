//! Venice: OpenAI's API behind `/api/v1`, and its own image and account calls.

use super::openai::{BEARER, TABLE};
use super::read::{Line, POST, READ, Segments, WRITE, by_table};
use super::{Actions, Ask, AuthSpec, Resolved, TypeSpec, UNKNOWN, VerifySpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "venice",
    summary: "Venice: `Authorization: Bearer` on api.venice.ai.",
    hosts: &["api.venice.ai"],
    auth: &[AuthSpec {
        name: "api-key",
        keys: &["api-key", "token"],
        injections: BEARER,
        public_prefixes: &[],
        remove_headers: &["x-api-key"],
        remove_params: &[],
        dummy: "{rand:43}",
        env: &["VENICE_API_KEY"],
    }],
    actions: Actions::Listed(&[
        "models:read",
        "chat:create",
        "responses:create",
        "completions:create",
        "embeddings:create",
        "images:create",
        "audio:create",
        "videos:create",
        "characters:read",
        "account:read",
        "admin:read",
        "admin:write",
    ]),
    scope: None,
    verify: Some(VerifySpec { method: "GET", url: "https://api.venice.ai/api/v1/models", expect: 200 }),
    resolve,
};

const OWN: &[Line] = &[
    Line(POST, "image/*", "images:create"),
    Line(READ, "image/styles", "models:read"),
    Line(POST, "video/**", "videos:create"),
    Line(READ, "characters/**", "characters:read"),
    Line(READ, "billing/**", "account:read"),
    Line(READ, "api_keys/rate_limits/**", "account:read"),
    Line(READ, "api_keys/**", "admin:read"),
    Line(WRITE, "api_keys/**", "admin:write"),
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
