//! `doorward audit`: reads, verifies and exports audit files and the records of a server; signs where they stand, and drops
//! what is older than a term.
//!
//! What is read is shown with control characters replaced: it may have been changed since it was written. Files count where
//! they are given; else the server that this user works with; else the audit folder.

mod export;
mod files;
mod filter;
mod prune;
mod show;
mod signed;
mod tail;
mod trail;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use self::export::Export;
use self::filter::FilterArgs;
use self::prune::Prune;
use self::signed::{Checkpoint, Key};
use self::trail::{Trail, TrailArgs};
use self::verify::Verify;
use super::remote::{Client, server};
use super::vault::block_on;
use super::{Env, Exit, Failure};
use files::files_of;
use show::{Printer, Stream};

/// Read, verify, sign and export the audit.
#[derive(Args, Clone, Debug)]
pub struct Audit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Clone, Debug)]
enum Verb {
    /// Show the last lines, of files or of a server.
    Tail {
        /// Wait for more lines.
        #[arg(short, long)]
        follow: bool,
        /// How many lines.
        #[arg(long, short = 'l', default_value_t = 20)]
        lines: usize,
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        trail: TrailArgs,
        /// The files; default: the server that this user works with, or all of the audit directory.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Show all lines that match, of files or of a server.
    Search {
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        trail: TrailArgs,
        /// The files; default: the server that this user works with, or all of the audit directory.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Check the chain of hashes, and signed checkpoints (exit 1 where it is broken, or its end was cut off).
    Verify(Verify),
    /// Write all lines that match as JSON lines or OCSF events.
    Export(Export),
    /// Show the public key that verifies checkpoints.
    Key(Key),
    /// Sign where the chains stand now, and show what is to be kept elsewhere.
    Checkpoint(Checkpoint),
    /// Drop what is older than a time, up to a signed checkpoint.
    Prune(Prune),
}

impl Audit {
    /// Runs the command; `folder` is where the audit is kept when no file is given.
    pub fn run(&self, env: &Env, folder: &Path) -> Result<Exit, Failure> {
        match &self.verb {
            Verb::Tail { follow, lines, filter, trail, files } => {
                let filter = filter.checked()?;
                if let Some(client) = where_from(env, files)? {
                    let trail = Trail::new(env, client, trail)?;
                    return block_on(tail::tail(env, &trail, &filter, *lines, *follow));
                }
                trail.refused_for_files()?;
                files::tail(env, &files_of(files, folder)?, &filter, *lines, *follow)
            }
            Verb::Search { filter, trail, files } => {
                let filter = filter.checked()?;
                let mut printer = Printer::new(env, Stream::Ends)?;
                match where_from(env, files)? {
                    Some(client) => {
                        let trail = Trail::new(env, client, trail)?;
                        block_on(trail.each(&filter, |_, line, raw| printer.print(&line, &raw)))?;
                    }
                    None => {
                        trail.refused_for_files()?;
                        for path in files_of(files, folder)? {
                            files::Followed::new(path)
                                .read(&filter, |line, raw| printer.print(&line, &raw))?;
                        }
                    }
                }
                printer.end();
                Ok(Exit::Ok)
            }
            Verb::Verify(verify) => verify.run(env, folder),
            Verb::Export(export) => export.run(env, folder),
            Verb::Key(key) => key.run(env),
            Verb::Checkpoint(checkpoint) => checkpoint.run(env, folder),
            Verb::Prune(prune) => prune.run(env, folder),
        }
    }
}

/// The server that is asked; `None`: files are read.
fn where_from(env: &Env, files: &[PathBuf]) -> Result<Option<Client>, Failure> {
    if files.is_empty() { server(env) } else { Ok(None) }
}

#[cfg(test)]
mod tests;
