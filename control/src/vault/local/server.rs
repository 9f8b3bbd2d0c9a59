//! What the server does with the master key besides: the same key over the store of one act, a new version of what was
//! seen, copies to another project, and what makes two requests the same.
//!
//! Invariant: a copied value goes from one sealed record into another and nowhere else.

use std::sync::Arc;

use super::super::master::MasterError;
use super::super::store::{Keeps, NewVersion, Store, StoreError};
use super::{Change, Entry, LocalVault, WriteError, bound_hosts};
use crate::secret::{SecretName, SecretRef};

impl LocalVault {
    /// The same key over another store of the same database.
    #[must_use]
    pub fn over(&self, store: Arc<dyn Store>) -> Self {
        Self { store, keys: Arc::clone(&self.keys), clock: self.clock }
    }

    /// Makes sure that the key is that of the records as they are now; those of a moment ago open as well.
    ///
    /// # Errors
    /// The master key was rotated, and the new one is not to be had.
    pub async fn follow(&self) -> Result<(), MasterError> {
        self.unlocked().await.map(drop)
    }

    /// A digest that says nothing of what it is made from to those without the key.
    pub fn request_digest(&self, bytes: &[u8]) -> [u8; 32] {
        self.keys.current().key.request_digest(bytes)
    }

    /// Makes a new version, if the current one still is the one that was seen.
    ///
    /// # Errors
    /// As [`LocalVault::rotate`], and `Raced` for any other current version.
    pub async fn rotate_from(
        &self,
        project: &str,
        name: &SecretName,
        seen: u64,
        mut change: Change,
        grace: Option<i64>,
    ) -> Result<u64, WriteError> {
        let row = self.store.secret(project, name).await?;
        let row = row.ok_or_else(|| StoreError::NoSecret(name.clone()))?;
        if change.hosts.is_none() {
            change.hosts = bound_hosts(&row).map_err(|_| StoreError::Damaged("bound hosts"))?;
        }
        change.expires = change.expires.or(row.expires);
        if row.version != seen {
            return Err(StoreError::Raced(name.clone()).into());
        }
        // Not always one more: after a restore numbers go on higher.
        let next = self.store.next_version(project, name).await?;
        let sealing = self.sealing(project).await?;
        let sealed = self.seal(&sealing, project, name, next, change)?;
        let sealed = NewVersion { grace, after: Some(seen), ..sealed };
        self.store.add_version(project, name, sealed, Keeps::Last).await?;
        Ok(next)
    }

    /// Copies a secret with its values, hosts and end to another project.
    ///
    /// # Errors
    /// There is none of that name, one in the other project, or its records do not authenticate.
    pub async fn copy(&self, project: &str, name: &SecretName, to: &str) -> Result<(), WriteError> {
        self.follow().await?;
        let found = self.store.values(project, name).await?;
        let (row, sealed) = found.ok_or_else(|| StoreError::NoSecret(name.clone()))?;
        let from = SecretRef { project: project.into(), name: name.clone() };
        let opened = self.unseal(&from, &row, &sealed)?;
        let entry = Entry {
            name: name.clone(),
            description: row.description.clone(),
            expires: row.expires,
            hosts: opened.terms.hosts,
            values: opened.values,
        };
        self.add(to, vec![entry], vec![]).await
    }
}
