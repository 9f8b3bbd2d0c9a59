//! Where the product is: the `doorward` of the same profile as the running tests, built once for each test process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of the built `doorward`. `DOORWARD_BIN` names another one (a release build, an installed package).
pub fn doorward() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("DOORWARD_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

/// Cargo does not build another package's binary for our tests, and a stale one would test yesterday's code. `--workspace` keeps
/// the feature set of `cargo test --workspace`, so that no dependency is compiled twice.
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test executable");
    let profile_dir = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let target_dir = profile_dir.parent().expect("target/PROFILE");
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()).expect("a profile directory") {
        "debug" => "dev",
        other => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--workspace", "--bin", "doorward", "--profile", profile])
        .env("CARGO_TARGET_DIR", target_dir)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "doorward does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    profile_dir.join("doorward")
}
