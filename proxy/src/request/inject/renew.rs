//! Exchanges a stored secret for the token of one cell: the permit's renewal opens the secret, the scheme asks the issuer,
//! what the issuer put in the place of a stored value is kept, and only then the token is used.
//!
//! Refuses issuers that are no token endpoint of the provider, or that the secret is not bound to. The secret is open for
//! the time of the exchange alone.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use control::audit::{Entry, Kind, Place, Verdict};
use control::policy::{Permit, Renewal};
use control::refusal::{Code, Refusal};
use control::secret::Secret;
use control::vault::{OpenError, Opened, Shown, Vault};
use tokio::time::timeout;

use super::subject;
use crate::limits;
use crate::plan::{Credential, Served};
use crate::schemes::shared::cells::InFlight;
use crate::schemes::shared::issuer::{Ask, Asking, Issued, Reading, unreadable};
use crate::schemes::shared::token::{Because, Cell, Fresh, LONGEST, Now, Obtaining, UNSAID};
use crate::schemes::{CREDENTIAL, Exchange, Failed, Issuer, Values};
use crate::upstream::exchange::{self, Client};
use crate::upstream::guard::late;
use crate::worker::{Exchanging, Seat, Worker};

/// However soon its secret is to be opened anew, a token is used for so long: each one is an exchange.
const SHORTEST_USE: Duration = Duration::from_secs(30);

/// The token of an injection, ready to be put on.
pub(super) async fn token(
    worker: &Arc<Worker>,
    vault: &Arc<Vault>,
    served: &Arc<Served>,
    entry: usize,
    permit: &Permit,
    part: String,
) -> Result<Token, Refusal> {
    let cells = served.cells(entry).ok_or_else(no_exchange)?;
    let shared = &worker.shared;
    let named = |refusal: Refusal| refusal.of_provider(&served.provider.name);
    let admit = || shared.token_part(permit.agent());
    let cell = cells.of(&part, permit.agent().as_str(), admit).map_err(named)?;
    let begin = || -> Result<Obtaining<Credential>, Refusal> {
        let flight = (
            shared.exchange_seat(permit.agent())?,
            cells.fly(limits::count(shared.limits.provider_exchanges)).ok_or_else(too_many)?,
        );
        let renewing = Renewing {
            worker: Arc::clone(worker),
            vault: Arc::clone(vault),
            served: Arc::clone(served),
            renewal: permit.renewal(),
            part,
            _counted: worker.exchanging(),
            _flight: flight,
        };
        Ok(Box::pin(async move { renewing.exchange(entry).await }))
    };
    let credential = cell.value_if(Now::read(), begin).await.map_err(named)?;
    served.admit(&credential, permit)?;
    Ok(Token { cell, credential })
}

/// A token that is on a request.
#[derive(Debug)]
pub(crate) struct Token {
    cell: Arc<Cell<Credential>>,
    pub(super) credential: Arc<Credential>,
}

impl Token {
    /// The upstream answered 401: the issuer may have revoked it.
    pub(crate) fn refused(&self) {
        self.cell.doubt(&self.credential, Now::read());
    }
}

/// One exchange, which outlives the request that began it.
struct Renewing {
    worker: Arc<Worker>,
    vault: Arc<Vault>,
    served: Arc<Served>,
    renewal: Renewal,
    part: String,
    _counted: Exchanging,
    _flight: (Seat, InFlight),
}

impl Renewing {
    /// Asks for a token, with a line of its own in the audit: the secret is used, whichever requests wait for it.
    async fn exchange(&self, entry: usize) -> Result<Fresh<Credential>, Failed> {
        let since = Now::read();
        let mut line = Line::begin(self, entry).await.map_err(unavailable)?;
        let outcome = self.obtained(entry, since, &mut line).await;
        line.end(&outcome);
        outcome
    }

    async fn obtained(&self, entry: usize, since: Now, line: &mut Line) -> Result<Fresh<Credential>, Failed> {
        let exchange = self.served.injector.exchange(entry).ok_or_else(|| unavailable(no_exchange()))?;
        let unopened = |error| self.unopened(&error);
        let _turn = match exchange.renews() {
            true => Some(self.vault.renewing(&self.renewal).await.map_err(unopened)?),
            false => None,
        };
        let mut shown = self.vault.open_for_renewal(&self.renewal).await.map_err(unopened)?;
        let mut issued = self.issued(exchange, &shown.opened).await;
        if exchange.renews() && matches!(&issued, Err(failed) if failed.because == Because::Refused) {
            // Whoever takes no turns with us, on another machine, may have been first.
            let again = self.vault.open_for_renewal(&self.renewal).await.map_err(unopened)?;
            if again.opened.version != shown.opened.version {
                shown = again;
                issued = self.issued(exchange, &shown.opened).await;
            }
        }
        let Issued { token, life, renewed, beside, was_asked, fault } = issued?;
        if !was_asked {
            line.asked_nobody();
        }
        self.keep(&shown, renewed).await?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        let opened = shown.opened;
        // Of the version that is served: one that our own renewals made is no rotation, also not for what echoes of it did.
        let version = self.served.made_from.version.unwrap_or(opened.version);
        let Opened { terms, .. } = opened;
        let values = std::iter::once((CREDENTIAL.to_owned(), token)).chain(beside).collect();
        let used = until_stale(life, terms.stale_at, Instant::now());
        let token = Opened { version, terms, values };
        // Longer than we use it: what was not said, or is not believed, may still be so.
        let lives = if life == UNSAID { LONGEST } else { life };
        let armed = self.served.arm_token(entry, &self.part, token, lives);
        let credential = armed.map_err(|refusal| Failed { refusal, because: Because::Refused })?;
        tracing::info!(provider = %self.served.provider.name, seconds = used.as_secs(), "token renewed");
        Ok(Fresh { value: Arc::new(credential), since, life: used })
    }

