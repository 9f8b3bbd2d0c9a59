//! Whose sidecar somebody is by what others vouch for. Invariant: one identity is one agent's at most, of all projects.

use super::link::args;
use super::transaction::Transaction;
use crate::registry::{Agent, Identity, RegistryError};
use crate::vault::store::StoreError;

/// Fills in the identities of agents of one project, sorted by name.
pub(super) async fn fill(transaction: &mut Transaction<'_>, agents: &mut [Agent]) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (agents.first(), agents.last()) else { return Ok(()) };
    let rows = transaction
        .rows(
            "SELECT agent, identity FROM agent_identities
                WHERE project = $1 AND agent >= $2 AND agent <= $3 ORDER BY agent, identity",
            &args![&first.project, &first.name, &last.name],
        )
        .await?;
    for mut row in rows {
        let (agent, identity) = (row.text()?, row.text()?);
        let identity = identity.parse().map_err(|_| StoreError::Damaged("an identity"))?;
        let at = agents.binary_search_by(|other| other.name.cmp(&agent)).ok();
        if let Some(agent) = at.and_then(|at| agents.get_mut(at)) {
            agent.identities.push(identity);
        }
    }
    Ok(())
}

/// Project and name of the agent that has it.
pub(super) async fn owner(
    transaction: &mut Transaction<'_>,
    identity: &Identity,
) -> Result<Option<(String, String)>, StoreError> {
    let sql = "SELECT project, agent FROM agent_identities WHERE identity = $1";
    let row = transaction.row(sql, &args![identity.as_str()]).await?;
    row.map(|mut row| Ok((row.text()?, row.text()?))).transpose()
}

/// Gives an agent that is there these identities alone.
pub(super) async fn put(
    transaction: &mut Transaction<'_>,
    project: &str,
    agent: &str,
    wanted: &[Identity],
) -> Result<(), RegistryError> {
    transaction
        .run("DELETE FROM agent_identities WHERE project = $1 AND agent = $2", &args![project, agent])
        .await?;
    for identity in wanted {
        // One writer at a time: nobody takes it between these two.
        if owner(transaction, identity).await?.is_some() {
            return Err(RegistryError::Identified(identity.clone()));
        }
        transaction
            .run(
                "INSERT INTO agent_identities (identity, project, agent) VALUES ($1, $2, $3)",
                &args![identity.as_str(), project, agent],
            )
            .await?;
    }
    Ok(())
}
