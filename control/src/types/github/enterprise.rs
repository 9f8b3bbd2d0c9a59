//! GitHub Enterprise: a server of one's own, where everything is on one host (`HOST/api/v3`, `HOST/api/graphql`, git on
//! `HOST`), and GitHub's cloud below `ghe.com`, with a host for each part as on github.com.

use super::super::InjectionSpec;
use super::super::variant::VariantSpec;
use super::SPEC;
use crate::rule::HostPattern;

/// The variant of a host that is none of github.com's.
pub(in crate::types) fn of(host: &str) -> Option<&'static VariantSpec> {
    let pattern = HostPattern::parse_any_port(host).ok()?;
    let own = |own: &str| HostPattern::parse_any_port(own).is_ok_and(|own| pattern.is_within(&own));
    if host.contains('*') || SPEC.hosts.iter().any(|known| own(known)) {
        return None;
    }
    Some(if tenant(&host.to_ascii_lowercase()).is_some() { &CLOUD } else { &SERVER })
}

/// The tenant of `TENANT.ghe.com`.
fn tenant(host: &str) -> Option<&str> {
    host.strip_suffix(".ghe.com").filter(|tenant| !tenant.is_empty() && !tenant.contains('.'))
}

/// What a host below `ghe.com` is: its first label, where it has two.
pub(super) fn part(host: &str) -> Option<&str> {
    let below = host.strip_suffix(".ghe.com")?;
    match below.split_once('.') {
        None => Some(""),
        Some((part, tenant)) => Some(part).filter(|_| !tenant.contains('.')),
    }
}

static CLOUD: VariantSpec = VariantSpec {
    hosts: &["api.{host}", "{host}", "uploads.{host}", "codeload.{host}"],
    injections: &[
        (
            "pat",
            &[
                InjectionSpec {
                    hosts: &["api.{host}", "uploads.{host}", "codeload.{host}"],
                    key: "header",
                    fields: &[("header", "authorization"), ("template", "Bearer {{token}}")],
                },
                InjectionSpec {
                    hosts: &["{host}"],
                    key: "basic",
                    fields: &[("username", "x-access-token"), ("password", "{{token}}")],
                },
            ],
        ),
        (
            "github-app",
            &[
                InjectionSpec {
                    hosts: &["api.{host}", "uploads.{host}", "codeload.{host}"],
                    key: "github-app",
                    fields: &[("tokenUrl", "https://api.{host}/")],
                },
                InjectionSpec {
                    hosts: &["{host}"],
                    key: "github-app",
                    fields: &[("as", "basic"), ("tokenUrl", "https://api.{host}/")],
                },
            ],
        ),
    ],
    verify: "https://api.{host}/user",
    env: &[("GH_HOST", "{host}"), ("GH_TOKEN", "{dummy}")],
};

static SERVER: VariantSpec = VariantSpec {
    hosts: &["{host}"],
    injections: &[
        ("pat", &[InjectionSpec { hosts: &["{host}"], key: "github-server", fields: &[] }]),
        (
            "github-app",
            &[InjectionSpec {
                hosts: &["{host}"],
                key: "github-app",
                fields: &[("as", "by-path"), ("tokenUrl", "https://{host}/api/v3")],
            }],
        ),
    ],
    verify: "https://{host}/api/v3/user",
    env: &[("GH_HOST", "{host}"), ("GH_ENTERPRISE_TOKEN", "{dummy}")],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_github_com_and_wildcards_are_no_enterprise() {
        for host in
            ["github.com", "api.github.com", "raw.githubusercontent.com", "GitHub.com", "*.corp.example", ""]
        {
            assert!(of(host).is_none(), "{host}");
        }
        assert!(std::ptr::eq(of("acme.ghe.com").unwrap(), &raw const CLOUD));
        assert!(std::ptr::eq(of("ACME.ghe.com").unwrap(), &raw const CLOUD));
        for host in [
            "git.corp.example",
            "git.corp.example:8443",
            "ghe.com",
            "api.acme.ghe.com",
            "acme.ghe.com.evil.example",
        ] {
            assert!(std::ptr::eq(of(host).unwrap(), &raw const SERVER), "{host}");
        }
    }
}
