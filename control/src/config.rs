//! Where doorward keeps its things: one folder with `--home`, else the XDG folders, else the system's.
//!
//! Reads only the environment that it is handed. Folders are made with mode 0700; one that others may enter is refused.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::cli::Env;
use crate::private::{self, PrivateError};

/// Why there is no place to keep things.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Nothing says where.
    #[error("neither --home, XDG folders nor HOME say where to keep things; give --home DIR")]
    Nowhere,
    /// The folder cannot hold secrets.
    #[error(transparent)]
    Folder(#[from] PrivateError),
}

/// The folders of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    config: PathBuf,
    data: PathBuf,
    state: PathBuf,
}

impl Home {
    /// Finds the folders and makes none: `--home DIR`, else `XDG_CONFIG_HOME`, `XDG_DATA_HOME`, `XDG_STATE_HOME`
    /// (relative ones do not count, as the XDG specification says), else below `HOME`, else, for root, the system's.
    pub fn find(env: &Env) -> Result<Self, HomeError> {
        if let Some(home) = &env.globals.home {
            return Ok(Self::under(home));
        }
        let xdg = |variable: &str, below_home: &str| {
            let given = env.var(variable).map(PathBuf::from).filter(|path| path.is_absolute());
            let home = || env.var("HOME").map(|home| Path::new(home).join(below_home));
            given.or_else(home).map(|base| base.join("doorward"))
        };
        let found = (
            xdg("XDG_CONFIG_HOME", ".config"),
            xdg("XDG_DATA_HOME", ".local/share"),
            xdg("XDG_STATE_HOME", ".local/state"),
        );
        match found {
            (Some(config), Some(data), Some(state)) => Ok(Self { config, data, state }),
            (None, None, None) if rustix::process::geteuid().is_root() => Ok(Self::system()),
            _ => Err(HomeError::Nowhere),
        }
    }

    /// Everything under one folder.
    pub fn under(home: &Path) -> Self {
        Self { config: home.join("config"), data: home.join("data"), state: home.join("state") }
    }

    fn system() -> Self {
        Self {
            config: "/etc/doorward".into(),
            data: "/var/lib/doorward".into(),
            state: "/var/lib/doorward/state".into(),
        }
    }

    /// Provider files, the master key, pins.
    pub fn config_dir(&self) -> &Path {
        &self.config
    }

    /// The local vault.
    pub fn vault_db(&self) -> PathBuf {
        self.data.join("vault.db")
    }

    /// The server's database, where no other is named.
    pub fn server_db(&self) -> PathBuf {
        self.data.join("server.db")
    }

    /// The CA of a server that signs its own certificate.
    pub fn server_ca_dir(&self) -> PathBuf {
        self.data.join("server-ca")
    }

    /// The first token of a server, until somebody takes it away.
    pub fn root_token(&self) -> PathBuf {
        self.config.join("root.token")
    }

    /// The servers that this user has logged in to.
    pub fn logins(&self) -> PathBuf {
        self.config.join("logins.json")
    }

    /// The master key, kept away from the data so that a copy of the data alone opens nothing.
    pub fn master_key(&self) -> PathBuf {
        self.config.join("master.key")
    }

    /// The kept CA.
    pub fn ca_dir(&self) -> PathBuf {
        self.data.join("ca")
    }

    /// Audit files.
    pub fn audit_dir(&self) -> PathBuf {
        self.state.join("audit")
    }

    /// The tokens that model providers used today; in a folder of its own.
    pub fn budgets_file(&self) -> PathBuf {
        self.state.join("budgets").join("tokens.json")
    }

    /// What proxies without a server ask people; in a folder of its own.
    pub fn asks_db(&self) -> PathBuf {
        self.state.join("asks").join("asks.db")
    }

    /// The user's own provider files.
    pub fn providers_dir(&self) -> PathBuf {
        self.config.join("providers")
    }

    /// Which provider files of project folders were allowed.
    pub fn pins(&self) -> PathBuf {
        self.config.join("pins.json")
    }

    /// Makes the folders of configuration, data and state where they are missing.
    pub fn prepare(&self) -> Result<(), HomeError> {
        for folder in [&self.config, &self.data, &self.state] {
            private::folder(folder)?;
        }
        Ok(())
    }
}

/// The largest file that can be pinned, and the largest list of pins.
const PINNED_MAX: usize = 1024 * 1024;

/// Why pins could not be read, made or written.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The list itself.
    #[error(transparent)]
    List(#[from] PrivateError),
    /// The list is damaged.
    #[error("{} is damaged; remove it and allow the files again", .0.display())]
    Damaged(PathBuf),
    /// The file to pin.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The path cannot be written down.
    #[error("{} is not UTF-8 or too large", .0.display())]
    Unfit(PathBuf),
}

/// Which provider files of project folders were allowed, and as what: canonical path to SHA-256 of the bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pins(BTreeMap<String, String>);

