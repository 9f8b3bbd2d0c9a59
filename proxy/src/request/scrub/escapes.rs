//! Reads one escaped character: percent, JSON or HTML.
//!
//! For: the scanner, which compares texts with a secret character by character, each of them plain or escaped.
//! Invariant: an escape is reported as cut off, never as absent, when the text ends inside something that may
//! still become one; so that splitting a body inside an escape hides nothing.

/// The longest escape: `&DiacriticalGrave;` has 18 bytes; rounded up.
pub(super) const LONGEST: usize = 20;

/// What stands at the beginning of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// No escape that we know.
    Absent,
    /// The text ends before it is clear.
    CutOff,
    /// A character.
    Char(Decoded),
}

/// A decoded character in UTF-8 (percent: the one byte), with the length of its escape.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    bytes: [u8; 4],
    count: u8,
    /// Bytes of the text that the escape takes.
    pub(super) length: usize,
}

impl Decoded {
    /// The bytes that the escape stands for.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.count)).unwrap_or_default()
    }

    fn byte(byte: u8, length: usize) -> Self {
        Self { bytes: [byte, 0, 0, 0], count: 1, length }
    }

    fn text(text: &str, length: usize) -> Self {
        let mut bytes = [0; 4];
        for (to, from) in bytes.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Self { bytes, count: u8::try_from(text.len().min(4)).unwrap_or(4), length }
    }

    fn point(point: u32, length: usize) -> Escape {
        match char::from_u32(point) {
            Some(c) => Escape::Char(Self::text(c.encode_utf8(&mut [0; 4]), length)),
            None => Escape::Absent,
        }
    }
}

/// Whether an escape can begin with this byte.
pub(super) fn begins(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\' | b'&')
}

/// The first letters of all named entities.
pub(super) fn initials() -> impl Iterator<Item = u8> {
    NAMES.iter().filter_map(|(name, _)| name.bytes().next())
}

/// Reads the escape at the beginning of `text`.
pub(super) fn parse(text: &[u8]) -> Escape {
    match text.split_first() {
        Some((b'%', rest)) => percent(rest),
        Some((b'\\', rest)) => json(rest),
        Some((b'&', rest)) => html(rest),
        Some(_) => Escape::Absent,
        None => Escape::CutOff,
    }
}

fn percent(rest: &[u8]) -> Escape {
    match hex_run(rest, 2) {
        Run::Whole(value) => Escape::Char(Decoded::byte(u8::try_from(value).unwrap_or(0), 3)),
        Run::CutOff => Escape::CutOff,
        Run::Broken => Escape::Absent,
    }
}

fn json(rest: &[u8]) -> Escape {
    let Some((letter, rest)) = rest.split_first() else { return Escape::CutOff };
    let byte = match letter {
        b'"' | b'\\' | b'/' => *letter,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return json_unicode(rest),
        _ => return Escape::Absent,
    };
    Escape::Char(Decoded::byte(byte, 2))
}

fn json_unicode(rest: &[u8]) -> Escape {
    let high = match hex_run(rest, 4) {
        Run::Whole(value) => value,
        Run::CutOff => return Escape::CutOff,
        Run::Broken => return Escape::Absent,
    };
    if !(0xd800..0xdc00).contains(&high) {
        return Decoded::point(high, 6);
    }
    let tail = rest.get(4..).unwrap_or_default();
    let marker = tail.get(..tail.len().min(2)).unwrap_or_default();
    if !b"\\u".starts_with(marker) {
        return Escape::Absent;
    }
    match hex_run(tail.get(2..).unwrap_or_default(), 4) {
        Run::Whole(low) if (0xdc00..0xe000).contains(&low) => {
            Decoded::point(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00), 12)
        }
        Run::Whole(_) | Run::Broken => Escape::Absent,
        Run::CutOff => Escape::CutOff,
    }
}

fn html(rest: &[u8]) -> Escape {
    match rest {
        [] => Escape::CutOff,
        [b'#'] => Escape::CutOff,
        [b'#', b'x' | b'X', digits @ ..] => numeric(digits, 16, 3),
        [b'#', digits @ ..] => numeric(digits, 10, 2),
        name => named(name),
    }
}

/// Up to eight digits and the semicolon; `before` counts what precedes the digits.
fn numeric(digits: &[u8], radix: u32, before: usize) -> Escape {
    let mut value = 0u32;
    for (count, &byte) in digits.iter().enumerate().take(9) {
        match char::from(byte).to_digit(radix) {
            Some(digit) if count < 8 => value = value.wrapping_mul(radix).wrapping_add(digit),
            None if byte == b';' && count > 0 => return Decoded::point(value, before + count + 1),
            _ => return Escape::Absent,
        }
    }
    Escape::CutOff
}

