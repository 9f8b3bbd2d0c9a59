//! Stage 9: the signed request to the upstream, and its answer's head.
//!
//! The head is written anew in the upstream's protocol (h1⇄h2); nothing is forwarded as it came. At most one retry, and
//! only where nothing can have happened twice.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use control::model::Retry;
use control::policy::Permit;
use control::refusal::{Code, Refusal};
use control::vault::Version;
use http::header::{CONNECTION, COOKIE, EXPECT, HOST, HeaderValue, RETRY_AFTER, TE};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::body::{Progress, RequestBody, UpstreamBody};
use super::challenge::{self, Answering};
use super::inject::Token;
use super::parse::Upgrade;
use super::record::Record;
use super::refuse::Refused;
use super::scrub::Search;
use crate::conn::life::Ticks;
use crate::conn::plain::Named;
use crate::conn::{Conn, Versions, lead};
use crate::limits::{self, Limits};
use crate::plan::Served;
use crate::schemes::Head;
use crate::upstream::guard::late;
use crate::upstream::identity::Identity;
use crate::upstream::pool::{Lease, SendError, Slot};
use crate::upstream::tls::wants_certificate;
use crate::upstream::{Peer, Upstream};

/// The upstream's answer: its head, and its body with the connection that it comes on.
pub(crate) type Answer = Response<UpstreamBody>;

/// What the upstream stage needs of its worker and plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    pub(crate) upstream: &'a Upstream,
    pub(crate) slot: &'a Arc<Slot>,
    pub(crate) peer: Peer<'a>,
    pub(crate) limits: &'a Limits,
    pub(crate) ticks: &'a Ticks,
    pub(crate) named: &'a Named,
}

impl<'a> Way<'a> {
    pub(crate) fn of(
        conn: &'a Conn,
        served: &'a Served,
        identity: Option<&'a Identity>,
        named: &'a Named,
        slot: &'a Arc<Slot>,
    ) -> Self {
        let peer = Peer {
            agent: &conn.caller.name,
            provider: &served.provider,
            tls: identity.map_or(&served.tls, |identity| &identity.tls),
            target: &named.target,
        };
        let worker = &conn.worker;
        Self {
            upstream: &worker.upstream,
            slot,
            peer,
            limits: &worker.shared.limits,
            ticks: &worker.ticks,
            named,
        }
    }

    /// How long the answer's head may take.
    pub(super) fn patience(&self) -> Duration {
        let own = self.peer.provider.limits.timeout;
        own.unwrap_or(limits::time(self.limits.upstream_first_byte))
    }
}

/// A request with its credential on it, ready to be sent.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) head: Head,
    /// `None`: it is on its way.
    pub(crate) body: Option<RequestBody>,
    pub(crate) progress: Arc<Progress>,
    /// What was put on; `None`: nothing.
    pub(crate) used: Option<Used>,
    /// The client certificate that the upstream is shown; `None`: none.
    pub(crate) identity: Option<Arc<Identity>>,
    /// What answers a challenge of the upstream.
    pub(crate) answering: Option<Answering>,
    /// A WebSocket handshake, with hyper's handle on the agent's side.
    pub(crate) upgrade: Option<(Upgrade, OnUpgrade)>,
}

impl Signed {
    /// The versions of the secrets that its connection is for.
    pub(crate) fn versions(&self) -> Versions {
        Versions {
            credential: self.used.as_ref().map(|used| used.version),
            client_cert: self.identity.as_ref().map(|identity| identity.version),
        }
    }
}

/// The credential that is on a request.
#[derive(Debug)]
pub(crate) struct Used {
    /// The secret's version.
    pub(crate) version: Version,
    /// What the answer is searched for; `None` where the provider says `redact: false`.
    pub(crate) search: Option<Search>,
    /// The token that it is, if the secret was exchanged for one.
    pub(crate) token: Option<Token>,
}

