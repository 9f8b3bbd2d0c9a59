//! Which value of a secret it is: who has it, and which of those it is that one had.
//!
//! Invariant: two sources that have a secret of one name never have the same version of it, however they count. What one of
//! them puts in the other's place is seen at once.

/// A version of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// The place of its source among those that are asked; a source by itself says 0.
    pub source: usize,
    /// Rising with each change in that source.
    pub number: u64,
}

impl Version {
    /// The same, of the source at this place.
    pub(super) fn of_source(self, source: usize) -> Self {
        Self { source, ..self }
    }

    /// Whether it is from the same source as another one, and from before it.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        self.source == other.source && self.number < other.number
    }
}

impl From<u64> for Version {
    fn from(number: u64) -> Self {
        Self { source: 0, number }
    }
}
