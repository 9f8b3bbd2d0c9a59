//! What `deploy/image.sh` lets into an image that holds nothing else: run for real, with another program in the place of doorward,
//! since a second build of it would take minutes; and with nobody in the place of Docker (`compose` runs the real one).

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};

use harness::within;
use tokio::process::Command;

use super::ROOT;

/// Compiles one line with the flags that it is given, where cargo would put doorward; with `LINKED`, without them.
const CARGO: &str = r#"#!/bin/sh
set -eu
while [ "$1" != --target ]; do shift; done
mkdir -p "$CARGO_TARGET_DIR/$2/debug"
echo 'fn main() { println!("started"); }' > "$CARGO_TARGET_DIR/line.rs"
[ -z "${LINKED:-}" ] || RUSTFLAGS=
exec rustc $RUSTFLAGS --target "$2" -o "$CARGO_TARGET_DIR/$2/debug/doorward" "$CARGO_TARGET_DIR/line.rs"
"#;

/// Looks whether everything is there that the Dockerfile copies, and starts the program where there is nothing else.
const DOCKER: &str = r#"#!/bin/sh
set -eu
for stage; do :; done
for file in $(sed -n 's/^COPY \([^ ]*\) .*/\1/p' "$stage/Dockerfile"); do [ -s "$stage/$file" ]; done
exec unshare --map-root-user --root="$stage" /doorward
"#;

async fn image(linked: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("cargo", CARGO), ("docker", DOCKER)] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let others = std::env::var("PATH").unwrap();
    let mut command = Command::new(Path::new(ROOT).join("deploy/image.sh"));
    command.arg("doorward:test").env("PATH", format!("{}:{others}", folder.path().display()));
    command.env("CARGO_TARGET_DIR", folder.path().join("target")).env("PROFILE", "dev").env("LINKED", linked);
    within("image.sh", command.stdin(Stdio::null()).output()).await.unwrap()
}

#[tokio::test]
async fn a_program_that_needs_a_loader_or_a_library_does_not_get_into_the_image() {
    let refused = image("yes").await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && refused.stdout.is_empty() && said.contains("is not static"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_program_of_the_image_starts_where_there_is_nothing_else() {
    let built = image("").await;
    assert!(built.status.success() && built.stdout == b"started\n", "{built:?}");
}
