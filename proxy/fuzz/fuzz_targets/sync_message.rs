//! A line of the control server's stream is a message or refused; what is read writes back, and nothing is held that does not
//! authenticate.
#![no_main]

use std::sync::Arc;

use control::sync::seal::SealKey;
use control::sync::source::Held;
use control::sync::wire::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let Ok(message) = Message::parse(line) else { return };
    let written = message.line().unwrap();
    assert_eq!(Message::parse(&written).as_ref(), Ok(&message));
    if let Message::Snapshot(snapshot) | Message::Change(snapshot) = message {
        // Made by nobody who knows this key.
        let key = Arc::new(SealKey::generate().unwrap());
        assert!(Held::new(snapshot, key).is_err());
    }
});
