//! Asking people by the control server: each call is answered by it alone, and what it says is authenticated for our key.
//!
//! Refuses answers that were not made for this very question. Hears by the stream that something was decided, which gives
//! nothing: who waits asks again.

use std::sync::Arc;

use control::approval::{Answer, Binding, Preview};
use control::sync::ASKS_PATH;
use control::sync::asks::{Asking, Told};
use control::sync::seal::SealError;
use http::StatusCode;
use tokio::sync::broadcast;

use super::Shared;
use super::link::{Caller, Parted};

/// Why nobody was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unasked {
    #[error(transparent)]
    Link(#[from] Parted),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("the server answered {0}")]
    Status(StatusCode),
    #[error("the server's answer cannot be read")]
    Answer,
    #[error("the server has given nothing to this agent")]
    Nothing,
}

/// Which question was decided; `None`: any may be.
pub(crate) type Decided = Option<Arc<str>>;

/// Questions that were decided and wait for who asked; who has missed some asks again.
const DECIDED: usize = 64;

pub(super) fn decided() -> broadcast::Sender<Decided> {
    broadcast::Sender::new(DECIDED)
}

/// The way to the people of a control server.
pub(crate) struct Asker {
    caller: Caller,
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asker")
    }
}

impl Asker {
    pub(super) fn new(caller: Caller) -> Self {
        Self { caller }
    }

    fn shared(&self) -> &Shared {
        &self.caller.shared
    }

    /// The agent's project.
    pub(crate) fn project(&self) -> Result<String, Unasked> {
        let held = self.shared().followed.held().ok_or(Unasked::Nothing)?;
        Ok(held.snapshot().project.clone())
    }

    /// Hears of decisions from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Decided> {
        self.shared().decided.subscribe()
    }

    /// Asks for a request, and takes the approval if there is one.
    pub(crate) async fn ask(
        &self,
        binding: &Binding,
        request: &str,
        preview: Option<&Preview>,
    ) -> Result<Answer, Unasked> {
        let asking = Asking::new(binding.clone(), request, preview.cloned())?;
        let body = serde_json::to_vec(&asking).map_err(|_| Unasked::Answer)?;
        let (status, answer) = self.caller.ask(ASKS_PATH, body.into()).await?;
        if status != StatusCode::OK {
            return Err(Unasked::Status(status));
        }
        let told: Told = serde_json::from_slice(&answer).map_err(|_| Unasked::Answer)?;
        Ok(told.open(self.caller.key(), &asking)?)
    }
}
