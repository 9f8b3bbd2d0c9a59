//! The steps of a decision, in their order. One walk serves `decide` and `explain`, so that what is shown is what was done.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::Method;

use super::{ActionGlob, Effect, Facts, HttpRule, Policy, Scope, Trace};
use crate::refusal::{Code, Refusal};
use crate::types::{Ask, Clarity, Resolved, Resource, Told, UNKNOWN};

/// A step of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the file's fields")]
pub enum Stage {
    HttpRules,
    Action,
    Deny,
    Allow,
    Default,
    Scope,
    Endpoint,
    Tools,
    Enforcement,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has nothing to say; the next step is asked.
    Passed,
    /// It allows.
    Allowed,
    /// It denies, and that settles it.
    Denied,
    /// It allows only what a person has approved.
    Asked,
}

/// One step with its outcome, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which step.
    pub stage: Stage,
    /// What it came to.
    pub outcome: Outcome,
    /// In words; nothing of a query or header.
    pub detail: String,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HttpRules => "httpRules",
            Self::Action => "action",
            Self::Deny => "deny",
            Self::Allow => "allow",
            Self::Default => "default",
            Self::Scope => "scope",
            Self::Endpoint => "endpoint",
            Self::Tools => "tools",
            Self::Enforcement => "enforcement",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "-",
            Self::Allowed => "allow",
            Self::Denied => "deny",
            Self::Asked => "ask",
        })
    }
}

/// Hears of each step as it is taken.
pub(super) type Note<'n> = dyn FnMut(Stage, Outcome, fmt::Arguments<'_>) + 'n;

type Verdict = Result<(), Refusal>;

/// Lets through or refuses; gives the rule that lets it through only with a person's approval. Everything that comes after
/// the rules holds for such a request, too.
pub(super) fn judge<'f>(
    facts: &Facts<'f>,
    trace: &mut Trace,
    note: &mut Note<'_>,
) -> Result<Option<&'f HttpRule>, Refusal> {
    let policy = &facts.provider.policy;
    let rule = http_rules(facts, trace, note)?;
    let settled = rule.is_some();
    if !settled || policy.scope.is_some() {
        resolved(facts, settled, trace, note)?;
    }
    mcp(facts, settled, trace, note)?;
    Ok(rule.filter(|rule| rule.effect == Effect::Ask))
}

fn resolved(facts: &Facts<'_>, settled: bool, trace: &mut Trace, note: &mut Note<'_>) -> Verdict {
    let policy = &facts.provider.policy;
    let resolve: for<'a> fn(&Ask<'a>) -> Resolved<'a> =
        if is_overridden(facts) { overridden } else { facts.provider.kind.resolve };
    let resolved = resolve(&ask(facts, facts.path.as_str()));
    let forms = other_forms(facts);
    let capitals = in_capitals(facts.method);
    let mut readings: Vec<Resolved<'_>> = forms.iter().map(|form| resolve(&ask(facts, form))).collect();
    if let Some(method) = &capitals {
        let paths = std::iter::once(facts.path.as_str()).chain(forms.iter().map(String::as_str));
        readings.extend(paths.map(|path| resolve(&Ask { method, ..ask(facts, path) })));
    }
    if !settled {
        note(Stage::Action, Outcome::Passed, format_args!("{}", resolved.action));
        trace.action = Some(resolved.action.clone());
        actions(facts, &resolved, &readings, note)?;
    }
    if let Some(limits) = &policy.scope {
        scope(facts, limits, &resolved, &readings, trace, note)?;
    }
    Ok(())
}

pub(super) fn ask<'a>(facts: &Facts<'a>, path: &'a str) -> Ask<'a> {
    Ask {
        host: &facts.target.host,
        method: facts.method,
        path,
        query: facts.query,
        body: facts.body,
        headers: facts.headers,
    }
}

/// Headers by which a server could take the request for another; they go upstream only where `request.keepHeaders` says so.
const OVERRIDES: &[&str] = &[
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-host",
];

fn is_overridden(facts: &Facts<'_>) -> bool {
    let mut kept = facts.provider.keep_headers.iter();
    kept.any(|name| OVERRIDES.contains(&name.as_str()) && facts.headers.contains_key(name))
}

/// What the request line says is not what is done.
fn overridden<'a>(_: &Ask<'a>) -> Resolved<'a> {
    Resolved { clarity: Clarity::Opaque, ..Resolved::unknown() }
}

