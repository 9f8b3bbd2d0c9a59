//! Between 7 and 8, for model providers: which model a request asks and for how much, judged by its body or path; and what
//! its answer used.
//!
//! Where something is limited the body is held whole (DW2012 above the limit), parsed once and strictly, and sent byte for
//! byte. A [`Meter`] travels with the record: it counts while the answer passes, and settles with the record's end, however
//! the exchange ends.

pub(crate) mod budget;
pub(crate) mod fallback;
pub mod usage;

use std::sync::Arc;

use control::audit::ModelUse;
use control::model::{Api, Asked, Fault, ModelRules, Reading, Version, reading};
use control::refusal::{Code, Refusal};
use control::target::Target;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode};

use super::decide;
use super::inject;
use super::parse::Parsed;
use super::record::Record;
use super::told::{self, Read};
use crate::conn::identify::Caller;
use crate::limits;
use crate::plan::Served;
use crate::schemes::Head;
use crate::worker::Shared;
use budget::Reservation;
use usage::{Counter, Tokens};

/// What one answer without figures is taken to have generated where its request sets no limit, and at most: no model
/// generates more, whatever a request asks for.
const GENERATED_MOST: u64 = 262_144;
/// What a model is taken to have read where that is not all in the request: no model takes more.
const CONTEXT_MOST: u64 = 2_097_152;
/// More than any request comes to: what is beyond it is taken as this, so that sums stay sums.
const REQUEST_MOST: u64 = 1 << 40;

/// A server that obeys one of these takes the request for another than was judged.
const OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Judges a request to a model provider; `None`: it asks no model, or is no such request.
///
/// # Errors
/// DW1002 by the rules, DW1009 over the budget, DW2008 for a body that cannot be judged, DW2012 for one that is too long.
pub(crate) async fn judge(
    served: &Served,
    caller: &Caller,
    target: &Target,
    parsed: &mut Parsed,
    shared: &Shared,
    record: &mut Record,
) -> Result<Option<Meter>, Refusal> {
    let Some(rules) = &served.provider.model else { return Ok(None) };
    let judging = Box::pin(judged(rules, served, caller, target, parsed, shared, record));
    judging.await.map_err(|refusal| refusal.of_provider(&served.provider.name))
}

async fn judged(
    rules: &ModelRules,
    served: &Served,
    caller: &Caller,
    target: &Target,
    parsed: &mut Parsed,
    shared: &Shared,
    record: &mut Record,
) -> Result<Option<Meter>, Refusal> {
    let read =
        reading(&decide::facts(served, &caller.name, target, &parsed.head, &parsed.path, None), rules.vendor);
    if rules.limits() {
        // Where a credential goes on they are gone already.
        OVERRIDES.iter().for_each(|name| drop(parsed.head.headers.remove(*name)));
    }
    let (api, in_path) = match read {
        // Whatever is said through it is not read.
        _ if parsed.upgrade.is_some() && rules.limits() => return Err(rules.unreadable()),
        Reading::Unreadable if rules.limits() => return Err(rules.unreadable()),
        Reading::Unreadable | Reading::Free => return Ok(None),
        Reading::Body(api) => (api, None),
        Reading::Path(api, model) => (api, Some(model)),
    };
    let mut asked = Asked { answers: 1, ..Asked::default() };
    if rules.limits() {
        refuse_other_bodies(&parsed.head.headers)?;
        refuse_other_parameters(parsed.head.target.query().unwrap_or_default())?;
        // It would take the figures out of the answer.
        parsed.head.headers.remove("x-goog-fieldmask");
    }
    if rules.limits() || rules.retry.is_some() {
        hold(parsed, shared, record).await?;
    }
    if rules.limits() {
        let body = parsed.told.as_ref().map_or(&[][..], |told| &told.bytes);
        asked = Asked::read(rules.vendor, api, body).map_err(unread)?;
        if rules.tokens_per_day.is_some() && api.generates() {
            asked.look_for_references(body).map_err(unread)?;
        }
    }
    if let Some(model) = &in_path {
        asked.add_model(model);
    }
    if rules.limits() {
        rules.judge(api, &asked)?;
    }
    add_version(rules, &mut parsed.head)?;
    // Its figures have to be read, and what is coded is only searched.
    parsed.head.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let mut meter = Meter::new(api, &asked, parsed.told.as_ref().map_or(0, |told| told.bytes.len() as u64));
    if rules.tokens_per_day.is_some() {
        meter.reservation = Some(shared.budgets.reserve(&served.provider, rules, meter.most())?);
    }
    Ok(Some(meter))
}

