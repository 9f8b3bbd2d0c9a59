//! The statements behind the store: how rows are read and versions written. No transaction ends here but in [`commit`].

use std::collections::BTreeMap;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row, Sqlite, Transaction};

use crate::secret::SecretName;
use crate::vault::master::Lock;
use crate::vault::store::{NewVersion, SecretRow, StoreError};

const FACTS: &str = "SELECT s.name, s.description, s.created, s.current, v.sealed_as, v.created AS changed, v.expires, v.hosts
    FROM secrets s JOIN versions v ON v.project = s.project AND v.name = s.name AND v.version = s.current
    WHERE s.project = ?1 AND (?2 IS NULL OR s.name = ?2) ORDER BY s.name";
const KEYS: &str = "SELECT s.name, w.key, w.fingerprint
    FROM secrets s JOIN versions v ON v.project = s.project AND v.name = s.name AND v.version = s.current
    JOIN sealed_values w ON w.project = s.project AND w.name = s.name AND w.sealed_as = v.sealed_as
    WHERE s.project = ?1 AND (?2 IS NULL OR s.name = ?2) ORDER BY s.name, w.key";
const EARLIER: &str = "SELECT s.name, v.version FROM secrets s JOIN versions v ON v.project = s.project AND v.name = s.name
    WHERE s.project = ?1 AND (?2 IS NULL OR s.name = ?2) AND v.version < s.current ORDER BY s.name, v.version";

/// What is known of the secrets of a project, or of one of them.
pub(super) async fn rows(
    transaction: &mut Transaction<'_, Sqlite>,
    project: &str,
    name: Option<&str>,
) -> Result<Vec<SecretRow>, StoreError> {
    let facts = sqlx::query(FACTS).bind(project).bind(name).fetch_all(&mut **transaction).await?;
    let mut keys: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for row in sqlx::query(KEYS).bind(project).bind(name).fetch_all(&mut **transaction).await? {
        keys.entry(row.try_get(0)?).or_default().push((row.try_get(1)?, row.try_get(2)?));
    }
    let mut earlier: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for row in sqlx::query(EARLIER).bind(project).bind(name).fetch_all(&mut **transaction).await? {
        earlier.entry(row.try_get(0)?).or_default().push(number(&row, 1)?);
    }
    let read = |row: &SqliteRow| {
        let name: String = row.try_get("name")?;
        Ok(SecretRow {
            keys: keys.remove(&name).unwrap_or_default(),
            earlier: earlier.remove(&name).unwrap_or_default(),
            name: name.parse().map_err(|_| StoreError::Damaged("a secret's name"))?,
            description: row.try_get("description")?,
            created: row.try_get("created")?,
            version: number(row, "current")?,
            sealed_as: number(row, "sealed_as")?,
            changed: row.try_get("changed")?,
            expires: row.try_get("expires")?,
            hosts: row.try_get("hosts")?,
        })
    };
    facts.iter().map(read).collect()
}

pub(super) fn number(row: &SqliteRow, column: impl sqlx::ColumnIndex<SqliteRow>) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| StoreError::Damaged("a version below 0"))
}

pub(super) fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Damaged("a version beyond all numbers"))
}

/// A writing transaction takes its lock at once: one that began by reading could not wait for another writer.
pub(super) async fn begin(connection: &mut SqliteConnection) -> Result<Transaction<'_, Sqlite>, StoreError> {
    Ok(connection.begin_with("BEGIN IMMEDIATE").await?)
}

pub(super) async fn commit(mut transaction: Transaction<'_, Sqlite>) -> Result<(), StoreError> {
    sqlx::query("UPDATE revision SET number = number + 1").execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

pub(super) async fn next(
    transaction: &mut Transaction<'_, Sqlite>,
    project: &str,
    name: &str,
) -> Result<u64, StoreError> {
    let last = sqlx::query("SELECT version FROM last_versions WHERE project = ? AND name = ?")
        .bind(project)
        .bind(name)
        .fetch_optional(&mut **transaction)
        .await?;
    last.map_or(Ok(1), |row| Ok(number(&row, 0)? + 1))
}

/// Writes a version and its values and makes it the current one.
pub(super) async fn put_version(
    transaction: &mut Transaction<'_, Sqlite>,
    project: &str,
    name: &SecretName,
    version: NewVersion,
    sealed_as: u64,
) -> Result<(), StoreError> {
    if next(transaction, project, name.as_str()).await? != version.version {
        return Err(StoreError::Raced(name.clone()));
    }
    let number = signed(version.version)?;
    sqlx::query("INSERT INTO last_versions VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET version = ?3")
        .bind(project)
        .bind(name.as_str())
        .bind(number)
        .execute(&mut **transaction)
        .await?;
    sqlx::query("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?)")
        .bind(project)
        .bind(name.as_str())
        .bind(number)
        .bind(signed(sealed_as)?)
        .bind(version.created)
        .bind(version.expires)
        .bind(version.hosts)
        .execute(&mut **transaction)
        .await?;
    for value in version.values {
        sqlx::query("INSERT INTO sealed_values VALUES (?, ?, ?, ?, ?, ?)")
            .bind(project)
            .bind(name.as_str())
            .bind(signed(sealed_as)?)
            .bind(value.key)
            .bind(value.record)
            .bind(value.fingerprint)
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}

/// Makes a version current and drops all but it and the one before it.
pub(super) async fn make_current(
    transaction: &mut Transaction<'_, Sqlite>,
    project: &str,
    name: &SecretName,
    version: u64,
    before: u64,
) -> Result<(), StoreError> {
    for sql in [
        "UPDATE secrets SET current = ?3 WHERE project = ?1 AND name = ?2 AND ?4 = ?4",
        "DELETE FROM versions WHERE project = ?1 AND name = ?2 AND version NOT IN (?3, ?4)",
        "DELETE FROM sealed_values WHERE project = ?1 AND name = ?2 AND ?3 = ?3 AND ?4 = ?4 AND sealed_as NOT IN
            (SELECT sealed_as FROM versions WHERE project = ?1 AND name = ?2)",
    ] {
        sqlx::query(sql)
            .bind(project)
            .bind(name.as_str())
            .bind(signed(version)?)
            .bind(signed(before)?)
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}

pub(super) async fn delete(
    connection: &mut SqliteConnection,
    sql: &'static str,
    project: &str,
    name: &str,
) -> Result<bool, StoreError> {
    let mut transaction = begin(connection).await?;
    let gone = sqlx::query(sql).bind(project).bind(name).execute(&mut *transaction).await?.rows_affected();
    commit(transaction).await?;
    Ok(gone > 0)
}

/// A taken name is a conflict that a person can act on; all else stays what it is.
pub(super) fn taken(error: sqlx::Error, exists: impl FnOnce() -> StoreError) -> StoreError {
    if error.as_database_error().is_some_and(|e| e.is_unique_violation()) { exists() } else { error.into() }
}

pub(super) async fn stored_lock(connection: &mut SqliteConnection) -> Result<Option<Lock>, StoreError> {
    let rows = sqlx::query("SELECT key, value FROM meta WHERE key IN ('check', 'parameters')")
        .fetch_all(connection)
        .await?;
    let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for row in rows {
        found.insert(row.try_get(0)?, row.try_get(1)?);
    }
    let parameters = found.remove("parameters");
    Ok(found.remove("check").map(|check| Lock { check, parameters }))
}
