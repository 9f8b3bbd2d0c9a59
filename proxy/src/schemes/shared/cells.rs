//! The token cells of one injection: one for all requests, or one for each part of what the secret opens (a repository, the
//! agent that acts).
//!
//! Invariants: no more parts are kept than there is room for; the agent that brought most of them makes room, with the one
//! that was used longest ago; none goes that is asked for just now or has to wait, or an issuer's no would be forgotten.
//! What an issuer says to the credential it says to all parts. When the secret is changed, no part gives a token any more,
//! whenever it was made.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use control::refusal::{Code, Refusal};
use parking_lot::Mutex;

use super::token::{Cell, Common, Now};
use crate::limits::TOKEN_PARTS;

/// The cells.
#[derive(Debug)]
pub struct Cells<T> {
    whole: Arc<Cell<T>>,
    parts: Mutex<Parts<T>>,
    common: Arc<Common>,
    flying: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Parts<T> {
    /// The one that was used last stands last.
    used: Vec<Part<T>>,
    /// Those that made room while someone still had them.
    gone: Vec<Weak<Cell<T>>>,
    revoked: bool,
}

#[derive(Debug)]
struct Part<T> {
    name: Box<str>,
    /// Who asked for it first.
    by: Box<str>,
    cell: Arc<Cell<T>>,
}

/// An exchange of some part, counted until it ends.
#[derive(Debug)]
pub struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T: Send + Sync + 'static> Default for Cells<T> {
    fn default() -> Self {
        let common = Arc::default();
        Self {
            whole: Arc::new(Cell::with(&common)),
            parts: Mutex::new(Parts { used: Vec::new(), gone: Vec::new(), revoked: false }),
            common,
            flying: Arc::default(),
        }
    }
}

impl<T: Send + Sync + 'static> Cells<T> {
    /// The cell of a part for an agent; the empty part is the whole. `admit` is asked for one that is not there yet.
    ///
    /// # Errors
    /// Why it is not admitted; or that there is no room for another.
    pub fn of(
        &self,
        part: &str,
        by: &str,
        admit: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<Arc<Cell<T>>, Refusal> {
        if part.is_empty() {
            return Ok(Arc::clone(&self.whole));
        }
        let mut parts = self.parts.lock();
        let one = if let Some(at) = parts.used.iter().rposition(|one| *one.name == *part) {
            parts.used.remove(at)
        } else {
            admit()?;
            parts.make_room()?;
            Part { name: part.into(), by: by.into(), cell: Arc::new(Cell::with(&self.common)) }
        };
        if parts.revoked {
            one.cell.revoke();
        }
        let cell = Arc::clone(&one.cell);
        parts.used.push(one);
        Ok(cell)
    }

    /// A place among the exchanges of all parts; `None`: there are as many as may be.
    pub fn fly(&self, most: usize) -> Option<InFlight> {
        let before = self.flying.fetch_add(1, Ordering::Relaxed);
        let one = InFlight(Arc::clone(&self.flying));
        (before < most).then_some(one)
    }

    /// How the last exchange failed, whichever part it was for, if it did.
    pub fn failure(&self) -> Option<Refusal> {
        self.common.failure().or_else(|| self.whole.failure())
    }

    /// Drops all of them at once.
    pub fn revoke(&self) {
        self.whole.revoke();
        let mut parts = self.parts.lock();
        parts.revoked = true;
        parts.used.drain(..).for_each(|one| one.cell.revoke());
        parts.gone.drain(..).filter_map(|cell| cell.upgrade()).for_each(|cell| cell.revoke());
    }
}

