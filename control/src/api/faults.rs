//! What the registry, the vault and the database refuse, as problems of the API: one place for what each is told as.

use super::problem::Problem;
use super::{call, secrets, token};
use crate::refusal::Code;
use crate::registry::RegistryError;
use crate::vault::local::WriteError;
use crate::vault::store::StoreError;

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Exists(object) => Self::new(Code::Dw6009, format!("{object} exists already")),
            RegistryError::Missing(_) => Self::missing(),
            RegistryError::Stale { current, .. } => call::stale(current),
            RegistryError::InUse { object, users } => {
                let users = users.iter().map(ToString::to_string).collect();
                Self::new(Code::Dw6002, format!("{object} is in use")).used_by(users)
            }
            RegistryError::Dangling(object) => {
                Self::new(Code::Dw6016, format!("there is no such {} in this project", object.kind))
            }
            RegistryError::Claimed { agent, claim, other } => {
                let detail = format!("agent {agent} has {other} attached, which covers {claim} too");
                Self::new(Code::Dw6019, detail).used_by(vec![other.to_string()])
            }
            RegistryError::Repeated(object) => {
                Self::new(Code::Dw6017, format!("this very call was made at the same time; it made {object}"))
            }
            RegistryError::KeyReused => {
                Self::new(Code::Dw6017, "this Idempotency-Key was used for another call")
            }
            RegistryError::Forgotten(revision) => Self::new(
                Code::Dw6003,
                format!("the changes after revision {revision} are no longer kept; read the objects again"),
            ),
            RegistryError::Unbound(_) => secrets::unbound(),
            RegistryError::Unchained { seq, .. } => {
                Self::new(Code::Dw6016, format!("the lines do not follow line {seq} of their chain"))
            }
            // Not which agent: it may be of a project that the caller knows nothing of.
            RegistryError::Identified(identity) => {
                let detail = format!("another agent of this installation has the identity {identity}");
                Self::new(Code::Dw6009, detail)
            }
            RegistryError::Over(object) => Self::new(
                Code::Dw6010,
                format!(
                    "{object} cannot be decided any more: it is decided, over, or asked under other rules"
                ),
            ),
            RegistryError::Crowded(what) => Self::new(Code::Dw6014, format!("there are too many {what}")),
            RegistryError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::SecretExists(name) => {
                Self::new(Code::Dw6009, format!("secret {name} exists already"))
            }
            StoreError::VariableExists(name) => {
                Self::new(Code::Dw6009, format!("variable {name} exists already"))
            }
            StoreError::NoSecret(_) => Self::missing(),
            StoreError::Raced(name) => {
                Self::new(Code::Dw6010, format!("secret {name} was changed by somebody else"))
            }
            StoreError::NoEarlier(name) => {
                Self::new(Code::Dw6016, format!("secret {name} has no earlier version"))
            }
            StoreError::Refused(refused) => (*refused).into(),
            StoreError::KeyRotated => Self::new(Code::Dw6018, "a key was rotated meanwhile")
                .retry_after(std::time::Duration::from_secs(1)),
            StoreError::Nul => Self::new(Code::Dw6016, "a text holds a NUL, which no database takes"),
            error @ (StoreError::File(_)
            | StoreError::NoVault(_)
            | StoreError::Database(_)
            | StoreError::Tables(_)
            | StoreError::Damaged(_)) => {
                tracing::error!(%error, "the database failed");
                Self::new(Code::Dw6018, "the database cannot be used now")
                    .retry_after(std::time::Duration::from_secs(1))
            }
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Value(error) => {
                Self::new(Code::Dw6016, format!("`values`: {}", error.told_as("of the secret")))
            }
            WriteError::Store(error) => error.into(),
            WriteError::Seal(error) => {
                tracing::error!(%error, "sealing failed");
                Self::new(Code::Dw6020, "the values could not be sealed")
            }
            WriteError::Master(error) => {
                tracing::error!(%error, "the master key is not to be had");
                Self::new(Code::Dw5001, "the vault's master key is not to be had now")
            }
        }
    }
}

impl From<token::NoRandom> for Problem {
    fn from(_: token::NoRandom) -> Self {
        Self::new(Code::Dw6020, "the system gave no random bytes")
    }
}
