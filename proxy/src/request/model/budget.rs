//! The tokens of a day: what each model provider has used since 00:00 UTC, kept across restarts.
//!
//! A request takes a reservation before it goes out and settles it when its answer ends, so that requests that run side by
//! side cannot all use the same rest: a budget is overdrawn by what the vendor counts beyond reservations. What was used is
//! written to one small file, whole and beside its place, half a second after a change at the latest; several proxies of one
//! home add to the same file. Fails closed: while the file cannot be read or written, nothing is let through that a budget
//! limits.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use control::model::ModelRules;
use control::provider::Provider;
use control::refusal::{Code, Refusal};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// How long a change may wait for the file; also how often a file that failed is tried again.
const WRITE_AFTER: Duration = Duration::from_millis(500);
/// The file's size at most: some ten thousand model providers.
const FILE_MOST: u64 = 1 << 20;
const DAY: u64 = 86_400;

/// All budgets.
#[derive(Debug)]
pub(crate) struct Budgets {
    state: Mutex<State>,
    /// `None`: kept in memory only, for tests.
    file: Option<PathBuf>,
    clock: fn() -> SystemTime,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    used: HashMap<Arc<str>, Used>,
    /// The file could not be read or written.
    is_broken: bool,
    is_dirty: bool,
}

/// One model provider's use.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    day: u64,
    /// In all, as far as it is known.
    tokens: u64,
    /// Of these, what the file does not hold yet.
    unwritten: u64,
    reserved: u64,
}

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BudgetError {
    /// The system refused.
    #[error("{}: {cause}", .path.display())]
    File { path: PathBuf, cause: std::io::Error },
    /// It is not as we write it.
    #[error("{} is damaged; remove it to begin the day anew", .0.display())]
    Damaged(PathBuf),
}

/// The file: `project/name` to day and tokens.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    used: std::collections::BTreeMap<String, WrittenUse>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenUse {
    /// Days since 1970-01-01.
    day: u64,
    tokens: u64,
}

/// A part of the day's rest that a request holds.
#[derive(Debug)]
pub(crate) struct Reservation {
    budgets: Arc<Budgets>,
    key: Arc<str>,
    amount: u64,
}

impl Budgets {
    /// The budgets that the file knows. A file that cannot be read refuses every request with a budget until it can.
    pub(crate) fn new(file: Option<PathBuf>, clock: fn() -> SystemTime) -> Arc<Self> {
        let budgets = Self { state: Mutex::default(), file, clock, changed: Notify::new() };
        budgets.write();
        Arc::new(budgets)
    }

    fn today(&self) -> (u64, Duration) {
        let since = (self.clock)().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        (since / DAY, Duration::from_secs(DAY - since % DAY))
    }

