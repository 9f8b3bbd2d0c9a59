//! `doorward backup FILE` and `doorward restore FILE`: everything that the vault or a server holds, encrypted.
//!
//! A restored database goes on with higher revisions and versions than the one that was lost, so that no running proxy takes
//! an old value for the one that it holds.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use time::OffsetDateTime;

use super::database::DatabaseArgs;
use super::vault::block_on;
use super::{Env, Exit, Failure};
use crate::database::Database;
use crate::private;
use crate::secret::Secret;
use crate::vault::backup::{BackupError, BackupKey, BackupReader, BackupWriter};
use crate::vault::local::LocalVault;
use crate::vault::master;
use crate::vault::store::Store;
use crate::vault::value::without_final_line_break;

/// Write everything that the vault or a server's database holds to a file, encrypted under the master key or a passphrase.
#[derive(Args, Clone, Debug)]
pub struct Backup {
    /// The file, which must not be there yet.
    file: PathBuf,
    #[command(flatten)]
    key: PassphraseArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Read a backup into a new, empty vault or database. The vault's master key is needed, too: it is in no backup.
#[derive(Args, Clone, Debug)]
pub struct Restore {
    /// The file.
    file: PathBuf,
    #[command(flatten)]
    key: PassphraseArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// The backup's own key, where it is not the master key.
#[derive(Args, Clone, Debug)]
struct PassphraseArgs {
    /// The file with the passphrase of the backup, readable by its owner alone.
    #[arg(long, value_name = "FILE")]
    backup_passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    fn passphrase(&self) -> Result<Option<Secret>, Failure> {
        let Some(file) = &self.backup_passphrase_file else { return Ok(None) };
        let mut bytes = private::read(file, 1024).map_err(|error| failed(file, error))?;
        Ok(Some(without_final_line_break(std::mem::take(&mut *bytes))))
    }
}

fn failed(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Error, format!("{}: {error}", path.display()))
}

impl Backup {
    /// Writes it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        block_on(async {
            let database = self.database.open(env).await?;
            // Unlocked also where a passphrase is given: what nobody can open again is no backup.
            let vault = self.database.unlock(env, &database).await?;
            let passphrase = self.key.passphrase()?;
            // Such a key cannot be had without what lies in the vault.
            let lies_in_it = Store::lock(&database).await?.is_some_and(|lock| lock.parameters.is_some());
            if lies_in_it && passphrase.is_none() {
                return Err(Failure::new(
                    Exit::Usage,
                    "this vault's key is a passphrase's or a key service's: give --backup-passphrase-file (the same passphrase will do)",
                ));
            }
            private::create(&self.file, b"").map_err(|error| failed(&self.file, error))?;
            let written = self.write(&database, &vault, passphrase.as_ref()).await;
            if written.is_err()
                && let Err(error) = std::fs::remove_file(&self.file)
            {
                tracing::debug!(%error, "half a backup was left behind");
            }
            env.output.say(format!("{} holds {} rows", self.file.display(), written?.saturating_sub(1)));
            Ok(Exit::Ok)
        })
    }

    /// Writes the file; says how many lines.
    async fn write(
        &self,
        database: &Database,
        vault: &LocalVault,
        passphrase: Option<&Secret>,
    ) -> Result<u64, Failure> {
        let file = File::options().append(true).open(&self.file).map_err(|e| failed(&self.file, e))?;
        let file = BufWriter::new(file);
        let mut writer = match passphrase {
            Some(passphrase) => BackupWriter::begin(file, &BackupKey::Passphrase(passphrase))?,
            None => vault.begin_backup(file).await?,
        };
        let mut lines = 0_u64;
        database
            .dump::<Failure>(|line| {
                lines += 1;
                Ok(writer.line(line)?)
            })
            .await?;
        let mut file = writer.end()?;
        file.flush().and_then(|()| file.get_ref().sync_all()).map_err(|e| failed(&self.file, e))?;
        Ok(lines)
    }
}

impl Restore {
    /// Reads it, and opens every record once.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        self.database.need_named(env)?;
        let passphrase = self.key.passphrase()?;
        let file = BufReader::new(File::open(&self.file).map_err(|error| failed(&self.file, error))?);
        let mut reader = match &passphrase {
            Some(passphrase) => BackupReader::begin(file, &BackupKey::Passphrase(passphrase))?,
            None => {
                let key = master::key_as_it_is(&self.database.vault.key.source(env)?)?;
                BackupReader::begin(file, &BackupKey::Master(&key))?
            }
        };
        block_on(async {
            let database = self.database.open(env).await?;
            let now = OffsetDateTime::now_utc().unix_timestamp();
            let rows = database.restore::<Failure>(now, || next(&mut reader)).await?;
            env.output.say(format!("{rows} rows are back"));
            let vault = self.database.unlock(env, &database).await.map_err(|failure| {
                Failure::new(
                    failure.exit,
                    format!("{failure}\neverything is back; the master key of that time opens it"),
                )
            })?;
            let records = database.records().await?;
            let closed: Vec<_> = records.iter().filter(|row| !vault.opens(row)).collect();
            for row in &closed {
                env.output.say(format!("secret {}/{} does not decrypt", row.project, row.name));
            }
            env.output.say(format!("{} of {} values open", records.len() - closed.len(), records.len()));
            Ok(if closed.is_empty() { Exit::Ok } else { Exit::Error })
        })
    }
}

fn next(reader: &mut BackupReader<BufReader<File>>) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, Failure> {
    reader.chunk().map_err(|error: BackupError| error.into())
}
