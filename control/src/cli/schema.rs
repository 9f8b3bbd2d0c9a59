//! `doorward schema KIND`: the JSON Schema of a kind of document.

use clap::Args;

use super::{Env, Exit, Failure, Format};
use crate::provider::{json_schema, kinds};

/// Print the JSON Schema of a kind of document.
#[derive(Args, Clone, Debug)]
pub struct Schema {
    /// Provider, Agent or ModelProvider; without it the kinds are listed.
    #[arg(value_name = "KIND")]
    pub kind: Option<String>,
}

impl Schema {
    /// Runs the command.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let Some(kind) = self.kind else {
            kinds().for_each(|kind| env.output.data(kind));
            return Ok(Exit::Ok);
        };
        let schema = json_schema(&kind, env.schemes).ok_or_else(|| {
            let known: Vec<&str> = kinds().collect();
            Failure::new(Exit::NotFound, format!("there is no such kind; there are {}", known.join(", ")))
        })?;
        let text = match env.globals.output {
            Format::Yaml => serde_saphyr::to_string(&schema)
                .map_err(|error| Failure::new(Exit::Error, error.to_string()))?,
            Format::Table | Format::Json | Format::Jsonl => serde_json::to_string_pretty(&schema)
                .map_err(|error| Failure::new(Exit::Error, error.to_string()))?,
            Format::Wide
            | Format::Name
            | Format::Sh
            | Format::Dotenv
            | Format::Docker
            | Format::Pem
            | Format::Bundle
            | Format::Java => {
                return Err(Failure::new(Exit::Usage, "schema prints json or yaml"));
            }
        };
        env.output.data(text.trim_end());
        Ok(Exit::Ok)
    }
}
