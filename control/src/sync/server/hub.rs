//! One hub for each agent that has streams: what it has is read once for all of them, and again only when something of it
//! changed.
//!
//! Invariant: a hub's state is never older than the last change that touches it and that this server has seen.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, broadcast, watch};

use super::enter::PATIENCE;
use super::{AGENT_STREAMS_MAX, Server};
use crate::registry::{AgentState, Attached, ChangeRow, EnvSource, ObjectKind, ObjectRef, RegistryError};
use crate::secret::SecretName;

/// Changes that are read at once.
const PART: u32 = 1000;
/// Bodies of audit lines of one agent that are read at once.
const BODIES_MAX: usize = 4;
/// Agents whose state is read together.
const TOGETHER: usize = 64;
/// Decided questions that wait for a stream; one that has missed some is told that any may be decided.
const ANSWERED: usize = 64;
/// How long a database that failed is left alone.
const REST: Duration = Duration::from_millis(500);

/// The hubs, by project and agent.
#[derive(Debug, Default)]
pub(super) struct Hubs(Mutex<HashMap<(String, String), Arc<Hub>>>);

/// What one agent's streams share.
#[derive(Debug)]
pub(super) struct Hub {
    project: String,
    agent: String,
    /// The revision that a stream has to have said.
    due: watch::Sender<u64>,
    streams: AtomicUsize,
    bodies: Semaphore,
    state: tokio::sync::Mutex<Option<Arc<AgentState>>>,
    /// What the last reading found, to judge changes by.
    last: Mutex<Option<Arc<AgentState>>>,
    /// What sidecars with a stream here acknowledged, by their names; with how many streams.
    acks: Mutex<HashMap<String, (u64, usize)>>,
    /// Questions that were decided.
    answered: broadcast::Sender<Arc<str>>,
}

impl Hubs {
    /// The hub of an agent.
    pub(super) fn of(&self, project: &str, agent: &str) -> Arc<Hub> {
        let mut hubs = self.0.lock();
        let key = (project.to_owned(), agent.to_owned());
        Arc::clone(hubs.entry(key).or_insert_with(|| {
            Arc::new(Hub {
                project: project.to_owned(),
                agent: agent.to_owned(),
                due: watch::Sender::new(0),
                streams: AtomicUsize::new(0),
                bodies: Semaphore::new(BODIES_MAX),
                state: tokio::sync::Mutex::default(),
                last: Mutex::default(),
                acks: Mutex::default(),
                answered: broadcast::Sender::new(ANSWERED),
            })
        }))
    }

    /// Whether some agent of the project has a stream.
    pub(super) fn has(&self, project: &str) -> bool {
        self.0.lock().keys().any(|(own, _)| own == project)
    }

    /// Tells an agent's streams that a question of its own was decided.
    pub(super) fn answered(&self, project: &str, agent: &str, ask: &str) {
        let hubs = self.0.lock();
        if let Some(hub) = hubs.get(&(project.to_owned(), agent.to_owned())) {
            // An error says that no stream listens.
            drop(hub.answered.send(ask.into()));
        }
    }

    fn all(&self) -> Vec<Arc<Hub>> {
        self.0.lock().values().cloned().collect()
    }

    /// Forgets hubs that nobody uses.
    fn sweep(&self) {
        self.0.lock().retain(|_, hub| Arc::strong_count(hub) > 1 || hub.streams.load(Ordering::Relaxed) > 0);
    }
}

/// One stream's place in its hub.
#[derive(Debug)]
pub(super) struct Seat {
    hub: Arc<Hub>,
    id: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.streams.fetch_sub(1, Ordering::Relaxed);
        let mut acks = self.hub.acks.lock();
        if let Some((_, streams)) = acks.get_mut(&self.id) {
            *streams -= 1;
            if *streams == 0 {
                acks.remove(&self.id);
            }
        }
    }
}

impl Hub {
    /// A place for a stream, if there is one.
    pub(super) fn seat(self: &Arc<Self>, id: String) -> Option<Seat> {
        let taken = self.streams.fetch_add(1, Ordering::Relaxed);
        self.acks.lock().entry(id.clone()).or_default().1 += 1;
        let seat = Seat { hub: Arc::clone(self), id };
        (taken < AGENT_STREAMS_MAX).then_some(seat)
    }

    /// A place to send a body of audit lines; `None`: too many are sent for the agent.
    pub(super) async fn body(&self) -> Option<SemaphorePermit<'_>> {
        tokio::time::timeout(PATIENCE, self.bodies.acquire()).await.ok()?.ok()
    }

    /// Hears of questions that are decided from now on.
    pub(super) fn answers(&self) -> broadcast::Receiver<Arc<str>> {
        self.answered.subscribe()
    }

    /// Hears of revisions that have to be said.
    pub(super) fn due(&self) -> watch::Receiver<u64> {
        self.due.subscribe()
    }

    /// A sidecar has this in force; only one that has a stream here is remembered.
    pub(super) fn acknowledged(&self, id: &str, revision: u64) {
        if let Some((acknowledged, _)) = self.acks.lock().get_mut(id) {
            *acknowledged = revision;
        }
    }

    /// What a sidecar has in force.
    pub(super) fn acknowledgement(&self, id: &str) -> u64 {
        self.acks.lock().get(id).map(|(revision, _)| *revision).unwrap_or_default()
    }

    /// What the agent has; `None`: it is gone.
    pub(super) async fn state(&self, server: &Server) -> Result<Option<Arc<AgentState>>, RegistryError> {
        let mut kept = self.state.lock().await;
        // Read before the database is: what comes meanwhile makes it due again.
        let due = *self.due.borrow();
        if let Some(state) = kept.as_ref().filter(|state| state.revision >= due) {
            return Ok(Some(Arc::clone(state)));
        }
        let _building = server.builds.acquire().await;
        let state = server.registry.agent_state(&self.project, &self.agent).await?.map(Arc::new);
        follow_key(server).await;
        kept.clone_from(&state);
        self.last.lock().clone_from(&state);
        Ok(state)
    }

    /// Whether the agent's sidecars were given this secret.
    pub(super) fn has(&self, secret: &SecretName) -> bool {
        let last = self.last.lock().clone();
        last.is_some_and(|state| state.secrets.iter().any(|(row, _)| row.name == *secret))
    }

    fn is_touched(&self, change: &ChangeRow) -> bool {
        if change.project.as_deref().is_some_and(|project| *project != *self.project) {
            return false;
        }
        // A server of a later version wrote it: it may concern anything of the project.
        let Some(object) = &change.object else { return true };
        let last = self.last.lock().clone();
        match object.kind {
            ObjectKind::Agent | ObjectKind::Attachment => object.name == self.agent,
            ObjectKind::Project | ObjectKind::Token | ObjectKind::Ask | ObjectKind::Member => false,
            ObjectKind::Secret | ObjectKind::Variable | ObjectKind::Provider | ObjectKind::ModelProvider => {
                last.is_none_or(|state| refers(&state, object))
            }
        }
    }
}

