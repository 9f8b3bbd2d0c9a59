//! Exchanges a stored secret for the token of one cell: the permit's renewal opens the secret, the scheme asks the issuer,
//! what the issuer put in the place of a stored value is kept, and only then the token is used.
//!
//! Refuses issuers that are no token endpoint of the provider, or that the secret is not bound to. The secret is open for
//! the time of the exchange alone.

use std::sync::Arc;
use std::time::SystemTime;

use control::policy::{Permit, Renewal};
use control::refusal::{Code, Refusal};
use control::vault::{OpenError, Opened, Vault};
use tokio::time::timeout;

use crate::limits;
use crate::plan::{Credential, Served};
use crate::schemes::shared::issuer::{Ask, Asking, Issued};
use crate::schemes::shared::token::{Because, Fresh, Now};
use crate::schemes::{CREDENTIAL, Failed, Issuer, Values};
use crate::upstream::exchange::{self, Client};
use crate::upstream::guard::late;
use crate::worker::Worker;

/// The token of an injection, ready to be put on.
pub(super) async fn token(
    worker: &Arc<Worker>,
    vault: &Arc<Vault>,
    served: &Arc<Served>,
    entry: usize,
    permit: &Permit,
) -> Result<Arc<Credential>, Refusal> {
    let cell = served.cell(entry).ok_or_else(no_exchange)?;
    let begin = || -> crate::schemes::shared::token::Obtaining<Credential> {
        let renewing = Renewing {
            worker: Arc::clone(worker),
            vault: Arc::clone(vault),
            served: Arc::clone(served),
            renewal: permit.renewal(),
        };
        Box::pin(async move { renewing.exchange(entry).await })
    };
    let credential = cell.value(Now::read(), begin).await;
    let credential = credential.map_err(|refusal| refusal.of_provider(&served.provider.name))?;
    served.admit(&credential, permit)?;
    Ok(credential)
}

/// One exchange, which outlives the request that began it.
struct Renewing {
    worker: Arc<Worker>,
    vault: Arc<Vault>,
    served: Arc<Served>,
    renewal: Renewal,
}

impl Renewing {
    async fn exchange(&self, entry: usize) -> Result<Fresh<Credential>, Failed> {
        let since = Now::read();
        let opened =
            self.vault.open_for_renewal(&self.renewal).await.map_err(|error| self.unopened(&error))?;
        let Issued { token, life, renewed } = self.issued(entry, &opened).await?;
        if let Some((key, value)) = renewed {
            self.keep(&opened, key, &value).await?;
        }
        let Opened { version, terms, values: _ } = opened;
        let token = Opened { version, terms, values: vec![(CREDENTIAL.to_owned(), token)] };
        let armed = self.served.arm_token(entry, token);
        let credential = armed.map_err(|refusal| Failed { refusal, because: Because::Refused })?;
        tracing::info!(provider = %self.served.provider.name, seconds = life.as_secs(), "token renewed");
        Ok(Fresh { value: Arc::new(credential), since, life })
    }

    async fn issued(&self, entry: usize, opened: &Opened) -> Result<Issued, Failed> {
        let injector = &self.served.injector;
        let exchange = injector.exchange(entry).ok_or_else(|| unavailable(no_exchange()))?;
        let limit = limits::time(self.worker.shared.limits.token_exchange);
        match timeout(limit, exchange.obtain(self, Values::new(opened, injector.keys()))).await {
            Ok(outcome) => outcome,
            Err(_) => Err(unavailable(late("token endpoint", limit))),
        }
    }

    /// Before the token is used: who used it and then lost the value that the next one takes would be locked out.
    async fn keep(
        &self,
        opened: &Opened,
        key: &'static str,
        value: &control::secret::Secret,
    ) -> Result<(), Failed> {
        if opened.value(key).is_some_and(|known| {
            // exposed: compared in constant time
            known.matches(value.expose())
        }) {
            return Ok(());
        }
        let kept = self.vault.renew(&self.renewal, opened.version, key, value).await;
        let version = kept.map_err(|error| self.unopened(&error))?;
        tracing::info!(provider = %self.served.provider.name, key, version, "what the issuer renewed is kept");
        Ok(())
    }

    fn unopened(&self, error: &OpenError) -> Failed {
        let because = match error {
            OpenError::Source(..) | OpenError::Changed(_) | OpenError::Locked => Because::Unavailable(None),
            OpenError::NoCredential
            | OpenError::Missing(_)
            | OpenError::MissingKey(..)
            | OpenError::Expired(_)
            | OpenError::NotBound(_)
            | OpenError::Sealed(_)
            | OpenError::ReadOnly(_) => Because::Refused,
        };
        Failed { refusal: self.served.refuse(error), because }
    }
}

impl Issuer for Renewing {
    fn ask<'a>(&'a self, ask: Ask) -> Asking<'a> {
        Box::pin(async move {
            if !self.renewal.covers(&ask.target) {
                let detail =
                    "the token would be asked for at a host that is no token endpoint of the provider";
                return Err(Failed {
                    refusal: Refusal::new(Code::Dw1005, detail),
                    because: Because::Refused,
                });
            }
            let provider = self.renewal.provider();
            let client = Client { agent: self.renewal.agent(), provider, tls: &self.served.tls };
            exchange::exchange(&self.worker.upstream, client, ask).await.map_err(unavailable)
        })
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

fn unavailable(refusal: Refusal) -> Failed {
    Failed { refusal, because: Because::Unavailable(None) }
}

fn no_exchange() -> Refusal {
    Refusal::new(Code::Dw1005, "the scheme exchanges nothing")
}
