//! A digest of a document as it is understood: what it says, wherever and however it is written, and by which version of this
//! program. The same in every process, so that what was approved under it is known again after a restart and in another
//! sidecar.

use sha2::{Digest as _, Sha256};

use super::tree::{Node, Value};

pub(super) fn of(document: &Node, project: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    text(&mut hash, concat!("doorward document ", env!("CARGO_PKG_VERSION")));
    text(&mut hash, project);
    node(&mut hash, document);
    hash.finalize().into()
}

fn text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text);
}

/// Each value with its kind and length, so that no two trees read alike.
fn node(hash: &mut Sha256, node: &Node) {
    match &node.value {
        Value::Null => hash.update(b"n"),
        // No field takes one.
        Value::Float => hash.update(b"f"),
        Value::Bool(value) => hash.update([b'b', u8::from(*value)]),
        Value::Int(value) => {
            hash.update(b"i");
            hash.update(value.to_be_bytes());
        }
        Value::Text(value) => {
            hash.update(b"t");
            text(hash, value);
        }
        Value::List(items) => {
            hash.update(b"l");
            hash.update((items.len() as u64).to_be_bytes());
            items.iter().for_each(|item| self::node(hash, item));
        }
        Value::Map(entries) => {
            hash.update(b"m");
            hash.update((entries.len() as u64).to_be_bytes());
            for entry in entries {
                text(hash, &entry.key);
                self::node(hash, &entry.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::tree::parse;

    fn digest(text: &str) -> [u8; 32] {
        of(&parse(text).ok().unwrap()[0], "one")
    }

    #[test]
    fn any_other_meaning_is_another_digest_and_any_other_writing_is_not() {
        let own = digest("a: {b: [c, d], e: true}\n");
        assert_eq!(own, digest("# why\na:\n  b:\n  - \"c\"\n  - d\n  e: true\n"));
        for other in [
            "a: {b: [c], e: true}",
            "a: {b: [cd], e: true}",
            "a: {b: [d, c], e: true}",
            "a: {b: [c, d], e: \"true\"}",
            "a: {b: [c, d], e: false}",
            "a: {b: [c, d, e]}",
            "a: {b: [c, [d]], e: true}",
        ] {
            assert_ne!(own, digest(other), "{other}");
        }
        assert_ne!(own, of(&parse("a: {b: [c, d], e: true}\n").ok().unwrap()[0], "two"));
    }
}
