//! `doorward allow FILE`: pins a provider file of a project folder, so that it is used as it is now and only so.
//!
//! Such a file decides where values go. Whoever can write the folder (a repository, an agent) could change it, so a file
//! whose bytes are not pinned is not used ([`crate::config::Pins`]).

use std::path::PathBuf;

use clap::Args;

use super::vault::home;
use super::{Env, Exit, Failure};
use crate::config::Pins;

/// Allow provider files of a project folder, as they are now.
#[derive(Args, Clone, Debug)]
pub struct Allow {
    /// The files.
    #[arg(required_unless_present = "list", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Take the permission back.
    #[arg(long)]
    pub revoke: bool,
    /// List what is allowed.
    #[arg(long, conflicts_with_all = ["files", "revoke"])]
    pub list: bool,
}

impl Allow {
    /// Pins the files.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let failed = |error: crate::config::PinError| Failure::new(Exit::Error, error.to_string());
        let home = home(env)?;
        home.prepare().map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
        let mut pins = Pins::load(&home).map_err(failed)?;
        if self.list {
            pins.iter().for_each(|(path, hash)| env.output.data(format!("{hash}  {path}")));
            return Ok(Exit::Ok);
        }
        for file in &self.files {
            if self.revoke {
                if !pins.remove(file) {
                    return Err(Failure::new(Exit::NotFound, format!("{} was not allowed", file.display())));
                }
                env.output.say(format!("{} is no longer allowed", file.display()));
            } else {
                let hash = pins.pin(file).map_err(failed)?;
                env.output.say(format!("{} allowed as it is now (sha256 {hash})", file.display()));
            }
        }
        pins.save(&home).map_err(failed)?;
        Ok(Exit::Ok)
    }
}
