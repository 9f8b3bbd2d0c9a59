//! What is attached to agents. Each thing that an agent's attachments cover is a row of one agent: two attachments that
//! cover the same cannot both be there.

use super::agents;
use super::link::{Cells, args};
use super::transaction::{Transaction, object};
use super::{documents, variables, versions};
use crate::registry::{
    Agent, Attached, Attachment, DocumentKind, EnvSource, ObjectKind, ObjectRef, RegistryError, Seen,
};
use crate::secret::SecretName;
use crate::vault::store::StoreError;

/// How long after it was last seen a sidecar counts as running, in seconds.
const ALIVE: i64 = 300;

/// The attachments of one agent, each with the revision of the last change of what hangs on it.
const OF_AGENT: &str = "SELECT a.kind, a.name, a.source_kind, a.source, a.created, a.version,
        COALESCE((SELECT s.revision FROM secrets s WHERE s.project = a.project AND
            ((a.kind = 'secret' AND s.name = a.name) OR (a.kind = 'env' AND a.source_kind = 'secret' AND s.name = a.source))), 0),
        COALESCE((SELECT v.revision FROM variables v WHERE v.project = a.project AND a.source_kind = 'variable' AND v.name = a.source), 0),
        COALESCE((SELECT d.version FROM documents d WHERE d.project = a.project AND d.kind = a.kind AND d.name = a.name), 0),
        COALESCE((SELECT MAX(s.revision) FROM document_uses u JOIN secrets s ON s.project = u.project AND s.name = u.secret
            WHERE u.project = a.project AND u.kind = a.kind AND u.name = a.name), 0)
    FROM attachments a WHERE a.project = $1 AND a.agent = $2 ORDER BY a.kind, a.name";

fn read(mut row: Cells) -> Result<Attachment, StoreError> {
    let (kind, name) = (row.text()?, row.text()?);
    let (source_kind, source) = (row.maybe_text()?, row.maybe_text()?);
    let what = attached(&kind, name, source_kind, source)?;
    let created = row.int()?;
    let mut revision = 0;
    for _ in 0..5 {
        revision = revision.max(row.number()?);
    }
    Ok(Attachment { what, created, revision, synced: false, acknowledged: None, seen: None })
}

fn attached(
    kind: &str,
    name: String,
    source_kind: Option<String>,
    source: Option<String>,
) -> Result<Attached, StoreError> {
    let secret = |text: String| -> Result<SecretName, StoreError> {
        text.parse().map_err(|_| StoreError::Damaged("a secret's name"))
    };
    match (kind, source_kind.as_deref(), source) {
        ("secret", None, None) => Ok(Attached::Secret(secret(name)?)),
        ("provider", None, None) => Ok(Attached::Document(DocumentKind::Provider, name)),
        ("model-provider", None, None) => Ok(Attached::Document(DocumentKind::ModelProvider, name)),
        ("env", Some("variable"), Some(source)) => {
            Ok(Attached::Env { name, source: EnvSource::Variable(source) })
        }
        ("env", Some("secret"), Some(source)) => {
            Ok(Attached::Env { name, source: EnvSource::Secret(secret(source)?) })
        }
        _ => Err(StoreError::Damaged("an attachment")),
    }
}

/// What is attached to an agent; `now` tells which of its sidecars count.
pub(super) async fn of_agent(
    transaction: &mut Transaction<'_>,
    project: &str,
    agent: &str,
    now: i64,
) -> Result<Option<Vec<Attachment>>, StoreError> {
    match agents::one(transaction, project, agent).await? {
        Some(agent) => attached_to(transaction, &agent, now).await.map(Some),
        None => Ok(None),
    }
}

/// The same of one that was read.
pub(super) async fn attached_to(
    transaction: &mut Transaction<'_>,
    agent: &Agent,
    now: i64,
) -> Result<Vec<Attachment>, StoreError> {
    let rows = transaction.rows(OF_AGENT, &args![&agent.project, &agent.name]).await?;
    let alive: Vec<_> = agent.sidecars.iter().filter(|one| now.saturating_sub(one.seen) <= ALIVE).collect();
    let behind = alive.iter().map(|one| one.acknowledged).min();
    let seen = agent.sidecars.iter().map(|one| one.seen).max();
    let rows = rows.into_iter().map(|row| {
        let attachment = read(row)?;
        let synced = behind.is_some_and(|acknowledged| acknowledged >= attachment.revision);
        Ok(Attachment { synced, acknowledged: behind, seen, ..attachment })
    });
    rows.collect()
}

/// Refuses what is not there; gives the claims that a document brings.
async fn claims_of(
    transaction: &mut Transaction<'_>,
    project: &str,
    what: &Attached,
) -> Result<Vec<String>, RegistryError> {
    let (there, named) = match what {
        Attached::Secret(name) | Attached::Env { source: EnvSource::Secret(name), .. } => (
            versions::one(transaction, project, name.as_str()).await?.is_some(),
            object(ObjectKind::Secret, name.as_str()),
        ),
        Attached::Env { source: EnvSource::Variable(name), .. } => {
            (variables::one(transaction, project, name).await?.is_some(), object(ObjectKind::Variable, name))
        }
        Attached::Document(kind, name) => {
            let named = object(kind.object(), name);
            return match documents::one(transaction, project, *kind, name).await? {
                Some(found) => Ok(found.document.claims),
                None => Err(RegistryError::Dangling(named)),
            };
        }
    };
    if there { Ok(Vec::new()) } else { Err(RegistryError::Dangling(named)) }
}

