//! Fixture tables: request, action, resource, and the verdict of one policy for each type.

use std::sync::Arc;

use http::{HeaderMap, Method};

use super::*;
use crate::agent::AgentName;
use crate::policy::{Facts, decide};
use crate::provider::testing::SCHEMES;
use crate::provider::{Provider, parse_text};
use crate::rule::Path;
use crate::target::Target;

fn provider(spec: &str) -> Arc<Provider> {
    let text = format!("apiVersion: pai.io/v1\nkind: Provider\nmetadata: {{name: p}}\nspec: {spec}\n");
    Arc::clone(
        &parse_text("f.yaml", &text, SCHEMES).unwrap_or_else(|mistakes| panic!("{mistakes:?}")).providers[0],
    )
}

const ALLOW: bool = true;
const DENY: bool = false;

/// `METHOD URL`, the action, the resource (`-` none, `?` hidden), the verdict.
type Row = (&'static str, &'static str, &'static str, bool);

fn check(provider: &Arc<Provider>, rows: &[Row]) {
    assert!(rows.len() >= 20, "{} rows", rows.len());
    for (request, action, resource, verdict) in rows {
        let (method, url) = request.split_once(' ').unwrap();
        let uri: http::Uri = format!("https://{url}").parse().unwrap();
        let target = Target::parse_host(uri.authority().unwrap().as_str(), 443).unwrap();
        let (method, path) = (Method::from_bytes(method.as_bytes()).unwrap(), Path::of_uri(&uri).unwrap());
        let headers = HeaderMap::new();
        let ask = Ask {
            host: &target.host,
            method: &method,
            path: path.as_str(),
            query: uri.query(),
            headers: &headers,
        };
        let resolved = (provider.kind.resolve)(&ask);
        let shown = match resolved.resource {
            Resource::None => "-",
            Resource::Named(name) => name,
            Resource::Hidden => "?",
        };
        assert_eq!((&*resolved.action, shown), (*action, *resource), "{request}");
        let known = provider.kind.actions.names().contains(&&*resolved.action);
        assert!(
            known || resolved.action == UNKNOWN || matches!(provider.kind.actions, Actions::Open(_)),
            "{action}"
        );
        let agent = AgentName::local();
        let facts = Facts {
            agent: &agent,
            target: &target,
            provider,
            method: &method,
            path: &path,
            query: uri.query(),
            headers: &headers,
        };
        assert_eq!(decide(&facts).is_ok(), *verdict, "{request}");
    }
}

#[test]
fn github_requests() {
    let allow = r#"["contents:*", "issues:*", "pulls:read", "pulls:create", "meta:read", "user:read", "repo:read", "releases:read"]"#;
    let spec = format!(
        "{{type: github, policy: {{allow: {allow}, deny: [\"issues:create\"]}}, scope: {{repositories: [\"acme/*\"]}}}}"
    );
    check(
        &provider(&spec),
        &[
            ("DELETE api.github.com/repos/acme/api", "repo:delete", "acme/api", DENY),
            ("DELETE api.github.com/repos/acme/api/", "repo:delete", "acme/api", DENY),
            ("DELETE api.github.com/Repos/acme/api", "repo:delete", "acme/api", DENY),
            ("DELETE api.github.com/repositories/123", "repo:delete", "?", DENY),
            ("GET api.github.com/repositories/123/contents/a", "contents:read", "?", DENY),
            ("GET api.github.com/repos/evil/api/contents/a", "contents:read", "evil/api", DENY),
            ("GET api.github.com/repos/acme%2Fapi/x/contents/a", "contents:read", "?", DENY),
            ("GET api.github.com/repos/ACME/api/contents/a", "contents:read", "ACME/api", ALLOW),
            ("GET api.github.com/repos/acme/api", "repo:read", "acme/api", ALLOW),
            ("PATCH api.github.com/repos/acme/api", "repo:update", "acme/api", DENY),
            ("GET api.github.com/repos/acme/api/issues", "issues:read", "acme/api", ALLOW),
            ("POST api.github.com/repos/acme/api/issues", "issues:create", "acme/api", DENY),
            ("POST api.github.com/repos/acme/api/%69ssues", "issues:create", "acme/api", DENY),
            ("POST api.github.com/repos/acme/api/issues;x=1", "unknown", "acme/api", DENY),
            ("POST api.github.com/repos/acme/api/issues/7/comments", "issues:comment", "acme/api", ALLOW),
            ("PATCH api.github.com/repos/acme/api/issues/7", "issues:update", "acme/api", ALLOW),
            ("POST api.github.com/repos/acme/api/pulls", "pulls:create", "acme/api", ALLOW),
            ("PUT api.github.com/repos/acme/api/pulls/7/merge", "pulls:merge", "acme/api", DENY),
            ("POST api.github.com/repos/acme/api/pulls/7/reviews", "pulls:review", "acme/api", DENY),
            ("POST api.github.com/repos/acme/api/pulls/7/comments", "pulls:comment", "acme/api", DENY),
            ("PATCH api.github.com/repos/acme/api/pulls/7", "pulls:update", "acme/api", DENY),
            ("PUT api.github.com/repos/acme/api/contents/a%2Fb", "contents:write", "acme/api", ALLOW),
            ("POST api.github.com/repos/acme/api/git/refs", "contents:write", "acme/api", ALLOW),
            ("PUT api.github.com/repos/acme/api/collaborators/eve", "admin:collaborators", "acme/api", DENY),
            ("POST api.github.com/repos/acme/api/keys", "admin:keys", "acme/api", DENY),
            ("GET api.github.com/repos/acme/api/hooks", "admin:hooks", "acme/api", DENY),
            ("PUT api.github.com/repos/acme/api/actions/secrets/X", "admin:secrets", "acme/api", DENY),
            (
                "PUT api.github.com/repos/acme/api/environments/prod/secrets/X",
                "admin:secrets",
                "acme/api",
                DENY,
            ),
            (
                "POST api.github.com/repos/acme/api/actions/runners/registration-token",
                "admin:runners",
                "acme/api",
                DENY,
            ),
            (
                "PUT api.github.com/repos/acme/api/branches/main/protection",
                "admin:branches",
                "acme/api",
                DENY,
            ),
            ("POST api.github.com/repos/acme/api/transfer", "admin:transfer", "acme/api", DENY),
            ("POST api.github.com/repos/acme/api/forks", "repo:create", "acme/api", DENY),
            ("POST api.github.com/repos/acme/api/dispatches", "actions:write", "acme/api", DENY),
            ("POST api.github.com/repos/acme/api/frobnicate", "unknown", "acme/api", DENY),
            ("OPTIONS api.github.com/repos/acme/api", "unknown", "acme/api", DENY),
            ("GET api.github.com/user", "user:read", "-", ALLOW),
            ("GET api.github.com/user/repos", "repo:read", "?", DENY),
            ("GET api.github.com/rate_limit", "meta:read", "-", ALLOW),
            ("GET api.github.com/search/code?q=x", "search:read", "?", DENY),
            ("POST api.github.com/gists", "gists:write", "?", DENY),
            ("POST api.github.com/graphql", "graphql:mutation", "?", DENY),
            ("GET api.github.com/graphql", "graphql:query", "?", DENY),
            ("POST api.github.com/orgs/acme/repos", "repo:create", "?", DENY),
            ("GET api.github.com/orgs/acme/actions/secrets", "admin:secrets", "?", DENY),
            ("DELETE api.github.com/organizations/1/members/eve", "admin:members", "?", DENY),
            (
                "POST uploads.github.com/repos/acme/api/releases/1/assets?name=x",
                "releases:write",
                "acme/api",
                DENY,
            ),
            ("GET codeload.github.com/acme/api/zip/main", "contents:read", "acme/api", ALLOW),
            ("GET raw.githubusercontent.com/evil/api/main/x", "contents:read", "evil/api", DENY),
            (
                "GET objects.githubusercontent.com/github-production-release-asset/1",
                "contents:read",
                "-",
                ALLOW,
            ),
            ("POST objects.githubusercontent.com/x", "unknown", "?", DENY),
            (
                "GET github.com/acme/api.git/info/refs?service=git-upload-pack",
                "contents:read",
                "acme/api",
                ALLOW,
            ),
            (
                "GET github.com/acme/api/info/refs?service=git-receive-pack",
                "contents:write",
                "acme/api",
                ALLOW,
            ),
            (
                "GET github.com/acme/api/info/refs?service=git-receive%2Dpack",
                "contents:write",
                "acme/api",
                ALLOW,
            ),
            (
                "GET github.com/acme/api/info/refs?service=git-upload-pack&service=git-receive-pack",
                "unknown",
                "acme/api",
                DENY,
            ),
            ("POST github.com/acme/api.git/git-upload-pack", "contents:read", "acme/api", ALLOW),
            ("POST github.com/evil/api.git/git-receive-pack", "contents:write", "evil/api", DENY),
            ("POST github.com/acme/api.git/info/lfs/objects/batch", "contents:write", "acme/api", ALLOW),
            ("GET github.com/acme/api/releases/download/v1/x.tgz", "releases:read", "acme/api", ALLOW),
            ("POST github.com/session", "unknown", "?", DENY),
        ],
    );
}

#[test]
fn an_opaque_request_needs_its_own_name_where_something_is_denied() {
    let decide_graphql = |policy: &str| {
        let provider = provider(&format!("{{type: github, policy: {policy}}}"));
        let (target, agent) = (Target::parse_authority("api.github.com:443").unwrap(), AgentName::local());
        let (path, headers) = (Path::parse("/graphql").unwrap(), HeaderMap::new());
        let facts = Facts {
            agent: &agent,
            target: &target,
            provider: &provider,
            method: &Method::POST,
            path: &path,
            query: None,
            headers: &headers,
        };
        decide(&facts).is_ok()
    };
    for denied in [
        r#"{allow: ["*"], deny: ["repo:delete"]}"#,
        r#"{deny: ["repo:delete"]}"#,
        r#"{defaultAction: allow, deny: ["repo:delete"]}"#,
        r#"{allow: ["graphql:query"]}"#,
        r#"{allow: ["graphql:*"], deny: ["graphql:mutation"]}"#,
        "{allow: []}",
        "{defaultAction: deny}",
    ] {
        assert!(!decide_graphql(denied), "{denied}");
    }
    for allowed in [
        r#"{allow: ["*"]}"#,
        "{}",
        r#"{allow: ["graphql:*"], deny: ["repo:delete"]}"#,
        "{defaultAction: allow}",
    ] {
        assert!(decide_graphql(allowed), "{allowed}");
    }
}

#[test]
fn telegram_requests() {
    let provider = provider(
        r#"{type: telegram, policy: {allow: ["send*", "getMe", "getUpdates", "downloadFile"], deny: ["sendDocument"]}}"#,
    );
    check(
        &provider,
        &[
            ("POST api.telegram.org/bot1:dw0/sendDocument", "sendDocument", "-", DENY),
            ("POST api.telegram.org/bot1:dw0/SENDDOCUMENT", "sendDocument", "-", DENY),
            ("POST api.telegram.org/bot1:dw0/send%44ocument", "sendDocument", "-", DENY),
            ("POST api.telegram.org/bot1:dw0//sendDocument", "sendDocument", "-", DENY),
            ("POST api.telegram.org/bot1:dw0/sendDocument/", "sendDocument", "-", DENY),
            ("POST api.telegram.org/bot1:dw0/sendDocument;x", "unknown", "?", DENY),
            ("POST api.telegram.org/bot1:dw0/deleteWebhook", "deleteWebhook", "-", DENY),
            ("POST api.telegram.org/bot1:dw0/logOut", "logOut", "-", DENY),
            ("POST api.telegram.org/bot1:dw0/frobnicate", "frobnicate", "-", DENY),
            ("GET api.telegram.org/", "unknown", "?", DENY),
            ("GET api.telegram.org/bot1:dw0", "unknown", "?", DENY),
            ("GET api.telegram.org/bot1:dw0/a/b", "unknown", "?", DENY),
            ("GET api.telegram.org/bot1:dw0/downloadFile", "unknown", "?", DENY),
            ("GET api.telegram.org/file/bot1:dw0", "unknown", "?", DENY),
            ("GET api.telegram.org/x/bot1:dw0/getMe", "unknown", "?", DENY),
            ("GET api.telegram.org/bot1:dw0/getMe", "getMe", "-", ALLOW),
            ("GET api.telegram.org/bot1%3Adw0/getMe", "getMe", "-", ALLOW),
            ("POST api.telegram.org/bot1:dw0/getUpdates?offset=1", "getUpdates", "-", ALLOW),
            ("POST api.telegram.org/bot1:dw0/sendMessage", "sendMessage", "-", ALLOW),
            ("POST api.telegram.org/bot1:dw0/test/sendMessage", "sendMessage", "-", ALLOW),
            ("POST api.telegram.org/bot1:dw0/sendFuture", "sendfuture", "-", ALLOW),
            ("GET api.telegram.org/file/bot1:dw0/photos/file_1.jpg", "downloadFile", "-", ALLOW),
        ],
    );
}

#[test]
fn slack_requests() {
    let provider = provider(
        r#"{type: slack, policy: {allow: ["conversations.*", "chat.*", "auth.test", "users.info", "socket:connect"], deny: ["chat.delete"]}, scope: {channels: [C1, "D*"]}}"#,
    );
    check(
        &provider,
        &[
            ("POST slack.com/api/chat.postMessage", "chat.postMessage", "?", DENY),
            ("POST slack.com/api/chat.postMessage?channel=C1", "chat.postMessage", "?", DENY),
            ("GET slack.com/api/chat.delete?channel=C1", "chat.delete", "C1", DENY),
            ("GET slack.com/api/Chat.Delete?channel=C1", "chat.delete", "C1", DENY),
            ("GET slack.com/api/conversations.history?channel=C2", "conversations.history", "C2", DENY),
            ("GET slack.com/api/conversations.history", "conversations.history", "?", DENY),
            (
                "GET slack.com/api/conversations.history?channel=C1&channel=C2",
                "conversations.history",
                "?",
                DENY,
            ),
            (
                "GET slack.com/api/conversations.history?channel=C1&ch%61nnel=C2",
                "conversations.history",
                "?",
                DENY,
            ),
            (
                "GET slack.com/api/conversations.history?channel=C1&channels=C2",
                "conversations.history",
                "?",
                DENY,
            ),
            ("GET slack.com/api/conversations.history?channel=C1,C2", "conversations.history", "C1,C2", DENY),
            ("GET slack.com/api/conversations.history?channel=%431", "conversations.history", "?", DENY),
            ("GET slack.com/api/conversations.list", "conversations.list", "?", DENY),
            ("GET slack.com/api/search.messages?query=x", "search.messages", "?", DENY),
            ("PUT slack.com/api/auth.test", "unknown", "?", DENY),
            ("GET slack.com/api", "unknown", "?", DENY),
            ("GET slack.com/api/auth.test/x", "unknown", "?", DENY),
            ("GET slack.com/messages", "unknown", "?", DENY),
            ("GET wss-primary.slack.com/link?ticket=x", "socket:connect", "?", DENY),
            ("GET slack.com/api/conversations.history?channel=C1", "conversations.history", "C1", ALLOW),
            ("GET slack.com/api/conversations.replies?ts=1&channel=c1", "conversations.replies", "c1", ALLOW),
            ("GET slack.com/api/conversations.info?channel=D123", "conversations.info", "D123", ALLOW),
            ("GET slack.com/api/chat.getPermalink?channel=C1,D2", "chat.getPermalink", "C1,D2", ALLOW),
            ("POST slack.com/api/auth.test", "auth.test", "-", ALLOW),
            ("POST slack.com/api/users.info", "users.info", "-", ALLOW),
        ],
    );
}

#[test]
fn openai_requests() {
    let spec = r#"{type: openai, policy: {allow: ["models:read", "chat:*", "embeddings:create", "files:read", "responses:create"], deny: ["chat:delete"]}}"#;
    check(
        &provider(spec),
        &[
            ("DELETE api.openai.com/v1/chat/completions/c1", "chat:delete", "-", DENY),
            ("DELETE api.openai.com/v1//chat/completions/c1", "chat:delete", "-", DENY),
            ("DELETE api.openai.com/v1/models/m", "models:delete", "-", DENY),
            ("POST api.openai.com/v1/files", "files:write", "-", DENY),
            ("POST api.openai.com/v1/uploads", "files:write", "-", DENY),
            ("GET api.openai.com/v1/organization/users", "admin:read", "-", DENY),
            ("POST api.openai.com/v1/organization/admin_api_keys", "admin:write", "-", DENY),
            ("GET api.openai.com/v1/responses/r1", "responses:read", "-", DENY),
            ("POST api.openai.com/v1/images/generations", "images:create", "-", DENY),
            ("POST api.openai.com/v1/fine_tuning/jobs", "fine-tuning:write", "-", DENY),
            ("GET api.openai.com/v1/realtime?model=x", "realtime:connect", "-", DENY),
            ("POST api.openai.com/v2/chat/completions", "unknown", "?", DENY),
            ("POST api.openai.com/v1/frobnicate", "unknown", "?", DENY),
            ("PUT api.openai.com/v1/chat/completions", "unknown", "?", DENY),
            ("GET api.openai.com/", "unknown", "?", DENY),
            ("GET api.openai.com/v1/models", "models:read", "-", ALLOW),
            ("GET api.openai.com/v1/models/gpt-x", "models:read", "-", ALLOW),
            ("POST api.openai.com/v1/chat/completions", "chat:create", "-", ALLOW),
            ("POST api.openai.com/v1/chat/completions/c1", "chat:update", "-", ALLOW),
            ("POST api.openai.com/v1/responses", "responses:create", "-", ALLOW),
            ("POST api.openai.com/v1/embeddings", "embeddings:create", "-", ALLOW),
            ("GET api.openai.com/v1/files/f1/content", "files:read", "-", ALLOW),
        ],
    );
    check(
        &provider(
            r#"{type: custom, host: llm.corp.example, policy: {allow: ["chat:create", "models:read"]}}"#,
        ),
        &[
            ("POST llm.corp.example/v1/files", "files:write", "-", DENY),
            ("POST llm.corp.example/v1/embeddings", "embeddings:create", "-", DENY),
            ("GET llm.corp.example/v1/organization/users", "admin:read", "-", DENY),
            ("DELETE llm.corp.example/v1/models/x", "models:delete", "-", DENY),
            ("POST llm.corp.example/chat/completions", "unknown", "?", DENY),
            ("POST llm.corp.example/a/b/c/d/v1/chat/completions", "unknown", "?", DENY),
            ("POST llm.corp.example/vx/chat/completions", "unknown", "?", DENY),
            ("POST llm.corp.example/v123/chat/completions", "unknown", "?", DENY),
            ("PUT llm.corp.example/v1/chat/completions", "unknown", "?", DENY),
            ("GET llm.corp.example/v1/chat/completions/x", "chat:read", "-", DENY),
            ("POST llm.corp.example/v1/chat", "unknown", "?", DENY),
            ("POST llm.corp.example/v1/chat/completions/x/y", "unknown", "?", DENY),
            ("GET llm.corp.example/v1", "unknown", "?", DENY),
            ("GET llm.corp.example/", "unknown", "?", DENY),
            ("GET llm.corp.example/admin", "unknown", "?", DENY),
            ("POST llm.corp.example/v1/chat%2Fcompletions", "unknown", "?", DENY),
            ("POST llm.corp.example/v1/chat/completions", "chat:create", "-", ALLOW),
            ("POST llm.corp.example/openai/v1/chat/completions", "chat:create", "-", ALLOW),
            ("POST llm.corp.example/api/v2/chat/completions", "chat:create", "-", ALLOW),
            ("GET llm.corp.example/v1/models", "models:read", "-", ALLOW),
            ("HEAD llm.corp.example/v1/models", "models:read", "-", ALLOW),
        ],
    );
}

#[test]
fn anthropic_requests() {
    check(
        &provider(
            r#"{type: anthropic, policy: {allow: ["messages:*", "models:read", "batches:read"], deny: ["messages:count"]}}"#,
        ),
        &[
            ("POST api.anthropic.com/v1/messages/count_tokens", "messages:count", "-", DENY),
            ("POST api.anthropic.com/v1/messages/Count_Tokens", "messages:count", "-", DENY),
            ("POST api.anthropic.com/v1/messages/batches", "batches:create", "-", DENY),
            ("POST api.anthropic.com/v1/messages/batches/b/cancel", "batches:delete", "-", DENY),
            ("DELETE api.anthropic.com/v1/messages/batches/b", "batches:delete", "-", DENY),
            ("POST api.anthropic.com/v1/files", "files:write", "-", DENY),
            ("GET api.anthropic.com/v1/files/f/content", "files:read", "-", DENY),
            ("POST api.anthropic.com/v1/complete", "completions:create", "-", DENY),
            ("GET api.anthropic.com/v1/organizations/api_keys", "admin:read", "-", DENY),
            ("POST api.anthropic.com/v1/organizations/invites", "admin:write", "-", DENY),
            ("POST api.anthropic.com/v1/skills", "skills:write", "-", DENY),
            ("PUT api.anthropic.com/v1/messages", "unknown", "?", DENY),
            ("GET api.anthropic.com/v1/messages", "unknown", "?", DENY),
            ("POST api.anthropic.com/v2/messages", "unknown", "?", DENY),
            ("POST api.anthropic.com/messages", "unknown", "?", DENY),
            ("POST api.anthropic.com/v1/messages%2Fbatches", "unknown", "?", DENY),
            ("POST api.anthropic.com/v1/messages", "messages:create", "-", ALLOW),
            ("POST api.anthropic.com/v1/messages?beta=true", "messages:create", "-", ALLOW),
            ("GET api.anthropic.com/v1/models", "models:read", "-", ALLOW),
            ("GET api.anthropic.com/v1/models/claude", "models:read", "-", ALLOW),
            ("GET api.anthropic.com/v1/messages/batches/b/results", "batches:read", "-", ALLOW),
        ],
    );
}

#[test]
fn gemini_requests() {
    check(
        &provider(
            r#"{type: gemini, policy: {allow: ["content:create", "models:read", "tokens:count", "files:read"]}}"#,
        ),
        &[
            ("GET generativelanguage.googleapis.com/v1beta/models/g:generateContent", "unknown", "?", DENY),
            ("POST generativelanguage.googleapis.com/v1beta/models/g:frobnicate", "unknown", "?", DENY),
            (
                "POST generativelanguage.googleapis.com/v1beta/models/g%3AgenerateContent",
                "unknown",
                "?",
                DENY,
            ),
            (
                "POST generativelanguage.googleapis.com/v1beta/models/g:embedContent",
                "embeddings:create",
                "-",
                DENY,
            ),
            ("POST generativelanguage.googleapis.com/v1beta/models/g:predict", "images:create", "-", DENY),
            (
                "POST generativelanguage.googleapis.com/v1beta/models/g:predictLongRunning",
                "videos:create",
                "-",
                DENY,
            ),
            (
                "POST generativelanguage.googleapis.com/v1beta/models/g:batchGenerateContent",
                "batches:create",
                "-",
                DENY,
            ),
            ("POST generativelanguage.googleapis.com/v1beta/files", "files:write", "-", DENY),
            ("POST generativelanguage.googleapis.com/upload/v1beta/files", "files:write", "-", DENY),
            ("DELETE generativelanguage.googleapis.com/v1beta/files/f", "files:write", "-", DENY),
            ("POST generativelanguage.googleapis.com/v1beta/cachedContents", "caches:write", "-", DENY),
            ("POST generativelanguage.googleapis.com/v1beta/tunedModels", "tuning:write", "-", DENY),
            ("POST generativelanguage.googleapis.com/v1beta/fileSearchStores", "stores:write", "-", DENY),
            ("GET generativelanguage.googleapis.com/ws/google.ai.x", "live:connect", "-", DENY),
            ("POST generativelanguage.googleapis.com/v9/models/g:generateContent", "unknown", "?", DENY),
            (
                "POST generativelanguage.googleapis.com/v1beta/openai/chat/completions",
                "chat:create",
                "-",
                DENY,
            ),
            (
                "POST generativelanguage.googleapis.com/v1beta/models/g:generateContent",
                "content:create",
                "-",
                ALLOW,
            ),
            (
                "POST generativelanguage.googleapis.com/v1/models/g:streamGenerateContent?alt=sse",
                "content:create",
                "-",
                ALLOW,
            ),
            (
                "POST generativelanguage.googleapis.com/v1beta/tunedModels/g:generateContent",
                "content:create",
                "-",
                ALLOW,
            ),
            (
                "POST generativelanguage.googleapis.com/v1beta/models/g:countTokens",
                "tokens:count",
                "-",
                ALLOW,
            ),
            ("GET generativelanguage.googleapis.com/v1beta/models?key=x", "models:read", "-", ALLOW),
            ("GET generativelanguage.googleapis.com/v1beta/files/f", "files:read", "-", ALLOW),
        ],
    );
}

#[test]
fn openrouter_requests() {
    check(
        &provider(
            r#"{type: openrouter, policy: {allow: ["chat:create", "models:read", "account:read", "embeddings:create"]}}"#,
        ),
        &[
            ("POST openrouter.ai/api/v1/keys", "admin:write", "-", DENY),
            ("GET openrouter.ai/api/v1/keys", "admin:read", "-", DENY),
            ("DELETE openrouter.ai/api/v1/keys/k", "admin:write", "-", DENY),
            ("POST openrouter.ai/api/v1/credits/coinbase", "admin:write", "-", DENY),
            ("POST openrouter.ai/api/v1/auth/keys", "admin:write", "-", DENY),
            ("POST openrouter.ai/api/v1/completions", "completions:create", "-", DENY),
            ("POST openrouter.ai/api/v1/messages", "messages:create", "-", DENY),
            ("POST openrouter.ai/api/v1/responses", "responses:create", "-", DENY),
            ("GET openrouter.ai/api/v1/generation?id=1", "generation:read", "-", DENY),
            ("POST openrouter.ai/api/v1/files", "unknown", "?", DENY),
            ("POST openrouter.ai/api/v1/assistants", "unknown", "?", DENY),
            ("GET openrouter.ai/api/v1/organization/x", "admin:read", "-", DENY),
            ("POST openrouter.ai/v1/chat/completions", "unknown", "?", DENY),
            ("GET openrouter.ai/", "unknown", "?", DENY),
            ("PUT openrouter.ai/api/v1/chat/completions", "unknown", "?", DENY),
            ("POST openrouter.ai/api/v1/chat/completions", "chat:create", "-", ALLOW),
            ("POST openrouter.ai/api/v1/embeddings", "embeddings:create", "-", ALLOW),
            ("GET openrouter.ai/api/v1/models", "models:read", "-", ALLOW),
            ("GET openrouter.ai/api/v1/models/a/b/endpoints", "models:read", "-", ALLOW),
            ("GET openrouter.ai/api/v1/key", "account:read", "-", ALLOW),
            ("GET openrouter.ai/api/v1/credits", "account:read", "-", ALLOW),
        ],
    );
}

#[test]
fn venice_requests() {
    check(
        &provider(
            r#"{type: venice, policy: {allow: ["chat:create", "models:read", "images:create", "account:read"]}}"#,
        ),
        &[
            ("POST api.venice.ai/api/v1/api_keys", "admin:write", "-", DENY),
            ("GET api.venice.ai/api/v1/api_keys", "admin:read", "-", DENY),
            ("DELETE api.venice.ai/api/v1/api_keys?id=1", "admin:write", "-", DENY),
            ("POST api.venice.ai/api/v1/api_keys/generate_web3_key", "admin:write", "-", DENY),
            ("POST api.venice.ai/api/v1/audio/speech", "audio:create", "-", DENY),
            ("POST api.venice.ai/api/v1/embeddings", "embeddings:create", "-", DENY),
            ("POST api.venice.ai/api/v1/video/queue", "videos:create", "-", DENY),
            ("GET api.venice.ai/api/v1/characters", "characters:read", "-", DENY),
            ("POST api.venice.ai/api/v1/files", "unknown", "?", DENY),
            ("GET api.venice.ai/api/v1/organization/users", "admin:read", "-", DENY),
            ("POST api.venice.ai/v1/chat/completions", "unknown", "?", DENY),
            ("POST api.venice.ai/api/v2/chat/completions", "unknown", "?", DENY),
            ("PUT api.venice.ai/api/v1/chat/completions", "unknown", "?", DENY),
            ("GET api.venice.ai/", "unknown", "?", DENY),
            ("POST api.venice.ai/api/v1/chat", "unknown", "?", DENY),
            ("POST api.venice.ai/api/v1/chat/completions", "chat:create", "-", ALLOW),
            ("POST api.venice.ai/api/v1/image/generate", "images:create", "-", ALLOW),
            ("POST api.venice.ai/api/v1/images/generations", "images:create", "-", ALLOW),
            ("GET api.venice.ai/api/v1/image/styles", "models:read", "-", ALLOW),
            ("GET api.venice.ai/api/v1/models", "models:read", "-", ALLOW),
            ("GET api.venice.ai/api/v1/api_keys/rate_limits", "account:read", "-", ALLOW),
        ],
    );
}

#[test]
fn http_token_requests() {
    let rules = r#"{httpRules: [
      {id: no-admin, paths: ["/admin/**"], effect: deny},
      {methods: [GET, HEAD], paths: ["/v1/**"], effect: allow},
      {methods: [POST], paths: ["/v1/*/items", "/hook"], effect: allow}]}"#;
    check(
        &provider(&format!("{{type: http-token, host: a.example, policy: {rules}}}")),
        &[
            ("GET a.example/admin", "unknown", "?", DENY),
            ("GET a.example/ADMIN/x", "unknown", "?", DENY),
            ("GET a.example/v1/../admin/x", "unknown", "?", DENY),
            ("GET a.example//admin/x", "unknown", "?", DENY),
            ("GET a.example/%61dmin", "unknown", "?", DENY),
            ("GET a.example/%2561dmin", "unknown", "?", DENY),
            ("GET a.example/admin;x/y", "unknown", "?", DENY),
            ("GET a.example/admin%2Fx", "unknown", "?", DENY),
            ("GET a.example/", "unknown", "?", DENY),
            ("GET a.example/V1/x", "unknown", "?", DENY),
            ("DELETE a.example/v1/x", "unknown", "?", DENY),
            ("get a.example/v1/x", "unknown", "?", DENY),
            ("POST a.example/v1/items", "unknown", "?", DENY),
            ("POST a.example/v1/a/b/items", "unknown", "?", DENY),
            ("POST a.example/v1/a/items/", "unknown", "?", DENY),
            ("POST a.example/hook/", "unknown", "?", DENY),
            ("PATCH a.example/hook", "unknown", "?", DENY),
            ("GET a.example/v1", "unknown", "?", ALLOW),
            ("GET a.example/v1/", "unknown", "?", ALLOW),
            ("HEAD a.example/v1/x/y", "unknown", "?", ALLOW),
            ("POST a.example/v1/a/items", "unknown", "?", ALLOW),
            ("POST a.example/hook?x=1", "unknown", "?", ALLOW),
        ],
    );
}
