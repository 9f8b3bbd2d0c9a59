//! How much work a document's own tests are, counted before one is run: rules times tests times the length of what is matched.
//!
//! Refuses documents whose tests would keep whoever checks them busy. A server checks what people of all projects send it.

use super::cases::CaseText;
use crate::policy::Policy;

/// Steps that are done without a second look: some ten milliseconds.
pub(super) const STEPS_MAX: u64 = 4_000_000;
/// What matching an action costs, which is short.
const ACTION: u64 = 4;

/// The steps that the tests need.
pub(super) fn steps(policy: &Policy, cases: &[CaseText]) -> u64 {
    let globs = policy.rules.iter().flat_map(|rule| &rule.paths).map(|glob| weight(glob.as_str()));
    let actions = count(policy.allow.len() + policy.deny.len()).saturating_mul(ACTION);
    let rules = globs.fold(actions + count(policy.rules.len()), u64::saturating_add);
    let tests = cases.iter().map(|case| weight(case.path().as_str()));
    tests.fold(0, |sum: u64, test| sum.saturating_add(test.saturating_mul(rules)))
}

/// The parts of a path or pattern; long ones count as several.
fn weight(text: &str) -> u64 {
    let parts = text.bytes().filter(|byte| matches!(byte, b'/' | b'*')).count();
    1 + count(parts) + count(text.len() / 16)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::time::{Duration, Instant};

    use crate::provider::{Given, load_beside, testing};

    fn document(rules: usize, tests: usize, segments: usize) -> String {
        let mut text = String::from(
            "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {name: p}\nspec:\n  type: http-token\n  host: a.example\n  auth: {type: api-key, secretRef: s}\n  policy:\n    httpRules:\n",
        );
        for rule in 0..rules {
            let line = "methods: [\"*\"], paths: [\"/**/a/**/b/**/c";
            writeln!(text, "      - {{id: r{rule}, {line}{rule}\"], effect: allow}}").unwrap();
        }
        text.push_str("  tests:\n");
        for _ in 0..tests {
            writeln!(text, "    - {{request: \"GET {}\", expect: deny}}", "/a".repeat(segments)).unwrap();
        }
        text
    }

    fn mistakes(text: &str) -> Vec<String> {
        let given = [Given { label: "document", project: "default", kind: "Provider", name: "p", text }];
        match load_beside(&[], &given, testing::SCHEMES, &|_, _| Ok(())) {
            Ok(_) => Vec::new(),
            Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn refuses_tests_that_need_too_many_steps_without_running_them() {
        let text = document(1000, 100, 120);
        let begun = Instant::now();
        let found = mistakes(&text);
        assert!(found.iter().any(|one| one.contains("steps")), "{found:?}");
        // Most of it is the reading, without optimisation.
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    #[test]
    fn takes_as_many_rules_and_tests_as_people_write() {
        assert_eq!(mistakes(&document(200, 50, 10)), [""; 0]);
    }
}
