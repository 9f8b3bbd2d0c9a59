//! `/v1/projects/{project}/tokens` and `/v1/tokens`: API tokens of people and programs, shown once, kept as digests.
//!
//! Nobody makes a token with more than he has, or one that outlives his own; a token of a project makes none beyond it.

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
use super::token::{self, Class};
use super::{Api, Done, Path, Query, Sent, agents, bounded, end, shown, watch};
use crate::refusal::Code;
use crate::registry::{NewToken, OWNER, ObjectKind, Role, SELF, Token};

/// The longest name.
pub(super) const NAME: usize = 100;
/// Names of the installation's own in records.
const RESERVED: [&str; 3] = [super::install::ROOT, SELF, OWNER];

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, revoke))
        .routes(routes!(list_all, create_all))
        .routes(routes!(read_all, revoke_all))
}

/// A role, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Role)]
pub(super) enum RoleName {
    Owner,
    Admin,
    Manager,
    Developer,
    Viewer,
}

impl RoleName {
    /// What it names.
    pub(super) fn role(self) -> Role {
        match self {
            Self::Owner => Role::Owner,
            Self::Admin => Role::Admin,
            Self::Manager => Role::Manager,
            Self::Developer => Role::Developer,
            Self::Viewer => Role::Viewer,
        }
    }
}

/// An API token, without the token itself.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiToken)]
pub(crate) struct TokenView {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) name: String,
    /// The only project that it opens; null: the installation.
    pub(crate) project: Option<String>,
    /// `member` for one that a login gave: the person's memberships count.
    pub(crate) role: String,
    pub(crate) created: String,
    pub(crate) expires: Option<String>,
    pub(crate) last_used: Option<String>,
    /// The version, as in the ETag.
    pub(crate) version: u64,
}

/// A token, shown this once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewApiToken)]
pub(crate) struct TokenOnce {
    pub(crate) api_token: TokenView,
    /// The token; null where the same call was made before, for it is not kept.
    pub(crate) token: Option<String>,
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTokenBody {
    /// What people call it; unique in its project.
    name: String,
    role: RoleName,
    /// When it ends, RFC 3339; if it is not given, never, or with the token that makes it.
    #[schema(format = DateTime)]
    expires: Option<String>,
}

fn view(row: Token) -> TokenView {
    let NewToken { id, name, project, role, expires, person, .. } = row.token;
    TokenView {
        kind: "Token".to_owned(),
        id,
        name,
        project,
        role: if person.is_some() { "member" } else { role.name() }.to_owned(),
        created: shown(row.created),
        expires: expires.map(shown),
        last_used: row.last_used.map(shown),
        version: row.version,
    }
}

/// The tokens of a project, or of the installation, are for those who administer it.
async fn enter(api: &Api, call: &Call, project: Option<&str>) -> Answer<()> {
    match project {
        Some(project) => call.enter(api, project, Permission::ProjectAdmin).await.map(drop),
        None => call.need_installation(Permission::ProjectAdmin),
    }
}

async fn some(api: Api, call: Call, project: Option<String>, part: Part) -> Answer<Response> {
    enter(&api, &call, project.as_deref()).await?;
    if let Some(since) = part.watch() {
        return watch::stream(&api, call, project, &[ObjectKind::Token], since).await;
    }
    let rows = api.registry.tokens(project.as_deref(), part.page()?).await?;
    Ok(Sent::ok(part.items(rows, |row| row.token.id.clone(), view)?).into_response())
}

async fn make(
    api: Api,
    call: Call,
    project: Option<String>,
    body: Json<NewTokenBody>,
) -> Answer<Sent<TokenOnce>> {
    enter(&api, &call, project.as_deref()).await?;
    let request = body.digest(&api, &call);
    let NewTokenBody { name, role, expires } = body.0;
    let fits = !name.trim().is_empty() && name.len() <= NAME;
    // What a record says beside follows a comma.
    if !fits || name.chars().any(|c| c.is_control() || c == ',') {
        return Err(Problem::new(
            Code::Dw6016,
            format!("`name` has 1 to {NAME} bytes, none of them control or a comma"),
        ));
    }
    bounded("name", Some(&name), NAME)?;
    // A record names who did it: nobody else is called like the installation's own.
    if RESERVED.iter().any(|taken| taken.eq_ignore_ascii_case(name.trim())) {
        return Err(Problem::new(Code::Dw6016, "`name`: `root`, `doorward` and `owner` are not given"));
    }
    let role = role.role();
    let own = call.caller.role_in(project.as_deref());
    if !own.is_some_and(|own| may_grant(own, role)) {
        return Err(Problem::new(Code::Dw6005, "nobody makes a token with more than he has"));
    }
    let expires = call.end(end("expires", expires.as_deref(), api.now())?)?;
    let (token, digest) = token::mint(Class::Api)?;
    let id = id(&digest.0);
    // The same call made before has made a token of another id: it is found by its name, which is unique.
    let scope = project.as_ref().map_or("the installation".to_owned(), |name| format!("project {name}"));
    let did = Did::new(ObjectKind::Token, name.clone(), "created")
        .saying(format!("{} of {scope}, id {id}", role.name()));
    let is_repeated = call.is_repeated(&api, &did, request).await?;
    if is_repeated {
        let row = by_name(&api, project.as_deref(), &name).await?;
        let (version, location) = (row.version, location(project.as_deref(), &row.token.id));
        return Ok(Sent::created(TokenOnce { api_token: view(row), token: None }, version, location, true));
    }
    let new =
        NewToken { id: id.clone(), name, digest, project: project.clone(), role, expires, person: None };
    api.registry.add_token(new, call.act_once(&api, &did, request)?).await?;
    let row = api.registry.token(project.as_deref(), &id).await?.ok_or_else(Problem::missing)?;
    let (version, location) = (row.version, location(project.as_deref(), &id));
    let body = TokenOnce { api_token: view(row), token: Some(agents::text(&token)) };
    Ok(Sent::created(body, version, location, false))
}

async fn one(api: Api, call: Call, project: Option<String>, id: String) -> Answer<Sent<TokenView>> {
    enter(&api, &call, project.as_deref()).await?;
    let row = api.registry.token(project.as_deref(), &id).await?.ok_or_else(Problem::missing)?;
    let version = row.version;
    Ok(Sent::object(view(row), version))
}

async fn end_one(api: Api, call: Call, project: Option<String>, id: String) -> Answer<Done> {
    enter(&api, &call, project.as_deref()).await?;
    let row = api.registry.token(project.as_deref(), &id).await?.ok_or_else(Problem::missing)?;
    let seen = call.seen()?;
    let own = call.caller.role_in(project.as_deref());
    let role = match &row.token.person {
        Some(person) => api.registry.grants(person).await?.iter().map(|grant| grant.role).min(),
        None => Some(row.token.role),
    };
    if !own.is_some_and(|own| may_grant(own, role.unwrap_or(Role::Viewer))) {
        return Err(Problem::new(Code::Dw6005, "nobody revokes a token with more than he has"));
    }
    let did = Did::new(ObjectKind::Token, &row.token.name, "revoked").saying(format!("id {id}"));
    api.registry.delete_token(project.as_deref(), &id, seen, call.act(&api, &did)).await?;
    Ok(Done)
}

/// What names a token in public: the head of its digest, which says nothing of it.
pub(super) fn id(digest: &[u8; 32]) -> String {
    hex::encode(digest.get(..8).unwrap_or_default())
}

fn location(project: Option<&str>, id: &str) -> String {
    match project {
        Some(project) => format!("/v1/projects/{project}/tokens/{id}"),
        None => format!("/v1/tokens/{id}"),
    }
}

async fn by_name(api: &Api, project: Option<&str>, name: &str) -> Answer<Token> {
    let mut after = None;
    loop {
        let page = crate::registry::Page { after, limit: 1000 };
        let rows = api.registry.tokens(project, page).await?;
        after = rows.last().map(|row| row.token.id.clone());
        if let Some(found) = rows.into_iter().find(|row| row.token.name == name) {
            return Ok(found);
        }
        if after.is_none() {
            return Err(Problem::missing());
        }
    }
}

/// List the tokens of a project.
#[utoipa::path(get, path = "/v1/projects/{project}/tokens", tag = "tokens",
    params(("project" = String, Path), Part),
    responses((status = 200, body = Items<TokenView>), (status = "4XX", body = ProblemSchema)))]
