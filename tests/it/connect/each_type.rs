//! `doorward connect TYPE` over the whole table of types: for each of them, and each way in which it authenticates, a
//! credential that its service does not take leaves nothing behind, and one that it takes is verified and kept.
//!
//! The services are origins that look at the credential itself: where the type puts it, signs with it, or exchanges it.

mod services;

use std::collections::BTreeSet;

use control::types;
use futures_util::StreamExt as _;

use self::services::{On, Value};
use super::*;

/// One way to connect a type.
struct Row {
    kind: &'static str,
    /// Its auth type; empty: the default.
    auth: &'static str,
    /// More words; `{home}` is the folder of the test.
    words: &'static [&'static str],
    /// The other keys of its secret, which may be known.
    beside: &'static [(&'static str, &'static str)],
    key: &'static str,
    value: Value,
    /// Where the call arrives that verifies, and with what path.
    call: (&'static str, &'static str),
    on: On,
}

const BEARER: On = On::Header("authorization", "Bearer @");
const PLAIN: Row = Row {
    kind: "",
    auth: "",
    words: &[],
    beside: &[],
    key: "api-key",
    value: Value::Canary,
    call: ("", ""),
    on: BEARER,
};

const fn key(kind: &'static str, host: &'static str, path: &'static str) -> Row {
    Row { kind, call: (host, path), ..PLAIN }
}

const fn header(row: Row, name: &'static str, template: &'static str) -> Row {
    Row { on: On::Header(name, template), ..row }
}

const TENANT: &str = "config.tenantId=72f988bf-86f1-41af-91ab-2d7cd011db47";
const UPLOAD: &str = "https://upload.pypi.org/legacy/";

