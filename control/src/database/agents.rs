//! Agents, their tokens' digests and their sidecars; everything that one agent is entitled to.

use std::collections::{BTreeMap, BTreeSet};

use super::link::{Arg, Cells, args};
use super::projects;
use super::transaction::{Transaction, object};
use super::{asks, attachments, documents, identities, variables, versions};
use crate::registry::{
    Agent, AgentState, Attached, Document, DocumentKind, EnvSource, Identity, NewAgent, Noted, ObjectKind,
    Page, RegistryError, Seen, Sidecar, TokenDigest,
};
use crate::secret::SecretName;
use crate::vault::store::{SealedValue, SecretRow, StoreError};

/// After how many seconds a sidecar that was not seen is forgotten.
const FORGOTTEN: i64 = 24 * 60 * 60;
/// The sidecars of one agent that are remembered: each makes itself a new name with each connection.
const SIDECARS_MAX: i64 = 256;

fn read(mut row: Cells) -> Result<Agent, StoreError> {
    Ok(Agent {
        project: row.text()?,
        name: row.text()?,
        description: row.maybe_text()?,
        digest: TokenDigest(row.digest()?),
        created: row.int()?,
        expires: row.maybe_int()?,
        revoked: row.maybe_int()?,
        identities: Vec::new(),
        version: row.number()?,
        sidecars: Vec::new(),
    })
}

/// Agents of one project, sorted by name, with their sidecars.
async fn found(
    transaction: &mut Transaction<'_>,
    sql: &'static str,
    args: &[Arg],
) -> Result<Vec<Agent>, StoreError> {
    let rows = transaction.rows(sql, args).await?;
    let mut agents = rows.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let (Some(first), Some(last)) = (agents.first(), agents.last()) else { return Ok(agents) };
    let sidecars = transaction
        .rows(
            "SELECT agent, id, acknowledged, seen FROM sidecars
                WHERE project = $1 AND agent >= $2 AND agent <= $3 ORDER BY agent, seen DESC, id",
            &args![&first.project, &first.name, &last.name],
        )
        .await?;
    for mut row in sidecars {
        let agent = row.text()?;
        let sidecar = Sidecar { id: row.text()?, acknowledged: row.number()?, seen: row.int()? };
        let at = agents.binary_search_by(|other| other.name.cmp(&agent)).ok();
        if let Some(agent) = at.and_then(|at| agents.get_mut(at)) {
            agent.sidecars.push(sidecar);
        }
    }
    identities::fill(transaction, &mut agents).await?;
    Ok(agents)
}

pub(super) async fn one(
    transaction: &mut Transaction<'_>,
    project: &str,
    name: &str,
) -> Result<Option<Agent>, StoreError> {
    let sql = "SELECT project, name, description, digest, created, expires, revoked, version FROM agents
        WHERE project = $1 AND name = $2";
    Ok(found(transaction, sql, &args![project, name]).await?.pop())
}

pub(super) async fn by_token(
    transaction: &mut Transaction<'_>,
    digest: &TokenDigest,
) -> Result<Option<Agent>, StoreError> {
    let sql = "SELECT project, name, description, digest, created, expires, revoked, version FROM agents
        WHERE digest = $1";
    let agent = found(transaction, sql, &args![&digest.0[..]]).await?.pop();
    Ok(agent.filter(|agent| agent.digest.matches(digest)))
}

pub(super) async fn by_identity(
    transaction: &mut Transaction<'_>,
    identity: &Identity,
) -> Result<Option<Agent>, StoreError> {
    match identities::owner(transaction, identity).await? {
        Some((project, name)) => one(transaction, &project, &name).await,
        None => Ok(None),
    }
}

pub(super) async fn page(
    transaction: &mut Transaction<'_>,
    project: &str,
    page: &Page,
) -> Result<Vec<Agent>, StoreError> {
    let sql = "SELECT project, name, description, digest, created, expires, revoked, version FROM agents
        WHERE project = $1 AND name > $2 ORDER BY name LIMIT $3";
    let after = page.after.as_deref().unwrap_or_default();
    found(transaction, sql, &args![project, after, i64::from(page.limit)]).await
}

/// The agent, or the refusal that it is missing.
pub(super) async fn required(
    transaction: &mut Transaction<'_>,
    project: &str,
    name: &str,
) -> Result<Agent, RegistryError> {
    let found = one(transaction, project, name).await?;
    found.ok_or_else(|| RegistryError::Missing(object(ObjectKind::Agent, name)))
}

