//! A provider's policy as run: compiled rules with their places, ready to be shown in a refusal.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::Tools;
use crate::rule::{Glob, Path, Wildcard};

/// A provider's policy as run.
#[derive(Debug, Default)]
pub struct Policy {
    /// In the order of the file; the first match settles.
    pub(crate) rules: Vec<HttpRule>,
    /// Actions that are allowed.
    pub(crate) allow: Vec<ActionGlob>,
    /// Actions that are denied; beats `allow`.
    pub(crate) deny: Vec<ActionGlob>,
    /// What happens to an action that neither list names.
    pub(crate) default: Effect,
    /// Where that stands, for the refusal.
    pub(crate) default_label: Option<Arc<str>>,
    /// What may be acted on.
    pub(crate) scope: Option<Scope>,
    /// Which tools of an MCP server may be used; `None`: all.
    pub(crate) tools: Option<Tools>,
}

impl Policy {
    /// Whether a rule of it asks people.
    pub(crate) fn asks(&self) -> bool {
        self.rules.iter().any(|rule| rule.effect == Effect::Ask)
    }

    /// Which tools of an MCP server may be called and seen, where the file says so.
    pub fn tools(&self) -> Option<&Tools> {
        self.tools.as_ref()
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Effect {
    #[default]
    Deny,
    Allow,
    /// Only together with a person's approval.
    Ask,
}

/// One entry of `httpRules`.
#[derive(Debug)]
pub(crate) struct HttpRule {
    /// The id as written, or `httpRules[N]`.
    pub(crate) id: Arc<str>,
    /// Id and place: `no-delete (github.yaml:12)`.
    pub(crate) label: Arc<str>,
    /// Empty: any.
    pub(crate) methods: Vec<Method>,
    /// Empty: any.
    pub(crate) paths: Vec<Glob>,
    pub(crate) effect: Effect,
    pub(crate) reason: Option<Box<str>>,
    /// Where it asks: how long a request waits for the answer.
    pub(crate) hold: Option<Duration>,
    /// Where it asks: whether who may approve sees the beginning of the body.
    pub(crate) preview: bool,
}

impl HttpRule {
    /// Deny reads widely, allow narrowly. Ask reads as widely as deny: what slips past it could meet an allow behind it.
    pub(crate) fn matches(&self, method: &Method, path: &Path) -> bool {
        // A server that puts methods into capitals itself would take `delete` for DELETE.
        let same = |own: &Method| match self.effect {
            Effect::Deny | Effect::Ask => own.as_str().eq_ignore_ascii_case(method.as_str()),
            Effect::Allow => own == method,
        };
        (self.methods.is_empty() || self.methods.iter().any(same))
            && (self.paths.is_empty()
                || self.paths.iter().any(|glob| match self.effect {
                    Effect::Deny | Effect::Ask => glob.denies(path),
                    Effect::Allow => glob.allows(path),
                }))
    }
}

/// A glob over actions, with its place.
#[derive(Debug)]
pub(crate) struct ActionGlob {
    wildcard: Wildcard,
    case: Case,
    /// As written, and where: `admin:* (github.yaml:14)`.
    pub(crate) label: Arc<str>,
}

/// Whether the case of letters counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Counts,
    Ignored,
}

impl ActionGlob {
    pub(crate) fn new(text: &str, place: &str, case: Case) -> Self {
        let wildcard = match case {
            Case::Counts => Wildcard::new(text),
            Case::Ignored => Wildcard::new(&text.to_ascii_lowercase()),
        };
        Self { wildcard, case, label: format!("{text} ({place})").into() }
    }

    /// Whether it is `*` alone.
    pub(crate) fn is_everything(&self) -> bool {
        self.wildcard.is_star()
    }

    pub(crate) fn matches(&self, action: &str) -> bool {
        match self.case {
            Case::Counts => self.wildcard.matches(action.as_bytes()),
            Case::Ignored => self.wildcard.matches_ignoring_case(action.as_bytes()),
        }
    }
}

/// What may be acted on, in the type's own terms.
#[derive(Debug)]
pub(crate) struct Scope {
    /// Field and place: `scope.repositories (github.yaml:20)`.
    pub(crate) label: Arc<str>,
    patterns: Vec<Vec<Wildcard>>,
    whole: Vec<Wildcard>,
}

impl Scope {
    /// Patterns such as `acme/*`; `*` stays between slashes. The vendors compare these names without regard to case.
    pub(crate) fn new<'a>(field: &'static str, place: &str, patterns: impl Iterator<Item = &'a str>) -> Self {
        let compile = |text: &str| text.to_ascii_lowercase().split('/').map(Wildcard::new).collect();
        let label = format!("scope.{field} ({place})").into();
        Self { label, patterns: patterns.map(compile).collect(), whole: Vec::new() }
    }

    /// Patterns of ARNs and other vendors' ids: `*` goes over slashes and colons, as in IAM, and case counts.
    pub(crate) fn of_arns<'a>(
        field: &'static str,
        place: &str,
        patterns: impl Iterator<Item = &'a str>,
    ) -> Self {
        let label = format!("scope.{field} ({place})").into();
        Self { label, patterns: Vec::new(), whole: patterns.map(Wildcard::new).collect() }
    }

    /// Whether an ARN is in scope.
    pub(crate) fn holds_whole(&self, arn: &str) -> bool {
        self.whole.iter().any(|pattern| pattern.matches(arn.as_bytes()))
    }

    /// Whether every one of the comma-separated resources is in scope.
    pub(crate) fn holds(&self, resources: &str) -> bool {
        resources.split(',').all(|resource| self.patterns.iter().any(|pattern| is_like(pattern, resource)))
    }
}

fn is_like(pattern: &[Wildcard], resource: &str) -> bool {
    let mut segments = resource.split('/');
    let all = pattern.iter().all(|wildcard| {
        segments
            .next()
            .is_some_and(|segment| !segment.is_empty() && wildcard.matches_ignoring_case(segment.as_bytes()))
    });
    all && segments.next().is_none()
}
