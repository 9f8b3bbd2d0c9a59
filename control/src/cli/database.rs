//! Which database a command of the owner works on: the local vault, or a server's.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use time::OffsetDateTime;

use super::remote::login;
use super::vault::VaultArgs;
use super::{Env, Exit, Failure};
use crate::database::{Database, DatabaseUrl, RestoreError, UrlError};
use crate::registry::RegistryError;
use crate::vault::backup::BackupError;
use crate::vault::local::LocalVault;
use crate::vault::store::Store;

/// The local vault, or a server's database.
#[derive(Args, Clone, Debug, Default)]
pub struct DatabaseArgs {
    #[command(flatten)]
    pub(super) vault: VaultArgs,
    /// A server's database instead of the local vault: sqlite:PATH or postgres://USER@HOST/NAME.
    #[arg(
        long,
        env = "DOORWARD_DATABASE",
        value_name = "URL",
        hide_env_values = true,
        conflicts_with = "vault"
    )]
    database: Option<String>,
    /// The file with its URL, readable by its owner alone.
    #[arg(long, env = "DOORWARD_DATABASE_FILE", value_name = "FILE", conflicts_with_all = ["database", "vault"])]
    database_file: Option<PathBuf>,
}

impl DatabaseArgs {
    /// Opens it; a local vault or SQLite file that is not there is made.
    pub(super) async fn open(&self, env: &Env) -> Result<Database, Failure> {
        self.need_named(env)?;
        let usage = |error: UrlError| Failure::new(Exit::Usage, error.to_string());
        let url = match (&self.database, &self.database_file) {
            (Some(url), _) => url.parse::<DatabaseUrl>().map_err(usage)?,
            (None, Some(file)) => DatabaseUrl::read(file).map_err(usage)?,
            (None, None) => return Ok(Database::sqlite(&self.vault.file(env)?, true).await?),
        };
        Ok(Database::open(&url).await?)
    }

    /// Refuses the local vault to who is logged in to a server and did not name it: what is done to it would be taken for done
    /// to the server.
    pub(super) fn need_named(&self, env: &Env) -> Result<(), Failure> {
        let is_named = self.database.is_some() || self.database_file.is_some() || self.vault.vault.is_some();
        if is_named || !login::is_chosen(env)? {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Usage,
            "this command works on a database and not over a server's API: name the server's with --database, or the local vault with --vault or --context local",
        ))
    }

    /// Unlocks what is open.
    pub(super) async fn unlock(&self, env: &Env, database: &Database) -> Result<LocalVault, Failure> {
        let store: Arc<dyn Store> = Arc::new(database.clone());
        Ok(LocalVault::unlock(store, &self.vault.key.source(env)?, OffsetDateTime::now_utc).await?)
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        crate::vault::store::StoreError::from(error).into()
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Store(error) => error.into(),
            RestoreError::NotEmpty => Self::new(Exit::Conflict, error.to_string()),
            RestoreError::Content => Self::new(Exit::Error, error.to_string()),
        }
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        Self::new(Exit::Error, error.to_string())
    }
}
