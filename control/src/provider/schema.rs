//! The files' grammar as data: from this table follow validation, its messages, the JSON Schema and the reference.
//!
//! What a later release brings stands here too, so that it is refused by its name and never ignored.

mod tables;

use std::fmt;

use super::report::{Report, shown_key, suggestion};
use super::tree::{Node, Value};
use crate::catalog::SchemeSpec;

use self::tables::{AGENT, MODEL_PROVIDER, PROVIDER};
pub(super) use self::tables::{LIMITS, NETWORK};

/// What may stand in a place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Text,
    Bool,
    /// A whole number from 1.
    Count,
    Choice(&'static [&'static str]),
    List(&'static Self),
    /// These keys.
    Map(&'static [Field]),
    /// Any names as keys.
    Named(&'static Self),
    /// `auth`: these keys and those of the scheme table's auth types.
    Auth(&'static [Field]),
    /// An entry of `auth.inject`: these keys and those of the scheme table.
    Inject(&'static [Field]),
}

/// Whether a key has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    Optional,
    /// Known, but brought by a later release.
    Later,
}

/// A key of a map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) need: Need,
    pub(super) doc: &'static str,
}

pub(super) const fn required(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { name, shape, need: Need::Required, doc }
}

pub(super) const fn optional(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { name, shape, need: Need::Optional, doc }
}

const fn later(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { name, shape, need: Need::Later, doc }
}

pub(super) const TEXTS: Shape = Shape::List(&Shape::Text);

/// A kind of document.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) api_versions: &'static [&'static str],
    pub(super) fields: &'static [Field],
    pub(super) doc: &'static str,
}

/// Our own version of the files.
pub(super) const API_VERSION: &str = "doorward.dev/v1alpha1";
/// The version of files that people have; it means the same.
pub(super) const PAI: &str = "pai.io/v1";

/// The kinds that files may hold.
pub(super) static KINDS: &[Kind] = &[
    Kind {
        name: "Provider",
        api_versions: &[API_VERSION, PAI],
        fields: PROVIDER,
        doc: "Where an agent may send requests, what it may do there, and how the credential is put on.",
    },
    Kind {
        name: "Agent",
        api_versions: &[API_VERSION],
        fields: AGENT,
        doc: "Which providers an agent of the token file may use. With no Agent document every agent has all.",
    },
    Kind {
        name: "ModelProvider",
        api_versions: &[API_VERSION, PAI],
        fields: MODEL_PROVIDER,
        doc: "A model vendor: the models that may be asked, and budgets of tokens. Works intercepted, and as a base URL.",
    },
];

/// Names of fields of auth types that a later release brings.
const LATER_AUTH_FIELDS: &[&str] = &["clientId", "appId", "installationId"];

/// Checks a value against its shape and reports every mistake below it.
pub(super) fn check(node: &Node, shape: Shape, name: &str, schemes: &[&SchemeSpec], report: &mut Report<'_>) {
    let wrong = |wanted: &dyn fmt::Display| format!("`{name}` has to be {wanted}, here is {}", node.kind());
    match (shape, &node.value) {
        (Shape::Text, Value::Text(_)) | (Shape::Bool, Value::Bool(_)) => {}
        (Shape::Text, Value::Bool(_) | Value::Int(_) | Value::Float) => {
            report.mistake(node.at, format!("{}; put it in quotes", wrong(&"text")));
        }
        (Shape::Text, _) => report.mistake(node.at, wrong(&"text")),
        (Shape::Bool, _) => report.mistake(node.at, wrong(&"true or false")),
        (Shape::Count, Value::Int(number)) if *number >= 1 => {}
        (Shape::Count, _) => report.mistake(node.at, wrong(&"a whole number from 1")),
        (Shape::Choice(words), Value::Text(text)) => {
            if !words.contains(&text.as_str()) {
                let hint = suggestion(text, words.iter().copied());
                report.mistake(node.at, format!("`{name}` has to be {}{hint}", one_of(words)));
            }
        }
        (Shape::Choice(words), _) => report.mistake(node.at, wrong(&one_of(words))),
        (Shape::List(inner), Value::List(items)) => {
            items.iter().for_each(|item| check(item, *inner, name, schemes, report));
        }
        (Shape::List(_), _) => report.mistake(node.at, wrong(&"a list")),
        (Shape::Map(fields), Value::Map(_)) => check_map(node, fields, &[], schemes, report),
        (Shape::Auth(fields), Value::Map(_)) => {
            check_map(node, fields, &auth_names(schemes), schemes, report)
        }
        (Shape::Inject(fields), Value::Map(_)) => {
            check_map(node, fields, &inject_names(schemes), schemes, report)
        }
        (Shape::Named(inner), Value::Map(entries)) => {
            no_duplicates(node, report);
            let filled = entries.iter().filter(|entry| !matches!(entry.node.value, Value::Null));
            filled.for_each(|entry| check_unless_null(&entry.node, *inner, &entry.key, schemes, report));
        }
        (Shape::Map(_) | Shape::Auth(_) | Shape::Inject(_) | Shape::Named(_), _) => {
            report.mistake(node.at, wrong(&"a map"))
        }
    }
}

/// A free key may be a value in the wrong place, so it is named only where it looks like a name.
fn check_unless_null(node: &Node, shape: Shape, key: &str, schemes: &[&SchemeSpec], report: &mut Report<'_>) {
    let name = if shown_key(key).is_empty() { "the value" } else { key };
    // A name with nothing behind it: for a single value it is left out, but an emptied list or block would mean the
    // opposite of what stood there (`allow:` without its entries would allow everything).
    let single =
        matches!(shape, Shape::Text | Shape::Bool | Shape::Count | Shape::Choice(_) | Shape::Named(_));
    match node.value {
        Value::Null if single => {}
        Value::Null => {
            report.mistake(node.at, format!("`{name}` has nothing in it: fill it, or leave it out"))
        }
        Value::Bool(_) | Value::Int(_) | Value::Float | Value::Text(_) | Value::List(_) | Value::Map(_) => {
            check(node, shape, name, schemes, report);
        }
    }
}

fn one_of(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
}

pub(super) fn auth_names(schemes: &[&SchemeSpec]) -> Vec<&'static str> {
    schemes.iter().flat_map(|scheme| scheme.auth_fields).map(|field| field.name).collect()
}

