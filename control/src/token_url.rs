//! Where a provider asks for its tokens: the URL of a token endpoint, parsed once.
//!
//! Refuses what is not https, and what two readers could take for different places: userinfo, a query, a fragment, a path
//! that is not canonical. Invariant 1 holds for token endpoints too: this one target is resolved, dialled and verified.

use std::fmt;

use crate::rule::{HostPattern, Path};
use crate::target::Target;

/// The port of a URL that names none.
const HTTPS: u16 = 443;

/// A token endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenUrl {
    target: Target,
    path: Box<str>,
    host: HostPattern,
}

/// Why a text is no token URL. Continues "`tokenUrl` …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenUrlError {
    /// Another scheme, or none.
    #[error("has to begin with `https://`: the secret is sent there")]
    Scheme,
    /// Not a host with or without port.
    #[error("has no valid host behind `https://`")]
    Host,
    /// `?` or `#`.
    #[error("has a query or a fragment, which a token endpoint does not get")]
    Query,
    /// Not in the form in which it would be sent.
    #[error("has a path that is not in canonical form: no dot segments, no needless percent-codes")]
    Path,
}

impl TokenUrl {
    /// Parses `https://host[:port]/path`.
    pub fn parse(text: &str) -> Result<Self, TokenUrlError> {
        let rest = text.strip_prefix("https://").ok_or(TokenUrlError::Scheme)?;
        if rest.contains(['?', '#']) {
            return Err(TokenUrlError::Query);
        }
        let (authority, path) =
            rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, "/"));
        let target = Target::parse_host(authority, HTTPS).map_err(|_| TokenUrlError::Host)?;
        let host = HostPattern::parse(&target.to_string(), HTTPS).map_err(|_| TokenUrlError::Host)?;
        let canonical = Path::parse(path).map_err(|_| TokenUrlError::Path)?;
        if canonical.as_str() != path {
            return Err(TokenUrlError::Path);
        }
        Ok(Self { target, path: path.into(), host })
    }

    /// The one target.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Its path, canonical, from the slash on.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its host as a pattern: a secret has to be bound to it.
    pub fn host(&self) -> &HostPattern {
        &self.host
    }
}

impl fmt::Display for TokenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.target.authority(HTTPS), self.path)
    }
}

impl fmt::Debug for TokenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_one_place_over_https() {
        for (text, error) in [
            ("http://a.example/token", TokenUrlError::Scheme),
            ("HTTPS://a.example/token", TokenUrlError::Scheme),
            ("a.example/token", TokenUrlError::Scheme),
            ("https://", TokenUrlError::Host),
            ("https:///token", TokenUrlError::Host),
            ("https://u@a.example/token", TokenUrlError::Host),
            ("https://a.example@b.example/token", TokenUrlError::Host),
            ("https://a.example:0/token", TokenUrlError::Host),
            ("https://a.example:x/token", TokenUrlError::Host),
            ("https://*.example/token", TokenUrlError::Host),
            ("https://a.example\\@b.example/token", TokenUrlError::Host),
            ("https://0x7f.1/token", TokenUrlError::Host),
            ("https://a.example/token?x=y", TokenUrlError::Query),
            ("https://a.example?x", TokenUrlError::Query),
            ("https://a.example/token#x", TokenUrlError::Query),
            ("https://a.example/a/../token", TokenUrlError::Path),
            ("https://a.example/%74oken", TokenUrlError::Path),
            ("https://a.example/a b", TokenUrlError::Path),
        ] {
            assert_eq!(TokenUrl::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn reads_host_port_and_path() {
        for (text, target, path, shown) in [
            ("https://A.example", "a.example:443", "/", "https://a.example/"),
            ("https://a.example:443/o/token", "a.example:443", "/o/token", "https://a.example/o/token"),
            ("https://[::1]:8443/t", "[::1]:8443", "/t", "https://[::1]:8443/t"),
        ] {
            let url = TokenUrl::parse(text).unwrap();
            assert_eq!((url.target().to_string().as_str(), url.path()), (target, path));
            assert!(url.host().covers(url.target()));
            assert_eq!(url.to_string(), shown);
        }
    }
}
