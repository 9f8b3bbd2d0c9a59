//! Everything that a journey let out, kept until the end and then searched for the secrets that must not be in it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::canary;

/// Beyond this much of one kind the journey is about volume, and its test looks at the bytes itself.
const KEEP: usize = 2 << 20;

/// A shared heap of labelled bytes.
#[derive(Clone, Default)]
pub struct Sweep(Arc<Mutex<Vec<Heap>>>, Arc<AtomicUsize>);

/// A label and the bytes that were seen under it.
type Heap = (String, Vec<u8>);

impl Sweep {
    /// A label that nothing else has: `kind` and a number.
    pub fn label(&self, kind: &str) -> String {
        format!("{kind} {}", self.1.fetch_add(1, Ordering::Relaxed))
    }

    /// Adds to what was seen under `label`; consecutive bytes of one label are searched as one stream.
    pub fn note(&self, label: &str, bytes: &[u8]) {
        let mut heaps = self.0.lock().unwrap();
        let at = heaps.iter().position(|(known, _)| known == label).unwrap_or_else(|| {
            heaps.push((label.to_owned(), Vec::new()));
            heaps.len() - 1
        });
        let heap = &mut heaps[at].1;
        heap.extend_from_slice(&bytes[..bytes.len().min(KEEP.saturating_sub(heap.len()))]);
    }

    /// The places where one of `secrets` was seen, each with the form it had.
    pub fn leaks(&self, secrets: &[String]) -> Vec<String> {
        let heaps = self.0.lock().unwrap();
        let mut leaks = Vec::new();
        for (label, bytes) in heaps.iter() {
            let reading = canary::Reading::of(bytes);
            for (n, secret) in secrets.iter().enumerate() {
                if let Some(form) = reading.holds(secret) {
                    leaks.push(format!("secret {n} is in {label}, {form}"));
                }
            }
        }
        leaks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_is_found_across_two_notes_of_one_stream() {
        let sweep = Sweep::default();
        sweep.note("answers", b"...abcdefgh");
        sweep.note("log", b"nothing");
        sweep.note("answers", b"ijklmnop...");
        assert_eq!(sweep.leaks(&["abcdefghijklmnop".to_owned()]), ["secret 0 is in answers, raw"]);
        assert!(sweep.leaks(&["qrstuvwxyz".to_owned()]).is_empty());
    }
}
