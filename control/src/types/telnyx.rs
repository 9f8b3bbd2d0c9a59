//! Telnyx: requests are judged by `httpRules`.

use super::shapes::{API_KEY, BY_RULES, ok};
use super::{AuthSpec, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "telnyx",
    summary: "Telnyx: `Authorization: Bearer` with an API v2 key on api.telnyx.com.",
    hosts: &["api.telnyx.com"],
    // No public prefix: `KEY` alone begins names of secrets, too.
    auth: &[AuthSpec { dummy: "KEY{rand:32}_{rand:22}", env: &["TELNYX_API_KEY"], ..API_KEY }],
    verify: Some(ok("https://{host}/v2/balance")),
    ..BY_RULES
};
