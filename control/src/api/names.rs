//! Which names this server answers to. A page in a browser can reach loopback and private servers under any name that its
//! owner points there (DNS rebinding), and can send from its own origin: both are refused before anything else is looked at.

use std::net::IpAddr;

use http::header::{HOST, HeaderMap, ORIGIN};
use http::uri::Authority;

use super::problem::{Answer, Problem};
use crate::refusal::Code;

/// The names of the server.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// Loopback names, the addresses that it listens on, and those that the operator adds.
    pub fn new(listening: impl IntoIterator<Item = IpAddr>, more: impl IntoIterator<Item = String>) -> Self {
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).into();
        names.extend(listening.into_iter().map(|address| match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        }));
        names.extend(more.into_iter().map(|name| name.to_ascii_lowercase()));
        Self(names)
    }

    /// Refuses calls for another host and from another origin.
    pub(crate) fn check(&self, uri: &http::Uri, headers: &HeaderMap) -> Answer<()> {
        let refused = |why: &'static str| Problem::new(Code::Dw6015, why);
        let mut hosts = headers.get_all(HOST).iter();
        let header = match (hosts.next(), hosts.next()) {
            (_, Some(_)) => return Err(refused("the call names more than one host")),
            (Some(value), None) => {
                let authority = Authority::try_from(value.as_bytes());
                Some(authority.map_err(|_| refused("the call's Host cannot be read"))?)
            }
            (None, None) => None,
        };
        let host = match (uri.authority(), header) {
            (Some(named), Some(header)) if *named != header => {
                return Err(refused("the call names more than one host"));
            }
            (Some(named), _) => named.clone(),
            (None, Some(header)) => header,
            (None, None) => return Err(refused("the call names no host")),
        };
        if host.as_str().contains('@') || !self.is_ours(host.host()) {
            return Err(refused("the call is for another host than this server"));
        }
        check_origin(headers, &host)
    }

    fn is_ours(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.0.contains(&host)
    }
}

/// Programs send no `Origin`; a page has to be this server's own.
fn check_origin(headers: &HeaderMap, host: &Authority) -> Answer<()> {
    let refused = || Problem::new(Code::Dw6015, "the call comes from a page of another origin");
    for origin in headers.get_all(ORIGIN) {
        let own = origin.to_str().ok().and_then(|text| {
            let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
            Some(rest.eq_ignore_ascii_case(host.as_str()))
        });
        if own != Some(true) {
            return Err(refused());
        }
    }
    for site in headers.get_all("sec-fetch-site") {
        if !matches!(site.as_bytes(), b"same-origin" | b"none") {
            return Err(refused());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Uri};

    use super::*;

    fn check(uri: &str, headers: &[(&'static str, &str)]) -> Answer<()> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let names = Names::new(["192.0.2.1".parse().unwrap()], ["Vault.example.com".to_owned()]);
        names.check(&uri.parse::<Uri>().unwrap(), &map)
    }

    #[test]
    fn dw6015_refuses_other_hosts_and_origins() {
        for headers in [
            &[][..],
            &[("host", "evil.example")],
            &[("host", "localhost.evil.example")],
            &[("host", "localhost"), ("host", "localhost")],
            &[("host", "user@localhost")],
            &[("host", "local host")],
            &[("host", "localhost"), ("origin", "https://evil.example")],
            &[("host", "localhost:3130"), ("origin", "http://localhost:8080")],
            &[("host", "localhost"), ("origin", "null")],
            &[("host", "localhost"), ("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(check("/v1", headers).unwrap_err().code, Code::Dw6015, "{headers:?}");
        }
        assert!(check("https://evil.example/v1", &[]).is_err());
        assert!(check("https://localhost/v1", &[("host", "vault.example.com")]).is_err());
    }

    #[test]
    fn takes_its_own_names() {
        for host in
            ["localhost:3130", "LOCALHOST", "127.0.0.1:1", "[::1]:3130", "192.0.2.1", "vault.example.com"]
        {
            check("/v1", &[("host", host)]).unwrap();
            check(&format!("https://{host}/v1"), &[]).unwrap();
        }
        check("/v1", &[("host", "localhost:1"), ("origin", "https://localhost:1")]).unwrap();
        check("/v1", &[("host", "localhost:1"), ("sec-fetch-site", "same-origin")]).unwrap();
    }
}
