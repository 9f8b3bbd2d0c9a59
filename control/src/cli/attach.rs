//! `doorward attach` and `doorward detach`: what an agent of a server gets.

use clap::Args;
use http::Method;
use serde_json::json;

use super::objects::needed;
use super::remote::{Body, segment};
use super::vault::{block_on, project};
use super::{Env, Exit, Failure};
use crate::api::{AttachmentView, Attachments};

/// What is attached: `secret NAME`, `provider NAME`, `model-provider NAME`, or `env NAME` with `--variable` or `--secret`.
#[derive(Args, Clone, Debug)]
struct What {
    /// secret, provider, model-provider or env.
    #[arg(value_name = "KIND", value_parser = ["secret", "provider", "model-provider", "env"])]
    kind: String,
    /// Its name; for `env` that of the variable in the agent.
    name: String,
    /// The agent.
    #[arg(long, value_name = "NAME")]
    agent: String,
}

impl What {
    fn path(&self, env: &Env) -> Result<String, Failure> {
        let project = segment(project(env)?);
        Ok(format!("/v1/projects/{project}/agents/{}/attachments", segment(&self.agent)))
    }
}

/// Give an agent something.
#[derive(Args, Clone, Debug)]
pub struct Attach {
    #[command(flatten)]
    what: What,
    /// For `env`: the variable whose value it holds.
    #[arg(long, value_name = "NAME", conflicts_with = "secret")]
    variable: Option<String>,
    /// For `env`: the secret that the agent itself gets to see.
    #[arg(long, value_name = "NAME")]
    secret: Option<String>,
}

impl Attach {
    /// Attaches it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let client = needed(env, "attachments")?;
        let What { kind, name, agent } = &self.what;
        if let Some(secret) = &self.secret {
            env.output
                .say(format!("warning: the agent {agent} itself will see the values of secret `{secret}`"));
        }
        let body = json!({"kind": kind, "name": name, "variable": self.variable, "secret": self.secret});
        let path = self.what.path(env)?;
        let made: AttachmentView = block_on(async { client.post(&path, Body::of(&body)).await?.read() })?;
        env.output.say(format!("{kind}/{name} attached to {agent} at revision {}", made.revision));
        Ok(Exit::Ok)
    }
}

/// Take it away again.
#[derive(Args, Clone, Debug)]
pub struct Detach {
    #[command(flatten)]
    what: What,
}

impl Detach {
    /// Detaches it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let client = needed(env, "attachments")?;
        let What { kind, name, agent } = &self.what;
        let path = self.what.path(env)?;
        block_on(async {
            let sent = client.get(&path).await?;
            let found: Attachments = sent.read()?;
            let there = found.items.iter().find(|one| one.kind == *kind && one.name == *name);
            let Some(there) = there else {
                let message = format!("{kind} `{name}` is not attached to {agent}");
                return Err(Failure::new(Exit::NotFound, message));
            };
            let one = format!("{path}/{}/{}", segment(kind), segment(name));
            client.change_of(Method::DELETE, &one, None, there.revision).await?;
            env.output.say(format!("{kind}/{name} detached from {agent}"));
            Ok(Exit::Ok)
        })
    }
}
