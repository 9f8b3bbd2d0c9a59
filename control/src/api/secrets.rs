//! `/v1/projects/{project}/secrets`: values go in, and what is known of them comes out: names, keys, versions, fingerprints.
//!
//! Refuses values that cannot be injected, unbound secrets where the project does not allow them, and removing what is in use.
//! A new version is made by `rotate` alone: hosts and expiry are sealed with the values, so that they change with them.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Json, SECRET, SecretMap};
use super::call::{Call, Did};
use super::page::{Items, Part};
use super::permission::Permission;
use super::problem::{Answer, Problem, ProblemSchema};
use super::{
    Api, DESCRIPTION, Done, Path, Query, Sent, bounded, end, named, new_name, projects, shown, watch,
};
use crate::refusal::Code;
use crate::registry::{ObjectKind, ObjectRef, Project, Seen};
use crate::secret::{Secret, SecretName};
use crate::types;
use crate::vault::BoundHosts;
use crate::vault::bound::PATTERNS_MAX;
use crate::vault::local::{Change, Entry};
use crate::vault::store::SecretRow;
use crate::vault::value;

/// The longest host, with `*.` and a port.
pub(super) const HOST: usize = 261;
/// Longer than the name of any built-in type.
pub(super) const TYPE: usize = 63;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, delete))
        .routes(routes!(rotate))
        .routes(routes!(rollback))
        .routes(routes!(clone))
}

/// A secret, without its values: no call ever gives them.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Secret)]
pub(crate) struct SecretView {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) project: String,
    pub(crate) description: Option<String>,
    pub(crate) keys: Vec<String>,
    /// The only hosts that it may be sent to; null: unbound.
    pub(crate) hosts: Option<Vec<String>>,
    pub(crate) created: String,
    pub(crate) changed: String,
    pub(crate) expires: Option<String>,
    /// The current version, as in the ETag.
    pub(crate) revision: u64,
    /// What `rollback` can return to.
    pub(crate) earlier_revisions: Vec<u64>,
    /// A keyed fingerprint of each key's value, to tell two values apart.
    pub(crate) fingerprints: BTreeMap<String, String>,
    /// The first and last four characters of each long value, where the project keeps them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) hints: BTreeMap<String, String>,
    /// Providers and agents that use it; null: not asked for.
    pub(crate) used_by: Option<Vec<String>>,
    pub(crate) last_used: Option<String>,
}

/// A secret to be stored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewSecretBody {
    /// `github-pat` or `GITHUB_PAT`; never changes.
    name: String,
    /// The values by key. Write-only.
    #[schema(value_type = BTreeMap<String, String>, write_only)]
    values: SecretMap,
    description: Option<String>,
    /// When it ends, RFC 3339.
    #[schema(format = DateTime)]
    expires: Option<String>,
    /// The only hosts that it may be sent to: `api.example.com`, `*.example.com`, `host:port`.
    hosts: Option<Vec<String>>,
    /// Bind it to the hosts of this built-in provider type.
    r#for: Option<String>,
}

/// A new version of a secret.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RotateBody {
    /// All values by key; keys that are not here are gone. Write-only.
    #[schema(value_type = BTreeMap<String, String>, write_only)]
    values: SecretMap,
    /// When it ends, RFC 3339; as before if it is not given.
    #[schema(format = DateTime)]
    expires: Option<String>,
    /// The only hosts that it may be sent to; as before if they are not given.
    hosts: Option<Vec<String>>,
    /// Bind it to the hosts of this built-in provider type.
    r#for: Option<String>,
    /// Until when `rollback` can return to the version before, whose values are removed then; RFC 3339. Without it they
    /// stay until the next rotation.
    #[schema(format = DateTime)]
    grace: Option<String>,
}

/// Where a secret is copied to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CloneBody {
    /// The other project, in which the caller may manage secrets too.
    project: String,
}

/// Which secrets.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// `true`: also who uses each.
    users: Option<bool>,
    /// As in every list.
    limit: Option<u32>,
    /// As in every list.
    cursor: Option<String>,
    /// As in every list.
    watch: Option<bool>,
    /// As in every list.
    since: Option<u64>,
}

