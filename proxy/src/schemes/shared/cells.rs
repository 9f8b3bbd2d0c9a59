//! The token cells of one injection: one for all requests, or one for each part of what the secret opens (a repository, the
//! agent that acts).
//!
//! Invariants: no more parts are kept than there is room for, the one that was used longest ago goes first; when the secret
//! is changed, no part gives a token any more, whenever it was made.

use std::sync::Arc;

use control::refusal::Refusal;
use parking_lot::Mutex;

use super::token::Cell;

/// How many parts have a token at once.
const MOST: usize = 256;

/// The cells.
#[derive(Debug)]
pub struct Cells<T> {
    whole: Arc<Cell<T>>,
    parts: Mutex<Parts<T>>,
}

#[derive(Debug)]
struct Parts<T> {
    /// The one that was used last stands last.
    used: Vec<(Box<str>, Arc<Cell<T>>)>,
    revoked: bool,
}

impl<T> Default for Cells<T> {
    fn default() -> Self {
        Self { whole: Arc::default(), parts: Mutex::new(Parts { used: Vec::new(), revoked: false }) }
    }
}

impl<T: Send + Sync + 'static> Cells<T> {
    /// The cell of a part; the empty part is the whole.
    pub fn of(&self, part: &str) -> Arc<Cell<T>> {
        if part.is_empty() {
            return Arc::clone(&self.whole);
        }
        let mut parts = self.parts.lock();
        let known = parts.used.iter().rposition(|(name, _)| **name == *part);
        let one = match known {
            Some(at) => parts.used.remove(at),
            None => (part.into(), Arc::default()),
        };
        if parts.revoked {
            one.1.revoke();
        }
        if parts.used.len() >= MOST {
            parts.used.remove(0);
        }
        let cell = Arc::clone(&one.1);
        parts.used.push(one);
        cell
    }

    /// Why no exchange for the whole begins at present, if none does. Parts are of the requests' choosing: what fails for
    /// one of them says nothing of the secret.
    pub fn failure(&self) -> Option<Refusal> {
        self.whole.failure()
    }

    /// Drops all of them at once.
    pub fn revoke(&self) {
        self.whole.revoke();
        let mut parts = self.parts.lock();
        parts.revoked = true;
        parts.used.drain(..).for_each(|(_, cell)| cell.revoke());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::token::{Fresh, Now, Obtaining};
    use super::*;

    fn issued(value: u32) -> Obtaining<u32> {
        let life = Duration::from_secs(3600);
        Box::pin(async move { Ok(Fresh { value: Arc::new(value), since: Now::read(), life }) })
    }

    #[tokio::test]
    async fn after_a_change_of_the_secret_no_part_gives_a_token_also_none_that_is_new() {
        let cells: Cells<u32> = Cells::default();
        let (before, whole) = (cells.of("a"), cells.of(""));
        for cell in [&before, &whole] {
            assert_eq!(*cell.value(Now::read(), || issued(1)).await.unwrap(), 1);
        }
        cells.revoke();
        for cell in [before, whole, cells.of("a"), cells.of("b"), cells.of("")] {
            assert!(cell.value(Now::read(), || issued(2)).await.is_err());
        }
    }

    #[tokio::test]
    async fn each_part_has_its_own_token_and_the_one_used_longest_ago_makes_room() {
        let cells: Cells<u32> = Cells::default();
        for (part, value) in [("a", 1), ("b", 2), ("", 3)] {
            assert_eq!(*cells.of(part).value(Now::read(), || issued(value)).await.unwrap(), value);
        }
        for number in 0..MOST - 1 {
            cells.of("a");
            cells.of(&number.to_string());
        }
        assert_eq!(cells.parts.lock().used.len(), MOST);
        assert_eq!(*cells.of("a").value(Now::read(), || issued(9)).await.unwrap(), 1);
        assert_eq!(*cells.of("b").value(Now::read(), || issued(9)).await.unwrap(), 9);
        assert_eq!(*cells.of("").value(Now::read(), || issued(9)).await.unwrap(), 3);
    }
}
