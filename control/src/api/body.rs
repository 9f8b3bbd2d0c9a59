//! Bodies of calls: JSON, bounded, read once, and never quoted.
//!
//! serde's own messages quote what they found, which may be a secret in the wrong place. What is told here is the position
//! and what was expected there, which are the schema's words. Refuses other types than JSON, coded bodies, unknown and doubled
//! fields, and what is over the bound or late.

use std::fmt;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use zeroize::Zeroizing;

use super::call::Call;
use super::problem::{Answer, Problem};
use super::{Api, limits};
use crate::refusal::Code;
use crate::secret::Secret;

/// The bound of most bodies: a provider file may have as much.
pub(crate) const MOST: usize = 1024 * 1024;
/// The bound of a secret's values.
pub(crate) const SECRET: usize = 256 * 1024;

/// A body as `T`, and what makes it the same as another one: keyed, since a body may hold a value that could be guessed.
#[derive(Debug)]
pub(crate) struct Json<T, const MAX: usize = MOST>(pub(crate) T, pub(crate) [u8; 32]);

impl<T: DeserializeOwned, const MAX: usize> FromRequest<Api> for Json<T, MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        check_type(request.headers())?;
        let bytes = read(request.into_body(), MAX).await?;
        let digest = api.vault.request_digest(&bytes);
        parse(&bytes).map(|body| Self(body, digest))
    }
}

impl<T, const MAX: usize> Json<T, MAX> {
    /// What makes two requests the same.
    pub(crate) fn digest(&self, api: &Api, call: &Call) -> [u8; 32] {
        api.vault.request_digest(&[call.line().as_bytes(), b"\0", &self.1].concat())
    }
}

pub(super) fn check_type(headers: &HeaderMap) -> Answer<()> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let essence = |value: &http::HeaderValue| {
        let text = value.to_str().ok()?;
        let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
        let utf8 = matches!(parameters.trim().to_ascii_lowercase().as_str(), "" | "charset=utf-8");
        Some(utf8 && essence.trim().eq_ignore_ascii_case("application/json"))
    };
    let is_json = types.next().and_then(essence) == Some(true) && types.next().is_none();
    if is_json && !headers.contains_key(CONTENT_ENCODING) {
        Ok(())
    } else {
        Err(Problem::new(Code::Dw6013, "the body has to be application/json, not coded"))
    }
}

/// The whole body; what is read is wiped, what the connection's buffers held of it is not.
pub(crate) async fn read(body: Body, most: usize) -> Answer<Zeroizing<Vec<u8>>> {
    let reading = async {
        let mut body = body;
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::new(Code::Dw6003, "the body ended early"))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(Problem::new(Code::Dw6012, format!("this call takes at most {most} bytes")));
            }
            append(&mut bytes, &data);
        }
        Ok(bytes)
    };
    tokio::time::timeout(limits::BODY_TIME, reading)
        .await
        .unwrap_or_else(|_| Err(Problem::new(Code::Dw6003, "the body came too slowly")))
}

/// Grows without leaving an unwiped copy behind.
fn append(bytes: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    if bytes.capacity() - bytes.len() < data.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((bytes.len() + data.len()) * 2));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
    bytes.extend_from_slice(data);
}

/// Reads a JSON object without quoting it.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    // serde also takes a list, by the order of the fields: nothing would say which field a value is meant for.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::new(Code::Dw6003, "the body is not a JSON object"));
    }
    serde_json::from_slice(bytes).map_err(|error| Problem::new(Code::Dw6003, told(&error)))
}

/// The position, and of the message the part that the schema wrote.
fn told(error: &serde_json::Error) -> String {
    let at = format!("at line {} column {}", error.line(), error.column());
    if !error.is_data() {
        return format!("the body is not whole, strict JSON: see {at}");
    }
    let message = error.to_string();
    let ours = |prefix: &str| message.strip_prefix(prefix).and_then(|rest| rest.split_once('`'));
    if let Some((field, _)) = ours("missing field `") {
        return format!("{at} the field `{field}` is missing");
    }
    if let Some((field, _)) = ours("duplicate field `") {
        return format!("{at} the field `{field}` is given twice");
    }
    // The last one: what stands before may be quoted from the body.
    let expected = message.rsplit_once(", expected ").map(|(_, rest)| rest);
    let expected = expected.and_then(|rest| rest.rsplit_once(" at line ")).map(|(words, _)| words);
    let what = if message.starts_with("unknown field") { "unknown field" } else { "wrong type or value" };
    match expected {
        Some(words) => format!("{at}: {what}; expected {words}"),
        None => format!("{at}: {what}"),
    }
}

