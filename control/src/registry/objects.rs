//! What the server keeps, as data: one type for each kind of object, and the names of the kinds.
//!
//! Nothing here can hold a secret's value or a token: tokens are kept as SHA-256 digests, in a type with a blank Debug.

use std::fmt;
use std::str::FromStr;

use subtle::ConstantTimeEq;

use super::identity::Identity;
use super::people::Person;
use crate::audit::{Chain, Checkpoint};
use crate::secret::SecretName;

/// The kinds of objects, as changes, users and conflicts name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A project.
    Project,
    /// A secret.
    Secret,
    /// A variable.
    Variable,
    /// A provider document.
    Provider,
    /// A model provider document.
    ModelProvider,
    /// An agent.
    Agent,
    /// What is attached to an agent; named after the agent.
    Attachment,
    /// An API token.
    Token,
    /// A question whether a request may go out.
    Ask,
    /// A person who may log in.
    Member,
}

impl ObjectKind {
    /// As stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Secret => "secret",
            Self::Variable => "variable",
            Self::Provider => "provider",
            Self::ModelProvider => "model-provider",
            Self::Agent => "agent",
            Self::Attachment => "attachment",
            Self::Token => "token",
            Self::Ask => "ask",
            Self::Member => "member",
        }
    }

    pub(crate) const ALL: [Self; 10] = [
        Self::Project,
        Self::Secret,
        Self::Variable,
        Self::Provider,
        Self::ModelProvider,
        Self::Agent,
        Self::Attachment,
        Self::Token,
        Self::Ask,
        Self::Member,
    ];
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names nothing of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {0}")]
pub struct Unnamed(&'static str);

impl FromStr for ObjectKind {
    type Err = Unnamed;

    fn from_str(text: &str) -> Result<Self, Unnamed> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(Unnamed("kind of object"))
    }
}

/// One object of a project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// What a token may do, from most to least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Everything, also other owners.
    Owner,
    /// Everything in its projects.
    Admin,
    /// Secrets, providers, agents.
    Manager,
    /// Providers and agents.
    Developer,
    /// Reads.
    Viewer,
}

impl Role {
    /// All of them, from most to least.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Admin, Self::Manager, Self::Developer, Self::Viewer];

    /// As stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Manager => "manager",
            Self::Developer => "developer",
            Self::Viewer => "viewer",
        }
    }
}

impl FromStr for Role {
    type Err = Unnamed;

    fn from_str(text: &str) -> Result<Self, Unnamed> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or(Unnamed("role"))
    }
}

/// The SHA-256 of a token: what is stored of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest(pub [u8; 32]);

impl TokenDigest {
    /// Compares in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest")
    }
}

/// What a project permits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProjectSettings {
    /// Whether secrets without bound hosts may be stored.
    pub unbound_secrets: bool,
    /// Whether first and last characters of long values are kept in readable form when they are entered.
    pub hints: bool,
}

/// A project to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProject {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What it permits.
    pub settings: ProjectSettings,
}

/// A project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What it permits.
    pub settings: ProjectSettings,
    /// When it was made, unix seconds.
    pub created: i64,
    /// The revision of its last write.
    pub version: u64,
}

/// Which kind of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DocumentKind {
    /// A `Provider`.
    Provider,
    /// A `ModelProvider`.
    ModelProvider,
}

impl DocumentKind {
    /// As a kind of object.
    pub fn object(self) -> ObjectKind {
        match self {
            Self::Provider => ObjectKind::Provider,
            Self::ModelProvider => ObjectKind::ModelProvider,
        }
    }
}

/// A provider document to be stored; whoever hands it in has parsed and checked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDocument {
    /// Which kind.
    pub kind: DocumentKind,
    /// Its name.
    pub name: String,
    /// The document as it was entered.
    pub text: String,
    /// The provider's type (`github`).
    pub type_name: String,
    /// The secrets that it names: they have to be there, and cannot be deleted while it names them.
    pub uses: Vec<SecretName>,
    /// What no two documents on one agent may both cover, for instance `type:github`, `host:api.github.com:443`.
    pub claims: Vec<String>,
    /// Whether its secrets are withheld: its destination was changed and nobody who may manage secrets has approved it.
    pub withheld: bool,
}

/// A stored provider document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What was handed in.
    pub document: NewDocument,
    /// When it was made, unix seconds.
    pub created: i64,
    /// When it was last written, unix seconds.
    pub changed: i64,
    /// The revision of its last write.
    pub version: u64,
}