/// Every type, and each of its auth types.
const ROWS: &[Row] = &[
    Row {
        key: "token",
        words: &["--host", "api.example.com", "--verify", "https://api.example.com/me"],
        ..key("http-token", "api.example.com", "/me")
    },
    Row {
        key: "token",
        // What agents may do does not keep the credential from being verified.
        words: &["--set", "policy.allow=[\"issues:*\"]", "--set", "scope.repositories=[\"acme/api\"]"],
        ..key("github", "api.github.com", "/user")
    },
    Row {
        auth: "github-app",
        beside: &[("app_id", "123"), ("installation_id", "456")],
        key: "private_key",
        value: Value::RsaKey,
        on: On::Issued("api.github.com", services::installation),
        ..key("github", "api.github.com", "/installation/repositories")
    },
    Row { key: "token", ..header(key("gitlab", "gitlab.com", "/api/v4/user"), "private-token", "@") },
    Row {
        auth: "basic",
        key: "token",
        words: &["--verify", "https://gitlab.com/acme/app.git/info/refs?service=git-upload-pack"],
        on: On::Basic("oauth2"),
        ..key("gitlab", "gitlab.com", "/acme/app.git/info/refs?service=git-upload-pack")
    },
    Row {
        key: "token",
        value: Value::BotToken,
        on: On::Path("/bot@/getMe"),
        ..key("telegram", "api.telegram.org", "")
    },
    Row { key: "token", ..key("slack", "slack.com", "/api/auth.test") },
    key("openai", "api.openai.com", "/v1/models"),
    header(key("anthropic", "api.anthropic.com", "/v1/models?limit=1"), "x-api-key", "@"),
    header(
        key("gemini", "generativelanguage.googleapis.com", "/v1beta/models?pageSize=1"),
        "x-goog-api-key",
        "@",
    ),
    key("openrouter", "openrouter.ai", "/api/v1/key"),
    key("venice", "api.venice.ai", "/api/v1/models"),
    key("mistral", "api.mistral.ai", "/v1/models"),
    key("groq", "api.groq.com", "/openai/v1/models"),
    Row {
        words: &["--verify", "https://agents.pinata.cloud/v0/llm/status"],
        ..key("pinata", "agents.pinata.cloud", "/v0/llm/status")
    },
    Row {
        words: &["--host", "llm.example.com", "--verify", "https://llm.example.com/api/v1/models"],
        ..key("custom", "llm.example.com", "/api/v1/models")
    },
    Row { words: &["--host", "llm.example.com"], ..key("vllm", "llm.example.com", "/v1/models") },
    Row {
        words: &["--host", "acme.openai.azure.com"],
        ..header(key("azure-openai", "acme.openai.azure.com", "/openai/v1/models"), "api-key", "@")
    },
    Row { key: "token", ..key("npm", "registry.npmjs.org", "/-/whoami") },
    Row {
        auth: "basic",
        beside: &[("username", "acme")],
        key: "password",
        on: On::Basic("acme"),
        ..key("npm", "registry.npmjs.org", "/-/whoami")
    },
    Row {
        key: "token",
        words: &["--verify", UPLOAD],
        on: On::Basic("__token__"),
        ..key("pypi", "upload.pypi.org", "/legacy/")
    },
    Row {
        auth: "basic",
        beside: &[("username", "acme")],
        key: "password",
        words: &["--verify", UPLOAD],
        on: On::Basic("acme"),
        ..key("pypi", "upload.pypi.org", "/legacy/")
    },
    Row {
        auth: "basic",
        beside: &[("username", "acme")],
        key: "password",
        words: &["--host", "registry.example.com"],
        on: On::Basic("acme"),
        ..key("docker-registry", "registry.example.com", "/v2/")
    },
    Row {
        auth: "bearer",
        key: "token",
        words: &["--host", "registry.example.com"],
        ..key("docker-registry", "registry.example.com", "/v2/")
    },
    Row {
        auth: "token-service",
        beside: &[("username", "acme")],
        key: "password",
        words: &["--host", "ghcr.io"],
        on: On::Issued("ghcr.io", services::registry),
        ..key("docker-registry", "ghcr.io", "/v2/")
    },
    key("stripe", "api.stripe.com", "/v1/balance"),
    key("sendgrid", "api.sendgrid.com", "/v3/scopes"),
    key("notion", "api.notion.com", "/v1/users/me"),
    header(key("linear", "api.linear.app", "/graphql"), "authorization", "@"),
    header(key("serper", "google.serper.dev", "/account"), "x-api-key", "@"),
    key("telnyx", "api.telnyx.com", "/v2/balance"),
    Row {
        auth: "basic",
        beside: &[("account_sid", "AC0123456789")],
        key: "auth_token",
        on: On::Basic("AC0123456789"),
        ..key("twilio", "messaging.twilio.com", "/v1/Services?PageSize=1")
    },
    Row {
        auth: "api-key",
        beside: &[("api_key_sid", "SK0123456789")],
        key: "api_key_secret",
        on: On::Basic("SK0123456789"),
        ..key("twilio", "messaging.twilio.com", "/v1/Services?PageSize=1")
    },
    Row {
        beside: &[("access_key_id", "AKIAREALREALREALREAL")],
        key: "secret_access_key",
        on: On::Signed("AKIAREALREALREALREAL"),
        ..key("aws", "sts.amazonaws.com", "/?Action=GetCallerIdentity&Version=2011-06-15")
    },
    Row {
        key: "key.json",
        value: Value::KeyFile,
        on: On::Issued("oauth2.googleapis.com", services::google),
        ..key("gcp", "www.googleapis.com", "/discovery/v1/apis/storage/v1/rest")
    },
    Row {
        auth: "workload-identity",
        key: "key.json",
        value: Value::SubjectToken,
        words: &["--set", "config.subjectTokenFile={home}/subject"],
        on: On::Issued("sts.googleapis.com", services::federation),
        ..key("gcp", "www.googleapis.com", "/discovery/v1/apis/storage/v1/rest")
    },
    Row {
        beside: &[("client_id", "11111111-2222-3333-4444-555555555555")],
        key: "client_secret",
        words: &["--set", TENANT],
        on: On::Issued("login.microsoftonline.com", services::client),
        ..key("azure", "management.azure.com", "/tenants?api-version=2022-12-01")
    },
    Row { words: &["--url", "https://mcp.example.com/mcp"], ..key("mcp", "mcp.example.com", "/mcp") },
];