/// As it is shown. Nothing in a row is a value.
pub(crate) fn view(
    project: &str,
    row: &SecretRow,
    used_by: Option<Vec<String>>,
    last_used: Option<String>,
) -> SecretView {
    SecretView {
        kind: "Secret".to_owned(),
        name: row.name.to_string(),
        project: project.to_owned(),
        description: row.description.clone(),
        keys: row.keys.iter().map(|(key, _)| key.clone()).collect(),
        hosts: row.hosts.as_ref().map(|hosts| hosts.split(',').map(str::to_owned).collect()),
        created: shown(row.created),
        changed: shown(row.changed),
        expires: row.expires.map(shown),
        revision: row.version,
        earlier_revisions: row.earlier.clone(),
        fingerprints: row.keys.iter().cloned().collect(),
        hints: row.hints.iter().cloned().collect(),
        used_by,
        last_used,
    }
}

/// List secrets: names and what is known of them.
#[utoipa::path(get, path = "/v1/projects/{project}/secrets", tag = "secrets",
    params(("project" = String, Path), Wanted),
    responses((status = 200, body = Items<SecretView>), (status = "4XX", body = ProblemSchema)))]
async fn list(
    State(api): State<Api>,
    call: Call,
    Path(project): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Answer<Response> {
    call.enter(&api, &project, Permission::SecretsRead).await?;
    let part = Part::new(wanted.limit, wanted.cursor, wanted.watch, wanted.since);
    if let Some(since) = part.watch() {
        return watch::stream(&api, call, Some(project), &[ObjectKind::Secret], since).await;
    }
    let rows = api.registry.secrets_page(&project, part.page()?).await?;
    let last: BTreeMap<SecretName, i64> = api.registry.last_used(&project).await?.into_iter().collect();
    let mut users = BTreeMap::new();
    if wanted.users == Some(true) {
        for row in &rows {
            users.insert(row.name.clone(), users_of(&api, &project, &row.name).await?);
        }
    }
    let show = |row: SecretRow| {
        view(&project, &row, users.remove(&row.name), last.get(&row.name).copied().map(shown))
    };
    Ok(Sent::ok(part.items(rows, |row| row.name.to_string(), show)?).into_response())
}

/// Store a new secret.
#[utoipa::path(post, path = "/v1/projects/{project}/secrets", tag = "secrets",
    params(("project" = String, Path)), request_body = NewSecretBody,
    responses((status = 201, body = SecretView), (status = "4XX", body = ProblemSchema)))]
async fn create(
    State(api): State<Api>,
    call: Call,
    Path(project): Path<String>,
    body: Json<NewSecretBody, SECRET>,
) -> Answer<Sent<SecretView>> {
    let owner = call.enter(&api, &project, Permission::SecretsManage).await?;
    let request = body.digest(&api, &call);
    let NewSecretBody { name, values, description, expires, hosts, r#for } = body.0;
    let name: SecretName = new_name(&name)?;
    bounded("description", description.as_deref(), DESCRIPTION)?;
    let expires = end("expires", expires.as_deref(), api.now())?;
    let hosts = bound_hosts(hosts, r#for)?;
    check_bound(&owner, hosts.as_ref())?;
    check_values(&values.0)?;
    let did = Did::new(ObjectKind::Secret, name.as_str(), "created");
    let is_repeated = call.is_repeated(&api, &did, request).await?;
    if !is_repeated {
        let entry = Entry { name: name.clone(), description, expires, hosts, values: values.0 };
        let act = call.act_once(&api, &did, request)?;
        api.acting(act, Seen::Any).add(&project, vec![entry], vec![]).await?;
    }
    let row = row(&api, &project, &name).await?;
    let (version, location) = (row.version, format!("/v1/projects/{project}/secrets/{name}"));
    Ok(Sent::created(view(&project, &row, None, None), version, location, is_repeated))
}

/// Describe a secret.
#[utoipa::path(get, path = "/v1/projects/{project}/secrets/{secret}", tag = "secrets",
    params(("project" = String, Path), ("secret" = String, Path)),
    responses((status = 200, body = SecretView), (status = "4XX", body = ProblemSchema)))]
async fn read(
    State(api): State<Api>,
    call: Call,
    Path((project, name)): Path<(String, String)>,
) -> Answer<Sent<SecretView>> {
    call.enter(&api, &project, Permission::SecretsRead).await?;
    let name: SecretName = named(&name)?;
    let row = row(&api, &project, &name).await?;
    let users = users_of(&api, &project, &name).await?;
    let last = api.registry.last_used(&project).await?;
    let last = last.into_iter().find(|(other, _)| *other == name).map(|(_, at)| shown(at));
    Ok(Sent::object(view(&project, &row, Some(users), last), row.version))
}

