//! The master key: where it comes from, what is derived from it, and how a wrong one is recognised at once.
//!
//! Refuses key files that others can read, that belong to somebody else, that are links or of another size; passphrases
//! and stored Argon2id parameters below the floors; and any key other than the one that the vault was made with.

mod derive;
mod passphrase;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::process::{self, CommandError};
use super::seal::{self, SealError};
use super::succession::{self, next_file};
use super::wrapped::{Service, WrapError, Wrapped};
use crate::private::{self, PrivateError};
use crate::secret::Secret;
use passphrase::PASSPHRASE_MIN;
pub(crate) use passphrase::Parameters;

/// Bytes of a master key.
const KEY: usize = 32;
/// As hexadecimal text with its line break.
const KEY_TEXT_MAX: usize = 2 * KEY + 2;

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// The key file cannot be used.
    #[error("master key file: {0}")]
    File(#[source] PrivateError),
    /// The vault is there and its key file is not.
    #[error("the master key file {} is missing; the vault cannot be opened without it", .0.display())]
    Missing(PathBuf),
    /// Neither 32 bytes nor 64 hexadecimal digits.
    #[error("a master key is 32 bytes or 64 hexadecimal digits")]
    Size,
    /// The descriptor gave nothing.
    #[error("master key from file descriptor {0}: {1}")]
    Descriptor(u32, #[source] std::io::Error),
    /// The command failed.
    #[error("master key command: {0}")]
    Command(#[source] CommandError),
    /// The passphrase is too short to make a vault with.
    #[error("a passphrase has at least {PASSPHRASE_MIN} characters")]
    PassphraseShort,
    /// The vault was made with a passphrase and something else was given, or the other way round.
    #[error("this vault {}", if *.made_with_passphrase { "was made with a passphrase: give that" } else { "was not made with a passphrase: give its key" })]
    Kind {
        /// Which way round.
        made_with_passphrase: bool,
    },
    /// The vault's key lies wrapped in it, and something else was given.
    #[error("this vault's master key is wrapped by {0}: give that")]
    Wrapped(&'static str),
    /// A key service was given, and the vault's key is not wrapped by one.
    #[error(
        "this vault's master key is in no key service: give the key, and put it there with `doorward key rotate`"
    )]
    Unwrapped,
    /// The key service gave no key.
    #[error(transparent)]
    Service(#[from] WrapError),
    /// A key that is in a key service is asked for without its vault.
    #[error("a wrapped master key lies in its vault: for a backup give --backup-passphrase-file")]
    InVault,
    /// The stored Argon2id parameters are damaged or below the floors.
    #[error("the vault's passphrase parameters are damaged or weaker than is allowed")]
    Parameters,
    /// The vault has secrets and no check value: somebody removed it.
    #[error("the vault's check value is missing although it holds secrets")]
    CheckMissing,
    /// Not the key that the vault was made with.
    #[error("this is not the master key of this vault")]
    Wrong,
    /// Two rotations would take each other's keys away.
    #[error("another rotation of {} is under way", .0.display())]
    Rotating(PathBuf),
    /// The next key is the current one.
    #[error("the next master key is the same as the current one")]
    Same,
    /// No random bytes.
    #[error("the system gave no random bytes")]
    Random,
    /// The vault could not be read or written.
    #[error("vault: {0}")]
    Store(#[from] super::store::StoreError),
}

impl From<SealError> for MasterError {
    fn from(_: SealError) -> Self {
        Self::Random
    }
}

/// Where the master key comes from.
#[derive(Debug)]
pub enum KeySource {
    /// A file of ours alone; made with a fresh key if it is not there and the vault is new.
    File(PathBuf),
    /// An inherited file descriptor, read to its end.
    Descriptor(u32),
    /// A passphrase, stretched with Argon2id.
    Passphrase(Secret),
    /// A program and its arguments, run without a shell; its output is the key.
    Command(Vec<String>),
    /// It lies in the vault, wrapped by a key of this service.
    Service(Box<Service>),
}

/// The key that all others are derived from.
#[derive(Debug)]
pub struct MasterKey(Secret);

impl MasterKey {
    /// A fresh random key.
    pub(crate) fn random() -> Result<Self, MasterError> {
        let mut bytes = Zeroizing::new(vec![0; KEY]);
        seal::fill(&mut bytes)?;
        Ok(Self(Secret::new(std::mem::take(&mut *bytes))))
    }

    /// Reads a key from bytes as files, descriptors and commands give it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, MasterError> {
        if bytes.len() == KEY {
            return Ok(Self(Secret::new(bytes.to_vec())));
        }
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let mut key = Zeroizing::new(vec![0; KEY]);
        hex::decode_to_slice(text, &mut key).map_err(|_| MasterError::Size)?;
        Ok(Self(Secret::new(std::mem::take(&mut *key))))
    }

    /// A fresh key in a file that is not there yet, or the key that is there.
    pub(crate) fn prepared(path: &Path) -> Result<Self, MasterError> {
        Self::from_file(path, true)
    }

    /// The lock of a vault with this key; `parameters`: what has to be known beside, to get it again.
    pub(crate) fn lock(&self, parameters: Option<Vec<u8>>) -> Lock {
        Lock { check: self.check_value(parameters.as_deref()).to_vec(), parameters }
    }

    /// As a key service takes it.
    pub(crate) fn base64(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(KEY.div_ceil(3) * 4));
        // exposed: encrypted by the key service that wraps it
        STANDARD.encode_string(self.0.expose(), &mut text);
        text
    }

    fn from_file(path: &Path, may_create: bool) -> Result<Self, MasterError> {
        match private::read(path, KEY_TEXT_MAX) {
            Ok(bytes) => Self::read(&bytes),
            Err(error) if error.is_absent() && may_create => {
                let fresh = Self::random()?;
                // exposed: written to the key file, which only its owner can read
                let text = Zeroizing::new(hex::encode(fresh.0.expose()) + "\n");
                match private::create(path, text.as_bytes()) {
                    Ok(()) => Ok(fresh),
                    // Another process was first: its key is the one.
                    Err(PrivateError::Io { source, .. })
                        if source.kind() == std::io::ErrorKind::AlreadyExists =>
                    {
                        Self::from_file(path, false)
                    }
                    Err(error) => Err(MasterError::File(error)),
                }
            }
            Err(error) if error.is_absent() => Err(MasterError::Missing(path.to_owned())),
            Err(PrivateError::TooLarge(_)) => Err(MasterError::Size),
            Err(error) => Err(MasterError::File(error)),
        }
    }
}

/// What the vault stores so that its key is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The check value.
    pub check: Vec<u8>,
    /// How the passphrase was stretched, or the wrapped key of a key service; `None` for a key that lies elsewhere.
    pub parameters: Option<Vec<u8>>,
}

