//! The canonical path of a request: what is matched is exactly what is sent.
//!
//! Canonical means: unreserved percent-codes decoded, the other codes in upper case, dot segments removed (also where
//! they were written as codes). `//` stays, since servers differ on it. Refused with 400: bytes outside the URI grammar
//! (RFC 3986 section 3.3), broken or zero codes, codes that are not UTF-8 (so also overlong ones), dot segments that climb
//! above the root, and dot segments hidden behind an encoded separator, a double encoding or a `;parameter`: a server that
//! undoes those would leave the folder that an allow rule named.

use std::borrow::Cow;

use http::Uri;
use http::uri::PathAndQuery;

/// Rounds of decoding after which a path is refused: nobody encodes a path this often in good faith.
const DECODE_ROUNDS: usize = 4;

/// Why a path is refused. Carries nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("the path does not begin with a slash")]
    Form,
    /// A byte outside the URI grammar.
    #[error("the path holds a character that has to be percent-encoded")]
    Character,
    /// `%` without two hexadecimal digits, or `%00`.
    #[error("the path holds a malformed percent-code")]
    Code,
    /// The codes are not UTF-8 (among them overlong forms).
    #[error("the percent-codes of the path are not UTF-8")]
    Utf8,
    /// More `..` than segments.
    #[error("the path climbs above its root")]
    Underflow,
    /// A dot segment behind an encoded separator, a double encoding or a parameter.
    #[error("the path hides a dot segment")]
    HiddenDots,
    /// Encoded over and over.
    #[error("the path is encoded too many times")]
    Depth,
}

/// The canonical path of a request.
#[derive(Clone, Debug)]
pub struct Path {
    text: Text,
    lost_dots: bool,
}

#[derive(Clone, Debug)]
enum Text {
    /// The request's own bytes, shared: they were canonical.
    AsSent(PathAndQuery),
    Rewritten(Box<str>),
}

impl Path {
    /// Parses the raw path of a request (without query).
    pub fn parse(raw: &str) -> Result<Self, PathError> {
        let text = canonical(raw)?.into_owned().into_boxed_str();
        Ok(Self { text: Text::Rewritten(text), lost_dots: dots_in(raw) })
    }

    /// Parses the path of a request URI; allocates only if it was not canonical.
    pub fn of_uri(uri: &Uri) -> Result<Self, PathError> {
        let Some(sent) = uri.path_and_query() else { return Err(PathError::Form) };
        Ok(match canonical(sent.path())? {
            Cow::Borrowed(_) => Self { text: Text::AsSent(sent.clone()), lost_dots: false },
            Cow::Owned(text) => Self { text: Text::Rewritten(text.into()), lost_dots: dots_in(sent.path()) },
        })
    }

    /// Whether dot segments were removed: what is sent then has another meaning to who takes them for part of a name (S3).
    pub fn lost_dots(&self) -> bool {
        self.lost_dots
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        match &self.text {
            Text::AsSent(sent) => sent.path(),
            Text::Rewritten(text) => text,
        }
    }

    /// Whether it is sent in another form than it came in (true also after [`Self::parse`]).
    pub fn is_rewritten(&self) -> bool {
        matches!(self.text, Text::Rewritten(_))
    }

    /// How servers might read this path; deny rules match any of these, case-insensitively.
    pub fn wide_forms(&self) -> WideForms {
        WideForms::of(self.as_str())
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Path {}

/// The forms that a lenient server could make of a path besides the canonical one: percent-codes decoded as often as
/// there are any, encoded separators read as such, `;parameters` dropped, empty segments merged. Bytes, since decoding
/// may give anything.
#[derive(Clone, Debug, Default)]
pub struct WideForms(Vec<Vec<u8>>);

impl WideForms {
    fn of(canonical: &str) -> Self {
        if !canonical.bytes().any(|b| matches!(b, b'%' | b';')) && !canonical.contains("//") {
            return Self::default();
        }
        let mut forms: Vec<Vec<u8>> = Vec::new();
        for split in [false, true] {
            let decoded = decode_fully(canonical.as_bytes(), split).unwrap_or_default();
            for form in [without_parameters(&decoded), decoded] {
                for form in [merged(&form), form] {
                    if form != canonical.as_bytes() && !forms.contains(&form) {
                        forms.push(form);
                    }
                }
            }
        }
        Self(forms)
    }

    /// The forms; none if no server could read the path otherwise.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }
}

fn dots_in(raw: &str) -> bool {
    decode_unreserved(raw).is_ok_and(|decoded| has_dots(decoded.as_bytes()))
}

fn canonical(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::Form);
    }
    if let Some(bad) = raw.bytes().find(|b| !is_path_byte(*b)) {
        return Err(if bad == b'%' { PathError::Code } else { PathError::Character });
    }
    let decoded = if raw.contains('%') { decode_unreserved(raw)? } else { Cow::Borrowed(raw) };
    let text = if has_dots(decoded.as_bytes()) { Cow::Owned(without_dots(&decoded)?) } else { decoded };
    if text.bytes().any(|b| matches!(b, b'%' | b';')) {
        refuse_hidden_dots(&text)?;
    }
    Ok(text)
}

