//! The vault: sources of secret values behind one door, `open(&Permit)`.
//!
//! [`Vault::open`] is the only way to a value (invariant 3). It refuses secrets that expired, that are not bound to the
//! permit's target (invariant 4), that lack the key that is needed, and whatever its source refuses. A source that fails
//! ends the search: only a secret that is not there at all is looked for in the next one.

pub mod bound;
pub mod certificate;
pub mod command;
pub mod directory;
mod keys;
pub mod backup;
pub mod local;
pub mod master;
pub mod process;
pub mod succession;
mod seal;
pub mod store;
pub mod value;
pub mod wrapped;
mod renewal;
mod version;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use time::OffsetDateTime;

pub use bound::BoundHosts;
pub use renewal::{Shown, Turn};
pub(crate) use seal::length_prefixed;
pub use seal::{Record, SealError};
pub use version::Version;

use crate::policy::{LoadCheck, Permit};
use crate::provider::{Auth, Provider};
use crate::refusal::Code;
use crate::rule::HostPattern;
use crate::secret::{Secret, SecretRef};
use crate::sync::lease::Lease;
use crate::target::Target;
use crate::token_url::TokenUrl;

/// What tells the time: passed in, so that expiry can be tested.
pub type Clock = fn() -> OffsetDateTime;

/// Values by key.
pub type Values = Vec<(String, Secret)>;

/// The values of one version of a secret, opened for a permit.
#[derive(Debug)]
pub struct Opened {
    /// The version, rising with each change (a directory source counts the changes that it has seen).
    pub version: Version,
    /// The values by key.
    pub values: Values,
    /// What holds for every use of them, also from a cache.
    pub terms: Terms,
}

impl Opened {
    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&Secret> {
        self.values.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

/// What holds for every use of an opened secret: whoever keeps one asks [`Terms::admit`] again for each request.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The secret.
    pub secret: SecretRef,
    /// When it ends, unix seconds.
    pub expires: Option<i64>,
    /// The hosts that it is bound to; `None`: unbound.
    pub hosts: Option<BoundHosts>,
    /// When it has to be opened anew although its version is the same (a command's TTL).
    pub stale_at: Option<Instant>,
    /// Of a secret that the control server gave: how long that holds.
    pub lease: Option<Lease>,
}

impl Terms {
    /// Whether the secret may be used for this permit now; the clock is read only for a secret that expires.
    pub fn admit(&self, permit: &Permit, now: impl FnOnce() -> OffsetDateTime) -> Result<(), OpenError> {
        self.admit_to(permit.target(), now)
    }

    fn admit_to(&self, target: &Target, now: impl FnOnce() -> OffsetDateTime) -> Result<(), OpenError> {
        if self.lease.as_ref().is_some_and(Lease::is_over) {
            return Err(OpenError::Silent(self.secret.clone()));
        }
        if self.expires.is_some_and(|end| now().unix_timestamp() >= end) {
            return Err(OpenError::Expired(self.secret.clone()));
        }
        match &self.hosts {
            Some(hosts) if !hosts.covers(target) => Err(OpenError::NotBound(self.secret.clone())),
            _ => Ok(()),
        }
    }
}

/// Why a secret could not be opened. Says nothing of any value.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The permit's provider injects nothing, so there is nothing to open.
    #[error("the provider uses no secret")]
    NoCredential,
    /// No source has a secret of that name.
    #[error("secret `{0}` does not exist")]
    Missing(SecretRef),
    /// The secret has none of the keys that are needed.
    #[error("secret `{0}` has no key `{1}`")]
    MissingKey(SecretRef, String),
    /// The secret expired.
    #[error("secret `{0}` has expired")]
    Expired(SecretRef),
    /// The permit's provider covers hosts that the secret is not bound to.
    #[error("secret `{0}` is not bound to this host")]
    NotBound(SecretRef),
    /// The master key is not there.
    #[error("the vault is locked")]
    Locked,
    /// The control server, which gave it, has been silent for longer than is allowed.
    #[error("the control server that gave secret `{0}` has been silent for longer than is allowed")]
    Silent(SecretRef),
    /// The name is the control server's, which does not give it (any more): no other source stands in.
    #[error("the control server does not give this agent secret `{0}`")]
    NotGiven(SecretRef),
    /// The record does not authenticate: edited, moved, or another master key.
    #[error("secret `{0}` does not decrypt: the record was changed or belongs to another master key")]
    Sealed(SecretRef),
    /// The source takes no values, and one has to be kept.
    #[error(
        "the issuer changes the refresh token with each use, and the source of secret `{0}` cannot be written to: keep it in the vault"
    )]
    ReadOnly(SecretRef),
    /// Somebody changed the secret meanwhile.
    #[error("secret `{0}` was changed meanwhile")]
    Changed(SecretRef),
    /// The source itself failed (I/O, database, command).
    #[error("the source of secret `{0}` failed")]
    Source(SecretRef, #[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl OpenError {
    /// The code that an agent gets: the vault is locked, or this secret is not to be had.
    pub fn code(&self) -> Code {
        match self {
            Self::Locked => Code::Dw5001,
            Self::Silent(_) => Code::Dw5002,
            Self::NoCredential
            | Self::Missing(_)
            | Self::NotGiven(_)
            | Self::MissingKey(..)
            | Self::Expired(_)
            | Self::NotBound(_)
            | Self::Sealed(_)
            | Self::ReadOnly(_)
            | Self::Changed(_)
            | Self::Source(..) => Code::Dw1004,
        }
    }

    fn source(secret: &SecretRef, error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Source(secret.clone(), Arc::new(error))
    }
}