async fn seen_one(
    transaction: &mut Transaction<'_>,
    project: &str,
    name: &str,
    seen: Seen,
) -> Result<Agent, RegistryError> {
    let found = required(transaction, project, name).await?;
    transaction.check_seen(seen, found.version, object(ObjectKind::Agent, name))?;
    Ok(found)
}

pub(super) async fn add(
    transaction: &mut Transaction<'_>,
    project: &str,
    agent: NewAgent,
) -> Result<u64, RegistryError> {
    projects::required(transaction, project).await?;
    if one(transaction, project, &agent.name).await?.is_some() {
        return Err(RegistryError::Exists(object(ObjectKind::Agent, &agent.name)));
    }
    let (version, at) = (transaction.revision().await?, transaction.at());
    let NewAgent { name, description, digest, expires, identities: wanted } = &agent;
    transaction
        .run(
            "INSERT INTO agents (project, name, description, digest, created, expires, version)
                VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &args![project, name, description, &digest.0[..], at, *expires, version],
        )
        .await?;
    identities::put(transaction, project, name, wanted).await?;
    transaction.changed(project, ObjectKind::Agent, name);
    Ok(version)
}

pub(super) async fn identify(
    transaction: &mut Transaction<'_>,
    project: &str,
    name: &str,
    wanted: &[Identity],
    seen: Seen,
) -> Result<u64, RegistryError> {
    seen_one(transaction, project, name, seen).await?;
    let version = transaction.revision().await?;
    identities::put(transaction, project, name, wanted).await?;
    transaction
        .run(
            "UPDATE agents SET version = $3 WHERE project = $1 AND name = $2",
            &args![project, name, version],
        )
        .await?;
    transaction.changed(project, ObjectKind::Agent, name);
    Ok(version)
}

pub(super) async fn replace(
    transaction: &mut Transaction<'_>,
    project: &str,
    agent: NewAgent,
    seen: Seen,
) -> Result<u64, RegistryError> {
    let before = seen_one(transaction, project, &agent.name, seen).await?;
    let version = transaction.revision().await?;
    let NewAgent { name, description, digest, expires, identities: _ } = &agent;
    // A revocation belongs to the token: only another token ends it.
    let revoked = before.revoked.filter(|_| before.digest.matches(digest));
    transaction
        .run(
            "UPDATE agents SET description = $3, digest = $4, expires = $5, revoked = $6, version = $7
                WHERE project = $1 AND name = $2",
            &args![project, name, description, &digest.0[..], *expires, revoked, version],
        )
        .await?;
    transaction.changed(project, ObjectKind::Agent, name);
    Ok(version)
}

pub(super) async fn revoke(
    transaction: &mut Transaction<'_>,
    project: &str,
    name: &str,
    seen: Seen,
) -> Result<u64, RegistryError> {
    let before = seen_one(transaction, project, name, seen).await?;
    let (version, at) = (transaction.revision().await?, transaction.at());
    transaction
        .run(
            "UPDATE agents SET revoked = $3, version = $4 WHERE project = $1 AND name = $2",
            &args![project, name, before.revoked.unwrap_or(at), version],
        )
        .await?;
    asks::forget(transaction, project, name).await?;
    transaction.changed(project, ObjectKind::Agent, name);
    Ok(version)
}

pub(super) async fn delete(
    transaction: &mut Transaction<'_>,
    project: &str,
    name: &str,
    seen: Seen,
) -> Result<(), RegistryError> {
    seen_one(transaction, project, name, seen).await?;
    transaction.run("DELETE FROM agents WHERE project = $1 AND name = $2", &args![project, name]).await?;
    asks::forget(transaction, project, name).await?;
    transaction.changed(project, ObjectKind::Agent, name);
    Ok(())
}

/// Notes which sidecars were seen, some of which may be of agents that are gone. What was acknowledged never falls.
pub(super) async fn acknowledge(transaction: &mut Transaction<'_>, all: &[Noted]) -> Result<(), StoreError> {
    for Noted { project, agent, sidecar } in all {
        note(transaction, project, agent, sidecar).await?;
    }
    match all.iter().map(|one| one.sidecar.seen).max() {
        Some(now) => forget(transaction, now).await,
        None => Ok(()),
    }
}

