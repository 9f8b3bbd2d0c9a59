//! A record that is read is written back byte for byte; nothing else is read.
#![no_main]

use control::vault::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::parse(bytes) {
        assert_eq!(record.to_bytes(), bytes);
    }
});
