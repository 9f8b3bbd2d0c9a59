//! Chains that are signed, checked and shortened.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::audit::upkeep::{Due, Upkeep, UpkeepError};
use crate::audit::{Entry, Kind};
use crate::registry::Registry;
use crate::vault::local::NextKey;

use super::bed::{Bed, noon};
use super::on_both;

on_both!(
    a_chain_is_signed_when_it_is_due_and_holds_what_was_signed,
    nothing_is_signed_that_does_not_verify,
    only_what_is_old_and_signed_is_dropped,
    an_end_that_was_cut_off_and_lines_that_were_replaced_are_found,
    the_signing_key_outlives_a_rotation_of_the_master_key,
);

/// One line a day before noon of the bed's day: `days` ago.
async fn line(bed: &Bed, days: u64) {
    let at = u64::try_from(noon().unix_timestamp()).unwrap() - days * 86_400;
    let mut entry = Entry::new(Kind::Lifecycle, UNIX_EPOCH + Duration::from_secs(at));
    entry.reason = format!("{days} days ago").into();
    bed.db.record(Some("one"), entry).await.unwrap();
}

async fn upkeep(bed: &Bed) -> Upkeep {
    Upkeep::new(Arc::new(bed.db.clone()), bed.vault().await, noon)
}

fn ago(days: i64) -> i64 {
    (noon() - time::Duration::days(days)).unix_timestamp()
}

async fn seqs(bed: &Bed) -> Vec<u64> {
    let lines = bed.db.audit_lines(None, "control", 0, 1000).await.unwrap();
    lines.into_iter().map(|line| line.seq).collect()
}

async fn a_chain_is_signed_when_it_is_due_and_holds_what_was_signed(bed: &Bed) {
    let upkeep = upkeep(bed).await;
    let due = Some(Due { lines: 3, seconds: u64::MAX });
    line(bed, 2).await;
    assert!(upkeep.sign(due).await.unwrap().is_empty());
    line(bed, 1).await;
    line(bed, 1).await;
    let signed = upkeep.sign(due).await.unwrap();
    let [(source, Ok(checkpoint))] = &signed[..] else { panic!("{signed:?}") };
    assert_eq!((source.as_str(), checkpoint.chain.seq), ("control", 3));
    checkpoint.check(&[upkeep.key().await.unwrap()]).unwrap();
    assert!(upkeep.sign(None).await.unwrap().is_empty(), "there is no line more");
    line(bed, 0).await;
    assert!(upkeep.sign(due).await.unwrap().is_empty());
    let waited = Some(Due { lines: 3, seconds: 0 });
    assert_eq!(upkeep.sign(waited).await.unwrap().len(), 1);
    let walked = upkeep.walk("control").await.unwrap();
    assert_eq!((walked.records, walked.checkpoints, walked.signed), (4, 2, 4));
    assert_eq!(bed.db.checkpoints(Some("one"), "control", 3, 10).await.unwrap().len(), 1);
}

async fn nothing_is_signed_that_does_not_verify(bed: &Bed) {
    let upkeep = upkeep(bed).await;
    for _ in 0..3 {
        line(bed, 1).await;
    }
    bed.sql("UPDATE audit SET line = replace(line, 'days', 'daze') WHERE seq = 2").await;
    let signed = upkeep.sign(None).await.unwrap();
    assert!(matches!(&signed[..], [(_, Err(UpkeepError::Broken(1, _)))]), "{signed:?}");
    assert!(bed.db.checkpoints(None, "control", 0, 10).await.unwrap().is_empty());
    let (walked, _) = upkeep.walk("control").await.unwrap_err();
    assert_eq!(walked.end.seq, 1);
    let pruned = upkeep.prune(ago(0), None).await.unwrap();
    assert!(pruned[0].outcome.is_err(), "{pruned:?}");
    assert_eq!(seqs(bed).await, [1, 2, 3]);
}

