//! What is done to the chains that a server keeps: they are checked and signed, and what is older than a term is dropped.
//!
//! Nothing is signed that does not verify from the last checkpoint on. Nothing is dropped but a whole beginning of a chain
//! that verifies, is older than the term, and ends at a signed checkpoint: its line stays, so that the rest verifies from it.
//! What cannot be verified stays, and is told.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::audit::verify::{Fault, follows, is_begun_at};
use crate::audit::{Chain, Checkpoint, CheckpointError, Entry, Kind, PublicKey, Verdict};
use crate::registry::{AuditHead, AuditLine, Registry, RegistryError};
use crate::vault::Clock;
use crate::vault::local::{LocalVault, SignerError};

use super::search::{Facts, moment};

/// Lines, and checkpoints, that are read at once.
pub(crate) const AT_ONCE: u32 = 500;

/// Why a chain was not signed, or not pruned.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The database failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// There is no signing key.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// Lines do not verify.
    #[error("after record {0}: {1}")]
    Broken(u64, Fault),
    /// A checkpoint does not verify, or says something else than the chain.
    #[error("the checkpoint of record {0}: {1}")]
    Checkpoint(u64, CheckpointError),
    /// The chain has another line there.
    #[error("record {0} is not the one that was signed")]
    Replaced(u64),
    /// The chain is shorter than it was.
    #[error("the chain ends at record {end}, and a checkpoint says that it had {signed}")]
    Cut {
        /// Where it ends.
        end: u64,
        /// What was signed.
        signed: u64,
    },
    /// Records that were kept are not there.
    #[error("the records from {0} to {1} are missing")]
    Missing(u64, u64),
    /// It begins in the middle.
    #[error("the chain begins at record {0}, and no checkpoint says what was before")]
    Headless(u64),
    /// There is no checkpoint to prune to.
    #[error("no signed checkpoint among the records that are older; nothing was dropped")]
    Unsigned,
}

/// When a checkpoint is due.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// After so many lines.
    pub lines: u64,
    /// After so many seconds, if there is a line.
    pub seconds: u64,
}

/// What became of a source.
#[derive(Debug)]
pub struct Pruned {
    /// The source.
    pub source: String,
    /// How many records went, and the first one that is still there; or why none went.
    pub outcome: Result<(u64, u64), UpkeepError>,
}

/// What a walk over a chain found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// How many records verify.
    pub records: u64,
    /// The last one that does.
    pub end: Chain,
    /// How many signed checkpoints it agrees with.
    pub checkpoints: u64,
    /// The last record that is signed.
    pub signed: u64,
}

/// The chains of a server.
#[derive(Clone, Debug)]
pub struct Upkeep {
    registry: Arc<dyn Registry>,
    vault: Arc<LocalVault>,
    clock: Clock,
}

impl Upkeep {
    /// Over this state; the vault has the signing key.
    pub fn new(registry: Arc<dyn Registry>, vault: LocalVault, clock: Clock) -> Self {
        Self { registry, vault: Arc::new(vault), clock }
    }

