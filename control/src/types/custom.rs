//! Any service with OpenAI's API, behind whatever base path its URL has (`/v1`, `/openai/v1`, `/api/v2`).

use super::compatible::{self, KEY, VENDOR};
use super::{Ask, AuthSpec, Resolved, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "custom",
    summary: "A service with OpenAI's API on a host of your own: `Authorization: Bearer`.",
    auth: &[AuthSpec { dummy: "sk-{rand:48}", env: &["OPENAI_API_KEY"], ..KEY }],
    resolve,
    ..VENDOR
};

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    compatible::resolve_versioned(ask, &SPEC, &[])
}