/// Give a secret new values; the version before is kept for `rollback`.
#[utoipa::path(post, path = "/v1/projects/{project}/secrets/{secret}/rotate", tag = "secrets",
    params(("project" = String, Path), ("secret" = String, Path), ("If-Match" = String, Header)),
    request_body = RotateBody,
    responses((status = 200, body = SecretView), (status = "4XX", body = ProblemSchema)))]
async fn rotate(
    State(api): State<Api>,
    call: Call,
    Path((project, name)): Path<(String, String)>,
    body: Json<RotateBody, SECRET>,
) -> Answer<Sent<SecretView>> {
    let owner = call.enter(&api, &project, Permission::SecretsManage).await?;
    let request = body.digest(&api, &call);
    let name: SecretName = named(&name)?;
    let did = Did::new(ObjectKind::Secret, name.as_str(), "rotated");
    let before = row(&api, &project, &name).await?;
    let is_repeated = call.is_repeated(&api, &did, request).await?;
    if !is_repeated {
        let seen = call.check_seen(before.version)?;
        let RotateBody { values, expires, hosts, r#for, grace } = body.0;
        check_values(&values.0)?;
        let grace = end("grace", grace.as_deref(), api.now())?;
        let expires = end("expires", expires.as_deref(), api.now())?;
        let hosts = bound_hosts(hosts, r#for)?;
        if before.hosts.is_none() {
            check_bound(&owner, hosts.as_ref())?;
        }
        let change = Change { expires, hosts, values: values.0 };
        let vault = api.acting(call.act_once(&api, &did, request)?, seen);
        vault.rotate_from(&project, &name, before.version, change, grace).await?;
    }
    let row = row(&api, &project, &name).await?;
    Ok(Sent::object(view(&project, &row, None, None), row.version).replayed(is_repeated))
}

/// Return to the values before the last rotation, as a new version.
#[utoipa::path(post, path = "/v1/projects/{project}/secrets/{secret}/rollback", tag = "secrets",
    params(("project" = String, Path), ("secret" = String, Path), ("If-Match" = String, Header)),
    responses((status = 200, body = SecretView), (status = "4XX", body = ProblemSchema)))]
async fn rollback(
    State(api): State<Api>,
    call: Call,
    Path((project, name)): Path<(String, String)>,
) -> Answer<Sent<SecretView>> {
    call.enter(&api, &project, Permission::SecretsManage).await?;
    let name: SecretName = named(&name)?;
    let before = row(&api, &project, &name).await?;
    let seen = call.check_seen(before.version)?;
    let did = Did::new(ObjectKind::Secret, name.as_str(), "rolled back");
    api.acting(call.act(&api, &did), seen).roll_back(&project, &name).await?;
    let row = row(&api, &project, &name).await?;
    Ok(Sent::object(view(&project, &row, None, None), row.version))
}

/// Copy a secret, without what is attached, to another project.
#[utoipa::path(post, path = "/v1/projects/{project}/secrets/{secret}/clone", tag = "secrets",
    params(("project" = String, Path), ("secret" = String, Path)), request_body = CloneBody,
    responses((status = 201, body = SecretView), (status = "4XX", body = ProblemSchema)))]
async fn clone(
    State(api): State<Api>,
    call: Call,
    Path((project, name)): Path<(String, String)>,
    body: Json<CloneBody>,
) -> Answer<Sent<SecretView>> {
    call.enter(&api, &project, Permission::SecretsManage).await?;
    let request = body.digest(&api, &call);
    let to = &body.0.project;
    // What is the name of no project says nothing of those that there are.
    if !projects::is_name(to) {
        return Err(Problem::new(Code::Dw6016, "`project`: a project's name is a DNS label, like `team-a`"));
    }
    let other = call.enter(&api, to, Permission::SecretsManage).await?;
    let name: SecretName = named(&name)?;
    let source = row(&api, &project, &name).await?;
    if source.hosts.is_none() && !other.settings.unbound_secrets {
        return Err(unbound());
    }
    let did =
        Did::new(ObjectKind::Secret, name.as_str(), "created").saying(format!("a copy of project {project}"));
    let is_repeated = call.is_repeated(&api, &did, request).await?;
    if !is_repeated {
        let mut act = call.act_once(&api, &did, request)?;
        let left = Did::new(ObjectKind::Secret, name.as_str(), "copied").saying(format!("to project {to}"));
        act.also.push(call.also(&project, &left));
        api.acting(act, Seen::Any).copy(&project, &name, to).await?;
    }
    let row = row(&api, to, &name).await?;
    let (version, location) = (row.version, format!("/v1/projects/{to}/secrets/{name}"));
    Ok(Sent::created(view(to, &row, None, None), version, location, is_repeated))
}

