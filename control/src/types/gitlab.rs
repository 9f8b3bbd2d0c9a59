//! GitLab, also on a host of your own: REST below `/api/v4`, GraphQL, git over https.
//!
//! API and git share one host and want the credential in different headers, so `pat` replaces the dummy where the client put
//! it: `PRIVATE-TOKEN`, `Authorization: Bearer`, or git's Basic. So a credential of the agent's own is not overwritten, as other
//! types do; `onAgentCredential: reject` refuses it, and Basic with it. Whatever a request line shows less of than it does is
//! taken for the stronger action: a GraphQL POST is a mutation unless its body was read and holds queries alone, what holds values of CI variables or tokens is `admin`
//! even to read.

use http::Method;

use super::graphql;
use super::read::{Segments, git_service, is_read, read_or};
use super::shapes::{BY_RULES, ok};
use super::{Actions, Ask, AuthSpec, Clarity, InjectionSpec, Resolved, TypeSpec, UNKNOWN, VerifySpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "gitlab",
    summary: "GitLab's REST and GraphQL APIs, and git over https. `pat` replaces the dummy in `PRIVATE-TOKEN`, `Authorization: Bearer` and Basic: a credential of the agent's own is not overwritten, `onAgentCredential: reject` refuses it. `basic`, for git alone, sets Basic as `oauth2` on every request. A GraphQL POST is `graphql:query` if its JSON body holds queries alone, and `graphql:mutation` otherwise.",
    hosts: &["gitlab.com"],
    auth: &[
        AuthSpec {
            injections: &[InjectionSpec {
                hosts: &[],
                key: "placeholder",
                fields: &[("in", "header:PRIVATE-TOKEN header:Authorization basic")],
            }],
            ..PAT
        },
        AuthSpec {
            name: "basic",
            injections: &[InjectionSpec {
                hosts: &[],
                key: "basic",
                fields: &[("username", "oauth2"), ("password", "{{token}}")],
            }],
            remove_headers: &["private-token", "job-token", "deploy-token"],
            ..PAT
        },
    ],
    actions: Actions::Listed(&["read", "write", "merge", "admin", "graphql:query", "graphql:mutation"]),
    verify: Some(VerifySpec { headers: &[("private-token", "{dummy}")], ..ok("https://{host}/api/v4/user") }),
    resolve,
    ..BY_RULES
};

const PAT: AuthSpec = AuthSpec {
    name: "pat",
    keys: &["token"],
    injections: &[],
    public_prefixes: &["glpat-"],
    remove_headers: &["job-token", "deploy-token"],
    remove_params: &["private_token", "access_token", "job_token"],
    dummy: "glpat-{rand:20}",
    env: &["GITLAB_TOKEN", "GITLAB_ACCESS_TOKEN", "GL_TOKEN"],
};

/// Hold values of secrets: `admin`, also to read.
const SECRETS: &[&str] = &[
    "variables",
    "triggers",
    "hooks",
    "access_tokens",
    "personal_access_tokens",
    "impersonation_tokens",
    "deploy_tokens",
    "resource_access_tokens",
    "secure_files",
    "runners",
    "tokens",
];

/// Settings of a project or group: read, or `admin`.
const SETTINGS: &[&str] = &[
    "members",
    "billable_members",
    "invitations",
    "access_requests",
    "integrations",
    "services",
    "protected_branches",
    "protected_tags",
    "protected_environments",
    "push_rule",
    "approvals",
    "approval_rules",
    "approval_settings",
    "deploy_keys",
    "remote_mirrors",
    "mirror",
    "share",
    "transfer",
    "archive",
    "unarchive",
    "restore",
    "housekeeping",
    "job_token_scope",
    "cluster_agents",
    "clusters",
    "pages",
    "ldap_group_links",
    "saml_group_links",
    "saml",
    "scim",
    "audit_events",
    "environments",
    "freeze_periods",
    "avatar",
    "export",
    "export_relations",
];

/// Content of a project or group: read or write.
const CONTENT: &[&str] = &[
    "repository",
    "issues",
    "issues_statistics",
    "merge_requests",
    "labels",
    "milestones",
    "iterations",
    "epics",
    "releases",
    "wikis",
    "snippets",
    "pipelines",
    "pipeline",
    "pipeline_schedules",
    "jobs",
    "bridges",
    "boards",
    "epic_boards",
    "badges",
    "packages",
    "registry",
    "uploads",
    "deployments",
    "events",
    "search",
    "users",
    "projects",
    "groups",
    "subgroups",
    "descendant_groups",
    "languages",
    "forks",
    "star",
    "unstar",
    "starrers",
    "statuses",
    "discussions",
    "notes",
    "templates",
    "feature_flags",
    "feature_flags_user_lists",
    "terraform",
    "vulnerabilities",
    "vulnerability_findings",
    "dependencies",
    "ci",
    "import",
    "debian_distributions",
    "error_tracking",
];

