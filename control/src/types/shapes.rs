//! What the descriptions of types have in common, so that each says only what is its own.

use super::read::by_rules;
use super::{Actions, AuthSpec, InjectionSpec, TypeSpec, VerifySpec};

/// `Authorization: Bearer`, on every host.
pub(super) const BEARER: &[InjectionSpec] = &[InjectionSpec {
    hosts: &[],
    key: "header",
    fields: &[("header", "authorization"), ("template", "Bearer {{token}}")],
}];

/// Basic with user and password of the secret, on every host.
pub(super) const BASIC: &[InjectionSpec] =
    &[InjectionSpec { hosts: &[], key: "basic", fields: &[("password", "{{token}}")] }];

/// An API key as a bearer token.
pub(super) const API_KEY: AuthSpec = AuthSpec {
    name: "api-key",
    keys: &["api-key", "token"],
    injections: BEARER,
    public_prefixes: &[],
    remove_headers: &[],
    remove_params: &[],
    dummy: "{rand:40}",
    env: &[],
};

/// A service whose requests are judged by `httpRules` alone.
pub(super) const BY_RULES: TypeSpec = TypeSpec {
    name: "",
    summary: "",
    hosts: &[],
    auth: &[],
    actions: Actions::None,
    scope: None,
    verify: None,
    resolve: by_rules,
};

/// A GET of this URL that is answered with 200.
pub(super) const fn ok(url: &'static str) -> VerifySpec {
    VerifySpec { method: "GET", url, headers: &[], body: None, expect: 200, says: None }
}
