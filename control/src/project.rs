//! Provider files of project folders: used only as `doorward allow` has pinned them.
//!
//! A provider file decides where values go, and whoever can write the project (a colleague's commit, the agent itself) can
//! write such a file. Which folders are projects is settled once, at start: an agent could take the mark of one away.

use std::path::{Path, PathBuf};

use crate::config::{Home, Pins};

/// What makes a folder a project: version control keeps something there.
const MARKS: [&str; 4] = [".git", ".hg", ".jj", ".svn"];

/// The project folder that a file or folder lies in: the nearest one above it.
pub fn folder_of(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    let is_project = |folder: &&Path| MARKS.iter().any(|mark| folder.join(mark).symlink_metadata().is_ok());
    path.ancestors().find(is_project).map(Path::to_owned)
}

/// The project folders of one start, and the home that says what was allowed in them.
#[derive(Clone, Debug)]
pub struct ProjectFolders {
    folders: Vec<PathBuf>,
    home: Home,
}

impl ProjectFolders {
    /// Files below these folders have to be allowed; the home's own provider files are the user's own wherever it lies.
    pub fn new(folders: Vec<PathBuf>, home: Home) -> Self {
        Self { folders, home }
    }

    /// Where the permissions are kept that count here, for whoever watches them.
    pub fn pins(&self) -> Option<PathBuf> {
        (!self.folders.is_empty()).then(|| self.home.pins())
    }

    /// Says for one reading of the files which may be used.
    pub fn gate(&self) -> impl Fn(&Path, &[u8]) -> Result<(), String> + use<> {
        let pins = Pins::load(&self.home).map_err(|error| error.to_string());
        let own = self.home.providers_dir().canonicalize().ok();
        let folders = self.folders.clone();
        move |file, bytes| {
            let path = file.canonicalize().map_err(|error| format!("cannot be read: {}", error.kind()))?;
            if own.as_ref().is_some_and(|own| path.starts_with(own)) {
                return Ok(());
            }
            let Some(folder) = folders.iter().find(|folder| path.starts_with(folder)) else { return Ok(()) };
            let pins = pins.as_ref().map_err(String::clone)?;
            if pins.allows(&path, bytes) {
                return Ok(());
            }
            let why = if pins.knows(&path) {
                "has changed since it was allowed".to_owned()
            } else {
                format!("lies in the project folder {} and was not allowed", folder.display())
            };
            Err(format!("{why}; read it, then run: doorward allow {}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("work/.git")).unwrap();
        std::fs::create_dir_all(dir.path().join("work/deep/er")).unwrap();
        let home = Home::under(&dir.path().join("work/home"));
        home.prepare().unwrap();
        (dir, home)
    }

    #[test]
    fn refuses_files_of_a_project_that_were_not_allowed_as_they_are() {
        let (dir, home) = project();
        let folder = folder_of(&dir.path().join("work")).unwrap();
        let folders = ProjectFolders::new(vec![folder], home.clone());
        let (file, outside) = (dir.path().join("work/deep/p.yaml"), dir.path().join("p.yaml"));
        for path in [&file, &outside] {
            std::fs::write(path, "a").unwrap();
        }
        let link = dir.path().join("link.yaml");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            let refused = folders.gate()(path, b"a").unwrap_err();
            assert!(refused.contains("was not allowed") && refused.contains("doorward allow /"), "{refused}");
        }
        assert_eq!(folders.gate()(&outside, b"a"), Ok(()));
        let mut pins = Pins::default();
        pins.pin(&file).unwrap();
        pins.save(&home).unwrap();
        assert_eq!(folders.gate()(&file, b"a"), Ok(()));
        assert_eq!(folders.gate()(&link, b"a"), Ok(()));
        assert!(folders.gate()(&file, b"b").unwrap_err().starts_with("has changed"));
        // A list that cannot be trusted allows nothing.
        std::fs::write(home.pins(), "{").unwrap();
        assert!(folders.gate()(&file, b"a").is_err());
        assert_eq!(folders.gate()(&outside, b"a"), Ok(()));
    }

    #[test]
    fn taking_the_mark_away_takes_no_folder_out() {
        let (dir, home) = project();
        let file = dir.path().join("work/p.yaml");
        std::fs::write(&file, "a").unwrap();
        let folders = ProjectFolders::new(folder_of(&file).into_iter().collect(), home);
        std::fs::remove_dir(dir.path().join("work/.git")).unwrap();
        assert!(folders.gate()(&file, b"a").is_err());
    }

    #[test]
    fn the_homes_own_provider_files_are_no_projects() {
        let (dir, home) = project();
        std::fs::create_dir(home.providers_dir()).unwrap();
        let file = home.providers_dir().join("p.yaml");
        std::fs::write(&file, "a").unwrap();
        let folders =
            ProjectFolders::new(folder_of(dir.path().join("work").as_path()).into_iter().collect(), home);
        assert_eq!(folders.gate()(&file, b"a"), Ok(()));
    }

    #[test]
    fn finds_the_nearest_project_folder() {
        let (dir, _home) = project();
        let root = dir.path().canonicalize().unwrap();
        assert_eq!(folder_of(&root.join("work/deep/er")), Some(root.join("work")));
        // A worktree and a submodule have a file there.
        std::fs::write(root.join("work/deep/.git"), "gitdir: x").unwrap();
        assert_eq!(folder_of(&root.join("work/deep/er")), Some(root.join("work/deep")));
        assert_eq!(folder_of(&root.join("none")), None);
    }
}
