//! GitHub: REST, GraphQL, git over https, uploads, archives.
//!
//! Whatever a request line shows less of than it does is taken for the stronger action: a GraphQL POST is
//! `graphql:mutation` unless its body was read and holds queries alone, and opaque either way (with a `deny` list, `["*"]` does
//! not let it through); a git-lfs batch could be an upload, so it is `contents:write`. Routes by number (`/repositories/ID`) have the actions of their named twins,
//! but no name, so a scope refuses them.

use http::Method;

mod api;
mod enterprise;

use super::read::{Segments, git_service, is_read, read_or};
use super::shapes::ok;
use super::{Actions, Ask, AuthSpec, InjectionSpec, Resolved, Resource, TypeSpec, UNKNOWN};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "github",
    summary: "GitHub's REST and GraphQL APIs, and git over https (as `x-access-token`). GitHub Enterprise by `spec.host`: a server of your own (its API below `/api/v3`), or `TENANT.ghe.com`. `scope.repositories` names `owner/name`. A GraphQL POST is `graphql:query` if its JSON body holds queries alone, and `graphql:mutation` otherwise; either may concern anything, so a scope refuses it, and so does a `deny` list where it is not allowed by its name.",
    hosts: &[
        "api.github.com",
        "github.com",
        "uploads.github.com",
        "codeload.github.com",
        "*.githubusercontent.com",
    ],
    auth: &[
        AuthSpec {
            name: "pat",
            keys: &["token"],
            injections: &[
                InjectionSpec {
                    hosts: &[
                        "api.github.com",
                        "uploads.github.com",
                        "codeload.github.com",
                        "raw.githubusercontent.com",
                    ],
                    key: "header",
                    fields: &[("header", "authorization"), ("template", "Bearer {{token}}")],
                },
                InjectionSpec {
                    hosts: &["github.com"],
                    key: "basic",
                    fields: &[("username", "x-access-token"), ("password", "{{token}}")],
                },
            ],
            public_prefixes: &["github_pat_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
            remove_headers: &[],
            remove_params: &["access_token"],
            dummy: "ghp_{rand:36}",
            env: &["GITHUB_TOKEN", "GH_TOKEN"],
        },
        AuthSpec {
            name: "github-app",
            keys: &["private_key"],
            injections: &[
                InjectionSpec {
                    hosts: &[
                        "api.github.com",
                        "uploads.github.com",
                        "codeload.github.com",
                        "raw.githubusercontent.com",
                    ],
                    key: "github-app",
                    fields: &[],
                },
                InjectionSpec { hosts: &["github.com"], key: "github-app", fields: &[("as", "basic")] },
            ],
            public_prefixes: &["ghs_"],
            remove_headers: &[],
            remove_params: &["access_token"],
            dummy: "ghs_{rand:36}",
            env: &["GITHUB_TOKEN", "GH_TOKEN"],
        },
    ],
    actions: Actions::Listed(&[
        "meta:read",
        "user:read",
        "user:update",
        "search:read",
        "notifications:read",
        "notifications:update",
        "gists:read",
        "gists:write",
        "org:read",
        "org:update",
        "repo:read",
        "repo:create",
        "repo:update",
        "repo:delete",
        "contents:read",
        "contents:write",
        "commits:comment",
        "issues:read",
        "issues:create",
        "issues:update",
        "issues:comment",
        "pulls:read",
        "pulls:create",
        "pulls:update",
        "pulls:comment",
        "pulls:review",
        "pulls:merge",
        "checks:read",
        "checks:write",
        "actions:read",
        "actions:write",
        "releases:read",
        "releases:write",
        "deployments:read",
        "deployments:write",
        "packages:read",
        "packages:write",
        "security:read",
        "security:write",
        "admin:collaborators",
        "admin:members",
        "admin:hooks",
        "admin:keys",
        "admin:secrets",
        "admin:runners",
        "admin:actions",
        "admin:branches",
        "admin:environments",
        "admin:transfer",
        "admin:apps",
        "admin:enterprise",
        "graphql:query",
        "graphql:mutation",
    ]),
    scope: Some("repositories"),
    verify: Some(ok("https://api.github.com/user")),
    resolve,
};

