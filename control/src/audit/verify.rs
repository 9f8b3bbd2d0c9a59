//! Reads audit files again: checks the chain line by line, and finds where a file has to be continued.
//!
//! A break is reported with its first line. Lines that do not verify are accepted in one case only: they stand in front of
//! a `recovered` line that continues the chain and names their length and SHA-256. What a chain without a key cannot show:
//! whole lines cut off at the end, and a file that was written anew from its first line on; compare the last `seq` and
//! `hash` with what was noted elsewhere.

use std::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::line::{Chain, HASH_KEY, Hash, MAX_LINE, TAIL};

/// How much of a file's end is read to find its last line.
const TAIL_WINDOW: u64 = 8 * MAX_LINE as u64;

/// What a verified file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many lines verified.
    pub lines: u64,
    /// The first line's `seq`; over 1 for a file that continues a rotated one.
    pub first_seq: u64,
    /// Where the chain stands at the end.
    pub end: Chain,
    /// How many torn places were closed by `recovered` lines.
    pub recovered: u64,
}

/// Where and why a file does not verify.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct Broken {
    /// The line, from 1.
    pub line: u64,
    /// Why.
    #[source]
    pub fault: Fault,
}

/// Why a line does not verify.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It is no audit line.
    #[error("not an audit line, and no `recovered` line closes it")]
    Malformed,
    /// Its bytes do not match its hash.
    #[error("the hash does not match the line, and no `recovered` line closes it")]
    Hash,
    /// `prev` is not the hash of the line before.
    #[error("`prev` is not the hash of the line before")]
    Prev,
    /// `seq` does not follow.
    #[error("`seq` is {found}, {expected} was expected")]
    Seq {
        /// What follows the line before.
        expected: u64,
        /// What the line says.
        found: u64,
    },
    /// The file ends within a line.
    #[error("the last line is torn; it is closed when a proxy continues the file")]
    Torn,
    /// A `recovered` line that does not match what stands before it.
    #[error("a `recovered` line does not match the bytes in front of it")]
    Recovered,
    /// The file cannot be read.
    #[error("cannot be read")]
    Io(#[source] io::Error),
}

/// Verifies one file; `after` is the end of the file before it in a rotation.
pub fn verify(file: impl BufRead, after: Option<Chain>) -> Result<Verified, Broken> {
    verify_each(file, after, |_, _| {})
}

/// The same, and shows each line that verified and where the chain stands behind it.
pub fn verify_each(
    file: impl BufRead,
    after: Option<Chain>,
    mut each: impl FnMut(&[u8], Chain),
) -> Result<Verified, Broken> {
    let mut check = Check { chain: after, ..Check::default() };
    let mut reader = file;
    let mut line = Vec::new();
    loop {
        line.clear();
        check.number += 1;
        // A line without end must not fill the memory.
        let read = reader.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line);
        if read.map_err(|error| check.broken(Fault::Io(error)))? == 0 {
            return check.end();
        }
        if let Some(chain) = check.line(&line)? {
            each(&line, chain);
        }
    }
}

#[derive(Debug, Default)]
struct Check {
    number: u64,
    chain: Option<Chain>,
    verified: Verified,
    gap: Option<Gap>,
}

/// Bytes that do not verify, waiting for their `recovered` line.
#[derive(Debug)]
struct Gap {
    line: u64,
    fault: Fault,
    len: u64,
    digest: Sha256,
}

impl Check {
    fn line(&mut self, line: &[u8]) -> Result<Option<Chain>, Broken> {
        let parsed = match parse(line) {
            Ok(parsed) => parsed,
            Err(fault) => {
                self.tear(line, fault);
                return Ok(None);
            }
        };
        if let Some(gap) = self.gap.take() {
            if parsed.recovered != Some((gap.len, Hash(gap.digest.finalize().into()))) {
                return Err(Broken { line: gap.line, fault: gap.fault });
            }
            self.verified.recovered += 1;
        } else if parsed.recovered.is_some() {
            return Err(self.broken(Fault::Recovered));
        }
        self.follow(parsed).map(Some)
    }

