//! The store of one machine: a SQLite file of ours alone, write-ahead log, every commit on disk before it counts.
//!
//! One connection, not a pool: the connection has a thread of its own and answers through channels, so it can be used
//! from any runtime and outlives each of them; a pool's background tasks would be tied to the one that it was made on.
//!
//! Refuses files and folders that others can write, links, and files of other users.

mod statements;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{Connection, Row, SqlSafeStr};
use tokio::sync::{Mutex, MutexGuard};

use self::statements::{
    begin, commit, delete, make_current, next, number, put_version, rows, signed, stored_lock, taken,
};
use super::master::Lock;
use super::store::{
    Keeps, NewSecret, NewVersion, Pending, SealedValue, SecretRow, Store, StoreError, Variable,
};
use crate::private::{self, PrivateError};
use crate::secret::SecretName;

/// How long a writer waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(5);

/// The SQLite store.
pub struct SqliteStore {
    connection: Mutex<SqliteConnection>,
    path: PathBuf,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the vault's file; makes it (mode 0600) if it is not there and `create` says so.
    pub async fn open(path: &Path, create: bool) -> Result<Self, StoreError> {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        private::unshared_folder(folder)?;
        // Made by us and not by SQLite, which would use the umask; its log and index files take over these permissions.
        if !private::is_private_file(path)? {
            if !create {
                return Err(StoreError::NoVault(path.to_owned()));
            }
            match private::create(path, b"") {
                Err(PrivateError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::AlreadyExists =>
                {
                    private::is_private_file(path)?;
                }
                made => made?,
            }
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .pragma("secure_delete", "ON")
            .pragma("temp_store", "MEMORY")
            .pragma("trusted_schema", "OFF");
        let mut connection = SqliteConnection::connect_with(&options).await?;
        Migrator::with_migrations(vec![Migration::new(
            1,
            "first tables".into(),
            MigrationType::Simple,
            include_str!("migrations/1.sql").into_sql_str(),
            false,
        )])
        .run_direct(None, &mut connection, false)
        .await?;
        Ok(Self { connection: Mutex::new(connection), path: path.to_owned() })
    }

    async fn connection(&self) -> MutexGuard<'_, SqliteConnection> {
        self.connection.lock().await
    }
}

impl Store for SqliteStore {
    fn revision(&self) -> Pending<'_, u64> {
        Box::pin(async move {
            let mut connection = self.connection().await;
            number(&sqlx::query("SELECT number FROM revision").fetch_one(&mut *connection).await?, 0)
        })
    }

    fn watched(&self) -> Vec<PathBuf> {
        // The folder: commits go to the log beside the file, which comes and goes.
        self.path.parent().map(Path::to_owned).into_iter().collect()
    }

    fn turns(&self, project: &str, name: &SecretName) -> Option<PathBuf> {
        // Names may be as long as a file's name, and longer with the vault's before them.
        let hash = hex::encode(Sha256::digest(format!("{project}/{name}")));
        let mut file = self.path.file_name()?.to_owned();
        file.push(format!(".turn.{}", hash.get(..16).unwrap_or_default()));
        Some(self.path.with_file_name(file))
    }

