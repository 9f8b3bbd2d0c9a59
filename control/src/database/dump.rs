//! Everything that a database holds as lines, and back into an empty one, of either kind: what a backup is made of.
//!
//! A line is `["table", [column, …]]`; bytes are `{"b": "base64"}`. Read in one transaction, written in one. Refuses to
//! write over what is there, and content that is not exactly of the tables.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Database;
use super::link::{Arg, Cells, args};
use super::transaction::Transaction;
use super::versions::RECORDS;
use crate::registry::{Act, OWNER, RegistryError};
use crate::vault::store::{SealedRow, StoreError};

/// Says how the lines after it are meant.
const FORMAT: &str = "doorward backup 1";
/// By how much revisions and versions go on after a restore: what was written after the backup, and is lost, had given the
/// next ones, and running proxies may hold them.
const REVISION_GAP: u64 = 1_000_000;
const VERSION_GAP: u64 = 1_000;
/// How many audit lines are read at a time.
const PART: i64 = 2_000;

/// Why a database was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is something in it.
    #[error("the database is not empty: a backup is restored into a new one")]
    NotEmpty,
    /// The lines are not of our tables.
    #[error("the backup's content is not of this version")]
    Content,
    /// The database failed.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for RestoreError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<RegistryError> for RestoreError {
    fn from(error: RegistryError) -> Self {
        Self::Store(error.into())
    }
}

struct Table {
    name: &'static str,
    /// A letter for each column: `t`ext, `i`nteger, `b`ytes.
    kinds: &'static str,
    select: &'static str,
    insert: &'static str,
}

macro_rules! table {
    ($name:literal, $kinds:literal, $columns:literal, $marks:literal) => {
        Table {
            name: $name,
            kinds: $kinds,
            select: concat!("SELECT ", $columns, " FROM ", $name, " ORDER BY ", $columns),
            insert: concat!("INSERT INTO ", $name, " (", $columns, ") VALUES (", $marks, ")"),
        }
    };
}

/// All tables but `revision`, `audit`, the sidecars, which ask again by themselves, and approvals, which could be used a second
/// time; those that others refer to first.
const TABLES: [Table; 22] = [
    table!("meta", "tb", "key, value", "$1, $2"),
    table!("generations", "ti", "project, generation", "$1, $2"),
    table!(
        "projects",
        "ttiiii",
        "name, description, unbound_secrets, hints, created, version",
        "$1, $2, $3, $4, $5, $6"
    ),
    table!("last_versions", "tti", "project, name, version", "$1, $2, $3"),
    table!(
        "secrets",
        "tttiii",
        "project, name, description, created, current, revision",
        "$1, $2, $3, $4, $5, $6"
    ),
    table!(
        "versions",
        "ttiiiiti",
        "project, name, version, sealed_as, created, expires, hosts, kept_until",
        "$1, $2, $3, $4, $5, $6, $7, $8"
    ),
    table!(
        "sealed_values",
        "ttitbtt",
        "project, name, sealed_as, key, record, fingerprint, hint",
        "$1, $2, $3, $4, $5, $6, $7"
    ),
    table!("variables", "tttii", "project, name, value, created, revision", "$1, $2, $3, $4, $5"),
    table!(
        "documents",
        "tttttiiii",
        "project, kind, name, content, type_name, withheld, created, changed, version",
        "$1, $2, $3, $4, $5, $6, $7, $8, $9"
    ),
    table!("verified", "tttiit", "project, kind, name, at, revision, who", "$1, $2, $3, $4, $5, $6"),
    table!("document_uses", "tttt", "project, kind, name, secret", "$1, $2, $3, $4"),
    table!("document_claims", "tttt", "project, kind, name, claim", "$1, $2, $3, $4"),
    table!(
        "agents",
        "tttbiiii",
        "project, name, description, digest, created, expires, revoked, version",
        "$1, $2, $3, $4, $5, $6, $7, $8"
    ),
    table!("agent_identities", "ttt", "identity, project, agent", "$1, $2, $3"),
    table!(
        "attachments",
        "ttttttii",
        "project, agent, kind, name, source_kind, source, created, version",
        "$1, $2, $3, $4, $5, $6, $7, $8"
    ),
    table!("attachment_claims", "ttttt", "project, agent, claim, kind, name", "$1, $2, $3, $4, $5"),
    table!(
        "tokens",
        "tttbtiiiitt",
        "id, project, name, digest, role, expires, created, last_used, version, issuer, subject",
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11"
    ),
    table!(
        "members",
        "ttttttii",
        "id, project, issuer, email, subject, role, created, version",
        "$1, $2, $3, $4, $5, $6, $7, $8"
    ),
    table!("idempotency", "ttbtti", "owner, key, request, kind, name, at", "$1, $2, $3, $4, $5, $6"),
    table!("last_used", "tti", "project, name, at", "$1, $2, $3"),
    table!("audit_chains", "ttib", "source, project, seq, hash", "$1, $2, $3, $4"),
    table!("audit_checkpoints", "tibitb", "source, seq, hash, at, key, signature", "$1, $2, $3, $4, $5, $6"),
];

const AUDIT: Table = Table {
    name: "audit",
    kinds: "titbt",
    select: "SELECT source, seq, project, hash, line FROM audit
        WHERE source > $1 OR (source = $1 AND seq > $2) ORDER BY source, seq LIMIT $3",
    insert: "INSERT INTO audit (source, seq, project, hash, line) VALUES ($1, $2, $3, $4, $5)",
};

