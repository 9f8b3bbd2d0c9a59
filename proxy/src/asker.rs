//! Where a request's question goes, and how its answer is heard of: the control server that is followed, or a file of this
//! user alone, which `doorward approve ask` writes to.
//!
//! Both give an approval for once to one request alone ([`Registry::ask`]). What cannot be asked is not let through.

use std::path::PathBuf;
use std::time::Duration;

use control::approval::{Answer, Asked, Binding, Kept, Preview};
use control::database::Database;
use control::provider::Provider;
use control::registry::{Registry, RegistryError};
use control::vault::store::StoreError;
use time::OffsetDateTime;
use tokio::sync::OnceCell;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::follow;
use crate::follow::asks::{Decided, Unasked};

/// How often a request that waits looks into the file.
const LOOK: Duration = Duration::from_millis(250);

/// Who is asked.
#[derive(Debug)]
pub(crate) enum Asker {
    /// The people of a control server.
    Server(follow::asks::Asker),
    /// Those of this machine.
    File(File),
}

/// The file of questions; opened when the first is asked.
#[derive(Debug)]
pub(crate) struct File {
    path: Option<PathBuf>,
    database: OnceCell<Database>,
}

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// There is no file.
    #[error("no file is named to keep what is asked: give --asks FILE")]
    NoFile,
    /// The file.
    #[error(transparent)]
    File(#[from] RegistryError),
    /// The server.
    #[error(transparent)]
    Server(#[from] Unasked),
}

/// Hears of a decision.
#[derive(Debug)]
pub(crate) struct Wait(Option<Receiver<Decided>>);

impl Asker {
    /// The file of questions, where no control server is followed.
    pub(crate) fn file(path: Option<PathBuf>) -> Self {
        Self::File(File { path, database: OnceCell::new() })
    }

    /// The project that a provider's questions belong to.
    pub(crate) fn project(&self, provider: &Provider) -> Result<String, AskError> {
        Ok(match self {
            Self::Server(server) => server.project()?,
            Self::File(_) => provider.project.to_string(),
        })
    }

    /// Asks for a request, and takes the approval if there is one.
    pub(crate) async fn ask(
        &self,
        binding: &Binding,
        request: &str,
        preview: Option<&Preview>,
    ) -> Result<Answer, AskError> {
        match self {
            Self::Server(server) => Ok(server.ask(binding, request, preview).await?),
            Self::File(file) => {
                let now = OffsetDateTime::now_utc().unix_timestamp();
                // The file is of this user alone, and so is what path and query say in it.
                let kept = preview.map(|preview| Kept(preview.to_bytes()));
                let asked = Asked { request, preview: kept.as_ref() };
                Ok(file.database().await?.ask(binding, asked, now).await?)
            }
        }
    }

    /// Hears of decisions from now on; to be called before asking, so that none is missed.
    pub(crate) fn listen(&self) -> Wait {
        Wait(match self {
            Self::Server(server) => Some(server.listen()),
            Self::File(_) => None,
        })
    }
}

impl File {
    async fn database(&self) -> Result<&Database, AskError> {
        let path = self.path.as_ref().ok_or(AskError::NoFile)?;
        let opening = async || Database::sqlite(path, true).await;
        let opened = self.database.get_or_try_init(opening).await;
        opened.map_err(|error: StoreError| RegistryError::from(error).into())
    }
}

impl Wait {
    /// Returns when the question may have been decided.
    pub(crate) async fn decided(&mut self, id: &str) {
        let Some(heard) = &mut self.0 else { return tokio::time::sleep(LOOK).await };
        loop {
            match heard.recv().await {
                Ok(Some(other)) if *other != *id => {}
                Ok(_) | Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}
