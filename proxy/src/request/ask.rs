//! Between the stages 8 and 9, for few requests: what a rule lets through only with a person's approval.
//!
//! Everything that refuses without a person has been asked before, so that nobody is bothered for what would be refused, and
//! nothing secret has been opened. The whole body is held: what was approved is what is sent. An approval is taken last of
//! all, since it may be good for one request.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use control::approval::{Answer, Preview};
use control::policy::{Bound, Outgoing, Permit, Question};
use control::refusal::{Code, Refusal};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::inject::Ready;
use super::record::Record;
use super::refuse::Refused;
use crate::asker::{AskError, Wait};
use crate::conn::{Conn, lead};
use crate::limits;
use crate::plan::Served;

/// When it makes sense to send a request again that nobody has decided about.
const AGAIN: Duration = Duration::from_secs(15);
/// The same where an agent has too many open questions.
const LATER: Duration = Duration::from_secs(300);
/// How often a request that waits asks again, should what was decided not be heard of, and looks whether it still stands.
const LOOK: Duration = Duration::from_secs(5);

/// Asks for a request that is ready but for its credential; waits for the answer for as long as the rule says.
///
/// # Errors
/// DW1003 as long as no person has approved exactly this; DW2012 for a body that cannot be held.
pub(crate) async fn person(
    conn: &Conn,
    served: &Arc<Served>,
    question: Question,
    ready: &mut Ready,
    record: &mut Record,
) -> Result<Permit, Refused> {
    let shared = &conn.worker.shared;
    let hold = question.hold();
    let unbound = question.refusal();
    let body = ready.whole_body(limits::count(shared.limits.buffered_body), record).await?;
    let project = shared.asker.project(&served.provider).map_err(|error| unasked(unbound, &error))?;
    let preview = question.preview(&body);
    let head = ready.head();
    let shown = served.injector.shown_target(question.target(), &head.target);
    let bound = question.bind(
        &project,
        Outgoing {
            target: &head.target,
            shown: Some(&shown),
            headers: &head.headers,
            body: &body,
            scheme: ready.scheme(served),
            websocket: ready.is_websocket(),
        },
    );
    shared.may_ask(&conn.caller.name)?;
    let deadline = Instant::now() + hold.unwrap_or_default();
    let wait = shared.asker.listen();
    let asked = (record.id(), preview);
    let answering = answer(conn, served, &bound, asked, wait, deadline);
    let answer = Box::pin(record.while_lasting(answering)).await?;
    Ok(granted(bound, answer)?)
}

/// The answer, or the last one before the deadline.
async fn answer(
    conn: &Conn,
    served: &Arc<Served>,
    bound: &Bound,
    (request, preview): (String, Option<Preview>),
    mut wait: Wait,
    deadline: Instant,
) -> Result<Answer, Refusal> {
    let asker = &conn.worker.shared.asker;
    loop {
        recheck(conn, served, bound)?;
        let answer = asker.ask(bound.binding(), &request, preview.as_ref()).await;
        let answer = answer.map_err(|error| unasked(bound.refusal("nobody can be asked now"), &error))?;
        let Answer::Open { id, .. } = &answer else { return Ok(answer) };
        let look = deadline.min(Instant::now() + LOOK);
        let heard = tokio::time::timeout_at(look, wait.decided(id)).await;
        if heard.is_err() && Instant::now() >= deadline {
            return Ok(answer);
        }
    }
}

/// Whether the request still stands on what it was judged by: an approval is not taken for one that does not.
fn recheck(conn: &Conn, served: &Arc<Served>, bound: &Bound) -> Result<(), Refusal> {
    let plan = conn.worker.shared.plan.load_full();
    conn.recheck(&plan, SystemTime::now())?;
    served.current()?;
    match plan.route(bound.target(), &conn.caller.name) {
        Some(now) if now.made_from.own == served.made_from.own => Ok(()),
        Some(_) => Err(Refusal::new(Code::Dw2013, "the provider was changed while the request waited")
            .of_provider(&served.provider.name)
            .retry_after(Duration::from_secs(1))),
        None => Err(lead::gone().of_provider(&served.provider.name)),
    }
}

/// The permit of what was approved.
fn granted(bound: Bound, answer: Answer) -> Result<Permit, Refusal> {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    match answer {
        Answer::Granted(grant) => bound.permit(grant, now),
        Answer::Open { id, .. } => {
            Err(bound.refusal(&format!("nobody has decided yet (ask {id})")).retry_after(AGAIN))
        }
        Answer::Denied { id, until } => {
            let left = u64::try_from(until.saturating_sub(now)).unwrap_or_default();
            Err(bound
                .refusal(&format!("a person has denied it (ask {id})"))
                .retry_after(Duration::from_secs(left)))
        }
        Answer::Full => {
            Err(bound.refusal("too much that this agent has asked for is undecided").retry_after(LATER))
        }
    }
}

fn unasked(refusal: Refusal, error: &AskError) -> Refusal {
    tracing::error!(error = %crate::plan::chain(error), "nobody can be asked");
    refusal.retry_after(AGAIN)
}
