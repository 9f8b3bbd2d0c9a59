//! The fallbacks of a model provider, in base-URL mode: each is asked like the first one, with its own rules, credential and
//! record, where the one before it could not answer.

use std::sync::Arc;
use std::time::SystemTime;

use control::refusal::{Code, Refusal};
use control::rule::Path;
use http::{Method, Uri};

use crate::conn::Conn;
use crate::conn::base_url::{self, Entered};
use crate::conn::lead::Lead;
use crate::conn::plain::Named;
use crate::plan::{Plan, Served};
use crate::request::parse::Parsed;
use crate::request::record::Record;
use crate::request::refuse::{Dialect, Refused};
use crate::request::{Outcome, attempt, inject, send};

/// Asks the model provider, then its fallbacks until one answers. Each is asked by the plan that is in force then, and by
/// nobody who may not ask any more.
pub(crate) async fn journey(
    conn: &Arc<Conn>,
    mut plan: Arc<Plan>,
    entered: Entered,
    mut parsed: Parsed,
    record: &mut Record,
    dialect: &mut Dialect,
) -> Result<Outcome, Refused> {
    let Entered { mut named, tail, model } = entered;
    let Some((tail, first)) = tail.zip(model).filter(|_| can_go_again(&parsed)) else {
        return attempt(conn, &plan, &named, parsed, record, dialect).await;
    };
    super::hold(&mut parsed, &conn.worker.shared, record).await?;
    let mut asked = vec![Arc::clone(&first.provider.name)];
    loop {
        let again = parsed.again();
        let outcome = attempt(conn, &plan, &named, parsed, record, dialect).await;
        let Some(again) = again.filter(|_| is_unanswered(&outcome)) else { return outcome };
        plan = conn.worker.shared.plan.load_full();
        let Some(fallback) = next(conn, &plan, &first, &asked)? else { return outcome };
        close(outcome, record);
        asked.push(Arc::clone(&fallback.provider.name));
        (named, parsed) = towards(&fallback, &tail, again)?;
        tracing::info!(to = %fallback.provider.name, "a model provider did not answer, its fallback is asked");
        record.next_attempt(conn.next_id(), &conn.caller);
        record.target(&named.target);
        conn.follow(&plan, || {
            [&first, &fallback].into_iter().filter_map(|served| Lead::to_model(served)).collect()
        })?;
    }
}

/// The fallback whose turn it is, where the agent may still ask.
fn next(
    conn: &Conn,
    plan: &Plan,
    first: &Served,
    asked: &[Arc<str>],
) -> Result<Option<Arc<Served>>, Refusal> {
    conn.recheck(plan, SystemTime::now())?;
    let fallback = plan.fallback(&first.provider, asked, &conn.caller.name).cloned();
    fallback.iter().try_for_each(|fallback| fallback.current())?;
    Ok(fallback)
}

/// What asks a model: a JSON text, which can be held and sent again.
fn can_go_again(parsed: &Parsed) -> bool {
    parsed.upgrade.is_none() && parsed.head.method == Method::POST && inject::is_json(&parsed.head.headers)
}

/// Whether nothing was answered: the budget is used up, the vendor cannot be reached, has too much to do, or failed.
fn is_unanswered(outcome: &Result<Outcome, Refused>) -> bool {
    match outcome {
        Ok(Outcome::Answer(response)) => send::is_unanswered(response.status()),
        Ok(Outcome::WebSocket(_)) => false,
        Err(refused) => {
            // What cannot be counted has to change, whoever is asked.
            let is_over = refused.0.code == Code::Dw1009 && refused.0.status != 400;
            is_over || matches!(refused.0.code, Code::Dw1004 | Code::Dw2004 | Code::Dw2006 | Code::Dw2013)
        }
    }
}

/// What became of this attempt, as its own record shows it.
fn close(outcome: Result<Outcome, Refused>, record: &mut Record) {
    match outcome {
        Ok(Outcome::Answer(response)) => record.answered(response.status(), response.headers()),
        Ok(Outcome::WebSocket(_)) => {}
        Err(Refused(refusal)) => drop(record.refused(*refusal)),
    }
}

/// The request for a fallback: at its endpoint, without what was for the one before.
fn towards(fallback: &Served, tail: &str, mut parsed: Parsed) -> Result<(Arc<Named>, Parsed), Refusal> {
    let gone = || Refusal::new(Code::Dw1001, "the fallback is no model provider");
    let rules = fallback.provider.model.as_ref().ok_or_else(gone)?;
    let (named, target) = base_url::for_fallback(rules, tail)?;
    parsed.path = Path::of_uri(&Uri::from(target.clone()))
        .map_err(|error| Refusal::new(Code::Dw2008, error.to_string()))?;
    parsed.head.target = target;
    base_url::remove_keys(&mut parsed.head.headers);
    Ok((Arc::new(named), parsed))
}
