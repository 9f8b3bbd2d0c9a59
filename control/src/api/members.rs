//! `/v1/projects/{project}/members` and `/v1/members`: who may log in with the issuer, and what he may do.
//!
//! A change holds from the next call on: tokens that a login gave have no role of their own. Nobody gives a role that is above
//! his own, or touches somebody who has one.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Json;
use super::call::{Call, Did};
use super::page::{Items, Part};
use super::permission::{Permission, may_grant};
use super::problem::{Answer, Problem, ProblemSchema};
use super::tokens::RoleName;
use super::{Api, Done, Path, Query, Sent, bounded, shown, token, watch};
use crate::refusal::Code;
use crate::registry::{Member, Named, NewMember, ObjectKind, Page};

/// The longest name: that of an e-mail address, and of a subject (OpenID Connect Core 1.0, section 2).
pub(super) const NAME: usize = 255;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, replace, delete))
        .routes(routes!(list_all, create_all))
        .routes(routes!(read_all, replace_all, delete_all))
}

/// Somebody who may log in.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Member)]
pub(crate) struct MemberView {
    pub(crate) kind: String,
    pub(crate) id: String,
    /// The only project; null: the installation, and so every project.
    pub(crate) project: Option<String>,
    pub(crate) issuer: String,
    pub(crate) email: Option<String>,
    /// The issuer's own name; null until somebody with the verified e-mail address has logged in.
    pub(crate) subject: Option<String>,
    pub(crate) role: String,
    pub(crate) created: String,
    /// The version, as in the ETag.
    pub(crate) version: u64,
}

impl MemberView {
    /// What people call him.
    pub(crate) fn shown(&self) -> &str {
        self.email.as_deref().or(self.subject.as_deref()).unwrap_or(&self.id)
    }
}

/// A member to be added: by `email` or by `subject`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewMemberBody {
    /// An address that the issuer has verified.
    email: Option<String>,
    /// The issuer's own name for him (`sub`).
    subject: Option<String>,
    role: RoleName,
}

/// What of a member can be changed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MemberBody {
    role: RoleName,
}

fn view(row: Member) -> MemberView {
    MemberView {
        kind: "Member".to_owned(),
        id: row.id,
        project: row.project,
        issuer: row.issuer,
        email: row.email,
        subject: row.subject,
        role: row.role.name().to_owned(),
        created: shown(row.created),
        version: row.version,
    }
}

/// The members of a project, or of the installation, are for those who administer it.
async fn enter(api: &Api, call: &Call, project: Option<&str>) -> Answer<()> {
    match project {
        Some(project) => call.enter(api, project, Permission::ProjectAdmin).await.map(drop),
        None => call.need_installation(Permission::ProjectAdmin),
    }
}

fn may_touch(call: &Call, project: Option<&str>, role: crate::registry::Role) -> Answer<()> {
    let own = call.caller.role_in(project);
    if own.is_some_and(|own| may_grant(own, role)) {
        return Ok(());
    }
    Err(Problem::new(Code::Dw6005, "nobody gives or takes a role that is above his own"))
}

async fn row(api: &Api, project: Option<&str>, id: &str) -> Answer<Member> {
    api.registry.member(project, id).await?.ok_or_else(Problem::missing)
}

fn named(body: &NewMemberBody) -> Answer<Named> {
    let odd = |why: &str| Err(Problem::new(Code::Dw6016, why.to_owned()));
    bounded("email", body.email.as_deref(), NAME)?;
    bounded("subject", body.subject.as_deref(), NAME)?;
    match (&body.email, &body.subject) {
        (Some(email), None) => {
            let fits = email.split_once('@').is_some_and(|(own, host)| !own.is_empty() && !host.is_empty());
            if !fits || !email.bytes().all(|byte| byte.is_ascii_graphic()) {
                return odd("`email` is an address of visible ASCII characters");
            }
            Ok(Named::Email(email.to_ascii_lowercase()))
        }
        (None, Some(subject))
            if subject.is_empty() || !subject.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            odd("`subject` has visible ASCII characters")
        }
        (None, Some(subject)) => Ok(Named::Subject(subject.clone())),
        (Some(_), Some(_)) | (None, None) => odd("give `email` or `subject`"),
    }
}

