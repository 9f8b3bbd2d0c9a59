//! Provider documents: what they name has to be there, and what is named or attached is not deleted.

use super::attachments;
use super::link::{Cells, args};
use super::projects::{object_of, required};
use super::transaction::{Transaction, object};
use super::versions;
use crate::registry::{
    Document, DocumentKind, NewDocument, ObjectKind, ObjectRef, Page, RegistryError, Seen, USERS_MAX,
};
use crate::vault::store::StoreError;

/// Documents of one project.
const DOCUMENTS_MAX: u64 = 10_000;

fn read(kind: DocumentKind, mut row: Cells) -> Result<Document, StoreError> {
    let (name, text, type_name) = (row.text()?, row.text()?, row.text()?);
    let withheld = row.flag()?;
    let (created, changed, version) = (row.int()?, row.int()?, row.number()?);
    let document =
        NewDocument { kind, name, text, type_name, uses: Vec::new(), claims: Vec::new(), withheld };
    Ok(Document { document, created, changed, version })
}

/// Fills in what stands in tables of its own, for documents that are sorted by name.
async fn with_lists(
    transaction: &mut Transaction<'_>,
    project: &str,
    kind: DocumentKind,
    mut documents: Vec<Document>,
) -> Result<Vec<Document>, StoreError> {
    let (Some(first), Some(last)) = (documents.first(), documents.last()) else { return Ok(documents) };
    let part = args![project, kind.object().name(), &first.document.name, &last.document.name];
    let uses = "SELECT name, secret FROM document_uses
        WHERE project = $1 AND kind = $2 AND name >= $3 AND name <= $4 ORDER BY name, secret";
    let claims = "SELECT name, claim FROM document_claims
        WHERE project = $1 AND kind = $2 AND name >= $3 AND name <= $4 ORDER BY name, claim";
    let at = |documents: &[Document], name: &str| {
        documents.binary_search_by(|other| other.document.name.as_str().cmp(name)).ok()
    };
    for mut row in transaction.rows(uses, &part).await? {
        let (name, secret) = (row.text()?, row.text()?);
        let secret = secret.parse().map_err(|_| StoreError::Damaged("a secret's name"))?;
        if let Some(document) = at(&documents, &name).and_then(|at| documents.get_mut(at)) {
            document.document.uses.push(secret);
        }
    }
    for mut row in transaction.rows(claims, &part).await? {
        let (name, claim) = (row.text()?, row.text()?);
        if let Some(document) = at(&documents, &name).and_then(|at| documents.get_mut(at)) {
            document.document.claims.push(claim);
        }
    }
    Ok(documents)
}

pub(super) async fn one(
    transaction: &mut Transaction<'_>,
    project: &str,
    kind: DocumentKind,
    name: &str,
) -> Result<Option<Document>, StoreError> {
    let sql = "SELECT name, content, type_name, withheld, created, changed, version FROM documents
        WHERE project = $1 AND kind = $2 AND name = $3";
    let row = transaction.row(sql, &args![project, kind.object().name(), name]).await?;
    let found = row.map(|row| read(kind, row)).transpose()?;
    Ok(with_lists(transaction, project, kind, found.into_iter().collect()).await?.pop())
}

pub(super) async fn page(
    transaction: &mut Transaction<'_>,
    project: &str,
    kind: DocumentKind,
    page: &Page,
) -> Result<Vec<Document>, StoreError> {
    let sql = "SELECT name, content, type_name, withheld, created, changed, version FROM documents
        WHERE project = $1 AND kind = $2 AND name > $3 ORDER BY name LIMIT $4";
    listed(transaction, sql, (project, kind), page).await
}

/// A page of documents without their texts.
pub(super) async fn heads(
    transaction: &mut Transaction<'_>,
    project: &str,
    kind: DocumentKind,
    page: &Page,
) -> Result<Vec<Document>, StoreError> {
    let sql = "SELECT name, '', type_name, withheld, created, changed, version FROM documents
        WHERE project = $1 AND kind = $2 AND name > $3 ORDER BY name LIMIT $4";
    listed(transaction, sql, (project, kind), page).await
}

async fn listed(
    transaction: &mut Transaction<'_>,
    sql: &'static str,
    (project, kind): (&str, DocumentKind),
    page: &Page,
) -> Result<Vec<Document>, StoreError> {
    let after = page.after.as_deref().unwrap_or_default();
    let rows =
        transaction.rows(sql, &args![project, kind.object().name(), after, i64::from(page.limit)]).await?;
    let found = rows.into_iter().map(|row| read(kind, row)).collect::<Result<_, _>>()?;
    with_lists(transaction, project, kind, found).await
}

