//! `/v1/projects`: who owns secrets, variables, providers and agents. Nothing crosses a project.
//!
//! A token of one project sees that one alone; making and removing projects takes a token of the installation.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Json;
use super::call::{Call, Did};
use super::page::{Items, Part};
use super::permission::Permission;
use super::problem::{Answer, Problem, ProblemSchema};
use super::{Api, DESCRIPTION, Done, Path, Query, Sent, bounded, shown, watch};
use crate::refusal::Code;
use crate::registry::{NewProject, ObjectKind, Project, ProjectSettings};

/// A project.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Project)]
pub(crate) struct ProjectView {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    /// Whether secrets without bound hosts may be stored.
    pub(crate) allow_unbound_secrets: bool,
    /// Whether the first and last four characters of values of 20 and more are kept in readable form.
    pub(crate) hints: bool,
    pub(crate) created: String,
    pub(crate) version: u64,
}

/// A project to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewProjectBody {
    /// A DNS label: `team-a`.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    name: String,
    description: Option<String>,
    /// Whether secrets without bound hosts may be stored.
    #[serde(default)]
    allow_unbound_secrets: bool,
    /// Whether the first and last four characters of values of 20 and more, entered from now on, are kept in readable form.
    #[serde(default)]
    hints: bool,
}

/// What of a project can be changed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ProjectBody {
    description: Option<String>,
    #[serde(default)]
    allow_unbound_secrets: bool,
    /// Whether the first and last four characters of values of 20 and more, entered from now on, are kept in readable form.
    #[serde(default)]
    hints: bool,
}

fn view(project: Project) -> ProjectView {
    ProjectView {
        kind: "Project".to_owned(),
        name: project.name,
        description: project.description,
        allow_unbound_secrets: project.settings.unbound_secrets,
        hints: project.settings.hints,
        created: shown(project.created),
        version: project.version,
    }
}

/// What a project permits, as its record says it.
fn permitted(settings: ProjectSettings) -> String {
    let unbound = if settings.unbound_secrets { "allowed" } else { "not allowed" };
    let hints = if settings.hints { "kept" } else { "not kept" };
    format!("secrets without hosts {unbound}, hints {hints}")
}

/// List projects.
#[utoipa::path(get, path = "/v1/projects", tag = "projects", params(Part),
    responses((status = 200, body = Items<ProjectView>), (status = "4XX", body = ProblemSchema)))]
pub(super) async fn list(State(api): State<Api>, call: Call, Query(part): Query<Part>) -> Answer<Response> {
    call.need_somewhere(Permission::SecretsRead)?;
    if let Some(since) = part.watch() {
        return watch::stream(&api, call, None, &[ObjectKind::Project], since).await;
    }
    let page = part.page()?;
    let rows = match call.caller.projects() {
        Some(own) => {
            let after = page.after.as_deref().unwrap_or_default();
            let most = usize::try_from(page.limit).unwrap_or(usize::MAX);
            let mut rows = Vec::new();
            for name in own.into_iter().filter(|name| *name > after).take(most) {
                rows.extend(api.registry.project(name).await?);
            }
            rows
        }
        None => api.registry.projects(page).await?,
    };
    Ok(Sent::ok(part.items(rows, |row| row.name.clone(), view)?).into_response())
}

/// Make a project.
#[utoipa::path(post, path = "/v1/projects", tag = "projects", request_body = NewProjectBody,
    responses((status = 201, body = ProjectView), (status = "4XX", body = ProblemSchema)))]
pub(super) async fn create(
    State(api): State<Api>,
    call: Call,
    body: Json<NewProjectBody>,
) -> Answer<Sent<ProjectView>> {
    call.need_installation(Permission::ProjectAdmin)?;
    let request = body.digest(&api, &call);
    let NewProjectBody { name, description, allow_unbound_secrets, hints } = body.0;
    if !is_name(&name) {
        return Err(Problem::new(Code::Dw6016, "`name`: a project's name is a DNS label, like `team-a`"));
    }
    bounded("description", description.as_deref(), DESCRIPTION)?;
    let settings = ProjectSettings { unbound_secrets: allow_unbound_secrets, hints };
    let did = Did::new(ObjectKind::Project, &name, "created").saying(permitted(settings));
    let is_repeated = call.is_repeated(&api, &did, request).await?;
    if !is_repeated {
        let project = NewProject { name: name.clone(), description, settings };
        api.registry.add_project(project, call.act_once(&api, &did, request)?).await?;
    }
    let project = api.registry.project(&name).await?.ok_or_else(Problem::missing)?;
    let (version, location) = (project.version, format!("/v1/projects/{name}"));
    Ok(Sent::created(view(project), version, location, is_repeated))
}

/// Read a project.
#[utoipa::path(get, path = "/v1/projects/{project}", tag = "projects", params(("project" = String, Path)),
    responses((status = 200, body = ProjectView), (status = "4XX", body = ProblemSchema)))]
pub(super) async fn read(
    State(api): State<Api>,
    call: Call,
    Path(name): Path<String>,
) -> Answer<Sent<ProjectView>> {
    let project = call.enter(&api, &name, Permission::SecretsRead).await?;
    let version = project.version;
    Ok(Sent::object(view(project), version))
}

/// Change a project.
#[utoipa::path(put, path = "/v1/projects/{project}", tag = "projects",
    params(("project" = String, Path), ("If-Match" = String, Header)), request_body = ProjectBody,
    responses((status = 200, body = ProjectView), (status = "4XX", body = ProblemSchema)))]
pub(super) async fn replace(
    State(api): State<Api>,
    call: Call,
    Path(name): Path<String>,
    Json(body, _): Json<ProjectBody>,
) -> Answer<Sent<ProjectView>> {
    call.enter(&api, &name, Permission::ProjectAdmin).await?;
    let seen = call.seen()?;
    bounded("description", body.description.as_deref(), DESCRIPTION)?;
    let settings = ProjectSettings { unbound_secrets: body.allow_unbound_secrets, hints: body.hints };
    let project = NewProject { name: name.clone(), description: body.description, settings };
    let did = Did::new(ObjectKind::Project, &name, "changed").saying(permitted(settings));
    api.registry.replace_project(project, seen, call.act(&api, &did)).await?;
    let project = api.registry.project(&name).await?.ok_or_else(Problem::missing)?;
    let version = project.version;
    Ok(Sent::object(view(project), version))
}

/// Remove a project that holds nothing.
#[utoipa::path(delete, path = "/v1/projects/{project}", tag = "projects",
    params(("project" = String, Path), ("If-Match" = String, Header)),
    responses((status = 204), (status = "4XX", body = ProblemSchema)))]
pub(super) async fn delete(State(api): State<Api>, call: Call, Path(name): Path<String>) -> Answer<Done> {
    call.enter(&api, &name, Permission::ProjectAdmin).await?;
    call.need_installation(Permission::ProjectAdmin)?;
    let seen = call.seen()?;
    let did = Did::new(ObjectKind::Project, &name, "deleted");
    api.registry.delete_project(&name, seen, call.act(&api, &did)).await?;
    Ok(Done)
}

/// The longest name of a project, and of an agent.
pub(super) const NAME: usize = 63;

/// Whether a project can have this name.
pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
