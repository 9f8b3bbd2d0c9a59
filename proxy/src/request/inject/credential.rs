//! Stage 8: the credential onto the request. All that needs no secret is done first; the secret is opened by permit.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use control::policy::Permit;
use control::provider::Mode;
use control::refusal::{Code, Refusal};
use control::target::Target;
use http::Method;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::{Injector, Prepared};
use crate::limits::{self, Limits};
use crate::plan::{Credential, Plan, Served};
use crate::request::body::{Progress, RequestBody};
use crate::request::parse::{Parsed, Upgrade};
use crate::request::record::Record;
use crate::request::refuse::Refused;
use crate::request::scrub::coded::Decoding;
use crate::request::scrub::requested::{self, SmallRanges};
use crate::request::scrub::{Search, Standing, Use, Watch};
use crate::request::send::{Signed, Used};
use crate::schemes::{Errand, Head};
use crate::worker::Shared;

/// A request that is judged; only the credential is missing.
#[derive(Debug)]
pub(crate) struct Ready {
    head: Head,
    prepared: Prepared,
    body: Option<Incoming>,
    upgrade: Option<(Upgrade, hyper::upgrade::OnUpgrade)>,
}

impl Ready {
    /// The scheme that puts the credential on; `None`: none goes on.
    pub(crate) fn scheme(&self, served: &Served) -> Option<&'static str> {
        served.injector.scheme(&self.prepared).filter(|_| self.prepared.injects())
    }
}

/// Everything before the secret: the agent's own credentials, dummies; a body that has to be held is read.
pub(crate) async fn prepare(
    injector: &Injector,
    target: &Target,
    parsed: Parsed,
    limits: &Limits,
    record: &mut Record,
) -> Result<Ready, Refused> {
    let Parsed { mut head, body, upgrade, on_upgrade, path, form } = parsed;
    let mut prepared = injector.prepare(target, &mut head)?;
    if injector.signs(&prepared) && path.lost_dots() {
        // An object's key may hold them: another one than was named would be meant.
        let detail = "the path holds dot segments, which no AWS request needs";
        return Err(Refusal::new(Code::Dw2008, detail).into());
    }
    let mut body = body;
    if let Some(form) = form {
        body = None;
        if prepared.needs_body().is_some() {
            injector.read_body(&mut prepared, form)?;
        } else {
            prepared.keep(form);
        }
    }
    if let Some(most) = prepared.needs_body()
        && let Some(incoming) = body.take()
    {
        // Boxed: of the many requests that hold no body none should carry this along.
        let hold = Box::pin(record.while_lasting(hold(incoming, most, limits::time(limits.stream_idle))));
        let whole = hold.await?;
        injector.read_body(&mut prepared, whole)?;
        head.headers.remove(http::header::EXPECT);
    }
    Ok(Ready { head, prepared, body, upgrade: upgrade.zip(on_upgrade) })
}

/// Reads a body whole. It is over at its limit, or when nothing of it comes for too long.
pub(crate) async fn hold<B>(body: B, most: usize, idle: Duration) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let mut body = Limited::new(body, most);
    let mut whole = BytesMut::new();
    loop {
        match timeout(idle, body.frame()).await {
            Err(_) => return Err(stopped(idle)),
            Ok(None) => return Ok(whole.freeze()),
            Ok(Some(Err(error))) => return Err(unread(&*error, most)),
            Ok(Some(Ok(frame))) => {
                // Request trailers are dropped, as everywhere.
                if let Some(data) = frame.data_ref() {
                    whole.extend_from_slice(data);
                }
            }
        }
    }
}

