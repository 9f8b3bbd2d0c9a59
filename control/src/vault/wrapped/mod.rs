//! A master key that lies in the vault, wrapped by a key that never leaves a key service: AWS KMS, or the transit engine of
//! HashiCorp Vault and OpenBao.
//!
//! The wrapped key lies in the lock of the vault, so that it changes in one transaction with the records that are under it,
//! and every backup has it. It is authenticated twice: by the service, which is told the vault's name, and by the check
//! value of the key. Refuses answers that are not a key of 32 bytes, another service's or vault's wrapped keys, and keys
//! that are named otherwise than the operator said. Plain keys lie in buffers that are wiped.

mod aws;
mod kms;
mod transit;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use aws::{AwsSettings, Credentials};
pub use kms::Kms;
pub use transit::Transit;

use super::master::MasterKey;
use super::seal;
use crate::outgoing::OutgoingError;
use crate::private::PrivateError;

/// Before the wrapped key in a lock.
const MARK: &[u8] = b"wrapped1";
/// How long a service may take for one call.
pub(crate) const DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);
/// The largest answer of one.
pub(crate) const ANSWER: usize = 64 * 1024;

/// Why a key service gave no key.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// How the service is named.
    #[error("{0}")]
    Named(&'static str),
    /// It cannot be asked.
    #[error("the key service: {}", told(.0))]
    Call(#[source] OutgoingError),
    /// A file that says who we are there.
    #[error("the key service's credentials: {0}")]
    File(#[source] PrivateError),
    /// Nothing says who we are there.
    #[error("no credentials for the key service: {0}")]
    Nobody(&'static str),
    /// It said no.
    #[error("the key service refused ({status}{}{code}): {}", if .code.is_empty() { "" } else { " " }, .meaning)]
    Refused {
        /// The status.
        status: u16,
        /// The word for why, where it is one.
        code: String,
        /// What that means here.
        meaning: &'static str,
    },
    /// It gave no key of ours.
    #[error("the key service's answer is not one of a key")]
    Answer,
    /// What lies in the vault is damaged.
    #[error("the vault's wrapped key is damaged")]
    Damaged,
    /// It is wrapped by another service.
    #[error("this vault's master key is wrapped by {0}: give that")]
    Other(&'static str),
    /// It is wrapped by another key of the service.
    #[error("this vault's master key is wrapped by another key of the service: `{0}`")]
    OtherKey(String),
    /// No random bytes.
    #[error("the system gave no random bytes")]
    Random,
    /// The call could not be made.
    #[error("the call of the key service could not be made")]
    Runtime,
}

/// With what is behind it, for people: nothing of it is secret.
fn told(error: &OutgoingError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

/// Which service wrapped a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum By {
    #[serde(rename = "aws-kms")]
    Kms,
    #[serde(rename = "transit")]
    Transit,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Kms => "AWS KMS (--master-key-kms)",
            Self::Transit => "a transit engine (--master-key-transit)",
        }
    }
}

/// A wrapped key as it lies in the lock.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wrapped {
    by: By,
    /// The vault's own name: random, told to the service with each call.
    vault: String,
    /// The service's key.
    key: String,
    /// What the service gave: base64, or its own text.
    blob: String,
}

impl Wrapped {
    /// Whether a lock holds a wrapped key.
    pub(crate) fn is_in(parameters: &[u8]) -> bool {
        parameters.starts_with(MARK)
    }

    fn encode(&self) -> Result<Vec<u8>, WrapError> {
        let text = serde_json::to_vec(self).map_err(|_| WrapError::Damaged)?;
        Ok([MARK, &text].concat())
    }

    pub(crate) fn decode(parameters: &[u8]) -> Result<Self, WrapError> {
        let text = parameters.strip_prefix(MARK).ok_or(WrapError::Damaged)?;
        let wrapped: Self = serde_json::from_slice(text).map_err(|_| WrapError::Damaged)?;
        // In its one spelling: another one would be the same key with another check value.
        if wrapped.encode()? == parameters { Ok(wrapped) } else { Err(WrapError::Damaged) }
    }

    /// Who unwraps it, for people.
    pub(crate) fn by(&self) -> &'static str {
        self.by.name()
    }
}

