//! Finds dummies where they do not belong (DW1007).
//!
//! Every provider's dummies are known; a text of the shape that doorward makes (`dw0` and 20 or more lower-case letters
//! and digits, at the beginning of a word) that belongs to none is an unknown dummy. Refuses: this provider's dummy off its
//! surface, any other provider's anywhere, an unknown one anywhere. Looks at headers (Basic credentials decoded), path and
//! query (percent codes decoded); never at bodies, since prompts may mention dummies.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use control::provider::{Auth, Provider};
use control::refusal::{Code, Refusal};
use http::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue};
use memchr::memmem;

use crate::schemes::aws_sigv4::scheme::{SIGNING_HEADERS, SIGNING_PARAMETERS};
use crate::schemes::shared::encode::{decoded, form_decoded};
use crate::schemes::shared::names::same_spelling;
use crate::schemes::shared::surface::PlaceholderSpot;
use crate::schemes::shared::{basic_auth, cookies, parameters};
use crate::schemes::{Head, Surface};

/// What marks the dummies that doorward makes.
const MARKER: &[u8] = b"dw0";
/// How many characters follow the marker at least, in a text that is taken for an unknown dummy.
const TAIL: usize = 20;
/// A shorter text is found in what means something else.
const SHORTEST: usize = 8;

/// The dummies that a provider's agent may hold.
pub fn own(auth: &Auth) -> Vec<String> {
    auth.dummies.iter().filter(|dummy| dummy.len() >= SHORTEST).cloned().collect()
}

/// The dummies of all providers of a plan.
pub struct Dummies {
    known: Vec<String>,
    /// Whether some were written out by hand without the marker; usually none.
    unmarked: bool,
}

impl fmt::Debug for Dummies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whole: what was compiled with these is kept over a reload only if none of them changed.
        f.debug_struct("Dummies").field("known", &self.known).finish_non_exhaustive()
    }
}

/// Where this provider's own dummies may stand on a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exempt<'a> {
    /// This provider's own dummies.
    pub own: &'a [String],
    /// The surface on which they are replaced; `None`: nowhere.
    pub surface: Option<&'a Surface>,
    /// Headers that are removed before the request leaves, whatever they hold.
    pub removed: &'a [HeaderName],
    /// Query parameters that are removed as well.
    pub removed_params: &'a [&'a str],
}

/// The worst that was found in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// No dummy.
    Nothing,
    /// Only this provider's.
    Own,
    /// One that belongs to no provider.
    Unknown,
    /// Another provider's.
    Foreign,
}