/// Whether the first httpRule that matches denies.
pub(super) fn rules_deny(facts: &Facts<'_>) -> bool {
    let mut rules = facts.provider.policy.rules.iter();
    rules.find(|rule| rule.matches(facts.method, facts.path)).is_some_and(|rule| rule.effect == Effect::Deny)
}

/// The method that a server which does not mind case would take it for, if it is another.
fn in_capitals(method: &Method) -> Option<Method> {
    let is_lower = method.as_str().bytes().any(|b| b.is_ascii_lowercase());
    is_lower.then(|| Method::from_bytes(method.as_str().to_ascii_uppercase().as_bytes()).ok())?
}

/// The paths that lenient servers could take this one for; deny and scope read them too. None for a plain path.
fn other_forms(facts: &Facts<'_>) -> Vec<String> {
    if facts.provider.policy.deny.is_empty() && facts.provider.policy.scope.is_none() {
        return Vec::new();
    }
    facts.path.wide_forms().iter().map(|form| String::from_utf8_lossy(form).into_owned()).collect()
}

/// The rule that settled it, if one did: then actions are skipped.
fn http_rules<'f>(
    facts: &Facts<'f>,
    trace: &mut Trace,
    note: &mut Note<'_>,
) -> Result<Option<&'f HttpRule>, Refusal> {
    let rules = &facts.provider.policy.rules;
    let Some(rule) = rules.iter().find(|rule| rule.matches(facts.method, facts.path)) else {
        note(Stage::HttpRules, Outcome::Passed, format_args!("{} rules, none matches", rules.len()));
        return Ok(None);
    };
    trace.rule = Some(rule.label.clone());
    let outcome = match rule.effect {
        Effect::Allow => Some(Outcome::Allowed),
        Effect::Ask => Some(Outcome::Asked),
        Effect::Deny => None,
    };
    if let Some(outcome) = outcome {
        note(Stage::HttpRules, outcome, format_args!("rule {}", rule.label));
        return Ok(Some(rule));
    }
    note(Stage::HttpRules, Outcome::Denied, format_args!("rule {}", rule.label));
    let detail = match &rule.reason {
        Some(reason) => format!("rule `{}` denies: {reason}", rule.id),
        None => format!("rule `{}` denies", rule.id),
    };
    Err(refuse(facts, detail, &rule.label))
}

fn actions(
    facts: &Facts<'_>,
    resolved: &Resolved<'_>,
    readings: &[Resolved<'_>],
    note: &mut Note<'_>,
) -> Verdict {
    let policy = &facts.provider.policy;
    let mut all = std::iter::once(resolved).chain(readings);
    if let Some((glob, action)) = all.find_map(|reading| denying(policy, reading)) {
        note(Stage::Deny, Outcome::Denied, format_args!("{}", glob.label));
        let detail = format!("action `{action}` is denied");
        return Err(refuse(facts, detail, &glob.label));
    }
    note(Stage::Deny, Outcome::Passed, format_args!("{} entries, none matches", policy.deny.len()));
    if policy.default == Effect::Deny
        && let Some(beside) =
            resolved.also.iter().find(|also| !policy.allow.iter().any(|glob| glob.matches(also)))
    {
        note(Stage::Allow, Outcome::Denied, format_args!("{beside}, which is done beside, is in no entry"));
        return Err(not_allowed(facts, beside));
    }
    if let Some(glob) = policy.allow.iter().find(|glob| allows(policy, glob, resolved)) {
        note(Stage::Allow, Outcome::Allowed, format_args!("{}", glob.label));
        return Ok(());
    }
    note(Stage::Allow, Outcome::Passed, format_args!("{} entries, none matches", policy.allow.len()));
    // A body that could hold a denied action is not let through by a default either.
    if policy.default == Effect::Allow && (resolved.clarity == Clarity::Clear || policy.deny.is_empty()) {
        note(Stage::Default, Outcome::Allowed, format_args!("defaultAction"));
        return Ok(());
    }
    note(Stage::Default, Outcome::Denied, format_args!("defaultAction"));
    Err(not_allowed(facts, shown(resolved)))
}

fn not_allowed(facts: &Facts<'_>, action: &str) -> Refusal {
    let detail = format!("action `{action}` is not allowed");
    match &facts.provider.policy.default_label {
        Some(label) => refuse(facts, detail, label),
        None => Refusal::new(Code::Dw1002, detail).of_provider(&facts.provider.name),
    }
}

/// The entry that denies something that the request does, with what that is.
fn denying<'p>(policy: &'p Policy, reading: &Resolved<'_>) -> Option<(&'p ActionGlob, &'static str)> {
    let main =
        policy.deny.iter().find(|glob| glob.matches(&reading.action)).map(|glob| (glob, shown(reading)));
    let beside = || {
        let pairs = policy.deny.iter().flat_map(|glob| reading.also.iter().map(move |also| (glob, *also)));
        pairs.into_iter().find(|(glob, also)| glob.matches(also))
    };
    main.or_else(beside)
}

