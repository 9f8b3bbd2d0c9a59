//! Objects that only a server has: projects, agents, provider documents, attachments.

use clap::Args;
use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;

use super::listing::{Item, Listing};
use super::remote::{Body, Client, segment, server};
use super::served;
use super::vault::{block_on, project};
use super::{Env, Exit, Failure, when};
use crate::api::{AgentToken, AgentView, Attachments, DocumentView, ProjectView};

/// All of them.
#[derive(Args, Clone, Debug)]
pub struct All {
    /// Only these; all if none is given.
    pub names: Vec<String>,
}

/// Of one agent.
#[derive(Args, Clone, Debug)]
pub struct OfAgent {
    /// The agent.
    #[arg(long, value_name = "NAME")]
    pub agent: String,
}

/// The server, without which there is nothing of this kind.
pub(crate) fn needed(env: &Env, what: &str) -> Result<Client, Failure> {
    server(env)?.ok_or_else(|| {
        Failure::new(
            Exit::Login,
            format!("{what} belong to a server; log in first: doorward login --server URL --token-file FILE"),
        )
    })
}

pub(super) fn object(view: &impl Serialize) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(view).map_err(|error| Failure::new(Exit::Error, error.to_string()))
}

pub(super) fn age(time: &str) -> String {
    let now = OffsetDateTime::now_utc();
    when::age(when::parse(time, now).unwrap_or(now).unix_timestamp(), now)
}

pub(super) fn or_dash(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| "-".to_owned())
}

impl All {
    fn keep<T>(&self, what: &str, mut views: Vec<T>, name: impl Fn(&T) -> &str) -> Result<Vec<T>, Failure> {
        if let Some(missing) =
            self.names.iter().find(|wanted| !views.iter().any(|view| name(view) == **wanted))
        {
            return Err(super::vault::not_found(what, missing, views.iter().map(&name)));
        }
        views.retain(|view| self.names.is_empty() || self.names.iter().any(|wanted| wanted == name(view)));
        Ok(views)
    }

    pub(super) fn projects(&self, env: &Env) -> Result<Listing, Failure> {
        let client = needed(env, "projects")?;
        let views: Vec<ProjectView> = block_on(client.all("/v1/projects"))?;
        let item = |view: ProjectView| {
            let unbound = if view.allow_unbound_secrets { "allowed" } else { "refused" };
            Ok(Item {
                name: view.name.clone(),
                cells: vec![
                    view.name.clone(),
                    age(&view.created),
                    unbound.to_owned(),
                    or_dash(view.description.as_ref()),
                ],
                object: object(&view)?,
            })
        };
        let views = self.keep("project", views, |view| &view.name)?;
        let items: Result<Vec<_>, Failure> = views.into_iter().map(item).collect();
        let columns = &["NAME", "AGE", "UNBOUND SECRETS", "DESCRIPTION"];
        Ok(Listing { kind: "project", columns, wide_from: 3, items: items? })
    }

    pub(super) fn agents(&self, env: &Env) -> Result<Listing, Failure> {
        let client = needed(env, "agents")?;
        let path = format!("/v1/projects/{}/agents", segment(project(env)?));
        let views: Vec<AgentView> = block_on(client.all(&path))?;
        let item = |view: AgentView| {
            let state = if view.revoked.is_some() { "revoked" } else { "active" };
            Ok(Item {
                name: view.name.clone(),
                cells: vec![
                    view.name.clone(),
                    state.to_owned(),
                    age(&view.created),
                    or_dash(view.expires.as_ref()),
                    or_dash(view.seen.as_ref()),
                    or_dash(view.description.as_ref()),
                ],
                object: object(&view)?,
            })
        };
        let views = self.keep("agent", views, |view| &view.name)?;
        let items: Result<Vec<_>, Failure> = views.into_iter().map(item).collect();
        let columns = &["NAME", "STATE", "AGE", "EXPIRES", "SEEN", "DESCRIPTION"];
        Ok(Listing { kind: "agent", columns, wide_from: 3, items: items? })
    }

    pub(super) fn providers(&self, env: &Env) -> Result<Listing, Failure> {
        let views = match server(env)? {
            Some(client) => block_on(served::views(&client, project(env)?, None))?,
            None => served::local(env)?,
        };
        let item = |view: DocumentView| {
            let state = if view.withheld { "secret withheld" } else { "ok" };
            Ok(Item {
                name: view.name.clone(),
                cells: vec![
                    view.name.clone(),
                    view.kind.clone(),
                    view.r#type.clone(),
                    view.secrets.join(","),
                    state.to_owned(),
                    age(&view.changed),
                ],
                object: object(&view)?,
            })
        };
        let views = self.keep("provider", views, |view| &view.name)?;
        let items: Result<Vec<_>, Failure> = views.into_iter().map(item).collect();
        let columns = &["NAME", "KIND", "TYPE", "SECRETS", "STATE", "CHANGED"];
        Ok(Listing { kind: "provider", columns, wide_from: 5, items: items? })
    }
}

