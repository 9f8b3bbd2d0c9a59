//! The part of a path that holds a credential: `/bot{{token}}/`.
//!
//! A shape is a run of whole segments. It is looked for at the beginning of the path and one segment later (Telegram has
//! `/bot<token>/method` and `/file/bot<token>/path`), nowhere else: so the agent cannot choose where the secret goes.
//! Between the literals of a segment stands either exactly the provider's dummy, plain or percent-encoded, or a text that
//! looks like a token: at least [`TOKEN_LENGTH`] characters, no slash.

use std::ops::Range;

use control::catalog::{Piece, Template};
use zeroize::Zeroizing;

use super::encode::{decoded, segment_into};
use super::template::{Alphabet, render};
use crate::schemes::{ArmFault, BuildError, Values};

/// A shorter text in the place of a credential is taken for an ordinary path segment.
pub const TOKEN_LENGTH: usize = 16;

/// A path template, cut into segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathShape {
    segments: Vec<Segment>,
    template: Template,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Keyed { before: String, after: String },
}

/// Where a shape stands in a path, and what stands in the place of its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The bytes of the path, from the first segment's start to the last one's end.
    pub range: Range<usize>,
    /// Whether a dummy stands there, rather than a token of the agent's own.
    pub is_dummy: bool,
}

impl PathShape {
    /// Cuts a template that starts with `/`; refuses literals that are not path characters.
    pub fn new(template: &Template) -> Result<Self, BuildError> {
        let invalid = |why| BuildError::Invalid { field: "template", why };
        let mut open = vec![Vec::new()];
        for piece in &template.0 {
            match piece {
                Piece::Key(_) => open.last_mut().into_iter().for_each(|segment| segment.push(piece.clone())),
                Piece::Literal(text) => split_literal(text, &mut open),
            }
        }
        if open.first().is_none_or(|before| !before.is_empty()) || open.len() < 2 {
            return Err(invalid("does not start with `/`"));
        }
        open.remove(0);
        if open.last().is_some_and(Vec::is_empty) {
            open.pop();
        }
        let segments: Vec<Segment> = open.iter().map(|pieces| Segment::new(pieces)).collect();
        if segments.iter().any(|segment| !segment.is_path_text()) {
            return Err(invalid("holds a character that has no place in a path, or an empty segment"));
        }
        if !segments.iter().any(|segment| matches!(segment, Segment::Keyed { .. })) {
            return Err(invalid("names no key, so nothing of the secret would be sent"));
        }
        let shown = segments.len();
        Ok(Self { segments, template: cut(&open, shown) })
    }

    /// Looks for the shape in a canonical path.
    pub fn find(&self, path: &str, dummies: &[String]) -> Option<Found> {
        [0, 1].into_iter().find_map(|skipped| self.find_at(path, skipped, dummies))
    }

    fn find_at(&self, path: &str, skipped: usize, dummies: &[String]) -> Option<Found> {
        let mut start = 1;
        let mut segments = path.strip_prefix('/')?.split('/');
        for segment in segments.by_ref().take(skipped) {
            start += segment.len() + 1;
        }
        let mut end = start;
        let mut is_dummy = false;
        for (index, shape) in self.segments.iter().enumerate() {
            let segment = segments.next()?;
            is_dummy |= shape.reads(segment, dummies)?;
            end += segment.len() + usize::from(index > 0);
        }
        Some(Found { range: start..end, is_dummy })
    }

    /// Renders the segments, without the slashes around them.
    pub(crate) fn render(&self, values: &Values<'_>) -> Result<Zeroizing<Vec<u8>>, ArmFault> {
        render(&self.template, values, Alphabet::Text, segment_into)
    }

    /// The template of the segments, without the slashes around them.
    pub(crate) fn template(&self) -> &Template {
        &self.template
    }
}

impl Segment {
    fn new(pieces: &[Piece]) -> Self {
        let literals = |run: &mut dyn Iterator<Item = &Piece>| -> Vec<String> {
            let mut found = Vec::new();
            for piece in run {
                let Piece::Literal(text) = piece else { break };
                found.push(text.clone());
            }
            found
        };
        let before = literals(&mut pieces.iter()).concat();
        if pieces.iter().all(|piece| matches!(piece, Piece::Literal(_))) {
            return Self::Literal(before);
        }
        let mut after = literals(&mut pieces.iter().rev());
        after.reverse();
        Self::Keyed { before, after: after.concat() }
    }

    fn is_path_text(&self) -> bool {
        let is_pchar = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&b);
        match self {
            Self::Literal(text) => !text.is_empty() && text.bytes().all(is_pchar),
            Self::Keyed { before, after } => before.bytes().chain(after.bytes()).all(is_pchar),
        }
    }

    /// `None`: another segment; otherwise whether it holds a dummy.
    fn reads(&self, segment: &str, dummies: &[String]) -> Option<bool> {
        let (before, after) = match self {
            Self::Literal(text) => return (text == segment).then_some(false),
            Self::Keyed { before, after } => (before.as_str(), after.as_str()),
        };
        let middle = segment.strip_prefix(before)?.strip_suffix(after)?;
        let plain = decoded(middle.as_bytes());
        if dummies.iter().any(|dummy| dummy.as_bytes() == plain.as_ref()) {
            return Some(true);
        }
        (plain.len() >= TOKEN_LENGTH).then_some(false)
    }
}

fn split_literal(text: &str, open: &mut Vec<Vec<Piece>>) {
    for (index, part) in text.split('/').enumerate() {
        if index > 0 {
            open.push(Vec::new());
        }
        if !part.is_empty() {
            open.last_mut().into_iter().for_each(|segment| segment.push(Piece::Literal(part.to_owned())));
        }
    }
}

