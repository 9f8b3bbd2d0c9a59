//! One attempt to read a form at one place of the stream, kept across chunks.
//!
//! Invariant: where a byte can be read as itself and as the beginning of an escape, both readings are followed.

use super::escapes::{self, Decoded, Escape};
use super::forms::Form;

/// What a letter of a header name may look like, besides itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Letters {
    AsTheyAre,
    /// Names are lower-cased by the HTTP library: compare without case.
    Folded,
}

/// A form that has been matched up to some character.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Thread {
    pub(super) form: u16,
    /// Where in the stream it began.
    pub(super) start: u64,
    /// The character with which it began: 0, or more at the beginning of a slice (206).
    pub(super) from: u32,
    /// The next character.
    pub(super) at: u32,
    /// An escape that the chunk's end cut off.
    cut: [u8; escapes::LONGEST],
    cut_length: u8,
}

/// How a thread goes on in the next chunk.
pub(super) enum Resume {
    Dead,
    /// With this byte of the text.
    From(Thread, usize),
    /// Its escape is still not complete.
    Waiting(Thread),
}

/// What became of a thread.
pub(super) enum Step {
    Dead,
    /// All characters were there, up to this place of the text.
    Hit(usize),
    /// The text ended.
    Alive(Thread),
}

impl Thread {
    pub(super) fn new(form: u16, start: u64, from: usize) -> Self {
        let from = u32::try_from(from).unwrap_or(u32::MAX);
        Self { form, start, from, at: from, cut: [0; escapes::LONGEST], cut_length: 0 }
    }

    pub(super) fn at(mut self, at: usize) -> Self {
        self.at = u32::try_from(at).unwrap_or(u32::MAX);
        self
    }

    /// How many secret bytes it has told.
    pub(super) fn weight(&self, form: &Form) -> usize {
        form.weight(self.from as usize, self.at as usize)
    }

    /// Completes the escape that an earlier chunk's end cut off.
    pub(super) fn resume(mut self, form: &Form, text: &[u8]) -> Resume {
        let had = usize::from(self.cut_length);
        if had == 0 {
            return Resume::From(self, 0);
        }
        let mut joined = [0; 2 * escapes::LONGEST];
        let mut length = 0;
        let begun = self.cut.iter().take(had);
        for (to, from) in joined.iter_mut().zip(begun.chain(text.iter().take(escapes::LONGEST))) {
            *to = *from;
            length += 1;
        }
        let joined = joined.get(..length).unwrap_or_default();
        self.cut = [0; escapes::LONGEST];
        self.cut_length = 0;
        match escapes::parse(joined) {
            Escape::Char(c) if self.accepts(form, &c) => Resume::From(self, c.length.saturating_sub(had)),
            Escape::CutOff => self.cut_off(joined).map_or(Resume::Dead, Resume::Waiting),
            Escape::Char(_) | Escape::Absent => Resume::Dead,
        }
    }

    /// Follows the text from `place`; `fork` receives the other reading of an ambiguous byte.
    pub(super) fn run(
        mut self,
        form: &Form,
        letters: Letters,
        text: &[u8],
        mut place: usize,
        mut fork: impl FnMut(Self, usize),
    ) -> Step {
        loop {
            let Some(&wanted) = form.bytes.get(self.at as usize) else { return Step::Hit(place) };
            let Some(&byte) = text.get(place) else { return Step::Alive(self) };
            let plain =
                form.same(wanted, byte) || (letters == Letters::Folded && wanted.eq_ignore_ascii_case(&byte));
            if escapes::begins(byte) {
                let rest = text.get(place..).unwrap_or_default();
                let mut escaped = self;
                match escapes::parse(rest) {
                    Escape::Char(c) if escaped.accepts(form, &c) => fork(escaped, place + c.length),
                    Escape::CutOff => {
                        if let Some(cut) = escaped.cut_off(rest) {
                            fork(cut, text.len());
                        }
                    }
                    Escape::Char(_) | Escape::Absent => {}
                }
            }
            if !plain {
                return Step::Dead;
            }
            self.at += 1;
            place += 1;
        }
    }

    fn cut_off(mut self, rest: &[u8]) -> Option<Self> {
        if rest.len() > escapes::LONGEST {
            return None;
        }
        for (to, from) in self.cut.iter_mut().zip(rest) {
            *to = *from;
        }
        self.cut_length = u8::try_from(rest.len()).ok()?;
        Some(self)
    }

    /// Takes the characters of an escape, if they come next.
    fn accepts(&mut self, form: &Form, escape: &Decoded) -> bool {
        let ahead = form.bytes.get(self.at as usize..).unwrap_or_default();
        let bytes = escape.bytes();
        let fits =
            bytes.len() <= ahead.len() && bytes.iter().zip(ahead).all(|(byte, want)| form.same(*want, *byte));
        if fits {
            self.at += u32::try_from(bytes.len()).unwrap_or(0);
        }
        fits
    }
}
