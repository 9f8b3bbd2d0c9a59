//! Where sealed records lie. A store sees ciphertext, names and facts; it never sees a key or the value of a secret.
//!
//! One trait: SQLite and PostgreSQL ([`crate::database`]), with the same tests. Each writing call is one transaction:
//! all of it is there afterwards, or nothing.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use super::master::Lock;
use crate::private::PrivateError;
use crate::registry::RegistryError;
use crate::secret::SecretName;

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database file, or its folder, is not ours alone.
    #[error(transparent)]
    File(#[from] PrivateError),
    /// There is no file.
    #[error("there is no vault at {}; `doorward add secret` makes one", .0.display())]
    NoVault(PathBuf),
    /// The database said no: locked for too long, full disk, damaged file.
    #[error("the vault's database: {0}")]
    Database(#[from] sqlx::Error),
    /// The tables could not be brought up to date, or are of a newer version.
    #[error("the vault's tables: {0}")]
    Tables(#[from] sqlx::migrate::MigrateError),
    /// A text that cannot be stored.
    #[error("a text holds a NUL")]
    Nul,
    /// A column holds what no version of this program writes there.
    #[error("the vault's database is damaged: {0}")]
    Damaged(&'static str),
    /// There is a secret of that name.
    #[error("secret `{0}` exists already")]
    SecretExists(SecretName),
    /// There is a variable of that name.
    #[error("variable `{0}` exists already")]
    VariableExists(String),
    /// There is no secret of that name.
    #[error("secret `{0}` does not exist")]
    NoSecret(SecretName),
    /// Somebody else changed the secret in between.
    #[error("secret `{0}` was changed by somebody else at the same time; try again")]
    Raced(SecretName),
    /// The master key, or the project's, was rotated after the values were sealed.
    #[error("the vault's key was rotated at the same time; try again")]
    KeyRotated,
    /// There is no older version.
    #[error("secret `{0}` has no earlier version")]
    NoEarlier(SecretName),
    /// What the server's state refuses: in use, of another version, made before.
    #[error(transparent)]
    Refused(Box<RegistryError>),
}

/// The result of a store's call, later.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A sealed value with its key.
#[derive(Clone, Debug)]
pub struct SealedValue {
    /// The key within the secret.
    pub key: String,
    /// The record, see [`super::Record`].
    pub record: Vec<u8>,
    /// The value's keyed fingerprint.
    pub fingerprint: String,
    /// The value's first and last characters, where the project keeps them.
    pub hint: Option<String>,
}

/// A sealed value with everything that is authenticated with it.
#[derive(Clone, Debug)]
pub struct SealedRow {
    /// The project.
    pub project: String,
    /// The secret.
    pub name: SecretName,
    /// The version under which it was sealed.
    pub sealed_as: u64,
    /// Unix seconds.
    pub expires: Option<i64>,
    /// Canonical patterns joined by commas.
    pub hosts: Option<String>,
    /// The value.
    pub value: SealedValue,
}

/// Seals a row under other keys; `None` leaves it as it is.
pub type Rewrap<'a> = Box<dyn FnMut(&SealedRow) -> Option<SealedValue> + Send + 'a>;

/// A change of keys: all records at once, or none.
pub struct Rekey<'a> {
    /// The check value of the master key that the records are under.
    pub under: Vec<u8>,
    /// The lock of another master key, if that is what changes.
    pub lock: Option<Lock>,
    /// The project whose key gets a new generation, and its number, if that is what changes.
    pub project: Option<(&'a str, u32)>,
    /// Seals each record anew.
    pub rewrap: Rewrap<'a>,
}

impl std::fmt::Debug for Rekey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rekey").field("project", &self.project).finish_non_exhaustive()
    }
}

/// Which keys values were sealed under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealedUnder {
    /// The check value of the master key.
    pub check: Vec<u8>,
    /// The generation of the project's key.
    pub generation: u32,
}

/// One version of a secret to be stored.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// The number, one above the last.
    pub version: u64,
    /// Unix seconds.
    pub created: i64,
    /// Unix seconds.
    pub expires: Option<i64>,
    /// Canonical patterns joined by commas.
    pub hosts: Option<String>,
    /// The values.
    pub values: Vec<SealedValue>,
    /// The keys that the values are under: the store refuses values under keys that were rotated meanwhile.
    pub under: SealedUnder,
    /// Until when the version that it replaces can be returned to, unix seconds; `None`: until it is replaced in turn.
    pub grace: Option<i64>,
    /// The version that it has to replace: with another one, somebody came between; `None`: whichever is current.
    pub after: Option<u64>,
}

/// A secret to be stored.
#[derive(Clone, Debug)]
pub struct NewSecret {
    /// Its name.
    pub name: SecretName,
    /// What it is for.
    pub description: Option<String>,
    /// Its first version.
    pub first: NewVersion,
}

