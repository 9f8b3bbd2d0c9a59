//! `/v1/projects/{project}/variables`: plain, readable configuration.

use axum::extract::State;
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
use super::{Api, Done, Path, Query, Sent, bounded, named, new_name, shown, watch};
use crate::registry::{ObjectKind, Seen, VariableRow};
use crate::secret::SecretName;
use crate::vault::store::Variable;

/// The longest value.
pub(super) const VALUE: usize = 64 * 1024;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(read, replace, delete))
}

/// A variable.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Variable)]
pub(crate) struct VariableView {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) project: String,
    pub(crate) value: String,
    pub(crate) created: String,
    /// The version, as in the ETag; 0 where there are none (a local vault).
    #[serde(default)]
    pub(crate) version: u64,
}

/// A variable to be stored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewVariableBody {
    /// `region` or `AWS_REGION`; never changes.
    name: String,
    value: String,
}

/// A variable's new value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct VariableBody {
    value: String,
}

fn view(project: &str, row: VariableRow) -> VariableView {
    VariableView {
        kind: "Variable".to_owned(),
        name: row.name,
        project: project.to_owned(),
        value: row.value,
        created: shown(row.created),
        version: row.version,
    }
}

/// List variables.
#[utoipa::path(get, path = "/v1/projects/{project}/variables", tag = "variables",
    params(("project" = String, Path), Part),
    responses((status = 200, body = Items<VariableView>), (status = "4XX", body = ProblemSchema)))]
async fn list(
    State(api): State<Api>,
    call: Call,
    Path(project): Path<String>,
    Query(part): Query<Part>,
) -> Answer<Response> {
    call.enter(&api, &project, Permission::SecretsRead).await?;
    if let Some(since) = part.watch() {
        return watch::stream(&api, call, Some(project), &[ObjectKind::Variable], since).await;
    }
    let rows = api.registry.variables_page(&project, part.page()?).await?;
    Ok(Sent::ok(part.items(rows, |row| row.name.clone(), |row| view(&project, row))?).into_response())
}

/// Store a new variable.
#[utoipa::path(post, path = "/v1/projects/{project}/variables", tag = "variables",
    params(("project" = String, Path)), request_body = NewVariableBody,
    responses((status = 201, body = VariableView), (status = "4XX", body = ProblemSchema)))]
async fn create(
    State(api): State<Api>,
    call: Call,
    Path(project): Path<String>,
    body: Json<NewVariableBody>,
) -> Answer<Sent<VariableView>> {
    call.enter(&api, &project, Permission::ProvidersManage).await?;
    let request = body.digest(&api, &call);
    let NewVariableBody { name, value } = body.0;
    let name: SecretName = new_name(&name)?;
    bounded("value", Some(&value), VALUE)?;
    let did = Did::new(ObjectKind::Variable, name.as_str(), "created");
    let is_repeated = call.is_repeated(&api, &did, request).await?;
    if !is_repeated {
        let variable = Variable { name: name.to_string(), value, created: api.now() };
        let act = call.act_once(&api, &did, request)?;
        api.registry.acting(act, Seen::Any).insert(&project, vec![], vec![variable]).await?;
    }
    let row = row(&api, &project, &name).await?;
    let (version, location) = (row.version, format!("/v1/projects/{project}/variables/{name}"));
    Ok(Sent::created(view(&project, row), version, location, is_repeated))
}

/// Read a variable.
#[utoipa::path(get, path = "/v1/projects/{project}/variables/{variable}", tag = "variables",
    params(("project" = String, Path), ("variable" = String, Path)),
    responses((status = 200, body = VariableView), (status = "4XX", body = ProblemSchema)))]
async fn read(
    State(api): State<Api>,
    call: Call,
    Path((project, name)): Path<(String, String)>,
) -> Answer<Sent<VariableView>> {
    call.enter(&api, &project, Permission::SecretsRead).await?;
    let row = row(&api, &project, &named(&name)?).await?;
    let version = row.version;
    Ok(Sent::object(view(&project, row), version))
}

/// Change a variable's value.
#[utoipa::path(put, path = "/v1/projects/{project}/variables/{variable}", tag = "variables",
    params(("project" = String, Path), ("variable" = String, Path), ("If-Match" = String, Header)),
    request_body = VariableBody,
    responses((status = 200, body = VariableView), (status = "4XX", body = ProblemSchema)))]
async fn replace(
    State(api): State<Api>,
    call: Call,
    Path((project, name)): Path<(String, String)>,
    Json(body, _): Json<VariableBody>,
) -> Answer<Sent<VariableView>> {
    call.enter(&api, &project, Permission::ProvidersManage).await?;
    let name: SecretName = named(&name)?;
    row(&api, &project, &name).await?;
    let seen = call.seen()?;
    bounded("value", Some(&body.value), VALUE)?;
    let did = Did::new(ObjectKind::Variable, name.as_str(), "changed");
    let act = call.act(&api, &did);
    api.registry.replace_variable(&project, name.as_str(), &body.value, seen, act).await?;
    let row = row(&api, &project, &name).await?;
    let version = row.version;
    Ok(Sent::object(view(&project, row), version))
}

/// Remove a variable that nothing uses.
#[utoipa::path(delete, path = "/v1/projects/{project}/variables/{variable}", tag = "variables",
    params(("project" = String, Path), ("variable" = String, Path), ("If-Match" = String, Header)),
    responses((status = 204), (status = "4XX", body = ProblemSchema)))]
async fn delete(
    State(api): State<Api>,
    call: Call,
    Path((project, name)): Path<(String, String)>,
) -> Answer<Done> {
    call.enter(&api, &project, Permission::ProvidersManage).await?;
    let name: SecretName = named(&name)?;
    row(&api, &project, &name).await?;
    let seen = call.seen()?;
    let did = Did::new(ObjectKind::Variable, name.as_str(), "deleted");
    api.registry.delete_variable(&project, name.as_str(), seen, call.act(&api, &did)).await?;
    Ok(Done)
}

async fn row(api: &Api, project: &str, name: &SecretName) -> Answer<VariableRow> {
    api.registry.variable(project, name.as_str()).await?.ok_or_else(Problem::missing)
}