/// The template of the segments alone, joined by slashes.
fn cut(open: &[Vec<Piece>], count: usize) -> Template {
    let mut pieces = Vec::new();
    for (index, segment) in open.iter().take(count).enumerate() {
        if index > 0 {
            pieces.push(Piece::Literal("/".to_owned()));
        }
        pieces.extend(segment.iter().cloned());
    }
    Template(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schemes::conformance::opened;
    use proptest::prelude::*;

    const DUMMY: &str = "123456:AAdw0aaaabbbbccccddddeeee";

    fn find(template: &str, path: &str) -> Option<(String, bool)> {
        let shape = PathShape::new(&Template::parse(template).unwrap()).unwrap();
        let found = shape.find(path, &[DUMMY.to_owned()])?;
        Some((path.get(found.range).unwrap().to_owned(), found.is_dummy))
    }

    #[test]
    fn a_path_without_the_shape_at_its_place_has_none() {
        for path in [
            "/",
            "/bot",
            "/bottles/list",
            "/bot123456:short/x",
            "/a/b/bot123456:AAdw0aaaabbbbccccddddeeee/x",
            "/xbot123456:AAdw0aaaabbbbccccddddeeee/x",
            "/Bot123456:AAdw0aaaabbbbccccddddeeee/x",
            "*",
        ] {
            assert_eq!(find("/bot{{token}}/", path), None, "{path}");
        }
        assert_eq!(find("/services/{{a}}/{{b}}", &format!("/services/{DUMMY}/short")), None);
        assert_eq!(find("/services/{{a}}/{{b}}", &format!("/other/{DUMMY}/{DUMMY}")), None);
    }

    #[test]
    fn finds_telegrams_dummy_in_both_places_and_percent_encoded() {
        let whole = format!("bot{DUMMY}");
        let coded = whole.replace(':', "%3A");
        for (path, part) in [
            (format!("/bot{DUMMY}/sendMessage"), &whole),
            (format!("/bot{DUMMY}"), &whole),
            (format!("/file/bot{DUMMY}/photos/1.jpg"), &whole),
            (format!("/{coded}/getMe"), &coded),
            (format!("/file/{coded}/photos/1.jpg"), &coded),
        ] {
            assert_eq!(find("/bot{{token}}/", &path), Some((part.clone(), true)), "{path}");
        }
    }

    #[test]
    fn a_text_of_sixteen_characters_is_the_shortest_token() {
        let token = "abcdefghijklmnop";
        assert_eq!(find("/x/{{a}}/y", &format!("/x/{token}/y")), Some((format!("x/{token}/y"), false)));
        assert_eq!(find("/x/{{a}}/y", "/x/abcdefghijklmno/y"), None);
        assert_eq!(find("/x/a{{a}}b{{c}}d", &format!("/x/a{token}d")), Some((format!("x/a{token}d"), false)));
        assert_eq!(find("/x/a{{a}}b{{c}}d", &format!("/x/a{token}e")), None);
    }

    #[test]
    fn refuses_templates_that_are_no_path_or_send_nothing() {
        for text in ["{{a}}", "a/{{a}}", "/", "/a", "/a//{{a}}", "/a b/{{a}}", "/{{a}}?", "/{{a}}%41", ""] {
            assert!(
                Template::parse(text)
                    .map(|template| PathShape::new(&template))
                    .map_or(true, |shape| shape.is_err()),
                "{text}"
            );
        }
        for text in ["/{{a}}", "/-._~!$&'()*+,;=:@{{a}}/", "/{{a}}/b"] {
            assert!(PathShape::new(&Template::parse(text).unwrap()).is_ok(), "{text}");
        }
    }

    #[test]
    fn takes_a_long_text_in_its_place_for_a_token_of_the_agents_own() {
        assert_eq!(
            find("/bot{{token}}", "/bot99:abcdefghijklmnop/x"),
            Some(("bot99:abcdefghijklmnop".into(), false))
        );
        let both = format!("services/{DUMMY}/abcdefghijklmnop");
        assert_eq!(find("/services/{{a}}/{{b}}", &format!("/{both}/x")), Some((both, true)));
    }

    #[test]
    fn renders_its_segments_with_the_values_encoded_and_no_slash_around_them() {
        let opened = opened(&[("a", "12/3456?8"), ("b", "abcdefgh")]);
        let values = Values::new(&opened, &[]);
        for (template, rendered) in [
            ("/services/{{a}}/{{b}}/", "services/12%2F3456%3F8/abcdefgh"),
            ("/bot{{b}}", "botabcdefgh"),
            ("/x/a{{b}}c/d", "x/aabcdefghc/d"),
        ] {
            let shape = PathShape::new(&Template::parse(template).unwrap()).unwrap();
            assert_eq!(shape.render(&values).unwrap().as_slice(), rendered.as_bytes(), "{template}");
        }
        let missing = PathShape::new(&Template::parse("/{{c}}").unwrap()).unwrap();
        assert_eq!(missing.render(&values), Err(ArmFault::Missing { key: "c".to_owned() }));
    }

    proptest! {
        #[test]
        fn what_is_found_are_whole_segments(path in "(/(bot|file|[a:%3A/]{0,20})){0,4}") {
            if let Some((part, _)) = find("/bot{{token}}/", &path) {
                prop_assert!(!part.contains('/') && part.starts_with("bot"));
                prop_assert!(path.split('/').any(|segment| segment == part));
            }
        }
    }
}