/// pchar, `/` and `%` (RFC 3986 section 3.3).
fn is_path_byte(b: u8) -> bool {
    is_unreserved(b)
        || matches!(
            b,
            b'!' | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
                | b'/'
                | b'%'
        )
}

pub(super) fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

/// The byte of a `%XX` at the start of `bytes`.
fn code_at(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |b: u8| (b as char).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// Decodes the codes of unreserved bytes and puts the others in upper case; borrows if there was nothing to change.
pub(super) fn decode_unreserved(raw: &str) -> Result<Cow<'_, str>, PathError> {
    let mut out = String::with_capacity(raw.len());
    let mut all = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, after @ ..] = rest {
        if *first != b'%' {
            out.push(*first as char);
            all.push(*first);
            rest = after;
            continue;
        }
        let byte = code_at(rest).filter(|byte| *byte != 0).ok_or(PathError::Code)?;
        if is_unreserved(byte) {
            out.push(byte as char);
        } else {
            out.extend(['%', hex(byte >> 4), hex(byte & 15)]);
        }
        all.push(byte);
        rest = rest.get(3..).unwrap_or_default();
    }
    std::str::from_utf8(&all).map_err(|_| PathError::Utf8)?;
    Ok(if out == raw { Cow::Borrowed(raw) } else { Cow::Owned(out) })
}

fn hex(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase()
}

fn segments(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|b| *b == b'/').skip(1)
}

fn has_dots(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"/.").is_some()
        && segments(bytes).any(|segment| segment == b"." || segment == b"..")
}

/// RFC 3986 section 5.2.4, but climbing above the root is an error.
fn without_dots(text: &str) -> Result<String, PathError> {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = text.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => {
                kept.pop().ok_or(PathError::Underflow)?;
            }
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            kept.push("");
        }
    }
    Ok(kept.iter().fold(String::with_capacity(text.len()), |out, segment| out + "/" + segment))
}

/// Undoes percent-encoding until nothing is left to undo. With `split`, separators are decoded too (a backslash as a
/// slash); without, they stay as `%2f` so that they are no separators.
pub(super) fn decode_fully(text: &[u8], split: bool) -> Result<Vec<u8>, PathError> {
    let mut bytes = text.to_vec();
    for _ in 0..DECODE_ROUNDS {
        let (next, changed) = decode_once(&bytes, split);
        bytes = next;
        if !changed {
            return Ok(bytes);
        }
    }
    Err(PathError::Depth)
}

fn decode_once(bytes: &[u8], split: bool) -> (Vec<u8>, bool) {
    let (mut out, mut changed) = (Vec::with_capacity(bytes.len()), false);
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let code = code_at(rest);
        let decoded = match code {
            Some(b'/' | b'\\') if split => Some(b'/'),
            Some(b'/' | b'\\') | None => None,
            Some(byte) => Some(byte),
        };
        changed |= decoded.is_some();
        out.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { rest.get(3..).unwrap_or_default() } else { after };
    }
    (out, changed)
}

fn without_parameters(form: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(form.len());
    for segment in segments(form) {
        out.push(b'/');
        out.extend(segment.split(|b| *b == b';').next().unwrap_or_default());
    }
    out
}

fn merged(form: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(form.len());
    for byte in form {
        if *byte != b'/' || out.last() != Some(&b'/') {
            out.push(*byte);
        }
    }
    out
}

