//! `doorward import .env`: takes over a file of settings, secrets as secrets and the rest as variables; all or nothing.
//!
//! What is a secret is told by well known names, by words in the name and by the shape of the value; doubtful lines
//! become secrets. `--secret NAME` and `--variable NAME` decide it otherwise.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::remote::{Body, Client, segment, server};
use super::vault::{VaultArgs, block_on, project};
use super::{Env, Exit, Failure, dotenv};
use crate::api::{ImportLine, Imported};
use crate::secret::SecretName;
use crate::types::{self, TypeSpec};
use crate::vault::bound::BoundError;
use crate::vault::local::Entry;
use crate::vault::value;
use crate::vault::{BoundHosts, Values};

/// Take over a file of NAME=VALUE lines.
#[derive(Args, Clone, Debug)]
pub struct Import {
    /// The file, often `.env`.
    pub file: PathBuf,
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Store this line as a secret.
    #[arg(long, value_name = "NAME")]
    pub secret: Vec<String>,
    /// Store this line as a variable.
    #[arg(long, value_name = "NAME")]
    pub variable: Vec<String>,
    #[command(flatten)]
    vault: VaultArgs,
}

/// Names and their readable values.
type Variables = Vec<(String, String)>;

/// Vendors whose credentials are several settings: the secret and key that each becomes. All other known names are those
/// that the provider types list.
const COMPOSED: &[(&str, &str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "AWS_CREDENTIALS", "access_key_id"),
    ("AWS_SECRET_ACCESS_KEY", "AWS_CREDENTIALS", "secret_access_key"),
    ("AWS_SESSION_TOKEN", "AWS_CREDENTIALS", "session_token"),
    ("AZURE_CLIENT_ID", "AZURE_CREDENTIALS", "client_id"),
    ("AZURE_CLIENT_SECRET", "AZURE_CREDENTIALS", "client_secret"),
];
/// Words that make a name a secret's.
const SECRET_WORDS: &[&str] = &[
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASS",
    "PWD",
    "PAT",
    "KEY",
    "APIKEY",
    "CREDENTIAL",
    "CREDENTIALS",
    "PRIVATE",
    "DSN",
    "WEBHOOK",
];
/// Words that say it is public after all.
const PUBLIC_WORDS: &[&str] = &["PUBLIC", "PUBLISHABLE"];
/// How values of vendors without a type of their own begin, and of bearer tokens and keys of any.
const SECRET_PREFIXES: &[&str] = &["AKIA", "ASIA", "pypi-", "hf_", "dop_v1_", "eyJ", "-----BEGIN"];

/// What becomes of one line.
enum Fate {
    Secret { name: String, key: &'static str, kind: Option<&'static TypeSpec> },
    Variable,
}

/// A secret of the file: its values, and the type that uses it, to whose hosts it is bound.
#[derive(Default)]
struct Found {
    kind: Option<&'static TypeSpec>,
    values: Values,
}

/// What people decided otherwise than the names and shapes say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choices {
    /// Lines that become secrets.
    pub(crate) secret: Vec<String>,
    /// Lines that become variables.
    pub(crate) variable: Vec<String>,
}

/// What becomes of one line, as it is told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) number: usize,
    /// The name in the line.
    pub(crate) line: String,
    /// The secret or variable that it becomes.
    pub(crate) name: String,
    /// The key of the secret; `None`: a variable.
    pub(crate) key: Option<String>,
    /// The provider type that knows the name.
    pub(crate) kind: Option<String>,
    /// Whether something of that name exists.
    pub(crate) is_clash: bool,
    /// Why it cannot be taken.
    pub(crate) mistake: Option<String>,
}

impl Told {
    /// `secret GITHUB_TOKEN, key token (provider type github, bound to its hosts)`.
    fn what(&self) -> String {
        let by = self.kind.as_ref().map(|kind| format!(" (provider type {kind}, bound to its hosts)"));
        match &self.key {
            Some(key) => format!("secret {}, key {key}{}", self.name, by.unwrap_or_default()),
            None => format!("variable {}", self.name),
        }
    }
}

