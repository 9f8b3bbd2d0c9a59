//! A container registry that takes the credential itself (the OCI distribution API below `/v2`).
//!
//! Registries that give out tokens for each repository (Docker Hub, ghcr.io, Quay, registry.gitlab.com) answer such a
//! credential with 401; they need `token-service`, which is refused by name.

use http::Method;

use super::read::{Segments, read_or};
use super::shapes::{API_KEY, BASIC, BY_RULES, ok};
use super::{Actions, Ask, AuthSpec, Resolved, TypeSpec, UNKNOWN};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "docker-registry",
    summary: "A container registry on a host of your own that takes Basic (the secret's `username` and `password`) or a fixed bearer token itself, as registry:2 with htpasswd, Nexus, ECR, ACR and Artifact Registry do. Docker Hub, ghcr.io, Quay and registry.gitlab.com give out tokens of their own: auth type `token-service`, which comes with a later release.",
    auth: &[AuthSpec { name: "basic", keys: &["password", "token"], injections: BASIC, ..TOKEN }, TOKEN],
    actions: Actions::Listed(&["read", "write", "delete"]),
    verify: Some(ok("https://{host}/v2/")),
    resolve,
    ..BY_RULES
};

const TOKEN: AuthSpec = AuthSpec { name: "bearer", keys: &["token"], ..API_KEY };

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let segments = Segments::of(ask.path);
    let action = segments.behind("v2").map_or(UNKNOWN, |rest| within(ask, &rest));
    if action == UNKNOWN { Resolved::unknown() } else { Resolved::free(action) }
}

/// What stands behind `/v2`: a repository's name of any depth, then what is asked of it, which its last segments say.
fn within(ask: &Ask<'_>, rest: &Segments<'_>) -> &'static str {
    let from_end = |back: usize, word: &str| rest.len() > back && rest.is(rest.len() - back, word);
    let upload = |back: usize| from_end(back, "uploads") && from_end(back + 1, "blobs");
    match () {
        () if rest.is_cut() => UNKNOWN,
        () if rest.len() == 0 || (rest.len() == 1 && rest.is(0, "_catalog")) => read_or(ask, "read", UNKNOWN),
        () if upload(1) || upload(2) => read_or(ask, "read", "write"),
        () if from_end(2, "tags") || from_end(2, "referrers") => read_or(ask, "read", UNKNOWN),
        () if from_end(2, "manifests") || from_end(2, "blobs") => {
            read_or(ask, "read", if *ask.method == Method::DELETE { "delete" } else { "write" })
        }
        () => UNKNOWN,
    }
}