async fn only_what_is_old_and_signed_is_dropped(bed: &Bed) {
    let upkeep = upkeep(bed).await;
    for days in [100, 99, 98] {
        line(bed, days).await;
    }
    let refused = upkeep.prune(ago(90), None).await.unwrap();
    assert!(matches!(refused[0].outcome, Err(UpkeepError::Unsigned)), "{refused:?}");
    upkeep.sign(None).await.unwrap();
    for days in [97, 96, 10] {
        line(bed, days).await;
    }
    upkeep.sign(None).await.unwrap();
    assert!(upkeep.prune(ago(101), None).await.unwrap().is_empty(), "nothing is that old");
    let pruned = upkeep.prune(ago(90), None).await.unwrap();
    assert_eq!(*pruned[0].outcome.as_ref().unwrap(), (2, 3), "{pruned:?}");
    // The signed line stays, those that are old and not signed stay, and the dropping has its record.
    assert_eq!(seqs(bed).await, [3, 4, 5, 6, 7]);
    assert_eq!(upkeep.walk("control").await.unwrap().records, 5);
    assert!(
        upkeep.prune(ago(98) + 1, None).await.unwrap().is_empty(),
        "only the line that was left is that old"
    );
    assert!(upkeep.prune(ago(90), Some("other")).await.unwrap().is_empty());
    line(bed, 0).await;
    upkeep.sign(None).await.unwrap();
    assert_eq!(upkeep.walk("control").await.unwrap().end.seq, 8);
    // A beginning that somebody else removed is told.
    bed.sql("DELETE FROM audit WHERE seq = 3").await;
    let (_, error) = upkeep.walk("control").await.unwrap_err();
    assert!(matches!(error, UpkeepError::Headless(4)), "{error}");
}

async fn an_end_that_was_cut_off_and_lines_that_were_replaced_are_found(bed: &Bed) {
    let upkeep = upkeep(bed).await;
    for _ in 0..4 {
        line(bed, 1).await;
    }
    upkeep.sign(None).await.unwrap();
    bed.sql("DELETE FROM audit WHERE seq > 2").await;
    let (_, error) = upkeep.walk("control").await.unwrap_err();
    assert!(matches!(error, UpkeepError::Missing(3, 4)), "{error}");
    // With its head put back, too, the chain goes on as if nothing had been: with other lines.
    bed.sql(
        "UPDATE audit_chains SET seq = 2, hash = (SELECT hash FROM audit WHERE source = 'control' AND seq = 2)",
    )
    .await;
    let signed = upkeep.sign(None).await.unwrap();
    assert!(matches!(&signed[..], [(_, Err(UpkeepError::Cut { end: 2, signed: 4 }))]), "{signed:?}");
    for _ in 0..3 {
        line(bed, 0).await;
    }
    let (_, error) = upkeep.walk("control").await.unwrap_err();
    assert!(matches!(error, UpkeepError::Replaced(4)), "{error}");
    let signed = upkeep.sign(None).await.unwrap();
    assert!(matches!(&signed[..], [(_, Err(UpkeepError::Broken(4, _)))]), "{signed:?}");
    // A checkpoint of one's own making does not help.
    bed.sql(
        "UPDATE audit_checkpoints SET hash = (SELECT hash FROM audit WHERE source = 'control' AND seq = 4)",
    )
    .await;
    let (_, error) = upkeep.walk("control").await.unwrap_err();
    assert!(matches!(error, UpkeepError::Checkpoint(4, _)), "{error}");
}

async fn the_signing_key_outlives_a_rotation_of_the_master_key(bed: &Bed) {
    let before = upkeep(bed).await.key().await.unwrap();
    assert_eq!(upkeep(bed).await.key().await.unwrap(), before);
    let vault = bed.vault().await;
    let file = bed.dir.path().join("master.key");
    assert!(vault.rotate_master(NextKey::SameFile(file)).await.unwrap().0.is_empty());
    assert_eq!(upkeep(bed).await.key().await.unwrap(), before);
    // It is in no project, and no person's list.
    assert!(bed.vault().await.store().secrets("one").await.unwrap().is_empty());
}
