//! A directory of files as a source: `DIR/<secret>/<key>` as Kubernetes mounts them, `DIR/<name>` = key `token` as
//! compose does.
//!
//! Refuses names that lead out of the directory (also by links), anything that is not a plain file, and values that could
//! not be stored either. Reads one consistent set: Kubernetes swaps a whole version by one link (`..data`), which is
//! resolved once; other changes in the middle of a reading are noticed and it is read again. Files carry no binding of
//! their own, and their permissions are those of the mount.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::value::{self, KEYS_MAX, VALUE_MAX, ValueError};
use super::{OpenError, Opened, Opening, SecretFacts, Source, Terms, Values};
use crate::policy::Permit;
use crate::secret::{Secret, SecretName, SecretRef};

/// The key of a secret that is one file.
const ONE_KEY: &str = "token";
/// How often a set of files that keeps changing is read again.
const ATTEMPTS: usize = 5;

/// Why the files of a secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The system said no.
    #[error("{}", .path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A link leads out of the directory.
    #[error("{} leads out of the directory of secrets", .0.display())]
    Outside(PathBuf),
    /// A pipe, a device, a folder in a folder.
    #[error("{} is not a plain file", .0.display())]
    NotPlain(PathBuf),
    /// The value cannot be used.
    #[error("{}", .path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: ValueError,
    },
    /// It changed at each attempt.
    #[error("{} keeps changing while it is read", .0.display())]
    Unsteady(PathBuf),
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |source| DirectoryError::Io { path, source }
}

/// A directory of secrets.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
    seen: Arc<Mutex<HashMap<SecretName, Seen>>>,
}

/// What a secret's files looked like, and how many looks they have had.
#[derive(Debug)]
struct Seen {
    look: [u8; 32],
    version: u64,
}

/// The files of one secret at one moment.
struct Files {
    /// Key and path, sorted by key.
    list: Vec<(String, PathBuf)>,
    look: [u8; 32],
}

impl Directory {
    /// The secrets below this directory; they serve every project.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), seen: Arc::default() }
    }

    /// The directory, to be watched.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The files of a secret, `None` if there are none.
    fn files(&self, name: &SecretName) -> Result<Option<Files>, DirectoryError> {
        // A name has no slash and no empty label, so it cannot lead out by itself.
        let path = self.root.join(name.as_str());
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&path)(error)),
        };
        let root = self.root.canonicalize().map_err(io_error(&self.root))?;
        let list = if meta.is_dir() { keys_in(&path)? } else { vec![(ONE_KEY.to_owned(), path)] };
        let mut look = Sha256::new();
        let mut resolved = Vec::with_capacity(list.len());
        for (key, path) in list {
            let real = path.canonicalize().map_err(io_error(&path))?;
            if !real.starts_with(&root) {
                return Err(DirectoryError::Outside(path));
            }
            let meta = fs::metadata(&real).map_err(io_error(&real))?;
            if !meta.is_file() {
                return Err(DirectoryError::NotPlain(path));
            }
            look.update(key.as_bytes());
            look.update([0]);
            look_of(&meta, &mut look);
            resolved.push((key, real));
        }
        Ok((!resolved.is_empty()).then(|| Files { list: resolved, look: look.finalize().into() }))
    }

    /// The version of what was seen: one more whenever it looks different.
    fn version(&self, name: &SecretName, look: [u8; 32]) -> u64 {
        let mut seen = self.seen.lock();
        let entry = seen.entry(name.clone()).or_insert(Seen { look, version: 1 });
        if entry.look != look {
            *entry = Seen { look, version: entry.version + 1 };
        }
        entry.version
    }

    fn read(&self, name: &SecretName) -> Result<Option<(u64, Values)>, DirectoryError> {
        for _ in 0..ATTEMPTS {
            let Some(files) = self.files(name)? else { return Ok(None) };
            let read = files.list.iter().map(|(key, path)| Ok((key.clone(), value_of(key, path)?)));
            let values = read.collect::<Result<Vec<_>, DirectoryError>>();
            // A failure counts only if nothing changed meanwhile: a file that was just replaced is no failure.
            if self.files(name)?.is_some_and(|after| after.look == files.look) {
                let values = values?;
                let of_pair = |source| DirectoryError::Value { path: self.root.join(name.as_str()), source };
                value::check_together(&values).map_err(of_pair)?;
                return Ok(Some((self.version(name, files.look), values)));
            }
        }
        Err(DirectoryError::Unsteady(self.root.join(name.as_str())))
    }
}

