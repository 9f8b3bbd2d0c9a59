//! Stage 8: the credential onto the request. All that needs no secret is done first; the secret is opened by permit.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use control::policy::Permit;
use control::provider::Mode;
use control::refusal::{Code, Refusal};
use control::target::Target;
use http::Method;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::{Injector, Prepared, Token, renew};
use crate::conn::Conn;
use crate::limits::held::Holding;
use crate::plan::{Credential, Plan, Served};
use crate::request::body::{Progress, RequestBody};
use crate::request::challenge::Answering;
use crate::request::parse::{Parsed, Upgrade};
use crate::request::record::Record;
use crate::request::refuse::Refused;
use crate::request::scrub::coded::Decoding;
use crate::request::scrub::requested::{self, SmallRanges};
use crate::request::scrub::{Search, Standing, Use, Watch};
use crate::request::send::{Signed, Used};
use crate::schemes::{Errand, Head};
use crate::sought::Sought;
use crate::upstream::identity::Identity;
use crate::worker::{Shared, Worker};

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

    /// The request as it stands, without its credential.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Whether it opens a WebSocket.
    pub(crate) fn is_websocket(&self) -> bool {
        self.upgrade.is_some()
    }

    /// The whole body, which is held from now on.
    pub(crate) async fn whole_body(&mut self, most: usize, record: &mut Record) -> Result<Bytes, Refused> {
        if let Some(held) = self.prepared.held() {
            return Ok(held.clone());
        }
        // What follows a handshake is the socket's.
        if self.upgrade.is_some() {
            return Ok(Bytes::new());
        }
        let Some(incoming) = self.body.take() else { return Ok(Bytes::new()) };
        let reading = hold(incoming, most, record.holding());
        let whole = Box::pin(record.while_lasting(reading)).await?;
        self.prepared.hold_within(record.holding());
        self.prepared.keep(whole.clone());
        self.head.headers.remove(http::header::EXPECT);
        Ok(whole)
    }

    /// Reads a body that has to be held, and decides with it.
    pub(crate) async fn read_body(
        &mut self,
        injector: &Injector,
        record: &mut Record,
    ) -> Result<(), Refused> {
        if self.prepared.holds_body() {
            self.prepared.hold_within(record.holding());
        }
        let Some(most) = self.prepared.needs_body() else { return Ok(()) };
        let Some(incoming) = self.body.take() else { return Ok(()) };
        let reading = hold(incoming, most, record.holding());
        // Boxed: of the many requests that hold no body none should carry this along.
        let whole = Box::pin(record.while_lasting(reading)).await?;
        injector.read_body(&mut self.prepared, whole)?;
        self.head.headers.remove(http::header::EXPECT);
        Ok(())
    }
}

/// Everything before the secret: the agent's own credentials, dummies. A body that has to be held is read by
/// [`Ready::read_body`].
pub(crate) fn prepare(injector: &Injector, target: &Target, parsed: Parsed) -> Result<Ready, Refused> {
    let Parsed { mut head, mut body, upgrade, on_upgrade, path, told } = parsed;
    let mut prepared = injector.prepare(target, &mut head)?;
    if injector.signs(&prepared) && path.lost_dots() {
        // An object's key may hold them: another one than was named would be meant.
        let detail = "the path holds dot segments, which no AWS request needs";
        return Err(Refusal::new(Code::Dw2008, detail).into());
    }
    if let Some(told) = told {
        body = None;
        if prepared.needs_body().is_some() {
            injector.read_body(&mut prepared, told.bytes)?;
        } else {
            prepared.keep(told.bytes);
        }
    }
    if prepared.needs_body().is_some() && upgrade.is_some() {
        // A WebSocket handshake goes upstream as a GET without a body; what follows it is the socket's.
        injector.read_body(&mut prepared, Bytes::new())?;
    }
    Ok(Ready { head, prepared, body, upgrade: upgrade.zip(on_upgrade) })
}

/// Reads a body whole. It is over at its limit, where it has no room beside others, when nothing of it comes for too long,
/// and when it takes too long.
pub(crate) async fn hold<B>(body: B, most: usize, holding: Holding) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let (idle, whole) = (holding.idle, holding.whole);
    let (began, mut body) = (tokio::time::Instant::now(), Limited::new(body, most));
    let mut growing = holding.begin();
    loop {
        let left = whole.saturating_sub(began.elapsed());
        match timeout(idle.min(left), body.frame()).await {
            Err(_) if left <= idle => return Err(slow(whole)),
            Err(_) => return Err(stopped(idle)),
            Ok(None) => return Ok(growing.end()),
            Ok(Some(Err(error))) => return Err(unread(&*error, most)),
            Ok(Some(Ok(frame))) => {
                // Request trailers are dropped, as everywhere.
                if let Some(data) = frame.data_ref() {
                    growing.push(data)?;
                }
            }
        }
    }
}

