//! `doorward audit verify`: whether chains hold, and whether they still have what was signed.
//!
//! Checkpoints and the key are read from files that were kept elsewhere, so that nobody who can write the audit, or the
//! server's whole database, can make them fit. A checkpoint that does not verify is an error, never passed over.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::files::{files_of, unreadable};
use super::signed::source_name;
use super::trail::{Trail, TrailArgs};
use super::where_from;
use crate::api::AuditVerified;
use crate::audit::checkpoint::CHECKPOINT_MAX;
use crate::audit::verify::{Broken, Fault, Verified, follows, verify_each};
use crate::audit::{Chain, Checkpoint, Hash, MAX_LINE, PublicKey, read_links};
use crate::cli::vault::block_on;
use crate::cli::{Env, Exit, Failure, Format};

/// The largest file of keys.
const KEYS_MAX: u64 = 64 << 10;

/// Check the chain of hashes (exit 1 where it is broken, or its end was cut off).
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Verify {
    /// The files, each verified by itself; default: the server that this user works with, or all of the audit directory.
    #[arg(value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// The files are one chain: each continues the one before it.
    #[arg(long)]
    pub(super) chained: bool,
    /// The files were exported by a server, which does not keep the torn bytes that `recovered` lines close.
    #[arg(long)]
    pub(super) exported: bool,
    /// Signed checkpoints that were kept elsewhere: the chains must still hold each of them.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(super) checkpoints: Option<PathBuf>,
    /// The public key that verifies them (`doorward audit key`), PEM; several one after the other.
    #[arg(long, value_name = "FILE", requires = "checkpoints")]
    pub(super) key: Option<PathBuf>,
    #[command(flatten)]
    pub(super) trail: TrailArgs,
}

/// Checkpoints that verified, by source.
#[derive(Debug, Default)]
pub(super) struct Book(BTreeMap<String, BTreeMap<u64, Hash>>);

/// What was signed of one chain, and how much of it was found.
#[derive(Clone, Debug, Default)]
struct Against {
    signed: BTreeMap<u64, Hash>,
    found: u64,
    last: u64,
}

impl Book {
    pub(super) fn read(checkpoints: &Path, key: &Path) -> Result<Self, Failure> {
        let mut text = String::new();
        let file = File::open(key).map_err(|error| unreadable(key, &error))?;
        file.take(KEYS_MAX).read_to_string(&mut text).map_err(|error| unreadable(key, &error))?;
        let keys = PublicKey::read_all(&text)
            .map_err(|error| Failure::new(Exit::Error, format!("{}: {error}", key.display())))?;
        let file = File::open(checkpoints).map_err(|error| unreadable(checkpoints, &error))?;
        let mut book = Self::default();
        let mut reader = BufReader::new(file);
        for number in 1_u64.. {
            let mut line = String::new();
            let part = reader.by_ref().take(CHECKPOINT_MAX as u64).read_line(&mut line);
            if part.map_err(|error| unreadable(checkpoints, &error))? == 0 {
                break;
            }
            if line.trim().is_empty() {
                continue;
            }
            let wrong = |error: &dyn std::fmt::Display| {
                Failure::new(Exit::Error, format!("{}:{number}: {error}", checkpoints.display()))
            };
            let checkpoint = Checkpoint::parse(line.trim()).map_err(|error| wrong(&error))?;
            checkpoint.check(&keys).map_err(|error| wrong(&error))?;
            let Chain { seq, hash } = checkpoint.chain;
            let before = book.0.entry(checkpoint.source).or_default().insert(seq, hash);
            if before.is_some_and(|before| before != hash) {
                return Err(wrong(&format!("another checkpoint says otherwise of record {seq}")));
            }
        }
        Ok(book)
    }

    /// What was signed of a source; where only one was signed, and no name is given, of that.
    fn against(&self, wanted: Option<&str>, name: &str) -> Against {
        let ends_so = |source: &String| source == name || source.ends_with(&format!("/{name}"));
        let found = match (wanted, self.0.len()) {
            (Some(wanted), _) => self.0.get(wanted),
            (None, 1) => self.0.values().next(),
            (None, _) => self.0.iter().find(|(source, _)| ends_so(source)).map(|(_, signed)| signed),
        };
        Against { signed: found.cloned().unwrap_or_default(), ..Against::default() }
    }

    /// The last record of a chain that was signed and is the one that stands there.
    pub(super) fn signed_end(&self, wanted: Option<&str>, name: &str) -> BTreeMap<u64, Hash> {
        self.against(wanted, name).signed
    }
}

