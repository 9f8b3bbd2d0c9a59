//! Anthropic: `x-api-key`; the SDKs' own `Authorization` goes, or the two credentials would contradict each other. With the
//! subscription of a Claude account it is the other way round.

use super::login::{LoginSpec, OAUTH, RedirectSpec};
use super::read::{DELETE, Line, POST, READ, Segments, WRITE, by_table};
use super::shapes::{API_KEY, BY_RULES, ok};
use super::{Actions, Ask, AuthSpec, InjectionSpec, Resolved, TypeSpec, VerifySpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "anthropic",
    summary: "Anthropic: `x-api-key` on api.anthropic.com; the agent's `Authorization` is removed. With auth type `oauth` (`doorward connect anthropic --oauth`): a Claude subscription, `Authorization: Bearer` and the beta that it needs.",
    hosts: &["api.anthropic.com"],
    auth: &[
        AuthSpec {
            injections: &[InjectionSpec {
                hosts: &[],
                key: "header",
                fields: &[("header", "x-api-key"), ("template", "{{token}}")],
            }],
            public_prefixes: &["sk-ant-api03-", "sk-ant-admin01-", "sk-ant-"],
            remove_headers: &["authorization"],
            dummy: "sk-ant-api03-{rand:95}",
            env: &["ANTHROPIC_API_KEY"],
            ..API_KEY
        },
        AuthSpec {
            name: OAUTH,
            keys: &["refresh_token"],
            injections: &[InjectionSpec {
                hosts: &["api.anthropic.com"],
                key: "oauth2-refresh",
                fields: &[
                    ("tokenUrl", "https://platform.claude.com/v1/oauth/token"),
                    ("clientId", "9d1c250a-e61b-44d9-88ed-5944d1962f5e"),
                    ("tokenBody", "json"),
                    ("scopes", SCOPES),
                    ("listed", "anthropic-beta: oauth-2025-04-20"),
                    // Where this client's versions have asked for their tokens, before and beside that.
                    (
                        "alsoAnswered",
                        "https://console.anthropic.com/v1/oauth/token https://api.anthropic.com/v1/oauth/token",
                    ),
                ],
            }],
            public_prefixes: &["sk-ant-oat01-", "sk-ant-"],
            remove_headers: &["x-api-key"],
            dummy: "sk-ant-oat01-{rand:95}",
            env: &["CLAUDE_CODE_OAUTH_TOKEN"],
            ..API_KEY
        },
    ],
    actions: Actions::Listed(&[
        "models:read",
        "messages:create",
        "messages:count",
        "completions:create",
        "batches:read",
        "batches:create",
        "batches:delete",
        "files:read",
        "files:write",
        "skills:read",
        "skills:write",
        "account:read",
        "admin:read",
        "admin:write",
    ]),
    verify: Some(VerifySpec {
        headers: &[("anthropic-version", "2023-06-01")],
        ..ok("https://api.anthropic.com/v1/models?limit=1")
    }),
    resolve,
    ..BY_RULES
};

/// What models need and what tells that the login works. `org:create_api_key` is left out: an agent could have a key made.
const SCOPES: &str = "user:profile user:inference";

/// As Claude Code logs in (its own client; the facts are read off its published package, versions 2.0 and 2.1): a
/// listener at any port of `localhost`, or a page that shows `CODE#STATE`.
pub(super) static LOGIN: LoginSpec = LoginSpec {
    authorize: "https://claude.ai/oauth/authorize",
    params: &[("code", "true")],
    scopes: SCOPES,
    redirect: RedirectSpec { host: "localhost", ports: &[], path: "/callback" },
    page: Some("https://platform.claude.com/oauth/code/callback"),
    json_with_state: true,
    account: None,
    device: None,
    allow: &["messages:create", "messages:count", "models:read"],
    verify: ok("https://api.anthropic.com/api/oauth/profile"),
    verify_action: "account:read",
};

/// Paths behind `/api`: what a subscription says of itself.
const ACCOUNT: &[Line] =
    &[Line(READ, "oauth/profile", "account:read"), Line(READ, "oauth/usage", "account:read")];

const TABLE: &[Line] = &[
    Line(READ, "models", "models:read"),
    Line(READ, "models/*", "models:read"),
    Line(POST, "messages", "messages:create"),
    Line(POST, "messages/count_tokens", "messages:count"),
    Line(READ, "messages/batches/**", "batches:read"),
    Line(POST, "messages/batches", "batches:create"),
    Line(POST, "messages/batches/*/cancel", "batches:delete"),
    Line(DELETE, "messages/batches/*", "batches:delete"),
    Line(POST, "complete", "completions:create"),
    Line(READ, "files/**", "files:read"),
    Line(WRITE, "files/**", "files:write"),
    Line(READ, "skills/**", "skills:read"),
    Line(WRITE, "skills/**", "skills:write"),
    Line(READ, "organizations/**", "admin:read"),
    Line(WRITE, "organizations/**", "admin:write"),
];

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let segments = Segments::of(ask.path);
    match segments.at(0).to_ascii_lowercase().as_str() {
        "v1" => by_table(ask.method, &segments.skip(1), TABLE),
        "api" => by_table(ask.method, &segments.skip(1), ACCOUNT),
        _ => Resolved::unknown(),
    }
}
