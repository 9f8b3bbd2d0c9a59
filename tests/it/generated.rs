//! The pages of docs/ that are made from code are what the code says now. `UPDATE=1` writes them.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use harness::binary::doorward;

#[test]
fn the_page_of_error_codes_is_what_the_table_says() {
    compare("errors.md", &control::refusal::markdown());
}

#[test]
fn the_page_of_provider_files_is_what_the_types_say() {
    compare("providers.md", &control::provider::reference::markdown(proxy::schemes::specs()));
}

#[test]
fn the_page_of_limits_is_what_the_binary_prints() {
    let output = Command::new(doorward())
        .args(["proxy", "--print-limits"])
        .env_clear()
        .output()
        .expect("doorward runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    compare("limits.md", &limits(&String::from_utf8(output.stdout).expect("text")));
}

#[test]
fn the_description_of_the_api_is_what_the_server_says() {
    compare("openapi.json", &control::api::openapi().expect("it serialises"));
}

fn limits(printed: &str) -> String {
    let mut page = String::from(
        "# Limits\n\nGenerated from `doorward proxy --print-limits`; each is set by `--limit NAME=VALUE`. Counts without a unit are bytes or pieces, as the \
         meaning says.\n\n| name | default | meaning |\n|---|---|---|\n",
    );
    for line in printed.lines() {
        let (setting, meaning) = line.split_once('#').expect("a reason");
        let (name, value) = setting.trim().split_once('=').expect("a value");
        writeln!(page, "| `{name}` | {value} | {} |", meaning.trim().replace('|', "\\|"))
            .expect("to a string");
    }
    page
}

#[track_caller]
fn compare(name: &str, made: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, made).expect("the page is written");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    let differs =
        made.lines().zip(committed.lines().chain(std::iter::repeat(""))).find(|(now, then)| now != then);
    assert!(
        made == committed,
        "docs/{name} is not what the code says; `UPDATE=1 cargo test -p doorward-tests generated` writes it; first: {differs:?}"
    );
}
