//! Rotating keys while the vault is in use: every record is sealed anew under the next key in one transaction, so that
//! readers see all of them under the one or all under the other, and ask for the next key when theirs no longer opens.
//!
//! Values are opened only to be fingerprinted under the next key. A record that does not authenticate stays as it is and is
//! named; it was unusable before.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::backup::{BackupError, BackupKey, BackupWriter};
use super::super::bound::BoundHosts;
use super::super::master::{self, KeySource, Lock, MasterError, MasterKey};
use super::super::seal::{Place, Record};
use super::super::store::{Rekey, Rewrap, SealedRow, SealedValue};
use super::super::succession::{Succession, next_file};
use super::{LocalVault, WriteError};
use crate::secret::SecretName;

/// The key that takes the place of the current one.
#[derive(Debug)]
pub enum NextKey {
    /// In the place of the same key file: it waits in `FILE.next` until all records are under it.
    SameFile(PathBuf),
    /// From somewhere else: a file (made if it is not there), a command, a passphrase, a descriptor.
    Other(KeySource),
}

/// Opens a record and seals it anew: under another master key, another generation, or both.
fn rewrapped(
    (from, to): (&MasterKey, &MasterKey),
    row: &SealedRow,
    generation: Option<u32>,
) -> Option<SealedValue> {
    let hosts = row.hosts.as_deref().map(str::parse::<BoundHosts>).transpose().ok()?;
    let place = Place {
        project: &row.project,
        name: row.name.as_str(),
        key: &row.value.key,
        version: row.sealed_as,
        expires: row.expires,
        hosts: hosts.as_ref(),
    };
    let record = Record::parse(&row.value.record).ok()?;
    let before = from.project_key(&row.project, record.generation());
    let generation = generation.unwrap_or(record.generation());
    let after = to.project_key(&row.project, generation);
    let value = record.unseal(&before, &place).ok()?;
    let record = record.rewrap(&before, (&after, generation), &place).ok()?.to_bytes();
    Some(SealedValue { record, fingerprint: to.fingerprint(&row.project, &value), ..row.value.clone() })
}

/// The key that waits beside a key file; a fresh one if none does.
fn prepared(
    path: &Path,
    succession: &Succession<'_>,
    current: &[u8],
) -> Result<(MasterKey, Lock), MasterError> {
    let mut key = MasterKey::prepared(&next_file(path))?;
    if key.lock(None).check == current {
        // A rotation that ended before it renamed the file.
        succession.take_next()?;
        key = MasterKey::prepared(&next_file(path))?;
    }
    let lock = key.lock(None);
    Ok((key, lock))
}

impl LocalVault {
    /// Puts another master key in the place of the current one; returns the secrets that it could not take over, and where
    /// the earlier key of a file is kept.
    pub async fn rotate_master(
        &self,
        next: NextKey,
    ) -> Result<(Vec<(String, SecretName)>, Option<PathBuf>), WriteError> {
        let succession = match &next {
            // Held until the file is renamed.
            NextKey::SameFile(path) => Some((path, Succession::begin(path)?)),
            NextKey::Other(_) => None,
        };
        let unlocked = self.unlocked().await?;
        let (key, lock) = match (&next, &succession) {
            (_, Some((path, succession))) => prepared(path, succession, &unlocked.check)?,
            (NextKey::Other(source), None) => master::first_key(source)?,
            (NextKey::SameFile(path), None) => return Err(MasterError::Missing(path.clone()).into()),
        };
        if lock.check == unlocked.check {
            return Err(MasterError::Same.into());
        }
        let rewrap: Rewrap<'_> = Box::new(|row| rewrapped((&unlocked.key, &key), row, None));
        let under = unlocked.check.clone();
        let left = self.store.rekey(Rekey { under, lock: Some(lock.clone()), project: None, rewrap }).await?;
        let kept = succession.map(|(_, succession)| succession.take_next()).transpose();
        // All records are under it, whatever became of its file.
        self.keys.replace(key, &lock);
        Ok((left, kept?))
    }

    /// Gives a project another key; returns its generation and the secrets that it could not take over.
    pub async fn rotate_project(
        &self,
        project: &str,
    ) -> Result<(u32, Vec<(String, SecretName)>), WriteError> {
        let unlocked = self.unlocked().await?;
        let generation = self.store.generation(project).await?.saturating_add(1);
        let rewrap: Rewrap<'_> =
            Box::new(|row| rewrapped((&unlocked.key, &unlocked.key), row, Some(generation)));
        let under = unlocked.check.clone();
        let project = Some((project, generation));
        let left = self.store.rekey(Rekey { under, lock: None, project, rewrap }).await?;
        Ok((generation, left))
    }

    /// Whether a record opens under the key that is held: for whoever checks a vault as a whole.
    pub fn opens(&self, row: &SealedRow) -> bool {
        let unlocked = self.keys.current();
        rewrapped((&unlocked.key, &unlocked.key), row, None).is_some()
    }

    /// Begins a backup under the master key.
    pub async fn begin_backup<W: Write>(&self, file: W) -> Result<BackupWriter<W>, BackupError> {
        let unlocked = self.unlocked().await?;
        BackupWriter::begin(file, &BackupKey::Master(&unlocked.key))
    }
}
