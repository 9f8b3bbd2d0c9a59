//! Who we are towards an upstream that asks for a client certificate: one TLS identity for each version of its secret.
//!
//! Opened by permit at its first use (invariant 3), by one request for all that wait. Each version has sessions of its
//! own, and connections are pooled by it: none made with one certificate is ever used for another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use control::policy::Permit;
use control::refusal::{Code, Refusal};
use control::vault::{OpenError, Opened, Terms, Vault, Version, certificate};
use time::OffsetDateTime;
use tokio::sync::Mutex;

use super::tls::UpstreamTls;
use crate::plan::chain;

/// How long a failed attempt answers for the next ones too.
const BACK_OFF: Duration = Duration::from_millis(250);

/// The client certificate of one version of a secret, ready for handshakes.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) version: Version,
    pub(crate) tls: UpstreamTls,
    /// Expiry and binding, asked again for each request.
    terms: Terms,
}

impl Identity {
    fn is_stale(&self) -> bool {
        self.terms.stale_at.is_some_and(|at| Instant::now() >= at)
    }
}

/// The identity of one provider as served.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    current: ArcSwapOption<Identity>,
    /// Held by the one request that opens the secret; how the last attempt failed.
    opening: Mutex<Option<(Instant, Refusal)>>,
}

impl Identities {
    /// The identity for a request that policy let through; `None`: its provider shows no certificate.
    pub(crate) async fn of(
        &self,
        vault: &Vault,
        permit: &Permit,
        base: &UpstreamTls,
    ) -> Result<Option<Arc<Identity>>, Refusal> {
        if permit.provider().upstream.client_cert.is_none() {
            return Ok(None);
        }
        let identity = match self.ready() {
            Some(identity) => identity,
            None => self.open(vault, permit, base).await?,
        };
        let admitted = identity.terms.admit(permit, OffsetDateTime::now_utc);
        admitted.map_err(|error| refuse(permit, &error))?;
        Ok(Some(identity))
    }

    fn ready(&self) -> Option<Arc<Identity>> {
        self.current.load_full().filter(|identity| !identity.is_stale())
    }

    /// Who waits for another's attempt that fails is answered by it.
    async fn open(
        &self,
        vault: &Vault,
        permit: &Permit,
        base: &UpstreamTls,
    ) -> Result<Arc<Identity>, Refusal> {
        let since = Instant::now();
        let mut failed = self.opening.lock().await;
        if let Some(identity) = self.ready() {
            return Ok(identity);
        }
        if let Some((at, refusal)) = &*failed
            && (*at > since || at.elapsed() < BACK_OFF)
        {
            return Err(refusal.clone());
        }
        let opened = match vault.open_client_cert(permit).await {
            // This is of the one permit: others may be for hosts that the secret is bound to.
            Err(error @ OpenError::NotBound(_)) => return Err(refuse(permit, &error)),
            opened => opened.map_err(|error| refuse(permit, &error)),
        };
        match opened.and_then(|opened| made(opened, permit, base)) {
            Ok(identity) => {
                let identity = Arc::new(identity);
                self.current.store(Some(Arc::clone(&identity)));
                Ok(identity)
            }
            Err(refusal) => {
                *failed = Some((Instant::now(), refusal.clone()));
                Err(refusal)
            }
        }
    }
}

fn made(opened: Opened, permit: &Permit, base: &UpstreamTls) -> Result<Identity, Refusal> {
    let certified = certificate::certified(&opened.values).map_err(|error| unusable(permit, &error))?;
    let Opened { version, terms, .. } = opened;
    Ok(Identity { version, tls: base.shown(certified), terms })
}

fn unusable(permit: &Permit, error: &dyn std::error::Error) -> Refusal {
    let provider = permit.provider();
    tracing::error!(provider = %provider.name, error = %chain(error), "client certificate cannot be used");
    Refusal::new(Code::Dw1004, format!("the client certificate cannot be used: {error}"))
        .of_provider(&provider.name)
}

fn refuse(permit: &Permit, error: &OpenError) -> Refusal {
    let provider = permit.provider();
    tracing::error!(provider = %provider.name, error = %chain(error), "client certificate not opened");
    Refusal::new(error.code(), error.to_string()).of_provider(&provider.name)
}
