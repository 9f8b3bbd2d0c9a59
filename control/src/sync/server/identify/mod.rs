//! Who calls: credentials are told apart by their form, before anything is looked up, and each kind has one way to its agent.
//!
//! The agent's own token ([`tokens`]); the token of a Kubernetes ServiceAccount, which the API server of the cluster reviews
//! ([`accounts`]); a client certificate that TLS has verified ([`certificates`]). Refuses two credentials at once, tokens of
//! every other class, and an identity that is no agent's. Invariant: who is let in is an agent's sidecar as of the database
//! that is there now, whatever was kept of a review.

mod accounts;
mod certificates;
mod jwt;
mod tokens;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::request::Parts;
use sha2::{Digest, Sha256};

pub use self::accounts::{ReviewError, Reviews};
pub use self::certificates::Certified;

use self::accounts::Accounts;
use self::certificates::Certificates;
use self::jwt::Jwt;
use self::tokens::Tokens;
use crate::registry::{Agent, Identity, Registry, RegistryError, TokenDigest};
use crate::sync::token::{SIDECAR_PREFIX, SidecarToken, is_jwt};

/// What came with a call, before anybody has looked whether it is good.
#[derive(Debug)]
pub(super) enum Credential {
    Token(TokenDigest),
    Account(Jwt),
    Certificate(Certified),
}

/// What is no credential, or is of a class that opens nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoCredential {
    /// None, several, or one that is not in the form of its class.
    Unknown,
    /// A token of another class, told by its prefix.
    Class,
}

impl Credential {
    /// The only one of a call.
    pub(super) fn of(head: &Parts) -> Result<Self, NoCredential> {
        let mut all = head.headers.get_all(AUTHORIZATION).iter();
        let certified = head.extensions.get::<Certified>();
        let given = match (all.next(), all.next(), certified) {
            (Some(given), None, None) => given.to_str().map_err(|_| NoCredential::Unknown)?,
            (None, None, Some(certified)) => return Ok(Self::Certificate(certified.clone())),
            // Of two, one would be chosen by whoever wrote this.
            (..) => return Err(NoCredential::Unknown),
        };
        let (scheme, token) = given.split_once(' ').ok_or(NoCredential::Unknown)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(NoCredential::Unknown);
        }
        if is_jwt(token.as_bytes()) {
            return Jwt::parse(token).map(Self::Account).ok_or(NoCredential::Unknown);
        }
        if token.starts_with("dw") && !token.starts_with(SIDECAR_PREFIX) {
            return Err(NoCredential::Class);
        }
        let token = SidecarToken::parse(token).map_err(|_| NoCredential::Unknown)?;
        // exposed: only its digest is looked up
        Ok(Self::Token(TokenDigest(Sha256::digest(token.secret().expose()).into())))
    }

    /// What tells it from others, to those who count.
    pub(super) fn digest(&self) -> [u8; 32] {
        match self {
            Self::Token(digest) => digest.0,
            Self::Account(jwt) => *jwt.digest(),
            Self::Certificate(certified) => Sha256::digest(certified.id.to_string()).into(),
        }
    }
}

/// By what an agent's sidecar was known.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Shown {
    Token(TokenDigest),
    Identity(Identity),
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token"),
            Self::Identity(identity) => write!(f, "{identity}"),
        }
    }
}

impl Shown {
    /// Whether it is still the agent's, and the agent good.
    pub(super) fn opens(&self, agent: &Agent, now: i64) -> bool {
        let is_its = match self {
            Self::Token(digest) => agent.digest.matches(digest),
            Self::Identity(identity) => agent.identities.contains(identity),
        };
        is_its && agent.revoked.is_none() && agent.expires.is_none_or(|end| now < end)
    }
}

/// A sidecar that has shown whose it is.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) agent: Agent,
    pub(super) shown: Shown,
    /// When what was shown ends by itself, unix seconds.
    pub(super) ends: Option<i64>,
}

/// Why nobody was let in.
#[derive(Debug)]
pub(super) enum Unproven {
    /// Unknown, ended, revoked, or nobody's: told apart nowhere.
    Unknown,
    /// The server was given no such way.
    NoSuchWay,
    /// Whoever vouches for it does not answer; it was logged.
    Unanswered,
    /// It is asked too often.
    Often(Duration),
    /// The database.
    Database(RegistryError),
}

impl From<RegistryError> for Unproven {
    fn from(error: RegistryError) -> Self {
        Self::Database(error)
    }
}

/// The answer of a way, later.
pub(super) type Proving<'a> = Pin<Box<dyn Future<Output = Result<Proof, Unproven>> + Send + 'a>>;

/// One way from a credential to an agent.
pub(super) trait Identify: Send + Sync + fmt::Debug {
    /// Whose sidecar shows this, as of now.
    fn identify<'a>(&'a self, credential: &'a Credential, now: i64) -> Proving<'a>;
}

/// All ways, by the kind of credential.
#[derive(Debug)]
pub(super) struct Ways {
    tokens: Tokens,
    certificates: Certificates,
    accounts: Option<Accounts>,
}

impl Ways {
    pub(super) fn new(registry: &Arc<dyn Registry>, reviews: Option<Arc<Reviews>>) -> Self {
        let registry = || Arc::clone(registry);
        Self {
            tokens: Tokens(registry()),
            certificates: Certificates(registry()),
            accounts: reviews.map(|reviews| Accounts { registry: registry(), reviews }),
        }
    }

    /// Whose sidecar it is.
    pub(super) async fn identify(&self, credential: &Credential, now: i64) -> Result<Proof, Unproven> {
        let way: &dyn Identify = match (credential, &self.accounts) {
            (Credential::Token(_), _) => &self.tokens,
            (Credential::Certificate(_), _) => &self.certificates,
            (Credential::Account(_), Some(accounts)) => accounts,
            (Credential::Account(_), None) => return Err(Unproven::NoSuchWay),
        };
        let proof = way.identify(credential, now).await?;
        let is_good = proof.shown.opens(&proof.agent, now) && proof.ends.is_none_or(|end| now < end);
        if is_good { Ok(proof) } else { Err(Unproven::Unknown) }
    }
}

/// The agent that an identity is bound to.
async fn bound(registry: &Arc<dyn Registry>, identity: Identity, ends: i64) -> Result<Proof, Unproven> {
    let agent = registry.agent_by_identity(&identity).await?;
    let Some(agent) = agent else {
        tracing::warn!(%identity, "an identity that is verified, and no agent's");
        return Err(Unproven::Unknown);
    };
    Ok(Proof { agent, shown: Shown::Identity(identity), ends: Some(ends) })
}
