//! How many leaves are minted for new hosts: each costs a key and a signature, and the agent chooses the names.
//!
//! Refuses more in a second than an agent may have, and of denied names more than all may have together: they starve no
//! allowed one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use control::agent::AgentName;
use control::refusal::{Code, Refusal};
use control::target::Target;
use parking_lot::Mutex;

use crate::limits::rate::Bucket;
use crate::limits::{self, Limits};

/// How many leaves are minted in a second.
#[derive(Debug)]
pub(crate) struct Mints {
    denied: Mutex<Bucket>,
    agents: Mutex<HashMap<AgentName, Bucket>>,
    /// Hosts that were minted lately: another tunnel to one of them costs nothing.
    known: quick_cache::sync::Cache<Target, ()>,
    /// Denied ones, as many as the denied cache holds: they push no allowed host out.
    known_denied: quick_cache::sync::Cache<Target, ()>,
}

impl Mints {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            denied: Mutex::new(Bucket::new(Instant::now())),
            agents: Mutex::default(),
            known: quick_cache::sync::Cache::new(limits::count(limits.leaf_cache)),
            known_denied: quick_cache::sync::Cache::new(limits::count(limits.denied_leaf_cache)),
        }
    }

    /// Takes one leaf for this host, where none was minted lately.
    pub(super) fn take(
        &self,
        target: &Target,
        agent: &AgentName,
        is_denied: bool,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        let known = if is_denied { &self.known_denied } else { &self.known };
        if known.get(target).is_some() {
            return Ok(());
        }
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let taken = if is_denied {
            self.denied.lock().take(limits::count32(limits.denied_mints), second, now)
        } else {
            let mut agents = self.agents.lock();
            let bucket = agents.entry(agent.clone()).or_insert_with(|| Bucket::new(now));
            bucket.take(limits::count32(limits.agent_mints), second, now)
        };
        taken
            .map_err(|wait| Refusal::new(Code::Dw1009, "too many new hosts in a second").retry_after(wait))?;
        known.insert(target.clone(), ());
        Ok(())
    }
}