impl From<ImportLine> for Told {
    fn from(line: ImportLine) -> Self {
        Self {
            number: line.line,
            line: line.from,
            name: line.name,
            key: line.key,
            kind: line.known_provider,
            is_clash: line.clash,
            mistake: line.mistake,
        }
    }
}

/// The plan for a file.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) told: Vec<Told>,
    secrets: BTreeMap<SecretName, Found>,
    pub(crate) variables: Variables,
}

impl Import {
    /// Says what each line becomes and, without `--dry-run`, does it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let project = project(env)?;
        let lines = dotenv::read(&self.file)?;
        let choices = Choices { secret: self.secret.clone(), variable: self.variable.clone() };
        if let Some(name) = choices.unknown(&lines) {
            return Err(super::vault::not_found("line", name, lines.iter().map(|line| line.name.as_str())));
        }
        if let Some(name) = choices.doubled() {
            return Err(Failure::new(
                Exit::Usage,
                format!("`{name}` is given to --secret and to --variable"),
            ));
        }
        if let Some(client) = server(env)? {
            // Read above, so that mistakes are told with their file.
            let names = lines.into_iter().map(|line| (line.number, line.name)).collect();
            return block_on(self.on_server(env, &client, project, names));
        }
        block_on(async {
            let store = self.vault.store(env).await?;
            let taken: Vec<_> =
                store.secrets(project).await?.into_iter().map(|row| row.name.to_string()).collect();
            let variables: Vec<_> = store.variables(project).await?.into_iter().map(|row| row.name).collect();
            let plan = Plan::new(lines, &choices, &taken, &variables);
            self.report(env, &plan.told)?;
            let (secrets, variables) = plan.counts();
            if self.dry_run {
                env.output.say(format!("would import {secrets} secrets and {variables} variables"));
                return Ok(Exit::Ok);
            }
            let (entries, variables_found) = plan.entries()?;
            self.vault.unlock(env).await?.add(project, entries, variables_found).await?;
            env.output.say(format!(
                "imported {secrets} secrets and {variables} variables; remove the values from {}",
                self.file.display()
            ));
            Ok(Exit::Ok)
        })
    }

    async fn on_server(
        &self,
        env: &Env,
        client: &Client,
        project: &str,
        mut names: BTreeMap<usize, String>,
    ) -> Result<Exit, Failure> {
        let path = format!("/v1/projects/{}/import", segment(project));
        let text = dotenv::text(&self.file)?;
        let facts = |dry: bool| json!({"secrets": self.secret, "variables": self.variable, "dryRun": dry});
        let body = Body::with_texts(&facts(true), &[("text", &text)])?;
        let planned: Imported = client.post(&path, body).await?.read()?;
        let mut told: Vec<Told> = planned.lines.into_iter().map(Told::from).collect();
        for one in &mut told {
            // A server names no line with a mistake; here it may be.
            one.line = names.remove(&one.number).unwrap_or_default();
            if one.name.is_empty() {
                one.name.clone_from(&one.line);
            }
        }
        self.report(env, &told)?;
        let count = |is_secret: bool| {
            let of_kind = told.iter().filter(|told| told.key.is_some() == is_secret);
            of_kind.map(|told| &told.name).collect::<std::collections::BTreeSet<_>>().len()
        };
        let (secrets, variables) = (count(true), count(false));
        if self.dry_run {
            env.output.say(format!("would import {secrets} secrets and {variables} variables"));
            return Ok(Exit::Ok);
        }
        client.post(&path, Body::with_texts(&facts(false), &[("text", &text)])?).await?;
        env.output.say(format!(
            "imported {secrets} secrets and {variables} variables; remove the values from {}",
            self.file.display()
        ));
        Ok(Exit::Ok)
    }

    /// Prints what becomes of each line, and fails where one cannot be taken.
    pub(super) fn report(&self, env: &Env, told: &[Told]) -> Result<(), Failure> {
        let at = |told: &Told| format!("{}:{}: {}", self.file.display(), told.number, told.line);
        for one in told {
            let clash = if one.is_clash { "clash: " } else { "" };
            let exists = if one.is_clash { " exists already" } else { "" };
            env.output.data(format!("{}: {clash}{}{exists}", at(one), one.what()));
        }
        let mut mistakes = 0;
        let mut clashes = 0;
        for one in told {
            if one.is_clash {
                clashes += 1;
                env.output.say(format!("{}: {} exists already", at(one), one.what()));
            } else if let Some(mistake) = &one.mistake {
                mistakes += 1;
                env.output.say(format!("{}: {mistake}", at(one)));
            }
        }
        match (mistakes, clashes) {
            (0, 0) => Ok(()),
            (0, _) => Err(Failure::new(Exit::Conflict, "nothing was imported")),
            (_, _) => Err(Failure::new(Exit::Error, "nothing was imported")),
        }
    }
}

