//! How names, bytes and hosts are spelled in messages: each in one way.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use crate::secret::SecretName;
use crate::vault::BoundHosts;

/// The longest name of a project or document (RESOURCES.md).
const NAME_MAX: usize = 253;
/// The longest name of an agent, which is part of file names.
const AGENT_MAX: usize = 63;
/// The longest key of a secret, or name of a variable.
pub(super) const KEY_MAX: usize = 253;

/// A project's or a document's name.
pub(crate) fn is_name(text: &str) -> bool {
    let inner =
        text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
    let edges = !text.starts_with(['-', '.']) && !text.ends_with(['-', '.']);
    !text.is_empty() && text.len() <= NAME_MAX && inner && edges
}

pub(super) fn is_agent(text: &str) -> bool {
    text.len() <= AGENT_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

pub(super) fn is_key(text: &str) -> bool {
    let inner = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    !text.is_empty() && text.len() <= KEY_MAX && inner
}

pub(super) fn is_variable(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= KEY_MAX
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Bytes of one length, as base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bytes<const N: usize>(pub [u8; N]);

impl<const N: usize> Bytes<N> {
    /// Reads the one spelling.
    pub fn parse(text: &str) -> Option<Self> {
        // A longer text is not even decoded.
        let fits = text.len() == N.div_ceil(3) * 4 - (3 - N % 3) % 3;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|_| fits)?;
        Some(Self(bytes.try_into().ok()?))
    }
}

impl<const N: usize> fmt::Display for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<const N: usize> fmt::Debug for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{N} bytes")
    }
}

impl<const N: usize> Serialize for Bytes<N> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Bytes<N> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not base64url of this length"))
    }
}

/// Bytes of any length, as base64url without padding.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(pub Vec<u8>);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        let bytes = URL_SAFE_NO_PAD.decode(&*text);
        bytes.map(Self).map_err(|_| de::Error::custom("not base64url"))
    }
}

impl Serialize for SecretName {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SecretName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(|_| de::Error::custom("not the name of a secret"))
    }
}

/// Bound hosts as a list in its one spelling: another one would authenticate as the same list.
pub(super) mod hosts {
    use super::{BoundHosts, Deserialize, Deserializer, Serialize, Serializer, de};

    pub(in super::super) fn serialize<S: Serializer>(
        hosts: &Option<BoundHosts>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        hosts.as_ref().map(BoundHosts::patterns).serialize(out)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<BoundHosts>, D::Error> {
        let Some(list) = Option::<Vec<String>>::deserialize(from)? else { return Ok(None) };
        let hosts = BoundHosts::of_type(&list).ok().filter(|hosts| hosts.patterns() == list);
        hosts.map(Some).ok_or_else(|| de::Error::custom("not a list of bound hosts in its one spelling"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_bytes_in_another_spelling() {
        let good = Bytes([0xff_u8; 32]).to_string();
        assert_eq!(Bytes::<32>::parse(&good), Some(Bytes([0xff; 32])));
        for bad in [
            format!("{good}="),
            good.split_at(1).1.to_owned(),
            good.replacen('_', "/", 1),
            format!("{}9", good.split_at(42).0),
        ] {
            assert_eq!(Bytes::<32>::parse(&bad), None, "{bad}");
        }
    }
}
