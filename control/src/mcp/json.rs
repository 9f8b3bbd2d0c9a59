//! JSON with one reading: no key twice in any object, nothing behind the value.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Fault;

/// Marks the one error of our own among the parser's.
const DUPLICATE: &str = "doorward: a key stands twice";

/// Checks the whole text; what it lets through, every parser reads alike.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    serde_json::from_str::<Checked>(text).map(|_| ()).map_err(|error| {
        if error.to_string().starts_with(DUPLICATE) { Fault::Duplicate } else { Fault::NotJson }
    })
}

/// Checks that the text is one value, and no more.
pub(super) fn value(text: &str) -> Result<(), Fault> {
    serde_json::from_str::<&RawValue>(text).map(|_| ()).map_err(|_| Fault::NotJson)
}

/// Whether a parser that does not mind the case of keys would take one for the other (Go's folds `\u{17f}` to s, too).
pub(super) fn is_like(key: &str, name: &str) -> bool {
    let mut letters = key.chars().flat_map(char::to_lowercase).map(|c| if c == '\u{17f}' { 's' } else { c });
    name.chars().all(|c| letters.next() == Some(c)) && letters.next().is_none()
}

/// The members of an object in their order; `None`: the value is something else.
pub(super) fn members(text: &str) -> Option<Vec<(String, &str)>> {
    let members: Members<'_> = serde_json::from_str(text).ok()?;
    Some(members.0)
}

/// The items of an array; `None`: the value is something else.
pub(super) fn items(text: &str) -> Option<Vec<&str>> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}

/// A string's text; `None`: the value is something else.
pub(super) fn string(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

/// Whether the value begins as an object does.
pub(super) fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Check)
    }
}

struct Check;

impl<'de> DeserializeSeed<'de> for Check {
    type Value = Checked;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Checked, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check {
    type Value = Checked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_str<E>(self, _: &str) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Checked, A::Error> {
        while items.next_element_seed(Self)?.is_some() {}
        Ok(Checked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Checked, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key) {
                return Err(A::Error::custom(DUPLICATE));
            }
            map.next_value_seed(Self)?;
        }
        Ok(Checked)
    }
}

struct Members<'a>(Vec<(String, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Vec<(String, &'de str)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((key, value.get()));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Reading).map(Members)
    }
}
