//! `doorward delete secret|variable`: removes it with all its versions; a secret that a provider uses is kept (exit 6).

use clap::{Args, Subcommand};
use http::Method;

use super::remote::{Client, segment, server};
use super::users::ProviderArgs;
use super::vault::{VaultArgs, block_on, no_secret, not_found, project};
use super::{Env, Exit, Failure};
use super::{members, objects};
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
    /// A project of a server that holds nothing.
    #[command(visible_alias = "projects")]
    Project(OfServer),
    /// An agent of a server, with its attachments.
    #[command(visible_alias = "agents")]
    Agent(OfServer),
    /// A provider of a server that no agent has.
    #[command(visible_alias = "providers")]
    Provider(OfServer),
    /// A model provider of a server that no agent has.
    #[command(visible_alias = "model-providers")]
    ModelProvider(OfServer),
    /// A member of a server: what the role opened is closed at once.
    #[command(visible_alias = "members")]
    Member(members::OneMember),
}

/// Which object of a server.
#[derive(Args, Clone, Debug)]
pub struct OfServer {
    /// Its name.
    pub name: String,
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
        if let Self::Member(member) = &self {
            return member.delete(env);
        }
        let project = project(env)?;
        if let Some(client) = server(env)? {
            return block_on(self.on_server(env, &client, project));
        }
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
                Self::Project(_)
                | Self::Agent(_)
                | Self::Provider(_)
                | Self::ModelProvider(_)
                | Self::Member(_) => {
                    objects::needed(env, "projects, agents and provider documents")?;
                }
            }
            Ok(Exit::Ok)
        })
    }

    async fn on_server(&self, env: &Env, client: &Client, project: &str) -> Result<Exit, Failure> {
        let base = format!("/v1/projects/{}", segment(project));
        let (kind, folder, name) = match self {
            Self::Secret(gone) if gone.force => {
                return Err(Failure::new(
                    Exit::Usage,
                    "--force: a server never deletes what is in use; detach it first",
                ));
            }
            Self::Secret(gone) => ("secret", "secrets", gone.which.name.as_str()),
            Self::Variable(gone) => ("variable", "variables", gone.name.as_str()),
            Self::Agent(gone) => ("agent", "agents", gone.name.as_str()),
            Self::Provider(gone) => ("provider", "providers", gone.name.as_str()),
            Self::ModelProvider(gone) => ("model-provider", "model-providers", gone.name.as_str()),
            Self::Project(gone) => ("project", "", gone.name.as_str()),
            Self::Member(member) => return member.delete(env),
        };
        let path = match folder {
            "" => format!("/v1/projects/{}", segment(name)),
            folder => format!("{base}/{folder}/{}", segment(name)),
        };
        let Some(seen) = client.find(&path).await? else {
            return Err(not_found(kind, name, std::iter::empty()));
        };
        client.change(Method::DELETE, &path, None, &seen).await?;
        env.output.say(format!("{kind}/{name} deleted"));
        Ok(Exit::Ok)
    }
}
