//! Why the registry refuses, each a cause that an API's answer tells.

use super::{Identity, ObjectRef};
use crate::vault::store::StoreError;

/// Why the registry did not do it.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The name is taken (409).
    #[error("{0} exists already")]
    Exists(ObjectRef),
    /// There is no such object in that project (404).
    #[error("{0} does not exist")]
    Missing(ObjectRef),
    /// The object is not of the version that the writer has seen (412).
    #[error("{object} was changed meanwhile")]
    Stale {
        /// Which.
        object: ObjectRef,
        /// Its version.
        current: u64,
    },
    /// It cannot be deleted while others use it (409).
    #[error("{object} is in use by {}", listed(.users))]
    InUse {
        /// Which.
        object: ObjectRef,
        /// By what, in order; at most [`USERS_MAX`].
        users: Vec<ObjectRef>,
    },
    /// It names what is not there (409).
    #[error("there is no {0}")]
    Dangling(ObjectRef),
    /// The agent has another attachment that covers the same (409).
    #[error("agent {agent} has {other}, which covers {claim} too")]
    Claimed {
        /// The agent.
        agent: String,
        /// What both cover.
        claim: String,
        /// The attachment that is there.
        other: ObjectRef,
    },
    /// The request was made before, with the same key and content: this is the object that it made.
    #[error("this request was made before; it made {0}")]
    Repeated(ObjectRef),
    /// The idempotency key was used for another request (422).
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// The changes after that revision are no longer kept (410).
    #[error("the changes after revision {0} are no longer kept")]
    Forgotten(u64),
    /// The secret would be bound to no host, in a project that takes no such secrets (422).
    #[error("{0} is bound to no host, and its project takes no such secrets")]
    Unbound(ObjectRef),
    /// The shipped lines do not continue the source's chain (409).
    #[error("the lines do not continue the chain of {source_name}, which ends at {seq}")]
    Unchained {
        /// Whose.
        source_name: String,
        /// The last line that is kept.
        seq: u64,
    },
    /// Another agent, of whichever project, has that identity (409).
    #[error("another agent has this identity")]
    Identified(Identity),
    /// It is decided already, or its time is over (409).
    #[error("{0} cannot be decided any more")]
    Over(ObjectRef),
    /// There are as many of these as one owner may have.
    #[error("there are too many {0}")]
    Crowded(&'static str),
    /// The database failed, or the vault's side refused.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for RegistryError {
    fn from(error: StoreError) -> Self {
        if let StoreError::Refused(refused) = error { *refused } else { Self::Store(error) }
    }
}

impl From<RegistryError> for StoreError {
    fn from(error: RegistryError) -> Self {
        if let RegistryError::Store(error) = error { error } else { Self::Refused(Box::new(error)) }
    }
}

/// The most users that [`RegistryError::InUse`] lists.
pub const USERS_MAX: usize = 100;

fn listed(users: &[ObjectRef]) -> String {
    users.iter().map(ObjectRef::to_string).collect::<Vec<_>>().join(", ")
}