/// A value that goes nowhere but into [`Secret`].
#[derive(Debug)]
pub(crate) struct SecretText(pub(crate) Secret);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = SecretText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<SecretText, E> {
                Ok(SecretText(Secret::new(text.as_bytes().to_vec())))
            }

            fn visit_string<E>(self, text: String) -> Result<SecretText, E> {
                Ok(SecretText(Secret::new(text.into_bytes())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The values of a secret by key; a key given twice is refused.
#[derive(Debug)]
pub(crate) struct SecretMap(pub(crate) Vec<(String, Secret)>);

impl<'de> Deserialize<'de> for SecretMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = SecretMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of keys to strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretMap, A::Error> {
                let mut values: Vec<(String, Secret)> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let SecretText(value) = map.next_value()?;
                    if values.iter().any(|(other, _)| *other == key) {
                        return Err(A::Error::custom("doubled key, expected each key once"));
                    }
                    values.push((key, value));
                }
                Ok(SecretMap(values))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "what is tested is what is refused")]
    struct Body {
        name: String,
        values: SecretMap,
        #[serde(default)]
        kind: Option<crate::api::permission::Permission>,
    }

    const CANARY: &str = "canary-0123456789, expected to leak at line 1";

    fn refused(text: &str) -> String {
        let problem = parse::<Body>(text.as_bytes()).unwrap_err();
        assert_eq!(problem.code, Code::Dw6003);
        let shown = format!("{problem:?}");
        assert!(!shown.contains("canary") && !shown.contains("leak"), "{shown}");
        problem.detail().to_owned()
    }

    #[test]
    fn dw6003_never_quotes_the_body() {
        for text in [
            CANARY.to_owned(),
            format!("\"{CANARY}\""),
            format!("[\"{CANARY}\", {{}}]"),
            format!("{{\"{CANARY}\": 1}}"),
            format!("{{\"name\": [\"{CANARY}\"]}}"),
            format!("{{\"name\": \"a\", \"values\": \"{CANARY}\"}}"),
            format!("{{\"name\": \"a\", \"values\": {{\"k\": [\"{CANARY}\"]}}}}"),
            format!("{{\"name\": \"a\", \"values\": {{\"{CANARY}\": \"x\", \"{CANARY}\": \"y\"}}}}"),
            format!("{{\"name\": \"a\", \"values\": {{}}, \"kind\": \"{CANARY}\"}}"),
            format!("{{\"name\": \"a\", \"values\": {{\"k\": \"{CANARY}\"}}"),
            format!("{{\"name\": \"a\", \"values\": {{\"k\": \"x\"}}}} {CANARY}"),
        ] {
            refused(&text);
        }
    }

    #[test]
    fn says_where_and_what_was_expected() {
        assert_eq!(refused("{\"name\": 5}"), "at line 1 column 10: wrong type or value; expected a string");
        assert_eq!(refused("{\"name\": \"a\"}"), "at line 1 column 13 the field `values` is missing");
        assert!(refused("{\"nmae\": 1}").contains("unknown field; expected one of `name`, `values`, `kind`"));
        assert!(refused("{\"name\": \"a\", \"name\": \"b\"}").contains("`name` is given twice"));
    }

    #[test]
    fn dw6013_takes_json_alone() {
        let with = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_TYPE, http::HeaderValue::from_static(value));
            }
            check_type(&headers)
        };
        for values in [
            &[][..],
            &["text/plain"],
            &["application/json", "application/json"],
            &["application/json; charset=utf-16"],
            &["application/jsonx"],
        ] {
            assert_eq!(with(values).unwrap_err().code, Code::Dw6013, "{values:?}");
        }
        with(&["application/json"]).unwrap();
        with(&["Application/JSON; charset=UTF-8"]).unwrap();
    }
}
