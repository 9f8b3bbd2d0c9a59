//! Changes: as a list after a revision, or as a stream of server-sent events (`?watch=true`).
//!
//! A change names what changed, never what it holds. A stream ends when its token does, when the server does, and when the
//! changes that it would have to tell are no longer kept (`event: reset`: read the objects again).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::call::Call;
use super::limits::{HEARTBEAT, Limits};
use super::permission::Permission;
use super::problem::{Answer, Problem, ProblemSchema};
use super::{Api, Path, Query, Sent, shown};
use crate::refusal::Code;
use crate::registry::{ChangeRow, ObjectKind, RegistryError};

/// Changes of one answer, or of one piece of a stream.
const AT_ONCE: u32 = 500;
/// Pieces that wait for a reader.
const WAITING: usize = 2;
/// How long a reader may take for a piece.
const SLOW: Duration = Duration::from_secs(30);

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(changes))
}

/// One change.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    /// The kind of object: `secret`, `provider` …
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) project: Option<String>,
    pub(crate) at: String,
}

/// Changes after a revision.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Changes {
    pub(crate) items: Vec<Change>,
    /// The revision up to which they are complete: `since` of the next call.
    pub(crate) revision: u64,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// The revision after which they begin; without it, none but the latest revision is told.
    since: Option<u64>,
    /// `true`: as a stream of server-sent events.
    watch: Option<bool>,
}

/// Changes of all objects of a project.
#[utoipa::path(get, path = "/v1/projects/{project}/changes", tag = "changes",
    params(("project" = String, Path), Wanted),
    responses((status = 200, body = Changes), (status = "4XX", body = ProblemSchema)))]
async fn changes(
    State(api): State<Api>,
    call: Call,
    Path(project): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Answer<Response> {
    call.enter(&api, &project, Permission::SecretsRead).await?;
    if wanted.watch == Some(true) {
        return stream(&api, call, Some(project), &ObjectKind::ALL, wanted.since).await;
    }
    let latest = api.registry.latest().await?;
    let Some(since) = wanted.since else {
        return Ok(Sent::ok(Changes { items: Vec::new(), revision: latest }).into_response());
    };
    let (rows, revision) = api.registry.changes(Some(&project), since.min(latest), AT_ONCE).await?;
    Ok(Sent::ok(Changes { items: rows.into_iter().filter_map(view).collect(), revision }).into_response())
}

/// A change as it is shown; none of an object that only a later version knows.
fn view(row: ChangeRow) -> Option<Change> {
    let object = row.object?;
    Some(Change {
        revision: row.revision,
        kind: object.kind.name().to_owned(),
        name: object.name,
        project: row.project,
        at: shown(row.at),
    })
}

/// A stream of changes of some kinds.
pub(super) async fn stream(
    api: &Api,
    call: Call,
    project: Option<String>,
    kinds: &[ObjectKind],
    since: Option<u64>,
) -> Answer<Response> {
    let place = api.watches.take(&call.caller.id).ok_or_else(|| {
        Problem::new(Code::Dw6014, "too many streams of changes").retry_after(Duration::from_secs(5))
    })?;
    let latest = api.registry.latest().await?;
    let watching = Watching {
        revision: api.registry.watch(),
        ends: api.ends.clone(),
        api: api.clone(),
        project: project.or_else(|| call.caller.only_project().map(str::to_owned)),
        call,
        kinds: kinds.to_vec(),
        since: since.unwrap_or(latest).min(latest),
        is_over: false,
        is_new: true,
        _place: place,
    };
    let (sender, mut pieces) = mpsc::channel(WAITING);
    tokio::spawn(watching.run(sender));
    let events = stream::poll_fn(move |cx| {
        pieces.poll_recv(cx).map(|piece| piece.map(Ok::<Bytes, std::convert::Infallible>))
    });
    let mut response = Response::new(Body::from_stream(events));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

/// The places of streams, together and by token.
#[derive(Debug)]
pub(super) struct Watches {
    places: Arc<Semaphore>,
    most_of_token: u64,
    taken: Arc<Mutex<HashMap<String, u64>>>,
}

/// One stream's place.
#[derive(Debug)]
pub(super) struct Place {
    token: String,
    taken: Arc<Mutex<HashMap<String, u64>>>,
    _place: OwnedSemaphorePermit,
}

impl Watches {
    pub(super) fn new(limits: &Limits) -> Self {
        let places = usize::try_from(limits.watches).unwrap_or(usize::MAX >> 4);
        let places = Arc::new(Semaphore::new(places));
        Self { places, most_of_token: limits.watches_per_token, taken: Arc::default() }
    }

    fn take(&self, token: &str) -> Option<Place> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut taken = self.taken.lock();
        let count = taken.entry(token.to_owned()).or_default();
        if *count >= self.most_of_token {
            return None;
        }
        *count += 1;
        Some(Place { token: token.to_owned(), taken: Arc::clone(&self.taken), _place: place })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        if let Some(count) = taken.get_mut(&self.token) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.token);
            }
        }
    }
}

