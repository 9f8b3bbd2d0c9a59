//! The journey of a connection, top to bottom: [`serve`].
//!
//! accept 1 · identify 2 · connect 3 · handshake 4, then HTTP inside the tunnel (or [`plain`] absolute-form requests),
//! where each request makes the journey of [`crate::request::serve`].

pub(crate) mod accept;
pub(crate) mod identify;
pub(crate) mod connect;
pub(crate) mod handshake;
pub(crate) mod http;
pub(crate) mod lane;
pub(crate) mod lead;
pub(crate) mod passthrough;
pub(crate) mod flow;
pub(crate) mod plain;
pub(crate) mod base_url;
pub(crate) mod life;
pub(crate) mod wire;
mod turn_away;
mod unparsed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use ::http::Request;
use bytes::BytesMut;
use control::audit::RequestId;
use control::refusal::{Code, Refusal};
use control::target::Target;
use control::vault::Version;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::listen::certified::Certified;
use crate::metrics::Raised;
use crate::plan::{Plan, Served};
use crate::request::parse;
use crate::request::record::Record;
use crate::upstream::pool::Slot;
use crate::worker::{Counts, Owner, Seat, Worker};
use accept::{Head, NoHead};
use connect::Verdict;
use identify::{Caller, Peer};
use lead::{Lead, Leads};
use life::{Life, Registered};
use plain::Named;
use turn_away::{challenge, handshake_failed, not_secured, turn_away};
use wire::{Stream, Wire};

/// How often a client may try to authenticate on one connection.
const ATTEMPTS: usize = 4;

/// One connection after its first head: whose it is, where it leads.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: u64,
    pub(crate) worker: Arc<Worker>,
    pub(crate) caller: Caller,
    pub(crate) door: Door,
    pub(crate) life: Arc<Life>,
    requests: AtomicU32,
    /// A head that could not be read was refused.
    unparsed: AtomicBool,
    counts: Arc<Counts>,
    /// Its place in the registry and in the agent's count, until the last who serves it is done: a WebSocket outlives
    /// hyper's connection, and revocation and drain have to find it.
    _place: (Registered<Owner>, Seat),
    /// The pool slot of the last request: nearly always the next one's too.
    slot: Mutex<Option<(SlotKey, Arc<Slot>)>>,
}

impl Conn {
    fn new(worker: Arc<Worker>, caller: Caller, door: Door, place: (Registered<Owner>, Seat)) -> Self {
        let life = Arc::clone(&place.0.life);
        let id = worker.shared.next_conn();
        let counts = worker.shared.counts(&caller.name);
        Self {
            id,
            worker,
            caller,
            door,
            life,
            requests: AtomicU32::new(0),
            unparsed: AtomicBool::new(false),
            counts,
            _place: place,
            slot: Mutex::default(),
        }
    }

    pub(crate) fn next_id(&self) -> RequestId {
        RequestId { conn: self.id, number: self.requests.fetch_add(1, Ordering::Relaxed) + 1 }
    }

    /// Opens the record of a request.
    pub(crate) fn open_record<B>(&self, request: &Request<B>) -> Record {
        Record::open(&self.worker.shared, self.next_id(), &self.caller, parse::judged_method(request))
    }

    /// The target of a request: the tunnel's, or the one that an absolute-form request names.
    pub(crate) fn named<B>(&self, request: &Request<B>) -> Result<Arc<Named>, Refusal> {
        match &self.door {
            Door::Tunnel { named, .. } => Ok(Arc::clone(named)),
            Door::Plain(_) => plain::named(request.uri()).map(Arc::new),
        }
    }

    /// The caller's proof, asked for again with each request: it may be revoked or have expired. A draining proxy takes
    /// no request more.
    pub(crate) fn recheck(&self, plan: &Plan, now: SystemTime) -> Result<(), Refusal> {
        if self.worker.shared.draining.load(Ordering::Relaxed) {
            return Err(
                Refusal::new(Code::Dw2013, "the proxy is shutting down").retry_after(Duration::from_secs(1))
            );
        }
        if self.caller.is_current(plan, now) { Ok(()) } else { Err(identify::ended()) }
    }

