//! A worker: one current-thread runtime with its connections and its upstream pool. What all workers share is [`Shared`].
//!
//! A connection lives on one worker and wakes no other; limits that hold across workers are atomics.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use certs::{Authority, Leaves};
use control::agent::AgentName;
use control::audit::{self, Entry, Kind, RequestId, Sink};
use control::refusal::{Code, Refusal};
use control::target::Target;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls_pki_types::ServerName;
use tokio::sync::watch;

use crate::app::Order;
use crate::conn::connect::Verdict;
use crate::conn::identify::Caller;
use crate::conn::lane::Lanes;
use crate::conn::lead::Leads;
use crate::conn::life::{Closing, Registry, SWEEP, Ticks};
use crate::conn::{self, SlotKey};
use crate::limits::held::{Holding, Room};
use crate::limits::rate::{Bucket, Rates};
use crate::limits::{self, Limits};
use crate::listen::Listener;
use crate::metrics::{Metrics, Raised};
use crate::plan::Plan;
use crate::request::inject::subject::Private;
use crate::request::model::budget::Budgets;
use crate::request::scrub::Incidents;
use crate::request::scrub::coded::Windows;
use crate::upstream::Upstream;
use crate::upstream::pool::Slot;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: ArcSwap<Plan>,
    pub(crate) limits: Arc<Limits>,
    /// What no subject token is read from.
    pub(crate) private: Private,
    pub(crate) audit: Sink,
    pub(crate) metrics: Metrics,
    pub(crate) incidents: Incidents,
    pub(crate) rates: Rates,
    pub(crate) budgets: Arc<Budgets>,
    /// The memory of the decoders of coded answers.
    pub(crate) windows: Arc<Windows>,
    held: Arc<Room>,
    pub(crate) trusts: Trusts,
    pub(crate) leaves: Leaves,
    pub(crate) denied_leaves: Leaves,
    pub(crate) mints: Mints,
    pub(crate) counts: Mutex<HashMap<AgentName, Arc<Counts>>>,
    pub(crate) own_uid: u32,
    strangers: Arc<Counts>,
    pub(crate) draining: AtomicBool,
    pub(crate) conns: AtomicU64,
}

/// One agent's use of the proxy, over all workers.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    tunnels: AtomicUsize,
    requests: AtomicUsize,
    exchanges: AtomicUsize,
    /// New tokens for parts of what secrets open.
    parts: Mutex<Option<Bucket>>,
    held: Arc<Room>,
}

