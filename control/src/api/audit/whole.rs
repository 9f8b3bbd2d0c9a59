//! `/v1/audit`: the records of the whole installation, with whole chains, and dropping what is older than a term.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    Exported, OneSource, Records, SOURCE, Sources, Verified, Wanted, all_sources, exported, failed, page,
    source_of, verified,
};
use crate::api::body::Json;
use crate::api::call::Call;
use crate::api::permission::Permission;
use crate::api::problem::{Answer, Problem, ProblemSchema};
use crate::api::{Api, Query, Sent, TIME, bounded};
use crate::refusal::Code;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(sources))
        .routes(routes!(check))
        .routes(routes!(export))
        .routes(routes!(prune))
}

/// List records of the installation, oldest first.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(Wanted),
    responses((status = 200, body = Records), (status = "4XX", body = ProblemSchema)))]
async fn list(State(api): State<Api>, call: Call, Query(mut wanted): Query<Wanted>) -> Answer<Sent<Records>> {
    call.need_installation(Permission::AuditRead)?;
    let source = source_of(&api, None, wanted.source.take()).await?;
    page(&api, None, source, wanted).await
}

/// List the sources of the installation's records.
#[utoipa::path(get, path = "/v1/audit/sources", tag = "audit",
    responses((status = 200, body = Sources), (status = "4XX", body = ProblemSchema)))]
async fn sources(State(api): State<Api>, call: Call) -> Answer<Sent<Sources>> {
    call.need_installation(Permission::AuditRead)?;
    all_sources(&api, None).await
}

/// Check the whole chain of a source and its checkpoints.
#[utoipa::path(get, path = "/v1/audit/verify", tag = "audit", params(OneSource),
    responses((status = 200, body = Verified), (status = "4XX", body = ProblemSchema)))]
async fn check(
    State(api): State<Api>,
    call: Call,
    Query(wanted): Query<OneSource>,
) -> Answer<Sent<Verified>> {
    call.need_installation(Permission::AuditRead)?;
    let source = source_of(&api, None, wanted.source).await?;
    verified(&api, None, source).await
}

/// Every record of a source, as JSONL or as OCSF events: a whole chain, which verifies elsewhere.
#[utoipa::path(get, path = "/v1/audit/export", tag = "audit", params(Exported),
    responses((status = 200, content_type = "application/x-ndjson", body = String),
        (status = "4XX", body = ProblemSchema)))]
async fn export(State(api): State<Api>, call: Call, Query(wanted): Query<Exported>) -> Answer<Response> {
    call.need_installation(Permission::AuditRead)?;
    let source = source_of(&api, None, wanted.source).await?;
    Ok(exported(api, None, source, wanted.format.unwrap_or_default()))
}

/// What is to be dropped.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AuditPrune)]
struct Prune {
    /// Records before this time, RFC 3339.
    before: String,
    /// Of this source only.
    source: Option<String>,
}

/// What became of the sources that have records that old.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditPruned)]
pub(crate) struct PrunedList {
    pub(crate) items: Vec<PrunedSource>,
}

/// What became of one source.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditPrunedSource)]
pub(crate) struct PrunedSource {
    pub(crate) source: String,
    /// How many records went.
    pub(crate) dropped: u64,
    /// The first record that is still there.
    pub(crate) from: Option<u64>,
    /// Why none went.
    pub(crate) refused: Option<String>,
}

/// Drop records that are older than a time, up to a signed checkpoint; what does not verify stays.
#[utoipa::path(post, path = "/v1/audit/prune", tag = "audit", request_body = Prune,
    responses((status = 200, body = PrunedList), (status = "4XX", body = ProblemSchema)))]
async fn prune(State(api): State<Api>, call: Call, Json(asked, _): Json<Prune>) -> Answer<Sent<PrunedList>> {
    call.need_installation(Permission::ProjectAdmin)?;
    bounded("before", Some(&asked.before), TIME)?;
    bounded("source", asked.source.as_deref(), SOURCE)?;
    let before = OffsetDateTime::parse(&asked.before, &Rfc3339)
        .map_err(|_| Problem::new(Code::Dw6016, "`before` is a time of RFC 3339"))?;
    if before > (api.clock)() {
        return Err(Problem::new(Code::Dw6016, "`before` is in the future"));
    }
    let source = match asked.source {
        Some(source) => Some(source_of(&api, None, Some(source)).await?),
        None => None,
    };
    let pruned = api.upkeep().prune(before.unix_timestamp(), source.as_deref()).await.map_err(failed)?;
    let items = pruned.into_iter().map(|one| match one.outcome {
        Ok((dropped, from)) => PrunedSource { source: one.source, dropped, from: Some(from), refused: None },
        Err(error) => {
            PrunedSource { source: one.source, dropped: 0, from: None, refused: Some(error.to_string()) }
        }
    });
    Ok(Sent::ok(PrunedList { items: items.collect() }))
}
