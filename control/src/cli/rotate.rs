//! `doorward rotate secret` and `doorward rollback secret`: a new version of the values, and the one before it again.
//!
//! Bound hosts and expiry stay as they are unless they are given; the running proxy takes the new version by itself.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;
use time::OffsetDateTime;

use super::add::TermArgs;
use super::agents::RotateAgent;
use super::remote::{Body, Client, Sent, segment, server};
use super::values::ValueArgs;
use super::vault::{VaultArgs, block_on, no_secret, not_found, project};
use super::{Env, Exit, Failure, when};
use crate::api::SecretView;
use crate::secret::SecretName;
use crate::vault::Values;
use crate::vault::local::Change;

/// Give something a new value.
#[derive(Subcommand, Clone, Debug)]
pub enum Rotate {
    /// A secret: all of its keys.
    #[command(visible_alias = "secrets")]
    Secret(Box<RotateSecret>),
    /// An agent of a server: a new token for its sidecar; the old one ends at once.
    #[command(visible_alias = "agents")]
    Agent(RotateAgent),
}

impl Rotate {
    /// Rotates it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        match self {
            Self::Secret(secret) => secret.run(env),
            Self::Agent(agent) => agent.run(env),
        }
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
    /// Until when `rollback` can return to the version before; its values are removed then: `24h`, `7d`, a date. Without it
    /// they stay until the next rotation.
    #[arg(long, value_name = "TIME")]
    grace: Option<String>,
    #[command(flatten)]
    vault: VaultArgs,
}

impl RotateSecret {
    fn grace(&self) -> Result<Option<i64>, Failure> {
        let Some(text) = &self.grace else { return Ok(None) };
        let end = when::parse(text, OffsetDateTime::now_utc());
        let wrong = || Failure::new(Exit::Usage, "--grace is a date, a time, or a span like `24h`");
        end.map(|end| Some(end.unix_timestamp())).ok_or_else(wrong)
    }

    fn run(self, env: &Env) -> Result<Exit, Failure> {
        let project = project(env)?;
        let (expires, hosts) = (self.terms.end()?, self.terms.bound_hosts()?);
        let server = server(env)?;
        block_on(async {
            if let Some(client) = &server {
                return self.on_server(env, client, project, expires).await;
            }
            let store = self.vault.store(env).await?;
            let Some(row) = store.secret(project, &self.name).await? else {
                return Err(no_secret(&store, project, &self.name).await);
            };
            let values = self.values.read(env)?;
            warn_of_gone(env, row.keys.iter().map(|(key, _)| key.as_str()), &values);
            let vault = self.vault.unlock(env).await?;
            let change = Change { expires, hosts, values };
            let version = vault.rotate_with_grace(project, &self.name, change, self.grace()?).await?;
            say_rotated(env, &self.name, version);
            Ok(Exit::Ok)
        })
    }

    async fn on_server(
        &self,
        env: &Env,
        client: &Client,
        project: &str,
        expires: Option<i64>,
    ) -> Result<Exit, Failure> {
        let grace = self.grace()?;
        let (path, seen) = seen(client, project, &self.name).await?;
        let before: SecretView = seen.read()?;
        let values = self.values.read(env)?;
        warn_of_gone(env, before.keys.iter().map(String::as_str), &values);
        let facts = json!({
            "expires": expires.map(when::show),
            "hosts": self.terms.given_hosts(),
            "for": self.terms.for_type(),
            "grace": grace.map(when::show),
        });
        let body = Body::with_values(&facts, &values)?;
        let sent = client.change(Method::POST, &format!("{path}/rotate"), Some(body), &seen).await?;
        let after: SecretView = sent.read()?;
        say_rotated(env, &self.name, after.revision);
        Ok(Exit::Ok)
    }
}

fn warn_of_gone<'a>(env: &Env, mut keys: impl Iterator<Item = &'a str>, values: &Values) {
    if let Some(key) = keys.find(|key| !values.iter().any(|(new, _)| new == key)) {
        env.output
            .say(format!("warning: key `{key}` is not in the new version: a rotation replaces all keys"));
    }
}

fn say_rotated(env: &Env, name: &SecretName, version: u64) {
    env.output.say(format!(
        "secret/{name} rotated to revision {version}; `doorward rollback secret {name}` undoes it"
    ));
}

/// A secret of a server as it is now, and where.
pub(super) async fn seen(
    client: &Client,
    project: &str,
    name: &SecretName,
) -> Result<(String, Sent), Failure> {
    let all = format!("/v1/projects/{}/secrets", segment(project));
    let path = format!("{all}/{}", segment(name.as_str()));
    match client.find(&path).await? {
        Some(seen) => Ok((path, seen)),
        None => {
            let known: Vec<SecretView> = client.all(&all).await?;
            Err(not_found("secret", name.as_str(), known.iter().map(|view| view.name.as_str())))
        }
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
        let server = server(env)?;
        block_on(async {
            if let Some(client) = &server {
                let (path, seen) = seen(client, project, &secret.name).await?;
                let sent = client.change(Method::POST, &format!("{path}/rollback"), None, &seen).await?;
                let after: SecretView = sent.read()?;
                env.output.say(format!("secret/{} rolled back as revision {}", secret.name, after.revision));
                return Ok(Exit::Ok);
            }
            let store = secret.vault.store(env).await?;
            if store.secret(project, &secret.name).await?.is_none() {
                return Err(no_secret(&store, project, &secret.name).await);
            }
            let now = OffsetDateTime::now_utc().unix_timestamp();
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