/// Sends the request and waits for the answer's head.
pub(crate) async fn upstream(
    way: &Way<'_>,
    signed: &mut Signed,
    record: &mut Record,
) -> Result<Answer, Refused> {
    let mut retried = false;
    loop {
        let mut lease = way.slot.lease(way.upstream, way.peer).await?;
        let copied = if lease.rested && !retried {
            // Boxed: few requests are worth a copy.
            signed.copied(limits::count(way.limits.replay_body)).map(Box::new)
        } else {
            None
        };
        let request = signed.request(&lease, way)?;
        let answered = exchange(pin!(lease.send(request)), way, &signed.progress, record).await?;
        match answered {
            Ok(answer) => return Ok(received(answer, lease, Arc::clone(&signed.progress), way.limits)),
            Err(_) if signed.progress.fault().is_some() => return Err(cut(&signed.progress).into()),
            Err(SendError::Unsent(request)) if lease.reused && !retried => signed.put_back(*request),
            Err(SendError::Broken(error)) if copied.is_some() => {
                tracing::debug!(%error, "reused connection died before an answer, sending once more");
                let (head, body) = *copied.ok_or_else(|| broken(&error))?;
                (signed.head, signed.body) = (head, Some(body));
            }
            Err(SendError::Unsent(_)) => return Err(closed().into()),
            Err(SendError::Broken(error)) => return Err(broken(&error).into()),
        }
        retried = true;
    }
}

/// What a request stands on, asked again before it is sent once more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing<'a> {
    pub(crate) conn: &'a Conn,
    pub(crate) served: &'a Served,
    pub(crate) permit: &'a Permit,
}

impl Standing<'_> {
    /// Whether the plan in force serves the request as the one did that it began with, and the agent's rate has room.
    async fn recheck(self, version: Option<Version>) -> Result<(), Refusal> {
        let Self { conn, served, permit } = self;
        let shared = &conn.worker.shared;
        let plan = shared.plan.load_full();
        conn.recheck(&plan, SystemTime::now())?;
        let provider = &served.provider;
        match plan.route(permit.target(), &conn.caller.name) {
            Some(now) if now.id == served.id => now.current()?,
            Some(_) => return Err(changed().of_provider(&provider.name)),
            None => return Err(lead::gone().of_provider(&provider.name)),
        }
        if let Some(version) = version
            && served.credential(&plan.vault, permit).await?.version != version
        {
            return Err(changed().of_provider(&provider.name));
        }
        match provider.limits.requests_per_minute {
            Some(per_minute) => shared.rates.take(provider, &conn.caller.name, per_minute),
            None => Ok(()),
        }
    }
}

/// What was judged and signed by one definition is not sent again by another: the agent asks anew.
fn changed() -> Refusal {
    Refusal::new(Code::Dw2013, "the provider was changed before the request could be sent once more")
        .retry_after(Duration::from_secs(1))
}

/// As [`upstream`]; a model provider's `retry` asks again where nothing was answered: after 429 and 5xx, and where no
/// byte of the body had gone out. Only bodies that are held whole are sent again.
pub(crate) async fn patiently(
    way: &Way<'_>,
    standing: Standing<'_>,
    signed: &mut Signed,
    search: &mut Option<Option<Search>>,
    record: &mut Record,
) -> Result<Answer, Refused> {
    // What a person approved for once is not sent again after it may have been done.
    let retry = way.peer.provider.model.as_ref().and_then(|rules| rules.retry);
    match retry.filter(|_| standing.permit.trace().approval.is_none()) {
        None => challenge::upstream(way, signed, search, record).await,
        // Boxed: few requests are sent more than once.
        Some(retry) => Box::pin(repeatedly(way, standing, signed, retry, record)).await,
    }
}

