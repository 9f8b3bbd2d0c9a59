//! Groq: OpenAI's API behind `/openai/v1`.

use super::compatible::{self, KEY, VENDOR};
use super::shapes::ok;
use super::{Actions, Ask, AuthSpec, Resolved, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "groq",
    summary: "Groq: `Authorization: Bearer` on api.groq.com.",
    hosts: &["api.groq.com"],
    auth: &[AuthSpec { public_prefixes: &["gsk_"], dummy: "gsk_{rand:52}", env: &["GROQ_API_KEY"], ..KEY }],
    actions: Actions::Listed(&[
        "models:read",
        "chat:create",
        "responses:create",
        "embeddings:create",
        "audio:create",
        "files:read",
        "files:write",
        "batches:read",
        "batches:write",
    ]),
    verify: Some(ok("https://api.groq.com/openai/v1/models")),
    resolve,
    ..VENDOR
};

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    compatible::resolve(ask, &SPEC, "openai/v1", &[])
}
