//! One call: who makes it, what for, and what is recorded of it.
//!
//! [`frame`] stands around every call and refuses, in this order: another host or origin, a token of another class (by its
//! prefix, before any look-up), an unknown, ended or revoked one ([`super::gate`]), too many calls. What was refused to a
//! known caller is recorded; what is done is recorded by the write itself, in its transaction ([`Call::act`]).

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, IF_MATCH};
use http::request::Parts;
use http::{Extensions, HeaderName, HeaderValue, Method};

use super::Api;
use super::caller::{self, Caller};
use super::permission::Permission;
use super::problem::{Answer, Problem, REQUEST_ID};
use super::standing::Standing;
use crate::audit::{Entry, Kind, RequestId, Verdict};
use crate::refusal::Code;
use crate::registry::{Act, Idempotency, ObjectKind, ObjectRef, Project, Role, Seen, Token};
use crate::secret::SecretName;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest idempotency key.
pub(super) const KEY_MOST: usize = 128;
/// How often the last use of a token is noted, in seconds.
const NOTE_USE: i64 = 60;

/// Where a call comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Over TCP.
    Address(IpAddr),
    /// Over the unix socket, as this user.
    User(u32),
}

impl Peer {
    /// The address that a request came from; none over the socket.
    pub(crate) fn address(extensions: &Extensions) -> Option<IpAddr> {
        match extensions.get::<Self>() {
            Some(Self::Address(address)) => Some(*address),
            Some(Self::User(_)) | None => None,
        }
    }
}

/// A call of somebody known.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) caller: Caller,
    pub(crate) id: RequestId,
    began: Instant,
    at: SystemTime,
    method: Method,
    path: Arc<str>,
    /// Path and query as they came.
    asked: Arc<str>,
    seen: Option<HeaderValue>,
    key: Option<HeaderValue>,
}

impl Call {
    /// Lets the caller into a project.
    ///
    /// # Errors
    /// 404 for a project that is not there or not the caller's, 403 for one in which he may not do this.
    pub(crate) async fn enter(&self, api: &Api, name: &str, needs: Permission) -> Answer<Project> {
        if !self.caller.knows(name) || !super::projects::is_name(name) {
            return Err(Problem::missing());
        }
        let project = api.registry.project(name).await?.ok_or_else(Problem::missing)?;
        self.need_in(Some(name), needs)?;
        Ok(project)
    }

    /// Refuses a caller without the permission there.
    pub(crate) fn need_in(&self, project: Option<&str>, needs: Permission) -> Answer<()> {
        if self.caller.may_in(project, needs) {
            return Ok(());
        }
        let role = self.caller.role_in(project).map_or("nobody", Role::name);
        Err(Problem::new(Code::Dw6005, format!("the role {role} does not have {}", needs.name())))
    }

    /// When a token ends that the caller makes: nobody makes one that outlives his own. Without a wish it ends with his.
    pub(crate) fn end(&self, wanted: Option<i64>) -> Answer<Option<i64>> {
        match (wanted, self.caller.ends) {
            (Some(wanted), Some(own)) if wanted > own => Err(Problem::new(
                Code::Dw6005,
                "nobody makes a token that outlives his own: `expires` is later",
            )),
            (wanted, own) => Ok(wanted.or(own)),
        }
    }

    /// Refuses a caller who has the permission nowhere.
    pub(crate) fn need_somewhere(&self, needs: Permission) -> Answer<()> {
        if self.caller.may_somewhere(needs) {
            return Ok(());
        }
        Err(Problem::new(Code::Dw6005, format!("this needs {}", needs.name())))
    }

    /// Refuses a caller who is not of the installation, or lacks the permission there.
    pub(crate) fn need_installation(&self, needs: Permission) -> Answer<()> {
        if self.caller.role_in(None).is_none() {
            return Err(Problem::new(
                Code::Dw6005,
                "this needs a token of the installation, not of a project",
            ));
        }
        self.need_in(None, needs)
    }