/// A variable with what the server knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableRow {
    /// Its name.
    pub name: String,
    /// Its value: readable.
    pub value: String,
    /// When it was made, unix seconds.
    pub created: i64,
    /// The revision of its last write; 0 for one that an earlier program wrote.
    pub version: u64,
}

/// An agent to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAgent {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its token's digest.
    pub digest: TokenDigest,
    /// When the token ends, unix seconds.
    pub expires: Option<i64>,
    /// Who its sidecars are, beside the holders of its token.
    pub identities: Vec<Identity>,
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The project that it belongs to.
    pub project: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its token's digest.
    pub digest: TokenDigest,
    /// When it was made, unix seconds.
    pub created: i64,
    /// When its token, and with it each other way of its sidecars, ends, unix seconds.
    pub expires: Option<i64>,
    /// When it was revoked, unix seconds.
    pub revoked: Option<i64>,
    /// Who its sidecars are, beside the holders of its token; in order.
    pub identities: Vec<Identity>,
    /// The revision of its last write.
    pub version: u64,
    /// The sidecars that have asked on its behalf, last seen first.
    pub sidecars: Vec<Sidecar>,
}

/// A running sidecar of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// What its process calls itself.
    pub id: String,
    /// The revision that it acknowledged; 0: none yet.
    pub acknowledged: u64,
    /// When it was last seen, unix seconds.
    pub seen: i64,
}

/// A sidecar, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The agent's project.
    pub project: String,
    /// The agent.
    pub agent: String,
    /// Its sidecar.
    pub sidecar: Sidecar,
}

/// What an environment variable of an agent holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvSource {
    /// A variable's value.
    Variable(String),
    /// A secret's value, which the agent itself gets to see.
    Secret(SecretName),
}

/// What is attached to an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attached {
    /// A secret.
    Secret(SecretName),
    /// A provider or model provider.
    Document(DocumentKind, String),
    /// An environment variable.
    Env {
        /// Its name in the agent.
        name: String,
        /// What it holds.
        source: EnvSource,
    },
}

impl Attached {
    /// The kind as stored and shown.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Secret(_) => "secret",
            Self::Document(kind, _) => kind.object().name(),
            Self::Env { .. } => "env",
        }
    }

    /// The name beside the kind; with the kind it is unique for an agent.
    pub fn name(&self) -> &str {
        match self {
            Self::Secret(name) => name.as_str(),
            Self::Document(_, name) | Self::Env { name, .. } => name,
        }
    }
}

/// An attachment as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// What is attached.
    pub what: Attached,
    /// When it was attached, unix seconds.
    pub created: i64,
    /// The revision of its last change, or of the last change of what is attached.
    pub revision: u64,
    /// Whether every sidecar of the agent that was seen in the last five minutes has acknowledged `revision`, and there is one.
    pub synced: bool,
    /// The revision that all of these sidecars have acknowledged; `None`: there is none of them.
    pub acknowledged: Option<u64>,
    /// When a sidecar of the agent was last seen, unix seconds.
    pub seen: Option<i64>,
}

/// An API token to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Its id: shown, no secret.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its digest.
    pub digest: TokenDigest,
    /// The project that it is for; `None`: the installation.
    pub project: Option<String>,
    /// What it may do there.
    pub role: Role,
    /// When it ends, unix seconds.
    pub expires: Option<i64>,
    /// Who logged in, for one that a login gave: then `role` says nothing, and the person's memberships count.
    pub person: Option<Person>,
}

/// An API token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What was handed in.
    pub token: NewToken,
    /// When it was made, unix seconds.
    pub created: i64,
    /// When it was last used, unix seconds, to the minute.
    pub last_used: Option<i64>,
    /// The revision of its last write.
    pub version: u64,
}

/// One change, as watchers get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRow {
    /// Its number; one transaction may have several rows of one number.
    pub revision: u64,
    /// The project that it concerns; `None`: the installation.
    pub project: Option<String>,
    /// What changed; `None`: an object of a kind that only a later version knows.
    pub object: Option<ObjectRef>,
    /// When, unix seconds.
    pub at: i64,
}

/// An audit line as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// Whose chain it belongs to: `control`, or a sidecar's.
    pub source: String,
    /// Its number in the chain.
    pub seq: u64,
    /// The line, without its newline.
    pub line: String,
}

/// Where a chain of the audit stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// The source, by the name under which it is stored.
    pub source: String,
    /// Its last line.
    pub end: Chain,
    /// Its last checkpoint.
    pub signed: Option<Checkpoint>,
}
