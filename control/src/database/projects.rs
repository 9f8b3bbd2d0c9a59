//! Projects.

use super::link::{Cells, args};
use super::transaction::{Transaction, object};
use crate::registry::{
    NewProject, ObjectKind, ObjectRef, Page, Project, ProjectSettings, RegistryError, Seen, USERS_MAX,
};
use crate::vault::store::StoreError;

const COLUMNS: &str = "SELECT name, description, unbound_secrets, hints, created, version FROM projects
    WHERE name > $1 ORDER BY name LIMIT $2";
const ONE: &str =
    "SELECT name, description, unbound_secrets, hints, created, version FROM projects WHERE name = $1";

fn read(mut row: Cells) -> Result<Project, StoreError> {
    Ok(Project {
        name: row.text()?,
        description: row.maybe_text()?,
        settings: ProjectSettings { unbound_secrets: row.flag()?, hints: row.flag()? },
        created: row.int()?,
        version: row.number()?,
    })
}

pub(super) async fn one(
    transaction: &mut Transaction<'_>,
    name: &str,
) -> Result<Option<Project>, StoreError> {
    transaction.row(ONE, &args![name]).await?.map(read).transpose()
}

pub(super) async fn page(transaction: &mut Transaction<'_>, page: &Page) -> Result<Vec<Project>, StoreError> {
    let after = page.after.as_deref().unwrap_or_default();
    let rows = transaction.rows(COLUMNS, &args![after, i64::from(page.limit)]).await?;
    rows.into_iter().map(read).collect()
}

/// Refuses a project that is not there.
pub(super) async fn required(transaction: &mut Transaction<'_>, name: &str) -> Result<(), RegistryError> {
    match one(transaction, name).await? {
        Some(_) => Ok(()),
        None => Err(RegistryError::Missing(object(ObjectKind::Project, name))),
    }
}

pub(super) async fn add(
    transaction: &mut Transaction<'_>,
    project: NewProject,
) -> Result<u64, RegistryError> {
    if one(transaction, &project.name).await?.is_some() {
        return Err(RegistryError::Exists(object(ObjectKind::Project, &project.name)));
    }
    let (version, at) = (transaction.revision().await?, transaction.at());
    let NewProject { name, description, settings } = &project;
    transaction
        .run(
            "INSERT INTO projects (name, description, unbound_secrets, hints, created, version) VALUES ($1, $2, $3, $4, $5, $6)",
            &args![name, description, settings.unbound_secrets, settings.hints, at, version],
        )
        .await?;
    transaction.changed(name, ObjectKind::Project, name);
    Ok(version)
}

async fn seen_one(
    transaction: &mut Transaction<'_>,
    name: &str,
    seen: Seen,
) -> Result<Project, RegistryError> {
    let this = object(ObjectKind::Project, name);
    let found = one(transaction, name).await?.ok_or_else(|| RegistryError::Missing(this.clone()))?;
    transaction.check_seen(seen, found.version, this)?;
    Ok(found)
}

pub(super) async fn replace(
    transaction: &mut Transaction<'_>,
    project: NewProject,
    seen: Seen,
) -> Result<u64, RegistryError> {
    seen_one(transaction, &project.name, seen).await?;
    let version = transaction.revision().await?;
    let NewProject { name, description, settings } = &project;
    transaction
        .run(
            "UPDATE projects SET description = $2, unbound_secrets = $3, hints = $4, version = $5 WHERE name = $1",
            &args![name, description, settings.unbound_secrets, settings.hints, version],
        )
        .await?;
    transaction.changed(name, ObjectKind::Project, name);
    Ok(version)
}

const CONTENT: &str = "SELECT kind, name FROM (
    SELECT 'secret' AS kind, name FROM secrets WHERE project = $1
    UNION ALL SELECT 'variable', name FROM variables WHERE project = $1
    UNION ALL SELECT kind, name FROM documents WHERE project = $1
    UNION ALL SELECT 'agent', name FROM agents WHERE project = $1
    UNION ALL SELECT 'member', id FROM members WHERE project = $1
    UNION ALL SELECT 'token', name FROM tokens WHERE project = $1) AS content
    ORDER BY kind, name LIMIT $2";

pub(super) async fn delete(
    transaction: &mut Transaction<'_>,
    name: &str,
    seen: Seen,
) -> Result<(), RegistryError> {
    seen_one(transaction, name, seen).await?;
    let rows = transaction.rows(CONTENT, &args![name, USERS_MAX as u64]).await?;
    let users = rows.into_iter().map(object_of).collect::<Result<Vec<_>, _>>()?;
    if !users.is_empty() {
        return Err(RegistryError::InUse { object: object(ObjectKind::Project, name), users });
    }
    for sql in [
        "DELETE FROM generations WHERE project = $1",
        "DELETE FROM last_used WHERE project = $1",
        // Whoever makes one of the same name is told nothing of this one.
        "DELETE FROM changes WHERE project = $1",
        "DELETE FROM projects WHERE name = $1",
    ] {
        transaction.run(sql, &args![name]).await?;
    }
    transaction.changed(name, ObjectKind::Project, name);
    Ok(())
}

/// A row of kind and name.
pub(super) fn object_of(mut row: Cells) -> Result<ObjectRef, StoreError> {
    let kind = row.text()?.parse().map_err(|_| StoreError::Damaged("a kind of object"))?;
    Ok(ObjectRef { kind, name: row.text()? })
}