/// A key service, and our key there.
#[derive(Clone, Debug)]
pub enum Service {
    /// AWS KMS.
    Kms(Kms),
    /// A transit engine.
    Transit(Transit),
}

impl Service {
    /// A fresh master key, and how it lies in the lock.
    ///
    /// # Errors
    /// See [`WrapError`].
    pub(crate) fn fresh(&self) -> Result<(MasterKey, Vec<u8>), WrapError> {
        let mut name = [0; 16];
        seal::fill(&mut name).map_err(|_| WrapError::Random)?;
        let vault = hex::encode(name);
        let (key, wrapped) = apart(async {
            match self {
                Self::Kms(kms) => kms.fresh(&vault).await,
                Self::Transit(transit) => transit.fresh(&vault).await,
            }
        })?;
        Ok((key, wrapped.encode()?))
    }

    /// The master key that lies in a lock.
    ///
    /// # Errors
    /// See [`WrapError`].
    pub(crate) fn unwrap(&self, parameters: &[u8]) -> Result<MasterKey, WrapError> {
        let wrapped = Wrapped::decode(parameters)?;
        apart(async {
            match (self, wrapped.by) {
                (Self::Kms(kms), By::Kms) => kms.unwrap(&wrapped).await,
                (Self::Transit(transit), By::Transit) => transit.unwrap(&wrapped).await,
                (Self::Kms(_) | Self::Transit(_), by) => Err(WrapError::Other(by.name())),
            }
        })
    }
}

/// Asks a service on a thread of its own: whoever asks may be on a runtime, as for a command that gives the key.
fn apart<T: Send>(work: impl Future<Output = Result<T, WrapError>> + Send) -> Result<T, WrapError> {
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|_| WrapError::Runtime)?.block_on(work)
        });
        asking.join().map_err(|_| WrapError::Runtime)?
    })
}

/// A key that a service gave as base64.
fn plain_key(text: &str) -> Result<MasterKey, WrapError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    STANDARD.decode_vec(text, &mut bytes).map_err(|_| WrapError::Answer)?;
    // Nothing but raw bytes: what is 64 digits is another key than they say.
    if bytes.len() != 32 {
        return Err(WrapError::Answer);
    }
    MasterKey::read(&bytes).map_err(|_| WrapError::Answer)
}

/// The name of a key, as it lies in a row that somebody may have edited.
fn shown(key: &str) -> String {
    crate::audit::search::clean(key.get(..key.floor_char_boundary(200)).unwrap_or_default())
}

/// A service's word for a refusal, if it is one.
fn word(text: &str) -> String {
    let is_word = text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word { text.to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped() -> Wrapped {
        Wrapped { by: By::Kms, vault: "00".into(), key: "alias/x".into(), blob: "AAAA".into() }
    }

    #[test]
    fn refuses_wrapped_keys_that_are_written_otherwise() {
        let good = wrapped().encode().unwrap();
        assert_eq!(Wrapped::decode(&good).unwrap(), wrapped());
        let text = String::from_utf8(good).unwrap();
        for wrong in [
            String::new(),
            "wrapped1".to_owned(),
            text.replace("wrapped1", "wrapped2"),
            text.replace("aws-kms", "gcp"),
            text.replace("\"key\"", "\"kay\""),
            text.replace('}', ",\"more\":1}"),
            text.replace(':', ": "),
            format!("{text} "),
        ] {
            assert!(matches!(Wrapped::decode(wrong.as_bytes()), Err(WrapError::Damaged)), "{wrong}");
        }
    }

    #[test]
    fn refuses_what_is_no_key_of_32_bytes() {
        for wrong in ["", "AAAA", "!", &STANDARD.encode([7; 31]), &STANDARD.encode([b'a'; 64])] {
            assert!(matches!(plain_key(wrong), Err(WrapError::Answer)), "{wrong}");
        }
        plain_key(&STANDARD.encode([7; 32])).unwrap();
    }

    #[test]
    fn a_word_of_a_service_is_shown_only_if_it_is_one() {
        assert_eq!(word("AccessDeniedException"), "AccessDeniedException");
        for wrong in ["two words", "\u{1b}[2J", &"a".repeat(65)] {
            assert_eq!(word(wrong), "");
        }
    }
}
