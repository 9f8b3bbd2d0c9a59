//! `doorward get` and `doorward describe`: what is known of secrets, variables and provider types. No format
//! shows a secret's value.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::json;
use time::OffsetDateTime;

use super::listing::{Item, Listing, describe};
use super::models::{ModelProvider, ModelProviders};
use super::types::{Type, Types};
use super::users::{ProviderArgs, Users, last_used};
use super::vault::{VaultArgs, block_on, home, no_secret, not_found, project};
use super::{Env, Exit, Failure, when};
use crate::secret::SecretName;
use crate::vault::store::{SecretRow, Variable};

/// List what is stored.
#[derive(Subcommand, Clone, Debug)]
pub enum Get {
    /// Secrets: names, keys and age.
    #[command(visible_alias = "secret")]
    Secrets(Secrets),
    /// Variables with their values.
    #[command(visible_alias = "variable")]
    Variables(Names),
    /// Built-in provider types: what `spec.type` can be.
    #[command(visible_alias = "type")]
    Types(Types),
    /// Model providers: models, budgets, and what of today's is used.
    #[command(visible_alias = "model-provider")]
    ModelProviders(ModelProviders),
}

/// Show one thing with everything that is known of it.
#[derive(Subcommand, Clone, Debug)]
pub enum Describe {
    /// A secret.
    #[command(visible_alias = "secrets")]
    Secret(Wanted),
    /// A variable.
    #[command(visible_alias = "variables")]
    Variable(Name),
    /// A built-in provider type: hosts, auth, dummies, actions.
    #[command(visible_alias = "types")]
    Type(Type),
    /// A model provider.
    #[command(visible_alias = "model-providers")]
    ModelProvider(ModelProvider),
}

/// Which ones.
#[derive(Args, Clone, Debug)]
pub struct Names {
    /// Only these; all if none is given.
    pub names: Vec<SecretName>,
    #[command(flatten)]
    vault: VaultArgs,
}

/// Which secrets.
#[derive(Args, Clone, Debug)]
pub struct Secrets {
    #[command(flatten)]
    which: Names,
    #[command(flatten)]
    providers: ProviderArgs,
}

/// Which secret.
#[derive(Args, Clone, Debug)]
pub struct Wanted {
    #[command(flatten)]
    which: Name,
    #[command(flatten)]
    providers: ProviderArgs,
}

/// Which one.
#[derive(Args, Clone, Debug)]
pub struct Name {
    /// Its name.
    pub name: SecretName,
    #[command(flatten)]
    vault: VaultArgs,
}

impl Get {
    /// Prints the list.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let listing = match &self {
            Self::Secrets(names) => block_on(secrets(env, names)),
            Self::Variables(names) => block_on(variables(env, names)),
            Self::Types(names) => names.listing(),
            Self::ModelProviders(names) => names.listing(env),
        };
        listing?.print(env)
    }
}

async fn secrets(env: &Env, wanted: &Secrets) -> Result<Listing, Failure> {
    let project = project(env)?;
    let uses = Uses::of(env, &wanted.providers, project);
    let wanted = &wanted.which;
    let store = wanted.vault.store(env).await?;
    let mut rows = store.secrets(project).await?;
    if let Some(missing) = wanted.names.iter().find(|name| !rows.iter().any(|row| row.name == **name)) {
        return Err(no_secret(&store, project, missing).await);
    }
    rows.retain(|row| wanted.names.is_empty() || wanted.names.contains(&row.name));
    let now = OffsetDateTime::now_utc();
    let item = |row: SecretRow| Item {
        name: row.name.to_string(),
        cells: vec![
            row.name.to_string(),
            keys(&row).join(","),
            when::age(row.created, now),
            uses.by(&row),
            expiry(&row, now),
            uses.last(&row),
            fingerprints(&row),
            row.version.to_string(),
            row.hosts.clone().unwrap_or_else(|| "unbound".to_owned()),
        ],
        object: object(project, &row, &uses),
    };
    Ok(Listing {
        kind: "secret",
        columns: &["NAME", "KEYS", "AGE", "USED BY", "EXPIRES", "LAST USED", "FINGERPRINT", "REV", "HOSTS"],
        wide_from: 3,
        items: rows.into_iter().map(item).collect(),
    })
}

async fn variables(env: &Env, wanted: &Names) -> Result<Listing, Failure> {
    let project = project(env)?;
    let mut rows = wanted.vault.store(env).await?.variables(project).await?;
    let names: Vec<_> = rows.iter().map(|row| row.name.clone()).collect();
    if let Some(missing) = wanted.names.iter().find(|name| !names.iter().any(|known| known == name.as_str()))
    {
        return Err(not_found("variable", missing.as_str(), names.iter().map(String::as_str)));
    }
    rows.retain(|row| wanted.names.is_empty() || wanted.names.iter().any(|name| name.as_str() == row.name));
    let now = OffsetDateTime::now_utc();
    let item = |row: Variable| Item {
        name: row.name.clone(),
        cells: vec![row.name.clone(), row.value.clone(), when::age(row.created, now)],
        object: variable_object(project, &row),
    };
    Ok(Listing {
        kind: "variable",
        columns: &["NAME", "VALUE", "AGE"],
        wide_from: 3,
        items: rows.into_iter().map(item).collect(),
    })
}