fn named(rest: &[u8]) -> Escape {
    let longest = rest.get(..rest.len().min(LONGEST)).unwrap_or_default();
    match longest.iter().position(|byte| !byte.is_ascii_alphabetic()) {
        Some(end) if longest.get(end) == Some(&b';') => {
            let name = longest.get(..end).unwrap_or_default();
            let found = NAMES.iter().find(|(known, _)| known.as_bytes() == name);
            found.map_or(Escape::Absent, |(_, text)| Escape::Char(Decoded::text(text, end + 2)))
        }
        Some(_) => Escape::Absent,
        None if NAMES.iter().any(|(known, _)| known.as_bytes().starts_with(longest)) => Escape::CutOff,
        None => Escape::Absent,
    }
}

enum Run {
    Whole(u32),
    CutOff,
    Broken,
}

fn hex_run(text: &[u8], digits: usize) -> Run {
    let mut value = 0;
    for &byte in text.iter().take(digits) {
        match DIGITS.get(usize::from(byte)) {
            Some(&digit) if digit < 16 => value = value * 16 + u32::from(digit),
            Some(_) | None => return Run::Broken,
        }
    }
    if text.len() < digits { Run::CutOff } else { Run::Whole(value) }
}

/// The value of each hexadecimal digit, and 16 for what is none.
const DIGITS: [u8; 256] = {
    let mut table = [16; 256];
    let mut digit = 0;
    while digit < 16 {
        let (lower, upper) = (b"0123456789abcdef", b"0123456789ABCDEF");
        #[expect(clippy::indexing_slicing, reason = "at compile time; both are in range")]
        {
            table[lower[digit] as usize] = digit as u8;
            table[upper[digit] as usize] = digit as u8;
        }
        digit += 1;
    }
    table
};

/// The named entities of HTML 5 that stand for ASCII characters (HTML Living Standard, 13.5).
const NAMES: &[(&str, &str)] = &[
    ("amp", "&"),
    ("AMP", "&"),
    ("quot", "\""),
    ("QUOT", "\""),
    ("lt", "<"),
    ("LT", "<"),
    ("gt", ">"),
    ("GT", ">"),
    ("apos", "'"),
    ("sol", "/"),
    ("plus", "+"),
    ("equals", "="),
    ("lowbar", "_"),
    ("UnderBar", "_"),
    ("period", "."),
    ("colon", ":"),
    ("semi", ";"),
    ("comma", ","),
    ("commat", "@"),
    ("num", "#"),
    ("percnt", "%"),
    ("dollar", "$"),
    ("excl", "!"),
    ("quest", "?"),
    ("ast", "*"),
    ("midast", "*"),
    ("lpar", "("),
    ("rpar", ")"),
    ("lsqb", "["),
    ("lbrack", "["),
    ("rsqb", "]"),
    ("rbrack", "]"),
    ("lcub", "{"),
    ("lbrace", "{"),
    ("rcub", "}"),
    ("rbrace", "}"),
    ("bsol", "\\"),
    ("verbar", "|"),
    ("vert", "|"),
    ("VerticalLine", "|"),
    ("Hat", "^"),
    ("grave", "`"),
    ("DiacriticalGrave", "`"),
    ("Tab", "\t"),
    ("NewLine", "\n"),
    ("fjlig", "fj"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, usize)> {
        match parse(text.as_bytes()) {
            Escape::Char(c) => Some((String::from_utf8_lossy(c.bytes()).into_owned(), c.length)),
            Escape::Absent | Escape::CutOff => None,
        }
    }

    #[test]
    fn refuses_what_is_no_escape() {
        for text in [
            "%zz",
            "\\x41",
            "\\u12g4",
            "&#;",
            "&#x;",
            "&#000000115;",
            "&nope;",
            "&amp ",
            "\\ud800x",
            "\\ud83d\\u0041",
            "\\ud83d\\ue000",
            "&ampx",
            "&Nope",
            "&;",
            "& ",
        ] {
            assert_eq!(parse(text.as_bytes()), Escape::Absent, "{text}");
        }
    }

    #[test]
    fn says_cut_off_at_every_split_of_every_form() {
        for whole in
            ["%6b", "\\u006b", "\\/", "&#107;", "&#x0000006b;", "&DiacriticalGrave;", "\\ud83d\\ude00"]
        {
            for end in 1..whole.len() {
                assert_eq!(parse(&whole.as_bytes()[..end]), Escape::CutOff, "{whole} cut at {end}");
            }
            assert_eq!(read(whole).map(|(_, length)| length), Some(whole.len()));
        }
    }

    #[test]
    fn reads_each_form() {
        for text in ["%73", "\\u0073", "&#115;", "&#00000115;", "&#x73;", "&#X00000073;"] {
            assert_eq!(read(text), Some(("s".into(), text.len())));
        }
        assert_eq!(read("\\ud83d\\ude00"), Some(("\u{1f600}".into(), 12)));
        assert_eq!(read("&sol;x"), Some(("/".into(), 5)));
        for (letter, byte) in "bfnrt\"\\/".chars().zip("\u{8}\u{c}\n\r\t\"\\/".chars()) {
            assert_eq!(read(&format!("\\{letter}x")), Some((byte.into(), 2)));
        }
        for (low, high) in [("dc00", "\u{10000}"), ("dfff", "\u{103ff}")] {
            assert_eq!(read(&format!("\\ud800\\u{low}")), Some((high.into(), 12)));
        }
    }
}
