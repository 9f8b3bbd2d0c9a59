//! `doorward get` and `doorward describe`: what is known of secrets, variables and provider types. No format
//! shows a secret's value.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::json;
use time::OffsetDateTime;

use super::listing::{Item, Listing, describe};
use super::models::{ModelProvider, ModelProviders};
use super::remote::{segment, server};
use super::types::{Type, Types};
use super::users::{ProviderArgs, Users, last_used};
use super::vault::{VaultArgs, block_on, home, no_secret, not_found, project};
use super::{Env, Exit, Failure, when};
use super::{cards, described, members, objects};
use crate::api::{SecretView, VariableView, secret_view};
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
    /// Projects of a server.
    #[command(visible_alias = "project")]
    Projects(objects::All),
    /// Requests that wait for a person.
    #[command(visible_alias = "ask")]
    Asks(super::asks::Asks),
    /// Agents of a server.
    #[command(visible_alias = "agent")]
    Agents(objects::All),
    /// Providers and model providers: documents of a server, or of the home's files.
    #[command(visible_alias = "provider")]
    Providers(objects::All),
    /// What is attached to an agent of a server, and whether its sidecar has it.
    #[command(visible_alias = "attachment")]
    Attachments(objects::OfAgent),
    /// Members of a project, or of the installation, of a server.
    #[command(visible_alias = "member")]
    Members(members::Whose),
    /// Each built-in provider type, and what the server's project has of it.
    #[command(visible_alias = "card")]
    Cards(cards::Cards),
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
    /// A request that waits for a person.
    #[command(visible_alias = "asks")]
    Ask(super::asks::Ask),
    /// A provider: its secrets, and the document.
    #[command(visible_alias = "providers")]
    Provider(described::One),
    /// An agent of a server, with what is attached to it.
    #[command(visible_alias = "agents")]
    Agent(described::One),
    /// A project of a server.
    #[command(visible_alias = "projects")]
    Project(described::One),
    /// What the server's project has of one provider type.
    #[command(visible_alias = "cards")]
    Card(cards::OneCard),
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
            Self::Projects(all) => all.projects(env),
            Self::Asks(asks) => asks.listing(env),
            Self::Agents(all) => all.agents(env),
            Self::Providers(all) => all.providers(env),
            Self::Attachments(agent) => agent.listing(env),
            Self::Members(whose) => whose.listing(env),
            Self::Cards(cards) => cards.listing(env),
        };
        listing?.print(env)
    }
}

async fn secrets(env: &Env, wanted: &Secrets) -> Result<Listing, Failure> {
    let project = project(env)?;
    let names = &wanted.which.names;
    let mut views = match server(env)? {
        Some(client) => {
            let path = format!("/v1/projects/{}/secrets?users=true", segment(project));
            client.all::<SecretView>(&path).await?
        }
        None => {
            let uses = Uses::of(env, &wanted.providers, project);
            let rows = wanted.which.vault.store(env).await?.secrets(project).await?;
            rows.iter().map(|row| uses.view(project, row)).collect()
        }
    };
    let known = |name: &&SecretName| !views.iter().any(|view| view.name == name.as_str());
    if let Some(missing) = names.iter().find(known) {
        return Err(not_found("secret", missing.as_str(), views.iter().map(|view| view.name.as_str())));
    }
    views.retain(|view| names.is_empty() || names.iter().any(|name| name.as_str() == view.name));
    let now = OffsetDateTime::now_utc();
    let items: Result<Vec<_>, Failure> = views.into_iter().map(|view| secret_item(view, now)).collect();
    Ok(Listing {
        kind: "secret",
        columns: &["NAME", "KEYS", "AGE", "USED BY", "EXPIRES", "LAST USED", "FINGERPRINT", "REV", "HOSTS"],
        wide_from: 3,
        items: items?,
    })
}

fn secret_item(view: SecretView, now: OffsetDateTime) -> Result<Item, Failure> {
    Ok(Item {
        name: view.name.clone(),
        cells: vec![
            view.name.clone(),
            view.keys.join(","),
            age(&view.created, now),
            used_by(&view),
            expiry(&view, now),
            view.last_used.clone().unwrap_or_else(|| "-".to_owned()),
            fingerprints(&view),
            view.revision.to_string(),
            view.hosts.as_ref().map_or_else(|| "unbound".to_owned(), |hosts| hosts.join(",")),
        ],
        object: object(&view)?,
    })
}

async fn variables(env: &Env, wanted: &Names) -> Result<Listing, Failure> {
    let mut views = variable_views(env, &wanted.vault).await?;
    let names: Vec<_> = views.iter().map(|view| view.name.clone()).collect();
    if let Some(missing) = wanted.names.iter().find(|name| !names.iter().any(|known| known == name.as_str()))
    {
        return Err(not_found("variable", missing.as_str(), names.iter().map(String::as_str)));
    }
    views
        .retain(|view| wanted.names.is_empty() || wanted.names.iter().any(|name| name.as_str() == view.name));
    let now = OffsetDateTime::now_utc();
    let item = |view: VariableView| Item {
        name: view.name.clone(),
        cells: vec![view.name.clone(), view.value.clone(), age(&view.created, now)],
        object: variable_object(&view),
    };
    Ok(Listing {
        kind: "variable",
        columns: &["NAME", "VALUE", "AGE"],
        wide_from: 3,
        items: views.into_iter().map(item).collect(),
    })
}

