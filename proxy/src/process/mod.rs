//! What the process does to itself so that a fault in it gives away less: measures of SECURITY.md, "Process".
//!
//! [`harden`] comes first in `main`, before any secret is read: not dumpable, no core, no new privileges. [`confine`]
//! comes when everything is bound and before a worker starts: Landlock for files, seccomp for system calls that a proxy
//! never makes. Where a kernel or container refuses a measure the proxy goes on without it and says so: [`SelfCheck`]
//! tells what was found when it was asked again, not what was tried.

mod files;
mod selfcheck;
pub(crate) mod supervisor;
mod syscalls;

pub use files::SYSTEM_READ;
pub use selfcheck::{Measure, SelfCheck, State};

use std::path::PathBuf;

use control::secret::Secret;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// What the proxy still needs once it runs.
#[derive(Clone, Debug, Default)]
pub struct Confinement {
    /// Folders and files to read, beside [`SYSTEM_READ`]. For a file that is replaced by renaming name its folder.
    pub read: Vec<PathBuf>,
    /// Folders to write in: the audit's, the vault's (its WAL lies beside it), `--publish`, the unix listener's.
    pub write: Vec<PathBuf>,
    /// Whether programs may be started.
    pub programs: Programs,
}

/// Whether programs may be started after [`confine`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Programs {
    /// None.
    #[default]
    Refused,
    /// A secret comes from a command. Its files are the command's business: Landlock stays off, for it is inherited.
    Allowed,
}

/// Not dumpable (no core, no ptrace and no `/proc/PID/mem` by the same user), no core size, no new privileges.
///
/// Refused measures are reported, not fatal. Children inherit the last two: `run` and `demo`, which start the agent, call
/// [`harden_launcher`] instead.
pub fn harden() -> SelfCheck {
    descriptors();
    let mut found = SelfCheck::default();
    found.put(dumpable());
    found.put(cores());
    found.put(privileges());
    found.put(memory());
    found.put(Measure::off(SelfCheck::LANDLOCK, "not yet applied"));
    found.put(Measure::off(SelfCheck::SECCOMP, "not yet applied"));
    found
}

/// The one measure that the programs it starts do not inherit: not dumpable.
pub fn harden_launcher() -> SelfCheck {
    let mut found = SelfCheck::default();
    found.put(dumpable());
    found
}

/// Takes away what a running proxy does not need. Has to be called before other threads start: Landlock holds for the
/// calling thread and those that it starts.
pub fn confine(found: &mut SelfCheck, confinement: &Confinement) {
    found.put(match confinement.programs {
        Programs::Refused => files::restrict(&confinement.read, &confinement.write),
        Programs::Allowed => {
            Measure::off(SelfCheck::LANDLOCK, "a secret comes from a command, which has files of its own")
        }
    });
    found.put(syscalls::restrict(confinement.programs));
}

/// Each connection is a descriptor, and many systems begin with 1,024 of them: what is allowed is taken, which needs no right.
fn descriptors() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
        if let Err(error) = raised {
            tracing::warn!(%error, "the number of open files stays as it is");
        }
    }
}

fn dumpable() -> Measure {
    let set = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    match set.and_then(|()| rustix::process::dumpable_behavior()) {
        Ok(DumpableBehavior::NotDumpable) => Measure::on(SelfCheck::NOT_DUMPABLE, ""),
        Ok(DumpableBehavior::Dumpable | DumpableBehavior::DumpableReadableOnlyByRoot) => {
            Measure::off(SelfCheck::NOT_DUMPABLE, "the kernel did not keep the setting")
        }
        Err(error) => Measure::off(SelfCheck::NOT_DUMPABLE, error.to_string()),
    }
}

fn cores() -> Measure {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = rustix::process::setrlimit(Resource::Core, none) {
        return Measure::off(SelfCheck::NO_CORE, error.to_string());
    }
    match rustix::process::getrlimit(Resource::Core).current {
        Some(0) => Measure::on(SelfCheck::NO_CORE, ""),
        Some(_) | None => Measure::off(SelfCheck::NO_CORE, "the limit is not 0"),
    }
}

fn privileges() -> Measure {
    match rustix::thread::set_no_new_privs(true).and_then(|()| rustix::thread::no_new_privs()) {
        Ok(true) => Measure::on(SelfCheck::NO_NEW_PRIVS, ""),
        Ok(false) => Measure::off(SelfCheck::NO_NEW_PRIVS, "the kernel did not keep the setting"),
        Err(error) => Measure::off(SelfCheck::NO_NEW_PRIVS, error.to_string()),
    }
}

/// Whether pages of secrets can be locked; each secret locks its own.
fn memory() -> Measure {
    let limit = match rustix::process::getrlimit(Resource::Memlock).current {
        Some(bytes) => format!("limit {} KiB", bytes / 1024),
        None => "no limit".to_owned(),
    };
    if Secret::new(vec![0]).is_locked() {
        Measure::on(SelfCheck::MEMORY_LOCK, limit)
    } else {
        Measure::off(
            SelfCheck::MEMORY_LOCK,
            format!("{limit}; raise it (ulimit -l) so that secrets are never swapped"),
        )
    }
}

#[cfg(test)]
mod tests;
