//! Anything else: the file says hosts, auth and rules; requests are not told apart.

use super::TypeSpec;
use super::shapes::BY_RULES;

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "http-token",
    summary: "Any HTTP service: the credential goes where `auth` says, requests are judged by `httpRules`.",
    ..BY_RULES
};
