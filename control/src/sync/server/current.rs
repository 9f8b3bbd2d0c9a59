//! Whether this server knows of every change: sidecars are kept alive only as long as it does.
//!
//! One task asks the database for the newest revision, and waits until whoever follows the changes has looked at it; streams
//! read what came of that. A server that lost its database, or cannot read its changes, knows of no revocation.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{PING, Server};
use crate::registry::RegistryError;

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(2);

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Current {
    /// The revision that was looked at.
    followed: watch::Sender<u64>,
    /// When the last question began that was answered well.
    confirmed: watch::Sender<Option<Instant>>,
}

impl Current {
    /// Every change up to this revision was told of.
    pub(super) fn followed(&self, revision: u64) {
        self.followed.send_replace(revision);
    }

    /// Whether every change was told of just now.
    pub(super) fn is_so(&self) -> bool {
        is_fresh(&self.confirmed.borrow())
    }

    /// Returns when it is so.
    #[cfg(test)]
    pub(super) async fn comes(&self) {
        // It is not closed as long as the server is there.
        drop(self.confirmed.subscribe().wait_for(is_fresh).await);
    }

    /// Returns when it is not so any more, which time alone brings about.
    #[cfg(test)]
    pub(super) async fn goes(&self) {
        while self.is_so() {
            let confirmed = self.confirmed.borrow().unwrap_or_else(Instant::now);
            tokio::time::sleep_until((confirmed + PING).into()).await;
        }
    }
}

fn is_fresh(confirmed: &Option<Instant>) -> bool {
    confirmed.is_some_and(|at| at.elapsed() < PING)
}

/// Asks as long as the server lives.
pub(super) async fn confirm(server: &Server) {
    loop {
        let begun = Instant::now();
        match timeout(PING, ask(server)).await {
            Ok(Ok(())) => {
                server.current.confirmed.send_replace(Some(begun));
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the database cannot be read: no sidecar is told that we follow it");
            }
            Err(_) => {
                tracing::error!("the database's changes are not followed: no sidecar is told that we do")
            }
        }
        sleep(EVERY).await;
    }
}

pub(super) async fn ask(server: &Server) -> Result<(), RegistryError> {
    let latest = server.registry.latest().await?;
    let mut followed = server.current.followed.subscribe();
    match followed.wait_for(|revision| *revision >= latest).await {
        // It is not closed as long as the server is there.
        Ok(_) | Err(_) => Ok(()),
    }
}
