//! Master keys that are stretched from a passphrase (Argon2id).
//!
//! Refuses passphrases and stored parameters below the floors, and parameters that would take all memory or hours.

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use super::{KEY, MasterError, MasterKey};
use crate::secret::Secret;
use crate::vault::seal;

/// The shortest passphrase with which a vault is made.
pub(super) const PASSPHRASE_MIN: usize = 12;
/// Argon2id floors: OWASP and RFC 9106 section 4 (second recommendation: 64 MiB, 3 passes).
pub(super) const MEMORY_MIN_KIB: u32 = 64 * 1024;
pub(super) const PASSES_MIN: u32 = 3;
/// Ceilings, so that a changed file cannot make us take all memory or hours.
const MEMORY_MAX_KIB: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;
pub(super) const SALT: usize = 16;

impl MasterKey {
    /// The key of a passphrase, stretched anew, and how.
    pub(crate) fn of_passphrase(passphrase: &Secret) -> Result<(Self, Parameters), MasterError> {
        if passphrase.len() < PASSPHRASE_MIN {
            return Err(MasterError::PassphraseShort);
        }
        let parameters = Parameters::fresh()?;
        Ok((Self::from_passphrase(passphrase, &parameters)?, parameters))
    }

    pub(crate) fn from_passphrase(passphrase: &Secret, parameters: &Parameters) -> Result<Self, MasterError> {
        let params = Params::new(parameters.memory_kib, parameters.passes, parameters.lanes, Some(KEY))
            .map_err(|_| MasterError::Parameters)?;
        let mut key = Zeroizing::new(vec![0; KEY]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            // exposed: stretched into the master key
            .hash_password_into(passphrase.expose(), &parameters.salt, &mut key)
            .map_err(|_| MasterError::Parameters)?;
        Ok(Self(Secret::new(std::mem::take(&mut *key))))
    }
}

/// How a passphrase was stretched; stored beside the vault and authenticated by the check value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(super) memory_kib: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
    pub(super) salt: [u8; SALT],
}

impl Parameters {
    fn fresh() -> Result<Self, MasterError> {
        let mut salt = [0; SALT];
        seal::fill(&mut salt)?;
        Ok(Self { memory_kib: MEMORY_MIN_KIB, passes: PASSES_MIN, lanes: 1, salt })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let [m, t, p] = [self.memory_kib, self.passes, self.lanes].map(u32::to_be_bytes);
        [&b"argon2id"[..], &m, &t, &p, &self.salt].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, MasterError> {
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
