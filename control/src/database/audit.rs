//! Audit lines: the chain of what was done here, and those that sidecars ship.
//!
//! A chain is continued by whoever holds its row of `audit_chains`, so that two writers never give one number twice.

use std::collections::HashMap;

use super::link::{Cells, Link, args};
use super::transaction::Transaction;
use crate::audit::verify::is_begun_at;
use crate::audit::{Chain, Entry, Hash, linked_line, read_links};
use crate::registry::{AuditLine, RegistryError};
use crate::vault::store::StoreError;

/// Chains of one agent: each audit file is one, and so is each start of a sidecar that keeps its file nowhere.
pub(super) const CHAINS_MAX: u64 = 10_000;
/// Lines that one statement keeps.
const ROWS: usize = 500;
/// The source of what was done here.
const CONTROL: &str = "control";

/// Takes a source's chain for the rest of the transaction.
async fn hold(link: &mut Link, source: &str, project: &str) -> Result<Chain, StoreError> {
    link.run(
        "INSERT INTO audit_chains (source, project, seq, hash) VALUES ($1, $2, 0, $3) ON CONFLICT (source) DO NOTHING",
        &args![source, project, &Hash::default().0[..]],
    )
    .await?;
    let row = link
        .row(
            "UPDATE audit_chains SET project = project WHERE source = $1 RETURNING seq, hash",
            &args![source],
        )
        .await?;
    let mut row = row.ok_or(StoreError::Damaged("an audit chain"))?;
    Ok(Chain { seq: row.number()?, hash: Hash(row.digest()?) })
}

async fn keep(
    link: &mut Link,
    source: &str,
    project: &str,
    chain: Chain,
    line: &str,
) -> Result<(), StoreError> {
    link.run(
        "INSERT INTO audit (source, seq, project, hash, line) VALUES ($1, $2, $3, $4, $5)",
        &args![source, chain.seq, project, &chain.hash.0[..], line],
    )
    .await?;
    Ok(())
}

async fn release(link: &mut Link, source: &str, chain: Chain) -> Result<(), StoreError> {
    link.run(
        "UPDATE audit_chains SET seq = $2, hash = $3 WHERE source = $1",
        &args![source, chain.seq, &chain.hash.0[..]],
    )
    .await?;
    Ok(())
}

/// Continues our own chain.
pub(super) async fn append(link: &mut Link, project: &str, entry: &Entry) -> Result<(), StoreError> {
    let chain = hold(link, CONTROL, "").await?;
    let (line, chain) = linked_line(entry, chain);
    keep(link, CONTROL, project, chain, &line).await?;
    release(link, CONTROL, chain).await
}

/// A sidecar's source: no project can write another's, nor ours.
fn shipped(project: &str, source: &str) -> String {
    format!("{project}/{source}")
}

/// The name under which the source is stored that a project, or the installation, calls so.
pub(super) fn source_of(project: Option<&str>, source: &str) -> String {
    match project {
        Some(project) if source != CONTROL => shipped(project, source),
        Some(_) | None => source.to_owned(),
    }
}

/// Continues a sidecar's chain with lines of its own; those that are kept already are skipped.
pub(super) async fn ship(
    transaction: &mut Transaction<'_>,
    project: &str,
    source: &str,
    lines: &[String],
) -> Result<u64, RegistryError> {
    let stored = shipped(project, source);
    let link = transaction.link();
    let mut known = link.row("SELECT seq FROM audit_chains WHERE source = $1", &args![&stored]).await?;
    match &mut known {
        // Only asked where it stands.
        Some(row) if lines.is_empty() => return Ok(row.number()?),
        None if lines.is_empty() => return Ok(0),
        Some(_) => {}
        None => room(link, &stored).await?,
    }
    let begins = if known.is_none() { begins_at(source, lines) } else { None };
    let held = hold(link, &stored, project).await?;
    // Somebody else may have begun it meanwhile.
    let mut chain = begins.filter(|_| held.seq == 0).unwrap_or(held);
    // All of the lines are kept, or none: the chain still ends here if one does not fit.
    let end = chain.seq;
    let broken = || RegistryError::Unchained { source_name: source.to_owned(), seq: end };
    let (mut known, mut fresh) = (Vec::new(), Vec::new());
    for line in lines {
        let (prev, next) = read_links(line.as_bytes()).ok_or_else(broken)?;
        if next.seq <= end {
            known.push(next);
            continue;
        }
        if next.seq != chain.seq + 1 || prev != chain.hash {
            return Err(broken());
        }
        fresh.push(Row { seq: next.seq, hash: next.hash.to_string(), line });
        chain = next;
    }
    check_kept(link, &stored, &known).await?.then_some(()).ok_or_else(broken)?;
    keep_all(link, &stored, project, &fresh).await?;
    release(link, &stored, chain).await?;
    Ok(chain.seq)
}

/// What stands before a chain that begins in the middle of a file's, since nobody has the lines before: only one that is
/// called after its first line, so that none can be cut off and be taken for such a one.
fn begins_at(source: &str, lines: &[String]) -> Option<Chain> {
    let (prev, first) = read_links(lines.first()?.as_bytes())?;
    (first.seq > 1 && is_begun_at(source, first)).then(|| Chain { seq: first.seq - 1, hash: prev })
}

