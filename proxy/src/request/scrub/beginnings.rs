//! The beginnings of all forms, indexed for the two searches that start from a single character: at an escape, and
//! near the end of a chunk.
//!
//! Text that is full of escapes (JSON in JSON) comes here every few bytes, so what cannot lead anywhere is dismissed by
//! one or two table look-ups: by the escape's second byte, then by the characters beside it.
//! Invariant: a dismissal is always right; acceptance may be wrong.

use zeroize::Zeroizing;

use super::escapes::{self, Escape};
use super::forms::{Case, Form};

const WORDS: usize = 1024;

/// See the module.
pub(super) struct Beginnings {
    /// For each byte, where its entries begin.
    first: Zeroizing<Vec<u32>>,
    /// Index and form, sixteen bits each, by byte and index.
    entries: Zeroizing<Vec<u32>>,
    /// Whether a form begins with the byte.
    begins: Zeroizing<[bool; 256]>,
    /// Whether an escape with this second byte may stand for a character that matters.
    second: Zeroizing<[bool; 256]>,
    /// Neighbouring characters, hashed.
    pairs: Box<Zeroizing<[u64; WORDS]>>,
    /// All forms are ASCII, so that `\u` matters only before zeros.
    is_ascii: bool,
}

/// What stands beside a character. The character itself comes last, or first for [`Beside::Next`].
#[derive(Clone, Copy)]
enum Beside {
    TwoBefore(u8, u8, u8),
    /// It is a form's second.
    Before(u8, u8),
    /// It is a form's first.
    Next(u8, u8),
}

