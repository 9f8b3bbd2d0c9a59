//! What is known of the demo's run, and whether it is what was promised.

use std::fs;
use std::io::BufReader;
use std::path::Path;
use std::time::{Duration, Instant};

use control::audit::verify::verify;
use control::cli::Failure;
use control::leak;
use serde::Deserialize;

use super::origin::Presented;
use super::{Answers, Stage, failed};

/// How long the audit's lines may take: the writer gathers them for at most 50 ms.
const AUDIT: Duration = Duration::from_secs(5);
/// The agent's requests.
const REQUESTS: usize = 3;
/// No file of the demo is larger, the bundle included.
const FILE_MAX: u64 = 16 << 20;

/// What happened.
pub(super) struct Evidence<'a> {
    pub(super) stage: &'a Stage,
    pub(super) answers: &'a Answers,
    pub(super) audit: &'a Audit,
}

/// One promise.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) held: bool,
    pub(super) what: String,
}

/// The audit's file.
#[derive(Debug)]
pub(super) struct Audit {
    pub(super) requests: Vec<Line>,
    intact: bool,
}

/// What is shown of an audit line.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Line {
    kind: String,
    #[serde(default)]
    pub(super) verdict: Option<String>,
    #[serde(default)]
    pub(super) code: Option<String>,
    #[serde(default)]
    pub(super) method: Option<String>,
    #[serde(default)]
    pub(super) host: Option<String>,
    #[serde(default)]
    pub(super) path: Option<String>,
    #[serde(default)]
    pub(super) secret: Option<String>,
    #[serde(default)]
    pub(super) status: Option<u16>,
}

/// Waits until the audit holds every request, and reads it.
pub(super) async fn audit(path: &Path) -> Result<Audit, Failure> {
    let unreadable = |error: std::io::Error| failed(format!("{}: {error}", path.display()));
    let deadline = Instant::now() + AUDIT;
    loop {
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let requests: Vec<Line> = lines.filter(|line| line.kind == "request").collect();
        if requests.len() >= REQUESTS || Instant::now() > deadline {
            let intact = verify(BufReader::new(text.as_bytes()), None).is_ok();
            return Ok(Audit { requests, intact });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Evidence<'_> {
    /// Every promise, and whether it was kept. `page` is what people are shown.
    pub(super) fn checks(&self, page: &str) -> Vec<Check> {
        let check = |held: bool, what: &str| Check { held, what: what.to_owned() };
        let received = self.stage.origin.received();
        let Answers { allowed, denied, elsewhere } = self.answers;
        let verdicts: Vec<_> =
            self.audit.requests.iter().map(|line| line.verdict.as_deref().unwrap_or("")).collect();
        let told = |answer: &super::Answer, code: &str| {
            answer.status() == Some(403) && answer.member("code").as_deref() == Some(code)
        };
        let arrived = matches!(received.first(), Some(one) if one.presented == Presented::RealCredential);
        let dummy = self.stage.agent.dummy();
        vec![
            check(!dummy.is_empty(), "the agent started with a dummy"),
            check(arrived, "the origin received the real credential"),
            check(
                allowed.status() == Some(200) && allowed.text.contains("****"),
                "the agent got its answer, with the echo masked",
            ),
            check(told(denied, "DW1002"), "DELETE was refused by the rule no-delete (DW1002)"),
            check(told(elsewhere, "DW1001"), "a host that no provider names was refused (DW1001)"),
            check(received.len() == 1, "nothing that was refused reached the origin"),
            check(
                verdicts == ["allow", "deny", "deny"] && self.audit.intact,
                "the audit holds every request, its chain is intact",
            ),
            self.sweep(page),
        ]
    }

    /// Looks for the credential in everything that the agent could read.
    fn sweep(&self, page: &str) -> Check {
        let mut sweep = Sweep { stage: self.stage, places: 0, bytes: 0, found: Vec::new() };
        for (name, value) in &self.stage.agent.env {
            sweep.look("the agent's environment", format!("{name}={value}").as_bytes());
        }
        for answer in [&self.answers.allowed, &self.answers.denied, &self.answers.elsewhere] {
            sweep.look("an answer", answer.text.as_bytes());
            sweep.look("the client's complaints", answer.complaint.as_bytes());
        }
        sweep.look("this page", page.as_bytes());
        sweep.folder(&self.stage.sidecar.folder());
        sweep.folder(self.stage.home.path());
        for file in self.stage.sidecar.process_files() {
            sweep.file(&file);
        }
        let Sweep { places, bytes, found, .. } = sweep;
        let what = match found.as_slice() {
            [] => format!(
                "leak check: {} KiB in {places} places (files, vault, logs, audit, answers): the credential is in none",
                bytes / 1024
            ),
            found => format!("leak check: the credential is {}", found.join("; ")),
        };
        Check { held: found.is_empty(), what }
    }
}

struct Sweep<'a> {
    stage: &'a Stage,
    places: usize,
    bytes: usize,
    found: Vec<String>,
}

impl Sweep<'_> {
    fn look(&mut self, place: &str, bytes: &[u8]) {
        self.places += 1;
        self.bytes += bytes.len();
        // exposed: to be looked for
        if let Some(form) = leak::find(bytes, self.stage.credential.expose()) {
            self.found.push(format!("in {place}, {form}"));
        }
    }

    fn folder(&mut self, folder: &Path) {
        let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        for path in entries.map(|entry| entry.path()) {
            if path.is_dir() { self.folder(&path) } else { self.file(&path) }
        }
    }

    fn file(&mut self, path: &Path) {
        let is_small = fs::metadata(path).is_ok_and(|meta| meta.len() <= FILE_MAX);
        match fs::read(path) {
            Ok(bytes) if is_small => self.look(&path.display().to_string(), &bytes),
            // What we cannot read the agent, which is the same user, cannot read either.
            Ok(_) | Err(_) => {}
        }
    }
}
