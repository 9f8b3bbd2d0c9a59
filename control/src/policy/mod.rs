//! The one decision: facts in, [`Permit`] or refusal out.
//!
//! A [`Permit`] names agent, target, provider and secret, and only this module can make one (invariant 3): a code path that
//! opens a secret for a request that policy has not let through does not compile.
//!
//! ```compile_fail,E0451
//! fn forge(agent: control::agent::AgentName, target: control::target::Target, provider: std::sync::Arc<control::provider::Provider>) -> control::policy::Permit {
//!     control::policy::Permit { agent, target, provider, trace: control::policy::Trace::default() }
//! }
//! ```
//!
//! ```compile_fail,E0599
//! let permit = control::policy::Permit::default();
//! ```
//!
//! Where a rule asks for a person's approval, the permit waits inside a [`Question`], which gives it out only together with a
//! [`crate::approval::Grant`] for exactly the request that it was bound to.
//!
//! ```compile_fail,E0616
//! fn take(question: control::policy::Question) -> control::policy::Permit {
//!     question.waiting
//! }
//! ```
//!
//! ```compile_fail,E0616
//! fn take(bound: control::policy::Bound) -> control::policy::Permit {
//!     bound.waiting
//! }
//! ```
//!
//! The order is: httpRules, action, deny, allow, default, scope, an MCP server's endpoint and tools. Limits are counted by the caller, who holds the counters.

mod ask;
mod delivery;
mod judge;
#[cfg(test)]
mod tests;
mod rules;
mod tools;

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;

use crate::agent::AgentName;
use crate::provider::{Enforcement, Provider};
use crate::refusal::Refusal;
use crate::target::Target;
use crate::token_url::TokenUrl;
use crate::types::{Ask, Told};

pub use ask::{Bound, Outgoing, Question};
pub use delivery::{Delivery, deliver};
pub use judge::{Outcome, Stage, Step};
pub use rules::Policy;
pub(crate) use rules::{ActionGlob, Case, Effect, HttpRule, Scope};
pub(crate) use tools::ToolGlob;
pub use tools::Tools;

/// Everything that a decision may look at. Nothing of it is secret.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Who asks.
    pub agent: &'a AgentName,
    /// Where the request goes.
    pub target: &'a Target,
    /// The provider that covers the target (found by `rule::Routes`).
    pub provider: &'a Arc<Provider>,
    /// The method, case-sensitive.
    pub method: &'a Method,
    /// The canonical path.
    pub path: &'a crate::rule::Path,
    /// The raw query, without `?`; only the type's action resolver reads it.
    pub query: Option<&'a str>,
    /// The body, where it was read for the resolver.
    pub body: Option<Told<'a>>,
    /// The headers; only the type's action resolver reads them (git's service, `X-Amz-Target`).
    pub headers: &'a http::HeaderMap,
}

/// What was decided for one request: the proof that [`crate::vault::Vault::open`] asks for.
#[derive(Debug)]
pub struct Permit {
    agent: AgentName,
    target: Target,
    provider: Arc<Provider>,
    trace: Trace,
}

/// How the decision came about, for audit and `check request`.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The httpRule that settled it, with its place.
    pub rule: Option<Arc<str>>,
    /// The type's action (`issues:create`), if it was resolved.
    pub action: Option<Cow<'static, str>>,
    /// The resource in the type's own terms (`acme/api`), if it was resolved.
    pub resource: Option<Box<str>>,
    /// With `enforcement: audit`: what would have been refused.
    pub would_deny: Option<Refusal>,
    /// The approval that a person gave it, where a rule asks for one.
    pub approval: Option<Arc<str>>,
}

impl Permit {
    /// Who asks.
    pub fn agent(&self) -> &AgentName {
        &self.agent
    }

    /// Where the request goes.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The provider, and by it the secret.
    pub fn provider(&self) -> &Arc<Provider> {
        &self.provider
    }

    /// The permit to ask for a token that this request needs; it outlives the request, since others wait for that token.
    pub fn renewal(&self) -> Renewal {
        let Self { agent, target, provider, trace } = self;
        let (agent, target, provider) = (agent.clone(), target.clone(), Arc::clone(provider));
        Renewal { permit: Self { agent, target, provider, trace: trace.clone() } }
    }

    /// How it was decided.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }
}

/// Proof that a token may be asked for: made from the permit of the request that needs it, and good for the token endpoints
/// of its provider and nothing else.
///
/// ```compile_fail,E0451
/// fn forge(permit: control::policy::Permit) -> control::policy::Renewal {
///     control::policy::Renewal { permit }
/// }
/// ```
#[derive(Debug)]
pub struct Renewal {
    permit: Permit,
}

impl Renewal {
    /// Where tokens may be asked for.
    pub fn token_urls(&self) -> &[TokenUrl] {
        self.permit.provider.auth.as_ref().map_or(&[], |auth| &auth.token_urls)
    }

