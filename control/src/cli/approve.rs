//! `doorward approve`: a person with the right lets a request out that waits, or a server go on with what it holds back.

use clap::Subcommand;
use http::Method;

use super::apply::Kind;
use super::asks::ApproveAsk;
use super::objects::needed;
use super::remote::segment;
use super::vault::{block_on, not_found, project};
use super::{Env, Exit, Failure};
use crate::api::DocumentView;

/// Approve what is held back.
#[derive(Subcommand, Clone, Debug)]
pub enum Approve {
    /// Where a changed provider sends its secret.
    #[command(visible_alias = "providers")]
    Provider {
        /// Its name.
        name: String,
    },
    /// Where a changed model provider sends its secret.
    #[command(visible_alias = "model-providers")]
    ModelProvider {
        /// Its name.
        name: String,
    },
    /// A request that waits for a person.
    #[command(visible_alias = "asks")]
    Ask(ApproveAsk),
}

impl Approve {
    /// Approves it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        match self {
            Self::Provider { name } => document(env, Kind::Provider, &name),
            Self::ModelProvider { name } => document(env, Kind::ModelProvider, &name),
            Self::Ask(ask) => ask.run(env),
        }
    }
}

fn document(env: &Env, kind: Kind, name: &str) -> Result<Exit, Failure> {
    let client = needed(env, "provider documents")?;
    let all = format!("/v1/projects/{}/{}", segment(project(env)?), kind.folder());
    block_on(async {
        let path = format!("{all}/{}", segment(name));
        let Some(seen) = client.find(&path).await? else {
            let known: Vec<DocumentView> = client.all(&all).await?;
            return Err(not_found(kind.shown(), name, known.iter().map(|view| view.name.as_str())));
        };
        let view: DocumentView = seen.read()?;
        if !view.withheld {
            env.output.say(format!("{}/{name} holds nothing back", kind.shown()));
            return Ok(Exit::Ok);
        }
        client.change(Method::POST, &format!("{path}/approve"), None, &seen).await?;
        env.output.say(format!("{}/{name} approved: it has {} again", kind.shown(), view.secrets.join(", ")));
        Ok(Exit::Ok)
    })
}
