//! JSON with one reading: no key twice in any object, nothing behind the value. Bounded: each value costs more than its
//! bytes, and a text may be made of nothing else.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Fault;

/// Marks the one error of our own among the parser's.
const DUPLICATE: &str = "doorward: a key stands twice";
const LARGE: &str = "doorward: too many values";

/// Checks the whole text; what it lets through, every parser reads alike.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    let mut left = VALUES_MOST;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let checked = Check(&mut left).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    checked.map_err(|error| match error.to_string() {
        text if text.starts_with(DUPLICATE) => Fault::Duplicate,
        text if text.starts_with(LARGE) => Fault::Large,
        _ => Fault::NotJson,
    })
}

/// The most values of one message.
const VALUES_MOST: usize = 131_072;

/// The most members of an object whose members are looked at, and items of a list.
const MEMBERS_MOST: usize = 16_384;

/// Checks that the text is one value, and no more.
pub(super) fn value(text: &str) -> Result<(), Fault> {
    serde_json::from_str::<&RawValue>(text).map(|_| ()).map_err(|_| Fault::NotJson)
}

/// Whether a parser that does not mind the case of keys would take one for the other (Go's folds `\u{17f}` to s, too).
pub(super) fn is_like(key: &str, name: &str) -> bool {
    let mut letters = key.chars().flat_map(char::to_lowercase).map(|c| if c == '\u{17f}' { 's' } else { c });
    name.chars().all(|c| letters.next() == Some(c)) && letters.next().is_none()
}

/// The members of an object in their order; `None`: the value is something else, or has too many.
pub(super) fn members(text: &str) -> Option<Vec<(String, &str)>> {
    let members: Members<'_> = serde_json::from_str(text).ok()?;
    Some(members.0)
}

/// The items of an array; `None`: the value is something else, or has too many.
pub(super) fn items(text: &str) -> Option<Vec<&str>> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    if items.len() > MEMBERS_MOST {
        return None;
    }
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

/// Counts down what may still come.
struct Check<'l>(&'l mut usize);

impl Check<'_> {
    fn one<E: Error>(self) -> Result<(), E> {
        *self.0 = self.0.checked_sub(1).ok_or_else(|| E::custom(LARGE))?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.one()
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.one()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.one()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.one()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.one()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.one()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        Check(&mut *self.0).one()?;
        while items.next_element_seed(Check(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        Check(&mut *self.0).one()?;
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key) {
                return Err(A::Error::custom(DUPLICATE));
            }
            map.next_value_seed(Check(&mut *self.0))?;
        }
        Ok(())
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
                    if members.len() >= MEMBERS_MOST {
                        return Err(A::Error::custom(LARGE));
                    }
                    members.push((key, value.get()));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Reading).map(Members)
    }
}
