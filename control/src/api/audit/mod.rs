//! `/v1/projects/{project}/audit`, and `/v1/audit` for the whole installation: the records, whether their chains hold, what
//! was signed of them, and all of them as JSONL or OCSF events.
//!
//! A record has no place for a value. What concerns no project, or another one, is shown to tokens of the installation only.
//! One call looks at a bounded number of records: a page may have fewer than were asked for, and still a next one.

mod signed;
mod whole;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::call::Call;
use super::limits::{PAGE, PAGE_MOST};
use super::permission::Permission;
use super::problem::{Answer, Problem, ProblemSchema};
use super::{Api, Path, Query, Sent};
use crate::audit::ocsf;
use crate::audit::search::{Facts, Filter, moment};
use crate::audit::upkeep::UpkeepError;
use crate::refusal::Code;
use crate::registry::AuditLine;
pub(crate) use signed::{AuditKeyView, CheckpointList};
pub(crate) use whole::PrunedList;

/// The source of the server's own records.
pub(crate) const CONTROL: &str = "control";
/// Lines that are read at once.
const AT_ONCE: u32 = 500;
/// Lines that one call of a search looks at: it answers in time on the largest chain, and the next call goes on.
const LOOKED_AT: u64 = 20_000;
/// More than the longest name of a source: a project, an agent and a digest.
pub(super) const SOURCE: usize = 512;
/// The longest text that is looked for.
const TEXT_MOST: usize = 512;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(sources))
        .routes(routes!(check))
        .routes(routes!(export))
        .merge(signed::routes())
        .merge(whole::routes())
}

/// One record.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditRecord)]
pub(crate) struct Record {
    /// Whose chain it belongs to: `control`, or a sidecar's.
    pub(crate) source: String,
    pub(crate) seq: u64,
    /// The record, as its hash counts it.
    #[schema(value_type = Object)]
    pub(crate) record: Box<RawValue>,
}

/// Records of one source.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditRecords)]
pub(crate) struct Records {
    pub(crate) items: Vec<Record>,
    /// `after` of the next call; null on the last page.
    pub(crate) next: Option<u64>,
}

/// The sources of records.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditSources)]
pub(crate) struct Sources {
    pub(crate) items: Vec<Source>,
}

/// One source.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditSource)]
pub(crate) struct Source {
    pub(crate) name: String,
    /// The number of its last record.
    pub(crate) last: u64,
}

/// Whether a chain holds.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditVerified)]
pub(crate) struct Verified {
    pub(crate) source: String,
    /// Whether every record follows from the one before, and is the one that was signed.
    pub(crate) intact: bool,
    /// How many records were read.
    pub(crate) records: u64,
    /// The number of the last one that holds.
    pub(crate) last: u64,
    /// Its hash.
    pub(crate) hash: String,
    /// How many signed checkpoints it agrees with. Keep them elsewhere: whoever has the whole database can cut off both.
    pub(crate) checkpoints: u64,
    /// The number of the last record that is signed.
    pub(crate) signed: u64,
    /// Where and why it does not hold.
    pub(crate) broken: Option<String>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Whose; `control` if it is not given.
    source: Option<String>,
    /// The number after which they begin.
    after: Option<u64>,
    /// The most records, from 1 to 1000. A page may have fewer and still a next one: a search looks at a part of the chain.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Of this agent, or caller.
    agent: Option<String>,
    /// Of this provider.
    provider: Option<String>,
    /// To this host.
    host: Option<String>,
    /// allow, deny, would-deny or error.
    verdict: Option<String>,
    /// With this code.
    code: Option<String>,
    /// Of this request.
    request: Option<String>,
    /// From this time on, RFC 3339.
    since: Option<String>,
    /// Before this time, RFC 3339.
    until: Option<String>,
    /// With this text in the path.
    path: Option<String>,
}

