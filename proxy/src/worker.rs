//! A worker: one current-thread runtime with its connections and its upstream pool. What all workers share is [`Shared`].
//!
//! A connection lives on one worker and wakes no other; limits that hold across workers are atomics.

mod mints;
mod serving;
mod trusts;

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

use crate::asker::Asker;
use crate::conn::SlotKey;
use crate::conn::connect::Verdict;
use crate::conn::identify::Caller;
use crate::conn::lane::Lanes;
use crate::conn::lead::Leads;
use crate::conn::life::{Closing, Registry, Ticks};
use crate::limits::held::{Holding, Room};
use crate::limits::rate::{Bucket, Rates};
use crate::limits::{self, Limits};
use crate::metrics::{Metrics, Raised};
use crate::plan::{Plan, Served};
use crate::request::inject::subject::Private;
use crate::request::model::budget::Budgets;
use crate::request::scrub::Incidents;
use crate::request::scrub::coded::Windows;
use crate::upstream::Upstream;
use crate::upstream::pool::Slot;

pub(crate) use self::mints::Mints;
pub(crate) use self::serving::serve;
pub(crate) use self::trusts::Trusts;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: ArcSwap<Plan>,
    pub(crate) limits: Arc<Limits>,
    /// What no subject token is read from.
    pub(crate) private: Private,
    pub(crate) audit: Sink,
    /// Who is asked about requests.
    pub(crate) asker: Asker,
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
    /// Requests that a person is asked about.
    asks: Mutex<Option<Bucket>>,
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
            // Or the control server that gave it has been silent for too long.
            let serves = |served: &Arc<Served>| served.current().is_ok();
            let lost = owner.target.as_ref().is_some_and(|target| {
                owner.routed && !plan.route(target, &owner.caller.name).is_some_and(serves)
            });
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
        asker: Asker,
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
            asker,
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
        self.record_refusal(entry, refusal)
    }

    /// Records a request of which no more is known than whose it is and where it would have gone.
    pub(crate) fn record_unparsed(
        &self,
        id: RequestId,
        caller: &Caller,
        target: Option<&Target>,
        refusal: Refusal,
    ) -> Refusal {
        let mut entry = Entry::new(Kind::Request, SystemTime::now());
        entry.id = Some(id);
        entry.agent = Some(caller.name.shared());
        entry.target = target.cloned();
        self.record_refusal(entry, refusal)
    }

    fn record_refusal(&self, mut entry: Entry, refusal: Refusal) -> Refusal {
        entry.verdict = Some(audit::Verdict::Deny);
        entry.code = Some(refusal.code);
        entry.status = refusal.status;
        entry.reason = refusal.detail.clone();
        entry.rule.clone_from(&refusal.rule);
        self.metrics.count(audit::Verdict::Deny, Some(refusal.code));
        tracing::warn!(
            agent = entry.agent.as_deref(), host = entry.target.as_ref().map(|target| tracing::field::display(&target.host)),
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

    /// Takes one question from the agent's minute.
    pub(crate) fn may_ask(&self, agent: &AgentName) -> Result<(), Refusal> {
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        let counts = self.counts(agent);
        let mut asks = counts.asks.lock();
        let bucket = asks.get_or_insert_with(|| Bucket::new(now));
        bucket.take(limits::count32(self.limits.agent_asks), minute, now).map_err(|wait| {
            let detail =
                "the agent sends too many requests in a minute that a person is asked about (`agent-asks`)";
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