/// Makes the key of a vault that has none yet, and the lock to store with it.
pub(crate) fn first_key(source: &KeySource) -> Result<(MasterKey, Lock), MasterError> {
    let (key, parameters) = match source {
        KeySource::Passphrase(passphrase) => {
            let (key, parameters) = MasterKey::of_passphrase(passphrase)?;
            (key, Some(parameters.encode()))
        }
        KeySource::File(path) => (MasterKey::from_file(path, true)?, None),
        KeySource::Descriptor(_) | KeySource::Command(_) => (key_as_it_is(source)?, None),
        KeySource::Service(service) => {
            let (key, wrapped) = service.fresh()?;
            (key, Some(wrapped))
        }
    };
    let lock = key.lock(parameters);
    Ok((key, lock))
}

/// Gets the key of a vault and makes sure that it is the one.
pub(crate) fn unlock(source: &KeySource, lock: &Lock) -> Result<MasterKey, MasterError> {
    let parameters = lock.parameters.as_deref();
    let key = match (source, parameters) {
        (KeySource::Service(service), Some(wrapped)) if Wrapped::is_in(wrapped) => service.unwrap(wrapped)?,
        (_, Some(wrapped)) if Wrapped::is_in(wrapped) => {
            return Err(MasterError::Wrapped(Wrapped::decode(wrapped)?.by()));
        }
        (KeySource::Service(_), None) => return Err(MasterError::Unwrapped),
        (KeySource::Passphrase(passphrase), Some(parameters)) => {
            MasterKey::from_passphrase(passphrase, &Parameters::decode(parameters)?)?
        }
        (KeySource::Passphrase(_), None) => return Err(MasterError::Kind { made_with_passphrase: false }),
        (_, Some(parameters)) => {
            Parameters::decode(parameters)?;
            return Err(MasterError::Kind { made_with_passphrase: true });
        }
        (_, None) => key_as_it_is(source)?,
    };
    let expected = Secret::new(lock.check.clone());
    if expected.matches(&key.check_value(parameters)) {
        return Ok(key);
    }
    // A rotation that was ended between its commit and the renaming of the key's file, or is about to rename it.
    match source {
        KeySource::File(path) => match MasterKey::from_file(&next_file(path), false) {
            Ok(next) if expected.matches(&next.check_value(None)) => {
                succession::settle(path, lock);
                Ok(next)
            }
            Ok(_) | Err(MasterError::Missing(_)) => Err(MasterError::Wrong),
            Err(error) => Err(error),
        },
        KeySource::Descriptor(_)
        | KeySource::Passphrase(_)
        | KeySource::Command(_)
        | KeySource::Service(_) => Err(MasterError::Wrong),
    }
}

