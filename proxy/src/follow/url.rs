//! `--control`: `https://HOST[:PORT]`, or `unix:PATH` on one machine.
//!
//! Refuses `http://`, also on loopback: whoever binds the port while the server is down would be sent the token. A socket's
//! owner is known.

use std::path::PathBuf;
use std::str::FromStr;

use control::target::Target;

/// The port of a server.
const PORT: u16 = 3130;

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ControlUrl {
    /// Verified TLS.
    Https(Target),
    /// A socket, whose owner is root or we ourselves.
    Unix(PathBuf),
}

/// Why a `--control` was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("--control takes https://HOST[:PORT] (default port 3130) or unix:PATH")]
    Form,
    #[error(
        "--control over http:// is refused, on loopback too: the token would go to whoever has the port; use https:// or unix:PATH"
    )]
    Plain,
}

impl FromStr for ControlUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(UrlError::Form) } else { Ok(Self::Unix(path.into())) };
        }
        if text.starts_with("http:") {
            return Err(UrlError::Plain);
        }
        let rest = text.strip_prefix("https://").ok_or(UrlError::Form)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        Target::parse_host(authority, PORT).map(Self::Https).map_err(|_| UrlError::Form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_plain_http_and_whatever_else_is_no_server() {
        for text in ["http://127.0.0.1:3130", "http://vault.example", "http://[::1]:3130"] {
            assert_eq!(text.parse::<ControlUrl>(), Err(UrlError::Plain), "{text}");
        }
        for text in [
            "",
            "vault.example",
            "unix:",
            "https://",
            "https://a/b",
            "https://u:p@a",
            "https://a:0",
            "ftp://a",
            "https://a?b",
        ] {
            assert_eq!(text.parse::<ControlUrl>(), Err(UrlError::Form), "{text}");
        }
        let target = |text: &str| ControlUrl::Https(Target::parse_authority(text).unwrap());
        assert_eq!("https://Vault.example".parse(), Ok(target("vault.example:3130")));
        assert_eq!("https://vault.example:8443/".parse(), Ok(target("vault.example:8443")));
        assert_eq!("unix:/run/doorward.sock".parse(), Ok(ControlUrl::Unix("/run/doorward.sock".into())));
    }
}
