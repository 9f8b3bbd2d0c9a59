//! `doorward audit key` and `doorward audit checkpoint`: what is kept elsewhere, so that a chain whose end was cut off shows.
//!
//! A server signs its chains by itself; here they are shown, or signed at once. Files of this machine are signed with the key
//! of the local vault, after they were verified.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::files::{files_of, unreadable};
use super::trail::{Trail, TrailArgs};
use super::where_from;
use crate::api::AuditKeyView;
use crate::audit::verify::verify_each;
use crate::audit::{Chain, Signer};
use crate::cli::remote::{Body, server};
use crate::cli::vault::{VaultArgs, block_on};
use crate::cli::{Env, Exit, Failure};
use crate::vault::local::SignerError;

/// Show the public key that verifies checkpoints.
#[derive(Args, Clone, Debug)]
pub(super) struct Key {
    #[command(flatten)]
    vault: VaultArgs,
}

/// Sign where the chains stand.
#[derive(Args, Clone, Debug)]
pub(super) struct Checkpoint {
    /// Show all checkpoints that the server has made, and sign nothing.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    trail: TrailArgs,
    #[command(flatten)]
    vault: VaultArgs,
    /// The files, oldest first; default: the server that this user works with, or all of the audit directory.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

async fn signer(env: &Env, vault: &VaultArgs) -> Result<Signer, Failure> {
    Ok(vault.unlock(env).await?.audit_signer().await?)
}

impl From<SignerError> for Failure {
    fn from(error: SignerError) -> Self {
        Self::new(Exit::Error, error.to_string())
    }
}

impl Key {
    pub(super) fn run(&self, env: &Env) -> Result<Exit, Failure> {
        let pem = block_on(async {
            if let Some(client) = server(env)? {
                let key: AuditKeyView = client.get("/v1/audit/key").await?.read()?;
                return Ok(key.pem);
            }
            Ok(signer(env, &self.vault).await?.public().pem())
        })?;
        env.output.data(pem.trim_end());
        Ok(Exit::Ok)
    }
}

impl Checkpoint {
    pub(super) fn run(&self, env: &Env, folder: &Path) -> Result<Exit, Failure> {
        match where_from(env, &self.files)? {
            Some(client) if self.list => {
                let trail = Trail::new(env, client, &self.trail)?;
                block_on(async {
                    for source in trail.sources().await? {
                        trail.checkpoints(&source).await?.iter().for_each(|line| env.output.data(line));
                    }
                    Ok(Exit::Ok)
                })
            }
            Some(client) => block_on(async {
                /// What the server answers.
                #[derive(Deserialize)]
                struct Signed {
                    items: Vec<Box<RawValue>>,
                    refused: Vec<String>,
                }
                let body = Body::of(&serde_json::json!({}));
                let signed: Signed = client.post("/v1/audit/checkpoints", body).await?.read()?;
                signed.items.iter().for_each(|line| env.output.data(line));
                signed.refused.iter().for_each(|why| env.output.say(format!("not signed: {why}")));
                Ok(if signed.refused.is_empty() { Exit::Ok } else { Exit::Error })
            }),
            None if self.list => Err(Failure::new(Exit::Usage, "--list is for the checkpoints of a server")),
            None => self.sign_files(env, folder),
        }
    }

    fn sign_files(&self, env: &Env, folder: &Path) -> Result<Exit, Failure> {
        let files = files_of(&self.files, folder)?;
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let signer = block_on(signer(env, &self.vault))?;
        let mut exit = Exit::Ok;
        for path in files {
            match end_of(&path)? {
                Ok(Some((source, chain))) => {
                    let source = self.trail.source.clone().unwrap_or(source);
                    env.output.data(signer.sign(&source, chain, now));
                }
                Ok(None) => {}
                Err(why) => {
                    exit = Exit::Error;
                    env.output.say(format!("not signed: {}: {why}", path.display()));
                }
            }
        }
        Ok(exit)
    }
}

/// Where a file's chain ends and what it is called; the inner error is why it does not verify.
fn end_of(path: &Path) -> Result<Result<Option<(String, Chain)>, String>, Failure> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut first = None;
    let verified = verify_each(BufReader::new(file), None, |_, chain| {
        first.get_or_insert(chain);
    });
    Ok(match (verified, first) {
        (Ok(verified), Some(first)) => Ok(Some((source_name(path, first), verified.end))),
        (Ok(_), None) => Ok(None),
        (Err(broken), _) => Err(broken.to_string()),
    })
}

/// What a chain in a file is called: by its first line, as a server that it is shipped to calls it; by the file's name where
/// its beginning is elsewhere.
pub(super) fn source_name(path: &Path, first: Chain) -> String {
    if first.seq == 1 {
        return first.hash.to_string().chars().take(16).collect();
    }
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
