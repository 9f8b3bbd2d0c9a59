//! `/v1/projects/{project}/agents/{agent}/attachments`: what an agent gets, each explicitly.
//!
//! Refuses two that cover the same (two credentials for one provider), what is not there, and, to those who may not manage
//! secrets, whatever brings one along. `synced` says whether the running sidecars have acknowledged it.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Json;
use super::call::{Call, Did};
use super::permission::Permission;
use super::problem::{Answer, Problem, ProblemSchema};
use super::{Api, Done, Path, Sent, agents, bounded, environment, new_name, shown};
use crate::refusal::Code;
use crate::registry::{Attached, Attachment, DocumentKind, EnvSource, ObjectKind};
use crate::secret::{NameError, SecretName};

/// The longest name of anything.
pub(super) const NAME: usize = 253;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, attach)).routes(routes!(detach))
}

/// What is attached to an agent.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attachment)]
pub(crate) struct AttachmentView {
    /// `secret`, `provider`, `model-provider` or `env`.
    pub(crate) kind: String,
    /// The object's name; for `env` that of the variable in the agent.
    pub(crate) name: String,
    /// The variable whose value an `env` holds.
    pub(crate) variable: Option<String>,
    /// The secret that an `env` exposes to the agent.
    pub(crate) secret: Option<String>,
    pub(crate) created: String,
    /// The revision of its last change.
    pub(crate) revision: u64,
    /// Whether every sidecar of the agent that was lately seen has acknowledged that revision, and there is one.
    pub(crate) synced: bool,
    /// The revision that all of these sidecars have acknowledged.
    pub(crate) acknowledged: Option<u64>,
    /// When a sidecar was last seen.
    pub(crate) seen: Option<String>,
}

/// All that is attached.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Attachments {
    pub(crate) items: Vec<AttachmentView>,
}

/// What kind of thing is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AttachedKind {
    /// A secret.
    Secret,
    /// A provider.
    Provider,
    /// A model provider.
    ModelProvider,
    /// An environment variable.
    Env,
}

/// What is to be attached.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AttachBody {
    kind: AttachedKind,
    /// The object's name; for `env` that of the variable in the agent.
    name: String,
    /// For `env`: the variable whose value it holds.
    variable: Option<String>,
    /// For `env`: the secret that the agent itself gets to see.
    secret: Option<String>,
}

fn view(row: Attachment) -> AttachmentView {
    let (variable, secret) = match &row.what {
        Attached::Env { source: EnvSource::Variable(name), .. } => (Some(name.clone()), None),
        Attached::Env { source: EnvSource::Secret(name), .. } => (None, Some(name.to_string())),
        Attached::Secret(_) | Attached::Document(..) => (None, None),
    };
    AttachmentView {
        kind: row.what.kind_name().to_owned(),
        name: row.what.name().to_owned(),
        variable,
        secret,
        created: shown(row.created),
        revision: row.revision,
        synced: row.synced,
        acknowledged: row.acknowledged,
        seen: row.seen.map(shown),
    }
}

/// List what is attached to an agent.
#[utoipa::path(get, path = "/v1/projects/{project}/agents/{agent}/attachments", tag = "agents",
    params(("project" = String, Path), ("agent" = String, Path)),
    responses((status = 200, body = Attachments), (status = "4XX", body = ProblemSchema)))]
async fn list(
    State(api): State<Api>,
    call: Call,
    Path((project, agent)): Path<(String, String)>,
) -> Answer<Sent<Attachments>> {
    call.enter(&api, &project, Permission::SecretsRead).await?;
    Ok(Sent::ok(Attachments { items: all(&api, &project, &agent).await?.into_iter().map(view).collect() }))
}

/// Attach something to an agent. A secret, and a document that uses one, need `secrets:manage` too.
#[utoipa::path(post, path = "/v1/projects/{project}/agents/{agent}/attachments", tag = "agents",
    params(("project" = String, Path), ("agent" = String, Path)), request_body = AttachBody,
    responses((status = 201, body = AttachmentView), (status = "4XX", body = ProblemSchema)))]
async fn attach(
    State(api): State<Api>,
    call: Call,
    Path((project, agent)): Path<(String, String)>,
    body: Json<AttachBody>,
) -> Answer<Sent<AttachmentView>> {
    call.enter(&api, &project, Permission::AgentsManage).await?;
    let request = body.digest(&api, &call);
    agents::row(&api, &project, &agent).await?;
    let what = wanted(body.0)?;
    if brings_a_secret(&api, &project, &what).await? {
        call.need_in(Some(&project), Permission::SecretsManage)?;
    }
    let did = Did { status: 201, ..did(&agent, &what, "attached") };
    let is_repeated = call.is_repeated(&api, &did, request).await?;
    if !is_repeated {
        let claims = claims(&api, &project, &what).await?;
        let act = call.act_once(&api, &did, request)?;
        api.registry.attach(&project, &agent, what.clone(), claims, act).await?;
    }
    let found = find(&api, &project, &agent, &what).await?;
    let location =
        format!("/v1/projects/{project}/agents/{agent}/attachments/{}/{}", what.kind_name(), what.name());
    let version = found.revision;
    Ok(Sent::created(view(found), version, location, is_repeated))
}

/// Detach something from an agent.
#[utoipa::path(delete, path = "/v1/projects/{project}/agents/{agent}/attachments/{kind}/{name}", tag = "agents",
    params(("project" = String, Path), ("agent" = String, Path), ("kind" = AttachedKind, Path),
        ("name" = String, Path), ("If-Match" = String, Header)),
    responses((status = 204), (status = "4XX", body = ProblemSchema)))]
