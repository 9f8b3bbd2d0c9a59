//! `doorward completion SHELL`: what a shell loads to complete our commands, made from the same table as the help.

use clap::{Args, ValueEnum as _};
use clap_complete::Shell;
use control::cli::{Env, Exit, Failure};

/// Print the completion script of a shell.
#[derive(Args, Clone, Debug)]
pub struct Completion {
    /// bash, zsh, fish, elvish or powershell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    /// Prints it; `line` is the whole command line's grammar.
    pub fn run(&self, env: &Env, mut line: clap::Command) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut line, "doorward", &mut script);
        env.output.data(String::from_utf8_lossy(&script).trim_end());
        Ok(Exit::Ok)
    }

    /// The shells.
    pub fn shells() -> &'static [Shell] {
        Shell::value_variants()
    }
}
