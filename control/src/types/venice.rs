//! Venice: OpenAI's API behind `/api/v1`, and its own image and account calls.

use super::compatible::{self, KEY, VENDOR};
use super::read::{Line, POST, READ, WRITE};
use super::shapes::ok;
use super::{Actions, Ask, AuthSpec, Resolved, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "venice",
    summary: "Venice: `Authorization: Bearer` on api.venice.ai.",
    hosts: &["api.venice.ai"],
    auth: &[AuthSpec { dummy: "{rand:43}", env: &["VENICE_API_KEY"], ..KEY }],
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
    verify: Some(ok("https://api.venice.ai/api/v1/models")),
    resolve,
    ..VENDOR
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
    compatible::resolve(ask, &SPEC, "api/v1", OWN)
}