    /// The key that verifies the checkpoints.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn key(&self) -> Result<PublicKey, UpkeepError> {
        Ok(self.vault.audit_signer().await?.public())
    }

    /// Signs the chains for which it is due; `None`: all that have a line more than was signed.
    ///
    /// # Errors
    /// The database or the key. A chain that does not verify is told beside the others.
    pub async fn sign(
        &self,
        due: Option<Due>,
    ) -> Result<Vec<(String, Result<Checkpoint, UpkeepError>)>, UpkeepError> {
        let now = (self.clock)().unix_timestamp();
        let mut heads = self.registry.audit_heads().await?;
        heads.retain(|head| is_due(head, due, now));
        if heads.is_empty() {
            return Ok(Vec::new());
        }
        let signer = self.vault.audit_signer().await?;
        let mut done = Vec::with_capacity(heads.len());
        for head in heads {
            let verified = self.since_signed(&head, signer.public()).await;
            let signed = match verified {
                Ok(chain) => {
                    let checkpoint = signer.sign(&head.source, chain, now);
                    self.registry.add_checkpoint(&checkpoint).await?;
                    tracing::info!(%checkpoint, "audit checkpoint");
                    Ok(checkpoint)
                }
                Err(error) => Err(error),
            };
            done.push((head.source, signed));
        }
        Ok(done)
    }

    /// Where a chain stands, if it verifies from its last checkpoint on.
    async fn since_signed(&self, head: &AuditHead, key: PublicKey) -> Result<Chain, UpkeepError> {
        let from = match &head.signed {
            Some(signed) => {
                let seq = signed.chain.seq;
                signed.check(&[key]).map_err(|error| UpkeepError::Checkpoint(seq, error))?;
                if seq > head.end.seq {
                    return Err(UpkeepError::Cut { end: head.end.seq, signed: seq });
                }
                Some(signed.chain)
            }
            None => None,
        };
        let mut lines = Lines::after(self, &head.source, from);
        let mut first = None;
        while let Some((_, end)) = lines.next().await? {
            let first = *first.get_or_insert(end);
            if from.is_none() && first.seq > 1 && !is_begun_at(&head.source, first) {
                return Err(UpkeepError::Headless(first.seq));
            }
        }
        let end = lines.chain.unwrap_or_default();
        // Lines may have come since the head was read.
        if end.seq < head.end.seq {
            return Err(UpkeepError::Cut { end: end.seq, signed: head.end.seq });
        }
        Ok(end)
    }

    /// Verifies a whole chain and every checkpoint of it.
    ///
    /// # Errors
    /// What does not verify, with what did until there.
    pub async fn walk(&self, source: &str) -> Result<Walked, (Walked, UpkeepError)> {
        self.walk_as(None, source, source).await
    }

    /// The same for a chain whose every record belongs to one project, which calls it `own`; it is stored as `source`.
    ///
    /// # Errors
    /// As [`Upkeep::walk`]; a record that was moved to another project is missing.
    pub async fn walk_as(
        &self,
        project: Option<&str>,
        own: &str,
        source: &str,
    ) -> Result<Walked, (Walked, UpkeepError)> {
        let mut walked = Walked::default();
        let outcome = self.walk_to((project, own), source, &mut walked).await;
        match outcome {
            Ok(()) => Ok(walked),
            Err(error) => Err((walked, error)),
        }
    }

    async fn walk_to(
        &self,
        (project, own): (Option<&str>, &str),
        source: &str,
        walked: &mut Walked,
    ) -> Result<(), UpkeepError> {
        // Before the lines: those that come meanwhile are beyond it.
        let heads = self.registry.audit_heads().await?;
        let head = heads.into_iter().find(|head| head.source == source).map_or(0, |head| head.end.seq);
        let mut signed = Signed::new(self, source).await?;
        let mut lines = Lines { project, ..Lines::after(self, own, None) };
        while let Some((_, end)) = lines.next().await? {
            let is_signed = signed.agrees(end).await?;
            if walked.records == 0 && end.seq > 1 && !is_signed && !is_begun_at(source, end) {
                return Err(UpkeepError::Headless(end.seq));
            }
            if is_signed {
                walked.checkpoints += 1;
                walked.signed = end.seq;
            }
            walked.records += 1;
            walked.end = end;
        }
        if walked.end.seq < head {
            return Err(UpkeepError::Missing(walked.end.seq + 1, head));
        }
        match signed.next().await? {
            Some(beyond) => Err(UpkeepError::Cut { end: walked.end.seq, signed: beyond.chain.seq }),
            None => Ok(()),
        }
    }

    /// Drops what is older than a time from every source, or from one, and says what became of each that has lines that old.
    ///
    /// # Errors
    /// The database. What cannot be verified stays and is told beside the others.
    pub async fn prune(&self, before: i64, only: Option<&str>) -> Result<Vec<Pruned>, UpkeepError> {
        let heads = self.registry.audit_heads().await?;
        let mut done = Vec::new();
        for head in heads.into_iter().filter(|head| only.is_none_or(|only| only == head.source)) {
            let outcome = match self.prunable(&head.source, before).await {
                Ok(None) => continue,
                Ok(Some(steps)) => self.drop_lines(&head.source, steps).await,
                Err(error) => Err(error),
            };
            done.push(Pruned { source: head.source, outcome });
        }
        Ok(done)
    }

    /// The checkpoints up to which a chain's beginning is older than the time; `None` where nothing is that old.
    async fn prunable(&self, source: &str, before: i64) -> Result<Option<Vec<u64>>, UpkeepError> {
        let before =
            time::OffsetDateTime::from_unix_timestamp(before).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
        let before = moment(before);
        let mut signed = Signed::new(self, source).await?;
        let mut lines = Lines::after(self, source, None);
        let (mut last, mut first, mut steps) = (None, None, Vec::new());
        while let Some((line, end)) = lines.next().await? {
            if Facts::of(&line).is_none_or(|facts| facts.ts >= before) {
                break;
            }
            let is_signed = signed.agrees(end).await?;
            let begin = *first.get_or_insert(end.seq);
            if begin == end.seq && begin > 1 && !is_signed && !is_begun_at(source, end) {
                return Err(UpkeepError::Headless(begin));
            }
            if is_signed && end.seq > begin {
                steps.push(end.seq);
            }
            last = Some(end.seq);
        }
        match (first, last) {
            // Nothing is that old, or only the line that an earlier pruning has left.
            (None, _) => Ok(None),
            (Some(begin), Some(end)) if begin == end => Ok(None),
            (Some(_), _) if steps.is_empty() => Err(UpkeepError::Unsigned),
            (Some(_), _) => Ok(Some(steps)),
        }
    }

    /// Goes from checkpoint to checkpoint: a process that ends in between leaves a chain that verifies.
    async fn drop_lines(&self, source: &str, steps: Vec<u64>) -> Result<(u64, u64), UpkeepError> {
        let last = steps.last().copied().unwrap_or_default();
        let mut entry = Entry::new(Kind::Control, (self.clock)().into());
        entry.verdict = Some(Verdict::Allow);
        entry.reason = format!("audit of {source} dropped before record {last}").into();
        self.registry.record(None, entry).await?;
        let mut dropped = 0;
        for step in steps {
            dropped += self.registry.drop_audit(source, step).await?;
        }
        tracing::info!(source, dropped, from = last, "audit records dropped");
        Ok((dropped, last))
    }
}