/// Whose a registered connection is.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) caller: Caller,
    /// `None`: a connection of absolute-form requests.
    pub(crate) target: Option<Target>,
    /// It led to a provider when it began.
    pub(crate) routed: bool,
    /// Where the request at hand of a connection without a tunnel leads.
    pub(crate) leads: Option<Arc<Leads>>,
    /// Counts it as open for as long as it is registered.
    pub(crate) _open: Raised,
}

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) upstream: Upstream,
    pub(crate) registry: Arc<Registry<Owner>>,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) ticks: Ticks,
    /// Exchanges for tokens that run here: what an issuer changed has to be kept before the worker ends.
    exchanges: AtomicUsize,
    pool: Mutex<HashMap<(SlotKey, AgentName), Arc<Slot>>>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, upstream: Upstream) -> Arc<Self> {
        Arc::new(Self {
            shared,
            upstream,
            registry: Arc::default(),
            lanes: Arc::default(),
            ticks: Ticks::default(),
            exchanges: AtomicUsize::new(0),
            pool: Mutex::default(),
        })
    }

    /// A place among the connections that have not said yet whose they are; without one they are closed unread, or a
    /// client without a token could hold every descriptor.
    pub(crate) fn stranger(&self) -> Option<Seat> {
        let counts = Arc::clone(&self.shared.strangers);
        Seat::take(counts, |counts| &counts.tunnels, self.shared.limits.unidentified)
    }

    /// Counts an exchange for a token until it ends.
    pub(crate) fn exchanging(self: &Arc<Self>) -> Exchanging {
        self.exchanges.fetch_add(1, Ordering::Relaxed);
        Exchanging(Arc::clone(self))
    }

    /// Whether something here has to end before the worker does.
    fn is_busy(&self) -> bool {
        self.registry.len() > 0 || self.exchanges.load(Ordering::Relaxed) > 0
    }

    /// A place among the agent's connections.
    pub(crate) fn seat(&self, agent: &AgentName) -> Result<Seat, Refusal> {
        let counts = self.shared.counts(agent);
        Seat::take(counts, |counts| &counts.tunnels, self.shared.limits.agent_tunnels)
            .ok_or_else(|| Refusal::new(Code::Dw1009, "the agent has too many connections").with_status(429))
    }

    /// The pool slot of one identity: agent, provider as served, versions of its secrets, target.
    pub(crate) fn slot(&self, key: &SlotKey, agent: &AgentName) -> Arc<Slot> {
        let mut pool = self.pool.lock();
        Arc::clone(pool.entry((key.clone(), agent.clone())).or_default())
    }

    /// After a new plan: ends the connections of agents that were revoked or expired, and those whose provider is gone.
    fn recheck(&self) {
        let plan = self.shared.plan.load();
        let now = SystemTime::now();
        self.registry.close_if(Closing::Now, |owner| {
            let lost = owner
                .target
                .as_ref()
                .is_some_and(|target| owner.routed && plan.route(target, &owner.caller.name).is_none());
            let led = owner.leads.as_ref().is_some_and(|leads| leads.are_lost(&plan, &owner.caller.name));
            lost || led || !owner.caller.is_current(&plan, now)
        });
        // A tunnel that was denied and has a provider now begins anew, so that it ends when that provider goes.
        self.registry.close_if(Closing::WhenIdle, |owner| {
            !owner.routed
                && owner
                    .target
                    .as_ref()
                    .is_some_and(|target| plan.route(target, &owner.caller.name).is_some())
        });
    }

    /// Closes what has been idle for too long, here and towards upstreams.
    pub(crate) fn sweep(&self) {
        self.registry.sweep(&self.shared.limits);
        self.lanes.sweep();
        self.ticks.tick();
        // A slot that a connection still holds is kept, so that two connections never pool apart.
        self.pool.lock().retain(|_, slot| !slot.sweep(&self.shared.limits) || Arc::strong_count(slot) > 1);
    }
}

/// An exchange for a token, counted.
#[derive(Debug)]
pub(crate) struct Exchanging(Arc<Worker>);

