//! The prefilter: finds the few places of a text that may hold a plain spelling.
//!
//! For: bulk bodies, which must pass at memory speed. Every `stride` bytes, four bytes of the text are looked up in
//! a bit table; of each form, `stride` consecutive four-byte pieces are in the table, so that one of them falls on a
//! sampled place wherever the form stands. One pass serves all forms of all values; a search for a fragment of each
//! form (eight to thirty of them) costs a pass each.
//! Invariant: a plain spelling (hex in one case) of which the first [`Filter::reach`] bytes stand in the text is always reported.

use zeroize::Zeroizing;

use super::forms::{Case, Form};

/// The stride that is aimed at: nearly as fast as 32, and half the table.
const STRIDE: usize = 16;
const PIECE: usize = 4;
const WORDS: usize = 1024;

/// Four bytes of a form, and where in which form they stand.
#[derive(Clone, Copy, Default, zeroize::Zeroize)]
struct Piece {
    bytes: u32,
    form: u16,
    offset: u16,
}

/// See the module.
pub(super) struct Filter {
    table: Box<Zeroizing<[u64; WORDS]>>,
    pieces: Zeroizing<Vec<Piece>>,
    stride: usize,
    reach: usize,
    /// No form is shorter.
    shortest: usize,
}

impl Filter {
    /// `forms` are at most 65535; none is shorter than eight bytes.
    pub(super) fn compile(forms: &[Form]) -> Self {
        let ends: Vec<usize> = forms.iter().map(region_end).collect();
        let stride = ends.iter().map(|end| end + 1 - PIECE).min().unwrap_or(1).clamp(1, STRIDE);
        let count = 2 * stride * forms.len();
        let mut filter = Self {
            table: Box::new(Zeroizing::new([0; WORDS])),
            pieces: Zeroizing::new(Vec::with_capacity(count)),
            stride,
            reach: ends.iter().copied().max().unwrap_or(0),
            shortest: forms.iter().map(|form| form.bytes.len()).min().unwrap_or(0),
        };
        for (index, (form, end)) in forms.iter().zip(ends).enumerate().filter(|(_, (form, _))| !form.extends)
        {
            let first = (end + 1).saturating_sub(PIECE + stride);
            for offset in first..first + stride {
                filter.add(index, form, offset);
            }
        }
        filter.pieces.sort_unstable_by_key(|piece| piece.bytes);
        filter
    }

    /// A plain spelling that ends before so many of its bytes may be missed.
    pub(super) fn reach(&self) -> usize {
        self.reach
    }

    /// No text that is shorter holds a spelling.
    pub(super) fn shortest(&self) -> usize {
        self.shortest
    }

    fn add(&mut self, index: usize, form: &Form, offset: usize) {
        let Some(bytes) = form.bytes.get(offset..).and_then(|rest| rest.first_chunk::<PIECE>()) else {
            return;
        };
        let (Ok(index), Ok(place)) = (u16::try_from(index), u16::try_from(offset)) else { return };
        self.insert(Piece { bytes: u32::from_le_bytes(*bytes), form: index, offset: place });
        let upper = bytes.to_ascii_uppercase();
        if form.case == Case::Folded
            && let Some(upper) = upper.first_chunk().filter(|upper| *upper != bytes)
        {
            self.insert(Piece { bytes: u32::from_le_bytes(*upper), form: index, offset: place });
        }
    }

    fn insert(&mut self, piece: Piece) {
        let slot = slot(piece.bytes);
        if let Some(word) = self.table.get_mut(slot >> 6) {
            *word |= 1 << (slot & 63);
        }
        self.pieces.push(piece);
    }

    /// Calls `found(form, start)` for each place where a form may start.
    pub(super) fn each(&self, text: &[u8], mut found: impl FnMut(u16, usize)) {
        if text.len() < self.shortest {
            return;
        }
        if self.stride == STRIDE { self.wide(text, &mut found) } else { self.narrow(text, 0, &mut found) }
    }

    /// Four samples at a time: one branch for 64 bytes.
    fn wide(&self, text: &[u8], found: &mut impl FnMut(u16, usize)) {
        const BLOCK: usize = 4 * STRIDE;
        let (blocks, _) = text.as_chunks::<BLOCK>();
        for (index, block) in blocks.iter().enumerate() {
            let hit = self.bit(block, 0)
                | self.bit(block, STRIDE)
                | self.bit(block, 2 * STRIDE)
                | self.bit(block, 3 * STRIDE);
            if hit & 1 == 1 {
                let at = index * BLOCK;
                for sample in 0..4 {
                    self.look(text, at + sample * STRIDE, found);
                }
            }
        }
        self.narrow(text, blocks.len() * BLOCK, found);
    }

    fn narrow(&self, text: &[u8], from: usize, found: &mut impl FnMut(u16, usize)) {
        for at in (from..text.len().saturating_sub(PIECE - 1)).step_by(self.stride) {
            if self.bit(text, at) & 1 == 1 {
                self.look(text, at, found);
            }
        }
    }