    /// The version that `If-Match` names.
    ///
    /// # Errors
    /// 428 without the header, 400 for one that holds anything but one of our ETags or `*`.
    pub(crate) fn seen(&self) -> Answer<Seen> {
        let value = self.seen.as_ref().ok_or_else(|| {
            Problem::new(Code::Dw6011, "send If-Match with the ETag of the object as it was read")
        })?;
        if value == "*" {
            return Ok(Seen::Any);
        }
        let digits = value.to_str().ok().and_then(|text| text.strip_prefix("\"v")?.strip_suffix('"'));
        let version = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        // What a database counts with.
        let version = version.and_then(|text| text.parse::<i64>().ok());
        version.map(|version| Seen::Version(version.unsigned_abs())).ok_or_else(|| {
            Problem::new(Code::Dw6003, "If-Match holds one ETag as it was given (`\"v12\"`), or *")
        })
    }

    /// Refuses where `If-Match` names another version; for what the store itself does not compare.
    pub(crate) fn check_seen(&self, version: u64) -> Answer<Seen> {
        let seen = self.seen()?;
        match seen {
            Seen::Version(other) if other != version => Err(stale(version)),
            Seen::Version(_) | Seen::Any => Ok(seen),
        }
    }

    /// What is kept beside a write: its record, and its idempotency key.
    pub(crate) fn act(&self, api: &Api, did: &Did) -> Act {
        Act { entry: Some(self.entry(did)), ..Act::at(api.now()) }
    }

    /// The same for a POST, which counts once if it has a key.
    pub(crate) fn act_once(&self, api: &Api, did: &Did, request: [u8; 32]) -> Answer<Act> {
        let idempotency = self.idempotency(did, request)?;
        Ok(Act { idempotency, ..self.act(api, did) })
    }

    fn idempotency(&self, did: &Did, request: [u8; 32]) -> Answer<Option<Idempotency>> {
        let Some(key) = &self.key else { return Ok(None) };
        let fits = |text: &&str| {
            (1..=KEY_MOST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let key = key.to_str().ok().filter(fits).ok_or_else(|| {
            Problem::new(
                Code::Dw6003,
                format!("Idempotency-Key has 1 to {KEY_MOST} visible ASCII characters"),
            )
        })?;
        let makes = ObjectRef { kind: did.kind, name: did.name.clone() };
        Ok(Some(Idempotency { owner: self.caller.id.clone(), key: key.to_owned(), request, makes }))
    }

    /// Whether this very request was made before: then what it made is shown again, and nothing is done.
    pub(crate) async fn is_repeated(&self, api: &Api, did: &Did, request: [u8; 32]) -> Answer<bool> {
        match self.idempotency(did, request)? {
            Some(idempotency) => Ok(api.registry.repeated(&idempotency, api.now()).await?.is_some()),
            None => Ok(false),
        }
    }

    /// The project that the call is about, if the caller knows of it.
    fn project(&self) -> Option<&str> {
        let mut parts = self.path.strip_prefix("/v1/projects/").into_iter().flat_map(|rest| rest.split('/'));
        let named = parts.next().filter(|name| super::projects::is_name(name) && self.caller.knows(name));
        named.or_else(|| self.caller.only_project())
    }

    /// What makes two requests the same, beside their bodies.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.asked)
    }

    fn entry(&self, did: &Did) -> Entry {
        let mut entry = Entry::new(Kind::Control, self.at);
        entry.id = Some(self.id);
        self.made_by(&mut entry);
        entry.verdict = Some(Verdict::Allow);
        entry.status = did.status;
        let more = did.more.as_ref().map(|more| format!(", {more}")).unwrap_or_default();
        let verb = did.told.as_deref().unwrap_or(did.verb);
        entry.reason = format!("{} {} {verb}{more}", did.kind, did.name).into();
        entry.elapsed = self.began.elapsed();
        match did.kind {
            ObjectKind::Secret => entry.secret = did.name.parse::<SecretName>().ok(),
            ObjectKind::Provider | ObjectKind::ModelProvider => {
                entry.provider = Some(did.name.as_str().into());
            }
            ObjectKind::Project
            | ObjectKind::Variable
            | ObjectKind::Agent
            | ObjectKind::Attachment
            | ObjectKind::Token
            | ObjectKind::Ask
            | ObjectKind::Member => {}
        }
        entry
    }

    /// The name is chosen by who makes the token, and may be taken again: the id is the token's alone.
    fn made_by(&self, entry: &mut Entry) {
        entry.agent = Some(self.caller.name.as_str().into());
        entry.token = Some(self.caller.id.as_str().into());
        entry.method = Some(self.method.clone());
        entry.path = Some(Arc::clone(&self.path));
    }

    /// The record of the same act for another project that it concerns.
    pub(crate) fn also(&self, project: &str, did: &Did) -> (String, Entry) {
        (project.to_owned(), self.entry(did))
    }

    fn refused(&self, problem: &Problem, status: u16) -> Entry {
        let mut entry = Entry::new(Kind::Control, self.at);
        entry.id = Some(self.id);
        self.made_by(&mut entry);
        entry.verdict = Some(if status < 500 { Verdict::Deny } else { Verdict::Error });
        entry.code = Some(problem.code);
        entry.reason = problem.recorded();
        entry.status = status;
        entry.elapsed = self.began.elapsed();
        entry
    }
}

/// The problem of a writer who has seen another version.
pub(crate) fn stale(current: u64) -> Problem {
    Problem::new(Code::Dw6010, format!("the object is in version {current} now"))
}

/// What a call does to which object, for its record.
#[derive(Clone, Debug)]
pub(crate) struct Did {
    pub(crate) kind: ObjectKind,
    pub(crate) name: String,
    /// `created`, `rotated` …
    pub(crate) verb: &'static str,
    /// What a reader of the record has to know beside: never a text of the body.
    pub(crate) more: Option<String>,
    /// The status of the answer when it worked.
    pub(crate) status: u16,
    /// What the record says in the verb's place.
    pub(crate) told: Option<String>,
}

impl Did {
    pub(crate) fn new(kind: ObjectKind, name: impl Into<String>, verb: &'static str) -> Self {
        let status = match verb {
            "created" => 201,
            "deleted" | "revoked" | "detached" => 204,
            _ => 200,
        };
        Self { kind, name: name.into(), verb, more: None, status, told: None }
    }

