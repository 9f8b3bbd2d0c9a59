//! Audit lines of sidecars, and a crowd of them.

use super::*;

#[tokio::test]
async fn an_agents_calls_chains_and_sidecars_are_bounded() {
    let bed = Bed::new().await;
    bed.agent("coder").await;
    bed.agent("other").await;
    let (_end, ends) = watch::channel(false);
    let registry: Arc<dyn Registry> = Arc::new(bed.db.clone());
    let setting = Setting { registry, vault: bed.vault().await, gate: gate(), reviews: None, clock, ends };
    let server = Server::new(setting);
    let enters = async |agent: &str| {
        let key = SealKey::generate().unwrap().public().to_string();
        let bearer = format!("Bearer {}", token(agent));
        let request = http::Request::get("/").header("authorization", bearer).header(SEAL_KEY_HEADER, key);
        let (head, ()) = request.body(()).unwrap().into_parts();
        enter::caller(&server, &head).await.map(drop)
    };
    enters("coder").await.unwrap();
    let many = u32::try_from(CALLS.1).unwrap() * 2;
    server.calls.spend((PROJECT.into(), "coder".into()), many, Instant::now()).unwrap();
    assert!(enters("coder").await.is_err());
    enters("other").await.unwrap();

    let mut link = bed.link().await;
    let count = async |link: &mut sqlx::SqliteConnection, sql: &'static str| -> i64 {
        sqlx::query_scalar(sql).fetch_one(link).await.unwrap()
    };
    let noted = |number: i64| Noted {
        project: PROJECT.into(),
        agent: "coder".into(),
        sidecar: Sidecar {
            id: format!("s{number}"),
            acknowledged: 1,
            seen: clock().unix_timestamp() + number,
        },
    };
    let all: Vec<_> = (0..300).map(noted).collect();
    bed.db.acknowledge(&all).await.unwrap();
    assert_eq!(count(&mut link, "SELECT COUNT(*) FROM sidecars").await, 256);

    // Whoever only asks makes no chain; beyond the bound nobody does.
    let source = |number: u64| format!("sidecar/coder/{number:016x}");
    assert_eq!(bed.db.ship(PROJECT, &source(1), vec![]).await.unwrap(), 0);
    assert_eq!(count(&mut link, "SELECT COUNT(*) FROM audit_chains").await, 0);
    sqlx::query(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 10000)
            INSERT INTO audit_chains (source, project, seq, hash)
            SELECT 'team-a/sidecar/coder/' || printf('%016x', x), 'team-a', 1, zeroblob(32) FROM n",
    )
    .execute(&mut link)
    .await
    .unwrap();
    let entry = crate::audit::Entry::new(crate::audit::Kind::Lifecycle, std::time::UNIX_EPOCH);
    let (line, _) = crate::audit::linked_line(&entry, crate::audit::Chain::default());
    let full = bed.db.ship(PROJECT, &source(0), vec![line.clone()]).await;
    assert!(matches!(full, Err(crate::registry::RegistryError::Crowded(_))), "{full:?}");
    let other = format!("sidecar/coder-two/{:016x}", 0);
    assert_eq!(bed.db.ship(PROJECT, &other, vec![line]).await.unwrap(), 1);
}

#[tokio::test]
async fn audit_lines_are_kept_in_their_chain_and_a_file_in_its_middle_finds_it_again() {
    let bed = Bed::new().await;
    bed.agent("coder").await;
    let mut chain = crate::audit::Chain::default();
    let lines: Vec<String> = (0..4)
        .map(|_| {
            let entry = crate::audit::Entry::new(crate::audit::Kind::Lifecycle, std::time::UNIX_EPOCH);
            let (line, next) = crate::audit::linked_line(&entry, chain);
            chain = next;
            line
        })
        .collect();
    let key = SealKey::generate().unwrap().public();
    let headers = format!("Authorization: Bearer {}\r\nDoorward-Seal-Key: {key}\r\n", token("coder"));
    let ship = async |source: Option<&str>, behind: Option<(u64, String)>, lines: &[String]| {
        let behind = behind.map(|(seq, hash)| crate::sync::wire::Behind { seq, hash });
        let part =
            crate::sync::wire::Part { source: source.map(str::to_owned), behind, lines: lines.to_vec() };
        bed.call("POST", AUDIT_PATH, &headers, &serde_json::to_string(&part).unwrap()).await
    };
    let source = "0123456789abcdef";
    let kept = |body: &str| serde_json::from_str::<Kept>(body).unwrap();
    let (status, body) = ship(Some(source), None, &lines[..2]).await;
    assert_eq!((status, kept(&body).seq), (200, 2));
    // The same again, and more.
    let (status, body) = ship(Some(source), None, &lines[1..3]).await;
    assert_eq!((status, kept(&body).seq), (200, 3));
    // With a gap, or edited.
    assert_eq!(ship(Some("00000000000000ff"), None, &lines[3..]).await.0, 409);
    let edited = lines[3].replace("lifecycle", "recovered");
    assert_eq!(ship(Some(source), None, &[edited]).await.0, 409);
    let (_, third) = crate::audit::read_links(lines[2].as_bytes()).unwrap();
    let (status, body) = ship(None, Some((3, third.hash.to_string())), &[]).await;
    assert_eq!((status, kept(&body)), (200, Kept { source: source.into(), seq: 3 }));
    assert_eq!(ship(None, Some((3, "0".repeat(64))), &[]).await.0, 404);
}

/// A thousand agents' sidecars come back at once, and one secret that all of them have changes.
#[tokio::test]
async fn a_thousand_sidecars_that_come_at_once_are_all_served() {
    const SIDECARS: usize = 1000;
    let bed = Bed::new().await;
    bed.secret("shared", "value-of-shared").await;
    bed.provider("shared", "shared").await;
    for number in 0..SIDECARS {
        let agent = format!("agent-{number}");
        bed.agent(&agent).await;
        bed.attach(&agent, "shared").await;
    }
    let bed = Arc::new(bed);
    let begun = Instant::now();
    let coming = (0..SIDECARS).map(|number| {
        let bed = Arc::clone(&bed);
        tokio::spawn(async move {
            let mut reader = bed.follow(&format!("agent-{number}")).await;
            let snapshot = reader.snapshot().await;
            assert_eq!(reader.value(&snapshot, "shared").unwrap(), b"value-of-shared");
            reader
        })
    });
    let coming: Vec<_> = coming.collect();
    let mut readers = Vec::new();
    for one in coming {
        readers.push(one.await.unwrap());
    }
    let served = begun.elapsed();
    let begun = Instant::now();
    bed.rotate("shared", "next-value-of-shared").await;
    let hearing: Vec<_> = readers
        .into_iter()
        .map(|mut reader| {
            tokio::spawn(async move {
                let change = reader.snapshot().await;
                assert_eq!(reader.value(&change, "shared").unwrap(), b"next-value-of-shared");
            })
        })
        .collect();
    for one in hearing {
        one.await.unwrap();
    }
    println!(
        "{SIDECARS} sidecars: all served after {served:?}, a change with all after {:?}",
        begun.elapsed()
    );
}
