//! Files and folders that nobody but their owner may touch: keys, the vault, pins.
//!
//! Refuses what others can read or write, what belongs to somebody else, links where a secret should be, and anything
//! that is not a plain file. Checks are made on the open descriptor, so that what was checked is what is read.
//!
//! Two exceptions. What Kubernetes mounts: on a file system that is mounted read-only here, a link within its folder is
//! followed, and a file of root's may be readable by a group of ours; nobody around us can swap it there. And what systemd
//! lends (`LoadCredential`): a file of root's, with an access list that lets us read it and nobody else. The bits of its
//! group are then the most that the list gives to anybody, and no group's.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

/// Permission bits of group and others.
const OTHERS: u32 = 0o077;
/// The bit by which a group reads, or the bound of an access list lets it be read.
const MASK: u32 = 0o040;
/// An access list of a few entries; longer ones are for others, too.
const LIST_MAX: usize = 64;
/// Kinds of entries of an access list, and the right to read.
const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const BOUND: u16 = 0x10;
const READ: u16 = 0x04;

/// Why a file or folder cannot hold a secret.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// Group or others have rights on it.
    #[error("{} can be read or written by others (mode {mode:04o}); run: chmod {wanted} {}", .path.display(), .path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What to give chmod.
        wanted: &'static str,
    },
    /// It belongs neither to us nor to root.
    #[error("{} belongs to another user (uid {owner})", .path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// Whose.
        owner: u32,
    },
    /// It is a link, a device, a pipe, a folder.
    #[error("{} is not a plain file", .0.display())]
    NotPlain(PathBuf),
    /// It is not a folder.
    #[error("{} is not a folder", .0.display())]
    NotFolder(PathBuf),
    /// It is larger than what belongs there.
    #[error("{} is too large", .0.display())]
    TooLarge(PathBuf),
    /// The system said no.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl PrivateError {
    fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { path: path.to_owned(), source: source.into() }
    }

    /// Whether there is nothing at that path.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Makes a folder (and those above it) with mode 0700 if it is not there, and refuses one that others may enter.
pub(crate) fn folder(path: &Path) -> Result<(), PrivateError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| PrivateError::io(path, e))?;
    let meta = std::fs::metadata(path).map_err(|e| PrivateError::io(path, e))?;
    if !meta.is_dir() {
        return Err(PrivateError::NotFolder(path.to_owned()));
    }
    owned_and_closed(path, meta.uid(), meta.mode(), "700")
}

/// Refuses a folder in which somebody else could swap our files: foreign, or writable by others.
pub(crate) fn unshared_folder(path: &Path) -> Result<(), PrivateError> {
    let meta = std::fs::metadata(path).map_err(|e| PrivateError::io(path, e))?;
    if !meta.is_dir() {
        return Err(PrivateError::NotFolder(path.to_owned()));
    }
    // Only writing counts here: the files inside carry their own permissions.
    owned_and_closed(path, meta.uid(), meta.mode() & !0o055, "go-w")
}

/// Refuses a file that is there and is not ours alone. Says whether there is one.
pub(crate) fn is_private_file(path: &Path) -> Result<bool, PrivateError> {
    match open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.is_absent() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads a file that must be ours alone, at most `max` bytes.
pub(crate) fn read(path: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>, PrivateError> {
    let file = open(path)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(max + 1));
    file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(|e| PrivateError::io(path, e))?;
    if bytes.len() > max {
        return Err(PrivateError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

/// Makes a file with mode 0600 that was not there before, durable before this returns.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<(), PrivateError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened =
        rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(|e| PrivateError::io(path, e))?;
    let mut file = File::from(opened);
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| PrivateError::io(path, e))?;
    sync_folder(path)
}

/// Makes the entry of a path durable. A bare file name is one in the working folder.
pub(crate) fn sync_folder(path: &Path) -> Result<(), PrivateError> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| PrivateError::io(folder, e))
}

/// Opens a file that must be ours alone to lock it; makes it (mode 0600, empty) if it is not there.
pub(crate) fn to_lock(path: &Path) -> Result<File, PrivateError> {
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened =
        rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(|e| PrivateError::io(path, e))?;
    drop(opened);
    open(path)
}

/// Puts a file with mode 0600 in the place of what was there, whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), PrivateError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    create(&fresh, bytes)?;
    std::fs::rename(&fresh, path).map_err(|e| PrivateError::io(path, e))
}