async fn some(api: Api, call: Call, project: Option<String>, part: Part) -> Answer<Response> {
    enter(&api, &call, project.as_deref()).await?;
    if let Some(since) = part.watch() {
        return watch::stream(&api, call, project, &[ObjectKind::Member], since).await;
    }
    let rows = api.registry.members(project.as_deref(), part.page()?).await?;
    Ok(Sent::ok(part.items(rows, |row| row.id.clone(), view)?).into_response())
}

async fn make(
    api: Api,
    call: Call,
    project: Option<String>,
    body: Json<NewMemberBody>,
) -> Answer<Sent<MemberView>> {
    enter(&api, &call, project.as_deref()).await?;
    let request = body.digest(&api, &call);
    let issuer = api.oidc.as_ref().ok_or_else(super::login::no_issuer)?.issuer().to_owned();
    let named = named(&body.0)?;
    let role = body.0.role.role();
    may_touch(&call, project.as_deref(), role)?;
    let (Named::Email(name) | Named::Subject(name)) = &named;
    let did = Did::new(ObjectKind::Member, name.clone(), "created").saying(role.name());
    let is_repeated = call.is_repeated(&api, &did, request).await?;
    if !is_repeated {
        let (id, act) = (token::random_id()?, call.act_once(&api, &did, request)?);
        let new = NewMember { id, project: project.clone(), issuer, named: named.clone(), role };
        api.registry.add_member(new, act).await?;
    }
    // By its name, which is unique: a repeated call has made a member of another id.
    let row = by_name(&api, project.as_deref(), &named).await?;
    let (version, location) = (row.version, location(project.as_deref(), &row.id));
    Ok(Sent::created(view(row), version, location, is_repeated))
}

async fn by_name(api: &Api, project: Option<&str>, named: &Named) -> Answer<Member> {
    let mut after = None;
    loop {
        let rows = api.registry.members(project, Page { after, limit: 1000 }).await?;
        after = rows.last().map(|row| row.id.clone());
        let is_meant = |row: &Member| match named {
            Named::Email(email) => row.email.as_ref() == Some(email),
            Named::Subject(subject) => row.subject.as_ref() == Some(subject),
        };
        if let Some(found) = rows.into_iter().find(is_meant) {
            return Ok(found);
        }
        if after.is_none() {
            return Err(Problem::missing());
        }
    }
}

async fn one(api: Api, call: Call, project: Option<String>, id: String) -> Answer<Sent<MemberView>> {
    enter(&api, &call, project.as_deref()).await?;
    let row = row(&api, project.as_deref(), &id).await?;
    let version = row.version;
    Ok(Sent::object(view(row), version))
}

async fn change(
    api: Api,
    call: Call,
    project: Option<String>,
    id: String,
    body: MemberBody,
) -> Answer<Sent<MemberView>> {
    enter(&api, &call, project.as_deref()).await?;
    let before = row(&api, project.as_deref(), &id).await?;
    let seen = call.check_seen(before.version)?;
    let role = body.role.role();
    may_touch(&call, project.as_deref(), before.role)?;
    may_touch(&call, project.as_deref(), role)?;
    let did = Did::new(ObjectKind::Member, view(before).shown(), "changed").saying(role.name());
    api.registry.replace_member(project.as_deref(), &id, role, seen, call.act(&api, &did)).await?;
    one(api, call, project, id).await
}

async fn end(api: Api, call: Call, project: Option<String>, id: String) -> Answer<Done> {
    enter(&api, &call, project.as_deref()).await?;
    let before = row(&api, project.as_deref(), &id).await?;
    let seen = call.check_seen(before.version)?;
    may_touch(&call, project.as_deref(), before.role)?;
    let did = Did::new(ObjectKind::Member, view(before).shown(), "deleted");
    api.registry.delete_member(project.as_deref(), &id, seen, call.act(&api, &did)).await?;
    Ok(Done)
}

fn location(project: Option<&str>, id: &str) -> String {
    match project {
        Some(project) => format!("/v1/projects/{project}/members/{id}"),
        None => format!("/v1/members/{id}"),
    }
}

/// List the members of a project.
#[utoipa::path(get, path = "/v1/projects/{project}/members", tag = "members",
    params(("project" = String, Path), Part),
    responses((status = 200, body = Items<MemberView>), (status = "4XX", body = ProblemSchema)))]
