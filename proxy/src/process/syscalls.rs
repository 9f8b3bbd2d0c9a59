//! seccomp: system calls that a proxy never makes and that an intruder wants fail with EPERM, in every thread.
//!
//! A list of what is refused, not of what is allowed: libraries and kernels add harmless calls with each release, and a
//! proxy that dies of one helps nobody. What is refused reads other processes, changes the kernel, mounts, traces, holds
//! keys, or starts programs.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use super::Programs;
use super::selfcheck::{Measure, SelfCheck};

/// Refused always.
const REFUSED: &[i64] = &[
    // Other processes' memory and files.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Another kernel, or code in this one.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // Its calls are not filtered one by one.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Mounts, roots, namespaces, files by handle.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    // The kernel's keys.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The machine.
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_personality,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// Refused where the architecture has them.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] = &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[];

/// Refused unless a secret comes from a command.
const PROGRAMS: &[i64] = &[libc::SYS_execve, libc::SYS_execveat];

/// The x32 calling convention reaches the same calls with this bit set, under the same architecture number; these are
/// the ones with numbers of their own there (`arch/x86/entry/syscalls/syscall_64.tbl`).
#[cfg(target_arch = "x86_64")]
const X32: (i64, &[i64], &[i64]) = (0x4000_0000, &[521, 528, 539, 540, 543, 544], &[520, 545]);

pub(super) fn restrict(programs: Programs) -> Measure {
    let filter = match filter(programs) {
        Ok(filter) => filter,
        Err(reason) => return Measure::unsupported(SelfCheck::SECCOMP, reason),
    };
    match seccompiler::apply_filter_all_threads(&filter) {
        Ok(()) if is_on() => Measure::on(
            SelfCheck::SECCOMP,
            match programs {
                Programs::Refused => "no programs can be started",
                Programs::Allowed => "programs can be started: a secret comes from a command",
            },
        ),
        Ok(()) => Measure::off(SelfCheck::SECCOMP, "the kernel did not keep the filter"),
        Err(error) => Measure::off(SelfCheck::SECCOMP, error.to_string()),
    }
}

fn filter(programs: Programs) -> Result<BpfProgram, String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|_| format!("no filter for the architecture {}", std::env::consts::ARCH))?;
    // EPERM as the mismatch of the convention: a library that probes goes on without.
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let rules: BTreeMap<_, _> = refused(programs).into_iter().map(|number| (number, Vec::new())).collect();
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|error| error.to_string())
}

fn refused(programs: Programs) -> Vec<i64> {
    let programs: &[i64] = if programs == Programs::Refused { PROGRAMS } else { &[] };
    let mut all: Vec<_> = [REFUSED, REFUSED_HERE, programs].concat();
    #[cfg(target_arch = "x86_64")]
    {
        let (bit, always, exec) = X32;
        let own = always.iter().chain(exec.iter().filter(|_| !programs.is_empty()));
        let own: Vec<_> = own.chain(&all).map(|number| number | bit).collect();
        all.extend(own);
    }
    all
}

/// Asks the kernel: mode 2 is a filter. Where `/proc` is not there, the call's success has to do.
fn is_on() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/thread-self/status") else { return true };
    status.lines().find_map(|line| line.strip_prefix("Seccomp:")).is_none_or(|mode| mode.trim() == "2")
}
