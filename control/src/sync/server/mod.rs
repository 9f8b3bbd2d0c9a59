//! The server's side: `GET /v1/sync`, `POST /v1/sync/ack`, `POST /v1/sync/audit`, `POST /v1/sync/asks`.
//!
//! Refuses everybody but sidecars ([`identify`]), tokens of other classes by their prefix before any look-up and before the body;
//! keys that nothing can be sealed to; more calls, bytes and streams than are allowed of one agent, or at all; readers that do not read, and bodies
//! that do not come; acknowledgements of what was never said; and audit lines that do not chain. A sidecar gets what is attached to its agent and nothing else ([`crate::policy::deliver`]).

mod answer;
mod asks;
mod audit;
mod current;
mod deliver;
mod enter;
mod hub;
pub mod identify;
mod notes;
mod places;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use tokio::sync::{Semaphore, watch};

use super::wire::Ack;
use super::{ACK_PATH, ASKS_PATH, AUDIT_PATH, STREAM_PATH};
use crate::api::Gate;
use crate::api::rates::Rates;
use crate::api::standing::Standing;
use crate::registry::{Agent, Noted, Registry, Sidecar};
use crate::vault::Clock;
use crate::vault::local::LocalVault;
use answer::Refused;
use current::Current;
use enter::Caller;
use hub::Hubs;
use identify::{Reviews, Ways};
use notes::{Notes, Unwritten};
use places::Places;

/// Streams of one agent.
const AGENT_STREAMS_MAX: usize = 64;
/// Snapshots that are made at once: a thousand sidecars that come back together wait for each other and not for the database.
const BUILDS_MAX: usize = 8;
/// How often a stream that has nothing to say says so.
const PING: Duration = Duration::from_secs(10);
/// How long a reader may take for a message.
const SLOW: Duration = Duration::from_secs(20);
/// How often it is noted that a sidecar was seen.
const SEEN: Duration = Duration::from_secs(60);
/// The longest body of an acknowledgement.
const ACK_MAX: usize = 1024;
/// The longest body of audit lines.
const LINES_MAX: usize = 2 << 20;
/// Calls of one agent's sidecars in a second, and at once.
const CALLS: (u64, u64) = (1000, 5000);
/// Bytes of audit lines of one agent's sidecars in a second, and at once: as much as a spool holds.
const LINE_BYTES: (u64, u64) = (4 << 20, 256 << 20);
/// Bodies of audit lines that are read at once.
const BODIES_MAX: usize = 16;
/// The longest body of a question: a path may be long.
const ASK_MAX: usize = 256 << 10;

/// What sidecars are served from.
#[derive(Debug)]
pub struct Setting {
    /// The server's state.
    pub registry: Arc<dyn Registry>,
    /// The master key, over the store of the same database.
    pub vault: LocalVault,
    /// What tokens pass, here and on the API.
    pub gate: Arc<Gate>,
    /// Who reviews the tokens of ServiceAccounts; without it, they open nothing.
    pub reviews: Option<Arc<Reviews>>,
    /// The clock.
    pub clock: Clock,
    /// Turns true when the server ends.
    pub ends: watch::Receiver<bool>,
}

/// What all streams share.
#[derive(Debug)]
struct Server {
    registry: Arc<dyn Registry>,
    vault: LocalVault,
    clock: Clock,
    ends: watch::Receiver<bool>,
    hubs: Hubs,
    places: Places,
    builds: Arc<Semaphore>,
    bodies: Semaphore,
    gate: Arc<Gate>,
    ways: Ways,
    /// By project and agent.
    calls: Rates<(String, String)>,
    bytes: Rates<(String, String)>,
    current: Current,
    /// See [`SLOW`].
    slow: Duration,
    notes: Notes,
}

