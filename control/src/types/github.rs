//! GitHub: REST, GraphQL, git over https, uploads, archives.
//!
//! Whatever a request line shows less of than it does is taken for the stronger action: a GraphQL POST could hold any
//! mutation, so it is `graphql:mutation` and opaque (with a `deny` list, `["*"]` does not let it through); a git-lfs batch could
//! be an upload, so it is `contents:write`. Routes by number (`/repositories/ID`) have the actions of their named twins,
//! but no name, so a scope refuses them.

use http::Method;

use super::read::{Segments, is_read, params, read_or};
use super::{
    Actions, Ask, AuthSpec, Clarity, InjectionSpec, Resolved, Resource, TypeSpec, UNKNOWN, VerifySpec,
};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "github",
    summary: "GitHub's REST and GraphQL APIs, and git over https (as `x-access-token`). `scope.repositories` names `owner/name`.",
    hosts: &[
        "api.github.com",
        "github.com",
        "uploads.github.com",
        "codeload.github.com",
        "*.githubusercontent.com",
    ],
    auth: &[AuthSpec {
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
    }],
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
    verify: Some(VerifySpec { method: "GET", url: "https://api.github.com/user", expect: 200 }),
    resolve,
};

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
        // GitHub Enterprise Server answers everything on one host: the API below /api.
        Some("api.github.com" | "uploads.github.com") => api(ask, &segments),
        Some(_) | None if segments.is(0, "api") && segments.is(1, "v3") => api(ask, &segments.skip(2)),
        Some(_) | None if segments.is(0, "api") && segments.is(1, "graphql") => api(ask, &segments.skip(1)),
        Some(_) | None if segments.is(0, "api") && segments.is(1, "uploads") => api(ask, &segments.skip(2)),
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
        4 if segments.is(2, "info") && segments.is(3, "refs") && read => service(ask),
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

/// The service of git's ref advertisement. Named twice, or unknown: not known, since the two ends could pick either.
fn service(ask: &Ask<'_>) -> &'static str {
    let mut values = params(ask.query, "service");
    let decoded = |value: &str| percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
    match (values.next().map(decoded).as_deref(), values.next()) {
        (Some("git-upload-pack"), None) => "contents:read",
        (Some("git-receive-pack"), None) => "contents:write",
        // The dumb protocol.
        (None, None) => "contents:read",
        _ => UNKNOWN,
    }
}

fn lfs(ask: &Ask<'_>, segments: &Segments<'_>) -> &'static str {
    if is_read(ask.method) && segments.is_any(4, &["locks", "objects"]) {
        "contents:read"
    } else {
        read_or(ask, UNKNOWN, "contents:write")
    }
}

fn api<'a>(ask: &Ask<'a>, segments: &Segments<'a>) -> Resolved<'a> {
    match segments.len() {
        0 => return Resolved::free(read_or(ask, "meta:read", UNKNOWN)),
        1 if segments.is(0, "graphql") => return graphql(ask),
        _ => {}
    }
    if segments.is(0, "repos") && segments.len() >= 3 {
        return on_repo(ask, repo(ask, &segments.skip(3)), segments, 1);
    }
    if segments.is(0, "repositories") && segments.len() >= 2 {
        return Resolved::hidden(repo(ask, &segments.skip(2)));
    }
    if segments.is(0, "user") || segments.is(0, "users") {
        return user(ask, segments);
    }
    if segments.is_any(0, &["orgs", "organizations"]) && segments.len() >= 2 {
        return Resolved::hidden(org(ask, &segments.skip(2)));
    }
    top(ask, segments)
}

fn graphql<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    match *ask.method {
        Method::GET | Method::HEAD => {
            Resolved { clarity: Clarity::Opaque, ..Resolved::hidden("graphql:query") }
        }
        Method::POST => Resolved { clarity: Clarity::Opaque, ..Resolved::hidden("graphql:mutation") },
        _ => Resolved::unknown(),
    }
}

