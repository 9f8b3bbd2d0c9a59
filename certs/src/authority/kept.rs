//! The CA's two files: `ca.key` (0600) and `ca.crt` in one directory.
//!
//! Refuses symbolic links, files of another user, a key that others can read, a certificate that others
//! can write, and half a pair; overwrites nothing. Every check is made on the open file, so what was checked is what
//! is read. Creation happens under a lock, in full beside the final names, then linked to them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::Error;

const KEY_MAX: u64 = 64 * 1024;
const CERTIFICATE_MAX: u64 = 1024 * 1024;

/// A new pair as PEM, not written yet.
pub(super) struct Fresh {
    pub(super) certificate: String,
    pub(super) key: Zeroizing<String>,
}

/// The pair as it was read.
pub(super) struct Pair {
    pub(super) certificate: Zeroizing<Vec<u8>>,
    pub(super) certificate_path: PathBuf,
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) key_path: PathBuf,
}

/// Reads the pair of `dir`, which `make` provides if neither file is there.
pub(super) fn load_or_create(dir: &Path, make: impl FnOnce() -> Result<Fresh, Error>) -> Result<Pair, Error> {
    let names = Names::in_dir(dir);
    if names.present()? == Present::Both {
        return names.read();
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error("create", dir))?;
    // Half a pair may be another process at work: judge it only once that has let go of the lock.
    let lock = lock(&names.lock);
    match (names.present()?, lock) {
        (Present::Both, _) => names.read(),
        (Present::OnlyKey, _) => Err(Error::HalfPair { present: names.key, missing: names.certificate }),
        (Present::OnlyCertificate, _) => {
            Err(Error::HalfPair { present: names.certificate, missing: names.key })
        }
        (Present::Neither, Err(error)) => Err(error),
        (Present::Neither, Ok(_held)) => {
            names.create(&make()?)?;
            names.read()
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Present {
    Neither,
    OnlyKey,
    OnlyCertificate,
    Both,
}

struct Names {
    dir: PathBuf,
    key: PathBuf,
    certificate: PathBuf,
    lock: PathBuf,
}

impl Names {
    fn in_dir(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            key: dir.join("ca.key"),
            certificate: dir.join("ca.crt"),
            lock: dir.join("ca.lock"),
        }
    }

    fn present(&self) -> Result<Present, Error> {
        Ok(match (exists(&self.key)?, exists(&self.certificate)?) {
            (false, false) => Present::Neither,
            (true, false) => Present::OnlyKey,
            (false, true) => Present::OnlyCertificate,
            (true, true) => Present::Both,
        })
    }

    fn read(self) -> Result<Pair, Error> {
        let key = open(&self.key)?;
        key.owned_by(&[us()])?;
        if key.mode & 0o077 != 0 {
            return Err(Error::KeyExposed { path: self.key.clone(), mode: key.mode });
        }
        let certificate = open(&self.certificate)?;
        // Who can write this file can append a root that agents would then trust.
        certificate.owned_by(&[us(), 0])?;
        if certificate.mode & 0o022 != 0 {
            return Err(Error::CertificateWritable {
                path: self.certificate.clone(),
                mode: certificate.mode,
            });
        }
        Ok(Pair {
            key: key.read(KEY_MAX)?,
            certificate: certificate.read(CERTIFICATE_MAX)?,
            key_path: self.key,
            certificate_path: self.certificate,
        })
    }

    fn create(&self, fresh: &Fresh) -> Result<(), Error> {
        let key = write_beside(&self.key, 0o600, fresh.key.as_bytes())?;
        let certificate = write_beside(&self.certificate, 0o644, fresh.certificate.as_bytes())?;
        for (new, path) in [(&key, &self.key), (&certificate, &self.certificate)] {
            // Unlike a rename, a link never replaces what somebody has put there meanwhile.
            fs::hard_link(new, path).map_err(io_error("create", path))?;
        }
        for new in [&key, &certificate] {
            fs::remove_file(new).map_err(io_error("remove", new))?;
        }
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", &self.dir))
    }
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn exists(path: &Path) -> Result<bool, Error> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(io_error("look up", path)(source)),
    }
}

struct Opened<'a> {
    file: File,
    path: &'a Path,
    mode: u32,
    owner: u32,
    size: u64,
}

/// Opens without following a link and without waiting for a pipe's writer.
fn open(path: &Path) -> Result<Opened<'_>, Error> {
    let opened =
        OpenOptions::new().read(true).custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK)).open(path);
    let file = opened.map_err(|source| match source.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
            Error::NotRegular { path: path.to_owned() }
        }
        _ => io_error("open", path)(source),
    })?;
    let metadata = file.metadata().map_err(io_error("look up", path))?;
    if !metadata.is_file() {
        return Err(Error::NotRegular { path: path.to_owned() });
    }
    Ok(Opened { file, path, mode: metadata.mode() & 0o7777, owner: metadata.uid(), size: metadata.len() })
}

impl Opened<'_> {
    fn owned_by(&self, allowed: &[u32]) -> Result<(), Error> {
        if allowed.contains(&self.owner) {
            return Ok(());
        }
        Err(Error::ForeignOwner { path: self.path.to_owned(), owner: self.owner, us: us() })
    }

    fn read(&self, limit: u64) -> Result<Zeroizing<Vec<u8>>, Error> {
        if self.size > limit {
            return Err(Error::TooLarge { path: self.path.to_owned(), limit });
        }
        // Room for all of it, and one byte to see the end: a buffer that grows leaves unwiped copies.
        let room = usize::try_from(self.size).unwrap_or(0) + 1;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        (&self.file).take(self.size).read_to_end(&mut bytes).map_err(io_error("read", self.path))?;
        Ok(bytes)
    }
}

/// Waits for other processes of ours that are creating the pair; released when dropped.
fn lock(path: &Path) -> Result<File, Error> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags(OFlags::NOFOLLOW))
        .open(path)
        .map_err(io_error("open", path))?;
    file.lock().map_err(io_error("lock", path))?;
    Ok(file)
}

fn write_beside(path: &Path, mode: u32, bytes: &[u8]) -> Result<PathBuf, Error> {
    let new = path.with_added_extension("new");
    // Left by a process that was killed here; we hold the lock.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &new)(error)),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)
        .map_err(io_error("create", &new))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_error("write", &new))?;
    Ok(new)
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Error + 'a {
    move |source| Error::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
pub(super) fn refuses_an_owner_outside(path: &Path) {
    let opened = open(path).unwrap();
    assert!(opened.owned_by(&[us()]).is_ok());
    assert!(matches!(opened.owned_by(&[us() + 1]), Err(Error::ForeignOwner { .. })));
}
