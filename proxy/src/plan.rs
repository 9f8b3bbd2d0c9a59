//! The plan: one immutable snapshot of agents, routes and credentials, swapped whole.
//!
//! A request takes one plan and keeps it to its end. What did not change from one plan to the next is shared, so that a
//! reload drops no upstream connection and opens no secret again.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use control::agent::{AgentName, Agents};
use control::policy::Permit;
use control::provider::{AgentRules, Provider};
use control::refusal::{Code, Refusal};
use control::rule::Routes;
use control::target::Target;
use control::vault::{OpenError, Opened, Terms, Vault, Version};
use parking_lot::Mutex;
use time::OffsetDateTime;

use crate::limits::rate::Bucket;
use crate::request::inject::ArmedCredential;
use crate::request::inject::Injector;
use crate::request::local::Locals;
use crate::request::scrub::{CompileError, Incidents};
use crate::schemes::Echo;
use crate::schemes::shared::cells::Cells;
use crate::sought::{Sought, Tokens};
use crate::upstream::identity::Identities;
use crate::upstream::tls::UpstreamTls;

/// One immutable snapshot.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Rises with each swap.
    pub(crate) revision: u64,
    /// The token file; `None`: reaching the listener is enough.
    pub(crate) agents: Option<Agents>,
    /// From target to provider.
    pub(crate) routes: Routes,
    /// Which agent has which providers, as the files say it.
    pub(crate) grants: Vec<AgentRules>,
    /// The providers as served, in the order of the routes' own list; `None`: its secret is gone.
    pub(crate) served: Vec<Option<Arc<Served>>>,
    /// What is answered without any upstream.
    pub(crate) locals: Locals,
    /// Where values come from.
    pub(crate) vault: Arc<Vault>,
}

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
    credential: ArcSwapOption<Credential>,
    /// The tokens that the secret is exchanged for, by injection.
    cells: Vec<Arc<Cells<Credential>>>,
    /// What answers are searched for by all providers of the secret.
    tokens: Arc<Tokens>,
    /// Held by the one request that opens the secret for all that wait.
    opening: tokio::sync::Mutex<()>,
    /// How the last attempt to open it failed.
    failure: Mutex<Option<Failure>>,
    /// How often the log may be told what an agent can have repeated.
    telling: Mutex<Bucket>,
}

/// An attempt to open a secret that failed.
#[derive(Clone, Debug)]
struct Failure {
    /// Counts the attempts that failed: who began to wait before this one ended is answered by it.
    number: u64,
    at: Instant,
    refusal: Refusal,
}

