//! API tokens: digests, roles, and where they hold. The installation's own have an empty project.

use super::link::{Cells, args};
use super::projects;
use super::transaction::{Transaction, object};
use crate::registry::{NewToken, ObjectKind, Page, Person, RegistryError, Seen, Token, TokenDigest};
use crate::vault::store::StoreError;

/// To how many seconds the last use is noted: a write for each request would be a write for nothing.
const USE_STEP: i64 = 60;

fn read(mut row: Cells) -> Result<Token, StoreError> {
    let (id, project, name) = (row.text()?, row.text()?, row.text()?);
    let digest = TokenDigest(row.digest()?);
    let role = row.text()?.parse().map_err(|_| StoreError::Damaged("a role"))?;
    let expires = row.maybe_int()?;
    let project = Some(project).filter(|project| !project.is_empty());
    let (created, last_used, version) = (row.int()?, row.maybe_int()?, row.number()?);
    let (issuer, subject) = (row.maybe_text()?, row.maybe_text()?);
    let person = issuer.zip(subject).map(|(issuer, subject)| Person { issuer, subject });
    let token = NewToken { id, name, digest, project, role, expires, person };
    Ok(Token { token, created, last_used, version })
}

pub(super) async fn one(
    transaction: &mut Transaction<'_>,
    project: Option<&str>,
    id: &str,
) -> Result<Option<Token>, StoreError> {
    let sql = "SELECT id, project, name, digest, role, expires, created, last_used, version, issuer, subject FROM tokens
        WHERE project = $1 AND id = $2";
    transaction.row(sql, &args![project.unwrap_or_default(), id]).await?.map(read).transpose()
}

pub(super) async fn by_digest(
    transaction: &mut Transaction<'_>,
    digest: &TokenDigest,
) -> Result<Option<Token>, StoreError> {
    let sql = "SELECT id, project, name, digest, role, expires, created, last_used, version, issuer, subject FROM tokens
        WHERE digest = $1";
    let token = transaction.row(sql, &args![&digest.0[..]]).await?.map(read).transpose()?;
    Ok(token.filter(|found| found.token.digest.matches(digest)))
}

pub(super) async fn page(
    transaction: &mut Transaction<'_>,
    project: Option<&str>,
    page: &Page,
) -> Result<Vec<Token>, StoreError> {
    let sql = "SELECT id, project, name, digest, role, expires, created, last_used, version, issuer, subject FROM tokens
        WHERE project = $1 AND id > $2 ORDER BY id LIMIT $3";
    let after = page.after.as_deref().unwrap_or_default();
    let rows =
        transaction.rows(sql, &args![project.unwrap_or_default(), after, i64::from(page.limit)]).await?;
    rows.into_iter().map(read).collect()
}

pub(super) async fn add(transaction: &mut Transaction<'_>, token: NewToken) -> Result<u64, RegistryError> {
    let project = token.project.as_deref().unwrap_or_default();
    if !project.is_empty() {
        projects::required(transaction, project).await?;
    }
    let taken = transaction
        .row(
            "SELECT id FROM tokens WHERE id = $1 OR (project = $2 AND name = $3)",
            &args![&token.id, project, &token.name],
        )
        .await?;
    if taken.is_some() {
        return Err(RegistryError::Exists(object(ObjectKind::Token, &token.name)));
    }
    let (version, at) = (transaction.revision().await?, transaction.at());
    transaction
        .run(
            "INSERT INTO tokens (id, project, name, digest, role, expires, created, version, issuer, subject)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            &args![
                &token.id,
                project,
                &token.name,
                &token.digest.0[..],
                token.role.name(),
                token.expires,
                at,
                version,
                token.person.as_ref().map(|person| person.issuer.as_str()),
                token.person.as_ref().map(|person| person.subject.as_str())
            ],
        )
        .await?;
    transaction.changed(project, ObjectKind::Token, &token.id);
    Ok(version)
}

pub(super) async fn delete(
    transaction: &mut Transaction<'_>,
    project: Option<&str>,
    id: &str,
    seen: Seen,
) -> Result<(), RegistryError> {
    let this = object(ObjectKind::Token, id);
    let found = one(transaction, project, id).await?.ok_or_else(|| RegistryError::Missing(this.clone()))?;
    transaction.check_seen(seen, found.version, this)?;
    transaction.run("DELETE FROM tokens WHERE id = $1", &args![id]).await?;
    transaction.changed(project.unwrap_or_default(), ObjectKind::Token, id);
    Ok(())
}

pub(super) async fn used(transaction: &mut Transaction<'_>, id: &str, at: i64) -> Result<(), RegistryError> {
    transaction
        .run(
            "UPDATE tokens SET last_used = $2 WHERE id = $1 AND (last_used IS NULL OR last_used <= $3)",
            &args![id, at, at - USE_STEP],
        )
        .await?;
    Ok(())
}
