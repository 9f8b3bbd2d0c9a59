//! Variables: plain, readable.

use super::documents;
use super::link::{Cells, args};
use super::transaction::{Transaction, object};
use crate::registry::{ObjectKind, Page, RegistryError, Seen, VariableRow};
use crate::vault::store::{StoreError, Variable};

fn read(mut row: Cells) -> Result<VariableRow, StoreError> {
    Ok(VariableRow { name: row.text()?, value: row.text()?, created: row.int()?, version: row.number()? })
}

pub(super) async fn all(
    transaction: &mut Transaction<'_>,
    project: &str,
) -> Result<Vec<Variable>, StoreError> {
    let everything = Page { after: None, limit: u32::MAX };
    let rows = page(transaction, project, &everything).await?;
    Ok(rows
        .into_iter()
        .map(|VariableRow { name, value, created, .. }| Variable { name, value, created })
        .collect())
}

pub(super) async fn page(
    transaction: &mut Transaction<'_>,
    project: &str,
    page: &Page,
) -> Result<Vec<VariableRow>, StoreError> {
    let sql = "SELECT name, value, created, revision FROM variables WHERE project = $1 AND name > $2 ORDER BY name LIMIT $3";
    let after = page.after.as_deref().unwrap_or_default();
    let rows = transaction.rows(sql, &args![project, after, i64::from(page.limit)]).await?;
    rows.into_iter().map(read).collect()
}

pub(super) async fn one(
    transaction: &mut Transaction<'_>,
    project: &str,
    name: &str,
) -> Result<Option<VariableRow>, StoreError> {
    let sql = "SELECT name, value, created, revision FROM variables WHERE project = $1 AND name = $2";
    transaction.row(sql, &args![project, name]).await?.map(read).transpose()
}

pub(super) async fn insert(
    transaction: &mut Transaction<'_>,
    project: &str,
    variable: &Variable,
) -> Result<(), StoreError> {
    if one(transaction, project, &variable.name).await?.is_some() {
        return Err(StoreError::VariableExists(variable.name.clone()));
    }
    let revision = transaction.revision().await?;
    transaction
        .run(
            "INSERT INTO variables (project, name, value, created, revision) VALUES ($1, $2, $3, $4, $5)",
            &args![project, &variable.name, &variable.value, variable.created, revision],
        )
        .await?;
    transaction.changed(project, ObjectKind::Variable, &variable.name);
    Ok(())
}

async fn seen_one(
    transaction: &mut Transaction<'_>,
    project: &str,
    name: &str,
    seen: Seen,
) -> Result<(), RegistryError> {
    let this = object(ObjectKind::Variable, name);
    let found = one(transaction, project, name).await?.ok_or_else(|| RegistryError::Missing(this.clone()))?;
    transaction.check_seen(seen, found.version, this)
}

pub(super) async fn replace(
    transaction: &mut Transaction<'_>,
    project: &str,
    name: &str,
    value: &str,
    seen: Seen,
) -> Result<u64, RegistryError> {
    seen_one(transaction, project, name, seen).await?;
    let revision = transaction.revision().await?;
    transaction
        .run(
            "UPDATE variables SET value = $3, revision = $4 WHERE project = $1 AND name = $2",
            &args![project, name, value, revision],
        )
        .await?;
    transaction.changed(project, ObjectKind::Variable, name);
    Ok(revision)
}

pub(super) async fn delete(
    transaction: &mut Transaction<'_>,
    project: &str,
    name: &str,
    seen: Seen,
) -> Result<(), RegistryError> {
    seen_one(transaction, project, name, seen).await?;
    documents::unused(transaction, project, object(ObjectKind::Variable, name)).await?;
    transaction.run("DELETE FROM variables WHERE project = $1 AND name = $2", &args![project, name]).await?;
    transaction.changed(project, ObjectKind::Variable, name);
    Ok(())
}
