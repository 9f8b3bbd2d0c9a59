//! Anything else: the file says hosts, auth and rules; requests are not told apart.

use super::{Actions, Ask, Resolved, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "http-token",
    summary: "Any HTTP service: the credential goes where `auth` says, requests are judged by `httpRules`.",
    hosts: &[],
    auth: &[],
    actions: Actions::None,
    scope: None,
    verify: None,
    resolve,
};

fn resolve<'a>(_: &Ask<'a>) -> Resolved<'a> {
    Resolved::unknown()
}
