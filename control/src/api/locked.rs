//! A server whose vault is locked: its key is made from a passphrase that it was not started with.
//!
//! Everything is refused with DW5001, and the server is not ready, until somebody hands in the passphrase: over the unix
//! socket only, with a token of the installation that has project:admin. One attempt runs at a time; each has its record.
//! Invariant: a passphrase that came in goes into a [`Secret`](crate::secret::Secret) and nowhere else.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{AUTHORIZATION, HeaderMap};
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::{Mutex, Notify};
use tower::ServiceExt as _;

use super::body::{SecretText, check_type, parse, read};
use super::call::{Peer, random};
use super::names::Names;
use super::permission::{Permission, permissions};
use super::problem::{Answer, Problem};
use super::token::{self, Class};
use crate::audit::{Entry, Kind, RequestId, Verdict};
use crate::refusal::Code;
use crate::registry::{Registry, Token};
use crate::vault::Clock;
use crate::vault::local::LocalVault;
use crate::vault::master::{KeySource, MasterError};
use crate::vault::store::Store;

/// Where the passphrase is handed in.
pub(crate) const UNLOCK_PATH: &str = "/v1/unlock";
/// The largest body: the longest passphrase, escaped.
const BODY: usize = 8 * 1024;

/// A door that is shut until the vault is unlocked. Clones are the same door.
#[derive(Clone, Debug)]
pub(super) struct Locked(Arc<Door>);

#[derive(Debug)]
struct Door {
    registry: Arc<dyn Registry>,
    store: Arc<dyn Store>,
    names: Names,
    clock: Clock,
    /// One attempt at a time: each takes 64 MiB and a part of a second.
    trying: Mutex<Option<LocalVault>>,
    handed_in: Notify,
    api: OnceLock<Router>,
    admin: OnceLock<Router>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unlock {
    passphrase: SecretText,
}

impl Locked {
    /// Over a database that has its tables, and tokens.
    pub(super) fn new(
        registry: Arc<dyn Registry>,
        store: Arc<dyn Store>,
        names: Names,
        clock: Clock,
    ) -> Self {
        Self(Arc::new(Door {
            registry,
            store,
            names,
            clock,
            trying: Mutex::new(None),
            handed_in: Notify::new(),
            api: OnceLock::new(),
            admin: OnceLock::new(),
        }))
    }

    /// The vault, once somebody has unlocked it.
    pub(super) async fn vault(&self) -> LocalVault {
        loop {
            if let Some(vault) = self.0.trying.lock().await.take() {
                return vault;
            }
            self.0.handed_in.notified().await;
        }
    }

    /// From now on calls go on to these.
    pub(super) fn open(&self, api: Router, admin: Router) {
        // Opened once, by whoever waits for the vault.
        if self.0.api.set(api).is_err() || self.0.admin.set(admin).is_err() {
            tracing::error!("the vault was unlocked twice");
        }
    }

    /// Every path of the API.
    pub(super) fn router(&self) -> Router {
        Router::new().fallback(call).with_state(self.clone())
    }