impl Choices {
    /// A name that no line has.
    pub(crate) fn unknown(&self, lines: &[dotenv::Line]) -> Option<&str> {
        let unknown = |name: &&String| !lines.iter().any(|line| line.name == **name);
        self.secret.iter().chain(&self.variable).find(unknown).map(String::as_str)
    }

    /// A name that is in both lists.
    pub(crate) fn doubled(&self) -> Option<&str> {
        self.secret.iter().find(|name| self.variable.contains(name)).map(String::as_str)
    }

    fn fate(&self, line: &dotenv::Line) -> Fate {
        if self.variable.contains(&line.name) {
            return Fate::Variable;
        }
        if let Some((_, name, key)) = COMPOSED.iter().find(|(known, ..)| *known == line.name) {
            return Fate::Secret { name: (*name).to_owned(), key, kind: None };
        }
        if let Some((kind, key)) = known_to_a_type(&line.name) {
            return Fate::Secret { name: line.name.clone(), key, kind: Some(kind) };
        }
        // exposed: its shape decides whether it is kept as a secret; nothing of it leaves this function
        if self.secret.contains(&line.name)
            || named_like_a_secret(&line.name)
            || looks_like_a_secret(line.value.expose())
        {
            return Fate::Secret { name: line.name.clone(), key: "token", kind: None };
        }
        Fate::Variable
    }
}

impl Plan {
    /// Decides what each line becomes; `secrets` and `variables` are the names that are taken.
    pub(crate) fn new(
        lines: Vec<dotenv::Line>,
        choices: &Choices,
        secrets: &[String],
        variables: &[String],
    ) -> Self {
        let mut plan = Self::default();
        for line in lines {
            let fate = choices.fate(&line);
            let (taken, name, key, kind) = match &fate {
                Fate::Secret { name, key, kind } => {
                    (secrets, name.clone(), Some((*key).to_owned()), kind.map(|kind| kind.name.to_owned()))
                }
                Fate::Variable => (variables, line.name.clone(), None, None),
            };
            let is_clash = taken.contains(&name);
            let (number, in_line) = (line.number, line.name.clone());
            let mistake = if is_clash { None } else { plan.take(fate, line).err() };
            plan.told.push(Told { number, line: in_line, name, key, kind, is_clash, mistake });
        }
        plan
    }

