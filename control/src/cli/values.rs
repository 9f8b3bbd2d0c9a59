//! Where a command takes the values of a secret from: files, standard input, programs, a prompt, and, with a warning, argv.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::vault::ask_hidden;
use super::{Env, Exit, Failure, dotenv};
use crate::secret::Secret;
use crate::vault::process;
use crate::vault::value::{self, VALUE_MAX, without_final_line_break};

/// The sources of a secret's values, and the key that is asked for where there are none.
#[derive(Args, Clone, Debug, Default)]
pub struct ValueArgs {
    #[command(flatten)]
    sources: Sources,
    /// The key that the prompt asks for.
    #[arg(long, value_name = "KEY", default_value = "token")]
    pub key: String,
}

/// The sources of a secret's values; several may be given.
#[derive(Args, Clone, Debug, Default)]
pub struct Sources {
    /// A key and its value. The command line is visible to other processes and kept in the shell's history.
    #[arg(long, value_name = "KEY=VALUE")]
    pub from_literal: Vec<String>,
    /// A file; the key is the file's name unless it is given.
    #[arg(long, value_name = "[KEY=]PATH")]
    pub from_file: Vec<String>,
    /// A file of KEY=VALUE lines.
    #[arg(long, value_name = "FILE")]
    pub from_env_file: Vec<PathBuf>,
    /// The key whose value comes from standard input.
    #[arg(long, value_name = "KEY")]
    pub from_stdin: Option<String>,
    /// A key and a program that prints its value now. It is run without a shell; quotes and backslashes work.
    #[arg(long, value_name = "KEY=COMMAND")]
    pub from_command: Vec<String>,
}

/// What to give where there is nobody to ask.
const INSTEAD: &str =
    "--from-stdin KEY, --from-file [KEY=]PATH, --from-env-file FILE or --from-command KEY=COMMAND";

impl ValueArgs {
    /// Reads the sources, or asks.
    pub(crate) fn read(&self, env: &Env) -> Result<Vec<(String, Secret)>, Failure> {
        let mut values = self.sources.given(env)?;
        if values.is_empty() {
            let value = ask_hidden(env, &format!("Value of key `{}`", self.key), INSTEAD)?;
            values.push((self.key.clone(), value));
        }
        checked(values)
    }
}

fn checked(values: Vec<(String, Secret)>) -> Result<Vec<(String, Secret)>, Failure> {
    value::check_all(&values).map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
    Ok(values)
}

impl Sources {
    /// Reads the sources for a secret that needs these keys, of each group the first or one of the others; asks for what
    /// is missing. None are needed and none given: there are none.
    pub fn read_for(&self, env: &Env, needed: &[Vec<String>]) -> Result<Vec<(String, Secret)>, Failure> {
        let mut values = self.given(env)?;
        for group in needed {
            let is_there = values.iter().any(|(key, _)| group.contains(key));
            let Some(first) = group.first().filter(|_| !is_there) else { continue };
            // A file's text has lines, which a prompt does not take.
            if first.contains('.') || matches!(first.as_str(), "private_key" | "certificate") {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("key `{first}` is missing; give --from-file {first}=PATH"),
                ));
            }
            let instead = format!("key `{first}`: {INSTEAD}");
            values.push((first.clone(), ask_hidden(env, &format!("Value of key `{first}`"), &instead)?));
        }
        // Of a login everything may come from the vendor.
        if needed.is_empty() && values.is_empty() { Ok(values) } else { checked(values) }
    }

    /// Reads all of them, in this order: literals, files, files of lines, standard input, programs.
    fn given(&self, env: &Env) -> Result<Vec<(String, Secret)>, Failure> {
        let mut values = Vec::new();
        if !self.from_literal.is_empty() {
            env.output.say("warning: values on the command line can be seen by other processes and stay in the shell's history; prefer --from-stdin or --from-file");
        }
        for pair in &self.from_literal {
            let (key, value) = split("--from-literal KEY=VALUE", pair)?;
            values.push((key.to_owned(), Secret::new(value.as_bytes().to_vec())));
        }
        for spec in &self.from_file {
            let (key, path) = file_key(spec)?;
            values.push((key, from_file(&path)?));
        }
        for path in &self.from_env_file {
            let lines = dotenv::read(path)?;
            values.extend(lines.into_iter().map(|line| (line.name, line.value)));
        }
        if let Some(key) = &self.from_stdin {
            values.push((key.clone(), bounded(std::io::stdin().lock(), "standard input")?));
        }
        for pair in &self.from_command {
            let (key, line) = split("--from-command KEY=COMMAND", pair)?;
            let failed = |error: process::CommandError| Failure::new(Exit::Error, error.to_string());
            let argv = process::split_words(line).map_err(failed)?;
            let mut bytes = process::output(&argv, process::DEADLINE, VALUE_MAX + 2).map_err(failed)?;
            values.push((key.to_owned(), without_final_line_break(std::mem::take(&mut *bytes))));
        }
        Ok(values)
    }
}

/// Says nothing of what was given: it holds a value.
fn split<'a>(form: &str, pair: &'a str) -> Result<(&'a str, &'a str), Failure> {
    let parts = pair.split_once('=').filter(|(key, _)| value::is_key(key));
    parts.ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("{form}: the key, made of letters, digits, `.`, `_` and `-`, stands before a `=`"),
        )
    })
}

fn file_key(spec: &str) -> Result<(String, PathBuf), Failure> {
    if let Some((key, path)) = spec.split_once('=')
        && value::is_key(key)
    {
        return Ok((key.to_owned(), path.into()));
    }
    let name = Path::new(spec).file_name().and_then(|name| name.to_str()).filter(|name| value::is_key(name));
    let key = name
        .ok_or_else(|| Failure::new(Exit::Usage, "--from-file: the file's name is no key; give KEY=PATH"))?;
    Ok((key.to_owned(), spec.into()))
}

fn from_file(path: &Path) -> Result<Secret, Failure> {
    let file = std::fs::File::open(path);
    let file = file.map_err(|error| Failure::new(Exit::Error, format!("{}: {error}", path.display())))?;
    bounded(file, &path.display().to_string())
}

fn bounded(source: impl Read, name: &str) -> Result<Secret, Failure> {
    // All of the room at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(VALUE_MAX + 3));
    let read = source.take(VALUE_MAX as u64 + 3).read_to_end(&mut bytes);
    read.map_err(|error| Failure::new(Exit::Error, format!("{name}: {error}")))?;
    Ok(without_final_line_break(std::mem::take(&mut *bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_pairs_without_saying_what_they_held() {
        for pair in ["hunter2-hunter2", "=hunter2-hunter2", "a b=hunter2-hunter2", "../x=hunter2-hunter2"] {
            let refused = split("--from-literal KEY=VALUE", pair).unwrap_err();
            assert_eq!(refused.exit, Exit::Usage);
            assert!(!refused.message.contains("hunter2"));
        }
        assert_eq!(split("", "a=b=c").unwrap(), ("a", "b=c"));
    }

    #[test]
    fn a_file_names_its_key() {
        assert_eq!(file_key("/a/key.json").unwrap().0, "key.json");
        assert_eq!(file_key("token=/a/b=c").unwrap(), ("token".into(), "/a/b=c".into()));
        assert_eq!(file_key("/a=b/token").unwrap(), ("token".into(), "/a=b/token".into()));
        assert!(file_key("/").is_err());
    }
}
