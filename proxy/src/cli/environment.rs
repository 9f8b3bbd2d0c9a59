//! `doorward env`: what an agent's environment is, in the form that its starter reads.
//!
//! Read from what a running proxy publishes: nobody else knows its port and the agent's token. The token is the agent's own.

use std::path::PathBuf;

use clap::Args;
use control::cli::{Env, Exit, Failure, Format};
use zeroize::Zeroizing;

use crate::publish;

/// Print the environment of an agent, as a running proxy publishes it.
#[derive(Args, Clone, Debug)]
pub struct Environment {
    /// The folder that the proxy was given as --publish.
    #[arg(long, env = "DOORWARD_PUBLISH", value_name = "DIR")]
    publish: PathBuf,
    /// Which agent, where the proxy has several.
    #[arg(long, env = "DOORWARD_AGENT", value_name = "NAME")]
    agent: Option<String>,
}

impl Environment {
    /// Prints it.
    pub fn run(&self, env: &Env) -> Result<Exit, Failure> {
        let path = self.file()?;
        let text = std::fs::read_to_string(&path).map(Zeroizing::new);
        let text = text.map_err(|error| {
            not_found(format!("{}: {error}; does a proxy publish there?", path.display()))
        })?;
        let vars = publish::read_dotenv(&text);
        let vars = vars.ok_or_else(|| {
            Failure::new(Exit::Error, format!("{} is not as the proxy writes it", path.display()))
        })?;
        env.output.data(print(&vars, env.globals.output)?.trim_end());
        Ok(Exit::Ok)
    }

    /// `agent.env`, or the named one's; several and no name is a question.
    fn file(&self) -> Result<PathBuf, Failure> {
        let alone = self.publish.join("agent.env");
        let Some(agent) = &self.agent else {
            let several = self.published();
            if !alone.exists() && !several.is_empty() {
                return Err(Failure::new(Exit::Usage, format!("which agent? --agent {}", several.join("|"))));
            }
            return Ok(alone);
        };
        let is_name = !agent.is_empty() && !agent.contains(['/', '\0']);
        let named = self.publish.join(format!("agent-{agent}.env"));
        match is_name {
            true if named.exists() => Ok(named),
            true if agent == "agent" && alone.exists() => Ok(alone),
            _ => Err(not_found(format!(
                "no environment is published for this agent in {}",
                self.publish.display()
            ))),
        }
    }

    fn published(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.publish).into_iter().flatten().filter_map(Result::ok);
        let name = |file: String| Some(file.strip_prefix("agent-")?.strip_suffix(".env")?.to_owned());
        let mut names: Vec<_> =
            entries.filter_map(|entry| name(entry.file_name().into_string().ok()?)).collect();
        names.sort();
        names
    }
}

fn print(vars: &[(String, String)], format: Format) -> Result<String, Failure> {
    let lines =
        |line: fn(&str, &str) -> String| Ok(vars.iter().map(|(name, value)| line(name, value)).collect());
    match format {
        Format::Sh => lines(|name, value| format!("export {name}='{}'\n", value.replace('\'', "'\\''"))),
        // What `. agent.env` and dotenv readers take.
        Format::Table | Format::Wide | Format::Dotenv => Ok(publish::dotenv(vars)),
        // `docker run --env-file` takes everything after the sign as it is.
        Format::Docker => lines(|name, value| format!("{name}={value}\n")),
        Format::Name => lines(|name, _| format!("{name}\n")),
        Format::Json => {
            let object: serde_json::Map<_, _> =
                vars.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
            serde_json::to_string_pretty(&object)
                .map_err(|error| Failure::new(Exit::Error, error.to_string()))
        }
        Format::Yaml | Format::Jsonl | Format::Pem | Format::Bundle | Format::Java => {
            Err(Failure::new(Exit::Usage, "env prints -o sh, dotenv, docker, json or name"))
        }
    }
}

fn not_found(why: String) -> Failure {
    Failure::new(Exit::NotFound, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars() -> Vec<(String, String)> {
        vec![("A".to_owned(), "it's $x".to_owned())]
    }

    fn of(folder: &std::path::Path, agent: Option<&str>) -> Environment {
        Environment { publish: folder.to_owned(), agent: agent.map(str::to_owned) }
    }

    #[test]
    fn refuses_forms_that_nothing_reads() {
        assert_eq!(print(&vars(), Format::Jsonl).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn refuses_a_name_that_leads_out_of_the_folder_and_asks_which_of_several() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("agent-a.env"), "").unwrap();
        std::fs::write(folder.path().join("agent-b.env"), "").unwrap();
        assert_eq!(of(folder.path(), Some("x/../../a")).file().unwrap_err().exit, Exit::NotFound);
        assert!(of(folder.path(), None).file().unwrap_err().message.ends_with("--agent a|b"));
        assert!(of(folder.path(), Some("b")).file().unwrap().ends_with("agent-b.env"));
    }

    #[test]
    fn prints_each_form_as_its_reader_takes_it() {
        assert_eq!(print(&vars(), Format::Sh).unwrap(), "export A='it'\\''s $x'\n");
        assert_eq!(print(&vars(), Format::Dotenv).unwrap(), "A='it'\\''s $x'\n");
        assert_eq!(print(&vars(), Format::Docker).unwrap(), "A=it's $x\n");
        assert_eq!(print(&vars(), Format::Json).unwrap(), "{\n  \"A\": \"it's $x\"\n}");
    }
}