fn open(path: &Path) -> Result<File, PrivateError> {
    // NONBLOCK: a pipe in this place must not make us wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(opened) => opened,
        Err(rustix::io::Errno::LOOP) => {
            let file = linked(path)?;
            rustix::fs::open(&file, flags, Mode::empty()).map_err(|e| PrivateError::io(path, e))?
        }
        Err(error) => return Err(PrivateError::io(path, error)),
    };
    let file = File::from(opened);
    let meta = file.metadata().map_err(|e| PrivateError::io(path, e))?;
    if !meta.is_file() {
        return Err(PrivateError::NotPlain(path.to_owned()));
    }
    let is_given = is_given_to(&our_groups(), meta.uid(), meta.gid(), meta.mode());
    if is_given && rustix::fs::fstatvfs(&file).is_ok_and(|mount| is_read_only(&mount)) {
        return Ok(file);
    }
    let mode = if is_lent(&file) { meta.mode() & !MASK } else { meta.mode() };
    owned_and_closed(path, meta.uid(), mode, "600")?;
    Ok(file)
}

/// Whether the bits of its group are no group's, but the bound of a list that names nobody but us.
fn is_lent(file: &File) -> bool {
    let mut list = [0; LIST_MAX];
    let read = rustix::fs::fgetxattr(file, "system.posix_acl_access", &mut list);
    let list = read.ok().and_then(|length| list.get(..length));
    list.is_some_and(|list| is_list_for(list, rustix::process::geteuid().as_raw()))
}

/// Whether an access list, as the kernel writes it (linux/posix_acl_xattr.h), lets this user read and gives nothing to
/// other users and to groups. The owner's rights and the bound (mask) are part of the file's mode.
fn is_list_for(list: &[u8], user: u32) -> bool {
    let Some((version, entries)) = list.split_first_chunk::<4>() else { return false };
    let (entries, rest) = entries.as_chunks::<8>();
    let is_harmless = |entry: &[u8; 8]| {
        let [t0, t1, p0, p1, i0, i1, i2, i3] = *entry;
        let (tag, rights, id) = (
            u16::from_le_bytes([t0, t1]),
            u16::from_le_bytes([p0, p1]),
            u32::from_le_bytes([i0, i1, i2, i3]),
        );
        match tag {
            OWNER | BOUND => true,
            USER => id == user && rights == READ,
            _ => rights == 0,
        }
    };
    u32::from_le_bytes(*version) == 2
        && rest.is_empty()
        && !entries.is_empty()
        && entries.iter().all(is_harmless)
}

/// What a link leads to, if it is one that Kubernetes made: within its folder, which is mounted read-only.
fn linked(path: &Path) -> Result<PathBuf, PrivateError> {
    let not_plain = || PrivateError::NotPlain(path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mount = rustix::fs::statvfs(folder).map_err(|e| PrivateError::io(folder, e))?;
    if !is_read_only(&mount) {
        return Err(not_plain());
    }
    let folder = folder.canonicalize().map_err(|e| PrivateError::io(folder, e))?;
    let file = path.canonicalize().map_err(|e| PrivateError::io(path, e))?;
    if file.starts_with(&folder) { Ok(file) } else { Err(not_plain()) }
}

fn is_read_only(mount: &rustix::fs::StatVfs) -> bool {
    mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY)
}

fn our_groups() -> Vec<u32> {
    let more = rustix::process::getgroups().unwrap_or_default();
    more.into_iter().chain([rustix::process::getegid()]).map(rustix::process::Gid::as_raw).collect()
}

/// Whether root lets only one of these groups read it.
fn is_given_to(groups: &[u32], owner: u32, group: u32, mode: u32) -> bool {
    owner == 0 && mode & OTHERS & !0o040 == 0 && groups.contains(&group)
}