/// What was opened for a request.
#[derive(Debug)]
pub(crate) struct Opened {
    /// `None`: nothing is injected.
    credential: Option<(Arc<Credential>, Option<Token>)>,
    /// The client certificate.
    identity: Option<Arc<Identity>>,
}

/// Opens the secrets by permit. Where a secret was changed meanwhile, or its token dropped, it is opened as it is now.
///
/// Gives back what serves the request from here on: the same definition, by which it was judged.
pub(crate) async fn open(
    conn: &Conn,
    plan: &Plan,
    served: Arc<Served>,
    permit: &Permit,
    ready: &Ready,
) -> Result<(Arc<Served>, Opened), Refused> {
    let refused = match opened(&conn.worker, plan, &served, permit, ready).await {
        Ok(opened) => return Ok((served, opened)),
        Err(refused) => refused,
    };
    let Some((plan, changed)) = changed(conn, &served, permit) else { return Err(refused) };
    // Boxed, as few requests meet a change.
    let opened = Box::pin(opened(&conn.worker, &plan, &changed, permit, ready)).await?;
    Ok((changed, opened))
}

/// What serves the request in the newest plan, where only the secret is another.
fn changed(conn: &Conn, served: &Served, permit: &Permit) -> Option<(Arc<Plan>, Arc<Served>)> {
    let plan = conn.worker.shared.plan.load_full();
    conn.recheck(&plan, SystemTime::now()).ok()?;
    let now = Arc::clone(plan.route(permit.target(), permit.agent())?);
    let is_other = now.id != served.id && now.made_from.own == served.made_from.own;
    (is_other && now.current().is_ok()).then_some((plan, now))
}

async fn opened(
    worker: &Arc<Worker>,
    plan: &Plan,
    served: &Arc<Served>,
    permit: &Permit,
    ready: &Ready,
) -> Result<Opened, Refused> {
    let mut credential = None;
    if ready.prepared.injects() {
        credential = Some(match served.injector.exchanging(&ready.prepared) {
            None => (served.credential(&plan.vault, permit).await?, None),
            Some(entry) => {
                let part = served.injector.part(entry, permit, &ready.head)?;
                // Who may not use what the exchange gives has none made.
                if let Some(of) = use_of(served, permit) {
                    refuse_if_blocked(&of, &worker.shared)?;
                }
                let token = renew::token(worker, &plan.vault, served, entry, permit, part).await?;
                (Arc::clone(&token.credential), Some(token))
            }
        });
    }
    let identity = served.identities.of(&plan.vault, permit, &served.tls).await?;
    Ok(Opened { credential, identity })
}

/// Puts on what was opened.
pub(crate) fn place(
    Opened { credential, identity }: Opened,
    served: &Served,
    permit: &Permit,
    ready: Ready,
    shared: &Arc<Shared>,
) -> Result<Signed, Refused> {
    let Ready { mut head, prepared, body, upgrade } = ready;
    let mut used = None;
    let mut stream = None;
    let mut answering = None;
    let held = if let Some((opened, token)) = credential {
        let of = Use {
            agent: permit.agent().shared(),
            secret: Arc::clone(&opened.secret),
            version: opened.version,
        };
        refuse_if_blocked(&of, shared)?;
        let signs = served.injector.signs(&prepared);
        let sought = opened.sought(prepared.entry()).ok_or_else(|| unsearchable(served))?;
        let default_port = if served.provider.mode == Mode::Plain { 80 } else { 443 };
        let (agent, target) = (permit.agent().as_str(), permit.target());
        let errand = Errand { agent, target, default_port, now: SystemTime::now };
        let placed = served.injector.place_towards(&opened.armed, prepared, &mut head, Some(errand))?;
        let own = placed.echoes.iter().filter(|_| served.provider.response.redact).cloned();
        let sought = sought.with(&own.collect::<Vec<_>>()).map_err(|_| unsearchable(served))?;
        shape_answer(&mut head, served, &sought, signs);
        used = Some(Used { version: opened.version, search: search(shared, of, &sought), token });
        stream = placed.stream;
        answering = placed.responder.map(|responder| Answering { responder, sought });
        placed.body
    } else {
        prepared.into_body()
    };
    let progress = Arc::new(Progress::default());
    let body = match (held, body) {
        (Some(bytes), _) => match stream {
            // Held for a person; it goes out as the signature needs it.
            Some(stream) => RequestBody::held_payload(bytes, stream, Arc::clone(&progress))
                .map_err(|fault| Refusal::new(Code::Dw2008, fault.to_string()))?,
            None => RequestBody::whole(bytes, Arc::clone(&progress)),
        },
        (None, Some(incoming)) => match stream {
            Some(stream) => RequestBody::payload(incoming, stream, Arc::clone(&progress))
                .map_err(|fault| Refusal::new(Code::Dw2008, fault.to_string()))?,
            None => RequestBody::stream(incoming, Arc::clone(&progress)),
        },
        (None, None) => RequestBody::whole(Bytes::new(), Arc::clone(&progress)),
    };
    Ok(Signed { head, body: Some(body), progress, used, identity, answering, upgrade })
}

