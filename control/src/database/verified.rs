//! When the credentials of documents were seen to work.

use super::documents;
use super::link::args;
use super::transaction::Transaction;
use crate::registry::{DocumentKind, RegistryError, Seen, Verified};
use crate::vault::store::StoreError;

pub(super) async fn note(
    transaction: &mut Transaction<'_>,
    (project, kind, name): (&str, DocumentKind, &str),
    who: &str,
    seen: Seen,
) -> Result<u64, RegistryError> {
    documents::seen_one(transaction, project, kind, name, seen).await?;
    let (revision, at) = (transaction.revision().await?, transaction.at());
    transaction
        .run(
            "INSERT INTO verified (project, kind, name, at, revision, who) VALUES ($1, $2, $3, $4, $5, $6)
                ON CONFLICT (project, kind, name) DO UPDATE SET at = $4, revision = $5, who = $6",
            &args![project, kind.object().name(), name, at, revision, who],
        )
        .await?;
    Ok(revision)
}

pub(super) async fn all(
    transaction: &mut Transaction<'_>,
    project: &str,
    kind: DocumentKind,
) -> Result<Vec<(String, Verified)>, StoreError> {
    let sql = "SELECT name, at, revision, who FROM verified WHERE project = $1 AND kind = $2 ORDER BY name";
    let rows = transaction.rows(sql, &args![project, kind.object().name()]).await?;
    let read = |mut row: super::link::Cells| {
        let (name, at) = (row.text()?, row.int()?);
        Ok((name, Verified { at, revision: row.number()?, who: row.text()? }))
    };
    rows.into_iter().map(read).collect()
}