impl Describe {
    /// Prints everything that is known.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        match self {
            Self::Secret(wanted) => describe_secret(env, &wanted),
            Self::Variable(wanted) => describe_variable(env, &wanted),
            Self::Type(wanted) => wanted.run(env),
            Self::ModelProvider(wanted) => wanted.run(env),
        }
    }
}

fn describe_secret(env: &Env, wanted: &Wanted) -> Result<Exit, Failure> {
    let project = project(env)?;
    let uses = Uses::of(env, &wanted.providers, project);
    let wanted = &wanted.which;
    let row = block_on(async {
        let store = wanted.vault.store(env).await?;
        match store.secret(project, &wanted.name).await? {
            Some(row) => Ok(row),
            None => Err(no_secret(&store, project, &wanted.name).await),
        }
    })?;
    let now = OffsetDateTime::now_utc();
    let earlier: Vec<_> = row.earlier.iter().map(ToString::to_string).collect();
    let mut lines = vec![
        ("Name", row.name.to_string()),
        ("Project", project.to_owned()),
        ("Description", row.description.clone().unwrap_or_else(|| "-".to_owned())),
        (
            "Hosts",
            row.hosts
                .clone()
                .unwrap_or_else(|| format!("unbound: any provider of project `{project}` may use it")),
        ),
        ("Created", format!("{} ({} ago)", when::show(row.created), when::age(row.created, now))),
        ("Changed", format!("{} ({} ago)", when::show(row.changed), when::age(row.changed, now))),
        ("Expires", expiry(&row, now)),
        ("Used by", uses.by(&row)),
        ("Last used", uses.last(&row)),
        ("Revision", row.version.to_string()),
        ("Rollback to", if earlier.is_empty() { "-".to_owned() } else { earlier.join(", ") }),
    ];
    lines.extend(
        row.keys.iter().map(|(key, fingerprint)| ("Key", format!("{key} (fingerprint {fingerprint})"))),
    );
    describe(env, &format!("secret/{}", row.name), &lines, &object(project, &row, &uses))
}

fn describe_variable(env: &Env, wanted: &Name) -> Result<Exit, Failure> {
    let project = project(env)?;
    let rows = block_on(async { Ok(wanted.vault.store(env).await?.variables(project).await?) })?;
    let Some(row) = rows.iter().find(|row| row.name == wanted.name.as_str()) else {
        return Err(not_found("variable", wanted.name.as_str(), rows.iter().map(|row| row.name.as_str())));
    };
    let lines = [
        ("Name", row.name.clone()),
        ("Project", project.to_owned()),
        ("Value", row.value.clone()),
        ("Created", when::show(row.created)),
    ];
    describe(env, &format!("variable/{}", row.name), &lines, &variable_object(project, row))
}

/// What provider files and audit tell of secrets.
struct Uses {
    /// `None`: the files have mistakes, so nobody knows.
    users: Option<Users>,
    last: BTreeMap<String, String>,
}

impl Uses {
    fn of(env: &Env, providers: &ProviderArgs, project: &str) -> Self {
        let users = providers.users(env, project);
        if let Err(failure) = &users {
            env.output.say(format!(
                "warning: who uses what is not known, the provider files have mistakes:\n{failure}"
            ));
        }
        let last = home(env).map(|home| last_used(&home.audit_dir())).unwrap_or_default();
        Self { users: users.ok(), last }
    }

    fn by(&self, row: &SecretRow) -> String {
        match self.users.as_ref().map(|users| users.names(&row.name)) {
            None => "?".to_owned(),
            Some(names) if names.is_empty() => "-".to_owned(),
            Some(names) => names.join(","),
        }
    }

    fn last(&self, row: &SecretRow) -> String {
        self.last.get(row.name.as_str()).cloned().unwrap_or_else(|| "-".to_owned())
    }
}

fn keys(row: &SecretRow) -> Vec<&str> {
    row.keys.iter().map(|(key, _)| key.as_str()).collect()
}

fn fingerprints(row: &SecretRow) -> String {
    match row.keys.as_slice() {
        [(_, only)] => only.clone(),
        several => several.iter().map(|(key, print)| format!("{key}={print}")).collect::<Vec<_>>().join(","),
    }
}

fn expiry(row: &SecretRow, now: OffsetDateTime) -> String {
    match row.expires {
        None => "never".to_owned(),
        Some(end) if end <= now.unix_timestamp() => format!("{} (expired)", when::show(end)),
        Some(end) => when::show(end),
    }
}

fn object(project: &str, row: &SecretRow, uses: &Uses) -> serde_json::Value {
    let fingerprints: serde_json::Map<_, _> =
        row.keys.iter().map(|(k, print)| (k.clone(), json!(print))).collect();
    json!({
        "kind": "Secret",
        "name": row.name.as_str(),
        "project": project,
        "description": row.description,
        "keys": keys(row),
        "hosts": row.hosts.as_ref().map(|hosts| hosts.split(',').collect::<Vec<_>>()),
        "created": when::show(row.created),
        "changed": when::show(row.changed),
        "expires": row.expires.map(when::show),
        "revision": row.version,
        "earlierRevisions": row.earlier,
        "fingerprints": fingerprints,
        "usedBy": uses.users.as_ref().map(|users| users.names(&row.name)),
        "lastUsed": uses.last.get(row.name.as_str()),
    })
}

fn variable_object(project: &str, row: &Variable) -> serde_json::Value {
    json!({
        "kind": "Variable",
        "name": row.name,
        "project": project,
        "value": row.value,
        "created": when::show(row.created),
    })
}