pub(super) async fn add(
    transaction: &mut Transaction<'_>,
    project: &str,
    document: NewDocument,
) -> Result<u64, RegistryError> {
    required(transaction, project).await?;
    let this = object(document.kind.object(), &document.name);
    if one(transaction, project, document.kind, &document.name).await?.is_some() {
        return Err(RegistryError::Exists(this));
    }
    let count = transaction
        .row("SELECT COUNT(*) FROM documents WHERE project = $1", &args![project])
        .await?
        .ok_or(StoreError::Damaged("a count"))?
        .number()?;
    if count >= DOCUMENTS_MAX {
        return Err(RegistryError::Crowded("providers in this project"));
    }
    let (version, at) = (transaction.revision().await?, transaction.at());
    let NewDocument { kind, name, text, type_name, withheld, .. } = &document;
    transaction
        .run(
            "INSERT INTO documents (project, kind, name, content, type_name, withheld, created, changed, version)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8)",
            &args![project, kind.object().name(), name, text, type_name, *withheld, at, version],
        )
        .await?;
    put_lists(transaction, project, &document).await?;
    transaction.changed(project, kind.object(), name);
    Ok(version)
}

async fn put_lists(
    transaction: &mut Transaction<'_>,
    project: &str,
    document: &NewDocument,
) -> Result<(), RegistryError> {
    let (kind, name) = (document.kind.object().name(), document.name.as_str());
    for secret in &document.uses {
        if versions::one(transaction, project, secret.as_str()).await?.is_none() {
            return Err(RegistryError::Dangling(object(ObjectKind::Secret, secret.as_str())));
        }
        transaction
            .run(
                "INSERT INTO document_uses (project, kind, name, secret) VALUES ($1, $2, $3, $4)
                    ON CONFLICT (project, kind, name, secret) DO NOTHING",
                &args![project, kind, name, secret.as_str()],
            )
            .await?;
    }
    for claim in &document.claims {
        transaction
            .run(
                "INSERT INTO document_claims (project, kind, name, claim) VALUES ($1, $2, $3, $4)
                    ON CONFLICT (project, kind, name, claim) DO NOTHING",
                &args![project, kind, name, claim],
            )
            .await?;
    }
    Ok(())
}

pub(super) async fn replace(
    transaction: &mut Transaction<'_>,
    project: &str,
    document: NewDocument,
    seen: Seen,
) -> Result<u64, RegistryError> {
    seen_one(transaction, project, document.kind, &document.name, seen).await?;
    let (version, at) = (transaction.revision().await?, transaction.at());
    let NewDocument { kind, name, text, type_name, withheld, claims, .. } = &document;
    let kind_name = kind.object().name();
    transaction
        .run(
            "UPDATE documents SET content = $4, type_name = $5, withheld = $6, changed = $7, version = $8
                WHERE project = $1 AND kind = $2 AND name = $3",
            &args![project, kind_name, name, text, type_name, *withheld, at, version],
        )
        .await?;
    for sql in [
        "DELETE FROM document_uses WHERE project = $1 AND kind = $2 AND name = $3",
        "DELETE FROM document_claims WHERE project = $1 AND kind = $2 AND name = $3",
    ] {
        transaction.run(sql, &args![project, kind_name, name]).await?;
    }
    put_lists(transaction, project, &document).await?;
    attachments::claim_anew(transaction, project, kind_name, name, claims).await?;
    transaction.changed(project, kind.object(), name);
    Ok(version)
}

pub(super) async fn seen_one(
    transaction: &mut Transaction<'_>,
    project: &str,
    kind: DocumentKind,
    name: &str,
    seen: Seen,
) -> Result<(), RegistryError> {
    let this = object(kind.object(), name);
    let found =
        one(transaction, project, kind, name).await?.ok_or_else(|| RegistryError::Missing(this.clone()))?;
    transaction.check_seen(seen, found.version, this)
}

pub(super) async fn delete(
    transaction: &mut Transaction<'_>,
    project: &str,
    kind: DocumentKind,
    name: &str,
    seen: Seen,
) -> Result<(), RegistryError> {
    seen_one(transaction, project, kind, name, seen).await?;
    unused(transaction, project, object(kind.object(), name)).await?;
    transaction
        .run(
            "DELETE FROM documents WHERE project = $1 AND kind = $2 AND name = $3",
            &args![project, kind.object().name(), name],
        )
        .await?;
    transaction.changed(project, kind.object(), name);
    Ok(())
}

const USERS: &str = "SELECT kind, name FROM (
    SELECT kind, name FROM document_uses WHERE project = $1 AND $2 = 'secret' AND secret = $3
    UNION SELECT 'agent', agent FROM attachments WHERE project = $1 AND kind = $2 AND name = $3
    UNION SELECT 'agent', agent FROM attachments
        WHERE project = $1 AND kind = 'env' AND source_kind = $2 AND source = $3) AS users
    ORDER BY kind, name LIMIT $4";

/// What names or attaches an object.
pub(super) async fn users(
    transaction: &mut Transaction<'_>,
    project: &str,
    object: &ObjectRef,
) -> Result<Vec<ObjectRef>, StoreError> {
    let rows =
        transaction.rows(USERS, &args![project, object.kind.name(), &object.name, USERS_MAX as u64]).await?;
    rows.into_iter().map(object_of).collect()
}

/// Refuses what is in use.
pub(super) async fn unused(
    transaction: &mut Transaction<'_>,
    project: &str,
    object: ObjectRef,
) -> Result<(), RegistryError> {
    let users = users(transaction, project, &object).await?;
    if users.is_empty() { Ok(()) } else { Err(RegistryError::InUse { object, users }) }
}