impl Wanted {
    fn limit(&self) -> Answer<usize> {
        let limit = self.limit.unwrap_or(PAGE);
        if (1..=PAGE_MOST).contains(&limit) {
            return Ok(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        Err(Problem::new(Code::Dw6003, format!("`limit` is from 1 to {PAGE_MOST}")))
    }

    fn filter(self) -> Answer<Filter> {
        let Self { agent, provider, host, verdict, code, request, since, until, path, .. } = self;
        let texts = [&agent, &provider, &host, &verdict, &code, &request, &path];
        if texts.into_iter().flatten().any(|text| text.len() > TEXT_MOST) {
            return Err(Problem::new(
                Code::Dw6003,
                format!("a text to look for has at most {TEXT_MOST} bytes"),
            ));
        }
        let time = |text: Option<String>, name: &str| {
            let read = |text: String| {
                let time = OffsetDateTime::parse(&text, &Rfc3339);
                time.map(moment)
                    .map_err(|_| Problem::new(Code::Dw6003, format!("`{name}` is a time of RFC 3339")))
            };
            text.map(read).transpose()
        };
        let (since, until) = (time(since, "since")?, time(until, "until")?);
        Ok(Filter { agent, provider, host, verdict, code, request, since, until, path })
    }
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OneSource {
    /// Whose; `control` if it is not given.
    source: Option<String>,
}

/// In which form records are exported.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AuditFormat)]
enum Form {
    #[default]
    Jsonl,
    Ocsf,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Exported {
    /// Whose; `control` if it is not given.
    source: Option<String>,
    /// `jsonl`: the records as they are; `ocsf`: events of OCSF 1.6.0.
    #[param(inline)]
    format: Option<Form>,
}

/// List records of a project, oldest first.
#[utoipa::path(get, path = "/v1/projects/{project}/audit", tag = "audit",
    params(("project" = String, Path), Wanted),
    responses((status = 200, body = Records), (status = "4XX", body = ProblemSchema)))]
async fn list(
    State(api): State<Api>,
    call: Call,
    Path(project): Path<String>,
    Query(mut wanted): Query<Wanted>,
) -> Answer<Sent<Records>> {
    call.enter(&api, &project, Permission::AuditRead).await?;
    let source = source_of(&api, Some(&project), wanted.source.take()).await?;
    page(&api, Some(&project), source, wanted).await
}

/// The records that are wanted, of a project or of all.
async fn page(api: &Api, project: Option<&str>, source: String, wanted: Wanted) -> Answer<Sent<Records>> {
    let most = wanted.limit()?;
    let mut after = within(wanted.after.unwrap_or(0));
    let filter = wanted.filter()?;
    let mut items = Vec::new();
    let mut looked_at = 0;
    let next = loop {
        let rows = api.registry.audit_lines(project, &source, after, AT_ONCE).await?;
        let Some(last) = rows.last().map(|row| row.seq) else { break None };
        looked_at += u64::from(AT_ONCE);
        let is_last = u32::try_from(rows.len()).unwrap_or(u32::MAX) < AT_ONCE;
        let mut full = None;
        for row in rows {
            if full.is_some() {
                break;
            }
            let seq = row.seq;
            if filter.is_empty() || Facts::of(&row.line).is_some_and(|facts| filter.takes(&facts)) {
                items.push(record(row)?);
            }
            full = (items.len() == most).then_some(seq);
        }
        match full {
            Some(seq) if is_last && seq == last => break None,
            Some(seq) => break Some(seq),
            None if is_last => break None,
            None if looked_at >= LOOKED_AT => break Some(last),
            None => after = last,
        }
    };
    Ok(Sent::ok(Records { items, next }))
}

/// What a database counts with.
fn within(number: u64) -> u64 {
    number.min(i64::MAX.unsigned_abs())
}

fn record(row: AuditLine) -> Answer<Record> {
    let AuditLine { source, seq, line } = row;
    let record = RawValue::from_string(line)
        .map_err(|_| Problem::new(Code::Dw6020, format!("record {seq} of the audit is damaged")))?;
    Ok(Record { source, seq, record })
}

/// List the sources of a project's records.
#[utoipa::path(get, path = "/v1/projects/{project}/audit/sources", tag = "audit",
    params(("project" = String, Path)),
    responses((status = 200, body = Sources), (status = "4XX", body = ProblemSchema)))]
async fn sources(State(api): State<Api>, call: Call, Path(project): Path<String>) -> Answer<Sent<Sources>> {
    call.enter(&api, &project, Permission::AuditRead).await?;
    all_sources(&api, Some(&project)).await
}