impl Beginnings {
    /// `reach` is how many characters of each form are indexed.
    pub(super) fn compile(forms: &[Form], reach: usize) -> Self {
        // At its final size, since a vector that grows leaves copies behind.
        let mut found = Zeroizing::new(Vec::with_capacity(2 * reach * forms.len()));
        for (number, form) in forms.iter().enumerate().filter(|(_, form)| !form.extends) {
            for (index, &byte) in form.bytes.iter().enumerate().take(reach) {
                let (Ok(number), Ok(index)) = (u16::try_from(number), u16::try_from(index)) else { continue };
                for byte in cases(form, byte) {
                    found.push((byte, u32::from(index) << 16 | u32::from(number)));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        let first = (0..=256usize).map(|byte| found.partition_point(|(b, _)| usize::from(*b) < byte));
        let mut this = Self {
            first: Zeroizing::new(first.map(|at| u32::try_from(at).unwrap_or(u32::MAX)).collect()),
            entries: Zeroizing::new(found.iter().map(|(_, entry)| *entry).collect()),
            begins: Zeroizing::new([false; 256]),
            second: Zeroizing::new([false; 256]),
            pairs: Box::new(Zeroizing::new([0; WORDS])),
            is_ascii: forms.iter().all(|form| form.bytes.is_ascii()),
        };
        for form in forms.iter().filter(|form| !form.extends) {
            this.add_neighbours(form, reach);
        }
        this.compile_bytes();
        this
    }

    /// The forms in whose beginning `byte` stands, and where; first those that begin with it.
    pub(super) fn of(&self, byte: u8) -> impl Iterator<Item = (usize, usize)> + '_ {
        let at = |index: usize| self.first.get(index).map_or(0, |at| *at as usize);
        let range = at(usize::from(byte))..at(usize::from(byte) + 1);
        let entries = self.entries.get(range).unwrap_or_default();
        entries.iter().map(|entry| ((entry & 0xffff) as usize, (entry >> 16) as usize))
    }

    /// Whether the escape at the beginning of `text` may matter.
    pub(super) fn may_matter(&self, text: &[u8]) -> bool {
        let Some(&second) = text.get(1) else { return false };
        let matters = self.second.get(usize::from(second)).is_some_and(|matters| *matters);
        matters && !(second == b'u' && self.is_ascii && text.get(2).is_some_and(|third| *third != b'0'))
    }

    /// Whether a form may begin with `byte`, with `rest` behind it.
    pub(super) fn may_begin(&self, byte: u8, rest: &[u8]) -> bool {
        if !self.begins.get(usize::from(byte)).is_some_and(|begins| *begins) {
            return false;
        }
        let Some(&next) = rest.first() else { return true };
        if self.has(Beside::Next(byte, next)) {
            return true;
        }
        match escapes::parse(rest) {
            Escape::Char(c) => c.bytes().first().is_some_and(|next| self.has(Beside::Next(byte, *next))),
            Escape::CutOff => true,
            Escape::Absent => false,
        }
    }

    /// Whether a form may go on with `byte` behind `before`.
    pub(super) fn may_go_on(&self, before: &[u8], byte: u8) -> bool {
        match before {
            [] => false,
            [last] => self.has(Beside::Before(*last, byte)),
            [.., two, last] => {
                self.has(Beside::TwoBefore(*two, *last, byte)) || self.has(Beside::Before(*last, byte))
            }
        }
    }

    fn compile_bytes(&mut self) {
        let wanted: Vec<u8> = (0..=255).filter(|byte| self.of(*byte).next().is_some()).collect();
        for byte in wanted {
            if self.of(byte).any(|(_, index)| index == 0) {
                set(&mut self.begins, byte);
            }
            let high = char::from_digit(u32::from(byte >> 4), 16).map_or(0, |digit| digit as u8);
            for second in [high, high.to_ascii_uppercase()] {
                set(&mut self.second, second);
            }
            for second in 0..=255 {
                if let Escape::Char(c) = escapes::parse(&[b'\\', second])
                    && c.bytes() == [byte]
                {
                    set(&mut self.second, second);
                }
            }
        }
        set(&mut self.second, b'u');
        set(&mut self.second, b'#');
        for initial in escapes::initials() {
            set(&mut self.second, initial);
        }
    }

    fn add_neighbours(&mut self, form: &Form, reach: usize) {
        let reach = reach.min(form.bytes.len());
        let beginning = form.bytes.get(..reach).unwrap_or_default();
        for window in beginning.windows(3) {
            let &[a, b, c] = window else { continue };
            for a in cases(form, a) {
                for b in cases(form, b) {
                    for c in cases(form, c) {
                        self.insert(Beside::TwoBefore(a, b, c));
                    }
                }
            }
        }
        let [a, b, ..] = *beginning else { return };
        for a in cases(form, a) {
            for b in cases(form, b) {
                self.insert(Beside::Before(a, b));
                self.insert(Beside::Next(a, b));
            }
        }
    }

    fn insert(&mut self, what: Beside) {
        let slot = what.slot();
        if let Some(word) = self.pairs.get_mut(slot >> 6) {
            *word |= 1 << (slot & 63);
        }
    }

    fn has(&self, what: Beside) -> bool {
        let slot = what.slot();
        self.pairs.get(slot >> 6).is_some_and(|word| word >> (slot & 63) & 1 == 1)
    }
}

impl Beside {
    fn slot(self) -> usize {
        let key = match self {
            Self::TwoBefore(a, b, c) => u32::from_le_bytes([a, b, c, 2]),
            Self::Before(a, b) => u32::from_le_bytes([a, b, 0, 1]),
            Self::Next(a, b) => u32::from_le_bytes([a, b, 0, 0]),
        };
        (key.wrapping_mul(0x9e37_79b1) >> 16) as usize
    }
}

fn set(table: &mut [bool; 256], byte: u8) {
    if let Some(entry) = table.get_mut(usize::from(byte)) {
        *entry = true;
    }
}

/// The bytes that a form takes for this character: one, or twice the same, or a letter in both cases.
fn cases(form: &Form, byte: u8) -> [u8; 2] {
    match form.case {
        Case::Exact => [byte, byte],
        Case::Folded => [byte, byte.to_ascii_uppercase()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::scrub::tests::oracle::spellings;
    use crate::request::scrub::{Needle, forms};

    const REACH: usize = 20;

    /// Of so many values that the table of neighbours is well filled, or of one.
    fn compiled(values: usize) -> (Vec<Form>, Beginnings) {
        let forms: Vec<Form> = (0..values)
            .flat_map(|n| {
                let value = format!("~{n}{}+/\"%", n * 7_919 % 65_537 * 104_729);
                let needle = Needle { value: value.as_bytes(), public_prefix: 0, basic_users: &[] };
                forms::of(u16::try_from(n).unwrap(), &needle)
            })
            .collect();
        let beginnings = Beginnings::compile(&forms, REACH);
        (forms, beginnings)
    }

    #[test]
    fn dismisses_nothing_that_goes_on_as_a_form() {
        for values in [1, 300] {
            let (forms, beginnings) = compiled(values);
            for (number, form) in forms.iter().enumerate().filter(|(_, form)| !form.extends) {
                let mut texts = vec![form.bytes.to_vec()];
                if form.case == Case::Folded {
                    texts.push(form.bytes.to_ascii_uppercase());
                }
                for text in texts {
                    assert!(beginnings.may_begin(text[0], &text[1..]) && beginnings.may_begin(text[0], b""));
                    for (index, &byte) in text.iter().enumerate().take(REACH) {
                        assert!(
                            beginnings.of(byte).any(|entry| entry == (number, index)),
                            "{number} {index}"
                        );
                        assert!(index == 0 || beginnings.may_go_on(&text[..index], byte), "{number} {index}");
                    }
                }
            }
        }
    }

    #[test]
    fn dismisses_no_escape_of_a_character_of_a_form() {
        let (forms, beginnings) = compiled(1);
        for form in forms.iter().filter(|form| !form.extends) {
            for &byte in form.bytes.iter().take(REACH) {
                for escape in spellings(byte).iter().filter(|spelling| spelling.len() > 1) {
                    assert!(beginnings.may_matter(escape), "{}", String::from_utf8_lossy(escape));
                    let behind = [&form.bytes[..1], escape].concat();
                    assert!(byte != form.bytes[1] || beginnings.may_begin(behind[0], &behind[1..]));
                }
            }
        }
    }

    #[test]
    fn forms_that_begin_with_the_byte_come_first() {
        let (_, beginnings) = compiled(300);
        for byte in 0..=255 {
            let indices: Vec<usize> = beginnings.of(byte).map(|(_, index)| index).collect();
            assert!(indices.is_sorted(), "{byte}");
        }
    }
}