    fn follow(&mut self, parsed: Parsed) -> Result<Chain, Broken> {
        // The first line of a file may continue another one; the first of a chain has nothing before it.
        let before = match self.chain {
            Some(chain) => chain,
            None if parsed.seq == 1 => Chain::default(),
            None => Chain { seq: parsed.seq.wrapping_sub(1), hash: parsed.prev },
        };
        if parsed.seq != before.seq.wrapping_add(1) {
            return Err(self.broken(Fault::Seq { expected: before.seq.wrapping_add(1), found: parsed.seq }));
        }
        if parsed.prev != before.hash {
            return Err(self.broken(Fault::Prev));
        }
        if self.verified.lines == 0 {
            self.verified.first_seq = parsed.seq;
        }
        self.verified.lines += 1;
        let chain = Chain { seq: parsed.seq, hash: parsed.hash };
        self.chain = Some(chain);
        Ok(chain)
    }

    fn tear(&mut self, line: &[u8], fault: Fault) {
        let at = self.number;
        let gap = self.gap.get_or_insert_with(|| Gap { line: at, fault, len: 0, digest: Sha256::new() });
        gap.len += line.len() as u64;
        gap.digest.update(line);
    }

    fn broken(&self, fault: Fault) -> Broken {
        Broken { line: self.number, fault }
    }

    fn end(mut self) -> Result<Verified, Broken> {
        if let Some(gap) = self.gap.take() {
            return Err(Broken { line: gap.line, fault: gap.fault });
        }
        self.verified.end = self.chain.unwrap_or_default();
        Ok(self.verified)
    }
}

/// A line whose hash matches its bytes.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) seq: u64,
    pub(super) prev: Hash,
    pub(super) hash: Hash,
    /// The length and digest of the bytes that a `recovered` line closes.
    recovered: Option<(u64, Hash)>,
}

#[derive(Deserialize)]
struct Keys<'a> {
    seq: u64,
    prev: &'a str,
    kind: &'a str,
    #[serde(borrow)]
    reason: Option<std::borrow::Cow<'a, str>>,
}

/// Reads a line with its newline and checks its own hash.
pub(super) fn parse(line: &[u8]) -> Result<Parsed, Fault> {
    let body = line.strip_suffix(b"\n").ok_or(Fault::Torn)?;
    let text = str::from_utf8(body).map_err(|_| Fault::Malformed)?;
    let split = text.len().checked_sub(TAIL).ok_or(Fault::Malformed)?;
    let (hashed, tail) = text.split_at_checked(split).ok_or(Fault::Malformed)?;
    let hash = tail.strip_prefix(HASH_KEY).and_then(|rest| rest.strip_suffix("\"}")).and_then(Hash::parse);
    let hash = hash.ok_or(Fault::Malformed)?;
    if Hash(Sha256::digest(hashed).into()) != hash {
        return Err(Fault::Hash);
    }
    let keys: Keys<'_> = serde_json::from_str(text).map_err(|_| Fault::Malformed)?;
    let prev = Hash::parse(keys.prev).ok_or(Fault::Malformed)?;
    let recovered = match (keys.kind, keys.reason) {
        ("recovered", Some(reason)) => Some(read_gap(&reason).ok_or(Fault::Malformed)?),
        ("recovered", None) => return Err(Fault::Malformed),
        _ => None,
    };
    Ok(Parsed { seq: keys.seq, prev, hash, recovered })
}

/// Checks one line (without newline) where the lines are kept apart from the bytes that `recovered` lines close; `before` is
/// where the chain stands, if the line is not the first of what is kept.
pub fn follows(line: &[u8], before: Option<Chain>) -> Result<Chain, Fault> {
    let parsed = parse(&[line, b"\n"].concat())?;
    Check { chain: before, ..Check::default() }.follow(parsed).map_err(|broken| broken.fault)
}

