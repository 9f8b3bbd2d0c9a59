//! The memory of bodies that are read whole: of one agent, and of all together. How many such bodies there are at once, how
//! long each is and how slowly it comes, is the agent's choice.
//!
//! Invariant: what a body takes is given back when the last copy of its bytes is dropped, not when it has been read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use control::refusal::{Code, Refusal};
use zeroize::Zeroizing;

/// Bytes that are held.
#[derive(Debug, Default)]
pub(crate) struct Room(AtomicUsize);

impl Room {
    fn take(&self, more: usize, most: usize) -> bool {
        let held = self.0.fetch_add(more, Ordering::Relaxed);
        let has_room = held.saturating_add(more) <= most;
        if !has_room {
            self.0.fetch_sub(more, Ordering::Relaxed);
        }
        has_room
    }
}

/// Where a body that is held has its room, and how long it may take.
#[derive(Clone, Debug)]
pub(crate) struct Holding {
    /// The room of all agents, and how much there is.
    pub(crate) all: (Arc<Room>, usize),
    /// The room of its agent, and how much there is.
    pub(crate) own: (Arc<Room>, usize),
    /// How long nothing of it may come.
    pub(crate) idle: Duration,
    /// How long the whole of it may take.
    pub(crate) whole: Duration,
}

impl Holding {
    /// A body of which nothing is there yet.
    pub(crate) fn begin(self) -> Growing {
        Growing { lease: self.empty(), body: BytesMut::new() }
    }

    /// Room for what is held elsewhere; none of it yet.
    pub(crate) fn empty(self) -> Lease {
        Lease { holding: self, bytes: 0 }
    }

    /// Room for a body that is made here, in the place of one that was read; taken before it is made.
    ///
    /// # Errors
    /// As for [`Growing::push`].
    pub(crate) fn lease(&self, bytes: usize) -> Result<Lease, Refusal> {
        let mut lease = Lease { holding: self.clone(), bytes: 0 };
        lease.grow_to(bytes)?;
        Ok(lease)
    }
}

/// What a body has taken, given back on drop.
#[derive(Debug)]
pub(crate) struct Lease {
    holding: Holding,
    bytes: usize,
}

impl Lease {
    /// How long the whole of what is held may take.
    pub(crate) fn whole(&self) -> Duration {
        self.holding.whole
    }

    /// Takes or gives back, so that it is for so many bytes.
    ///
    /// # Errors
    /// DW1009 where the agent holds too much, DW2013 where all together do.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.grow_to(bytes)?;
        let less = self.bytes.saturating_sub(bytes);
        self.give_back(less);
        self.bytes -= less;
        Ok(())
    }

    fn give_back(&self, less: usize) {
        self.holding.own.0.0.fetch_sub(less, Ordering::Relaxed);
        self.holding.all.0.0.fetch_sub(less, Ordering::Relaxed);
    }

    fn grow_to(&mut self, bytes: usize) -> Result<(), Refusal> {
        let more = bytes.saturating_sub(self.bytes);
        let Holding { all, own, .. } = &self.holding;
        if !own.0.take(more, own.1) {
            return Err(Refusal::new(
                Code::Dw1009,
                "the agent's bodies that have to be held whole are too large together",
            )
            .retry_after(Duration::from_secs(1)));
        }
        if !all.0.take(more, all.1) {
            own.0.0.fetch_sub(more, Ordering::Relaxed);
            return Err(Refusal::new(
                Code::Dw2013,
                "there is no room for another body that has to be held whole",
            )
            .retry_after(Duration::from_secs(1)));
        }
        self.bytes += more;
        Ok(())
    }
}

impl Lease {
    /// The body that it was taken for.
    pub(crate) fn of(self, body: Zeroizing<Vec<u8>>) -> Bytes {
        Bytes::from_owner(Owned { body, _lease: self })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

/// A body that is being read.
#[derive(Debug)]
pub(crate) struct Growing {
    lease: Lease,
    body: BytesMut,
}

impl Growing {
    /// Takes a part of it.
    ///
    /// # Errors
    /// DW1009 where the agent holds too much, DW2013 where all together do.
    pub(crate) fn push(&mut self, data: &[u8]) -> Result<(), Refusal> {
        self.lease.grow_to(self.body.len() + data.len())?;
        self.body.extend_from_slice(data);
        // What it has been given beyond its length counts as well.
        self.lease.grow_to(self.body.capacity())
    }

    /// The whole body.
    pub(crate) fn end(self) -> Bytes {
        if self.body.is_empty() {
            return Bytes::new();
        }
        Bytes::from_owner(Owned { body: self.body, _lease: self.lease })
    }
}

/// A body with what it has taken.
struct Owned<B> {
    body: B,
    _lease: Lease,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Owned<B> {
    fn as_ref(&self) -> &[u8] {
        self.body.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(all: &Arc<Room>, own: &Arc<Room>) -> Holding {
        Holding {
            all: (Arc::clone(all), 3000),
            own: (Arc::clone(own), 2000),
            idle: Duration::MAX,
            whole: Duration::MAX,
        }
    }

    fn code(growing: &mut Growing, bytes: usize) -> Option<Code> {
        growing.push(&vec![b'x'; bytes]).err().map(|refusal| refusal.code)
    }

    #[test]
    fn refuses_what_is_over_an_agents_room_or_over_that_of_all() {
        let (all, one, two) = (Arc::default(), Arc::default(), Arc::default());
        let mut first = holding(&all, &one).begin();
        assert_eq!(code(&mut first, 1500), None);
        assert_eq!(code(&mut holding(&all, &one).begin(), 600), Some(Code::Dw1009));
        let mut second = holding(&all, &two).begin();
        assert_eq!(code(&mut second, 1000), None);
        assert_eq!(code(&mut second, 900), Some(Code::Dw2013));
        drop((first, second));
        assert_eq!(all.0.load(Ordering::Relaxed) + one.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_lease_gives_back_what_it_does_not_need_any_more() {
        let (all, own) = (Arc::default(), Arc::default());
        let mut lease = holding(&all, &own).empty();
        lease.resize(1500).unwrap();
        assert_eq!(lease.resize(2001).unwrap_err().code, Code::Dw1009);
        lease.resize(10).unwrap();
        assert_eq!((own.0.load(Ordering::Relaxed), all.0.load(Ordering::Relaxed)), (10, 10));
        drop(lease);
        assert_eq!(own.0.load(Ordering::Relaxed) + all.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_body_keeps_its_room_until_its_last_copy_is_dropped() {
        let (all, own) = (Arc::default(), Arc::default());
        let mut growing = holding(&all, &own).begin();
        growing.push(b"a body").unwrap();
        let body = growing.end();
        let part = body.slice(2..);
        drop(body);
        assert!(own.0.load(Ordering::Relaxed) >= 6 && all.0.load(Ordering::Relaxed) >= 6);
        assert_eq!(part, "body");
        drop(part);
        assert_eq!(own.0.load(Ordering::Relaxed) + all.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_body_that_is_made_in_the_place_of_another_has_room_of_its_own() {
        let (all, own) = (Arc::default(), Arc::default());
        let holding = holding(&all, &own);
        let lease = holding.lease(1500).unwrap();
        assert_eq!(holding.lease(600).unwrap_err().code, Code::Dw1009);
        let body = lease.of(Zeroizing::new(vec![b'x'; 1500]));
        let last = body.slice(1499..);
        drop(body);
        assert_eq!(own.0.load(Ordering::Relaxed), 1500);
        drop(last);
        assert_eq!(own.0.load(Ordering::Relaxed) + all.0.load(Ordering::Relaxed), 0);
    }
}
