//! Serper: requests are judged by `httpRules`.

use super::shapes::{API_KEY, BY_RULES, ok};
use super::{AuthSpec, InjectionSpec, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "serper",
    summary: "Serper (Google search): `X-API-KEY` on google.serper.dev and scrape.serper.dev; the agent's `?apiKey=` is removed.",
    hosts: &["google.serper.dev", "scrape.serper.dev"],
    auth: &[AuthSpec {
        injections: &[InjectionSpec {
            hosts: &[],
            key: "header",
            fields: &[("header", "x-api-key"), ("template", "{{token}}")],
        }],
        remove_params: &["apiKey"],
        dummy: "{rand:40}",
        env: &["SERPER_API_KEY"],
        ..API_KEY
    }],
    verify: Some(ok("https://google.serper.dev/account")),
    ..BY_RULES
};