impl Dummies {
    /// Those of all providers of a plan.
    pub fn of<'a>(providers: impl IntoIterator<Item = &'a Provider>) -> Self {
        Self::compile(providers.into_iter().filter_map(|provider| provider.auth.as_ref()).flat_map(own))
    }

    /// Compiles a list of dummies.
    pub fn compile(dummies: impl IntoIterator<Item = String>) -> Self {
        let known: BTreeSet<String> = dummies.into_iter().filter(|dummy| dummy.len() >= SHORTEST).collect();
        let unmarked = known.iter().any(|dummy| markers(dummy.as_bytes()).next().is_none());
        Self { known: known.into_iter().collect(), unmarked }
    }

    /// Refuses a request that carries a dummy which is neither replaced nor removed.
    pub fn check(&self, head: &Head, exempt: &Exempt<'_>) -> Result<(), Refusal> {
        for (name, value) in &head.headers {
            let seen = self.in_header(name, value, exempt);
            refuse(seen, "a header")?;
        }
        if let Some(query) = head.target.query() {
            refuse(self.in_query(query, exempt), "the query")?;
        }
        refuse(self.in_path(head.target.path(), exempt), "the path")
    }

    /// What stands in a text.
    #[inline]
    pub fn seen(&self, text: &[u8], own: &[String]) -> Seen {
        if self.unmarked {
            return self.seen_anywhere(text, own);
        }
        let mut worst = Seen::Nothing;
        let mut end = 0;
        for at in markers(text) {
            if at < end {
                continue;
            }
            let (seen, to) = self.judge(text, at, own);
            end = to;
            worst = worst.max(seen);
        }
        worst
    }

    /// What stands around a marker, and where it ends. The longest dummy counts.
    fn judge(&self, text: &[u8], at: usize, own: &[String]) -> (Seen, usize) {
        let longest =
            |dummies: &[String]| dummies.iter().filter_map(|dummy| end_around(text, at, dummy)).max();
        match (longest(own), longest(&self.known)) {
            (Some(ours), Some(known)) if known > ours => (Seen::Foreign, known),
            (Some(ours), _) => (Seen::Own, ours),
            (None, Some(known)) => (Seen::Foreign, known),
            (None, None) if is_made(text, at) => (Seen::Unknown, at + MARKER.len()),
            (None, None) => (Seen::Nothing, at),
        }
    }

    /// As `seen`, for dummies without a marker to look for: each is searched in the whole text.
    fn seen_anywhere(&self, text: &[u8], own: &[String]) -> Seen {
        let ours: Vec<Range<usize>> = own.iter().flat_map(|dummy| ranges(text, dummy)).collect();
        let covered =
            |range: &Range<usize>| ours.iter().any(|our| our.start <= range.start && range.end <= our.end);
        let mut foreign =
            self.known.iter().flat_map(|dummy| ranges(text, dummy)).filter(|range| !covered(range));
        let mut made = markers(text).filter(|&at| is_made(text, at)).map(|at| at..at + MARKER.len());
        match (foreign.next(), made.find(|range| !covered(range))) {
            (Some(_), _) => Seen::Foreign,
            (None, Some(_)) => Seen::Unknown,
            (None, None) if ours.is_empty() => Seen::Nothing,
            (None, None) => Seen::Own,
        }
    }

    fn in_header(&self, name: &HeaderName, value: &HeaderValue, exempt: &Exempt<'_>) -> Seen {
        let seen = self.seen(value.as_bytes(), exempt.own);
        let pair = if *name == AUTHORIZATION { basic_auth::decoded(value.as_bytes()) } else { None };
        let in_pair = pair.map_or(Seen::Nothing, |pair| self.seen(&pair, exempt.own));
        let worst = seen.max(in_pair);
        if worst == Seen::Nothing || exempt.removes(name) {
            return Seen::Nothing;
        }
        if worst == Seen::Own && self.is_replaced(name, value, (seen, in_pair), exempt) {
            Seen::Nothing
        } else {
            worst
        }
    }

    fn is_replaced(
        &self,
        name: &HeaderName,
        value: &HeaderValue,
        seen: (Seen, Seen),
        exempt: &Exempt<'_>,
    ) -> bool {
        let (plain, in_pair) = seen;
        match exempt.surface {
            Some(Surface::Header(own)) => same_spelling(own.as_str(), name.as_str()),
            Some(Surface::Signature) => SIGNING_HEADERS.iter().any(|own| same_spelling(own, name.as_str())),
            Some(Surface::Signed { headers, .. }) => {
                headers.iter().any(|own| same_spelling(own.as_str(), name.as_str()))
            }
            Some(Surface::Cookie(own)) if name == COOKIE => {
                let others = cookies::cookies(value.as_bytes())
                    .filter(|cookie| cookies::value_of(cookie, own).is_none());
                others.map(|cookie| self.seen(cookie, exempt.own)).all(|seen| seen == Seen::Nothing)
            }
            Some(Surface::Placeholder(spots)) => {
                let named =
                    spots.iter().any(|spot| matches!(spot, PlaceholderSpot::Header(own) if own == name));
                // Only in `Authorization` a pair is looked for.
                let basic = spots.contains(&PlaceholderSpot::Basic);
                (plain == Seen::Nothing || named) && (in_pair == Seen::Nothing || basic)
            }
            Some(
                Surface::Cookie(_)
                | Surface::Query(_)
                | Surface::Path(_)
                | Surface::Body(_)
                | Surface::Connection,
            )
            | None => false,
        }
    }

    fn in_query(&self, query: &str, exempt: &Exempt<'_>) -> Seen {
        if self.seen_form(query, exempt.own) == Seen::Nothing {
            return Seen::Nothing;
        }
        let is_removed = |parameter: &parameters::Parameter<'_>| {
            exempt.removed_params.iter().any(|name| parameter.is_named(name))
        };
        let worst =
            parameters::parameters(query).filter(|parameter| !is_removed(parameter)).map(|parameter| {
                let in_name = self.seen_form(parameter.name(), exempt.own);
                let in_value = self.seen_form(parameter.value(), exempt.own);
                let replaced = match exempt.surface {
                    Some(Surface::Query(own)) => parameter.is_named(own),
                    Some(Surface::Signature) => SIGNING_PARAMETERS.iter().any(|own| parameter.is_named(own)),
                    Some(Surface::Signed { param, .. }) => {
                        param.as_deref().is_some_and(|own| parameter.is_named(own))
                    }
                    Some(Surface::Placeholder(spots)) => spots.iter().any(|spot| match spot {
                        PlaceholderSpot::Query(own) => parameter.is_named(own),
                        PlaceholderSpot::Header(_)
                        | PlaceholderSpot::Path
                        | PlaceholderSpot::Basic
                        | PlaceholderSpot::Body(_) => false,
                    }),
                    Some(
                        Surface::Header(_)
                        | Surface::Path(_)
                        | Surface::Cookie(_)
                        | Surface::Body(_)
                        | Surface::Connection,
                    )
                    | None => false,
                };
                in_name.max(if in_value == Seen::Own && replaced { Seen::Nothing } else { in_value })
            });
        worst.max().unwrap_or(Seen::Nothing)
    }

    fn in_path(&self, path: &str, exempt: &Exempt<'_>) -> Seen {
        let seen = self.seen_percent(path, exempt.own);
        if seen != Seen::Own {
            return seen;
        }
        match exempt.surface {
            Some(Surface::Placeholder(spots)) if spots.contains(&PlaceholderSpot::Path) => Seen::Nothing,
            Some(Surface::Path(shape)) => {
                let Some(found) = shape.find(path, exempt.own) else { return seen };
                let before = path.get(..found.range.start).unwrap_or_default();
                let after = path.get(found.range.end..).unwrap_or_default();
                self.seen_percent(before, exempt.own).max(self.seen_percent(after, exempt.own))
            }
            Some(
                Surface::Placeholder(_)
                | Surface::Signature
                | Surface::Signed { .. }
                | Surface::Connection
                | Surface::Header(_)
                | Surface::Query(_)
                | Surface::Cookie(_)
                | Surface::Body(_),
            )
            | None => seen,
        }
    }

    fn seen_percent(&self, text: &str, own: &[String]) -> Seen {
        let plain = self.seen(text.as_bytes(), own);
        if text.contains('%') { plain.max(self.seen(&decoded(text.as_bytes()), own)) } else { plain }
    }

    fn seen_form(&self, text: &str, own: &[String]) -> Seen {
        let plain = self.seen(text.as_bytes(), own);
        let is_coded = text.bytes().any(|b| b == b'%' || b == b'+');
        if is_coded { plain.max(self.seen(&form_decoded(text.as_bytes()), own)) } else { plain }
    }
}

