//! JSON pointers (RFC 6901) into a body: finds the bytes of one value, so that all others stay as they were.
//!
//! Refuses bodies that are not JSON, keys on the way that stand twice (parsers differ in which one they take), and
//! values that are neither a string nor null.

use std::fmt;
use std::ops::Range;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// The deepest pointer; each level reads the rest of the body once more.
const DEEPEST: usize = 16;

/// A pointer that is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// Why a pointer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// It does not begin with `/`.
    #[error("a JSON pointer begins with `/`")]
    Start,
    /// `~` is followed by neither `0` nor `1`.
    #[error("in a JSON pointer `~` is followed by `0` or `1`")]
    Tilde,
    /// More than 16 levels.
    #[error("a JSON pointer has at most {DEEPEST} levels here")]
    Deep,
}

/// Why a body has no place for the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// The body is not one JSON value in UTF-8.
    #[error("the body is not valid JSON")]
    NotJson,
    /// A key on the way stands twice.
    #[error("a key on the way to the credential stands twice in the body")]
    Duplicate,
    /// What stands there is neither a string nor null.
    #[error("the credential's place in the body does not hold a string")]
    NotString,
}

/// What stands at a pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A string or null: the bytes of the value, quotes included.
    Value(Range<usize>),
    /// The object that would hold it is there, without the key.
    Absent {
        /// Just behind the object's opening brace.
        at: usize,
        /// Whether the object has no member.
        empty: bool,
    },
    /// The way to it ends before.
    Nowhere,
}

impl Pointer {
    /// Parses `/auth/key`; `~1` is `/` and `~0` is `~` in a key.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        let rest = text.strip_prefix('/').ok_or(PointerError::Start)?;
        let tokens: Vec<String> = rest.split('/').map(unescape).collect::<Result<_, _>>()?;
        if tokens.len() > DEEPEST { Err(PointerError::Deep) } else { Ok(Self(tokens)) }
    }

    /// Finds the place in a body.
    pub fn locate(&self, body: &[u8]) -> Result<Place, LocateError> {
        let text = std::str::from_utf8(body).map_err(|_| LocateError::NotJson)?;
        let mut raw: &RawValue = serde_json::from_str(text).map_err(|_| LocateError::NotJson)?;
        let mut tokens = self.0.iter().peekable();
        while let Some(token) = tokens.next() {
            match step(raw, token)? {
                Step::Into(value) => raw = value,
                Step::Absent { empty } if tokens.peek().is_none() => {
                    return Ok(Place::Absent { at: offset(body, raw) + 1, empty });
                }
                Step::Absent { .. } | Step::Nowhere => return Ok(Place::Nowhere),
            }
        }
        if !raw.get().starts_with('"') && raw.get() != "null" {
            return Err(LocateError::NotString);
        }
        let start = offset(body, raw);
        Ok(Place::Value(start..start + raw.get().len()))
    }

    /// The last key, as it is written into an object.
    fn last(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    fn change(&self, place: &Place) -> Option<(Range<usize>, Option<&str>, bool)> {
        match place {
            Place::Value(range) => Some((range.clone(), None, false)),
            Place::Absent { at, empty } => Some((*at..*at, Some(self.last()), !empty)),
            Place::Nowhere => None,
        }
    }

    /// How long the body is that [`Self::set`] makes.
    pub fn length(&self, body: &[u8], place: &Place, value: &str) -> Option<usize> {
        let (range, key, comma) = self.change(place)?;
        let key = key.map_or(0, |key| written(key) + 1);
        Some(body.len() - range.len() + written(value) + key + usize::from(comma))
    }

    /// The body with the credential at a place that [`Self::locate`] found. `Nowhere` gives `None`.
    pub fn set(&self, body: &[u8], place: &Place, value: &str) -> Option<Zeroizing<Vec<u8>>> {
        let (range, key, comma) = self.change(place)?;
        let length = self.length(body, place, value)?;
        let mut out = Zeroizing::new(Vec::with_capacity(length));
        out.extend_from_slice(body.get(..range.start)?);
        if let Some(key) = key {
            write_string(key, &mut out)?;
            out.push(b':');
        }
        write_string(value, &mut out)?;
        if comma {
            out.push(b',');
        }
        out.extend_from_slice(body.get(range.end..)?);
        debug_assert!(out.len() == length, "a buffer that grows leaves an unwiped copy");
        Some(out)
    }
}

/// The text of a JSON string with its quotes; `None` for null and everything else.
pub fn string_at(raw: &[u8]) -> Option<Zeroizing<String>> {
    serde_json::from_slice(raw).ok().map(Zeroizing::new)
}

fn unescape(token: &str) -> Result<String, PointerError> {
    let mut pieces = token.split('~');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (replacement, rest) = match (piece.strip_prefix('0'), piece.strip_prefix('1')) {
            (Some(rest), _) => ('~', rest),
            (_, Some(rest)) => ('/', rest),
            (None, None) => return Err(PointerError::Tilde),
        };
        out.push(replacement);
        out.push_str(rest);
    }
    Ok(out)
}