    async fn issued(&self, exchange: &dyn Exchange, opened: &Opened) -> Result<Issued, Failed> {
        let limit = limits::time(self.worker.shared.limits.token_exchange);
        let values = Values::new(opened, self.served.injector.keys());
        match timeout(limit, exchange.obtain(self, values)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(unavailable(late("token endpoint", limit))),
        }
    }

    /// Before the token is used: who used it and then lost the value that the next one takes would be locked out.
    async fn keep(&self, shown: &Shown, mut renewed: Vec<(String, Secret)>) -> Result<(), Failed> {
        renewed.retain(|(key, value)| {
            // exposed: compared in constant time
            !shown.opened.value(key).is_some_and(|known| known.matches(value.expose()))
        });
        if renewed.is_empty() {
            return Ok(());
        }
        let kept = self.vault.renew(&self.renewal, shown, renewed).await;
        kept.map_err(|error| self.unopened(&error))?;
        tracing::info!(provider = %self.served.provider.name, "what the issuer renewed is kept");
        Ok(())
    }

    fn unopened(&self, error: &OpenError) -> Failed {
        let because = match error {
            OpenError::Source(..) | OpenError::Changed(_) | OpenError::Locked | OpenError::Silent(_) => {
                Because::Unavailable(None)
            }
            OpenError::NoCredential
            | OpenError::Missing(_)
            | OpenError::NotGiven(_)
            | OpenError::MissingKey(..)
            | OpenError::Expired(_)
            | OpenError::NotBound(_)
            | OpenError::Sealed(_) => Because::Refused,
            OpenError::ReadOnly(_) => Because::Spent,
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

    fn file<'a>(&'a self, path: &'a Path) -> Reading<'a> {
        let (path, shared) = (path.to_owned(), Arc::clone(&self.worker.shared));
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || subject::read(&path, &shared.private)).await;
            read.unwrap_or_else(|_| Err(unreadable("the proxy is ending")))
        })
    }

    fn part(&self) -> &str {
        &self.part
    }
}

/// The audit's line of one exchange. Its place is taken before the secret is opened (invariant 9); it is closed on drop at
/// the latest.
struct Line {
    place: Option<Place>,
    entry: Entry,
    began: Instant,
}

impl Line {
    async fn begin(renewing: &Renewing, at: usize) -> Result<Self, Refusal> {
        let mut place = renewing.worker.shared.audit.reserve().map_err(|error| error.refusal())?;
        let provider = renewing.renewal.provider();
        let mut entry = Entry::new(Kind::Exchange, SystemTime::now());
        entry.agent = Some(renewing.renewal.agent().shared());
        entry.provider = Some(Arc::clone(&provider.name));
        entry.verdict = Some(Verdict::Error);
        // Other parts of the same secret are other tokens, and other lines.
        entry.part = Some(renewing.part.as_str()).filter(|part| !part.is_empty()).map(Arc::from);
        if let Some(auth) = &provider.auth {
            entry.scheme = auth.injections.get(at).map(|one| one.scheme);
            entry.secret = Some(auth.secret.name.clone());
        }
        let exchange = renewing.served.injector.exchange(at).filter(|exchange| exchange.asks());
        if let Some((exchange, url)) = exchange.zip(renewing.renewal.token_urls().first()) {
            entry.method = Some(exchange.method());
            entry.target = Some(url.target().clone());
            entry.path = Some(url.path().into());
        }
        place.write_open(&entry).await.map_err(|_| crate::request::record::unrecorded())?;
        Ok(Self { place: Some(place), entry, began: Instant::now() })
    }

    /// The secret held a token that still lives: no issuer was shown anything.
    fn asked_nobody(&mut self) {
        self.entry.method = None;
        self.entry.target = None;
        self.entry.path = None;
    }

    fn end<T>(&mut self, outcome: &Result<Fresh<T>, Failed>) {
        match outcome {
            Ok(_) => self.entry.verdict = Some(Verdict::Allow),
            Err(Failed { refusal, .. }) => {
                self.entry.code = Some(refusal.code);
                self.entry.reason = refusal.detail.clone();
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.entry.elapsed = self.began.elapsed();
        if let Some(place) = self.place.take() {
            place.close(&self.entry);
        }
    }
}

/// A secret that has to be opened anew at some time (a command's TTL) binds its tokens to that: it may be gone by then.
fn until_stale(life: Duration, stale_at: Option<Instant>, now: Instant) -> Duration {
    let left = stale_at.map(|at| at.saturating_duration_since(now).max(SHORTEST_USE));
    left.map_or(life, |left| life.min(left))
}

fn unavailable(refusal: Refusal) -> Failed {
    Failed { refusal, because: Because::Unavailable(None) }
}

fn too_many() -> Refusal {
    let detail = "too many tokens of the provider are asked for at once (`provider-exchanges`)";
    Refusal::new(Code::Dw2013, detail).retry_after(Duration::from_secs(1))
}

fn no_exchange() -> Refusal {
    Refusal::new(Code::Dw1005, "the scheme exchanges nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_used_for_longer_than_its_secret_may_be_kept() {
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        for (left, used) in [(Some(60), 60), (Some(7200), 3600), (Some(3), 30), (Some(0), 30), (None, 3600)] {
            let stale_at = left.map(|left| now + Duration::from_secs(left));
            assert_eq!(until_stale(hour, stale_at, now), Duration::from_secs(used), "{left:?}");
        }
        let past = now.checked_sub(Duration::from_secs(1));
        assert_eq!(until_stale(Duration::from_secs(10), past, now), Duration::from_secs(10));
    }
}
