//! `/v1/can-i`: what this token may do, from the table that decides.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::call::Call;
use super::permission::{Permission, permissions};
use super::problem::{Answer, Problem, ProblemSchema};
use super::{Api, Query, Sent};
use crate::refusal::Code;
use crate::registry::{Grant, Role};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(can_i))
}

/// What is asked.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// A permission: `secrets:manage`. Without it, only what the token is is told.
    permission: Option<String>,
    /// The project in which; the token's own, or all, if it is not given.
    project: Option<String>,
}

/// What a token is and may do.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct CanI {
    /// Whether it may do what was asked; true if nothing was.
    pub(crate) allowed: bool,
    pub(crate) name: String,
    pub(crate) role: String,
    /// The only project that it opens; null: the installation.
    pub(crate) project: Option<String>,
    /// In the project that was asked for, else in all that it opens.
    pub(crate) permissions: Vec<Permission>,
    /// What it is where: one entry for a token that was made, one for each membership of a person.
    pub(crate) grants: Vec<GrantView>,
}

/// A role, and where it holds.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Grant)]
pub(crate) struct GrantView {
    /// Null: the installation, and so every project.
    pub(crate) project: Option<String>,
    pub(crate) role: String,
}

/// As it is shown.
pub(crate) fn grant(grant: &Grant) -> GrantView {
    GrantView { project: grant.project.clone(), role: grant.role.name().to_owned() }
}

/// Ask what this token may do.
#[utoipa::path(get, path = "/v1/can-i", tag = "tokens", params(Asked),
    responses((status = 200, body = CanI), (status = "4XX", body = ProblemSchema)))]
async fn can_i(State(api): State<Api>, call: Call, Query(asked): Query<Asked>) -> Answer<Sent<CanI>> {
    if let Some(project) = &asked.project {
        let is_name = super::projects::is_name(project);
        let is_known =
            is_name && call.caller.knows(project) && api.registry.project(project).await?.is_some();
        if !is_known {
            return Err(Problem::missing());
        }
    }
    let role = match asked.project.as_deref() {
        Some(project) => call.caller.role_in(Some(project)),
        None => call.caller.least(),
    };
    let has = role.map(permissions).unwrap_or_default();
    let allowed = match asked.permission.as_deref().map(Permission::parse) {
        None => true,
        Some(Some(permission)) => has.contains(&permission),
        Some(None) => {
            let names: Vec<_> = Permission::ALL.iter().map(|one| one.name()).collect();
            return Err(Problem::new(Code::Dw6003, format!("`permission` is one of {}", names.join(", "))));
        }
    };
    let caller = &call.caller;
    Ok(Sent::ok(CanI {
        allowed,
        name: caller.name.clone(),
        role: role.map_or("none", Role::name).to_owned(),
        project: caller.only_project().map(str::to_owned),
        permissions: has.to_vec(),
        grants: caller.grants().iter().map(grant).collect(),
    }))
}
