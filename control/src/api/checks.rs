//! Work that takes its time, beside the threads that answer: some of it at once, and of one project one after the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::problem::{Answer, Problem};
use crate::refusal::Code;

/// Done at once, for all projects.
const AT_ONCE: usize = 2;
/// How long a call waits until its work is begun.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is done, and who waits.
#[derive(Debug)]
pub(crate) struct Checks {
    places: Arc<Semaphore>,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    patience: Duration,
}

impl Default for Checks {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), turns: Mutex::default(), patience: PATIENCE }
    }
}

impl Checks {
    /// Does the work when it is the project's turn.
    ///
    /// # Errors
    /// Too much of it waits, or it ended by a panic.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        project: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Answer<T> {
        let turn = Arc::clone(self.turns.lock().entry(project.to_owned()).or_default());
        let places = Arc::clone(&self.places);
        let waiting = async { (turn.lock_owned().await, places.acquire_owned().await.ok()) };
        let begun = tokio::time::timeout(self.patience, waiting).await;
        self.turns.lock().retain(|_, turn| Arc::strong_count(turn) > 1);
        let Ok((turn, Some(place))) = begun else {
            return Err(Problem::new(Code::Dw6014, "too much is checked just now")
                .retry_after(Duration::from_secs(5)));
        };
        // They are held until it is done, also when the call was given up meanwhile.
        let done = tokio::task::spawn_blocking(move || {
            let _held = (turn, place);
            work()
        });
        done.await.map_err(|error| {
            tracing::error!(%error, "a check ended by a panic");
            Problem::new(Code::Dw6020, "the call ended by a fault of the server")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_project_has_one_place_and_others_have_theirs() {
        let checks = Arc::new(Checks { patience: Duration::from_millis(50), ..Checks::default() });
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (begun, mut begins) = tokio::sync::mpsc::channel(1);
        let own = Arc::clone(&checks);
        let first = tokio::spawn(async move {
            let work = move || {
                begun.blocking_send(()).unwrap();
                held.recv().unwrap();
            };
            own.run("one", work).await
        });
        begins.recv().await.unwrap();
        let refused = checks.run("one", || ()).await.unwrap_err();
        assert_eq!(refused.code, Code::Dw6014);
        assert_eq!(checks.run("two", || 2).await.unwrap(), 2);
        release.send(()).unwrap();
        first.await.unwrap().unwrap();
        assert_eq!(checks.run("one", || 1).await.unwrap(), 1);
        let failed = checks.run("one", || panic!("a fault")).await;
        assert_eq!(failed.unwrap_err().code, Code::Dw6020);
        assert_eq!(checks.run("one", || 1).await.unwrap(), 1);
    }
}
