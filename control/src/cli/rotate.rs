//! `doorward rotate secret` and `doorward rollback secret`: a new version of the values, and the one before it again.
//!
//! Bound hosts and expiry stay as they are unless they are given; the running proxy takes the new version by itself.

use clap::{Args, Subcommand};

use super::add::TermArgs;
use super::values::ValueArgs;
use super::vault::{VaultArgs, block_on, no_secret, project};
use super::{Env, Exit, Failure};
use crate::secret::SecretName;
use crate::vault::local::Change;

/// Give something a new value.
#[derive(Subcommand, Clone, Debug)]
pub enum Rotate {
    /// A secret: all of its keys.
    #[command(visible_alias = "secrets")]
    Secret(RotateSecret),
}

impl Rotate {
    /// Rotates it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let Self::Secret(secret) = self;
        secret.run(env)
    }
}

/// Give a secret new values; the version before stays for `rollback`.
#[derive(Args, Clone, Debug)]
pub struct RotateSecret {
    /// Its name.
    pub name: SecretName,
    #[command(flatten)]
    values: ValueArgs,
    #[command(flatten)]
    terms: TermArgs,
    #[command(flatten)]
    vault: VaultArgs,
}

impl RotateSecret {
    fn run(self, env: &Env) -> Result<Exit, Failure> {
        let project = project(env)?;
        let (expires, hosts) = (self.terms.end()?, self.terms.bound_hosts()?);
        block_on(async {
            let store = self.vault.store(env).await?;
            let Some(row) = store.secret(project, &self.name).await? else {
                return Err(no_secret(&store, project, &self.name).await);
            };
            let values = self.values.read(env)?;
            let gone: Vec<_> =
                row.keys.iter().filter(|(key, _)| !values.iter().any(|(new, _)| new == key)).collect();
            if let Some((key, _)) = gone.first() {
                env.output.say(format!(
                    "warning: key `{key}` is not in the new version: a rotation replaces all keys"
                ));
            }
            let vault = self.vault.unlock(env).await?;
            let version = vault.rotate(project, &self.name, Change { expires, hosts, values }).await?;
            env.output.say(format!(
                "secret/{} rotated to revision {version}; `doorward rollback secret {}` undoes it",
                self.name, self.name
            ));
            Ok(Exit::Ok)
        })
    }
}

/// Return to an earlier value.
#[derive(Subcommand, Clone, Debug)]
pub enum Rollback {
    /// A secret: the values before the last rotation, with the hosts and expiry that they had.
    #[command(visible_alias = "secrets")]
    Secret(RollbackSecret),
}

impl Rollback {
    /// Rolls it back.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let Self::Secret(secret) = self;
        let project = project(env)?;
        block_on(async {
            let store = secret.vault.store(env).await?;
            if store.secret(project, &secret.name).await?.is_none() {
                return Err(no_secret(&store, project, &secret.name).await);
            }
            let now = time::OffsetDateTime::now_utc().unix_timestamp();
            let version = store.roll_back(project, &secret.name, now).await?;
            env.output.say(format!("secret/{} rolled back as revision {version}", secret.name));
            Ok(Exit::Ok)
        })
    }
}

/// Return to the values before the last rotation.
#[derive(Args, Clone, Debug)]
pub struct RollbackSecret {
    /// Its name.
    pub name: SecretName,
    #[command(flatten)]
    vault: VaultArgs,
}
