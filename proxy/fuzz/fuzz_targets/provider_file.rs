//! Any text is a set of providers, or a list of mistakes with places; the same each time.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = || control::provider::parse_text("fuzz.yaml", text, proxy::schemes::specs());
    match read() {
        Ok(_) => assert!(read().is_ok()),
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            let shown: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            assert!(shown.iter().all(|line| line.starts_with("fuzz.yaml")), "{shown:?}");
            let again = read().expect_err("it had mistakes");
            assert_eq!(shown, again.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
    }
});