fn top<'a>(ask: &Ask<'a>, segments: &Segments<'_>) -> Resolved<'a> {
    const META: &[&str] = &[
        "meta",
        "zen",
        "octocat",
        "emojis",
        "rate_limit",
        "versions",
        "licenses",
        "gitignore",
        "codes_of_conduct",
        "feeds",
    ];
    if segments.is_any(0, META) {
        return Resolved::free(read_or(ask, "meta:read", UNKNOWN));
    }
    let action = match () {
        () if segments.is(0, "search") => read_or(ask, "search:read", UNKNOWN),
        () if segments.is(0, "issues") => read_or(ask, "issues:read", UNKNOWN),
        () if segments.is(0, "notifications") => read_or(ask, "notifications:read", "notifications:update"),
        () if segments.is(0, "gists") => read_or(ask, "gists:read", "gists:write"),
        () if segments.is_any(0, &["events", "networks", "repositories"]) => {
            read_or(ask, "repo:read", UNKNOWN)
        }
        () if segments.is(0, "teams") => read_or(ask, "org:read", "admin:members"),
        () if segments.is(0, "organizations") => read_or(ask, "org:read", UNKNOWN),
        () if segments.is(0, "advisories") => read_or(ask, "security:read", UNKNOWN),
        () if segments.is_any(
            0,
            &["app", "apps", "applications", "installation", "app-manifests", "marketplace_listing"],
        ) =>
        {
            "admin:apps"
        }
        () if segments.is_any(0, &["enterprises", "admin", "setup", "manage", "scim"]) => "admin:enterprise",
        // Markdown goes in, HTML comes out.
        () if segments.is(0, "markdown") => read_or(ask, UNKNOWN, "meta:read"),
        () => UNKNOWN,
    };
    Resolved::hidden(action)
}

fn user<'a>(ask: &Ask<'a>, segments: &Segments<'a>) -> Resolved<'a> {
    let own = segments.is(0, "user");
    if own && segments.len() == 1 {
        return Resolved::free(read_or(ask, "user:read", "user:update"));
    }
    let rest = segments.skip(if own { 1 } else { 2 });
    if own && segments.len() == 4 && segments.is_any(1, &["starred", "subscriptions"]) {
        return on_repo(ask, read_or(ask, "user:read", "user:update"), segments, 2);
    }
    let action = match () {
        () if rest.is(0, "repos") => read_or(ask, "repo:read", "repo:create"),
        () if rest.is(0, "issues") => read_or(ask, "issues:read", UNKNOWN),
        () if rest.is(0, "orgs") || rest.is(0, "memberships") || rest.is(0, "teams") => {
            read_or(ask, "org:read", "org:update")
        }
        () if rest.is(0, "gists") => read_or(ask, "gists:read", UNKNOWN),
        () if rest.is(0, "packages") => read_or(ask, "packages:read", "packages:write"),
        () if rest.is_any(0, &["keys", "gpg_keys", "ssh_signing_keys"]) => {
            read_or(ask, "user:read", "admin:keys")
        }
        () if rest.is(0, "codespaces") && rest.is(1, "secrets") => read_or(ask, "user:read", "admin:secrets"),
        () if rest.is(0, "installations") => read_or(ask, "user:read", "admin:apps"),
        () => read_or(ask, "user:read", "user:update"),
    };
    Resolved::hidden(action)
}

