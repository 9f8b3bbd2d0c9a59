//! However a body is cut into chunks, no spelling of the secret that was planted in it comes out, and no length changes.
//!
//! The first byte says how long chunks are; below 8, a byte plants the secret in one spelling.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use proxy::request::scrub::{Extent, Masker, Needle, Scanner, Watch};
use tokio::time::Instant;

const SECRET: &[u8] = b"ghp_R4nd0m+/zY-q7Kw\"%x&T9\\v";
/// The same: raw, percent, JSON, HTML, hex, base64 in its three alignments (without the characters that neighbours share).
const SPELLINGS: [&[u8]; 8] = [
    SECRET,
    b"ghp_R4nd0m%2B%2fzY-q7Kw%22%25x%26T9%5Cv",
    b"ghp_R4nd0m+\\/zY-q7Kw\\u0022%x\\u0026T9\\\\v",
    b"ghp_R4nd0m&#43;&#x2f;zY-q7Kw&quot;%x&amp;T9&#92;v",
    b"6768705f52346e64306d2b2f7a592d71374b772225782654395c76",
    b"Z2hwX1I0bmQwbSsvelktcTdLdyIleCZUOVx2",
    b"docF9SNG5kMG0rL3pZLXE3S3ciJXgmVDlcd",
    b"naHBfUjRuZDBtKy96WS1xN0t3IiV4JlQ5XH",
];

struct Deaf;

impl Watch for Deaf {
    fn found(&self, _needle: usize) {}
    fn event(&self, _needle: usize) {}
}

static SCANNER: LazyLock<Arc<Scanner>> = LazyLock::new(|| {
    let needle = Needle { value: SECRET, public_prefix: 4, basic_users: &[] };
    Arc::new(Scanner::compile(&[needle]).expect("the secret can be searched for"))
});

fuzz_target!(|input: &[u8]| {
    let Some((size, text)) = input.split_first() else { return };
    let body: Vec<u8> = text
        .iter()
        .flat_map(|byte| SPELLINGS.get(usize::from(*byte)).map_or(vec![*byte], |spelling| spelling.to_vec()))
        .collect();
    for extent in [Extent::Whole, Extent::Slice] {
        let mut masker = Masker::new(SCANNER.clone(), Arc::new(Deaf), extent);
        let mut out = Vec::new();
        for chunk in body.chunks(usize::from(*size).max(1)) {
            let Ok(passed) = masker.push(Bytes::copy_from_slice(chunk), Instant::now()) else { return };
            out.extend_from_slice(&passed);
        }
        out.extend_from_slice(&masker.finish());
        assert_eq!(out.len(), body.len());
        for spelling in SPELLINGS.iter().take(4) {
            assert!(!contains(&out, spelling), "a spelling came through");
        }
        assert!(
            out.iter().zip(&body).all(|(now, then)| now == then || *now == b'*'),
            "more than masking was done"
        );
    }
});

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
