//! The local vault: a store and the master key. Seals what people hand in, opens what policy permits.
//!
//! Refuses, besides what [`super::Vault`] refuses: records that do not authenticate, values that cannot be injected, and
//! a key that is not the vault's. A record that was tampered with fails alone; other secrets stay usable.

mod audit_key;
mod preview;
mod rekey;
mod server;
mod sought;

pub use audit_key::SignerError;
pub use rekey::NextKey;

use std::path::PathBuf;
use std::sync::Arc;

use super::bound::BoundHosts;
use super::keys::{Keys, Unlocked};
use super::master::{self, KeySource, MasterError};
use super::seal::{Place, Record, SealError};
use super::store::{
    Keeps, NewSecret, NewVersion, SealedUnder, SealedValue, SecretRow, Store, StoreError, Variable,
};
use super::value::{self, ValueError};
use super::{Clock, OpenError, Opened, Opening, Renewed, SecretFacts, Source, Terms, Values};
use crate::policy::{Delivery, Permit};
use crate::secret::{Secret, SecretName, SecretRef};
use crate::sync::seal::{self, Facts, Sealer};
use crate::sync::wire::SealedSecret;

/// How often a key that was rotated is asked for again before the record counts as damaged.
const FOLLOWS: u32 = 5;

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
    /// The master key was rotated, and the new one is not to be had.
    #[error(transparent)]
    Master(#[from] MasterError),
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
    keys: Arc<Keys>,
    clock: Clock,
}

/// The keys that values of a project are sealed with.
struct Sealing {
    unlocked: Arc<Unlocked>,
    generation: u32,
    hints: bool,
}

impl LocalVault {
    /// Gets the master key and makes sure that it is the vault's; a vault without one is given it.
    pub async fn unlock(
        store: Arc<dyn Store>,
        source: &KeySource,
        clock: Clock,
    ) -> Result<Self, MasterError> {
        let (key, lock) = match store.lock().await? {
            Some(lock) => (master::unlock(source, &lock)?, lock),
            None if store.has_secrets().await? => return Err(MasterError::CheckMissing),
            None => {
                let (key, lock) = master::first_key(source)?;
                let counts = store.set_lock(lock.clone()).await?;
                if counts == lock { (key, lock) } else { (master::unlock(source, &counts)?, counts) }
            }
        };
        let keys = Arc::new(Keys::new(key, &lock, source));
        Ok(Self { store, keys, clock })
    }

    /// The key that the vault is locked with now.
    async fn unlocked(&self) -> Result<Arc<Unlocked>, MasterError> {
        let mut tries = FOLLOWS;
        loop {
            let lock = self.store.lock().await?.ok_or(MasterError::CheckMissing)?;
            match self.keys.follow(&lock).await {
                // A rotation is just putting its key into the file, or the next one has begun meanwhile.
                Err(MasterError::Wrong) if tries > 0 => tries -= 1,
                followed => return followed,
            }
        }
    }

    async fn sealing(&self, project: &str) -> Result<Sealing, WriteError> {
        let unlocked = self.unlocked().await?;
        let generation = self.store.generation(project).await?;
        let hints = self.store.keeps_hints(project).await?;
        Ok(Sealing { unlocked, generation, hints })
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
        let sealing = self.sealing(project).await?;
        let mut secrets = Vec::with_capacity(entries.len());
        for entry in entries {
            let version = self.store.next_version(project, &entry.name).await?;
            let Entry { name, description, expires, hosts, values } = entry;
            let first = self.seal(&sealing, project, &name, version, Change { expires, hosts, values })?;
            secrets.push(NewSecret { name, description, first });
        }
        let variables =
            variables.into_iter().map(|(name, value)| Variable { name, value, created: now }).collect();
        Ok(self.store.insert(project, secrets, variables).await?)
    }

    /// Makes a new version of a secret; returns its number.
    pub async fn rotate(&self, project: &str, name: &SecretName, change: Change) -> Result<u64, WriteError> {
        self.rotate_with_grace(project, name, change, None).await
    }

