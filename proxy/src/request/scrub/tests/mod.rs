//! The scrubber as a whole. `oracle` reads a text by producing every spelling, where the code under test parses.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;

mod attack;
pub(super) mod oracle;
mod split;

pub(super) const SECRET: &[u8] = b"ghp_R4nd0m+/zY-q7Kw\"%x&T9\\v";
pub(super) const PREFIX: usize = 4;

#[derive(Default)]
pub(super) struct Counted {
    pub(super) found: AtomicUsize,
    pub(super) events: AtomicUsize,
}

impl Watch for Counted {
    fn found(&self, _needle: usize) {
        self.found.fetch_add(1, Ordering::Relaxed);
    }

    fn event(&self, _needle: usize) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }
}

impl Counted {
    pub(super) fn events(&self) -> usize {
        self.events.load(Ordering::Relaxed)
    }

    pub(super) fn found(&self) -> usize {
        self.found.load(Ordering::Relaxed)
    }
}

/// Compiled once, as in the proxy.
pub(super) fn scanner(secret: &[u8]) -> Arc<Scanner> {
    static KNOWN: Mutex<Vec<(Vec<u8>, Arc<Scanner>)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap();
    if let Some((_, scanner)) = known.iter().find(|(value, _)| value == secret) {
        return scanner.clone();
    }
    let needle = Needle { value: secret, public_prefix: PREFIX, basic_users: &[b"x-access-token"] };
    let scanner = Arc::new(Scanner::compile(&[needle]).unwrap());
    known.push((secret.to_vec(), scanner.clone()));
    scanner
}

pub(super) fn masker(secret: &[u8], extent: Extent) -> (Masker, Arc<Counted>) {
    let watch = Arc::new(Counted::default());
    (Masker::new(scanner(secret), watch.clone(), extent), watch)
}

/// Sends the chunks one after the other and returns what came out.
pub(super) fn through(masker: &mut Masker, chunks: &[&[u8]]) -> Vec<u8> {
    let now = tokio::time::Instant::now();
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend_from_slice(&masker.push(bytes::Bytes::copy_from_slice(chunk), now).unwrap());
    }
    out.extend_from_slice(&masker.finish());
    out
}
