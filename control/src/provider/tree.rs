//! A YAML or JSON file as a tree in which every value knows its place, so that all mistakes can be told at once.
//!
//! Refuses what is not YAML, files that are too large or too deep, and aliases beyond a budget. No message shows a value:
//! what a file holds by mistake may be a secret.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error, Location, Spanned};

/// The largest file that is read, in bytes.
pub(super) const FILE_MAX: u64 = 1 << 20;

/// A place in a file, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl Place {
    const START: Self = Self { line: 1, column: 1 };

    fn of(location: Location) -> Self {
        Self { line: location.line().max(1), column: location.column().max(1) }
    }
}

/// A value with its place.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

#[derive(Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float,
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) at: Place,
    pub(super) key: String,
    pub(super) node: Node,
}

impl Node {
    /// The value of a key, if this is a map that has it.
    pub(super) fn find(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// As [`Self::find`], where `null` counts as left out.
    pub(super) fn field(&self, key: &str) -> Option<&Self> {
        self.find(key).filter(|node| !matches!(node.value, Value::Null))
    }

    pub(super) fn entries(&self) -> &[Entry] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    pub(super) fn items(&self) -> &[Self] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    pub(super) fn bool(&self) -> Option<bool> {
        if let Value::Bool(value) = self.value { Some(value) } else { None }
    }

    pub(super) fn int(&self) -> Option<i64> {
        if let Value::Int(value) = self.value { Some(value) } else { None }
    }

    pub(super) fn text_of(&self, key: &str) -> Option<&str> {
        self.field(key).and_then(Self::text)
    }

    /// What kind of value this is, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) | Value::Float => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Reads all documents of a file.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, (Place, String)> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32,
            max_nodes: 100_000,
            max_events: 250_000,
            max_aliases: 200,
            max_anchors: 200,
            max_documents: 1_000,
            flow_nesting_limit: 32,
        },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::PassThrough,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 20_000,
            max_replay_stack_depth: 8,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options::<Node>(text, options).map_err(|error| {
        let place = error.location().map_or(Place::START, Place::of);
        (place, meaning(&error))
    })
}

/// An error of the parser without anything of the file's text.
fn meaning(error: &Error) -> String {
    let error = error.without_snippet();
    let aliases = matches!(
        error,
        Error::AliasReplayCounterOverflow { .. }
            | Error::AliasReplayLimitExceeded { .. }
            | Error::AliasExpansionLimitExceeded { .. }
            | Error::AliasReplayStackDepthExceeded { .. }
    );
    if let Error::AliasError { error, .. } = error {
        return meaning(error);
    }
    if let Error::Message { msg, .. } = error
        && is_fixed_text(msg)
    {
        return format!("not valid YAML: {msg}");
    }
    let text = if aliases {
        "aliases repeat more than the budget allows"
    } else if matches!(error, Error::Budget { .. }) {
        "the file is too large, too deep or uses too many aliases"
    } else if matches!(error, Error::UnknownAnchor { .. }) {
        "an alias names an anchor that does not exist"
    } else {
        "not valid YAML or JSON"
    };
    text.to_owned()
}

/// The scanner's own sentences quote nothing; whatever could quote something of the file is not passed on.
fn is_fixed_text(message: &str) -> bool {
    message.len() <= 160
        && message.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b' ' | b',' | b'-' | b'.' | b';'))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { at: Place::of(spanned.referenced), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Float, Value::Int))
    }

    fn visit_i128<E>(self, _: i128) -> Result<Value, E> {
        Ok(Value::Float)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Value, E> {
        Ok(Value::Float)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Float)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Value, E> {
        Ok(Value::Float)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = items.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            entries.push(Entry { at: Place::of(key.referenced), key: key.value, node: map.next_value()? });
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_is_no_yaml_and_shows_none_of_it() {
        let bomb = format!(
            "a: &a [x,x,x,x,x,x,x,x,x]\n{}",
            (0..8)
                .map(|n| format!(
                    "{}: &{} [*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p}]\n",
                    (b'b' + n) as char,
                    (b'b' + n) as char,
                    p = (b'a' + n) as char
                ))
                .collect::<String>()
        );
        let deep = "[".repeat(5_000);
        for text in [
            "a: [canary-1",
            "a: 'canary-1",
            "\tcanary-1: x: y",
            "a: *canary-1",
            "? {canary-1: 1}\n: 2",
            "a: !!binary canary-1",
            "%canary-1 x",
            &bomb,
            &deep,
            "a: b: canary-1",
        ] {
            let Err((place, message)) = parse(text) else { panic!("{text:.30?} was read") };
            assert!(place.line >= 1 && place.column >= 1);
            assert!(!message.contains("canary"), "{message}");
        }
    }

    #[test]
    fn knows_every_place() {
        let documents =
            parse("a: 1\nb:\n- c: x\n  d: [true]\n---\n{\"e\": \"f\",\n\t\"g\": null}\n").unwrap();
        assert_eq!(documents.len(), 2);
        let c = documents[0].find("b").unwrap().items()[0].find("c").unwrap();
        assert_eq!((c.at.line, c.at.column, c.text()), (3, 6, Some("x")));
        assert_eq!(documents[1].entries()[1].at.line, 7);
        assert!(documents[1].field("g").is_none());
    }

    #[test]
    fn shows_both_of_two_equal_keys() {
        let documents = parse("a: 1\na: 2\n").unwrap();
        assert_eq!(documents[0].entries().len(), 2);
    }

    proptest! {
        #[test]
        fn never_panics(text in "[ -~\\n\\tä]{0,80}") {
            drop(parse(&text));
        }
    }
}