async fn repeatedly(
    way: &Way<'_>,
    standing: Standing<'_>,
    signed: &mut Signed,
    retry: Retry,
    record: &mut Record,
) -> Result<Answer, Refused> {
    for attempt in 1..retry.attempts {
        let Some(again) = signed.again() else { break };
        let progress = Arc::clone(&signed.progress);
        let outcome = upstream(way, signed, record).await;
        let Some(wait) = wait_after(&outcome, &progress, retry, attempt) else { return outcome };
        drop(outcome);
        tracing::debug!(attempt, ?wait, "nothing was answered, asking again");
        record.while_lasting(tokio::time::sleep(wait)).await;
        standing.recheck(again.used.as_ref().map(|used| used.version)).await?;
        record.signed(&again);
        *signed = again;
    }
    upstream(way, signed, record).await
}

impl Signed {
    /// The same request again, with a count of its own; `None` where bytes of its body are gone.
    fn again(&self) -> Option<Self> {
        let (body, progress) = self.body.as_ref()?.afresh()?;
        let Head { method, target, headers } = &self.head;
        let head = Head { method: method.clone(), target: target.clone(), headers: headers.clone() };
        let used = self.used.as_ref().map(|used| Used { version: used.version, search: None, token: None });
        Some(Self { head, body: Some(body), progress, used, identity: None, answering: None, upgrade: None })
    }
}

/// How long to wait before the next attempt; `None`: this one counts. Half of the wait is left to chance, so that agents that
/// were refused together do not come back together.
fn wait_after(
    outcome: &Result<Answer, Refused>,
    progress: &Progress,
    retry: Retry,
    attempt: u32,
) -> Option<Duration> {
    let doubled =
        retry.initial.saturating_mul(1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX)).min(retry.most);
    let chance = getrandom::u32().unwrap_or_default();
    let wait = doubled / 2 + (doubled / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX));
    match outcome {
        Ok(answer) if is_unanswered(answer.status()) => {
            let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let asked = Duration::from_secs(asked.unwrap_or_default());
            (asked <= retry.most).then(|| wait.max(asked))
        }
        Err(refused) => (refused.0.code == Code::Dw2006 && progress.sent() == 0).then_some(wait),
        Ok(_) => None,
    }
}