/// Remove a secret that nothing uses, with all its versions.
#[utoipa::path(delete, path = "/v1/projects/{project}/secrets/{secret}", tag = "secrets",
    params(("project" = String, Path), ("secret" = String, Path), ("If-Match" = String, Header)),
    responses((status = 204), (status = "4XX", body = ProblemSchema)))]
async fn delete(
    State(api): State<Api>,
    call: Call,
    Path((project, name)): Path<(String, String)>,
) -> Answer<Done> {
    call.enter(&api, &project, Permission::SecretsManage).await?;
    let name: SecretName = named(&name)?;
    let before = row(&api, &project, &name).await?;
    let seen = call.check_seen(before.version)?;
    let users = users_of(&api, &project, &name).await?;
    if !users.is_empty() {
        return Err(Problem::new(Code::Dw6002, format!("secret {name} is in use")).used_by(users));
    }
    let did = Did::new(ObjectKind::Secret, name.as_str(), "deleted");
    let store = api.registry.acting(call.act(&api, &did), seen);
    if store.delete_secret(&project, &name).await? { Ok(Done) } else { Err(Problem::missing()) }
}

async fn row(api: &Api, project: &str, name: &SecretName) -> Answer<SecretRow> {
    api.vault.store().secret(project, name).await?.ok_or_else(Problem::missing)
}

async fn users_of(api: &Api, project: &str, name: &SecretName) -> Answer<Vec<String>> {
    let object = ObjectRef { kind: ObjectKind::Secret, name: name.to_string() };
    let users = api.registry.users(project, &object).await?;
    Ok(users.iter().map(ToString::to_string).collect())
}

/// The hosts given, with those of the type.
pub(super) fn bound_hosts(hosts: Option<Vec<String>>, kind: Option<String>) -> Answer<Option<BoundHosts>> {
    let refused = |why: String| Problem::new(Code::Dw6016, why);
    let given = hosts.unwrap_or_default();
    if given.len() > PATTERNS_MAX {
        return Err(refused(format!("`hosts` has at most {PATTERNS_MAX} entries")));
    }
    for (at, host) in given.iter().enumerate() {
        BoundHosts::parse(std::slice::from_ref(host))
            .map_err(|error| refused(format!("`hosts`, entry {}: {}", at + 1, error.told())))?;
    }
    let mut all: Vec<&str> = given.iter().map(String::as_str).collect();
    if let Some(name) = &kind {
        match types::by_name(name) {
            Some(kind) if !kind.hosts.is_empty() => all.extend(kind.bound_hosts()),
            Some(_) => {
                return Err(refused("`for`: that type has no hosts of its own; give `hosts`".to_owned()));
            }
            None => return Err(refused("`for`: there is no such type".to_owned())),
        }
    }
    if all.is_empty() {
        return Ok(None);
    }
    BoundHosts::of_type(&all).map(Some).map_err(|error| refused(format!("`hosts`: {}", error.told())))
}

/// Refuses what cannot be stored, by its place: a key may be a value in the wrong one.
fn check_values(values: &[(String, Secret)]) -> Answer<()> {
    for (at, (key, value)) in values.iter().enumerate() {
        let place = format!("#{}", at + 1);
        value::check(key, value).map_err(|error| {
            Problem::new(Code::Dw6016, format!("`values`, entry {place}: {}", error.told_as(&place)))
        })?;
    }
    Ok(())
}

fn check_bound(project: &Project, hosts: Option<&BoundHosts>) -> Answer<()> {
    if hosts.is_some() || project.settings.unbound_secrets { Ok(()) } else { Err(unbound()) }
}

/// The refusal of a secret without hosts.
pub(super) fn unbound() -> Problem {
    Problem::new(
        Code::Dw6016,
        "give `hosts` or `for`: this project does not allow secrets that may be sent anywhere",
    )
}