fn org(ask: &Ask<'_>, rest: &Segments<'_>) -> &'static str {
    match () {
        () if rest.len() == 0 => read_or(ask, "org:read", "org:update"),
        () if rest.is(0, "repos") => read_or(ask, "repo:read", "repo:create"),
        () if rest.is(0, "issues") => read_or(ask, "issues:read", UNKNOWN),
        () if rest.is(0, "packages") => read_or(ask, "packages:read", "packages:write"),
        () if rest.is_any(0, &["actions", "dependabot", "codespaces"])
            && rest.is_any(1, &["secrets", "variables"]) =>
        {
            "admin:secrets"
        }
        () if rest.is(0, "actions") && rest.is_any(1, &["runners", "runner-groups", "hosted-runners"]) => {
            "admin:runners"
        }
        () if rest.is(0, "actions") => read_or(ask, "actions:read", "admin:actions"),
        () if rest.is(0, "hooks") => "admin:hooks",
        () if rest.is(0, "outside_collaborators") => read_or(ask, "org:read", "admin:collaborators"),
        () if rest.is_any(
            0,
            &[
                "members",
                "memberships",
                "invitations",
                "teams",
                "organization-roles",
                "public_members",
                "blocks",
            ],
        ) =>
        {
            read_or(ask, "org:read", "admin:members")
        }
        () if rest.is(0, "rulesets") => read_or(ask, "org:read", "admin:branches"),
        () if rest.is_any(
            0,
            &[
                "personal-access-tokens",
                "personal-access-token-requests",
                "credential-authorizations",
                "installations",
            ],
        ) =>
        {
            "admin:apps"
        }
        () if rest.is_any(
            0,
            &["code-scanning", "secret-scanning", "dependabot", "security-advisories", "security-managers"],
        ) =>
        {
            read_or(ask, "security:read", "security:write")
        }
        () => read_or(ask, "org:read", "org:update"),
    }
}

/// What stands behind `/repos/OWNER/NAME`.
fn repo(ask: &Ask<'_>, rest: &Segments<'_>) -> &'static str {
    if rest.len() == 0 {
        return if *ask.method == Method::DELETE {
            "repo:delete"
        } else {
            read_or(ask, "repo:read", "repo:update")
        };
    }
    match () {
        () if rest.is_any(0, &["issues", "labels", "milestones", "assignees"]) => issues(ask, rest),
        () if rest.is(0, "pulls") => pulls(ask, rest),
        () if rest
            .is_any(0, &["branches", "commits", "comments", "statuses", "check-runs", "check-suites"]) =>
        {
            commits(ask, rest)
        }
        () if rest.is_any(
            0,
            &["actions", "dependabot", "codespaces", "environments", "dispatches", "deployments"],
        ) =>
        {
            automation(ask, rest)
        }
        () if rest.is_any(
            0,
            &[
                "contents",
                "git",
                "tags",
                "compare",
                "readme",
                "tarball",
                "zipball",
                "merges",
                "merge-upstream",
            ],
        ) =>
        {
            read_or(ask, "contents:read", "contents:write")
        }
        () if rest.is(0, "releases") => read_or(ask, "releases:read", "releases:write"),
        () => settings(ask, rest),
    }
}

fn issues(ask: &Ask<'_>, rest: &Segments<'_>) -> &'static str {
    let issue = rest.is(0, "issues");
    match () {
        () if is_read(ask.method) => "issues:read",
        () if issue && rest.len() == 1 && *ask.method == Method::POST => "issues:create",
        () if issue && (rest.is(1, "comments") || rest.is_any(2, &["comments", "reactions"])) => {
            read_or(ask, UNKNOWN, "issues:comment")
        }
        () => read_or(ask, UNKNOWN, "issues:update"),
    }
}

fn pulls(ask: &Ask<'_>, rest: &Segments<'_>) -> &'static str {
    match () {
        () if is_read(ask.method) => "pulls:read",
        () if rest.len() == 1 && *ask.method == Method::POST => "pulls:create",
        () if rest.is(1, "comments") || rest.is(2, "comments") => read_or(ask, UNKNOWN, "pulls:comment"),
        // The body says whether a review comments, approves or asks for changes.
        () if rest.is(2, "reviews") => read_or(ask, UNKNOWN, "pulls:review"),
        () if rest.is(2, "merge") => read_or(ask, UNKNOWN, "pulls:merge"),
        () if rest.is(2, "codespaces") => UNKNOWN,
        () => read_or(ask, UNKNOWN, "pulls:update"),
    }
}

