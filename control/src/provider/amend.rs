//! Puts an allowing rule into the text of a document, in front of the rule that asks; everything else stays as it was written.
//!
//! What came of it is read again: refused is whatever is not the same document with one more rule in that place.

use super::tree::{self, Entry, Node, Value};

/// Why there is no new text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AmendError {
    /// The document has no such rule, at a place that can be found in its text.
    #[error("the document has no rule of that id that can be found in its text")]
    NoRule,
    /// A rule cannot say this path alone.
    #[error("a rule cannot name this path alone: it holds `*`, or a part of it is masked")]
    Path,
}

/// The rule that is put in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewRule<'a> {
    pub(crate) id: &'a str,
    pub(crate) method: &'a str,
    /// The canonical path, without a query.
    pub(crate) path: &'a str,
}

/// The text with the new rule in front of the one of the id `before`.
pub(crate) fn allow_before(text: &str, before: &str, rule: NewRule<'_>) -> Result<String, AmendError> {
    if rule.path.contains('*') {
        return Err(AmendError::Path);
    }
    let (index, at) = place_of(text, before).ok_or(AmendError::NoRule)?;
    let (head, tail) = text.split_at_checked(at).ok_or(AmendError::NoRule)?;
    let written = serde_json::json!({
        "id": rule.id, "methods": [rule.method], "paths": [rule.path], "effect": "allow",
    });
    let line = head.rsplit('\n').next().unwrap_or_default();
    // `    - ` in front of it: an item of a block; anything else is the inside of a list in brackets.
    let is_item = line.trim_end().trim_start() == "-";
    let joint = if is_item { format!("\n{line}") } else { ", ".to_owned() };
    let amended = format!("{head}{written}{joint}{tail}");
    if has_one_more(text, &amended, index, rule.id) { Ok(amended) } else { Err(AmendError::NoRule) }
}

/// Whether the one is the other with a rule of this id at this place, and nothing else.
fn has_one_more(text: &str, amended: &str, index: usize, id: &str) -> bool {
    let (Ok(old), Ok(new)) = (tree::parse(text), tree::parse(amended)) else { return false };
    let ([old], [new]) = (old.as_slice(), new.as_slice()) else { return false };
    let mut without = new.clone();
    let Some(rules) = rules_of(&mut without).filter(|rules| index < rules.len()) else { return false };
    let taken = rules.remove(index);
    taken.text_of("id") == Some(id) && is_same(old, &without)
}

fn rules_of(document: &mut Node) -> Option<&mut Vec<Node>> {
    let mut node = document;
    for key in ["spec", "policy", "httpRules"] {
        let Value::Map(entries) = &mut node.value else { return None };
        node = &mut entries.iter_mut().find(|entry| entry.key == key)?.node;
    }
    if let Value::List(rules) = &mut node.value { Some(rules) } else { None }
}

/// Whether two trees say the same, wherever it stands.
fn is_same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Null, Value::Null) | (Value::Float, Value::Float) => true,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Int(one), Value::Int(other)) => one == other,
        (Value::Text(one), Value::Text(other)) => one == other,
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Map(one), Value::Map(other)) => {
            let is_same =
                |(one, other): (&Entry, &Entry)| one.key == other.key && is_same(&one.node, &other.node);
            one.len() == other.len() && one.iter().zip(other).all(is_same)
        }
        _ => false,
    }
}

/// Which rule it is, and where it begins, in bytes.
fn place_of(text: &str, id: &str) -> Option<(usize, usize)> {
    let documents = tree::parse(text).ok()?;
    let [document] = documents.as_slice() else { return None };
    let rules = document.field("spec")?.field("policy")?.field("httpRules")?.items();
    let is_it = |(index, node): &(usize, &Node)| match node.text_of("id") {
        Some(own) => own == id,
        None => format!("httpRules[{index}]") == id,
    };
    let (index, node) = rules.iter().enumerate().find(is_it)?;
    let (line, column) = (usize::try_from(node.at.line).ok()?, usize::try_from(node.at.column).ok()?);
    let begin = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum::<usize>();
    let (within, _) = text.get(begin..)?.char_indices().nth(column.checked_sub(1)?)?;
    Some((index, begin + within))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: NewRule<'static> = NewRule { id: "approved-1", method: "DELETE", path: "/repos/a/b" };
    const WRITTEN: &str =
        r#"{"effect":"allow","id":"approved-1","methods":["DELETE"],"paths":["/repos/a/b"]}"#;

    fn amended(rules: &str) -> String {
        let text =
            format!("kind: Provider # ü\nspec:\n  policy:\n    httpRules:{rules}\n    allow: [\"*\"]\n");
        let new = allow_before(&text, "asks", RULE).unwrap();
        tree::parse(&new).ok().unwrap();
        new.split_once("httpRules:").unwrap().1.split_once("\n    allow").unwrap().0.to_owned()
    }

    #[test]
    fn stands_in_front_of_the_rule_however_that_is_written() {
        let new = amended("\n    - {id: a, effect: deny}\n    # why\n    - {id: asks, effect: ask}");
        assert_eq!(
            new,
            format!(
                "\n    - {{id: a, effect: deny}}\n    # why\n    - {WRITTEN}\n    - {{id: asks, effect: ask}}"
            )
        );
        let new = amended("\n      - id: asks\n        effect: ask");
        assert_eq!(new, format!("\n      - {WRITTEN}\n      - id: asks\n        effect: ask"));
        let new = amended(" [{id: ü, effect: deny}, {id: asks, effect: ask}]");
        assert_eq!(new, format!(" [{{id: ü, effect: deny}}, {WRITTEN}, {{id: asks, effect: ask}}]"));
        let json = r#"{"spec":{"policy":{"httpRules":[{"effect":"ask"}]}}}"#;
        let new = allow_before(json, "httpRules[0]", RULE).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&new).is_ok(), "{new}");
    }

    #[test]
    fn refuses_what_it_cannot_find_or_write() {
        let text = "spec: {policy: {httpRules: [{id: asks, effect: ask}]}}\n";
        assert_eq!(allow_before(text, "other", RULE), Err(AmendError::NoRule));
        assert_eq!(allow_before("spec: [", "asks", RULE), Err(AmendError::NoRule));
        assert_eq!(allow_before(&format!("{text}---\n{text}"), "asks", RULE), Err(AmendError::NoRule));
        let wide = NewRule { path: "/repos/*", ..RULE };
        assert_eq!(allow_before(text, "asks", wide), Err(AmendError::Path));
    }
}
