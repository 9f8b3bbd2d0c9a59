//! One stream: a snapshot, every change of it, and a sign of life in between.
//!
//! No sign of life is given while the database cannot be read: what the sidecar has may be over by then.
//! Ends, saying so, when the agent is revoked, its token replaced or its identity taken away, when what the sidecar has shown is
//! over, or the server stops; and with its connection when the reader does not read.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::answer::Refused;
use super::enter::PATIENCE;
use super::hub::Hub;
use super::places::Unread;
use super::{Caller, PING, SEEN, Server, deliver, ended, seen};
use crate::api::standing::Standing;
use crate::registry::AgentState;
use crate::sync::STREAM_TYPE;
use crate::sync::seal::{PublicKey, SealError};
use crate::sync::wire::{Answered, End, Message, Ping, WireError};
use crate::vault::Clock;

/// Messages that wait for a reader.
const WAITING: usize = 2;

/// Opens a stream: the first snapshot is made before it is answered.
pub(super) async fn open(
    server: Arc<Server>,
    caller: Caller,
    standing: Option<Arc<Standing>>,
) -> Result<Response, Refused> {
    let (place, unread) = server.places.take(&caller.agent.project).ok_or_else(Refused::full)?;
    let hub = server.hubs.of(&caller.agent.project, &caller.agent.name);
    let seat = hub.seat(caller.id()).ok_or_else(Refused::crowded)?;
    let (due, answers) = (hub.due(), hub.answers());
    let mut stream = Stream { server, caller, hub, due, answers, revision: 0, unread, standing };
    let first = match stream.next(First::Yes).await {
        Ok(Some(first)) => first,
        Ok(None) => return Err(Refused::fault()),
        Err(Broken::Gone) => return Err(Refused::unknown()),
        Err(Broken::Refused(refused)) => return Err(refused),
    };
    seen(&stream.server, &stream.caller, 0).await?;
    let (sender, mut lines) = mpsc::channel::<Bytes>(WAITING);
    tokio::spawn(async move { stream.run(first, sender).await });
    // Held as long as the connection has anything of the stream, and not only until nobody writes to it.
    let held = (place, seat);
    let body = futures_util::stream::poll_fn(move |cx| {
        let _ = &held;
        lines.poll_recv(cx).map(|line| line.map(Ok::<Bytes, Infallible>))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(STREAM_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Yes,
    No,
}

/// Why there is no next snapshot.
enum Broken {
    /// The agent, or this token of it, is no more.
    Gone,
    Refused(Refused),
}

struct Stream {
    server: Arc<Server>,
    caller: Caller,
    hub: Arc<Hub>,
    due: watch::Receiver<u64>,
    answers: broadcast::Receiver<Arc<str>>,
    /// Of the last snapshot.
    revision: u64,
    unread: Unread,
    standing: Option<Arc<Standing>>,
}

impl Stream {
    async fn run(mut self, first: Bytes, sender: mpsc::Sender<Bytes>) {
        let (mut ends, slow) = (self.server.ends.clone(), self.server.slow);
        let over = over(self.caller.ends, self.server.clock);
        let end = tokio::select! {
            end = self.follow(first, &sender) => end,
            () = sender.closed() => None,
            // The next one opens another stream.
            () = over => Some(End::Draining),
            () = ended(&mut ends) => Some(End::Draining),
        };
        if let Some(line) = end.and_then(|end| message(&Message::End(end)).ok()) {
            // Whoever does not read it hears of it at the next attempt.
            drop(timeout(slow, sender.send(line.into())).await);
        }
    }

    /// Tells of everything; returns how the stream ends, if its reader is to hear of it.
    async fn follow(&mut self, first: Bytes, sender: &mpsc::Sender<Bytes>) -> Option<End> {
        let mut line = Some(first);
        let mut pings = interval(PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        let mut noted = Instant::now();
        loop {
            if let Some(line) = line.take()
                && !matches!(timeout(self.server.slow, sender.send(line)).await, Ok(Ok(())))
            {
                tracing::debug!(agent = %self.caller.agent.name, "a sidecar does not read its stream");
                return self.give_up();
            }
            line = tokio::select! {
                changed = self.due.changed() => {
                    changed.ok()?;
                    match self.next(First::No).await {
                        Ok(change) => change,
                        Err(Broken::Gone) => return Some(End::Revoked),
                        Err(Broken::Refused(refused)) if refused == Refused::oversized() => {
                            return Some(End::Oversized);
                        }
                        // It comes back, and is told then.
                        Err(Broken::Refused(_)) => return self.give_up(),
                    }
                }
                answered = self.answers.recv() => {
                    let ask = match answered {
                        Ok(ask) => Some(ask.to_string()),
                        Err(RecvError::Lagged(_)) => None,
                        Err(RecvError::Closed) => return None,
                    };
                    message(&Message::Answered(Answered { ask })).ok().map(Bytes::from)
                }
                _ = pings.tick() => {
                    if self.caller.agent.expires.is_some_and(|end| self.server.now() >= end) {
                        return Some(End::Revoked);
                    }
                    let ping = Message::Ping(Ping { revision: self.revision });
                    let is_current = self.server.current.is_so();
                    if is_current { message(&ping).ok().map(Bytes::from) } else { None }
                }
            };
            if noted.elapsed() >= SEEN {
                noted = Instant::now();
                let acknowledged = self.hub.acknowledgement(&self.caller.id());
                // What went wrong was logged once for all.
                if seen(&self.server, &self.caller, acknowledged).await.is_err() {}
            }
        }
    }

    /// Ends it with its connection: what was not read is let go of with that alone.
    fn give_up(&self) -> Option<End> {
        self.standing.iter().for_each(|standing| standing.give_up());
        None
    }

    /// What the agent has now, as a message; none if that was said already.
    async fn next(&mut self, first: First) -> Result<Option<Bytes>, Broken> {
        self.due.borrow_and_update();
        let state = self.hub.state(&self.server).await;
        let state = state.map_err(|error| Broken::Refused(Refused::database(&error)))?.ok_or(Broken::Gone)?;
        if !self.caller.shown.opens(&state.agent, self.server.now()) {
            return Err(Broken::Gone);
        }
        self.caller.agent.expires = state.agent.expires;
        // The state that was read for one change may be as of the next one, which becomes due only then.
        if first == First::No && state.revision <= self.revision {
            return Ok(None);
        }
        self.revision = state.revision;
        self.message(&state, first).await.map(Some).map_err(Broken::Refused)
    }

    /// What the agent has, as a message that has its room.
    async fn message(&self, state: &Arc<AgentState>, first: First) -> Result<Bytes, Refused> {
        let patience = if first == First::Yes { PATIENCE } else { self.server.slow };
        let mut len = expected(state);
        loop {
            // Nothing is made that has no room: those who wait for it hold nothing.
            let room = timeout(patience, self.unread.room(len)).await;
            let Ok(Some(room)) = room else { return Err(Refused::full()) };
            match room.hold(self.make(state, first).await?) {
                Ok(line) => return Ok(line),
                Err(line) => len = line.len(),
            }
        }
    }

    /// Made beside the tasks that serve, a few at a time: a change of a thousand sidecars holds up nobody else.
    async fn make(&self, state: &Arc<AgentState>, first: First) -> Result<Vec<u8>, Refused> {
        let turn = Arc::clone(&self.server.builds).acquire_owned().await.map_err(|_| Refused::fault())?;
        let (server, state, key) = (Arc::clone(&self.server), Arc::clone(state), self.caller.key);
        let making = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            made(&server, &state, key, first)
        });
        making.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a snapshot was not made");
            Err(Refused::fault())
        })
    }
}

