//! Reading a request line for the resolvers: segments, the kind of method, query parameters.

use std::borrow::Cow;

use http::Method;

use super::{Ask, Resolved};

/// The most segments that a resolver looks at.
const SEGMENTS: usize = 12;

/// The segments of a path without the empty ones (servers drop those), compared without regard to case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segments<'a> {
    items: [&'a str; SEGMENTS],
    len: usize,
    cut: bool,
}

impl<'a> Segments<'a> {
    pub(super) fn of(path: &'a str) -> Self {
        let mut items = [""; SEGMENTS];
        let mut len = 0;
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        for (slot, segment) in items.iter_mut().zip(segments.by_ref()) {
            *slot = segment;
            len += 1;
        }
        Self { items, len, cut: segments.next().is_some() }
    }

    /// Whether there are more than are looked at: a resolver that reads from the end cannot judge then.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The segment, or `""` where there is none.
    pub(super) fn at(&self, index: usize) -> &'a str {
        self.items.get(index).copied().unwrap_or_default()
    }

    pub(super) fn is(&self, index: usize, word: &str) -> bool {
        self.at(index).eq_ignore_ascii_case(word)
    }

    pub(super) fn is_any(&self, index: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(index, word))
    }

    /// What stands behind a base path such as `openai/v1`.
    pub(super) fn behind(&self, base: &str) -> Option<Self> {
        let mut parts = base.split('/').enumerate();
        parts.all(|(index, part)| self.is(index, part)).then(|| self.skip(base.split('/').count()))
    }

    /// Without the first `count`.
    pub(super) fn skip(&self, count: usize) -> Self {
        let mut items = [""; SEGMENTS];
        for (slot, segment) in items.iter_mut().zip(self.items.iter().skip(count)) {
            *slot = segment;
        }
        Self { items, len: self.len.saturating_sub(count), cut: self.cut }
    }
}

/// The resolver of types whose requests are not told apart: only `httpRules` and `["*"]` let them through.
pub(super) fn by_rules<'a>(_ask: &Ask<'a>) -> Resolved<'a> {
    Resolved::unknown()
}

/// Whether the method changes nothing (RFC 9110 section 9.2.1).
pub(super) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// One action for reading, another for the methods that change something; other methods are unknown.
pub(super) fn read_or(ask: &Ask<'_>, read: &'static str, write: &'static str) -> &'static str {
    match *ask.method {
        Method::GET | Method::HEAD => read,
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE => write,
        _ => super::UNKNOWN,
    }
}

/// What git's ref advertisement (`info/refs?service=…`) is for. A service that is named twice, or unknown, is not known:
/// the two ends could pick either.
pub(super) fn git_service(ask: &Ask<'_>, read: &'static str, write: &'static str) -> &'static str {
    let mut values = params(ask.query, "service");
    let decoded = |value: &str| percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
    match (values.next().map(decoded).as_deref(), values.next()) {
        (Some("git-upload-pack"), None) => read,
        (Some("git-receive-pack"), None) => write,
        // The dumb protocol.
        (None, None) => read,
        _ => super::UNKNOWN,
    }
}

/// The raw values of a query parameter; names are compared decoded.
pub(super) fn params<'a>(query: Option<&'a str>, name: &'a str) -> impl Iterator<Item = &'a str> {
    query.unwrap_or_default().split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key: Cow<'_, [u8]> = percent_encoding::percent_decode_str(key).into();
        (*key == *name.as_bytes()).then_some(value)
    })
}

/// One line of a type's table: these methods on this path (`*` for any one segment, a last `**` for any rest).
#[derive(Debug)]
pub(super) struct Line(pub(super) &'static [Method], pub(super) &'static str, pub(super) &'static str);

/// The first line of a table that matches, as an action on nothing that a scope could name.
pub(super) fn by_table<'a>(method: &Method, segments: &Segments<'_>, table: &'static [Line]) -> Resolved<'a> {
    let hit =
        table.iter().find(|Line(methods, pattern, _)| methods.contains(method) && fits(pattern, segments));
    hit.map_or(Resolved::unknown(), |Line(_, _, action)| Resolved::free(action))
}

fn fits(pattern: &str, segments: &Segments<'_>) -> bool {
    let mut index = 0;
    for part in pattern.split('/') {
        match part {
            "**" => return true,
            "*" if index < segments.len() => {}
            _ if segments.is(index, part) => {}
            _ => return false,
        }
        index += 1;
    }
    index == segments.len()
}

pub(super) const READ: &[Method] = &[Method::GET, Method::HEAD];
pub(super) const POST: &[Method] = &[Method::POST];
pub(super) const DELETE: &[Method] = &[Method::DELETE];
pub(super) const PUT: &[Method] = &[Method::PUT];
pub(super) const ANY: &[Method] =
    &[Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
pub(super) const WRITE: &[Method] = &[Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