fn is_due(head: &AuditHead, due: Option<Due>, now: i64) -> bool {
    let (signed, at) = head.signed.as_ref().map_or((0, 0), |one| (one.chain.seq, one.at));
    let Some(due) = due else { return head.end.seq != signed };
    // Fewer lines than were signed are told each time.
    let fresh = head.end.seq.abs_diff(signed);
    let waited = u64::try_from(now.saturating_sub(at)).unwrap_or_default();
    fresh >= due.lines || (fresh > 0 && waited >= due.seconds)
}

/// The lines of a source, in order, each verified as it comes.
struct Lines<'a> {
    upkeep: &'a Upkeep,
    /// Only its records; `None`: all.
    project: Option<&'a str>,
    source: &'a str,
    /// Where the chain stands behind the last one.
    chain: Option<Chain>,
    waiting: VecDeque<AuditLine>,
}

impl<'a> Lines<'a> {
    fn after(upkeep: &'a Upkeep, source: &'a str, chain: Option<Chain>) -> Self {
        Self { upkeep, project: None, source, chain, waiting: VecDeque::new() }
    }

    async fn next(&mut self) -> Result<Option<(String, Chain)>, UpkeepError> {
        let after = self.chain.map_or(0, |chain| chain.seq);
        if self.waiting.is_empty() {
            let found = self.upkeep.registry.audit_lines(self.project, self.source, after, AT_ONCE).await?;
            self.waiting = found.into();
        }
        let Some(AuditLine { line, .. }) = self.waiting.pop_front() else { return Ok(None) };
        let end = follows(line.as_bytes(), self.chain).map_err(|fault| UpkeepError::Broken(after, fault))?;
        self.chain = Some(end);
        Ok(Some((line, end)))
    }
}

/// The checkpoints of a source, in order, each checked as it comes.
struct Signed<'a> {
    upkeep: &'a Upkeep,
    source: &'a str,
    key: PublicKey,
    waiting: VecDeque<Checkpoint>,
    after: Option<u64>,
}

impl<'a> Signed<'a> {
    async fn new(upkeep: &'a Upkeep, source: &'a str) -> Result<Self, UpkeepError> {
        let key = upkeep.key().await?;
        Ok(Self { upkeep, source, key, waiting: VecDeque::new(), after: Some(0) })
    }

    /// The next one that was not asked about.
    async fn next(&mut self) -> Result<Option<&Checkpoint>, UpkeepError> {
        if let (true, Some(after)) = (self.waiting.is_empty(), self.after) {
            let found = self.upkeep.registry.checkpoints(None, self.source, after, AT_ONCE).await?;
            self.after = found.last().map(|one| one.chain.seq);
            for one in &found {
                one.check(&[self.key]).map_err(|error| UpkeepError::Checkpoint(one.chain.seq, error))?;
            }
            self.waiting = found.into();
        }
        Ok(self.waiting.front())
    }

    /// Whether a checkpoint says that the chain stood there.
    async fn agrees(&mut self, end: Chain) -> Result<bool, UpkeepError> {
        while let Some(next) = self.next().await? {
            let signed = next.chain;
            if signed.seq > end.seq {
                return Ok(false);
            }
            self.waiting.pop_front();
            if signed == end {
                return Ok(true);
            }
            if signed.seq == end.seq {
                return Err(UpkeepError::Replaced(end.seq));
            }
        }
        Ok(false)
    }
}
