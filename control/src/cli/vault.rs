//! How a command reaches the vault: which file, and where its master key comes from.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use time::OffsetDateTime;

use super::{Env, Exit, Failure};
use crate::config::Home;
use crate::database::Database;
use crate::outgoing::Outgoing;
use crate::private;
use crate::registry::RegistryError;
use crate::secret::{Secret, SecretName};
use crate::vault::local::{LocalVault, WriteError};
use crate::vault::master::{KeySource, MasterError};
use crate::vault::process;
use crate::vault::store::{Store, StoreError};
use crate::vault::value::without_final_line_break;
use crate::vault::wrapped::{AwsSettings, Kms, Service, Transit, WrapError};

/// The longest passphrase.
pub(super) const PASSPHRASE_MAX: usize = 1024;

/// Where a master key comes from. Without any of these: the home's own file, made when the vault is.
#[derive(Args, Clone, Debug, Default)]
pub struct KeyArgs {
    /// The file with the master key: 32 bytes or 64 hexadecimal digits, readable by its owner alone.
    #[arg(long, env = "DOORWARD_MASTER_KEY_FILE", value_name = "FILE", group = "master key")]
    pub master_key_file: Option<PathBuf>,
    /// An inherited file descriptor to read the master key from.
    #[arg(long, env = "DOORWARD_MASTER_KEY_FD", value_name = "N", group = "master key")]
    pub master_key_fd: Option<u32>,
    /// A program that prints the master key. It is run without a shell; quotes and backslashes work, nothing is expanded.
    #[arg(long, env = "DOORWARD_MASTER_KEY_COMMAND", value_name = "COMMAND", group = "master key")]
    pub master_key_command: Option<String>,
    /// Ask for the passphrase that the master key is made from.
    #[arg(long, env = "DOORWARD_PASSPHRASE", group = "master key")]
    pub passphrase: bool,
    /// The file with the passphrase, readable by its owner alone.
    #[arg(long, env = "DOORWARD_PASSPHRASE_FILE", value_name = "FILE", group = "master key")]
    pub passphrase_file: Option<PathBuf>,
    /// The key of AWS KMS that wraps the master key: aws:ARN, aws:alias/NAME or aws:ID.
    #[arg(long, env = "DOORWARD_MASTER_KEY_KMS", value_name = "aws:KEY", group = "master key")]
    pub master_key_kms: Option<String>,
    /// The transit key of HashiCorp Vault or OpenBao that wraps the master key.
    #[arg(long, env = "DOORWARD_MASTER_KEY_TRANSIT", value_name = "URL#KEY", group = "master key")]
    pub master_key_transit: Option<String>,
    /// How the key service is reached.
    #[command(flatten)]
    pub service: ServiceArgs,
}

/// How a key service is reached.
#[derive(Args, Clone, Debug, Default)]
pub struct ServiceArgs {
    /// The roots that a key service's certificate may come from beside the system's, PEM.
    #[arg(long, env = "DOORWARD_KMS_CA", value_name = "FILE")]
    pub kms_ca: Option<PathBuf>,
    /// Another endpoint of AWS KMS, as a VPC has.
    #[arg(long, env = "DOORWARD_KMS_ENDPOINT", value_name = "URL")]
    pub kms_endpoint: Option<String>,
    /// Another endpoint of AWS STS, for a web identity.
    #[arg(long, env = "DOORWARD_KMS_STS_ENDPOINT", value_name = "URL")]
    pub kms_sts_endpoint: Option<String>,
    /// The file with the token for the transit engine, readable by its owner alone; read again for each call.
    #[arg(long, env = "DOORWARD_TRANSIT_TOKEN_FILE", value_name = "FILE")]
    pub transit_token_file: Option<PathBuf>,
}

impl ServiceArgs {
    /// The service that `--master-key-kms` or `--master-key-transit` names.
    pub(super) fn source(
        &self,
        env: &Env,
        kms: Option<&str>,
        transit: Option<&str>,
    ) -> Result<Option<KeySource>, Failure> {
        let named = kms.is_some() || transit.is_some();
        if !named {
            return Ok(None);
        }
        let failed = |error: WrapError| Failure::new(Exit::Usage, error.to_string());
        let tls = (env.tls)(self.kms_ca.as_deref()).map_err(|why| Failure::new(Exit::Error, why))?;
        let outgoing = Outgoing::new(&tls);
        if let Some(kms) = kms {
            let mut settings = AwsSettings::of(env);
            settings.kms_endpoint = self.kms_endpoint.clone();
            settings.sts_endpoint = self.kms_sts_endpoint.clone();
            let kms = Kms::new(kms, settings, outgoing).map_err(failed)?;
            return Ok(Some(KeySource::Service(Box::new(Service::Kms(kms)))));
        }
        let token = self.transit_token_file.clone().ok_or_else(|| {
            Failure::new(Exit::Usage, "--master-key-transit needs --transit-token-file FILE")
        })?;
        let transit = Transit::new(transit.unwrap_or_default(), token, outgoing).map_err(failed)?;
        Ok(Some(KeySource::Service(Box::new(Service::Transit(transit)))))
    }
}

