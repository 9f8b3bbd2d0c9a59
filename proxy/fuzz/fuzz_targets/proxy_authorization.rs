//! Whatever a client presents, nobody is let in but the holder of the token.
#![no_main]

use std::time::SystemTime;

use control::agent::{Agents, credentials};
use http::HeaderValue;
use libfuzzer_sys::fuzz_target;

const TOKEN: &str = "q7Kw-T9vR4nd0mzY8s5L2b1N";

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let agents = Agents::parse("agents", &format!("builder:{TOKEN}\n")).expect("a valid file");
    let presented = credentials(&value);
    let admitted = agents.identify(presented.as_ref(), SystemTime::UNIX_EPOCH).is_ok();
    assert!(!admitted || presented.is_some());
    // The raw token is there, or its base64 is too long to be found by chance.
    assert!(
        !admitted
            || bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes())
            || bytes.len() > TOKEN.len()
    );
});
