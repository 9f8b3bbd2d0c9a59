//! Envoy: its first listener ends CONNECT and hands the tunnel to an internal listener, which ends TLS with a leaf made beforehand, adds the
//! header and re-encrypts. One worker. It mints nothing, so never-seen hosts are not asked of it.

use super::{Job, Running, fill, find, free_address, wait_for, write};
use crate::load::Protocol;
use crate::rig::{CREDENTIAL, Rig};
use crate::{BenchError, Result, pki};
use std::process::{Command, Stdio};

const CONFIGURATION: &str = include_str!("../../peers/envoy/envoy.yaml");

pub(super) fn start(rig: &Rig, job: Job) -> Result<Running> {
    if job.cold_hosts > 0 {
        return Err(BenchError::Unsupported("Envoy mints no leaves".to_owned()));
    }
    let program = find("envoy", "envoy")?;
    let folder = rig.folder_for("envoy")?;
    let address = free_address()?;
    let upstream = match job.protocol {
        Protocol::H1 => "http_protocol_options",
        Protocol::H2 => "http2_protocol_options",
    };
    let configuration = fill(
        CONFIGURATION,
        &[
            ("PORT", &address.port().to_string()),
            ("ORIGIN_PORT", &rig.origin(job.protocol).port().to_string()),
            ("PKI", &rig.pki().display().to_string()),
            ("HOST", pki::HOST),
            ("UPSTREAM", upstream),
            ("CREDENTIAL", CREDENTIAL),
        ],
    );
    let file = folder.path().join("envoy.yaml");
    write(&file, &configuration)?;
    let mut command = Command::new(program);
    command
        .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process = rig.cores.spawn_proxy(&mut command)?;
    wait_for(&mut process, address, "envoy")?;
    Ok(Running::by_443(rig, job.protocol, process, address, folder))
}
