//! Reads the file in which something else keeps a subject token fresh.
//!
//! Refuses what the proxy itself lives on (its folders, keys and secrets), what the kernel makes up, and what is no regular
//! file: its text is sent to a token service. Judged is the file that is opened, with all links followed.

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use control::keyfile::external::is_folder_of_tokens;
use control::secret::Secret;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::limits::SUBJECT_FILE;
use crate::schemes::Failed;
use crate::schemes::shared::issuer::unreadable;

/// The folders and files that the proxy itself lives on, with all links followed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Private(Vec<PathBuf>);

impl Private {
    /// Those that are there.
    pub(crate) fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(paths.into_iter().filter_map(|path| path.canonicalize().ok()).collect())
    }

    fn holds(&self, real: &Path) -> bool {
        self.0.iter().any(|own| real.starts_with(own))
    }
}

/// Reads a file whole, into wiped bytes that do not grow.
pub(super) fn read(path: &Path, private: &Private) -> Result<Secret, Failed> {
    let real = path.canonicalize().map_err(why)?;
    if private.holds(&real) || !real.parent().is_some_and(is_folder_of_tokens) {
        tracing::warn!(file = %path.display(), "subject token not read: it lies among the proxy's own files, or the system's");
        return Err(unreadable("it is no file of tokens"));
    }
    // A pipe would have the opening wait for who writes it.
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&real).map_err(why)?;
    if !file.metadata().map_err(why)?.is_file() {
        return Err(unreadable("it is no regular file"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(SUBJECT_FILE + 1));
    let limit = u64::try_from(SUBJECT_FILE).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(why)?;
    if bytes.len() > SUBJECT_FILE {
        return Err(unreadable("it is longer than any token"));
    }
    Ok(Secret::new(bytes.to_vec()))
}

fn why(error: Error) -> Failed {
    let kind = error.kind();
    if kind == ErrorKind::PermissionDenied {
        tracing::warn!(
            "subject token not read: the proxy may not; its folder is open to the proxy from the start after \
                 `config.subjectTokenFile` named it"
        );
        return unreadable("the proxy may not");
    }
    unreadable(if kind == ErrorKind::NotFound { "it is not there" } else { "it is no file that can be read" })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn told(path: &Path, private: &Private) -> String {
        read(path, private).unwrap_err().refusal.detail.into_owned()
    }

    #[test]
    fn refuses_what_is_no_file_of_tokens_and_waits_for_no_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let none = Private::default();
        assert!(told(&at("absent"), &none).contains("not there"));
        assert!(told(folder.path(), &none).contains("no "));
        std::fs::create_dir(at("folder")).unwrap();
        assert!(told(&at("folder"), &none).contains("no regular file"));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(told(&at("pipe"), &none).contains("no regular file"));
        std::fs::write(at("long"), vec![b'x'; SUBJECT_FILE + 1]).unwrap();
        assert!(told(&at("long"), &none).contains("longer"));
        symlink("/proc/self/environ", at("environ")).unwrap();
        assert!(told(&at("environ"), &none).contains("no file of tokens"));
        symlink("/etc/passwd", at("system")).unwrap();
        assert!(told(&at("system"), &none).contains("no file of tokens"));
    }

    #[test]
    fn refuses_the_proxys_own_files_also_by_a_link() {
        let (own, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(own.path().join("master.key"), "c4nary").unwrap();
        let link = folder.path().join("subject");
        symlink(own.path().join("master.key"), &link).unwrap();
        let private = Private::of([own.path().to_owned(), "/nowhere".into()]);
        for path in [&link, &own.path().join("master.key")] {
            let told = told(path, &private);
            assert!(told.contains("no file of tokens") && !told.contains("c4nary"), "{told}");
        }
        // As Kubernetes keeps its tokens.
        std::fs::create_dir(folder.path().join("..1")).unwrap();
        std::fs::write(folder.path().join("..1/token"), "c4nary-token").unwrap();
        symlink("..1", folder.path().join("..data")).unwrap();
        symlink("..data/token", folder.path().join("token")).unwrap();
        assert!(read(&folder.path().join("token"), &private).unwrap().matches(b"c4nary-token"));
    }
}
