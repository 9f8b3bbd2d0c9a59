//! The `policy` and `scope` blocks, compiled.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::report::{Report, suggestion};
use super::tree::Node;
use crate::policy::{ActionGlob, Case, Effect, HttpRule, Policy, Scope};
use crate::rule::Glob;
use crate::types::{Actions, LoginSpec, OAUTH, TypeSpec};

pub(super) fn build(spec: &Node, kind: &'static TypeSpec, report: &mut Report<'_>) -> Policy {
    let policy = spec.field("policy");
    let field = |name: &str| policy.and_then(|policy| policy.field(name));
    let rules = http_rules(field("httpRules"), report);
    let case = |ignored| if ignored { Case::Ignored } else { Case::Counts };
    let mut allow = globs(field("allow"), "allow", kind, case(kind.ignores_case()), report);
    let denied = case(kind.ignores_case() || kind.denies_in_any_case());
    let deny = globs(field("deny"), "deny", kind, denied, report);
    let default = field("defaultAction");
    let login = login_of(spec, kind);
    if field("allow").is_none() && field("httpRules").is_none() && default.is_none() {
        // A login opens the whole account: only what the subscription is for goes without saying.
        let place = report.place(policy.unwrap_or(spec).at);
        let unsaid = login.map_or(&["*"][..], |login| login.allow);
        allow.extend(unsaid.iter().map(|action| ActionGlob::new(action, &place, Case::Counts)));
    }
    if login.is_some() {
        warn_of_the_whole_account(field("allow"), default, report);
    }
    let place = report.place(default.or(policy).unwrap_or(spec).at);
    Policy {
        rules,
        allow,
        deny,
        default: if default.and_then(Node::text) == Some("allow") { Effect::Allow } else { Effect::Deny },
        default_label: Some(format!("defaultAction ({place})").into()),
        scope: scope(spec, kind, report),
        tools: super::mcp::tools(spec, kind, report),
    }
}

/// The login whose token the provider puts on.
fn login_of(spec: &Node, kind: &'static TypeSpec) -> Option<&'static LoginSpec> {
    let auth_type = spec.field("auth").and_then(|auth| auth.text_of("type"));
    kind.login().filter(|_| auth_type == Some(OAUTH))
}

fn warn_of_the_whole_account(allow: Option<&Node>, default: Option<&Node>, report: &mut Report<'_>) {
    let everything = allow.map_or(&[][..], Node::items).iter().find(|node| node.text() == Some("*"));
    let default = default.filter(|node| node.text() == Some("allow"));
    if let Some(node) = everything.or(default) {
        report.warn(
            node.at,
            "a login's token opens the whole account: allow what the subscription is for, by name",
        );
    }
}

fn http_rules(list: Option<&Node>, report: &mut Report<'_>) -> Vec<HttpRule> {
    let nodes = list.map_or(&[][..], Node::items);
    let mut rules: Vec<HttpRule> = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let id: Arc<str> =
            node.text_of("id").map_or_else(|| format!("httpRules[{index}]").into(), Into::into);
        if rules.iter().any(|rule| rule.id == id) {
            report.mistake(node.at, "another rule has the same `id`");
        }
        if !id.bytes().all(|b| b.is_ascii_graphic()) || id.len() > 100 {
            report.mistake(node.at, "`id` is visible ASCII without spaces, at most 100 characters");
        }
        let label = format!("{id} ({})", report.place(node.at)).into();
        let methods = methods(node, report);
        let paths = paths(node, report);
        let effect = match node.text_of("effect") {
            Some("allow") => Effect::Allow,
            Some("ask") => Effect::Ask,
            Some(_) | None => Effect::Deny,
        };
        let (reason, hold) = (reason(node, report), hold(node, effect, report));
        let preview = node.field("ask").and_then(|ask| ask.field("preview")).and_then(Node::bool);
        rules.push(HttpRule {
            id,
            label,
            methods,
            paths,
            effect,
            reason,
            hold,
            preview: preview.unwrap_or_default(),
        });
    }
    rules
}

/// The longest that a request waits for a person: clients and what is in between give up.
const HOLD_MAX: Duration = Duration::from_secs(300);

/// How long a request waits for the answer.
fn hold(node: &Node, effect: Effect, report: &mut Report<'_>) -> Option<Duration> {
    let ask = node.field("ask")?;
    if effect != Effect::Ask {
        report.mistake(ask.at, "`ask` belongs to a rule with `effect: ask`");
    }
    let hold = ask.field("hold")?;
    let time = hold.text().and_then(super::build::duration).filter(|time| *time <= HOLD_MAX);
    if time.is_none() {
        report.mistake(hold.at, "`hold` is a number with `ms`, `s` or `m`, at most `5m`: `30s`");
    }
    time
}

fn reason(node: &Node, report: &mut Report<'_>) -> Option<Box<str>> {
    let reason = node.field("reason")?;
    let text = reason.text()?;
    if text.len() > 300 || text.chars().any(char::is_control) {
        report.mistake(reason.at, "`reason` is one line of at most 300 characters");
    }
    Some(text.into())
}