impl Against {
    /// Whether the chain stands where it was signed to stand.
    fn holds(&mut self, chain: Chain) -> bool {
        match self.signed.get(&chain.seq) {
            Some(hash) if *hash == chain.hash => {
                self.found += 1;
                self.last = chain.seq;
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    /// What was signed beyond the end.
    fn beyond(&self, end: u64) -> Option<u64> {
        self.signed.keys().next_back().copied().filter(|last| *last > end)
    }
}

/// What is told of one file or source.
struct Report {
    object: Value,
    text: String,
    ok: bool,
}

/// The chain that is being read, over files that continue each other.
struct Current {
    against: Against,
    end: Chain,
}

/// The chains that files hold, one after the other, and what is told of them.
struct Chains<'a> {
    book: Option<&'a Book>,
    wanted: Option<&'a str>,
    current: Option<Current>,
    reports: Vec<Report>,
}

impl Chains<'_> {
    /// The first line of a file: it continues the chain that was read before, or begins another one.
    fn begin(&mut self, path: &Path, line: &[u8], chain: Chain) {
        if continues(self.current.as_ref(), line) {
            return;
        }
        self.reports.extend(self.current.take().as_ref().and_then(cut));
        let name = source_name(path, chain);
        let against = self.book.map(|book| book.against(self.wanted, &name)).unwrap_or_default();
        self.current = Some(Current { against, end: chain });
    }

    /// Whether the chain still is what was signed.
    fn goes_on(&mut self, chain: Chain) -> bool {
        self.current.as_mut().is_none_or(|current| {
            current.end = chain;
            current.against.holds(chain)
        })
    }

    fn end(mut self) -> Vec<Report> {
        self.reports.extend(self.current.as_ref().and_then(cut));
        self.reports
    }
}

impl Verify {
    pub(super) fn run(&self, env: &Env, folder: &Path) -> Result<Exit, Failure> {
        let book = match (&self.checkpoints, &self.key) {
            (Some(checkpoints), Some(key)) => Some(Book::read(checkpoints, key)?),
            _ => None,
        };
        let reports = match where_from(env, &self.files)? {
            Some(client) => {
                let trail = Trail::new(env, client, &self.trail)?;
                block_on(self.of_server(&trail, book.as_ref()))?
            }
            None => {
                if self.trail.installation {
                    self.trail.refused_for_files()?;
                }
                self.of_files(&files_of(&self.files, folder)?, book.as_ref())?
            }
        };
        print(env, reports)
    }

    async fn of_server(&self, trail: &Trail, book: Option<&Book>) -> Result<Vec<Report>, Failure> {
        if let Some(book) = book
            && let Some(other) = book.0.keys().find(|source| !trail.is_whole(source))
        {
            // A project sees its own records of a chain that others have records in.
            let why = format!("a project does not see the whole chain of `{other}`: give --installation");
            return Err(Failure::new(Exit::Usage, why));
        }
        let mut reports = Vec::new();
        for source in trail.sources().await? {
            let told: AuditVerified = trail.ask("/verify", &source, "").await?;
            let text = match &told.broken {
                Some(why) => format!("{source}: broken: {why}"),
                None => format!(
                    "{source}: ok: {} records verify, last {}, hash {}, {} checkpoints, signed to {}",
                    told.records, told.last, told.hash, told.checkpoints, told.signed
                ),
            };
            let ok = told.intact;
            let object =
                serde_json::to_value(&told).map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
            reports.push(Report { object, text, ok });
        }
        if let Some(book) = book {
            for (source, signed) in &book.0 {
                reports.push(kept_there(trail, source, signed).await?);
            }
        }
        Ok(reports)
    }

