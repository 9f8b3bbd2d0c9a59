//! `/v1/projects/{project}/agents`: who may ask, each with one token for its sidecar, which is shown once.
//!
//! The token is kept as a digest. Rotating makes another one, which ends the old at once; revoking ends it without.
//! Whoever holds the token can ask for the values of everything that is attached, so it is shown to those alone who may manage
//! secrets: an agent that somebody else makes has a token that nobody knows, until one of them rotates it.

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
use super::token::{self, Class};
use super::{Api, DESCRIPTION, Done, Path, Query, Sent, bounded, end, projects, shown, watch};
use crate::refusal::Code;
use crate::registry::{Agent, IDENTITIES_MAX, Identity, IdentityError, NewAgent, ObjectKind, Seen};
use crate::secret::Secret;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, delete))
        .routes(routes!(rotate))
        .routes(routes!(revoke))
        .routes(routes!(identify))
}

/// An agent.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Agent)]
pub(crate) struct AgentView {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) project: String,
    pub(crate) description: Option<String>,
    pub(crate) created: String,
    /// When its token ends, and with it each other way of its sidecars.
    pub(crate) expires: Option<String>,
    /// When it was revoked.
    pub(crate) revoked: Option<String>,
    /// Who its sidecars are, beside the holders of its token.
    pub(crate) identities: Vec<String>,
    /// When a sidecar of it was last seen.
    pub(crate) seen: Option<String>,
    /// The revision that its last sidecar acknowledged.
    pub(crate) acknowledged: Option<u64>,
    /// The version, as in the ETag.
    pub(crate) version: u64,
}

/// An agent with the token of its sidecar: shown this once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AgentWithToken)]
pub(crate) struct AgentToken {
    pub(crate) agent: AgentView,
    /// The token; null for callers without `secrets:manage` (one of them rotates it), and where the same call was made before,
    /// for it is not kept.
    pub(crate) token: Option<String>,
}

/// An agent to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAgentBody {
    /// A DNS label: `triage-bot`.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    name: String,
    description: Option<String>,
    /// When its token ends, RFC 3339; if it is not given, never, or with the token that makes it.
    #[schema(format = DateTime)]
    expires: Option<String>,
    /// Who its sidecars are, beside the holders of its token: ServiceAccounts (`system:serviceaccount:NAMESPACE:NAME`) and SPIFFE
    /// ids. Needs `secrets:manage` too.
    #[serde(default)]
    #[schema(max_items = 16)]
    identities: Vec<String>,
}

/// Who an agent's sidecars are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IdentitiesBody {
    /// All of them: ServiceAccounts (`system:serviceaccount:NAMESPACE:NAME`) and SPIFFE ids (`spiffe://TRUST-DOMAIN/PATH`).
    #[schema(max_items = 16)]
    identities: Vec<String>,
}

/// A new token for an agent.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RotateAgentBody {
    /// When it ends, RFC 3339; if it is not given, never, or with the token that makes it.
    #[schema(format = DateTime)]
    expires: Option<String>,
}

fn view(agent: Agent) -> AgentView {
    let last = agent.sidecars.first();
    AgentView {
        kind: "Agent".to_owned(),
        name: agent.name,
        project: agent.project,
        description: agent.description,
        created: shown(agent.created),
        expires: agent.expires.map(shown),
        revoked: agent.revoked.map(shown),
        identities: agent.identities.iter().map(ToString::to_string).collect(),
        seen: last.map(|sidecar| shown(sidecar.seen)),
        acknowledged: last.map(|sidecar| sidecar.acknowledged),
        version: agent.version,
    }
}

/// List agents.
#[utoipa::path(get, path = "/v1/projects/{project}/agents", tag = "agents",
    params(("project" = String, Path), Part),
    responses((status = 200, body = Items<AgentView>), (status = "4XX", body = ProblemSchema)))]
async fn list(
    State(api): State<Api>,
    call: Call,
    Path(project): Path<String>,
    Query(part): Query<Part>,
) -> Answer<Response> {
    call.enter(&api, &project, Permission::SecretsRead).await?;
    if let Some(since) = part.watch() {
        let kinds = [ObjectKind::Agent, ObjectKind::Attachment];
        return watch::stream(&api, call, Some(project), &kinds, since).await;
    }
    let rows = api.registry.agents(&project, part.page()?).await?;
    Ok(Sent::ok(part.items(rows, |row| row.name.clone(), view)?).into_response())
}

/// Make an agent; the answer has its token, this once, for callers with `secrets:manage`.
#[utoipa::path(post, path = "/v1/projects/{project}/agents", tag = "agents",
    params(("project" = String, Path)), request_body = NewAgentBody,
    responses((status = 201, body = AgentToken), (status = "4XX", body = ProblemSchema)))]
