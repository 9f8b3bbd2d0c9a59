//! Where the database is: a SQLite file of ours alone, or a PostgreSQL server; how it is reached, and its tables.
//!
//! SQLite keeps a write-ahead log, puts every commit on disk before it counts, and overwrites what is deleted. PostgreSQL is
//! reached by a unix socket, on loopback, or over TLS whose certificate and name verify; nothing in the URL or in the
//! environment weakens that.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlSafeStr};

use super::link::{Link, within};
use crate::private::{self, PrivateError};
use crate::secret::{Secret, SecretName};
use crate::vault::store::StoreError;

/// How long a writer waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(5);
/// The longest URL.
const URL_MAX: usize = 4096;

/// Why a text is no URL of a database. Says nothing of it: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Neither scheme.
    #[error("a database is `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/NAME`")]
    Scheme,
    /// Not readable as such.
    #[error("the database URL is malformed")]
    Malformed,
    /// It asks for less than verified TLS.
    #[error("the database URL may not lower `sslmode` below verify-full: the server is on another machine")]
    Unverified,
    /// The file that it should be read from.
    #[error(transparent)]
    File(#[from] PrivateError),
}

/// A checked URL of a database. Shown without its password.
pub struct DatabaseUrl(Target);

enum Target {
    Sqlite(PathBuf),
    // The URL holds a password.
    Postgres(Secret),
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Target::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Target::Postgres(_) => f.write_str("postgres"),
        }
    }
}

impl DatabaseUrl {
    /// The SQLite file at a path.
    pub fn sqlite(path: PathBuf) -> Self {
        Self(Target::Sqlite(path))
    }

    /// Reads the URL from a file of ours alone.
    pub fn read(path: &Path) -> Result<Self, UrlError> {
        let bytes = private::read(path, URL_MAX)?;
        str::from_utf8(&bytes).map_err(|_| UrlError::Malformed)?.trim_end().parse()
    }
}

impl FromStr for DatabaseUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let usable = !path.is_empty() && !path.contains('?');
            return if usable { Ok(Self::sqlite(path.into())) } else { Err(UrlError::Malformed) };
        }
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(UrlError::Scheme);
        }
        let url = Secret::new(text.as_bytes().to_vec());
        postgres_options(&url)?;
        Ok(Self(Target::Postgres(url)))
    }
}

/// The options of a PostgreSQL URL. The lowest that `sslmode` may be is settled by where the server is.
fn postgres_options(url: &Secret) -> Result<PgConnectOptions, UrlError> {
    // exposed: the driver keeps the password as text as long as it connects
    let text = str::from_utf8(url.expose()).map_err(|_| UrlError::Malformed)?;
    let options: PgConnectOptions = text.parse().map_err(|_| UrlError::Malformed)?;
    let options = options
        .application_name("doorward")
        .options([("statement_timeout", "10s"), ("lock_timeout", "5s")])
        .options([("idle_in_transaction_session_timeout", "15s"), ("client_min_messages", "warning")])
        .disable_statement_logging();
    if options.get_socket().is_some() {
        return Ok(options);
    }
    let host = options.get_host();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let near = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match options.get_ssl_mode() {
        _ if near => Ok(options),
        PgSslMode::VerifyFull => Ok(options),
        // What nobody asked for is raised; what somebody wrote is refused.
        PgSslMode::Prefer if !text.contains("sslmode=") && !text.contains("ssl-mode=") => {
            Ok(options.ssl_mode(PgSslMode::VerifyFull))
        }
        PgSslMode::Disable
        | PgSslMode::Allow
        | PgSslMode::Prefer
        | PgSslMode::Require
        | PgSslMode::VerifyCa => Err(UrlError::Unverified),
    }
}

/// How connections are made.
pub(super) enum Place {
    Sqlite { path: PathBuf, options: Box<SqliteConnectOptions> },
    Postgres(Box<PgConnectOptions>),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path, .. } => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(options) => write!(f, "postgres at {}", options.get_host()),
        }
    }
}

impl Place {
    pub(super) fn of(url: &DatabaseUrl) -> Result<Self, StoreError> {
        match &url.0 {
            Target::Sqlite(path) => Self::sqlite(path, true),
            Target::Postgres(url) => {
                let options =
                    postgres_options(url).map_err(|error| sqlx::Error::Configuration(error.into()))?;
                Ok(Self::Postgres(Box::new(options)))
            }
        }
    }

