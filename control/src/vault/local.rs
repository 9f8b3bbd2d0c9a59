//! The local vault: a store and the master key. Seals what people hand in, opens what policy permits.
//!
//! Refuses, besides what [`super::Vault`] refuses: records that do not authenticate, values that cannot be injected, and
//! a key that is not the vault's. A record that was tampered with fails alone; other secrets stay usable.

use std::path::PathBuf;
use std::sync::Arc;

use super::bound::BoundHosts;
use super::master::{self, KeySource, MasterError, MasterKey};
use super::seal::{Place, Record, SealError};
use super::store::{Keeps, NewSecret, NewVersion, SealedValue, SecretRow, Store, StoreError, Variable};
use super::value::{self, ValueError};
use super::{Clock, OpenError, Opened, Opening, Renewed, SecretFacts, Source, Terms, Values};
use crate::policy::Permit;
use crate::secret::{Secret, SecretName, SecretRef};

/// Why something was not stored.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A value or key that cannot be used.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// Sealing failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a person hands in for one secret.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: SecretName,
    /// What it is for.
    pub description: Option<String>,
    /// Unix seconds.
    pub expires: Option<i64>,
    /// The hosts that it is bound to.
    pub hosts: Option<BoundHosts>,
    /// Its values.
    pub values: Values,
}

/// A change of a secret's values. Hosts and expiry stay as they are where nothing is said.
#[derive(Debug)]
pub struct Change {
    /// A new expiry.
    pub expires: Option<i64>,
    /// New bound hosts.
    pub hosts: Option<BoundHosts>,
    /// The new values, all of them.
    pub values: Values,
}

/// A store and its master key.
#[derive(Debug)]
pub struct LocalVault {
    store: Arc<dyn Store>,
    key: MasterKey,
    clock: Clock,
}

impl LocalVault {
    /// Gets the master key and makes sure that it is the vault's; a vault without one is given it.
    pub async fn unlock(
        store: Arc<dyn Store>,
        source: &KeySource,
        clock: Clock,
    ) -> Result<Self, MasterError> {
        let key = match store.lock().await? {
            Some(lock) => master::unlock(source, &lock)?,
            None if store.has_secrets().await? => return Err(MasterError::CheckMissing),
            None => {
                let (key, lock) = master::first_key(source)?;
                let counts = store.set_lock(lock.clone()).await?;
                if counts == lock { key } else { master::unlock(source, &counts)? }
            }
        };
        Ok(Self { store, key, clock })
    }

    /// The store, for what needs no key.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Stores new secrets and variables: all or none.
    pub async fn add(
        &self,
        project: &str,
        entries: Vec<Entry>,
        variables: Vec<(String, String)>,
    ) -> Result<(), WriteError> {
        let now = self.now();
        let mut secrets = Vec::with_capacity(entries.len());
        for entry in entries {
            let version = self.store.next_version(project, &entry.name).await?;
            let Entry { name, description, expires, hosts, values } = entry;
            let first = self.seal(project, &name, version, Change { expires, hosts, values })?;
            secrets.push(NewSecret { name, description, first });
        }
        let variables =
            variables.into_iter().map(|(name, value)| Variable { name, value, created: now }).collect();
        Ok(self.store.insert(project, secrets, variables).await?)
    }

    /// Makes a new version of a secret; returns its number.
    pub async fn rotate(
        &self,
        project: &str,
        name: &SecretName,
        mut change: Change,
    ) -> Result<u64, WriteError> {
        let row =
            self.store.secret(project, name).await?.ok_or_else(|| StoreError::NoSecret(name.clone()))?;
        if change.hosts.is_none() {
            change.hosts = bound_hosts(&row).map_err(|Damaged| StoreError::Damaged("bound hosts"))?;
        }
        change.expires = change.expires.or(row.expires);
        let version = self.store.next_version(project, name).await?;
        let sealed = self.seal(project, name, version, change)?;
        self.store.add_version(project, name, sealed, Keeps::Last).await?;
        Ok(version)
    }

    /// Makes the current values of a secret here those of the same secret in another vault, if they are not of the first
    /// version any more. They go from seal to seal and to nobody else; what binds them is what binds them there.
    pub async fn carry_renewed(&self, project: &str, name: &SecretName, to: &Self) -> Result<(), WriteError> {
        let missing = || StoreError::NoSecret(name.clone());
        let (row, sealed) = self.store.values(project, name).await?.ok_or_else(missing)?;
        if row.version <= 1 {
            return Ok(());
        }
        let secret = SecretRef { project: project.into(), name: name.clone() };
        let Opened { values, .. } = self.unseal(&secret, &row, sealed)?;
        to.rotate(project, name, Change { expires: None, hosts: None, values }).await.map(drop)
    }

    /// Makes a new version of the values before the current ones; returns its number.
    pub async fn roll_back(&self, project: &str, name: &SecretName) -> Result<u64, WriteError> {
        Ok(self.store.roll_back(project, name, self.now()).await?)
    }

    fn now(&self) -> i64 {
        (self.clock)().unix_timestamp()
    }

