//! Host patterns: an exact host, or `*.x` for one or more whole labels in front of x.
//!
//! Refuses everything that [`Host`] refuses, a `*` anywhere but as the whole first label, and the bare `*`.

use std::fmt;
use std::sync::Arc;

use crate::target::{Host, Target, TargetError};

/// Why a text is not a host pattern. Carries nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The host, or what follows `*.`, is not a canonical host.
    #[error(transparent)]
    Host(#[from] TargetError),
    /// A `*` that is not the whole first label.
    #[error("`*` stands only in front, for whole labels: `*.example.com`")]
    Wildcard,
    /// `*.` in front of an address.
    #[error("`*.` cannot stand in front of an address")]
    WildcardAddress,
}

/// A host pattern of a rule: exact, or `*.x` for one or more whole labels in front of x; with a port, or for any port.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPattern {
    shape: Shape,
    port: Option<u16>,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Shape {
    Exact(Host),
    /// The name behind `*.`.
    Under(Arc<str>),
}

impl HostPattern {
    /// Parses `host`, `*.host`, `host:port` or `*.host:port`; where the port is left out it is `default_port`.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, PatternError> {
        let (text, wild) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        if text.contains('*') {
            return Err(PatternError::Wildcard);
        }
        let target = Target::parse_host(text, default_port)?;
        let shape = match (wild, target.host) {
            (false, host) => Shape::Exact(host),
            (true, Host::Name(name)) => Shape::Under(name),
            (true, Host::Ip(_)) => return Err(PatternError::WildcardAddress),
        };
        Ok(Self { shape, port: Some(target.port) })
    }

    /// As [`Self::parse`], but a pattern without a port stands for any port.
    pub fn parse_any_port(text: &str) -> Result<Self, PatternError> {
        let with_port = Self::parse(text, 1)?;
        let unchanged = Self::parse(text, 2)?.port == with_port.port;
        Ok(Self { port: with_port.port.filter(|_| unchanged), ..with_port })
    }

    /// Whether the target's host and port are covered.
    pub fn covers(&self, target: &Target) -> bool {
        self.port.is_none_or(|port| port == target.port) && self.covers_host(&target.host)
    }

    /// Whether the host is covered, whatever the port.
    pub fn covers_host(&self, host: &Host) -> bool {
        match (&self.shape, host) {
            (Shape::Exact(own), host) => own == host,
            (Shape::Under(suffix), Host::Name(name)) => is_under(name, suffix),
            (Shape::Under(_), Host::Ip(_)) => false,
        }
    }

    /// Whether everything that this pattern covers is covered by `other` too.
    pub fn is_within(&self, other: &Self) -> bool {
        let ports = other.port.is_none() || self.port == other.port;
        ports
            && match (&self.shape, &other.shape) {
                (Shape::Exact(host), _) => other.covers_host(host),
                (Shape::Under(inner), Shape::Under(outer)) => inner == outer || is_under(inner, outer),
                (Shape::Under(_), Shape::Exact(_)) => false,
            }
    }

    /// Whether some target is covered by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let ports = self.port.is_none() || other.port.is_none() || self.port == other.port;
        ports
            && match (&self.shape, &other.shape) {
                (Shape::Exact(host), _) => other.covers_host(host),
                (_, Shape::Exact(host)) => self.covers_host(host),
                (Shape::Under(a), Shape::Under(b)) => a == b || is_under(a, b) || is_under(b, a),
            }
    }

    /// The port; `None` for any.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The exact host, if the pattern is one.
    pub fn exact(&self) -> Option<&Host> {
        match &self.shape {
            Shape::Exact(host) => Some(host),
            Shape::Under(_) => None,
        }
    }

    /// The name behind `*.`, if the pattern is a wildcard.
    pub fn suffix(&self) -> Option<&str> {
        match &self.shape {
            Shape::Exact(_) => None,
            Shape::Under(suffix) => Some(suffix),
        }
    }

    /// Whether this is a wildcard directly on a public suffix (`*.com`, `*.github.io`, or an unlisted top label):
    /// anybody can register a host under it, so no secret may be bound to it.
    pub fn is_on_public_suffix(&self) -> bool {
        let Some(suffix) = self.suffix() else { return false };
        // Registrable means that the list knows a suffix shorter than the name itself.
        psl::domain_str(suffix).is_none()
    }

    fn shown(&self, f: &mut fmt::Formatter<'_>, default_port: u16) -> fmt::Result {
        match &self.shape {
            Shape::Exact(host) => write!(f, "{host}")?,
            Shape::Under(suffix) => write!(f, "*.{suffix}")?,
        }
        match self.port {
            Some(port) if port != default_port => write!(f, ":{port}"),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether `name` is `suffix` with one or more whole labels in front.
fn is_under(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
}

/// Canonical: lower case, the port only where it is not 443.
impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown(f, 443)
    }
}

