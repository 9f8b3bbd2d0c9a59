//! Mistral: OpenAI's API behind `/v1`, and its own agents, conversations, OCR and document libraries.

use super::compatible::{self, KEY, VENDOR};
use super::read::{Line, POST, READ, WRITE};
use super::shapes::ok;
use super::{Actions, Ask, AuthSpec, Resolved, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "mistral",
    summary: "Mistral: `Authorization: Bearer` on api.mistral.ai.",
    hosts: &["api.mistral.ai"],
    auth: &[AuthSpec { dummy: "{rand:32}", env: &["MISTRAL_API_KEY"], ..KEY }],
    actions: Actions::Listed(&[
        "models:read",
        "models:update",
        "models:delete",
        "chat:create",
        "completions:create",
        "embeddings:create",
        "moderations:create",
        "ocr:create",
        "audio:create",
        "audio:read",
        "audio:write",
        "agents:read",
        "agents:write",
        "conversations:read",
        "conversations:write",
        "libraries:read",
        "libraries:write",
        "files:read",
        "files:write",
        "batches:read",
        "batches:write",
        "fine-tuning:read",
        "fine-tuning:write",
    ]),
    verify: Some(ok("https://api.mistral.ai/v1/models")),
    resolve,
    ..VENDOR
};

const OWN: &[Line] = &[
    Line(POST, "fim/completions", "completions:create"),
    Line(POST, "chat/moderations", "moderations:create"),
    Line(POST, "chat/classifications", "moderations:create"),
    Line(POST, "classifications", "moderations:create"),
    Line(POST, "ocr", "ocr:create"),
    Line(POST, "agents/completions", "chat:create"),
    Line(READ, "agents/**", "agents:read"),
    Line(WRITE, "agents/**", "agents:write"),
    Line(READ, "libraries/**", "libraries:read"),
    Line(WRITE, "libraries/**", "libraries:write"),
    Line(READ, "batch/jobs/**", "batches:read"),
    Line(WRITE, "batch/jobs/**", "batches:write"),
    Line(READ, "audio/voices/**", "audio:read"),
    Line(WRITE, "audio/voices/**", "audio:write"),
    Line(WRITE, "fine_tuning/models/**", "models:update"),
];

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    compatible::resolve(ask, &SPEC, "v1", OWN)
}
