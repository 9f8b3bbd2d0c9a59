//! The master key that a running process holds, and what it does when somebody rotates it meanwhile.
//!
//! A key file, command or key service is asked again when the vault's check value is no longer that of the key. A passphrase and a
//! descriptor cannot be: such a process refuses (its records no longer authenticate) until it is started with the new one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use super::master::{self, KeySource, Lock, MasterError, MasterKey};
use super::wrapped::Service;

/// A key and how it is recognised.
#[derive(Debug)]
pub(crate) struct Unlocked {
    pub(crate) key: MasterKey,
    pub(crate) check: Vec<u8>,
}

/// Where the key can be asked for again.
#[derive(Debug)]
enum Again {
    File(PathBuf),
    Command(Vec<String>),
    Service(Box<Service>),
    Never,
}

/// How long after a rotation the earlier key still opens what was read before it.
const EARLIER: Duration = Duration::from_secs(300);

/// The key of a running process.
#[derive(Debug)]
pub(super) struct Keys {
    current: RwLock<Arc<Unlocked>>,
    earlier: RwLock<Option<(Arc<Unlocked>, Instant)>>,
    again: Again,
}

impl Keys {
    pub(super) fn new(key: MasterKey, lock: &Lock, source: &KeySource) -> Self {
        let again = match source {
            KeySource::File(path) => Again::File(path.clone()),
            KeySource::Command(argv) => Again::Command(argv.clone()),
            KeySource::Service(service) => Again::Service(service.clone()),
            KeySource::Descriptor(_) | KeySource::Passphrase(_) => Again::Never,
        };
        let unlocked = Unlocked { key, check: lock.check.clone() };
        Self { current: RwLock::new(Arc::new(unlocked)), earlier: RwLock::new(None), again }
    }

    pub(super) fn current(&self) -> Arc<Unlocked> {
        Arc::clone(&self.current.read())
    }

    /// Puts a key in the place of the one that is held.
    pub(super) fn replace(&self, key: MasterKey, lock: &Lock) {
        let next = Arc::new(Unlocked { key, check: lock.check.clone() });
        let before = std::mem::replace(&mut *self.current.write(), next);
        *self.earlier.write() = Some((before, Instant::now()));
    }

    /// The keys that a record may be under, the current one first: rows may have been read before a rotation.
    pub(super) fn candidates(&self) -> impl Iterator<Item = Arc<Unlocked>> {
        let earlier = self.earlier.read();
        let earlier = earlier.as_ref().filter(|(_, since)| since.elapsed() < EARLIER);
        [Some(self.current()), earlier.map(|(key, _)| Arc::clone(key))].into_iter().flatten()
    }

    /// The key of the vault as it is locked now; asks for it again if that is another one. Asking may take as long as a
    /// command or key service: where that would hold others up it is done on a thread of its own.
    pub(super) async fn follow(self: &Arc<Self>, lock: &Lock) -> Result<Arc<Unlocked>, MasterError> {
        let current = self.current();
        if current.check == lock.check {
            return Ok(current);
        }
        if matches!(self.again, Again::Never) {
            return Err(MasterError::Wrong);
        }
        let (keys, lock) = (Arc::clone(self), lock.clone());
        let asked = tokio::task::spawn_blocking(move || keys.ask(&lock)).await;
        asked.unwrap_or(Err(MasterError::Wrong))
    }

    fn ask(&self, lock: &Lock) -> Result<Arc<Unlocked>, MasterError> {
        let current = self.current();
        if current.check == lock.check {
            return Ok(current);
        }
        let source = match &self.again {
            Again::File(path) => KeySource::File(path.clone()),
            Again::Command(argv) => KeySource::Command(argv.clone()),
            Again::Service(service) => KeySource::Service(service.clone()),
            Again::Never => return Err(MasterError::Wrong),
        };
        self.replace(master::unlock(&source, lock)?, lock);
        Ok(self.current())
    }
}
