//! What the kernel says a process has cost: CPU time of all its threads and children, and resident memory.
//!
//! CPU comes from `schedstat` (nanoseconds on CPU of each live thread) and from `stat` (ticks, threads that have ended included).

use crate::{BenchError, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// CPU time used so far.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    live: u64,
    ticked: u64,
}

/// Two grains of `stat`: below that its difference to `schedstat` is rounding, above it threads have ended in between.
const TWO_TICKS: u64 = 20_000_000;

impl Cpu {
    /// Of a process and its descendants.
    pub fn of(root: u32) -> Result<Self> {
        let mut sum = Self { live: 0, ticked: 0 };
        for pid in tree(root)? {
            sum.live += threads(pid);
            sum.ticked += ticks(pid).unwrap_or(0);
        }
        Ok(sum)
    }

    /// Nanoseconds since an earlier reading.
    pub fn since(&self, earlier: &Self) -> u64 {
        let live = self.live.saturating_sub(earlier.live);
        let ticked = self.ticked.saturating_sub(earlier.ticked);
        if ticked > live + TWO_TICKS { ticked } else { live }
    }
}

/// Resident memory in KiB of a process and its descendants.
pub fn resident_kib(root: u32) -> Result<u64> {
    let mut sum = 0;
    for pid in tree(root)? {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).map_err(BenchError::io(path))?;
        sum += text
            .lines()
            .find_map(|line| line.strip_prefix("Rss:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(sum)
}

fn threads(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

fn ticks(pid: u32) -> Option<u64> {
    let fields = stat(&format!("/proc/{pid}"))?;
    let user: u64 = fields.get(11)?.parse().ok()?;
    let system: u64 = fields.get(12)?.parse().ok()?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some((user + system) * (1_000_000_000 / per_second))
}

/// The fields of `stat` after the command name, which may itself hold spaces: the state is the first.
fn stat(folder: &str) -> Option<Vec<String>> {
    let text = fs::read_to_string(Path::new(folder).join("stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn tree(root: u32) -> Result<BTreeSet<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").map_err(BenchError::io("reading /proc"))?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let parent = stat(&format!("/proc/{pid}")).and_then(|fields| fields.get(1)?.parse::<u32>().ok());
        parents.push((pid, parent.unwrap_or(0)));
    }
    let mut found = BTreeSet::from([root]);
    loop {
        let before = found.len();
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| found.contains(parent))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if found.len() == before {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cpu, resident_kib, tree};
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_that_is_gone_costs_nothing_and_has_no_memory() {
        let mut child = Command::new("true").spawn().expect("spawn");
        let pid = child.id();
        child.wait().expect("wait");
        assert_eq!(Cpu::of(pid).expect("cpu").live, 0);
        assert!(resident_kib(pid).is_err());
    }

    #[test]
    fn work_is_seen_in_this_process_threads_included() {
        let before = Cpu::of(std::process::id()).expect("cpu");
        let worker = std::thread::spawn(|| {
            let mut x = 1_u64;
            for i in 0..30_000_000_u64 {
                x = std::hint::black_box(x.wrapping_mul(31).wrapping_add(i));
            }
            std::thread::park();
        });
        while Cpu::of(std::process::id()).expect("cpu").since(&before) < 5_000_000 {
            std::thread::yield_now();
        }
        worker.thread().unpark();
        worker.join().expect("join");
        assert!(resident_kib(std::process::id()).expect("rss") > 500);
    }

    #[test]
    fn children_belong_to_the_tree() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("spawn");
        assert!(tree(std::process::id()).expect("tree").contains(&child.id()));
        drop(child.stdin.take());
        child.wait().expect("wait");
    }
}
