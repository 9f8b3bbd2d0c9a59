//! The server's state beside the values of secrets: projects, provider documents, agents, attachments, tokens, audit.
//!
//! One trait, implemented with [`crate::vault::store::Store`] by one set of statements for SQLite and PostgreSQL. Each
//! writing call is one transaction, which takes the next revision, notes the changes, and, where the [`Act`] says so, the
//! audit line and the idempotency key. Refused there, so that no two writers can get around it: a name that is taken, a
//! version that is not the current one, deleting what is in use, naming what is not there, and two attachments to one agent
//! that cover the same thing. What belongs to another project is missing.

mod error;
mod identity;
mod objects;
mod people;

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

pub use error::{RegistryError, USERS_MAX};
pub(crate) use identity::SPIFFE_MAX;
pub use identity::{IDENTITIES_MAX, Identity, IdentityError, ServiceAccount, SpiffeId};
pub use objects::{
    Agent, Attached, Attachment, AuditHead, AuditLine, ChangeRow, Document, DocumentKind, EnvSource,
    NewAgent, NewDocument, NewProject, NewToken, Noted, ObjectKind, ObjectRef, Project, ProjectSettings,
    Role, Sidecar, Token, TokenDigest, Unnamed, VariableRow,
};
pub use people::{Grant, Member, Named, NewMember, Person, Verified};

use crate::approval::{Answer, AskRow, Asked, Binding, Decision};
use crate::audit::{Chain, Checkpoint, Entry, Kind, Verdict};
use crate::secret::SecretName;
use crate::vault::store::{SealedValue, SecretRow, Store};

/// The result of a call, later.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, RegistryError>> + Send + 'a>>;

/// A request that may come twice and must count once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Who asks: the API token's id.
    pub owner: String,
    /// The key that was sent.
    pub key: String,
    /// A digest of the request, keyed: a request may hold a value that could be guessed from a plain digest.
    pub request: [u8; 32],
    /// What the request makes.
    pub makes: ObjectRef,
}

/// Who did it, in records: the server, by itself.
pub const SELF: &str = "doorward";
/// Who did it, in records: whoever has the database and the command line.
pub const OWNER: &str = "owner";

/// What is kept in the transaction of a write, beside the write.
#[derive(Clone, Debug)]
pub struct Act {
    /// When, unix seconds.
    pub at: i64,
    /// The audit line; the store sets its `revision`.
    pub entry: Option<Entry>,
    /// The key under which the request counts once.
    pub idempotency: Option<Idempotency>,
    /// Further audit lines, each of another project that the write concerns: a copy is one of where it comes from as well.
    pub also: Vec<(String, Entry)>,
}

impl Act {
    /// A write with neither an audit line nor a key.
    pub fn at(at: i64) -> Self {
        Self { at, entry: None, idempotency: None, also: Vec::new() }
    }

    /// A write of the installation's own ([`SELF`] or [`OWNER`]), with a record that says what it is.
    pub fn by(at: i64, who: &'static str, what: impl Into<Cow<'static, str>>) -> Self {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(at.max(0).unsigned_abs());
        let mut entry = Entry::new(Kind::Control, time);
        entry.agent = Some(who.into());
        entry.verdict = Some(Verdict::Allow);
        entry.reason = what.into();
        Self { entry: Some(entry), ..Self::at(at) }
    }
}

/// Which version a writer has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// This one: any other is [`RegistryError::Stale`].
    Version(u64),
    /// Whatever is there.
    Any,
}

/// A part of a list, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The name after which it begins; `None`: from the first.
    pub after: Option<String>,
    /// The most rows.
    pub limit: u32,
}

/// Everything that one agent is entitled to, as of one revision.
#[derive(Clone, Debug)]
pub struct AgentState {
    /// The revision.
    pub revision: u64,
    /// The agent.
    pub agent: Agent,
    /// Its attachments.
    pub attachments: Vec<Attachment>,
    /// The documents that are attached.
    pub documents: Vec<Document>,
    /// The secrets that are attached, that an environment variable shows, or that an attached document names and does not
    /// withhold, with their sealed values.
    pub secrets: Vec<(SecretRow, Vec<SealedValue>)>,
    /// The variables that its environment variables show.
    pub variables: Vec<VariableRow>,
}

/// The server's state.
pub trait Registry: Send + Sync + std::fmt::Debug {
    /// The vault's side of the same database, each of whose writes is this act: what it changes or deletes has to be of the
    /// version that was seen, in a project that is there, and what is deleted must be in nobody's use
    /// ([`StoreError::Refused`](crate::vault::store::StoreError::Refused)).
    fn acting(&self, act: Act, seen: Seen) -> Arc<dyn Store>;

