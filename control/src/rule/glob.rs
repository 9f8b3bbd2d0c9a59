//! Globs over paths and names.
//!
//! Paths: `*` within a segment (a segment that is only `*` is not empty), `**` any number of segments or none, `"*"`
//! alone everything; a trailing slash counts. An allow rule reads the canonical path alone, case-sensitively; a deny rule
//! also reads every form that a lenient server could make of it. Matching takes at most pattern × path steps and
//! allocates nothing for a canonical path.

use std::fmt;

use super::path::{Path, PathError, decode_fully, decode_unreserved, is_unreserved};

/// Why a text is not a path glob. Carries nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// It neither begins with `/` nor is `*`.
    #[error("a path begins with `/`, or is `*` for every path")]
    Form,
    /// `**` beside other characters.
    #[error("`**` stands alone between slashes")]
    DoubleStar,
    /// A query, fragment or another byte that no path holds.
    #[error("the path holds a character that no canonical path holds (a query is not part of the path)")]
    Character,
    /// `.` or `..`, which no canonical path holds.
    #[error("a canonical path has no `.` or `..` segments, so this matches nothing")]
    Dots,
    /// A broken percent-code.
    #[error("malformed percent-code")]
    Code,
}

/// A compiled path glob.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    text: Box<str>,
    /// Runs of segments between the `**`; `None`: every path.
    blocks: Option<Vec<Vec<Segment>>>,
}

/// One segment, as written and as deny rules read it (decoded, lower case).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    strict: Wildcard,
    wide: Wildcard,
}

#[derive(Clone, Copy)]
enum Reading {
    Strict,
    Wide,
}

impl Segment {
    fn parse(text: &str) -> Result<Self, GlobError> {
        if text.contains("**") {
            return Err(GlobError::DoubleStar);
        }
        if matches!(text, "." | "..") {
            return Err(GlobError::Dots);
        }
        let canonical = decode_unreserved(text).map_err(|_| GlobError::Code)?;
        let strict = Wildcard::new(&canonical);
        let wide = strict.map_pieces(|piece| Ok(decode_fully(piece, false)?.to_ascii_lowercase()))?;
        Ok(Self { strict, wide })
    }

    fn matches(&self, segment: &[u8], reading: Reading) -> bool {
        match reading {
            Reading::Strict => {
                (!segment.is_empty() || !self.strict.is_star()) && self.strict.matches(segment)
            }
            Reading::Wide => self.wide.matches_ignoring_case(segment),
        }
    }
}

impl Glob {
    /// Parses a glob; literal parts are brought into the canonical form of paths.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        if text == "*" {
            return Ok(Self { text: text.into(), blocks: None });
        }
        let inner = text.strip_prefix('/').ok_or(GlobError::Form)?;
        if !inner.bytes().all(|b| is_unreserved(b) || b"!$&'()*+,;=:@/%".contains(&b)) {
            return Err(GlobError::Character);
        }
        let (mut blocks, mut block) = (Vec::new(), Vec::new());
        for segment in inner.split('/') {
            if segment == "**" {
                blocks.push(std::mem::take(&mut block));
            } else {
                block.push(Segment::parse(segment)?);
            }
        }
        blocks.push(block);
        Ok(Self { text: text.into(), blocks: Some(blocks) })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether an allow rule with this glob covers the path: the canonical form alone counts.
    pub fn allows(&self, path: &Path) -> bool {
        self.matches(path.as_str().as_bytes(), Reading::Strict)
    }

    /// Whether a deny rule with this glob covers the path in any form that a lenient server could read.
    pub fn denies(&self, path: &Path) -> bool {
        let canonical = path.as_str().as_bytes();
        self.matches(canonical, Reading::Strict)
            || self.matches(canonical, Reading::Wide)
            || path.wide_forms().iter().any(|form| self.matches(form, Reading::Wide))
    }

    fn matches(&self, path: &[u8], reading: Reading) -> bool {
        let Some(blocks) = &self.blocks else { return true };
        let Some(inner) = path.strip_prefix(b"/") else { return false };
        let mut rest = Some(inner);
        let Some((first, later)) = blocks.split_first() else { return false };
        if !take_block(first, &mut rest, reading) {
            return false;
        }
        let Some((last, middle)) = later.split_last() else { return rest.is_none() };
        // Leftmost is right for every block but the last: a later start never matches more.
        middle.iter().all(|block| seek_block(block, &mut rest, reading))
            && ends_with_block(last, rest, reading)
    }
}

/// Splits off the first segment; `rest` is `None` once all are taken.
fn take_segment<'a>(rest: &mut Option<&'a [u8]>) -> Option<&'a [u8]> {
    let bytes = (*rest)?;
    match memchr::memchr(b'/', bytes) {
        Some(at) => {
            *rest = bytes.get(at + 1..);
            bytes.get(..at)
        }
        None => rest.take(),
    }
}