/// The keys of a secret that is a folder.
fn keys_in(folder: &Path) -> Result<Vec<(String, PathBuf)>, DirectoryError> {
    // Kubernetes: the keys are links through `..data`, which is swapped at once. Going through it once gives one version.
    let data = folder.join("..data");
    let folder = match data.canonicalize() {
        Ok(version) => version,
        Err(error) if error.kind() == io::ErrorKind::NotFound => folder.to_owned(),
        Err(error) => return Err(io_error(&data)(error)),
    };
    let mut keys = Vec::new();
    for entry in fs::read_dir(&folder).map_err(io_error(&folder))? {
        let name = entry.map_err(io_error(&folder))?.file_name();
        // Hidden files of editors and mounts are no keys.
        let Some(key) = name.to_str().filter(|key| value::is_key(key)) else { continue };
        if keys.len() == KEYS_MAX {
            return Err(DirectoryError::Value { path: folder, source: ValueError::Count });
        }
        keys.push((key.to_owned(), folder.join(key)));
    }
    keys.sort();
    Ok(keys)
}

/// What changes when a file is written, replaced or swapped.
fn look_of(meta: &Metadata, look: &mut Sha256) {
    for number in [meta.dev(), meta.ino(), meta.size()] {
        look.update(number.to_be_bytes());
    }
    for number in [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()] {
        look.update(number.to_be_bytes());
    }
}

fn value_of(key: &str, path: &Path) -> Result<Secret, DirectoryError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|error| io_error(path)(error.into()))?;
    let file = File::from(opened);
    if !file.metadata().map_err(io_error(path))?.is_file() {
        return Err(DirectoryError::NotPlain(path.to_owned()));
    }
    // A value may be followed by a line break. All of the room at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(VALUE_MAX + 3));
    file.take(VALUE_MAX as u64 + 3).read_to_end(&mut bytes).map_err(io_error(path))?;
    let value = value::without_final_line_break(std::mem::take(&mut *bytes));
    value::check(key, &value).map_err(|source| DirectoryError::Value { path: path.to_owned(), source })?;
    Ok(value)
}

