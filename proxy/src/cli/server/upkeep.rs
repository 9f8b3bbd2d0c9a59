//! The audit of a server while it serves: chains are signed as they grow, and what is older than the term is dropped.

use std::time::Duration;

use control::api::Limits;
use control::audit::upkeep::{Due, Upkeep};
use control::cli::Failure;
use time::OffsetDateTime;

use super::usage;

/// How often it is looked.
const ROUND: Duration = Duration::from_secs(5);
/// How often old records are looked for.
const PRUNING: Duration = Duration::from_secs(3600);
/// The shortest and longest term.
const TERM: std::ops::RangeInclusive<i64> = 3600..=100 * 366 * 86_400;

/// When what is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    due: Due,
    /// Seconds.
    keep: Option<i64>,
}

impl Terms {
    pub(super) fn new(limits: &Limits, keep: Option<i64>) -> Self {
        let due = Due { lines: limits.audit_checkpoint_lines, seconds: limits.audit_checkpoint_seconds };
        Self { due, keep }
    }
}

/// `90d`, `12h` in seconds.
pub(super) fn term(text: &str) -> Result<i64, Failure> {
    let number = |unit| text.strip_suffix(unit).and_then(|number| number.parse::<i64>().ok());
    let seconds = match (number('d'), number('h')) {
        (Some(days), _) => days.checked_mul(86_400),
        (None, Some(hours)) => hours.checked_mul(3600),
        (None, None) => None,
    };
    seconds
        .filter(|seconds| TERM.contains(seconds))
        .ok_or_else(|| usage("--audit-keep is a number of days or hours, at least one: 90d, 12h"))
}

/// For as long as the server serves.
pub(super) async fn keep(chains: Upkeep, terms: Terms) {
    let mut pruned = None::<tokio::time::Instant>;
    let mut told = None;
    loop {
        match chains.sign(Some(terms.due)).await {
            Ok(signed) => {
                let wrong = signed.into_iter().find_map(|(source, outcome)| Some((source, outcome.err()?)));
                tell(wrong.map(|(source, error)| format!("{source}: {error}")), &mut told);
            }
            Err(error) => tell(Some(error.to_string()), &mut told),
        }
        if let Some(keep) = terms.keep
            && pruned.is_none_or(|at| at.elapsed() >= PRUNING)
        {
            pruned = Some(tokio::time::Instant::now());
            prune(&chains, keep).await;
        }
        tokio::time::sleep(ROUND).await;
    }
}

async fn prune(chains: &Upkeep, keep: i64) {
    match chains.prune(OffsetDateTime::now_utc().unix_timestamp() - keep, None).await {
        Ok(done) => {
            for one in done {
                if let Err(error) = one.outcome {
                    tracing::warn!(source = one.source, %error, "old audit records stay");
                }
            }
        }
        Err(error) => tracing::warn!(%error, "old audit records stay"),
    }
}

/// Once for each cause: it is looked at every few seconds.
fn tell(wrong: Option<String>, told: &mut Option<String>) {
    if wrong != *told {
        if let Some(error) = &wrong {
            tracing::error!(%error, "an audit chain is not signed");
        }
        *told = wrong;
    }
}

#[cfg(test)]
mod tests {
    use super::term;

    #[test]
    fn refuses_terms_that_are_none_or_would_drop_everything() {
        for text in ["", "d", "0d", "0h", "-1d", "1m", "90", "99999999999999999d", "40000d"] {
            assert!(term(text).is_err(), "{text}");
        }
        assert_eq!((term("90d").ok(), term("1h").ok()), (Some(7_776_000), Some(3600)));
    }
}
