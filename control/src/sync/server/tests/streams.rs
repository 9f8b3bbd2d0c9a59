//! What ends a stream, what does not, and what it holds meanwhile.

use std::future::Future;

use super::*;
use crate::sync::server::current;

const ENOUGH: Duration = Duration::from_secs(60);

/// Waits for it, and not for ever.
async fn within<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(ENOUGH, waiting).await.unwrap_or_else(|_| panic!("{what}"))
}

#[tokio::test]
async fn readers_that_read_nothing_are_disconnected_and_hold_nothing_then() {
    let bed = Bed::with(Duration::from_millis(200)).await;
    bed.secret("key", "value-of-key").await;
    bed.agent("coder").await;
    for number in 0..5 {
        let provider = format!("large-{number}");
        let document = NewDocument {
            kind: DocumentKind::Provider,
            name: provider.clone(),
            text: "#".repeat(900_000),
            type_name: "http-token".into(),
            uses: vec![name("key")],
            claims: vec![format!("host:{provider}")],
            withheld: false,
        };
        bed.db.add_document(PROJECT, document, act()).await.unwrap();
        bed.attach("coder", &provider).await;
    }
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut reader = bed.follow("coder").await;
        assert_eq!(reader.status().await, 200);
        readers.push(reader);
    }
    assert!(!bed.server.places.are_free());
    // More and more than the sockets' buffers take, until all four are given up.
    let busy = async {
        for number in 0.. {
            bed.rotate("key", &format!("value-{number}-of-key")).await;
        }
    };
    let freed = async {
        tokio::select! {
            () = bed.server.places.freed() => {}
            () = busy => {}
        }
    };
    within("they still hold something", freed).await;
    assert!(bed.server.places.are_free());
    drop(readers);
    // One that reads is served as before.
    bed.follow("coder").await.snapshot().await;
}

#[tokio::test]
async fn a_change_of_a_kind_that_only_a_later_version_knows_touches_its_whole_project_and_stops_nothing() {
    let bed = Bed::new().await;
    for agent in ["coder", "other"] {
        bed.agent(agent).await;
    }
    bed.secret("key", "value-of-key").await;
    bed.provider("one", "key").await;
    bed.attach("coder", "one").await;
    let (mut coder, mut other) = (bed.follow("coder").await, bed.follow("other").await);
    let (before, _) = (other.snapshot().await.revision, coder.snapshot().await);
    let mut link = bed.link().await;
    let later = "BEGIN IMMEDIATE;
        UPDATE revision SET number = number + 1;
        INSERT INTO changes (revision, project, kind, name, at) SELECT number, 'team-a', 'novelty', 'x', 0 FROM revision;
        COMMIT";
    sqlx::raw_sql(later).execute(&mut link).await.unwrap();
    bed.rotate("key", "next-value-of-key").await;
    // It comes for the other kind, or for both at once.
    loop {
        let change = coder.snapshot().await;
        if coder.value(&change, "key").unwrap() == b"next-value-of-key" {
            break;
        }
    }
    assert!(other.snapshot().await.revision > before);
    within("it is not current", bed.server.current.comes()).await;
}

#[tokio::test]
async fn a_server_that_cannot_read_its_changes_keeps_no_sidecars_lease_alive() {
    let bed = Bed::new().await;
    within("it is not current", bed.server.current.comes()).await;
    let mut link = bed.link().await;
    sqlx::query("DROP TABLE changes").execute(&mut link).await.unwrap();
    current::ask(&bed.server).await.unwrap();
    // Another server wrote something.
    sqlx::query("UPDATE revision SET number = number + 1").execute(&mut link).await.unwrap();
    let asking = tokio::time::timeout(Duration::from_millis(500), current::ask(&bed.server));
    assert!(asking.await.is_err(), "nobody has looked at it");
    sqlx::query("DROP TABLE revision").execute(&mut link).await.unwrap();
    current::ask(&bed.server).await.unwrap_err();
    within("it is current", bed.server.current.goes()).await;
}

