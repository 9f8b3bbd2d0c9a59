//! `/v1/projects/{project}/providers` and `…/model-providers`: documents as files have them, checked by the same code.
//!
//! Refuses documents with mistakes (all of them are told), whose own `tests` fail, and whose hosts go beyond what their secret
//! is bound to. A document that is new from somebody who may not manage secrets, or whose destination changes, is withheld until
//! somebody who may approves it ([`approve`]): otherwise a document alone would send a credential elsewhere. So is one that
//! asks people (`effect: ask`) when somebody changes it who may not approve: otherwise they would let through themselves what
//! a person is to be asked about. A new value of the secret approves nothing: whoever enters it has not looked at what waits
//! for it.

mod check;
mod paths;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::check::{change, check};
pub(super) use self::paths::routes;
use super::Api;
use super::body::Json;
use super::call::{Call, Did};
use super::page::Part;
use super::permission::Permission;
use super::problem::{Answer, Problem};
use super::{Done, Sent, shown, watch};
use crate::provider::Provider;
use crate::refusal::Code;
use crate::registry::{Document, DocumentKind, NewDocument, Page, Seen};

/// The longest document.
pub(super) const DOCUMENT: usize = 256 * 1024;
/// The texts of one page of a list, together; and how many documents are read at once for it.
const PAGE_BYTES: usize = 1024 * 1024;
const PART: u32 = 8;

/// A provider or model provider.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Provider)]
pub(crate) struct DocumentView {
    /// `Provider` or `ModelProvider`.
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) project: String,
    pub(crate) r#type: String,
    /// The secrets that it names.
    pub(crate) secrets: Vec<String>,
    /// Whether it is held back until somebody who may manage secrets approves it.
    pub(crate) withheld: bool,
    pub(crate) created: String,
    pub(crate) changed: String,
    /// The version, as in the ETag.
    pub(crate) version: u64,
    /// The document as it was entered.
    pub(crate) document: String,
}

/// A document to be stored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DocumentBody {
    /// One YAML or JSON document, as in a provider file.
    document: String,
}

/// Only checked.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct Dry {
    /// `true`: only check it.
    dry_run: Option<bool>,
}

fn view(project: &str, row: Document) -> DocumentView {
    let NewDocument { kind, name, text, type_name, uses, withheld, .. } = row.document;
    DocumentView {
        kind: kind_name(kind).to_owned(),
        name,
        project: project.to_owned(),
        r#type: type_name,
        secrets: uses.iter().map(ToString::to_string).collect(),
        withheld,
        created: shown(row.created),
        changed: shown(row.changed),
        version: row.version,
        document: text,
    }
}

fn kind_name(kind: DocumentKind) -> &'static str {
    match kind {
        DocumentKind::Provider => "Provider",
        DocumentKind::ModelProvider => "ModelProvider",
    }
}

fn folder(kind: DocumentKind) -> &'static str {
    match kind {
        DocumentKind::Provider => "providers",
        DocumentKind::ModelProvider => "model-providers",
    }
}

async fn list(api: Api, call: Call, kind: DocumentKind, project: String, part: Part) -> Answer<Response> {
    call.enter(&api, &project, Permission::SecretsRead).await?;
    if let Some(since) = part.watch() {
        return watch::stream(&api, call, Some(project), &[kind.object()], since).await;
    }
    let rows = bounded(&api, &project, kind, part.page()?).await?;
    let items = part.items_of(rows, |row| row.document.name.clone(), |row| view(&project, row))?;
    Ok(Sent::ok(items).into_response())
}