async fn variable_views(env: &Env, vault: &VaultArgs) -> Result<Vec<VariableView>, Failure> {
    let project = project(env)?;
    if let Some(client) = server(env)? {
        return client.all(&format!("/v1/projects/{}/variables", segment(project))).await;
    }
    let view = |row: Variable| VariableView {
        kind: "Variable".to_owned(),
        name: row.name,
        project: project.to_owned(),
        value: row.value,
        created: when::show(row.created),
        version: 0,
    };
    Ok(vault.store(env).await?.variables(project).await?.into_iter().map(view).collect())
}

impl Describe {
    /// Prints everything that is known.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        match self {
            Self::Secret(wanted) => describe_secret(env, &wanted),
            Self::Variable(wanted) => describe_variable(env, &wanted),
            Self::Type(wanted) => wanted.run(env),
            Self::ModelProvider(wanted) => wanted.run(env),
            Self::Ask(wanted) => wanted.describe(env),
            Self::Provider(wanted) => wanted.provider(env),
            Self::Agent(wanted) => wanted.agent(env),
            Self::Project(wanted) => wanted.project(env),
            Self::Card(wanted) => wanted.run(env),
        }
    }
}

fn describe_secret(env: &Env, wanted: &Wanted) -> Result<Exit, Failure> {
    let project = project(env)?;
    let name = &wanted.which.name;
    let view: SecretView = block_on(async {
        if let Some(client) = server(env)? {
            let all = format!("/v1/projects/{}/secrets", segment(project));
            return match client.find(&format!("{all}/{}", segment(name.as_str()))).await? {
                Some(found) => found.read(),
                None => {
                    let known: Vec<SecretView> = client.all(&all).await?;
                    Err(not_found("secret", name.as_str(), known.iter().map(|view| view.name.as_str())))
                }
            };
        }
        let uses = Uses::of(env, &wanted.providers, project);
        let store = wanted.which.vault.store(env).await?;
        match store.secret(project, name).await? {
            Some(row) => Ok(uses.view(project, &row)),
            None => Err(no_secret(&store, project, name).await),
        }
    })?;
    let now = OffsetDateTime::now_utc();
    let earlier: Vec<_> = view.earlier_revisions.iter().map(ToString::to_string).collect();
    let hosts = view.hosts.as_ref().map(|hosts| hosts.join(","));
    let mut lines = vec![
        ("Name", view.name.clone()),
        ("Project", project.to_owned()),
        ("Description", view.description.clone().unwrap_or_else(|| "-".to_owned())),
        (
            "Hosts",
            hosts.unwrap_or_else(|| format!("unbound: any provider of project `{project}` may use it")),
        ),
        ("Created", format!("{} ({} ago)", view.created, age(&view.created, now))),
        ("Changed", format!("{} ({} ago)", view.changed, age(&view.changed, now))),
        ("Expires", expiry(&view, now)),
        ("Used by", used_by(&view)),
        ("Last used", view.last_used.clone().unwrap_or_else(|| "-".to_owned())),
        ("Revision", view.revision.to_string()),
        ("Rollback to", if earlier.is_empty() { "-".to_owned() } else { earlier.join(", ") }),
    ];
    let keys = view.keys.iter().map(|key| {
        let fingerprint = view.fingerprints.get(key).map_or("-", String::as_str);
        let hint = view.hints.get(key).map(|hint| format!(", {hint}")).unwrap_or_default();
        ("Key", format!("{key} (fingerprint {fingerprint}{hint})"))
    });
    lines.extend(keys);
    describe(env, &format!("secret/{}", view.name), &lines, &object(&view)?)
}

fn describe_variable(env: &Env, wanted: &Name) -> Result<Exit, Failure> {
    let views = block_on(variable_views(env, &wanted.vault))?;
    let Some(view) = views.iter().find(|view| view.name == wanted.name.as_str()) else {
        let known = views.iter().map(|view| view.name.as_str());
        return Err(not_found("variable", wanted.name.as_str(), known));
    };
    let lines = [
        ("Name", view.name.clone()),
        ("Project", view.project.clone()),
        ("Value", view.value.clone()),
        ("Created", view.created.clone()),
    ];
    describe(env, &format!("variable/{}", view.name), &lines, &variable_object(view))
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

    fn view(&self, project: &str, row: &SecretRow) -> SecretView {
        let names = self.users.as_ref().map(|users| users.names(&row.name));
        let names = names.map(|names| names.into_iter().map(str::to_owned).collect());
        secret_view(project, row, names, self.last.get(row.name.as_str()).cloned())
    }
}

fn used_by(view: &SecretView) -> String {
    match &view.used_by {
        None => "?".to_owned(),
        Some(names) if names.is_empty() => "-".to_owned(),
        Some(names) => names.join(","),
    }
}

fn fingerprints(view: &SecretView) -> String {
    let print = |key: &String| view.fingerprints.get(key).cloned().unwrap_or_default();
    match view.keys.as_slice() {
        [only] => print(only),
        several => several.iter().map(|key| format!("{key}={}", print(key))).collect::<Vec<_>>().join(","),
    }
}

fn expiry(view: &SecretView, now: OffsetDateTime) -> String {
    match &view.expires {
        None => "never".to_owned(),
        Some(end) if when::parse(end, now).is_some_and(|time| time <= now) => format!("{end} (expired)"),
        Some(end) => end.clone(),
    }
}

/// How long ago a time was that is written out.
fn age(time: &str, now: OffsetDateTime) -> String {
    let then = when::parse(time, now).unwrap_or(now);
    when::age(then.unix_timestamp(), now)
}

fn object(view: &SecretView) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(view).map_err(|error| Failure::new(Exit::Error, error.to_string()))
}

fn variable_object(view: &VariableView) -> serde_json::Value {
    json!({
        "kind": view.kind,
        "name": view.name,
        "project": view.project,
        "value": view.value,
        "created": view.created,
    })
}