struct Watching {
    api: Api,
    call: Call,
    project: Option<String>,
    kinds: Vec<ObjectKind>,
    since: u64,
    revision: tokio::sync::watch::Receiver<u64>,
    ends: tokio::sync::watch::Receiver<bool>,
    is_over: bool,
    is_new: bool,
    _place: Place,
}

impl Watching {
    /// Tells until the stream is over, or its reader takes nothing of it.
    async fn run(mut self, sender: mpsc::Sender<Bytes>) {
        loop {
            let piece = tokio::select! {
                piece = self.next() => piece,
                () = sender.closed() => None,
            };
            let Some(piece) = piece else { return };
            if !matches!(tokio::time::timeout(SLOW, sender.send(piece.into())).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// The next piece of the stream; `None` ends it.
    async fn next(&mut self) -> Option<String> {
        if std::mem::take(&mut self.is_new) {
            // At once, so that the client knows from where on nothing is missed.
            return Some(format!("event: ready\ndata: {{\"revision\":{}}}\n\n", self.since));
        }
        loop {
            if self.is_over || *self.ends.borrow() || !self.call.caller.is_unchanged(&self.api).await {
                return None;
            }
            self.revision.borrow_and_update();
            let found = self.api.registry.changes(self.project.as_deref(), self.since, AT_ONCE).await;
            match found {
                Ok((rows, complete)) => {
                    let moved = complete > self.since;
                    self.since = self.since.max(complete);
                    let text = self.events(rows);
                    if !text.is_empty() {
                        return Some(text);
                    }
                    if moved {
                        continue;
                    }
                }
                Err(RegistryError::Forgotten(_)) => {
                    self.is_over = true;
                    return Some("event: reset\ndata: {}\n\n".to_owned());
                }
                Err(error) => {
                    tracing::warn!(%error, "a stream of changes ended");
                    return None;
                }
            }
            tokio::select! {
                changed = self.revision.changed() => changed.ok()?,
                ended = self.ends.changed() => ended.ok()?,
                () = tokio::time::sleep(HEARTBEAT) => return Some(": alive\n\n".to_owned()),
            }
        }
    }

    fn events(&self, rows: Vec<ChangeRow>) -> String {
        let caller = &self.call.caller;
        let is_known = |row: &ChangeRow| match &row.project {
            Some(project) => caller.knows(project),
            None => caller.role_in(None).is_some(),
        };
        let is_wanted = |row: &ChangeRow| {
            row.object.as_ref().is_some_and(|object| self.kinds.contains(&object.kind)) && is_known(row)
        };
        let event = |change: Change| {
            let id = change.revision;
            // Strings and numbers always serialise.
            let data = serde_json::to_string(&change).unwrap_or_default();
            format!("id: {id}\nevent: change\ndata: {data}\n\n")
        };
        rows.into_iter().filter(is_wanted).filter_map(view).map(event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_over_its_streams_is_refused_and_another_one_is_not() {
        let watches = Watches::new(&Limits { watches: 4, watches_per_token: 2, ..Limits::default() });
        let held: Vec<_> = (0..2).map(|_| watches.take("viewer").unwrap()).collect();
        assert!(watches.take("viewer").is_none());
        let other = watches.take("owner").unwrap();
        drop(held);
        let again: Vec<_> = (0..2).map(|_| watches.take("viewer").unwrap()).collect();
        let _fourth = watches.take("owner").unwrap();
        assert!(watches.take("third").is_none(), "all together");
        drop((again, other));
        assert_eq!(watches.taken.lock().len(), 1);
    }
}