/// The documents of a page, and whether there are more than it holds: it ends with the text that fills it.
async fn bounded(api: &Api, project: &str, kind: DocumentKind, page: Page) -> Answer<(Vec<Document>, bool)> {
    let (mut rows, mut bytes, mut after) = (Vec::new(), 0, page.after);
    let most = usize::try_from(page.limit).unwrap_or(usize::MAX);
    while rows.len() < most {
        let part = Page { after, limit: PART.min(page.limit) };
        let found = api.registry.documents(project, kind, part).await?;
        let is_last = found.len() < usize::try_from(PART.min(page.limit)).unwrap_or(usize::MAX);
        for row in found {
            bytes += row.document.text.len();
            rows.push(row);
            if bytes >= PAGE_BYTES {
                return Ok((rows, true));
            }
        }
        if is_last {
            break;
        }
        after = rows.last().map(|row| row.document.name.clone());
    }
    Ok((rows, false))
}

async fn create(
    api: Api,
    call: Call,
    kind: DocumentKind,
    project: String,
    body: Json<DocumentBody>,
    dry: Dry,
) -> Answer<Sent<DocumentView>> {
    call.enter(&api, &project, Permission::ProvidersManage).await?;
    let request = body.digest(&api, &call);
    let mut checked = check(&api, &project, kind, body.0.document).await?;
    // Bound hosts are not enough: how the credential is carried there may show it to others.
    let uses_secrets = !checked.document.uses.is_empty();
    checked.document.withheld =
        uses_secrets && !call.caller.may_in(Some(&project), Permission::SecretsManage);
    let name = checked.document.name.clone();
    if dry.dry_run == Some(true) {
        return Ok(Sent::ok(unsaved(&api, &project, checked.document)));
    }
    let did = Did::new(kind.object(), &name, "created");
    let did = if checked.document.withheld { did.saying("withheld") } else { did };
    let is_repeated = call.is_repeated(&api, &did, request).await?;
    if !is_repeated {
        let act = call.act_once(&api, &did, request)?;
        api.registry.add_document(&project, checked.document, act).await?;
    }
    let row = row(&api, &project, kind, &name).await?;
    let (version, location) = (row.version, format!("/v1/projects/{project}/{}/{name}", folder(kind)));
    Ok(Sent::created(view(&project, row), version, location, is_repeated))
}

async fn read(
    api: Api,
    call: Call,
    kind: DocumentKind,
    project: String,
    name: String,
) -> Answer<Sent<DocumentView>> {
    call.enter(&api, &project, Permission::SecretsRead).await?;
    let row = row(&api, &project, kind, &name).await?;
    let version = row.version;
    Ok(Sent::object(view(&project, row), version))
}

async fn replace(
    api: Api,
    call: Call,
    kind: DocumentKind,
    (project, name): (String, String),
    body: Json<DocumentBody>,
    dry: Dry,
) -> Answer<Sent<DocumentView>> {
    call.enter(&api, &project, Permission::ProvidersManage).await?;
    let before = row(&api, &project, kind, &name).await?;
    call.check_seen(before.version)?;
    let mut checked = check(&api, &project, kind, body.0.document).await?;
    if checked.document.name != name {
        return Err(Problem::new(
            Code::Dw6016,
            "names never change: `metadata.name` is not the object's name",
        ));
    }
    let change = change(&api, &project, &before, &checked).await?;
    let moves = !checked.document.uses.is_empty() && change.moves;
    let answers = change.answers && !may_approve(&call, &project);
    checked.document.withheld = before.document.withheld || moves || answers;
    if dry.dry_run == Some(true) {
        return Ok(Sent::ok(unsaved(&api, &project, checked.document)));
    }
    let did = Did::new(kind.object(), &name, "changed");
    let did = if checked.document.withheld { did.saying("withheld") } else { did };
    // What it was compared with, also where the caller has named no version.
    let seen = Seen::Version(before.version);
    api.registry.replace_document(&project, checked.document, seen, call.act(&api, &did)).await?;
    let row = row(&api, &project, kind, &name).await?;
    let version = row.version;
    Ok(Sent::object(view(&project, row), version))
}