/// The body has to be JSON that nothing else could be read from.
fn refuse_other_bodies(headers: &HeaderMap) -> Result<(), Refusal> {
    if inject::is_json(headers) && !told::is_coded(headers) {
        return Ok(());
    }
    Err(Refusal::new(
        Code::Dw2008,
        "this provider limits models or tokens: the body has to be JSON (`content-type: application/json`), without a content coding",
    ))
}

/// Parameters that a vendor could take for the body's, or that change what is answered: a model, Google's `fields`, another
/// `alt`.
fn refuse_other_parameters(query: &str) -> Result<(), Refusal> {
    let is_known = |pair: &str| {
        matches!(pair.split_once('=').unwrap_or((pair, "")), ("api-version" | "key", _))
            || matches!(pair, "" | "beta=true" | "alt=sse" | "alt=json")
    };
    if query.split('&').all(|pair| !pair.contains(';') && is_known(pair)) {
        return Ok(());
    }
    Err(Refusal::new(
        Code::Dw1002,
        "this provider limits models or tokens: of parameters only `api-version`, `key`, `beta=true`, `alt=sse` and `alt=json` are let through",
    ))
}

/// Reads the body, to judge it or to send it again.
async fn hold(parsed: &mut Parsed, shared: &Shared, record: &mut Record) -> Result<(), Refusal> {
    let Some(body) = parsed.body.take() else { return Ok(()) };
    let limits = &shared.limits;
    let reading = inject::hold(body, limits::count(limits.model_body), record.holding());
    parsed.told = Some(Read::unjudged(record.while_lasting(reading).await?));
    parsed.head.headers.remove(EXPECT);
    Ok(())
}

fn unread(fault: Fault) -> Refusal {
    Refusal::new(Code::Dw2008, fault.to_string())
}

/// `apiVersion`, where the request names none.
fn add_version(rules: &ModelRules, head: &mut Head) -> Result<(), Refusal> {
    let Some(version) = &rules.api_version else { return Ok(()) };
    match rules.vendor.version {
        Version::None => {}
        Version::Header(name) => {
            if let (false, Ok(value)) = (head.headers.contains_key(name), HeaderValue::from_str(version)) {
                head.headers.insert(HeaderName::from_static(name), value);
            }
        }
        Version::Query(name) => {
            let query = head.target.query().unwrap_or_default();
            let is_there = query.split('&').any(|pair| pair.split('=').next() == Some(name));
            // Behind `/openai/v1` there is none.
            if !is_there && !head.target.path().contains("/openai/v1") {
                let sign = if query.is_empty() { "?" } else { "&" };
                let path = head.target.as_str().trim_end_matches('?');
                head.target = PathAndQuery::try_from(format!("{path}{sign}{name}={version}"))
                    .map_err(|_| Refusal::new(Code::Dw2008, "the request target is malformed"))?;
            }
        }
    }
    Ok(())
}

/// What one request used.
#[derive(Debug)]
pub(crate) struct Meter {
    api: Api,
    model: Option<Arc<str>>,
    /// What the model reads at most: no token is shorter than a byte of the request.
    input: u64,
    /// What it generates at most, in all answers.
    output: u64,
    /// How many answers were asked for.
    answers: u64,
    reservation: Option<Reservation>,
    answer: Option<(StatusCode, Counter)>,
    /// The answer came to its own end.
    is_whole: bool,
}