    /// How many secrets and variables it makes.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.secrets.len(), self.variables.len())
    }

    /// The secrets that no type binds to hosts.
    pub(crate) fn unbound(&self) -> impl Iterator<Item = &SecretName> {
        self.secrets.iter().filter(|(_, found)| found.kind.is_none()).map(|(name, _)| name)
    }

    /// What is stored.
    pub(crate) fn entries(self) -> Result<(Vec<Entry>, Variables), BoundError> {
        let entry = |(name, found): (SecretName, Found)| {
            let hosts = found.kind.map(|kind| BoundHosts::of_type(&kind.bound_hosts())).transpose()?;
            Ok(Entry { name, description: None, expires: None, hosts, values: found.values })
        };
        let entries: Result<Vec<_>, BoundError> = self.secrets.into_iter().map(entry).collect();
        Ok((entries?, self.variables))
    }

    fn take(&mut self, fate: Fate, line: dotenv::Line) -> Result<(), String> {
        match fate {
            Fate::Secret { name, key, kind } => {
                let hint =
                    |error: value::ValueError| format!("{error}; --variable with its name keeps it as it is");
                value::check(key, &line.value).map_err(hint)?;
                let name: SecretName =
                    name.parse().map_err(|error: crate::secret::NameError| error.to_string())?;
                let found = self.secrets.entry(name).or_default();
                found.kind = kind;
                found.values.push((key.to_owned(), line.value));
            }
            Fate::Variable => {
                line.name.parse::<SecretName>().map_err(|error| error.to_string())?;
                // exposed: the line is plain configuration, which is what a variable holds
                let text = std::str::from_utf8(line.value.expose()).map_err(|error| error.to_string())?;
                if text.contains('\0') {
                    return Err("the value holds a NUL".to_owned());
                }
                self.variables.push((line.name, text.to_owned()));
            }
        }
        Ok(())
    }
}

impl From<BoundError> for Failure {
    fn from(error: BoundError) -> Self {
        Self::new(Exit::Error, error.to_string())
    }
}

/// The first built-in type with hosts of its own whose libraries look for a credential under this name, and its key.
fn known_to_a_type(name: &str) -> Option<(&'static TypeSpec, &'static str)> {
    let kinds = types::ALL.iter().filter(|kind| !kind.hosts.is_empty());
    let auths = kinds.flat_map(|kind| kind.auth.iter().map(move |auth| (*kind, auth)));
    // What a login's client is given by a variable is a token that nothing renews.
    let mut auths = auths.into_iter().filter(|(_, auth)| auth.name != types::OAUTH);
    let (kind, auth) = auths.find(|(_, auth)| auth.env.contains(&name))?;
    Some((kind, auth.keys.first().copied()?))
}

fn named_like_a_secret(name: &str) -> bool {
    let words: Vec<String> = name.split(['_', '-', '.']).map(str::to_ascii_uppercase).collect();
    let any = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    any(SECRET_WORDS) && !any(PUBLIC_WORDS)
}

fn looks_like_a_secret(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return true };
    let of_types = types::ALL.iter().flat_map(|kind| kind.auth).flat_map(|auth| auth.public_prefixes);
    let mut prefixes = SECRET_PREFIXES.iter().chain(of_types);
    if prefixes.any(|prefix| text.starts_with(prefix)) || has_password_in_url(text) {
        return true;
    }
    // One long word of mixed characters: no URL, no path, no sentence.
    let token = text.len() >= 24
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'_' | b'-' | b'='));
    token && text.bytes().any(|b| b.is_ascii_digit()) && text.bytes().any(|b| b.is_ascii_alphabetic())
}

fn has_password_in_url(text: &str) -> bool {
    let authority =
        text.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    let user = authority.and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
    user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_secret_is_one() {
        for name in ["DB_PASSWORD", "STRIPE_SECRET_KEY", "MY_PAT", "api_key", "SENTRY_DSN", "X-TOKEN"] {
            assert!(named_like_a_secret(name), "{name}");
        }
        for name in ["NEXT_PUBLIC_KEY", "STRIPE_PUBLISHABLE_KEY", "PATH", "KEYBOARD", "REGION", "PATTERN"] {
            assert!(!named_like_a_secret(name), "{name}");
        }
        for value in [
            "ghp_abcdefgh",
            "sk-ant-x",
            "lin_api_x",
            "postgres://u:p@db/x",
            "0123456789abcdef0123456789",
            "eyJhbGciOi",
            "-----BEGIN KEY",
        ] {
            assert!(looks_like_a_secret(value.as_bytes()), "{value}");
        }
        for value in [
            "us-east-1",
            "https://api.example.com/v1",
            "postgres://db/x",
            "true",
            "8080",
            "a sentence of words 1",
            "production",
        ] {
            assert!(!looks_like_a_secret(value.as_bytes()), "{value}");
        }
    }
}