async fn create(
    State(api): State<Api>,
    call: Call,
    Path(project): Path<String>,
    body: Json<NewAgentBody>,
) -> Answer<Sent<AgentToken>> {
    call.enter(&api, &project, Permission::AgentsManage).await?;
    let request = body.digest(&api, &call);
    let NewAgentBody { name, description, expires, identities } = body.0;
    if !projects::is_name(&name) {
        return Err(Problem::new(Code::Dw6016, "`name`: an agent's name is a DNS label, like `triage-bot`"));
    }
    bounded("description", description.as_deref(), DESCRIPTION)?;
    let expires = call.end(end("expires", expires.as_deref(), api.now())?)?;
    let identities = read_identities(&identities)?;
    if !identities.is_empty() {
        call.need_in(Some(&project), Permission::SecretsManage)?;
    }
    let did = told(Did::new(ObjectKind::Agent, &name, "created"), &identities);
    let is_repeated = call.is_repeated(&api, &did, request).await?;
    let mut shown_once = None;
    if !is_repeated {
        let (token, digest) = token::mint(Class::Agent)?;
        let agent = NewAgent { name: name.clone(), description, digest, expires, identities };
        api.registry.add_agent(&project, agent, call.act_once(&api, &did, request)?).await?;
        shown_once = call.caller.may_in(Some(&project), Permission::SecretsManage).then(|| text(&token));
    }
    let agent = row(&api, &project, &name).await?;
    let (version, location) = (agent.version, format!("/v1/projects/{project}/agents/{name}"));
    let body = AgentToken { agent: view(agent), token: shown_once };
    Ok(Sent::created(body, version, location, is_repeated))
}

/// Describe an agent.
#[utoipa::path(get, path = "/v1/projects/{project}/agents/{agent}", tag = "agents",
    params(("project" = String, Path), ("agent" = String, Path)),
    responses((status = 200, body = AgentView), (status = "4XX", body = ProblemSchema)))]
async fn read(
    State(api): State<Api>,
    call: Call,
    Path((project, name)): Path<(String, String)>,
) -> Answer<Sent<AgentView>> {
    call.enter(&api, &project, Permission::SecretsRead).await?;
    let agent = row(&api, &project, &name).await?;
    let version = agent.version;
    Ok(Sent::object(view(agent), version))
}

/// Give an agent a new token, shown this once; the old one ends at once. Needs `secrets:manage` too.
#[utoipa::path(post, path = "/v1/projects/{project}/agents/{agent}/rotate", tag = "agents",
    params(("project" = String, Path), ("agent" = String, Path), ("If-Match" = String, Header)),
    request_body = RotateAgentBody,
    responses((status = 200, body = AgentToken), (status = "4XX", body = ProblemSchema)))]
async fn rotate(
    State(api): State<Api>,
    call: Call,
    Path((project, name)): Path<(String, String)>,
    body: Json<RotateAgentBody>,
) -> Answer<Sent<AgentToken>> {
    call.enter(&api, &project, Permission::AgentsManage).await?;
    call.need_in(Some(&project), Permission::SecretsManage)?;
    let request = body.digest(&api, &call);
    let before = row(&api, &project, &name).await?;
    let expires = call.end(end("expires", body.0.expires.as_deref(), api.now())?)?;
    let did = Did::new(ObjectKind::Agent, &name, "token rotated");
    let is_repeated = call.is_repeated(&api, &did, request).await?;
    let mut shown_once = None;
    if !is_repeated {
        let seen = call.seen()?;
        let (token, digest) = token::mint(Class::Agent)?;
        let identities = Vec::new();
        let agent =
            NewAgent { name: name.clone(), description: before.description, digest, expires, identities };
        let act = call.act_once(&api, &did, request)?;
        api.registry.replace_agent(&project, agent, seen, act).await?;
        shown_once = Some(text(&token));
    }
    let agent = row(&api, &project, &name).await?;
    let version = agent.version;
    let body = AgentToken { agent: view(agent), token: shown_once };
    Ok(Sent::object(body, version).replayed(is_repeated))
}

/// End an agent's token at once; its sidecars lose what they have.
#[utoipa::path(post, path = "/v1/projects/{project}/agents/{agent}/revoke", tag = "agents",
    params(("project" = String, Path), ("agent" = String, Path), ("If-Match" = String, Header)),
    responses((status = 200, body = AgentView), (status = "4XX", body = ProblemSchema)))]
