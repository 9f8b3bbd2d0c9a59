//! The `tests` of a provider: requests with the expected verdict, run by `doorward check` and before a file is applied.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Method};

use super::build::default_port;
use super::report::Report;
use super::tree::{Node, Place};
use super::verify::split_url;
use super::{Mode, Provider};
use crate::agent::AgentName;
use crate::policy::{self, Facts, Verdict};
use crate::rule::{HostPattern, Path};
use crate::target::Target;

/// A test as read, before its provider exists.
#[derive(Debug)]
pub(super) struct CaseText {
    pub(super) at: Place,
    method: Method,
    target: Target,
    path: Path,
    query: Option<String>,
    expect: Expect,
    rule: Option<String>,
}

impl CaseText {
    /// The path that is asked for.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The verdict that a test expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The request is let through.
    Allow,
    /// The request is refused.
    Deny,
    /// A person is asked.
    Ask,
}

/// One test of a provider.
#[derive(Debug)]
pub struct Case {
    /// Whose test it is.
    pub provider: Arc<Provider>,
    /// The file as it was named.
    pub path: String,
    /// Where it stands in it.
    pub line: u64,
    case: CaseText,
}

/// A test that did not come out as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What was expected.
    pub expect: Expect,
    /// What it came to.
    pub came: Expect,
    /// The rule or step that settled it, with its place.
    pub settled_by: Option<Arc<str>>,
    /// The rule that was expected, where the verdict was right and the rule was not.
    pub wanted_rule: Option<String>,
}

impl Case {
    pub(super) fn new(provider: &Arc<Provider>, path: &str, case: CaseText) -> Self {
        Self { provider: Arc::clone(provider), path: path.to_owned(), line: case.at.line, case }
    }

    /// Decides the request and compares.
    pub fn run(&self) -> Result<(), Failed> {
        let case = &self.case;
        let facts = Facts {
            agent: &AgentName::local(),
            target: &case.target,
            provider: &self.provider,
            method: &case.method,
            path: &case.path,
            query: case.query.as_deref(),
            body: None,
            headers: &HeaderMap::new(),
        };
        let (verdict, settled_by) = match policy::decide(&facts) {
            Ok(Verdict::Ask(question)) => (Expect::Ask, question.refusal().rule),
            Ok(Verdict::Allow(permit)) => match &permit.trace().would_deny {
                Some(refusal) => (Expect::Deny, refusal.rule.clone()),
                None => (Expect::Allow, permit.trace().rule.clone()),
            },
            Err(refusal) => (Expect::Deny, refusal.rule),
        };
        let is_wanted = |wanted: &String| {
            settled_by.as_ref().is_some_and(|label| label.split(' ').next() == Some(wanted))
        };
        let right_rule = case.rule.as_ref().is_none_or(is_wanted);
        if verdict == case.expect && right_rule {
            return Ok(());
        }
        let wanted_rule = case.rule.clone().filter(|_| verdict == case.expect);
        Err(Failed { expect: case.expect, came: verdict, settled_by, wanted_rule })
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = self.settled_by.as_deref().unwrap_or("no rule");
        match (&self.wanted_rule, self.expect) {
            (Some(wanted), _) => write!(f, "expected rule {wanted} to settle it, it was {by}"),
            (None, expect) => {
                let expected = match expect {
                    Expect::Allow => "allow",
                    Expect::Deny => "deny",
                    Expect::Ask => "ask",
                };
                let came = match self.came {
                    Expect::Allow => "allowed",
                    Expect::Deny => "denied",
                    Expect::Ask => "asked",
                };
                write!(f, "expected {expected}, {came} by {by}")
            }
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.provider.name, self.case.method, self.case.path.as_str())
    }
}

/// Reads `spec.tests`.
pub(super) fn read(spec: &Node, hosts: &[HostPattern], mode: Mode, report: &mut Report<'_>) -> Vec<CaseText> {
    let nodes = spec.field("tests").map_or(&[][..], Node::items);
    nodes.iter().filter_map(|node| case(node, hosts, mode, report)).collect()
}

fn case(node: &Node, hosts: &[HostPattern], mode: Mode, report: &mut Report<'_>) -> Option<CaseText> {
    let request = node.field("request")?;
    let expect = match node.text_of("expect")? {
        "allow" => Expect::Allow,
        "ask" => Expect::Ask,
        _ => Expect::Deny,
    };
    let Some((method, target, path_and_query)) = parse(request.text()?, hosts, mode) else {
        report.mistake(request.at, "a test's `request` is `METHOD /path` (for the first host that is no wildcard) or `METHOD https://host/path`, in canonical form");
        return None;
    };
    if !hosts.iter().any(|host| host.covers(&target)) {
        report.mistake(request.at, "the provider does not cover the host of this test");
        return None;
    }
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (path_and_query.as_str(), None),
    };
    let path = Path::parse(path).ok()?;
    Some(CaseText {
        at: node.at,
        method,
        target,
        path,
        query,
        expect,
        rule: node.text_of("rule").map(str::to_owned),
    })
}

fn parse(text: &str, hosts: &[HostPattern], mode: Mode) -> Option<(Method, Target, String)> {
    let (method, place) = text.split_once(' ')?;
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    let url = if place.starts_with('/') {
        let host = hosts.iter().find_map(|pattern| Some((pattern.exact()?, pattern.port()?)));
        let (host, port) = host?;
        let scheme = if mode == Mode::Plain { "http" } else { "https" };
        let target = Target { host: host.clone(), port };
        format!("{scheme}://{}{place}", target.authority(default_port(mode)))
    } else {
        place.to_owned()
    };
    let (target, path_and_query) = split_url(&url, mode)?;
    Some((method, target, path_and_query))
}