impl Drop for Exchanging {
    fn drop(&mut self) {
        self.0.exchanges.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One unit of a bounded count, given back on drop.
#[derive(Debug)]
pub(crate) struct Seat {
    counts: Arc<Counts>,
    of: fn(&Counts) -> &AtomicUsize,
}

impl Seat {
    fn take(counts: Arc<Counts>, of: fn(&Counts) -> &AtomicUsize, most: u64) -> Option<Self> {
        let taken = of(&counts).fetch_add(1, Ordering::Relaxed);
        let seat = Self { counts, of };
        (taken < limits::count(most)).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        (self.of)(&self.counts).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    pub(crate) fn new(
        plan: Plan,
        limits: Arc<Limits>,
        audit: Sink,
        authority: &Arc<Authority>,
        budgets: Arc<Budgets>,
        private: Private,
    ) -> Result<Self, certs::Error> {
        Ok(Self {
            plan: ArcSwap::from_pointee(plan),
            leaves: Leaves::new(Arc::clone(authority), limits::count(limits.leaf_cache))?,
            denied_leaves: Leaves::new(Arc::clone(authority), limits::count(limits.denied_leaf_cache))?,
            mints: Mints::new(&limits),
            audit,
            metrics: Metrics::default(),
            incidents: Incidents::default(),
            rates: Rates::default(),
            budgets,
            windows: Windows::new(limits.decoder_windows),
            held: Arc::default(),
            private,
            limits,
            trusts: Trusts::default(),
            counts: Mutex::default(),
            strangers: Arc::default(),
            own_uid: rustix::process::getuid().as_raw(),
            draining: AtomicBool::new(false),
            conns: AtomicU64::new(first_conn()),
        })
    }

    pub(crate) fn next_conn(&self) -> u64 {
        self.conns.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn counts(&self, agent: &AgentName) -> Arc<Counts> {
        let mut counts = self.counts.lock();
        match counts.get(agent) {
            Some(counts) => Arc::clone(counts),
            None => Arc::clone(counts.entry(agent.clone()).or_default()),
        }
    }

    /// Records what was refused, or failed, before a request could be read. Gives what is answered: as everywhere,
    /// nothing but DW5003 where it cannot be recorded.
    pub(crate) fn record_connect(
        &self,
        caller: Option<&Caller>,
        target: Option<&Target>,
        refusal: Refusal,
    ) -> Refusal {
        let mut entry = Entry::new(Kind::Connect, SystemTime::now());
        entry.id = Some(RequestId { conn: self.next_conn(), number: 0 });
        entry.agent = caller.map(|caller| caller.name.shared());
        entry.target = target.cloned();
        entry.method = Some(http::Method::CONNECT);
        entry.verdict = Some(audit::Verdict::Deny);
        entry.code = Some(refusal.code);
        entry.status = refusal.status;
        entry.reason = refusal.detail.clone();
        entry.rule.clone_from(&refusal.rule);
        self.metrics.count(audit::Verdict::Deny, Some(refusal.code));
        tracing::warn!(
            agent = entry.agent.as_deref(), host = target.map(|target| tracing::field::display(&target.host)),
            code = %refusal.code, reason = %refusal.detail, "connection refused"
        );
        match self.audit.record(&entry) {
            Ok(()) => refusal,
            Err(error) => {
                tracing::error!(%error, "refusal not recorded");
                error.refusal()
            }
        }
    }

    /// A place among the agent's requests in flight.
    pub(crate) fn request_seat(&self, counts: &Arc<Counts>) -> Result<Seat, Refusal> {
        Seat::take(Arc::clone(counts), |counts| &counts.requests, self.limits.agent_requests).ok_or_else(
            || {
                Refusal::new(Code::Dw1009, "the agent has too many requests in flight")
                    .retry_after(Duration::from_secs(1))
            },
        )
    }

    /// A place among the exchanges that the agent's requests began.
    pub(crate) fn exchange_seat(&self, agent: &AgentName) -> Result<Seat, Refusal> {
        let seat = Seat::take(self.counts(agent), |counts| &counts.exchanges, self.limits.agent_exchanges);
        seat.ok_or_else(|| {
            let detail = "the agent's requests wait for too many tokens (`agent-exchanges`)";
            Refusal::new(Code::Dw1009, detail).retry_after(Duration::from_secs(1))
        })
    }

    /// Takes one token for another part of what a secret opens from the agent's minute.
    pub(crate) fn token_part(&self, agent: &AgentName) -> Result<(), Refusal> {
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        let counts = self.counts(agent);
        let mut parts = counts.parts.lock();
        let bucket = parts.get_or_insert_with(|| Bucket::new(now));
        bucket.take(limits::count32(self.limits.agent_token_parts), minute, now).map_err(|wait| {
            let detail =
                "the agent asks for too many repositories or sessions in a minute (`agent-token-parts`)";
            Refusal::new(Code::Dw1009, detail).retry_after(wait + Duration::from_millis(999))
        })
    }

    /// The room for a body of the agent's that is read whole.
    pub(crate) fn holding(&self, agent: &AgentName) -> Holding {
        let own = Arc::clone(&self.counts(agent).held);
        Holding {
            all: (Arc::clone(&self.held), limits::count(self.limits.held_bodies)),
            own: (own, limits::count(self.limits.agent_held_bodies)),
            idle: limits::time(self.limits.stream_idle),
            whole: limits::time(self.limits.held_body_time),
        }
    }

    /// The TLS configuration for a host; denied hosts have a cache of their own.
    pub(crate) fn leaf(
        &self,
        name: &ServerName<'_>,
        is_denied: bool,
        now: SystemTime,
    ) -> Result<Arc<ServerConfig>, certs::Error> {
        let leaves = if is_denied { &self.denied_leaves } else { &self.leaves };
        leaves.config_for(name, now)
    }

    /// Whether the agent may have another leaf minted, if one has to be.
    pub(crate) fn may_mint(
        &self,
        target: &Target,
        agent: &AgentName,
        verdict: &Verdict,
    ) -> Result<(), Refusal> {
        match verdict {
            Verdict::Plain | Verdict::Passthrough(_) => Ok(()),
            Verdict::Intercept => self.mints.take(target, agent, false, &self.limits),
            // Over the limit the refusal itself is given, in the reason phrase of CONNECT's answer.
            Verdict::Denied(refusal) => {
                self.mints.take(target, agent, true, &self.limits).map_err(|_| refusal.clone())
            }
        }
    }
}

/// Connection ids begin at random, so that those of two runs do not meet in one audit.
fn first_conn() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) >> 16
}

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

    fn take(
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

/// Serves on a worker's thread until drained.
pub(crate) async fn serve(worker: Arc<Worker>, listeners: Vec<Listener>, mut orders: watch::Receiver<Order>) {
    let accepting: Vec<_> =
        listeners.into_iter().map(|listener| tokio::spawn(accept(Arc::clone(&worker), listener))).collect();
    let mut sweeps = tokio::time::interval(SWEEP);
    sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let deadline = loop {
        tokio::select! {
            _ = sweeps.tick() => worker.sweep(),
            told = orders.changed() => match told.map(|()| *orders.borrow_and_update()) {
                Ok(Order { drain: Some(deadline), .. }) => break deadline,
                Ok(Order { drain: None, .. }) => worker.recheck(),
                Err(_) => break Instant::now(),
            },
        }
    };
    for task in accepting {
        task.abort();
    }
    drain(&worker, orders, deadline).await;
    worker.registry.close_if(Closing::Now, |_| true);
    // What is cut writes down what it carried, which takes no longer than its turn on this thread.
    let end = Instant::now() + CUT;
    while worker.registry.len() > 0 && Instant::now() < end {
        tokio::task::yield_now().await;
    }
}

/// How often a draining worker looks whether all is done.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// How long the connections that are cut at the end may take to be gone.
const CUT: Duration = Duration::from_millis(500);

/// Lets what is in flight finish. Idle limits, revocation and expiry go on meanwhile.
async fn drain(worker: &Worker, mut orders: watch::Receiver<Order>, mut deadline: Instant) {
    let mut swept = Instant::now();
    worker.recheck();
    while worker.is_busy() && Instant::now() < deadline {
        // A connection may begin its last exchange between two looks: it is told again.
        worker.registry.close_if(Closing::WhenIdle, |_| true);
        tokio::select! {
            () = tokio::time::sleep(DRAIN_LOOK) => {}
            told = orders.changed() => match told.map(|()| *orders.borrow_and_update()) {
                // A second signal brings the end forward.
                Ok(order) => {
                    deadline = order.drain.unwrap_or(deadline);
                    worker.recheck();
                }
                Err(_) => return,
            },
        }
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            worker.sweep();
        }
    }
}

async fn accept(worker: Arc<Worker>, listener: Listener) {
    loop {
        let (stream, peer) = listener.accept().await;
        tokio::spawn(conn::serve(Arc::clone(&worker), stream, peer));
    }
}
