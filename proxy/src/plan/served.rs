//! A provider as it is served: its definition made ready, and its secret, opened once for each version.
//!
//! Refuses where the secret cannot be opened, and for a while what has just failed: one attempt answers all who waited.
//! Invariant: a credential is handed out for a permit alone, and its terms are asked again each time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use control::policy::Permit;
use control::provider::Provider;
use control::refusal::{Code, Refusal};
use control::sync::lease::Lease;
use control::vault::{OpenError, Opened, Terms, Vault, Version};
use parking_lot::Mutex;
use time::OffsetDateTime;

use super::chain;
use crate::limits::rate::Bucket;
use crate::request::inject::ArmedCredential;
use crate::request::inject::Injector;
use crate::request::scrub::CompileError;
use crate::schemes::Echo;
use crate::schemes::shared::cells::Cells;
use crate::sought::{Sought, Tokens};
use crate::upstream::identity::Identities;
use crate::upstream::tls::UpstreamTls;

/// One provider with everything that serving it needs.
#[derive(Debug)]
pub(crate) struct Served {
    /// Changes when the definition, the roots or the secret's version change; connections are pooled by it.
    pub(crate) id: u64,
    /// What it was made from: equal means that it can be kept.
    pub(crate) made_from: MadeFrom,
    pub(crate) provider: Arc<Provider>,
    pub(crate) injector: Injector,
    pub(crate) tls: UpstreamTls,
    /// The client certificate, where the provider has one.
    pub(crate) identities: Identities,
    /// Of a control server's document: how long it holds.
    pub(crate) lease: Option<Lease>,
    credential: ArcSwapOption<Credential>,
    /// The tokens that the secret is exchanged for, by injection.
    pub(super) cells: Vec<Arc<Cells<Credential>>>,
    /// What answers are searched for by all providers of the secret.
    tokens: Arc<Tokens>,
    /// Held by the one request that opens the secret for all that wait.
    opening: tokio::sync::Mutex<()>,
    /// How the last attempt to open it failed.
    pub(super) failure: Mutex<Option<Failure>>,
    /// How often the log may be told what an agent can have repeated.
    telling: Mutex<Bucket>,
}

/// An attempt to open a secret that failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// Counts the attempts that failed: who began to wait before this one ended is answered by it.
    pub(super) number: u64,
    pub(super) at: Instant,
    pub(super) refusal: Refusal,
}

/// How long a failed attempt answers for the next ones too: a source that is slow to fail would otherwise be asked
/// without a pause.
pub(super) const BACK_OFF: Duration = Duration::from_millis(250);

/// What a [`Served`] was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MadeFrom {
    /// Digest of the definition and of its roots alone: tokens hang on nothing else.
    pub(crate) own: [u8; 32],
    /// Digest of the definition and of its roots.
    pub(crate) definition: [u8; 32],
    /// The secret's version; `None`: it has none, or it is missing.
    pub(crate) version: Option<Version>,
    /// The version of the client certificate's secret.
    pub(crate) client_cert: Option<Version>,
}

/// A secret's version, ready for use: values rendered and locked, the scanner compiled.
#[derive(Debug)]
pub(crate) struct Credential {
    pub(crate) version: Version,
    /// Its name with its project, as incidents are counted by it.
    pub(crate) secret: Arc<str>,
    pub(crate) armed: ArmedCredential,
    /// By injection.
    sought: Vec<Arc<Sought>>,
    /// Of a token: all those that may still open something.
    tokens: Option<Arc<Tokens>>,
    /// Expiry and binding, asked again for each request.
    terms: Terms,
}

impl Credential {
    /// What the answer to a request is searched for that carries what this injection puts on; `None`: there is none.
    pub(crate) fn sought(&self, entry: usize) -> Option<Arc<Sought>> {
        let tokens = self.tokens.as_ref().and_then(|tokens| tokens.sought());
        tokens.or_else(|| self.sought.get(entry).cloned())
    }