    fn seal(
        &self,
        project: &str,
        name: &SecretName,
        version: u64,
        change: Change,
    ) -> Result<NewVersion, WriteError> {
        value::check_all(&change.values)?;
        let project_key = self.key.project_key(project);
        let mut values = Vec::with_capacity(change.values.len());
        for (key, value) in change.values {
            let place = Place {
                project,
                name: name.as_str(),
                key: &key,
                version,
                expires: change.expires,
                hosts: change.hosts.as_ref(),
            };
            let record = Record::seal(&project_key, &place, &value)?.to_bytes();
            let fingerprint = self.key.fingerprint(project, &value);
            values.push(SealedValue { key, record, fingerprint });
        }
        let hosts = change.hosts.map(|hosts| hosts.to_string());
        Ok(NewVersion { version, created: self.now(), expires: change.expires, hosts, values })
    }

    fn unseal(
        &self,
        secret: &SecretRef,
        row: &SecretRow,
        sealed: Vec<SealedValue>,
    ) -> Result<Opened, SealError> {
        let hosts = bound_hosts(row).map_err(|Damaged| SealError::Malformed)?;
        let project_key = self.key.project_key(&secret.project);
        let mut values = Vec::with_capacity(sealed.len());
        for SealedValue { key, record, .. } in sealed {
            let place = Place {
                project: &secret.project,
                name: secret.name.as_str(),
                key: &key,
                version: row.sealed_as,
                expires: row.expires,
                hosts: hosts.as_ref(),
            };
            let value = Record::parse(&record)?.unseal(&project_key, &place)?;
            values.push((key, value));
        }
        let terms = Terms { secret: secret.clone(), expires: row.expires, hosts, stale_at: None };
        Ok(Opened { version: row.version.into(), values, terms })
    }
}

impl Source for LocalVault {
    fn open<'a>(&'a self, _permit: &'a Permit, secret: &'a SecretRef) -> Opening<'a, Opened> {
        Box::pin(async move {
            let found = self
                .store
                .values(&secret.project, &secret.name)
                .await
                .map_err(|e| OpenError::source(secret, e))?;
            let (row, sealed) = found.ok_or_else(|| OpenError::Missing(secret.clone()))?;
            self.unseal(secret, &row, sealed).map_err(|_| OpenError::Sealed(secret.clone()))
        })
    }

    fn renew<'a>(&'a self, permit: &'a Permit, renewed: Renewed<'a>) -> Opening<'a, u64> {
        Box::pin(async move {
            let Renewed { secret, version, changes } = renewed;
            let mut opened = self.open(permit, secret).await?;
            let changed = || OpenError::Changed(secret.clone());
            if opened.version.number != version {
                return Err(changed());
            }
            for (key, value) in changes {
                // exposed: copied from the issuer's answer into the version that is sealed
                let value = Secret::new(value.expose().to_vec());
                opened.values.retain(|(other, _)| other != key);
                opened.values.push((key.clone(), value));
            }
            let Terms { expires, hosts, .. } = opened.terms;
            let change = Change { expires, hosts, values: opened.values };
            // The next number and no other: the store refuses it if somebody came between.
            let sealed = self.seal(&secret.project, &secret.name, version + 1, change);
            let sealed = sealed.map_err(|error| OpenError::source(secret, error))?;
            match self.store.add_version(&secret.project, &secret.name, sealed, Keeps::Earlier).await {
                Ok(()) => Ok(version + 1),
                Err(StoreError::Raced(_) | StoreError::NoSecret(_)) => Err(changed()),
                Err(error) => Err(OpenError::source(secret, error)),
            }
        })
    }

    fn turns(&self, secret: &SecretRef) -> Option<PathBuf> {
        self.store.turns(&secret.project, &secret.name)
    }

    fn facts<'a>(&'a self, secret: &'a SecretRef) -> Opening<'a, SecretFacts> {
        Box::pin(async move {
            let row = self
                .store
                .secret(&secret.project, &secret.name)
                .await
                .map_err(|e| OpenError::source(secret, e))?;
            let row = row.ok_or_else(|| OpenError::Missing(secret.clone()))?;
            let hosts = bound_hosts(&row).map_err(|Damaged| OpenError::Sealed(secret.clone()))?;
            Ok(SecretFacts {
                keys: row.keys.into_iter().map(|(key, _)| key).collect(),
                version: row.version.into(),
                bound_hosts: hosts.map(|hosts| hosts.patterns()),
                expires: row.expires,
            })
        })
    }
}

/// The stored list of hosts is not one that we wrote.
struct Damaged;

/// The stored list, which has to be in its one spelling: another one would authenticate as the same list.
fn bound_hosts(row: &SecretRow) -> Result<Option<BoundHosts>, Damaged> {
    let Some(text) = &row.hosts else { return Ok(None) };
    match text.parse::<BoundHosts>() {
        Ok(hosts) if hosts.to_string() == *text => Ok(Some(hosts)),
        _ => Err(Damaged),
    }
}
