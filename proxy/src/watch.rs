//! Watches the files that a plan is made from. Events are gathered for a moment, so that one change of many files is one
//! reload.
//!
//! Folders are watched rather than files: Kubernetes swaps a symlink, editors rename. What else lies beside a watched file,
//! an audit file or a log that grows with each request, is not listened to. Where the kernel gives no watches, the files
//! are polled.

use std::collections::HashMap;
use std::ffi::OsString;
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
    /// For watches that are started later.
    sender: Sender<()>,
    /// What is watched whatever the files say.
    own: Vec<Watched>,
    /// What the files name.
    named: Vec<PathBuf>,
    watching: Box<dyn notify::Watcher + Send>,
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
    pub(crate) fn new(own: Vec<Watched>) -> std::io::Result<Self> {
        let (sender, events) = mpsc::channel(1);
        let watching = start(&own, sender.clone()).map_err(std::io::Error::other)?;
        Ok(Self { events, seen: false, sender, own, named: Vec::new(), watching })
    }

    /// Watches the files that the provider files name as well. They may have changed since they were read, so that where
    /// they are others than before a change is told of at once.
    pub(crate) fn follow(&mut self, named: &[PathBuf]) {
        if self.named == named {
            return;
        }
        let files = named.iter().map(|file| Watched::File(file.clone()));
        let paths: Vec<_> = self.own.iter().cloned().chain(files).collect();
        match start(&paths, self.sender.clone()) {
            Ok(watching) => (self.watching, self.named, self.seen) = (watching, named.to_vec(), true),
            Err(error) => tracing::error!(%error, "files that the provider files name are not watched"),
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

fn start(paths: &[Watched], sender: Sender<()>) -> notify::Result<Box<dyn notify::Watcher + Send>> {
    native(paths, sender.clone()).or_else(|error| {
        tracing::warn!(%error, "no file events, polling instead");
        polling(paths, sender)
    })
}

fn native(paths: &[Watched], sender: Sender<()>) -> notify::Result<Box<dyn notify::Watcher + Send>> {
    let wanted = Wanted::of(paths);
    let mut watcher = RecommendedWatcher::new(notifier(sender, wanted.clone()), Config::default())?;
    add(&mut watcher, &wanted)?;
    Ok(Box::new(watcher))
}

fn polling(paths: &[Watched], sender: Sender<()>) -> notify::Result<Box<dyn notify::Watcher + Send>> {
    let wanted = Wanted::of(paths);
    let config = Config::default().with_poll_interval(POLL).with_compare_contents(true);
    let mut watcher = PollWatcher::new(notifier(sender, wanted.clone()), config)?;
    add(&mut watcher, &wanted)?;
    Ok(Box::new(watcher))
}

fn notifier(sender: Sender<()>, wanted: Wanted) -> impl Fn(notify::Result<notify::Event>) + Send + 'static {
    move |event| {
        let of_no_interest = |event: &notify::Event| {
            let elsewhere = !event.paths.is_empty() && !event.paths.iter().any(|path| wanted.has(path));
            event.kind.is_access() || elsewhere
        };
        if !event.is_ok_and(|event| of_no_interest(&event)) {
            // A full channel already says that something changed.
            sender.try_send(()).ok();
        }
    }
}

fn add(watcher: &mut dyn notify::Watcher, wanted: &Wanted) -> notify::Result<()> {
    for tree in &wanted.trees {
        watcher.watch(tree, RecursiveMode::Recursive)?;
    }
    for folder in wanted.files.keys() {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok(())
}

/// What is watched, by real paths: the events name them so.
#[derive(Clone, Debug)]
struct Wanted {
    trees: Vec<PathBuf>,
    /// Folders outside of the trees, and the names in them that matter.
    files: HashMap<PathBuf, Vec<OsString>>,
}

impl Wanted {
    fn of(paths: &[Watched]) -> Self {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let (mut trees, mut files) = (Vec::new(), HashMap::<_, Vec<_>>::new());
        for path in paths {
            match path {
                Watched::Tree(dir) => trees.push(real(dir)),
                Watched::File(file) => {
                    files.entry(real(folder(file))).or_default().extend(file.file_name().map(OsString::from));
                }
            }
        }
        files.retain(|folder, _| !trees.iter().any(|tree| folder.starts_with(tree)));
        Self { trees, files }
    }

    /// Whether a change of this path may be one of what is watched.
    fn has(&self, path: &Path) -> bool {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return true };
        let Some(names) = self.files.get(folder) else { return true };
        let name = name.as_encoded_bytes();
        // `..data` is the link that Kubernetes swaps, and SQLite writes to files that are named after the vault's.
        name.starts_with(b"..") || names.iter().any(|known| name.starts_with(known.as_encoded_bytes()))
    }
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
    fn only_the_watched_file_counts_in_its_folder_and_everything_in_a_tree() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().canonicalize().unwrap().join(name);
        std::fs::create_dir(at("providers")).unwrap();
        let file = |name: &str| Watched::File(at(name));
        let tree = Watched::Tree(at("providers"));
        let wanted = Wanted::of(&[file("tokens"), file("vault.db"), file("providers/ca.pem"), tree]);
        for silent in ["audit.jsonl", "stderr", ".ready.json.new", "key", "providers.bak"] {
            assert!(!wanted.has(&at(silent)), "{silent}");
        }
        for told in ["tokens", "vault.db", "vault.db-wal", "..data", "providers/new.yaml", "providers/deep/x"]
        {
            assert!(wanted.has(&at(told)), "{told}");
        }
        assert_eq!(wanted.files.len(), 1, "a folder in a tree is not watched twice");
    }

    #[tokio::test]
    async fn a_neighbour_that_grows_is_no_change_and_the_file_itself_is() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        std::fs::write(at("tokens"), "a").unwrap();
        let mut watcher = Watcher::new(vec![Watched::File(at("tokens"))]).unwrap();
        let mut grown = 0;
        let told = timeout(Duration::from_secs(20), async {
            // The neighbour grows until the file has changed as well; events come in order.
            tokio::select! {
                biased;
                () = watcher.changed() => {}
                () = async {
                    let mut pace = tokio::time::interval(Duration::from_millis(5));
                    while grown < 100 {
                        pace.tick().await;
                        std::fs::write(at("audit.jsonl"), "line\n".repeat(grown)).unwrap();
                        grown += 1;
                    }
                    std::fs::write(at("tokens"), "b").unwrap();
                    std::future::pending().await
                } => {}
            }
        });
        told.await.unwrap();
        assert_eq!(grown, 100, "the neighbour was taken for a change");
    }

    #[tokio::test]
    async fn what_the_files_name_is_watched_as_well_and_looked_at_once_more() {
        let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (tokens, roots) = (home.path().join("tokens"), elsewhere.path().join("roots.pem"));
        std::fs::write(&tokens, "a").unwrap();
        std::fs::write(&roots, "a").unwrap();
        let mut watcher = Watcher::new(vec![Watched::File(tokens.clone())]).unwrap();
        watcher.follow(std::slice::from_ref(&roots));
        watcher.changed().await;
        watcher.follow(std::slice::from_ref(&roots));
        for file in [roots, tokens] {
            std::fs::write(&file, "b").unwrap();
            timeout(Duration::from_secs(20), watcher.changed()).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_told_of_after_a_wait_that_was_given_up() {
        let (sender, events) = mpsc::channel(1);
        let watching = Box::new(notify::NullWatcher);
        let (own, named) = (Vec::new(), Vec::new());
        let mut watcher = Watcher { events, seen: false, sender: sender.clone(), own, named, watching };
        sender.try_send(()).unwrap();
        assert!(timeout(QUIET / 2, watcher.changed()).await.is_err());
        assert!(timeout(GATHER, watcher.changed()).await.is_ok());
        assert!(timeout(GATHER, watcher.changed()).await.is_err());
    }
}