/// How long a text is as a JSON string, with its two quotes.
fn written(text: &str) -> usize {
    let bytes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | 0x08 | b'\t' | b'\n' | 0x0c | b'\r' => 2,
        ..0x20 => 6,
        _ => 1,
    });
    bytes.sum::<usize>() + 2
}

fn write_string(text: &str, out: &mut Vec<u8>) -> Option<()> {
    serde_json::to_writer(out, text).ok()
}

/// How far into the body a value that was borrowed from it begins.
fn offset(body: &[u8], raw: &RawValue) -> usize {
    raw.get().as_ptr().addr() - body.as_ptr().addr()
}

enum Step<'a> {
    Into(&'a RawValue),
    Absent { empty: bool },
    Nowhere,
}

fn step<'a>(raw: &'a RawValue, token: &str) -> Result<Step<'a>, LocateError> {
    let text = raw.get();
    let mut reader = serde_json::Deserializer::from_str(text);
    if text.starts_with('{') {
        let found = reader.deserialize_map(Member { token }).map_err(|_| LocateError::NotJson)?;
        return match found {
            Members { matches: 0, value: _, any } => Ok(Step::Absent { empty: !any }),
            Members { matches: 1, value: Some(value), any: _ } => Ok(Step::Into(value)),
            Members { .. } => Err(LocateError::Duplicate),
        };
    }
    if !text.starts_with('[') {
        return Ok(Step::Nowhere);
    }
    let canonical = token == "0" || !token.starts_with(['0', '+']);
    let Some(index) = token.parse().ok().filter(|_| canonical) else { return Ok(Step::Nowhere) };
    let found = reader.deserialize_seq(Element { index }).map_err(|_| LocateError::NotJson)?;
    Ok(found.map_or(Step::Nowhere, Step::Into))
}

struct Members<'a> {
    matches: usize,
    value: Option<&'a RawValue>,
    any: bool,
}

struct Member<'t> {
    token: &'t str,
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Members { matches: 0, value: None, any: false };
        while let Some(is_same) = map.next_key_seed(SameKey(self.token))? {
            let value: &'de RawValue = map.next_value()?;
            found.any = true;
            if is_same {
                found.matches += 1;
                found.value = Some(value);
            }
        }
        Ok(found)
    }
}

/// Compares a key without copying it.
struct SameKey<'t>(&'t str);

impl<'de> DeserializeSeed<'de> for SameKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for SameKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

struct Element {
    index: usize,
}

impl<'de> Visitor<'de> for Element {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut at = 0;
        while let Some(value) = seq.next_element::<&'de RawValue>()? {
            if at == self.index {
                found = Some(value);
            }
            at += 1;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn locate(pointer: &str, body: &str) -> Result<Place, LocateError> {
        Pointer::parse(pointer).unwrap().locate(body.as_bytes())
    }

    fn set(pointer: &str, body: &str, value: &str) -> Option<String> {
        let pointer = Pointer::parse(pointer).unwrap();
        let place = pointer.locate(body.as_bytes()).unwrap();
        pointer.set(body.as_bytes(), &place, value).map(|out| String::from_utf8(out.to_vec()).unwrap())
    }

