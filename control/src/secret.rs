//! Secret bytes and the names of secrets.
//!
//! [`Secret`] is the only type that holds a value (invariant 5): locked in memory where the kernel allows it, wiped when
//! dropped, without Clone, Display, Serialize or PartialEq, with a blank Debug. [`Secret::expose`] is the only way out;
//! each call says why beside it and a test holds the list of calls.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A secret value. Its pages are locked (no swap) as far as `RLIMIT_MEMLOCK` goes, and wiped on drop.
pub struct Secret {
    // The value lies at `start..start + len`, alone on its pages: locks do not nest, so a page shared
    // with another secret would be unlocked with the first of the two that goes.
    // The lock stands first: it has to be given back before the pages are freed.
    lock: Option<region::LockGuard>,
    pages: Vec<u8>,
    start: usize,
    len: usize,
}

impl Secret {
    /// Takes the bytes over and wipes the vector that they came in.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let secret = Self::copy(&bytes);
        bytes.zeroize();
        secret
    }

    fn copy(bytes: &[u8]) -> Self {
        let page = region::page::size();
        let room = bytes.len().max(1).next_multiple_of(page);
        let mut pages = vec![0_u8; room + page];
        let address = pages.as_ptr().addr();
        let start = address.next_multiple_of(page) - address;
        let len = bytes.len();
        let lock = pages.get(start..start + room).and_then(|span| region::lock(span.as_ptr(), room).ok());
        for (slot, byte) in pages.iter_mut().skip(start).zip(bytes) {
            *slot = *byte;
        }
        Self { lock, pages, start, len }
    }

    /// The bytes. Every caller says why it needs them: `// exposed: why`.
    pub fn expose(&self) -> &[u8] {
        self.pages.get(self.start..self.start + self.len).unwrap_or_default()
    }

    /// How many bytes the value has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the value is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Compares with other bytes in constant time (the lengths may be learnt).
    pub fn matches(&self, other: &[u8]) -> bool {
        // exposed: compared in constant time, nothing leaves this function
        self.expose().ct_eq(other).into()
    }

    /// Whether the pages are locked in memory.
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.pages.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Why a text cannot name a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a secret's name is a DNS label style name (`github-pat`) or an environment style name (`GITHUB_PAT`), at most 253 characters"
)]
pub struct NameError;

/// The immutable name of a secret: `github-pat` or `GITHUB_PAT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretName(Arc<str>);

impl SecretName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() <= 253 && (is_dns_style(text) || is_env_style(text)) {
            Ok(Self(text.into()))
        } else {
            Err(NameError)
        }
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_dns_style(text: &str) -> bool {
    text.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    })
}

fn is_env_style(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// One key of one secret of one project, as a provider refers to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretRef {
    /// The project (namespace) that owns the secret.
    pub project: Arc<str>,
    /// The secret.
    pub name: SecretName,
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_are_neither_style() {
        for name in ["", "-a", "a-", "A-b", "a_b", "1_A", "a..b", "ä", "a/b", "../a"] {
            assert!(name.parse::<SecretName>().is_err(), "{name:?}");
        }
        for name in ["github-pat", "GITHUB_PAT", "_X1", "a.b", "0"] {
            assert!(name.parse::<SecretName>().is_ok(), "{name:?}");
        }
    }

    #[test]
    fn debug_shows_nothing_of_the_value() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter2-hunter2".to_vec())), "Secret");
    }

    #[test]
    fn holds_values_of_any_length() {
        for len in [0, 1, 4095, 4096, 4097, 20_000] {
            let value = vec![7; len];
            let secret = Secret::new(value.clone());
            assert!(secret.matches(&value));
            assert_eq!(secret.len(), len);
        }
    }
}
