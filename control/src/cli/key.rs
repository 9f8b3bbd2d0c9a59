//! `doorward key rotate`: another master key, or another key of one project, while proxies and servers go on.
//!
//! Every record is sealed anew in one transaction. Running processes whose key comes from a file or a command ask for it
//! again; one that was given a passphrase or a descriptor has to be started anew, and so has one that is to ask another key service.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::database::DatabaseArgs;
use super::vault::{block_on, project};
use super::{Env, Exit, Failure};
use crate::private;
use crate::secret::SecretName;
use crate::vault::local::NextKey;
use crate::vault::master::KeySource;
use crate::vault::value::without_final_line_break;

/// The vault's keys.
#[derive(Subcommand, Clone, Debug)]
pub enum Key {
    /// Put another master key in the place of the current one, or give one project another key.
    Rotate(RotateKey),
}

impl Key {
    /// Runs it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let Self::Rotate(rotate) = self;
        rotate.run(env)
    }
}

/// Which key, and where the next one comes from.
#[derive(Args, Clone, Debug)]
pub struct RotateKey {
    /// Rotate the key of the project that `-n` names, not the master key.
    #[arg(long, conflicts_with = "next key")]
    project_key: bool,
    /// The file of the next master key, made if it is not there. Without any of these, a fresh key takes the place of the
    /// one in the current key's file.
    #[arg(long, value_name = "FILE", group = "next key")]
    new_master_key_file: Option<PathBuf>,
    /// The file with a passphrase that the next master key is made from.
    #[arg(long, value_name = "FILE", group = "next key")]
    new_passphrase_file: Option<PathBuf>,
    /// The key of AWS KMS that wraps the next master key, which it makes: aws:ARN, aws:alias/NAME or aws:ID.
    #[arg(long, value_name = "aws:KEY", group = "next key")]
    new_master_key_kms: Option<String>,
    /// The transit key of HashiCorp Vault or OpenBao that wraps the next master key.
    #[arg(long, value_name = "URL#KEY", group = "next key")]
    new_master_key_transit: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl RotateKey {
    fn next(&self, env: &Env) -> Result<NextKey, Failure> {
        if let Some(file) = &self.new_master_key_file {
            return Ok(NextKey::Other(KeySource::File(file.clone())));
        }
        if let Some(file) = &self.new_passphrase_file {
            let bytes = private::read(file, 1024);
            let mut bytes = bytes.map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
            let passphrase = without_final_line_break(std::mem::take(&mut *bytes));
            return Ok(NextKey::Other(KeySource::Passphrase(passphrase)));
        }
        let (kms, transit) = (self.new_master_key_kms.as_deref(), self.new_master_key_transit.as_deref());
        if let Some(service) = self.database.vault.key.service.source(env, kms, transit)? {
            return Ok(NextKey::Other(service));
        }
        match self.database.vault.key.source(env)? {
            // A fresh key under the same key of the service.
            service @ KeySource::Service(_) => Ok(NextKey::Other(service)),
            KeySource::File(file) => Ok(NextKey::SameFile(file)),
            KeySource::Descriptor(_) | KeySource::Passphrase(_) | KeySource::Command(_) => Err(Failure::new(
                Exit::Usage,
                "this master key is in no file: give --new-master-key-file or --new-passphrase-file",
            )),
        }
    }

    fn run(self, env: &Env) -> Result<Exit, Failure> {
        block_on(async {
            let database = self.database.open(env).await?;
            let vault = self.database.unlock(env, &database).await?;
            if self.project_key {
                let project = project(env)?;
                let (generation, left) = vault.rotate_project(project).await?;
                env.output.say(format!("project {project} has key {generation}"));
                return told(env, &left);
            }
            let next = self.next(env)?;
            let (left, kept) = vault.rotate_master(next).await?;
            env.output.say("all records are under the next master key");
            if let Some(kept) = kept {
                env.output.say(format!(
                    "the earlier key is {}: backups made before need it; remove it with the last of them",
                    kept.display()
                ));
            }
            told(env, &left)
        })
    }
}

/// Records that did not authenticate were unusable before, and are still.
fn told(env: &Env, left: &[(String, SecretName)]) -> Result<Exit, Failure> {
    if left.is_empty() {
        return Ok(Exit::Ok);
    }
    for (project, name) in left {
        env.output.say(format!("secret {project}/{name} does not decrypt and was left as it is"));
    }
    Ok(Exit::Error)
}
