//! mitmproxy's mitmdump, streaming bodies, with an addon that sets the header and sends every host to the origin.

use super::{Job, Running, find, free_address, repository, wait_for, write};
use crate::Result;
use crate::rig::{CREDENTIAL, Rig};
use std::fs;
use std::process::{Command, Stdio};

pub(super) fn start(rig: &Rig, job: Job) -> Result<Running> {
    let program = find("mitmdump", "mitmproxy")?;
    let folder = rig.folder_for("mitmproxy")?;
    let key = fs::read_to_string(rig.pki().join("ca.key"))?;
    let cert = fs::read_to_string(rig.pki().join("ca.crt"))?;
    write(&folder.path().join("mitmproxy-ca.pem"), &format!("{key}{cert}"))?;
    let address = free_address()?;
    let mut command = Command::new(program);
    command
        .args(["--quiet", "--listen-host", "127.0.0.1", "--listen-port"])
        .arg(address.port().to_string())
        .arg("--scripts")
        .arg(repository().join("bench/peers/mitmproxy/add_header.py"))
        .arg("--set")
        .arg(format!("confdir={}", folder.path().display()))
        .arg("--set")
        .arg(format!("ssl_verify_upstream_trusted_ca={}", rig.pki().join("ca.crt").display()))
        .args([
            "--set",
            "connection_strategy=lazy",
            "--set",
            "upstream_cert=false",
            "--set",
            "stream_large_bodies=1m",
        ])
        .env("BENCH_CREDENTIAL", CREDENTIAL)
        .env("BENCH_ORIGIN_PORT", rig.origin(job.protocol).port().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process = rig.cores.spawn_proxy(&mut command)?;
    wait_for(&mut process, address, "mitmdump")?;
    Ok(Running::by_443(rig, job.protocol, process, address, folder))
}
