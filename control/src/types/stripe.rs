//! Stripe: requests are judged by `httpRules`.

use super::shapes::{API_KEY, BY_RULES, ok};
use super::{AuthSpec, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "stripe",
    summary: "Stripe: `Authorization: Bearer` on api.stripe.com and files.stripe.com, with a secret or restricted key.",
    hosts: &["api.stripe.com", "files.stripe.com"],
    auth: &[AuthSpec {
        public_prefixes: &["sk_live_", "sk_test_", "rk_live_", "rk_test_"],
        dummy: "sk_test_{rand:99}",
        env: &["STRIPE_SECRET_KEY", "STRIPE_API_KEY"],
        ..API_KEY
    }],
    verify: Some(ok("https://api.stripe.com/v1/balance")),
    ..BY_RULES
};