async fn list(
    State(api): State<Api>,
    call: Call,
    Path(project): Path<String>,
    Query(part): Query<Part>,
) -> Answer<Response> {
    some(api, call, Some(project), part).await
}

/// Add a member of a project.
#[utoipa::path(post, path = "/v1/projects/{project}/members", tag = "members",
    params(("project" = String, Path)), request_body = NewMemberBody,
    responses((status = 201, body = MemberView), (status = "4XX", body = ProblemSchema)))]
async fn create(
    State(api): State<Api>,
    call: Call,
    Path(project): Path<String>,
    body: Json<NewMemberBody>,
) -> Answer<Sent<MemberView>> {
    make(api, call, Some(project), body).await
}

/// Describe a member of a project.
#[utoipa::path(get, path = "/v1/projects/{project}/members/{id}", tag = "members",
    params(("project" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = MemberView), (status = "4XX", body = ProblemSchema)))]
async fn read(
    State(api): State<Api>,
    call: Call,
    Path((project, id)): Path<(String, String)>,
) -> Answer<Sent<MemberView>> {
    one(api, call, Some(project), id).await
}

/// Change the role of a member of a project.
#[utoipa::path(put, path = "/v1/projects/{project}/members/{id}", tag = "members",
    params(("project" = String, Path), ("id" = String, Path), ("If-Match" = String, Header)),
    request_body = MemberBody,
    responses((status = 200, body = MemberView), (status = "4XX", body = ProblemSchema)))]
async fn replace(
    State(api): State<Api>,
    call: Call,
    Path((project, id)): Path<(String, String)>,
    Json(body, _): Json<MemberBody>,
) -> Answer<Sent<MemberView>> {
    change(api, call, Some(project), id, body).await
}

/// Remove a member of a project.
#[utoipa::path(delete, path = "/v1/projects/{project}/members/{id}", tag = "members",
    params(("project" = String, Path), ("id" = String, Path), ("If-Match" = String, Header)),
    responses((status = 204), (status = "4XX", body = ProblemSchema)))]
async fn delete(
    State(api): State<Api>,
    call: Call,
    Path((project, id)): Path<(String, String)>,
) -> Answer<Done> {
    end(api, call, Some(project), id).await
}

/// List the members of the installation.
#[utoipa::path(get, path = "/v1/members", tag = "members", params(Part),
    responses((status = 200, body = Items<MemberView>), (status = "4XX", body = ProblemSchema)))]
async fn list_all(State(api): State<Api>, call: Call, Query(part): Query<Part>) -> Answer<Response> {
    some(api, call, None, part).await
}

/// Add a member of the installation.
#[utoipa::path(post, path = "/v1/members", tag = "members", request_body = NewMemberBody,
    responses((status = 201, body = MemberView), (status = "4XX", body = ProblemSchema)))]
async fn create_all(
    State(api): State<Api>,
    call: Call,
    body: Json<NewMemberBody>,
) -> Answer<Sent<MemberView>> {
    make(api, call, None, body).await
}

/// Describe a member of the installation.
#[utoipa::path(get, path = "/v1/members/{id}", tag = "members", params(("id" = String, Path)),
    responses((status = 200, body = MemberView), (status = "4XX", body = ProblemSchema)))]
async fn read_all(State(api): State<Api>, call: Call, Path(id): Path<String>) -> Answer<Sent<MemberView>> {
    one(api, call, None, id).await
}

/// Change the role of a member of the installation.
#[utoipa::path(put, path = "/v1/members/{id}", tag = "members",
    params(("id" = String, Path), ("If-Match" = String, Header)), request_body = MemberBody,
    responses((status = 200, body = MemberView), (status = "4XX", body = ProblemSchema)))]
async fn replace_all(
    State(api): State<Api>,
    call: Call,
    Path(id): Path<String>,
    Json(body, _): Json<MemberBody>,
) -> Answer<Sent<MemberView>> {
    change(api, call, None, id, body).await
}

/// Remove a member of the installation.
#[utoipa::path(delete, path = "/v1/members/{id}", tag = "members",
    params(("id" = String, Path), ("If-Match" = String, Header)),
    responses((status = 204), (status = "4XX", body = ProblemSchema)))]
async fn delete_all(State(api): State<Api>, call: Call, Path(id): Path<String>) -> Answer<Done> {
    end(api, call, None, id).await
}
