//! `audit tail` of a server: the last records of its chains by their time, and, with `-f`, those that come, as of files.
//!
//! Each chain is read on from the record that was read last: none is left out, and none is shown twice. What sidecars ship is
//! no change that the server's streams tell of, so that it is asked for where the chains end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::show::{Printer, Stream};
use super::trail::Trail;
use crate::audit::search::{Facts, Filter};
use crate::cli::{Env, Exit, Failure};

/// How often `-f` asks where the chains end.
const FOLLOW: Duration = Duration::from_secs(1);
/// How many more records are looked at where too few of the last ones are wanted.
const WIDER: u64 = 8;

pub(super) async fn tail(
    env: &Env,
    trail: &Trail,
    filter: &Filter,
    lines: usize,
    follow: bool,
) -> Result<Exit, Failure> {
    let mut printer = Printer::new(env, if follow { Stream::Endless } else { Stream::Ends })?;
    let mut read: BTreeMap<String, u64> = BTreeMap::new();
    let mut last = Vec::new();
    for (source, end) in trail.ends().await? {
        let (own, up_to) = last_of(trail, (&source, end), filter, lines).await?;
        last.extend(own);
        read.insert(source, up_to);
    }
    last.sort_by(|a, b| a.0.ts.cmp(&b.0.ts));
    last.drain(..last.len().saturating_sub(lines));
    for (line, raw) in last {
        printer.print(&line, &raw);
    }
    if !follow {
        printer.end();
        return Ok(Exit::Ok);
    }
    loop {
        tokio::time::sleep(FOLLOW).await;
        for (source, end) in trail.ends().await? {
            let from = read.get(&source).copied().unwrap_or_default();
            if end > from {
                let up_to = trail.on(&source, from, filter, |line, raw| printer.print(&line, &raw)).await?;
                read.insert(source, up_to.max(end));
            }
        }
    }
}

/// The last records of a chain that are wanted, and up to where it was read. Of one chain a project may see few records, and a
/// filter may leave few: then more of it is looked at.
async fn last_of(
    trail: &Trail,
    (source, end): (&str, u64),
    filter: &Filter,
    lines: usize,
) -> Result<(Vec<(Facts, String)>, u64), Failure> {
    let mut window = (lines as u64).max(1);
    loop {
        let mut found: Vec<(Facts, String)> = Vec::new();
        let take = |line, raw| {
            found.push((line, raw));
            if found.len() > 2 * lines + 1000 {
                found.drain(..found.len() - lines);
            }
        };
        let up_to = trail.on(source, end.saturating_sub(window), filter, take).await?.max(end);
        if found.len() >= lines || window >= end {
            found.drain(..found.len().saturating_sub(lines));
            return Ok((found, up_to));
        }
        window = window.saturating_mul(WIDER);
    }
}
