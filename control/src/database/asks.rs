//! Questions and approvals.
//!
//! [`claim`] is the one way from a request to a grant. It runs in one transaction with the writers' lock: an approval for once
//! is given out and ends by the same statement, so that of two requests, in two sidecars of two replicas, one gets it. What
//! was asked under another version of the provider's document counts for nothing. What is kept of a body goes with the decision, or
//! with the question's end: at the next question, and shown no more before.

use super::documents;
use super::link::{Cells, args};
use super::transaction::{Transaction, object};
use crate::approval::{Answer, AskRow, Asked, Binding, Decision, Grant, KEPT, Kept, LIFE, OPEN_MAX, State};
use crate::registry::{DocumentKind, ObjectKind, Page, RegistryError, Seen};
use crate::vault::store::StoreError;

fn read(mut row: Cells) -> Result<AskRow, StoreError> {
    let id = row.text()?;
    let binding: Binding = serde_json::from_str(&row.text()?)
        .map_err(|_| StoreError::Damaged("what an approval is bound to"))?;
    let (document, request) = (row.number()?, row.text()?);
    let state = State::parse(&row.text()?).ok_or(StoreError::Damaged("the state of an approval"))?;
    let (any_body, created, expires) = (row.flag()?, row.int()?, row.int()?);
    let decided = row.maybe_int()?.zip(row.maybe_text()?);
    let version = row.number()?;
    let preview = row.maybe_bytes()?.map(Kept);
    Ok(AskRow {
        id,
        binding,
        document,
        request,
        preview,
        state,
        any_body,
        created,
        expires,
        decided,
        version,
    })
}

pub(super) async fn page(
    transaction: &mut Transaction<'_>,
    project: &str,
    page: &Page,
) -> Result<Vec<AskRow>, StoreError> {
    let sql = "SELECT id, binding, document, request, state, any_body, created, expires, decided, decided_by, version,
        preview FROM asks WHERE project = $1 AND id > $2 ORDER BY id LIMIT $3";
    let after = page.after.as_deref().unwrap_or_default();
    let rows = transaction.rows(sql, &args![project, after, i64::from(page.limit)]).await?;
    rows.into_iter().map(read).collect()
}

pub(super) async fn one(
    transaction: &mut Transaction<'_>,
    project: &str,
    id: &str,
) -> Result<Option<AskRow>, StoreError> {
    let sql = "SELECT id, binding, document, request, state, any_body, created, expires, decided, decided_by, version,
        preview FROM asks WHERE project = $1 AND id = $2";
    transaction.row(sql, &args![project, id]).await?.map(read).transpose()
}

/// What is known of a request.
enum Found {
    /// It can be answered without a write.
    Answer(Answer),
    /// An approval for once waits for it.
    Once(Box<AskRow>),
    /// Nobody was asked about it.
    Nothing {
        /// The version of the provider's document.
        document: u64,
    },
}

async fn look(
    transaction: &mut Transaction<'_>,
    binding: &Binding,
    now: i64,
) -> Result<Found, RegistryError> {
    let document = document_of(transaction, binding).await?;
    let sql = "SELECT id, binding, document, request, state, any_body, created, expires, decided, decided_by, version,
        preview FROM asks WHERE project = $1 AND agent = $2 AND scope = $3 AND expires > $4 ORDER BY id";
    let found =
        transaction.rows(sql, &args![&binding.project, &binding.agent, &binding.scope()[..], now]).await?;
    let mut rows = Vec::new();
    for row in found {
        let row = read(row)?;
        let same_body =
            row.any_body || (row.binding.body, row.binding.body_bytes) == (binding.body, binding.body_bytes);
        // The digest found it; what it was made of has to be the same as well.
        if row.document == document && same_body && row.binding.scope() == binding.scope() {
            rows.push(row);
        }
    }
    let in_state = |state: State| rows.iter().find(|row| row.state == state);
    // A denial of this very request counts more than an approval of many.
    if let Some(row) = in_state(State::Denied) {
        return Ok(Found::Answer(Answer::Denied { id: row.id.clone(), until: row.expires }));
    }
    if let Some(row) = in_state(State::Time) {
        return Ok(Found::Answer(Answer::Granted(grant(row))));
    }
    if let Some(row) = in_state(State::Once) {
        return Ok(Found::Once(Box::new(row.clone())));
    }
    if let Some(row) = in_state(State::Open) {
        return Ok(Found::Answer(Answer::Open { id: row.id.clone(), expires: row.expires }));
    }
    let open = transaction
        .row(
            "SELECT COUNT(*) FROM asks WHERE project = $1 AND agent = $2 AND state = $3 AND expires > $4",
            &args![&binding.project, &binding.agent, State::Open.name(), now],
        )
        .await?;
    let open = open.ok_or(StoreError::Damaged("a count"))?.number()?;
    if open >= OPEN_MAX { Ok(Found::Answer(Answer::Full)) } else { Ok(Found::Nothing { document }) }
}

/// The version of the document that the provider is made from; 0: it is from a file of the sidecar's.
async fn document_of(transaction: &mut Transaction<'_>, binding: &Binding) -> Result<u64, StoreError> {
    for kind in [DocumentKind::Provider, DocumentKind::ModelProvider] {
        if let Some(row) = documents::one(transaction, &binding.project, kind, &binding.provider).await? {
            return Ok(row.version);
        }
    }
    Ok(0)
}

