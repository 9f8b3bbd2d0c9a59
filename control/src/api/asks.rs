//! `/v1/projects/{project}/asks`: what rules with `effect: ask` ask people, and what people say.
//!
//! Refuses whoever may not both manage agents and use their secrets' project (`agents:manage` and `secrets:manage`) to approve,
//! and, for a change of the rules, not manage providers either; whoever saw another version; and what is decided or over. An
//! agent's token opens nothing here, so that no agent approves its own request. What is shown holds no header value and no
//! character that a terminal would act on; of a body only its beginning, where the rule says so (`ask: {preview: true}`), one
//! question at a time, while it is open, to those who may approve it.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Json;
use super::call::{Call, Did};
use super::page::{Items, Part};
use super::permission::Permission;
use super::problem::{Answer, Problem, ProblemSchema};
use super::{Api, Path, Query, Sent, documents, shown, watch};
use crate::approval::{AskRow, Decision, Kept, LONGEST, Preview, State};
use crate::policy;
use crate::provider::{NewRule, Provider, allow_before};
use crate::refusal::Code;
use crate::registry::{DocumentKind, ObjectKind, Seen};
use crate::rule;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read))
        .routes(routes!(approve))
        .routes(routes!(deny))
}

/// A question whether a request may go out.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Ask)]
pub(crate) struct AskView {
    pub(crate) kind: String,
    /// Its id.
    pub(crate) name: String,
    pub(crate) project: String,
    /// `open`, `approved-once`, `approved`, `denied`, `used` or `settled`.
    pub(crate) state: String,
    pub(crate) agent: String,
    pub(crate) provider: String,
    /// The id of the rule that asks.
    pub(crate) rule: String,
    pub(crate) method: String,
    /// Host and port.
    pub(crate) host: String,
    /// Canonical path and query; what is no visible ASCII is percent-coded, a credential in the path is `*`.
    pub(crate) path: String,
    /// What it does, as the provider's type knows it.
    pub(crate) action: Option<String>,
    /// The way in which the credential is put on; null: none is.
    pub(crate) scheme: Option<String>,
    /// It opens a WebSocket, of which only the handshake can be seen.
    pub(crate) websocket: bool,
    /// The length of the body.
    pub(crate) body_bytes: u64,
    /// The SHA-256 of the body.
    pub(crate) body_sha256: String,
    /// The beginning of the body, where the rule says `ask: {preview: true}`; to those who may approve, while the question is
    /// open, and not in lists. Characters that cannot be seen are escaped (`\n`, `\u{1b}`).
    #[serde(default)]
    pub(crate) body_preview: Option<String>,
    /// How many bytes of the body that is; 0: the body is no text.
    #[serde(default)]
    pub(crate) body_preview_bytes: Option<u64>,
    /// An approval holds for other bodies as well.
    pub(crate) any_body: bool,
    /// A digest of all that an approval is bound to, headers included.
    pub(crate) binding: String,
    /// The `Doorward-Request-Id` of the request that asked first.
    pub(crate) request: String,
    pub(crate) created: String,
    /// When the question, the approval or the memory of the denial ends.
    pub(crate) expires: String,
    pub(crate) decided: Option<String>,
    pub(crate) decided_by: Option<String>,
    /// The version, as in the ETag.
    pub(crate) version: u64,
}

/// What is approved: without any field this one request, once, within an hour.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct ApproveBody {
    /// Such requests for this long, in seconds, at most a week.
    for_seconds: Option<u64>,
    /// Whatever their body is.
    any_body: bool,
    /// A rule that allows it stands in front of the one that asks from now on, whatever query and body are: needs
    /// `providers:manage` as well.
    as_rule: bool,
}

/// Nothing yet.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct DenyBody {}

