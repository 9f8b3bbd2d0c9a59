//! A canonical path stays as it is when it is read again, climbs nowhere and holds nothing that breaks a request line.
#![no_main]

use control::rule::Path;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &str| {
    let Ok(path) = Path::parse(raw) else { return };
    let text = path.as_str();
    assert_eq!(Path::parse(text).as_ref().map(Path::as_str), Ok(text), "{raw:?}");
    assert!(text.starts_with('/'), "{text:?}");
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#'), "{text:?}");
    assert!(!text.split('/').any(|segment| segment == "." || segment == ".."), "{text:?}");
    for form in path.wide_forms().iter() {
        assert_ne!(form, text.as_bytes());
    }
});