/// The vault and its master key. Without any of these: the home's own, whose key is made when the vault is.
#[derive(Args, Clone, Debug, Default)]
pub struct VaultArgs {
    /// The vault's file.
    #[arg(long, env = "DOORWARD_VAULT", value_name = "FILE")]
    pub vault: Option<PathBuf>,
    /// Its master key.
    #[command(flatten)]
    pub key: KeyArgs,
}

impl KeyArgs {
    /// The files that are read to reach a key service, now and when the key is rotated.
    pub fn service_files(&self, env: &Env) -> Vec<PathBuf> {
        let ServiceArgs { kms_ca, transit_token_file, .. } = &self.service;
        let identity = self.master_key_kms.as_ref().and_then(|_| env.var("AWS_WEB_IDENTITY_TOKEN_FILE"));
        [kms_ca, transit_token_file]
            .into_iter()
            .flatten()
            .cloned()
            .chain(identity.map(PathBuf::from))
            .collect()
    }

    /// Whether no flag says where the key is.
    pub fn is_unnamed(&self) -> bool {
        let Self { master_key_file, master_key_command, passphrase_file, .. } = self;
        let texts = [master_key_command, &self.master_key_kms, &self.master_key_transit];
        let files = [master_key_file, passphrase_file];
        let is_named = files.into_iter().any(Option::is_some) || texts.into_iter().any(Option::is_some);
        !is_named && self.master_key_fd.is_none() && !self.passphrase
    }

    /// Where the master key comes from.
    pub fn source(&self, env: &Env) -> Result<KeySource, Failure> {
        if let Some(path) = &self.master_key_file {
            return Ok(KeySource::File(path.clone()));
        }
        if let Some(number) = self.master_key_fd {
            return Ok(KeySource::Descriptor(number));
        }
        if let Some(line) = &self.master_key_command {
            let words = process::split_words(line);
            return words
                .map(KeySource::Command)
                .map_err(|error| Failure::new(Exit::Usage, error.to_string()));
        }
        let (kms, transit) = (self.master_key_kms.as_deref(), self.master_key_transit.as_deref());
        if let Some(source) = self.service.source(env, kms, transit)? {
            return Ok(source);
        }
        if let Some(path) = &self.passphrase_file {
            let mut bytes =
                private::read(path, PASSPHRASE_MAX).map_err(|e| Failure::new(Exit::Error, e.to_string()))?;
            return Ok(KeySource::Passphrase(without_final_line_break(std::mem::take(&mut *bytes))));
        }
        if self.passphrase {
            return Ok(KeySource::Passphrase(ask_hidden(
                env,
                "Passphrase of the vault",
                "--passphrase-file FILE",
            )?));
        }
        Ok(KeySource::File(home(env)?.master_key()))
    }
}

impl VaultArgs {
    /// The file of the vault; the home's folders are made where it is the home's own.
    pub fn file(&self, env: &Env) -> Result<PathBuf, Failure> {
        match &self.vault {
            Some(file) => Ok(file.clone()),
            None => {
                let home = home(env)?;
                home.prepare().map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
                Ok(home.vault_db())
            }
        }
    }

    /// Opens the vault's file without its key: names, facts, variables.
    pub async fn store(&self, env: &Env) -> Result<Arc<dyn Store>, Failure> {
        Ok(Arc::new(Database::sqlite(&self.file(env)?, true).await?))
    }

    /// Opens the vault's file and unlocks it.
    pub async fn unlock(&self, env: &Env) -> Result<LocalVault, Failure> {
        let store = self.store(env).await?;
        Ok(LocalVault::unlock(store, &self.key.source(env)?, OffsetDateTime::now_utc).await?)
    }
}

