//! Watches the files that a plan is made from. Events are gathered for a moment, so that one change of many files is one
//! reload.
//!
//! Folders are watched rather than files: Kubernetes swaps a symlink, editors rename. Where the kernel gives no watches,
//! the files are polled.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Config, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;

/// How long it has to be quiet before a reload.
const QUIET: Duration = Duration::from_millis(40);
/// How long events are gathered at most.
const GATHER: Duration = Duration::from_millis(300);
/// How often files are read where there are no events.
const POLL: Duration = Duration::from_millis(500);

/// A watch on files and folders.
pub(crate) struct Watcher {
    events: Receiver<()>,
    /// A change was seen that nobody was told of yet.
    seen: bool,
    watching: Box<dyn notify::Watcher + Send>,
    folders: Vec<(PathBuf, RecursiveMode)>,
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// A file, by the folder that holds it.
    File(PathBuf),
    /// A folder with all in it.
    Tree(PathBuf),
}

impl Watcher {
    /// Starts watching; what changes from here on is seen.
    pub(crate) fn new(paths: &[Watched]) -> std::io::Result<Self> {
        let (sender, events) = mpsc::channel(1);
        let mut folders = Vec::new();
        for path in paths {
            note(&mut folders, path);
        }
        let watching = native(&folders, sender.clone()).or_else(|error| {
            tracing::warn!(%error, "no file events, polling instead");
            polling(&folders, sender)
        });
        Ok(Self { events, seen: false, watching: watching.map_err(std::io::Error::other)?, folders })
    }

    /// Watches these files as well. Where one was not watched before, it may have changed since it was read, so that a
    /// change is told of at once.
    pub(crate) fn also(&mut self, files: &[PathBuf]) {
        for file in files {
            let Some((folder, mode)) = note(&mut self.folders, &Watched::File(file.clone())) else {
                continue;
            };
            match self.watching.watch(&folder, mode) {
                Ok(()) => self.seen = true,
                Err(error) => {
                    tracing::warn!(%error, folder = %folder.display(), "changes here are not seen");
                    // Tried again with the next reload.
                    self.folders.retain(|(known, _)| *known != folder);
                }
            }
        }
    }

    /// Waits for a change, then until it is quiet. Dropped in between, it tells of the change the next time.
    pub(crate) async fn changed(&mut self) {
        if !self.seen && self.events.recv().await.is_none() {
            return std::future::pending().await;
        }
        self.seen = true;
        let gather = async { while let Ok(Some(())) = timeout(QUIET, self.events.recv()).await {} };
        if timeout(GATHER, gather).await.is_err() {
            tracing::trace!("files still change");
        }
        self.seen = false;
    }
}

fn native(
    folders: &[(PathBuf, RecursiveMode)],
    sender: Sender<()>,
) -> notify::Result<Box<dyn notify::Watcher + Send>> {
    let mut watcher = RecommendedWatcher::new(notifier(sender), Config::default())?;
    add(&mut watcher, folders)?;
    Ok(Box::new(watcher))
}

fn polling(
    folders: &[(PathBuf, RecursiveMode)],
    sender: Sender<()>,
) -> notify::Result<Box<dyn notify::Watcher + Send>> {
    let config = Config::default().with_poll_interval(POLL).with_compare_contents(true);
    let mut watcher = PollWatcher::new(notifier(sender), config)?;
    add(&mut watcher, folders)?;
    Ok(Box::new(watcher))
}

fn notifier(sender: Sender<()>) -> impl Fn(notify::Result<notify::Event>) + Send + 'static {
    move |event| {
        let only_read = matches!(&event, Ok(event) if event.kind.is_access());
        if !only_read {
            // A full channel already says that something changed.
            sender.try_send(()).ok();
        }
    }
}

fn add(watcher: &mut dyn notify::Watcher, folders: &[(PathBuf, RecursiveMode)]) -> notify::Result<()> {
    folders.iter().try_for_each(|(folder, mode)| watcher.watch(folder, *mode))
}

/// Adds the folder that has to be watched for a path; `None` if it is already. A second watch on a folder would replace
/// the first, and with it what is watched below.
fn note(folders: &mut Vec<(PathBuf, RecursiveMode)>, path: &Watched) -> Option<(PathBuf, RecursiveMode)> {
    let (folder, mode) = match path {
        Watched::Tree(dir) => (dir.as_path(), RecursiveMode::Recursive),
        Watched::File(file) => (folder(file), RecursiveMode::NonRecursive),
    };
    let is_seen = |(known, how): &(PathBuf, RecursiveMode)| match how {
        RecursiveMode::Recursive => folder.starts_with(known),
        RecursiveMode::NonRecursive => folder == known && mode == RecursiveMode::NonRecursive,
    };
    if folders.iter().any(is_seen) {
        return None;
    }
    folders.retain(|(known, _)| known != folder);
    folders.push((folder.to_owned(), mode));
    folders.last().cloned()
}

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_watched_once_and_as_deep_as_any_path_needs() {
        let mut folders = Vec::new();
        let mut note = |path| note(&mut folders, &path).is_some();
        assert!(note(Watched::File("/etc/p/ca.pem".into())));
        assert!(!note(Watched::File("/etc/p/tokens".into())));
        assert!(note(Watched::Tree("/etc/p".into())));
        assert!(
            !note(Watched::File("/etc/p/ca.pem".into())) && !note(Watched::File("/etc/p/deep/ca.pem".into()))
        );
        assert!(note(Watched::File("ca.pem".into())));
        assert_eq!(
            folders,
            [("/etc/p".into(), RecursiveMode::Recursive), (".".into(), RecursiveMode::NonRecursive)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_told_of_after_a_wait_that_was_given_up() {
        let (sender, events) = mpsc::channel(1);
        let watching = Box::new(notify::NullWatcher);
        let mut watcher = Watcher { events, seen: false, watching, folders: Vec::new() };
        sender.try_send(()).unwrap();
        assert!(timeout(QUIET / 2, watcher.changed()).await.is_err());
        assert!(timeout(GATHER, watcher.changed()).await.is_ok());
        assert!(timeout(GATHER, watcher.changed()).await.is_err());
    }
}
