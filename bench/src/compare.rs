//! Rounds: each starts every peer afresh, one after the other, drives it, and reads what it cost. Peers alternate within a round so that
//! a machine that grows slower or faster does so for all of them; the result is the median over rounds.

use crate::load::closed::{self, Stop};
use crate::load::{Ask, Sample, Session, Target, connections, events, idle, paced};
use crate::measure::{Cpu, resident_kib};
use crate::peer::{Job, Peer, Running};
use crate::rig::Rig;
use crate::scenario::{Scenario, Shape, Size};
use crate::stats::{median, percentile};
use crate::{BenchError, Result, pki};
use std::collections::BTreeMap;
use std::time::Duration;

/// Numbers by name; the names are constants of this module.
pub type Metrics = BTreeMap<String, f64>;

/// CPU microseconds of the proxy per request (or per new connection).
pub const CPU_US: &str = "cpu_us_per_request";
/// CPU milliseconds of the proxy per GiB of payload.
pub const CPU_MS_PER_GIB: &str = "cpu_ms_per_gib";
/// Requests answered in a second.
pub const REQUESTS_PER_S: &str = "requests_per_s";
/// Payload in a second.
pub const MIB_PER_S: &str = "mib_per_s";
/// Median latency or delay.
pub const P50_US: &str = "p50_us";
/// 99th percentile.
pub const P99_US: &str = "p99_us";
/// Worst.
pub const MAX_US: &str = "max_us";
/// Requests that failed.
pub const ERRORS: &str = "errors";
/// Resident memory at rest before the first connection.
pub const IDLE_MIB: &str = "idle_mib";
/// Resident memory per idle tunnel.
pub const KIB_PER_TUNNEL: &str = "kib_per_tunnel";
/// Growth of resident memory after the first tenth.
pub const GROWTH_KIB: &str = "growth_kib";

/// Of so many requests one may fail; above that the run measures an error path.
const TOLERATED: u64 = 1_000;

/// How many sessions a fixed rate is spread over.
const PACED_SESSIONS: usize = 16;

/// Below the 50 leaf mints a second that doorward allows an agent.
const COLD_PAUSE: Duration = Duration::from_millis(40);

/// Longest round: a slow peer needs most of it to open 500 tunnels.
const ROUND_LIMIT: Duration = Duration::from_secs(120);

/// The same for very many requests.
const FLAT_LIMIT: Duration = Duration::from_secs(3600);

/// What became of a peer in a scenario.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Medians.
    Measured(Metrics),
    /// It is not on this machine, or cannot do this.
    NotRun(String),
    /// It was started and did not do its duty.
    Failed(String),
}

/// Runs one scenario for all peers.
pub async fn scenario(
    rig: &Rig,
    scenario: &Scenario,
    peers: &[Peer],
    size: &Size,
    rounds: usize,
) -> Vec<(Peer, Outcome)> {
    let mut measured: BTreeMap<Peer, Vec<Metrics>> = BTreeMap::new();
    let mut ended: BTreeMap<Peer, Outcome> = BTreeMap::new();
    for _ in 0..rounds {
        for peer in peers {
            if ended.contains_key(peer) {
                continue;
            }
            match within(scenario, round(rig, scenario, *peer, size)).await {
                Ok(metrics) => measured.entry(*peer).or_default().push(metrics),
                Err(error @ (BenchError::NotInstalled(_) | BenchError::Unsupported(_))) => {
                    ended.insert(*peer, Outcome::NotRun(error.to_string()));
                }
                Err(error) => {
                    ended.insert(*peer, Outcome::Failed(error.to_string()));
                }
            }
        }
    }
    let outcome = |peer: &Peer| {
        ended
            .remove(peer)
            .unwrap_or_else(|| Outcome::Measured(medians(measured.get(peer).map_or(&[][..], Vec::as_slice))))
    };
    peers.iter().copied().zip(peers.iter().map(outcome)).collect()
}

/// A peer that stops answering must not hold up the others.
async fn within(scenario: &Scenario, round: impl Future<Output = Result<Metrics>>) -> Result<Metrics> {
    let limit = if scenario.shape == Shape::Flat { FLAT_LIMIT } else { ROUND_LIMIT };
    match tokio::time::timeout(limit, round).await {
        Ok(outcome) => outcome,
        Err(_) => Err(BenchError::Timeout(format!("no end within {limit:?}"))),
    }
}

fn medians(rounds: &[Metrics]) -> Metrics {
    let Some(first) = rounds.first() else { return Metrics::new() };
    first
        .keys()
        .filter_map(|key| {
            let values: Vec<f64> = rounds.iter().filter_map(|round| round.get(key).copied()).collect();
            Some((key.clone(), median(&values)?))
        })
        .collect()
}