/// The key of a source that is no passphrase, of whichever vault.
pub(crate) fn key_as_it_is(source: &KeySource) -> Result<MasterKey, MasterError> {
    match source {
        KeySource::File(path) => MasterKey::from_file(path, false),
        KeySource::Descriptor(number) => {
            let bytes = process::read_descriptor(*number, KEY_TEXT_MAX)
                .map_err(|error| MasterError::Descriptor(*number, error))?;
            MasterKey::read(&bytes)
        }
        KeySource::Command(argv) => MasterKey::read(
            &process::output(argv, process::DEADLINE, KEY_TEXT_MAX).map_err(MasterError::Command)?,
        ),
        KeySource::Passphrase(_) => Err(MasterError::Kind { made_with_passphrase: false }),
        KeySource::Service(_) => Err(MasterError::InVault),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::passphrase::{MEMORY_MIN_KIB, PASSES_MIN, SALT};
    use super::*;

    fn passphrase(text: &str) -> KeySource {
        KeySource::Passphrase(Secret::new(text.into()))
    }

    #[test]
    fn refuses_a_key_file_that_others_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let (_, lock) = first_key(&KeySource::File(path.clone())).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = unlock(&KeySource::File(path.clone()), &lock).unwrap_err();
        assert!(matches!(refused, MasterError::File(PrivateError::Open { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        unlock(&KeySource::File(path), &lock).unwrap();
    }

    #[test]
    fn refuses_a_key_file_that_is_a_link_or_of_another_size() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock { check: vec![0; 32], parameters: None };
        let path = dir.path().join("k");
        for bytes in [&b""[..], &[7; 31], &[7; 33], &[b'g'; 64], &[b'a'; 63], &[b'a'; 67], &[b'a'; 4000]] {
            std::fs::remove_file(&path).ok();
            private::create(&path, bytes).unwrap();
            assert!(
                matches!(unlock(&KeySource::File(path.clone()), &lock), Err(MasterError::Size)),
                "{}",
                bytes.len()
            );
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(
            unlock(&KeySource::File(link), &lock),
            Err(MasterError::File(PrivateError::NotPlain(_)))
        ));
    }

    #[test]
    fn never_makes_a_key_for_a_vault_that_has_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        let lock = Lock { check: vec![0; 32], parameters: None };
        assert!(matches!(unlock(&KeySource::File(path.clone()), &lock), Err(MasterError::Missing(_))));
        assert!(!path.exists());
    }

    #[test]
    fn refuses_another_key() {
        let dir = tempfile::tempdir().unwrap();
        let (_, lock) = first_key(&KeySource::File(dir.path().join("one"))).unwrap();
        first_key(&KeySource::File(dir.path().join("two"))).unwrap();
        assert!(matches!(unlock(&KeySource::File(dir.path().join("two")), &lock), Err(MasterError::Wrong)));
    }

    #[test]
    fn refuses_passphrase_parameters_below_the_floors_or_edited() {
        assert!(matches!(first_key(&passphrase("hunter2")), Err(MasterError::PassphraseShort)));
        let good = passphrase("correct horse battery");
        let (_, lock) = first_key(&good).unwrap();
        unlock(&good, &lock).unwrap();
        assert!(matches!(unlock(&passphrase("correct horse battery!"), &lock), Err(MasterError::Wrong)));
        let known = Parameters::decode(lock.parameters.as_ref().unwrap()).unwrap();
        let with = |changed: Parameters| Lock { parameters: Some(changed.encode()), ..lock.clone() };
        for weak in [
            Parameters { memory_kib: MEMORY_MIN_KIB - 1, ..known.clone() },
            Parameters { memory_kib: u32::MAX, ..known.clone() },
            Parameters { passes: PASSES_MIN - 1, ..known.clone() },
            Parameters { passes: u32::MAX, ..known.clone() },
            Parameters { lanes: 0, ..known.clone() },
        ] {
            assert!(matches!(unlock(&good, &with(weak)), Err(MasterError::Parameters)));
        }
        let salted = with(Parameters { salt: [0; SALT], ..known });
        assert!(matches!(unlock(&good, &salted), Err(MasterError::Wrong)));
        let removed = Lock { parameters: None, ..lock };
        assert!(matches!(unlock(&good, &removed), Err(MasterError::Kind { made_with_passphrase: false })));
    }

    #[test]
    fn reads_the_key_from_a_command_as_bytes_or_digits() {
        let digits = "0123456789abcdef".repeat(4);
        let source = |text: &str| KeySource::Command(vec!["printf".into(), "%s\\n".into(), text.into()]);
        let (_, lock) = first_key(&source(&digits)).unwrap();
        unlock(&source(&digits.to_uppercase()), &lock).unwrap();
        assert!(matches!(unlock(&source("short"), &lock), Err(MasterError::Size)));
        assert!(matches!(
            unlock(&KeySource::Command(vec!["false".into()]), &lock),
            Err(MasterError::Command(_))
        ));
    }
}
