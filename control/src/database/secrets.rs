//! The vault's side: [`Store`], for the local vault as it is and for the server in the name of an [`Act`].

use std::path::PathBuf;
use std::sync::Arc;

use time::OffsetDateTime;

use super::link::args;
use super::transaction::{Transaction, object};
use super::versions::{
    Which, any_lapsed, drop_lapsed, generation, make_current, next, one, put, put_lock, rekey, rows, sealed,
    seen_one, stored_lock,
};
use super::{Database, projects, variables};
use crate::registry::{Act, OWNER, ObjectKind, RegistryError, SELF, Seen};
use crate::secret::SecretName;
use crate::vault::master::Lock;
use crate::vault::store::{
    Keeps, NewSecret, NewVersion, Pending, Rekey, SealedUnder, SealedValue, SecretRow, Store, StoreError,
    Variable,
};

/// The vault's side in the name of somebody: each write is the act.
#[derive(Clone, Debug)]
struct Acting {
    database: Database,
    act: Act,
    seen: Seen,
}

pub(super) fn acting(database: &Database, act: Act, seen: Seen) -> Arc<dyn Store> {
    Arc::new(Acting { database: database.clone(), act, seen })
}

/// In whose name a write is made.
enum Author<'a> {
    /// The owner of a local vault.
    Owner,
    /// The server: the project has to be there, and the version the one that was seen.
    Server(&'a Act, Seen),
}

impl Author<'_> {
    fn act(&self) -> Act {
        match self {
            Self::Owner => Act::at(OffsetDateTime::now_utc().unix_timestamp()),
            Self::Server(act, _) => (*act).clone(),
        }
    }

    /// The act of a rotation of the keys, which concerns the whole installation.
    fn rekeying(&self) -> Act {
        match self {
            Self::Owner => Act::by(self.act().at, OWNER, "the master key was rotated"),
            Self::Server(act, _) => (*act).clone(),
        }
    }

    /// An act beside the one that was asked for: with a record of its own, without its key.
    fn housekeeping(&self) -> Act {
        Act::by(self.act().at, SELF, "values of secrets whose grace time is over were removed")
    }

    fn seen(&self) -> Seen {
        match self {
            Self::Owner => Seen::Any,
            Self::Server(_, seen) => *seen,
        }
    }

    async fn check(&self, transaction: &mut Transaction<'_>, project: &str) -> Result<(), StoreError> {
        match self {
            Self::Owner => Ok(()),
            Self::Server(..) => Ok(projects::required(transaction, project).await?),
        }
    }

    /// Refuses a secret that may go anywhere in a project that takes none, whatever way it comes.
    async fn check_bound(
        &self,
        transaction: &mut Transaction<'_>,
        project: &str,
        name: &SecretName,
        hosts: &Option<String>,
    ) -> Result<(), StoreError> {
        if hosts.is_some() || matches!(self, Self::Owner) {
            return Ok(());
        }
        let owner = projects::one(transaction, project).await?;
        if owner.is_some_and(|owner| owner.settings.unbound_secrets) {
            return Ok(());
        }
        Err(RegistryError::Unbound(object(ObjectKind::Secret, name.as_str())).into())
    }
}

impl Database {
    async fn insert_as(
        &self,
        author: &Author<'_>,
        project: &str,
        secrets: Vec<NewSecret>,
        variables: Vec<Variable>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.writing(author.act()).await?;
        let done = async {
            author.check(&mut transaction, project).await?;
            for secret in secrets {
                author.check_bound(&mut transaction, project, &secret.name, &secret.first.hosts).await?;
                insert_secret(&mut transaction, project, secret).await?;
            }
            for variable in variables {
                variables::insert(&mut transaction, project, &variable).await?;
            }
            Ok::<_, StoreError>(())
        }
        .await;
        transaction.finish(done).await
    }

    async fn add_version_as(
        &self,
        author: &Author<'_>,
        project: &str,
        name: &SecretName,
        version: NewVersion,
        keeps: Keeps,
    ) -> Result<(), StoreError> {
        let mut transaction = self.writing(author.act()).await?;
        let done = async {
            let row = seen_one(&mut transaction, project, name, author.seen()).await?;
            if version.after.is_some_and(|after| after != row.version) {
                return Err(StoreError::Raced(name.clone()));
            }
            author.check_bound(&mut transaction, project, name, &version.hosts).await?;
            let (number, grace) = (version.version, version.grace);
            let before = match keeps {
                Keeps::Last => row.version,
                Keeps::Earlier => row.earlier.last().copied().unwrap_or(number),
            };
            put(&mut transaction, project, name, version, number).await?;
            make_current(&mut transaction, project, name, number, (before, grace)).await
        }
        .await;
        transaction.finish(done).await
    }