/// Asks the upstream only for answers that we can search: codings that we read, no slices that could rebuild an echo.
fn shape_answer(head: &mut Head, served: &Served, sought: &Sought, signs: bool) {
    if sought.scanner.is_empty() {
        return;
    }
    requested::codings(&mut head.headers);
    let rule = if served.provider.response.small_ranges_allowed || signs {
        SmallRanges::Allowed
    } else {
        SmallRanges::Refused
    };
    let allowed = head.headers.get(http::header::RANGE).is_none_or(|range| {
        head.method == Method::HEAD || requested::range_allowed(range, sought.shortest_non_public, rule)
    });
    if !allowed {
        head.headers.remove(http::header::RANGE);
        head.headers.remove(http::header::IF_RANGE);
    }
}

/// The use of the provider's secret by who asks; `None`: the secret has no version, so that nothing was counted of it.
fn use_of(served: &Served, permit: &Permit) -> Option<Use> {
    let secret = served.provider.auth.as_ref()?.secret.to_string().into();
    Some(Use { agent: permit.agent().shared(), secret, version: served.made_from.version? })
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

fn unsearchable(served: &Served) -> Refusal {
    Refusal::new(Code::Dw1004, "answers could not be searched for the credential")
        .of_provider(&served.provider.name)
}

fn stopped(idle: Duration) -> Refusal {
    let detail = format!("the body has to be held whole for this rule, and nothing of it came for {idle:?}");
    Refusal::new(Code::Dw2008, detail)
}

fn slow(whole: Duration) -> Refusal {
    let detail = format!("the body has to be held whole for this rule, and was not there within {whole:?}");
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
fn search(shared: &Arc<Shared>, of: Use, sought: &Sought) -> Option<Search> {
    if sought.scanner.is_empty() {
        return None;
    }
    let watch = Arc::new(Watching { shared: Arc::clone(shared), of });
    let windows = Arc::clone(&shared.windows);
    let decoding =
        Decoding { free: shared.limits.decoded_bytes, ratio: shared.limits.decoded_ratio, windows };
    Some(Search { scanner: Arc::clone(&sought.scanner), watch, decoding })
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    fn holding(idle: u64, whole: u64) -> Holding {
        let (idle, whole) = (Duration::from_secs(idle), Duration::from_secs(whole));
        Holding { all: (Arc::default(), 1 << 20), own: (Arc::default(), 1 << 20), idle, whole }
    }

    /// A byte each second, without end.
    fn trickle() -> impl http_body::Body<Data = Bytes, Error = hyper::Error> + Unpin {
        let next = |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x"))), ()))
        };
        Box::pin(StreamBody::new(futures_util::stream::unfold((), next)).map_err(|never| match never {}))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_ends_at_its_deadline() {
        let began = tokio::time::Instant::now();
        let refusal = hold(trickle(), 1 << 20, holding(300, 120)).await.unwrap_err();
        assert_eq!((refusal.code, began.elapsed().as_secs()), (Code::Dw2008, 120));
        let refusal = hold(trickle(), 1 << 20, holding(0, 120)).await.unwrap_err();
        assert!(refusal.detail.contains("nothing of it came"), "{refusal}");
        let refusal = hold(trickle(), 16, holding(300, 120)).await.unwrap_err();
        assert_eq!(refusal.code, Code::Dw2012);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_no_more_room_than_its_agent() {
        let mut room = holding(300, 3000);
        room.own.1 = 100;
        assert_eq!(hold(trickle(), 1 << 20, room).await.unwrap_err().code, Code::Dw1009);
    }
}
