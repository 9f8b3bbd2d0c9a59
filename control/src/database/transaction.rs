//! A transaction: what is written in it together counts together, or not at all.
//!
//! A writing one begins by taking the next revision, a row that only one writer at a time can hold; it ends by noting the
//! changes and the act's audit line, and by waking those who watch. Whatever ends it otherwise leaves nothing.

use std::collections::BTreeSet;

use tokio::sync::MutexGuard;

use super::link::{Arg, Cells, Link, args};
use super::{Database, Lease, audit};
use crate::registry::{Act, Idempotency, ObjectKind, ObjectRef, RegistryError, Seen};
use crate::vault::store::StoreError;

/// How many revisions' changes are kept for watchers.
pub(super) const CHANGES_KEPT: u64 = 20_000;
/// How long an idempotency key counts, in seconds.
const KEY_LIFE: i64 = 24 * 60 * 60;

pub(super) async fn last_revision(link: &mut Link) -> Result<u64, StoreError> {
    let row = link.row("SELECT number FROM revision", &[]).await?;
    row.ok_or(StoreError::Damaged("no revision"))?.number()
}

/// A transaction on a connection of its own.
pub(super) struct Transaction<'a> {
    lease: Lease<'a>,
    writing: Option<Writing<'a>>,
}

struct Writing<'a> {
    revision: u64,
    act: Act,
    /// Project and object.
    changed: BTreeSet<(String, ObjectRef)>,
    _turn: MutexGuard<'a, ()>,
}

impl Database {
    /// Begins to read: everything is as of one moment.
    pub(super) async fn reading(&self) -> Result<Transaction<'_>, StoreError> {
        let lease = self.begin("BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        Ok(Transaction { lease, writing: None })
    }