fn commits(ask: &Ask<'_>, rest: &Segments<'_>) -> &'static str {
    match () {
        () if rest.is(0, "branches") && rest.is(2, "protection") => {
            read_or(ask, "repo:read", "admin:branches")
        }
        () if rest.is(0, "comments") || rest.is(2, "comments") => {
            read_or(ask, "contents:read", "commits:comment")
        }
        () if rest.is_any(0, &["statuses", "check-runs", "check-suites"]) => {
            read_or(ask, "checks:read", "checks:write")
        }
        () if rest.is(0, "commits")
            && rest.is_any(2, &["status", "statuses", "check-runs", "check-suites"]) =>
        {
            read_or(ask, "checks:read", UNKNOWN)
        }
        () => read_or(ask, "contents:read", "contents:write"),
    }
}

fn automation(ask: &Ask<'_>, rest: &Segments<'_>) -> &'static str {
    let secrets = ["secrets", "variables", "organization-secrets", "organization-variables"];
    match () {
        () if rest.is(0, "environments") && rest.is_any(2, &secrets) => "admin:secrets",
        () if rest.is(0, "environments") => read_or(ask, "deployments:read", "admin:environments"),
        () if rest.is_any(0, &["actions", "dependabot", "codespaces"]) && rest.is_any(1, &secrets) => {
            "admin:secrets"
        }
        () if rest.is(0, "actions") && rest.is(1, "runners") => "admin:runners",
        () if rest.is(0, "actions") && rest.is_any(1, &["permissions", "oidc"]) => {
            read_or(ask, "actions:read", "admin:actions")
        }
        () if rest.is_any(0, &["actions", "dispatches"]) => read_or(ask, "actions:read", "actions:write"),
        () if rest.is(0, "deployments") => read_or(ask, "deployments:read", "deployments:write"),
        () if rest.is(0, "dependabot") => read_or(ask, "security:read", "security:write"),
        () => UNKNOWN,
    }
}

fn settings(ask: &Ask<'_>, rest: &Segments<'_>) -> &'static str {
    const SECURITY: &[&str] =
        &["code-scanning", "secret-scanning", "security-advisories", "dependency-graph", "code-quality"];
    const UPDATED: &[&str] = &[
        "pages",
        "topics",
        "properties",
        "autolinks",
        "vulnerability-alerts",
        "automated-security-fixes",
        "import",
        "private-vulnerability-reporting",
        "interaction-limits",
        "immutable-releases",
        "attestations",
        "lfs",
    ];
    const SHOWN: &[&str] = &[
        "stargazers",
        "subscribers",
        "events",
        "traffic",
        "stats",
        "contributors",
        "languages",
        "community",
        "license",
        "codeowners",
        "activity",
    ];
    match () {
        () if rest.is_any(0, &["collaborators", "invitations", "teams"]) => {
            read_or(ask, "repo:read", "admin:collaborators")
        }
        () if rest.is(0, "keys") => read_or(ask, "repo:read", "admin:keys"),
        () if rest.is(0, "hooks") => "admin:hooks",
        () if rest.is_any(0, &["rulesets", "rules"]) => read_or(ask, "repo:read", "admin:branches"),
        () if rest.is(0, "transfer") => "admin:transfer",
        () if rest.is_any(0, &["forks", "generate"]) => read_or(ask, "repo:read", "repo:create"),
        () if rest.is(0, "subscription") => read_or(ask, "repo:read", "user:update"),
        () if rest.is(0, "notifications") => read_or(ask, "notifications:read", "notifications:update"),
        () if rest.is_any(0, SECURITY) => read_or(ask, "security:read", "security:write"),
        () if rest.is_any(0, UPDATED) => read_or(ask, "repo:read", "repo:update"),
        () if rest.is_any(0, SHOWN) => read_or(ask, "repo:read", UNKNOWN),
        () => UNKNOWN,
    }
}