    /// With what has to be known beside.
    pub(crate) fn saying(self, more: impl Into<String>) -> Self {
        Self { more: Some(more.into()), ..self }
    }
}

impl FromRequestParts<Api> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        // Put there by `frame`, which stands around every path that asks for it.
        parts.extensions.get::<Self>().cloned().ok_or_else(caller::unknown)
    }
}

/// Stands around every call of the API.
pub(crate) async fn frame(State(api): State<Api>, request: Request, next: Next) -> Response {
    let id = RequestId { conn: random(), number: 1 };
    let (mut head, body) = request.into_parts();
    let (call, mut response) = match enter(&api, &head, id).await {
        Ok(call) => {
            if let Some(call) = &call {
                head.extensions.insert(call.clone());
            }
            let request = Request::from_parts(head, body);
            let running = AssertUnwindSafe(next.run(request)).catch_unwind().await;
            let response = running.unwrap_or_else(|_| {
                tracing::error!(req = %id, "a call ended by a panic");
                Problem::new(Code::Dw6020, "the call ended by a fault of the server").into_response()
            });
            (call, response)
        }
        Err(problem) => (None, problem.into_response()),
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = refuse(&api, call, problem, id).await;
    }
    api.calls.note(response.status());
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, value);
    }
    response
}

/// Refuses other hosts and origins, and nothing else.
pub(crate) async fn only_names(State(api): State<Api>, request: Request, next: Next) -> Response {
    match api.names.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.render(&RequestId { conn: random(), number: 1 }.to_string()),
    }
}

/// Records what was refused to somebody known, and renders it.
async fn refuse(api: &Api, call: Option<Call>, problem: Problem, id: RequestId) -> Response {
    let status = problem.code.entry().status;
    tracing::debug!(req = %id, code = %problem.code, reason = %problem.recorded(), "call refused");
    let Some(call) = call.filter(|call| !call.method.is_safe()) else {
        return problem.render(&id.to_string());
    };
    let project = call.project();
    match api.registry.record(project, call.refused(&problem, status)).await {
        Ok(()) => problem.render(&id.to_string()),
        Err(error) => {
            tracing::error!(req = %id, %error, "a refused call was not recorded");
            Problem::new(Code::Dw5003, "the audit cannot take a record of this call").render(&id.to_string())
        }
    }
}

