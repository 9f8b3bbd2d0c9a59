//! The memory of all decoders that are alive, bounded together: how far a body is looked back at is its sender's choice
//! (brotli 16 MiB, zstd 8 MiB), and how many bodies there are at once is the agent's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What all windows together may hold.
#[derive(Debug)]
pub struct Windows {
    most: u64,
    held: AtomicU64,
}

impl Windows {
    /// So many bytes for all.
    #[must_use]
    pub fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { most, held: AtomicU64::new(0) })
    }
}

/// The window of one decoder, given back on drop.
#[derive(Debug)]
pub(super) struct Window {
    all: Arc<Windows>,
    bytes: u64,
}

impl Window {
    pub(super) fn new(all: Arc<Windows>) -> Self {
        Self { all, bytes: 0 }
    }

    /// Has it hold so many bytes, if it holds fewer; false if there is no room for them.
    pub(super) fn grow_to(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let held = self.all.held.fetch_add(more, Ordering::Relaxed);
        let has_room = held.saturating_add(more) <= self.all.most;
        if has_room {
            self.bytes += more;
        } else {
            self.all.held.fetch_sub(more, Ordering::Relaxed);
        }
        has_room
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.all.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_over_the_sum_and_has_room_again_after_a_drop() {
        let all = Windows::new(100);
        let (mut one, mut two) = (Window::new(Arc::clone(&all)), Window::new(Arc::clone(&all)));
        assert!(one.grow_to(60) && one.grow_to(40) && two.grow_to(40));
        assert!(!two.grow_to(41) && !one.grow_to(61));
        drop(one);
        assert!(two.grow_to(100) && !two.grow_to(101));
    }
}