    /// The bit of the four bytes at `at`, in the lowest place.
    #[inline(always)]
    fn bit(&self, text: &[u8], at: usize) -> u64 {
        let Some(bytes) = text.get(at..).and_then(|rest| rest.first_chunk::<PIECE>()) else { return 0 };
        let slot = slot(u32::from_le_bytes(*bytes));
        self.table.get(slot >> 6).map_or(0, |word| word >> (slot & 63))
    }

    #[cold]
    fn look(&self, text: &[u8], at: usize, found: &mut impl FnMut(u16, usize)) {
        let Some(bytes) = text.get(at..).and_then(|rest| rest.first_chunk::<PIECE>()) else { return };
        let wanted = u32::from_le_bytes(*bytes);
        let first = self.pieces.partition_point(|piece| piece.bytes < wanted);
        let equal = self.pieces.iter().skip(first).take_while(|piece| piece.bytes == wanted);
        for piece in equal {
            if let Some(start) = at.checked_sub(usize::from(piece.offset)) {
                found(piece.form, start);
            }
        }
    }
}

fn slot(bytes: u32) -> usize {
    (bytes.wrapping_mul(0x9e37_79b1) >> 16) as usize
}

/// No look further than this for the end of the public prefix (a long user name in Basic counts as one).
const PREFIX: usize = 128;

/// The pieces come from behind the public prefix, which every value of its kind has, and as near to the beginning as
/// that allows: what ends before them must be found by a slower search at the end of each chunk.
fn region_end(form: &Form) -> usize {
    (form.reaching(1).saturating_sub(1).min(PREFIX) + STRIDE + PIECE - 1).min(form.bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::scrub::Needle;
    use crate::request::scrub::forms;

    /// Values of which the pieces lie at the beginning, behind a prefix, and where the prefix is longer than is looked at.
    fn compiled() -> Vec<(Vec<Form>, Filter)> {
        let long: Vec<u8> = (0..200_u16).map(|n| b"q7Lr2XvB9tKe5Wn"[usize::from(n * 7 % 15)]).collect();
        let lists: [&[(&[u8], usize)]; 5] = [
            &[(b"12345678", 0)],
            &[(b"ghp_q7Lr2XvB9tKe5WnJ8sYc", 4)],
            &[(b"~:q7Lr2XvB9tKe5WnJ8s", 0)],
            &[(&long, 190)],
            &[(b"12345678", 0), (b"sk-ant-q7Lr2XvB9tKe5WnJ8sYc3MdH6pZa", 7), (&long, 0)],
        ];
        let compile = |list: &[(&[u8], usize)]| {
            let forms: Vec<Form> = (0..)
                .zip(list)
                .flat_map(|(needle, &(value, public_prefix))| {
                    forms::of(needle, &Needle { value, public_prefix, basic_users: &[b"x-access-token"] })
                })
                .collect();
            let filter = Filter::compile(&forms);
            (forms, filter)
        };
        lists.into_iter().map(compile).collect()
    }

    fn found(filter: &Filter, text: &[u8]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        filter.each(text, |form, place| found.push((usize::from(form), place)));
        found
    }

    fn check_every_place(filter: &Filter, form: usize, beginning: &[u8]) {
        for (place, after) in (0..=130).flat_map(|place| [0, 1, 2, 70].map(|after| (place, after))) {
            let text = [&vec![b'.'; place][..], beginning, &vec![b'.'; after]].concat();
            let is_found = found(filter, &text).contains(&(form, place));
            assert_eq!(is_found, text.len() >= filter.shortest(), "{form} at {place}, {after} behind");
        }
    }

    #[test]
    fn reports_each_form_wherever_its_beginning_stands() {
        for (forms, filter) in compiled() {
            for (index, form) in forms.iter().enumerate().filter(|(_, form)| !form.extends) {
                let beginning = &form.bytes[..filter.reach().min(form.bytes.len())];
                check_every_place(&filter, index, beginning);
                if form.case == Case::Folded {
                    check_every_place(&filter, index, &beginning.to_ascii_uppercase());
                }
            }
        }
    }

    #[test]
    fn reports_what_stands_side_by_side() {
        // Two or four of the places that are looked at together hold a piece.
        for (forms, filter) in compiled() {
            let text = forms[0].bytes.repeat(4);
            for before in 0..=64 {
                let whole = [&vec![b'.'; before][..], &text, &[b'.'; 64]].concat();
                let found = found(&filter, &whole);
                for copy in 0..4 {
                    let place = before + copy * forms[0].bytes.len();
                    assert!(found.contains(&(0, place)), "copy {copy} behind {before}");
                }
            }
        }
    }

    #[test]
    fn no_form_is_shorter_than_the_shortest_and_no_copy_of_pieces_is_left_behind() {
        for (forms, filter) in compiled() {
            assert_eq!(Some(filter.shortest()), forms.iter().map(|form| form.bytes.len()).min());
            assert_eq!(filter.pieces.capacity(), 2 * filter.stride * forms.len(), "a vector that grows");
            assert!(found(&filter, &vec![b'.'; filter.shortest() - 1]).is_empty());
        }
    }
}
