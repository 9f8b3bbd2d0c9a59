//! The floor as a process of its own.

use super::{Job, Running};
use crate::rig::{CREDENTIAL, Rig, own_command, spawn_and_read_line};
use crate::{BenchError, Result};

pub(super) fn start(rig: &Rig, job: Job) -> Result<Running> {
    let mut command = own_command("floor")?;
    command
        .arg("--upstream")
        .arg(rig.origin(job.protocol).to_string())
        .arg("--pki")
        .arg(rig.pki())
        .args(["--credential", CREDENTIAL]);
    let (process, line) = spawn_and_read_line(|command| rig.cores.spawn_proxy(command), &mut command)?;
    let address = line.trim().parse().map_err(|_| BenchError::Answer(format!("floor said {line:?}")))?;
    Ok(Running::by_443(rig, job.protocol, process, address, rig.folder_for("floor")?))
}