/// How long a failed attempt answers for the next ones too: a source that is slow to fail would otherwise be asked
/// without a pause.
const BACK_OFF: Duration = Duration::from_millis(250);

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
            cells,
            tokens: Arc::default(),
            credential: ArcSwapOption::empty(),
            opening: tokio::sync::Mutex::default(),
            failure: Mutex::default(),
            telling: Mutex::new(Bucket::new(Instant::now())),
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
    fn refuse_failed(&self, seen: u64) -> Result<(), Refusal> {
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

/// An error with its causes, for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

impl Plan {
    /// What was served by the provider of the same name before.
    pub(crate) fn before(&self, provider: &Provider) -> Option<&Arc<Served>> {
        let same = |served: &&Arc<Served>| {
            served.provider.project == provider.project && served.provider.name == provider.name
        };
        self.served.iter().flatten().find(same)
    }

    /// The providers whose last exchange for a token failed: `project/name: code: why`.
    pub(crate) fn without_token(&self) -> Vec<String> {
        let failures = self.served.iter().flatten().flat_map(|served| {
            served.cells.iter().filter_map(|cell| cell.failure()).map(|refusal| (&served.provider, refusal))
        });
        let shown = |(provider, refusal): (&Arc<Provider>, Refusal)| {
            format!("{}/{}: {}: {}", provider.project, provider.name, refusal.code, refusal.detail)
        };
        failures.map(shown).collect()
    }

    /// Drops the tokens that this plan does not serve with any more, now that `next` is in its place.
    pub(crate) fn drop_tokens(&self, next: &Self) {
        let kept: Vec<_> = next.served.iter().flatten().flat_map(|served| &served.cells).collect();
        for cell in self.served.iter().flatten().flat_map(|served| &served.cells) {
            if !kept.iter().any(|other| Arc::ptr_eq(other, cell)) {
                cell.revoke();
            }
        }
    }

    /// Forgets the events of versions that this plan does not serve with any more: what is blocked takes room for ever.
    pub(crate) fn forget_older(&self, incidents: &Incidents) {
        for served in self.served.iter().flatten() {
            if let (Some(auth), Some(version)) = (&served.provider.auth, served.made_from.version) {
                incidents.rotated(&auth.secret.to_string(), version);
            }
        }
    }

    /// The provider that serves this target for this agent.
    pub(crate) fn route(&self, target: &Target, agent: &AgentName) -> Option<&Arc<Served>> {
        self.served.get(self.routes.index(target, agent)?)?.as_ref()
    }

    /// The agent's model providers of this name, or the one of `PROJECT:NAME`.
    pub(crate) fn models(&self, name: &str, agent: &AgentName) -> impl Iterator<Item = &Arc<Served>> {
        let (project, name) = match name.split_once(':') {
            Some((project, name)) => (Some(project), name),
            None => (None, name),
        };
        self.served.iter().flatten().filter(move |served| {
            let provider = &served.provider;
            *provider.name == *name
                && project.is_none_or(|project| *provider.project == *project)
                && self.serves_model(served, agent)
        })
    }

    /// Whether this is a model provider by which the agent's requests to its endpoint go.
    fn serves_model(&self, served: &Arc<Served>, agent: &AgentName) -> bool {
        let rules = served.provider.model.as_ref();
        let routed = rules.and_then(|rules| self.route(&rules.endpoint.target, agent));
        routed.is_some_and(|routed| Arc::ptr_eq(routed, served))
    }

    /// The agent's model provider of this name in this project.
    fn model_in(&self, project: &str, name: &str, agent: &AgentName) -> Option<&Arc<Served>> {
        self.served.iter().flatten().find(|served| {
            *served.provider.project == *project
                && *served.provider.name == *name
                && self.serves_model(served, agent)
        })
    }

    /// The first fallback of a model provider that the agent has and that was not asked yet; none where the model provider
    /// itself is not served any more.
    pub(crate) fn fallback(
        &self,
        first: &Provider,
        asked: &[Arc<str>],
        agent: &AgentName,
    ) -> Option<&Arc<Served>> {
        let rules = self.model_in(&first.project, &first.name, agent)?.provider.model.as_ref()?;
        let left = rules.fallbacks.iter().filter(|name| !asked.contains(name));
        left.filter_map(|name| self.model_in(&first.project, name, agent)).next()
    }

    /// Whether some other agent has a provider for this target.
    pub(crate) fn is_granted_to_others(&self, target: &Target) -> bool {
        self.routes.providers().iter().any(|provider| provider.hosts.iter().any(|host| host.covers(target)))
    }

    /// All agents that may have providers, in order.
    pub(crate) fn agent_names(&self) -> Vec<AgentName> {
        match &self.agents {
            Some(agents) => agents.names().into_iter().cloned().collect(),
            None => vec![AgentName::local()],
        }
    }

    /// Whether it serves what this other plan does, so that swapping would change nothing.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.agents == other.agents
            && self.grants == other.grants
            && self.served.len() == other.served.len()
            && self.served.iter().zip(&other.served).all(|pair| match pair {
                (Some(new), Some(old)) => Arc::ptr_eq(new, old),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            })
    }

    /// When the next token expires.
    pub(crate) fn next_expiry(&self, now: SystemTime) -> Option<SystemTime> {
        self.agents.as_ref()?.earliest_expiry(now)
    }
}

fn failures_after(last: Option<&Failure>) -> u64 {
    last.map_or(1, |failure| failure.number + 1)
}

#[cfg(test)]
mod tests;
