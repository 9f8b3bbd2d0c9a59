//! Members: who may do what after a login, and the binding of an e-mail address to the person who first logged in with it.

use super::link::{Cells, args};
use super::transaction::{Transaction, object};
use super::{projects, tokens};
use crate::registry::{
    Grant, Member, Named, NewMember, NewToken, ObjectKind, Page, Person, RegistryError, Role, Seen,
};
use crate::vault::store::StoreError;

fn place(project: String) -> Option<String> {
    Some(project).filter(|project| !project.is_empty())
}

fn role(row: &mut Cells) -> Result<Role, StoreError> {
    row.text()?.parse().map_err(|_| StoreError::Damaged("a role"))
}

fn read(mut row: Cells) -> Result<Member, StoreError> {
    let (id, project, issuer) = (row.text()?, place(row.text()?), row.text()?);
    let (email, subject, role) = (row.maybe_text()?, row.maybe_text()?, role(&mut row)?);
    Ok(Member { id, project, issuer, email, subject, role, created: row.int()?, version: row.number()? })
}

pub(super) async fn one(
    transaction: &mut Transaction<'_>,
    project: Option<&str>,
    id: &str,
) -> Result<Option<Member>, StoreError> {
    let sql = "SELECT id, project, issuer, email, subject, role, created, version FROM members
        WHERE project = $1 AND id = $2";
    transaction.row(sql, &args![project.unwrap_or_default(), id]).await?.map(read).transpose()
}

pub(super) async fn page(
    transaction: &mut Transaction<'_>,
    project: Option<&str>,
    page: &Page,
) -> Result<Vec<Member>, StoreError> {
    let sql = "SELECT id, project, issuer, email, subject, role, created, version FROM members
        WHERE project = $1 AND id > $2 ORDER BY id LIMIT $3";
    let after = page.after.as_deref().unwrap_or_default();
    let rows =
        transaction.rows(sql, &args![project.unwrap_or_default(), after, i64::from(page.limit)]).await?;
    rows.into_iter().map(read).collect()
}

pub(super) async fn add(transaction: &mut Transaction<'_>, member: NewMember) -> Result<u64, RegistryError> {
    let project = member.project.as_deref().unwrap_or_default();
    if !project.is_empty() {
        projects::required(transaction, project).await?;
    }
    let (email, subject, name) = match &member.named {
        Named::Email(email) => (Some(email.as_str()), None, email),
        Named::Subject(subject) => (None, Some(subject.as_str()), subject),
    };
    // Nothing equals NULL: only the name that was given is looked for.
    let taken = transaction
        .row(
            "SELECT id FROM members WHERE project = $1 AND issuer = $2 AND (email = $3 OR subject = $4)",
            &args![project, &member.issuer, email, subject],
        )
        .await?;
    if taken.is_some() {
        return Err(RegistryError::Exists(object(ObjectKind::Member, name)));
    }
    let (version, at) = (transaction.revision().await?, transaction.at());
    transaction
        .run(
            "INSERT INTO members (id, project, issuer, email, subject, role, created, version)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            &args![&member.id, project, &member.issuer, email, subject, member.role.name(), at, version],
        )
        .await?;
    transaction.changed(project, ObjectKind::Member, &member.id);
    Ok(version)
}

async fn seen_one(
    transaction: &mut Transaction<'_>,
    project: Option<&str>,
    id: &str,
    seen: Seen,
) -> Result<Member, RegistryError> {
    let this = object(ObjectKind::Member, id);
    let found = one(transaction, project, id).await?.ok_or_else(|| RegistryError::Missing(this.clone()))?;
    transaction.check_seen(seen, found.version, this)?;
    Ok(found)
}

pub(super) async fn replace(
    transaction: &mut Transaction<'_>,
    project: Option<&str>,
    id: &str,
    role: Role,
    seen: Seen,
) -> Result<u64, RegistryError> {
    seen_one(transaction, project, id, seen).await?;
    let version = transaction.revision().await?;
    let sql = "UPDATE members SET role = $2, version = $3 WHERE id = $1";
    transaction.run(sql, &args![id, role.name(), version]).await?;
    transaction.changed(project.unwrap_or_default(), ObjectKind::Member, id);
    Ok(version)
}

pub(super) async fn delete(
    transaction: &mut Transaction<'_>,
    project: Option<&str>,
    id: &str,
    seen: Seen,
) -> Result<(), RegistryError> {
    let found = seen_one(transaction, project, id, seen).await?;
    transaction.run("DELETE FROM members WHERE id = $1", &args![id]).await?;
    if let Some(subject) = found.subject {
        let person = Person { issuer: found.issuer, subject };
        // Otherwise a token that still runs would open what he is given later.
        if grants(transaction, &person).await?.is_empty() {
            let sql = "DELETE FROM tokens WHERE issuer = $1 AND subject = $2";
            transaction.run(sql, &args![&person.issuer, &person.subject]).await?;
        }
    }
    transaction.changed(project.unwrap_or_default(), ObjectKind::Member, id);
    Ok(())
}

pub(super) async fn grants(
    transaction: &mut Transaction<'_>,
    person: &Person,
) -> Result<Vec<Grant>, StoreError> {
    let sql = "SELECT project, role FROM members WHERE issuer = $1 AND subject = $2 ORDER BY project";
    let rows = transaction.rows(sql, &args![&person.issuer, &person.subject]).await?;
    let read = |mut row: Cells| Ok(Grant { project: place(row.text()?), role: role(&mut row)? });
    rows.into_iter().map(read).collect()
}

pub(super) async fn sign_in(
    transaction: &mut Transaction<'_>,
    token: NewToken,
    email: Option<String>,
) -> Result<Vec<Grant>, RegistryError> {
    let nobody = || RegistryError::Missing(object(ObjectKind::Member, &token.name));
    let person = token.person.clone().ok_or_else(nobody)?;
    if let Some(email) = email {
        let version = transaction.revision().await?;
        let sql = "UPDATE members SET subject = $1, version = $2
            WHERE issuer = $3 AND email = $4 AND subject IS NULL";
        transaction.run(sql, &args![&person.subject, version, &person.issuer, &email]).await?;
    }
    let grants = grants(transaction, &person).await?;
    if grants.is_empty() {
        return Err(nobody());
    }
    tokens::add(transaction, token).await?;
    Ok(grants)
}