/// Refuses another chain for an agent that has as many as are kept: nothing else bounds their number.
async fn room(link: &mut Link, source: &str) -> Result<(), RegistryError> {
    let (from, to) = between(source.rsplit_once('/').map_or("", |(prefix, _)| prefix));
    let counted = link
        .row("SELECT COUNT(*) FROM audit_chains WHERE source >= $1 AND source < $2", &args![&from, &to])
        .await?;
    let count = counted.ok_or(StoreError::Damaged("a count"))?.number()?;
    if count < CHAINS_MAX { Ok(()) } else { Err(RegistryError::Crowded("chains of audit lines")) }
}

/// A line as it goes to the database with others.
#[derive(serde::Serialize)]
struct Row<'a> {
    seq: u64,
    hash: String,
    line: &'a str,
}

/// Keeps many lines by one statement: a sidecar that was away for long has thousands of them, and waits for the answer.
async fn keep_all(link: &mut Link, source: &str, project: &str, rows: &[Row<'_>]) -> Result<(), StoreError> {
    let sql = if link.is_postgres() {
        "INSERT INTO audit (source, seq, project, hash, line)
            SELECT $1, (one->>'seq')::BIGINT, $2, decode(one->>'hash', 'hex'), one->>'line'
            FROM json_array_elements($3::JSON) AS one"
    } else {
        "INSERT INTO audit (source, seq, project, hash, line)
            SELECT $1, one.value->>'seq', $2, unhex(one.value->>'hash'), one.value->>'line' FROM json_each($3) AS one"
    };
    for part in rows.chunks(ROWS) {
        let all = serde_json::to_string(part).map_err(|_| StoreError::Damaged("an audit line"))?;
        link.run(sql, &args![source, project, &all]).await?;
    }
    Ok(())
}

/// Whether lines that came again are those that are kept, or older than all that are.
async fn check_kept(link: &mut Link, source: &str, known: &[Chain]) -> Result<bool, StoreError> {
    let (Some(first), Some(last)) = (known.first(), known.last()) else { return Ok(true) };
    let rows = link
        .rows(
            "SELECT seq, hash FROM audit WHERE source = $1 AND seq >= $2 AND seq <= $3",
            &args![source, first.seq, last.seq],
        )
        .await?;
    let read = |mut row: Cells| Ok((row.number()?, row.digest()?));
    let kept = rows.into_iter().map(read).collect::<Result<HashMap<u64, [u8; 32]>, StoreError>>()?;
    Ok(known.iter().all(|one| kept.get(&one.seq).is_none_or(|hash| *hash == one.hash.0)))
}

pub(super) async fn lines(
    transaction: &mut Transaction<'_>,
    project: Option<&str>,
    source: &str,
    after: u64,
    limit: u32,
) -> Result<Vec<AuditLine>, StoreError> {
    let stored = source_of(project, source);
    let rows = transaction
        .rows(
            "SELECT seq, line FROM audit WHERE source = $1 AND seq > $2 AND ($3 IS NULL OR project = $3)
                ORDER BY seq LIMIT $4",
            &args![&stored, after, project, i64::from(limit)],
        )
        .await?;
    let read =
        |mut row: Cells| Ok(AuditLine { source: source.to_owned(), seq: row.number()?, line: row.text()? });
    rows.into_iter().map(read).collect()
}

pub(super) async fn sources(
    transaction: &mut Transaction<'_>,
    project: Option<&str>,
) -> Result<Vec<(String, u64)>, StoreError> {
    let rows = transaction
        .rows(
            "SELECT source, seq FROM audit_chains WHERE $1 IS NULL OR project = $1 OR source = 'control' ORDER BY source",
            &args![project],
        )
        .await?;
    let read = |mut row: Cells| {
        let (stored, seq) = (row.text()?, row.number()?);
        let shown = project.and_then(|project| stored.strip_prefix(project)?.strip_prefix('/'));
        Ok((shown.unwrap_or(&stored).to_owned(), seq))
    };
    rows.into_iter().map(read).collect()
}

/// The source of those that begin so that has this line.
pub(super) async fn chain_with(
    transaction: &mut Transaction<'_>,
    project: &str,
    prefix: &str,
    line: Chain,
) -> Result<Option<String>, StoreError> {
    let (from, to) = between(&shipped(project, prefix));
    let row = transaction
        .row(
            "SELECT c.source FROM audit_chains c JOIN audit a ON a.source = c.source
                WHERE c.source >= $1 AND c.source < $2 AND c.seq >= $3 AND a.seq = $3 AND a.hash = $4 LIMIT 1",
            &args![&from, &to, line.seq, &line.hash.0[..]],
        )
        .await?;
    let Some(mut row) = row else { return Ok(None) };
    let stored = row.text()?;
    Ok(stored.strip_prefix(project).and_then(|source| source.strip_prefix('/')).map(str::to_owned))
}

/// The names that begin with this one, which ends with a slash: from the first on, and before the second.
fn between(prefix: &str) -> (String, String) {
    // `0` is the character after `/`.
    let parent = prefix.strip_suffix('/').unwrap_or(prefix);
    (format!("{parent}/"), format!("{parent}0"))
}
