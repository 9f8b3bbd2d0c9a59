//! What lies on disk: no value and no token, in no file of either database, nor in what a server logs.

use std::path::Path;
use std::sync::Arc;

use crate::registry::{Attached, Registry};
use crate::vault::local::Change;

use super::bed::{ANY, Bed, agent, entry, name, now, token, values};
use super::postgres::Postgres;

#[tokio::test]
async fn no_value_or_token_lies_in_any_file_of_sqlite() {
    no_value_or_token_lies_in_any_file(&Bed::sqlite().await).await;
}

/// On a server of its own: what others stored is no business of this test.
#[tokio::test]
async fn no_value_or_token_lies_in_any_file_of_postgres() {
    no_value_or_token_lies_in_any_file(&Bed::on(Arc::new(Postgres::start())).await).await;
}

const CANARY: &str = "canary-7f3a9c51e8b24d06";
const ROTATED: &str = "canary-b19d40c7aa6e4f83";
const TOKEN: &str = "dwa_canary-token-5e0c1d9b7a";

async fn no_value_or_token_lies_in_any_file(bed: &Bed) {
    let vault = bed.vault().await;
    vault.add("one", vec![entry("s", CANARY), entry("t", CANARY)], vec![]).await.unwrap();
    let change = Change { expires: None, hosts: None, values: values(ROTATED) };
    vault.rotate("one", &name("s"), change).await.unwrap();
    let mut holder = agent("a");
    holder.digest = super::bed::digest(TOKEN);
    bed.db.add_agent("one", holder, now()).await.unwrap();
    let mut api = token("i", None);
    api.digest = super::bed::digest(TOKEN);
    bed.db.add_token(api, now()).await.unwrap();
    bed.db.attach("one", "a", Attached::Secret(name("s")), vec![], now()).await.unwrap();
    bed.db.agent_state("one", "a").await.unwrap().unwrap();
    assert!(bed.db.acting(now(), ANY).delete_secret("one", &name("t")).await.unwrap());
    if let Some(server) = &bed.server {
        server.checkpoint(&bed.url);
    }
    let mut folders = vec![bed.dir.path().to_owned()];
    folders.extend(bed.server.iter().map(|server| server.dir().to_owned()));
    let mut seen = Seen::default();
    folders.iter().for_each(|folder| search(folder, &mut seen));
    assert!(seen.names, "the search sees what is stored: the secret's name lies somewhere");
    assert_eq!(seen.canaries, Vec::<String>::new());
}

#[derive(Default)]
struct Seen {
    names: bool,
    canaries: Vec<String>,
}

fn search(folder: &Path, seen: &mut Seen) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path, seen);
            continue;
        }
        // Files come and go while a server runs.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let has = |needle: &[u8]| memchr::memmem::find(&bytes, needle).is_some();
        seen.names |= has(b"sealed_values");
        // What all of them have in common, and the same in hexadecimal digits and in base64, in either alignment.
        let forms = [&b"canary-"[..], hex::encode("canary-").as_bytes(), b"Y2FuYXJ5", b"ZHdhX2Nhbm"].map(has);
        if forms.contains(&true) {
            seen.canaries.push(path.display().to_string());
        }
    }
}
