//! A request that a rule lets through only with a person's approval: the permit waits here, and comes out together with a
//! grant for exactly what it was bound to.
//!
//! Refuses a grant for anything else: one byte of path, query, body or of a header that counts, another method, host, agent,
//! rule, or another definition of the provider.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use sha2::{Digest as _, Sha256};

use super::{Facts, HttpRule, Permit, action};
use crate::approval::{Binding, Grant, Preview, escaped, headers_digest};
use crate::provider::Provider;
use crate::refusal::{Code, Refusal};
use crate::sync::wire::Bytes;
use crate::target::Target;

/// A permit that waits for a person's approval.
#[derive(Debug)]
pub struct Question {
    waiting: Permit,
    rule: Arc<str>,
    label: Arc<str>,
    hold: Option<Duration>,
    preview: bool,
    method: Method,
    /// Path and query as they were judged.
    judged: String,
    action: Option<Cow<'static, str>>,
}

/// The request as it is about to be sent, without its credential.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Path and query.
    pub target: &'a PathAndQuery,
    /// Path and query as people may see them: without a credential of the agent's.
    pub shown: Option<&'a str>,
    /// The cleaned headers.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
    /// The way in which the credential is put on.
    pub scheme: Option<&'a str>,
    /// It opens a WebSocket.
    pub websocket: bool,
}

/// A permit that waits for the approval of exactly one request.
#[derive(Debug)]
pub struct Bound {
    waiting: Permit,
    label: Arc<str>,
    binding: Binding,
}

/// What whoever asks is told where a person has to decide.
pub(super) fn asked(provider: &Provider, rule: &HttpRule) -> Refusal {
    refusal(provider, &rule.id, &rule.label)
}

fn refusal(provider: &Provider, id: &str, label: &Arc<str>) -> Refusal {
    let detail = format!("rule `{id}` lets this through only after a person has approved it");
    Refusal::new(Code::Dw1003, detail).of_provider(&provider.name).by_rule(Arc::clone(label))
}

impl Question {
    pub(super) fn new(waiting: Permit, rule: &HttpRule, facts: &Facts<'_>) -> Self {
        let judged = match facts.query {
            Some(query) => format!("{}?{query}", facts.path.as_str()),
            None => facts.path.as_str().to_owned(),
        };
        Self {
            waiting,
            rule: Arc::clone(&rule.id),
            label: Arc::clone(&rule.label),
            hold: rule.hold,
            preview: rule.preview,
            method: facts.method.clone(),
            judged,
            action: action(facts),
        }
    }

    /// How long the request may wait for the answer; `None`: not at all.
    pub fn hold(&self) -> Option<Duration> {
        self.hold
    }

    /// What a person may see of the body; `None`: the rule does not say so, or there is none.
    pub fn preview(&self, body: &[u8]) -> Option<Preview> {
        (self.preview && !body.is_empty()).then(|| Preview::of(body))
    }

    /// Where the request goes.
    pub fn target(&self) -> &Target {
        &self.waiting.target
    }

    /// What whoever cannot ask is told, and who only replays the decision.
    pub fn refusal(&self) -> Refusal {
        refusal(&self.waiting.provider, &self.rule, &self.label)
    }

    /// Binds it to what is about to be sent. Method, host, agent and rule are those that were judged.
    pub fn bind(self, project: &str, outgoing: Outgoing<'_>) -> Bound {
        let Self { waiting, rule, label, method, judged, action, .. } = self;
        let sent = outgoing.target.as_str();
        let shown = escaped(outgoing.shown.unwrap_or(sent));
        // Both: what was judged, and what is sent, which may hold what the provider adds.
        let target = [Sha256::digest(&judged), Sha256::digest(sent)].concat();
        let binding = Binding {
            project: project.to_owned(),
            agent: escaped(waiting.agent.as_str()),
            provider: waiting.provider.name.to_string(),
            definition: Bytes(waiting.provider.digest),
            rule: rule.to_string(),
            method: method.as_str().to_owned(),
            authority: format!("{}", waiting.target),
            path: shown,
            sent: Bytes(Sha256::digest(target).into()),
            headers: Bytes(headers_digest(outgoing.headers)),
            action: action.map(|action| escaped(&action)),
            scheme: outgoing.scheme.map(str::to_owned),
            websocket: outgoing.websocket,
            body_bytes: outgoing.body.len() as u64,
            body: Bytes(Sha256::digest(outgoing.body).into()),
        };
        Bound { waiting, label, binding }
    }
}

impl Bound {
    /// Where the request goes.
    pub fn target(&self) -> &Target {
        &self.waiting.target
    }

    /// What it is bound to.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// The permit, by an approval of exactly this.
    ///
    /// # Errors
    /// DW1003 for a grant of anything else, or one that is over.
    pub fn permit(self, grant: Grant, now: i64) -> Result<Permit, Refusal> {
        if !grant.covers(&self.binding, now) {
            return Err(self.refusal("the approval is not for this request"));
        }
        let mut permit = self.waiting;
        permit.trace.approval = Some(grant.id().into());
        Ok(permit)
    }

    /// What whoever asks is told for as long as nobody has approved it.
    pub fn refusal(&self, why: &str) -> Refusal {
        let detail = format!(
            "rule `{}` lets this through only after a person has approved it: {why}",
            self.binding.rule
        );
        Refusal::new(Code::Dw1003, detail)
            .of_provider(&self.waiting.provider.name)
            .by_rule(Arc::clone(&self.label))
    }
}
