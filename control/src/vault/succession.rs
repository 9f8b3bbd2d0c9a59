//! How a key file is succeeded by the next one: `FILE.next` waits until all records are under it, then takes the place of
//! `FILE`; what was there stays as `FILE.earlier.N`, since backups need it. No key is ever removed.
//!
//! Refuses two rotations of one file at a time: the second would take away the key that the first one waits with.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::master::{KeySource, Lock, MasterError};
use crate::private::{self, PrivateError};

/// As large as a key file may be.
const KEY_MAX: usize = 4096;
/// The most earlier keys that lie beside a file.
const EARLIER_MAX: u32 = 10_000;

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Where the key lies that a rotation puts in the place of a key file.
pub fn next_file(path: &Path) -> PathBuf {
    beside(path, ".next")
}

/// Where a key goes that a rotation replaces: backups that were made under it need it.
pub fn earlier_file(path: &Path, number: u32) -> PathBuf {
    beside(path, &format!(".earlier.{number}"))
}

/// The right to put another key in the place of a key file. The kernel gives it back however its holder ends.
#[derive(Debug)]
pub(crate) struct Succession<'a> {
    path: &'a Path,
    _lock: File,
}

impl<'a> Succession<'a> {
    /// Takes the right, unless another process has it.
    pub(crate) fn begin(path: &'a Path) -> Result<Self, MasterError> {
        let file = beside(path, ".lock");
        let lock = private::to_lock(&file).map_err(MasterError::File)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(MasterError::Rotating(path.to_owned())),
            Err(TryLockError::Error(source)) => {
                Err(MasterError::File(PrivateError::Io { path: file, source }))
            }
        }
    }

    /// Puts the next key in the place of the file; the one that was there stays beside it. Says where.
    pub(crate) fn take_next(&self) -> Result<PathBuf, MasterError> {
        let kept = self.keep().map_err(MasterError::File)?;
        std::fs::rename(next_file(self.path), self.path)
            .map_err(|source| MasterError::File(PrivateError::Io { path: next_file(self.path), source }))?;
        private::sync_folder(self.path).map_err(MasterError::File)?;
        Ok(kept)
    }

    /// Copies the key that is about to be replaced. A copy and no link: not every file system has links.
    fn keep(&self) -> Result<PathBuf, PrivateError> {
        let bytes = private::read(self.path, KEY_MAX)?;
        let mut number = 1;
        loop {
            let earlier = earlier_file(self.path, number);
            match private::create(&earlier, &bytes) {
                Ok(()) => return Ok(earlier),
                Err(PrivateError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::AlreadyExists && number < EARLIER_MAX =>
                {
                    // A rotation that was ended after this step kept it already.
                    if private::read(&earlier, KEY_MAX).is_ok_and(|kept| kept == bytes) {
                        return Ok(earlier);
                    }
                    number += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Finishes a rotation whose process was ended before it renamed the file, or that happened on another machine: the vault is
/// locked with `FILE.next`. Where the file cannot be renamed by us, or somebody is about to, it stays as it is.
pub(crate) fn settle(path: &Path, lock: &Lock) {
    let opens = |path: &Path| {
        let key = super::master::key_as_it_is(&KeySource::File(path.to_owned()));
        key.is_ok_and(|key| key.lock(None) == *lock)
    };
    let Ok(succession) = Succession::begin(path) else { return };
    // Looked at again now that nobody else renames.
    if opens(path) || !opens(&next_file(path)) {
        return;
    }
    match succession.take_next() {
        Ok(kept) => tracing::info!(
            file = %path.display(), earlier = %kept.display(), "the next master key took its file's place"
        ),
        Err(error) => tracing::warn!(%error, "the next master key could not take its file's place"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_second_rotation_of_the_same_file_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let first = Succession::begin(&path).unwrap();
        assert!(matches!(Succession::begin(&path), Err(MasterError::Rotating(_))));
        drop(first);
        Succession::begin(&path).unwrap();
    }

    #[test]
    fn keeps_every_earlier_key_under_a_number_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        private::create(&path, b"zero").unwrap();
        for (number, key) in [(1, "one"), (2, "two"), (3, "three")] {
            private::create(&next_file(&path), key.as_bytes()).unwrap();
            let succession = Succession::begin(&path).unwrap();
            // As if it had been ended before the renaming, once.
            succession.keep().unwrap();
            assert_eq!(succession.take_next().unwrap(), earlier_file(&path, number));
            assert_eq!(std::fs::read(&path).unwrap(), key.as_bytes());
        }
        let kept = [1, 2, 3].map(|number| std::fs::read(earlier_file(&path, number)).unwrap());
        assert_eq!(kept, [&b"zero"[..], b"one", b"two"]);
    }
}