pub(super) use enterprise::{misnamed, of as enterprise};

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let segments = Segments::of(ask.path);
    match ask.host.name() {
        Some("github.com") => web(ask, &segments),
        Some("codeload.github.com" | "raw.githubusercontent.com") if is_read(ask.method) => {
            on_repo(ask, "contents:read", &segments, 0)
        }
        // Signed links of assets and images: nothing is injected there, and their path names no repository.
        Some(name) if name.ends_with(".githubusercontent.com") && is_read(ask.method) => {
            Resolved::free("contents:read")
        }
        Some(name) if name == "codeload.github.com" || name.ends_with(".githubusercontent.com") => {
            Resolved::unknown()
        }
        Some(name) if enterprise::part(name).is_some() => match enterprise::part(name) {
            Some("api" | "uploads") => api::resolve(ask, &segments),
            Some("") => web(ask, &segments),
            Some("codeload" | "raw") if is_read(ask.method) => on_repo(ask, "contents:read", &segments, 0),
            Some(_) | None => Resolved::unknown(),
        },
        // GitHub Enterprise Server answers everything on one host: the API below /api.
        Some("api.github.com" | "uploads.github.com") => api::resolve(ask, &segments),
        Some(_) | None if segments.is(0, "api") && segments.is(1, "v3") => {
            api::resolve(ask, &segments.skip(2))
        }
        Some(_) | None if segments.is(0, "api") && segments.is(1, "graphql") => {
            api::resolve(ask, &segments.skip(1))
        }
        Some(_) | None if segments.is(0, "api") && segments.is(1, "uploads") => {
            api::resolve(ask, &segments.skip(2))
        }
        Some(_) | None => web(ask, &segments),
    }
}

/// An action on the repository whose owner and name stand at `index` and behind it.
fn on_repo<'a>(ask: &Ask<'a>, action: &'static str, segments: &Segments<'a>, index: usize) -> Resolved<'a> {
    let resource = name_in(ask.path, segments.at(index), segments.at(index + 1))
        .map_or(Resource::Hidden, Resource::Named);
    Resolved { resource, ..Resolved::hidden(action) }
}

/// `owner/name` as it stands in the path, without `.git`.
fn name_in<'a>(path: &'a str, owner: &str, name: &str) -> Option<&'a str> {
    let name = name.strip_suffix(".git").unwrap_or(name);
    let fits = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    };
    if !fits(owner) || !fits(name) {
        return None;
    }
    path.match_indices('/').find_map(|(at, _)| {
        let rest = path.get(at + 1..)?;
        let tail = rest.strip_prefix(owner)?.strip_prefix('/')?.strip_prefix(name)?;
        let ends = tail.is_empty() || tail.starts_with('/') || tail.starts_with(".git");
        ends.then(|| rest.get(..owner.len() + 1 + name.len()))?
    })
}

/// github.com: git's smart and dumb protocols, archives, raw files, pages.
fn web<'a>(ask: &Ask<'a>, segments: &Segments<'a>) -> Resolved<'a> {
    if segments.len() < 2 {
        return Resolved::unknown();
    }
    let read = is_read(ask.method);
    let post = *ask.method == Method::POST;
    let action = match segments.len() {
        4 if segments.is(2, "info") && segments.is(3, "refs") && read => {
            git_service(ask, "contents:read", "contents:write")
        }
        3 if segments.is(2, "git-upload-pack") && post => "contents:read",
        3 if segments.is(2, "git-receive-pack") && post => "contents:write",
        5.. if segments.is(2, "info") && segments.is(3, "lfs") => lfs(ask, segments),
        3.. if read
            && segments.is_any(
                2,
                &["archive", "raw", "blob", "tree", "objects", "HEAD", "info", "zipball", "tarball"],
            ) =>
        {
            "contents:read"
        }
        3.. if read && segments.is(2, "releases") => "releases:read",
        _ => UNKNOWN,
    };
    on_repo(ask, action, segments, 0)
}

fn lfs(ask: &Ask<'_>, segments: &Segments<'_>) -> &'static str {
    if is_read(ask.method) && segments.is_any(4, &["locks", "objects"]) {
        "contents:read"
    } else {
        read_or(ask, UNKNOWN, "contents:write")
    }
}