    async fn roll_back_as(
        &self,
        author: &Author<'_>,
        project: &str,
        name: &SecretName,
        now: i64,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.writing(author.act()).await?;
        let done = async {
            let row = seen_one(&mut transaction, project, name, author.seen()).await?;
            let earlier = *row.earlier.last().ok_or_else(|| StoreError::NoEarlier(name.clone()))?;
            let old = transaction
                .row(
                    "SELECT sealed_as, expires, hosts FROM versions WHERE project = $1 AND name = $2 AND version = $3
                        AND (kept_until IS NULL OR kept_until > $4)",
                    &args![project, name.as_str(), earlier, now],
                )
                .await?;
            // Its grace time is over, though nobody has removed it yet.
            let mut old = old.ok_or_else(|| StoreError::NoEarlier(name.clone()))?;
            let sealed_as = old.number()?;
            let (expires, hosts) = (old.maybe_int()?, old.maybe_text()?);
            author.check_bound(&mut transaction, project, name, &hosts).await?;
            let version = next(&mut transaction, project, name.as_str()).await?;
            let again = NewVersion {
                version,
                created: now,
                expires,
                hosts,
                values: Vec::new(),
                under: SealedUnder::default(),
                grace: None,
                after: None,
            };
            put(&mut transaction, project, name, again, sealed_as).await?;
            make_current(&mut transaction, project, name, version, (row.version, None)).await?;
            Ok::<_, StoreError>(version)
        }
        .await;
        transaction.finish(done).await
    }

    async fn delete_secret_as(
        &self,
        author: &Author<'_>,
        project: &str,
        name: &SecretName,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.writing(author.act()).await?;
        let done = async {
            if one(&mut transaction, project, name.as_str()).await?.is_none() {
                return Err(StoreError::NoSecret(name.clone()));
            }
            seen_one(&mut transaction, project, name, author.seen()).await?;
            let secret = object(ObjectKind::Secret, name.as_str());
            super::documents::unused(&mut transaction, project, secret).await?;
            for sql in [
                "DELETE FROM last_used WHERE project = $1 AND name = $2",
                "DELETE FROM secrets WHERE project = $1 AND name = $2",
            ] {
                transaction.run(sql, &args![project, name.as_str()]).await?;
            }
            transaction.changed(project, ObjectKind::Secret, name.as_str());
            Ok(true)
        }
        .await;
        match transaction.finish(done).await {
            Err(StoreError::NoSecret(_)) => Ok(false),
            done => done,
        }
    }

    async fn delete_variable_as(
        &self,
        author: &Author<'_>,
        project: &str,
        name: &str,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.writing(author.act()).await?;
        let done = variables::delete(&mut transaction, project, name, author.seen()).await;
        match transaction.finish(done).await {
            Err(RegistryError::Missing(_)) => Ok(false),
            done => Ok(done.map(|()| true)?),
        }
    }
}

async fn insert_secret(
    transaction: &mut Transaction<'_>,
    project: &str,
    secret: NewSecret,
) -> Result<(), StoreError> {
    if one(transaction, project, secret.name.as_str()).await?.is_some() {
        return Err(StoreError::SecretExists(secret.name));
    }
    let revision = transaction.revision().await?;
    transaction
        .run(
            "INSERT INTO secrets (project, name, description, created, current, revision) VALUES ($1, $2, $3, $4, $5, $6)",
            &args![
                project,
                secret.name.as_str(),
                &secret.description,
                secret.first.created,
                secret.first.version,
                revision
            ],
        )
        .await?;
    let sealed_as = secret.first.version;
    put(transaction, project, &secret.name, secret.first, sealed_as).await
}

