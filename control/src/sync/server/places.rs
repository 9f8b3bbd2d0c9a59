//! What streams hold at the server: a place each, and the bytes that their readers have not taken yet.
//!
//! Both are bounded, together and by project, and both are held until the connection has let go of them: readers that do not
//! read take from their own project, and the server's memory does not grow with their number.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use axum::body::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Streams at once.
const STREAMS_MAX: usize = 4096;
/// Streams of one project.
const PROJECT_STREAMS_MAX: usize = STREAMS_MAX / 2;
/// Bytes that are counted together.
const UNIT: usize = 1024;
/// Of messages that readers have not taken, in [`UNIT`]s: 64 MiB.
const UNREAD_MAX: usize = 64 * 1024;
/// The same of one project: more than the longest message.
const PROJECT_UNREAD_MAX: usize = UNREAD_MAX / 2;

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Bounds>,
    projects: Mutex<HashMap<String, Weak<Bounds>>>,
}

#[derive(Debug)]
struct Bounds {
    streams: Arc<Semaphore>,
    unread: Arc<Semaphore>,
}

impl Bounds {
    fn new(streams: usize, unread: usize) -> Arc<Self> {
        let semaphore = |most| Arc::new(Semaphore::new(most));
        Arc::new(Self { streams: semaphore(streams), unread: semaphore(unread) })
    }
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Bounds::new(STREAMS_MAX, UNREAD_MAX), projects: Mutex::default() }
    }
}

impl Places {
    /// A place for a stream of the project, if there is one, and what its messages are counted by.
    pub(super) fn take(&self, project: &str) -> Option<(Place, Unread)> {
        let own = {
            let mut projects = self.projects.lock();
            let known = projects.get(project).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                projects.retain(|_, bounds| bounds.strong_count() > 0);
                let own = Bounds::new(PROJECT_STREAMS_MAX, PROJECT_UNREAD_MAX);
                projects.insert(project.to_owned(), Arc::downgrade(&own));
                own
            })
        };
        let places = [&own, &self.all].map(|bounds| Arc::clone(&bounds.streams).try_acquire_owned().ok());
        let [Some(of_project), Some(of_all)] = places else { return None };
        let unread = Unread { own: Arc::clone(&own), all: Arc::clone(&self.all) };
        Some((Place { _own: own, _places: [of_project, of_all] }, unread))
    }

    #[cfg(test)]
    pub(super) fn are_free(&self) -> bool {
        self.all.streams.available_permits() == STREAMS_MAX
            && self.all.unread.available_permits() == UNREAD_MAX
    }

    /// Returns when nobody has a place any more, and nobody holds a message. First the places: who waits here for all bytes
    /// would stand before a stream that waits for some.
    #[cfg(test)]
    pub(super) async fn freed(&self) {
        let all = |most: usize| u32::try_from(most).unwrap_or(u32::MAX);
        drop(self.all.streams.acquire_many(all(STREAMS_MAX)).await);
        drop(self.all.unread.acquire_many(all(UNREAD_MAX)).await);
    }
}

/// One stream's place.
#[derive(Debug)]
pub(super) struct Place {
    _own: Arc<Bounds>,
    _places: [OwnedSemaphorePermit; 2],
}

/// What a stream's messages are counted by.
#[derive(Debug)]
pub(super) struct Unread {
    own: Arc<Bounds>,
    all: Arc<Bounds>,
}

impl Unread {
    /// Waits until a message of that length has room.
    pub(super) async fn room(&self, len: usize) -> Option<Room> {
        let units = units(len);
        // The project first: who waits for his own keeps nothing of the others'.
        let own = Arc::clone(&self.own.unread).acquire_many_owned(units).await.ok()?;
        let all = Arc::clone(&self.all.unread).acquire_many_owned(units).await.ok()?;
        Some(Room { units, own, all })
    }
}

fn units(len: usize) -> u32 {
    u32::try_from((len / UNIT + 1).min(PROJECT_UNREAD_MAX)).unwrap_or(u32::MAX)
}

/// Room for one message.
#[derive(Debug)]
pub(super) struct Room {
    units: u32,
    own: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
}

impl Room {
    /// The message, which keeps its room until the connection has sent it; or the message again, if it is longer.
    pub(super) fn hold(mut self, line: Vec<u8>) -> Result<Bytes, Vec<u8>> {
        let Some(over) = self.units.checked_sub(units(line.len())) else { return Err(line) };
        let over = usize::try_from(over).unwrap_or_default();
        drop([self.own.split(over), self.all.split(over)]);
        Ok(Bytes::from_owner(Line { line, _room: self }))
    }
}

struct Line {
    line: Vec<u8>,
    _room: Room,
}

impl AsRef<[u8]> for Line {
    fn as_ref(&self) -> &[u8] {
        &self.line
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_project_that_reads_nothing_waits_for_itself_and_nobody_for_it() {
        let places = Places::default();
        let (_place, unread) = places.take("a").unwrap();
        let mut lines = Vec::new();
        for _ in 0..4 {
            let room = unread.room((8 << 20) - UNIT).await.unwrap();
            lines.push(room.hold(vec![0; (8 << 20) - UNIT]).unwrap());
        }
        let waiting = tokio::time::timeout(Duration::from_millis(50), unread.room(UNIT));
        assert!(waiting.await.is_err(), "over the project's bound");
        let (_other, others) = places.take("b").unwrap();
        let room =
            tokio::time::timeout(Duration::from_secs(60), others.room(8 << 20)).await.unwrap().unwrap();
        let kept = room.hold(vec![0; 5]).unwrap();
        // A part of it keeps all of it.
        let part = lines.pop().unwrap().split_to(1);
        assert!(tokio::time::timeout(Duration::from_millis(50), unread.room(UNIT)).await.is_err());
        drop(part);
        unread.room(UNIT).await.unwrap();
        drop((lines, kept, unread, others, _place, _other));
        assert!(places.are_free());
    }

    #[tokio::test]
    async fn a_message_that_is_longer_than_its_room_is_given_back() {
        let places = Places::default();
        let (_place, unread) = places.take("a").unwrap();
        let room = unread.room(10).await.unwrap();
        assert_eq!(room.hold(vec![1; 2 * UNIT]).unwrap_err().len(), 2 * UNIT);
    }

    #[test]
    fn a_project_has_half_of_the_streams() {
        let places = Places::default();
        let held: Vec<_> = (0..PROJECT_STREAMS_MAX).map(|_| places.take("a").unwrap()).collect();
        assert!(places.take("a").is_none());
        places.take("b").unwrap();
        drop(held);
        places.take("a").unwrap();
    }
}