    // Projects.

    /// Makes a project; returns its version.
    fn add_project(&self, project: NewProject, act: Act) -> Reply<'_, u64>;
    /// Changes a project's description and settings; the name has to be that of a project.
    fn replace_project(&self, project: NewProject, seen: Seen, act: Act) -> Reply<'_, u64>;
    /// Removes a project that holds nothing.
    fn delete_project<'a>(&'a self, name: &'a str, seen: Seen, act: Act) -> Reply<'a, ()>;
    /// One project.
    fn project<'a>(&'a self, name: &'a str) -> Reply<'a, Option<Project>>;
    /// The projects.
    fn projects(&self, page: Page) -> Reply<'_, Vec<Project>>;

    // Documents.

    /// Stores a document of a new name.
    fn add_document<'a>(&'a self, project: &'a str, document: NewDocument, act: Act) -> Reply<'a, u64>;
    /// Stores a document in the place of the one of its kind and name. Agents to which it is attached keep it, unless its
    /// claims clash with another of their attachments.
    fn replace_document<'a>(
        &'a self,
        project: &'a str,
        document: NewDocument,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, u64>;
    /// Removes a document that is attached to no agent.
    fn delete_document<'a>(
        &'a self,
        project: &'a str,
        kind: DocumentKind,
        name: &'a str,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, ()>;
    /// One document.
    fn document<'a>(
        &'a self,
        project: &'a str,
        kind: DocumentKind,
        name: &'a str,
    ) -> Reply<'a, Option<Document>>;
    /// The documents of a kind.
    fn documents<'a>(&'a self, project: &'a str, kind: DocumentKind, page: Page) -> Reply<'a, Vec<Document>>;
    /// The same without their texts.
    fn document_heads<'a>(
        &'a self,
        project: &'a str,
        kind: DocumentKind,
        page: Page,
    ) -> Reply<'a, Vec<Document>>;

    /// Notes that the credential of a document of this version was seen to work.
    fn verify_document<'a>(
        &'a self,
        project: &'a str,
        kind: DocumentKind,
        name: &'a str,
        who: &'a str,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, u64>;
    /// When credentials of the documents of a kind were seen to work, by the documents' names.
    fn verified<'a>(&'a self, project: &'a str, kind: DocumentKind) -> Reply<'a, Vec<(String, Verified)>>;

    // Secrets: `acting(..)` gives the store that adds, rotates, rolls back and deletes them.

    /// What is known of the secrets of a project.
    fn secrets_page<'a>(&'a self, project: &'a str, page: Page) -> Reply<'a, Vec<SecretRow>>;
    /// What uses an object: documents and agents that name it.
    fn users<'a>(&'a self, project: &'a str, object: &'a ObjectRef) -> Reply<'a, Vec<ObjectRef>>;
    /// Notes when secrets were last used; an earlier time than the one that is kept changes nothing. No revision.
    fn secrets_used<'a>(&'a self, project: &'a str, used: Vec<(SecretName, i64)>) -> Reply<'a, ()>;
    /// When secrets of a project were last used, unix seconds.
    fn last_used<'a>(&'a self, project: &'a str) -> Reply<'a, Vec<(SecretName, i64)>>;

    // Variables: new ones come with `acting(..).insert`.

    /// Changes a variable's value.
    fn replace_variable<'a>(
        &'a self,
        project: &'a str,
        name: &'a str,
        value: &'a str,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, u64>;
    /// Removes a variable that no agent's environment shows.
    fn delete_variable<'a>(&'a self, project: &'a str, name: &'a str, seen: Seen, act: Act) -> Reply<'a, ()>;
    /// One variable.
    fn variable<'a>(&'a self, project: &'a str, name: &'a str) -> Reply<'a, Option<VariableRow>>;
    /// The variables of a project.
    fn variables_page<'a>(&'a self, project: &'a str, page: Page) -> Reply<'a, Vec<VariableRow>>;

    // Agents.

    /// Makes an agent.
    fn add_agent<'a>(&'a self, project: &'a str, agent: NewAgent, act: Act) -> Reply<'a, u64>;
    /// Changes an agent's description; `NewAgent`'s digest and expiry take the place of its token, which ends a revocation. Its
    /// identities stay as they are.
    fn replace_agent<'a>(&'a self, project: &'a str, agent: NewAgent, seen: Seen, act: Act)
    -> Reply<'a, u64>;
    /// Gives an agent these identities, in the place of those that it has.
    fn identify_agent<'a>(
        &'a self,
        project: &'a str,
        name: &'a str,
        identities: Vec<Identity>,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, u64>;
    /// Ends an agent's token at once.
    fn revoke_agent<'a>(&'a self, project: &'a str, name: &'a str, seen: Seen, act: Act) -> Reply<'a, u64>;
    /// Removes an agent with its attachments.
    fn delete_agent<'a>(&'a self, project: &'a str, name: &'a str, seen: Seen, act: Act) -> Reply<'a, ()>;
    /// One agent.
    fn agent<'a>(&'a self, project: &'a str, name: &'a str) -> Reply<'a, Option<Agent>>;
    /// The agents of a project.
    fn agents<'a>(&'a self, project: &'a str, page: Page) -> Reply<'a, Vec<Agent>>;
    /// Whose token it is; also of an agent that is revoked or whose token has ended: the caller looks.
    fn agent_by_token<'a>(&'a self, digest: &'a TokenDigest) -> Reply<'a, Option<Agent>>;
    /// Whose identity it is; also of an agent that is revoked or has ended: the caller looks.
    fn agent_by_identity<'a>(&'a self, identity: &'a Identity) -> Reply<'a, Option<Agent>>;
    /// Everything that an agent is entitled to, as of one moment.
    fn agent_state<'a>(&'a self, project: &'a str, name: &'a str) -> Reply<'a, Option<AgentState>>;
    /// The same for several of one project, in the order of their names; what they have in common is read once.
    fn agent_states<'a>(
        &'a self,
        project: &'a str,
        names: &'a [String],
    ) -> Reply<'a, Vec<Option<AgentState>>>;
    /// Notes which sidecars were seen, and what they acknowledged, in one commit. What is of no agent is passed over. No
    /// revision.
    fn acknowledge<'a>(&'a self, all: &'a [Noted]) -> Reply<'a, ()>;

    // Approvals.

    /// Asks for a request, which `binding` is what will be sent of: gives an approval out, to this request alone if it is for
    /// once, or opens a question, of which each binding has one.
    fn ask<'a>(&'a self, binding: &'a Binding, asked: Asked<'a>, now: i64) -> Reply<'a, Answer>;
    /// The questions of a project.
    fn asks<'a>(&'a self, project: &'a str, page: Page) -> Reply<'a, Vec<AskRow>>;
    /// One question.
    fn asked<'a>(&'a self, project: &'a str, id: &'a str) -> Reply<'a, Option<AskRow>>;
    /// Decides a question that is open, approved or denied, under the document that it was asked under; `by` whom.
    fn decide_ask<'a>(
        &'a self,
        project: &'a str,
        id: &'a str,
        decision: (Decision, &'a str),
        seen: Seen,
        act: Act,
    ) -> Reply<'a, AskRow>;

    // Attachments.

    /// Attaches; `claims` are those of a secret or environment variable (a document brings its own).
    fn attach<'a>(
        &'a self,
        project: &'a str,
        agent: &'a str,
        what: Attached,
        claims: Vec<String>,
        act: Act,
    ) -> Reply<'a, u64>;
    /// Detaches what is of the revision that was seen.
    fn detach<'a>(
        &'a self,
        project: &'a str,
        agent: &'a str,
        what: &'a Attached,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, ()>;
    /// What is attached to an agent, sorted by kind and name; `now` tells which sidecars count for `synced`.
    fn attachments<'a>(
        &'a self,
        project: &'a str,
        agent: &'a str,
        now: i64,
    ) -> Reply<'a, Option<Vec<Attachment>>>;

    // API tokens. `project`: `None` are the installation's own.

    /// Stores a token; its id, and its name within its project, are unique.
    fn add_token(&self, token: NewToken, act: Act) -> Reply<'_, u64>;
    /// Removes a token.
    fn delete_token<'a>(
        &'a self,
        project: Option<&'a str>,
        id: &'a str,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, ()>;
    /// Whose token it is; also of one that has ended: the caller looks.
    fn token_by_digest<'a>(&'a self, digest: &'a TokenDigest) -> Reply<'a, Option<Token>>;
    /// One token.
    fn token<'a>(&'a self, project: Option<&'a str>, id: &'a str) -> Reply<'a, Option<Token>>;
    /// The tokens of a project, sorted by id.
    fn tokens<'a>(&'a self, project: Option<&'a str>, page: Page) -> Reply<'a, Vec<Token>>;
    /// Notes that a token was used, to the minute. No revision.
    fn token_used<'a>(&'a self, id: &'a str, at: i64) -> Reply<'a, ()>;

    // People. `project`: `None` are members of the installation.

    /// Adds a member; who is one already, by that name, is [`RegistryError::Exists`].
    fn add_member(&self, member: NewMember, act: Act) -> Reply<'_, u64>;
    /// Changes a member's role.
    fn replace_member<'a>(
        &'a self,
        project: Option<&'a str>,
        id: &'a str,
        role: Role,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, u64>;
    /// Removes a member; with the last membership of a person his tokens end.
    fn delete_member<'a>(
        &'a self,
        project: Option<&'a str>,
        id: &'a str,
        seen: Seen,
        act: Act,
    ) -> Reply<'a, ()>;
    /// One member.
    fn member<'a>(&'a self, project: Option<&'a str>, id: &'a str) -> Reply<'a, Option<Member>>;
    /// The members of a project, sorted by id.
    fn members<'a>(&'a self, project: Option<&'a str>, page: Page) -> Reply<'a, Vec<Member>>;
    /// What a person may do now.
    fn grants<'a>(&'a self, person: &'a Person) -> Reply<'a, Vec<Grant>>;
    /// Somebody logs in: who was named by this verified e-mail address is this person from now on, and gets the token.
    /// [`RegistryError::Missing`] if he is no member anywhere.
    fn sign_in(&self, token: NewToken, email: Option<String>, act: Act) -> Reply<'_, Vec<Grant>>;

    // Idempotency.

    /// What a request with this key made: [`RegistryError::KeyReused`] if it was another request. Writes check again.
    fn repeated<'a>(&'a self, request: &'a Idempotency, now: i64) -> Reply<'a, Option<ObjectRef>>;

    // Changes.

    /// The last revision.
    fn latest(&self) -> Reply<'_, u64>;
    /// Changes after a revision, of a project or of all, oldest first, and the revision up to which they are complete.
    fn changes<'a>(
        &'a self,
        project: Option<&'a str>,
        since: u64,
        limit: u32,
    ) -> Reply<'a, (Vec<ChangeRow>, u64)>;
    /// The last revision as it rises: by writes of this process at once, by those of others while [`Registry::follow`] runs.
    fn watch(&self) -> watch::Receiver<u64>;
    /// Follows writes of other processes, for as long as it is polled; returns only if the database fails.
    fn follow(&self) -> Reply<'_, ()>;

    // Audit.

    /// Keeps the line of what changed nothing: a refusal, a read that is recorded.
    fn record<'a>(&'a self, project: Option<&'a str>, entry: Entry) -> Reply<'a, ()>;
    /// Keeps a sidecar's lines (each with its links, without newline); those that are kept already are skipped. Returns the
    /// number of the source's last line.
    fn ship<'a>(&'a self, project: &'a str, source: &'a str, lines: Vec<String>) -> Reply<'a, u64>;
    /// Lines of a source after a number, oldest first. With a project, only those that concern it.
    fn audit_lines<'a>(
        &'a self,
        project: Option<&'a str>,
        source: &'a str,
        after: u64,
        limit: u32,
    ) -> Reply<'a, Vec<AuditLine>>;
    /// The sources of a project's lines, or of all, with the number of the last line of each.
    fn audit_sources<'a>(&'a self, project: Option<&'a str>) -> Reply<'a, Vec<(String, u64)>>;
    /// The source of the project, of those that begin with `prefix`, that has this line.
    fn chain_with<'a>(&'a self, project: &'a str, prefix: &'a str, line: Chain) -> Reply<'a, Option<String>>;
    /// Where every chain ends, and its last checkpoint; sources by the names under which they are stored.
    fn audit_heads(&self) -> Reply<'_, Vec<AuditHead>>;
    /// Keeps a checkpoint, unless that line has one.
    fn add_checkpoint<'a>(&'a self, checkpoint: &'a Checkpoint) -> Reply<'a, ()>;
    /// The checkpoints of a source after a number, oldest first.
    fn checkpoints<'a>(
        &'a self,
        project: Option<&'a str>,
        source: &'a str,
        after: u64,
        limit: u32,
    ) -> Reply<'a, Vec<Checkpoint>>;
    /// Drops the lines and checkpoints of a stored source before a line, which stays. Whoever calls has verified them.
    fn drop_audit<'a>(&'a self, source: &'a str, before: u64) -> Reply<'a, u64>;
}
