//! squid with ssl-bump (Debian's squid-openssl). It speaks HTTP/1.1 only.

use super::{Job, Running, fill, find, free_address, wait_for, write};
use crate::load::Protocol;
use crate::rig::{CREDENTIAL, Rig, permissions};
use crate::{BenchError, Result, pki};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const CONFIGURATION: &str = include_str!("../../peers/squid/squid.conf");
const CERTIFICATE_PROGRAM: &str = "/usr/lib/squid/security_file_certgen";

pub(super) fn start(rig: &Rig, job: Job) -> Result<Running> {
    if job.protocol == Protocol::H2 {
        return Err(BenchError::Unsupported("squid has no h2".to_owned()));
    }
    let program = find("squid", "squid")?;
    if !Path::new(CERTIFICATE_PROGRAM).is_file() {
        return Err(BenchError::NotInstalled("squid without OpenSSL".to_owned()));
    }
    let folder = rig.folder_for("squid")?;
    // Started by root, squid goes on as a user of its own and writes here as that one.
    fs::set_permissions(folder.path(), permissions(0o777))?;
    let names: String = std::iter::once(pki::HOST.to_owned())
        .chain((0..job.cold_hosts).map(pki::cold_host))
        .map(|host| format!("127.0.0.1 {host}\n"))
        .collect();
    write(&folder.path().join("hosts"), &names)?;
    let address = free_address()?;
    let configuration = fill(
        CONFIGURATION,
        &[
            ("PORT", &address.port().to_string()),
            ("PKI", &rig.pki().display().to_string()),
            ("FOLDER", &folder.path().display().to_string()),
            ("CERTGEN", CERTIFICATE_PROGRAM),
            ("CREDENTIAL", CREDENTIAL),
        ],
    );
    let file = folder.path().join("squid.conf");
    write(&file, &configuration)?;
    make_certificate_store(folder.path())?;
    let mut command = Command::new(program);
    command.args(["-N", "-f"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = rig.cores.spawn_proxy(&mut command)?;
    wait_for(&mut process, address, "squid")?;
    Ok(Running::by_real_port(rig, job.protocol, process, address, folder))
}

fn make_certificate_store(folder: &Path) -> Result<()> {
    let store = folder.join("certificates");
    let made = Command::new(CERTIFICATE_PROGRAM)
        .args(["-c", "-s"])
        .arg(&store)
        .args(["-M", "4MB"])
        .stdout(Stdio::null())
        .status()?;
    if !made.success() {
        return Err(BenchError::Answer("squid's certificate store could not be made".to_owned()));
    }
    fs::set_permissions(&store, permissions(0o777))?;
    for entry in fs::read_dir(&store)?.flatten() {
        let mode = if entry.path().is_dir() { 0o777 } else { 0o666 };
        fs::set_permissions(entry.path(), permissions(mode))?;
    }
    Ok(())
}