fn refuse_hidden_dots(canonical: &str) -> Result<(), PathError> {
    let decoded = decode_fully(canonical.as_bytes(), true)?;
    if has_dots(&decoded) || has_dots(&without_parameters(&decoded)) {
        return Err(PathError::HiddenDots);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_paths_that_servers_read_differently() {
        use PathError::*;
        for (raw, error) in [
            ("", Form),
            ("a", Form),
            ("*", Form),
            ("/a b", Character),
            ("/a\\b", Character),
            ("/a#b", Character),
            ("/a?b", Character),
            ("/ä", Character),
            ("/a{b}", Character),
            ("/%", Code),
            ("/%2", Code),
            ("/%zz", Code),
            ("/%+1", Code),
            ("/%00", Code),
            ("/a%00.json", Code),
            ("/%c0%ae%c0%ae/", Utf8),
            ("/%c0%af", Utf8),
            ("/%ff", Utf8),
            ("/%e2%82", Utf8),
            ("/%ed%a0%80", Utf8),
            ("/..", Underflow),
            ("/a/../..", Underflow),
            ("/%2e%2e/a", Underflow),
            ("/a/..%2fadmin", HiddenDots),
            ("/a/%2e%2e%2fadmin", HiddenDots),
            ("/a%2f..%2fadmin", HiddenDots),
            ("/a%5c..%5cadmin", HiddenDots),
            ("/a/..;/admin", HiddenDots),
            ("/a/..;x=1/admin", HiddenDots),
            ("/a/.;/admin", HiddenDots),
            ("/a/%252e%252e/admin", HiddenDots),
            ("/a/%25252e%25252e/admin", HiddenDots),
            ("/a/%252e%252e%252fadmin", HiddenDots),
            ("/a/..%3b/admin", HiddenDots),
            ("/a/%2525252525252e", Depth),
        ] {
            assert_eq!(Path::parse(raw), Err(error), "{raw:?}");
        }
    }

    #[test]
    fn gives_one_form_to_what_means_the_same() {
        for (raw, canonical) in [
            ("/", "/"),
            ("/v1/chat", "/v1/chat"),
            ("/%61%2D%7e", "/a-~"),
            ("/a%2fb", "/a%2Fb"),
            ("/a/./b/../c", "/a/c"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a//b", "/a//b"),
            ("/a//../b", "/a/b"),
            ("/a;x=1/b", "/a;x=1/b"),
            ("/%e2%82%ac", "/%E2%82%AC"),
            ("/a%2541", "/a%2541"),
            ("/a/...", "/a/..."),
            ("/bot1:A-b/getMe", "/bot1:A-b/getMe"),
            ("/bot1%3AA/getMe", "/bot1%3AA/getMe"),
        ] {
            assert_eq!(Path::parse(raw).unwrap().as_str(), canonical, "{raw:?}");
        }
    }

    #[test]
    fn keeps_the_sent_bytes_where_they_are_canonical() {
        let uri: Uri = "https://a/v1/x?q=1".parse().unwrap();
        let path = Path::of_uri(&uri).unwrap();
        assert_eq!((path.as_str(), path.is_rewritten()), ("/v1/x", false));
        let uri: Uri = "/v1/%61?q=1".parse().unwrap();
        let path = Path::of_uri(&uri).unwrap();
        assert_eq!((path.as_str(), path.is_rewritten()), ("/v1/a", true));
    }

    #[test]
    fn shows_the_forms_that_lenient_servers_read() {
        let forms = |raw: &str| -> Vec<String> {
            Path::parse(raw)
                .unwrap()
                .wide_forms()
                .iter()
                .map(|f| String::from_utf8_lossy(f).into_owned())
                .collect()
        };
        assert!(forms("/plain/path").is_empty());
        assert!(forms("/a%2fb").contains(&"/a/b".to_owned()));
        assert!(forms("/a%5Cb").contains(&"/a/b".to_owned()));
        assert!(forms("/%2561dmin").contains(&"/admin".to_owned()));
        assert!(forms("/admin;x=1/b").contains(&"/admin/b".to_owned()));
        assert!(forms("//admin").contains(&"/admin".to_owned()));
        assert!(forms("/a%3Ab").contains(&"/a:b".to_owned()));
        assert!(forms("/a%252f;x/b").contains(&"/a/b".to_owned()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_canonical_form_is_a_fixed_point(raw in "/([a-cA./;%]|%2[eEfF5]|%[0-9a-f]{2}|\\.\\./){0,12}") {
            if let Ok(path) = Path::parse(&raw) {
                prop_assert_eq!(Path::parse(path.as_str()), Ok(path));
            }
        }

        #[test]
        fn no_reading_of_an_accepted_path_holds_a_dot_segment(raw in "/([ab./;%]|%2[eEfF5]|%5[cC]|%25|2e|\\.\\./){0,12}") {
            if let Ok(path) = Path::parse(&raw) {
                prop_assert!(!has_dots(path.as_str().as_bytes()));
                for form in path.wide_forms().iter() {
                    prop_assert!(!has_dots(form), "{:?}", form);
                }
            }
        }

        #[test]
        fn never_panics(raw in "\\PC{0,40}") {
            drop(Path::parse(&raw));
        }
    }
}