/// Besides projects and groups: read or write.
const TOP: &[&str] = &[
    "issues",
    "issues_statistics",
    "merge_requests",
    "todos",
    "snippets",
    "events",
    "search",
    "namespaces",
    "version",
    "metadata",
    "topics",
    "templates",
    "avatar",
    "packages",
    "markdown",
    "ci",
];

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let segments = Segments::of(ask.path);
    if let Some(rest) = segments.behind("api/v4") {
        return Resolved::hidden(api(ask, &rest));
    }
    if segments.is(0, "api") {
        return if segments.is(1, "graphql") && segments.len() == 2 {
            of_graphql(ask)
        } else {
            Resolved::unknown()
        };
    }
    Resolved::hidden(web(ask))
}

fn of_graphql<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let asks = *ask.method == Method::POST && graphql::only_asks(ask);
    let action = if asks { graphql::QUERY } else { read_or(ask, graphql::QUERY, graphql::MUTATION) };
    if action == graphql::QUERY || *ask.method == Method::POST {
        Resolved { clarity: Clarity::Opaque, ..Resolved::hidden(action) }
    } else {
        Resolved::unknown()
    }
}

/// git over https, raw files and archives: the project's path may have any depth, so it is read from its end.
fn web(ask: &Ask<'_>) -> &'static str {
    let path = ask.path.trim_end_matches('/').to_ascii_lowercase();
    let read = is_read(ask.method);
    match () {
        () if path.contains("/info/lfs/") && read => "read",
        () if path.contains("/info/lfs/") => read_or(ask, UNKNOWN, "write"),
        () if path.contains("/gitlab-lfs/objects/") => read_or(ask, "read", "write"),
        () if path.ends_with("/info/refs") && read => git_service(ask, "read", "write"),
        () if path.ends_with("/git-upload-pack") && *ask.method == Method::POST => "read",
        () if path.ends_with("/git-receive-pack") && *ask.method == Method::POST => "write",
        () if read => {
            let behind = path.split_once("/-/").map_or("", |(_, behind)| behind);
            let shown = ["raw/", "archive/", "blob/", "tree/", "releases/", "jobs/"];
            if shown.iter().any(|kind| behind.starts_with(kind)) { "read" } else { UNKNOWN }
        }
        () => UNKNOWN,
    }
}

fn api(ask: &Ask<'_>, rest: &Segments<'_>) -> &'static str {
    if is_secret(rest) {
        return read_or(ask, "admin", "admin");
    }
    match () {
        () if is(rest, 0, &["projects", "groups"]) => owned(ask, rest),
        () if is(rest, 0, &["user", "users"]) => read_or(ask, "read", "admin"),
        // Text goes in, HTML or a verdict comes out.
        () if is(rest, 0, &["markdown", "ci"]) => read_or(ask, "read", "read"),
        () if is(rest, 0, TOP) => read_or(ask, "read", "write"),
        () if is(rest, 0, &["job"]) => read_or(ask, "read", UNKNOWN),
        () if is(
            rest,
            0,
            &["application", "applications", "admin", "features", "keys", "license", "sidekiq"],
        ) =>
        {
            read_or(ask, "admin", "admin")
        }
        () => UNKNOWN,
    }
}

/// What stands behind `/projects` or `/groups`.
fn owned(ask: &Ask<'_>, rest: &Segments<'_>) -> &'static str {
    match () {
        () if rest.len() == 1 => read_or(ask, "read", "admin"),
        () if is(rest, 1, &["import", "import-relation", "remote-import", "user"]) => {
            read_or(ask, "read", "admin")
        }
        () if rest.len() == 2 => read_or(ask, "read", "admin"),
        () if is(rest, 2, &["fork"]) => read_or(ask, UNKNOWN, "write"),
        () if is(rest, 2, SETTINGS) => read_or(ask, "read", "admin"),
        () if is(rest, 2, &["merge_requests"])
            && is(
                rest,
                4,
                &["merge", "approve", "unapprove", "approvals", "approval_rules", "reset_approvals"],
            ) =>
        {
            read_or(ask, "read", "merge")
        }
        () if is(rest, 2, &["merge_trains"]) => read_or(ask, "read", "merge"),
        () if is(rest, 2, CONTENT) => read_or(ask, "read", "write"),
        () if rest.is(2, "-") && is(rest, 3, CONTENT) => read_or(ask, "read", "write"),
        () => UNKNOWN,
    }
}

/// A secret's segment, at the top, behind a project or group, or behind one thing of it (`pipelines/7/variables`); in a
/// repository such a segment is a file's or branch's name.
fn is_secret(rest: &Segments<'_>) -> bool {
    let below = 2..rest.len().min(if is(rest, 2, &["repository", "packages"]) { 3 } else { 8 });
    is(rest, 0, SECRETS) || below.into_iter().any(|index| is(rest, index, SECRETS))
}

/// Whether a segment is one of these; GitLab takes a format behind it (`variables.json`).
fn is(rest: &Segments<'_>, index: usize, words: &[&str]) -> bool {
    let segment = rest.at(index);
    let word = segment.split_once('.').map_or(segment, |(word, _)| word);
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}
