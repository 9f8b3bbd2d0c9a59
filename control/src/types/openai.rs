//! OpenAI.

use super::compatible::{self, KEY, VENDOR};
use super::shapes::ok;
use super::{Ask, AuthSpec, Resolved, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "openai",
    summary: "OpenAI: `Authorization: Bearer` on api.openai.com.",
    hosts: &["api.openai.com"],
    auth: &[AuthSpec {
        public_prefixes: &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-"],
        dummy: "sk-proj-{rand:48}",
        env: &["OPENAI_API_KEY"],
        ..KEY
    }],
    verify: Some(ok("https://api.openai.com/v1/models")),
    resolve,
    ..VENDOR
};

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    compatible::resolve(ask, &SPEC, "v1", &[])
}
