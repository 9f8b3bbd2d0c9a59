//! Names to addresses: `--resolve` first, then the system's resolver configuration and hosts file.
//!
//! A look-up only happens for a request that a rule covers (invariant 2); its addresses are judged and dialled by
//! `guard`, and nothing resolves the same name twice for one connection.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use control::target::{Host, Target};
use hickory_resolver::TokioResolver;

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// The resolver said no, or nothing.
    #[error("the name was not found")]
    NotFound(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// The resolver could not be set up from the system's configuration.
    #[error("the system's resolver configuration could not be read")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The `--resolve HOST:PORT:ADDR[:PORT]` flags: they replace DNS for that host and port.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides(HashMap<Target, Vec<SocketAddr>>);

/// Why a `--resolve` flag was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`--resolve` takes HOST:PORT:ADDR[:PORT], IPv6 addresses in brackets")]
pub(crate) struct OverrideError;

impl Overrides {
    /// Takes one flag, as curl's.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), OverrideError> {
        let (host, rest) = cut_host(text).ok_or(OverrideError)?;
        let (port, address) = rest.split_once(':').ok_or(OverrideError)?;
        let target = Target::parse_authority(&format!("{host}:{port}")).map_err(|_| OverrideError)?;
        let address = match address.parse::<SocketAddr>() {
            Ok(address) => address,
            Err(_) => SocketAddr::new(bare_address(address).ok_or(OverrideError)?, target.port),
        };
        self.0.entry(target).or_default().push(address);
        Ok(())
    }

    fn of(&self, target: &Target) -> Option<&[SocketAddr]> {
        self.0.get(target).map(Vec::as_slice)
    }
}

/// Splits `HOST:` off, leaving the colons of `[IPv6]` alone.
fn cut_host(text: &str) -> Option<(&str, &str)> {
    let end = if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':')? };
    let (host, rest) = text.split_at_checked(end)?;
    Some((host, rest.strip_prefix(':')?))
}

fn bare_address(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    inner.parse().ok()
}

/// One worker's resolver. It is made at the first look-up, so that a proxy with only literals and overrides reads no
/// resolver configuration.
#[derive(Debug)]
pub(crate) struct Resolver {
    overrides: Overrides,
    system: std::sync::OnceLock<TokioResolver>,
}

impl Resolver {
    pub(crate) fn new(overrides: Overrides) -> Self {
        Self { overrides, system: std::sync::OnceLock::new() }
    }

    /// Whether DNS is replaced for this target.
    pub(crate) fn overrides(&self, target: &Target) -> bool {
        self.overrides.of(target).is_some()
    }

    /// All addresses of the target, unjudged, in the order to try.
    pub(crate) async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Some(addresses) = self.overrides.of(target) {
            return Ok(addresses.to_vec());
        }
        let name = match &target.host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, target.port)]),
            Host::Name(name) => name,
        };
        let answer = self.system()?.lookup_ip(&**name).await;
        let answer = answer.map_err(|error| ResolveError::NotFound(Some(Box::new(error))))?;
        let addresses: Vec<_> = answer.iter().map(|ip| SocketAddr::new(ip, target.port)).collect();
        if addresses.is_empty() { Err(ResolveError::NotFound(None)) } else { Ok(addresses) }
    }

    fn system(&self) -> Result<&TokioResolver, ResolveError> {
        if let Some(resolver) = self.system.get() {
            return Ok(resolver);
        }
        let resolver = TokioResolver::builder_tokio()
            .and_then(hickory_resolver::ResolverBuilder::build)
            .map_err(|error| ResolveError::Setup(Box::new(error)))?;
        Ok(self.system.get_or_init(|| resolver))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_flags_that_are_not_host_port_address() {
        for text in [
            "",
            "a",
            "a:443",
            "a:443:",
            "a:443:b",
            "a:0:1.2.3.4",
            "a:443:1.2.3",
            "[::1:443:1.2.3.4",
            "a:443:1.2.3.4:x",
        ] {
            assert_eq!(Overrides::default().add(text), Err(OverrideError), "{text:?}");
        }
    }

    #[test]
    fn reads_the_forms_of_curl() {
        let mut overrides = Overrides::default();
        for text in
            ["a:443:127.0.0.1", "b:443:127.0.0.1:8443", "[::1]:443:[::2]:1", "c:443:[::1]", "c:443:::2"]
        {
            overrides.add(text).unwrap();
        }
        let of =
            |target: &str| format!("{:?}", overrides.of(&Target::parse_authority(target).unwrap()).unwrap());
        assert_eq!(of("a:443"), "[127.0.0.1:443]");
        assert_eq!(of("b:443"), "[127.0.0.1:8443]");
        assert_eq!(of("[::1]:443"), "[[::2]:1]");
        assert_eq!(of("c:443"), "[[::1]:443, [::2]:443]");
        assert!(overrides.of(&Target::parse_authority("a:444").unwrap()).is_none());
    }
}