impl fmt::Debug for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown(f, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::parse(text, 443).unwrap()
    }

    fn target(text: &str) -> Target {
        Target::parse_authority(text).unwrap()
    }

    #[test]
    fn refuses_wildcards_that_are_not_the_whole_first_label() {
        for text in [
            "*",
            "*.",
            "a.*",
            "*a.b",
            "a*.b",
            "*.*.b",
            "**.b",
            "*.127.0.0.1",
            "*.[::1]",
            "",
            "a b",
            "ä.b",
            "*:443",
            "a:0",
        ] {
            assert!(HostPattern::parse(text, 443).is_err(), "{text:?}");
        }
    }

    #[test]
    fn refuses_a_host_that_only_ends_in_the_same_letters() {
        let wild = pattern("*.example.com");
        for host in [
            "example.com:443",
            "notexample.com:443",
            "a.example.com.evil.org:443",
            "a.example.com:8443",
            "xexample.com:443",
        ] {
            assert!(!wild.covers(&target(host)), "{host}");
        }
        assert!(!pattern("example.com").covers(&target("a.example.com:443")));
        assert!(!pattern("example.com:8443").covers(&target("example.com:443")));
    }

    #[test]
    fn covers_one_or_more_whole_labels() {
        let wild = pattern("*.Example.COM");
        assert!(wild.covers(&target("a.example.com:443")));
        assert!(wild.covers(&target("a.b.example.com:443")));
        assert!(pattern("example.com:8443").covers(&target("EXAMPLE.com.:8443")));
        assert!(HostPattern::parse_any_port("example.com").unwrap().covers(&target("example.com:9")));
        assert!(!HostPattern::parse_any_port("example.com:1").unwrap().covers(&target("example.com:2")));
        assert!(!HostPattern::parse_any_port("example.com:2").unwrap().covers(&target("example.com:1")));
    }

    #[test]
    fn a_wildcard_on_a_public_suffix_is_known() {
        for text in ["*.com", "*.co.uk", "*.github.io", "*.s3.amazonaws.com", "*.internal"] {
            assert!(pattern(text).is_on_public_suffix(), "{text}");
        }
        for text in ["*.example.com", "*.example.co.uk", "com", "*.corp.internal", "*.me.github.io"] {
            assert!(!pattern(text).is_on_public_suffix(), "{text}");
        }
    }

    #[test]
    fn tells_when_a_pattern_is_within_another() {
        for (inner, outer, within) in [
            ("a.x.com", "*.x.com", true),
            ("*.a.x.com", "*.x.com", true),
            ("*.x.com", "*.x.com", true),
            ("x.com", "*.x.com", false),
            ("*.x.com", "x.com", false),
            ("*.x.com", "*.a.x.com", false),
            ("a.x.com:8443", "*.x.com", false),
        ] {
            assert_eq!(pattern(inner).is_within(&pattern(outer)), within, "{inner} {outer}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same_pattern(text in "(\\*\\.)?[a-z0-9.*-]{1,20}(:[0-9]{1,5})?") {
            if let Ok(pattern) = HostPattern::parse(&text, 443) {
                prop_assert_eq!(HostPattern::parse(&pattern.to_string(), 443), Ok(pattern));
            }
        }

        #[test]
        fn overlap_is_seen_from_both_sides(a in "(\\*\\.)?[ab](\\.[ab]){0,2}", b in "(\\*\\.)?[ab](\\.[ab]){0,2}", host in "[ab](\\.[ab]){0,4}") {
            let (Ok(a), Ok(b), Ok(host)) = (HostPattern::parse(&a, 443), HostPattern::parse(&b, 443), Host::parse(&host)) else { return Ok(()) };
            prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
            if a.covers_host(&host) && b.covers_host(&host) { prop_assert!(a.overlaps(&b)); }
            if a.is_within(&b) && a.covers_host(&host) { prop_assert!(b.covers_host(&host)); }
        }
    }
}