    /// The paths of the admin port.
    pub(super) fn admin(&self) -> Router {
        Router::new().route("/livez", get(|| async { "ok\n" })).fallback(probe).with_state(self.clone())
    }
}

async fn probe(State(locked): State<Locked>, request: Request) -> Response {
    match locked.0.admin.get() {
        Some(admin) => through(admin, request).await,
        None => (StatusCode::SERVICE_UNAVAILABLE, "the vault is locked: doorward unlock\n").into_response(),
    }
}

async fn call(State(locked): State<Locked>, request: Request) -> Response {
    if let Some(api) = locked.0.api.get() {
        return through(api, request).await;
    }
    let id = RequestId { conn: random(), number: 1 };
    let answer = match locked.0.names.check(request.uri(), request.headers()) {
        Ok(()) if request.uri().path() == UNLOCK_PATH && request.method() == Method::POST => {
            locked.unlock(request, id).await
        }
        Ok(()) => Err(Problem::new(Code::Dw5001, "the server's vault is locked: doorward unlock")),
        Err(problem) => Err(problem),
    };
    match answer {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => problem.render(&id.to_string()),
    }
}

async fn through(router: &Router, request: Request<Body>) -> Response {
    match router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

impl Locked {
    async fn unlock(&self, request: Request, id: RequestId) -> Answer<()> {
        if !matches!(request.extensions().get::<Peer>(), Some(Peer::User(_))) {
            return Err(Problem::new(Code::Dw6005, "a vault is unlocked over the server's unix socket only"));
        }
        let token = self.caller(request.headers()).await?;
        check_type(request.headers())?;
        let bytes = read(request.into_body(), BODY).await?;
        let Unlock { passphrase: SecretText(passphrase) } = parse(&bytes)?;
        drop(bytes);
        let mut trying = self.0.trying.lock().await;
        if trying.is_some() || self.0.api.get().is_some() {
            return Ok(());
        }
        let outcome = self.attempt(&token, KeySource::Passphrase(passphrase)).await;
        self.record(&token, &outcome, id).await?;
        *trying = Some(outcome?);
        drop(trying);
        self.0.handed_in.notify_one();
        Ok(())
    }

    /// Whose token it is.
    async fn caller(&self, headers: &HeaderMap) -> Answer<Token> {
        let unknown = || Problem::new(Code::Dw6004, "an API token is needed: Authorization: Bearer dwt_…");
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(unknown()) };
        let (scheme, rest) = value.as_bytes().split_at_checked(7).ok_or_else(unknown)?;
        let is_bearer = scheme.eq_ignore_ascii_case(b"bearer ");
        if !is_bearer || !matches!(Class::of(rest), Some(Class::Api | Class::Root)) {
            return Err(unknown());
        }
        let digest = token::digest(rest);
        let token = self.0.registry.token_by_digest(&digest).await?.ok_or_else(unknown)?;
        let now = (self.0.clock)().unix_timestamp();
        let is_alive = token.token.expires.is_none_or(|end| now < end);
        if is_alive && token.token.digest.matches(&digest) { Ok(token) } else { Err(unknown()) }
    }

    async fn attempt(&self, token: &Token, source: KeySource) -> Answer<LocalVault> {
        // The role of a token that a login gave says nothing.
        let is_login = token.token.person.is_some();
        let is_admin = permissions(token.token.role).contains(&Permission::ProjectAdmin);
        if is_login || !is_admin || token.token.project.is_some() {
            let why = "a vault is unlocked with an API token of the installation that has project:admin";
            return Err(Problem::new(Code::Dw6005, why));
        }
        let unlocked = LocalVault::unlock(Arc::clone(&self.0.store), &source, self.0.clock).await;
        unlocked.map_err(|error| {
            if let MasterError::Store(error) = error {
                return error.into();
            }
            Problem::new(Code::Dw6016, error.to_string())
        })
    }

    /// What cannot be recorded does not happen.
    async fn record(&self, token: &Token, outcome: &Answer<LocalVault>, id: RequestId) -> Answer<()> {
        let mut entry = Entry::new(Kind::Control, SystemTime::from((self.0.clock)()));
        entry.id = Some(id);
        entry.agent = Some(token.token.name.as_str().into());
        entry.method = Some(Method::POST);
        entry.path = Some(UNLOCK_PATH.into());
        match outcome {
            Ok(_) => {
                (entry.verdict, entry.status) = (Some(Verdict::Allow), 204);
                entry.reason = "vault unlocked".into();
            }
            Err(problem) => {
                (entry.verdict, entry.code) = (Some(Verdict::Deny), Some(problem.code));
                entry.status = problem.code.entry().status;
                entry.reason = problem.recorded();
            }
        }
        let recorded = self.0.registry.record(None, entry).await;
        recorded.map_err(|_| Problem::new(Code::Dw5003, "the audit cannot take a record of this call"))
    }
}
