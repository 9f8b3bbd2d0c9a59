//! `doorward-bench`: measures doorward beside its floor and its peers. `bench/README.md` says what and how.

use bench::compare::{self, Outcome};
use bench::control::{self, ControlArgs};
use bench::counting::{self, CountingArgs};
use bench::floor::{self, FloorArgs};
use bench::micro;
use bench::origin::{self, OriginArgs};
use bench::peer::Peer;
use bench::report::{self, Run};
use bench::rig::Rig;
use bench::scenario::{SCENARIOS, Scenario, Shape, Size, by_name};
use bench::{BenchError, Result};
use clap::{Args, Parser, Subcommand};
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(about = "Measures doorward beside its floor and its peers")]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Compares peers in alternating rounds.
    Compare(Compare),
    /// Measures everything and refreshes the table in bench/README.md.
    Table(Table),
    /// Runs micro benchmarks of `benches/` and appends their medians.
    Micro(Micro),
    /// Runs every scenario once, tiny, against the floor (and doorward, if given); judges nothing but success.
    Smoke(Common),
    /// Measures a vault server that very many agents follow.
    Control(ControlArgs),
    /// Measures what counting a model's tokens costs of the proxy's CPU for a stream.
    Counting(CountingArgs),
    /// Lists the scenarios.
    Scenarios,
    /// Serves the test origin (started by the others).
    #[command(hide = true)]
    Origin(OriginArgs),
    /// Serves the floor (started by the others).
    #[command(hide = true)]
    Floor(FloorArgs),
}

#[derive(Args)]
struct Common {
    /// The doorward binary to measure.
    #[arg(long)]
    doorward: Option<PathBuf>,
}

#[derive(Args)]
struct Compare {
    #[command(flatten)]
    common: Common,
    /// Peers, in the order in which they alternate; default all.
    #[arg(long = "peer", value_enum)]
    peers: Vec<Peer>,
    /// Scenarios; default all but the flatness run.
    #[arg(long = "scenario")]
    scenarios: Vec<String>,
    /// Rounds behind each median.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of the measured part of a loop.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Requests of the flatness run.
    #[arg(long, default_value_t = Size::FULL.flat)]
    count: u64,
    /// Where the lines go.
    #[arg(long, default_value = "bench/history/compare.jsonl")]
    history: PathBuf,
    /// Writes no lines.
    #[arg(long)]
    no_history: bool,
}

#[derive(Args)]
struct Micro {
    /// The benches.
    #[arg(long = "bench", default_values_t = ["token".to_owned(), "sign".to_owned()])]
    benches: Vec<String>,
    /// Rounds behind each median.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where the lines go.
    #[arg(long, default_value = "bench/history/micro.jsonl")]
    history: PathBuf,
    /// Writes no lines.
    #[arg(long)]
    no_history: bool,
}

#[derive(Args)]
struct Table {
    #[command(flatten)]
    common: Common,
    /// Rounds behind each median.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of the measured part of a loop.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Renders the table from the history and measures nothing.
    #[arg(long)]
    render_only: bool,
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    match runtime.block_on(run_until_told(Cli::parse().command)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

fn fail(error: &BenchError) -> ExitCode {
    eprintln!("doorward-bench: {error}");
    ExitCode::FAILURE
}

/// A signal ends the run in order: peers and temporary folders go with their owners.
async fn run_until_told(verb: Verb) -> Result<bool> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = run(verb) => outcome,
        _ = terminate.recv() => Ok(false),
        _ = tokio::signal::ctrl_c() => Ok(false),
    }
}

/// Whether every peer that could be started did its duty.
async fn run(verb: Verb) -> Result<bool> {
    match verb {
        Verb::Compare(arguments) => run_compare(arguments).await,
        Verb::Micro(Micro { benches, rounds, history, no_history }) => {
            micro::run(&benches, rounds, (!no_history).then_some(&*history)).map(|()| true)
        }
        Verb::Table(arguments) => run_table(arguments).await,
        Verb::Smoke(common) => run_smoke(common).await,
        Verb::Control(arguments) => control::run(arguments).await,
        Verb::Counting(arguments) => counting::run(arguments).await,
        Verb::Scenarios => {
            for scenario in SCENARIOS {
                println!("{:<14}{}", scenario.name, scenario.question);
            }
            Ok(true)
        }
        Verb::Origin(arguments) => {
            end_with_standard_input();
            origin::run(arguments, |h1, h2| println!("{h1} {h2}")).await.map(|()| true)
        }
        Verb::Floor(arguments) => {
            end_with_standard_input();
            floor::run(arguments, |address| println!("{address}")).await.map(|()| true)
        }
    }
}