    /// As [`LocalVault::rotate`]; the version before can be returned to until `grace`, unix seconds, and is removed then.
    pub async fn rotate_with_grace(
        &self,
        project: &str,
        name: &SecretName,
        mut change: Change,
        grace: Option<i64>,
    ) -> Result<u64, WriteError> {
        self.store.drop_lapsed(self.now()).await?;
        let row =
            self.store.secret(project, name).await?.ok_or_else(|| StoreError::NoSecret(name.clone()))?;
        if change.hosts.is_none() {
            change.hosts = bound_hosts(&row).map_err(|Damaged| StoreError::Damaged("bound hosts"))?;
        }
        change.expires = change.expires.or(row.expires);
        let version = self.store.next_version(project, name).await?;
        let sealing = self.sealing(project).await?;
        let sealed = NewVersion { grace, ..self.seal(&sealing, project, name, version, change)? };
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
        let Opened { values, .. } = self.unseal(&secret, &row, &sealed)?;
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
        sealing: &Sealing,
        project: &str,
        name: &SecretName,
        version: u64,
        change: Change,
    ) -> Result<NewVersion, WriteError> {
        value::check_all(&change.values)?;
        let Sealing { unlocked, generation, hints } = sealing;
        let project_key = unlocked.key.project_key(project, *generation);
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
            let record = Record::seal((&project_key, *generation), &place, &value)?.to_bytes();
            let fingerprint = unlocked.key.fingerprint(project, &value);
            let hint = hints.then(|| value::hint(&value)).flatten();
            values.push(SealedValue { key, record, fingerprint, hint });
        }
        let hosts = change.hosts.map(|hosts| hosts.to_string());
        let under = SealedUnder { check: unlocked.check.clone(), generation: *generation };
        let (created, expires) = (self.now(), change.expires);
        Ok(NewVersion { version, created, expires, hosts, values, under, grace: None, after: None })
    }

    /// The values as they are stored now; the inner result is whether they open.
    async fn read(&self, secret: &SecretRef) -> Result<Result<Opened, SealError>, OpenError> {
        let found = self.store.values(&secret.project, &secret.name).await;
        let found = found.map_err(|error| OpenError::source(secret, error))?;
        let (row, sealed) = found.ok_or_else(|| OpenError::Missing(secret.clone()))?;
        Ok(self.unseal(secret, &row, &sealed))
    }

    fn unseal(
        &self,
        secret: &SecretRef,
        row: &SecretRow,
        sealed: &[SealedValue],
    ) -> Result<Opened, SealError> {
        let mut outcome = Err(SealError::Forged);
        for unlocked in self.keys.candidates() {
            outcome = Self::unseal_with(&unlocked, secret, row, sealed);
            if !matches!(outcome, Err(SealError::Forged)) {
                break;
            }
        }
        outcome
    }

    fn unseal_with(
        unlocked: &Unlocked,
        secret: &SecretRef,
        row: &SecretRow,
        sealed: &[SealedValue],
    ) -> Result<Opened, SealError> {
        let hosts = bound_hosts(row).map_err(|Damaged| SealError::Malformed)?;
        let mut values = Vec::with_capacity(sealed.len());
        for SealedValue { key, record, .. } in sealed {
            let place = Place {
                project: &secret.project,
                name: secret.name.as_str(),
                key,
                version: row.sealed_as,
                expires: row.expires,
                hosts: hosts.as_ref(),
            };
            let record = Record::parse(record)?;
            let project_key = unlocked.key.project_key(&secret.project, record.generation());
            let value = record.unseal(&project_key, &place)?;
            values.push((key.clone(), value));
        }
        let terms =
            Terms { secret: secret.clone(), expires: row.expires, hosts, stale_at: None, lease: None };
        Ok(Opened { version: row.version.into(), values, terms })
    }
}

impl LocalVault {
    /// Opens a secret and seals it for the sidecar that is entitled to it; the values go no further than that.
    pub(crate) fn deliver(
        &self,
        delivery: &Delivery<'_>,
        row: &SecretRow,
        sealed: Vec<SealedValue>,
        sealer: &Sealer<'_>,
    ) -> Result<SealedSecret, DeliveryError> {
        if row.name != *delivery.secret() {
            return Err(DeliveryError::Other);
        }
        let secret = SecretRef { project: delivery.project().into(), name: row.name.clone() };
        let opened = self.unseal(&secret, row, &sealed)?;
        let Terms { expires, hosts, .. } = &opened.terms;
        let facts = Facts {
            name: &row.name,
            version: opened.version.number,
            hosts: hosts.as_ref(),
            expires: *expires,
        };
        Ok(sealer.seal(facts, &opened.values)?)
    }
}

/// Why a secret was not delivered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliveryError {
    /// The proof is of another secret.
    #[error("the proof is of another secret")]
    Other,
    /// It does not open.
    #[error(transparent)]
    Open(#[from] SealError),
    /// It does not seal.
    #[error(transparent)]
    Seal(#[from] seal::SealError),
}

impl Source for LocalVault {
    fn open<'a>(&'a self, _permit: &'a Permit, secret: &'a SecretRef) -> Opening<'a, Opened> {
        Box::pin(async move {
            for _ in 0..FOLLOWS {
                let held = self.keys.current();
                if let Ok(opened) = self.read(secret).await? {
                    return Ok(opened);
                }
                // Somebody may have rotated the master key: whoever holds the old one asks for it again.
                match self.unlocked().await {
                    Ok(now) if !Arc::ptr_eq(&now, &held) => {}
                    Ok(_) | Err(_) => break,
                }
            }
            Err(OpenError::Sealed(secret.clone()))
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
            let failed = |error: WriteError| OpenError::source(secret, error);
            // Not always one more: after a restore numbers go on higher.
            let next = self.store.next_version(&secret.project, &secret.name).await;
            let next = next.map_err(|error| failed(error.into()))?;
            let sealing = self.sealing(&secret.project).await.map_err(failed)?;
            let sealed = self.seal(&sealing, &secret.project, &secret.name, next, change).map_err(failed)?;
            let sealed = NewVersion { after: Some(version), ..sealed };
            match self.store.add_version(&secret.project, &secret.name, sealed, Keeps::Earlier).await {
                Ok(()) => Ok(next),
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
