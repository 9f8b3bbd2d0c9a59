//! The database behind the vault and the registry: SQLite on one machine, PostgreSQL where one is not enough.
//!
//! Both get the same statements through [`link::Link`]. A writing transaction takes the next revision first, so that writers
//! come one after the other on both databases, each seeing all that those before it wrote; a reading one sees one moment.
//! Connections are few and kept; one on which something was left half done is closed, never used again.
//!
//! Refuses SQLite files and folders that others can write, links, and files of other users; and a PostgreSQL server on
//! another machine whose certificate does not verify.

pub(crate) mod link;
mod place;
mod transaction;
mod secrets;
mod versions;
mod projects;
mod documents;
mod variables;
mod agents;
mod identities;
mod attachments;
mod tokens;
mod members;
mod verified;
mod changes;
mod asks;
mod audit;
mod checkpoints;
mod dump;
mod registry;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

pub use self::dump::RestoreError;
use self::link::Link;
use self::place::Place;
pub use self::place::{DatabaseUrl, UrlError};
use crate::vault::store::StoreError;

/// The most connections at a time. More would only wait for each other: SQLite reads in microseconds, and a PostgreSQL
/// server gives each of them memory.
const LINKS: usize = 8;

/// A database with the tables of the vault and the registry. Clones are the same database.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

struct Shared {
    place: Place,
    idle: Mutex<Vec<Link>>,
    links: Semaphore,
    writer: tokio::sync::Mutex<()>,
    revision: watch::Sender<u64>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("place", &self.shared.place).finish_non_exhaustive()
    }
}

impl Database {
    /// Opens the vault's file; makes it (mode 0600) if it is not there and `create` says so.
    pub async fn sqlite(path: &Path, create: bool) -> Result<Self, StoreError> {
        Self::at(Place::sqlite(path, create)?).await
    }

    /// Opens the database at a URL; a SQLite file is made if it is not there.
    pub async fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        Self::at(Place::of(url)?).await
    }

    async fn at(place: Place) -> Result<Self, StoreError> {
        let mut link = place.connect().await?;
        place.bring_up_to_date(&mut link).await?;
        let number = transaction::last_revision(&mut link).await?;
        let shared = Shared {
            place,
            idle: Mutex::new(vec![link]),
            links: Semaphore::new(LINKS),
            writer: tokio::sync::Mutex::new(()),
            revision: watch::Sender::new(number),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A connection of our own until it is given back.
    async fn lease(&self) -> Result<Lease<'_>, StoreError> {
        // The semaphore is never closed.
        let permit =
            self.shared.links.acquire().await.map_err(|_| StoreError::Damaged("a closed database"))?;
        let kept = self.shared.idle.lock().pop();
        let fresh = kept.is_none();
        let link = match kept {
            Some(link) => link,
            None => self.shared.place.connect().await?,
        };
        Ok(Lease { link, fresh, database: self, _permit: permit })
    }

    /// Forgets the kept connections: the server at their other end is gone.
    fn forget_links(&self) {
        self.shared.idle.lock().clear();
    }
}

/// A connection that somebody works with. Dropped, it is closed; only [`Lease::give_back`] keeps it.
struct Lease<'a> {
    link: Link,
    /// Whether it was made for this lease; a kept one may have died meanwhile.
    fresh: bool,
    database: &'a Database,
    _permit: SemaphorePermit<'a>,
}

impl Lease<'_> {
    fn give_back(self) {
        self.database.shared.idle.lock().push(self.link);
    }
}