    /// Has the request at hand end with what it leads to: a tunnel does so by its own target.
    ///
    /// # Errors
    /// DW1001 where a newer plan does not serve it any more.
    pub(crate) fn follow(&self, plan: &Plan, leads: impl FnOnce() -> Vec<Lead>) -> Result<(), Refusal> {
        let Door::Plain(own) = &self.door else { return Ok(()) };
        own.follow(leads());
        // A swap before this line may have been looked at already, and one after it will be.
        let newest = self.worker.shared.plan.load();
        if newest.revision != plan.revision && own.are_lost(&newest, &self.caller.name) {
            return Err(lead::gone());
        }
        Ok(())
    }

    /// A place among the agent's requests in flight.
    pub(crate) fn request_seat(&self) -> Result<Seat, Refusal> {
        self.worker.shared.request_seat(&self.counts)
    }

    /// A tunnel that began with a disagreement stays refused. Whether its host has a provider is asked for each request:
    /// a new plan may allow what was denied at CONNECT.
    pub(crate) fn refuse_if_mismatched(&self) -> Result<(), Refusal> {
        match &self.door {
            Door::Tunnel { mismatch: Some(refusal), .. } => Err(refusal.clone()),
            Door::Tunnel { mismatch: None, .. } | Door::Plain(_) => Ok(()),
        }
    }

    /// After a disagreement or an ambiguity nothing more is read from an h1 connection. Streams of h2 are judged each by
    /// itself, unless the whole connection began with a disagreement.
    pub(crate) fn end_after(&self, refusal: &Refusal, version: ::http::Version) {
        let began_wrong = matches!(&self.door, Door::Tunnel { mismatch: Some(_), .. });
        let ends = matches!(refusal.code, Code::Dw2007 | Code::Dw2008 | Code::Dw3002)
            && version <= ::http::Version::HTTP_11;
        if ends || began_wrong {
            self.life.close(life::Closing::WhenIdle);
        }
    }

    /// The pool slot for a provider as served and the versions of its secrets.
    pub(crate) fn slot(&self, served: &Served, versions: Versions, target: &Target) -> Arc<Slot> {
        let mut last = self.slot.lock();
        if let Some(((id, of_versions, of_target), slot)) = &*last
            && (*id, *of_versions) == (served.id, versions)
            && of_target == target
        {
            return Arc::clone(slot);
        }
        let key = (served.id, versions, target.clone());
        let slot = self.worker.slot(&key, &self.caller.name);
        *last = Some((key, Arc::clone(&slot)));
        slot
    }
}

/// Which provider as served and which versions of its secrets a slot is for.
pub(crate) type SlotKey = (u64, Versions, Target);

/// The versions of the secrets that a connection is made for, or with; `None`: none is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Versions {
    /// Of the credential on its requests.
    pub(crate) credential: Option<Version>,
    /// Of the client certificate.
    pub(crate) client_cert: Option<Version>,
}

/// What a connection leads to.
#[derive(Debug)]
pub(crate) enum Door {
    /// A tunnel to one target.
    Tunnel { named: Arc<Named>, mismatch: Option<Refusal> },
    /// Absolute-form requests and those of base URLs: each names its own target.
    Plain(Arc<Leads>),
}

/// Serves one connection from its first byte to its end.
pub(crate) async fn serve(worker: Arc<Worker>, stream: Stream, peer: Peer) {
    let Some(stranger) = worker.stranger() else { return };
    met(worker, stranger, stream, peer).await;
}

/// The same for one of a `tls:` listener, whose first bytes are TLS: nothing is read or said in clear.
pub(crate) async fn serve_secured(worker: Arc<Worker>, stream: TcpStream, certified: Arc<Certified>) {
    let Some(stranger) = worker.stranger() else { return };
    match handshake::secure(stream, certified.config(), &worker.shared.limits).await {
        Ok(stream) => met(worker, stranger, Stream::Tls(Box::new(stream)), Peer::Tcp).await,
        Err(failure) => not_secured(&worker, failure),
    }
}