fn owned_and_closed(path: &Path, owner: u32, mode: u32, wanted: &'static str) -> Result<(), PrivateError> {
    // Root can read everything anyway: a key that root put there for us is no weaker.
    if owner != rustix::process::geteuid().as_raw() && owner != 0 {
        return Err(PrivateError::Foreign { path: path.to_owned(), owner });
    }
    if mode & OTHERS != 0 {
        return Err(PrivateError::Open { path: path.to_owned(), mode: mode & 0o7777, wanted });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn refuses_files_that_others_can_read_or_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, b"x").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o601, 0o666] {
            chmod(&path, mode);
            assert!(matches!(read(&path, 8), Err(PrivateError::Open { .. })), "{mode:o}");
        }
        chmod(&path, 0o400);
        assert_eq!(read(&path, 8).unwrap().as_slice(), b"x");
    }

    #[test]
    fn refuses_links_folders_and_pipes_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, b"x").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        for odd in [link.as_path(), dir.path(), pipe.as_path()] {
            assert!(matches!(read(odd, 8), Err(PrivateError::NotPlain(_))), "{odd:?}");
        }
    }

    #[test]
    fn refuses_what_root_gives_to_more_than_a_group_of_ours() {
        assert!(is_given_to(&[7, 65532], 0, 65532, 0o100_440));
        for (owner, group, mode) in
            [(0, 65532, 0o444), (0, 65532, 0o460), (0, 65532, 0o450), (0, 8, 0o440), (1, 65532, 0o440)]
        {
            assert!(!is_given_to(&[7, 65532], owner, group, mode), "{owner} {group} {mode:o}");
        }
    }

    /// An access list with these entries: kind, rights, id.
    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let entry = |(tag, rights, id): &(u16, u16, u32)| {
            [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        [2_u32.to_le_bytes().to_vec(), entries.iter().flat_map(entry).collect()].concat()
    }

    #[test]
    fn reads_what_a_list_lets_us_alone_read_and_refuses_every_other_list() {
        const NOBODY: u32 = u32::MAX;
        let us = rustix::process::geteuid().as_raw();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, b"x").unwrap();
        let read_with = |more: &[(u16, u16, u32)]| {
            let all = [&[(OWNER, READ, NOBODY)], more, &[(BOUND, READ, NOBODY), (0x20, 0, NOBODY)]].concat();
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&path, "system.posix_acl_access", &list(&all), flags).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o440);
            read(&path, 8)
        };
        // As systemd lends it: root:root 0440, and the service's user in the list.
        assert_eq!(read_with(&[(USER, READ, us), (0x04, 0, NOBODY)]).unwrap().as_slice(), b"x");
        for more in [
            &[(USER, READ, us), (USER, READ, us + 1), (0x04, 0, NOBODY)][..],
            &[(USER, READ, us + 1), (0x04, 0, NOBODY)],
            &[(USER, READ, us), (0x04, READ, NOBODY)],
            &[(USER, READ, us), (0x04, 0, NOBODY), (0x08, READ, 7)],
        ] {
            assert!(matches!(read_with(more), Err(PrivateError::Open { .. })), "{more:?}");
        }
        // Not by a list that cannot be read, nor without one.
        for odd in [&b""[..], &[2, 0, 0, 0], &[3, 0, 0, 0, 1, 0, 4, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 1, 0]] {
            assert!(!is_list_for(odd, us), "{odd:?}");
        }
    }

    #[test]
    fn refuses_files_of_other_users() {
        assert!(matches!(
            owned_and_closed(Path::new("k"), rustix::process::geteuid().as_raw() + 1, 0o600, "600"),
            Err(PrivateError::Foreign { .. })
        ));
    }

    #[test]
    fn refuses_to_overwrite_and_files_that_are_too_large() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, b"12345").unwrap();
        assert!(create(&path, b"x").is_err());
        assert!(matches!(read(&path, 4), Err(PrivateError::TooLarge(_))));
        assert!(read(&dir.path().join("none"), 4).unwrap_err().is_absent());
        replace(&path, b"new").unwrap();
        assert_eq!(read(&path, 5).unwrap().as_slice(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn makes_and_replaces_files_by_their_bare_name() {
        // Whatever folder the tests run in: the name is our own, and goes again.
        let path = PathBuf::from(format!("doorward-test-{}.token", std::process::id()));
        let made = create(&path, b"one").and_then(|()| replace(&path, b"two"));
        let found = read(&path, 8);
        std::fs::remove_file(&path).unwrap();
        made.unwrap();
        assert_eq!(found.unwrap().as_slice(), b"two");
    }

    #[test]
    fn makes_folders_for_the_owner_alone_and_refuses_open_ones() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        folder(&inner).unwrap();
        assert_eq!(std::fs::metadata(dir.path().join("a")).unwrap().mode() & 0o777, 0o700);
        chmod(&inner, 0o750);
        assert!(matches!(folder(&inner), Err(PrivateError::Open { .. })));
        unshared_folder(&inner).unwrap();
        chmod(&inner, 0o720);
        assert!(matches!(unshared_folder(&inner), Err(PrivateError::Open { .. })));
    }
}