/// Which version is kept beside a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// The one that was current: a person made the new one.
    Last,
    /// The one that the current one could be rolled back to: an issuer made the new one, and the current one is void.
    Earlier,
}

/// What is known of a secret's current version, without its values.
#[derive(Clone, Debug)]
pub struct SecretRow {
    /// Its name.
    pub name: SecretName,
    /// What it is for.
    pub description: Option<String>,
    /// When it was first stored, unix seconds.
    pub created: i64,
    /// The current version.
    pub version: u64,
    /// The revision of its last write; 0 for one that an earlier program wrote.
    pub revision: u64,
    /// The version under which its values were sealed.
    pub sealed_as: u64,
    /// When the current version was made, unix seconds.
    pub changed: i64,
    /// When it ends, unix seconds.
    pub expires: Option<i64>,
    /// Canonical patterns joined by commas; `None`: unbound.
    pub hosts: Option<String>,
    /// Its keys, sorted, with the fingerprints of their values.
    pub keys: Vec<(String, String)>,
    /// The versions that `roll_back` can choose from.
    pub earlier: Vec<u64>,
    /// First and last characters of the values of some keys, where the project keeps them.
    pub hints: Vec<(String, String)>,
}

/// A plain, readable setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// When it was stored, unix seconds.
    pub created: i64,
}

/// A place for sealed records.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// A number that rises with each change, by whichever process.
    fn revision(&self) -> Pending<'_, u64>;

    /// Folders in which something changes when the store changes.
    fn watched(&self) -> Vec<PathBuf>;

    /// The file whose lock orders the processes that renew this secret, where they share a machine.
    fn turns(&self, _project: &str, _name: &SecretName) -> Option<PathBuf> {
        None
    }

    /// The check value and passphrase parameters, if the vault has its key.
    fn lock(&self) -> Pending<'_, Option<Lock>>;

    /// Stores the lock of a new vault, unless another process did; returns the one that counts.
    fn set_lock(&self, lock: Lock) -> Pending<'_, Lock>;

    /// Whether there is any secret in any project.
    fn has_secrets(&self) -> Pending<'_, bool>;

    /// The secrets of a project, sorted by name.
    fn secrets<'a>(&'a self, project: &'a str) -> Pending<'a, Vec<SecretRow>>;

    /// One secret.
    fn secret<'a>(&'a self, project: &'a str, name: &'a SecretName) -> Pending<'a, Option<SecretRow>>;

    /// The sealed values of one secret, with what is known of it, as of one moment.
    fn values<'a>(
        &'a self,
        project: &'a str,
        name: &'a SecretName,
    ) -> Pending<'a, Option<(SecretRow, Vec<SealedValue>)>>;

    /// The number for the first version of a secret of this name; above all that the name ever had.
    fn next_version<'a>(&'a self, project: &'a str, name: &'a SecretName) -> Pending<'a, u64>;

    /// Stores secrets and variables: all or, if one of the names is taken, none.
    fn insert<'a>(
        &'a self,
        project: &'a str,
        secrets: Vec<NewSecret>,
        variables: Vec<Variable>,
    ) -> Pending<'a, ()>;

    /// Makes a new current version; keeps one other, by which it can be rolled back, and drops the rest.
    fn add_version<'a>(
        &'a self,
        project: &'a str,
        name: &'a SecretName,
        version: NewVersion,
        keeps: Keeps,
    ) -> Pending<'a, ()>;

    /// Makes a new version of the values of the version before; returns its number.
    fn roll_back<'a>(&'a self, project: &'a str, name: &'a SecretName, now: i64) -> Pending<'a, u64>;

    /// Which generation of its key a project seals with.
    fn generation<'a>(&'a self, project: &'a str) -> Pending<'a, u32>;

    /// Whether a project keeps first and last characters of long values.
    fn keeps_hints<'a>(&'a self, project: &'a str) -> Pending<'a, bool>;

    /// Seals records under other keys, all in one transaction; returns the secrets with a record that was left as it is.
    fn rekey<'a>(&'a self, rekey: Rekey<'a>) -> Pending<'a, Vec<(String, SecretName)>>;

    /// Removes the values that could be returned to until now; says how many versions went.
    fn drop_lapsed(&self, now: i64) -> Pending<'_, u64>;

    /// Removes a secret with all its versions; says whether it was there.
    fn delete_secret<'a>(&'a self, project: &'a str, name: &'a SecretName) -> Pending<'a, bool>;

    /// The variables of a project, sorted by name.
    fn variables<'a>(&'a self, project: &'a str) -> Pending<'a, Vec<Variable>>;

    /// Removes a variable; says whether it was there.
    fn delete_variable<'a>(&'a self, project: &'a str, name: &'a str) -> Pending<'a, bool>;
}