async fn list(
    State(api): State<Api>,
    call: Call,
    Path(project): Path<String>,
    Query(part): Query<Part>,
) -> Answer<Response> {
    some(api, call, Some(project), part).await
}

/// Make a token of a project, shown this once.
#[utoipa::path(post, path = "/v1/projects/{project}/tokens", tag = "tokens",
    params(("project" = String, Path)), request_body = NewTokenBody,
    responses((status = 201, body = TokenOnce), (status = "4XX", body = ProblemSchema)))]
async fn create(
    State(api): State<Api>,
    call: Call,
    Path(project): Path<String>,
    body: Json<NewTokenBody>,
) -> Answer<Sent<TokenOnce>> {
    make(api, call, Some(project), body).await
}

/// Describe a token of a project.
#[utoipa::path(get, path = "/v1/projects/{project}/tokens/{id}", tag = "tokens",
    params(("project" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = TokenView), (status = "4XX", body = ProblemSchema)))]
async fn read(
    State(api): State<Api>,
    call: Call,
    Path((project, id)): Path<(String, String)>,
) -> Answer<Sent<TokenView>> {
    one(api, call, Some(project), id).await
}

/// End a token of a project at once.
#[utoipa::path(delete, path = "/v1/projects/{project}/tokens/{id}", tag = "tokens",
    params(("project" = String, Path), ("id" = String, Path), ("If-Match" = String, Header)),
    responses((status = 204), (status = "4XX", body = ProblemSchema)))]
async fn revoke(
    State(api): State<Api>,
    call: Call,
    Path((project, id)): Path<(String, String)>,
) -> Answer<Done> {
    end_one(api, call, Some(project), id).await
}

/// List the tokens of the installation.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", params(Part),
    responses((status = 200, body = Items<TokenView>), (status = "4XX", body = ProblemSchema)))]
async fn list_all(State(api): State<Api>, call: Call, Query(part): Query<Part>) -> Answer<Response> {
    some(api, call, None, part).await
}

/// Make a token of the installation, shown this once.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = NewTokenBody,
    responses((status = 201, body = TokenOnce), (status = "4XX", body = ProblemSchema)))]
async fn create_all(State(api): State<Api>, call: Call, body: Json<NewTokenBody>) -> Answer<Sent<TokenOnce>> {
    make(api, call, None, body).await
}

/// Describe a token of the installation.
#[utoipa::path(get, path = "/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path)),
    responses((status = 200, body = TokenView), (status = "4XX", body = ProblemSchema)))]
async fn read_all(State(api): State<Api>, call: Call, Path(id): Path<String>) -> Answer<Sent<TokenView>> {
    one(api, call, None, id).await
}

/// End a token of the installation at once.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens",
    params(("id" = String, Path), ("If-Match" = String, Header)),
    responses((status = 204), (status = "4XX", body = ProblemSchema)))]
async fn revoke_all(State(api): State<Api>, call: Call, Path(id): Path<String>) -> Answer<Done> {
    end_one(api, call, None, id).await
}