/// What a source can tell of a secret without opening it: for load checks and readiness.
#[derive(Clone, Debug)]
pub struct SecretFacts {
    /// Its keys.
    pub keys: Vec<String>,
    /// The current version.
    pub version: Version,
    /// The hosts that it is bound to (canonical patterns `api.github.com`, `*.x`, optionally `:port`); `None`: unbound.
    pub bound_hosts: Option<Vec<String>>,
    /// When it ends, unix seconds.
    pub expires: Option<i64>,
}

impl SecretFacts {
    /// The provider's hosts, with those of its token endpoints, that go beyond those that the secret is bound to; a list that cannot be read binds to none.
    pub fn beyond<'a>(&self, provider: &'a Provider) -> Vec<&'a HostPattern> {
        let Some(list) = &self.bound_hosts else { return Vec::new() };
        let bound = BoundHosts::of_type(list).ok();
        let is_beyond = |host: &&HostPattern| !bound.as_ref().is_some_and(|bound| bound.covers_pattern(host));
        let token_hosts = provider.auth.iter().flat_map(|auth| &auth.token_urls).map(TokenUrl::host);
        provider.hosts.iter().chain(token_hosts).filter(is_beyond).collect()
    }
}

/// A boxed future: sources differ, and opening happens once for each version of a secret.
pub type Opening<'a, T> = Pin<Box<dyn Future<Output = Result<T, OpenError>> + Send + 'a>>;

/// Values that an issuer put in the place of those that it was shown.
#[derive(Clone, Copy, Debug)]
pub struct Renewed<'a> {
    /// The secret.
    pub secret: &'a SecretRef,
    /// The version that the issuer was shown, as its source counts.
    pub version: u64,
    /// The keys that change, with their new values.
    pub changes: &'a [(String, Secret)],
}

/// A source of secret values: the local vault, a directory of files, a command, later the control server.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// Opens the secret of a request that policy let through. Wakes no runtime but the caller's.
    fn open<'a>(&'a self, permit: &'a Permit, secret: &'a SecretRef) -> Opening<'a, Opened>;

    /// What is known without opening; `Missing` where the secret is not here. A source of values that nobody has checked looks
    /// at their form, and drops them.
    fn facts<'a>(&'a self, secret: &'a SecretRef) -> Opening<'a, SecretFacts>;

    /// Keeps another value of one key as the next version, if the current one is still `renewed.version`; gives its number.
    fn renew<'a>(&'a self, _permit: &'a Permit, renewed: Renewed<'a>) -> Opening<'a, u64> {
        Box::pin(async move {
            self.facts(renewed.secret).await?;
            Err(OpenError::ReadOnly(renewed.secret.clone()))
        })
    }

    /// Where processes that share this source take turns at showing the secret to an issuer that may change it.
    fn turns(&self, _secret: &SecretRef) -> Option<std::path::PathBuf> {
        None
    }
}

