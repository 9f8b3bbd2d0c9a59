//! The signed checkpoints of the chains, and the key that verifies them: what is to be kept elsewhere.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{failed, source_of, within};
use crate::api::call::Call;
use crate::api::limits::PAGE_MOST;
use crate::api::permission::Permission;
use crate::api::problem::{Answer, Problem, ProblemSchema};
use crate::api::{Api, Path, Query, Sent};
use crate::audit::Checkpoint;
use crate::audit::checkpoint::Written;
use crate::refusal::Code;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(key)).routes(routes!(list)).routes(routes!(list_all, sign))
}

/// The key that verifies checkpoints.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditKey)]
pub(crate) struct AuditKeyView {
    /// How checkpoints name it.
    pub(crate) id: String,
    /// `ed25519`.
    pub(crate) algorithm: String,
    /// The public key, PEM.
    pub(crate) pem: String,
}

/// Checkpoints of one source.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditCheckpoints)]
pub(crate) struct CheckpointList {
    pub(crate) items: Vec<Written>,
    /// `after` of the next call; null on the last page.
    pub(crate) next: Option<u64>,
}

/// What was signed now, and what could not be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditSigned)]
struct SignedNow {
    items: Vec<Written>,
    /// Why the chain of a source was not signed.
    refused: Vec<String>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Whose; `control` if it is not given.
    source: Option<String>,
    /// The number of the record after which they begin.
    after: Option<u64>,
    /// The most checkpoints, from 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// The public key of the checkpoints.
#[utoipa::path(get, path = "/v1/audit/key", tag = "audit",
    responses((status = 200, body = AuditKeyView), (status = "4XX", body = ProblemSchema)))]
async fn key(State(api): State<Api>, call: Call) -> Answer<Sent<AuditKeyView>> {
    call.need_somewhere(Permission::AuditRead)?;
    let key = api.upkeep().key().await.map_err(failed)?;
    Ok(Sent::ok(AuditKeyView { id: key.id(), algorithm: "ed25519".to_owned(), pem: key.pem() }))
}

/// List the checkpoints of a source of a project, oldest first.
#[utoipa::path(get, path = "/v1/projects/{project}/audit/checkpoints", tag = "audit",
    params(("project" = String, Path), Wanted),
    responses((status = 200, body = CheckpointList), (status = "4XX", body = ProblemSchema)))]
async fn list(
    State(api): State<Api>,
    call: Call,
    Path(project): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Answer<Sent<CheckpointList>> {
    call.enter(&api, &project, Permission::AuditRead).await?;
    page(&api, Some(&project), wanted).await
}

/// List the checkpoints of a source of the installation, oldest first.
#[utoipa::path(get, path = "/v1/audit/checkpoints", tag = "audit", params(Wanted),
    responses((status = 200, body = CheckpointList), (status = "4XX", body = ProblemSchema)))]
async fn list_all(
    State(api): State<Api>,
    call: Call,
    Query(wanted): Query<Wanted>,
) -> Answer<Sent<CheckpointList>> {
    call.need_installation(Permission::AuditRead)?;
    page(&api, None, wanted).await
}

async fn page(api: &Api, project: Option<&str>, wanted: Wanted) -> Answer<Sent<CheckpointList>> {
    let limit = wanted.limit.unwrap_or(PAGE_MOST);
    if !(1..=PAGE_MOST).contains(&limit) {
        return Err(Problem::new(Code::Dw6003, format!("`limit` is from 1 to {PAGE_MOST}")));
    }
    let source = source_of(api, project, wanted.source).await?;
    let after = within(wanted.after.unwrap_or(0));
    let mut rows = api.registry.checkpoints(project, &source, after, limit + 1).await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = rows.len() > most;
    rows.truncate(most);
    let next = rows.last().filter(|_| is_more).map(|one| one.chain.seq);
    Ok(Sent::ok(CheckpointList { items: rows.iter().map(Checkpoint::written).collect(), next }))
}

/// Sign now where every chain stands that has a record more than was signed.
#[utoipa::path(post, path = "/v1/audit/checkpoints", tag = "audit",
    responses((status = 200, body = SignedNow), (status = "4XX", body = ProblemSchema)))]
async fn sign(State(api): State<Api>, call: Call) -> Answer<Sent<SignedNow>> {
    call.need_installation(Permission::AuditRead)?;
    let done = api.upkeep().sign(None).await.map_err(failed)?;
    let mut signed = SignedNow { items: Vec::new(), refused: Vec::new() };
    for (source, outcome) in done {
        match outcome {
            Ok(checkpoint) => signed.items.push(checkpoint.written()),
            Err(error) => signed.refused.push(format!("{source}: {error}")),
        }
    }
    Ok(Sent::ok(signed))
}