/// The reading half, which is the same in whosever name.
macro_rules! reads {
    ($self:ident => $database:expr) => {
        fn revision(&$self) -> Pending<'_, u64> {
            Box::pin(async move {
                let mut transaction = $database.reading().await?;
                let found = transaction.revision().await;
                transaction.finish(found).await
            })
        }

        fn watched(&$self) -> Vec<PathBuf> {
            $database.shared.place.folder().map(PathBuf::from).into_iter().collect()
        }

        fn turns(&$self, project: &str, name: &SecretName) -> Option<PathBuf> {
            $database.shared.place.turns(project, name)
        }

        fn lock(&$self) -> Pending<'_, Option<Lock>> {
            Box::pin(async move {
                let mut transaction = $database.reading().await?;
                let found = stored_lock(&mut transaction).await;
                transaction.finish(found).await
            })
        }

        fn has_secrets(&$self) -> Pending<'_, bool> {
            Box::pin(async move {
                let mut transaction = $database.reading().await?;
                let found = transaction.row("SELECT name FROM secrets LIMIT 1", &[]).await;
                transaction.finish(found.map(|row| row.is_some())).await
            })
        }

        fn secrets<'a>(&'a $self, project: &'a str) -> Pending<'a, Vec<SecretRow>> {
            Box::pin(async move {
                let mut transaction = $database.reading().await?;
                let found = rows(&mut transaction, project, Which::All).await;
                transaction.finish(found).await
            })
        }

        fn secret<'a>(&'a $self, project: &'a str, name: &'a SecretName) -> Pending<'a, Option<SecretRow>> {
            Box::pin(async move {
                let mut transaction = $database.reading().await?;
                let found = one(&mut transaction, project, name.as_str()).await;
                transaction.finish(found).await
            })
        }

        fn values<'a>(
            &'a $self,
            project: &'a str,
            name: &'a SecretName,
        ) -> Pending<'a, Option<(SecretRow, Vec<SealedValue>)>> {
            Box::pin(async move {
                let mut transaction = $database.reading().await?;
                let found = async {
                    let Some(row) = one(&mut transaction, project, name.as_str()).await? else {
                        return Ok(None);
                    };
                    let values = sealed(&mut transaction, project, &row).await?;
                    Ok::<_, StoreError>(Some((row, values)))
                }
                .await;
                transaction.finish(found).await
            })
        }

        fn next_version<'a>(&'a $self, project: &'a str, name: &'a SecretName) -> Pending<'a, u64> {
            Box::pin(async move {
                let mut transaction = $database.reading().await?;
                let found = next(&mut transaction, project, name.as_str()).await;
                transaction.finish(found).await
            })
        }

        fn variables<'a>(&'a $self, project: &'a str) -> Pending<'a, Vec<Variable>> {
            Box::pin(async move {
                let mut transaction = $database.reading().await?;
                let found = variables::all(&mut transaction, project).await;
                transaction.finish(found).await
            })
        }

        fn generation<'a>(&'a $self, project: &'a str) -> Pending<'a, u32> {
            Box::pin(async move {
                let mut transaction = $database.reading().await?;
                let found = generation(&mut transaction, project).await;
                transaction.finish(found).await
            })
        }

        fn keeps_hints<'a>(&'a $self, project: &'a str) -> Pending<'a, bool> {
            Box::pin(async move {
                let mut transaction = $database.reading().await?;
                let found = projects::one(&mut transaction, project).await;
                transaction.finish(found.map(|project| project.is_some_and(|one| one.settings.hints))).await
            })
        }

        fn set_lock(&$self, lock: Lock) -> Pending<'_, Lock> {
            Box::pin(async move {
                let mut transaction = $database.writing(Author::Owner.act()).await?;
                let done = set_lock(&mut transaction, lock).await;
                transaction.finish(done).await
            })
        }
    };
}

/// Stores the lock, unless there is one; returns the one that counts.
async fn set_lock(transaction: &mut Transaction<'_>, lock: Lock) -> Result<Lock, StoreError> {
    if let Some(first) = stored_lock(transaction).await? {
        return Ok(first);
    }
    put_lock(transaction, &lock).await?;
    Ok(lock)
}

/// The writing half.
macro_rules! writes {
    ($self:ident => $database:expr, $author:expr) => {
        fn insert<'a>(
            &'a $self,
            project: &'a str,
            secrets: Vec<NewSecret>,
            variables: Vec<Variable>,
        ) -> Pending<'a, ()> {
            Box::pin(async move { $database.insert_as(&$author, project, secrets, variables).await })
        }

        fn add_version<'a>(
            &'a $self,
            project: &'a str,
            name: &'a SecretName,
            version: NewVersion,
            keeps: Keeps,
        ) -> Pending<'a, ()> {
            Box::pin(async move { $database.add_version_as(&$author, project, name, version, keeps).await })
        }

        fn roll_back<'a>(&'a $self, project: &'a str, name: &'a SecretName, now: i64) -> Pending<'a, u64> {
            Box::pin(async move { $database.roll_back_as(&$author, project, name, now).await })
        }

        fn rekey<'a>(&'a $self, mut change: Rekey<'a>) -> Pending<'a, Vec<(String, SecretName)>> {
            Box::pin(async move {
                let mut transaction = $database.writing($author.rekeying()).await?;
                let done = rekey(&mut transaction, &mut change).await;
                transaction.finish(done).await
            })
        }

        fn drop_lapsed(&$self, now: i64) -> Pending<'_, u64> {
            Box::pin(async move {
                let mut transaction = $database.reading().await?;
                let any = any_lapsed(&mut transaction, now).await;
                if !transaction.finish(any).await? {
                    return Ok(0);
                }
                let mut transaction = $database.writing($author.housekeeping()).await?;
                let done = drop_lapsed(&mut transaction, now).await;
                transaction.finish(done).await
            })
        }

        fn delete_secret<'a>(&'a $self, project: &'a str, name: &'a SecretName) -> Pending<'a, bool> {
            Box::pin(async move { $database.delete_secret_as(&$author, project, name).await })
        }

        fn delete_variable<'a>(&'a $self, project: &'a str, name: &'a str) -> Pending<'a, bool> {
            Box::pin(async move { $database.delete_variable_as(&$author, project, name).await })
        }
    };
}

impl Store for Database {
    reads!(self => self);
    writes!(self => self, Author::Owner);
}

impl Store for Acting {
    reads!(self => self.database);
    writes!(self => self.database, Author::Server(&self.act, self.seen));
}