    /// Takes a part of the day's rest, if there is any that nobody holds.
    ///
    /// # Errors
    /// DW1009: 429 where the budget is used up (until 00:00 UTC) or reserved (for a moment); 503 where it cannot be kept.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        provider: &Provider,
        rules: &ModelRules,
        amount: u64,
    ) -> Result<Reservation, Refusal> {
        let key: Arc<str> = format!("{}/{}", provider.project, provider.name).into();
        let (day, midnight) = self.today();
        let mut state = self.state.lock();
        let is_broken = state.is_broken;
        let used = state.used.entry(Arc::clone(&key)).or_default();
        used.turn(day);
        if let Some(most) = rules.tokens_per_day {
            if is_broken {
                return Err(unkept().of_provider(&provider.name));
            }
            if used.tokens >= most {
                let detail = "the day's tokens are used up; the budget begins anew at 00:00 UTC";
                return Err(rules.over_budget(detail, midnight).of_provider(&provider.name));
            }
            if used.tokens.saturating_add(used.reserved) >= most {
                let detail = "the rest of the day's tokens is reserved by requests that are not answered yet";
                return Err(rules.over_budget(detail, Duration::from_secs(1)).of_provider(&provider.name));
            }
        }
        used.reserved = used.reserved.saturating_add(amount);
        Ok(Reservation { budgets: Arc::clone(self), key, amount })
    }

    /// Waits until there is something to write, or a file that failed is to be tried again.
    pub(crate) async fn due(&self) {
        let pending = {
            let state = self.state.lock();
            state.is_dirty || state.is_broken
        };
        if !pending {
            self.changed.notified().await;
        }
        tokio::time::sleep(WRITE_AFTER).await;
    }

    /// Brings file and memory together.
    pub(crate) fn write(&self) {
        let Some(file) = &self.file else { return };
        let outcome = self.merge(file);
        let mut state = self.state.lock();
        let was_broken = std::mem::replace(&mut state.is_broken, outcome.is_err());
        drop(state);
        match outcome {
            Err(error) if !was_broken => {
                tracing::error!(error = %crate::plan::chain(&error), "token budgets cannot be kept: requests that they limit are refused");
            }
            Ok(()) if was_broken => tracing::info!("token budgets are kept again"),
            Ok(()) | Err(_) => {}
        }
    }

    fn merge(&self, file: &Path) -> Result<(), BudgetError> {
        let failed = |cause| BudgetError::File { path: file.to_owned(), cause };
        let _one = lock(file).map_err(failed)?;
        let mut written = read(file)?;
        let (today, _) = self.today();
        let (dirty, unwritten) = {
            let mut state = self.state.lock();
            let unwritten: Vec<_> = state.used.iter().map(|(key, used)| (Arc::clone(key), *used)).collect();
            (std::mem::take(&mut state.is_dirty), unwritten)
        };
        for (key, used) in &unwritten {
            let one = written.used.entry(key.to_string()).or_insert(WrittenUse { day: used.day, tokens: 0 });
            // A day that has ended is forgotten; a clock that went back does not begin a day anew.
            if one.day < used.day {
                *one = WrittenUse { day: used.day, tokens: 0 };
            }
            one.tokens = one.tokens.saturating_add(used.unwritten);
        }
        written.used.retain(|_, one| one.day.saturating_add(1) >= today);
        if dirty && let Err(cause) = put(file, &written) {
            self.state.lock().is_dirty = true;
            return Err(failed(cause));
        }
        let mut state = self.state.lock();
        for (key, before) in unwritten {
            if let Some(used) = state.used.get_mut(&key) {
                used.unwritten = used.unwritten.saturating_sub(before.unwritten);
            }
        }
        for (key, one) in written.used {
            let used = state.used.entry(key.into()).or_default();
            if one.day >= used.day {
                used.day = one.day;
                used.tokens = one.tokens.saturating_add(used.unwritten);
            }
        }
        Ok(())
    }
}

impl Used {
    fn turn(&mut self, day: u64) {
        if self.day < day {
            (self.day, self.tokens, self.unwritten) = (day, 0, 0);
        }
    }
}

impl Reservation {
    /// Gives the reservation back for what was used.
    pub(crate) fn settle(self, tokens: u64) {
        if tokens == 0 {
            return;
        }
        let (day, _) = self.budgets.today();
        let mut state = self.budgets.state.lock();
        if let Some(used) = state.used.get_mut(&self.key) {
            used.turn(day);
            used.tokens = used.tokens.saturating_add(tokens);
            used.unwritten = used.unwritten.saturating_add(tokens);
        }
        state.is_dirty = true;
        drop(state);
        self.budgets.changed.notify_one();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(used) = self.budgets.state.lock().used.get_mut(&self.key) {
            used.reserved = used.reserved.saturating_sub(self.amount);
        }
    }
}

fn unkept() -> Refusal {
    Refusal::new(
        Code::Dw1009,
        "the day's tokens cannot be counted now, so nothing is let through that a budget limits",
    )
    .with_status(503)
    .retry_after(Duration::from_secs(5))
}

/// Held while the file is read and written: other proxies of the same home wait.
fn lock(file: &Path) -> std::io::Result<File> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".lock");
    let lock = File::options().create(true).truncate(false).write(true).mode(0o600).open(beside)?;
    lock.lock()?;
    Ok(lock)
}

