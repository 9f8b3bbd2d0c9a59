//! The members of JSON objects, strictly: those that matter stand there once, and in their own spelling.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Fault;

/// How many members of objects are read in one body. Each costs more than its bytes, and a body may be made of nothing else.
pub(super) const MEMBERS_MOST: usize = 16_384;

/// What is looked for, with each name as lenient servers compare it.
#[derive(Debug)]
pub(super) struct Table(Vec<(&'static str, String)>);

impl Table {
    pub(super) fn new(names: &[&'static str]) -> Self {
        Self(names.iter().map(|name| (*name, fold(name))).collect())
    }
}

/// Reads objects, as long as there are not too many members in all of them.
#[derive(Debug)]
pub(super) struct Reader {
    left: usize,
}

/// What stands in one object.
#[derive(Debug, Default)]
pub(super) struct Known<'a> {
    /// Those of the table, each at most once.
    pub(super) pairs: Vec<(&'static str, &'a RawValue)>,
    /// There are others as well.
    pub(super) has_others: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self { left: MEMBERS_MOST }
    }
}

impl Reader {
    /// The members of an object that the table names; `None`: the text is something else. One that only looks like one of
    /// them is a fault.
    pub(super) fn known<'a>(&mut self, text: &'a str, table: &Table) -> Result<Option<Known<'a>>, Fault> {
        let mut known = Known::default();
        let mut fault = None;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let seed = Collect { left: &mut self.left, table, known: &mut known, fault: &mut fault };
        let read = seed.deserialize(&mut deserializer).and_then(|()| deserializer.end());
        match (fault, read) {
            (Some(fault), _) => Err(fault),
            (None, Ok(())) => Ok(Some(known)),
            (None, Err(_)) => Ok(None),
        }
    }
}

struct Collect<'r, 'a> {
    left: &'r mut usize,
    table: &'r Table,
    known: &'r mut Known<'a>,
    fault: &'r mut Option<Fault>,
}

impl<'de> DeserializeSeed<'de> for Collect<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Collect<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut stop = |fault| {
            *self.fault = Some(fault);
            Err(A::Error::custom("refused"))
        };
        while let Some((key, value)) = map.next_entry::<std::borrow::Cow<'de, str>, &'de RawValue>()? {
            let Some(left) = self.left.checked_sub(1) else { return stop(Fault::Large) };
            *self.left = left;
            let folded = fold(&key);
            // Two spellings of one name may both be right, but not in one object.
            let mut alike = self.table.0.iter().filter(|(_, own)| *own == folded).peekable();
            if alike.peek().is_none() {
                self.known.has_others = true;
                continue;
            }
            let Some((name, _)) = alike.find(|(name, _)| *name == key) else {
                return stop(Fault::Ambiguous);
            };
            if self.known.pairs.iter().any(|(other, _)| fold(other) == folded) {
                return stop(Fault::Ambiguous);
            }
            self.known.pairs.push((name, value));
        }
        Ok(())
    }
}

/// As the most lenient servers compare keys: without regard to case (Go's JSON folds these two letters as well),
/// underscores, hyphens and spaces.
pub(super) fn fold(key: &str) -> String {
    let kept = key.chars().filter(|c| !matches!(c, '_' | '-') && !c.is_whitespace());
    let same = kept.map(|c| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    });
    same.collect()
}
