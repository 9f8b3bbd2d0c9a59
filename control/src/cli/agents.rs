//! `doorward rotate agent` and `doorward revoke agent`: the token of an agent's sidecar at a server.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use super::objects::{hand_out, needed};
use super::remote::{Body, Client, Sent, segment};
use super::vault::{block_on, not_found, project};
use super::{Env, Exit, Failure, when};
use crate::api::{AgentToken, AgentView};

/// Give an agent a new token; the old one ends at once.
#[derive(Args, Clone, Debug)]
pub struct RotateAgent {
    /// Its name.
    pub name: String,
    /// When the new token ends: `2027-01-31`, `2027-01-31T12:00:00Z`, or from now on `90d`, `12h`, `30m`.
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Where it is written, readable by its owner alone; without it, it is printed.
    #[arg(long, value_name = "FILE")]
    token_file: Option<std::path::PathBuf>,
}

impl RotateAgent {
    pub(super) fn run(self, env: &Env) -> Result<Exit, Failure> {
        let client = needed(env, "agents")?;
        let expires = super::add::end(self.expires.as_deref())?.map(when::show);
        let made: AgentToken = block_on(async {
            let (path, seen) = seen(env, &client, &self.name).await?;
            let body = Body::of(&json!({"expires": expires}));
            client.change(Method::POST, &format!("{path}/rotate"), Some(body), &seen).await?.read()
        })?;
        env.output.say(format!(
            "agent/{} rotated; this token is for its sidecar and is shown this once; the old one has ended",
            self.name
        ));
        hand_out(env, made.token, self.token_file.as_deref())
    }
}

/// Say who an agent's sidecars are, beside the holders of its token.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct SetAgentIdentities {
    /// All of them: system:serviceaccount:NAMESPACE:NAME or spiffe://TRUST-DOMAIN/PATH (repeatable).
    #[arg(long, value_name = "IDENTITY", value_delimiter = ',')]
    identity: Vec<String>,
    /// None: only the holders of its token are its sidecars.
    #[arg(long)]
    no_identity: bool,
}

/// Which agent, and what of it.
#[derive(Args, Clone, Debug)]
pub struct SetAgent {
    /// Its name.
    name: String,
    #[command(flatten)]
    identities: SetAgentIdentities,
}

impl SetAgent {
    pub(super) fn run(self, env: &Env) -> Result<Exit, Failure> {
        let client = needed(env, "agents")?;
        let wanted = self.identities.identity;
        block_on(async {
            let (path, seen) = seen(env, &client, &self.name).await?;
            let body = Body::of(&json!({"identities": wanted}));
            client.change(Method::PUT, &format!("{path}/identities"), Some(body), &seen).await?;
            env.output.say(match wanted.len() {
                0 => format!("agent/{} has no identities now; its sidecars need its token", self.name),
                1 => format!("agent/{} has 1 identity now", self.name),
                count => format!("agent/{} has {count} identities now", self.name),
            });
            Ok(Exit::Ok)
        })
    }
}

/// End a token.
#[derive(Subcommand, Clone, Debug)]
pub enum Revoke {
    /// An agent's: its sidecars lose what they have within seconds; `doorward rotate agent` gives it another one.
    #[command(visible_alias = "agents")]
    Agent {
        /// Its name.
        name: String,
    },
}

impl Revoke {
    /// Ends it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let Self::Agent { name } = self;
        let client = needed(env, "agents")?;
        block_on(async {
            let (path, seen) = seen(env, &client, &name).await?;
            client.change(Method::POST, &format!("{path}/revoke"), None, &seen).await?;
            env.output.say(format!("agent/{name} revoked"));
            Ok(Exit::Ok)
        })
    }
}

/// An agent as it is now, and where.
pub(super) async fn seen(env: &Env, client: &Client, name: &str) -> Result<(String, Sent), Failure> {
    let all = format!("/v1/projects/{}/agents", segment(project(env)?));
    let path = format!("{all}/{}", segment(name));
    match client.find(&path).await? {
        Some(seen) => Ok((path, seen)),
        None => {
            let known: Vec<AgentView> = client.all(&all).await?;
            Err(not_found("agent", name, known.iter().map(|view| view.name.as_str())))
        }
    }
}