impl Server {
    fn new(setting: Setting) -> Self {
        let Setting { registry, vault, gate, reviews, clock, ends } = setting;
        Self {
            notes: Notes::start(Arc::clone(&registry)),
            ways: Ways::new(&registry, reviews),
            registry,
            vault,
            clock,
            ends,
            hubs: Hubs::default(),
            places: Places::default(),
            builds: Arc::new(Semaphore::new(BUILDS_MAX)),
            bodies: Semaphore::new(BODIES_MAX),
            gate,
            calls: Rates::new(CALLS.0, CALLS.1),
            bytes: Rates::new(LINE_BYTES.0, LINE_BYTES.1),
            current: Current::default(),
            slow: SLOW,
        }
    }

    fn now(&self) -> i64 {
        (self.clock)().unix_timestamp()
    }
}

/// The routes of sidecars. Has to be called where tasks can be started; what is started ends with `ends`.
pub fn router(setting: Setting) -> Router {
    routes(Arc::new(Server::new(setting)))
}

fn routes(server: Arc<Server>) -> Router {
    let (following, mut ends) = (Arc::clone(&server), server.ends.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = hub::follow(&following) => {}
            () = current::confirm(&following) => {}
            () = ended(&mut ends) => {}
        }
    });
    Router::new()
        .route(STREAM_PATH, get(stream))
        .route(ACK_PATH, post(acknowledge))
        .route(AUDIT_PATH, post(ship))
        .route(ASKS_PATH, post(ask))
        .with_state(server)
}

/// Waits until the server ends, which it does as well when nobody is left to say so.
async fn ended(ends: &mut watch::Receiver<bool>) {
    // An error says the same.
    if ends.wait_for(|ended| *ended).await.is_err() {}
}

async fn stream(State(server): State<Arc<Server>>, request: Request) -> Result<Response, Refused> {
    let (head, _) = request.into_parts();
    let caller = enter::caller(&server, &head).await?;
    stream::open(server, caller, Standing::of(&head.extensions)).await
}

async fn acknowledge(State(server): State<Arc<Server>>, request: Request) -> Result<StatusCode, Refused> {
    let (head, body) = request.into_parts();
    let caller = enter::caller(&server, &head).await?;
    let body = enter::body(body, ACK_MAX).await?;
    let ack: Ack = serde_json::from_slice(&body).map_err(|_| Refused::body())?;
    let is_known = ack.revision <= *server.registry.watch().borrow()
        || ack.revision <= server.registry.latest().await.map_err(|error| Refused::database(&error))?;
    if !is_known {
        return Err(Refused::body());
    }
    let hub = server.hubs.of(&caller.agent.project, &caller.agent.name);
    hub.acknowledged(&caller.id(), ack.revision);
    seen(&server, &caller, ack.revision).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn seen(server: &Server, caller: &Caller, acknowledged: u64) -> Result<(), Refused> {
    let sidecar = Sidecar { id: caller.id(), acknowledged, seen: server.now() };
    let Agent { project, name, .. } = &caller.agent;
    let noted = Noted { project: project.clone(), agent: name.clone(), sidecar };
    server.notes.write(noted).await.map_err(|Unwritten| Refused::unwritten())
}

async fn ship(State(server): State<Arc<Server>>, request: Request) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    let caller = enter::caller(&server, &head).await?;
    let hub = server.hubs.of(&caller.agent.project, &caller.agent.name);
    // Of one agent some at a time, so that none takes the places of all others by sending slowly.
    let _own = hub.body().await.ok_or_else(Refused::busy)?;
    let _place = enter::place(&server.bodies).await?;
    let body = enter::body(body, LINES_MAX).await?;
    enter::pay(&server, &caller, body.len())?;
    audit::keep(&server, &caller, &body).await
}

async fn ask(State(server): State<Arc<Server>>, request: Request) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    let caller = enter::caller(&server, &head).await?;
    let body = enter::body(body, ASK_MAX).await?;
    asks::ask(&server, &caller, &body).await
}

#[cfg(test)]
mod tests;
