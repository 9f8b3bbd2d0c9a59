//! The control API: one resource in each file, every call in one frame.
//!
//! Keeps the promises of SECURITY.md ("Control API"): values go in and never come out; an agent's token opens nothing;
//! objects of another project look exactly like missing ones; other hosts and origins are refused; every bound is in
//! [`limits`]. [`call::frame`] is what a call passes first, [`serve`] what it came in by.

pub mod limits;
mod names;
pub mod token;
pub mod permission;
pub mod problem;
mod faults;
mod description;
mod bounds;
pub(crate) mod body;
pub mod gate;
pub(crate) mod rates;
mod caller;
pub mod call;
mod checks;
mod page;
mod listen;
pub mod serve;
mod connection;
mod closing;
pub(crate) mod standing;
mod projects;
mod secrets;
mod variables;
mod import;
mod documents;
mod destination;
mod agents;
mod asks;
mod attachments;
mod environment;
mod tokens;
mod members;
mod login;
mod can_i;
mod cards;
mod audit;
mod watch;
mod admin;
mod locked;
mod surface;
pub mod install;

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::audit::upkeep::Upkeep;
use crate::catalog::SchemeSpec;
use crate::oidc::Issuer;
use crate::refusal::Code;
use crate::registry::{Act, Registry, Seen};
use crate::vault::Clock;
use crate::vault::local::LocalVault;
pub(crate) use agents::{AgentToken, AgentView};
pub(crate) use asks::{AskView, until as ask_until, view as ask_view, view_with as ask_view_with};
pub(crate) use attachments::{AttachmentView, Attachments};
pub(crate) use audit::{
    AuditKeyView, CheckpointList as Checkpoints, PrunedList as AuditPruned, Records as AuditRecords,
    Sources as AuditSources, Verified as AuditVerified,
};
pub use call::Peer;
pub(crate) use can_i::{CanI, GrantView};
pub(crate) use cards::{Card, CardProvider, Cards};
pub use description::openapi;
pub(crate) use documents::DocumentView;
pub use gate::Gate;
pub(crate) use import::{ImportLine, Imported};
pub use limits::Limits;
pub(crate) use login::{LoggedIn, LoginWay};
pub(crate) use members::MemberView;
pub use names::Names;
use problem::Answer;
pub use problem::Problem;
pub(crate) use projects::ProjectView;
use rates::Rates;
pub(crate) use secrets::{SecretView, view as secret_view};
pub use surface::{Ground, Surface};
pub(crate) use tokens::{TokenOnce, TokenView};
pub(crate) use variables::VariableView;

/// Where the description of the API is; the one path that needs no token.
pub(crate) const OPENAPI_PATH: &str = "/v1/openapi.json";
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Everything that calls need. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Api(Arc<Server>);

/// What an API is made of.
#[derive(Debug)]
pub struct Server {
    pub(crate) registry: Arc<dyn Registry>,
    vault: LocalVault,
    schemes: &'static [&'static SchemeSpec],
    names: Names,
    rates: Rates<String>,
    gate: Arc<Gate>,
    watches: watch::Watches,
    checks: checks::Checks,
    /// Whom people log in with.
    oidc: Option<Arc<Issuer>>,
    login_minutes: u64,
    calls: admin::Calls,
    clock: Clock,
    /// Turns true when the server ends: streams end then.
    ends: tokio::sync::watch::Receiver<bool>,
}

impl Deref for Api {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

/// What an API is made from.
#[derive(Debug)]
pub struct Setting {
    /// The server's state.
    pub registry: Arc<dyn Registry>,
    /// The master key, over any store of the same database.
    pub vault: LocalVault,
    /// The auth schemes of the data plane, as data.
    pub schemes: &'static [&'static SchemeSpec],
    /// The names that the server answers to.
    pub names: Names,
    /// The bounds.
    pub limits: Limits,
    /// The clock.
    pub clock: Clock,
    /// Whom people log in with; without one, nobody does.
    pub oidc: Option<Arc<Issuer>>,
    /// Turns true when the server ends.
    pub ends: tokio::sync::watch::Receiver<bool>,
}

impl Api {
    /// An API over this state.
    pub fn new(setting: Setting) -> Self {
        let limits = setting.limits;
        Self(Arc::new(Server {
            registry: setting.registry,
            vault: setting.vault,
            schemes: setting.schemes,
            names: setting.names,
            rates: Rates::new(limits.token_calls, limits.token_burst),
            gate: Arc::new(Gate::new(&limits)),
            watches: watch::Watches::new(&limits),
            checks: checks::Checks::default(),
            oidc: setting.oidc,
            login_minutes: limits.login_minutes,
            calls: admin::Calls::default(),
            clock: setting.clock,
            ends: setting.ends,
        }))
    }

    /// The vault, each of whose writes is this act, on what was seen.
    fn acting(&self, act: Act, seen: Seen) -> LocalVault {
        self.vault.over(self.registry.acting(act, seen))
    }

    /// What is done to the chains of the audit.
    pub fn upkeep(&self) -> Upkeep {
        let vault = self.vault.over(Arc::clone(self.vault.store()));
        Upkeep::new(Arc::clone(&self.registry), vault, self.clock)
    }

    pub(crate) fn now(&self) -> i64 {
        (self.clock)().unix_timestamp()
    }

