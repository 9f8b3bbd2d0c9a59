//! Each code of the refusal table has a test that is named after it (`dw5001_…`); the generated page of codes is the table.

use std::collections::BTreeSet;
use std::path::Path;

/// The codes that the names of tests begin with, below these folders.
fn named_in(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(codes(&std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// `fn dw1001_…` behind a `#[test]` or `#[tokio::test]`.
fn codes(source: &str) -> Vec<String> {
    let (mut is_test, mut found) = (false, Vec::new());
    for line in source.lines().map(str::trim) {
        let name = line.trim_start_matches("async ").strip_prefix("fn ");
        match name {
            Some(name) if is_test && name.starts_with("dw") => {
                found.extend(name.get(..6).map(str::to_uppercase))
            }
            Some(_) | None => {}
        }
        is_test = line.ends_with("test]") && line.starts_with("#[") || is_test && line.starts_with("#[");
    }
    found
}

#[test]
fn every_code_has_a_test_named_after_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = BTreeSet::new();
    for dir in ["it", "../proxy/src", "../control/src"] {
        named_in(&root.join(dir), &mut named);
    }
    let table = control::refusal::Code::ALL.map(|code| code.name().to_owned());
    let missing: Vec<_> = table.iter().filter(|code| !named.contains(*code)).collect();
    assert!(missing.is_empty(), "no test is named after {missing:?}");
    let unknown: Vec<_> = named.iter().filter(|code| !table.contains(code)).collect();
    assert!(unknown.is_empty(), "tests are named after codes that are not in the table: {unknown:?}");
}

#[test]
fn a_name_counts_only_behind_a_test_attribute() {
    let source = "#[tokio::test]\nasync fn dw1001_says_so() {}\n\nfn dw1002_is_no_test() {}\n#[test]\n#[ignore]\nfn dw1003_x() {}\n";
    assert_eq!(codes(source), ["DW1001", "DW1003"]);
}