fn made(server: &Server, state: &AgentState, key: PublicKey, first: First) -> Result<Vec<u8>, Refused> {
    let snapshot = deliver::snapshot(server, state, key).map_err(|error| {
        tracing::error!(agent = %state.agent.name, %error, "no snapshot can be made");
        if error == SealError::Key { Refused::key() } else { Refused::fault() }
    })?;
    let made = message(&match first {
        First::Yes => Message::Snapshot(snapshot),
        First::No => Message::Change(snapshot),
    });
    made.map_err(|error| {
        tracing::error!(agent = %state.agent.name, %error, "what is attached to the agent fits into no message");
        Refused::oversized()
    })
}

/// About how long the message will be.
fn expected(state: &AgentState) -> usize {
    let documents: usize = state.documents.iter().map(|one| one.document.text.len()).sum();
    let variables: usize = state.variables.iter().map(|one| one.value.len()).sum();
    // Newlines and quotes are escaped.
    (documents + variables) / 8 * 9 + state.secrets.len() * 1024 + 4096
}

/// Returns when what the sidecar has shown ends; never, where that has no end of its own.
async fn over(ends: Option<i64>, clock: Clock) {
    let Some(ends) = ends else { return std::future::pending().await };
    loop {
        let left = u64::try_from(ends.saturating_sub(clock().unix_timestamp())).unwrap_or_default();
        if left == 0 {
            return;
        }
        // In parts: a machine may sleep, and its clock be set right.
        tokio::time::sleep(Duration::from_secs(left).min(PING)).await;
    }
}

fn message(message: &Message) -> Result<Vec<u8>, WireError> {
    message.line()
}
