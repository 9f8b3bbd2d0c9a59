//! The plan: one immutable snapshot of agents, routes and credentials, swapped whole.
//!
//! A request takes one plan and keeps it to its end. What did not change from one plan to the next is shared, so that a
//! reload drops no upstream connection and opens no secret again.

mod served;

use std::sync::Arc;
use std::time::SystemTime;

use control::agent::{AgentName, Agents};
use control::provider::{AgentRules, Provider};
use control::refusal::Refusal;
use control::rule::Routes;
use control::target::Target;
use control::vault::Vault;

use crate::request::local::Locals;
use crate::request::scrub::Incidents;

pub(crate) use self::served::{Credential, MadeFrom, Served};

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
    /// The control server, which no agent reaches through us.
    pub(crate) server: Option<Target>,
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
        if self.server.as_ref() == Some(target) {
            return None;
        }
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

#[cfg(test)]
mod tests;
