//! `doorward audit prune`: drops what is older than a term, on a server or on this machine.
//!
//! A server drops the beginnings of its chains up to a signed checkpoint. Of files only whole ones go: which verify, are older
//! in every line, are not written any more, are continued by another file, and end at or before a line that was signed; where
//! the checkpoints are a server's, that is the proof that it has the lines. Whatever cannot be shown to be so stays.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::files::{files_of, unreadable};
use super::filter::past;
use super::signed::source_name;
use super::verify::Book;
use super::where_from;
use crate::api::AuditPruned;
use crate::audit::search::{Facts, moment};
use crate::audit::verify::verify_each;
use crate::audit::{Chain, Hash, read_links};
use crate::cli::remote::{Body, Client};
use crate::cli::vault::block_on;
use crate::cli::{Env, Exit, Failure, when};

/// Drop what is older than a time.
#[derive(Args, Clone, Debug)]
pub(super) struct Prune {
    /// What is older goes: `2027-01-31`, `2027-01-31T12:00:00Z`, or so long ago `90d`.
    #[arg(long, value_name = "TIME")]
    pub(super) before: String,
    /// Of this source only.
    #[arg(long, value_name = "NAME")]
    pub(super) source: Option<String>,
    /// For files: the signed checkpoints, of the server that they were shipped to or of `doorward audit checkpoint`.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(super) checkpoints: Option<PathBuf>,
    /// For files: the public key that verifies them.
    #[arg(long, value_name = "FILE", requires = "checkpoints")]
    pub(super) key: Option<PathBuf>,
    /// The files; default: the server that this user works with, or all of the audit directory.
    #[arg(value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
}

impl Prune {
    pub(super) fn run(&self, env: &Env, folder: &Path) -> Result<Exit, Failure> {
        let before = past(&self.before, "--before")?;
        if let Some(client) = where_from(env, &self.files)? {
            return block_on(self.on_server(env, &client, before));
        }
        let (Some(checkpoints), Some(key)) = (&self.checkpoints, &self.key) else {
            return Err(Failure::new(
                Exit::Usage,
                "files are dropped only up to a signed line: give --checkpoints FILE --key FILE",
            ));
        };
        let book = Book::read(checkpoints, key)?;
        let mut exit = Exit::Ok;
        for (path, fate) in self.fates(&files_of(&self.files, folder)?, &book, &moment(before))? {
            match fate {
                Fate::Young => {}
                Fate::Refused(why) => {
                    exit = Exit::Error;
                    env.output.say(format!("{} stays: {why}", path.display()));
                }
                Fate::Goes => {
                    fs::remove_file(&path).map_err(|error| unreadable(&path, &error))?;
                    env.output.say(format!("{} dropped", path.display()));
                }
            }
        }
        Ok(exit)
    }

    async fn on_server(
        &self,
        env: &Env,
        client: &Client,
        before: time::OffsetDateTime,
    ) -> Result<Exit, Failure> {
        let body = json!({"before": when::show(before.unix_timestamp()), "source": self.source});
        let told: AuditPruned = client.post("/v1/audit/prune", Body::of(&body)).await?.read()?;
        let mut exit = Exit::Ok;
        for one in told.items {
            env.output.say(match (one.refused, one.from) {
                (Some(why), _) => {
                    exit = Exit::Error;
                    format!("{}: nothing was dropped: {why}", one.source)
                }
                (None, from) => {
                    format!(
                        "{}: {} records dropped, it begins at {}",
                        one.source,
                        one.dropped,
                        from.unwrap_or(1)
                    )
                }
            });
        }
        Ok(exit)
    }

