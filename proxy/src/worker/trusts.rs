//! Who trusts our CA, as far as handshakes showed it.

use std::collections::HashMap;

use control::agent::AgentName;
use control::target::Target;
use parking_lot::Mutex;

/// Which agents completed a handshake with us, and for which hosts: tells pinning (DW2002) from a missing CA (DW2001).
#[derive(Debug, Default)]
pub(crate) struct Trusts(Mutex<HashMap<AgentName, Vec<Target>>>);

/// Two are enough to know of another one than the host at hand.
const TRUSTED_HOSTS: usize = 2;

impl Trusts {
    pub(crate) fn note_success(&self, agent: &AgentName, target: &Target) {
        let mut agents = self.0.lock();
        let hosts = agents.entry(agent.clone()).or_default();
        if hosts.len() < TRUSTED_HOSTS && !hosts.contains(target) {
            hosts.push(target.clone());
        }
    }

    /// Whether the agent trusts our CA for some other host.
    pub(crate) fn elsewhere(&self, agent: &AgentName, target: &Target) -> bool {
        self.0.lock().get(agent).is_some_and(|hosts| hosts.iter().any(|host| host != target))
    }
}