async fn round(rig: &Rig, scenario: &Scenario, peer: Peer, size: &Size) -> Result<Metrics> {
    let cold_hosts = if scenario.shape == Shape::ColdHost { size.cold_hosts } else { 0 };
    let running = peer.start(rig, Job { protocol: scenario.protocol, cold_hosts })?;
    let target = running.target()?;
    match scenario.shape {
        Shape::KeepAlive { sessions, streams, echo } => {
            let ask = if echo { Ask::echo() } else { Ask::small() };
            keep_alive(&running, &target, sessions, streams, ask, size).await
        }
        Shape::NewConnection => new_connection(&running, &target, size).await,
        Shape::ColdHost => cold_host(&running, &target, size).await,
        Shape::Paced { per_second } => paced_rate(&running, &target, per_second, size).await,
        Shape::Download => bulk(&running, &target, Ask::download(size.mebibytes), size).await,
        Shape::Upload => bulk(&running, &target, Ask::upload(size.mebibytes), size).await,
        Shape::Events => sse(&target, size).await,
        Shape::Idle => idle_memory(&running, &target, size).await,
        Shape::Flat => flat_memory(&running, &target, size).await,
    }
}

async fn keep_alive(
    running: &Running,
    target: &Target,
    sessions: usize,
    streams: usize,
    ask: Ask,
    size: &Size,
) -> Result<Metrics> {
    let sessions = closed::open(target, sessions, streams, &ask).await?;
    let sessions = warm(target, sessions, &ask, size).await?;
    let meter = Meter::start(running)?;
    let stop = Stop { requests: size.requests, after: size.seconds };
    let (sample, _sessions) = closed::drive(target, sessions, &ask, stop).await;
    let mut metrics = latencies(&sample)?;
    metrics.insert(REQUESTS_PER_S.to_owned(), sample.latencies.len() as f64 / sample.elapsed.as_secs_f64());
    meter.per_request(&sample, &mut metrics)?;
    Ok(metrics)
}

async fn new_connection(running: &Running, target: &Target, size: &Size) -> Result<Metrics> {
    let ask = Ask::small();
    let stop = Stop { requests: size.requests, after: size.seconds };
    check(&connections::same_host(target, &ask, Stop { requests: 16, ..stop }).await)?;
    let meter = Meter::start(running)?;
    let sample = connections::same_host(target, &ask, stop).await;
    let mut metrics = latencies(&sample)?;
    meter.per_request(&sample, &mut metrics)?;
    Ok(metrics)
}

async fn cold_host(running: &Running, target: &Target, size: &Size) -> Result<Metrics> {
    let ask = Ask::small();
    check(&connections::same_host(target, &ask, Stop { requests: 16, after: size.seconds }).await)?;
    let meter = Meter::start(running)?;
    let hosts = (0..size.cold_hosts).map(pki::cold_host);
    let sample = connections::each_host(target, hosts, &ask, COLD_PAUSE).await;
    let mut metrics = latencies(&sample)?;
    meter.per_request(&sample, &mut metrics)?;
    Ok(metrics)
}

async fn paced_rate(running: &Running, target: &Target, per_second: u32, size: &Size) -> Result<Metrics> {
    let ask = Ask::small();
    let sessions = closed::open(target, PACED_SESSIONS, 1, &ask).await?;
    let total = (size.seconds.as_secs_f64() * f64::from(per_second)) as u64;
    let meter = Meter::start(running)?;
    let sample = paced::drive(target, sessions, &ask, per_second, total.max(1)).await;
    let mut metrics = latencies(&sample)?;
    meter.per_request(&sample, &mut metrics)?;
    Ok(metrics)
}

async fn bulk(running: &Running, target: &Target, ask: Ask, size: &Size) -> Result<Metrics> {
    let sessions = closed::open(target, 1, 1, &ask).await?;
    let meter = Meter::start(running)?;
    // A slow peer does fewer bodies rather than hold up all others; one is always finished.
    let stop = Stop { requests: size.bodies, after: size.seconds * 4 };
    let (sample, _sessions) = closed::drive(target, sessions, &ask, stop).await;
    check(&sample)?;
    let mebibytes = sample.bytes as f64 / f64::from(1 << 20);
    let mut metrics = Metrics::from([
        (MIB_PER_S.to_owned(), mebibytes / sample.elapsed.as_secs_f64()),
        (ERRORS.to_owned(), sample.errors as f64),
    ]);
    if let Some(cpu) = meter.nanoseconds()? {
        metrics.insert(CPU_MS_PER_GIB.to_owned(), cpu / 1e6 / (mebibytes / 1024.0));
    }
    Ok(metrics)
}

