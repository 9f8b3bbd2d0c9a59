//! The JSON body of a token request, for issuers that want no form: one flat object of texts.
//!
//! Refuses values that are no UTF-8 text. Its buffer does not grow unwiped: a larger one is made first.

use zeroize::Zeroizing;

use crate::schemes::ArmFault;

/// An object that is written key by key.
pub struct JsonBody(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for JsonBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JsonBody")
    }
}

impl Default for JsonBody {
    fn default() -> Self {
        let mut body = Zeroizing::new(Vec::with_capacity(1024));
        body.push(b'{');
        Self(body)
    }
}

impl JsonBody {
    /// Adds a member; `name` is one of ours and needs no escape.
    pub fn with(mut self, name: &'static str, value: &[u8]) -> Result<Self, ArmFault> {
        if std::str::from_utf8(value).is_err() {
            return Err(ArmFault::Character { key: name.to_owned() });
        }
        // `,"name":"value"}`, each byte of the value as `\u00XX` at most.
        let room = self.0.len() + name.len() + value.len() * 6 + 7;
        if room > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(room * 2));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":\"");
        value.iter().for_each(|byte| escape_into(*byte, &mut self.0));
        self.0.push(b'"');
        Ok(self)
    }

    /// The whole object.
    pub(super) fn finish(mut self) -> Zeroizing<Vec<u8>> {
        self.0.push(b'}');
        self.0
    }
}

fn escape_into(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend([b'\\', byte]),
        0..=0x1f => {
            let hex = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend([b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
        }
        _ => out.push(byte),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_is_no_text() {
        assert!(JsonBody::default().with("code", b"\xff\xfe").is_err());
    }

    proptest! {
        #[test]
        fn a_reader_of_json_reads_back_what_was_written(
            first in ".{0,200}",
            second in proptest::collection::vec("[\\x00-\\x7f]{0,400}", 0..4),
        ) {
            const NAMES: [&str; 4] = ["a", "b", "c", "d"];
            let mut body = JsonBody::default().with("first", first.as_bytes()).unwrap();
            for (name, value) in NAMES.iter().zip(&second) {
                body = body.with(name, value.as_bytes()).unwrap();
            }
            let whole: serde_json::Value = serde_json::from_slice(&body.finish()).unwrap();
            prop_assert_eq!(whole["first"].as_str(), Some(&*first));
            for (name, value) in NAMES.iter().zip(&second) {
                prop_assert_eq!(whole[*name].as_str(), Some(&**value));
            }
        }
    }
}
