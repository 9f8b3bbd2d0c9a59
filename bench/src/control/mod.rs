//! `doorward-bench control`: one vault server, very many agents that follow it, and the three numbers that it is held to: how long a
//! list takes, how long a change takes to reach all streams, how much memory it needs. And what happens when all come back at once.

mod api;
mod streams;

use crate::measure;
use crate::report::{self, Run};
use crate::rig::Cores;
use crate::stats::percentile;
use crate::{BenchError, Result};
use api::Server;
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use streams::Streams;

/// The longest that a list may take, 99 of 100 times.
pub const LIST_MS: f64 = 50.0;
/// The longest that a change may take to the last of all streams.
pub const CHANGE_S: f64 = 2.0;
/// The most memory of the server.
pub const RSS_MIB: f64 = 150.0;

/// Providers beside the one that every agent has.
const PROVIDERS: usize = 40;
/// Lists that are asked for.
const LISTS: usize = 1_000;
/// Changes that are waited for.
const CHANGES: usize = 5;
/// How long anything may take before the run is given up.
const LATE: Duration = Duration::from_secs(120);

/// What is measured.
#[derive(Args, Debug)]
pub struct ControlArgs {
    /// The doorward binary to measure.
    #[arg(long)]
    doorward: PathBuf,
    /// Agents, each with a sidecar.
    #[arg(long, default_value_t = 1_000)]
    agents: usize,
    /// Attachments of each agent.
    #[arg(long, default_value_t = 5)]
    attachments: usize,
    /// Secrets of the project.
    #[arg(long, default_value_t = 10_000)]
    secrets: usize,
    /// A database instead of a SQLite file of its own: postgres://USER@HOST/NAME, empty.
    #[arg(long)]
    database: Option<String>,
    /// Where the line goes.
    #[arg(long, default_value = "bench/history/control.jsonl")]
    history: PathBuf,
    /// Writes no line.
    #[arg(long)]
    no_history: bool,
}

/// Numbers by their names.
type Metrics = BTreeMap<&'static str, f64>;

/// Measures; says whether the limits are kept.
pub async fn run(arguments: ControlArgs) -> Result<bool> {
    // Without pinning: server and followers share all cores, as on a small machine.
    let run = Run::describe(Cores::unpinned()?, CHANGES);
    let server = Server::start(&arguments.doorward, arguments.database.as_deref()).await?;
    let began = Instant::now();
    let tokens = fill(&server, &arguments).await?;
    let mut metrics = Metrics::from([("fill_s", began.elapsed().as_secs_f64())]);
    metrics.insert("rss_filled_mib", rss(&server)?);
    let began = Instant::now();
    let mut streams = Streams::default();
    streams.open(&server, &tokens, LATE).await?;
    metrics.insert("connect_all_s", began.elapsed().as_secs_f64());
    lists(&server, &mut metrics).await?;
    changes(&server, &streams, &mut metrics).await?;
    metrics.insert("rss_mib", rss(&server)?);
    reconnect(&server, &mut streams, &tokens, &mut metrics).await?;
    metrics.insert("rss_after_mib", rss(&server)?);
    metrics.insert("rss_peak_mib", peak(server.id())?);
    let kept = show(&metrics, &arguments);
    if !arguments.no_history {
        let name = if arguments.database.is_some() { "control-postgres" } else { "control-sqlite" };
        report::append_numbers(&arguments.history, &run, name, &metrics)?;
    }
    Ok(kept)
}

fn show(metrics: &Metrics, arguments: &ControlArgs) -> bool {
    let ControlArgs { agents, attachments, secrets, .. } = arguments;
    println!("{agents} agents with {attachments} attachments each, {secrets} secrets");
    for (name, value) in metrics {
        println!("{name:<20}{value:>12.3}");
    }
    let limits = [("list_p99_ms", LIST_MS), ("change_all_s", CHANGE_S), ("rss_mib", RSS_MIB)];
    let mut kept = true;
    for (name, limit) in limits {
        let value = metrics.get(name).copied().unwrap_or(f64::INFINITY);
        if value > limit {
            println!("MISSED  {name} is {value:.1}, the limit {limit}");
            kept = false;
        }
    }
    kept
}