async fn run_compare(arguments: Compare) -> Result<bool> {
    let peers = if arguments.peers.is_empty() { Peer::ALL.to_vec() } else { arguments.peers };
    let scenarios = chosen(&arguments.scenarios)?;
    let size = Size { seconds: seconds(arguments.seconds)?, flat: arguments.count, ..Size::FULL };
    let rig = Rig::build(arguments.common.doorward)?;
    let run = Run::describe(rig.cores, arguments.rounds);
    let mut good = true;
    for scenario in scenarios {
        let outcomes = compare::scenario(&rig, scenario, &peers, &size, arguments.rounds).await;
        println!("{}", report::plain(scenario, &outcomes));
        if !arguments.no_history {
            report::append(&arguments.history, &run, scenario, &outcomes)?;
        }
        good &= none_failed(&outcomes);
    }
    Ok(good)
}

async fn run_table(arguments: Table) -> Result<bool> {
    let history = PathBuf::from("bench/history/table.jsonl");
    let mut good = true;
    if !arguments.render_only {
        let size = Size { seconds: seconds(arguments.seconds)?, ..Size::FULL };
        let rig = Rig::build(arguments.common.doorward)?;
        let run = Run::describe(rig.cores, arguments.rounds);
        for scenario in SCENARIOS {
            let (peers, rounds) = match scenario.shape {
                // A million requests once, and not through peers that would need an hour for them.
                Shape::Flat => (vec![Peer::Floor, Peer::Doorward], 1),
                _ => (Peer::ALL.to_vec(), arguments.rounds),
            };
            let outcomes = compare::scenario(&rig, scenario, &peers, &size, rounds).await;
            println!("{}", report::plain(scenario, &outcomes));
            report::append(&history, &run, scenario, &outcomes)?;
            good &= none_failed(&outcomes);
        }
    }
    report::refresh("bench/README.md".as_ref(), &history)?;
    Ok(good)
}

async fn run_smoke(common: Common) -> Result<bool> {
    let mut peers = vec![Peer::Direct, Peer::Floor];
    peers.extend(common.doorward.is_some().then_some(Peer::Doorward));
    let rig = Rig::build(common.doorward)?;
    let mut good = true;
    for scenario in SCENARIOS {
        let outcomes = compare::scenario(&rig, scenario, &peers, &Size::SMOKE, 1).await;
        for (peer, outcome) in &outcomes {
            match outcome {
                Outcome::Measured(_) => println!("ok      {:<14}{}", scenario.name, peer.name()),
                Outcome::NotRun(why) => println!("not run {:<14}{} ({why})", scenario.name, peer.name()),
                Outcome::Failed(why) => println!("FAILED  {:<14}{} ({why})", scenario.name, peer.name()),
            }
        }
        good &= none_failed(&outcomes);
    }
    if rig.doorward.is_some() {
        let outcome = counting::measure(&rig, counting::Load::SMOKE, 2).await;
        match &outcome {
            Ok(_) => println!("ok      {:<14}doorward", "counting"),
            Err(why) => println!("FAILED  {:<14}doorward ({why})", "counting"),
        }
        good &= outcome.is_ok();
    }
    Ok(good)
}

fn none_failed(outcomes: &[(Peer, Outcome)]) -> bool {
    !outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)))
}

fn chosen(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().filter(|scenario| scenario.shape != Shape::Flat).collect());
    }
    let find =
        |name: &String| by_name(name).ok_or_else(|| BenchError::Usage(format!("no scenario {name:?}")));
    names.iter().map(find).collect()
}

fn seconds(number: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(number).map_err(|e| BenchError::Usage(format!("--seconds: {e}")))
}

/// Origin and floor are started with a pipe as standard input: when their owner goes, it closes, and they go too.
fn end_with_standard_input() {
    std::thread::spawn(|| {
        let mut byte = [0_u8; 1];
        while std::io::stdin().read(&mut byte).is_ok_and(|n| n > 0) {}
        std::process::exit(0);
    });
}