fn shown(arg: &Arg) -> Value {
    match arg {
        Arg::Text(text) => json!(text),
        Arg::Int(number) => json!(number),
        Arg::Bytes(bytes) => json!({ "b": STANDARD.encode(bytes) }),
    }
}

fn read(kind: char, value: &Value) -> Option<Arg> {
    match (kind, value) {
        ('t', Value::Null) => Some(Arg::Text(None)),
        ('t', Value::String(text)) => Some(Arg::Text(Some(text.clone()))),
        ('i', Value::Null) => Some(Arg::Int(None)),
        ('i', Value::Number(number)) => Some(Arg::Int(Some(number.as_i64()?))),
        ('b', Value::Object(fields)) if fields.len() == 1 => {
            Some(Arg::Bytes(STANDARD.decode(fields.get("b")?.as_str()?).ok()?))
        }
        _ => None,
    }
}

/// One row as a line, and its cells.
fn line(table: &Table, mut row: Cells) -> Result<(Vec<u8>, Vec<Arg>), StoreError> {
    let cells = table.kinds.chars().map(|kind| row.any(kind)).collect::<Result<Vec<_>, _>>()?;
    let columns: Vec<_> = cells.iter().map(shown).collect();
    Ok((json!([table.name, columns]).to_string().into_bytes(), cells))
}

impl Database {
    /// Gives everything that the database holds, line by line, as of one moment.
    pub async fn dump<E: From<StoreError> + From<RegistryError>>(
        &self,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut transaction = self.reading().await?;
        let done = dump(&mut transaction, &mut each).await;
        transaction.finish(done).await
    }

    /// Writes what [`Database::dump`] gave into an empty database; `chunks` gives whole lines, and its end.
    pub async fn restore<E: From<RestoreError> + From<StoreError> + From<RegistryError>>(
        &self,
        now: i64,
        mut chunks: impl FnMut() -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, E>,
    ) -> Result<u64, E> {
        let mut transaction =
            self.writing(Act::by(now, OWNER, "the database was restored from a backup")).await?;
        let done = restore(&mut transaction, &mut chunks).await;
        transaction.finish(done).await
    }

    /// Every sealed record, with all that is authenticated with it.
    pub async fn records(&self) -> Result<Vec<SealedRow>, StoreError> {
        let mut transaction = self.reading().await?;
        let rows = transaction.rows(RECORDS, &args![None::<&str>]).await;
        let found = rows.and_then(|rows| rows.into_iter().map(super::versions::record).collect());
        transaction.finish(found).await
    }
}

async fn dump<E: From<StoreError>>(
    transaction: &mut Transaction<'_>,
    each: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let revision = transaction.revision().await?;
    each(json!([FORMAT, revision]).to_string().as_bytes())?;
    for table in &TABLES {
        for row in transaction.rows(table.select, &[]).await? {
            each(&line(table, row)?.0)?;
        }
    }
    let mut after = [Arg::from(""), Arg::from(0_i64), Arg::from(PART)];
    loop {
        let rows = transaction.rows(AUDIT.select, &after).await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            let (line, cells) = line(&AUDIT, row)?;
            each(&line)?;
            if let [source, seq, ..] = cells.as_slice() {
                after = [source.clone(), seq.clone(), Arg::from(PART)];
            }
        }
    }
}

async fn restore<E: From<RestoreError> + From<StoreError>>(
    transaction: &mut Transaction<'_>,
    chunks: &mut impl FnMut() -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, E>,
) -> Result<u64, E> {
    // Whatever was ever written raised the revision; this transaction has taken the first.
    if transaction.revision().await? != 1 {
        return Err(RestoreError::NotEmpty.into());
    }
    let mut revision = None;
    let mut count = 0;
    while let Some(chunk) = chunks()? {
        for line in chunk.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match revision {
                None => revision = Some(first(line)?),
                Some(_) => put(transaction, line).await?,
            }
            count += 1;
        }
    }
    let revision = revision.ok_or(RestoreError::Content)?;
    transaction.run("UPDATE revision SET number = $1", &args![revision + REVISION_GAP]).await?;
    transaction.run("UPDATE last_versions SET version = version + $1", &args![VERSION_GAP]).await?;
    Ok(count - 1)
}

/// The revision of the database that was dumped.
fn first(line: &[u8]) -> Result<u64, RestoreError> {
    let (format, revision): (String, u64) =
        serde_json::from_slice(line).map_err(|_| RestoreError::Content)?;
    if format == FORMAT { Ok(revision) } else { Err(RestoreError::Content) }
}

async fn put(transaction: &mut Transaction<'_>, line: &[u8]) -> Result<(), RestoreError> {
    let (name, columns): (String, Vec<Value>) =
        serde_json::from_slice(line).map_err(|_| RestoreError::Content)?;
    let mut tables = TABLES.iter().chain([&AUDIT]);
    let table = tables.find(|table| table.name == name).ok_or(RestoreError::Content)?;
    if columns.len() != table.kinds.len() {
        return Err(RestoreError::Content);
    }
    let cells = table.kinds.chars().zip(&columns).map(|(kind, value)| read(kind, value));
    let cells = cells.collect::<Option<Vec<_>>>().ok_or(RestoreError::Content)?;
    transaction.run(table.insert, &cells).await?;
    Ok(())
}
