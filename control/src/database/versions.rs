//! The statements behind the vault's side: how the rows of secrets are read and versions written.

use std::collections::BTreeMap;

use super::link::{Cells, args};
use super::transaction::{Transaction, object};
use crate::registry::{ObjectKind, RegistryError, Seen};
use crate::secret::SecretName;
use crate::vault::master::Lock;
use crate::vault::store::{NewVersion, Rekey, SealedRow, SealedUnder, SealedValue, SecretRow, StoreError};

/// Which secrets of a project.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which<'a> {
    All,
    One(&'a str),
    Page { after: &'a str, limit: u32 },
}

const FACTS: &str = "SELECT s.name, s.description, s.created, s.current, s.revision, v.sealed_as, v.created, v.expires, v.hosts
    FROM secrets s JOIN versions v ON v.project = s.project AND v.name = s.name AND v.version = s.current
    WHERE s.project = $1 AND s.name >= $2 AND s.name <= $3 AND s.name > $4 ORDER BY s.name LIMIT $5";
const KEYS: &str = "SELECT s.name, w.key, w.fingerprint, w.hint
    FROM secrets s JOIN versions v ON v.project = s.project AND v.name = s.name AND v.version = s.current
    JOIN sealed_values w ON w.project = s.project AND w.name = s.name AND w.sealed_as = v.sealed_as
    WHERE s.project = $1 AND s.name >= $2 AND s.name <= $3 ORDER BY s.name, w.key";
const EARLIER: &str = "SELECT s.name, v.version FROM secrets s JOIN versions v ON v.project = s.project AND v.name = s.name
    WHERE s.project = $1 AND s.name >= $2 AND s.name <= $3 AND v.version < s.current ORDER BY s.name, v.version";
/// Sorts above every name: names are ASCII.
const END: &str = "\u{7f}";

/// What is known of the secrets of a project, sorted by name.
pub(super) async fn rows(
    transaction: &mut Transaction<'_>,
    project: &str,
    which: Which<'_>,
) -> Result<Vec<SecretRow>, StoreError> {
    let (from, to, after, limit) = match which {
        Which::All => ("", END, "", i64::MAX),
        Which::One(name) => (name, name, "", 1),
        Which::Page { after, limit } => ("", END, after, i64::from(limit)),
    };
    let facts = transaction.rows(FACTS, &args![project, from, to, after, limit]).await?;
    let mut found = facts.into_iter().map(fact).collect::<Result<Vec<_>, _>>()?;
    let (Some(first), Some(last)) = (found.first(), found.last()) else { return Ok(found) };
    let part = args![project, first.name.as_str(), last.name.as_str()];
    let mut keys: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut hints: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for mut row in transaction.rows(KEYS, &part).await? {
        let (name, key, fingerprint) = (row.text()?, row.text()?, row.text()?);
        if let Some(hint) = row.maybe_text()? {
            hints.entry(name.clone()).or_default().push((key.clone(), hint));
        }
        keys.entry(name).or_default().push((key, fingerprint));
    }
    let mut earlier: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for mut row in transaction.rows(EARLIER, &part).await? {
        earlier.entry(row.text()?).or_default().push(row.number()?);
    }
    for row in &mut found {
        row.keys = keys.remove(row.name.as_str()).unwrap_or_default();
        row.hints = hints.remove(row.name.as_str()).unwrap_or_default();
        row.earlier = earlier.remove(row.name.as_str()).unwrap_or_default();
    }
    Ok(found)
}

fn fact(mut row: Cells) -> Result<SecretRow, StoreError> {
    Ok(SecretRow {
        name: row.text()?.parse().map_err(|_| StoreError::Damaged("a secret's name"))?,
        description: row.maybe_text()?,
        created: row.int()?,
        version: row.number()?,
        revision: row.number()?,
        sealed_as: row.number()?,
        changed: row.int()?,
        expires: row.maybe_int()?,
        hosts: row.maybe_text()?,
        keys: Vec::new(),
        hints: Vec::new(),
        earlier: Vec::new(),
    })
}

/// One secret.
pub(super) async fn one(
    transaction: &mut Transaction<'_>,
    project: &str,
    name: &str,
) -> Result<Option<SecretRow>, StoreError> {
    Ok(rows(transaction, project, Which::One(name)).await?.pop())
}

/// One secret, of the version that the writer has seen.
pub(super) async fn seen_one(
    transaction: &mut Transaction<'_>,
    project: &str,
    name: &SecretName,
    seen: Seen,
) -> Result<SecretRow, StoreError> {
    let row = one(transaction, project, name.as_str()).await?;
    let row = row.ok_or_else(|| StoreError::NoSecret(name.clone()))?;
    match seen {
        Seen::Version(version) if version != row.version => Err(RegistryError::Stale {
            object: object(ObjectKind::Secret, name.as_str()),
            current: row.version,
        }
        .into()),
        Seen::Version(_) | Seen::Any => Ok(row),
    }
}

/// The sealed values of a secret's current version.
pub(super) async fn sealed(
    transaction: &mut Transaction<'_>,
    project: &str,
    row: &SecretRow,
) -> Result<Vec<SealedValue>, StoreError> {
    let rows = transaction
        .rows(
            "SELECT key, record, fingerprint, hint FROM sealed_values
                WHERE project = $1 AND name = $2 AND sealed_as = $3 ORDER BY key",
            &args![project, row.name.as_str(), row.sealed_as],
        )
        .await?;
    let read = |mut row: Cells| {
        Ok(SealedValue {
            key: row.text()?,
            record: row.bytes()?,
            fingerprint: row.text()?,
            hint: row.maybe_text()?,
        })
    };
    rows.into_iter().map(read).collect()
}

/// The number for the next version of a name.
pub(super) async fn next(
    transaction: &mut Transaction<'_>,
    project: &str,
    name: &str,
) -> Result<u64, StoreError> {
    let sql = "SELECT version FROM last_versions WHERE project = $1 AND name = $2";
    match transaction.row(sql, &args![project, name]).await? {
        Some(mut row) => Ok(row.number()? + 1),
        None => Ok(1),
    }
}

/// Writes a version and its values.
pub(super) async fn put(
    transaction: &mut Transaction<'_>,
    project: &str,
    name: &SecretName,
    version: NewVersion,
    sealed_as: u64,
) -> Result<(), StoreError> {
    if next(transaction, project, name.as_str()).await? != version.version {
        return Err(StoreError::Raced(name.clone()));
    }
    let number = version.version;
    if !version.values.is_empty() {
        check_keys(transaction, project, &version.under).await?;
    }
    transaction
        .run(
            "INSERT INTO last_versions (project, name, version) VALUES ($1, $2, $3)
                ON CONFLICT (project, name) DO UPDATE SET version = excluded.version",
            &args![project, name.as_str(), number],
        )
        .await?;
    transaction
        .run(
            "INSERT INTO versions (project, name, version, sealed_as, created, expires, hosts)
                VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &args![
                project,
                name.as_str(),
                number,
                sealed_as,
                version.created,
                version.expires,
                &version.hosts
            ],
        )
        .await?;
    for value in version.values {
        transaction
            .run(
                "INSERT INTO sealed_values (project, name, sealed_as, key, record, fingerprint, hint)
                    VALUES ($1, $2, $3, $4, $5, $6, $7)",
                &args![
                    project,
                    name.as_str(),
                    sealed_as,
                    &value.key,
                    &value.record[..],
                    &value.fingerprint,
                    &value.hint
                ],
            )
            .await?;
    }
    transaction.changed(project, ObjectKind::Secret, name.as_str());
    Ok(())
}

/// Refuses values under a key that was rotated after they were sealed: nobody could open them.
async fn check_keys(
    transaction: &mut Transaction<'_>,
    project: &str,
    under: &SealedUnder,
) -> Result<(), StoreError> {
    let lock = stored_lock(transaction).await?;
    let same = lock.is_none_or(|lock| lock.check == under.check);
    if same && generation(transaction, project).await? == under.generation {
        Ok(())
    } else {
        Err(StoreError::KeyRotated)
    }
}

/// Which generation of its key a project seals with.
pub(super) async fn generation(transaction: &mut Transaction<'_>, project: &str) -> Result<u32, StoreError> {
    let row =
        transaction.row("SELECT generation FROM generations WHERE project = $1", &args![project]).await?;
    let Some(mut row) = row else { return Ok(0) };
    u32::try_from(row.int()?).map_err(|_| StoreError::Damaged("a key's generation"))
}

/// Makes a version current and drops all but it and the one before it, which can be returned to until `grace`.
pub(super) async fn make_current(
    transaction: &mut Transaction<'_>,
    project: &str,
    name: &SecretName,
    version: u64,
    (before, grace): (u64, Option<i64>),
) -> Result<(), StoreError> {
    let revision = transaction.revision().await?;
    let name = name.as_str();
    transaction
        .run(
            "UPDATE secrets SET current = $3, revision = $4 WHERE project = $1 AND name = $2",
            &args![project, name, version, revision],
        )
        .await?;
    transaction
        .run(
            "DELETE FROM versions WHERE project = $1 AND name = $2 AND version NOT IN ($3, $4)",
            &args![project, name, version, before],
        )
        .await?;
    transaction
        .run(
            "UPDATE versions SET kept_until = $4 WHERE project = $1 AND name = $2 AND version = $3",
            &args![project, name, before, if before == version { None } else { grace }],
        )
        .await?;
    drop_unused_values(transaction, project, name).await
}

async fn drop_unused_values(
    transaction: &mut Transaction<'_>,
    project: &str,
    name: &str,
) -> Result<(), StoreError> {
    transaction
        .run(
            "DELETE FROM sealed_values WHERE project = $1 AND name = $2 AND sealed_as NOT IN
                (SELECT sealed_as FROM versions WHERE project = $1 AND name = $2)",
            &args![project, name],
        )
        .await?;
    Ok(())
}

/// Whether there are versions that could be returned to until now.
pub(super) async fn any_lapsed(transaction: &mut Transaction<'_>, now: i64) -> Result<bool, StoreError> {
    let sql = "SELECT name FROM versions WHERE kept_until <= $1 LIMIT 1";
    Ok(transaction.row(sql, &args![now]).await?.is_some())
}

/// Removes the versions that could be returned to until now; says how many.
pub(super) async fn drop_lapsed(transaction: &mut Transaction<'_>, now: i64) -> Result<u64, StoreError> {
    let lapsed = transaction
        .rows("SELECT project, name, version FROM versions WHERE kept_until <= $1", &args![now])
        .await?;
    let count = lapsed.len() as u64;
    for mut row in lapsed {
        let (project, name, version) = (row.text()?, row.text()?, row.int()?);
        transaction
            .run(
                "DELETE FROM versions WHERE project = $1 AND name = $2 AND version = $3",
                &args![&project, &name, version],
            )
            .await?;
        drop_unused_values(transaction, &project, &name).await?;
        transaction.changed(&project, ObjectKind::Secret, &name);
    }
    Ok(count)
}

pub(super) const RECORDS: &str = "SELECT w.project, w.name, w.sealed_as, v.expires, v.hosts, w.key, w.record, w.fingerprint, w.hint
    FROM sealed_values w JOIN versions v ON v.project = w.project AND v.name = w.name AND v.version =
        (SELECT MIN(version) FROM versions o WHERE o.project = w.project AND o.name = w.name AND o.sealed_as = w.sealed_as)
    WHERE $1 IS NULL OR w.project = $1";

pub(super) fn record(mut row: Cells) -> Result<SealedRow, StoreError> {
    Ok(SealedRow {
        project: row.text()?,
        name: row.text()?.parse().map_err(|_| StoreError::Damaged("a secret's name"))?,
        sealed_as: row.number()?,
        expires: row.maybe_int()?,
        hosts: row.maybe_text()?,
        value: SealedValue {
            key: row.text()?,
            record: row.bytes()?,
            fingerprint: row.text()?,
            hint: row.maybe_text()?,
        },
    })
}

/// Seals every record anew and notes which keys hold now; returns the secrets with a record that was left as it is.
pub(super) async fn rekey(
    transaction: &mut Transaction<'_>,
    rekey: &mut Rekey<'_>,
) -> Result<Vec<(String, SecretName)>, StoreError> {
    if stored_lock(transaction).await?.is_none_or(|lock| lock.check != rekey.under) {
        return Err(StoreError::KeyRotated);
    }
    if let Some((project, next)) = rekey.project {
        if generation(transaction, project).await?.checked_add(1) != Some(next) {
            return Err(StoreError::KeyRotated);
        }
        transaction
            .run(
                "INSERT INTO generations (project, generation) VALUES ($1, $2)
                    ON CONFLICT (project) DO UPDATE SET generation = excluded.generation",
                &args![project, i64::from(next)],
            )
            .await?;
        transaction.changed(project, ObjectKind::Project, project);
    }
    let mut left = Vec::new();
    let rows = transaction.rows(RECORDS, &args![rekey.project.map(|(project, _)| project)]).await?;
    for row in rows {
        let row = record(row)?;
        let Some(SealedValue { record, fingerprint, .. }) = (rekey.rewrap)(&row) else {
            left.push((row.project, row.name));
            continue;
        };
        let SealedRow { project, name, sealed_as, value, .. } = &row;
        // Whoever keeps the row reads it again.
        transaction.changed(project, ObjectKind::Secret, name.as_str());
        transaction
            .run(
                "UPDATE sealed_values SET record = $5, fingerprint = $6
                    WHERE project = $1 AND name = $2 AND sealed_as = $3 AND key = $4",
                &args![project, name.as_str(), *sealed_as, &value.key, &record[..], &fingerprint],
            )
            .await?;
    }
    if let Some(lock) = &rekey.lock {
        transaction.run("DELETE FROM meta WHERE key IN ('check', 'parameters')", &[]).await?;
        put_lock(transaction, lock).await?;
    }
    left.dedup();
    Ok(left)
}

pub(super) async fn put_lock(transaction: &mut Transaction<'_>, lock: &Lock) -> Result<(), StoreError> {
    for (key, value) in [("check", Some(&lock.check)), ("parameters", lock.parameters.as_ref())] {
        if let Some(value) = value {
            transaction.run("INSERT INTO meta (key, value) VALUES ($1, $2)", &args![key, &value[..]]).await?;
        }
    }
    Ok(())
}

pub(super) async fn stored_lock(transaction: &mut Transaction<'_>) -> Result<Option<Lock>, StoreError> {
    let rows =
        transaction.rows("SELECT key, value FROM meta WHERE key IN ('check', 'parameters')", &[]).await?;
    let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for mut row in rows {
        found.insert(row.text()?, row.bytes()?);
    }
    let parameters = found.remove("parameters");
    Ok(found.remove("check").map(|check| Lock { check, parameters }))
}
