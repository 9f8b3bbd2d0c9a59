//! The usual stage: one origin, one proxy that injects the canary on its way there.

use harness::origin::OriginBuilder;
use harness::{Agent, Origin, Proxy, ProxyBuilder};

pub const HOST: &str = "api.example.com";
pub const OTHER: &str = "other.example.com";

/// Proxy and origin of one journey. The proxy ends (and is searched) first.
pub struct World {
    pub proxy: Proxy,
    pub origin: Origin,
}

impl World {
    /// The canary as a bearer token on [`HOST`], whose origin echoes.
    pub async fn bearer() -> Self {
        Self::of(&bearer()).await
    }

    /// An echoing origin behind a provider `demo` with this spec.
    pub async fn of(spec: &str) -> Self {
        Self::with(Origin::builder(&[HOST]), spec).await
    }

    pub async fn with(origin: OriginBuilder, spec: &str) -> Self {
        Self::built(origin, Proxy::builder().provider("demo", spec)).await
    }

    /// Any proxy before one origin.
    pub async fn built(origin: OriginBuilder, proxy: ProxyBuilder) -> Self {
        let origin = origin.start().await;
        let proxy = proxy.origin(&origin).start().await;
        Self { proxy, origin }
    }

    pub fn agent(&self) -> Agent {
        self.proxy.agent()
    }

    pub fn bearer_value(&self) -> String {
        format!("Bearer {}", self.proxy.canary())
    }

    /// The one request at the origin carries the canary as a bearer token.
    #[track_caller]
    pub fn assert_injected(&self) {
        let seen = self.origin.last();
        assert_eq!(seen.headers_named("authorization"), [self.bearer_value()], "{seen:#?}");
    }

    /// Nothing got to the origin.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let requests = self.origin.requests();
        assert!(requests.is_empty(), "{requests:#?}");
    }
}

/// The spec of a bearer provider on [`HOST`].
pub fn bearer() -> String {
    harness::proxy::build::bearer_spec(HOST)
}

/// The spec of a bearer provider on `NAME.example.com`.
pub fn bearer_spec_on(name: &str) -> String {
    harness::proxy::build::bearer_spec(&format!("{name}.example.com"))
}

/// An http-token provider on [`HOST`] with these `auth` fields (flow style, without braces).
pub fn token(auth: &str) -> String {
    format!("type: http-token\nhost: {HOST}\nauth: {{secretRef: canary, secretKey: token, {auth}}}")
}

/// A bearer provider on [`HOST`] with more lines of spec.
pub fn bearer_and(lines: &str) -> String {
    format!("{}\n{}", bearer(), lines.trim())
}
