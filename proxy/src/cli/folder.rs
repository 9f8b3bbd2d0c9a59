//! A folder that only we may enter, for as long as we run. What killed programs left behind is removed by the next one.
//!
//! A folder is left behind when nobody holds the lock of the file in it: the kernel gives a lock back however its holder ended. Only
//! folders of our own uid, closed to others and named as we name them, are touched; no link is followed.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use control::cli::{Env, Exit, Failure};
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

const PREFIX: &str = "doorward-";
/// The file whose lock we hold.
const OWNER: &str = "owner";
/// The same before we hold it: whoever sees [`OWNER`] sees it locked, or left behind.
const OWNER_TO_BE: &str = "owner.new";
/// Entries of the folder of temporary files that are looked at: a full one must not delay us.
const MOST: usize = 10_000;

/// A folder that only we may enter, removed when dropped.
#[derive(Debug)]
pub(crate) struct PrivateFolder {
    folder: TempDir,
    _lock: File,
}

impl PrivateFolder {
    /// Makes one, after removing what others of ours left behind.
    pub(crate) fn new(env: &Env) -> Result<Self, Failure> {
        let base = env.var("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        remove_left_behind(&base);
        Self::made_in(&base).map_err(|error| {
            Failure::new(Exit::Error, format!("cannot make a folder in {}: {error}", base.display()))
        })
    }

    fn made_in(base: &Path) -> std::io::Result<Self> {
        let mut folder = tempfile::Builder::new();
        let folder = folder.prefix(PREFIX).permissions(fs::Permissions::from_mode(0o700)).tempdir_in(base)?;
        let to_be = folder.path().join(OWNER_TO_BE);
        let lock = File::options().write(true).create_new(true).mode(0o600).open(&to_be)?;
        lock.try_lock().map_err(std::io::Error::from)?;
        fs::rename(to_be, folder.path().join(OWNER))?;
        Ok(Self { folder, _lock: lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders of programs that were killed. What cannot be removed is in nobody's way.
fn remove_left_behind(base: &Path) {
    let entries = fs::read_dir(base).into_iter().flatten().take(MOST).filter_map(Result::ok);
    for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())) {
        // Held while it is removed, so that two of us do not do it at once.
        if let Some(_lock) = abandoned(&entry.path())
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::debug!(%error, "folder of a killed program not removed");
        }
    }
}

/// The lock of a folder of ours that nobody holds.
fn abandoned(folder: &Path) -> Option<File> {
    let uid = rustix::process::geteuid().as_raw();
    let meta = fs::symlink_metadata(folder).ok()?;
    (meta.is_dir() && meta.uid() == uid && meta.mode() & 0o077 == 0).then_some(())?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let lock = File::from(rustix::fs::open(folder.join(OWNER), flags, Mode::empty()).ok()?);
    let meta = lock.metadata().ok()?;
    (meta.is_file() && meta.uid() == uid).then_some(())?;
    lock.try_lock().ok().map(|()| lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_behind(base: &Path) -> PathBuf {
        let PrivateFolder { folder, _lock } = PrivateFolder::made_in(base).unwrap();
        folder.keep()
    }

    #[test]
    fn leaves_alone_what_is_in_use_and_what_is_not_ours_by_its_looks() {
        let base = tempfile::tempdir().unwrap();
        let used = PrivateFolder::made_in(base.path()).unwrap();
        let open_to_others = left_behind(base.path());
        fs::set_permissions(&open_to_others, fs::Permissions::from_mode(0o755)).unwrap();
        let renamed = base.path().join("another");
        fs::rename(left_behind(base.path()), &renamed).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let target = left_behind(elsewhere.path());
        let link = base.path().join("doorward-link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let (unlocked, linked) = (base.path().join("doorward-unlocked"), base.path().join("doorward-linked"));
        for folder in [&unlocked, &linked] {
            fs::create_dir(folder).unwrap();
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        }
        std::os::unix::fs::symlink(target.join(OWNER), linked.join(OWNER)).unwrap();
        remove_left_behind(base.path());
        for kept in [used.path(), &open_to_others, &renamed, &target, &link, &unlocked, &linked] {
            assert!(kept.exists(), "{}", kept.display());
        }
    }

    #[test]
    fn removes_what_a_killed_program_left_behind_and_follows_no_link_in_it() {
        let (base, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = left_behind(base.path());
        fs::create_dir(folder.join("published")).unwrap();
        fs::write(elsewhere.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.join("published/link")).unwrap();
        remove_left_behind(base.path());
        assert!(!folder.exists() && elsewhere.path().join("file").exists());
    }
}