fn grant(row: &AskRow) -> Grant {
    let body = (!row.any_body).then_some((row.binding.body.0, row.binding.body_bytes));
    Grant::new(row.id.clone(), row.binding.scope(), body, row.expires)
}

/// Answers without writing, where that can be done.
pub(super) async fn peek(
    transaction: &mut Transaction<'_>,
    binding: &Binding,
    now: i64,
) -> Result<Option<Answer>, RegistryError> {
    match look(transaction, binding, now).await? {
        Found::Answer(answer) => Ok(Some(answer)),
        Found::Once(_) | Found::Nothing { .. } => Ok(None),
    }
}

/// Gives an approval out to this request, or opens a question.
pub(super) async fn claim(
    transaction: &mut Transaction<'_>,
    binding: &Binding,
    asked: Asked<'_>,
    id: &str,
) -> Result<Answer, RegistryError> {
    let now = transaction.at();
    match look(transaction, binding, now).await? {
        Found::Answer(answer) => Ok(answer),
        Found::Once(row) => {
            let revision = transaction.revision().await?;
            let sql =
                "UPDATE asks SET state = $3, version = $4 WHERE project = $1 AND id = $2 AND state = $5";
            let (used, once) = (State::Used.name(), State::Once.name());
            let taken = transaction.run(sql, &args![&binding.project, &row.id, used, revision, once]).await?;
            if taken != 1 {
                return Err(StoreError::Damaged("an approval that two requests took").into());
            }
            transaction.changed(&binding.project, ObjectKind::Ask, &row.id);
            Ok(Answer::Granted(grant(&row)))
        }
        Found::Nothing { document } => open(transaction, binding, asked, id, document).await,
    }
}

async fn open(
    transaction: &mut Transaction<'_>,
    binding: &Binding,
    asked: Asked<'_>,
    id: &str,
    document: u64,
) -> Result<Answer, RegistryError> {
    let (now, revision) = (transaction.at(), transaction.revision().await?);
    let text =
        serde_json::to_string(binding).map_err(|_| StoreError::Damaged("what an approval is bound to"))?;
    transaction.run("DELETE FROM asks WHERE expires < $1", &args![now - KEPT]).await?;
    let over = "UPDATE asks SET preview = NULL WHERE expires <= $1 AND preview IS NOT NULL";
    transaction.run(over, &args![now]).await?;
    let Binding { project, agent, body, .. } = binding;
    let expires = now + LIFE;
    transaction
        .run(
            "INSERT INTO asks (project, id, agent, scope, body, binding, document, request, state, any_body, created,
                expires, decided, decided_by, version)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11, NULL, NULL, $12)",
            &args![
                project, id, agent, &binding.scope()[..], &body.0[..], text.as_str(), document, asked.request,
                State::Open.name(), now, expires, revision
            ],
        )
        .await?;
    if let Some(Kept(preview)) = asked.preview {
        let sql = "UPDATE asks SET preview = $3 WHERE project = $1 AND id = $2";
        transaction.run(sql, &args![project, id, preview.as_slice()]).await?;
    }
    transaction.changed(project, ObjectKind::Ask, id);
    Ok(Answer::Open { id: id.to_owned(), expires })
}

/// Keeps what a person decided; returns the question in its new version.
pub(super) async fn decide(
    transaction: &mut Transaction<'_>,
    project: &str,
    id: &str,
    (decision, by): (Decision, &str),
    seen: Seen,
) -> Result<AskRow, RegistryError> {
    let this = object(ObjectKind::Ask, id);
    let row = one(transaction, project, id).await?.ok_or_else(|| RegistryError::Missing(this.clone()))?;
    transaction.check_seen(seen, row.version, this.clone())?;
    let (now, revision) = (transaction.at(), transaction.revision().await?);
    // What settles it is that the document has changed.
    let is_same =
        decision == Decision::Settled || row.document == document_of(transaction, &row.binding).await?;
    let is_current = row.expires > now && is_same;
    let is_settled = matches!(row.state, State::Used | State::Settled);
    if is_settled || !is_current {
        return Err(RegistryError::Over(this));
    }
    let (state, any_body, expires) = match decision {
        Decision::Once { any_body } => (State::Once, any_body, now + LIFE),
        Decision::Until { until, any_body } => (State::Time, any_body, until),
        Decision::Settled => (State::Settled, false, now + LIFE),
        Decision::Deny => (State::Denied, false, now + LIFE),
    };
    transaction
        .run(
            "UPDATE asks SET state = $3, any_body = $4, expires = $5, decided = $6, decided_by = $7, version = $8,
                preview = NULL WHERE project = $1 AND id = $2",
            &args![project, id, state.name(), any_body, expires, now, by, revision],
        )
        .await?;
    transaction.changed(project, ObjectKind::Ask, id);
    let decided = Some((now, by.to_owned()));
    Ok(AskRow { state, any_body, expires, decided, version: revision, preview: None, ..row })
}

/// Forgets what was asked for an agent: one that is made anew under its name, or gets another token, has no approval.
pub(super) async fn forget(
    transaction: &mut Transaction<'_>,
    project: &str,
    agent: &str,
) -> Result<(), StoreError> {
    transaction.run("DELETE FROM asks WHERE project = $1 AND agent = $2", &args![project, agent]).await?;
    Ok(())
}
