//! The one canonical target of a request: host and port, parsed once by a strict grammar.
//!
//! Rule matching, DNS, dialling, SNI, the upstream certificate check and the `Host` that is sent all use the same
//! [`Target`] (invariant 1). Anything that two parsers could read differently is refused here: userinfo, brackets around
//! names, control bytes, numbers that some resolvers take for IPv4 (`127.1`, `0x7f.1`, `2130706433`), zone ids, ports
//! with a sign or leading zeros.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The longest DNS name in text form (RFC 1035 section 2.3.4, without the root dot).
const NAME_MAX: usize = 253;
/// The longest DNS label (RFC 1035 section 2.3.4).
const LABEL_MAX: usize = 63;

/// Why a text is not a target. Carries nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing where the host should be.
    #[error("the host is empty")]
    EmptyHost,
    /// A byte that no canonical host holds.
    #[error("the host holds a character that is not allowed")]
    HostCharacter,
    /// A label is empty, longer than 63 bytes, or begins or ends with a hyphen.
    #[error("a label of the host is malformed")]
    Label,
    /// The name is longer than 253 bytes.
    #[error("the host is too long")]
    TooLong,
    /// A number that is not a canonical dotted IPv4 address.
    #[error("the host looks like an address but is not in canonical form")]
    Address,
    /// Brackets that do not hold a plain IPv6 address.
    #[error("the bracketed host is not an IPv6 address")]
    Bracket,
    /// No port where one is required.
    #[error("the port is missing")]
    PortMissing,
    /// The port is not a decimal number from 1 to 65535 in canonical form.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

/// A canonical host: a lower-case ASCII name without trailing dot, or an address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name in A-label form.
    Name(Arc<str>),
    /// An address literal.
    Ip(IpAddr),
}

impl Host {
    /// Parses a host as it stands in an authority: a name, a dotted IPv4 address or `[IPv6]`.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if let Some(rest) = text.strip_prefix('[') {
            let inner = rest.strip_suffix(']').ok_or(TargetError::Bracket)?;
            return inner.parse::<Ipv6Addr>().map(|ip| Self::Ip(ip.into())).map_err(|_| TargetError::Bracket);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(TargetError::EmptyHost);
        }
        if name.len() > NAME_MAX {
            return Err(TargetError::TooLong);
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            return Err(TargetError::HostCharacter);
        }
        if ends_in_number(name) {
            // A trailing dot makes `127.0.0.1.` a name for some parsers and an address for others.
            let ip = text.parse::<Ipv4Addr>().map_err(|_| TargetError::Address)?;
            return Ok(Self::Ip(ip.into()));
        }
        if !name.split('.').all(is_label) {
            return Err(TargetError::Label);
        }
        Ok(Self::Name(name.to_ascii_lowercase().into()))
    }

    /// The name, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Ip(_) => None,
        }
    }

    /// The address, if it is a literal.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::Ip(ip) => Some(*ip),
        }
    }
}

/// As in an authority: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// WHATWG URL: a host whose last label is a number is an IPv4 address to browsers and to `inet_aton`.
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    !last.is_empty()
        && (last.bytes().all(|b| b.is_ascii_digit())
            || hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit())))
}

fn is_label(label: &str) -> bool {
    !label.is_empty() && label.len() <= LABEL_MAX && !label.starts_with('-') && !label.ends_with('-')
}

/// Where a request goes: one host, one port.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The canonical host.
    pub host: Host,
    /// The TCP port, never 0.
    pub port: u16,
}

impl Target {
    /// Parses the authority-form of CONNECT: `host:port`, the port required (RFC 9112 section 3.2.3).
    pub fn parse_authority(text: &str) -> Result<Self, TargetError> {
        let (host, port) = split_port(text)?;
        let port = port.ok_or(TargetError::PortMissing)?;
        Ok(Self { host: Host::parse(host)?, port: parse_port(port)? })
    }

    /// Parses a `Host` header, an `:authority` or the authority of a URI, where the port may be left out.
    pub fn parse_host(text: &str, default_port: u16) -> Result<Self, TargetError> {
        let (host, port) = split_port(text)?;
        let port = port.map_or(Ok(default_port), parse_port)?;
        Ok(Self { host: Host::parse(host)?, port })
    }

