//! hudsucker, in a package of its own so that its dependencies stay out of our lock file; cargo builds it at the first start.

use super::{Job, Running, repository};
use crate::rig::{CREDENTIAL, Rig, spawn_and_read_line};
use crate::{BenchError, Result};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

pub(super) fn start(rig: &Rig, job: Job) -> Result<Running> {
    static BINARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let binary = BINARY
        .get_or_init(build)
        .as_ref()
        .ok_or_else(|| BenchError::NotInstalled("cargo could not build bench/peers/hudsucker".to_owned()))?;
    let mut command = Command::new(binary);
    command.arg(rig.pki()).arg(CREDENTIAL).stdin(Stdio::piped()).stdout(Stdio::piped());
    let (process, line) = spawn_and_read_line(|command| rig.cores.spawn_proxy(command), &mut command)?;
    let address = line.trim().parse().map_err(|_| BenchError::Answer(format!("hudsucker said {line:?}")))?;
    Ok(Running::by_real_port(rig, job.protocol, process, address, rig.folder_for("hudsucker")?))
}

fn build() -> Option<PathBuf> {
    let package = repository().join("bench/peers/hudsucker");
    let target = package.join("target");
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--quiet", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status();
    status.is_ok_and(|status| status.success()).then(|| target.join("release/hudsucker-peer"))
}
