//! `doorward audit export`: every line that matches, as it is or as an OCSF event, for other systems. A stream.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::files::{Followed, files_of};
use super::filter::FilterArgs;
use super::trail::{Trail, TrailArgs};
use super::where_from;
use crate::audit::ocsf;
use crate::cli::vault::block_on;
use crate::cli::{Env, Exit, Failure};

/// Write all lines that match.
#[derive(Args, Clone, Debug)]
pub(super) struct Export {
    /// `jsonl`: the lines as they are; `ocsf`: events of OCSF 1.6.0, one in a line.
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Form,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    trail: TrailArgs,
    /// The files; default: the server that this user works with, or all of the audit directory.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Jsonl,
    Ocsf,
}

impl Export {
    pub(super) fn run(&self, env: &Env, folder: &Path) -> Result<Exit, Failure> {
        let filter = self.filter.checked()?;
        let mut unread = 0_u64;
        let mut put = |source: &str, raw: &str| match self.format {
            Form::Jsonl => env.output.data(raw),
            Form::Ocsf => match ocsf::event(raw, Some(source)) {
                Some(event) => env.output.data(event),
                None => unread += 1,
            },
        };
        match where_from(env, &self.files)? {
            Some(client) => {
                let trail = Trail::new(env, client, &self.trail)?;
                block_on(trail.each(&filter, |source, _, raw| put(source, &raw)))?;
            }
            None => {
                self.trail.refused_for_files()?;
                for path in files_of(&self.files, folder)? {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    Followed::new(path).read(&filter, |_, raw| put(&name, &raw))?;
                }
            }
        }
        if unread > 0 {
            return Err(Failure::new(
                Exit::Error,
                format!("{unread} lines are no audit lines; doorward audit verify"),
            ));
        }
        Ok(Exit::Ok)
    }
}
