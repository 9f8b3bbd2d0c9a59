//! Placeholder substitution: one pass from left to right; what was put in is never read again.
//!
//! Refuses more than a given number of occurrences. At one place the longest of several dummies is taken.

use std::ops::Range;

use zeroize::Zeroizing;

/// The dummy stands more often than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the dummy stands too often")]
pub struct TooOften;

/// How the dummy may be spelled in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// As it is.
    Plain,
    /// Each character as it is or percent-encoded.
    Percent,
    /// As `Percent`, and `+` stands for a space.
    Form,
}

/// Where the dummies stand in the text, from left to right, without overlaps.
pub fn occurrences(
    text: &[u8],
    dummies: &[String],
    spelling: Spelling,
    most: usize,
) -> Result<Vec<Range<usize>>, TooOften> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = text.get(at..).unwrap_or_default();
        let longest = dummies.iter().filter_map(|dummy| matched(rest, dummy.as_bytes(), spelling)).max();
        let Some(length) = longest else {
            at += 1;
            continue;
        };
        if found.len() == most {
            return Err(TooOften);
        }
        found.push(at..at + length);
        at += length;
    }
    Ok(found)
}

/// The text with `value` in these places.
pub fn replaced(text: &[u8], places: &[Range<usize>], value: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() + places.len() * value.len()));
    let mut from = 0;
    for place in places {
        out.extend_from_slice(text.get(from..place.start).unwrap_or_default());
        out.extend_from_slice(value);
        from = place.end;
    }
    out.extend_from_slice(text.get(from..).unwrap_or_default());
    out
}

/// How many bytes of the text's beginning spell the dummy.
fn matched(text: &[u8], dummy: &[u8], spelling: Spelling) -> Option<usize> {
    if dummy.is_empty() {
        return None;
    }
    let mut length = 0;
    for &wanted in dummy {
        length += match text.get(length..)? {
            [b, ..] if *b == wanted => 1,
            [b'+', ..] if spelling == Spelling::Form && wanted == b' ' => 1,
            [b'%', high, low, ..] if spelling != Spelling::Plain && hex(*high, *low) == Some(wanted) => 3,
            _ => return None,
        };
    }
    Some(length)
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::percent_decode;
    use proptest::prelude::*;

    fn dummies(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn put(text: &str, list: &[&str], value: &str, spelling: Spelling) -> String {
        let places = occurrences(text.as_bytes(), &dummies(list), spelling, 8).unwrap();
        String::from_utf8(replaced(text.as_bytes(), &places, value.as_bytes()).to_vec()).unwrap()
    }

    #[test]
    fn refuses_more_occurrences_than_allowed() {
        let list = dummies(&["abc"]);
        assert_eq!(occurrences(b"abcabcabc", &list, Spelling::Plain, 2), Err(TooOften));
        assert_eq!(occurrences(b"abcabc", &list, Spelling::Plain, 2), Ok(vec![0..3, 3..6]));
        assert_eq!(occurrences(b"abc", &dummies(&[""]), Spelling::Plain, 2), Ok(vec![]));
    }

    #[test]
    fn never_reads_again_what_it_put_in() {
        assert_eq!(put("<dummy>", &["dummy"], "dummydummy", Spelling::Plain), "<dummydummy>");
        assert_eq!(put("<dumdummymy>", &["dummy"], "", Spelling::Plain), "<dummy>");
        assert_eq!(put("abababab", &["abab"], "x", Spelling::Plain), "xx");
        assert_eq!(put("ababab", &["abab"], "aba", Spelling::Plain), "abaab");
    }

    #[test]
    fn takes_the_longest_of_several_dummies() {
        assert_eq!(
            put("ghp_dummy-long ghp_dummy", &["ghp_dummy", "ghp_dummy-long"], "V", Spelling::Plain),
            "V V"
        );
    }

    #[test]
    fn reads_percent_codes_only_where_they_mean_something() {
        assert_eq!(put("%41b%63 aBc Abc", &["Abc"], "V", Spelling::Percent), "V aBc V");
        assert_eq!(put("%41bc", &["Abc"], "V", Spelling::Plain), "%41bc");
        assert_eq!(put("a+b a%20b", &["a b"], "V", Spelling::Form), "V V");
        assert_eq!(put("a+b", &["a b"], "V", Spelling::Percent), "a+b");
        assert_eq!(put("%4 %4x %%41bc %", &["Abc"], "V", Spelling::Percent), "%4 %4x %V %");
    }

    proptest! {
        #[test]
        fn plain_substitution_is_that_of_the_standard_library(text in "[ab%]{0,40}", dummy in "[ab%]{1,4}", value in "[ab%]{0,6}") {
            let found = occurrences(text.as_bytes(), std::slice::from_ref(&dummy), Spelling::Plain, 100).unwrap();
            let out = replaced(text.as_bytes(), &found, value.as_bytes());
            prop_assert_eq!(text.replace(&dummy, &value).into_bytes(), out.to_vec());
            prop_assert_eq!(found.len(), text.matches(&dummy).count());
        }

        #[test]
        fn encoded_dummies_are_found_wherever_the_decoded_text_has_them(
            parts in proptest::collection::vec(("[xyz]{0,5}", proptest::collection::vec(any::<bool>(), 6)), 0..6),
        ) {
            let dummy = "dm:/my";
            let mut text = String::new();
            for (before, coded) in &parts {
                text.push_str(before);
                for (c, coded) in dummy.bytes().zip(coded) {
                    if *coded { text.push_str(&format!("%{c:02x}")) } else { text.push(c as char) }
                }
            }
            let found = occurrences(text.as_bytes(), &[dummy.to_owned()], Spelling::Percent, 100).unwrap();
            let out = replaced(text.as_bytes(), &found, b"V");
            let expected = percent_decode(text.as_bytes()).decode_utf8().unwrap().replace(dummy, "V");
            prop_assert_eq!(expected.into_bytes(), out.to_vec());
        }

        #[test]
        fn any_bytes_are_read_without_panic(text: Vec<u8>, dummy in "\\PC{1,8}") {
            for spelling in [Spelling::Plain, Spelling::Percent, Spelling::Form] {
                let found = occurrences(&text, std::slice::from_ref(&dummy), spelling, 4);
                prop_assert!(found.is_err() || replaced(&text, &found.unwrap(), b"").len() <= text.len());
            }
        }
    }
}