async fn all_sources(api: &Api, project: Option<&str>) -> Answer<Sent<Sources>> {
    let rows = api.registry.audit_sources(project).await?;
    let items = rows.into_iter().map(|(name, last)| Source { name, last }).collect();
    Ok(Sent::ok(Sources { items }))
}

/// Check the whole chain of a source, other projects' records in it included; none is shown.
#[utoipa::path(get, path = "/v1/projects/{project}/audit/verify", tag = "audit",
    params(("project" = String, Path), OneSource),
    responses((status = 200, body = Verified), (status = "4XX", body = ProblemSchema)))]
async fn check(
    State(api): State<Api>,
    call: Call,
    Path(project): Path<String>,
    Query(wanted): Query<OneSource>,
) -> Answer<Sent<Verified>> {
    call.enter(&api, &project, Permission::AuditRead).await?;
    let source = source_of(&api, Some(&project), wanted.source).await?;
    verified(&api, Some(&project), source).await
}

async fn verified(api: &Api, project: Option<&str>, source: String) -> Answer<Sent<Verified>> {
    let upkeep = api.upkeep();
    let walked = match project {
        // Every record of a sidecar is its project's.
        Some(project) if source != CONTROL => {
            upkeep.walk_as(Some(project), &source, &format!("{project}/{source}")).await
        }
        Some(_) | None => upkeep.walk(&source).await,
    };
    let (walked, broken) = match walked {
        Ok(walked) => (walked, None),
        Err((_, error @ (UpkeepError::Registry(_) | UpkeepError::Signer(_)))) => return Err(failed(error)),
        Err((walked, error)) => (walked, Some(error.to_string())),
    };
    Ok(Sent::ok(Verified {
        source,
        intact: broken.is_none(),
        records: walked.records,
        last: walked.end.seq,
        hash: walked.end.hash.to_string(),
        checkpoints: walked.checkpoints,
        signed: walked.signed,
        broken,
    }))
}

fn failed(error: UpkeepError) -> Problem {
    if let UpkeepError::Registry(error) = error {
        return error.into();
    }
    tracing::error!(%error, "upkeep of the audit");
    Problem::new(Code::Dw5001, "the key that signs the audit cannot be had")
}

/// Every record of a project and source, as JSONL or as OCSF events.
#[utoipa::path(get, path = "/v1/projects/{project}/audit/export", tag = "audit",
    params(("project" = String, Path), Exported),
    responses((status = 200, content_type = "application/x-ndjson", body = String),
        (status = "4XX", body = ProblemSchema)))]
async fn export(
    State(api): State<Api>,
    call: Call,
    Path(project): Path<String>,
    Query(wanted): Query<Exported>,
) -> Answer<Response> {
    call.enter(&api, &project, Permission::AuditRead).await?;
    let source = source_of(&api, Some(&project), wanted.source).await?;
    Ok(exported(api, Some(project), source, wanted.format.unwrap_or_default()))
}

fn exported(api: Api, project: Option<String>, source: String, form: Form) -> Response {
    let pieces = stream::unfold((api, project, source, 0), move |(api, project, source, after)| async move {
        let rows = api.registry.audit_lines(project.as_deref(), &source, after, AT_ONCE).await;
        let rows = match rows {
            Ok(rows) => rows,
            // Cut, so that nobody takes it for the whole.
            Err(error) => return Some((Err(std::io::Error::other(error)), (api, project, source, after))),
        };
        let after = rows.last()?.seq;
        let mut text = String::new();
        for row in rows {
            match form {
                Form::Jsonl => text.push_str(&row.line),
                Form::Ocsf => text.push_str(&ocsf::event(&row.line, Some(&source)).unwrap_or_default()),
            }
            text.push('\n');
        }
        Some((Ok(Bytes::from(text)), (api, project, source, after)))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response
}

/// A source that there are records of; the server's own is always one.
async fn source_of(api: &Api, project: Option<&str>, wanted: Option<String>) -> Answer<String> {
    let Some(wanted) = wanted.filter(|name| name != CONTROL) else { return Ok(CONTROL.to_owned()) };
    let known = api.registry.audit_sources(project).await?;
    known.into_iter().map(|(name, _)| name).find(|name| *name == wanted).ok_or_else(Problem::missing)
}
