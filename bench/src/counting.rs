//! `doorward-bench counting`: what it costs to count a model's tokens. The same streams of events go through a ModelProvider, whose
//! answers are counted, and through a Provider that is the same but for that; the difference is the counting.
//!
//! Refuses numbers of a proxy that did not count what the origin said, or that counted where nothing was to be counted.

use crate::load::session::next_data;
use crate::load::{Ask, Protocol, Session};
use crate::measure::Cpu;
use crate::origin::{TOKENS_END, TOKENS_SAID};
use crate::peer::{Job, Provider, Running};
use crate::report::{self, Run};
use crate::rig::Rig;
use crate::stats::median;
use crate::{BenchError, Result};
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What counting may cost of a stream's CPU, in percent.
pub const SHARE: f64 = 5.0;

/// A model that writes 100 tokens in a second: fast, as they go.
const PAUSE_MS: u64 = 10;
/// The metric that shows what was counted.
const COUNTED: &str = "doorward_model_output_tokens_total";
/// How long a record may take to be settled.
const SETTLED: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Args, Debug)]
pub struct CountingArgs {
    /// The doorward binary to measure.
    #[arg(long)]
    doorward: PathBuf,
    /// Rounds behind each median.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Seconds that each stream lasts.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Where the line goes.
    #[arg(long, default_value = "bench/history/counting.jsonl")]
    history: PathBuf,
    /// Writes no line.
    #[arg(long)]
    no_history: bool,
}

/// Streams at once, and how long each of them is.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    streams: usize,
    events: u64,
    pause_ms: u64,
}

impl Load {
    /// To see that it runs.
    pub const SMOKE: Self = Self { streams: 2, events: 5, pause_ms: 1 };

    fn lasting(seconds: u64) -> Self {
        Self { streams: 32, events: seconds * 1_000 / PAUSE_MS, pause_ms: PAUSE_MS }
    }

    /// Longer than any round takes on a machine that works.
    fn limit(self) -> Duration {
        Duration::from_secs(60) + Duration::from_millis(self.events * self.pause_ms) * 2
    }
}

/// Numbers by their names.
pub type Metrics = BTreeMap<&'static str, f64>;

/// Measures and says whether counting costs no more than it may.
pub async fn run(arguments: CountingArgs) -> Result<bool> {
    let rig = Rig::build(Some(arguments.doorward))?;
    let about = Run::describe(rig.cores, arguments.rounds);
    let metrics = measure(&rig, Load::lasting(arguments.seconds), arguments.rounds).await?;
    for (name, value) in &metrics {
        println!("{name:<24}{value:>10.2}");
    }
    if !arguments.no_history {
        report::append_numbers(&arguments.history, &about, "counting-h1", &metrics)?;
    }
    Ok(metrics.get("share_percent").is_some_and(|share| *share <= SHARE))
}

/// Both, in alternating rounds.
pub async fn measure(rig: &Rig, load: Load, rounds: usize) -> Result<Metrics> {
    let (mut plain, mut counted, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        // Whoever comes first finds another machine than who comes second.
        let both = if round % 2 == 0 {
            let first = one(rig, Provider::Uncounted, load).await?;
            (first, one(rig, Provider::Counted, load).await?)
        } else {
            let first = one(rig, Provider::Counted, load).await?;
            (one(rig, Provider::Uncounted, load).await?, first)
        };
        plain.push(both.0);
        counted.push(both.1);
        shares.push((both.1 - both.0) / both.1 * 100.0);
    }
    let mut metrics = Metrics::new();
    for (name, values) in
        [("uncounted_us_per_event", &plain), ("counted_us_per_event", &counted), ("share_percent", &shares)]
    {
        metrics.extend(median(values).map(|value| (name, value)));
    }
    metrics.extend(shares.iter().copied().min_by(f64::total_cmp).map(|least| ("share_least_percent", least)));
    metrics.extend(shares.iter().copied().max_by(f64::total_cmp).map(|most| ("share_most_percent", most)));
    Ok(metrics)
}

/// Microseconds of the proxy's CPU for each event.
async fn one(rig: &Rig, provider: Provider, load: Load) -> Result<f64> {
    match tokio::time::timeout(load.limit(), driven(rig, provider, load)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(BenchError::Timeout(format!("no end within {:?}", load.limit()))),
    }
}

async fn driven(rig: &Rig, provider: Provider, load: Load) -> Result<f64> {
    let running = crate::peer::doorward(rig, Job { protocol: Protocol::H1, cold_hosts: 0 }, provider)?;
    let pid = running.pid().ok_or_else(|| BenchError::Unsupported("no proxy, no cost".to_owned()))?;
    let target = running.target()?;
    let mut sessions = Vec::with_capacity(load.streams);
    for _ in 0..load.streams {
        let mut session = Session::open(&target).await?;
        session.exchange(&Ask::tokens(1, 1)).await?;
        sessions.push(session);
    }
    let ask = Ask::tokens(load.events, load.pause_ms);
    let mut bodies = Vec::with_capacity(load.streams);
    for session in &mut sessions {
        bodies.push(session.begin(&ask).await?);
    }
    // From here on there is nothing but events.
    let before = Cpu::of(pid)?;
    let readers: Vec<_> = bodies.into_iter().map(|body| tokio::spawn(read(body, ask.answer))).collect();
    for reader in readers {
        reader.await.map_err(|error| BenchError::Answer(error.to_string()))??;
    }
    let spent = Cpu::of(pid)?.since(&before) as f64;
    let said = TOKENS_SAID * 2 * load.streams as u64;
    check(&running, if provider == Provider::Counted { said } else { 0 }).await?;
    Ok(spent / 1e3 / (load.streams as u64 * load.events) as f64)
}

/// Reads a stream to its end, which has to be the origin's.
async fn read(mut body: hyper::body::Incoming, expected: Option<u64>) -> Result<()> {
    let (mut bytes, mut end) = (0_u64, Vec::new());
    while let Some(data) = next_data(&mut body).await? {
        bytes += data.len() as u64;
        end.extend_from_slice(&data);
        end.drain(..end.len().saturating_sub(TOKENS_END.len()));
    }
    if Some(bytes) == expected && end == TOKENS_END {
        return Ok(());
    }
    Err(BenchError::Answer(format!("{bytes} bytes of events instead of {expected:?}")))
}

/// Whether the proxy counted exactly so many tokens.
async fn check(running: &Running, tokens: u64) -> Result<()> {
    let began = std::time::Instant::now();
    loop {
        let counted = running.metric(COUNTED)?.unwrap_or_default();
        if counted == tokens as f64 {
            return Ok(());
        }
        if counted > tokens as f64 || began.elapsed() > SETTLED {
            return Err(BenchError::Answer(format!("{counted} tokens were counted, and {tokens} were said")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
