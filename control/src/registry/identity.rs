//! Who a sidecar can be beside the holder of its agent's token: a Kubernetes ServiceAccount, or a SPIFFE id.
//!
//! Each has one spelling, and refused is every other: an identity is compared as text, and belongs to one agent at most.

use std::fmt;
use std::str::FromStr;

/// The most identities of one agent.
pub const IDENTITIES_MAX: usize = 16;
/// What the name of a ServiceAccount begins with, as Kubernetes writes it.
const ACCOUNT: &str = "system:serviceaccount:";
const SPIFFE: &str = "spiffe://";
/// The longest SPIFFE id, and the longest name of a trust domain (SPIFFE-ID, section 2.3).
pub(crate) const SPIFFE_MAX: usize = 2048;
const DOMAIN_MAX: usize = 255;

/// A text that is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an identity is system:serviceaccount:NAMESPACE:NAME, or a SPIFFE id with a path, spiffe://TRUST-DOMAIN/PATH, in its one spelling"
)]
pub struct IdentityError;

/// Who a sidecar is, as somebody else vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// By a token that the Kubernetes API has reviewed.
    Account(ServiceAccount),
    /// By a certificate.
    Spiffe(SpiffeId),
}

impl Identity {
    /// As it is kept and shown.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Account(ServiceAccount(text)) | Self::Spiffe(SpiffeId(text)) => text,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        if text.starts_with(SPIFFE) {
            text.parse().map(Self::Spiffe)
        } else {
            text.parse().map(Self::Account)
        }
    }
}

/// A Kubernetes ServiceAccount, by the name of its user.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceAccount(String);

impl FromStr for ServiceAccount {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let (namespace, name) =
            text.strip_prefix(ACCOUNT).and_then(|rest| rest.split_once(':')).ok_or(IdentityError)?;
        // A namespace is a label, an account's name a subdomain (RFC 1123): both in lower case.
        let fits = is_label(namespace) && name.len() <= 253 && name.split('.').all(is_label);
        if fits { Ok(Self(text.to_owned())) } else { Err(IdentityError) }
    }
}

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// The SPIFFE id of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId(String);

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SpiffeId {
    type Err = IdentityError;

    /// By SPIFFE-ID, sections 2.1 to 2.3: nothing is decoded, nothing made lower case. Without a path it is a trust domain, which
    /// no leaf may name (X509-SVID, section 5.2).
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let rest = text.strip_prefix(SPIFFE).filter(|_| text.len() <= SPIFFE_MAX).ok_or(IdentityError)?;
        let (domain, path) = rest.split_once('/').ok_or(IdentityError)?;
        let is_domain = (1..=DOMAIN_MAX).contains(&domain.len())
            && domain.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_'));
        let is_segment = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        };
        if is_domain && path.split('/').all(is_segment) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdentityError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_texts_that_are_no_identity_in_its_one_spelling() {
        let long = "a".repeat(64);
        for text in [
            "",
            "ns:name",
            "system:serviceaccount:",
            "system:serviceaccount:ns",
            "system:serviceaccount:ns:",
            "system:serviceaccount::name",
            "system:serviceaccount:Ns:name",
            "system:serviceaccount:ns:name:more",
            "system:serviceaccount:n.s:name",
            "system:serviceaccount:ns:-name",
            "system:serviceaccount:ns:a..b",
            "system:serviceaccount:ns:name ",
            &format!("system:serviceaccount:{long}:name"),
            "system:serviceaccounts:ns",
            "system:node:one",
            "system:anonymous",
            "spiffe://",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://Example.org/a",
            "SPIFFE://example.org/a",
            "spiffe:///a",
            "spiffe://example.org//a",
            "spiffe://example.org/a/",
            "spiffe://example.org/./a",
            "spiffe://example.org/a/..",
            "spiffe://example.org/a%2fb",
            "spiffe://example.org/ä",
            "spiffe://example.org:80/a",
            "spiffe://user@example.org/a",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "https://example.org/a",
            &format!("spiffe://{}/a", "a".repeat(256)),
            &format!("spiffe://a/{}", "a".repeat(2048)),
        ] {
            assert_eq!(text.parse::<Identity>(), Err(IdentityError), "{text}");
        }
    }

    #[test]
    fn takes_service_accounts_and_spiffe_ids() {
        for text in [
            "system:serviceaccount:team-a:default",
            "system:serviceaccount:n:bot.of.team-1",
            "spiffe://example.org/ns/team-a/sa/Bot_1",
            "spiffe://1.2.3.4/a",
            "spiffe://a_b/...",
        ] {
            let identity: Identity = text.parse().unwrap();
            assert_eq!(identity.to_string(), text);
        }
    }
}
