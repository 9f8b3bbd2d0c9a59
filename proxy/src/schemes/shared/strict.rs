//! A JSON object from an issuer, read once and strictly: its texts are secrets, whatever their names.
//!
//! Refuses what two readers could take differently: a key that stands there twice, anything but one object, bytes behind it.
//! What serde_json unescapes passes through a buffer of its own that is not wiped; tokens hold nothing to escape.

use std::fmt;

use control::secret::Secret;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// More keys than any answer has.
const KEYS_MOST: usize = 64;

/// An object.
#[derive(Debug)]
pub struct Object(Vec<(String, Value)>);

/// A value of an object.
#[derive(Debug)]
enum Value {
    Text(Secret),
    Number(u64),
    /// `null` says no more than leaving it out.
    Null,
    Other,
}

/// Why an answer is none. Holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrictError {
    /// Not JSON, not an object, or more than one thing.
    #[error("it is not one JSON object")]
    Form,
    /// A key twice, or too many.
    #[error("it has a key twice, or too many of them")]
    Keys,
}

/// A field of another kind than was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is of another kind")]
pub struct WrongKind;

impl Object {
    /// Parses one object and nothing behind it.
    pub fn parse(json: &[u8]) -> Result<Self, StrictError> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let object = reader.deserialize_map(Fields).map_err(|error| {
            // Our own word, nothing of the answer's.
            if error.to_string().starts_with(TWICE) { StrictError::Keys } else { StrictError::Form }
        })?;
        reader.end().map_err(|_| StrictError::Form)?;
        Ok(object)
    }

    /// The text of a field.
    pub fn text(&self, name: &str) -> Option<&Secret> {
        self.0.iter().find(|(key, _)| key == name).and_then(|(_, value)| match value {
            Value::Text(text) => Some(text),
            Value::Number(_) | Value::Null | Value::Other => None,
        })
    }

    /// Whether there is such a field, of whatever kind.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// Takes the text of a field out.
    pub fn take(&mut self, name: &str) -> Option<Secret> {
        self.text(name)?;
        let at = self.0.iter().position(|(key, _)| key == name)?;
        match self.0.swap_remove(at).1 {
            Value::Text(text) => Some(text),
            Value::Number(_) | Value::Null | Value::Other => None,
        }
    }

    /// A number of seconds: a whole number, or its digits as text, as some issuers write it. `None`: it is not there.
    pub fn seconds(&self, name: &str) -> Result<Option<u64>, WrongKind> {
        let Some((_, value)) = self.0.iter().find(|(key, _)| key == name) else { return Ok(None) };
        match value {
            Value::Null => Ok(None),
            Value::Number(number) => Ok(Some(*number)),
            Value::Text(text) => {
                // exposed: digits of a life, no secret
                let digits = text.expose();
                let is_number = (1..=10).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
                let number =
                    std::str::from_utf8(digits).ok().filter(|_| is_number).and_then(|text| text.parse().ok());
                number.map(Some).ok_or(WrongKind)
            }
            Value::Other => Err(WrongKind),
        }
    }
}

const TWICE: &str = "twice";

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut fields: Vec<(String, Value)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if fields.len() == KEYS_MOST || fields.iter().any(|(other, _)| *other == key) {
                return Err(A::Error::custom(TWICE));
            }
            let value = map.next_value_seed(One)?;
            fields.push((key, value));
        }
        Ok(Object(fields))
    }
}

struct One;

impl<'de> DeserializeSeed<'de> for One {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for One {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Secret::new(text.as_bytes().to_vec())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_two_readers_could_take_differently() {
        for (json, error) in [
            ("", StrictError::Form),
            ("[]", StrictError::Form),
            ("null", StrictError::Form),
            ("\"a\"", StrictError::Form),
            ("{} {}", StrictError::Form),
            ("{}x", StrictError::Form),
            ("{\"a\":1,}", StrictError::Form),
            ("{'a':1}", StrictError::Form),
            ("{\"a\":01}", StrictError::Form),
            ("{\"a\":\"\u{1}\"}", StrictError::Form),
            ("\u{feff}{}", StrictError::Form),
            (r#"{"a":1,"a":1}"#, StrictError::Keys),
            (r#"{"access_token":"one-one-one","b":2,"acce\u0073s_token":"two-two-two"}"#, StrictError::Keys),
        ] {
            assert_eq!(Object::parse(json.as_bytes()).unwrap_err(), error, "{json}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(500), "]".repeat(500));
        assert!(Object::parse(deep.as_bytes()).unwrap().text("a").is_none(), "skipped without recursion");
        let many: Vec<String> = (0..65).map(|n| format!("\"k{n}\":1")).collect();
        let many = format!("{{{}}}", many.join(","));
        assert_eq!(Object::parse(many.as_bytes()).unwrap_err(), StrictError::Keys);
    }

    #[test]
    fn reads_texts_and_lives() {
        let json = br#" {"t":"a\/b","n":3599,"s":"3599","z":null,"o":{"x":[1,{"x":2}]},"m":-1,"f":1.5,"e":1e3,"w":"12a","l":"12345678901"} "#;
        let mut object = Object::parse(json).unwrap();
        assert!(!format!("{object:?}").contains("a/b"));
        assert!(object.text("n").is_none() && object.text("t").unwrap().matches(b"a/b"));
        assert!(object.take("t").unwrap().matches(b"a/b"));
        assert!(object.take("t").is_none() && object.take("n").is_none());
        for (name, seconds) in [
            ("n", Ok(Some(3599))),
            ("s", Ok(Some(3599))),
            ("z", Ok(None)),
            ("none", Ok(None)),
            ("o", Err(WrongKind)),
            ("m", Err(WrongKind)),
            ("f", Err(WrongKind)),
            ("e", Err(WrongKind)),
            ("w", Err(WrongKind)),
            ("l", Err(WrongKind)),
        ] {
            assert_eq!(object.seconds(name), seconds, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            drop(Object::parse(&bytes));
        }

        #[test]
        fn texts_are_read_back_as_they_were_written(
            texts in proptest::collection::btree_map(".{0,12}", ".{0,40}", 0..20),
        ) {
            let json = serde_json::to_vec(&texts).unwrap();
            let object = Object::parse(&json).unwrap();
            for (name, text) in &texts {
                assert!(object.text(name).unwrap().matches(text.as_bytes()));
            }
            // Written twice it is refused, whatever stands in it.
            if let (false, Ok(text)) = (texts.is_empty(), std::str::from_utf8(&json)) {
                let inner = &text.trim_start_matches('{').trim_end_matches('}');
                assert!(Object::parse(format!("{{{inner},{inner}}}").as_bytes()).is_err());
            }
        }
    }
}
