//! What sidecars ask for requests that need a person's approval: the agent's own, and nobody else's.

use axum::response::{IntoResponse, Response};

use super::answer::Refused;
use super::hub::Hubs;
use super::{Caller, Server};
use crate::approval::{Asked, Kept, Preview, State};
use crate::registry::{ChangeRow, ObjectKind, RegistryError};
use crate::sync::asks::{Asking, Told};

/// Answers one question.
pub(super) async fn ask(server: &Server, caller: &Caller, body: &[u8]) -> Result<Response, Refused> {
    let asking: Asking = serde_json::from_slice(body).map_err(|_| Refused::body())?;
    if !asking.is_of(&caller.agent.project, &caller.agent.name) {
        return Err(Refused::body());
    }
    let preview = match &asking.preview {
        Some(preview) => Some(Kept(sealed(server, &asking, preview).await?)),
        None => None,
    };
    let asked = Asked { request: &asking.request, preview: preview.as_ref() };
    let answer = server.registry.ask(&asking.binding, asked, server.now()).await;
    let answer = answer.map_err(|error| Refused::database(&error))?;
    let told = Told::new(caller.key, &asking, &answer).map_err(|_| Refused::key())?;
    Ok(axum::Json(told).into_response())
}

/// What is kept of a body is kept as secrets are.
async fn sealed(server: &Server, asking: &Asking, preview: &Preview) -> Result<Vec<u8>, Refused> {
    let sealed = server.vault.seal_preview(&asking.binding, preview.to_bytes()).await;
    sealed.map_err(|error| {
        tracing::error!(%error, "what a person may see of a body cannot be sealed");
        Refused::fault()
    })
}

/// Tells the streams of an agent that a question of its own was decided.
pub(super) async fn tell(server: &Server, hubs: &Hubs, rows: &[ChangeRow]) -> Result<(), RegistryError> {
    for row in rows {
        let Some(asked) = row.object.as_ref().filter(|object| object.kind == ObjectKind::Ask) else {
            continue;
        };
        let Some(project) = row.project.as_deref().filter(|project| hubs.has(project)) else { continue };
        let Some(ask) = server.registry.asked(project, &asked.name).await? else { continue };
        if ask.state != State::Open && ask.state != State::Used {
            hubs.answered(project, &ask.binding.agent, &ask.id);
        }
    }
    Ok(())
}
