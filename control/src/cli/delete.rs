//! `doorward delete secret|variable`: removes it with all its versions; a secret that a provider uses is kept (exit 6).

use clap::{Args, Subcommand};

use super::users::ProviderArgs;
use super::vault::{VaultArgs, block_on, no_secret, not_found, project};
use super::{Env, Exit, Failure};
use crate::refusal::Code;
use crate::secret::SecretName;

/// Remove something for good.
#[derive(Subcommand, Clone, Debug)]
pub enum Delete {
    /// A secret, with all its versions.
    #[command(visible_alias = "secrets")]
    Secret(GoneSecret),
    /// A variable.
    #[command(visible_alias = "variables")]
    Variable(Gone),
}

/// Which one.
#[derive(Args, Clone, Debug)]
pub struct Gone {
    /// Its name.
    pub name: SecretName,
    #[command(flatten)]
    vault: VaultArgs,
}

/// Which secret.
#[derive(Args, Clone, Debug)]
pub struct GoneSecret {
    #[command(flatten)]
    which: Gone,
    /// Delete it although a provider uses it.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    providers: ProviderArgs,
}

impl GoneSecret {
    /// Refuses while a provider uses the secret, and while nobody can tell.
    fn check_unused(&self, env: &Env, project: &str) -> Result<(), Failure> {
        if self.force {
            return Ok(());
        }
        let name = &self.which.name;
        let users = self.providers.users(env, project).map_err(|failure| {
            Failure::new(
                failure.exit,
                format!("{failure}\nwhether `{name}` is used is not known; --force deletes it anyway"),
            )
        })?;
        match users.places(name).as_slice() {
            [] => Ok(()),
            used => Err(Failure::new(
                Exit::Conflict,
                format!(
                    "{} secret `{name}` is used by provider {}; --force deletes it anyway",
                    Code::Dw6002,
                    used.join(", ")
                ),
            )),
        }
    }
}

impl Delete {
    /// Removes it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let project = project(env)?;
        block_on(async {
            match &self {
                Self::Secret(gone) => {
                    gone.check_unused(env, project)?;
                    let gone = &gone.which;
                    let store = gone.vault.store(env).await?;
                    if !store.delete_secret(project, &gone.name).await? {
                        return Err(no_secret(&store, project, &gone.name).await);
                    }
                    env.output.say(format!("secret/{} deleted", gone.name));
                }
                Self::Variable(gone) => {
                    let store = gone.vault.store(env).await?;
                    if !store.delete_variable(project, gone.name.as_str()).await? {
                        let known = store.variables(project).await?;
                        return Err(not_found(
                            "variable",
                            gone.name.as_str(),
                            known.iter().map(|row| row.name.as_str()),
                        ));
                    }
                    env.output.say(format!("variable/{} deleted", gone.name));
                }
            }
            Ok(Exit::Ok)
        })
    }
}