async fn sse(target: &Target, size: &Size) -> Result<Metrics> {
    let mut session = Session::open(target).await?;
    session.exchange(&Ask::small()).await?;
    latencies(&events::read(&mut session, size.events, 5).await?)
}

async fn idle_memory(running: &Running, target: &Target, size: &Size) -> Result<Metrics> {
    let Some(pid) = running.pid() else {
        return Err(BenchError::Unsupported("no proxy, no memory".to_owned()));
    };
    tokio::time::sleep(size.rest).await;
    let at_rest = resident_kib(pid)?;
    // The first few tunnels pay for what is made once: an upstream connection, the allocator's first pages.
    let _first = idle::open(target, 4).await?;
    tokio::time::sleep(size.rest).await;
    let before = resident_kib(pid)?;
    let tunnels = idle::open(target, size.tunnels).await?;
    tokio::time::sleep(size.rest).await;
    let grown = resident_kib(pid)?.saturating_sub(before) as f64;
    Ok(Metrics::from([
        (IDLE_MIB.to_owned(), at_rest as f64 / 1024.0),
        (KIB_PER_TUNNEL.to_owned(), grown / tunnels.len().max(1) as f64),
    ]))
}

async fn flat_memory(running: &Running, target: &Target, size: &Size) -> Result<Metrics> {
    let Some(pid) = running.pid() else {
        return Err(BenchError::Unsupported("no proxy, no memory".to_owned()));
    };
    let ask = Ask::small();
    let after = FLAT_LIMIT;
    let sessions = closed::open(target, 32, 1, &ask).await?;
    let (first, sessions) =
        closed::drive(target, sessions, &ask, Stop { requests: size.flat / 10, after }).await;
    check(&first)?;
    let early = resident_kib(pid)?;
    let (rest, _sessions) =
        closed::drive(target, sessions, &ask, Stop { requests: size.flat - size.flat / 10, after }).await;
    check(&rest)?;
    let growth = resident_kib(pid)? as f64 - early as f64;
    Ok(Metrics::from([
        (GROWTH_KIB.to_owned(), growth),
        (ERRORS.to_owned(), (first.errors + rest.errors) as f64),
    ]))
}

async fn warm(target: &Target, sessions: Vec<Session>, ask: &Ask, size: &Size) -> Result<Vec<Session>> {
    let stop = Stop { requests: size.warmup, after: size.seconds };
    let (sample, sessions) = closed::drive(target, sessions, ask, stop).await;
    check(&sample)?;
    Ok(sessions)
}

fn check(sample: &Sample) -> Result<()> {
    let answered = sample.latencies.len() as u64;
    if answered == 0 || sample.errors > answered / TOLERATED {
        let first = sample.first_error.as_deref().unwrap_or("nothing was answered");
        return Err(BenchError::Answer(format!(
            "{} of {} failed: {first}",
            sample.errors,
            answered + sample.errors
        )));
    }
    Ok(())
}

fn latencies(sample: &Sample) -> Result<Metrics> {
    check(sample)?;
    let mut sorted = sample.latencies.clone();
    sorted.sort_unstable();
    let mut metrics = Metrics::from([(ERRORS.to_owned(), sample.errors as f64)]);
    for (name, share) in [(P50_US, 0.5), (P99_US, 0.99), (MAX_US, 1.0)] {
        if let Some(nanoseconds) = percentile(&sorted, share) {
            metrics.insert(name.to_owned(), nanoseconds as f64 / 1e3);
        }
    }
    Ok(metrics)
}

struct Meter {
    pid: Option<u32>,
    before: Option<Cpu>,
}

impl Meter {
    fn start(running: &Running) -> Result<Self> {
        let pid = running.pid();
        Ok(Self { pid, before: pid.map(Cpu::of).transpose()? })
    }

    fn nanoseconds(&self) -> Result<Option<f64>> {
        match (self.pid, &self.before) {
            (Some(pid), Some(before)) => Ok(Some(Cpu::of(pid)?.since(before) as f64)),
            _ => Ok(None),
        }
    }

    fn per_request(&self, sample: &Sample, metrics: &mut Metrics) -> Result<()> {
        if let Some(cpu) = self.nanoseconds()? {
            metrics.insert(CPU_US.to_owned(), cpu / 1e3 / sample.latencies.len().max(1) as f64);
        }
        Ok(())
    }
}
