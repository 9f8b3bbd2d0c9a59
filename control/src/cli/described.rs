//! `doorward describe provider|agent|project`: everything that is known of an object that a server has.

use clap::Args;

use super::agents;
use super::listing::describe;
use super::objects::{age, needed, object, or_dash};
use super::remote::{segment, server};
use super::served;
use super::vault::{block_on, not_found, project};
use super::{Env, Exit, Failure};
use crate::api::{AgentView, Attachments, DocumentView, ProjectView};

/// Which one.
#[derive(Args, Clone, Debug)]
pub struct One {
    /// Its name.
    pub name: String,
}

impl One {
    /// A provider or model provider, of a server or of the home's files.
    pub(super) fn provider(&self, env: &Env) -> Result<Exit, Failure> {
        let views = match server(env)? {
            Some(client) => block_on(served::views(&client, project(env)?, None))?,
            None => served::local(env)?,
        };
        let Some(view) = views.iter().find(|view| view.name == self.name) else {
            return Err(not_found("provider", &self.name, views.iter().map(|view| view.name.as_str())));
        };
        let DocumentView { kind, name, project, r#type, secrets, withheld, document, .. } = view;
        let state = if *withheld { "its secret is withheld until it is approved" } else { "ok" };
        let mut lines = vec![
            ("Name", name.clone()),
            ("Kind", kind.clone()),
            ("Project", project.clone()),
            ("Type", r#type.clone()),
            ("Secrets", if secrets.is_empty() { "-".to_owned() } else { secrets.join(", ") }),
            ("State", state.to_owned()),
            ("Created", format!("{} ({} ago)", view.created, age(&view.created))),
            ("Changed", format!("{} ({} ago)", view.changed, age(&view.changed))),
        ];
        lines.extend(document.lines().map(|line| ("Document", line.to_owned())));
        describe(env, &format!("provider/{name}"), &lines, &object(view)?)
    }

    /// An agent, with its attachments; what lets it see a value is said in so many words.
    pub(super) fn agent(&self, env: &Env) -> Result<Exit, Failure> {
        let client = needed(env, "agents")?;
        let (view, attached): (AgentView, Attachments) = block_on(async {
            let (path, seen) = agents::seen(env, &client, &self.name).await?;
            Ok((seen.read()?, client.get(&format!("{path}/attachments")).await?.read()?))
        })?;
        let state = view.revoked.as_ref().map_or_else(|| "active".to_owned(), |at| format!("revoked {at}"));
        let mut lines = vec![
            ("Name", view.name.clone()),
            ("Project", view.project.clone()),
            ("Description", or_dash(view.description.as_ref())),
            ("State", state),
            ("Created", format!("{} ({} ago)", view.created, age(&view.created))),
            ("Token ends", view.expires.clone().unwrap_or_else(|| "never".to_owned())),
            ("Seen", or_dash(view.seen.as_ref())),
        ];
        lines.extend(view.identities.iter().map(|identity| ("Identity", identity.clone())));
        for one in &attached.items {
            let synced = if one.synced { "synced" } else { "not synced" };
            lines.push(("Attached", format!("{} {} ({synced})", one.kind, one.name)));
        }
        for one in &attached.items {
            if let Some(secret) = &one.secret {
                let what = format!("the agent itself sees secret `{secret}` as {}", one.name);
                lines.push(("Warning", what));
            }
        }
        let mut all = object(&view)?;
        if let Some(fields) = all.as_object_mut() {
            fields.insert("attachments".to_owned(), object(&attached.items)?);
        }
        describe(env, &format!("agent/{}", view.name), &lines, &all)
    }

    /// A project.
    pub(super) fn project(&self, env: &Env) -> Result<Exit, Failure> {
        let client = needed(env, "projects")?;
        let view: ProjectView = block_on(async {
            match client.find(&format!("/v1/projects/{}", segment(&self.name))).await? {
                Some(found) => found.read(),
                None => {
                    let known: Vec<ProjectView> = client.all("/v1/projects").await?;
                    Err(not_found("project", &self.name, known.iter().map(|view| view.name.as_str())))
                }
            }
        })?;
        let word = |is: bool, yes: &str, no: &str| if is { yes } else { no }.to_owned();
        let lines = [
            ("Name", view.name.clone()),
            ("Description", or_dash(view.description.as_ref())),
            ("Created", format!("{} ({} ago)", view.created, age(&view.created))),
            ("Unbound secrets", word(view.allow_unbound_secrets, "allowed", "refused")),
            ("Hints", word(view.hints, "first and last four of values of 20 and more", "none")),
        ];
        describe(env, &format!("project/{}", view.name), &lines, &object(&view)?)
    }
}
