//! `/v1/projects/{project}/provider-cards`: each built-in type, whether it is connected, and who uses it.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::call::Call;
use super::permission::Permission;
use super::problem::{Answer, ProblemSchema};
use super::{Api, Path, Sent, documents, shown};
use crate::registry::{Document, DocumentKind, ObjectKind, ObjectRef, Verified};
use crate::secret::SecretName;
use crate::types::{self, TypeSpec};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(cards)).routes(routes!(kinds))
}

/// A built-in type.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Type)]
pub(crate) struct TypeView {
    pub(crate) name: String,
    pub(crate) summary: String,
    pub(crate) hosts: Vec<String>,
    /// The auth types that it has; none: any of the auth schemes.
    pub(crate) auth: Vec<String>,
}

/// All built-in types.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Types {
    pub(crate) items: Vec<TypeView>,
}

/// What a project has of one type.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Card {
    pub(crate) r#type: TypeView,
    /// Whether a provider of this type has a secret that is there and not held back.
    pub(crate) connected: bool,
    pub(crate) providers: Vec<CardProvider>,
}

/// One provider of the type.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CardProvider {
    /// `Provider` or `ModelProvider`.
    pub(crate) kind: String,
    pub(crate) name: String,
    /// How it authenticates, by the auth type of its document: `api-key`, or `oauth` for a subscription.
    pub(crate) auth: Option<String>,
    pub(crate) secrets: Vec<String>,
    /// Whether its secret is held back until somebody approves.
    pub(crate) withheld: bool,
    /// The first end of one of its secrets.
    pub(crate) expires: Option<String>,
    /// When its credential was last seen to work; null if that was before the document or a secret of it was changed.
    pub(crate) verified: Option<String>,
    /// Who says so.
    pub(crate) verified_by: Option<String>,
    /// When one of its secrets was last used by a sidecar.
    pub(crate) last_used: Option<String>,
    /// The agents that it is attached to.
    pub(crate) agents: Vec<String>,
}

/// All cards.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Cards {
    pub(crate) items: Vec<Card>,
}

fn view(kind: &TypeSpec) -> TypeView {
    TypeView {
        name: kind.name.to_owned(),
        summary: kind.summary.to_owned(),
        hosts: kind.hosts.iter().map(|host| (*host).to_owned()).collect(),
        auth: kind.auth.iter().map(|auth| auth.name.to_owned()).collect(),
    }
}

/// List the built-in provider types.
#[utoipa::path(get, path = "/v1/types", tag = "providers",
    responses((status = 200, body = Types), (status = "4XX", body = ProblemSchema)))]
async fn kinds(State(_api): State<Api>, call: Call) -> Answer<Sent<Types>> {
    call.need_somewhere(Permission::SecretsRead)?;
    Ok(Sent::ok(Types { items: types::ALL.iter().map(|kind| view(kind)).collect() }))
}

/// What the project has of each built-in type.
#[utoipa::path(get, path = "/v1/projects/{project}/provider-cards", tag = "providers",
    params(("project" = String, Path)),
    responses((status = 200, body = Cards), (status = "4XX", body = ProblemSchema)))]
async fn cards(State(api): State<Api>, call: Call, Path(project): Path<String>) -> Answer<Sent<Cards>> {
    call.enter(&api, &project, Permission::SecretsRead).await?;
    let last: BTreeMap<SecretName, i64> = api.registry.last_used(&project).await?.into_iter().collect();
    let mut by_type: BTreeMap<String, Vec<CardProvider>> = BTreeMap::new();
    for kind in [DocumentKind::Provider, DocumentKind::ModelProvider] {
        let verified: BTreeMap<String, Verified> =
            api.registry.verified(&project, kind).await?.into_iter().collect();
        for row in documents::all(&api, &project, kind).await? {
            let verified = verified.get(&row.document.name);
            let card = provider(&api, &project, &row, &last, verified).await?;
            by_type.entry(row.document.type_name).or_default().push(card);
        }
    }
    let card = |kind: &&TypeSpec| {
        let providers = by_type.remove(kind.name).unwrap_or_default();
        let connected = providers.iter().any(|one| !one.withheld && !one.secrets.is_empty());
        Card { r#type: view(kind), connected, providers }
    };
    Ok(Sent::ok(Cards { items: types::ALL.iter().map(card).collect() }))
}

/// The auth type as the document says it, or the first of its type's own. A stored document was checked, so that this is enough.
fn auth_type(text: &str, type_name: &str) -> Option<String> {
    #[derive(Default, Deserialize)]
    struct Glance {
        #[serde(default)]
        spec: Spec,
    }
    #[derive(Default, Deserialize)]
    struct Spec {
        #[serde(default)]
        auth: Auth,
    }
    #[derive(Default, Deserialize)]
    struct Auth {
        r#type: Option<String>,
    }
    let glance: Glance = serde_saphyr::from_str(text).unwrap_or_default();
    let own = types::ALL.iter().find(|kind| kind.name == type_name).and_then(|kind| kind.auth.first());
    glance.spec.auth.r#type.or_else(|| own.map(|auth| auth.name.to_owned()))
}

async fn provider(
    api: &Api,
    project: &str,
    row: &Document,
    last: &BTreeMap<SecretName, i64>,
    verified: Option<&Verified>,
) -> Answer<CardProvider> {
    let document = &row.document;
    let kind = document.kind;
    let mut expires: Option<i64> = None;
    let mut changed = row.version;
    for name in &document.uses {
        let Some(secret) = api.vault.store().secret(project, name).await? else { continue };
        expires = [expires, secret.expires].into_iter().flatten().min();
        changed = changed.max(secret.revision);
    }
    let verified = verified.filter(|verified| verified.revision > changed);
    let object = ObjectRef { kind: kind.object(), name: document.name.clone() };
    let users = api.registry.users(project, &object).await?;
    let agents = users.into_iter().filter(|user| user.kind == ObjectKind::Agent).map(|user| user.name);
    Ok(CardProvider {
        kind: match kind {
            DocumentKind::Provider => "Provider",
            DocumentKind::ModelProvider => "ModelProvider",
        }
        .to_owned(),
        name: document.name.clone(),
        auth: auth_type(&document.text, &document.type_name),
        secrets: document.uses.iter().map(ToString::to_string).collect(),
        withheld: document.withheld,
        expires: expires.map(shown),
        verified: verified.map(|verified| shown(verified.at)),
        verified_by: verified.map(|verified| verified.who.clone()),
        last_used: document.uses.iter().filter_map(|name| last.get(name)).max().copied().map(shown),
        agents: agents.collect(),
    })
}