fn read(file: &Path) -> Result<Written, BudgetError> {
    let failed = |cause| BudgetError::File { path: file.to_owned(), cause };
    let opened = match File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Written::default()),
        opened => opened.map_err(failed)?,
    };
    let mut text = Vec::new();
    opened.take(FILE_MOST).read_to_end(&mut text).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|_| BudgetError::Damaged(file.to_owned()))
}

fn put(file: &Path, written: &Written) -> std::io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let text = serde_json::to_vec(written)?;
    let mut new = File::options().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
    new.write_all(&text)?;
    new.sync_data()?;
    std::fs::rename(beside, file)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::schemes::specs;

    fn provider(budget: u64) -> Arc<Provider> {
        let text = format!(
            "apiVersion: pai.io/v1\nkind: ModelProvider\nmetadata: {{name: m}}\nspec: {{provider: openai, maxTokensPerDay: {budget}}}\n"
        );
        let loaded = control::provider::parse_text("m.yaml", &text, specs()).unwrap();
        Arc::clone(&loaded.providers[0])
    }

    fn noon() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(20_000 * DAY + DAY / 2)
    }

    fn taken(budgets: &Arc<Budgets>, provider: &Provider, amount: u64) -> Result<Reservation, Refusal> {
        budgets.reserve(provider, provider.model.as_ref().unwrap(), amount)
    }

    #[test]
    fn of_two_requests_for_the_last_rest_one_waits() {
        let (budgets, provider) = (Budgets::new(None, noon), provider(100));
        let first = taken(&budgets, &provider, 100).unwrap();
        let second = taken(&budgets, &provider, 1).unwrap_err();
        assert_eq!(
            (second.code, second.status, second.retry_after),
            (Code::Dw1009, 429, Some(Duration::from_secs(1)))
        );
        first.settle(99);
        let third = taken(&budgets, &provider, 1_000).unwrap();
        assert!(taken(&budgets, &provider, 1).is_err());
        third.settle(1);
        let over = taken(&budgets, &provider, 1).unwrap_err();
        assert_eq!(over.retry_after, Some(Duration::from_secs(DAY / 2)));
        assert!(over.detail.contains("00:00 UTC"));
    }

    #[test]
    fn a_day_begins_anew_at_midnight_and_not_when_the_clock_goes_back() {
        static NOW: AtomicU64 = AtomicU64::new(20_000 * DAY + 5);
        let clock = || UNIX_EPOCH + Duration::from_secs(NOW.load(Ordering::Relaxed));
        let (budgets, provider) = (Budgets::new(None, clock), provider(10));
        taken(&budgets, &provider, 1).unwrap().settle(10);
        NOW.store(19_999 * DAY, Ordering::Relaxed);
        assert!(taken(&budgets, &provider, 1).is_err());
        NOW.store(20_001 * DAY, Ordering::Relaxed);
        assert!(taken(&budgets, &provider, 1).is_ok());
    }

    #[test]
    fn what_was_used_outlives_the_process_and_several_add_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens.json");
        let provider = provider(100);
        let (a, b) = (Budgets::new(Some(file.clone()), noon), Budgets::new(Some(file.clone()), noon));
        taken(&a, &provider, 1).unwrap().settle(60);
        a.write();
        taken(&b, &provider, 1).unwrap().settle(40);
        b.write();
        assert!(taken(&b, &provider, 1).is_err());
        a.write();
        assert!(taken(&a, &provider, 1).is_err());
        assert!(taken(&Budgets::new(Some(file), noon), &provider, 1).is_err());
    }

    #[test]
    fn a_damaged_file_refuses_until_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens.json");
        std::fs::write(&file, "{\"used\":{\"default/m\":{\"day\":-1}}}").unwrap();
        let budgets = Budgets::new(Some(file.clone()), noon);
        let limited = provider(100);
        assert_eq!(taken(&budgets, &limited, 1).unwrap_err().status, 503);
        std::fs::remove_file(&file).unwrap();
        budgets.write();
        assert!(taken(&budgets, &limited, 1).is_ok());
    }
}