impl Meter {
    fn new(api: Api, asked: &Asked, body: u64) -> Self {
        let model = asked.models.first().filter(|model| is_name(model)).map(|model| model.as_str().into());
        Self {
            api,
            model,
            input: read_most(api, asked, body),
            output: if api.generates() { generated_most(asked) } else { 0 },
            answers: asked.answers,
            reservation: None,
            answer: None,
            is_whole: false,
        }
    }

    /// What the answer can come to, as far as it is known before.
    fn most(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// As records show it before the answer.
    pub(crate) fn begun(&self) -> ModelUse {
        ModelUse { model: self.model.clone(), ..ModelUse::default() }
    }

    /// The answer's head.
    pub(crate) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        let kind = headers.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
        let is_stream = kind
            .split(|byte| *byte == b';')
            .next()
            .is_some_and(|essence| essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"));
        let counter = if is_stream { Counter::of_events() } else { Counter::of_json() };
        self.answer = Some((status, counter));
    }

    /// Bytes of the answer.
    pub(crate) fn passed(&mut self, bytes: &[u8]) {
        if let Some((_, counter)) = &mut self.answer {
            counter.push(bytes);
        }
    }

    /// The answer's own end.
    pub(crate) fn ended(&mut self) {
        self.is_whole = true;
    }

    /// What was used, and settles it. `was_sent`: the upstream had the request.
    pub(crate) fn settle(&mut self, was_sent: bool) -> ModelUse {
        let used = self.used(was_sent);
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(used.total());
        }
        ModelUse {
            model: self.model.clone(),
            tokens_in: used.input,
            tokens_out: used.output,
            cost_micros: used.cost_micros,
        }
    }

    /// The vendor's own figures where they are whole. Otherwise the most that it can have been, since whoever cuts an answer
    /// short, or asks for a stream without figures, would go free: what the answer shows, and what the request allowed.
    fn used(&self, was_sent: bool) -> Tokens {
        let Some((status, counter)) = &self.answer else {
            return if was_sent { self.unseen(Tokens::default(), 0) } else { Tokens::default() };
        };
        match counter.tokens() {
            Some(tokens) if counter.is_final(self.answers) || self.is_whole => tokens,
            seen if status.is_success() => self.unseen(seen.unwrap_or_default(), counter.estimate()),
            Some(tokens) => tokens,
            // The vendor refused, and charges nothing.
            None => Tokens::default(),
        }
    }

    fn unseen(&self, seen: Tokens, estimate: u64) -> Tokens {
        let output = if self.api.generates() { estimate.max(self.output) } else { 0 };
        Tokens { input: seen.input.max(self.input), output: seen.output.max(output), ..seen }
    }
}

fn read_most(api: Api, asked: &Asked, body: u64) -> u64 {
    if api == Api::Unbilled {
        0
    } else if asked.by_reference {
        CONTEXT_MOST
    } else {
        body.min(CONTEXT_MOST)
    }
}

fn generated_most(asked: &Asked) -> u64 {
    let most = GENERATED_MOST.saturating_mul(asked.answers.max(1));
    asked.bound.unwrap_or(most).min(most).min(REQUEST_MOST)
}

