//! The audit's files as whoever takes their lines further has to read them: the one that is written, and those before it that
//! were rotated away meanwhile.
//!
//! Names tell nothing of that: two rotations between two looks, and the file between has no name that is known. So the writer
//! says which files it wrote, and rotates no further when too many wait.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

/// Files that wait, with the one that is written.
const FILES_MAX: usize = 16;

/// The files, oldest first. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Kept(Arc<Mutex<VecDeque<Arc<File>>>>);

impl Kept {
    /// The file that is read next.
    pub fn first(&self) -> Option<Arc<File>> {
        self.0.lock().front().cloned()
    }

    /// Whether another one was begun after it: then nothing is written to it any more.
    pub fn is_over(&self) -> bool {
        self.0.lock().len() > 1
    }

    /// Goes on to the next file.
    pub fn advance(&self) {
        let mut files = self.0.lock();
        if files.len() > 1 {
            files.pop_front();
        }
    }

    /// The bytes of all of them, as far as they can be told.
    pub fn len(&self) -> u64 {
        let files = self.0.lock();
        files.iter().filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum()
    }

    /// Whether there is nothing in them.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no more may be begun.
    pub(super) fn is_full(&self) -> bool {
        self.0.lock().len() >= FILES_MAX
    }

    /// The writer goes on in this file.
    pub(super) fn push(&self, file: &File) -> io::Result<()> {
        // It shares the writer's lock: nobody takes a file for finished that is still to be read.
        let file = Arc::new(file.try_clone()?);
        self.0.lock().push_back(file);
        Ok(())
    }
}