    /// Whether a token may be asked for at this target.
    pub fn covers(&self, target: &Target) -> bool {
        self.token_urls().iter().any(|url| url.target() == target)
    }

    /// For which agent.
    pub fn agent(&self) -> &AgentName {
        &self.permit.agent
    }

    /// For which provider.
    pub fn provider(&self) -> &Arc<Provider> {
        &self.permit.provider
    }

    /// What the vault is asked with.
    pub(crate) fn permit(&self) -> &Permit {
        &self.permit
    }
}

/// Proof that only facts are asked for: names, keys, versions, bound hosts. No value comes out with it.
#[derive(Debug)]
pub struct LoadCheck(());

/// The permit of a load check: whether the secrets that providers refer to are there and may go where they are sent.
pub fn load_check() -> LoadCheck {
    LoadCheck(())
}

/// What policy says of a request that it does not refuse.
#[derive(Debug)]
#[must_use = "a request that needs approval is not let through"]
pub enum Verdict {
    /// It is let through.
    Allow(Permit),
    /// It is let through only together with a person's approval of exactly this request. Boxed, as few requests are.
    Ask(Box<Question>),
}

impl Verdict {
    /// The permit of a request that needs no approval.
    pub fn permit(self) -> Option<Permit> {
        match self {
            Self::Allow(permit) => Some(permit),
            Self::Ask(_) => None,
        }
    }
}

/// Decides one request. Limits are still to be counted; with `enforcement: audit` a violation is in the permit's trace, and
/// so is that a person would have been asked.
///
/// # Errors
/// DW1002 with the rule, action or scope that denies and its place in the file.
pub fn decide(facts: &Facts<'_>) -> Result<Verdict, Refusal> {
    let mut trace = Trace::default();
    let mut asks = None;
    match (judge::judge(facts, &mut trace, &mut |_, _, _| {}), facts.provider.enforcement) {
        (Ok(rule), Enforcement::Enforce) => asks = rule,
        (Ok(rule), Enforcement::Audit) => {
            trace.would_deny = rule.map(|rule| ask::asked(facts.provider, rule))
        }
        (Err(refusal), Enforcement::Enforce) => return Err(refusal),
        (Err(refusal), Enforcement::Audit) => trace.would_deny = Some(refusal),
    }
    let permit = Permit {
        agent: facts.agent.clone(),
        target: facts.target.clone(),
        provider: Arc::clone(facts.provider),
        trace,
    };
    Ok(match asks {
        None => Verdict::Allow(permit),
        Some(rule) => Verdict::Ask(Box::new(Question::new(permit, rule, facts))),
    })
}

/// What the type's resolver makes of the request line, for a person who is asked.
fn action(facts: &Facts<'_>) -> Option<Cow<'static, str>> {
    let resolved = (facts.provider.kind.resolve)(&judge::ask(facts, facts.path.as_str()));
    Some(resolved.action).filter(|action| *action != crate::types::UNKNOWN)
}

/// Whether the body could change what is decided: it may say that the request only asks, or what it acts on.
pub fn minds_body(facts: &Facts<'_>) -> bool {
    let passes = |body| {
        let facts = Facts { body, ..*facts };
        judge::judge(&facts, &mut Trace::default(), &mut |_, _, _| {}).is_ok()
    };
    let unread = passes(None);
    unread != passes(Some(Told::Json(r#"{"query":"{a}"}"#)))
        || (!unread && facts.provider.policy.scope.is_some())
}

/// Whether an httpRule refuses the request, whatever its body says: nothing of the body need be read for that.
pub fn rules_refuse(facts: &Facts<'_>) -> bool {
    facts.provider.enforcement == Enforcement::Enforce && judge::rules_deny(facts)
}

/// The id of the httpRule that lets a request through, if the first that matches does: for who has just written it.
pub(crate) fn rule_that_allows(
    provider: &Provider,
    method: &Method,
    path: &crate::rule::Path,
) -> Option<Arc<str>> {
    let rule = provider.policy.rules.iter().find(|rule| rule.matches(method, path));
    rule.filter(|rule| rule.effect == Effect::Allow).map(|rule| Arc::clone(&rule.id))
}

/// What the type's resolver may look at.
pub fn ask<'a>(facts: &Facts<'a>) -> Ask<'a> {
    judge::ask(facts, facts.path.as_str())
}

/// Every step of the decision and its outcome, for `doorward check request`; ends with the step that settled it.
pub fn explain(facts: &Facts<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    let verdict = judge::judge(facts, &mut Trace::default(), &mut |stage, outcome, detail| {
        steps.push(Step { stage, outcome, detail: detail.to_string() });
    });
    if !matches!(verdict, Ok(None)) && facts.provider.enforcement == Enforcement::Audit {
        steps.push(Step {
            stage: Stage::Enforcement,
            outcome: Outcome::Allowed,
            detail: "audit: logged as would-deny, and passes".to_owned(),
        });
    }
    steps
}