pub(super) fn inject_names(schemes: &[&SchemeSpec]) -> Vec<&'static str> {
    let keys = schemes.iter().filter_map(|scheme| scheme.inject_key);
    keys.chain(schemes.iter().flat_map(|scheme| scheme.inject_fields).map(|field| field.name)).collect()
}

/// `also`: keys that are known and checked by whoever builds from them.
fn check_map(
    node: &Node,
    fields: &'static [Field],
    also: &[&str],
    schemes: &[&SchemeSpec],
    report: &mut Report<'_>,
) {
    no_duplicates(node, report);
    for entry in node.entries() {
        match fields.iter().find(|field| field.name == entry.key) {
            Some(field) if field.need == Need::Later => {
                report.mistake(entry.at, format!("`{}` comes with a later release", field.name));
            }
            Some(field) => check_unless_null(&entry.node, field.shape, field.name, schemes, report),
            None if also.contains(&entry.key.as_str()) => {}
            None if !also.is_empty() && LATER_AUTH_FIELDS.contains(&entry.key.as_str()) => {
                report.mistake(entry.at, format!("`{}` comes with a later release", entry.key));
            }
            None => {
                let known = fields.iter().map(|field| field.name).chain(also.iter().copied());
                let hint = suggestion(&entry.key, known);
                report.mistake(entry.at, format!("unknown field{}{hint}", shown_key(&entry.key)));
            }
        }
    }
    for field in fields.iter().filter(|field| field.need == Need::Required) {
        if node.field(field.name).is_none() {
            report.mistake(node.at, format!("`{}` is missing", field.name));
        }
    }
}

pub(super) fn no_duplicates(node: &Node, report: &mut Report<'_>) {
    let entries = node.entries();
    for (index, entry) in entries.iter().enumerate() {
        if let Some(first) = entries.iter().take(index).find(|other| other.key == entry.key) {
            let line = first.at.line;
            report.mistake(
                entry.at,
                format!("the key{} stands here twice, first in line {line}", shown_key(&entry.key)),
            );
        }
    }
}