/// Logins, which a person makes in a browser, have tests of their own (`login`).
const ELSEWHERE: &[&str] = &[types::OAUTH];

#[test]
fn the_rows_are_the_table_of_types_with_each_way_to_authenticate() {
    let mut known = BTreeSet::new();
    for kind in types::ALL {
        let own = kind.auth.iter().map(|auth| auth.name).filter(|name| !ELSEWHERE.contains(name));
        known.extend(own.map(|auth| (kind.name, auth)));
        if kind.auth.is_empty() {
            known.insert((kind.name, ""));
        }
    }
    let default =
        |row: &Row| types::by_name(row.kind).and_then(|kind| kind.auth.first()).map(|auth| auth.name);
    let named = |row: &Row| if row.auth.is_empty() { default(row).unwrap_or_default() } else { row.auth };
    let tested: BTreeSet<_> = ROWS.iter().map(|row| (row.kind, named(row))).collect();
    assert_eq!(tested, known);
}

#[tokio::test]
async fn of_every_type_a_credential_that_its_service_does_not_take_leaves_nothing_behind() {
    futures_util::stream::iter(ROWS).for_each_concurrent(4, refused).await;
}

#[tokio::test]
async fn of_every_type_a_credential_that_its_service_takes_is_verified_and_kept_in_one_step() {
    futures_util::stream::iter(ROWS).for_each_concurrent(4, kept).await;
}

async fn refused(row: &Row) {
    let (right, wrong) = (row.value.fresh(), row.value.fresh());
    let world = row.world(&right).await;
    let ran = row.connect(&world, &wrong).await;
    assert!(ran.code == Some(1) && ran.stderr.contains("nothing was kept"), "{}: {ran:?}", row.kind);
    world.assert_nothing_kept();
    assert!(!world.origin.requests().is_empty(), "{}: nobody was asked", row.kind);
}

async fn kept(row: &Row) {
    let right = row.value.fresh();
    let world = row.world(&right).await;
    let ran = row.connect(&world, &right).await;
    ran.assert_ok();
    let (host, path) = row.call;
    let verified = format!("to {host} was answered 200");
    assert!(ran.stderr.contains("verified: ") && ran.stderr.contains(&verified), "{}: {ran:?}", row.kind);
    let last = world.origin.last();
    assert_eq!(last.authority, host, "{}", row.kind);
    assert!(path.is_empty() || last.target == path, "{}: {}", row.kind, last.target);
    let (providers, secrets) = (world.providers(), world.secrets());
    assert!(providers.len() == 1 && secrets.lines().count() == 1, "{}: {providers:?} {secrets}", row.kind);
    let file = world.home.path(&format!("home/config/providers/{}", providers[0]));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(&format!("type: {}\n", row.kind)) && !right.is_in(&text), "{text}");
    finish(world.home.command(&["check", "provider", "-f", file.to_str().unwrap()]), "").assert_ok();
}

impl Row {
    async fn world(&self, right: &services::Credential) -> World {
        let hosts: BTreeSet<&str> = [self.call.0].into_iter().chain(self.on.issuer()).collect();
        let hosts: Vec<&str> = hosts.into_iter().collect();
        World::with(&hosts, self.on.service(right.clone())).await
    }

    async fn connect(&self, world: &World, credential: &services::Credential) -> Ran {
        let at = world.home.folder().to_str().unwrap();
        world.home.write("subject", &credential.shown);
        let mut words = vec![self.kind.to_owned()];
        if !self.auth.is_empty() {
            words.extend(["--auth".to_owned(), self.auth.to_owned()]);
        }
        words.extend(self.words.iter().map(|word| word.replace("{home}", at)));
        for (key, value) in self.beside {
            world.home.write(key, value);
            words.extend(["--from-file".to_owned(), format!("{at}/{key}")]);
        }
        words.extend(["--from-stdin".to_owned(), self.key.to_owned()]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        world.connect_with(&words, &credential.stored).await
    }
}
