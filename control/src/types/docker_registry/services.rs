//! The token services of registries that are known by their hosts.

/// Where a registry's tokens are given, and by what name the registry goes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// The registry.
    pub(crate) host: &'static str,
    /// The URL of its token service.
    pub(crate) url: &'static str,
    /// The `service` parameter.
    pub(crate) name: &'static str,
}

const KNOWN: &[Service] = &[
    Service { host: "registry-1.docker.io", url: "https://auth.docker.io/token", name: "registry.docker.io" },
    Service { host: "ghcr.io", url: "https://ghcr.io/token", name: "ghcr.io" },
    Service { host: "quay.io", url: "https://quay.io/v2/auth", name: "quay.io" },
    Service { host: "registry.gitlab.com", url: "https://gitlab.com/jwt/auth", name: "container_registry" },
];

/// The token service of this registry.
pub(crate) fn service_of(host: &str) -> Option<Service> {
    KNOWN.iter().find(|known| known.host == host).copied()
}
