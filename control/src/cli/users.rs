//! Who uses a secret: the providers of the files that name it, and when the audit last saw it used.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use super::vault::home;
use super::{Env, Exit, Failure};
use crate::provider::{self, Loaded, Provider};
use crate::secret::SecretName;

/// The longest audit line that is looked at.
const LINE_MAX: u64 = 64 * 1024;

/// The provider files to look into.
#[derive(Args, Clone, Debug, Default)]
pub struct ProviderArgs {
    /// Provider files or folders; without it the home's own.
    #[arg(long, env = "DOORWARD_PROVIDERS", value_name = "PATH", value_delimiter = ',')]
    pub providers: Vec<PathBuf>,
}

/// The providers that use secrets of a project, by secret.
#[derive(Debug, Default)]
pub(crate) struct Users(BTreeMap<SecretName, Vec<(String, String)>>);

impl ProviderArgs {
    /// What the files hold; nothing where there are none.
    pub(crate) fn load(&self, env: &Env) -> Result<Loaded, Failure> {
        let own = home(env)?.providers_dir();
        let paths = match (self.providers.is_empty(), own.is_dir()) {
            (false, _) => self.providers.clone(),
            (true, true) => vec![own],
            (true, false) => return Ok(Loaded::default()),
        };
        provider::load(&paths, env.schemes).map_err(|mistakes| {
            let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            Failure::new(Exit::Error, lines.join("\n"))
        })
    }

    /// Reads the files. With mistakes in them nobody knows who uses what.
    pub(crate) fn users(&self, env: &Env, project: &str) -> Result<Users, Failure> {
        let loaded = self.load(env)?;
        let mut users = Users::default();
        for provider in loaded.providers.iter().map(AsRef::as_ref) {
            users.note(project, provider);
        }
        Ok(users)
    }
}

impl Users {
    fn note(&mut self, project: &str, provider: &Provider) {
        for secret in provider.secrets().filter(|secret| *secret.project == *project) {
            let user = (provider.name.to_string(), provider.source.to_string());
            self.0.entry(secret.name.clone()).or_default().push(user);
        }
    }

    /// The names of the providers.
    pub(crate) fn names(&self, secret: &SecretName) -> Vec<&str> {
        self.0.get(secret).into_iter().flatten().map(|(name, _)| name.as_str()).collect()
    }

    /// The providers with their places: `github (github.yaml:1)`.
    pub(crate) fn places(&self, secret: &SecretName) -> Vec<String> {
        self.0.get(secret).into_iter().flatten().map(|(name, place)| format!("{name} ({place})")).collect()
    }
}

/// What is looked at of an audit line.
#[derive(Deserialize)]
struct Seen {
    ts: String,
    secret: Option<String>,
}

/// When the audit of this home last saw each secret used, by name, as RFC 3339. Lines that cannot be read are passed over:
/// `doorward audit verify` is what judges them.
pub(crate) fn last_used(folder: &Path) -> BTreeMap<String, String> {
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in files.filter(|path| path.to_string_lossy().contains(".jsonl")) {
        let Ok(file) = File::open(&path) else { continue };
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while take_line(&mut reader, &mut line) {
            let Ok(Seen { ts, secret: Some(secret) }) = serde_json::from_slice(&line) else { continue };
            let newest = last.entry(secret).or_default();
            // RFC 3339 in UTC with one width sorts as text.
            if ts > *newest {
                *newest = ts;
            }
        }
    }
    last
}

fn take_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> bool {
    use std::io::Read;
    line.clear();
    reader.by_ref().take(LINE_MAX).read_until(b'\n', line).is_ok_and(|read| read > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_last_use_and_passes_over_what_is_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let lines = "{\"ts\":\"2030-01-02T00:00:00.000Z\",\"secret\":\"a\"}\nnonsense\n{\"ts\":\"2030-01-01T00:00:00.000Z\",\"secret\":\"a\"}\n{\"ts\":\"2030-01-03T00:00:00.000Z\",\"secret\":null}\n";
        fs::write(dir.path().join("x.jsonl"), lines).unwrap();
        fs::write(dir.path().join("y.jsonl"), "{\"ts\":\"2030-01-05T00:00:00.000Z\",\"secret\":\"b\"}")
            .unwrap();
        fs::write(dir.path().join("z.txt"), "{\"ts\":\"2031-01-05T00:00:00.000Z\",\"secret\":\"b\"}")
            .unwrap();
        let last = last_used(dir.path());
        assert_eq!(last["a"], "2030-01-02T00:00:00.000Z");
        assert_eq!(last["b"], "2030-01-05T00:00:00.000Z");
        assert!(last_used(&dir.path().join("none")).is_empty());
    }
}