    fn lock(&self) -> Pending<'_, Option<Lock>> {
        Box::pin(async move { stored_lock(&mut *self.connection().await).await })
    }

    fn set_lock(&self, lock: Lock) -> Pending<'_, Lock> {
        Box::pin(async move {
            let mut connection = self.connection().await;
            let mut transaction = begin(&mut connection).await?;
            if let Some(first) = stored_lock(&mut transaction).await? {
                return Ok(first);
            }
            for (key, value) in [("check", Some(&lock.check)), ("parameters", lock.parameters.as_ref())] {
                if let Some(value) = value {
                    sqlx::query("INSERT INTO meta VALUES (?, ?)")
                        .bind(key)
                        .bind(value)
                        .execute(&mut *transaction)
                        .await?;
                }
            }
            commit(transaction).await?;
            Ok(lock)
        })
    }

    fn has_secrets(&self) -> Pending<'_, bool> {
        Box::pin(async move {
            let mut connection = self.connection().await;
            Ok(sqlx::query("SELECT 1 FROM secrets LIMIT 1").fetch_optional(&mut *connection).await?.is_some())
        })
    }

    fn secrets<'a>(&'a self, project: &'a str) -> Pending<'a, Vec<SecretRow>> {
        Box::pin(async move {
            let mut connection = self.connection().await;
            rows(&mut connection.begin().await?, project, None).await
        })
    }

    fn secret<'a>(&'a self, project: &'a str, name: &'a SecretName) -> Pending<'a, Option<SecretRow>> {
        Box::pin(async move {
            let mut connection = self.connection().await;
            Ok(rows(&mut connection.begin().await?, project, Some(name.as_str())).await?.pop())
        })
    }

    fn values<'a>(
        &'a self,
        project: &'a str,
        name: &'a SecretName,
    ) -> Pending<'a, Option<(SecretRow, Vec<SealedValue>)>> {
        Box::pin(async move {
            let mut connection = self.connection().await;
            let mut transaction = connection.begin().await?;
            let Some(row) = rows(&mut transaction, project, Some(name.as_str())).await?.pop() else {
                return Ok(None);
            };
            let sealed = sqlx::query(
                "SELECT key, record, fingerprint FROM sealed_values WHERE project = ? AND name = ? AND sealed_as = ? ORDER BY key",
            )
            .bind(project)
            .bind(name.as_str())
            .bind(signed(row.sealed_as)?)
            .fetch_all(&mut *transaction)
            .await?;
            let read = |row: &SqliteRow| {
                Ok(SealedValue {
                    key: row.try_get(0)?,
                    record: row.try_get(1)?,
                    fingerprint: row.try_get(2)?,
                })
            };
            Ok(Some((row, sealed.iter().map(read).collect::<Result<_, StoreError>>()?)))
        })
    }

    fn next_version<'a>(&'a self, project: &'a str, name: &'a SecretName) -> Pending<'a, u64> {
        Box::pin(async move {
            let mut connection = self.connection().await;
            next(&mut connection.begin().await?, project, name.as_str()).await
        })
    }

    fn insert<'a>(
        &'a self,
        project: &'a str,
        secrets: Vec<NewSecret>,
        variables: Vec<Variable>,
    ) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut connection = self.connection().await;
            let mut transaction = begin(&mut connection).await?;
            for secret in secrets {
                sqlx::query("INSERT INTO secrets VALUES (?, ?, ?, ?, ?)")
                    .bind(project)
                    .bind(secret.name.as_str())
                    .bind(secret.description)
                    .bind(secret.first.created)
                    .bind(signed(secret.first.version)?)
                    .execute(&mut *transaction)
                    .await
                    .map_err(|error| taken(error, || StoreError::SecretExists(secret.name.clone())))?;
                let sealed_as = secret.first.version;
                put_version(&mut transaction, project, &secret.name, secret.first, sealed_as).await?;
            }
            for variable in variables {
                sqlx::query("INSERT INTO variables VALUES (?, ?, ?, ?)")
                    .bind(project)
                    .bind(&variable.name)
                    .bind(&variable.value)
                    .bind(variable.created)
                    .execute(&mut *transaction)
                    .await
                    .map_err(|error| taken(error, || StoreError::VariableExists(variable.name.clone())))?;
            }
            commit(transaction).await
        })
    }

    fn add_version<'a>(
        &'a self,
        project: &'a str,
        name: &'a SecretName,
        version: NewVersion,
        keeps: Keeps,
    ) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut connection = self.connection().await;
            let mut transaction = begin(&mut connection).await?;
            let row = rows(&mut transaction, project, Some(name.as_str())).await?.pop();
            let row = row.ok_or_else(|| StoreError::NoSecret(name.clone()))?;
            let number = version.version;
            let before = match keeps {
                Keeps::Last => row.version,
                Keeps::Earlier => row.earlier.last().copied().unwrap_or(number),
            };
            put_version(&mut transaction, project, name, version, number).await?;
            make_current(&mut transaction, project, name, number, before).await?;
            commit(transaction).await
        })
    }

    fn roll_back<'a>(&'a self, project: &'a str, name: &'a SecretName, now: i64) -> Pending<'a, u64> {
        Box::pin(async move {
            let mut connection = self.connection().await;
            let mut transaction = begin(&mut connection).await?;
            let row = rows(&mut transaction, project, Some(name.as_str())).await?.pop();
            let row = row.ok_or_else(|| StoreError::NoSecret(name.clone()))?;
            let earlier = *row.earlier.last().ok_or_else(|| StoreError::NoEarlier(name.clone()))?;
            let old = sqlx::query("SELECT sealed_as, expires, hosts FROM versions WHERE project = ? AND name = ? AND version = ?")
                .bind(project)
                .bind(name.as_str())
                .bind(signed(earlier)?)
                .fetch_one(&mut *transaction)
                .await?;
            let version = next(&mut transaction, project, name.as_str()).await?;
            let again = NewVersion {
                version,
                created: now,
                expires: old.try_get("expires")?,
                hosts: old.try_get("hosts")?,
                values: Vec::new(),
            };
            put_version(&mut transaction, project, name, again, number(&old, "sealed_as")?).await?;
            make_current(&mut transaction, project, name, version, row.version).await?;
            commit(transaction).await?;
            Ok(version)
        })
    }

    fn delete_secret<'a>(&'a self, project: &'a str, name: &'a SecretName) -> Pending<'a, bool> {
        Box::pin(async move {
            let mut connection = self.connection().await;
            delete(
                &mut connection,
                "DELETE FROM secrets WHERE project = ? AND name = ?",
                project,
                name.as_str(),
            )
            .await
        })
    }

    fn variables<'a>(&'a self, project: &'a str) -> Pending<'a, Vec<Variable>> {
        Box::pin(async move {
            let mut connection = self.connection().await;
            let rows =
                sqlx::query("SELECT name, value, created FROM variables WHERE project = ? ORDER BY name")
                    .bind(project)
                    .fetch_all(&mut *connection)
                    .await?;
            let read = |row: &SqliteRow| {
                Ok(Variable { name: row.try_get(0)?, value: row.try_get(1)?, created: row.try_get(2)? })
            };
            rows.iter().map(read).collect()
        })
    }

    fn delete_variable<'a>(&'a self, project: &'a str, name: &'a str) -> Pending<'a, bool> {
        Box::pin(async move {
            let mut connection = self.connection().await;
            delete(&mut connection, "DELETE FROM variables WHERE project = ? AND name = ?", project, name)
                .await
        })
    }
}