/// Secrets, documents, agents and what is attached to them; the agents' tokens.
async fn fill(server: &Server, arguments: &ControlArgs) -> Result<Vec<String>> {
    let secrets: Vec<_> = (0..arguments.secrets.max(PROVIDERS + 1))
        .map(|n| {
            let values = json!({"token": format!("value-of-secret-{n:08}-0123456789")});
            let body = json!({"name": format!("s{n}"), "values": values, "hosts": [host(n)]});
            ("/v1/projects/default/secrets".to_owned(), body)
        })
        .collect();
    api::post_all(server, secrets).await?;
    let documents = (0..=PROVIDERS).map(|n| {
        let text = format!(
            "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {{name: p{n}}}\n\
             spec: {{type: http-token, host: {}, auth: {{type: bearer, secretRef: s{n}, secretKey: token}}}}\n",
            host(n)
        );
        ("/v1/projects/default/providers".to_owned(), json!({"document": text}))
    });
    api::post_all(server, documents.collect()).await?;
    let agents = (0..arguments.agents)
        .map(|n| ("/v1/projects/default/agents".to_owned(), json!({"name": format!("a{n}")})));
    let made = api::post_all(server, agents.collect()).await?;
    let attachments = (0..arguments.agents).flat_map(|agent| {
        let path = format!("/v1/projects/default/agents/a{agent}/attachments");
        // The first provider is everybody's.
        let own = (1..arguments.attachments).map(move |n| 1 + (agent * 7 + n) % PROVIDERS);
        std::iter::once(0)
            .chain(own)
            .map(move |n| (path.clone(), json!({"kind": "provider", "name": format!("p{n}")})))
    });
    api::post_all(server, attachments.collect()).await?;
    let token = |answer: &serde_json::Value| answer.get("token")?.as_str().map(str::to_owned);
    let tokens: Option<Vec<String>> = made.iter().map(token).collect();
    tokens.ok_or_else(|| BenchError::Answer("an agent without a token".to_owned()))
}

fn host(number: usize) -> String {
    format!("h{number}.bench.example")
}

/// Pages of secrets, agents and attachments, one after the other, while all streams stand.
async fn lists(server: &Server, metrics: &mut Metrics) -> Result<()> {
    let api = server.api().await?;
    let mut taken = Vec::with_capacity(LISTS);
    for n in 0..LISTS {
        let path = match n % 4 {
            0 | 1 => "/v1/projects/default/secrets?limit=100".to_owned(),
            2 => "/v1/projects/default/agents?limit=100".to_owned(),
            _ => format!("/v1/projects/default/agents/a{}/attachments", n % 100),
        };
        let began = Instant::now();
        api.get(&path).await?;
        taken.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    taken.sort_unstable();
    for (name, share) in [("list_p50_ms", 0.5), ("list_p99_ms", 0.99), ("list_max_ms", 1.0)] {
        metrics.insert(name, percentile(&taken, share).unwrap_or_default() as f64 / 1000.0);
    }
    Ok(())
}

/// The slowest of some changes that concern all, from the call to the last stream that has it.
async fn changes(server: &Server, streams: &Streams, metrics: &mut Metrics) -> Result<()> {
    let (mut slowest, mut acknowledged) = (0.0_f64, 0.0_f64);
    for n in 0..CHANGES {
        // The server closes connections that nobody uses for a while.
        let api = server.api().await?;
        let before = streams.heard();
        let began = Instant::now();
        let values = json!({"values": {"token": format!("value-of-change-{n:08}-0123456789")}});
        api.rotate("s0", values).await?;
        streams.wait_heard(before + streams.count(), LATE).await?;
        slowest = slowest.max(began.elapsed().as_secs_f64());
        streams.wait_acknowledged(LATE).await?;
        acknowledged = acknowledged.max(began.elapsed().as_secs_f64());
    }
    metrics.extend([("change_all_s", slowest), ("change_acknowledged_s", acknowledged)]);
    Ok(())
}

/// Every sidecar loses its connection at one moment, and comes back without waiting; the API goes on.
async fn reconnect(
    server: &Server,
    streams: &mut Streams,
    tokens: &[String],
    metrics: &mut Metrics,
) -> Result<()> {
    streams.close();
    let began = Instant::now();
    let api = server.api().await?;
    let asking = async {
        let mut slowest = Duration::ZERO;
        loop {
            let asked = Instant::now();
            if api.get("/v1/projects/default/secrets?limit=100").await.is_err() {
                return slowest;
            }
            slowest = slowest.max(asked.elapsed());
            if began.elapsed() > Duration::from_secs(2) {
                return slowest;
            }
        }
    };
    let (opened, slowest) = tokio::join!(
        async {
            let opened = streams.open(server, tokens, LATE).await;
            opened.map(|()| began.elapsed())
        },
        asking
    );
    metrics.insert("reconnect_all_s", opened?.as_secs_f64());
    metrics.insert("list_max_while_reconnecting_ms", slowest.as_secs_f64() * 1000.0);
    Ok(())
}

fn rss(server: &Server) -> Result<f64> {
    Ok(measure::resident_kib(server.id())? as f64 / 1024.0)
}

/// The most memory that the process ever had, in MiB.
fn peak(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| BenchError::Answer("the server is gone".to_owned()))
}