/// Whether a chain whose first line is in the middle of a file's was begun there: then it is called after that line. Any other
/// has lost its beginning.
pub fn is_begun_at(source: &str, first: Chain) -> bool {
    let named = source.rsplit('/').next().unwrap_or_default();
    named.len() == SOURCE_ID && first.hash.to_string().starts_with(named)
}

/// How many digits of its first line's hash a sidecar's chain is called by.
pub const SOURCE_ID: usize = 16;

/// What a line (without newline) says came before it, and where the chain stands behind it, if it matches its own hash.
pub fn read_links(line: &[u8]) -> Option<(Hash, Chain)> {
    if line.len() >= MAX_LINE || line.contains(&b'\n') {
        return None;
    }
    let parsed = parse(&[line, b"\n"].concat()).ok()?;
    Some((parsed.prev, Chain { seq: parsed.seq, hash: parsed.hash }))
}

/// The reason of a `recovered` line: which bytes it closes.
pub(super) fn gap_text(len: u64, digest: Hash) -> String {
    format!("closes {len} bytes with sha256 {digest}")
}

fn read_gap(reason: &str) -> Option<(u64, Hash)> {
    let (len, digest) = reason.strip_prefix("closes ")?.split_once(" bytes with sha256 ")?;
    Some((len.parse().ok()?, Hash::parse(digest)?))
}

/// How a file has to be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Continuation {
    /// Where the chain stands.
    pub(super) chain: Chain,
    /// Whether the file has to be given a newline first.
    pub(super) newline: bool,
    /// What a `recovered` line has to close, the newline included.
    pub(super) gap: Option<(u64, Hash)>,
}

/// Why a file cannot be continued.
#[derive(Debug, thiserror::Error)]
pub(super) enum TailError {
    #[error("it holds something other than audit lines")]
    Foreign,
    #[error("its end cannot be read")]
    Io(#[source] io::Error),
}

/// Finds the last good line of a file and what stands behind it.
pub(super) fn continuation(file: &mut (impl Read + Seek)) -> Result<Continuation, TailError> {
    let len = file.seek(SeekFrom::End(0)).map_err(TailError::Io)?;
    let start = len.saturating_sub(TAIL_WINDOW);
    file.seek(SeekFrom::Start(start)).map_err(TailError::Io)?;
    let mut window = Vec::new();
    file.take(TAIL_WINDOW).read_to_end(&mut window).map_err(TailError::Io)?;
    if window.is_empty() {
        return Ok(Continuation { chain: Chain::default(), newline: false, gap: None });
    }
    let newline = !window.ends_with(b"\n");
    if newline {
        // A whole line that lost only its newline is a good line once it has it.
        window.push(b'\n');
    }
    let mut end = window.len();
    while end > 0 {
        let begin = window
            .get(..end - 1)
            .and_then(|head| head.iter().rposition(|byte| *byte == b'\n'))
            .map_or(0, |at| at + 1);
        if let Some(Ok(line)) = window.get(begin..end).map(parse) {
            let chain = Chain { seq: line.seq, hash: line.hash };
            return Ok(Continuation { chain, newline, gap: gap(window.get(end..).unwrap_or_default()) });
        }
        end = begin;
    }
    // No good line at all: the very first one was torn, or the file is somebody else's.
    let opening = b"{\"ts\":\"";
    let ours = start == 0 && window.iter().zip(opening).all(|(found, ours)| found == ours || *found == b'\n');
    if !ours {
        return Err(TailError::Foreign);
    }
    Ok(Continuation { chain: Chain::default(), newline, gap: gap(&window) })
}

fn gap(bytes: &[u8]) -> Option<(u64, Hash)> {
    (!bytes.is_empty()).then(|| (bytes.len() as u64, Hash(Sha256::digest(bytes).into())))
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lines verify, seq {} to {}, last hash {}",
            self.lines, self.first_seq, self.end.seq, self.end.hash
        )?;
        if self.recovered > 0 {
            write!(f, ", {} torn places closed", self.recovered)?;
        }
        Ok(())
    }
}
