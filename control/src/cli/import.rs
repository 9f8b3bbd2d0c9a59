//! `doorward import .env`: takes over a file of settings, secrets as secrets and the rest as variables; all or nothing.
//!
//! What is a secret is told by well known names, by words in the name and by the shape of the value; doubtful lines
//! become secrets. `--secret NAME` and `--variable NAME` decide it otherwise.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use super::vault::{VaultArgs, block_on, project};
use super::{Env, Exit, Failure, dotenv};
use crate::secret::SecretName;
use crate::types::{self, TypeSpec};
use crate::vault::local::Entry;
use crate::vault::store::Store;
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

/// The plan for a file.
#[derive(Default)]
struct Plan {
    report: Vec<String>,
    mistakes: Vec<String>,
    secrets: BTreeMap<SecretName, Found>,
    variables: Vec<(String, String)>,
}

impl Import {
    /// Says what each line becomes and, without `--dry-run`, does it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let project = project(env)?;
        let lines = dotenv::read(&self.file)?;
        self.check_overrides(&lines)?;
        block_on(async {
            let store = self.vault.store(env).await?;
            let (plan, clashes) = self.plan(lines, store.as_ref(), project).await?;
            plan.report.iter().for_each(|line| env.output.data(line));
            plan.mistakes.iter().for_each(|line| env.output.say(line));
            if !plan.mistakes.is_empty() {
                let exit = if clashes == plan.mistakes.len() { Exit::Conflict } else { Exit::Error };
                return Err(Failure::new(exit, "nothing was imported"));
            }
            let (secrets, variables) = (plan.secrets.len(), plan.variables.len());
            if self.dry_run {
                env.output.say(format!("would import {secrets} secrets and {variables} variables"));
                return Ok(Exit::Ok);
            }
            let entries = entries(plan.secrets)?;
            self.vault.unlock(env).await?.add(project, entries, plan.variables).await?;
            env.output.say(format!(
                "imported {secrets} secrets and {variables} variables; remove the values from {}",
                self.file.display()
            ));
            Ok(Exit::Ok)
        })
    }

    fn check_overrides(&self, lines: &[dotenv::Line]) -> Result<(), Failure> {
        let unknown = |name: &&String| !lines.iter().any(|line| line.name == **name);
        if let Some(name) = self.secret.iter().chain(&self.variable).find(unknown) {
            return Err(super::vault::not_found("line", name, lines.iter().map(|line| line.name.as_str())));
        }
        match self.secret.iter().find(|name| self.variable.contains(name)) {
            Some(name) => {
                Err(Failure::new(Exit::Usage, format!("`{name}` is given to --secret and to --variable")))
            }
            None => Ok(()),
        }
    }

    async fn plan(
        &self,
        lines: Vec<dotenv::Line>,
        store: &dyn Store,
        project: &str,
    ) -> Result<(Plan, usize), Failure> {
        let taken: Vec<_> =
            store.secrets(project).await?.into_iter().map(|row| row.name.to_string()).collect();
        let variables: Vec<_> = store.variables(project).await?.into_iter().map(|row| row.name).collect();
        let mut plan = Plan::default();
        let mut clashes = 0;
        for line in lines {
            let at = format!("{}:{}: {}", self.file.display(), line.number, line.name);
            let fate = self.fate(&line);
            let (known, name, what) = match &fate {
                Fate::Secret { name, key, kind } => {
                    let by = kind.map(|kind| format!(" (provider type {}, bound to its hosts)", kind.name));
                    let by = by.unwrap_or_default();
                    (&taken, name.clone(), format!("secret {name}, key {key}{by}"))
                }
                Fate::Variable => (&variables, line.name.clone(), format!("variable {}", line.name)),
            };
            if known.contains(&name) {
                clashes += 1;
                plan.report.push(format!("{at}: clash: {what} exists already"));
                plan.mistakes.push(format!("{at}: {what} exists already"));
                continue;
            }
            plan.report.push(format!("{at}: {what}"));
            if let Err(mistake) = plan.take(fate, line) {
                plan.mistakes.push(format!("{at}: {mistake}"));
            }
        }
        Ok((plan, clashes))
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
    fn take(&mut self, fate: Fate, line: dotenv::Line) -> Result<(), String> {
        match fate {
            Fate::Secret { name, key, kind } => {
                let hint =
                    |error: value::ValueError| format!("{error}; --variable {} keeps it as it is", line.name);
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
                self.variables.push((line.name, text.to_owned()));
            }
        }
        Ok(())
    }
}

fn entries(secrets: BTreeMap<SecretName, Found>) -> Result<Vec<Entry>, Failure> {
    let entry = |(name, found): (SecretName, Found)| {
        let hosts = found.kind.map(|kind| BoundHosts::of_type(&kind.bound_hosts())).transpose();
        let hosts = hosts.map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
        Ok(Entry { name, description: None, expires: None, hosts, values: found.values })
    };
    secrets.into_iter().map(entry).collect()
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
