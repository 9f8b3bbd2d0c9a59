//! A new connection for every request: TCP, CONNECT, a full TLS handshake, one request, its answer. One at a time, so that the latency is
//! the road's and not a queue's.

use super::closed::Stop;
use super::{Ask, Sample, Session, Target};
use crate::Result;
use std::time::{Duration, Instant};

/// New connections to one host until `stop`.
pub async fn same_host(target: &Target, ask: &Ask, stop: Stop) -> Sample {
    let mut sample = Sample::default();
    let start = Instant::now();
    for _ in 0..stop.requests {
        if start.elapsed() >= stop.after || sample.hopeless() {
            break;
        }
        once(target, ask, &mut sample).await;
    }
    sample.elapsed = start.elapsed();
    sample
}

/// One new connection to each of the hosts, `pause` apart: proxies limit how many leaves an agent may have minted in a second.
pub async fn each_host(
    target: &Target,
    hosts: impl Iterator<Item = String>,
    ask: &Ask,
    pause: Duration,
) -> Sample {
    let mut sample = Sample::default();
    let mut tick = tokio::time::interval(pause);
    let start = Instant::now();
    for host in hosts {
        tick.tick().await;
        if sample.hopeless() {
            break;
        }
        once(&target.with_host(host), ask, &mut sample).await;
    }
    sample.elapsed = start.elapsed();
    sample
}

async fn once(target: &Target, ask: &Ask, sample: &mut Sample) {
    let begun = Instant::now();
    match request(target, ask).await {
        Ok(bytes) => {
            sample.latencies.push(begun.elapsed().as_nanos() as u64);
            sample.bytes += bytes;
        }
        Err(error) => sample.failed(&error),
    }
}

async fn request(target: &Target, ask: &Ask) -> Result<u64> {
    Session::open(target).await?.exchange(ask).await
}
