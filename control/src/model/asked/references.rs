//! Whether a request has a model read what is not in its body: files, pages, images behind addresses, earlier answers, what
//! tools of the vendor bring. Its length then says nothing of what the model reads.
//!
//! Reads widely: a key that only looks like one of these counts, wherever it stands.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Fault;
use super::pairs::fold;

/// Keys whose text leads to something, folded; not where it is a `data:` URL, which holds what it names.
const LEADS: &[&str] = &[
    "audiourl",
    "cachedcontent",
    "container",
    "conversation",
    "documenturl",
    "fileid",
    "fileids",
    "fileuri",
    "fileurl",
    "imageurl",
    "inputaudioid",
    "previousresponseid",
    "uri",
    "url",
    "videourl",
];

/// Keys that say so whatever their value is, folded: tools and sources of the vendor.
const BRINGS: &[&str] = &[
    "codeexecution",
    "conversation",
    "container",
    "datasources",
    "enterprisewebsearch",
    "filesearch",
    "googlemaps",
    "googlesearch",
    "googlesearchretrieval",
    "mcpservers",
    "plugins",
    "retrieval",
    "urlcontext",
    "vectorstoreids",
    "websearchoptions",
];

/// The most values of one body: each costs more than its bytes.
const VALUES_MOST: usize = 524_288;

/// The longest key that can be one of these, with room for what is folded away.
const KEY_MOST: usize = 64;

/// Whether the body, which is JSON, names something outside of itself.
pub(super) fn any(text: &str) -> Result<bool, Fault> {
    let mut found = Found { is_there: false, left: VALUES_MOST, fault: None };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Scan { found: &mut found, key: Key::Other }.deserialize(&mut deserializer);
    match (found.fault, read.and_then(|()| deserializer.end())) {
        (Some(fault), _) => Err(fault),
        (None, Err(_)) => Err(Fault::Malformed),
        (None, Ok(())) => Ok(found.is_there),
    }
}

struct Found {
    is_there: bool,
    left: usize,
    fault: Option<Fault>,
}

/// What the key in front of a value says of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Other,
    Leads,
    Brings,
}

impl Key {
    fn of(key: &str) -> Self {
        if key.len() > KEY_MOST {
            return Self::Other;
        }
        let folded = fold(key);
        if BRINGS.contains(&folded.as_str()) {
            Self::Brings
        } else if LEADS.contains(&folded.as_str()) {
            Self::Leads
        } else {
            Self::Other
        }
    }
}

/// Reads a key without keeping it.
struct KeyRead;

impl<'de> DeserializeSeed<'de> for KeyRead {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyRead {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(Key::of(key))
    }
}

struct Scan<'f> {
    found: &'f mut Found,
    key: Key,
}

impl Scan<'_> {
    fn count<E: serde::de::Error>(&mut self) -> Result<(), E> {
        match self.found.left.checked_sub(1) {
            Some(left) => {
                self.found.left = left;
                Ok(())
            }
            None => {
                self.found.fault = Some(Fault::Large);
                Err(E::custom("too many values"))
            }
        }
    }

    /// A value that is there, and is no text.
    fn value<E: serde::de::Error>(mut self) -> Result<(), E> {
        self.found.is_there |= self.key == Key::Brings;
        self.count()
    }
}

impl<'de> DeserializeSeed<'de> for Scan<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scan<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: serde::de::Error>(mut self) -> Result<(), E> {
        self.count()
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.value()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.value()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.value()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.value()
    }

    fn visit_str<E: serde::de::Error>(mut self, text: &str) -> Result<(), E> {
        let holds = text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
        self.found.is_there |= self.key != Key::Other && !holds && !text.is_empty();
        self.count()
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.count()?;
        // The items of a list stand for its key; an empty list brings nothing.
        while items.next_element_seed(Scan { found: self.found, key: self.key })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.found.is_there |= self.key == Key::Brings;
        self.count()?;
        while let Some(key) = map.next_key_seed(KeyRead)? {
            map.next_value_seed(Scan { found: self.found, key })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_not_in_the_body_wherever_it_is_named() {
        for body in [
            r#"{"previous_response_id":"r"}"#,
            r#"{"conversation":{"id":"c"}}"#,
            r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://a/b"}}]}]}"#,
            r#"{"input":[{"content":[{"type":"input_image","image_url":"https://a/b"}]}]}"#,
            r#"{"input":[{"content":[{"type":"input_file","file\u005fid":"f"}]}]}"#,
            r#"{"contents":[{"parts":[{"fileData":{"fileUri":"gs://a"}}]}]}"#,
            r#"{"contents":[{"parts":[{"file_data":{"file_uri":"gs://a"}}]}]}"#,
            r#"{"cachedContent":"cachedContents/x"}"#,
            r#"{"tools":[{"googleSearch":{}}]}"#,
            r#"{"tools":[{"type":"file_search","vector_store_ids":["v"]}]}"#,
            r#"{"mcp_servers":[{"name":"x"}]}"#,
            r#"{"web_search_options":{}}"#,
        ] {
            assert_eq!(any(body), Ok(true), "{body}");
        }
        for body in [
            r#"{"messages":[{"role":"user","content":"see https://a/b and file_id"}]}"#,
            r#"{"input":[{"image_url":"data:image/png;base64,AAAA"},{"image_url":{"url":"DATA:image/png,"}}]}"#,
            r#"{"previous_response_id":null,"conversation":null,"plugins":[],"tools":[]}"#,
            "{}",
        ] {
            assert_eq!(any(body), Ok(false), "{body}");
        }
    }

    #[test]
    fn refuses_more_values_than_it_reads() {
        let body = format!("[{}0]", "0,".repeat(VALUES_MOST));
        assert_eq!(any(&body), Err(Fault::Large));
    }
}