pub(crate) fn view(row: AskRow) -> AskView {
    let (decided, decided_by) = row.decided.unzip();
    let binding = hex::encode(row.binding.digest());
    let b = row.binding;
    AskView {
        kind: "Ask".to_owned(),
        name: row.id,
        project: b.project,
        state: row.state.name().to_owned(),
        agent: b.agent,
        provider: b.provider,
        rule: b.rule,
        method: b.method,
        host: b.authority,
        path: b.path,
        action: b.action,
        scheme: b.scheme,
        websocket: b.websocket,
        body_bytes: b.body_bytes,
        body_sha256: hex::encode(b.body.0),
        body_preview: None,
        body_preview_bytes: None,
        any_body: row.any_body,
        binding,
        request: row.request,
        created: shown(row.created),
        expires: shown(row.expires),
        decided: decided.map(shown),
        decided_by,
        version: row.version,
    }
}

/// The same with what may be seen of the body.
pub(crate) fn view_with(row: AskRow, preview: Option<Preview>) -> AskView {
    let (text, bytes) = preview.map(Preview::into_parts).unzip();
    AskView { body_preview: text, body_preview_bytes: bytes, ..view(row) }
}

/// List questions.
#[utoipa::path(get, path = "/v1/projects/{project}/asks", tag = "approvals",
    params(("project" = String, Path), Part),
    responses((status = 200, body = Items<AskView>), (status = "4XX", body = ProblemSchema)))]
async fn list(
    Shared(api): Shared<Api>,
    call: Call,
    Path(project): Path<String>,
    Query(part): Query<Part>,
) -> Answer<Response> {
    call.enter(&api, &project, Permission::AgentsManage).await?;
    if let Some(since) = part.watch() {
        return watch::stream(&api, call, Some(project), &[ObjectKind::Ask], since).await;
    }
    let rows = api.registry.asks(&project, part.page()?).await?;
    Ok(Sent::ok(part.items(rows, |row| row.id.clone(), view)?).into_response())
}

/// Read a question.
#[utoipa::path(get, path = "/v1/projects/{project}/asks/{ask}", tag = "approvals",
    params(("project" = String, Path), ("ask" = String, Path)),
    responses((status = 200, body = AskView), (status = "4XX", body = ProblemSchema)))]
async fn read(
    Shared(api): Shared<Api>,
    call: Call,
    Path((project, id)): Path<(String, String)>,
) -> Answer<Sent<AskView>> {
    call.enter(&api, &project, Permission::AgentsManage).await?;
    let row = row(&api, &project, &id).await?;
    let version = row.version;
    let may_approve = call.caller.may_in(Some(&project), Permission::SecretsManage);
    let preview = may_approve.then(|| opened(&api, &row)).flatten();
    Ok(Sent::object(view_with(row, preview), version))
}

/// What may be seen of the body; what cannot be opened any more is not there.
fn opened(api: &Api, row: &AskRow) -> Option<Preview> {
    let Kept(sealed) = row.open_preview(api.now())?;
    match api.vault.open_preview(&row.binding, sealed) {
        // exposed: for whoever decides about this request; it is what the agent sent, and no secret of the project
        Ok(text) => Preview::parse(text.expose(), &row.binding),
        Err(error) => {
            tracing::warn!(%error, ask = %row.id, "the beginning of a body does not open");
            None
        }
    }
}

/// Approve a request: once, for a time, or as a rule.
#[utoipa::path(post, path = "/v1/projects/{project}/asks/{ask}/approve", tag = "approvals",
    params(("project" = String, Path), ("ask" = String, Path), ("If-Match" = String, Header)),
    request_body = ApproveBody,
    responses((status = 200, body = AskView), (status = "4XX", body = ProblemSchema)))]
async fn approve(
    Shared(api): Shared<Api>,
    call: Call,
    Path((project, id)): Path<(String, String)>,
    Json(body, _): Json<ApproveBody>,
) -> Answer<Sent<AskView>> {
    call.enter(&api, &project, Permission::AgentsManage).await?;
    call.need_in(Some(&project), Permission::SecretsManage)?;
    if body.as_rule {
        call.need_in(Some(&project), Permission::ProvidersManage)?;
        if body.for_seconds.is_some() || body.any_body {
            return Err(Problem::new(Code::Dw6016, "`asRule` stands alone"));
        }
        return as_rule(&api, &call, &project, &id).await;
    }
    let any_body = body.any_body;
    let decision = match body.for_seconds {
        None => Decision::Once { any_body },
        Some(seconds) => {
            let until = until(seconds, api.now())
                .ok_or_else(|| Problem::new(Code::Dw6016, format!("`forSeconds` is from 1 to {LONGEST}")))?;
            Decision::Until { until, any_body }
        }
    };
    decide(&api, &call, (&project, &id), decision).await
}