    /// What becomes of each file, in an order in which every step leaves chains that verify.
    fn fates(&self, files: &[PathBuf], book: &Book, before: &str) -> Result<Vec<(PathBuf, Fate)>, Failure> {
        let mut pieces = Vec::new();
        for path in files {
            pieces.push(Piece::of(path)?);
        }
        // By what each stands behind: the next file of a chain is found by it.
        let follows: BTreeMap<(u64, [u8; 32]), usize> = pieces
            .iter()
            .enumerate()
            .filter_map(|(at, piece)| {
                Some(((piece.begins.seq, piece.begins.hash.0), at)).filter(|_| piece.end.seq > 0)
            })
            .collect();
        let next =
            |piece: &Piece| follows.get(&(piece.end.seq, piece.end.hash.0)).and_then(|at| pieces.get(*at));
        let has_before = |piece: &Piece| {
            pieces.iter().any(|other| other.end.seq > 0 && other.end == piece.begins && other.fault.is_none())
        };
        let mut fates = Vec::new();
        for head in pieces.iter().filter(|piece| !has_before(piece)) {
            let signed = book.signed_end(self.source.as_deref(), &head.name);
            let mut reached = 0;
            let mut piece = Some(head);
            // The whole chain first: a checkpoint may stand in a later file.
            while let Some(one) = piece {
                reached = reached.max(one.signed_to(&signed)?);
                piece = next(one).filter(|_| one.fault.is_none());
            }
            let mut piece = Some(head);
            while let Some(one) = piece {
                let fate = one.fate(before, reached, next(one).is_some());
                let is_end = !matches!(fate, Fate::Goes);
                fates.push((one.path.clone(), fate));
                piece = next(one).filter(|_| !is_end);
            }
        }
        Ok(fates)
    }
}

enum Fate {
    /// Not old enough.
    Young,
    /// Old enough, and it stays.
    Refused(String),
    Goes,
}

/// A file as a part of a chain.
struct Piece {
    path: PathBuf,
    name: String,
    /// Where the chain stood before its first line.
    begins: Chain,
    end: Chain,
    /// The latest time of its lines.
    latest: String,
    fault: Option<String>,
    in_use: bool,
}

impl Piece {
    fn of(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        // The process that writes it holds it.
        let in_use = file.try_lock().is_err();
        let (mut latest, mut first) = (String::new(), None);
        let verified = verify_each(BufReader::new(&file), None, |line, chain| {
            first.get_or_insert_with(|| (chain, read_links(line.strip_suffix(b"\n").unwrap_or(line))));
            let ts =
                std::str::from_utf8(line).ok().and_then(Facts::of).map(|facts| facts.ts).unwrap_or_default();
            latest = std::mem::take(&mut latest).max(ts);
        });
        let (name, begins) = match first {
            Some((chain, Some((prev, _)))) => {
                (source_name(path, chain), Chain { seq: chain.seq.saturating_sub(1), hash: prev })
            }
            _ => (String::new(), Chain::default()),
        };
        let (end, fault) = match verified {
            Ok(verified) => (verified.end, None),
            Err(broken) => (Chain::default(), Some(broken.to_string())),
        };
        Ok(Self { path: path.to_owned(), name, begins, end, latest, fault, in_use })
    }

    /// The last of its lines that was signed and is the one that stands there.
    fn signed_to(&self, signed: &BTreeMap<u64, Hash>) -> Result<u64, Failure> {
        let within = signed.range(self.begins.seq + 1..=self.end.seq.max(self.begins.seq + 1)).next_back();
        let Some((seq, hash)) = within.filter(|_| self.fault.is_none()) else { return Ok(0) };
        let file = File::open(&self.path).map_err(|error| unreadable(&self.path, &error))?;
        let mut found = false;
        let verified = verify_each(BufReader::new(file), None, |_, chain| {
            found |= chain == Chain { seq: *seq, hash: *hash };
        });
        Ok(if verified.is_ok() && found { *seq } else { 0 })
    }

    fn fate(&self, before: &str, reached: u64, is_continued: bool) -> Fate {
        let refused = |why: &str| Fate::Refused(why.to_owned());
        if let Some(fault) = &self.fault {
            return Fate::Refused(format!("it does not verify: {fault}"));
        }
        if self.end.seq == 0 || self.latest.as_str() >= before {
            return Fate::Young;
        }
        if self.in_use {
            return refused("a running process writes it");
        }
        if !is_continued {
            return refused("no other file continues it, and the next process has to");
        }
        if reached < self.end.seq {
            return refused("no checkpoint signs its last line or a later one");
        }
        Fate::Goes
    }
}