/// Whether a status says that nothing was done: too many requests, or a failure of the vendor's.
pub(super) fn is_unanswered(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

/// Writing it, which may have to be done twice.
impl Signed {
    /// A copy for the one retry: idempotent methods whose body is still whole (RFC 9110 section 9.2.2).
    fn copied(&self, most: usize) -> Option<(Head, RequestBody)> {
        let idempotent = matches!(
            self.head.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
        );
        let body = self.body.as_ref().filter(|_| idempotent)?.again(most)?;
        let Head { method, target, headers } = &self.head;
        Some((Head { method: method.clone(), target: target.clone(), headers: headers.clone() }, body))
    }

    /// hyper gave the request back unsent.
    fn put_back(&mut self, request: Request<RequestBody>) {
        let (parts, body) = request.into_parts();
        self.head.headers = parts.headers;
        if let Some(target) = parts.uri.into_parts().path_and_query {
            self.head.target = target;
        }
        self.body = Some(body);
    }

    /// The request in the lease's protocol.
    fn request(&mut self, lease: &Lease, way: &Way<'_>) -> Result<Request<RequestBody>, Refusal> {
        let mut body = self.body.take().ok_or_else(closed)?;
        let mut headers = std::mem::take(&mut self.head.headers);
        let mut uri = http::uri::Parts::default();
        // Taken, not cloned: it keeps the buffer alive in which hyper read the agent's head, 8 KiB that the next read
        // can have again once the request is written.
        let target = std::mem::replace(&mut self.head.target, PathAndQuery::from_static("/"));
        uri.path_and_query = Some(target);
        let mut version = http::Version::HTTP_11;
        if lease.is_http2() {
            version = http::Version::HTTP_2;
            uri.scheme = Some(Scheme::HTTPS);
            uri.authority = Some(way.named.authority.clone());
            headers.remove(EXPECT);
            headers.remove(HOST);
        } else {
            if headers.contains_key(TE) {
                headers.insert(CONNECTION, HeaderValue::from_static("te"));
            }
            join_cookies(&mut headers);
            // The target's, whatever the agent wrote (invariant 1).
            headers.insert(HOST, way.named.host.clone());
            if headers.contains_key(EXPECT) {
                body.wait_for_continue(limits::time(way.limits.expect_wait));
            }
        }
        let mut request = Request::new(body);
        *request.version_mut() = version;
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = Uri::from_parts(uri)
            .map_err(|_| Refusal::new(Code::Dw2008, "the request target cannot be sent"))?;
        *request.headers_mut() = headers;
        count_interim(&mut request, &self.progress, way.limits);
        Ok(request)
    }
}

/// Has the interim answers to a request counted.
pub(super) fn count_interim(request: &mut Request<RequestBody>, progress: &Arc<Progress>, limits: &Limits) {
    let progress = Arc::clone(progress);
    progress.allow_interim(limits.interim_answers);
    hyper::ext::on_informational(request, move |interim| progress.note_interim(interim.status()));
}

/// Waits for the head. Slow uploads are not cut: the time runs anew as long as the body moves.
pub(super) async fn exchange(
    mut sending: Pin<&mut impl Future<Output = Result<Response<Incoming>, SendError>>>,
    way: &Way<'_>,
    progress: &Progress,
    record: &mut Record,
) -> Result<Result<Response<Incoming>, SendError>, Refused> {
    let limit = way.patience();
    let mut now = Instant::now();
    let mut moved = now;
    let mut before = progress.sent();
    let mut lasting = Some(Instant::from_std(record.lasts_from()));
    loop {
        let end = moved + limit;
        let next = lasting.map_or(end, |lasting| lasting.min(end));
        match way.ticks.until(now, next, sending.as_mut()).await {
            Some(_) if progress.has_too_many_interim() => {
                return Err(Refusal::new(Code::Dw2010, "the upstream sent too many interim answers").into());
            }
            Some(outcome) => return Ok(outcome),
            None => now = Instant::now(),
        }
        if lasting.is_some_and(|lasting| lasting <= now) {
            lasting = None;
            record.note_lasting();
        }
        if progress.sent() != before {
            (before, moved) = (progress.sent(), now);
        } else if end <= now {
            return Err(late("first byte", limit).into());
        }
    }
}

fn received(answer: Response<Incoming>, lease: Lease, progress: Arc<Progress>, limits: &Limits) -> Answer {
    progress.open_gate();
    answer.map(|body| UpstreamBody::new(body, lease, progress, limits::time(limits.stream_idle)))
}

/// h2 may split cookies into several fields; h1 has one (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let parts: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let sensitive = headers.get_all(COOKIE).iter().any(HeaderValue::is_sensitive);
    let joined = bytes::Bytes::from_owner(zeroize::Zeroizing::new(parts.join(&b"; "[..])));
    if let Ok(mut value) = HeaderValue::from_maybe_shared(joined) {
        value.set_sensitive(sensitive);
        headers.insert(COOKIE, value);
    }
}

/// The body was cut, as it is malformed or not what was signed; the upstream never had all of it.
fn cut(progress: &Progress) -> Refusal {
    let fault = progress.fault().map_or_else(String::new, |fault| fault.to_string());
    Refusal::new(Code::Dw2008, fault)
}

pub(super) fn closed() -> Refusal {
    Refusal::new(Code::Dw2006, "connect: the upstream closed the connection")
}

/// hyper's error names the cause; whether it is our reading of its answer or a broken connection decides the code.
pub(super) fn broken(error: &hyper::Error) -> Refusal {
    let text = crate::plan::chain(error);
    tracing::debug!(error = %text, "exchange failed");
    if let Some(refusal) = wants_certificate(&text) {
        return refusal;
    }
    if error.is_parse_too_large() {
        return Refusal::new(Code::Dw2010, "the upstream's head is over the limit");
    }
    if error.is_parse() || error.is_parse_status() {
        return Refusal::new(Code::Dw2010, "the upstream's answer is malformed");
    }
    Refusal::new(Code::Dw2006, "first byte: the upstream's connection broke before an answer")
}
