//! GitHub's REST API: what each route does, as its documentation lists them.
//!
//! Routes by number (`/repositories/ID`) have the actions of their named twins, but no name, so a scope refuses them.

use http::Method;

use super::super::graphql;
use super::super::read::{Segments, is_read, read_or};
use super::super::{Ask, Clarity, Resolved, UNKNOWN};
use super::on_repo;

/// What a REST or GraphQL request does; `segments` begin behind the API's base.
pub(super) fn resolve<'a>(ask: &Ask<'a>, segments: &Segments<'a>) -> Resolved<'a> {
    match segments.len() {
        0 => return Resolved::free(read_or(ask, "meta:read", UNKNOWN)),
        1 if segments.is(0, "graphql") => return of_graphql(ask),
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

fn of_graphql<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    match *ask.method {
        Method::GET | Method::HEAD => {
            Resolved { clarity: Clarity::Opaque, ..Resolved::hidden(graphql::QUERY) }
        }
        Method::POST => {
            let action = if graphql::only_asks(ask) { graphql::QUERY } else { graphql::MUTATION };
            Resolved { clarity: Clarity::Opaque, ..Resolved::hidden(action) }
        }
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
