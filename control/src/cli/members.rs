//! `doorward add|get|set|delete member`: who may log in to a server with its issuer, and as what.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use super::agents::SetAgent;
use super::listing::{Item, Listing};
use super::objects::{age, needed, object, or_dash};
use super::remote::{Body, Client, Sent, segment};
use super::vault::{block_on, not_found, project};
use super::{Env, Exit, Failure};
use crate::api::MemberView;

/// Whose members.
#[derive(Args, Clone, Debug)]
pub struct Whose {
    /// Of the installation: for all projects.
    #[arg(long)]
    installation: bool,
}

impl Whose {
    fn path(&self, env: &Env) -> Result<String, Failure> {
        if self.installation {
            return Ok("/v1/members".to_owned());
        }
        Ok(format!("/v1/projects/{}/members", segment(project(env)?)))
    }

    pub(super) fn listing(&self, env: &Env) -> Result<Listing, Failure> {
        let client = needed(env, "members")?;
        let views: Vec<MemberView> = block_on(client.all(&self.path(env)?))?;
        let item = |view: MemberView| {
            Ok(Item {
                name: view.id.clone(),
                cells: vec![
                    view.shown().to_owned(),
                    view.role.clone(),
                    if view.subject.is_some() { "yes" } else { "not yet" }.to_owned(),
                    age(&view.created),
                    view.id.clone(),
                    or_dash(view.subject.as_ref()),
                    view.issuer.clone(),
                ],
                object: object(&view)?,
            })
        };
        let items: Result<Vec<_>, Failure> = views.into_iter().map(item).collect();
        let columns = &["NAME", "ROLE", "BOUND", "AGE", "ID", "SUBJECT", "ISSUER"];
        Ok(Listing { kind: "member", columns, wide_from: 4, items: items? })
    }
}

/// Add a member.
#[derive(Args, Clone, Debug)]
pub struct AddMember {
    /// The e-mail address that the issuer has verified, or the issuer's own name (`sub`) for somebody.
    pub name: String,
    /// owner, admin, manager, developer or viewer.
    #[arg(long, value_name = "ROLE", value_parser = ["owner", "admin", "manager", "developer", "viewer"])]
    role: String,
    /// The name is the issuer's own, although it holds an `@`.
    #[arg(long)]
    subject: bool,
    #[command(flatten)]
    whose: Whose,
}

impl AddMember {
    pub(super) fn run(self, env: &Env) -> Result<Exit, Failure> {
        let client = needed(env, "members")?;
        let field = if self.subject || !self.name.contains('@') { "subject" } else { "email" };
        let body = json!({field: self.name, "role": self.role});
        let path = self.whose.path(env)?;
        block_on(client.post(&path, Body::of(&body)))?;
        env.output.say(format!("member/{} added as {}", self.name, self.role));
        Ok(Exit::Ok)
    }
}

/// Change an object of a server.
#[derive(Subcommand, Clone, Debug)]
pub enum Set {
    /// A member's role; it holds from the next call on.
    #[command(visible_alias = "members")]
    Member(SetMember),
    /// Who an agent's sidecars are: the ServiceAccounts and SPIFFE ids that stand beside its token.
    #[command(visible_alias = "agents")]
    Agent(SetAgent),
}

impl Set {
    /// Changes it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        match self {
            Self::Member(member) => member.run(env),
            Self::Agent(agent) => agent.run(env),
        }
    }
}

/// Which member, and the new role.
#[derive(Args, Clone, Debug)]
pub struct SetMember {
    #[command(flatten)]
    which: OneMember,
    /// owner, admin, manager, developer or viewer.
    #[arg(long, value_name = "ROLE", value_parser = ["owner", "admin", "manager", "developer", "viewer"])]
    role: String,
}

impl SetMember {
    fn run(self, env: &Env) -> Result<Exit, Failure> {
        let client = needed(env, "members")?;
        block_on(async {
            let (path, seen) = self.which.seen(env, &client).await?;
            client.change(Method::PUT, &path, Some(Body::of(&json!({"role": self.role}))), &seen).await?;
            env.output.say(format!("member/{} is {} now", self.which.name, self.role));
            Ok(Exit::Ok)
        })
    }
}

/// Which member.
#[derive(Args, Clone, Debug)]
pub struct OneMember {
    /// The e-mail address, the issuer's own name, or the id.
    name: String,
    #[command(flatten)]
    whose: Whose,
}

impl OneMember {
    pub(super) fn delete(&self, env: &Env) -> Result<Exit, Failure> {
        let client = needed(env, "members")?;
        block_on(async {
            let (path, seen) = self.seen(env, &client).await?;
            client.change(Method::DELETE, &path, None, &seen).await?;
            env.output.say(format!("member/{} deleted", self.name));
            Ok(Exit::Ok)
        })
    }

    async fn seen(&self, env: &Env, client: &Client) -> Result<(String, Sent), Failure> {
        let all = self.whose.path(env)?;
        let views: Vec<MemberView> = client.all(&all).await?;
        let name = self.name.to_ascii_lowercase();
        let is_meant = |view: &&MemberView| {
            view.id == self.name
                || view.email.as_deref() == Some(name.as_str())
                || view.subject.as_deref() == Some(self.name.as_str())
        };
        let found: Vec<&MemberView> = views.iter().filter(is_meant).collect();
        let one = match found.as_slice() {
            [one] => one,
            [] => return Err(not_found("member", &self.name, views.iter().map(|view| view.shown()))),
            _ => {
                let message =
                    format!("`{}` names several members; give an id of `get members -o wide`", self.name);
                return Err(Failure::new(Exit::Usage, message));
            }
        };
        let path = format!("{all}/{}", segment(&one.id));
        let seen = client.get(&path).await?;
        Ok((path, seen))
    }
}
