//! Writers that race, and writers that die.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::registry::{Attached, DocumentKind, ObjectKind, Registry, RegistryError, Seen};
use crate::vault::store::{Keeps, NewVersion, SealedUnder, Store, StoreError};

use super::bed::{ANY, Bed, agent, all, name, now, object, open, project, provider};
use super::on_both;

on_both!(
    writers_of_two_processes_each_take_a_revision,
    of_writers_who_have_seen_the_same_one_wins,
    of_attachments_that_cover_the_same_one_wins,
    deleting_and_attaching_never_both_succeed,
    a_writer_that_is_killed_leaves_whole_writes,
    a_cancelled_write_leaves_nothing_and_blocks_nobody,
);

async fn writers_of_two_processes_each_take_a_revision(bed: &Bed) {
    let replicas = [bed.db.clone(), bed.again().await];
    let before = bed.db.latest().await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..40 {
        let db = replicas[number % 2].clone();
        writers.spawn(async move { db.add_agent("one", agent(&format!("a{number}")), now()).await.unwrap() });
    }
    let mut revisions: Vec<u64> = writers.join_all().await;
    revisions.sort_unstable();
    assert_eq!(revisions, (before + 1..=before + 40).collect::<Vec<_>>());
    let (changes, upto) = bed.db.changes(None, before, 1000).await.unwrap();
    assert_eq!(upto, before + 40);
    assert_eq!(changes.iter().map(|change| change.revision).collect::<Vec<_>>(), revisions);
}

async fn of_writers_who_have_seen_the_same_one_wins(bed: &Bed) {
    let replicas = [bed.db.clone(), bed.again().await];
    let seen = bed.db.add_document("one", provider("p", &[], &[]), now()).await.unwrap();
    bed.add_secret("one", "s").await;
    let mut writers = tokio::task::JoinSet::new();
    let mut rotations = tokio::task::JoinSet::new();
    for number in 0..12 {
        let db = replicas[number % 2].clone();
        let mut document = provider("p", &[], &[]);
        document.text = format!("of writer {number}");
        writers.spawn(async move { db.replace_document("one", document, Seen::Version(seen), now()).await });
        let db = replicas[number % 2].clone();
        rotations.spawn(async move {
            let version = NewVersion {
                version: 2,
                created: 0,
                expires: None,
                hosts: None,
                values: vec![],
                under: SealedUnder::default(),
                grace: None,
                after: None,
            };
            Store::add_version(&db, "one", &name("s"), version, Keeps::Last).await
        });
    }
    let done = writers.join_all().await;
    assert_eq!(done.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(done.iter().all(|outcome| matches!(outcome, Ok(_) | Err(RegistryError::Stale { .. }))));
    let done = rotations.join_all().await;
    assert_eq!(done.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(done.iter().all(|outcome| matches!(outcome, Ok(()) | Err(StoreError::Raced(_)))));
}

async fn of_attachments_that_cover_the_same_one_wins(bed: &Bed) {
    let replicas = [bed.db.clone(), bed.again().await];
    bed.db.add_agent("one", agent("a"), now()).await.unwrap();
    for number in 0..8 {
        bed.db
            .add_document("one", provider(&format!("p{number}"), &[], &["type:github"]), now())
            .await
            .unwrap();
    }
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let db = replicas[number % 2].clone();
        let what = Attached::Document(DocumentKind::Provider, format!("p{number}"));
        writers.spawn(async move { db.attach("one", "a", what, vec![], now()).await });
    }
    let done = writers.join_all().await;
    assert_eq!(done.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(done.iter().all(|outcome| matches!(outcome, Ok(_) | Err(RegistryError::Claimed { .. }))));
}

async fn deleting_and_attaching_never_both_succeed(bed: &Bed) {
    let other = bed.again().await;
    bed.db.add_agent("one", agent("a"), now()).await.unwrap();
    for number in 0..8 {
        let text = format!("p{number}");
        bed.db.add_document("one", provider(&text, &[], &[]), now()).await.unwrap();
        let attach = bed.db.attach(
            "one",
            "a",
            Attached::Document(DocumentKind::Provider, text.clone()),
            vec![],
            now(),
        );
        let delete = other.delete_document("one", DocumentKind::Provider, &text, ANY, now());
        match tokio::join!(attach, delete) {
            (Ok(_), Err(RegistryError::InUse { users, .. })) => {
                assert_eq!(users, [object(ObjectKind::Agent, "a")])
            }
            (Err(RegistryError::Dangling(_)), Ok(())) => {}
            outcome => panic!("{outcome:?}"),
        }
    }
}

/// The process that the next test kills: writes until then, and says after each write what it was.
#[tokio::test]
#[ignore = "run by a_writer_that_is_killed_leaves_whole_writes"]
async fn writes_until_it_is_killed() {
    let mut url = String::new();
    std::io::stdin().read_line(&mut url).unwrap();
    let db = open(url.trim()).await;
    for number in 0.. {
        let name = format!("w{number}");
        db.add_project(project(&name), now()).await.unwrap();
        db.add_document(&name, provider("p", &[], &["type:a", "type:b"]), now()).await.unwrap();
        println!("\nwritten {name}");
    }
}

async fn a_writer_that_is_killed_leaves_whole_writes(bed: &Bed) {
    let before = bed.db.latest().await.unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "database::tests::writers::writes_until_it_is_killed", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::Write;
    writeln!(child.stdin.take().unwrap(), "{}", bed.url).unwrap();
    let mut told = BTreeSet::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Some(name) = line.unwrap().strip_prefix("written ") {
            told.insert(name.to_owned());
        }
        if told.len() == 25 {
            break;
        }
    }
    // SIGKILL, in the middle of whatever it does.
    child.kill().unwrap();
    child.wait().unwrap();
    let db = bed.again().await;
    let kept: BTreeSet<_> = db.projects(all()).await.unwrap().into_iter().map(|one| one.name).collect();
    assert!(told.is_subset(&kept), "what was told as written is there");
    for name in kept.iter().filter(|name| name.starts_with('w')) {
        let document = db.document(name, DocumentKind::Provider, "p").await.unwrap();
        assert!(document.is_none_or(|document| document.document.claims.len() == 2), "half a document");
    }
    let (changes, upto) = db.changes(None, before, 1000).await.unwrap();
    assert_eq!(changes.len() as u64, upto - before, "each write took one revision and noted one change");
    db.add_project(project("after"), now()).await.unwrap();
}

async fn a_cancelled_write_leaves_nothing_and_blocks_nobody(bed: &Bed) {
    let before = bed.db.latest().await.unwrap();
    for polls in 1..40 {
        let mut write = bed.db.add_agent("one", agent("cancelled"), now());
        let mut done = false;
        for _ in 0..polls {
            let once = std::future::poll_fn(|waker| std::task::Poll::Ready(write.as_mut().poll(waker)));
            if once.await.is_ready() {
                done = true;
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(write);
        if done {
            break;
        }
    }
    if bed.db.agent("one", "cancelled").await.unwrap().is_none() {
        assert_eq!(bed.db.latest().await.unwrap(), before);
    }
    bed.db.add_agent("one", agent("after"), now()).await.unwrap();
}
