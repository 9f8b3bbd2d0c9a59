//! The npm registry's API, also as other registries speak it: packages, tarballs, dist-tags, and the account's own calls.
//!
//! What could give the agent rights that outlive it (tokens, logins, trust, access, teams) is `admin`, also to read.

use super::read::{ANY, DELETE, Line, POST, PUT, READ, Segments, WRITE, by_table};
use super::shapes::{API_KEY, BASIC, BY_RULES, ok};
use super::{Actions, Ask, AuthSpec, Resolved, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "npm",
    summary: "The npm registry, or another with its API at the root of a host: `Authorization: Bearer`, or Basic where a registry wants that. `delete` is unpublishing.",
    hosts: &["registry.npmjs.org"],
    auth: &[TOKEN, AuthSpec { name: "basic", keys: &["password", "token"], injections: BASIC, ..TOKEN }],
    actions: Actions::Listed(&["read", "write", "delete", "admin"]),
    verify: Some(ok("https://{host}/-/whoami")),
    resolve,
    ..BY_RULES
};

const TOKEN: AuthSpec = AuthSpec {
    name: "bearer",
    keys: &["token"],
    public_prefixes: &["npm_"],
    dummy: "npm_{rand:36}",
    env: &["NPM_TOKEN", "NODE_AUTH_TOKEN", "YARN_NPM_AUTH_TOKEN"],
    ..API_KEY
};

/// Behind `/-`.
const SERVICE: &[Line] = &[
    Line(READ, "whoami", "read"),
    Line(READ, "ping", "read"),
    Line(READ, "all", "read"),
    Line(READ, "v1/search", "read"),
    Line(READ, "npm/v1/keys", "read"),
    Line(READ, "npm/v1/attestations/**", "read"),
    Line(READ, "npm/v1/user", "read"),
    Line(POST, "npm/v1/user", "admin"),
    // An audit sends what is installed and changes nothing.
    Line(POST, "npm/v1/security/**", "read"),
    Line(ANY, "npm/v1/tokens/**", "admin"),
    Line(ANY, "npm/v1/oidc/**", "admin"),
    Line(ANY, "npm/v1/hooks/**", "admin"),
    Line(READ, "package/*/dist-tags", "read"),
    Line(WRITE, "package/*/dist-tags/*", "write"),
    Line(READ, "package/*/*", "read"),
    Line(WRITE, "package/*/*", "admin"),
    Line(READ, "org/**", "read"),
    Line(WRITE, "org/**", "admin"),
    Line(READ, "team/**", "read"),
    Line(WRITE, "team/**", "admin"),
    Line(READ, "user/**", "read"),
    Line(WRITE, "user/**", "admin"),
    Line(ANY, "v1/login", "admin"),
    Line(ANY, "v1/done", "admin"),
];

const ROOT: &[Line] = &[Line(READ, "**", "read")];

/// A package itself: publishing and deprecating are a PUT.
const WHOLE: &[Line] = &[Line(READ, "**", "read"), Line(PUT, "**", "write")];

/// Behind a package's name. Unpublishing a version and changing the maintainers look the same.
const PACKAGE: &[Line] = &[
    Line(READ, "*", "read"),
    Line(READ, "-/**", "read"),
    Line(PUT, "-rev/*", "delete"),
    Line(DELETE, "-rev/*", "delete"),
    Line(DELETE, "-/**", "delete"),
];

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let segments = Segments::of(ask.path);
    match segments.len() {
        0 => by_table(ask.method, &segments, ROOT),
        _ if segments.is(0, "-") => by_table(ask.method, &segments.skip(1), SERVICE),
        _ => {
            let rest = segments.skip(name_length(&segments));
            by_table(ask.method, &rest, if rest.len() == 0 { WHOLE } else { PACKAGE })
        }
    }
}

/// A scope may stand in a segment of its own (`/@acme/tool`) or with the name in one (`/@acme%2ftool`).
fn name_length(segments: &Segments<'_>) -> usize {
    let first = segments.at(0);
    if first.starts_with('@') && !first.contains('%') && segments.len() > 1 { 2 } else { 1 }
}
