//! What `deploy/` and `doorward inject` promise to systemd and Kubernetes, checked by their own tools.

mod systemd;
pub(crate) mod inject;
mod nftables;
mod chart;
mod image;
mod compose;

use std::path::PathBuf;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A provider whose secret is `github-pat`.
const GITHUB: &str = "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {name: github}\nspec:\n  type: github\n  auth: {type: pat, secretRef: github-pat}\n";

/// A tool that `.ci/run` installs; `None` where it is absent and nobody asked for the whole check.
fn installed(tool: PathBuf) -> Option<PathBuf> {
    if tool.exists() {
        return Some(tool);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing; .ci/run installs it", tool.display());
    eprintln!("skipped: {} is missing", tool.display());
    None
}