impl Exempt<'_> {
    fn removes(&self, name: &HeaderName) -> bool {
        self.removed.iter().any(|removed| same_spelling(removed.as_str(), name.as_str()))
    }
}

/// Where the marker stands. Values are short: a scan for its rare middle letter beats a substring search.
#[inline]
fn markers(text: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let at =
        |middle: usize| middle.checked_sub(1).filter(|&at| text.get(at..at + MARKER.len()) == Some(MARKER));
    memchr::memchr_iter(b'w', text).filter_map(at)
}

/// Where a dummy ends whose first marker stands at this place.
fn end_around(text: &[u8], at: usize, dummy: &str) -> Option<usize> {
    let start = at.checked_sub(markers(dummy.as_bytes()).next()?)?;
    text.get(start..)?.starts_with(dummy.as_bytes()).then_some(start + dummy.len())
}

fn ranges<'t>(text: &'t [u8], dummy: &'t str) -> impl Iterator<Item = Range<usize>> + 't {
    memmem::find_iter(text, dummy.as_bytes()).map(move |at| at..at + dummy.len())
}

/// Whether the marker at this place begins what doorward would make: at the start of a word, or behind a few capitals
/// (Telegram's `:AA`), and with a tail of lower-case letters and digits.
fn is_made(text: &[u8], at: usize) -> bool {
    let (before, rest) = text.split_at_checked(at).unwrap_or((text, b""));
    let capitals = before.iter().rev().take_while(|b| b.is_ascii_uppercase()).count();
    let word_before = before.iter().rev().nth(capitals).is_some_and(u8::is_ascii_alphanumeric);
    let tail =
        rest.iter().skip(MARKER.len()).take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit()).count();
    capitals <= 4 && !word_before && tail >= TAIL
}

