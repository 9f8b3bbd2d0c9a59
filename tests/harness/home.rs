//! A person's home and the command line: `doorward` as it is typed, with a vault of its own.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::binary::doorward;

/// A folder with a vault in it; every file that is written here is its owner's alone.
pub struct Home {
    folder: tempfile::TempDir,
    /// The flags that say where the vault is and what opens it.
    flags: Vec<String>,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn assert_ok(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Ended with this code, and stderr holds these words.
    #[track_caller]
    pub fn assert_fails(&self, code: i32, words: &str) {
        assert!(self.code == Some(code) && self.stderr.contains(words), "{code}, {words:?}: {self:?}");
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Home {
    /// A vault that is opened by `flag` and the file `key` here, which holds `text` (none: it is made with the vault).
    pub fn with(flag: &str, text: Option<&str>) -> Self {
        let mut home = Self { folder: tempfile::tempdir().unwrap(), flags: Vec::new() };
        if let Some(text) = text {
            home.write("key", text);
        }
        let at = |name: &str| home.path(name).to_str().unwrap().to_owned();
        home.flags = vec!["--vault".to_owned(), at("vault.db"), flag.to_owned(), at("key")];
        home
    }

    /// A vault whose key file is made with it.
    pub fn keyed() -> Self {
        Self::with("--master-key-file", None)
    }

    /// A vault behind this passphrase.
    pub fn locked_by(passphrase: &str) -> Self {
        Self::with("--passphrase-file", Some(passphrase))
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, relative: &str, text: &str) {
        crate::proxy::build::put(&self.path(relative), text);
    }

    pub fn chmod(&self, relative: &str, mode: u32) {
        std::fs::set_permissions(self.path(relative), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Changes rows of the vault's file, as somebody with write access to the disk could.
    pub async fn edit_vault(&self, sql: &str) {
        let options = SqliteConnectOptions::new().filename(self.path("vault.db"));
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        assert!(done.rows_affected() > 0, "{sql} changed nothing");
        connection.close().await.unwrap();
    }

    pub fn vault_flags(&self) -> Vec<&str> {
        self.flags.iter().map(String::as_str).collect()
    }

    /// `doorward` with these words and nothing of our environment.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(doorward());
        command.arg("--home").arg(self.path("home")).args(words);
        self.confined(command)
    }

    fn confined(&self, mut command: Command) -> Command {
        command.env_clear().env("HOME", self.folder.path()).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The same through a shell, which sets something up and ends with `exec "$@"`.
    pub fn command_in_shell(&self, script: &str, words: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh"]).arg(doorward()).arg("--home").arg(self.path("home")).args(words);
        self.confined(command)
    }

    /// Runs a command on this home's vault with `input` on its stdin.
    pub fn run(&self, words: &[&str], input: &str) -> Ran {
        finish(self.command(&[words, &self.vault_flags()].concat()), input)
    }

    /// Stores a secret with the key `token`.
    pub fn add(&self, name: &str, value: &str, more: &[&str]) -> Ran {
        self.run(&[&["add", "secret", name, "--from-stdin", "token"], more].concat(), value)
    }

    /// Gives it another value.
    pub fn rotate(&self, name: &str, value: &str, more: &[&str]) -> Ran {
        self.run(&[&["rotate", "secret", name, "--from-stdin", "token"], more].concat(), value)
    }
}

/// Runs it to its end with `input` on its stdin.
pub fn finish(mut command: Command, input: &str) -> Ran {
    let mut child = command.spawn().expect("doorward starts");
    // A command that refuses before it reads has closed its end.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}