/// Whether the caller may approve requests, and with them what lets requests through without a question.
fn may_approve(call: &Call, project: &str) -> bool {
    [Permission::AgentsManage, Permission::SecretsManage]
        .into_iter()
        .all(|needed| call.caller.may_in(Some(project), needed))
}

/// Stores a provider that was amended here, if it is the same but for what it `lets` through.
pub(super) async fn amend(
    api: &Api,
    call: &Call,
    before: (&str, Document),
    text: String,
    lets: impl FnOnce(&Arc<Provider>) -> bool,
) -> Answer<()> {
    let (project, before) = before;
    let (kind, seen) = (before.document.kind, Seen::Version(before.version));
    let mut checked = check(api, project, kind, text).await?;
    let change = change(api, project, &before, &checked).await?;
    let is_same = checked.document.name == before.document.name && !change.moves;
    if !is_same || !lets(&checked.provider) {
        let detail = "the document cannot be amended as it is written; put the rule in by hand";
        return Err(Problem::new(Code::Dw6016, detail));
    }
    checked.document.withheld = before.document.withheld;
    let did = Did::new(kind.object(), &before.document.name, "changed by an approval");
    api.registry.replace_document(project, checked.document, seen, call.act(api, &did)).await?;
    Ok(())
}

async fn approve(
    api: Api,
    call: Call,
    kind: DocumentKind,
    project: String,
    name: String,
) -> Answer<Sent<DocumentView>> {
    call.enter(&api, &project, Permission::SecretsManage).await?;
    let before = row(&api, &project, kind, &name).await?;
    call.check_seen(before.version)?;
    let seen = Seen::Version(before.version);
    let did = Did::new(kind.object(), &name, "approved");
    let document = NewDocument { withheld: false, ..before.document };
    api.registry.replace_document(&project, document, seen, call.act(&api, &did)).await?;
    let row = row(&api, &project, kind, &name).await?;
    let version = row.version;
    Ok(Sent::object(view(&project, row), version))
}

/// Notes that the credential of a document of this version was tried, and works. The server calls no vendor: whoever made
/// the call says so, and is named with it.
async fn verified(
    api: Api,
    call: Call,
    kind: DocumentKind,
    project: String,
    name: String,
) -> Answer<Sent<DocumentView>> {
    call.enter(&api, &project, Permission::ProvidersManage).await?;
    let before = row(&api, &project, kind, &name).await?;
    let seen = call.check_seen(before.version)?;
    if before.document.withheld {
        return Err(Problem::new(Code::Dw6016, "this document is withheld"));
    }
    let did = Did::new(kind.object(), &name, "verified");
    let who = call.caller.name.clone();
    api.registry.verify_document(&project, kind, &name, &who, seen, call.act(&api, &did)).await?;
    let version = before.version;
    Ok(Sent::object(view(&project, before), version))
}

async fn delete(api: Api, call: Call, kind: DocumentKind, project: String, name: String) -> Answer<Done> {
    call.enter(&api, &project, Permission::ProvidersManage).await?;
    row(&api, &project, kind, &name).await?;
    let seen = call.seen()?;
    let did = Did::new(kind.object(), &name, "deleted");
    api.registry.delete_document(&project, kind, &name, seen, call.act(&api, &did)).await?;
    Ok(Done)
}

async fn row(api: &Api, project: &str, kind: DocumentKind, name: &str) -> Answer<Document> {
    api.registry.document(project, kind, name).await?.ok_or_else(Problem::missing)
}

fn unsaved(api: &Api, project: &str, document: NewDocument) -> DocumentView {
    view(project, Document { document, created: api.now(), changed: api.now(), version: 0 })
}

/// All documents of a kind of a project; for cards, which show every type.
pub(super) async fn all(api: &Api, project: &str, kind: DocumentKind) -> Answer<Vec<Document>> {
    Ok(api.registry.document_heads(project, kind, Page { after: None, limit: 10_000 }).await?)
}