/// Serves a stranger's connection from its first head.
async fn met(worker: Arc<Worker>, stranger: Seat, mut stream: Stream, peer: Peer) {
    let Some((head, caller)) = first_head(&worker, &mut stream, peer).await else { return };
    drop(stranger);
    let target = Target::parse_authority(&head.target).ok();
    let plan = worker.shared.plan.load();
    let routed = target.as_ref().is_some_and(|target| plan.route(target, &caller.name).is_some());
    let open = Raised::new(&worker.shared, |metrics| &metrics.connections);
    let leads = (head.method != "CONNECT").then(Arc::<Leads>::default);
    let owner = Owner { caller: caller.clone(), target, routed, leads: leads.clone(), _open: open };
    drop(plan);
    let seat = match worker.seat(&caller.name) {
        Ok(seat) => seat,
        Err(refusal) => return turn_away(&worker, &mut stream, Some((&head, &caller)), refusal).await,
    };
    let registered = worker.registry.enter(owner);
    match leads {
        None => tunnel(worker, stream, head, caller, registered, seat).await,
        Some(leads) => plain::serve(worker, stream, &head, caller, leads, (registered, seat)),
    }
}

/// Stages 1 and 2: a head from somebody that we know. A 407 keeps the connection for git, which retries on it, unless
/// bytes followed the head: they could be read as part of the next one.
async fn first_head(worker: &Arc<Worker>, stream: &mut Stream, peer: Peer) -> Option<(Head, Caller)> {
    let mut buffer = BytesMut::with_capacity(1024);
    for _ in 0..ATTEMPTS {
        let head = match accept::head(stream, &mut buffer, &worker.shared.limits).await {
            Ok(head) => head,
            Err(NoHead::Closed | NoHead::Late) => return None,
            Err(NoHead::Refused(refusal)) => {
                turn_away(worker, stream, None, refusal).await;
                return None;
            }
        };
        let plan = worker.shared.plan.load();
        let refusal = match identify::caller(&plan, peer, &head, worker.shared.own_uid) {
            Ok(caller) => return Some((head, caller)),
            Err(refusal) => refusal,
        };
        let keeps = head.rest.is_empty() && head.method == "CONNECT";
        if !challenge(worker, stream, refusal, keeps).await {
            return None;
        }
    }
    None
}

/// Stages 3 and 4, then the requests inside.
async fn tunnel(
    worker: Arc<Worker>,
    mut stream: Stream,
    head: Head,
    caller: Caller,
    registered: Registered<Owner>,
    seat: Seat,
) {
    let plan = worker.shared.plan.load_full();
    let judged = connect::judge(&worker.shared, &plan, &head, &caller);
    drop(plan); // a tunnel may last; what it was judged by need not
    let (target, verdict) = match judged {
        Ok(decided) => decided,
        Err(refusal) => return turn_away(&worker, &mut stream, Some((&head, &caller)), refusal).await,
    };
    // A `tls:` listener's stream may hold back what is not flushed.
    let established = stream.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n").await;
    if established.is_err() || stream.flush().await.is_err() {
        return;
    }
    let default_port = if matches!(verdict, Verdict::Plain) { 80 } else { 443 };
    let Some(named) = Named::new(target.clone(), default_port).map(Arc::new) else { return };
    let door = Door::Tunnel { named, mismatch: None };
    let wire = Wire::new(stream, head.rest, &registered.life);
    let conn = Conn::new(worker, caller, door, (registered, seat));
    match verdict {
        Verdict::Passthrough(served) => passthrough::serve(conn, &target, &served, wire).await,
        Verdict::Plain => http::serve(Arc::new(conn), wire, false), // `tls.mode: plain`: HTTP/1.1 and nothing else
        Verdict::Intercept => intercept(conn, target, wire, false).await,
        Verdict::Denied(_) => intercept(conn, target, wire, true).await,
    }
}

/// Stage 4, then HTTP by what ALPN settled.
async fn intercept(mut conn: Conn, target: Target, wire: Wire, is_denied: bool) {
    let worker = Arc::clone(&conn.worker);
    let leaf = |name: &rustls_pki_types::ServerName<'_>, now| worker.shared.leaf(name, is_denied, now);
    let accepted = match handshake::accept(wire, &target, &worker.shared.limits, leaf).await {
        Ok(accepted) => accepted,
        Err(failure) => return handshake_failed(&conn, &target, failure),
    };
    worker.shared.trusts.note_success(&conn.caller.name, &target);
    if let Door::Tunnel { mismatch, .. } = &mut conn.door {
        *mismatch = accepted.mismatch;
    }
    let is_http2 = accepted.stream.get_ref().1.alpn_protocol() == Some(b"h2");
    http::serve(Arc::new(conn), accepted.stream, is_http2);
}