    fn of_files(&self, files: &[PathBuf], book: Option<&Book>) -> Result<Vec<Report>, Failure> {
        let mut chains =
            Chains { book, wanted: self.trail.source.as_deref(), current: None, reports: Vec::new() };
        for path in files {
            let file = File::open(path).map_err(|error| unreadable(path, &error))?;
            let after = chains.current.as_ref().filter(|_| self.chained).map(|current| current.end);
            let (mut replaced, mut is_first) = (None, true);
            let mut each = |line: &[u8], chain: Chain| {
                if std::mem::take(&mut is_first) {
                    chains.begin(path, line, chain);
                }
                if !chains.goes_on(chain) {
                    replaced.get_or_insert(chain.seq);
                }
            };
            let outcome = if self.exported {
                exported(BufReader::new(file), after, &mut each)
            } else {
                verify_each(BufReader::new(file), after, &mut each)
            };
            let name = path.display().to_string();
            let against = chains.current.as_ref().map(|current| current.against.clone()).unwrap_or_default();
            let report = match (outcome, replaced) {
                (Ok(verified), None) => whole(&name, &verified, book.map(|_| &against)),
                (Ok(_), Some(seq)) => {
                    let why = format!("record {seq} is not the one that was signed");
                    Report {
                        object: json!({"file": name, "ok": false, "seq": seq, "reason": why}),
                        text: format!("{name}: broken: {why}"),
                        ok: false,
                    }
                }
                (Err(broken), _) => {
                    // What was signed of a broken chain is not looked for behind the break.
                    chains.current = None;
                    Report {
                        object: json!({"file": name, "ok": false, "line": broken.line, "reason": broken.fault.to_string()}),
                        text: format!("{name}:{}: broken: {}", broken.line, broken.fault),
                        ok: false,
                    }
                }
            };
            chains.reports.push(report);
        }
        Ok(chains.end())
    }
}

/// Whether a line continues the chain that was read before.
fn continues(current: Option<&Current>, line: &[u8]) -> bool {
    let links = read_links(line.strip_suffix(b"\n").unwrap_or(line));
    match (current, links) {
        (Some(Current { end, .. }), Some((prev, chain))) => chain.seq == end.seq + 1 && prev == end.hash,
        _ => false,
    }
}

/// Lines that stand without the torn bytes between them.
fn exported(
    mut reader: impl BufRead,
    after: Option<Chain>,
    mut each: impl FnMut(&[u8], Chain),
) -> Result<Verified, Broken> {
    let mut verified = Verified::default();
    let mut chain = after;
    for line in 1_u64.. {
        let mut bytes = Vec::new();
        let part = reader.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut bytes);
        if part.map_err(|error| Broken { line, fault: Fault::Io(error) })? == 0 {
            break;
        }
        let text = bytes.strip_suffix(b"\n").ok_or(Broken { line, fault: Fault::Torn })?;
        let end = follows(text, chain).map_err(|fault| Broken { line, fault })?;
        if verified.lines == 0 {
            verified.first_seq = end.seq;
        }
        verified.lines += 1;
        chain = Some(end);
        each(&bytes, end);
    }
    verified.end = chain.unwrap_or_default();
    Ok(verified)
}

fn whole(name: &str, verified: &Verified, against: Option<&Against>) -> Report {
    let mut object = json!({
        "file": name, "ok": true, "lines": verified.lines, "first_seq": verified.first_seq,
        "last_seq": verified.end.seq, "last_hash": verified.end.hash.to_string(), "recovered": verified.recovered,
    });
    let mut text = format!("{name}: ok: {verified}");
    if let (Some(against), Some(fields)) = (against, object.as_object_mut()) {
        fields.insert("checkpoints".to_owned(), against.found.into());
        fields.insert("signed".to_owned(), against.last.into());
        text.push_str(&match against.found {
            0 => ", no checkpoint of it".to_owned(),
            found => format!(", {found} checkpoints, signed to {}", against.last),
        });
    }
    Report { object, text, ok: true }
}

/// A chain that ended although more of it was signed.
fn cut(ended: &Current) -> Option<Report> {
    let signed = ended.against.beyond(ended.end.seq)?;
    let why = format!("it ends at record {}, and a checkpoint says that it had {signed}", ended.end.seq);
    Some(Report {
        object: json!({"ok": false, "last_seq": ended.end.seq, "signed": signed, "reason": why}),
        text: format!("broken: the chain was cut off: {why}"),
        ok: false,
    })
}

/// Whether a server still has what was signed of one of its chains.
async fn kept_there(trail: &Trail, source: &str, signed: &BTreeMap<u64, Hash>) -> Result<Report, Failure> {
    let mut wrong = None;
    let name = trail.own_name(source);
    let first = trail.first(&name).await?;
    for (seq, hash) in signed {
        // What is older than the term was dropped.
        if first.is_some_and(|first| *seq < first) {
            continue;
        }
        let line = trail.line(&name, *seq).await?;
        let chain = line.and_then(|line| read_links(line.as_bytes())).map(|(_, chain)| chain);
        if chain != Some(Chain { seq: *seq, hash: *hash }) {
            wrong = Some(*seq);
            break;
        }
    }
    let ok = wrong.is_none();
    let told = match wrong {
        Some(seq) => format!("broken: record {seq} is not there, or not the one that was signed"),
        None => format!("ok: {} checkpoints that were kept elsewhere hold", signed.len()),
    };
    let object = json!({"source": source, "ok": ok, "reason": told});
    Ok(Report { object, text: format!("{source}: {told}"), ok })
}

fn print(env: &Env, reports: Vec<Report>) -> Result<Exit, Failure> {
    let exit = if reports.iter().all(|report| report.ok) { Exit::Ok } else { Exit::Error };
    match env.globals.output {
        Format::Json => env.output.data(reports.into_iter().map(|report| report.object).collect::<Value>()),
        Format::Jsonl => reports.iter().for_each(|report| env.output.data(&report.object)),
        Format::Table | Format::Wide => reports.iter().for_each(|report| env.output.data(&report.text)),
        Format::Yaml
        | Format::Name
        | Format::Sh
        | Format::Dotenv
        | Format::Docker
        | Format::Pem
        | Format::Bundle
        | Format::Java => {
            return Err(Failure::new(Exit::Usage, "audit verify prints -o table, json or jsonl"));
        }
    }
    Ok(exit)
}
