//! A PostgreSQL server of the test's own: made in a temporary directory, reached by a unix socket there, gone with the last
//! test that uses it. It does not run as root, which it refuses: a test that does gives it to `nobody`.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// The user that it runs as where the test runs as root.
const NOBODY: u32 = 65534;

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    dir: tempfile::TempDir,
    bin: PathBuf,
    databases: AtomicU32,
}

static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());

impl Postgres {
    /// The server that the tests of this process share, started for the first of them.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let fresh = Arc::new(Self::start());
            *shared = Arc::downgrade(&fresh);
            fresh
        })
    }

    /// A server of its own.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        if is_root() {
            std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let server = Self { dir, bin: programs(), databases: AtomicU32::new(0) };
        let data = server.data();
        server.run(
            "initdb",
            &["-D", &data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
        );
        server.go();
        server
    }

    /// Starts it, again after [`Postgres::kill`].
    pub fn go(&self) {
        // Every statement is logged with its parameters, so that tests can look for what must not be there.
        let options = format!(
            "-c listen_addresses='' -k {} -c fsync=off -c log_statement=all",
            self.dir.path().display()
        );
        self.run(
            "pg_ctl",
            &[
                "start",
                "-w",
                "-s",
                "-D",
                &self.data(),
                "-o",
                &options,
                "-l",
                &self.log().display().to_string(),
            ],
        );
    }

    /// Ends it as a lost machine would.
    pub fn kill(&self) {
        self.run("pg_ctl", &["stop", "-w", "-s", "-m", "immediate", "-D", &self.data()]);
    }

    /// A fresh database; returns its URL.
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run("createdb", &["-h", &self.dir.path().display().to_string(), "-U", "postgres", &name]);
        let socket = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{socket}/{name}")
    }

    /// Runs a statement in a database, as one who may do everything in it.
    pub fn sql(&self, url: &str, sql: &str) -> String {
        let name = url.rsplit('/').next().unwrap();
        let socket = self.dir.path().display().to_string();
        self.run(
            "psql",
            &["-h", &socket, "-U", "postgres", "-d", name, "-At", "-v", "ON_ERROR_STOP=1", "-c", sql],
        )
    }

    /// Everything that it keeps on disk: tables, log of writes, log of statements.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes everything to its tables.
    pub fn checkpoint(&self, url: &str) {
        self.sql(url, "CHECKPOINT");
    }

    fn data(&self) -> String {
        self.dir.path().join("data").display().to_string()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let out = self.dir.path().join("out");
        let mut command = Command::new(self.bin.join(program));
        command
            .args(arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", "/usr/bin:/bin")
            .current_dir(self.dir.path());
        // To a file: the server inherits it, and a pipe would stay open as long as the server runs.
        command
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(self.dir.path().join("err")).unwrap());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let ended = command.status().unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(
            ended.success(),
            "{program}: {}",
            std::fs::read_to_string(self.dir.path().join("err")).unwrap()
        );
        std::fs::read_to_string(out).unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A test that failed while it was killed has no more to end, and a second panic would end all other tests with it.
        if self.dir.path().join("data/postmaster.pid").exists() {
            self.kill();
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Debian keeps the server's programs of each version in a folder of its own; the newest counts.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL is not installed: apt-get install postgresql");
    let newest = versions.map(|entry| entry.unwrap().path()).max_by_key(|path| {
        path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u32>().ok())
    });
    newest.expect("no version of PostgreSQL in /usr/lib/postgresql").join("bin")
}
