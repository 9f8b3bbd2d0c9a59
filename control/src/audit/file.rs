//! The audit's file: opened once, locked by one process, continued where it ends.
//!
//! Refuses a file that another process writes, and one that holds something other than audit lines.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::line::Chain;
use super::verify::{Continuation, TailError, continuation};

/// How many files a directory may hold at once: one for each running process.
const MAX_FILES: u32 = 64;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output; a chain of its own for each process.
    Stdout,
    /// This file.
    File(PathBuf),
    /// The first file of this directory that no other process writes: `audit.jsonl`, `audit-2.jsonl` …
    Directory(PathBuf),
}

/// Why the audit cannot start, or reopen.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file cannot be opened or made.
    #[error("the audit file `{}` cannot be opened", .0.display())]
    Open(PathBuf, #[source] io::Error),
    /// Somebody else writes it.
    #[error("the audit file `{}` is in use by another process; give each its own", .0.display())]
    Locked(PathBuf),
    /// It is no audit file.
    #[error("`{}` holds something other than audit lines at its end; move it away or name another file", .0.display())]
    Foreign(PathBuf),
    /// Reopened while lines wait, the path names a file that is not empty.
    #[error("`{}` already holds lines, and others still wait for the old file; rotate to a path that is free", .0.display())]
    NotFresh(PathBuf),
    /// Reopened while the lines of as many files as are kept wait for the control server.
    #[error("too many rotated files wait for the control server; lines go on to the old file")]
    Waiting,
    /// Standard output cannot be used.
    #[error("standard output cannot be used for the audit")]
    Stdout(#[source] io::Error),
    /// The writer's thread cannot start.
    #[error("the audit's writer cannot start")]
    Thread(#[source] io::Error),
}

/// An open, locked file and how it goes on.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    /// `None`: standard output, which is never reopened.
    pub(super) path: Option<PathBuf>,
    /// A regular file: it has an end to continue, and can be synced.
    pub(super) regular: bool,
    pub(super) continuation: Continuation,
}

pub(super) const FRESH: Continuation =
    Continuation { chain: Chain { seq: 0, hash: super::line::Hash([0; 32]) }, newline: false, gap: None };

impl Destination {
    pub(super) fn open(&self) -> Result<Opened, StartError> {
        match self {
            Self::Stdout => {
                let fd = io::stdout().as_fd().try_clone_to_owned().map_err(StartError::Stdout)?;
                Ok(Opened { file: fd.into(), path: None, regular: false, continuation: FRESH })
            }
            Self::File(path) => open(path),
            Self::Directory(folder) => first_free(folder),
        }
    }
}

fn first_free(folder: &Path) -> Result<Opened, StartError> {
    let mut last = folder.join("audit.jsonl");
    for number in 2..=MAX_FILES + 1 {
        match open(&last) {
            Err(StartError::Locked(_)) => last = folder.join(format!("audit-{number}.jsonl")),
            other => return other,
        }
    }
    Err(StartError::Locked(last))
}

pub(super) fn open(path: &Path) -> Result<Opened, StartError> {
    let failed = |error| StartError::Open(path.to_owned(), error);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    // Opened for reading as well: its end is read. Pipes and devices may refuse that.
    let mut file = match OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            OpenOptions::new().append(true).open(path).map_err(failed)?
        }
        Err(error) => return Err(failed(error)),
    };
    let regular = file.metadata().map_err(failed)?.is_file();
    if !regular {
        return Ok(Opened { file, path: Some(path.to_owned()), regular, continuation: FRESH });
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StartError::Locked(path.to_owned())),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let continuation = continuation(&mut file).map_err(|error| match error {
        TailError::Foreign => StartError::Foreign(path.to_owned()),
        TailError::Io(error) => failed(error),
    })?;
    Ok(Opened { file, path: Some(path.to_owned()), regular, continuation })
}

/// Whether the path still names this open file.
pub(super) fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        (Ok(_) | Err(_), _) => false,
    }
}
