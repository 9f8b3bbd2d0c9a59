//! OpenAI: the API with a key, and Codex with the subscription of a ChatGPT account.
//!
//! A login's token opens the whole ChatGPT account: of its host only what Codex uses has a name, all else is `unknown`.

use super::compatible::{self, ACTIONS, KEY, VENDOR};
use super::login::{DeviceSpec, LoginSpec, OAUTH, RedirectSpec};
use super::read::{Line, POST, READ, Segments, by_table};
use super::shapes::ok;
use super::{Actions, Ask, AuthSpec, InjectionSpec, Resolved, TypeSpec};

/// Where the subscription is.
const CHATGPT: &str = "chatgpt.com";

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "openai",
    summary: "OpenAI: `Authorization: Bearer` on api.openai.com. With auth type `oauth` (`doorward connect openai --oauth`): a ChatGPT subscription for Codex, on chatgpt.com; allow `responses:create`, `models:read` and `usage:read` there and no more, since its token opens the whole account.",
    hosts: &["api.openai.com"],
    auth: &[
        AuthSpec {
            public_prefixes: &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-"],
            dummy: "sk-proj-{rand:48}",
            env: &["OPENAI_API_KEY"],
            ..KEY
        },
        AuthSpec {
            name: OAUTH,
            keys: &["refresh_token"],
            injections: &[InjectionSpec {
                hosts: &[CHATGPT],
                key: "oauth2-refresh",
                fields: &[
                    ("tokenUrl", "https://auth.openai.com/oauth/token"),
                    ("clientId", "app_EMoamEEZ73f0CkXaXp7hrann"),
                    ("tokenBody", "json"),
                    ("accountHeader", "chatgpt-account-id"),
                ],
            }],
            public_prefixes: &[],
            dummy: "codex-{rand:48}",
            env: &[],
            ..KEY
        },
    ],
    actions: Actions::Listed(&WITH_USAGE),
    verify: Some(ok("https://api.openai.com/v1/models")),
    resolve,
    ..VENDOR
};

/// As Codex logs in. Source: openai/codex, `codex-rs/login/src/{server,device_code_auth}.rs` and `auth/manager.rs` (commit
/// 0483fd17): the registered redirects are `http://localhost:1455` and, where that port is taken, `:1457`. Its scopes for
/// connectors (`api.connectors.*`) are left out: no model needs them.
pub(super) static LOGIN: LoginSpec = LoginSpec {
    authorize: "https://auth.openai.com/oauth/authorize",
    params: &[
        ("id_token_add_organizations", "true"),
        ("codex_cli_simplified_flow", "true"),
        ("originator", "codex_cli_rs"),
    ],
    scopes: "openid profile email offline_access",
    redirect: RedirectSpec { host: "localhost", ports: &[1455, 1457], path: "/auth/callback" },
    page: None,
    json_with_state: false,
    account: Some(("https://api.openai.com/auth", "chatgpt_account_id")),
    device: Some(DeviceSpec {
        codes: "https://auth.openai.com/api/accounts/deviceauth/usercode",
        polls: "https://auth.openai.com/api/accounts/deviceauth/token",
        page: "https://auth.openai.com/codex/device",
        redirect: "https://auth.openai.com/deviceauth/callback",
        life: 900,
    }),
    allow: &["responses:create", "models:read", "usage:read"],
    verify: ok("https://chatgpt.com/backend-api/wham/usage"),
    verify_action: "usage:read",
};

/// The vendor's actions, and what of the subscription is left.
static WITH_USAGE: [&str; ACTIONS.len() + 1] = with_usage();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, within the length of both")]
const fn with_usage() -> [&'static str; ACTIONS.len() + 1] {
    let mut all = ["usage:read"; ACTIONS.len() + 1];
    let mut at = 0;
    while at < ACTIONS.len() {
        all[at] = ACTIONS[at];
        at += 1;
    }
    all
}

/// Paths behind `/backend-api`, as Codex uses them; a GET of `codex/responses` is its WebSocket.
const CODEX: &[Line] = &[
    Line(POST, "codex/responses", "responses:create"),
    Line(READ, "codex/responses", "responses:create"),
    Line(POST, "codex/responses/compact", "responses:create"),
    Line(READ, "codex/models", "models:read"),
    Line(READ, "wham/usage", "usage:read"),
];

/// By the host: a path of the API on the host of the subscription is none of the API's calls.
fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    if ask.host.name() != Some(CHATGPT) {
        return compatible::resolve(ask, &SPEC, "v1", &[]);
    }
    match Segments::of(ask.path).behind("backend-api") {
        Some(rest) => by_table(ask.method, &rest, CODEX),
        None => Resolved::unknown(),
    }
}

/// What Codex reads from `auth.json` under `CODEX_HOME`: its dummy, and an id token that nobody signed. The time is one
/// at which nothing needs to be refreshed.
pub(crate) fn codex_file(dummy: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let account = "00000000-0000-4000-8000-000000000000";
    let claims = serde_json::json!({
        "email": "agent@doorward.invalid",
        "exp": 4_070_908_800_u64,
        "https://api.openai.com/auth": {
            "chatgpt_account_id": account,
            "chatgpt_plan_type": "pro",
            "chatgpt_user_id": "doorward",
        },
    });
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let id_token =
        [part(r#"{"alg":"none","typ":"JWT"}"#), part(&claims.to_string()), part("unsigned")].join(".");
    let file = serde_json::json!({
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": null,
        "tokens": {
            "id_token": id_token,
            "access_token": dummy,
            "refresh_token": dummy,
            "account_id": account,
        },
        "last_refresh": "2099-01-01T00:00:00Z",
    });
    format!("{file:#}\n")
}
