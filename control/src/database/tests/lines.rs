//! Audit lines: our own chain, and those that sidecars ship.

use std::time::{Duration, UNIX_EPOCH};

use crate::audit::{Chain, Entry, Kind, linked_line, verify};
use crate::registry::{Act, Registry, RegistryError};

use super::bed::{ANY, Bed, agent, now, provider};
use super::on_both;

on_both!(
    each_write_and_its_line_are_there_together,
    writers_of_two_processes_keep_one_chain,
    shipped_lines_continue_their_own_chain_alone,
    what_waited_for_long_is_kept_at_once_as_it_came,
);

fn line(reason: &'static str) -> Entry {
    let mut entry = Entry::new(Kind::Lifecycle, UNIX_EPOCH + Duration::from_secs(1_900_000_000));
    entry.reason = reason.into();
    entry
}

fn act(reason: &'static str) -> Act {
    Act { entry: Some(line(reason)), ..now() }
}

async fn text(bed: &Bed, project: Option<&str>, source: &str) -> Vec<String> {
    let lines = bed.db.audit_lines(project, source, 0, 1000).await.unwrap();
    lines.into_iter().map(|line| line.line).collect()
}

async fn each_write_and_its_line_are_there_together(bed: &Bed) {
    let db = &bed.db;
    let made = db.add_agent("one", agent("a"), act("made")).await.unwrap();
    assert!(db.add_agent("one", agent("a"), act("made again")).await.is_err());
    db.record(Some("one"), line("refused")).await.unwrap();
    db.record(None, line("nobody's")).await.unwrap();
    db.acting(act("stored"), ANY).insert("two", vec![], vec![]).await.unwrap();
    let lines = text(bed, None, "control").await;
    let reasons: Vec<_> = lines.iter().map(|line| line.contains("made again")).collect();
    assert_eq!(reasons, [false; 4], "what failed is not told as done: {lines:?}");
    assert!(lines[0].contains("\"made\"") && lines[0].contains(&format!("\"revision\":{made}")), "{lines:?}");
    let of_project = text(bed, Some("one"), "control").await;
    assert_eq!(of_project, lines[..2]);
    let all = format!("{}\n", lines.join("\n"));
    assert_eq!(verify::verify(all.as_bytes(), None).unwrap().lines, 4);
    assert_eq!(db.audit_sources(None).await.unwrap(), [("control".to_owned(), 4)]);
}

async fn writers_of_two_processes_keep_one_chain(bed: &Bed) {
    let replicas = [bed.db.clone(), bed.again().await];
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..30 {
        let db = replicas[number % 2].clone();
        writers.spawn(async move {
            if number % 3 == 0 {
                db.add_document("one", provider(&format!("p{number}"), &[], &[]), act("made")).await.unwrap();
            } else {
                db.record(Some("two"), line("refused")).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let all = format!("{}\n", text(bed, None, "control").await.join("\n"));
    assert_eq!(verify::verify(all.as_bytes(), None).unwrap().end.seq, 30);
}

async fn shipped_lines_continue_their_own_chain_alone(bed: &Bed) {
    let db = &bed.db;
    for reason in ["first", "second", "third", "fourth"] {
        db.record(Some("two"), line(reason)).await.unwrap();
    }
    // Lines as a sidecar has them.
    let lines = text(bed, None, "control").await;
    let ship = |project: &'static str, lines: &[String]| db.ship(project, "a/x", lines.to_vec());
    assert_eq!(ship("one", &lines[..2]).await.unwrap(), 2);
    assert_eq!(ship("one", &lines[..3]).await.unwrap(), 3, "those that came before are skipped");
    let unchained = |outcome: Result<u64, RegistryError>| {
        assert!(matches!(outcome, Err(RegistryError::Unchained { seq: 3, .. })), "{outcome:?}")
    };
    unchained(ship("one", &[lines[3].replace("fourth", "edited")]).await);
    let gap = ship("two", &lines[1..2]).await;
    assert!(matches!(gap, Err(RegistryError::Unchained { seq: 0, .. })), "{gap:?}");
    unchained(ship("one", &[lines[3].clone(), "{}".to_owned()]).await);
    assert_eq!(text(bed, Some("one"), "a/x").await, lines[..3], "all or none");
    assert_eq!(ship("one", &lines[3..]).await.unwrap(), 4);
    assert_eq!(db.audit_sources(Some("one")).await.unwrap().last().unwrap(), &("a/x".to_owned(), 4));
    assert!(text(bed, Some("two"), "a/x").await.is_empty());
    // No project's sidecar can write our own chain, or another project's.
    db.ship("control", "x", vec![]).await.unwrap();
    assert_eq!(db.audit_lines(None, "control", 0, 100).await.unwrap().len(), 4);
}

async fn what_waited_for_long_is_kept_at_once_as_it_came(bed: &Bed) {
    let (mut chain, mut lines) = (Chain::default(), Vec::new());
    for _ in 0..1200 {
        let (text, next) = linked_line(&line("a \"quoted\" \\ reason, ä \u{1f600}"), chain);
        lines.push(text);
        chain = next;
    }
    let ship = |lines: &[String]| bed.db.ship("one", "a/x", lines.to_vec());
    assert_eq!(ship(&lines[..700]).await.unwrap(), 700);
    let mut other = lines.clone();
    other[5] = linked_line(&line("another"), Chain::default()).0;
    assert!(ship(&other).await.is_err(), "a line that came before comes as another one");
    assert_eq!(ship(&lines).await.unwrap(), 1200);
    let kept = bed.db.audit_lines(Some("one"), "a/x", 0, 2000).await.unwrap();
    assert!(kept.iter().map(|line| &line.line).eq(&lines));
}
