//! When sidecars were seen and what they acknowledged goes to the database in batches: a thousand that say it at once are one
//! commit, and hold up nobody else who writes or reads.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::registry::{Noted, Registry};

/// What waits at most; more wait to be let in.
const WAITING: usize = 4096;
/// What is written at once.
const BATCH: usize = 512;

/// It was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unwritten;

#[derive(Debug)]
struct Waiting {
    noted: Noted,
    done: oneshot::Sender<Result<(), Unwritten>>,
}

/// The way to the task that writes, which ends with the last of these.
#[derive(Debug)]
pub(super) struct Notes(mpsc::Sender<Waiting>);

impl Notes {
    /// Starts the task.
    pub(super) fn start(registry: Arc<dyn Registry>) -> Self {
        let (sender, waiting) = mpsc::channel(WAITING);
        tokio::spawn(write(registry, waiting));
        Self(sender)
    }

    /// Waits until it is written. What is written is written also if nobody waits any more.
    pub(super) async fn write(&self, noted: Noted) -> Result<(), Unwritten> {
        let (done, written) = oneshot::channel();
        self.0.send(Waiting { noted, done }).await.map_err(|_| Unwritten)?;
        written.await.unwrap_or(Err(Unwritten))
    }
}

async fn write(registry: Arc<dyn Registry>, mut waiting: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let (mut all, told): (Vec<_>, Vec<_>) = batch.drain(..).map(|one| (one.noted, one.done)).unzip();
        // In one order everywhere: two servers that write the same rows must not wait for each other.
        all.sort_unstable_by(|a, b| {
            (&a.project, &a.agent, &a.sidecar.id).cmp(&(&b.project, &b.agent, &b.sidecar.id))
        });
        let written = registry.acknowledge(&all).await.map_err(|error| {
            tracing::error!(%error, "it was not noted which sidecars were seen");
            Unwritten
        });
        for one in told {
            if one.send(written).is_err() {
                // Whoever asked is gone.
            }
        }
    }
}
