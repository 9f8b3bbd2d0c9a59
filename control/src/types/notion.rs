//! Notion: requests are judged by `httpRules`.

use super::shapes::{API_KEY, BY_RULES, ok};
use super::{AuthSpec, TypeSpec, VerifySpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "notion",
    summary: "Notion: `Authorization: Bearer` with an integration's token on api.notion.com.",
    hosts: &["api.notion.com"],
    auth: &[AuthSpec {
        public_prefixes: &["ntn_", "secret_"],
        dummy: "ntn_{rand:46}",
        env: &["NOTION_TOKEN", "NOTION_API_KEY"],
        ..API_KEY
    }],
    // Without a version Notion answers 400, whatever the token.
    verify: Some(VerifySpec {
        headers: &[("notion-version", "2022-06-28")],
        ..ok("https://api.notion.com/v1/users/me")
    }),
    ..BY_RULES
};
