//! Commands as a source: a program's output is the value of a key, kept for a time.
//!
//! Refuses programs that fail, take too long or say too much, and values that could not be stored either. Programs run
//! without a shell. A value is fetched once for all who ask at the same time, and never used after its time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::process::{self, CommandError};
use super::value::{self, VALUE_MAX, ValueError};
use super::{OpenError, Opened, Opening, SecretFacts, Source, Terms, Values};
use crate::policy::Permit;
use crate::secret::{Secret, SecretRef};

/// Why a command gave no usable value.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The value cannot be used.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The runtime is ending.
    #[error("the program is shutting down")]
    Ending(#[from] tokio::task::JoinError),
}

/// How the values of one secret are fetched.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// A program and its arguments for each key.
    pub keys: BTreeMap<String, Vec<String>>,
    /// How long the values are used.
    pub ttl: Duration,
    /// How long a program may take.
    pub deadline: Duration,
}

/// Secrets that commands give.
#[derive(Debug)]
pub struct Commands {
    secrets: BTreeMap<(Arc<str>, String), (Recipe, Mutex<Kept>)>,
}

/// What was fetched last.
#[derive(Debug, Default)]
struct Kept {
    version: u64,
    until: Option<Instant>,
    values: Arc<Values>,
}

impl Commands {
    /// The secrets and how each is fetched.
    pub fn new(recipes: impl IntoIterator<Item = (SecretRef, Recipe)>) -> Self {
        let entry = |(secret, recipe): (SecretRef, Recipe)| {
            ((secret.project, secret.name.as_str().to_owned()), (recipe, Mutex::default()))
        };
        Self { secrets: recipes.into_iter().map(entry).collect() }
    }

    fn entry(&self, secret: &SecretRef) -> Result<&(Recipe, Mutex<Kept>), OpenError> {
        let key = (Arc::clone(&secret.project), secret.name.as_str().to_owned());
        self.secrets.get(&key).ok_or_else(|| OpenError::Missing(secret.clone()))
    }
}

/// Runs the programs one after the other.
async fn fetch(recipe: &Recipe) -> Result<Values, FetchError> {
    let mut values = Vec::with_capacity(recipe.keys.len());
    for (key, argv) in &recipe.keys {
        let (argv, deadline) = (argv.clone(), recipe.deadline);
        // Two more: the line break that is dropped.
        let run = move || process::output(&argv, deadline, VALUE_MAX + 2);
        let mut output = tokio::task::spawn_blocking(run).await??;
        values.push((key.clone(), value::without_final_line_break(std::mem::take(&mut *output))));
    }
    value::check_all(&values)?;
    Ok(values)
}

fn same(one: &[(String, Secret)], two: &[(String, Secret)]) -> bool {
    one.len() == two.len()
        // exposed: compared in constant time, see Secret::matches
        && one.iter().zip(two).all(|(a, b)| a.0 == b.0 && a.1.matches(b.1.expose()))
}

/// A copy for one opening: the kept values stay where they are.
fn copies(values: &[(String, Secret)]) -> Values {
    // exposed: copied from one Secret into another
    values.iter().map(|(key, value)| (key.clone(), Secret::new(value.expose().to_vec()))).collect()
}

impl Source for Commands {
    fn open<'a>(&'a self, _permit: &'a Permit, secret: &'a SecretRef) -> Opening<'a, Opened> {
        Box::pin(async move {
            let (recipe, kept) = self.entry(secret)?;
            let mut kept = kept.lock().await;
            if kept.until.is_none_or(|until| Instant::now() >= until) {
                let values = fetch(recipe).await.map_err(|error| OpenError::source(secret, error))?;
                if !same(&kept.values, &values) {
                    kept.version += 1;
                    kept.values = Arc::new(values);
                }
                kept.until = Some(Instant::now() + recipe.ttl);
            }
            let terms = Terms {
                secret: secret.clone(),
                expires: None,
                hosts: None,
                stale_at: kept.until,
                lease: None,
            };
            Ok(Opened { version: kept.version.into(), values: copies(&kept.values), terms })
        })
    }

    fn facts<'a>(&'a self, secret: &'a SecretRef) -> Opening<'a, SecretFacts> {
        Box::pin(async move {
            let (recipe, kept) = self.entry(secret)?;
            let keys = recipe.keys.keys().cloned().collect();
            // What the first fetch makes it: before it there is no other version that anything could be made from.
            let version = kept.lock().await.version.max(1).into();
            Ok(SecretFacts { keys, version, bound_hosts: None, expires: None })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::tests::{permit, secret_ref};

    fn commands(script: &str, ttl: Duration) -> Commands {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let keys = BTreeMap::from([("token".to_owned(), argv)]);
        Commands::new([(secret_ref("cmd"), Recipe { keys, ttl, deadline: Duration::from_secs(20) })])
    }

    #[tokio::test]
    async fn refuses_commands_that_fail_and_values_that_could_not_be_stored() {
        for script in ["exit 3", "printf short", "printf 'line\\nline\\n'"] {
            let commands = commands(script, Duration::ZERO);
            let refused =
                commands.open(&permit("cmd", "a.example:443"), &secret_ref("cmd")).await.unwrap_err();
            assert!(matches!(refused, OpenError::Source(..)), "{script}");
        }
        let other = commands("true", Duration::ZERO);
        assert!(matches!(other.facts(&secret_ref("x")).await, Err(OpenError::Missing(_))));
    }

    #[tokio::test]
    async fn keeps_a_value_for_its_time_and_counts_changes() {
        let dir = tempfile::tempdir().unwrap();
        let count = dir.path().join("n");
        let script = format!("printf x >> {0}; printf 'value-of-%s\\n' $(wc -c < {0})", count.display());
        let permit = permit("cmd", "a.example:443");
        let name = secret_ref("cmd");
        let kept = commands(&script, Duration::from_secs(3600));
        let before = kept.facts(&name).await.unwrap().version;
        assert_eq!(before, kept.open(&permit, &name).await.unwrap().version);
        for _ in 0..2 {
            let opened = kept.open(&permit, &name).await.unwrap();
            assert_eq!(
                (opened.version.number, opened.value("token").unwrap().matches(b"value-of-1")),
                (1, true)
            );
            assert!(opened.terms.stale_at.is_some());
        }
        let fresh = commands(&script, Duration::ZERO);
        assert!(fresh.open(&permit, &name).await.unwrap().value("token").unwrap().matches(b"value-of-2"));
        assert_eq!(fresh.open(&permit, &name).await.unwrap().version.number, 2);
    }
}
