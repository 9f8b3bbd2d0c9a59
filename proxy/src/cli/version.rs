//! `doorward version`: which doorward this is.

use clap::Args;
use control::cli::{Env, Exit, Failure, Format};
use serde_json::json;

/// Show the version.
#[derive(Args, Clone, Copy, Debug)]
pub struct Version {}

impl Version {
    /// Prints it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let (version, rust) = (env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_RUST_VERSION"));
        let (system, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
        match env.globals.output {
            Format::Json | Format::Jsonl => {
                env.output.data(
                    json!({"version": version, "rust_version": rust, "os": system, "arch": architecture}),
                );
            }
            Format::Table | Format::Name => env.output.data(format!("doorward {version}")),
            Format::Wide => {
                env.output.data(format!("doorward {version} {system}/{architecture}, rust {rust} or later"))
            }
            Format::Yaml
            | Format::Sh
            | Format::Dotenv
            | Format::Docker
            | Format::Pem
            | Format::Bundle
            | Format::Java => {
                return Err(Failure::new(Exit::Usage, "version prints -o table, wide or json"));
            }
        }
        Ok(Exit::Ok)
    }
}