/// Whether what an agent has names the object that changed.
fn refers(state: &AgentState, object: &ObjectRef) -> bool {
    let name = object.name.as_str();
    let attached = |what: &Attached| match (object.kind, what) {
        (
            ObjectKind::Secret,
            Attached::Secret(own) | Attached::Env { source: EnvSource::Secret(own), .. },
        ) => own.as_str() == name,
        (ObjectKind::Variable, Attached::Env { source: EnvSource::Variable(own), .. }) => own == name,
        (kind, Attached::Document(own, of)) => kind == own.object() && of == name,
        _ => false,
    };
    let used = |secret: &SecretName| object.kind == ObjectKind::Secret && secret.as_str() == name;
    state.attachments.iter().any(|one| attached(&one.what))
        || state.documents.iter().any(|document| document.document.uses.iter().any(used))
        || state.secrets.iter().any(|(row, _)| used(&row.name))
}

/// Tells hubs of the changes that touch them.
pub(super) async fn follow(server: &Server) {
    let mut revisions = server.registry.watch();
    let mut since = loop {
        match server.registry.latest().await {
            Ok(latest) => break latest,
            Err(error) => tracing::error!(%error, "the last revision cannot be read"),
        }
        tokio::time::sleep(REST).await;
    };
    // What was read before the first look may miss what came in between.
    server.hubs.all().iter().for_each(|hub| hub.due.send_modify(|due| *due = since));
    loop {
        let is_more = match look(server, &mut since).await {
            Ok(is_more) => {
                server.current.followed(since);
                is_more
            }
            Err(error) => {
                tracing::error!(%error, "changes cannot be read");
                tokio::time::sleep(REST).await;
                true
            }
        };
        server.hubs.sweep();
        if !is_more && revisions.changed().await.is_err() {
            return;
        }
    }
}

/// A change of what very many have is read once for all of them, and not by each. What goes wrong here is met again by those
/// who then read for themselves.
async fn read_together(server: &Server, hubs: &[(Arc<Hub>, u64)]) {
    let Some((first, _)) = hubs.first().filter(|_| hubs.len() > 1) else { return };
    let names: Vec<String> = hubs.iter().map(|(hub, _)| hub.agent.clone()).collect();
    let states = match server.registry.agent_states(&first.project, &names).await {
        Ok(states) => states,
        Err(error) => return tracing::error!(%error, "what agents have cannot be read"),
    };
    follow_key(server).await;
    for ((hub, _), state) in hubs.iter().zip(states) {
        let Some(state) = state.map(Arc::new) else { continue };
        let mut kept = hub.state.lock().await;
        if kept.as_ref().is_none_or(|kept| kept.revision < state.revision) {
            *kept = Some(Arc::clone(&state));
            *hub.last.lock() = Some(state);
        }
    }
}

/// Records may be under a key that was just rotated to: it has to be held before they are opened.
async fn follow_key(server: &Server) {
    if let Err(error) = server.vault.follow().await {
        tracing::error!(%error, "the vault's key was rotated and the next one is not to be had");
    }
}

async fn look(server: &Server, since: &mut u64) -> Result<bool, RegistryError> {
    let (rows, up_to) = match server.registry.changes(None, *since, PART).await {
        Err(RegistryError::Forgotten(_)) => {
            let latest = server.registry.latest().await?;
            server.hubs.all().iter().for_each(|hub| hub.due.send_modify(|due| *due = latest));
            *since = latest;
            return Ok(false);
        }
        found => found?,
    };
    let touched = server.hubs.all().into_iter().filter_map(|hub| {
        let revision = rows.iter().filter(|row| hub.is_touched(row)).map(|row| row.revision).max();
        revision.map(|revision| (hub, revision))
    });
    let mut touched: Vec<_> = touched.collect();
    touched.sort_unstable_by(|(a, _), (b, _)| (&a.project, &a.agent).cmp(&(&b.project, &b.agent)));
    for same in touched.chunk_by(|(a, _), (b, _)| a.project == b.project) {
        for part in same.chunks(TOGETHER) {
            read_together(server, part).await;
            part.iter().for_each(|(hub, revision)| hub.due.send_modify(|due| *due = *revision));
        }
    }
    super::asks::tell(server, &server.hubs, &rows).await?;
    let is_more = up_to > *since && rows.len() >= usize::try_from(PART).unwrap_or(usize::MAX);
    *since = up_to.max(*since);
    Ok(is_more)
}