async fn revoke(
    State(api): State<Api>,
    call: Call,
    Path((project, name)): Path<(String, String)>,
) -> Answer<Sent<AgentView>> {
    call.enter(&api, &project, Permission::AgentsManage).await?;
    row(&api, &project, &name).await?;
    let seen = call.seen()?;
    let did = Did { status: 200, ..Did::new(ObjectKind::Agent, &name, "revoked") };
    api.registry.revoke_agent(&project, &name, seen, call.act(&api, &did)).await?;
    let agent = row(&api, &project, &name).await?;
    let version = agent.version;
    Ok(Sent::object(view(agent), version))
}

/// Say who an agent's sidecars are, beside the holders of its token; those that are not named lose what they have. Needs
/// `secrets:manage` too.
#[utoipa::path(put, path = "/v1/projects/{project}/agents/{agent}/identities", tag = "agents",
    params(("project" = String, Path), ("agent" = String, Path), ("If-Match" = String, Header)),
    request_body = IdentitiesBody,
    responses((status = 200, body = AgentView), (status = "4XX", body = ProblemSchema)))]
async fn identify(
    State(api): State<Api>,
    call: Call,
    Path((project, name)): Path<(String, String)>,
    Json(body, _): Json<IdentitiesBody>,
) -> Answer<Sent<AgentView>> {
    call.enter(&api, &project, Permission::AgentsManage).await?;
    call.need_in(Some(&project), Permission::SecretsManage)?;
    let before = row(&api, &project, &name).await?;
    // Whoever may not give what outlives him means the agent as it was looked at.
    let seen = match call.check_seen(before.version)? {
        Seen::Any if call.caller.ends.is_none() => Seen::Any,
        Seen::Any | Seen::Version(_) => Seen::Version(before.version),
    };
    let identities = read_identities(&body.identities)?;
    // As with a token: what is given does not outlive who gives it.
    let is_more = identities.iter().any(|identity| !before.identities.contains(identity));
    if is_more && call.end(before.expires)? != before.expires {
        let why = "an identity would outlive your own token: make the agent with an end (`expires`), or use a token without";
        return Err(Problem::new(Code::Dw6005, why));
    }
    let did = told(Did::new(ObjectKind::Agent, &name, "identities changed"), &identities);
    api.registry.identify_agent(&project, &name, identities, seen, call.act(&api, &did)).await?;
    let agent = row(&api, &project, &name).await?;
    let version = agent.version;
    Ok(Sent::object(view(agent), version))
}

/// Remove an agent with its attachments.
#[utoipa::path(delete, path = "/v1/projects/{project}/agents/{agent}", tag = "agents",
    params(("project" = String, Path), ("agent" = String, Path), ("If-Match" = String, Header)),
    responses((status = 204), (status = "4XX", body = ProblemSchema)))]
async fn delete(
    State(api): State<Api>,
    call: Call,
    Path((project, name)): Path<(String, String)>,
) -> Answer<Done> {
    call.enter(&api, &project, Permission::AgentsManage).await?;
    row(&api, &project, &name).await?;
    let seen = call.seen()?;
    let did = Did::new(ObjectKind::Agent, &name, "deleted");
    api.registry.delete_agent(&project, &name, seen, call.act(&api, &did)).await?;
    Ok(Done)
}

/// Identities as they were sent. They are no secrets; they are told back in their one spelling only.
fn read_identities(texts: &[String]) -> Answer<Vec<Identity>> {
    let wrong = |at: usize, why: &dyn std::fmt::Display| {
        Problem::new(Code::Dw6016, format!("`identities`, entry #{}: {why}", at + 1))
    };
    if texts.len() > IDENTITIES_MAX {
        return Err(Problem::new(Code::Dw6016, format!("`identities` has at most {IDENTITIES_MAX} entries")));
    }
    let mut all: Vec<Identity> = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        let identity = text.parse().map_err(|error: IdentityError| wrong(at, &error))?;
        if all.contains(&identity) {
            return Err(wrong(at, &"it is there already"));
        }
        all.push(identity);
    }
    Ok(all)
}

/// The record says which: who can play the agent's sidecar is what it is about.
fn told(did: Did, identities: &[Identity]) -> Did {
    if identities.is_empty() {
        return did;
    }
    let all: Vec<_> = identities.iter().map(ToString::to_string).collect();
    did.saying(format!("identities: {}", all.join(" ")))
}

pub(super) async fn row(api: &Api, project: &str, name: &str) -> Answer<Agent> {
    api.registry.agent(project, name).await?.ok_or_else(Problem::missing)
}

/// A token as it is shown, once.
pub(super) fn text(token: &Secret) -> String {
    // exposed: shown once to whoever made it, and kept nowhere
    String::from_utf8_lossy(token.expose()).into_owned()
}
