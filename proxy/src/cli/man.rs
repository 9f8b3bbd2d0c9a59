//! `doorward man [COMMAND…]`: manual pages, made from the same table as the help.

use std::path::PathBuf;

use clap::Args;
use control::cli::{Env, Exit, Failure};

/// Print the manual page of a command, or write all of them.
#[derive(Args, Clone, Debug)]
pub struct Man {
    /// The words of the command: `doorward man add secret`; none for doorward itself.
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    words: Vec<String>,
    /// Write the pages of all commands into this folder, as `doorward-add-secret.1`.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    /// Prints it, in roff; `line` is the whole command line's grammar.
    pub fn run(&self, env: &Env, mut line: clap::Command) -> Result<Exit, Failure> {
        if let Some(dir) = &self.dir {
            let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(line, dir));
            written.map_err(|error| Failure::new(Exit::Error, format!("{}: {error}", dir.display())))?;
            return Ok(Exit::Ok);
        }
        // Names the pages of subcommands in full.
        line.build();
        let mut command = &line;
        for word in &self.words {
            let found = command.find_subcommand(word).filter(|found| !found.is_hide_set());
            command =
                found.ok_or_else(|| Failure::new(Exit::NotFound, format!("there is no command `{word}`")))?;
        }
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(command.clone()).render(&mut page);
        rendered.map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
        env.output.data(String::from_utf8_lossy(&page).trim_end());
        Ok(Exit::Ok)
    }
}
