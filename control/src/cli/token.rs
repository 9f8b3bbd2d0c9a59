//! `doorward token` and `doorward auth`: API tokens of a server, and what ours may do.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;
use time::OffsetDateTime;

use super::listing::{Item, Listing, describe};
use super::objects::{hand_out, needed};
use super::remote::{Body, Client, segment};
use super::vault::{block_on, not_found, project};
use super::{Env, Exit, Failure, when};
use crate::api::{CanI, TokenOnce, TokenView};

/// API tokens of a server.
#[derive(Subcommand, Clone, Debug)]
pub enum Token {
    /// Make a token; it is shown once.
    #[command(visible_alias = "add")]
    Create(Create),
    /// List tokens: who has which role.
    List(Scope),
    /// End a token at once.
    Revoke(Revoke),
}

/// What the token of the server may do.
#[derive(Subcommand, Clone, Debug)]
pub enum Auth {
    /// Ask the server (exit 3 where it may not).
    CanI(MayI),
}

/// Whose tokens.
#[derive(Args, Clone, Debug)]
pub struct Scope {
    /// Tokens of the installation, for all projects.
    #[arg(long)]
    installation: bool,
}

impl Scope {
    fn path(&self, env: &Env) -> Result<String, Failure> {
        if self.installation {
            return Ok("/v1/tokens".to_owned());
        }
        Ok(format!("/v1/projects/{}/tokens", segment(project(env)?)))
    }
}

/// Make a token.
#[derive(Args, Clone, Debug)]
pub struct Create {
    /// What people call it.
    name: String,
    /// owner, admin, manager, developer or viewer.
    #[arg(long, value_name = "ROLE", value_parser = ["owner", "admin", "manager", "developer", "viewer"])]
    role: String,
    /// When it ends: `2027-01-31`, `2027-01-31T12:00:00Z`, or from now on `90d`, `12h`, `30m`.
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Where it is written, readable by its owner alone; without it, it is printed.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    scope: Scope,
}

/// End a token.
#[derive(Args, Clone, Debug)]
pub struct Revoke {
    /// Its name or id.
    name: String,
    #[command(flatten)]
    scope: Scope,
}

/// What is asked.
#[derive(Args, Clone, Debug)]
pub struct MayI {
    /// secrets:read, secrets:manage, providers:manage, agents:manage, audit:read or project:admin.
    permission: Option<String>,
}

impl Token {
    /// Makes, lists or ends.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let client = needed(env, "API tokens")?;
        match self {
            Self::Create(create) => create.run(env, &client),
            Self::List(scope) => list(env, &client, &scope)?.print(env),
            Self::Revoke(revoke) => revoke.run(env, &client),
        }
    }
}

impl Create {
    fn run(self, env: &Env, client: &Client) -> Result<Exit, Failure> {
        let expires = super::add::end(self.expires.as_deref())?.map(when::show);
        let body = json!({"name": self.name, "role": self.role, "expires": expires});
        let path = self.scope.path(env)?;
        let made: TokenOnce = block_on(async { client.post(&path, Body::of(&body)).await?.read() })?;
        env.output
            .say(format!("token/{} created with id {}; it is shown this once", self.name, made.api_token.id));
        hand_out(env, made.token, self.token_file.as_deref())
    }
}

fn list(env: &Env, client: &Client, scope: &Scope) -> Result<Listing, Failure> {
    let views: Vec<TokenView> = block_on(client.all(&scope.path(env)?))?;
    let now = OffsetDateTime::now_utc();
    let item = |view: TokenView| {
        let age = when::age(when::parse(&view.created, now).unwrap_or(now).unix_timestamp(), now);
        let object =
            serde_json::to_value(&view).map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
        Ok(Item {
            name: view.id.clone(),
            cells: vec![
                view.name,
                view.id,
                view.role,
                age,
                view.expires.unwrap_or_else(|| "never".to_owned()),
                view.last_used.unwrap_or_else(|| "-".to_owned()),
            ],
            object,
        })
    };
    let items: Result<Vec<_>, Failure> = views.into_iter().map(item).collect();
    let columns = &["NAME", "ID", "ROLE", "AGE", "EXPIRES", "LAST USED"];
    Ok(Listing { kind: "token", columns, wide_from: 6, items: items? })
}

impl Revoke {
    fn run(self, env: &Env, client: &Client) -> Result<Exit, Failure> {
        let path = self.scope.path(env)?;
        block_on(async {
            let views: Vec<TokenView> = client.all(&path).await?;
            let found = views.iter().find(|view| view.name == self.name || view.id == self.name);
            let Some(found) = found else {
                return Err(not_found("token", &self.name, views.iter().map(|view| view.name.as_str())));
            };
            let one = format!("{path}/{}", segment(&found.id));
            let seen = client.get(&one).await?;
            client.change(Method::DELETE, &one, None, &seen).await?;
            env.output.say(format!("token/{} revoked", found.name));
            Ok(Exit::Ok)
        })
    }
}

impl Auth {
    /// Asks the server.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let Self::CanI(asked) = self;
        let client = needed(env, "permissions")?;
        let question = asked.permission.as_ref().map(|one| format!("?permission={}", segment(one)));
        let path = format!("/v1/can-i{}", question.unwrap_or_default());
        let told: CanI = block_on(async { client.get(&path).await?.read() })?;
        let permissions: Vec<_> = told.permissions.iter().map(|one| one.name()).collect();
        let lines = [
            ("Name", told.name.clone()),
            ("Role", told.role.clone()),
            ("Project", told.project.clone().unwrap_or_else(|| "all".to_owned())),
            ("Permissions", permissions.join(", ")),
            ("Allowed", if told.allowed { "yes" } else { "no" }.to_owned()),
        ];
        let object =
            serde_json::to_value(&told).map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
        describe(env, &format!("token/{}", told.name), &lines, &object)?;
        Ok(if told.allowed { Exit::Ok } else { Exit::Deny })
    }
}
