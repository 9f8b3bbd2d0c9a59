//! `doorward unlock`: hands the passphrase of its vault to a server that was started without it.
//!
//! Over the server's unix socket only: the passphrase crosses no network.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::objects::needed;
use super::remote::Body;
use super::vault::{PASSPHRASE_MAX, ask_hidden, block_on};
use super::{Env, Exit, Failure};
use crate::private;
use crate::vault::value::without_final_line_break;

/// Unlock the vault of a server that was started without its passphrase.
#[derive(Args, Clone, Debug)]
pub struct Unlock {
    /// The file with the passphrase, readable by its owner alone; without it, it is asked for.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Unlock {
    /// Asks, and hands it over.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let client = needed(env, "locked vaults")?;
        if !client.url.starts_with("unix:") {
            return Err(Failure::new(
                Exit::Usage,
                "a vault is unlocked over the server's unix socket: DOORWARD_SERVER=unix:PATH with DOORWARD_TOKEN_FILE",
            ));
        }
        let passphrase = match &self.passphrase_file {
            Some(path) => {
                let mut bytes = private::read(path, PASSPHRASE_MAX)
                    .map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
                without_final_line_break(std::mem::take(&mut *bytes))
            }
            None => ask_hidden(env, "Passphrase of the vault", "--passphrase-file FILE")?,
        };
        let body = Body::with_texts(&json!({}), &[("passphrase", &passphrase)])?;
        block_on(async { client.post("/v1/unlock", body).await })?;
        env.output.say("the vault is unlocked");
        Ok(Exit::Ok)
    }
}
