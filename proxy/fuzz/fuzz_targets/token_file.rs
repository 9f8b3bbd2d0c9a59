//! A token file is read whole or refused; what is published is what identifies.
#![no_main]

use std::time::SystemTime;

use control::agent::{Agents, credentials};
use http::HeaderValue;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = Agents::parse("agents", text);
    let Ok((agents, tokens)) = Agents::parse_to_publish("agents", text) else {
        assert!(read.is_err());
        return;
    };
    assert_eq!(read.as_ref(), Ok(&agents));
    for (name, token) in tokens {
        // exposed: a fuzzer's own text, to present it as the agent would.
        let header = [b"Bearer ", token.expose()].concat();
        let Ok(header) = HeaderValue::from_bytes(&header) else { continue };
        let Some(presented) = credentials(&header) else { continue };
        if let Ok(identity) = agents.identify(Some(&presented), SystemTime::UNIX_EPOCH) {
            assert_eq!(identity.name(), &name);
        }
    }
});
