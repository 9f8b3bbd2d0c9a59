//! `doorward add secret|variable`: stores something new. A name that is taken is a conflict.

use clap::{Args, Subcommand};
use serde_json::json;
use time::OffsetDateTime;

use super::remote::{Body, segment, server};
use super::values::ValueArgs;
use super::vault::{VaultArgs, block_on, not_found, project};
use super::{Env, Exit, Failure, when};
use super::{members, objects};
use crate::secret::SecretName;
use crate::types;
use crate::vault::BoundHosts;
use crate::vault::bound::BoundError;
use crate::vault::local::Entry;
use crate::vault::store::Variable;

/// Store something new.
#[derive(Subcommand, Clone, Debug)]
pub enum Add {
    /// A secret: its values are encrypted and never shown again.
    #[command(visible_alias = "secrets")]
    Secret(Box<AddSecret>),
    /// A variable: plain, readable configuration.
    #[command(visible_alias = "variables")]
    Variable(AddVariable),
    /// A project of a server.
    #[command(visible_alias = "projects")]
    Project(objects::AddProject),
    /// An agent of a server; its token is shown once.
    #[command(visible_alias = "agents")]
    Agent(objects::AddAgent),
    /// A member of a server: somebody who may log in with the issuer.
    #[command(visible_alias = "members")]
    Member(members::AddMember),
}

impl Add {
    /// Stores it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        match self {
            Self::Secret(secret) => secret.run(env),
            Self::Variable(variable) => variable.run(env),
            Self::Project(project) => project.run(env),
            Self::Agent(agent) => agent.run(env),
            Self::Member(member) => member.run(env),
        }
    }
}

/// Store a new secret.
#[derive(Args, Clone, Debug)]
pub struct AddSecret {
    /// Its name: `github-pat` or `GITHUB_PAT`.
    pub name: SecretName,
    #[command(flatten)]
    values: ValueArgs,
    #[command(flatten)]
    terms: TermArgs,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    vault: VaultArgs,
}

/// Until when, and where to, a secret may be used.
#[derive(Args, Clone, Debug, Default)]
pub struct TermArgs {
    /// When it ends: `2027-01-31`, `2027-01-31T12:00:00Z`, or from now on `90d`, `12h`, `30m`.
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// The only hosts that it may be sent to: `api.example.com`, `*.example.com`, `host:port`. Changing them needs the value again.
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    hosts: Vec<String>,
    /// Bind it to the hosts of this built-in provider type, at its vendor's public place; those of another cloud or of a server of
    /// your own are given by --hosts (`doorward connect` knows them).
    #[arg(long = "for", value_name = "TYPE")]
    for_type: Option<String>,
}

impl TermArgs {
    /// The end, in unix seconds.
    pub(crate) fn end(&self) -> Result<Option<i64>, Failure> {
        end(self.expires.as_deref())
    }

    /// The hosts given, without those of the type; `None` if there are none.
    pub(crate) fn given_hosts(&self) -> Option<&[String]> {
        Some(self.hosts.as_slice()).filter(|hosts| !hosts.is_empty())
    }

    /// The type to whose hosts it is bound.
    pub(crate) fn for_type(&self) -> Option<&str> {
        self.for_type.as_deref()
    }

    /// The hosts given, with those of the type.
    pub(crate) fn bound_hosts(&self) -> Result<Option<BoundHosts>, Failure> {
        let usage = |error: BoundError| Failure::new(Exit::Usage, format!("--hosts: {error}"));
        if !self.hosts.is_empty() {
            BoundHosts::parse(&self.hosts).map_err(usage)?;
        }
        let mut hosts: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        if let Some(name) = &self.for_type {
            hosts.extend(hosts_of_type(name)?);
        }
        if hosts.is_empty() { Ok(None) } else { BoundHosts::of_type(&hosts).map(Some).map_err(usage) }
    }
}

/// What `--expires` says, in unix seconds.
pub fn end(expires: Option<&str>) -> Result<Option<i64>, Failure> {
    let Some(text) = expires else { return Ok(None) };
    let now = OffsetDateTime::now_utc();
    match when::parse(text, now) {
        None => Err(Failure::new(
            Exit::Usage,
            "--expires: write 2027-01-31, 2027-01-31T12:00:00Z, 90d, 12h or 30m",
        )),
        Some(end) if end <= now => Err(Failure::new(Exit::Usage, "--expires: that is over already")),
        Some(end) => Ok(Some(end.unix_timestamp())),
    }
}