async fn note(
    transaction: &mut Transaction<'_>,
    project: &str,
    agent: &str,
    sidecar: &Sidecar,
) -> Result<(), StoreError> {
    transaction
        .run(
            "INSERT INTO sidecars (project, agent, id, acknowledged, seen)
                SELECT project, name, $3, $4, $5 FROM agents WHERE project = $1 AND name = $2
                ON CONFLICT (project, agent, id) DO UPDATE SET
                acknowledged = CASE WHEN excluded.acknowledged > sidecars.acknowledged
                    THEN excluded.acknowledged ELSE sidecars.acknowledged END,
                seen = CASE WHEN excluded.seen > sidecars.seen THEN excluded.seen ELSE sidecars.seen END",
            &args![project, agent, &sidecar.id, sidecar.acknowledged, sidecar.seen],
        )
        .await?;
    transaction
        .run(
            "DELETE FROM sidecars WHERE project = $1 AND agent = $2 AND id NOT IN
                (SELECT id FROM sidecars WHERE project = $1 AND agent = $2 ORDER BY seen DESC, id LIMIT $3)",
            &args![project, agent, SIDECARS_MAX],
        )
        .await?;
    Ok(())
}

async fn forget(transaction: &mut Transaction<'_>, now: i64) -> Result<(), StoreError> {
    transaction.run("DELETE FROM sidecars WHERE seen < $1", &args![now - FORGOTTEN]).await?;
    Ok(())
}

/// What agents have in common, as it was read for the first of them.
#[derive(Default)]
struct Known {
    documents: BTreeMap<(&'static str, String), Option<Document>>,
    secrets: BTreeMap<SecretName, Option<(SecretRow, Vec<SealedValue>)>>,
}

/// Everything that agents of one project are entitled to, in the order of their names; all as of one moment.
pub(super) async fn states(
    transaction: &mut Transaction<'_>,
    project: &str,
    names: &[String],
) -> Result<Vec<Option<AgentState>>, StoreError> {
    let revision = transaction.revision().await?;
    let (mut known, mut all) = (Known::default(), Vec::with_capacity(names.len()));
    for name in names {
        let state = match one(transaction, project, name).await? {
            Some(agent) => Some(state(transaction, agent, revision, &mut known).await?),
            None => None,
        };
        all.push(state);
    }
    Ok(all)
}

async fn state(
    transaction: &mut Transaction<'_>,
    agent: Agent,
    revision: u64,
    known: &mut Known,
) -> Result<AgentState, StoreError> {
    let project = agent.project.clone();
    let attachments = attachments::attached_to(transaction, &agent, 0).await?;
    let (documents, secrets, variables) = (Vec::new(), Vec::new(), Vec::new());
    let mut state = AgentState { revision, agent, attachments, documents, secrets, variables };
    let mut secrets = BTreeSet::new();
    for attachment in &state.attachments {
        match &attachment.what {
            Attached::Secret(name) | Attached::Env { source: EnvSource::Secret(name), .. } => {
                secrets.insert(name.clone());
            }
            Attached::Document(kind, name) => {
                let Some(document) = known.document(transaction, &project, *kind, name).await? else {
                    continue;
                };
                if !document.document.withheld {
                    secrets.extend(document.document.uses.iter().cloned());
                }
                state.documents.push(document);
            }
            Attached::Env { source: EnvSource::Variable(name), .. } => {
                state.variables.extend(variables::one(transaction, &project, name).await?);
            }
        }
    }
    for name in secrets {
        state.secrets.extend(known.secret(transaction, &project, name).await?);
    }
    Ok(state)
}

impl Known {
    async fn document(
        &mut self,
        transaction: &mut Transaction<'_>,
        project: &str,
        kind: DocumentKind,
        name: &str,
    ) -> Result<Option<Document>, StoreError> {
        let key = (kind.object().name(), name.to_owned());
        if let Some(known) = self.documents.get(&key) {
            return Ok(known.clone());
        }
        let found = documents::one(transaction, project, kind, name).await?;
        self.documents.insert(key, found.clone());
        Ok(found)
    }

    async fn secret(
        &mut self,
        transaction: &mut Transaction<'_>,
        project: &str,
        name: SecretName,
    ) -> Result<Option<(SecretRow, Vec<SealedValue>)>, StoreError> {
        if let Some(known) = self.secrets.get(&name) {
            return Ok(known.clone());
        }
        let found = match versions::one(transaction, project, name.as_str()).await? {
            Some(row) => {
                let values = versions::sealed(transaction, project, &row).await?;
                Some((row, values))
            }
            None => None,
        };
        self.secrets.insert(name, found.clone());
        Ok(found)
    }
}
