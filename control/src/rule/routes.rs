//! From a target to its provider: the most specific host that is attached to the agent.
//!
//! Two providers that one agent could use and that name the same pattern are refused when the map is made, never when a
//! request comes (invariant 10). A target that no pattern covers has no route, and so no look-up and no dial (invariant 2).

use std::collections::HashMap;
use std::sync::Arc;

use super::HostPattern;
use crate::agent::AgentName;
use crate::provider::{AgentRules, Provider};
use crate::target::{Host, Target};

/// The compiled map.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    providers: Vec<Arc<Provider>>,
    exact: HashMap<Host, Vec<Entry>>,
    /// Keyed by what follows `*.`.
    under: HashMap<Arc<str>, Vec<Entry>>,
    /// Which providers each agent has, by index; `None`: all agents have all.
    grants: Option<HashMap<AgentName, Vec<bool>>>,
    ports: Vec<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    port: u16,
    provider: usize,
}

/// Two providers that name the same hosts for the same agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{pattern}` is named by provider `{first}` ({first_source}) and by provider `{second}` ({second_source}); let different agents use them, or narrow one"
)]
pub struct Overlap {
    /// The pattern that both name.
    pub pattern: String,
    /// The one provider.
    pub first: Arc<str>,
    /// Where it stands.
    pub first_source: Arc<str>,
    /// The other provider.
    pub second: Arc<str>,
    /// Where it stands.
    pub second_source: Arc<str>,
}

impl Routes {
    /// Compiles the map. With Agent documents only the agents that they name have providers, and only those listed;
    /// with none, every agent has all.
    pub fn new(providers: &[Arc<Provider>], agents: &[AgentRules]) -> Result<Self, Vec<Overlap>> {
        let mut routes =
            Self { providers: providers.to_vec(), grants: grants(providers, agents), ..Self::default() };
        let mut overlaps = Vec::new();
        for (index, provider) in providers.iter().enumerate() {
            for pattern in &provider.hosts {
                overlaps.extend(routes.add(index, pattern));
            }
        }
        routes.ports.sort_unstable();
        routes.ports.dedup();
        if overlaps.is_empty() { Ok(routes) } else { Err(overlaps) }
    }

    fn add(&mut self, index: usize, pattern: &HostPattern) -> Option<Overlap> {
        let entry = Entry { port: pattern.port()?, provider: index };
        self.ports.push(entry.port);
        let entries = match (pattern.exact(), pattern.suffix()) {
            (Some(host), _) => self.exact.entry(host.clone()).or_default(),
            (None, Some(suffix)) => self.under.entry(suffix.into()).or_default(),
            (None, None) => return None,
        };
        if entries.iter().any(|other| other.port == entry.port && other.provider == index) {
            return None;
        }
        entries.push(entry);
        let entries = entries.clone();
        let rival = entries.iter().find(|other| {
            other.port == entry.port && other.provider != index && self.share_an_agent(other.provider, index)
        })?;
        let (first, second) = (self.providers.get(rival.provider)?, self.providers.get(index)?);
        Some(Overlap {
            pattern: pattern.to_string(),
            first: Arc::clone(&first.name),
            first_source: Arc::clone(&first.source),
            second: Arc::clone(&second.name),
            second_source: Arc::clone(&second.source),
        })
    }

    fn share_an_agent(&self, a: usize, b: usize) -> bool {
        let has = |granted: &Vec<bool>, index: usize| granted.get(index) == Some(&true);
        self.grants
            .as_ref()
            .is_none_or(|grants| grants.values().any(|granted| has(granted, a) && has(granted, b)))
    }

    /// The provider with the most specific pattern that covers the target, among those that the agent has.
    pub fn route(&self, target: &Target, agent: &AgentName) -> Option<&Arc<Provider>> {
        self.providers.get(self.index(target, agent)?)
    }

    /// As [`Routes::route`]: its place in [`Routes::providers`].
    pub fn index(&self, target: &Target, agent: &AgentName) -> Option<usize> {
        let granted = match &self.grants {
            Some(grants) => Some(grants.get(agent)?),
            None => None,
        };
        let choose = |entries: &Vec<Entry>| {
            entries
                .iter()
                .find(|entry| {
                    entry.port == target.port
                        && granted.is_none_or(|all| all.get(entry.provider) == Some(&true))
                })
                .map(|entry| entry.provider)
        };
        let exact = self.exact.get(&target.host).and_then(choose);
        exact.or_else(|| suffixes(&target.host).find_map(|suffix| self.under.get(suffix).and_then(choose)))
    }

    /// Whether the agent has the provider at this place in [`Routes::providers`].
    pub fn has(&self, index: usize, agent: &AgentName) -> bool {
        self.grants
            .as_ref()
            .is_none_or(|grants| grants.get(agent).is_some_and(|all| all.get(index) == Some(&true)))
    }

    /// Whether some provider names this port: there a refusal is answered inside the tunnel.
    pub fn names_port(&self, port: u16) -> bool {
        self.ports.binary_search(&port).is_ok()
    }

    /// All providers, in the order of their files.
    pub fn providers(&self) -> &[Arc<Provider>] {
        &self.providers
    }

    /// The providers that this agent has.
    pub fn providers_of(&self, agent: &AgentName) -> impl Iterator<Item = &Arc<Provider>> {
        let granted = self.grants.as_ref().map(|grants| grants.get(agent));
        self.providers.iter().enumerate().filter_map(move |(index, provider)| match granted {
            None => Some(provider),
            Some(of_agent) => (of_agent?.get(index) == Some(&true)).then_some(provider),
        })
    }
}

/// What stands behind each dot, longest first.
fn suffixes(host: &Host) -> impl Iterator<Item = &str> {
    let name = host.name().unwrap_or_default();
    memchr::memchr_iter(b'.', name.as_bytes()).filter_map(|dot| name.get(dot + 1..))
}

fn grants(providers: &[Arc<Provider>], agents: &[AgentRules]) -> Option<HashMap<AgentName, Vec<bool>>> {
    if agents.is_empty() {
        return None;
    }
    let mut grants: HashMap<AgentName, Vec<bool>> = HashMap::new();
    for agent in agents {
        let granted = grants.entry(agent.name.clone()).or_insert_with(|| vec![false; providers.len()]);
        for (flag, provider) in granted.iter_mut().zip(providers) {
            *flag |= agent.has(provider);
        }
    }
    Some(grants)
}