impl Source for Directory {
    fn open<'a>(&'a self, _permit: &'a Permit, secret: &'a SecretRef) -> Opening<'a, Opened> {
        let (directory, name) = (self.clone(), secret.name.clone());
        Box::pin(async move {
            // Files may lie on a slow disk; the worker's other connections must not wait for it.
            let read = tokio::task::spawn_blocking(move || directory.read(&name)).await;
            let read = read.map_err(|error| OpenError::source(secret, error))?;
            let found = read.map_err(|error| OpenError::source(secret, error))?;
            let (version, values) = found.ok_or_else(|| OpenError::Missing(secret.clone()))?;
            let terms =
                Terms { secret: secret.clone(), expires: None, hosts: None, stale_at: None, lease: None };
            Ok(Opened { version: version.into(), values, terms })
        })
    }

    fn facts<'a>(&'a self, secret: &'a SecretRef) -> Opening<'a, SecretFacts> {
        let (directory, name) = (self.clone(), secret.name.clone());
        Box::pin(async move {
            // Nobody checked these values when they were stored: one that cannot be used is told of here, and not when an
            // agent first asks for it. They are dropped as soon as they were looked at.
            let looked = tokio::task::spawn_blocking(move || directory.read(&name));
            let looked = looked.await.map_err(|error| OpenError::source(secret, error))?;
            let found = looked.map_err(|error| OpenError::source(secret, error))?;
            let (version, values) = found.ok_or_else(|| OpenError::Missing(secret.clone()))?;
            let keys = values.into_iter().map(|(key, _)| key).collect();
            Ok(SecretFacts { keys, version: version.into(), bound_hosts: None, expires: None })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn name(text: &str) -> SecretName {
        text.parse().unwrap()
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn token(directory: &Directory, secret: &str) -> (u64, Vec<String>) {
        let (version, values) = directory.read(&name(secret)).unwrap().unwrap();
        (
            version,
            values.iter().map(|(k, v)| format!("{k}={}", String::from_utf8_lossy(v.expose()))).collect(),
        )
    }

    #[test]
    fn refuses_links_that_lead_out_and_what_is_no_plain_file() {
        let outside = tempfile::tempdir().unwrap();
        write(&outside.path().join("passwd"), "root-root-root");
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::new(dir.path());
        symlink(outside.path().join("passwd"), dir.path().join("one")).unwrap();
        symlink(outside.path(), dir.path().join("two")).unwrap();
        fs::create_dir_all(dir.path().join("three/token")).unwrap();
        fs::create_dir_all(dir.path().join("four")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("four/token"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        for (secret, outside) in [("one", true), ("two", true), ("three", false), ("four", false)] {
            let refused = directory.read(&name(secret)).unwrap_err();
            assert_eq!(matches!(refused, DirectoryError::Outside(_)), outside, "{secret}: {refused}");
            assert_eq!(matches!(refused, DirectoryError::NotPlain(_)), !outside, "{secret}: {refused}");
        }
    }

    #[test]
    fn refuses_values_that_could_not_be_stored_and_says_which_file() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::new(dir.path());
        write(&dir.path().join("short"), "1234567\n");
        write(&dir.path().join("lines"), "12345678\n\n");
        write(&dir.path().join("long"), &"x".repeat(VALUE_MAX + 1));
        for secret in ["short", "lines", "long"] {
            let refused = directory.read(&name(secret)).unwrap_err();
            assert!(matches!(&refused, DirectoryError::Value { .. }), "{refused}");
            assert!(refused.to_string().contains(secret), "{refused}");
        }
    }

    #[test]
    fn what_is_not_there_is_missing_and_not_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::new(dir.path());
        fs::create_dir(dir.path().join("empty")).unwrap();
        assert!(directory.read(&name("none")).unwrap().is_none());
        assert!(directory.read(&name("empty")).unwrap().is_none());
    }

    #[test]
    fn reads_files_as_compose_mounts_them_and_counts_changes() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::new(dir.path());
        write(&dir.path().join("github-pat"), "value-one\r\n");
        assert_eq!(token(&directory, "github-pat"), (1, vec!["token=value-one".into()]));
        assert_eq!(token(&directory, "github-pat").0, 1);
        write(&dir.path().join("new"), "value-two");
        fs::rename(dir.path().join("new"), dir.path().join("github-pat")).unwrap();
        assert_eq!(token(&directory, "github-pat"), (2, vec!["token=value-two".into()]));
    }

    #[test]
    fn reads_one_version_of_what_kubernetes_swaps() {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join("aws");
        for (version, value) in [("..2024_1", "one"), ("..2024_2", "two")] {
            write(&mount.join(version).join("access_key_id"), &format!("id-{value}"));
            write(&mount.join(version).join("secret_access_key"), &format!("key-of-{value}\n"));
        }
        symlink("..2024_1", mount.join("..data")).unwrap();
        symlink("..data/access_key_id", mount.join("access_key_id")).unwrap();
        symlink("..data/secret_access_key", mount.join("secret_access_key")).unwrap();
        let directory = Directory::new(dir.path());
        let values =
            |text: &str| vec![format!("access_key_id=id-{text}"), format!("secret_access_key=key-of-{text}")];
        assert_eq!(token(&directory, "aws"), (1, values("one")));
        symlink("..2024_2", mount.join("..fresh")).unwrap();
        fs::rename(mount.join("..fresh"), mount.join("..data")).unwrap();
        assert_eq!(token(&directory, "aws"), (2, values("two")));
    }

    /// A writer swaps both files as fast as it can; no reading may hold one of each.
    #[test]
    fn never_mixes_two_versions() {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join("aws");
        for value in ["one", "two"] {
            write(&mount.join(format!("..{value}")).join("id"), &format!("identifier-{value}"));
            write(&mount.join(format!("..{value}")).join("key"), &format!("identifier-{value}"));
        }
        symlink("..one", mount.join("..data")).unwrap();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let writer = std::thread::spawn({
            let (mount, stop) = (mount.clone(), Arc::clone(&stop));
            move || {
                for value in ["..two", "..one"].iter().cycle() {
                    symlink(value, mount.join("..fresh")).unwrap();
                    fs::rename(mount.join("..fresh"), mount.join("..data")).unwrap();
                    if stop.load(std::sync::atomic::Ordering::Relaxed) {
                        return;
                    }
                }
            }
        });
        let directory = Directory::new(dir.path());
        let mut whole = 0;
        for _ in 0..300 {
            // Being told that it keeps changing is an honest answer, a mixture is not.
            if let Ok(Some((_, values))) = directory.read(&name("aws")) {
                assert_eq!(values.len(), 2);
                assert!(values[0].1.matches(values[1].1.expose()));
                whole += 1;
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap();
        assert!(whole > 0);
    }
}
