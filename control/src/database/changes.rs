//! What changed since a revision, and waiting for the next one.
//!
//! Writes of this process raise the revision at once. Those of others are heard of by LISTEN on PostgreSQL; on SQLite, and
//! where a notice was lost with its connection, by looking twice a second.

use std::time::{Duration, Instant};

use sqlx::postgres::{PgListener, PgPoolOptions};
use time::OffsetDateTime;

use super::link::{Cells, args, within};
use super::transaction::{CHANGES_KEPT, Transaction};
use super::{Database, transaction};
use crate::registry::{ChangeRow, ObjectRef, RegistryError};
use crate::secret::SecretName;
use crate::vault::store::{Store, StoreError};

/// How often the revision is looked at beside notices.
const LOOK: Duration = Duration::from_millis(500);
/// How often where notices come: they tell of everything but their own loss.
const LOOK_BESIDE_NOTICES: Duration = Duration::from_secs(5);

/// How often values whose grace time is over are removed.
const TIDY: Duration = Duration::from_secs(60);

fn read(mut row: Cells) -> Result<ChangeRow, StoreError> {
    let (revision, project) = (row.number()?, row.text()?);
    let at = row.int()?;
    // Servers of two versions may share the database for a while.
    let object = row.text()?.parse().ok();
    let object = object.map(|kind| Ok::<_, StoreError>(ObjectRef { kind, name: row.text()? })).transpose()?;
    Ok(ChangeRow { revision, project: Some(project).filter(|project| !project.is_empty()), object, at })
}

pub(super) async fn since(
    transaction: &mut Transaction<'_>,
    project: Option<&str>,
    since: u64,
    limit: u32,
) -> Result<(Vec<ChangeRow>, u64), RegistryError> {
    let last = transaction.revision().await?;
    if since.saturating_add(CHANGES_KEPT) < last {
        return Err(RegistryError::Forgotten(since));
    }
    // A transaction's rows stay together, however many they are.
    let bound = transaction
        .row(
            "SELECT revision FROM changes WHERE revision > $1 AND ($2 IS NULL OR project = $2)
                ORDER BY revision LIMIT 1 OFFSET $3",
            &args![since, project, i64::from(limit.max(1)) - 1],
        )
        .await?;
    let upto = match bound {
        Some(mut row) => row.number()?,
        None => last,
    };
    let rows = transaction
        .rows(
            "SELECT revision, project, at, kind, name FROM changes
                WHERE revision > $1 AND revision <= $2 AND ($3 IS NULL OR project = $3)
                ORDER BY revision, project, kind, name",
            &args![since, upto, project],
        )
        .await?;
    Ok((rows.into_iter().map(read).collect::<Result<_, _>>()?, upto))
}

pub(super) async fn secrets_used(
    transaction: &mut Transaction<'_>,
    project: &str,
    used: &[(SecretName, i64)],
) -> Result<(), RegistryError> {
    for (name, at) in used {
        transaction
            .run(
                "INSERT INTO last_used (project, name, at)
                    SELECT project, name, $3 FROM secrets WHERE project = $1 AND name = $2
                    ON CONFLICT (project, name) DO UPDATE SET
                    at = CASE WHEN excluded.at > last_used.at THEN excluded.at ELSE last_used.at END",
                &args![project, name.as_str(), *at],
            )
            .await?;
    }
    Ok(())
}

pub(super) async fn last_used(
    transaction: &mut Transaction<'_>,
    project: &str,
) -> Result<Vec<(SecretName, i64)>, StoreError> {
    let rows = transaction
        .rows("SELECT name, at FROM last_used WHERE project = $1 ORDER BY name", &args![project])
        .await?;
    let read = |mut row: Cells| {
        let name = row.text()?.parse().map_err(|_| StoreError::Damaged("a secret's name"))?;
        Ok((name, row.int()?))
    };
    rows.into_iter().map(read).collect()
}

impl Database {
    /// Tells those who watch.
    pub(super) fn revision_is(&self, number: u64) {
        self.shared.revision.send_if_modified(|last| {
            let rises = number > *last;
            *last = number.max(*last);
            rises
        });
    }

    async fn look(&self) -> Result<(), StoreError> {
        let mut lease = self.lease().await?;
        let number = transaction::last_revision(&mut lease.link).await?;
        lease.give_back();
        self.revision_is(number);
        Ok(())
    }

    /// Removes, once a minute, the values whose grace time is over.
    async fn tidy(&self, last: &mut Option<Instant>) -> Result<(), StoreError> {
        if last.is_none_or(|last| last.elapsed() >= TIDY) {
            Store::drop_lapsed(self, OffsetDateTime::now_utc().unix_timestamp()).await?;
            *last = Some(Instant::now());
        }
        Ok(())
    }

    /// Follows what other processes write.
    pub(super) async fn follow_others(&self) -> Result<(), StoreError> {
        let mut tidied = None;
        let Some(options) = self.shared.place.postgres() else {
            loop {
                self.look().await?;
                self.tidy(&mut tidied).await?;
                tokio::time::sleep(LOOK).await;
            }
        };
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options.clone());
        let mut listener = within(PgListener::connect_with(&pool)).await?;
        within(listener.listen("doorward_revision")).await?;
        loop {
            self.look().await?;
            self.tidy(&mut tidied).await?;
            // Which revision a notice tells of does not matter: it is read anew. `None`: the connection was lost and is
            // made again; what was written meanwhile is found by looking.
            if let Ok(heard) = tokio::time::timeout(LOOK_BESIDE_NOTICES, listener.try_recv()).await {
                heard?;
            }
        }
    }
}