/// Refuses whoever may not call at all. Paths that need no token have no caller.
async fn enter(api: &Api, head: &Parts, id: RequestId) -> Answer<Option<Call>> {
    api.names.check(&head.uri, &head.headers)?;
    if head.uri.path() == super::OPENAPI_PATH {
        return Ok(None);
    }
    let now = Instant::now();
    let address = Peer::address(&head.extensions);
    if super::login::is_open(&head.method, head.uri.path()) {
        // Nobody knows yet who it is: it counts as a call without a token does.
        api.gate.check(address).map_err(|wait| too_many().retry_after(wait))?;
        api.gate.refused(address, None);
        return Ok(None);
    }
    let (token, caller) = known(api, head, address).await?;
    Standing::confirm(&head.extensions);
    api.rates.take(token.token.id.clone(), now).map_err(|wait| too_many().retry_after(wait))?;
    note_use(api, &token).await;
    Ok(Some(call(head, caller, id, now)))
}

/// Whose token it is. What is no token costs its address.
async fn known(api: &Api, head: &Parts, address: Option<IpAddr>) -> Answer<(Token, Caller)> {
    let wait = |wait: Duration| too_many().retry_after(wait);
    let digest = match caller::digest(&head.headers) {
        Ok(digest) => digest,
        Err(problem) => {
            api.gate.check(address).map_err(wait)?;
            api.gate.refused(address, None);
            return Err(problem);
        }
    };
    let turn = api.gate.turn(address, &digest.0).await.map_err(wait)?;
    let known = async {
        let token = caller::token(api, &digest).await?;
        let caller = caller::of(api, &token).await?;
        Answer::Ok((token, caller))
    };
    match known.await {
        Ok(known) => {
            api.gate.passed(&digest.0);
            Ok(known)
        }
        Err(problem) if problem.code == Code::Dw6004 => {
            api.gate.refused(address, Some(&digest.0));
            tracing::warn!(?address, "a call without a valid token");
            Err(if turn.is_doubtful() { wait(Duration::from_secs(1)) } else { problem })
        }
        Err(problem) => Err(problem),
    }
}

fn too_many() -> Problem {
    Problem::new(Code::Dw6014, "too many calls in too short a time")
}

/// A token whose last use cannot be noted is used all the same.
async fn note_use(api: &Api, token: &Token) {
    let now = api.now();
    if token.last_used.is_some_and(|last| now - last < NOTE_USE) {
        return;
    }
    if let Err(error) = api.registry.token_used(&token.token.id, now).await {
        tracing::debug!(%error, "the use of a token was not noted");
    }
}

fn call(head: &Parts, caller: Caller, id: RequestId, began: Instant) -> Call {
    let headers = &head.headers;
    // Two of them could be read in two ways: such a header reads as one that fits nothing.
    let single = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        let first = values.next()?.clone();
        Some(if values.next().is_some() { HeaderValue::from_static("") } else { first })
    };
    Call {
        caller,
        id,
        began,
        at: SystemTime::now(),
        method: head.method.clone(),
        path: recorded_path(head),
        asked: head.uri.path_and_query().map_or("", |asked| asked.as_str()).into(),
        seen: single(&IF_MATCH),
        key: single(&IDEMPOTENCY_KEY),
    }
}

/// The path as it is recorded: whole where each part of it can be a name, else the path of the route, or nothing.
fn recorded_path(head: &Parts) -> Arc<str> {
    // Each part is decoded by itself, as the router does: an encoded slash parts nothing.
    let decoded: Option<Vec<_>> = head
        .uri
        .path()
        .split('/')
        .map(|part| percent_encoding::percent_decode_str(part).decode_utf8().ok())
        .collect();
    let is_plain = |part: &str| {
        part.len() <= 253
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    let route = head.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    match (route, decoded) {
        (Some(_), Some(parts)) if parts.iter().all(|part| is_plain(part)) => parts.join("/").into(),
        (Some(route), _) => route.into(),
        (None, _) => "(no such path)".into(),
    }
}

pub(super) fn random() -> u64 {
    let mut bytes = [0; 8];
    // An id that is not random is only an id that may repeat.
    if getrandom::fill(&mut bytes).is_err() {
        tracing::debug!("no random bytes for a request id");
    }
    u64::from_be_bytes(bytes)
}
