//! The beginning of a body as the person sees it who decides: for rules with `ask: {preview: true}` alone.
//!
//! It is what the agent sent, before any credential is put on: nothing secret has been opened for a request that nobody has
//! approved, so that none of the provider's values can be in it. Refuses what is no text, and escapes every character that a
//! terminal would act on or that cannot be seen. It is never logged: what shows it is the question's reader alone.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Binding, Unfit};

/// How much of a body is shown.
const MOST: usize = 4096;
/// The most bytes that stand for one of the body's.
const ESCAPED: usize = 6;

/// The beginning of a body.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preview {
    text: String,
    /// How many bytes of the body it shows; 0: the body is no text.
    bytes: u64,
}

impl fmt::Debug for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preview").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Preview {
    /// Of this body.
    pub fn of(body: &[u8]) -> Self {
        let head = body.get(..MOST).unwrap_or(body);
        let text = match str::from_utf8(head) {
            Ok(text) => text,
            // The cut may have gone through a character.
            Err(error) if error.error_len().is_none() && head.len() < body.len() => head
                .get(..error.valid_up_to())
                .and_then(|whole| str::from_utf8(whole).ok())
                .unwrap_or_default(),
            Err(_) => "",
        };
        Self { text: visible(text, Backslash::Doubled), bytes: text.len() as u64 }
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Of a text and a number: there is nothing that JSON could not say.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what was stored, if it can be of a body of this length.
    pub(crate) fn parse(bytes: &[u8], of: &Binding) -> Option<Self> {
        let preview: Self = serde_json::from_slice(bytes).ok()?;
        preview.check(of).is_ok().then_some(preview)
    }

    /// Refuses what is too long, or no text that goes before people.
    pub(crate) fn check(&self, of: &Binding) -> Result<(), Unfit> {
        let most = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        let is_short = most <= MOST && self.bytes <= of.body_bytes && self.text.len() <= most * ESCAPED;
        let is_plain = self.text == visible(&self.text, Backslash::Kept);
        if is_short && is_plain { Ok(()) } else { Err(Unfit) }
    }

    /// The text and how many bytes of the body it shows.
    pub(crate) fn into_parts(self) -> (String, u64) {
        (self.text, self.bytes)
    }
}

/// What becomes of a backslash, which begins what stands for other characters.
#[derive(Clone, Copy)]
enum Backslash {
    Doubled,
    /// The text has been escaped before.
    Kept,
}

/// A text in which everything can be seen, and nothing moves a cursor or turns the direction of writing.
fn visible(text: &str, backslash: Backslash) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match (character, backslash) {
            ('"' | '\'', _) | ('\\', Backslash::Kept) => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}

/// What a server said of a preview, for a terminal of ours.
pub(crate) fn again(text: &str) -> String {
    visible(text, Backslash::Kept)
}

#[cfg(test)]
mod tests {
    use super::super::tests::binding;
    use super::*;

    fn of(body: &[u8]) -> (String, u64) {
        Preview::of(body).into_parts()
    }

    #[test]
    fn shows_what_is_no_text_as_nothing() {
        for body in
            [&b"\xff\xfe"[..], b"\x1f\x8b\x08 gzip", b"text and \xc3", &[b'a', 0xff, b'b'].repeat(4096)]
        {
            assert_eq!(of(body), (String::new(), 0), "{body:?}");
        }
    }

    #[test]
    fn escapes_what_moves_a_cursor_cannot_be_seen_or_turns_the_writing() {
        assert_eq!(of(b"{\"a\": 'b'}").0, "{\"a\": 'b'}");
        for (body, shown) in [
            ("a\nb\r\t", "a\\nb\\r\\t"),
            ("\u{1b}[2J\u{7f}\0", "\\u{1b}[2J\\u{7f}\\0"),
            ("\u{202e}\u{2066}\u{200b}\u{feff}\u{2028}", "\\u{202e}\\u{2066}\\u{200b}\\u{feff}\\u{2028}"),
            ("\u{9b}1m\u{ad}\u{e0041}", "\\u{9b}1m\\u{ad}\\u{e0041}"),
            ("a\\n", "a\\\\n"),
            ("Grüße", "Grüße"),
        ] {
            assert_eq!(of(body.as_bytes()), (shown.to_owned(), body.len() as u64));
            assert_eq!(again(shown), shown, "what was shown once is shown the same again");
        }
    }

    #[test]
    fn ends_before_a_character_that_the_cut_goes_through() {
        let body = ["a".repeat(MOST - 1), "ü".repeat(10)].concat();
        assert_eq!(of(body.as_bytes()), ("a".repeat(MOST - 1), MOST as u64 - 1));
        let long = of("\u{1}".repeat(5 * MOST).as_bytes());
        assert_eq!((long.0.len(), long.1), (5 * MOST, MOST as u64));
    }

    #[test]
    fn refuses_from_others_what_it_would_not_make_itself() {
        let mut own = binding();
        own.body_bytes = 10_000;
        let made = |text: &str, bytes: u64| Preview { text: text.to_owned(), bytes };
        let long = ["a".repeat(MOST), "\u{7f}".repeat(MOST)].map(|body| Preview::of(body.as_bytes()));
        for good in long.into_iter().chain([made("a\\n", 2), made("", 0)]) {
            assert_eq!(Preview::parse(&good.to_bytes(), &own), Some(good));
        }
        for bad in [made("\u{1b}", 1), made("\u{202e}", 3), made("a", 4097), made(&"a".repeat(7), 1)] {
            assert_eq!(Preview::parse(&bad.to_bytes(), &own), None, "{:?}", bad.text);
        }
        own.body_bytes = 3;
        assert_eq!(Preview::of(b"four").check(&own), Err(Unfit));
        Preview::of(b"one").check(&own).unwrap();
        assert!(!format!("{:?}", Preview::of(b"c4nary")).contains("c4nary"));
    }
}
