//! The spellings of one injected value that are looked for.
//!
//! For: the scanner. Each spelling is a byte string; percent, JSON and HTML escapes are not spelled out here,
//! the scanner accepts them for any character of any spelling.
//! Base64 comes in three alignments, each as the part that the value alone determines, and once more with the
//! last character that it has when the text ends there. A first or last character that is shared with a neighbour
//! carries at most four bits of the value and stays.

use base64::Engine as _;
use base64::alphabet::Alphabet;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// A value that was injected, with what is known about it.
#[derive(Clone, Copy)]
pub struct Needle<'a> {
    /// The plaintext, at least [`SHORTEST`] bytes.
    pub value: &'a [u8],
    /// How many of its first bytes anyone knows (`ghp_`, `sk-ant-`).
    pub public_prefix: usize,
    /// User names with which it was sent as Basic credentials.
    pub basic_users: &'a [&'a [u8]],
}

impl std::fmt::Debug for Needle<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Needle")
    }
}

/// The shortest value that can be looked for; shorter ones are refused when they are stored.
pub const SHORTEST: usize = 8;

/// The longest one: what fits into a request head.
pub const LONGEST: usize = 64 * 1024;

/// How letters are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Exact,
    Folded,
}

/// How many bytes of the value so many characters of a spelling tell.
#[derive(Clone, Copy)]
enum Density {
    Plain,
    Hex,
    /// The first character begins so many bits into the value.
    Base64 {
        offset: usize,
    },
}

/// One spelling.
pub(super) struct Form {
    pub(super) needle: u16,
    pub(super) bytes: Zeroizing<Box<[u8]>>,
    pub(super) case: Case,
    density: Density,
    /// Bytes of the value, and of what precedes it in `user:value`, that anyone knows.
    public: usize,
    /// It is the form before it with one more character, and is searched with that.
    pub(super) extends: bool,
}

impl Form {
    /// How many bytes that are not public a match of the characters `from..to` tells.
    pub(super) fn weight(&self, from: usize, to: usize) -> usize {
        self.told(to).saturating_sub(self.told(from).max(self.public))
    }

    /// The first character count that tells at least `count` bytes beyond the public ones.
    pub(super) fn reaching(&self, count: usize) -> usize {
        let (mut low, mut high) = (0, self.bytes.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.weight(0, middle) >= count { high = middle } else { low = middle + 1 }
        }
        low
    }

    /// The last character from which the rest still tells `count` bytes; 0 if none does.
    pub(super) fn last_telling(&self, count: usize) -> usize {
        let whole = self.bytes.len();
        let (mut low, mut high) = (0, whole);
        while low < high {
            let middle = (low + high).div_ceil(2);
            if self.weight(middle, whole) >= count { low = middle } else { high = middle - 1 }
        }
        low
    }

    fn told(&self, characters: usize) -> usize {
        match self.density {
            Density::Plain => characters,
            Density::Hex => characters / 2,
            Density::Base64 { offset } => (characters * 6 + offset) / 8,
        }
    }

    /// Whether `byte` is the character `wanted` of this form.
    pub(super) fn same(&self, wanted: u8, byte: u8) -> bool {
        wanted == byte || (self.case == Case::Folded && wanted.eq_ignore_ascii_case(&byte))
    }
}

/// Every form of one needle, without duplicates.
pub(super) fn of(needle: u16, what: &Needle<'_>) -> Vec<Form> {
    let public = what.public_prefix.min(what.value.len());
    let mut forms = vec![
        Form {
            needle,
            bytes: boxed(what.value),
            case: Case::Exact,
            density: Density::Plain,
            public,
            extends: false,
        },
        Form {
            needle,
            bytes: hex(what.value),
            case: Case::Folded,
            density: Density::Hex,
            public,
            extends: false,
        },
    ];
    for alphabet in [&STANDARD, &URL_SAFE] {
        for alignment in 0..3 {
            base64_forms(needle, what.value, alignment, alphabet, public, &mut forms);
        }
        for user in what.basic_users {
            let pair = Zeroizing::new([user, b":".as_slice(), what.value].concat());
            base64_forms(needle, &pair, 0, alphabet, user.len() + 1 + public, &mut forms);
        }
    }
    forms
}

