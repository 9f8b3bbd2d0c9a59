//! The micro benchmarks of `benches/`, run in rounds: the median of the rounds' medians goes to `bench/history/micro.jsonl`.
//!
//! Refuses output that holds no numbers: a bench that was renamed must not look like one that was run.

use crate::report::Run;
use crate::rig::Cores;
use crate::stats::median;
use crate::{BenchError, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// One line of the history.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    run: &'a Run,
    bench: &'a str,
    name: &'a str,
    /// Of one iteration.
    median_ns: f64,
    /// Where the bench counts bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    mib_per_s: Option<f64>,
}

/// What one function took, and its rate if it has one.
#[derive(Clone, Debug, Default, PartialEq)]
struct Taken {
    ns: f64,
    mib_per_s: Option<f64>,
}

/// Runs these benches so many times each, prints the medians and appends them.
pub fn run(benches: &[String], rounds: usize, history: Option<&Path>) -> Result<()> {
    let on = Cores::choose()?;
    let mut text = String::new();
    for bench in benches {
        let about = Run::describe(on, rounds);
        let mut all: BTreeMap<String, Vec<Taken>> = BTreeMap::new();
        for _ in 0..rounds {
            for (name, taken) in medians(&output(bench)?) {
                all.entry(name).or_default().push(taken);
            }
        }
        if all.is_empty() {
            return Err(BenchError::Answer(format!("bench `{bench}` printed no numbers")));
        }
        for (name, taken) in &all {
            let of = |values: Vec<f64>| median(&values);
            let ns = of(taken.iter().map(|one| one.ns).collect()).unwrap_or_default();
            let mib_per_s = of(taken.iter().filter_map(|one| one.mib_per_s).collect());
            println!("{bench:<8}{name:<28}{ns:>16.1} ns{}", rate(mib_per_s));
            let line = Line { run: &about, bench, name, median_ns: ns, mib_per_s };
            text.push_str(&serde_json::to_string(&line).map_err(|e| BenchError::Answer(e.to_string()))?);
            text.push('\n');
        }
    }
    let Some(file) = history else { return Ok(()) };
    let mut opened = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .map_err(BenchError::io(format!("opening {}", file.display())))?;
    opened.write_all(text.as_bytes()).map_err(BenchError::io(format!("appending to {}", file.display())))
}

fn rate(mib_per_s: Option<f64>) -> String {
    mib_per_s.map_or_else(String::new, |rate| format!("{rate:>12.0} MiB/s"))
}

fn output(bench: &str) -> Result<String> {
    let output = Command::new("cargo")
        .args(["bench", "--quiet", "-p", "doorward-bench", "--bench", bench])
        .output()
        .map_err(BenchError::io("running cargo bench"))?;
    if !output.status.success() {
        return Err(BenchError::Answer(format!("cargo bench --bench {bench} failed")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// divan's table: a name with its tree, then fastest, slowest, median, mean; a line without a name below it holds rates.
fn medians(table: &str) -> Vec<(String, Taken)> {
    let mut found: Vec<(String, Taken)> = Vec::new();
    let mut parent = String::new();
    for line in table.lines() {
        let bare = line.trim_start_matches([' ', '│', '├', '╰', '─']);
        let indent = line.chars().take_while(|c| [' ', '│'].contains(c)).count();
        let columns: Vec<&str> = bare.split('│').map(str::trim).collect();
        let [first, _, middle, ..] = columns.as_slice() else { continue };
        let has_branch = line.contains("├─") || line.contains("╰─");
        let name = first.split_whitespace().next().unwrap_or_default();
        match (has_branch, nanoseconds(middle)) {
            (true, Some(ns)) => {
                let name = if indent > 0 && !parent.is_empty() {
                    format!("{parent} {name}")
                } else {
                    name.to_owned()
                };
                found.push((name, Taken { ns, mib_per_s: None }));
            }
            // A function with a line for each number of threads.
            (true, None) => name.clone_into(&mut parent),
            (false, _) => {
                if let (Some((_, last)), Some(rate)) = (found.last_mut(), bytes_per_second(middle)) {
                    last.mib_per_s = Some(rate / f64::from(1 << 20));
                }
            }
        }
    }
    found
}

fn nanoseconds(text: &str) -> Option<f64> {
    scaled(text, &[("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)])
}

fn bytes_per_second(text: &str) -> Option<f64> {
    scaled(text, &[("B/s", 1.0), ("KB/s", 1e3), ("MB/s", 1e6), ("GB/s", 1e9), ("TB/s", 1e12)])
}

fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, unit) = text.split_once(' ')?;
    let factor = units.iter().find(|(known, _)| *known == unit.trim()).map(|(_, factor)| *factor)?;
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_and_rates_of_divans_table() {
        let table = "Timer precision: 20 ns\n\
            sign                      fastest       │ slowest       │ median        │ mean          │ samples │ iters\n\
            ├─ body_sha256_alone      8.1 ms        │ 9 ms          │ 8.5 ms        │ 8.6 ms        │ 100     │ 100\n\
            │                         2.071 GB/s    │ 1.8 GB/s      │ 2 GB/s        │ 1.9 GB/s      │         │\n\
            ├─ header_sigv4           5.9 µs        │ 9 µs          │ 6.1 µs        │ 6.6 µs        │ 100     │ 100\n\
            ╰─ token_hit_shared                     │               │               │               │         │\n   \
               ╰─ t=4                 40 ns         │ 90 ns         │ 45.5 ns       │ 50 ns         │ 100     │ 100\n";
        let found = medians(table);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["body_sha256_alone", "header_sigv4", "token_hit_shared t=4"]);
        assert_eq!(found[0].1, Taken { ns: 8.5e6, mib_per_s: Some(2e9 / f64::from(1 << 20)) });
        assert_eq!((found[1].1.ns, found[2].1.ns), (6100.0, 45.5));
        assert_eq!(medians("error: no bench target named `x`\n"), []);
    }
}
