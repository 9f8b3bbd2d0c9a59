//! `doorward add secret|variable`: stores something new. A name that is taken is a conflict.

use clap::{Args, Subcommand};
use time::OffsetDateTime;

use super::values::ValueArgs;
use super::vault::{VaultArgs, block_on, not_found, project};
use super::{Env, Exit, Failure, when};
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
}

impl Add {
    /// Stores it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        match self {
            Self::Secret(secret) => secret.run(env),
            Self::Variable(variable) => variable.run(env),
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
    /// Bind it to the hosts of this built-in provider type.
    #[arg(long = "for", value_name = "TYPE")]
    for_type: Option<String>,
}

impl TermArgs {
    /// The end, in unix seconds.
    pub(crate) fn end(&self) -> Result<Option<i64>, Failure> {
        end(self.expires.as_deref())
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
        block_on(async {
            // Before the value is asked for: nobody should type a secret for nothing.
            let store = self.vault.store(env).await?;
            if store.secret(project, &self.name).await?.is_some() {
                return Err(crate::vault::store::StoreError::SecretExists(self.name).into());
            }
            let values = self.values.read(env)?;
            let bound = hosts.as_ref().map(ToString::to_string);
            let entry =
                Entry { name: self.name.clone(), description: self.description, expires, hosts, values };
            self.vault.unlock(env).await?.add(project, vec![entry], vec![]).await?;
            env.output.say(match bound {
                Some(hosts) => format!("secret/{} added, bound to {hosts}", self.name),
                None => format!(
                    "secret/{} added; any provider of project `{project}` may use it (--hosts or --for would bind it)",
                    self.name
                ),
            });
            Ok(Exit::Ok)
        })
    }
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
        block_on(async {
            let names: Vec<_> =
                variables.iter().map(|variable| format!("variable/{} added", variable.name)).collect();
            self.vault.store(env).await?.insert(project, vec![], variables).await?;
            names.iter().for_each(|line| env.output.say(line));
            Ok(Exit::Ok)
        })
    }
}