fn hosts_of_type(name: &str) -> Result<Vec<&'static str>, Failure> {
    match types::by_name(name) {
        Some(kind) if kind.hosts.is_empty() => Err(Failure::new(
            Exit::Usage,
            format!("--for: type `{name}` has no hosts of its own; give --hosts"),
        )),
        Some(kind) => Ok(kind.bound_hosts()),
        None => {
            let unknown = not_found("type", name, types::ALL.iter().map(|kind| kind.name));
            Err(Failure::new(Exit::Usage, format!("--for: {}", unknown.message)))
        }
    }
}

impl AddSecret {
    fn run(self, env: &Env) -> Result<Exit, Failure> {
        let project = project(env)?;
        let (expires, hosts) = (self.terms.end()?, self.terms.bound_hosts()?);
        let server = server(env)?;
        block_on(async {
            if let Some(client) = &server {
                let facts = json!({
                    "name": self.name.as_str(),
                    "description": self.description,
                    "expires": expires.map(when::show),
                    "hosts": self.terms.given_hosts(),
                    "for": self.terms.for_type(),
                });
                let all = format!("/v1/projects/{}/secrets", segment(project));
                if client.find(&format!("{all}/{}", segment(self.name.as_str()))).await?.is_some() {
                    return Err(crate::vault::store::StoreError::SecretExists(self.name).into());
                }
                let values = self.values.read(env)?;
                client.post(&all, Body::with_values(&facts, &values)?).await?;
                say_added(env, project, &self.name, hosts.as_ref());
                return Ok(Exit::Ok);
            }
            // Before the value is asked for: nobody should type a secret for nothing.
            let store = self.vault.store(env).await?;
            if store.secret(project, &self.name).await?.is_some() {
                return Err(crate::vault::store::StoreError::SecretExists(self.name).into());
            }
            let values = self.values.read(env)?;
            let bound = hosts.clone();
            let entry =
                Entry { name: self.name.clone(), description: self.description, expires, hosts, values };
            self.vault.unlock(env).await?.add(project, vec![entry], vec![]).await?;
            say_added(env, project, &self.name, bound.as_ref());
            Ok(Exit::Ok)
        })
    }
}

fn say_added(env: &Env, project: &str, name: &SecretName, hosts: Option<&BoundHosts>) {
    env.output.say(match hosts {
        Some(hosts) => format!("secret/{name} added, bound to {hosts}"),
        None => format!(
            "secret/{name} added; any provider of project `{project}` may use it (--hosts or --for would bind it)"
        ),
    });
}

/// Store a new variable.
#[derive(Args, Clone, Debug)]
pub struct AddVariable {
    /// Name and value.
    #[arg(value_name = "NAME=VALUE", required = true)]
    pub pairs: Vec<String>,
    #[command(flatten)]
    vault: VaultArgs,
}

impl AddVariable {
    fn run(self, env: &Env) -> Result<Exit, Failure> {
        let project = project(env)?;
        let created = OffsetDateTime::now_utc().unix_timestamp();
        let mut variables = Vec::with_capacity(self.pairs.len());
        for pair in &self.pairs {
            let parts = pair.split_once('=').filter(|(name, _)| name.parse::<SecretName>().is_ok());
            let (name, value) = parts.ok_or_else(|| {
                Failure::new(Exit::Usage, "a variable is NAME=VALUE, its name like `region` or `AWS_REGION`")
            })?;
            variables.push(Variable { name: name.to_owned(), value: value.to_owned(), created });
        }
        let server = server(env)?;
        block_on(async {
            if let Some(client) = &server {
                let all = format!("/v1/projects/{}/variables", segment(project));
                for variable in variables {
                    let body = Body::of(&json!({"name": variable.name, "value": variable.value}));
                    client.post(&all, body).await?;
                    env.output.say(format!("variable/{} added", variable.name));
                }
                return Ok(Exit::Ok);
            }
            let names: Vec<_> =
                variables.iter().map(|variable| format!("variable/{} added", variable.name)).collect();
            self.vault.store(env).await?.insert(project, vec![], variables).await?;
            names.iter().for_each(|line| env.output.say(line));
            Ok(Exit::Ok)
        })
    }
}