    #[test]
    fn room_is_made_for_every_escape_and_for_no_more() {
        // Debug builds assert that what is written is as long as was said; a smaller buffer would grow.
        let out = set("/\u{1}", r#"{"a":1}"#, &"\u{2}".repeat(20)).unwrap();
        assert_eq!(out, format!(r#"{{"\u0001":"{}","a":1}}"#, r"\u0002".repeat(20)));
        for code in 0..=0x00ff {
            let text = char::from_u32(code).unwrap().to_string();
            assert_eq!(written(&text), serde_json::to_string(&text).unwrap().len(), "{code:#x}");
        }
    }

    #[test]
    fn refuses_keys_that_stand_twice_on_the_way() {
        for body in [
            r#"{"a":{"k":"1"},"a":{"k":"2"}}"#,
            r#"{"a":{"k":"1","k":"2"}}"#,
            r#"{"a":{"k":"1","\u006b":"2"}}"#,
            r#"{"a":{"k":"1"},"\u0061":1}"#,
        ] {
            assert_eq!(locate("/a/k", body), Err(LocateError::Duplicate), "{body}");
        }
        assert!(locate("/a/k", r#"{"b":1,"b":2,"a":{"k":"1"}}"#).is_ok());
    }

    #[test]
    fn refuses_what_is_not_one_json_value() {
        for body in [
            "",
            "{",
            r#"{"a":"b"} x"#,
            r#"{"a":"b"}{}"#,
            "{'a':'b'}",
            r#"{"a":"b",}"#,
            "\u{feff}{\"a\":\"b\"}",
            "{\"a\":\"\n\"}",
        ] {
            assert_eq!(locate("/a", body), Err(LocateError::NotJson), "{body:?}");
        }
        let pointer = Pointer::parse("/a").unwrap();
        assert_eq!(pointer.locate(b"{\"a\":\"\xff\"}"), Err(LocateError::NotJson));
        for body in [r#"{"a":1}"#, r#"{"a":true}"#, r#"{"a":{}}"#, r#"{"a":["b"]}"#] {
            assert_eq!(locate("/a", body), Err(LocateError::NotString), "{body}");
        }
    }

    #[test]
    fn refuses_pointers_that_are_malformed_or_too_deep() {
        for (text, error) in [
            ("", PointerError::Start),
            ("a", PointerError::Start),
            ("/~", PointerError::Tilde),
            ("/a~2", PointerError::Tilde),
            (&"/a".repeat(17), PointerError::Deep),
        ] {
            assert_eq!(Pointer::parse(text), Err(error), "{text}");
        }
        assert!(Pointer::parse(&"/a".repeat(16)).is_ok());
    }

    #[test]
    fn an_index_has_one_spelling() {
        let body = r#"["a","b"]"#;
        assert_eq!(locate("/0", body), Ok(Place::Value(1..4)));
        assert_eq!(locate("/1", body), Ok(Place::Value(5..8)));
        for pointer in ["/+1", "/00", "/2", "/-1"] {
            assert_eq!(locate(pointer, body), Ok(Place::Nowhere), "{pointer}");
        }
    }

    #[test]
    fn a_way_that_ends_before_has_no_place() {
        for (pointer, body) in [
            ("/a/b", "{}"),
            ("/a/b", r#"{"a":"x"}"#),
            ("/0", "[]"),
            ("/01", r#"["a","b"]"#),
            ("/-", "[]"),
            ("/a", "1"),
        ] {
            assert_eq!(locate(pointer, body), Ok(Place::Nowhere), "{pointer} {body}");
        }
    }

    #[test]
    fn sets_the_string_and_leaves_the_rest_as_it_was() {
        assert_eq!(
            set("/a/1/~1~0", r#" {"a" : [ 0 ,{"/~" :null}]} "#, "x\"\n").unwrap(),
            r#" {"a" : [ 0 ,{"/~" :"x\"\n"}]} "#
        );
        assert_eq!(set("/k", "{ }", "v").unwrap(), r#"{"k":"v" }"#);
        assert_eq!(set("/k\"", r#"{ "b":1}"#, "v").unwrap(), r#"{"k\"":"v", "b":1}"#);
        assert_eq!(set("/k/l", "{}", "v"), None);
    }

    #[test]
    fn reads_a_string_and_nothing_else() {
        for (raw, text) in [(r#""""#, ""), (r#""a\"\u0062""#, "a\"b"), ("\"\u{e4}\"", "\u{e4}")] {
            assert_eq!(string_at(raw.as_bytes()).as_deref().map(String::as_str), Some(text), "{raw}");
        }
        for raw in ["null", "1", "[\"a\"]", "{}", "\"a", "\"a\" b", ""] {
            assert_eq!(string_at(raw.as_bytes()), None, "{raw}");
        }
    }

    #[test]
    fn deep_bodies_do_not_exhaust_the_stack() {
        let body = format!("{{\"a\":\"b\",\"c\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert!(matches!(locate("/a", &body), Ok(Place::Value(_))));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[ab~/]{1,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn only_the_pointers_value_differs(body in json(), pointer in "(/([ab0-2]|~0|~1){1,2}){1,3}", value in "\\PC{0,12}", pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.unwrap();
            let parsed = Pointer::parse(&pointer).unwrap();
            let mut expected = body.clone();
            let (parent, last) = pointer.rsplit_once('/').unwrap();
            match parsed.locate(text.as_bytes()) {
                Ok(place) => match parsed.set(text.as_bytes(), &place, &value) {
                    Some(out) => {
                        match &place {
                            Place::Value(range) => {
                                *expected.pointer_mut(&pointer).unwrap() = Value::from(value);
                                prop_assert_eq!(&out[..range.start], &text.as_bytes()[..range.start]);
                                prop_assert!(out.ends_with(&text.as_bytes()[range.end..]));
                            }
                            Place::Absent { .. } | Place::Nowhere => {
                                let key = last.replace("~1", "/").replace("~0", "~");
                                expected.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(key, Value::from(value));
                            }
                        }
                        prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
                    }
                    None => {
                        prop_assert!(body.pointer(&pointer).is_none());
                        prop_assert!(body.pointer(parent).and_then(Value::as_object).is_none());
                    }
                },
                Err(LocateError::NotString) => {
                    let there = body.pointer(&pointer).unwrap();
                    prop_assert!(!there.is_string() && !there.is_null());
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(body: Vec<u8>, pointer in "(/[a~01]{0,2}){1,3}") {
            if let Ok(pointer) = Pointer::parse(&pointer) && let Ok(place) = pointer.locate(&body) {
                prop_assert!(pointer.set(&body, &place, "v").is_none_or(|out| serde_json::from_slice::<Value>(&out).is_ok()));
            }
        }
    }
}
