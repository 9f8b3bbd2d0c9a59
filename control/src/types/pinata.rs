//! Pinata's inference: OpenAI's chat completions behind `/v0/llm`.
//!
//! Its models are listed to anybody and every other call is paid for, so there is none that would verify a key.

use super::compatible::{self, KEY, VENDOR};
use super::read::{DELETE, Line, POST, READ};
use super::{Actions, Ask, AuthSpec, Resolved, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "pinata",
    summary: "Pinata's inference: `Authorization: Bearer` with the inference key (not the account's JWT) on agents.pinata.cloud.",
    hosts: &["agents.pinata.cloud"],
    auth: &[AuthSpec { dummy: "{rand:64}", env: &["PINATA_LLM_KEY"], ..KEY }],
    actions: Actions::Listed(&["models:read", "chat:create", "account:read", "admin:write"]),
    resolve,
    ..VENDOR
};

const OWN: &[Line] = &[
    Line(READ, "status", "account:read"),
    Line(POST, "enable", "admin:write"),
    Line(DELETE, "disable", "admin:write"),
];

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    compatible::resolve(ask, &SPEC, "v0/llm", OWN)
}