    pub(super) fn sqlite(path: &Path, create: bool) -> Result<Self, StoreError> {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        private::unshared_folder(folder)?;
        // Made by us and not by SQLite, which would use the umask; its log and index files take over these permissions.
        if !private::is_private_file(path)? {
            if !create {
                return Err(StoreError::NoVault(path.to_owned()));
            }
            match private::create(path, b"") {
                Err(PrivateError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::AlreadyExists =>
                {
                    private::is_private_file(path)?;
                }
                made => made?,
            }
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .pragma("secure_delete", "ON")
            .pragma("temp_store", "MEMORY")
            .pragma("trusted_schema", "OFF")
            .disable_statement_logging();
        Ok(Self::Sqlite { path: path.to_owned(), options: Box::new(options) })
    }

    pub(super) async fn connect(&self) -> Result<Link, StoreError> {
        match self {
            Self::Sqlite { options, .. } => Ok(Link::Sqlite(Box::new(options.connect().await?))),
            Self::Postgres(options) => Ok(Link::Postgres(Box::new(within(options.connect()).await?))),
        }
    }

    /// Makes the tables, or those that are new since the database was made.
    pub(super) async fn bring_up_to_date(&self, link: &mut Link) -> Result<(), StoreError> {
        let step = |number: i64, sql: &'static str| {
            let name = match number {
                1 => "first tables",
                201 => "approvals",
                _ => "the server's state",
            };
            Migration::new(number, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
        };
        match link {
            Link::Sqlite(link) => {
                let steps = vec![
                    step(1, include_str!("migrations/sqlite-1.sql")),
                    step(2, include_str!("migrations/sqlite-2.sql")),
                    step(101, include_str!("migrations/sqlite-101.sql")),
                    step(201, include_str!("migrations/sqlite-201.sql")),
                    step(301, include_str!("migrations/sqlite-301.sql")),
                    step(511, include_str!("migrations/sqlite-511.sql")),
                    step(521, include_str!("migrations/sqlite-521.sql")),
                ];
                // SQLite has no lock for this: who finds a step done meanwhile by another process looks again.
                let mut tries = 2 * steps.len();
                let migrator = Migrator::with_migrations(steps);
                while let Err(error) = migrator.run_direct(None, &mut **link, false).await {
                    tries -= 1;
                    if tries == 0 {
                        return Err(error.into());
                    }
                }
            }
            Link::Postgres(link) => {
                let steps = vec![
                    step(1, include_str!("migrations/postgres-1.sql")),
                    step(101, include_str!("migrations/postgres-101.sql")),
                    step(201, include_str!("migrations/postgres-201.sql")),
                    step(301, include_str!("migrations/postgres-301.sql")),
                    step(511, include_str!("migrations/postgres-511.sql")),
                    step(521, include_str!("migrations/postgres-521.sql")),
                ];
                Migrator::with_migrations(steps).run_direct(None, &mut **link, false).await?;
            }
        }
        Ok(())
    }

    /// The folder in which something changes when the database does: commits go to the log beside the file, which comes
    /// and goes.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Sqlite { path, .. } => {
                Some(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
            }
            Self::Postgres(_) => None,
        }
    }

    /// The file whose lock orders the processes of this machine that renew a secret: a database file has one beside it.
    pub(super) fn turns(&self, project: &str, name: &SecretName) -> Option<PathBuf> {
        let Self::Sqlite { path, .. } = self else { return None };
        // Names may be as long as a file's name, and longer with the vault's before them.
        let hash = hex::encode(Sha256::digest(format!("{project}/{name}")));
        let mut file = path.file_name()?.to_owned();
        file.push(format!(".turn.{}", hash.get(..16).unwrap_or_default()));
        Some(path.with_file_name(file))
    }

    pub(super) fn postgres(&self) -> Option<&PgConnectOptions> {
        match self {
            Self::Sqlite { .. } => None,
            Self::Postgres(options) => Some(options),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_server_elsewhere_without_verified_tls() {
        for url in [
            "postgres://u:p@db.example/d?sslmode=disable",
            "postgres://u:p@db.example/d?sslmode=prefer",
            "postgres://u:p@db.example/d?sslmode=require",
            "postgres://u:p@10.0.0.1/d?ssl-mode=verify-ca",
            "postgres://u:p@localhost/d?host=db.example&sslmode=disable",
            "postgres://u:p@localhost/d?hostaddr=10.0.0.1&sslmode=require",
        ] {
            assert!(matches!(url.parse::<DatabaseUrl>(), Err(UrlError::Unverified)), "{url}");
        }
        let mode = |url: &str| postgres_options(&Secret::new(url.into())).unwrap().get_ssl_mode();
        for url in ["postgres://u:p@db.example/d", "postgresql://u@10.0.0.1:5433/d?sslmode=verify-full"] {
            assert!(matches!(mode(url), PgSslMode::VerifyFull), "{url}");
        }
        for url in [
            "postgres://u@localhost/d",
            "postgres://u@127.0.0.1/d",
            "postgres://u@[::1]/d",
            "postgres://u@%2Frun%2Fpg/d",
        ] {
            assert!(!matches!(mode(url), PgSslMode::VerifyFull), "{url}");
        }
    }

    #[test]
    fn refuses_other_urls_and_shows_no_password() {
        for url in ["", "mysql://a/b", "vault.db", "sqlite:", "sqlite:a?mode=ro", "postgres://u:p@h:port/d"] {
            assert!(url.parse::<DatabaseUrl>().is_err(), "{url}");
        }
        let url: DatabaseUrl = "postgres://u:hunter2@localhost/d".parse().unwrap();
        assert!(!format!("{url:?} {:?}", Place::of(&url)).contains("hunter2"));
        assert_eq!(format!("{:?}", "sqlite:///tmp/x.db".parse::<DatabaseUrl>().unwrap()), "sqlite:/tmp/x.db");
    }
}