impl<T: Send + Sync + 'static> Parts<T> {
    fn make_room(&mut self) -> Result<(), Refusal> {
        if self.used.len() < TOKEN_PARTS {
            return Ok(());
        }
        let now = Now::read();
        let of = |by: &str| self.used.iter().filter(|one| *one.by == *by).count();
        // The oldest of them, of the agent that has most.
        let idle = self.used.iter().enumerate().filter(|(_, one)| one.cell.is_idle(now));
        let first = idle.rev().max_by_key(|(_, one)| of(&one.by)).map(|(at, _)| at);
        let Some(first) = first else {
            let detail = "tokens for as many repositories or sessions as may be are asked for already";
            return Err(Refusal::new(Code::Dw2013, detail).retry_after(std::time::Duration::from_secs(1)));
        };
        let gone = self.used.remove(first).cell;
        self.gone.retain(|cell| cell.strong_count() > 0);
        self.gone.push(Arc::downgrade(&gone));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::super::token::{Because, Failed, Fresh, Obtaining};
    use super::*;

    fn issued(value: u32) -> Obtaining<u32> {
        let life = Duration::from_secs(3600);
        Box::pin(async move { Ok(Fresh { value: Arc::new(value), since: Now::read(), life }) })
    }

    fn any<T: Send + Sync + 'static>(cells: &Cells<T>, part: &str) -> Arc<Cell<T>> {
        cells.of(part, "bot", || Ok(())).unwrap()
    }

    fn failing(because: Because) -> Obtaining<u32> {
        Box::pin(async move { Err(Failed { refusal: Refusal::new(Code::Dw1005, "no"), because }) })
    }

    #[tokio::test]
    async fn after_a_change_of_the_secret_no_part_gives_a_token_also_none_that_made_room() {
        let cells: Cells<u32> = Cells::default();
        let (before, whole) = (any(&cells, "a"), any(&cells, ""));
        for cell in [&before, &whole] {
            assert_eq!(*cell.value(Now::read(), || issued(1)).await.unwrap(), 1);
        }
        for number in 0..TOKEN_PARTS {
            any(&cells, &number.to_string());
        }
        assert!(!cells.parts.lock().used.iter().any(|one| *one.name == *"a"));
        cells.revoke();
        for cell in [before, whole, any(&cells, "a"), any(&cells, "b"), any(&cells, "")] {
            assert!(cell.value(Now::read(), || issued(2)).await.is_err());
        }
    }

    #[tokio::test]
    async fn each_part_has_its_own_token_and_the_one_used_longest_ago_makes_room() {
        let cells: Cells<u32> = Cells::default();
        for (part, value) in [("a", 1), ("b", 2), ("", 3)] {
            assert_eq!(*any(&cells, part).value(Now::read(), || issued(value)).await.unwrap(), value);
        }
        for number in 0..TOKEN_PARTS - 1 {
            any(&cells, "a");
            any(&cells, &number.to_string());
        }
        assert_eq!(cells.parts.lock().used.len(), TOKEN_PARTS);
        assert_eq!(*any(&cells, "a").value(Now::read(), || issued(9)).await.unwrap(), 1);
        assert_eq!(*any(&cells, "b").value(Now::read(), || issued(9)).await.unwrap(), 9);
        assert_eq!(*any(&cells, "").value(Now::read(), || issued(9)).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn who_asks_for_many_parts_makes_room_itself_and_never_by_what_has_to_wait() {
        let cells: Cells<u32> = Cells::default();
        let quiet = cells.of("quiet", "other", || Ok(())).unwrap();
        assert_eq!(*quiet.value(Now::read(), || issued(1)).await.unwrap(), 1);
        let refused = any(&cells, "refused");
        refused.value(Now::read(), || failing(Because::PartRefused)).await.unwrap_err();
        for number in 0..2 * TOKEN_PARTS {
            any(&cells, &number.to_string());
        }
        assert!(Arc::ptr_eq(&quiet, &any(&cells, "quiet")));
        assert!(Arc::ptr_eq(&refused, &any(&cells, "refused")));
        // One that is not admitted takes nobody's room.
        let none = || Err(Refusal::new(Code::Dw1009, "no"));
        assert_eq!(cells.of("new", "bot", none).unwrap_err().code, Code::Dw1009);
        assert!(cells.of("quiet", "bot", none).is_ok());
    }

    #[tokio::test]
    async fn refuses_another_part_while_all_of_them_are_asked_for() {
        let cells: Cells<u32> = Cells::default();
        for number in 0..TOKEN_PARTS {
            let cell = any(&cells, &number.to_string());
            let waiting =
                tokio::spawn(
                    async move { cell.value(Now::read(), || Box::pin(std::future::pending())).await },
                );
            tokio::task::yield_now().await;
            waiting.abort();
        }
        let refusal = cells.of("another", "bot", || Ok(())).unwrap_err();
        assert_eq!(refusal.code, Code::Dw2013);
        assert!(any(&cells, "7").value(Now::read(), || issued(1)).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_issuer_says_to_the_credential_holds_for_all_parts_and_what_it_says_to_one_for_that() {
        for (because, is_shared) in [
            (Because::Refused, true),
            (Because::Spent, true),
            (Because::Unavailable(Some(Duration::from_secs(30))), true),
            (Because::Unavailable(None), false),
            (Because::PartRefused, false),
        ] {
            let cells: Cells<u32> = Cells::default();
            any(&cells, "a").value(Now::read(), || failing(because)).await.unwrap_err();
            assert!(cells.failure().is_some(), "{because:?}");
            for part in ["b", ""] {
                let outcome = any(&cells, part).value(Now::read(), || issued(1)).await;
                assert_eq!(outcome.is_err(), is_shared, "{because:?}");
                let told = outcome.err().map(|refusal| refusal.retry_after.is_some());
                assert_eq!(told, is_shared.then_some(true), "{because:?}");
            }
            assert_eq!(cells.failure().is_some(), is_shared, "{because:?}");
        }
    }

    #[tokio::test]
    async fn no_more_exchanges_are_in_flight_than_may_be() {
        let cells: Cells<u32> = Cells::default();
        let flights: Vec<_> = (0..3).map(|_| cells.fly(2)).collect();
        assert_eq!(flights.iter().flatten().count(), 2);
        drop(flights);
        assert!(cells.fly(1).is_some());
    }
}
