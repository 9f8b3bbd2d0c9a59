//! The hosts that a secret is bound to: a sorted list of canonical patterns, authenticated with the ciphertext.
//!
//! Refuses what two parsers could read differently (by [`HostPattern`]'s grammar) and wildcards on a public suffix. A secret
//! without a list is unbound; a list is never empty (invariant 4).

use std::fmt;
use std::str::FromStr;

use crate::rule::{HostPattern, PatternError};
use crate::target::Target;

/// The port of a pattern that names none.
const DEFAULT_PORT: u16 = 443;
/// More patterns than a person can review.
pub(crate) const PATTERNS_MAX: usize = 64;

/// Why a text is not a list of hosts to bind a secret to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundError {
    /// No host at all.
    #[error("the list of hosts is empty; leave it out for a secret that any provider of its project may use")]
    Empty,
    /// Too many hosts.
    #[error("more than {PATTERNS_MAX} hosts")]
    TooMany,
    /// Not a host.
    #[error("host {0}: {1}")]
    Host(String, #[source] PatternError),
    /// `*.com`, `*.co.uk`, `*.github.io`.
    #[error("host {0}: anybody can register a name below this public suffix")]
    PublicSuffix(String),
}

impl BoundError {
    /// The mistake without the host, which may be a value in the wrong place.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Host(_, error) => error.to_string(),
            Self::PublicSuffix(_) => "anybody can register a name below this public suffix".to_owned(),
            Self::Empty | Self::TooMany => self.to_string(),
        }
    }
}

/// The hosts that a secret is bound to, sorted and without repetition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundHosts(Vec<HostPattern>);

impl BoundHosts {
    /// Hosts as a person gives them; a wildcard on a public suffix is refused.
    pub fn parse<T: AsRef<str>>(hosts: &[T]) -> Result<Self, BoundError> {
        let list = Self::of_type(hosts)?;
        match list.0.iter().find(|pattern| pattern.is_on_public_suffix()) {
            Some(pattern) => Err(BoundError::PublicSuffix(pattern.to_string())),
            None => Ok(list),
        }
    }

    /// The hosts of a built-in type, whose own wildcards are allowed on any suffix (`*.googleapis.com`).
    pub fn of_type<T: AsRef<str>>(hosts: &[T]) -> Result<Self, BoundError> {
        let parse = |host: &T| {
            let host = host.as_ref().trim();
            HostPattern::parse(host, DEFAULT_PORT).map_err(|error| BoundError::Host(host.to_owned(), error))
        };
        let mut patterns = hosts.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        patterns.sort();
        patterns.dedup();
        match patterns.len() {
            0 => Err(BoundError::Empty),
            1..=PATTERNS_MAX => Ok(Self(patterns)),
            _ => Err(BoundError::TooMany),
        }
    }

    /// Whether the secret may be sent to this target.
    pub fn covers(&self, target: &Target) -> bool {
        self.0.iter().any(|pattern| pattern.covers(target))
    }

    /// Whether everything that a provider's pattern covers is bound.
    pub fn covers_pattern(&self, other: &HostPattern) -> bool {
        self.0.iter().any(|pattern| other.is_within(pattern))
    }

    /// The patterns in canonical form, in their one order.
    pub fn patterns(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl fmt::Display for BoundHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.patterns().join(","))
    }
}

/// As stored: canonical patterns in their one order, so that one list has one spelling.
impl FromStr for BoundHosts {
    type Err = BoundError;

    fn from_str(text: &str) -> Result<Self, BoundError> {
        Self::of_type(&text.split(',').collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(list: &[&str]) -> BoundHosts {
        BoundHosts::parse(list).unwrap()
    }

    fn target(text: &str) -> Target {
        Target::parse_authority(text).unwrap()
    }

    #[test]
    fn refuses_lists_that_say_less_than_they_seem() {
        for list in [
            &[][..],
            &[""],
            &["*"],
            &["*."],
            &["*.com"],
            &["*.co.uk"],
            &["*.github.io"],
            &["a.*.b"],
            &["*a.b"],
            &["*.*.b.c"],
            &["*.127.0.0.1"],
            &["a:0"],
            &["a b"],
            &["https://a.b"],
            &["a.b/c"],
            &["user@a.b"],
        ] {
            assert!(BoundHosts::parse(list).is_err(), "{list:?}");
        }
        assert!(BoundHosts::parse(&vec!["a.b"; 65]).is_ok());
        let many: Vec<String> = (0..65).map(|n| format!("h{n}.example")).collect();
        assert_eq!(BoundHosts::parse(&many), Err(BoundError::TooMany));
    }

    #[test]
    fn refuses_targets_next_to_the_bound_ones() {
        let bound = hosts(&["api.github.com", "*.example.com", "[::1]:8443"]);
        for text in [
            "github.com:443",
            "api.github.com:80",
            "xapi.github.com:443",
            "api.github.com.evil.example:443",
            "example.com:443",
            "notexample.com:443",
            "a.example.com:8443",
            "[::1]:443",
            "[::2]:8443",
        ] {
            assert!(!bound.covers(&target(text)), "{text}");
        }
        for text in ["api.github.com:443", "a.example.com:443", "a.b.example.com:443", "[::1]:8443"] {
            assert!(bound.covers(&target(text)), "{text}");
        }
    }

    #[test]
    fn refuses_patterns_that_go_beyond() {
        let bound = hosts(&["api.github.com", "*.example.com"]);
        for text in ["*.github.com", "*.com", "example.com", "api.github.com:8443", "*.api.github.com"] {
            assert!(!bound.covers_pattern(&HostPattern::parse(text, 443).unwrap()), "{text}");
        }
        for text in
            ["api.github.com", "API.github.com.", "*.example.com", "*.a.example.com", "a.example.com:443"]
        {
            assert!(bound.covers_pattern(&HostPattern::parse(text, 443).unwrap()), "{text}");
        }
    }

    #[test]
    fn one_list_has_one_spelling() {
        let bound = hosts(&["B.example", "a.example:443", "*.c.example:8443", "b.example."]);
        assert_eq!(bound.to_string(), "a.example,b.example,*.c.example:8443");
        assert_eq!(bound.to_string().parse::<BoundHosts>().unwrap(), bound);
        assert_eq!(BoundHosts::of_type(&["*.googleapis.com"]).unwrap().to_string(), "*.googleapis.com");
    }
}