/// Deny a request; that is remembered for an hour.
#[utoipa::path(post, path = "/v1/projects/{project}/asks/{ask}/deny", tag = "approvals",
    params(("project" = String, Path), ("ask" = String, Path), ("If-Match" = String, Header)),
    request_body = DenyBody,
    responses((status = 200, body = AskView), (status = "4XX", body = ProblemSchema)))]
async fn deny(
    Shared(api): Shared<Api>,
    call: Call,
    Path((project, id)): Path<(String, String)>,
    Json(DenyBody {}, _): Json<DenyBody>,
) -> Answer<Sent<AskView>> {
    call.enter(&api, &project, Permission::AgentsManage).await?;
    decide(&api, &call, (&project, &id), Decision::Deny).await
}

/// When an approval for so many seconds ends; `None` for one that is too long.
pub(crate) fn until(seconds: u64, now: i64) -> Option<i64> {
    let seconds = i64::try_from(seconds).ok().filter(|seconds| (1..=LONGEST).contains(seconds))?;
    now.checked_add(seconds)
}

/// Puts an allowing rule in front of the one that asks.
async fn as_rule(api: &Api, call: &Call, project: &str, id: &str) -> Answer<Sent<AskView>> {
    let ask = row(api, project, id).await?;
    let seen = call.check_seen(ask.version)?;
    let is_live = !matches!(ask.state, State::Used | State::Settled) && ask.expires > api.now();
    let document = api.registry.document(project, DocumentKind::Provider, &ask.binding.provider).await?;
    let document = document.filter(|document| is_live && document.version == ask.document);
    let document = document.ok_or_else(|| {
        let detail =
            "it is decided, over, asked under other rules, or of a provider that the server does not have";
        Problem::new(Code::Dw6010, detail)
    })?;
    let b = &ask.binding;
    let path = b.path.split('?').next().unwrap_or_default();
    let name = format!("approved-{id}");
    let new = NewRule { id: &name, method: &b.method, path };
    let text = allow_before(&document.document.text, &b.rule, new)
        .map_err(|error| Problem::new(Code::Dw6016, error.to_string()))?;
    let lets = |provider: &Arc<Provider>| {
        let request = http::Method::from_bytes(b.method.as_bytes()).ok().zip(rule::Path::parse(path).ok());
        let allows = request.and_then(|(method, path)| policy::rule_that_allows(provider, &method, &path));
        allows.as_deref() == Some(new.id)
    };
    documents::amend(api, call, (project, document), text, lets).await?;
    decide_seen(api, call, &ask, Decision::Settled, seen).await
}

async fn decide(
    api: &Api,
    call: &Call,
    (project, id): (&str, &str),
    decision: Decision,
) -> Answer<Sent<AskView>> {
    let before = row(api, project, id).await?;
    let seen = call.seen()?;
    decide_seen(api, call, &before, decision, seen).await
}

async fn decide_seen(
    api: &Api,
    call: &Call,
    before: &AskRow,
    decision: Decision,
    seen: Seen,
) -> Answer<Sent<AskView>> {
    let (project, id) = (&before.binding.project, &before.id);
    let did = Did { told: Some(before.told(decision)), ..Did::new(ObjectKind::Ask, id.as_str(), "decided") };
    let act = call.act(api, &did);
    let after = api.registry.decide_ask(project, id, (decision, &call.caller.name), seen, act).await?;
    let version = after.version;
    Ok(Sent::object(view(after), version))
}

async fn row(api: &Api, project: &str, id: &str) -> Answer<AskRow> {
    api.registry.asked(project, id).await?.ok_or_else(Problem::missing)
}