pub(super) async fn attach(
    transaction: &mut Transaction<'_>,
    project: &str,
    agent: &str,
    what: &Attached,
    claims: Vec<String>,
) -> Result<u64, RegistryError> {
    agents::required(transaction, project, agent).await?;
    let mut all = claims_of(transaction, project, what).await?;
    if !matches!(what, Attached::Document(..)) {
        all.extend(claims);
    }
    let (kind, name) = (what.kind_name(), what.name());
    let there = transaction
        .row(
            "SELECT name FROM attachments WHERE project = $1 AND agent = $2 AND kind = $3 AND name = $4",
            &args![project, agent, kind, name],
        )
        .await?;
    if there.is_some() {
        return Err(RegistryError::Exists(object(ObjectKind::Attachment, &format!("{kind}/{name}"))));
    }
    let (source_kind, source) = match what {
        Attached::Env { source: EnvSource::Variable(source), .. } => {
            (Some("variable"), Some(source.as_str()))
        }
        Attached::Env { source: EnvSource::Secret(source), .. } => (Some("secret"), Some(source.as_str())),
        Attached::Secret(_) | Attached::Document(..) => (None, None),
    };
    let (version, at) = (transaction.revision().await?, transaction.at());
    transaction
        .run(
            "INSERT INTO attachments (project, agent, kind, name, source_kind, source, created, version)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            &args![project, agent, kind, name, source_kind, source, at, version],
        )
        .await?;
    claim(transaction, project, agent, (kind, name), &all).await?;
    transaction.changed(project, ObjectKind::Attachment, agent);
    Ok(version)
}

/// Notes what an attachment covers; refuses what another one of the agent covers.
async fn claim(
    transaction: &mut Transaction<'_>,
    project: &str,
    agent: &str,
    (kind, name): (&str, &str),
    claims: &[String],
) -> Result<(), RegistryError> {
    for claim in claims {
        let other = transaction
            .row(
                "SELECT kind, name FROM attachment_claims WHERE project = $1 AND agent = $2 AND claim = $3",
                &args![project, agent, claim],
            )
            .await?;
        if let Some(mut other) = other {
            let (other_kind, other_name) = (other.text()?, other.text()?);
            if other_kind == kind && other_name == name {
                continue;
            }
            return Err(RegistryError::Claimed {
                agent: agent.to_owned(),
                claim: claim.clone(),
                other: attached_object(&other_kind, other_name),
            });
        }
        transaction
            .run(
                "INSERT INTO attachment_claims (project, agent, claim, kind, name) VALUES ($1, $2, $3, $4, $5)",
                &args![project, agent, claim, kind, name],
            )
            .await?;
    }
    Ok(())
}

/// An environment variable is no object of its own.
fn attached_object(kind: &str, name: String) -> ObjectRef {
    match kind.parse() {
        Ok(kind) => ObjectRef { kind, name },
        Err(_) => ObjectRef { kind: ObjectKind::Attachment, name: format!("{kind}/{name}") },
    }
}

/// Gives a document's new claims to all agents that have it.
pub(super) async fn claim_anew(
    transaction: &mut Transaction<'_>,
    project: &str,
    kind: &str,
    name: &str,
    claims: &[String],
) -> Result<(), RegistryError> {
    transaction
        .run(
            "DELETE FROM attachment_claims WHERE project = $1 AND kind = $2 AND name = $3",
            &args![project, kind, name],
        )
        .await?;
    let rows = transaction
        .rows(
            "SELECT agent FROM attachments WHERE project = $1 AND kind = $2 AND name = $3 ORDER BY agent",
            &args![project, kind, name],
        )
        .await?;
    for mut row in rows {
        let agent = row.text()?;
        claim(transaction, project, &agent, (kind, name), claims).await?;
    }
    Ok(())
}

pub(super) async fn detach(
    transaction: &mut Transaction<'_>,
    project: &str,
    agent: &str,
    what: &Attached,
    seen: Seen,
) -> Result<(), RegistryError> {
    agents::required(transaction, project, agent).await?;
    let (kind, name) = (what.kind_name(), what.name());
    let this = object(ObjectKind::Attachment, &format!("{kind}/{name}"));
    if let Seen::Version(_) = seen {
        let all = of_agent(transaction, project, agent, 0).await?.unwrap_or_default();
        let found = all.into_iter().find(|row| row.what.kind_name() == kind && row.what.name() == name);
        let found = found.ok_or_else(|| RegistryError::Missing(this.clone()))?;
        transaction.check_seen(seen, found.revision, this.clone())?;
    }
    let gone = transaction
        .run(
            "DELETE FROM attachments WHERE project = $1 AND agent = $2 AND kind = $3 AND name = $4",
            &args![project, agent, kind, name],
        )
        .await?;
    if gone == 0 {
        return Err(RegistryError::Missing(this));
    }
    transaction.changed(project, ObjectKind::Attachment, agent);
    Ok(())
}