fn take_block(block: &[Segment], rest: &mut Option<&[u8]>, reading: Reading) -> bool {
    block.iter().all(|pattern| take_segment(rest).is_some_and(|segment| pattern.matches(segment, reading)))
}

fn seek_block(block: &[Segment], rest: &mut Option<&[u8]>, reading: Reading) -> bool {
    loop {
        let mut after = *rest;
        if take_block(block, &mut after, reading) {
            *rest = after;
            return true;
        }
        if take_segment(rest).is_none() {
            return false;
        }
    }
}

fn ends_with_block(block: &[Segment], mut rest: Option<&[u8]>, reading: Reading) -> bool {
    let left = rest.map_or(0, |bytes| memchr::memchr_iter(b'/', bytes).count() + 1);
    let Some(skipped) = left.checked_sub(block.len()) else { return false };
    for _ in 0..skipped {
        take_segment(&mut rest);
    }
    take_block(block, &mut rest, reading)
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Text with `*` for any run of bytes, also none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wildcard {
    /// The literals between the stars; one piece: no star.
    pieces: Vec<Box<[u8]>>,
}

impl Wildcard {
    pub(crate) fn new(text: &str) -> Self {
        Self { pieces: text.split('*').map(|piece| piece.as_bytes().into()).collect() }
    }

    fn map_pieces(&self, change: impl Fn(&[u8]) -> Result<Vec<u8>, PathError>) -> Result<Self, GlobError> {
        let changed = |piece: &[u8]| change(piece).map(Vec::into_boxed_slice).map_err(|_| GlobError::Code);
        Ok(Self { pieces: self.pieces.iter().map(|piece| changed(piece)).collect::<Result<_, _>>()? })
    }

    /// Whether it is `*` and nothing else.
    pub(crate) fn is_star(&self) -> bool {
        matches!(self.pieces.as_slice(), [front, back] if front.is_empty() && back.is_empty())
    }

    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        self.matches_by(text, |a, b| a == b)
    }

    /// For patterns that hold no upper case.
    pub(crate) fn matches_ignoring_case(&self, text: &[u8]) -> bool {
        self.matches_by(text, <[u8]>::eq_ignore_ascii_case)
    }

    fn matches_by(&self, text: &[u8], same: impl Fn(&[u8], &[u8]) -> bool) -> bool {
        let Some((first, later)) = self.pieces.split_first() else { return false };
        let Some((last, middle)) = later.split_last() else { return same(first, text) };
        let Some((head, mut rest)) = text.split_at_checked(first.len()) else { return false };
        if !same(head, first) {
            return false;
        }
        for piece in middle.iter().filter(|piece| !piece.is_empty()) {
            let Some(at) = rest.windows(piece.len()).position(|window| same(window, piece)) else {
                return false;
            };
            rest = rest.get(at + piece.len()..).unwrap_or_default();
        }
        rest.len().checked_sub(last.len()).and_then(|at| rest.get(at..)).is_some_and(|tail| same(tail, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allows(glob: &str, path: &str) -> bool {
        Glob::parse(glob).unwrap().allows(&Path::parse(path).unwrap())
    }

    fn denies(glob: &str, path: &str) -> bool {
        Glob::parse(glob).unwrap().denies(&Path::parse(path).unwrap())
    }

    #[test]
    fn refuses_what_could_never_match_or_means_something_else() {
        for text in [
            "",
            "a",
            "**",
            "v1/**",
            "/a**",
            "/**a",
            "/a/**b/c",
            "/a?b=1",
            "/a#b",
            "/a b",
            "/[a]",
            "/{a}",
            "/../a",
            "/a/./b",
            "/%zz",
            "/%00",
            "https://x/",
        ] {
            assert!(Glob::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn allows_narrowly() {
        for (glob, path) in [
            ("/v1/*", "/v1"),
            ("/v1/*", "/v1/"),
            ("/v1/*", "/v1/a/b"),
            ("/v1/*/b", "/v1//b"),
            ("/v1", "/v1/"),
            ("/v1/", "/v1"),
            ("/V1/**", "/v1/a"),
            ("/v1/**", "/v10"),
            ("/v1/**", "/v1a/b"),
            ("/a/b", "/a%2Fb"),
            ("/a/**/z", "/a/z/b"),
            ("/a/**/b/**/c", "/a/c/b"),
            ("/a:b", "/a%3Ab"),
            ("/x", "/x;v=1"),
            ("/*.json", "/a.json/b"),
        ] {
            assert!(!allows(glob, path), "{glob} {path}");
        }
        for (glob, path) in [
            ("*", "/"),
            ("*", "/a/b"),
            ("/**", "/"),
            ("/**", "/a/b/"),
            ("/v1/**", "/v1"),
            ("/v1/**", "/v1/"),
            ("/v1/**", "/v1/a/b"),
            ("/v1/*", "/v1/a"),
            ("/v1/**/z", "/v1/z"),
            ("/v1/**/z", "/v1/a/z/z"),
            ("/a/**/b/*/c", "/a/b/b/x/c"),
            ("/a*c/*.json", "/abbc/x.json"),
            ("/%7Eme", "/~me"),
            ("/a/b%2Fc", "/a/b%2fc"),
            ("/", "/"),
            ("/**/**", "/"),
        ] {
            assert!(allows(glob, path), "{glob} {path}");
        }
    }

    #[test]
    fn denies_widely() {
        for (glob, path) in [
            ("/admin/**", "/ADMIN/x"),
            ("/Admin/**", "/admin/x"),
            ("/a/b", "/a%2fb"),
            ("/a/b", "/a%5Cb"),
            ("/a/b", "/a%252fb"),
            ("/admin", "/%2561dmin"),
            ("/admin/*", "/admin;x=1/y"),
            ("/admin/**", "//admin/x"),
            ("/admin/**", "/x/..//admin/x"),
            ("/a:b", "/a%3Ab"),
            ("/a%3Ab", "/a:b"),
            ("/a%2Fb", "/a%2fB"),
            ("/repos/*/x", "/repos/a%2Fb/x"),
            ("/repos/*/*/x", "/repos/a%2Fb/x"),
            ("/v1/*", "/v1/"),
        ] {
            assert!(denies(glob, path), "{glob} {path}");
        }
        for (glob, path) in [("/admin", "/admins"), ("/admin/**", "/x/admin"), ("/a/b", "/ab")] {
            assert!(!denies(glob, path), "{glob} {path}");
        }
    }

    #[test]
    fn takes_no_exponential_time() {
        let glob = Glob::parse(&format!("/{}b", "**/a*a*a*/".repeat(12))).unwrap();
        let path = Path::parse(&"/aaaaaaaaaaaaaaaa".repeat(900)).unwrap();
        let start = std::time::Instant::now();
        assert!(!glob.allows(&path));
        assert!(start.elapsed().as_secs() < 5);
    }

    /// The obvious matcher: every choice is tried.
    fn naive(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some((&"**", rest)), _) => (0..=path.len()).any(|n| naive(rest, &path[n..])),
            (Some(_), None) => false,
            (Some((head, rest)), Some((segment, tail))) => {
                (*head != "*" || !segment.is_empty())
                    && naive_text(head.as_bytes(), segment.as_bytes())
                    && naive(rest, tail)
            }
        }
    }

    fn naive_text(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|n| naive_text(rest, &text[n..])),
            Some((byte, rest)) => text.first() == Some(byte) && naive_text(rest, &text[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn matches_as_the_obvious_matcher_does(pattern in "(/(\\*\\*|[abA*]{0,4})){1,5}", path in "(/[abA]{0,4}){1,6}") {
            let Ok(glob) = Glob::parse(&pattern) else { return Ok(()) };
            let pattern: Vec<&str> = pattern.split('/').skip(1).collect();
            let segments: Vec<&str> = path.split('/').skip(1).collect();
            let expected = naive(&pattern, &segments);
            prop_assert_eq!(glob.allows(&Path::parse(&path).unwrap()), expected);
        }

        #[test]
        fn whatever_an_allow_covers_a_deny_covers(pattern in "(/(\\*\\*|([aB*:;]|%2F|%41|%3a){0,4})){1,4}", path in "(/([aB:;]|%2F|%41|%3a|%25|2F){0,4}){1,4}") {
            if let (Ok(glob), Ok(path)) = (Glob::parse(&pattern), Path::parse(&path)) {
                prop_assert!(!glob.allows(&path) || glob.denies(&path));
            }
        }

        #[test]
        fn a_respelling_never_escapes_a_deny(path in "(/[abAB:]{1,3}){1,3}", codes in proptest::collection::vec(0_u8..6, 12)) {
            let glob = Glob::parse(&path).unwrap();
            let spelt = path.char_indices().skip(1).zip(codes.iter().cycle()).fold("/".to_owned(), |out, ((_, c), code)| match (c, code) {
                (c, 0) => format!("{out}%{:02x}", c as u32),
                (c, 1) => format!("{out}%25{:02X}", c as u32),
                ('/', 2) => out + "%5c",
                ('/', 3) => out + ";p=1/",
                ('/', 4) => out + "//",
                (c, 5) => format!("{out}{}", c.to_ascii_uppercase()),
                (c, _) => format!("{out}{c}"),
            });
            if let Ok(path) = Path::parse(&spelt) {
                prop_assert!(glob.denies(&path), "{}", spelt);
            }
        }
    }
}
