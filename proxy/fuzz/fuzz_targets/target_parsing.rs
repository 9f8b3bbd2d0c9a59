//! What is accepted as a target is canonical: its own text reads back as the same target.
#![no_main]

use control::target::Target;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for target in [Target::parse_authority(text), Target::parse_host(text, 443)].into_iter().flatten() {
        let shown = target.to_string();
        assert_eq!(Target::parse_authority(&shown).as_ref(), Ok(&target), "{text:?}");
        assert_eq!(Target::parse_host(&target.authority(443), 443).as_ref(), Ok(&target), "{text:?}");
        assert!(shown.is_ascii() && !shown.bytes().any(|byte| byte.is_ascii_uppercase()), "{shown:?}");
        assert_ne!(target.port, 0);
    }
});