/// Opens the secret by permit, unless nothing is injected, and puts it on.
pub(crate) async fn credential(
    plan: &Plan,
    served: &Served,
    permit: &Permit,
    ready: Ready,
    shared: &Arc<Shared>,
) -> Result<Signed, Refused> {
    let Ready { mut head, prepared, body, upgrade } = ready;
    let mut used = None;
    let mut stream = None;
    let held = if prepared.injects() {
        let opened = served.credential(&plan.vault, permit).await?;
        let of = Use {
            agent: permit.agent().shared(),
            secret: Arc::clone(&opened.secret),
            version: opened.version,
        };
        refuse_if_blocked(&of, shared)?;
        let signs = served.injector.signs(&prepared);
        let default_port = if served.provider.mode == Mode::Plain { 80 } else { 443 };
        let errand = Errand { target: permit.target(), default_port, now: SystemTime::now };
        let placed = served.injector.place_towards(&opened.armed, prepared, &mut head, Some(errand))?;
        stream = placed.stream;
        shape_answer(&mut head, served, &opened, signs);
        used = Some(Used { version: opened.version, search: search(shared, of, &opened) });
        placed.body
    } else {
        prepared.into_body()
    };
    let progress = Arc::new(Progress::default());
    let body = match (held, body) {
        (Some(bytes), _) => RequestBody::whole(bytes, Arc::clone(&progress)),
        (None, Some(incoming)) => match stream {
            Some(stream) => RequestBody::payload(incoming, stream, Arc::clone(&progress))
                .map_err(|fault| Refusal::new(Code::Dw2008, fault.to_string()))?,
            None => RequestBody::stream(incoming, Arc::clone(&progress)),
        },
        (None, None) => RequestBody::whole(Bytes::new(), Arc::clone(&progress)),
    };
    Ok(Signed { head, body, progress, used, upgrade })
}

/// Asks the upstream only for answers that we can search: codings that we read, no slices that could rebuild an echo.
fn shape_answer(head: &mut Head, served: &Served, credential: &Credential, signs: bool) {
    if credential.scanner.is_empty() {
        return;
    }
    requested::codings(&mut head.headers);
    let rule = if served.provider.response.small_ranges_allowed || signs {
        SmallRanges::Allowed
    } else {
        SmallRanges::Refused
    };
    let allowed = head.headers.get(http::header::RANGE).is_none_or(|range| {
        head.method == Method::HEAD || requested::range_allowed(range, credential.shortest_non_public, rule)
    });
    if !allowed {
        head.headers.remove(http::header::RANGE);
        head.headers.remove(http::header::IF_RANGE);
    }
}

/// DW2009: this agent and version had three events within an hour (ARCHITECTURE.md, "Scrubbing").
fn refuse_if_blocked(of: &Use, shared: &Shared) -> Result<(), Refusal> {
    match shared.incidents.standing(of) {
        Standing::Open => Ok(()),
        Standing::Blocked => Err(Refusal::new(
            Code::Dw2009,
            "answers repeatedly held parts of this credential, so its use by this agent is stopped until it is rotated",
        )),
    }
}

fn stopped(idle: Duration) -> Refusal {
    let detail = format!("the body has to be held whole for this rule, and nothing of it came for {idle:?}");
    Refusal::new(Code::Dw2008, detail)
}

fn unread(error: &(dyn std::error::Error + Send + Sync + 'static), limit: usize) -> Refusal {
    if error.is::<LengthLimitError>() {
        return Refusal::new(
            Code::Dw2012,
            format!("the body has to be held whole for this rule and is over {limit} bytes"),
        );
    }
    tracing::debug!(%error, "body not read");
    Refusal::new(Code::Dw2008, "the body could not be read")
}

/// Notes the events of one exchange where the next use will look.
#[derive(Debug)]
struct Watching {
    shared: Arc<Shared>,
    of: Use,
}

/// What the answer is searched for, and who hears of it.
fn search(shared: &Arc<Shared>, of: Use, credential: &Credential) -> Option<Search> {
    if credential.scanner.is_empty() {
        return None;
    }
    let watch = Arc::new(Watching { shared: Arc::clone(shared), of });
    let windows = Arc::clone(&shared.windows);
    let decoding =
        Decoding { free: shared.limits.decoded_bytes, ratio: shared.limits.decoded_ratio, windows };
    Some(Search { scanner: Arc::clone(&credential.scanner), watch, decoding })
}

impl Watch for Watching {
    fn found(&self, _needle: usize) {
        self.shared.metrics.masked.inc();
    }

    fn event(&self, _needle: usize) {
        let standing = self.shared.incidents.record(&self.of, Instant::now());
        tracing::warn!(agent = %self.of.agent, secret = %self.of.secret, ?standing, "answer held part of a credential");
    }
}
