//! `--listen` and what belongs to it: where agents connect, and the certificate of `tls:` listeners.
//!
//! Refuses a certificate that no listener uses, and a `tls:` listener on every address whose name nobody told: its URL would
//! lead nowhere, and its certificate would be for nothing.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use control::cli::{Exit, Failure};
use rustls_pki_types::ServerName;

use crate::listen::Listen;
use crate::listen::certified::Certificate;

/// Where agents connect.
#[derive(Args, Clone, Debug)]
pub struct ListenArgs {
    /// Where agents connect: an address with its port, tls:ADDR for agents on other hosts, unix:PATH, or uid:ADDR on loopback
    /// for clients that can send no token (repeatable).
    #[arg(
        long,
        env = "DOORWARD_LISTEN",
        value_name = "ADDR",
        value_delimiter = ',',
        default_value = "127.0.0.1:3128"
    )]
    listen: Vec<String>,
    /// What agents call a tls: listener by; the first is published (repeatable). Default: its address.
    #[arg(long, env = "DOORWARD_LISTEN_NAME", value_name = "NAME", value_delimiter = ',')]
    listen_name: Vec<String>,
    /// The certificate of tls: listeners with its chain, PEM; read again when it changes. Default: the proxy's own CA signs one.
    #[arg(long, env = "DOORWARD_LISTEN_CERT", value_name = "FILE", requires = "listen_key")]
    listen_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, env = "DOORWARD_LISTEN_KEY", value_name = "FILE", requires = "listen_cert")]
    listen_key: Option<PathBuf>,
}

impl ListenArgs {
    /// The socket files.
    pub(super) fn sockets(&self) -> impl Iterator<Item = PathBuf> {
        self.listen.iter().filter_map(|listen| listen.strip_prefix("unix:")).map(PathBuf::from)
    }

    /// Files that are read while the proxy runs.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.listen_cert.iter().chain(&self.listen_key)
    }

    /// The listeners, and the certificate of those with TLS.
    pub(super) fn listeners(&self) -> Result<(Vec<Listen>, Option<Certificate>), Failure> {
        let listen: Result<Vec<Listen>, _> = self.listen.iter().map(|one| one.parse()).collect();
        let listen = listen.map_err(usage)?;
        let secured = |listen: &Listen| match listen {
            Listen::Tls(address) => Some(*address),
            Listen::Tcp(_) | Listen::Uid(_) | Listen::Unix(_) => None,
        };
        let secured: Vec<SocketAddr> = listen.iter().filter_map(secured).collect();
        let files = self.listen_cert.clone().zip(self.listen_key.clone());
        if secured.is_empty() {
            if files.is_some() || !self.listen_name.is_empty() {
                return Err(usage("--listen-cert, --listen-key and --listen-name are for --listen tls:ADDR"));
            }
            return Ok((listen, None));
        }
        let names = self.names(&secured)?;
        Ok((listen, Some(Certificate { names, files })))
    }

    fn names(&self, secured: &[SocketAddr]) -> Result<Vec<ServerName<'static>>, Failure> {
        if self.listen_name.is_empty() {
            if secured.iter().any(|address| address.ip().is_unspecified()) {
                return Err(usage(
                    "agents need a name for a tls: listener on every address: give --listen-name",
                ));
            }
            return Ok(secured.iter().map(|address| ServerName::from(address.ip())).collect());
        }
        self.listen_name.iter().map(|name| named(name)).collect()
    }
}

/// A name as certificates and URLs have it.
fn named(text: &str) -> Result<ServerName<'static>, Failure> {
    let plain = text.trim_matches(['[', ']']);
    if let Ok(ip) = plain.parse::<IpAddr>() {
        return Ok(ServerName::from(ip));
    }
    let is_canonical =
        !text.ends_with('.') && !text.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let name = ServerName::try_from(text.to_owned()).ok().filter(|_| is_canonical);
    name.ok_or_else(|| {
        usage(format!("--listen-name {text}: this is no host name in lower case, and no address"))
    })
}

fn usage(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(listen: &[&str], names: &[&str], files: bool) -> ListenArgs {
        let own = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let file = |name: &str| files.then(|| PathBuf::from(name));
        ListenArgs {
            listen: own(listen),
            listen_name: own(names),
            listen_cert: file("tls.crt"),
            listen_key: file("tls.key"),
        }
    }

    fn refused(args: &ListenArgs) -> String {
        let failure = args.listeners().unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        failure.to_string()
    }

    #[test]
    fn refuses_a_certificate_or_a_name_that_no_listener_uses() {
        for (names, files) in [(&["proxy.example"][..], false), (&[], true)] {
            assert!(refused(&args(&["127.0.0.1:1"], names, files)).contains("tls:ADDR"));
        }
    }

    #[test]
    fn refuses_a_listener_on_every_address_that_has_no_name_and_names_that_are_none() {
        for every in ["tls:0.0.0.0:1", "tls:[::]:1"] {
            assert!(refused(&args(&[every], &[], true)).contains("--listen-name"));
        }
        for name in ["", "Proxy.example", "a b", "proxy.example.", "proxy.example:1", "*.example", "a_b"] {
            assert!(refused(&args(&["tls:0.0.0.0:1"], &[name], false)).contains("--listen-name"), "{name}");
        }
    }

    #[test]
    fn agents_call_it_by_its_names_else_by_its_address() {
        let called = |listen: &[&str], names: &[&str]| {
            let (_, certificate) = args(listen, names, false).listeners().unwrap();
            let names =
                certificate.map(|one| one.names.iter().map(|name| name.to_str().into_owned()).collect());
            names.unwrap_or_else(Vec::new)
        };
        assert_eq!(called(&["127.0.0.1:1"], &[]), [""; 0]);
        assert_eq!(called(&["127.0.0.1:1", "tls:192.0.2.1:1"], &[]), ["192.0.2.1"]);
        assert_eq!(called(&["tls:0.0.0.0:1"], &["proxy.example", "[::1]"]), ["proxy.example", "::1"]);
    }
}
