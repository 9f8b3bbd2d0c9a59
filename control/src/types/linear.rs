//! Linear: one GraphQL endpoint, so `httpRules` can tell apart little more than API and uploaded files.

use super::shapes::{API_KEY, BY_RULES, ok};
use super::{AuthSpec, InjectionSpec, TypeSpec, VerifySpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "linear",
    summary: "Linear: the personal API key bare in `Authorization` on api.linear.app and uploads.linear.app.",
    hosts: &["api.linear.app", "uploads.linear.app"],
    auth: &[AuthSpec {
        injections: &[InjectionSpec {
            hosts: &[],
            key: "header",
            fields: &[("header", "authorization"), ("template", "{{token}}")],
        }],
        public_prefixes: &["lin_api_"],
        dummy: "lin_api_{rand:40}",
        env: &["LINEAR_API_KEY"],
        ..API_KEY
    }],
    verify: Some(VerifySpec {
        method: "POST",
        body: Some(r#"{"query":"{ viewer { id } }"}"#),
        ..ok("https://api.linear.app/graphql")
    }),
    ..BY_RULES
};
