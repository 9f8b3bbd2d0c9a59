//! One connection, to either database: statements with `$1`, parameters and rows in the few types that both have.
//!
//! Refuses texts with NUL, which PostgreSQL cannot hold, on both; and rows whose columns are of other types than were asked.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Column, Database as Kind, Postgres, Row, Sqlite, TypeInfo, Value, ValueRef};

use crate::vault::store::StoreError;

/// How long one statement may take before its connection is given up: a lost network gives no answer at all.
const DEADLINE: Duration = Duration::from_secs(15);

/// A parameter.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Text(Option<String>),
    Int(Option<i64>),
    Bytes(Vec<u8>),
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Arg {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<Option<&str>> for Arg {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<&Option<String>> for Arg {
    fn from(text: &Option<String>) -> Self {
        Self::Text(text.clone())
    }
}

impl From<i64> for Arg {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<i64>> for Arg {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Arg {
    fn from(flag: bool) -> Self {
        Self::Int(Some(flag.into()))
    }
}

impl From<u64> for Arg {
    /// Versions and revisions: a number beyond `i64` is none that was ever stored.
    fn from(number: u64) -> Self {
        Self::Int(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}

impl From<&[u8]> for Arg {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

/// The parameters of a statement.
macro_rules! args {
    ($($value:expr),* $(,)?) => { [$($crate::database::link::Arg::from($value)),*] };
}
pub(crate) use args;

/// One column of a row.
#[derive(Clone, Debug)]
enum Cell {
    Null,
    Text(String),
    Int(i64),
    Bytes(Vec<u8>),
}

/// A row, read from its first column to its last.
#[derive(Debug)]
pub(crate) struct Cells(std::vec::IntoIter<Cell>);

const ODD: StoreError = StoreError::Damaged("a column of another type");

impl Cells {
    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        self.maybe_text()?.ok_or(ODD)
    }

    pub(crate) fn maybe_text(&mut self) -> Result<Option<String>, StoreError> {
        match self.0.next() {
            Some(Cell::Text(text)) => Ok(Some(text)),
            Some(Cell::Null) => Ok(None),
            Some(Cell::Int(_) | Cell::Bytes(_)) | None => Err(ODD),
        }
    }

    pub(crate) fn int(&mut self) -> Result<i64, StoreError> {
        self.maybe_int()?.ok_or(ODD)
    }

    pub(crate) fn maybe_int(&mut self) -> Result<Option<i64>, StoreError> {
        match self.0.next() {
            Some(Cell::Int(number)) => Ok(Some(number)),
            Some(Cell::Null) => Ok(None),
            Some(Cell::Text(_) | Cell::Bytes(_)) | None => Err(ODD),
        }
    }

    /// A version or revision.
    pub(crate) fn number(&mut self) -> Result<u64, StoreError> {
        u64::try_from(self.int()?).map_err(|_| StoreError::Damaged("a version below 0"))
    }

    pub(crate) fn flag(&mut self) -> Result<bool, StoreError> {
        Ok(self.int()? != 0)
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        self.maybe_bytes()?.ok_or(ODD)
    }

    pub(crate) fn maybe_bytes(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.0.next() {
            Some(Cell::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Cell::Null) => Ok(None),
            Some(Cell::Int(_) | Cell::Text(_)) | None => Err(ODD),
        }
    }

    /// The next column as it can be stored again in a column of the kind: `t`ext, `i`nteger, `b`ytes.
    pub(crate) fn any(&mut self, kind: char) -> Result<Arg, StoreError> {
        Ok(match kind {
            't' => Arg::Text(self.maybe_text()?),
            'i' => Arg::Int(self.maybe_int()?),
            _ => Arg::Bytes(self.bytes()?),
        })
    }

    /// A digest or hash.
    pub(crate) fn digest(&mut self) -> Result<[u8; 32], StoreError> {
        self.bytes()?.try_into().map_err(|_| ODD)
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Link {
    Sqlite(Box<SqliteConnection>),
    Postgres(Box<PgConnection>),
}

impl Link {
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// The rows that a statement gives.
    pub(crate) async fn rows(&mut self, sql: &'static str, args: &[Arg]) -> Result<Vec<Cells>, StoreError> {
        check(args)?;
        match self {
            Self::Sqlite(link) => {
                let query = args.iter().cloned().fold(sqlx::query(sql), bind_sqlite);
                query.fetch_all(&mut **link).await?.iter().map(sqlite_cells).collect()
            }
            Self::Postgres(link) => {
                let query = args.iter().cloned().fold(sqlx::query(sql), bind_postgres);
                let rows = within(query.fetch_all(&mut **link)).await?;
                rows.iter().map(postgres_cells).collect()
            }
        }
    }

    /// The first row, if there is one.
    pub(crate) async fn row(&mut self, sql: &'static str, args: &[Arg]) -> Result<Option<Cells>, StoreError> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// Runs a statement; returns how many rows it touched.
    pub(crate) async fn run(&mut self, sql: &'static str, args: &[Arg]) -> Result<u64, StoreError> {
        check(args)?;
        match self {
            Self::Sqlite(link) => {
                let query = args.iter().cloned().fold(sqlx::query(sql), bind_sqlite);
                Ok(query.execute(&mut **link).await?.rows_affected())
            }
            Self::Postgres(link) => {
                let query = args.iter().cloned().fold(sqlx::query(sql), bind_postgres);
                Ok(within(query.execute(&mut **link)).await?.rows_affected())
            }
        }
    }
}

/// What PostgreSQL answers, if it does in time.
pub(super) async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(StoreError::Database(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
    }
}

fn check(args: &[Arg]) -> Result<(), StoreError> {
    let nul = |arg: &Arg| matches!(arg, Arg::Text(Some(text)) if text.contains('\0'));
    if args.iter().any(nul) { Err(StoreError::Nul) } else { Ok(()) }
}

type SqliteQuery = Query<'static, Sqlite, <Sqlite as Kind>::Arguments>;

fn bind_sqlite(query: SqliteQuery, arg: Arg) -> SqliteQuery {
    match arg {
        Arg::Text(text) => query.bind(text),
        Arg::Int(number) => query.bind(number),
        Arg::Bytes(bytes) => query.bind(bytes),
    }
}

type PostgresQuery = Query<'static, Postgres, <Postgres as Kind>::Arguments>;

fn bind_postgres(query: PostgresQuery, arg: Arg) -> PostgresQuery {
    match arg {
        Arg::Text(text) => query.bind(text),
        Arg::Int(number) => query.bind(number),
        Arg::Bytes(bytes) => query.bind(bytes),
    }
}

fn sqlite_cells(row: &SqliteRow) -> Result<Cells, StoreError> {
    let read = |at: usize| {
        let value = ValueRef::to_owned(&row.try_get_raw(at)?);
        if value.is_null() {
            return Ok(Cell::Null);
        }
        let kind = value.type_info().name().to_owned();
        Ok(match kind.as_str() {
            "TEXT" => Cell::Text(row.try_get_unchecked(at)?),
            "INTEGER" | "INT4" => Cell::Int(row.try_get_unchecked(at)?),
            "BLOB" => Cell::Bytes(row.try_get_unchecked(at)?),
            _ => return Err(ODD),
        })
    };
    Ok(Cells((0..row.len()).map(read).collect::<Result<Vec<_>, StoreError>>()?.into_iter()))
}

fn postgres_cells(row: &PgRow) -> Result<Cells, StoreError> {
    let read = |at: usize| {
        if row.try_get_raw(at)?.is_null() {
            return Ok(Cell::Null);
        }
        Ok(match row.try_column(at)?.type_info().name() {
            "TEXT" => Cell::Text(row.try_get(at)?),
            "INT8" => Cell::Int(row.try_get(at)?),
            "INT4" => Cell::Int(row.try_get::<i32, _>(at)?.into()),
            "BYTEA" => Cell::Bytes(row.try_get(at)?),
            _ => return Err(ODD),
        })
    };
    Ok(Cells((0..row.len()).map(read).collect::<Result<Vec<_>, StoreError>>()?.into_iter()))
}
