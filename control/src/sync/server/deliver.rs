//! What an agent has, as a snapshot for one sidecar: documents as they are, values sealed to its key.
//!
//! A secret that cannot be opened is left out and logged: it fails alone, and its provider says so at the sidecar. A document
//! that is withheld is left out too: the sidecar may have its secret by another attachment.

use super::Server;
use crate::policy;
use crate::registry::{AgentState, Attached, DocumentKind, EnvSource};
use crate::secret::SecretName;
use crate::sync::seal::{PublicKey, SealError, Sealer, Whose};
use crate::sync::wire::{self, Bytes, Exposure, Holds, KeyOf, SealedSecret, Snapshot};

/// The snapshot of this state for the sidecar with this key.
pub(super) fn snapshot(server: &Server, state: &AgentState, key: PublicKey) -> Result<Snapshot, SealError> {
    let (project, agent) = (state.agent.project.as_str(), state.agent.name.as_str());
    let sealer = Sealer::new(key, Whose { revision: state.revision, project, agent })?;
    let mut secrets = Vec::with_capacity(state.secrets.len());
    for (row, values) in &state.secrets {
        let Some(delivery) = policy::deliver(state, &row.name, server.now()) else {
            tracing::error!(%project, %agent, secret = %row.name, "a secret that is not attached was not delivered");
            continue;
        };
        match server.vault.deliver(&delivery, row, values.clone(), &sealer) {
            Ok(sealed) => secrets.push(sealed),
            Err(error) => tracing::error!(%project, secret = %row.name, %error, "secret not delivered"),
        }
    }
    let documents = state.documents.iter().filter(|one| !one.document.withheld);
    let documents = documents.map(|one| wire::Document {
        kind: match one.document.kind {
            DocumentKind::Provider => wire::DocumentKind::Provider,
            DocumentKind::ModelProvider => wire::DocumentKind::ModelProvider,
        },
        name: one.document.name.clone(),
        version: one.version,
        text: one.document.text.clone(),
    });
    let snapshot = Snapshot {
        revision: state.revision,
        project: project.to_owned(),
        agent: agent.to_owned(),
        expires: state.agent.expires,
        seal: sealer.public(),
        documents: documents.collect(),
        env: exposures(state, &secrets),
        secrets,
        mac: Bytes([0; 32]),
    };
    sealer.finish(snapshot)
}

/// The variables that the agent itself is given.
fn exposures(state: &AgentState, secrets: &[SealedSecret]) -> Vec<Exposure> {
    let exposed = |(variable, source): (&String, &EnvSource)| {
        let holds = match source {
            EnvSource::Variable(name) => {
                let row = state.variables.iter().find(|row| row.name == *name)?;
                Holds::Value(row.value.clone())
            }
            EnvSource::Secret(name) => {
                Holds::Secret(KeyOf { name: name.clone(), key: key(name, variable, secrets)? })
            }
        };
        Some(Exposure { variable: variable.clone(), holds })
    };
    let all = state.attachments.iter().filter_map(|attachment| match &attachment.what {
        Attached::Env { name, source } => Some((name, source)),
        Attached::Secret(_) | Attached::Document(..) => None,
    });
    all.filter_map(exposed).collect()
}

/// The only key of the secret, or the one that is called like the variable.
fn key(name: &SecretName, variable: &str, secrets: &[SealedSecret]) -> Option<String> {
    let secret = secrets.iter().find(|secret| secret.name == *name)?;
    let found = match secret.values.as_slice() {
        [only] => Some(only),
        several => several.iter().find(|value| value.key == *variable),
    };
    if found.is_none() {
        tracing::error!(secret = %name, %variable, "the secret has several keys and none is called like the variable");
    }
    found.map(|value| value.key.clone())
}