async fn detach(
    State(api): State<Api>,
    call: Call,
    Path((project, agent, kind, name)): Path<(String, String, String, String)>,
) -> Answer<Done> {
    call.enter(&api, &project, Permission::AgentsManage).await?;
    let all = all(&api, &project, &agent).await?;
    let found = all.into_iter().find(|row| row.what.kind_name() == kind && row.what.name() == name);
    let found = found.ok_or_else(Problem::missing)?;
    let seen = call.seen()?;
    let did = did(&agent, &found.what, "detached");
    api.registry.detach(&project, &agent, &found.what, seen, call.act(&api, &did)).await?;
    Ok(Done)
}

/// Whether the agent's sidecar gets a secret by it. A document that has none now gets none later unless somebody who may manage
/// secrets says so: a change of it by others is withheld.
async fn brings_a_secret(api: &Api, project: &str, what: &Attached) -> Answer<bool> {
    match what {
        Attached::Secret(_) | Attached::Env { source: EnvSource::Secret(_), .. } => Ok(true),
        Attached::Env { source: EnvSource::Variable(_), .. } => Ok(false),
        Attached::Document(kind, name) => {
            let found = api.registry.document(project, *kind, name).await?;
            Ok(found.is_some_and(|row| !row.document.uses.is_empty()))
        }
    }
}

/// An environment variable is recorded with what the agent gets to see in it.
fn did(agent: &str, what: &Attached, verb: &'static str) -> Did {
    let did = Did::new(ObjectKind::Attachment, format!("{agent}/{}/{}", what.kind_name(), what.name()), verb);
    match what {
        Attached::Env { source: EnvSource::Secret(name), .. } => {
            did.saying(format!("with the value of secret {name} for the agent to see"))
        }
        Attached::Env { source: EnvSource::Variable(name), .. } => {
            did.saying(format!("with variable {name}"))
        }
        Attached::Secret(_) | Attached::Document(..) => did,
    }
}

async fn all(api: &Api, project: &str, agent: &str) -> Answer<Vec<Attachment>> {
    api.registry.attachments(project, agent, api.now()).await?.ok_or_else(Problem::missing)
}

async fn find(api: &Api, project: &str, agent: &str, what: &Attached) -> Answer<Attachment> {
    let same = |row: &Attachment| row.what.kind_name() == what.kind_name() && row.what.name() == what.name();
    all(api, project, agent).await?.into_iter().find(same).ok_or_else(Problem::missing)
}

fn wanted(body: AttachBody) -> Answer<Attached> {
    let refused = |why: &'static str| Problem::new(Code::Dw6016, why);
    if body.kind != AttachedKind::Env && (body.variable.is_some() || body.secret.is_some()) {
        return Err(refused("`variable` and `secret` belong to `env` alone"));
    }
    bounded("name", Some(&body.name), NAME)?;
    bounded("variable", body.variable.as_deref(), NAME)?;
    bounded("secret", body.secret.as_deref(), NAME)?;
    Ok(match body.kind {
        AttachedKind::Secret => Attached::Secret(new_name(&body.name)?),
        AttachedKind::Provider => Attached::Document(DocumentKind::Provider, body.name),
        AttachedKind::ModelProvider => Attached::Document(DocumentKind::ModelProvider, body.name),
        AttachedKind::Env => {
            if !environment::is_settable(&body.name) {
                return Err(refused(
                    "`name` is that of an environment variable (letters, digits and `_`) that no loader, shell, runtime or common tool takes code, commands or trust from",
                ));
            }
            let source = match (body.variable, body.secret) {
                (Some(variable), None) => EnvSource::Variable(variable),
                (None, Some(secret)) => {
                    EnvSource::Secret(secret.parse().map_err(|error: NameError| {
                        Problem::new(Code::Dw6016, format!("`secret`: {error}"))
                    })?)
                }
                _ => return Err(refused("an `env` names a `variable` or a `secret`")),
            };
            Attached::Env { name: body.name, source }
        }
    })
}

/// A secret covers the hosts that it is bound to: two for one host would be two credentials for one provider.
async fn claims(api: &Api, project: &str, what: &Attached) -> Answer<Vec<String>> {
    let Attached::Secret(name) = what else {
        return Ok(match what {
            Attached::Env { name, .. } => vec![format!("env:{name}")],
            Attached::Secret(_) | Attached::Document(..) => Vec::new(),
        });
    };
    let row = secret_row(api, project, name).await?;
    let hosts = row.hosts.unwrap_or_default();
    Ok(hosts.split(',').filter(|host| !host.is_empty()).map(|host| format!("credential:{host}")).collect())
}

async fn secret_row(api: &Api, project: &str, name: &SecretName) -> Answer<crate::vault::store::SecretRow> {
    let row = api.vault.store().secret(project, name).await?;
    row.ok_or_else(|| Problem::new(Code::Dw6016, "there is no such secret in this project"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_does_not_belong_together() {
        let body = |kind, variable: Option<&str>, secret: Option<&str>| AttachBody {
            kind,
            name: "A".to_owned(),
            variable: variable.map(str::to_owned),
            secret: secret.map(str::to_owned),
        };
        assert!(wanted(body(AttachedKind::Secret, Some("b"), None)).is_err());
        assert!(wanted(body(AttachedKind::Env, None, None)).is_err());
        assert!(wanted(body(AttachedKind::Env, Some("b"), Some("c"))).is_err());
        wanted(body(AttachedKind::Env, None, Some("c"))).unwrap();
    }
}