/// `unknown` is let through by `*` alone; an opaque request is not let through by `*` where something is denied.
fn allows(policy: &Policy, glob: &ActionGlob, resolved: &Resolved<'_>) -> bool {
    if glob.is_everything() {
        return resolved.clarity == Clarity::Clear || policy.deny.is_empty();
    }
    resolved.action != UNKNOWN && glob.matches(&resolved.action)
}

/// The action as a refusal shows it: a name of ours, or of the vendor's catalogue; never free text of the agent's.
fn shown(resolved: &Resolved<'_>) -> &'static str {
    match resolved.action {
        Cow::Borrowed(action) => action,
        Cow::Owned(_) => "of a method that the catalogue does not list",
    }
}

fn scope(
    facts: &Facts<'_>,
    limits: &Scope,
    resolved: &Resolved<'_>,
    readings: &[Resolved<'_>],
    trace: &mut Trace,
    note: &mut Note<'_>,
) -> Verdict {
    match &resolved.resource {
        Resource::Named(resource) => trace.resource = Some((*resource).into()),
        Resource::Arns(arns) => trace.resource = Some(arns.join(" ").into()),
        Resource::None | Resource::Hidden => {}
    }
    for reading in std::iter::once(resolved).chain(readings) {
        let detail = match &reading.resource {
            Resource::None => continue,
            Resource::Named(resource) if limits.holds(resource) => continue,
            Resource::Arns(arns) if !arns.is_empty() && arns.iter().all(|arn| limits.holds_whole(arn)) => {
                continue;
            }
            Resource::Named(_) | Resource::Arns(_) => "the request is out of scope",
            Resource::Hidden => "the request does not show what it acts on, and the provider has a scope",
        };
        note(Stage::Scope, Outcome::Denied, format_args!("{}", limits.label));
        return Err(refuse(facts, detail, &limits.label));
    }
    note(Stage::Scope, Outcome::Allowed, format_args!("{}", limits.label));
    Ok(())
}

/// An MCP server has one endpoint, unless a rule lets another path through; and tools are judged wherever they are called.
fn mcp(facts: &Facts<'_>, settled: bool, trace: &mut Trace, note: &mut Note<'_>) -> Verdict {
    let Some(server) = &facts.provider.mcp else { return Ok(()) };
    if !settled && !server.covers(facts.method, facts.path.as_str()) {
        note(Stage::Endpoint, Outcome::Denied, format_args!("{}", server.path));
        let detail = "the path is not that of the MCP server, and no rule lets it through";
        return Err(Refusal::new(Code::Dw1002, detail).of_provider(&facts.provider.name));
    }
    note(Stage::Endpoint, Outcome::Passed, format_args!("{}", server.path));
    let Some(tools) = &facts.provider.policy.tools else { return Ok(()) };
    let Some(Told::Calls(calls)) = facts.body else {
        // Other methods have no body (the data plane sees to it), so they call nothing.
        if matches!(*facts.method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS) {
            return Ok(());
        }
        note(Stage::Tools, Outcome::Denied, format_args!("{}", tools.label()));
        return Err(refuse(facts, "the request does not show which tools it calls", tools.label()));
    };
    let called: Vec<&str> = calls.tools().collect();
    if !called.is_empty() {
        trace.resource = Some(called.join(" ").into());
    }
    if calls.has_unknown() {
        note(Stage::Tools, Outcome::Denied, format_args!("{}", tools.label()));
        return Err(refuse(facts, "the method is not known, and could call any tool", tools.label()));
    }
    for tool in called {
        if let Err(label) = tools.judge(tool) {
            note(Stage::Tools, Outcome::Denied, format_args!("{label}"));
            return Err(refuse(facts, "the tool is not allowed", label));
        }
    }
    note(Stage::Tools, Outcome::Allowed, format_args!("{}", tools.label()));
    Ok(())
}

fn refuse(facts: &Facts<'_>, detail: impl Into<Cow<'static, str>>, rule: &Arc<str>) -> Refusal {
    Refusal::new(Code::Dw1002, detail).of_provider(&facts.provider.name).by_rule(Arc::clone(rule))
}
