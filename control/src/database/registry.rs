//! [`Registry`]: each call one transaction around the statements of its module.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    Database, agents, asks, attachments, audit, changes, checkpoints, documents, members, projects, secrets,
    tokens, transaction, variables, verified, versions,
};
use crate::approval::{Answer, AskRow, Asked, Binding, Decision};
use crate::audit::{Chain, Checkpoint, Entry};
use crate::registry::{
    Act, Agent, AgentState, Attached, Attachment, AuditHead, AuditLine, ChangeRow, Document, DocumentKind,
    Grant, Idempotency, Identity, Member, NewAgent, NewDocument, NewMember, NewProject, NewToken, Noted,
    ObjectRef, Page, Person, Project, Registry, RegistryError, Reply, Role, Seen, Token, TokenDigest,
    VariableRow, Verified,
};
use crate::secret::SecretName;
use crate::vault::store::{SecretRow, Store, StoreError};

/// One reading transaction around a call.
macro_rules! read {
    ($self:ident, |$transaction:ident| $call:expr) => {
        Box::pin(async move {
            let mut transaction = $self.reading().await?;
            let $transaction = &mut transaction;
            let found = $call.await.map_err(RegistryError::from);
            transaction.finish(found).await
        })
    };
}

/// One writing transaction around a call.
macro_rules! write {
    ($self:ident, $act:ident, |$transaction:ident| $call:expr) => {
        Box::pin(async move {
            let mut transaction = $self.writing($act).await?;
            let $transaction = &mut transaction;
            let done = $call.await;
            transaction.finish(done).await
        })
    };
}

/// One transaction that takes no revision around a call.
macro_rules! note {
    ($self:ident, |$transaction:ident| $call:expr) => {
        Box::pin(async move {
            let mut transaction = $self.noting().await?;
            let $transaction = &mut transaction;
            let done = $call.await.map_err(RegistryError::from);
            transaction.finish(done).await
        })
    };
}

impl Registry for Database {
    fn acting(&self, act: Act, seen: Seen) -> Arc<dyn Store> {
        secrets::acting(self, act, seen)
    }

