//! Landlock: which files the process can still reach by name. Open files stay open; nothing can be executed.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, make_bitflags,
};

use super::selfcheck::{Measure, SelfCheck};

/// What any proxy reads while it runs. Folders, because `resolv.conf` and bundles are replaced by renaming.
pub const SYSTEM_READ: [&str; 9] = [
    // The resolver's configuration, hosts, roots, time zone.
    "/etc",
    // Where resolv.conf leads on systemd machines.
    "/run/systemd/resolve",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/zoneinfo",
    // Memory and CPU for the metrics; nothing of other processes.
    "/proc/self",
    // How many cores there are.
    "/sys/fs/cgroup",
    // A static binary has random numbers from the one, and waits at the other until there are any.
    "/dev/urandom",
    "/dev/random",
];

// Rights that later kernels add are taken away as well as far as the kernel has them.
const ABI_USED: ABI = ABI::V5;

pub(super) fn restrict(read: &[PathBuf], write: &[PathBuf]) -> Measure {
    let rules = rules(read, write);
    match apply(&rules) {
        Ok((status, missing)) => report(&status, &missing),
        Err(error) => Measure::off(SelfCheck::LANDLOCK, error.to_string()),
    }
}

fn rules<'a>(read: &'a [PathBuf], write: &'a [PathBuf]) -> Vec<(&'a Path, BitFlags<AccessFs>)> {
    let reading = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let writing = reading
        | make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | MakeDir | MakeSock | RemoveFile | RemoveDir | Refer});
    let system = SYSTEM_READ.iter().map(|path| (Path::new(*path), reading));
    // Output that goes nowhere, and the reopened standard streams of containers.
    let devices = std::iter::once((Path::new("/dev/null"), reading | AccessFs::WriteFile));
    let read = read.iter().map(|path| (path.as_path(), reading));
    let write = write.iter().map(|path| (path.as_path(), writing));
    system.chain(devices).chain(read).chain(write).collect()
}

type Applied = (RestrictionStatus, Vec<PathBuf>);

fn apply(rules: &[(&Path, BitFlags<AccessFs>)]) -> Result<Applied, RulesetError> {
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(ABI_USED))?.create()?;
    let mut missing = Vec::new();
    for (path, access) in rules {
        match PathFd::new(path) {
            Ok(fd) => {
                let access = if path.is_dir() { *access } else { *access & AccessFs::from_file(ABI_USED) };
                ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
            }
            Err(_) if SYSTEM_READ.iter().any(|system| Path::new(system) == *path) => {}
            Err(_) => missing.push((*path).to_owned()),
        }
    }
    ruleset.restrict_self().map(|status| (status, missing))
}

fn report(status: &RestrictionStatus, missing: &[PathBuf]) -> Measure {
    let missing = match missing {
        [] => String::new(),
        [first, ..] => format!("; {} paths did not exist, the first is {}", missing.len(), first.display()),
    };
    match (&status.ruleset, &status.landlock) {
        (RulesetStatus::FullyEnforced, _) => {
            Measure::on(SelfCheck::LANDLOCK, format!("all file rights{missing}"))
        }
        (RulesetStatus::PartiallyEnforced, _) => {
            Measure::on(SelfCheck::LANDLOCK, format!("the file rights that this kernel knows{missing}"))
        }
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => Measure::unsupported(
            SelfCheck::LANDLOCK,
            "the kernel has it, but it is not enabled (lsm=landlock)",
        ),
        (RulesetStatus::NotEnforced, LandlockStatus::NotImplemented) => {
            Measure::unsupported(SelfCheck::LANDLOCK, "the kernel does not have it")
        }
        (RulesetStatus::NotEnforced, LandlockStatus::Available { .. }) => {
            Measure::off(SelfCheck::LANDLOCK, "the kernel has it, but it was not enforced")
        }
    }
}