#[tokio::test]
async fn the_end_of_the_server_is_heard_of_while_a_snapshot_is_waited_for() {
    let bed = Bed::new().await;
    bed.secret("key", "value-of-key").await;
    bed.agent("coder").await;
    bed.provider("one", "key").await;
    bed.attach("coder", "one").await;
    let mut reader = bed.follow("coder").await;
    reader.snapshot().await;
    // As if the database did not answer.
    let _turns = bed.server.builds.acquire_many(u32::try_from(BUILDS_MAX).unwrap()).await.unwrap();
    bed.rotate("key", "next-value-of-key").await;
    bed.ends.send_replace(true);
    let end = reader.next().await;
    assert!(matches!(end, Some(Message::End(End::Draining))), "{end:?}");
}

#[tokio::test]
async fn a_file_finds_its_chain_among_those_of_its_own_agent_alone() {
    let bed = Bed::new().await;
    let entry = crate::audit::Entry::new(crate::audit::Kind::Lifecycle, std::time::UNIX_EPOCH);
    let (line, chain) = crate::audit::linked_line(&entry, crate::audit::Chain::default());
    let source = "sidecar/coder/0123456789abcdef";
    bed.db.ship(PROJECT, source, vec![line]).await.unwrap();
    let find = async |project: &'static str, prefix: &'static str, line| {
        bed.db.chain_with(project, prefix, line).await.unwrap()
    };
    assert_eq!(find(PROJECT, "sidecar/coder/", chain).await.as_deref(), Some(source));
    let other = crate::audit::Chain { seq: 2, ..chain };
    for (project, prefix, line) in [
        (PROJECT, "sidecar/code/", chain),
        (PROJECT, "sidecar/coder2/", chain),
        ("team", "sidecar/coder/", chain),
        (PROJECT, "sidecar/coder/", other),
        (PROJECT, "sidecar/coder/", crate::audit::Chain { hash: crate::audit::Hash([9; 32]), ..chain }),
    ] {
        assert_eq!(find(project, prefix, line).await, None, "{project} {prefix}");
    }
}

#[tokio::test]
async fn a_chain_begins_in_the_middle_only_under_the_name_of_its_first_line() {
    let bed = Bed::new().await;
    let entry = crate::audit::Entry::new(crate::audit::Kind::Lifecycle, std::time::UNIX_EPOCH);
    let (_, first) = crate::audit::linked_line(&entry, crate::audit::Chain::default());
    let (line, second) = crate::audit::linked_line(&entry, first);
    let (next, _) = crate::audit::linked_line(&entry, second);
    let other = "sidecar/coder/0123456789abcdef";
    bed.db.ship(PROJECT, other, vec![line.clone(), next.clone()]).await.unwrap_err();
    let source = format!("sidecar/coder/{}", second.hash.to_string().split_at(16).0);
    bed.db.ship(PROJECT, &source, vec![next.clone()]).await.unwrap_err();
    for _ in 0..2 {
        // What came before is not sent again by who knows; who does not is told the same.
        let kept = bed.db.ship(PROJECT, &source, vec![line.clone(), next.clone()]).await.unwrap();
        assert_eq!(kept, 3);
    }
    let upkeep = crate::audit::upkeep::Upkeep::new(Arc::new(bed.db.clone()), bed.vault().await, clock);
    let walked = async |source: &str| {
        upkeep
            .walk_as(Some(PROJECT), source, &format!("{PROJECT}/{source}"))
            .await
            .map_err(|(_, error)| error)
    };
    assert_eq!(walked(&source).await.unwrap().records, 2);
    // Under any other name it has lost its beginning.
    let mut link = bed.link().await;
    for table in ["audit", "audit_chains"] {
        let renamed =
            format!("UPDATE {table} SET source = '{PROJECT}/{other}' WHERE source = '{PROJECT}/{source}'");
        sqlx::query(sqlx::AssertSqlSafe(renamed)).execute(&mut link).await.unwrap();
    }
    assert!(walked(other).await.unwrap_err().to_string().contains('2'));
    let signed = upkeep.sign(None).await.unwrap();
    assert!(signed.iter().any(|(_, signed)| signed.is_err()), "{signed:?}");
}
