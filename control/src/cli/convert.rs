//! `doorward convert -f`: documents of `pai.io/v1` as documents of doorward, on stdout; the files stay as they are.

use std::path::PathBuf;

use clap::Args;

use super::{Env, Exit, Failure};
use crate::provider::{self, Mistake};

/// Rewrite documents of `pai.io/v1` as documents of doorward.
#[derive(Args, Clone, Debug)]
pub struct Convert {
    /// A file, or a folder of files (repeatable).
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
}

impl Convert {
    /// Runs the command. Prints nothing if there is a mistake in any document.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let failed = |mistakes: Vec<Mistake>| {
            mistakes.iter().for_each(|mistake| env.output.say(mistake));
            Failure::new(Exit::Error, format!("{} mistakes", mistakes.len()))
        };
        let loaded = provider::load(&self.files, env.schemes).map_err(failed)?;
        let texts = loaded.files.iter().map(|file| {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|error| Failure::new(Exit::Error, format!("{name}: {error}")))?;
            let (text, count) = provider::convert(&name, &text).map_err(|mistake| failed(vec![mistake]))?;
            env.output.say(format!("{name}: {count} documents rewritten"));
            Ok(text)
        });
        let texts: Vec<String> = texts.collect::<Result<_, Failure>>()?;
        // As one stream of documents; a file may begin with its own mark.
        for (n, text) in texts.iter().enumerate() {
            if n > 0 && !text.starts_with("---") {
                env.output.data("---");
            }
            env.output.data(text.trim_end_matches('\n'));
        }
        Ok(Exit::Ok)
    }
}
