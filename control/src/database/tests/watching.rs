//! Changes: what watchers are told, within a process and between replicas, also when the server was lost meanwhile.

use std::time::Duration;

use crate::registry::{DocumentKind, ObjectKind, Registry, RegistryError};
use crate::vault::store::Store;

use super::bed::{ANY, Bed, agent, now, object, open, provider};
use super::on_both;
use super::postgres::Postgres;

on_both!(
    a_watcher_hears_of_writes_of_this_and_of_another_process,
    changes_are_told_in_order_and_each_projects_own,
    changes_of_one_write_stay_together,
);

/// As long as a stream may be behind.
const SOON: Duration = Duration::from_secs(5);

async fn a_watcher_hears_of_writes_of_this_and_of_another_process(bed: &Bed) {
    let other = bed.again().await;
    let mut watch = bed.db.watch();
    let first = bed.db.add_agent("one", agent("a"), now()).await.unwrap();
    assert_eq!(*watch.borrow_and_update(), first, "at once");
    let listening = bed.db.clone();
    let follow = tokio::spawn(async move { listening.follow().await });
    let second = other.add_agent("one", agent("b"), now()).await.unwrap();
    let heard = tokio::time::timeout(SOON, watch.wait_for(|revision| *revision >= second)).await;
    assert_eq!(*heard.expect("heard of it").unwrap(), second);
    follow.abort();
}

async fn changes_are_told_in_order_and_each_projects_own(bed: &Bed) {
    let db = &bed.db;
    let before = db.latest().await.unwrap();
    db.add_agent("one", agent("a"), now()).await.unwrap();
    db.add_agent("two", agent("b"), now()).await.unwrap();
    db.add_document("one", provider("p", &[], &[]), now()).await.unwrap();
    db.delete_document("one", DocumentKind::Provider, "p", ANY, now()).await.unwrap();
    let (changes, upto) = db.changes(Some("one"), before, 100).await.unwrap();
    let told: Vec<_> = changes.iter().filter_map(|change| change.object.clone()).collect();
    let p = object(ObjectKind::Provider, "p");
    assert_eq!(told, [object(ObjectKind::Agent, "a"), p.clone(), p]);
    assert_eq!((changes[0].project.as_deref(), changes[0].at, upto), (Some("one"), now().at, before + 4));
    assert_eq!(db.changes(Some("one"), upto, 100).await.unwrap(), (vec![], upto));
    let (first, upto) = db.changes(None, before, 1).await.unwrap();
    assert_eq!((first.len(), upto), (1, before + 1));
    assert!(
        db.changes(None, upto, 100)
            .await
            .unwrap()
            .0
            .iter()
            .any(|change| change.project.as_deref() == Some("two"))
    );
}

async fn changes_of_one_write_stay_together(bed: &Bed) {
    let before = bed.db.latest().await.unwrap();
    let variables = (0..10)
        .map(|number| crate::vault::store::Variable {
            name: format!("V{number}"),
            value: "1".into(),
            created: 0,
        })
        .collect();
    bed.db.acting(now(), ANY).insert("one", vec![], variables).await.unwrap();
    let (changes, upto) = bed.db.changes(None, before, 3).await.unwrap();
    assert_eq!((changes.len(), upto), (10, before + 1));
}

#[tokio::test]
async fn changes_that_are_no_longer_kept_are_refused() {
    let bed = Bed::postgres().await;
    let server = bed.server.as_ref().unwrap();
    server.sql(&bed.url, "UPDATE revision SET number = 30000");
    assert!(matches!(bed.db.changes(None, 5, 10).await, Err(RegistryError::Forgotten(5))));
    bed.db.add_agent("one", agent("a"), now()).await.unwrap();
    assert_eq!(server.sql(&bed.url, "SELECT count(*) FROM changes WHERE revision < 10001").trim(), "0");
}

#[tokio::test]
async fn a_server_that_comes_back_is_used_again() {
    let server = Postgres::start();
    let db = open(&server.database()).await;
    db.add_project(super::bed::project("p"), now()).await.unwrap();
    server.kill();
    assert!(db.latest().await.is_err());
    assert!(db.add_agent("p", agent("a"), now()).await.is_err());
    server.go();
    db.add_agent("p", agent("a"), now()).await.unwrap();
    assert_eq!(Store::revision(&db).await.unwrap(), 2);
}
