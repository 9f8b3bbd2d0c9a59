//! Each code of the refusal table has a test that is named after it (`dw5001_…`) and asserts that very code; the generated page of
//! codes is the table. That a refusal says the same sentence everywhere is for `refusals/told.rs`.

use std::collections::BTreeSet;
use std::path::Path;

/// A test that is named after a code.
#[derive(Debug, PartialEq)]
struct Named {
    code: String,
    /// It looks for the code in what the product says: by itself, or by functions beside it that it calls.
    looks: bool,
}

/// The tests named after codes, below these folders.
fn named_in(dir: &Path, found: &mut Vec<(String, Named)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            found.extend(named(&source).into_iter().map(|named| (path.display().to_string(), named)));
        }
    }
}

/// A function as it is written.
struct Function<'a> {
    name: &'a str,
    is_test: bool,
    /// Its statements, without comments.
    body: String,
}

/// The functions of a file; one that is ignored is no test here, since it proves nothing by itself.
fn functions(source: &str) -> Vec<Function<'_>> {
    let (mut is_test, mut found) = (false, Vec::new());
    let lines: Vec<&str> = source.lines().collect();
    for (n, line) in lines.iter().enumerate() {
        let text = line.trim();
        let bare = text.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        let bare = bare.trim_start_matches("pub(super) ").trim_start_matches("async ");
        if let Some(name) = bare.strip_prefix("fn ") {
            let name = name.split(['(', '<']).next().unwrap_or_default();
            let end = format!("{}}}", &line[..line.len() - text.len()]);
            let body = lines[n..].iter().skip(1).take_while(|line| **line != end && !text.ends_with('}'));
            let body = body.map(|line| line.trim()).filter(|line| !line.starts_with("//"));
            let body = body.flat_map(|line| [line, "\n"]).collect();
            found.push(Function { name, is_test, body });
        }
        let is_attribute = text.starts_with("#[");
        is_test = is_attribute && (text.ends_with("test]") || is_test && !text.starts_with("#[ignore"));
    }
    found
}

/// Each test `dw1001_…`.
fn named(source: &str) -> Vec<Named> {
    let functions = functions(source);
    let of_code = |test: &Function<'_>| {
        let code = test.name.get(..6).filter(|code| test.is_test && code.starts_with("dw"))?.to_uppercase();
        let variant = code.replace("DW", "Dw");
        let holds = |body: &str| body.contains(&code) || body.contains(&format!("Code::{variant}"));
        // What it calls, and what that calls.
        let mut reached = test.body.clone();
        for _ in 0..2 {
            let calls = |other: &&Function<'_>| reached.contains(&format!("{}(", other.name));
            let bodies: String = functions.iter().filter(calls).map(|other| other.body.as_str()).collect();
            reached.push_str(&bodies);
        }
        Some(Named { looks: holds(&reached), code })
    };
    functions.iter().filter_map(of_code).collect()
}

#[test]
fn every_code_has_a_test_named_after_it_that_looks_for_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for dir in ["it", "../proxy/src", "../control/src"] {
        named_in(&root.join(dir), &mut found);
    }
    let blind: Vec<_> = found.iter().filter(|(_, named)| !named.looks).collect();
    assert!(blind.is_empty(), "these are named after a code that they do not look for: {blind:?}");
    let found: BTreeSet<String> = found.into_iter().map(|(_, named)| named.code).collect();
    let table = control::refusal::Code::ALL.map(|code| code.name().to_owned());
    let missing: Vec<_> = table.iter().filter(|code| !found.contains(*code)).collect();
    assert!(missing.is_empty(), "no test is named after {missing:?}");
    let unknown: Vec<_> = found.iter().filter(|code| !table.contains(code)).collect();
    assert!(unknown.is_empty(), "tests are named after codes that are not in the table: {unknown:?}");
}

#[test]
fn a_name_counts_only_behind_a_test_attribute_and_with_the_code_in_its_statements() {
    // Not with the attribute itself: this file is read as well.
    let source = r#"
#[tokio::TEST]
async fn dw1001_says_so() {
    is("DW1001");
}
fn dw1002_is_no_test() {}
#[TEST]
#[ignore]
fn dw1003_x() {
    is("DW1003");
}
#[TEST]
#[should_panic]
fn dw1004_x() {
    // "DW1004"
    f();
}
fn other() {
    is("DW1004");
}
    #[TEST]
    fn dw1005_x() {
        is(Code::Dw1005);
    }
#[TEST]
fn dw1006_x() {
    helper();
}
fn helper() {
    is("DW1006");
}
"#;
    let is = |code: &str, looks| Named { code: code.to_owned(), looks };
    let wanted = [is("DW1001", true), is("DW1004", false), is("DW1005", true), is("DW1006", true)];
    assert_eq!(named(&source.replace("TEST", "test")), wanted);
}