impl OfAgent {
    pub(super) fn listing(&self, env: &Env) -> Result<Listing, Failure> {
        let client = needed(env, "attachments")?;
        let path =
            format!("/v1/projects/{}/agents/{}/attachments", segment(project(env)?), segment(&self.agent));
        let found: Attachments = block_on(async { client.get(&path).await?.read() })?;
        let items: Result<Vec<_>, Failure> = found
            .items
            .into_iter()
            .map(|view| {
                let source = view.variable.as_ref().or(view.secret.as_ref());
                Ok(Item {
                    name: view.name.clone(),
                    cells: vec![
                        view.kind.clone(),
                        view.name.clone(),
                        or_dash(source),
                        if view.synced { "yes" } else { "no" }.to_owned(),
                        or_dash(view.seen.as_ref()),
                    ],
                    object: object(&view)?,
                })
            })
            .collect();
        let columns = &["KIND", "NAME", "SHOWS", "SYNCED", "SEEN"];
        Ok(Listing { kind: "attachment", columns, wide_from: 5, items: items? })
    }
}

/// Make a project of a server.
#[derive(Args, Clone, Debug)]
pub struct AddProject {
    /// Its name: a DNS label.
    pub name: String,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Let secrets be stored that are bound to no host.
    #[arg(long)]
    allow_unbound_secrets: bool,
    /// Keep the first and last four characters of values of 20 and more, and show them in `describe secret`.
    #[arg(long)]
    hints: bool,
}

impl AddProject {
    pub(super) fn run(self, env: &Env) -> Result<Exit, Failure> {
        let client = needed(env, "projects")?;
        let body = json!({
            "name": self.name,
            "description": self.description,
            "allowUnboundSecrets": self.allow_unbound_secrets,
            "hints": self.hints,
        });
        block_on(client.post("/v1/projects", Body::of(&body)))?;
        env.output.say(format!("project/{} added", self.name));
        Ok(Exit::Ok)
    }
}

/// Make an agent of a server.
#[derive(Args, Clone, Debug)]
pub struct AddAgent {
    /// Its name: a DNS label.
    pub name: String,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// When its token ends: `2027-01-31`, `2027-01-31T12:00:00Z`, or from now on `90d`, `12h`, `30m`.
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Where its token is written, readable by its owner alone; without it, the token is printed.
    #[arg(long, value_name = "FILE")]
    token_file: Option<std::path::PathBuf>,
    /// Who its sidecars are, instead of holders of its token: system:serviceaccount:NAMESPACE:NAME or spiffe://TRUST-DOMAIN/PATH
    /// (repeatable). Its token is then shown only with --token-file.
    #[arg(long, value_name = "IDENTITY", value_delimiter = ',')]
    identity: Vec<String>,
}

impl AddAgent {
    pub(super) fn run(self, env: &Env) -> Result<Exit, Failure> {
        let client = needed(env, "agents")?;
        let expires = super::add::end(self.expires.as_deref())?.map(when::show);
        let body = json!({
            "name": self.name,
            "description": self.description,
            "expires": expires,
            "identities": self.identity,
        });
        let path = format!("/v1/projects/{}/agents", segment(project(env)?));
        let made: AgentToken = block_on(async { client.post(&path, Body::of(&body)).await?.read() })?;
        if !self.identity.is_empty() && self.token_file.is_none() {
            env.output.say(format!("agent/{} added; its sidecars show who they are", self.name));
            return Ok(Exit::Ok);
        }
        if made.token.is_none() && self.token_file.is_none() {
            let why = "its token is shown to whoever may manage secrets, and makes one by rotating it";
            env.output.say(format!("agent/{} added; {why}", self.name));
            return Ok(Exit::Ok);
        }
        env.output
            .say(format!("agent/{} added; this token is for its sidecar and is shown this once", self.name));
        hand_out(env, made.token, self.token_file.as_deref())
    }
}

/// Writes a token to a file of the caller's alone, or prints it.
pub(crate) fn hand_out(
    env: &Env,
    token: Option<String>,
    file: Option<&std::path::Path>,
) -> Result<Exit, Failure> {
    let Some(token) = token.map(zeroize::Zeroizing::new) else {
        return Err(Failure::new(
            Exit::Error,
            "the server shows a token once, and that of an agent to those who may manage secrets",
        ));
    };
    match file {
        Some(file) => {
            let line = zeroize::Zeroizing::new(format!("{}\n", *token));
            crate::private::create(file, line.as_bytes())
                .map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
        }
        None => env.output.data(&*token),
    }
    Ok(Exit::Ok)
}
