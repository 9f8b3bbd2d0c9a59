//! SendGrid: requests are judged by `httpRules`.

use super::shapes::{API_KEY, BY_RULES, ok};
use super::{AuthSpec, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "sendgrid",
    summary: "Twilio SendGrid: `Authorization: Bearer` on api.sendgrid.com and api.eu.sendgrid.com.",
    hosts: &["api.sendgrid.com", "api.eu.sendgrid.com"],
    auth: &[AuthSpec {
        public_prefixes: &["SG."],
        dummy: "SG.{rand:22}.{rand:43}",
        env: &["SENDGRID_API_KEY"],
        ..API_KEY
    }],
    verify: Some(ok("https://{host}/v3/scopes")),
    ..BY_RULES
};