/// The interior at one alignment, and the same with its last character if that holds a part of the value.
fn base64_forms(
    needle: u16,
    value: &[u8],
    alignment: usize,
    alphabet: &Alphabet,
    public: usize,
    forms: &mut Vec<Form>,
) {
    let engine = GeneralPurpose::new(alphabet, GeneralPurposeConfig::new().with_encode_padding(false));
    let mut padded = Zeroizing::new(vec![0; alignment]);
    padded.reserve_exact(value.len());
    padded.extend_from_slice(value);
    let text = Zeroizing::new(engine.encode(&*padded).into_bytes());
    let first = (alignment * 8).div_ceil(6);
    let offset = first * 6 - alignment * 8;
    let mut extends = false;
    for end in [padded.len() * 8 / 6, text.len()] {
        let bytes = boxed(text.get(first..end).unwrap_or_default());
        let known = forms.iter().any(|form| form.needle == needle && *form.bytes == *bytes);
        if !known {
            let density = Density::Base64 { offset };
            forms.push(Form { needle, bytes, case: Case::Exact, density, public, extends });
            extends = true;
        }
    }
}

fn boxed(bytes: &[u8]) -> Zeroizing<Box<[u8]>> {
    Zeroizing::new(bytes.into())
}

fn hex(value: &[u8]) -> Zeroizing<Box<[u8]>> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    // Allocated at its final size, since a vector that grows leaves copies behind.
    let mut text = vec![0; value.len() * 2].into_boxed_slice();
    for (pair, byte) in text.chunks_exact_mut(2).zip(value) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    Zeroizing::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &[u8] = b"ghp_0123456789";

    fn all() -> Vec<Form> {
        of(0, &Needle { value: VALUE, public_prefix: 4, basic_users: &[b"bob"] })
    }

    fn form(text: &str) -> Form {
        all().into_iter().find(|form| **form.bytes == *text.as_bytes()).unwrap()
    }

    #[test]
    fn a_match_tells_the_bytes_of_the_value_behind_its_public_prefix() {
        for (text, weights) in [
            // Four characters, eight, all.
            ("ghp_0123456789", [0, 4, 10]),
            ("6768705f30313233343536373839", [0, 0, 10]),
            ("Z2hwXzAxMjM0NTY3ODk", [0, 2, 10]),
            // One and two bytes precede the value.
            ("docF8wMTIzNDU2Nzg5", [0, 2, 10]),
            ("naHBfMDEyMzQ1Njc4OQ", [0, 2, 10]),
            // `bob:` is known as well.
            ("Ym9iOmdocF8wMTIzNDU2Nzg5", [0, 0, 10]),
        ] {
            let form = form(text);
            assert_eq!([4, 8, text.len()].map(|to| form.weight(0, to)), weights, "{text}");
            assert_eq!(form.weight(text.len(), text.len()), 0);
        }
        assert_eq!(form("ghp_0123456789").weight(6, 9), 3);
        assert_eq!(form("ghp_0123456789").weight(2, 9), 5);
    }

    #[test]
    fn base64_is_looked_for_up_to_the_last_character_that_the_value_determines_alone_and_to_its_end() {
        let texts: Vec<(String, bool)> = all()
            .iter()
            .map(|form| (String::from_utf8_lossy(&form.bytes).into_owned(), form.extends))
            .collect();
        for (text, extends) in [
            ("Z2hwXzAxMjM0NTY3OD", false),
            ("Z2hwXzAxMjM0NTY3ODk", true),
            ("docF8wMTIzNDU2Nzg5", false),
            ("naHBfMDEyMzQ1Njc4O", false),
            ("naHBfMDEyMzQ1Njc4OQ", true),
        ] {
            assert!(texts.contains(&(text.to_owned(), extends)), "{text}");
        }
    }

    #[test]
    fn reaching_and_last_telling_are_the_first_and_the_last_that_weigh_enough() {
        for form in all() {
            let whole = form.bytes.len();
            for count in 1..=VALUE.len() {
                let first = (0..whole).find(|to| form.weight(0, *to) >= count).unwrap_or(whole);
                let last = (0..whole).rev().find(|from| form.weight(*from, whole) >= count).unwrap_or(0);
                assert_eq!((form.reaching(count), form.last_telling(count)), (first, last));
            }
        }
    }

    #[test]
    fn each_spelling_is_there_once_and_no_value_has_more_public_bytes_than_bytes() {
        let forms = all();
        for (index, form) in forms.iter().enumerate() {
            assert!(forms.iter().skip(index + 1).all(|other| **other.bytes != **form.bytes));
        }
        let public = of(0, &Needle { value: VALUE, public_prefix: 99, basic_users: &[] });
        assert!(public.iter().all(|form| form.public == VALUE.len()));
        assert_eq!(format!("{:?}", Needle { value: VALUE, public_prefix: 4, basic_users: &[] }), "Needle");
    }
}