    fn is_stale(&self) -> bool {
        self.terms.stale_at.is_some_and(|at| Instant::now() >= at)
    }
}

impl Served {
    pub(crate) fn new(
        id: u64,
        made_from: MadeFrom,
        provider: Arc<Provider>,
        injector: Injector,
        tls: UpstreamTls,
    ) -> Self {
        let cells = (0..injector.entries()).map(|_| Arc::default()).collect();
        Self {
            id,
            made_from,
            provider,
            injector,
            tls,
            identities: Identities::default(),
            lease: None,
            cells,
            tokens: Arc::default(),
            credential: ArcSwapOption::empty(),
            opening: tokio::sync::Mutex::default(),
            failure: Mutex::default(),
            telling: Mutex::new(Bucket::new(Instant::now())),
        }
    }

    /// A control server's document, which holds this long.
    pub(crate) fn leased(mut self, lease: Option<Lease>) -> Self {
        self.lease = lease;
        self
    }

    /// Refuses while the control server has been silent for too long.
    pub(crate) fn current(&self) -> Result<(), Refusal> {
        match &self.lease {
            Some(lease) if lease.is_over() => Err(Refusal::new(
                Code::Dw5002,
                "the control server has been silent for longer than is allowed, so what it gave is not used",
            )
            .of_provider(&self.provider.name)),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the log may be told of what each answer of the upstream could repeat: once a minute.
    pub(crate) fn may_tell(&self, now: Instant) -> bool {
        self.telling.lock().take(1, Duration::from_secs(60), now).is_ok()
    }

    /// The credential for a request that policy let through. Opened at the first use of this version, by one request
    /// for all that wait; later uses are an `Arc` clone.
    pub(crate) async fn credential(
        &self,
        vault: &Vault,
        permit: &Permit,
    ) -> Result<Arc<Credential>, Refusal> {
        let credential = match self.ready() {
            Some(credential) => credential,
            None => self.open_once(vault, permit).await?,
        };
        self.admit(&credential, permit)?;
        Ok(credential)
    }

    /// Whether the credential may be used for this permit now.
    pub(crate) fn admit(&self, credential: &Credential, permit: &Permit) -> Result<(), Refusal> {
        let admitted = credential.terms.admit(permit, OffsetDateTime::now_utc);
        admitted.map_err(|error| self.refuse(&error))
    }

    /// The tokens of an injection.
    pub(crate) fn cells(&self, at: usize) -> Option<&Arc<Cells<Credential>>> {
        self.cells.get(at)
    }

    /// Goes on searching answers for the tokens of what served the provider before: they outlive its secret's version.
    pub(crate) fn after(mut self, other: &Self) -> Self {
        self.tokens = Arc::clone(&other.tokens);
        self
    }

    /// Searches answers for the tokens of all providers of its secret, and for those of the one that it had before.
    pub(crate) fn sharing(
        mut self,
        tokens: Arc<Tokens>,
        before: Option<&Self>,
    ) -> Result<Self, CompileError> {
        if let Some(before) = before.filter(|before| !Arc::ptr_eq(&before.tokens, &tokens)) {
            before.tokens.leave_to(&tokens)?;
        }
        self.tokens = tokens;
        Ok(self)
    }

    /// Takes over the tokens of one that was made of the same secret in the same way.
    pub(crate) fn with_tokens_of(mut self, other: &Self) -> Self {
        if self.cells.len() == other.cells.len() {
            self.cells.clone_from(&other.cells);
        }
        self
    }

    /// Makes a token for a part of what the secret opens ready for use. It may open something for this long.
    pub(crate) fn arm_token(
        &self,
        at: usize,
        part: &str,
        opened: Opened,
        life: Duration,
    ) -> Result<Credential, Refusal> {
        let (armed, echoes) = self.injector.arm_token(at, &opened).map_err(|error| self.unusable(&error))?;
        let redact = self.provider.response.redact;
        let tokens = self.tokens.of(part);
        // Whether this provider redacts or not: others may have the same secret.
        let all = tokens.add((Arc::clone(&self.provider.name), at), echoes, life);
        let sought = all.and_then(|all| if redact { Ok(all) } else { Sought::of(Vec::new()) });
        let sought = sought.map_err(|error| self.unusable(&error))?;
        let tokens = redact.then_some(tokens);
        let sought = vec![sought; self.cells.len()];
        Ok(Credential { tokens, ..Self::ready_made(opened, armed, sought) })
    }

    fn ready(&self) -> Option<Arc<Credential>> {
        self.credential.load_full().filter(|credential| !credential.is_stale())
    }

    /// One attempt answers all who waited for it, whether it opened the secret or failed.
    async fn open_once(&self, vault: &Vault, permit: &Permit) -> Result<Arc<Credential>, Refusal> {
        let failures = self.failure.lock().as_ref().map_or(0, |failure| failure.number);
        self.refuse_failed(failures)?;
        let _one = self.opening.lock().await;
        if let Some(credential) = self.ready() {
            return Ok(credential);
        }
        self.refuse_failed(failures)?;
        let opened = match vault.open(permit).await {
            // This is of the one permit: others may be for hosts that the secret is bound to.
            Err(error @ OpenError::NotBound(_)) => return Err(self.refuse(&error)),
            opened => opened.map_err(|error| self.refuse(&error)),
        };
        match opened.and_then(|opened| self.arm(opened)) {
            Ok(credential) => {
                let credential = Arc::new(credential);
                self.credential.store(Some(Arc::clone(&credential)));
                Ok(credential)
            }
            Err(refusal) => {
                let number = failures_after(self.failure.lock().as_ref());
                let failure = Failure { number, at: Instant::now(), refusal: refusal.clone() };
                *self.failure.lock() = Some(failure);
                Err(refusal)
            }
        }
    }

    /// Refuses with the last failure, if it came after the caller began to wait or is still fresh.
    pub(super) fn refuse_failed(&self, seen: u64) -> Result<(), Refusal> {
        match &*self.failure.lock() {
            Some(failure) if failure.number > seen || failure.at.elapsed() < BACK_OFF => {
                Err(failure.refusal.clone())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn arm(&self, opened: Opened) -> Result<Credential, Refusal> {
        let (armed, echoes) = self.injector.arm(&opened).map_err(|error| self.unusable(&error))?;
        let redact = self.provider.response.redact;
        let of_one =
            |echoes: Vec<Echo>| Sought::of(echoes.into_iter().filter(|_| redact).map(Arc::new).collect());
        let sought = echoes.into_iter().map(of_one).collect::<Result<_, _>>();
        Ok(Self::ready_made(opened, armed, sought.map_err(|error| self.unusable(&error))?))
    }

    fn ready_made(opened: Opened, armed: ArmedCredential, sought: Vec<Arc<Sought>>) -> Credential {
        Credential {
            version: opened.version,
            secret: opened.terms.secret.to_string().into(),
            armed,
            sought,
            tokens: None,
            terms: opened.terms,
        }
    }

    fn unusable(&self, error: &dyn std::error::Error) -> Refusal {
        tracing::error!(provider = %self.provider.name, error = %chain(error), "secret cannot be used");
        Refusal::new(Code::Dw1004, format!("the provider's secret cannot be used: {error}"))
            .of_provider(&self.provider.name)
    }

    pub(crate) fn refuse(&self, error: &OpenError) -> Refusal {
        tracing::error!(provider = %self.provider.name, error = %chain(error), "secret not opened");
        Refusal::new(error.code(), error.to_string()).of_provider(&self.provider.name)
    }
}

fn failures_after(last: Option<&Failure>) -> u64 {
    last.map_or(1, |failure| failure.number + 1)
}
