//! Signed checkpoints of the audit's chains, and dropping what stands before one.

use super::audit::source_of;
use super::link::{Cells, args};
use super::transaction::Transaction;
use crate::audit::{Chain, Checkpoint, Hash};
use crate::registry::AuditHead;
use crate::vault::store::StoreError;

fn read(mut row: Cells) -> Result<Checkpoint, StoreError> {
    let damaged = |_| StoreError::Damaged("a checkpoint of the audit");
    Ok(Checkpoint {
        source: row.text()?,
        chain: Chain { seq: row.number()?, hash: Hash(row.digest()?) },
        at: row.int()?,
        key: row.text()?,
        signature: row.bytes()?.try_into().map_err(damaged)?,
    })
}

/// Keeps a checkpoint, unless another server has signed that line already.
pub(super) async fn add(
    transaction: &mut Transaction<'_>,
    checkpoint: &Checkpoint,
) -> Result<(), StoreError> {
    let Checkpoint { source, chain, at, key, signature } = checkpoint;
    transaction
        .run(
            "INSERT INTO audit_checkpoints (source, seq, hash, at, key, signature) VALUES ($1, $2, $3, $4, $5, $6)
                ON CONFLICT (source, seq) DO NOTHING",
            &args![source, chain.seq, &chain.hash.0[..], *at, key, &signature[..]],
        )
        .await?;
    Ok(())
}

/// The checkpoints of a source after a number, oldest first.
pub(super) async fn page(
    transaction: &mut Transaction<'_>,
    project: Option<&str>,
    source: &str,
    after: u64,
    limit: u32,
) -> Result<Vec<Checkpoint>, StoreError> {
    let rows = transaction
        .rows(
            "SELECT source, seq, hash, at, key, signature FROM audit_checkpoints WHERE source = $1 AND seq > $2
                ORDER BY seq LIMIT $3",
            &args![&source_of(project, source), after, i64::from(limit)],
        )
        .await?;
    rows.into_iter().map(read).collect()
}

/// Where each chain ends, and its last checkpoint; sources by the names under which they are stored.
pub(super) async fn heads(transaction: &mut Transaction<'_>) -> Result<Vec<AuditHead>, StoreError> {
    let chains = transaction.rows("SELECT source, seq, hash FROM audit_chains ORDER BY source", &[]).await?;
    let signed = transaction
        .rows(
            "SELECT source, seq, hash, at, key, signature FROM audit_checkpoints c
                WHERE seq = (SELECT MAX(seq) FROM audit_checkpoints o WHERE o.source = c.source) ORDER BY source",
            &[],
        )
        .await?;
    let mut signed = signed.into_iter().map(read).collect::<Result<Vec<_>, _>>()?.into_iter().peekable();
    let mut heads = Vec::with_capacity(chains.len());
    for mut row in chains {
        let source = row.text()?;
        let end = Chain { seq: row.number()?, hash: Hash(row.digest()?) };
        while signed.next_if(|one| one.source < source).is_some() {}
        let signed = signed.next_if(|one| one.source == source);
        heads.push(AuditHead { source, end, signed });
    }
    Ok(heads)
}

/// Drops the lines and checkpoints before a line, which stays; says how many lines went.
pub(super) async fn drop_before(
    transaction: &mut Transaction<'_>,
    source: &str,
    seq: u64,
) -> Result<u64, StoreError> {
    transaction
        .run("DELETE FROM audit_checkpoints WHERE source = $1 AND seq < $2", &args![source, seq])
        .await?;
    transaction.run("DELETE FROM audit WHERE source = $1 AND seq < $2", &args![source, seq]).await
}