impl Pins {
    /// Reads the list; none is an empty one. A list that others can write is refused.
    pub fn load(home: &Home) -> Result<Self, PinError> {
        let path = home.pins();
        match private::read(&path, PINNED_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Self).map_err(|_| PinError::Damaged(path)),
            Err(error) if error.is_absent() => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the list, whole or not at all.
    pub fn save(&self, home: &Home) -> Result<(), PinError> {
        let path = home.pins();
        let bytes = serde_json::to_vec_pretty(&self.0).map_err(|_| PinError::Damaged(path.clone()))?;
        Ok(private::replace(&path, &bytes)?)
    }

    /// Allows a file as it is now; returns its hash.
    pub fn pin(&mut self, file: &Path) -> Result<String, PinError> {
        let failed = |source| PinError::File { path: file.to_owned(), source };
        let path = file.canonicalize().map_err(failed)?;
        let mut bytes = Vec::new();
        let opened = std::fs::File::open(&path).map_err(failed)?;
        opened.take(PINNED_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        let text = path.to_str().filter(|_| bytes.len() <= PINNED_MAX);
        let text = text.ok_or_else(|| PinError::Unfit(file.to_owned()))?;
        let hash = hex::encode(Sha256::digest(&bytes));
        self.0.insert(text.to_owned(), hash.clone());
        Ok(hash)
    }

    /// Takes a permission back; says whether there was one. Also for files that are gone.
    pub fn remove(&mut self, file: &Path) -> bool {
        let path = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        path.to_str().is_some_and(|path| self.0.remove(path).is_some())
    }

    /// Whether these bytes of this file were allowed. The bytes are handed in so that what was checked is what is used.
    pub fn allows(&self, file: &Path, bytes: &[u8]) -> bool {
        let path = file.canonicalize().ok();
        let pinned = path.as_deref().and_then(Path::to_str).and_then(|path| self.0.get(path));
        pinned.is_some_and(|hash| *hash == hex::encode(Sha256::digest(bytes)))
    }

    /// Whether some bytes of this file were allowed.
    pub fn knows(&self, file: &Path) -> bool {
        file.canonicalize()
            .ok()
            .is_some_and(|path| path.to_str().is_some_and(|path| self.0.contains_key(path)))
    }

    /// All of them, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, hash)| (path.as_str(), hash.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::{Globals, Output, no_browser, no_tls};

    fn env(home: Option<&str>, vars: &[(&str, &str)]) -> Env {
        let globals = Globals { home: home.map(PathBuf::from), ..Globals::default() };
        let vars: BTreeMap<_, _> = vars.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Env { vars, globals, schemes: &[], output: Output, tls: no_tls, browse: no_browser }
    }

    #[test]
    fn refuses_a_home_that_others_may_enter() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        home.prepare().unwrap();
        std::fs::set_permissions(dir.path().join("data"), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(home.prepare(), Err(HomeError::Folder(PrivateError::Open { .. }))));
    }

    #[test]
    fn relative_xdg_folders_do_not_count() {
        let home =
            Home::find(&env(None, &[("HOME", "/h"), ("XDG_DATA_HOME", "rel"), ("XDG_STATE_HOME", "/s")]))
                .unwrap();
        assert_eq!(home.vault_db(), Path::new("/h/.local/share/doorward/vault.db"));
        assert_eq!(home.master_key(), Path::new("/h/.config/doorward/master.key"));
        assert_eq!(home.audit_dir(), Path::new("/s/doorward/audit"));
    }

    #[test]
    fn one_folder_holds_everything_with_home() {
        let home = Home::find(&env(Some("/x"), &[("HOME", "/h"), ("XDG_DATA_HOME", "/d")])).unwrap();
        for path in [
            home.vault_db(),
            home.master_key(),
            home.ca_dir(),
            home.audit_dir(),
            home.providers_dir(),
            home.pins(),
        ] {
            assert!(path.starts_with("/x"), "{path:?}");
        }
    }

    #[test]
    fn refuses_a_provider_file_that_was_not_allowed_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::under(dir.path());
        home.prepare().unwrap();
        let file = dir.path().join("p.yaml");
        std::fs::write(&file, "a").unwrap();
        let mut pins = Pins::load(&home).unwrap();
        assert!(!pins.allows(&file, b"a"));
        pins.pin(&file).unwrap();
        pins.save(&home).unwrap();
        let mut pins = Pins::load(&home).unwrap();
        assert!(pins.allows(&file, b"a"));
        assert!(!pins.allows(&file, b"b"));
        assert!(!pins.allows(&dir.path().join("q.yaml"), b"a"));
        assert!(pins.remove(&file) && !pins.remove(&file));
        assert!(!pins.allows(&file, b"a"));
        std::fs::set_permissions(home.pins(), std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(Pins::load(&home), Err(PinError::List(_))));
    }
}
