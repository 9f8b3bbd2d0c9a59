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
    let name = pattern.exact().and_then(|host| host.name()).unwrap_or_default();
    Some(if is_cloud(name) { &CLOUD } else { &SERVER })
}

/// Whether a host is GitHub's cloud for enterprises: whatever lies there is GitHub's, and no server of one's own.
fn is_cloud(name: &str) -> bool {
    name == "ghe.com" || name.ends_with(".ghe.com")
}

/// Why a host of that cloud does not stand for a tenant.
pub(in crate::types) fn misnamed(host: &str) -> Option<&'static str> {
    let pattern = HostPattern::parse_any_port(host).ok()?;
    let name = pattern.exact().and_then(|host| host.name()).or(pattern.suffix())?;
    let is_tenant = || part(name) == Some("") && pattern.suffix().is_none() && !host.contains(':');
    (is_cloud(name) && !is_tenant())
        .then_some("GitHub's cloud for enterprises is named by its tenant, `TENANT.ghe.com`, without a port; its other hosts follow from that")
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
        for host in ["ACME.ghe.com", "acme.ghe.com."] {
            assert!(std::ptr::eq(of(host).unwrap(), &raw const CLOUD), "{host}");
            assert_eq!(misnamed(host), None, "{host}");
        }
        for host in ["git.corp.example", "git.corp.example:8443", "acme.ghe.com.evil.example", "notghe.com"] {
            assert!(std::ptr::eq(of(host).unwrap(), &raw const SERVER), "{host}");
            assert_eq!(misnamed(host), None, "{host}");
        }
    }

    #[test]
    fn a_host_of_the_enterprise_cloud_that_is_no_tenant_is_taken_for_no_server_of_ones_own() {
        for host in [
            "ghe.com",
            "api.acme.ghe.com",
            "a.b.acme.ghe.com",
            "acme.ghe.com:8443",
            "*.ghe.com",
            "*.acme.ghe.com",
        ] {
            assert!(misnamed(host).is_some(), "{host}");
        }
    }
}