    /// The value of `Host` or `:authority` to send: without the port where it is the scheme's default.
    pub fn authority(&self, default_port: u16) -> String {
        if self.port == default_port { self.host.to_string() } else { self.to_string() }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Splits at the colon of the port, leaving the colons inside brackets alone.
fn split_port(text: &str) -> Result<(&str, Option<&str>), TargetError> {
    if text.starts_with('[') {
        let (inner, rest) = text.split_once(']').ok_or(TargetError::Bracket)?;
        let host = text.get(..inner.len() + 1).ok_or(TargetError::Bracket)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(TargetError::Bracket),
        };
    }
    match text.split_once(':') {
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

fn parse_port(text: &str) -> Result<u16, TargetError> {
    let canonical = !text.is_empty() && !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    if !canonical {
        return Err(TargetError::Port);
    }
    text.parse().map_err(|_| TargetError::Port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_every_spelling_that_two_parsers_could_read_differently() {
        for text in [
            "",
            ":443",
            "a",
            "a:",
            "a:0",
            "a:00443",
            "a:+443",
            "a:65536",
            "a: 443",
            "a:443 ",
            "a:4_3",
            "user@a:443",
            "a@b:443",
            "a#b:443",
            "a\\b:443",
            "a%2eb:443",
            "a;b:443",
            "a,b:443",
            "a/b:443",
            "a?b:443",
            "[a]:443",
            "[::1:443",
            "[::1]443",
            "[::1%25eth0]:443",
            "[fe80::1%eth0]:443",
            "[127.0.0.1]:443",
            "::1:443",
            "127.1:443",
            "0x7f.1:443",
            "0x7f000001:443",
            "2130706433:443",
            "0177.0.0.1:443",
            "127.0.0.1.:443",
            "1.2.3.256:443",
            "1.2.3.4.5:443",
            "a..b:443",
            ".a:443",
            "a..:443",
            "-a:443",
            "a-:443",
            "ä:443",
            "a\0b:443",
            "a\tb:443",
            "a.0x:443",
            "*.a:443",
        ] {
            assert!(Target::parse_authority(text).is_err(), "{text:?} was accepted");
        }
        assert!(Host::parse(&"a".repeat(64)).is_err());
        assert!(Host::parse(&["a"; 128].join(".")).is_err());
    }

    #[test]
    fn reads_canonical_targets() {
        for (text, shown) in [
            ("API.GitHub.com:443", "api.github.com:443"),
            ("a.:80", "a:80"),
            ("127.0.0.1:8443", "127.0.0.1:8443"),
            ("[::1]:443", "[::1]:443"),
            ("[0:0::1]:443", "[::1]:443"),
            ("my_bucket.s3.amazonaws.com:443", "my_bucket.s3.amazonaws.com:443"),
            ("xn--bcher-kva.example:443", "xn--bcher-kva.example:443"),
        ] {
            assert_eq!(Target::parse_authority(text).unwrap().to_string(), shown);
        }
        assert_eq!(Target::parse_host("a", 443).unwrap().authority(443), "a");
        assert_eq!(Target::parse_host("a:8443", 443).unwrap().authority(443), "a:8443");
    }

    #[test]
    fn a_name_of_253_bytes_and_a_label_of_63_are_the_longest() {
        let name =
            |last: usize| [&*"a".repeat(63), &"b".repeat(63), &"c".repeat(63), &"d".repeat(last)].join(".");
        assert_eq!(Host::parse(&name(61)).unwrap().name().map(str::len), Some(253));
        assert_eq!(Host::parse(&name(62)), Err(TargetError::TooLong));
    }

    #[test]
    fn after_a_bracketed_address_stands_a_port_or_nothing() {
        assert_eq!(Target::parse_host("[::1]80", 443), Err(TargetError::Bracket));
        assert_eq!(Target::parse_host("[::1]", 443).unwrap().to_string(), "[::1]:443");
        assert_eq!(Target::parse_host("[::1]:80", 443).unwrap().to_string(), "[::1]:80");
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_debug_shows_what_display_shows() {
        let (name, ip) = (Host::parse("A.example").unwrap(), Host::parse("[::1]").unwrap());
        assert_eq!((name.name(), name.ip()), (Some("a.example"), None));
        assert_eq!((ip.name(), ip.ip()), (None, Some("::1".parse().unwrap())));
        assert_eq!(format!("{name:?} {ip:?}"), "a.example [::1]");
        let target = Target { host: ip, port: 443 };
        assert_eq!(format!("{target:?}"), target.to_string());
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same_target(text in "[ -~]{0,40}(:[0-9]{1,5})?") {
            if let Ok(target) = Target::parse_authority(&text) {
                prop_assert_eq!(Target::parse_authority(&target.to_string()), Ok(target));
            }
        }

        #[test]
        fn a_name_has_one_reading_whatever_its_case_and_final_dot(
            host in "[a-zA-Z_]([a-zA-Z0-9_-]{0,6}[a-zA-Z0-9_])?(\\.[a-z]{1,5}){0,3}\\.?", port in 1..=u16::MAX,
        ) {
            let plain = host.to_lowercase();
            let read = |host: &str| Target::parse_authority(&format!("{host}:{port}"));
            let target = read(&host);
            prop_assert!(target.is_ok(), "{:?}", target);
            prop_assert_eq!(&target, &read(plain.trim_end_matches('.')));
            prop_assert_eq!(target.unwrap().port, port);
        }

        #[test]
        fn no_accepted_target_holds_a_byte_that_another_parser_could_split_at(
            parts in prop::collection::vec("(a|Z|0|9|\\.|-|_|:|@|/|\\\\|#|\\?|%|\\[|\\]|;|,|\t|\r|\n| |\0|é)", 0..12), port in "(:443)?",
        ) {
            let text = format!("{}{port}", parts.concat());
            if let Ok(target) = Target::parse_authority(&text) {
                let host = target.host.to_string();
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let is_address = bare.parse::<IpAddr>().is_ok();
                let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
                prop_assert!(is_address || bare.bytes().all(fits), "{:?} from {:?}", host, text);
                prop_assert!(target.port != 0);
            }
        }

        #[test]
        fn never_panics_on_any_text(text in "\\PC{0,40}") {
            drop((Target::parse_authority(&text), Target::parse_host(&text, 443)));
        }
    }
}