/// The home's folders.
pub fn home(env: &Env) -> Result<Home, Failure> {
    Home::find(env).map_err(|error| Failure::new(Exit::Error, error.to_string()))
}

/// The project that the command works in.
pub fn project(env: &Env) -> Result<&str, Failure> {
    project_name(env.globals.project.as_deref().unwrap_or("default"))
}

/// Refuses what is no project's name.
pub(super) fn project_name(name: &str) -> Result<&str, Failure> {
    let fits = (1..=63).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        Ok(name)
    } else {
        Err(Failure::new(Exit::Usage, "a project's name is a DNS label, like `team-a`"))
    }
}

/// Asks a person for a value that is not shown while it is typed.
pub fn ask_hidden(env: &Env, question: &str, instead: &str) -> Result<Secret, Failure> {
    use std::io::IsTerminal;
    if env.globals.no_input || !std::io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, format!("there is nobody to ask; give {instead}")));
    }
    let typed = rpassword::prompt_password(format!("{question}: "));
    // The String's own memory goes into the Secret, which wipes it.
    typed
        .map(|text| Secret::new(text.into_bytes()))
        .map_err(|error| Failure::new(Exit::Error, error.to_string()))
}

/// Asks a person for something that is no secret.
pub fn ask(env: &Env, question: &str, instead: &str) -> Result<String, Failure> {
    use std::io::IsTerminal;
    if env.globals.no_input || !std::io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, format!("there is nobody to ask; give {instead}")));
    }
    env.output.say(format!("{question}:"));
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    read.map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
    Ok(line.trim().to_owned())
}

/// Runs what a command awaits, on a runtime of its own that ends with it.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(Exit::Error, error.to_string()))?.block_on(work)
}

/// What to say when a secret is not there, with the name that was probably meant.
pub(crate) async fn no_secret(store: &Arc<dyn Store>, project: &str, name: &SecretName) -> Failure {
    let known = store.secrets(project).await.unwrap_or_default();
    let names = known.iter().map(|row| row.name.as_str());
    not_found("secret", name.as_str(), names)
}

/// What to say when something is not there.
pub fn not_found<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Failure {
    let near = known.map(|other| (strsim::damerau_levenshtein(name, other), other)).min();
    let hint = near.filter(|(distance, _)| *distance <= 1 + name.len() / 4);
    let hint = hint.map(|(_, other)| format!("; did you mean `{other}`?")).unwrap_or_default();
    Failure::new(Exit::NotFound, format!("{what} `{name}` does not exist{hint}"))
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::SecretExists(_)
            | StoreError::VariableExists(_)
            | StoreError::Raced(_)
            | StoreError::KeyRotated => Exit::Conflict,
            StoreError::NoSecret(_) | StoreError::NoEarlier(_) | StoreError::NoVault(_) => Exit::NotFound,
            StoreError::Refused(refused) => exit(refused),
            StoreError::File(_)
            | StoreError::Database(_)
            | StoreError::Tables(_)
            | StoreError::Nul
            | StoreError::Damaged(_) => Exit::Error,
        };
        let taken = if let StoreError::SecretExists(name) = &error { Some(name) } else { None };
        let hint = taken
            .map(|name| format!("; to change its values: doorward rotate secret {name}"))
            .unwrap_or_default();
        Self::new(exit, format!("{error}{hint}"))
    }
}

fn exit(refused: &RegistryError) -> Exit {
    match refused {
        RegistryError::Missing(_) => Exit::NotFound,
        RegistryError::Store(_) => Exit::Error,
        RegistryError::Exists(_)
        | RegistryError::Stale { .. }
        | RegistryError::InUse { .. }
        | RegistryError::Dangling(_)
        | RegistryError::Claimed { .. }
        | RegistryError::Repeated(_)
        | RegistryError::KeyReused
        | RegistryError::Forgotten(_)
        | RegistryError::Unbound(_)
        | RegistryError::Over(_)
        | RegistryError::Identified(_)
        | RegistryError::Crowded(_)
        | RegistryError::Unchained { .. } => Exit::Conflict,
    }
}

impl From<MasterError> for Failure {
    fn from(error: MasterError) -> Self {
        if let MasterError::Store(error) = error {
            error.into()
        } else {
            Self::new(Exit::Error, error.to_string())
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Store(error) => error.into(),
            WriteError::Master(error) => error.into(),
            WriteError::Value(error) => Self::new(Exit::Error, error.to_string()),
            WriteError::Seal(error) => Self::new(Exit::Error, error.to_string()),
        }
    }
}