    /// What tokens pass on all paths.
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    /// Paths beside the API that have their own tokens: calls for other hosts, and from other origins, do not reach them.
    pub fn beside(&self, router: Router) -> Router {
        router.layer(axum::middleware::from_fn_with_state(self.clone(), call::only_names))
    }

    /// Every path of the API.
    pub fn router(&self) -> Router {
        let (router, document) = description::described().split_for_parts();
        let document: Arc<str> = description::finished(document).to_json().unwrap_or_default().into();
        let described = axum::routing::get(move || async move {
            ([(CONTENT_TYPE, "application/json")], document.to_string())
        });
        router
            .route(OPENAPI_PATH, described)
            .fallback(|| async { Problem::missing() })
            .method_not_allowed_fallback(|| async {
                Problem::new(Code::Dw6008, "this path does not have this method")
            })
            .layer(axum::middleware::from_fn_with_state(self.clone(), call::frame))
            .with_state(self.clone())
    }
}

/// An answer with a body.
#[derive(Debug)]
struct Sent<T> {
    status: StatusCode,
    etag: Option<u64>,
    location: Option<String>,
    replayed: bool,
    body: T,
}

impl<T> Sent<T> {
    /// 200, without a version.
    fn ok(body: T) -> Self {
        Self { status: StatusCode::OK, etag: None, location: None, replayed: false, body }
    }

    /// An object in its version.
    fn object(body: T, version: u64) -> Self {
        Self { etag: Some(version), ..Self::ok(body) }
    }

    /// A new object: 201 and where it is. One that the same request made before: 200.
    fn created(body: T, version: u64, location: String, is_repeated: bool) -> Self {
        let status = if is_repeated { StatusCode::OK } else { StatusCode::CREATED };
        Self { status, etag: Some(version), location: Some(location), replayed: is_repeated, body }
    }

    fn replayed(self, is_repeated: bool) -> Self {
        Self { replayed: is_repeated, ..self }
    }
}

impl<T: Serialize> IntoResponse for Sent<T> {
    fn into_response(self) -> Response {
        let mut response = axum::Json(self.body).into_response();
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let mut put = |name: HeaderName, text: String| {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(name, value);
            }
        };
        if let Some(version) = self.etag {
            put(ETAG, format!("\"v{version}\""));
        }
        if let Some(location) = self.location {
            put(LOCATION, location);
        }
        if self.replayed {
            put(REPLAYED, "true".to_owned());
        }
        response
    }
}

/// 204.
#[derive(Debug)]
struct Done;

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

/// The names in a path; a name that cannot be one is that of no object.
#[derive(Debug)]
struct Path<T>(T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        // No name holds a control character, and a database may not even take one.
        let decoded = percent_encoding::percent_decode_str(parts.uri.path());
        if decoded.into_iter().any(|byte| byte.is_ascii_control()) {
            return Err(Problem::missing());
        }
        let path = axum::extract::Path::<T>::from_request_parts(parts, api).await;
        path.map(|axum::extract::Path(names)| Self(names)).map_err(|_| Problem::missing())
    }
}

/// The query, of which nothing is quoted.
#[derive(Debug)]
struct Query<T>(T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|_| {
                Problem::new(
                    Code::Dw6003,
                    "the query has an unknown or doubled parameter, or a value of another type",
                )
            })
    }
}

/// A name that can be one of an object; any other is that of none.
fn named<T: std::str::FromStr>(text: &str) -> Answer<T> {
    text.parse().map_err(|_| Problem::missing())
}

/// A name for a new object.
fn new_name<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Answer<T> {
    text.parse().map_err(|error: T::Err| Problem::new(Code::Dw6016, format!("`name`: {error}")))
}

/// A text of bounded length without control characters.
fn bounded(field: &'static str, text: Option<&str>, most: usize) -> Answer<()> {
    let Some(text) = text else { return Ok(()) };
    if text.len() > most {
        return Err(Problem::new(Code::Dw6016, format!("`{field}` has at most {most} bytes")));
    }
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(Problem::new(Code::Dw6016, format!("`{field}` holds control characters")));
    }
    Ok(())
}

/// The same for a text that nobody may see.
fn bounded_value(field: &'static str, text: &body::SecretText, most: usize) -> Answer<()> {
    if text.0.len() > most {
        return Err(Problem::new(Code::Dw6016, format!("`{field}` has at most {most} bytes")));
    }
    Ok(())
}

/// The most bytes of a description.
const DESCRIPTION: usize = 4096;
/// The most bytes of a time: RFC 3339 allows any number of digits after the second.
const TIME: usize = 64;

/// A time as RFC 3339, which has to be in the future.
fn end(field: &'static str, text: Option<&str>, now: i64) -> Answer<Option<i64>> {
    let Some(text) = text else { return Ok(None) };
    bounded(field, Some(text), TIME)?;
    let time = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339);
    let end = time
        .map_err(|_| Problem::new(Code::Dw6016, format!("`{field}` is a time like 2027-01-31T12:00:00Z")))?;
    if end.unix_timestamp() <= now {
        return Err(Problem::new(Code::Dw6016, format!("`{field}` is over already")));
    }
    Ok(Some(end.unix_timestamp()))
}

/// A time as it is shown.
fn shown(unix: i64) -> String {
    crate::cli::when::show(unix)
}