fn refuse(seen: Seen, place: &'static str) -> Result<(), Refusal> {
    let what = match seen {
        Seen::Nothing => return Ok(()),
        Seen::Own => "this provider's dummy stands in a place where it is not replaced",
        Seen::Unknown => "a dummy that belongs to no provider was sent",
        Seen::Foreign => "the dummy of another provider was sent",
    };
    Err(Refusal::new(Code::Dw1007, format!("{what}, in {place}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: &str = "ghp_dw0aaaabbbbccccddddeeee0123456789";
    const THEIRS: &str = "sk-dw0aaaabbbbccccddddeeee0123456789";

    fn dummies() -> Dummies {
        Dummies::compile([OURS, THEIRS, "written-by-hand", "short"].map(str::to_owned))
    }

    fn seen(text: &str) -> Seen {
        dummies().seen(text.as_bytes(), &[OURS.to_owned()])
    }

    #[test]
    fn tells_own_foreign_and_unknown_dummies_apart() {
        assert_eq!(seen(&format!("Bearer {THEIRS}")), Seen::Foreign);
        assert_eq!(seen("x written-by-hand x"), Seen::Foreign);
        assert_eq!(seen(&format!("{OURS} {THEIRS}")), Seen::Foreign);
        assert_eq!(seen("ghp_dw0zzzzbbbbccccddddeeee0123456789"), Seen::Unknown);
        assert_eq!(seen("123456:AAdw0zzzzbbbbccccddddeeee01"), Seen::Unknown);
        assert_eq!(seen("dw0zzzzbbbbccccdddd0"), Seen::Nothing);
        assert_eq!(seen(&format!("{OURS} dw0zzzzbbbbccccddddeeee0123456789")), Seen::Unknown);
        assert_eq!(seen(&format!("Bearer {OURS}")), Seen::Own);
        assert_eq!(seen("Bearer ghp_real"), Seen::Nothing);
    }

    #[test]
    fn what_lies_inside_a_dummy_or_behind_an_unknown_one_is_read_in_its_place() {
        let own = ["twice-dw0-dw0aaaabbbbccccddddeeee".to_owned()];
        let marked = Dummies::compile([own[0].clone(), THEIRS.to_owned()]);
        assert_eq!(marked.seen(own[0].as_bytes(), &own), Seen::Own);
        let both = format!("{} dw0zzzzyyyyxxxxwwwwvvvv {THEIRS}", "-".repeat(20));
        assert_eq!(marked.seen(both.as_bytes(), &own), Seen::Foreign);
        assert_eq!(seen(&format!("{} {OURS}", "-".repeat(60))), Seen::Own);
    }

    #[test]
    fn debug_tells_two_lists_apart() {
        // A reload keeps what was compiled only if it shows the same.
        assert_ne!(format!("{:?}", dummies()), format!("{:?}", Dummies::compile([OURS.to_owned()])));
    }

    #[test]
    fn ordinary_text_with_the_marker_in_it_is_no_dummy() {
        for text in [
            "dw0",
            "adw0",
            "window=dw0-1",
            "eyJhbGdw0aaaabbbbccccddddeeeeffff",
            "9dw0aaaabbbbccccddddeeeeffff",
            "XYZABCdw0aaaabbbbccccddddeeee",
            "short",
        ] {
            assert_eq!(seen(text), Seen::Nothing, "{text}");
        }
    }

    #[test]
    fn a_dummy_inside_a_longer_own_one_is_not_foreign() {
        let own = ["by-hand-long-one".to_owned()];
        let all = Dummies::compile(["by-hand-long".to_owned(), own[0].clone()]);
        assert_eq!(all.seen(b"by-hand-long-one", &own), Seen::Own);
        assert_eq!(all.seen(b"by-hand-long-two", &own), Seen::Foreign);
        assert_eq!(all.seen(b"by-hand-long-one", &["by-hand-long".to_owned()]), Seen::Foreign);
    }

    proptest! {
        #[test]
        fn the_quick_search_finds_what_the_thorough_one_does(text in "([ab]{0,3}|dw0|xdw0abcdefgh|xdw0abcdefghij|ydw0abcdefgh|[a-z]{20}){0,6}") {
            let own = ["xdw0abcdefgh".to_owned()];
            let marked = Dummies::compile(["xdw0abcdefgh", "xdw0abcdefghij", "ydw0abcdefgh"].map(str::to_owned));
            prop_assert_eq!(marked.seen(text.as_bytes(), &own), marked.seen_anywhere(text.as_bytes(), &own));
        }

        #[test]
        fn every_known_dummy_is_found_wherever_it_stands(before in "\\PC{0,20}", after in "\\PC{0,20}", at in 0..3_usize) {
            let text = [OURS, THEIRS, "written-by-hand"][at];
            let found = seen(&format!("{before}{text}{after}"));
            let least = if at == 0 { Seen::Own } else { Seen::Foreign };
            prop_assert!(found >= least);
        }

        #[test]
        fn any_bytes_are_read_without_panic(text: Vec<u8>) {
            dummies().seen(&text, &[OURS.to_owned()]);
        }
    }
}
