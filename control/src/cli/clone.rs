//! `doorward clone secret NAME --to PROJECT`: the name and values of a secret in another project, without its grants.

use clap::{Args, Subcommand};
use serde_json::json;

use super::remote::{Body, segment, server};
use super::vault::{VaultArgs, block_on, no_secret, project};
use super::{Env, Exit, Failure};
use crate::secret::SecretName;

/// Copy something to another project.
#[derive(Subcommand, Clone, Debug)]
pub enum Clone {
    /// A secret: its values, hosts and expiry; who uses it is not copied.
    #[command(visible_alias = "secrets")]
    Secret(CloneSecret),
}

impl Clone {
    /// Copies it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let Self::Secret(clone) = self;
        let from = project(env)?;
        super::vault::project_name(&clone.to)?;
        let server = server(env)?;
        block_on(async {
            let say = || env.output.say(format!("secret/{} of {from} is in {} too", clone.name, clone.to));
            if let Some(client) = &server {
                let path =
                    format!("/v1/projects/{}/secrets/{}/clone", segment(from), segment(clone.name.as_str()));
                client.post(&path, Body::of(&json!({"project": clone.to}))).await?;
                say();
                return Ok(Exit::Ok);
            }
            let store = clone.vault.store(env).await?;
            if store.secret(from, &clone.name).await?.is_none() {
                return Err(no_secret(&store, from, &clone.name).await);
            }
            let vault = clone.vault.unlock(env).await?;
            vault.copy(from, &clone.name, &clone.to).await?;
            say();
            Ok(Exit::Ok)
        })
    }
}

/// Which secret, and where to.
#[derive(Args, Clone, Debug)]
pub struct CloneSecret {
    /// Its name.
    name: SecretName,
    /// The other project.
    #[arg(long, value_name = "PROJECT")]
    to: String,
    #[command(flatten)]
    vault: VaultArgs,
}
