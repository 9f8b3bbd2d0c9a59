//! Server-sent events: each carries the time at which the origin wrote it; the delay is until the generator has it. An event that arrives
//! together with later ones has waited, and its delay says so.

use super::session::next_data;
use super::{Ask, Sample, Session, clock};
use crate::{BenchError, Result};
use std::time::Instant;

/// Reads one stream of events.
pub async fn read(session: &mut Session, count: u64, interval_ms: u64) -> Result<Sample> {
    let mut sample = Sample::default();
    let start = Instant::now();
    let mut body = session.begin(&Ask::events(count, interval_ms)).await?;
    let mut pending = Vec::new();
    while let Some(data) = next_data(&mut body).await? {
        let now = clock::nanoseconds();
        sample.bytes += data.len() as u64;
        pending.extend_from_slice(&data);
        while let Some(end) = pending.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = pending.drain(..end + 2).collect();
            sample.latencies.push(now.saturating_sub(sent_at(&event)?));
        }
    }
    sample.elapsed = start.elapsed();
    let missing = count.saturating_sub(sample.latencies.len() as u64);
    sample.errors += missing;
    Ok(sample)
}

fn sent_at(event: &[u8]) -> Result<u64> {
    std::str::from_utf8(event)
        .ok()
        .and_then(|text| text.trim_end().strip_prefix("data: "))
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| BenchError::Answer("not an event".to_owned()))
}