    fn add_project(&self, project: NewProject, act: Act) -> Reply<'_, u64> {
        write!(self, act, |t| projects::add(t, project))
    }

    fn replace_project(&self, project: NewProject, seen: Seen, act: Act) -> Reply<'_, u64> {
        write!(self, act, |t| projects::replace(t, project, seen))
    }

    fn delete_project<'a>(&'a self, name: &'a str, seen: Seen, act: Act) -> Reply<'a, ()> {
        write!(self, act, |t| projects::delete(t, name, seen))
    }

    fn project<'a>(&'a self, name: &'a str) -> Reply<'a, Option<Project>> {
        read!(self, |t| projects::one(t, name))
    }

    fn projects(&self, page: Page) -> Reply<'_, Vec<Project>> {
        read!(self, |t| projects::page(t, &page))
    }

    fn add_document<'a>(&'a self, project: &'a str, document: NewDocument, act: Act) -> Reply<'a, u64> {
        write!(self, act, |t| documents::add(t, project, document))
    }

    fn replace_document<'a>(
        &'a self,
        project: &'a str,
        document: NewDocument,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, u64> {
        write!(self, act, |t| documents::replace(t, project, document, seen))
    }

    fn delete_document<'a>(
        &'a self,
        project: &'a str,
        kind: DocumentKind,
        name: &'a str,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, ()> {
        write!(self, act, |t| documents::delete(t, project, kind, name, seen))
    }

    fn document<'a>(
        &'a self,
        project: &'a str,
        kind: DocumentKind,
        name: &'a str,
    ) -> Reply<'a, Option<Document>> {
        read!(self, |t| documents::one(t, project, kind, name))
    }

    fn documents<'a>(&'a self, project: &'a str, kind: DocumentKind, page: Page) -> Reply<'a, Vec<Document>> {
        read!(self, |t| documents::page(t, project, kind, &page))
    }

    fn document_heads<'a>(
        &'a self,
        project: &'a str,
        kind: DocumentKind,
        page: Page,
    ) -> Reply<'a, Vec<Document>> {
        read!(self, |t| documents::heads(t, project, kind, &page))
    }

    fn verify_document<'a>(
        &'a self,
        project: &'a str,
        kind: DocumentKind,
        name: &'a str,
        who: &'a str,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, u64> {
        write!(self, act, |t| verified::note(t, (project, kind, name), who, seen))
    }

    fn verified<'a>(&'a self, project: &'a str, kind: DocumentKind) -> Reply<'a, Vec<(String, Verified)>> {
        read!(self, |t| verified::all(t, project, kind))
    }

    fn secrets_page<'a>(&'a self, project: &'a str, page: Page) -> Reply<'a, Vec<SecretRow>> {
        read!(self, |t| {
            let after = page.after.as_deref().unwrap_or_default();
            versions::rows(t, project, versions::Which::Page { after, limit: page.limit })
        })
    }

    fn users<'a>(&'a self, project: &'a str, object: &'a ObjectRef) -> Reply<'a, Vec<ObjectRef>> {
        read!(self, |t| documents::users(t, project, object))
    }

    fn secrets_used<'a>(&'a self, project: &'a str, used: Vec<(SecretName, i64)>) -> Reply<'a, ()> {
        note!(self, |t| changes::secrets_used(t, project, &used))
    }

    fn last_used<'a>(&'a self, project: &'a str) -> Reply<'a, Vec<(SecretName, i64)>> {
        read!(self, |t| changes::last_used(t, project))
    }

    fn replace_variable<'a>(
        &'a self,
        project: &'a str,
        name: &'a str,
        value: &'a str,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, u64> {
        write!(self, act, |t| variables::replace(t, project, name, value, seen))
    }

    fn delete_variable<'a>(&'a self, project: &'a str, name: &'a str, seen: Seen, act: Act) -> Reply<'a, ()> {
        write!(self, act, |t| variables::delete(t, project, name, seen))
    }

    fn variable<'a>(&'a self, project: &'a str, name: &'a str) -> Reply<'a, Option<VariableRow>> {
        read!(self, |t| variables::one(t, project, name))
    }

    fn variables_page<'a>(&'a self, project: &'a str, page: Page) -> Reply<'a, Vec<VariableRow>> {
        read!(self, |t| variables::page(t, project, &page))
    }

    fn add_agent<'a>(&'a self, project: &'a str, agent: NewAgent, act: Act) -> Reply<'a, u64> {
        write!(self, act, |t| agents::add(t, project, agent))
    }

    fn replace_agent<'a>(
        &'a self,
        project: &'a str,
        agent: NewAgent,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, u64> {
        write!(self, act, |t| agents::replace(t, project, agent, seen))
    }

    fn identify_agent<'a>(
        &'a self,
        project: &'a str,
        name: &'a str,
        identities: Vec<Identity>,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, u64> {
        write!(self, act, |t| agents::identify(t, project, name, &identities, seen))
    }

    fn revoke_agent<'a>(&'a self, project: &'a str, name: &'a str, seen: Seen, act: Act) -> Reply<'a, u64> {
        write!(self, act, |t| agents::revoke(t, project, name, seen))
    }

    fn delete_agent<'a>(&'a self, project: &'a str, name: &'a str, seen: Seen, act: Act) -> Reply<'a, ()> {
        write!(self, act, |t| agents::delete(t, project, name, seen))
    }

    fn agent<'a>(&'a self, project: &'a str, name: &'a str) -> Reply<'a, Option<Agent>> {
        read!(self, |t| agents::one(t, project, name))
    }

    fn agents<'a>(&'a self, project: &'a str, page: Page) -> Reply<'a, Vec<Agent>> {
        read!(self, |t| agents::page(t, project, &page))
    }

    fn agent_by_token<'a>(&'a self, digest: &'a TokenDigest) -> Reply<'a, Option<Agent>> {
        read!(self, |t| agents::by_token(t, digest))
    }

    fn agent_by_identity<'a>(&'a self, identity: &'a Identity) -> Reply<'a, Option<Agent>> {
        read!(self, |t| agents::by_identity(t, identity))
    }

    fn agent_state<'a>(&'a self, project: &'a str, name: &'a str) -> Reply<'a, Option<AgentState>> {
        Box::pin(async move {
            let name = [name.to_owned()];
            Ok(self.agent_states(project, &name).await?.pop().flatten())
        })
    }

    fn agent_states<'a>(
        &'a self,
        project: &'a str,
        names: &'a [String],
    ) -> Reply<'a, Vec<Option<AgentState>>> {
        read!(self, |t| agents::states(t, project, names))
    }

    fn acknowledge<'a>(&'a self, all: &'a [Noted]) -> Reply<'a, ()> {
        note!(self, |t| agents::acknowledge(t, all))
    }

    fn ask<'a>(&'a self, binding: &'a Binding, asked: Asked<'a>, now: i64) -> Reply<'a, Answer> {
        Box::pin(async move {
            // It goes before people.
            binding.check().map_err(|_| StoreError::Damaged("what an approval would be bound to"))?;
            let mut reading = self.reading().await?;
            let known = asks::peek(&mut reading, binding, now).await;
            if let Some(answer) = reading.finish(known).await? {
                return Ok(answer);
            }
            let id = new_id(now)?;
            let mut writing = self.writing(Act::at(now)).await?;
            let answer = asks::claim(&mut writing, binding, asked, &id).await;
            writing.finish(answer).await
        })
    }

    fn asks<'a>(&'a self, project: &'a str, page: Page) -> Reply<'a, Vec<AskRow>> {
        read!(self, |t| asks::page(t, project, &page))
    }

    fn asked<'a>(&'a self, project: &'a str, id: &'a str) -> Reply<'a, Option<AskRow>> {
        read!(self, |t| asks::one(t, project, id))
    }

    fn decide_ask<'a>(
        &'a self,
        project: &'a str,
        id: &'a str,
        decision: (Decision, &'a str),
        seen: Seen,
        act: Act,
    ) -> Reply<'a, AskRow> {
        write!(self, act, |t| asks::decide(t, project, id, decision, seen))
    }

    fn attach<'a>(
        &'a self,
        project: &'a str,
        agent: &'a str,
        what: Attached,
        claims: Vec<String>,
        act: Act,
    ) -> Reply<'a, u64> {
        write!(self, act, |t| attachments::attach(t, project, agent, &what, claims))
    }

    fn detach<'a>(
        &'a self,
        project: &'a str,
        agent: &'a str,
        what: &'a Attached,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, ()> {
        write!(self, act, |t| attachments::detach(t, project, agent, what, seen))
    }

    fn attachments<'a>(
        &'a self,
        project: &'a str,
        agent: &'a str,
        now: i64,
    ) -> Reply<'a, Option<Vec<Attachment>>> {
        read!(self, |t| attachments::of_agent(t, project, agent, now))
    }

    fn add_token(&self, token: NewToken, act: Act) -> Reply<'_, u64> {
        write!(self, act, |t| tokens::add(t, token))
    }

    fn delete_token<'a>(
        &'a self,
        project: Option<&'a str>,
        id: &'a str,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, ()> {
        write!(self, act, |t| tokens::delete(t, project, id, seen))
    }

    fn token_by_digest<'a>(&'a self, digest: &'a TokenDigest) -> Reply<'a, Option<Token>> {
        read!(self, |t| tokens::by_digest(t, digest))
    }

    fn token<'a>(&'a self, project: Option<&'a str>, id: &'a str) -> Reply<'a, Option<Token>> {
        read!(self, |t| tokens::one(t, project, id))
    }

    fn tokens<'a>(&'a self, project: Option<&'a str>, page: Page) -> Reply<'a, Vec<Token>> {
        read!(self, |t| tokens::page(t, project, &page))
    }

    fn token_used<'a>(&'a self, id: &'a str, at: i64) -> Reply<'a, ()> {
        note!(self, |t| tokens::used(t, id, at))
    }

    fn add_member(&self, member: NewMember, act: Act) -> Reply<'_, u64> {
        write!(self, act, |t| members::add(t, member))
    }

    fn replace_member<'a>(
        &'a self,
        project: Option<&'a str>,
        id: &'a str,
        role: Role,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, u64> {
        write!(self, act, |t| members::replace(t, project, id, role, seen))
    }

    fn delete_member<'a>(
        &'a self,
        project: Option<&'a str>,
        id: &'a str,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, ()> {
        write!(self, act, |t| members::delete(t, project, id, seen))
    }

    fn member<'a>(&'a self, project: Option<&'a str>, id: &'a str) -> Reply<'a, Option<Member>> {
        read!(self, |t| members::one(t, project, id))
    }

    fn members<'a>(&'a self, project: Option<&'a str>, page: Page) -> Reply<'a, Vec<Member>> {
        read!(self, |t| members::page(t, project, &page))
    }

    fn grants<'a>(&'a self, person: &'a Person) -> Reply<'a, Vec<Grant>> {
        read!(self, |t| members::grants(t, person))
    }

    fn sign_in(&self, token: NewToken, email: Option<String>, act: Act) -> Reply<'_, Vec<Grant>> {
        write!(self, act, |t| members::sign_in(t, token, email))
    }

    fn repeated<'a>(&'a self, request: &'a Idempotency, now: i64) -> Reply<'a, Option<ObjectRef>> {
        read!(self, |t| transaction::repeated(t.link(), request, now))
    }

    fn latest(&self) -> Reply<'_, u64> {
        read!(self, |t| t.revision())
    }

    fn changes<'a>(
        &'a self,
        project: Option<&'a str>,
        since: u64,
        limit: u32,
    ) -> Reply<'a, (Vec<ChangeRow>, u64)> {
        read!(self, |t| changes::since(t, project, since, limit))
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.shared.revision.subscribe()
    }

    fn follow(&self) -> Reply<'_, ()> {
        Box::pin(async move { Ok(self.follow_others().await?) })
    }

    fn record<'a>(&'a self, project: Option<&'a str>, entry: Entry) -> Reply<'a, ()> {
        note!(self, |t| audit::append(t.link(), project.unwrap_or_default(), &entry))
    }

    fn ship<'a>(&'a self, project: &'a str, source: &'a str, lines: Vec<String>) -> Reply<'a, u64> {
        note!(self, |t| audit::ship(t, project, source, &lines))
    }

    fn audit_lines<'a>(
        &'a self,
        project: Option<&'a str>,
        source: &'a str,
        after: u64,
        limit: u32,
    ) -> Reply<'a, Vec<AuditLine>> {
        read!(self, |t| audit::lines(t, project, source, after, limit))
    }

    fn audit_sources<'a>(&'a self, project: Option<&'a str>) -> Reply<'a, Vec<(String, u64)>> {
        read!(self, |t| audit::sources(t, project))
    }

    fn chain_with<'a>(&'a self, project: &'a str, prefix: &'a str, line: Chain) -> Reply<'a, Option<String>> {
        read!(self, |t| audit::chain_with(t, project, prefix, line))
    }

    fn audit_heads(&self) -> Reply<'_, Vec<AuditHead>> {
        read!(self, |t| checkpoints::heads(t))
    }

    fn add_checkpoint<'a>(&'a self, checkpoint: &'a Checkpoint) -> Reply<'a, ()> {
        note!(self, |t| checkpoints::add(t, checkpoint))
    }

    fn checkpoints<'a>(
        &'a self,
        project: Option<&'a str>,
        source: &'a str,
        after: u64,
        limit: u32,
    ) -> Reply<'a, Vec<Checkpoint>> {
        read!(self, |t| checkpoints::page(t, project, source, after, limit))
    }

    fn drop_audit<'a>(&'a self, source: &'a str, before: u64) -> Reply<'a, u64> {
        note!(self, |t| checkpoints::drop_before(t, source, before))
    }
}

/// A question's id: the second, so that lists are in order, and chance.
fn new_id(now: i64) -> Result<String, RegistryError> {
    let chance = getrandom::u32().map_err(|_| StoreError::Damaged("the system's random numbers"))?;
    Ok(format!("{:010x}{chance:08x}", now.max(0)))
}
