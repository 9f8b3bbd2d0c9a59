//! Secrets that are shown to an issuer for a token, and what issuers put in their place.
//!
//! Refuses secrets that are not bound to the token endpoints, and writes over another version than the one that was shown.
//! Invariant: what an issuer gave in the place of a value makes that value void, so the void one is never shown again:
//! while the new one is not written, which is tried anew first, nothing is opened for a renewal.
//!
//! Processes that share a vault on one machine take turns, from the opening of a secret to the keeping of what came back:
//! an issuer that sees a used value again takes it for stolen, and ends the login.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{OpenError, Opened, Renewed, Source, Vault, Version, has_a_key};
use crate::policy::Renewal;
use crate::private;
use crate::provider::Auth;
use crate::secret::{Secret, SecretRef};

/// How long a failed write is waited for before it is tried again: another process's transaction, a disk that was full.
const RETRIES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// How often another process's turn is looked at, and how long it is waited for: longer than an exchange takes.
const LOOK: Duration = Duration::from_millis(25);
const PATIENCE: Duration = Duration::from_secs(30);

/// A secret that is opened for a renewal, and where it came from.
#[derive(Debug)]
pub struct Shown {
    /// Its values.
    pub opened: Opened,
    source: Arc<dyn Source>,
}

/// The right to show one secret to its issuer; given back on drop.
#[derive(Debug)]
pub struct Turn {
    _machine: Option<File>,
    _process: tokio::sync::OwnedMutexGuard<()>,
}

/// Values that an issuer gave and that are not written yet.
#[derive(Debug)]
struct Unsaved {
    /// The version that the issuer was shown.
    version: Version,
    changes: Vec<(String, Secret)>,
    source: Arc<dyn Source>,
}

/// What a vault knows of renewals in this process.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    /// The versions that renewals made one out of the other: first and last.
    chains: Mutex<HashMap<SecretRef, (Version, Version)>>,
    /// One renewal at a time for each secret that issuers change.
    running: Mutex<HashMap<SecretRef, Arc<tokio::sync::Mutex<()>>>>,
    unsaved: Mutex<HashMap<SecretRef, Arc<Unsaved>>>,
}

impl Vault {
    /// Opens the secret of a renewal: it has to be bound to the token endpoints, which are the only place that it goes to.
    /// Whether a request may have the token is asked for each of them.
    pub async fn open_for_renewal(&self, renewal: &Renewal) -> Result<Shown, OpenError> {
        let auth = auth(renewal)?;
        match self.save(renewal, &auth.secret).await {
            // What was given for another version is void with it.
            Ok(()) | Err(OpenError::Changed(_) | OpenError::Missing(_)) => {}
            Err(error) => return Err(error),
        }
        let (opened, source) = self.find(renewal.permit(), &auth.secret).await?;
        for url in renewal.token_urls() {
            opened.terms.admit_to(url.target(), self.clock)?;
        }
        Ok(Shown { opened: has_a_key(opened, auth)?, source: Arc::clone(source) })
    }

    /// Waits until no other renewal, of this process or of another one on this machine, shows the renewal's secret to an issuer
    /// that may change it.
    pub async fn renewing(&self, renewal: &Renewal) -> Result<Turn, OpenError> {
        let secret = auth(renewal)?.secret.clone();
        let one = Arc::clone(self.renewals.running.lock().entry(secret.clone()).or_default());
        let process = one.lock_owned().await;
        let machine = match self.turns(&secret).await? {
            Some(file) => Some(turn(&file).await.map_err(|error| OpenError::source(&secret, error))?),
            None => None,
        };
        Ok(Turn { _machine: machine, _process: process })
    }

    /// The file of the source that has the secret.
    async fn turns(&self, secret: &SecretRef) -> Result<Option<PathBuf>, OpenError> {
        for source in &self.sources {
            let Some(file) = source.turns(secret) else { continue };
            match source.facts(secret).await {
                Err(OpenError::Missing(_)) => {}
                found => return found.map(|_| Some(file)),
            }
        }
        Ok(None)
    }

    /// Keeps what an issuer gave in the place of these keys, where the secret came from. Nothing is kept if the secret is not of
    /// the shown version any more. What could not be written is held, and written before the secret is opened again.
    pub async fn renew(
        &self,
        renewal: &Renewal,
        shown: &Shown,
        changes: Vec<(String, Secret)>,
    ) -> Result<(), OpenError> {
        let secret = &auth(renewal)?.secret;
        let unsaved = Unsaved { version: shown.opened.version, changes, source: Arc::clone(&shown.source) };
        self.renewals.unsaved.lock().insert(secret.clone(), Arc::new(unsaved));
        for pause in RETRIES {
            match self.save(renewal, secret).await {
                Err(OpenError::Source(..) | OpenError::Locked) => tokio::time::sleep(pause).await,
                settled => return settled,
            }
        }
        self.save(renewal, secret).await
    }

    /// Whether one version became the other by renewals of this process alone: what was made from the one still holds.
    pub fn is_renewal(&self, from: Version, to: Version, secret: &SecretRef) -> bool {
        let chains = self.renewals.chains.lock();
        let is_linked = |(first, last): &(Version, Version)| {
            from.is_before(to) && !from.is_before(*first) && !last.is_before(to) && to.source == first.source
        };
        from == to || chains.get(secret).is_some_and(is_linked)
    }

    /// Writes what is held of a secret, if there is something; it is held on if that fails.
    async fn save(&self, renewal: &Renewal, secret: &SecretRef) -> Result<(), OpenError> {
        let Some(unsaved) = self.renewals.unsaved.lock().get(secret).cloned() else { return Ok(()) };
        let version = unsaved.version;
        let outcome = match write(renewal, secret, &unsaved).await {
            Ok(number) => {
                let number = Version { number, ..version };
                let mut chains = self.renewals.chains.lock();
                let chain = chains.entry(secret.clone()).or_insert((version, version));
                *chain = if chain.1 == version { (chain.0, number) } else { (version, number) };
                Ok(())
            }
            // Somebody put another value there: this one belongs to none that there is.
            Err(error @ (OpenError::Changed(_) | OpenError::Missing(_))) => Err(error),
            Err(error) => return Err(error),
        };
        let mut all = self.renewals.unsaved.lock();
        if all.get(secret).is_some_and(|held| Arc::ptr_eq(held, &unsaved)) {
            all.remove(secret);
        }
        outcome
    }
}

/// Waits for the file's lock, which the kernel gives back however its holder ends.
async fn turn(path: &Path) -> io::Result<File> {
    let file = private::to_lock(path).map_err(io::Error::other)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => tokio::time::sleep(LOOK).await,
            Err(error) => return Err(error.into()),
        }
    }
}

async fn write(renewal: &Renewal, secret: &SecretRef, unsaved: &Unsaved) -> Result<u64, OpenError> {
    let Unsaved { version, changes, source } = unsaved;
    let renewed = Renewed { secret, version: version.number, changes };
    match source.renew(renewal.permit(), renewed).await {
        // It takes no values of ours, but there may be another one of the operator's.
        Err(OpenError::ReadOnly(_)) if source.facts(secret).await?.version.number != version.number => {
            Err(OpenError::Changed(secret.clone()))
        }
        written => written,
    }
}

fn auth(renewal: &Renewal) -> Result<&Auth, OpenError> {
    renewal.permit().provider().auth.as_ref().ok_or(OpenError::NoCredential)
}