/// A vault whose master key is not there: it refuses everything, so that no later source answers in its place.
#[derive(Debug)]
pub struct Locked;

impl Source for Locked {
    fn open<'a>(&'a self, _permit: &'a Permit, _secret: &'a SecretRef) -> Opening<'a, Opened> {
        Box::pin(async { Err(OpenError::Locked) })
    }

    fn facts<'a>(&'a self, _secret: &'a SecretRef) -> Opening<'a, SecretFacts> {
        Box::pin(async { Err(OpenError::Locked) })
    }
}

/// All sources of one process, in the order in which they are asked.
#[derive(Debug)]
pub struct Vault {
    sources: Vec<Arc<dyn Source>>,
    clock: Clock,
    renewals: renewal::Renewals,
}

impl Vault {
    /// A vault of these sources.
    pub fn new(sources: Vec<Arc<dyn Source>>, clock: Clock) -> Self {
        Self { sources, clock, renewals: renewal::Renewals::default() }
    }

    /// Opens the secret of the permit's provider. The only door to a value.
    pub async fn open(&self, permit: &Permit) -> Result<Opened, OpenError> {
        let auth = permit.provider().auth.as_ref().ok_or(OpenError::NoCredential)?;
        let opened = self.open_secret(permit, &auth.secret).await?;
        has_a_key(opened, auth)
    }

    /// Opens the secret of the client certificate that the permit's provider shows to its upstream.
    pub async fn open_client_cert(&self, permit: &Permit) -> Result<Opened, OpenError> {
        let secret = permit.provider().upstream.client_cert.as_ref().ok_or(OpenError::NoCredential)?;
        let opened = self.open_secret(permit, secret).await?;
        match certificate::KEYS.into_iter().find(|key| opened.value(key).is_none()) {
            Some(missing) => Err(OpenError::MissingKey(secret.clone(), missing.to_owned())),
            None => Ok(opened),
        }
    }

    async fn open_secret(&self, permit: &Permit, secret: &SecretRef) -> Result<Opened, OpenError> {
        let (opened, _) = self.find(permit, secret).await?;
        opened.terms.admit(permit, self.clock)?;
        Ok(opened)
    }

    /// The secret, not yet admitted to any target, and where it came from.
    async fn find(
        &self,
        permit: &Permit,
        secret: &SecretRef,
    ) -> Result<(Opened, &Arc<dyn Source>), OpenError> {
        for (place, source) in self.sources.iter().enumerate() {
            match source.open(permit, secret).await {
                Err(OpenError::Missing(_)) => {}
                found => {
                    let mut opened = found?;
                    opened.version = opened.version.of_source(place);
                    return Ok((opened, source));
                }
            }
        }
        Err(OpenError::Missing(secret.clone()))
    }

    /// What is known of a secret, for a load check; nothing is opened.
    pub async fn facts(&self, _check: &LoadCheck, secret: &SecretRef) -> Result<SecretFacts, OpenError> {
        for (place, source) in self.sources.iter().enumerate() {
            match source.facts(secret).await {
                Err(OpenError::Missing(_)) => {}
                Ok(facts) if facts.expires.is_some_and(|end| (self.clock)().unix_timestamp() >= end) => {
                    return Err(OpenError::Expired(secret.clone()));
                }
                found => {
                    let mut facts = found?;
                    facts.version = facts.version.of_source(place);
                    return Ok(facts);
                }
            }
        }
        Err(OpenError::Missing(secret.clone()))
    }
}

/// A provider names its keys in order; one of them has to be there.
fn has_a_key(opened: Opened, auth: &Auth) -> Result<Opened, OpenError> {
    match auth.keys.first() {
        Some(first) if !auth.keys.iter().any(|key| opened.value(key).is_some()) => {
            Err(OpenError::MissingKey(auth.secret.clone(), first.clone()))
        }
        _ => Ok(opened),
    }
}

#[cfg(test)]
pub(crate) mod tests;