    /// Begins to write.
    pub(super) async fn writing(&self, act: Act) -> Result<Transaction<'_>, RegistryError> {
        // Writers of this process take turns here, where they wait without holding a connection.
        let turn = self.shared.writer.lock().await;
        // SQLite's lock is taken at once: a transaction that began by reading could not wait for another writer.
        let lease = self.begin("BEGIN IMMEDIATE", "BEGIN").await?;
        let mut transaction = Transaction { lease, writing: None };
        let begun = transaction.take_revision(&act).await;
        match begun {
            Ok(revision) => {
                transaction.writing = Some(Writing { revision, act, changed: BTreeSet::new(), _turn: turn });
                Ok(transaction)
            }
            Err(error) => transaction.finish(Err(error)).await,
        }
    }

    /// Begins to write what is no change: when something was seen or used. Takes no revision and no turn.
    pub(super) async fn noting(&self) -> Result<Transaction<'_>, StoreError> {
        let lease = self.begin("BEGIN IMMEDIATE", "BEGIN").await?;
        Ok(Transaction { lease, writing: None })
    }

    async fn begin(&self, sqlite: &'static str, postgres: &'static str) -> Result<Lease<'_>, StoreError> {
        loop {
            let mut lease = self.lease().await?;
            let sql = if lease.link.is_postgres() { postgres } else { sqlite };
            match lease.link.run(sql, &[]).await {
                Ok(_) => return Ok(lease),
                // A kept connection may have died with its server: one that is made now tells.
                Err(StoreError::Database(
                    sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Database(_),
                )) if lease.link.is_postgres() && !lease.fresh => {
                    self.forget_links();
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Transaction<'_> {
    /// Ends it: commits what went well, undoes what did not.
    pub(super) async fn finish<T, E: From<StoreError> + From<RegistryError>>(
        mut self,
        outcome: Result<T, E>,
    ) -> Result<T, E> {
        match outcome {
            Ok(done) => {
                self.commit().await?;
                Ok(done)
            }
            Err(error) => {
                // A connection that cannot even undo is dropped, which undoes.
                if self.lease.link.run("ROLLBACK", &[]).await.is_ok() {
                    self.lease.give_back();
                }
                Err(error)
            }
        }
    }

    async fn commit(mut self) -> Result<(), RegistryError> {
        let Some(mut writing) = self.writing.take() else {
            self.lease.link.run("COMMIT", &[]).await?;
            self.lease.give_back();
            return Ok(());
        };
        let noted = self.note(&mut writing).await;
        if let Err(error) = noted {
            if self.lease.link.run("ROLLBACK", &[]).await.is_ok() {
                self.lease.give_back();
            }
            return Err(error);
        }
        self.lease.link.run("COMMIT", &[]).await?;
        let database = self.lease.database;
        self.lease.give_back();
        database.revision_is(writing.revision);
        Ok(())
    }

    /// What is kept beside the write.
    async fn note(&mut self, writing: &mut Writing<'_>) -> Result<(), RegistryError> {
        let link = &mut self.lease.link;
        let Writing { revision, act, changed, .. } = writing;
        for (project, object) in changed.iter() {
            link.run(
                "INSERT INTO changes (revision, project, kind, name, at) VALUES ($1, $2, $3, $4, $5)",
                &args![*revision, project, object.kind.name(), &object.name, act.at],
            )
            .await?;
        }
        link.run("DELETE FROM changes WHERE revision <= $1", &args![revision.saturating_sub(CHANGES_KEPT)])
            .await?;
        if let Some(mut entry) = act.entry.take() {
            entry.revision = Some(*revision);
            // Once for each project: what concerns none is the installation's.
            let mut projects: Vec<&str> = changed.iter().map(|(project, _)| project.as_str()).collect();
            projects.dedup();
            if projects.is_empty() {
                projects.push("");
            }
            for project in projects {
                audit::append(link, project, &entry).await?;
            }
        }
        for (project, mut entry) in std::mem::take(&mut act.also) {
            entry.revision = Some(*revision);
            audit::append(link, &project, &entry).await?;
        }
        if link.is_postgres() {
            link.run("SELECT pg_notify('doorward_revision', $1)", &args![revision.to_string().as_str()])
                .await?;
        }
        Ok(())
    }

    async fn take_revision(&mut self, act: &Act) -> Result<u64, RegistryError> {
        let link = &mut self.lease.link;
        let row = link.row("UPDATE revision SET number = number + 1 RETURNING number", &[]).await?;
        let revision = row.ok_or(StoreError::Damaged("no revision"))?.number()?;
        if let Some(request) = &act.idempotency {
            link.run("DELETE FROM idempotency WHERE at <= $1", &args![act.at - KEY_LIFE]).await?;
            if let Some(made) = repeated(link, request, act.at).await? {
                return Err(RegistryError::Repeated(made));
            }
            let Idempotency { owner, key, request, makes } = request;
            link.run(
                "INSERT INTO idempotency (owner, key, request, kind, name, at) VALUES ($1, $2, $3, $4, $5, $6)",
                &args![owner, key, &request[..], makes.kind.name(), &makes.name, act.at],
            )
            .await?;
        }
        Ok(revision)
    }

    pub(super) async fn rows(&mut self, sql: &'static str, args: &[Arg]) -> Result<Vec<Cells>, StoreError> {
        self.lease.link.rows(sql, args).await
    }

    pub(super) async fn row(&mut self, sql: &'static str, args: &[Arg]) -> Result<Option<Cells>, StoreError> {
        self.lease.link.row(sql, args).await
    }

    pub(super) async fn run(&mut self, sql: &'static str, args: &[Arg]) -> Result<u64, StoreError> {
        self.lease.link.run(sql, args).await
    }

    pub(super) fn link(&mut self) -> &mut Link {
        &mut self.lease.link
    }

    /// The revision that this write makes; the last one for a reading transaction.
    pub(super) async fn revision(&mut self) -> Result<u64, StoreError> {
        match &self.writing {
            Some(writing) => Ok(writing.revision),
            None => last_revision(&mut self.lease.link).await,
        }
    }

    /// When the write happens, unix seconds.
    pub(super) fn at(&self) -> i64 {
        self.writing.as_ref().map(|writing| writing.act.at).unwrap_or_default()
    }

    /// Refuses a writer who has seen another version.
    pub(super) fn check_seen(
        &self,
        seen: Seen,
        current: u64,
        object: ObjectRef,
    ) -> Result<(), RegistryError> {
        match seen {
            Seen::Version(version) if version != current => Err(RegistryError::Stale { object, current }),
            Seen::Version(_) | Seen::Any => Ok(()),
        }
    }

    /// Notes that an object changed.
    pub(super) fn changed(&mut self, project: &str, kind: ObjectKind, name: &str) {
        if let Some(writing) = &mut self.writing {
            writing.changed.insert((project.to_owned(), ObjectRef { kind, name: name.to_owned() }));
        }
    }
}

/// What the request with this key made, if it was made.
pub(super) async fn repeated(
    link: &mut Link,
    request: &Idempotency,
    now: i64,
) -> Result<Option<ObjectRef>, RegistryError> {
    let row = link
        .row(
            "SELECT request, kind, name FROM idempotency WHERE owner = $1 AND key = $2 AND at > $3",
            &args![&request.owner, &request.key, now - KEY_LIFE],
        )
        .await?;
    let Some(mut row) = row else { return Ok(None) };
    if row.digest()? != request.request {
        return Err(RegistryError::KeyReused);
    }
    let kind = row.text()?.parse().map_err(|_| StoreError::Damaged("a kind of object"))?;
    Ok(Some(ObjectRef { kind, name: row.text()? }))
}

/// The object as conflicts name it.
pub(super) fn object(kind: ObjectKind, name: &str) -> ObjectRef {
    ObjectRef { kind, name: name.to_owned() }
}