/// What may stand in the audit as the name of a model: it is the agent's text.
fn is_name(model: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/@+".contains(&byte);
    model.len() <= 128 && model.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(bound: Option<u64>) -> Meter {
        Meter::new(Api::Chat, &Asked { bound, answers: 1, ..Asked::default() }, 300)
    }

    fn answered(mut meter: Meter, status: u16, kind: &'static str, body: &str) -> Meter {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        meter.answered(StatusCode::from_u16(status).unwrap(), &headers);
        meter.passed(body.as_bytes());
        meter
    }

    fn pair(mut meter: Meter, was_sent: bool) -> (u64, u64) {
        let used = meter.settle(was_sent);
        (used.tokens_in, used.tokens_out)
    }

    #[test]
    fn who_leaves_before_the_figures_is_charged_for_what_the_request_allowed() {
        assert_eq!(pair(meter(Some(9)), true), (300, 9));
        assert_eq!(pair(meter(None), true), (300, GENERATED_MOST));
        assert_eq!(pair(meter(None), false), (0, 0));
        let cut = answered(meter(Some(9)), 200, "text/event-stream; charset=utf-8", "data: {\"a\":1}\n\n");
        assert_eq!(pair(cut, true), (300, 9));
        let partial = "{\"usageMetadata\":{\"promptTokenCount\":7,\"candidatesTokenCount\":40}";
        assert_eq!(pair(answered(meter(Some(9)), 200, "application/json", ""), true), (300, 9));
        let cut = answered(meter(Some(90)), 200, "application/json", partial);
        assert_eq!(pair(cut, true), (300, 90));
        let whole = answered(meter(Some(90)), 200, "application/json", &format!("{partial}}}"));
        assert_eq!(pair(whole, true), (7, 40));
    }

    #[test]
    fn what_is_not_in_the_request_and_what_has_no_limit_is_the_most_that_it_can_be() {
        let most = |asked: &Asked| Meter::new(Api::Chat, asked, 300).most();
        let asked = Asked { answers: 3, ..Asked::default() };
        assert_eq!(most(&asked), 300 + 3 * GENERATED_MOST);
        assert_eq!(most(&Asked { bound: Some(10), by_reference: true, ..asked }), CONTEXT_MOST + 10);
        let many = Asked { answers: u64::MAX, bound: Some(u64::MAX), ..Asked::default() };
        assert_eq!(most(&many), 300 + REQUEST_MOST);
    }

    #[test]
    fn figures_of_a_chunk_that_is_not_the_last_are_not_all() {
        let chunk = "data: {\"candidates\":[{\"content\":{}}],\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":2}}\n\n";
        let cut = answered(meter(Some(64)), 200, "text/event-stream", chunk);
        assert_eq!(pair(cut, true), (300, 64));
        let last = chunk.replace("{}}]", "{},\"finishReason\":\"STOP\"}]");
        assert_eq!(pair(answered(meter(Some(64)), 200, "text/event-stream", &last), true), (9, 2));
    }

    #[test]
    fn counting_is_free() {
        let counting = Meter::new(Api::Unbilled, &Asked::default(), 300);
        assert_eq!(pair(answered(counting, 200, "application/json", "{\"input_tokens\":14}"), true), (0, 0));
    }

    #[test]
    fn an_answer_that_the_vendor_refused_is_free() {
        let refused = answered(meter(None), 429, "application/json", "{\"error\":{}}");
        assert_eq!(pair(refused, true), (0, 0));
    }

    #[test]
    fn the_first_figures_of_a_stream_that_is_cut_are_not_all() {
        let first = "data: {\"message\":{\"usage\":{\"input_tokens\":500,\"output_tokens\":1}}}\n\n";
        let cut = answered(meter(Some(64)), 200, "text/event-stream", first);
        assert_eq!(pair(cut, true), (500, 64));
        let mut ended = answered(meter(Some(64)), 200, "text/event-stream", first);
        ended.ended();
        assert_eq!(pair(ended, true), (500, 1));
    }
}

#[cfg(test)]
mod parameters {
    use super::*;

    #[test]
    fn no_parameter_names_a_model_or_takes_the_figures_away() {
        for query in
            ["model=x", "mod%65l=x", "alt=proto", "fields=candidates", "$alt=json", "api-version=1;model=x"]
        {
            assert!(refuse_other_parameters(query).is_err(), "{query}");
        }
        for query in ["", "api-version=2024-10-21", "alt=sse&key=dummy", "beta=true"] {
            assert!(refuse_other_parameters(query).is_ok(), "{query}");
        }
    }
}