/// An empty list would match nothing, which is never what is meant.
fn listed<'n>(node: &'n Node, name: &str, report: &mut Report<'_>) -> &'n [Node] {
    let Some(list) = node.field(name) else { return &[] };
    if list.items().is_empty() {
        report.mistake(list.at, format!("`{name}` is empty and would match nothing; leave it out for any"));
    }
    list.items()
}

fn methods(node: &Node, report: &mut Report<'_>) -> Vec<Method> {
    let nodes = listed(node, "methods", report);
    let mut methods = Vec::new();
    for node in nodes {
        let Some(text) = node.text() else { continue };
        match Method::from_bytes(text.as_bytes()) {
            Ok(_) if text == "*" => {}
            Ok(_) if text != text.to_ascii_uppercase() => {
                report.mistake(node.at, "methods are case-sensitive, and written in capitals");
            }
            Ok(method) => methods.push(method),
            Err(_) => report.mistake(node.at, "not a method"),
        }
    }
    if nodes.iter().any(|node| node.text() == Some("*")) { Vec::new() } else { methods }
}

fn paths(node: &Node, report: &mut Report<'_>) -> Vec<Glob> {
    let mut globs = Vec::new();
    for node in listed(node, "paths", report) {
        match node.text().map(Glob::parse) {
            Some(Ok(glob)) => globs.push(glob),
            Some(Err(error)) => report.mistake(node.at, error.to_string()),
            None => {}
        }
    }
    globs
}

fn globs(
    list: Option<&Node>,
    name: &str,
    kind: &TypeSpec,
    case: Case,
    report: &mut Report<'_>,
) -> Vec<ActionGlob> {
    let mut globs = Vec::new();
    for node in list.map_or(&[][..], Node::items) {
        let Some(text) = node.text() else { continue };
        if text.contains('?') {
            report.mistake(node.at, "`?` is no wildcard here: write `*`, or each action");
            continue;
        }
        let glob = ActionGlob::new(text, &format!("{name}, {}", report.place(node.at)), case);
        if name == "deny" && kind.denies_in_any_case() && glob.matches("iam:PassRole") && !text.contains('*')
        {
            report.warn(node.at, "a role is passed by what a body says, which is not read: deny the calls that pass roles, or deny `iam:PassRole` in the credential's own IAM policy");
        }
        if !glob.is_everything() && !kind.actions.names().iter().any(|action| glob.matches(action)) {
            unknown_action(node, text, kind, report);
        }
        globs.push(glob);
    }
    globs
}

fn unknown_action(node: &Node, text: &str, kind: &TypeSpec, report: &mut Report<'_>) {
    let hint = suggestion(text, kind.actions.names().iter().copied());
    match kind.actions {
        Actions::None => report
            .mistake(node.at, format!("type `{}` has no actions: use `httpRules`, or `\"*\"`", kind.name)),
        Actions::Listed(_) => {
            report.mistake(node.at, format!("type `{}` has no such action{hint}", kind.name))
        }
        Actions::Open(_) => report
            .warn(node.at, format!("no method of type `{}` that is known has this name{hint}", kind.name)),
    }
}

const SCOPES: [&str; 3] = ["repositories", "channels", "resources"];

fn scope(spec: &Node, kind: &TypeSpec, report: &mut Report<'_>) -> Option<Scope> {
    let block = spec.field("scope")?;
    let mut own = None;
    for field in SCOPES {
        let Some(list) = block.field(field) else { continue };
        if kind.scope == Some(field) {
            own = Some(own_scope(field, list, kind, report));
        } else if !list.items().is_empty() {
            report.mistake(list.at, format!("type `{}` has no `scope.{field}`", kind.name));
        }
    }
    own
}

fn own_scope(field: &'static str, list: &Node, kind: &TypeSpec, report: &mut Report<'_>) -> Scope {
    if list.items().is_empty() {
        report.warn(
            list.at,
            format!("`scope.{field}` is empty, so nothing is in scope; leave it out for no limit"),
        );
    }
    if field == "resources" {
        let mut patterns = Vec::new();
        for node in list.items() {
            match node.text().map(|text| kind.resource_pattern(text)) {
                Some(Ok(pattern)) => patterns.push(pattern),
                Some(Err(expected)) => report.mistake(node.at, expected),
                None => {}
            }
        }
        return Scope::of_arns(field, &report.place(list.at), patterns.iter().map(String::as_str));
    }
    for node in list.items() {
        let Some(text) = node.text() else { continue };
        let parts = text.split('/').filter(|part| !part.is_empty()).count();
        let is_deep = kind.name == "docker-registry";
        let fits = if field == "repositories" {
            (parts == 2 || is_deep && parts > 0) && text.split('/').count() == parts
        } else {
            parts == 1 && !text.contains('/')
        };
        if !fits || text.contains("**") || text.contains(',') || text.contains(char::is_whitespace) {
            report.mistake(
                node.at,
                if is_deep {
                    "a repository is `name`, `owner/name` or deeper, with `*` within any part"
                } else if field == "repositories" {
                    "a repository is `owner/name`, with `*` within either part"
                } else {
                    "not the id of a channel"
                },
            );
        }
    }
    Scope::new(field, &report.place(list.at), list.items().iter().filter_map(Node::text))
}
