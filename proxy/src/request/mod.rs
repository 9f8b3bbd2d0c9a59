//! The journey of a request, top to bottom: [`serve`].
//!
//! parse 5 · select 6 · decide 7 (and [`model`]) · inject 8 · send 9 · scrub 10 · refuse 11. Each stage consumes what the one before it
//! made, so none can be skipped: there is no `Permit` without policy, no `Signed` without a permit, and no answer reaches
//! the agent but through the scrubber.
//!
//! Beside them, for few requests: `local` answers in an issuer's place (6), `told` reads a body that says what is asked
//! (before 7), `ask` has a person approve the request (8), `model` judges models and counts tokens (after 7), `challenge` answers an upstream's challenge (9), `listing`
//! cuts an MCP server's lists (before 10). A model provider with fallbacks makes the journey once for each.

pub(crate) mod record;
pub(crate) mod parse;
pub(crate) mod select;
pub(crate) mod local;
pub(crate) mod told;
pub(crate) mod decide;
pub(crate) mod ask;
pub mod model;
pub mod inject;
pub(crate) mod send;
pub(crate) mod challenge;
pub mod scrub;
pub(crate) mod listing;
pub(crate) mod answer;
pub(crate) mod refuse;
pub(crate) mod upgrade;
pub(crate) mod body;

use std::sync::Arc;

use control::policy::Verdict;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::conn::Conn;
use crate::conn::base_url::{self, Entered};
use crate::conn::plain::Named;
use crate::plan::Plan;
use answer::{Body, Held};
use model::fallback;
use parse::Parsed;
use record::Record;
use refuse::{Dialect, Refused};
use send::Way;
use upgrade::WebSocket;

/// Serves one request, from its head to the head of its answer; the body and the record follow by themselves.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` keeps what it was given twice, and is copied with it"
)]
pub(crate) fn serve(conn: Arc<Conn>, request: Request<Incoming>) -> impl Future<Output = Response<Body>> {
    async move {
        let mut record = conn.open_record(&request);
        let (mut dialect, version) = (Dialect::of(request.headers(), request.version()), request.version());
        let is_by_base_url = conn.is_by_base_url(&request);
        let outcome = match enter(&conn, request, &mut record) {
            Err(refused) => Err(refused),
            Ok((plan, entered, parsed)) if !entered.has_fallbacks() => {
                attempt(&conn, &plan, &entered.named, parsed, &mut record, &mut dialect).await
            }
            // Boxed: of the many requests that have no fallback none should carry this along.
            Ok((plan, entered, parsed)) => {
                Box::pin(fallback::journey(&conn, plan, entered, parsed, &mut record, &mut dialect)).await
            }
        };
        let mut response = match outcome {
            Ok(Outcome::Answer(response)) => answer::recorded(response, record),
            Ok(Outcome::WebSocket(socket)) => upgrade::begin(&conn, *socket, record),
            Err(Refused(refusal)) => {
                conn.end_after(&refusal, version);
                let refusal = record.refused(*refusal);
                answer::refused(&refusal, &dialect, version, record)
            }
        };
        if is_by_base_url {
            base_url::seal(response.headers_mut());
        }
        response
    }
}

/// What a journey ends with.
pub(crate) enum Outcome {
    Answer(Response<Body>),
    WebSocket(Box<WebSocket>),
}

/// From the connection to a request with one reading, under one snapshot from start to end.
fn enter(
    conn: &Conn,
    mut request: Request<Incoming>,
    record: &mut Record,
) -> Result<(Arc<Plan>, Entered, Parsed), Refused> {
    let shared = &conn.worker.shared;
    let plan = shared.plan.load_full();
    conn.recheck(&plan, record.began())?;
    let entered = conn.enter(&plan, &mut request)?;
    conn.follow(&plan, || entered.leads(&plan, &conn.caller.name))?;
    let named = &entered.named;
    record.target(&named.target);
    let parsed = parse::request(request, &named.target, named.default_port, &shared.limits)?;
    Ok((plan, entered, parsed))
}

/// From the target to the head of its answer; once for nearly every request.
#[expect(clippy::manual_async_fn, reason = "as above")]
fn attempt(
    conn: &Arc<Conn>,
    plan: &Plan,
    named: &Named,
    mut parsed: Parsed,
    record: &mut Record,
    dialect: &mut Dialect,
) -> impl Future<Output = Result<Outcome, Refused>> + Send {
    async move {
        let exchange = conn.life.exchange();
        let shared = &conn.worker.shared;
        record.path(&parsed.path);
        conn.refuse_if_mismatched()?;
        let issuers = local::providers(plan, named, &conn.caller.name, &parsed.path);
        if !issuers.is_empty() {
            // Boxed, as few requests are for an issuer.
            return Box::pin(local::answer(conn, named, &issuers, parsed, record)).await.map(Outcome::Answer);
        }
        named.refuse_unrouted_plain_http(plan, &conn.caller)?;
        let served = select::route(plan, &named.target, &conn.caller)?;
        record.provider(&served);
        named.refuse_plain_http(&served)?;
        let held = Held { _exchange: exchange, _seat: conn.request_seat()? };
        told::read(&served, &conn.caller, &named.target, &mut parsed, &shared.limits, record, dialect)
            .await?;
        let verdict = decide::verdict(&served, &conn.caller, &named.target, &mut parsed)?;
        let meter = model::judge(&served, &conn.caller, &named.target, &mut parsed, shared, record).await?;
        decide::rate(&served, &conn.caller, &shared.rates, &parsed)?;
        record.meter(meter);
        let mut ready = inject::prepare(&served.injector, &named.target, parsed)?;
        ready.read_body(&served.injector, record).await?;
        let permit = match verdict {
            Verdict::Allow(permit) => permit,
            // Boxed, as few requests need a person.
            Verdict::Ask(question) => {
                Box::pin(ask::person(conn, &served, *question, &mut ready, record)).await?
            }
        };
        record.permitted(&permit, ready.scheme(&served)).await?; // no place in the audit, no secret
        let (served, opened) = inject::open(conn, plan, served, &permit, &ready).await?;
        let mut signed = inject::place(opened, &served, &permit, ready, shared)?;
        record.signed(&signed);
        let slot = conn.slot(&served, signed.versions(), &named.target);
        let identity = signed.identity.take();
        let way = Way::of(conn, &served, identity.as_deref(), named, &slot);
        let mut search = signed.used.as_mut().map(|used| used.search.take());
        if let Some(agent) = signed.upgrade.take() {
            // Boxed, so that the other requests do not carry the room for it.
            return Box::pin(upgrade::handshake(&way, signed, agent, search, &served, held, record)).await;
        }
        let token = signed.used.as_mut().and_then(|used| used.token.take());
        let standing = send::Standing { conn, served: &served, permit: &permit };
        let answer = send::patiently(&way, standing, &mut signed, &mut search, record).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            token.iter().for_each(inject::Token::refused);
        }
        let answer = listing::of(answer, &served, &shared.limits, record).await?;
        let mut response = answer::scrub(answer, search, &served, &shared.limits, held)?;
        answer::begin(&mut response).await?;
        Ok(Outcome::Answer(response))
    }
}
