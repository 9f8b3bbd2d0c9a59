//! Cuts a body into lines, of which none is longer than a message may be.

use bytes::{Bytes, BytesMut};
use control::sync::wire::{LINE_MAX, WireError};

/// What has come of a line that has not ended.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: BytesMut,
    /// How far it was looked for an end.
    looked: usize,
}

impl Lines {
    /// More of the body.
    pub(super) fn push(&mut self, more: &[u8]) {
        self.begun.extend_from_slice(more);
    }

    /// The next whole line.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        let new = self.begun.get(self.looked..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', new).map(|at| self.looked + at) else {
            self.looked = self.begun.len();
            return if self.looked > LINE_MAX { Err(WireError::TooLong) } else { Ok(None) };
        };
        self.looked = 0;
        Ok(Some(self.begun.split_to(end + 1).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_whole_lines_however_they_come_and_refuses_one_without_end() {
        let mut lines = Lines::default();
        for piece in ["a", "b\nc\n", "", "d"] {
            lines.push(piece.as_bytes());
        }
        assert_eq!(lines.next(), Ok(Some(Bytes::from("ab\n"))));
        assert_eq!(lines.next(), Ok(Some(Bytes::from("c\n"))));
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"\n");
        assert_eq!(lines.next(), Ok(Some(Bytes::from("d\n"))));
        lines.push(&vec![b'x'; LINE_MAX + 1]);
        assert_eq!(lines.next(), Err(WireError::TooLong));
    }
}
