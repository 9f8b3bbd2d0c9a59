//! What `doorward check request --body` makes of a body: read and judged as the data plane does it.

use std::io::Read as _;
use std::path::Path;

use super::{Exit, Failure};
use crate::model::{Api, Asked, ModelRules, Reading, reading};
use crate::policy::{Facts, Permit};
use crate::refusal::{Code, Refusal};

/// The body to judge, within a bound.
pub(super) fn read_body(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Error, format!("the body is not read: {}: {error}", path.display()))
    };
    let mut body = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(BODY_MOST).read_to_string(&mut body)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(BODY_MOST).read_to_string(&mut body))
    };
    read.map_err(failed)?;
    Ok(body)
}

/// The longest body that is judged.
const BODY_MOST: u64 = 10 << 20;

/// What a model provider makes of the request; without a body, of its request line alone.
pub(super) fn judged_model(
    rules: &ModelRules,
    facts: &Facts<'_>,
    body: Option<&str>,
    permit: Permit,
) -> (Option<&'static str>, Result<Permit, Refusal>) {
    let (api, in_path) = match reading(facts, rules.vendor) {
        Reading::Unreadable if rules.limits() => {
            return (Some("cannot be read"), Err(rules.unreadable().of_provider(&facts.provider.name)));
        }
        Reading::Unreadable => return (Some("not read"), Ok(permit)),
        Reading::Free => return (Some("none is asked"), Ok(permit)),
        Reading::Body(api) => (api, None),
        Reading::Path(api, model) => (api, Some(model)),
    };
    let place = match (&in_path, body.is_some()) {
        (None, false) => return (Some("in the body, judged when it comes"), Ok(permit)),
        (None, true) => "in the body",
        (Some(_), false) => "in the path, with the body judged when it comes",
        (Some(_), true) => "in the path, and the body",
    };
    let judged = judged_body(rules, api, in_path.as_deref(), body);
    (Some(place), judged.map(|()| permit).map_err(|refusal| refusal.of_provider(&facts.provider.name)))
}

fn judged_body(
    rules: &ModelRules,
    api: Api,
    in_path: Option<&str>,
    body: Option<&str>,
) -> Result<(), Refusal> {
    let mut asked = match body.filter(|_| rules.limits()) {
        Some(body) => Asked::read(rules.vendor, api, body.as_bytes())
            .map_err(|fault| Refusal::new(Code::Dw2008, fault.to_string()))?,
        None => Asked::default(),
    };
    in_path.into_iter().for_each(|model| asked.add_model(model));
    if body.is_some() { rules.judge(api, &asked) } else { rules.judge_models(&asked) }
}
