//! The routes over real sockets and a real database.

use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest, Sha256};
use sqlx::Connection as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::super::SEAL_KEY_HEADER;
use super::*;
use crate::api::Limits;
use crate::api::serve::{Bound, serve};
use crate::database::Database;
use crate::registry::{
    Act, Attached, DocumentKind, NewAgent, NewDocument, NewProject, ProjectSettings, Seen, TokenDigest,
};
use crate::secret::{Secret, SecretName};
use crate::sync::seal::{self, SealKey};
use crate::sync::source::Held;
use crate::sync::wire::{End, Kept, Message, Snapshot};
use crate::vault::BoundHosts;
use crate::vault::local::{Change, Entry};
use crate::vault::master::KeySource;

mod shipped;
mod streams;

const PROJECT: &str = "team-a";

/// A server of sidecars, and the state behind it.
struct Bed {
    db: Database,
    dir: tempfile::TempDir,
    address: std::net::SocketAddr,
    ends: watch::Sender<bool>,
    server: Arc<Server>,
}

fn clock() -> time::OffsetDateTime {
    time::macros::datetime!(2030-01-01 12:00 UTC)
}

fn gate() -> Arc<Gate> {
    Arc::new(Gate::new(&Limits::default()))
}

fn act() -> Act {
    Act::at(clock().unix_timestamp())
}

fn token(agent: &str) -> String {
    let body = hex::encode(Sha256::digest(agent));
    let (body, _) = body.split_at(43);
    format!("dwa_{body}")
}

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn values(value: &str) -> Vec<(String, Secret)> {
    vec![("token".to_owned(), Secret::new(value.into()))]
}

impl Bed {
    async fn new() -> Self {
        Self::with(SLOW).await
    }

    /// One that is that patient with readers.
    async fn with(slow: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::sqlite(&dir.path().join("server.db"), true).await.unwrap();
        let project =
            NewProject { name: PROJECT.into(), description: None, settings: ProjectSettings::default() };
        db.add_project(project, act()).await.unwrap();
        let bound = Bound::bind(&["127.0.0.1:0".parse().unwrap()], false).await.unwrap();
        let address = bound.urls()[0].strip_prefix("http://").unwrap().parse().unwrap();
        let (ends, ended) = watch::channel(false);
        let vault = unlocked(&db, &dir).await;
        let registry = Arc::new(db.clone());
        let setting = Setting { registry, vault, gate: gate(), reviews: None, clock, ends: ended.clone() };
        let server = Arc::new(Server { slow, ..Server::new(setting) });
        let router = routes(Arc::clone(&server));
        tokio::spawn(async move { serve(bound, None, router, &Limits::default(), ended).await });
        Self { db, dir, address, ends, server }
    }

    /// A connection of the test's own to the database.
    async fn link(&self) -> sqlx::SqliteConnection {
        let file = format!("sqlite:{}", self.dir.path().join("server.db").display());
        sqlx::SqliteConnection::connect(&file).await.unwrap()
    }

    async fn vault(&self) -> LocalVault {
        unlocked(&self.db, &self.dir).await
    }

    async fn secret(&self, secret: &str, value: &str) {
        let hosts = Some(BoundHosts::parse(&["api.example.com"]).unwrap());
        let entry =
            Entry { name: name(secret), description: None, expires: None, hosts, values: values(value) };
        self.vault().await.add(PROJECT, vec![entry], vec![]).await.unwrap();
    }

    async fn rotate(&self, secret: &str, value: &str) {
        let change = Change { expires: None, hosts: None, values: values(value) };
        self.vault().await.rotate(PROJECT, &name(secret), change).await.unwrap();
    }

    async fn provider(&self, provider: &str, secret: &str) {
        let document = NewDocument {
            kind: DocumentKind::Provider,
            name: provider.into(),
            text: format!("kind: Provider # {provider}"),
            type_name: "http-token".into(),
            uses: vec![name(secret)],
            claims: vec![format!("host:{provider}")],
            withheld: false,
        };
        self.db.add_document(PROJECT, document, act()).await.unwrap();
    }

    async fn agent(&self, agent: &str) {
        let digest = TokenDigest(Sha256::digest(token(agent)).into());
        let agent =
            NewAgent { name: agent.into(), description: None, digest, expires: None, identities: vec![] };
        self.db.add_agent(PROJECT, agent, act()).await.unwrap();
    }

    async fn attach(&self, agent: &str, provider: &str) {
        let what = Attached::Document(DocumentKind::Provider, provider.into());
        self.db.attach(PROJECT, agent, what, vec![], act()).await.unwrap();
    }

    async fn follow(&self, agent: &str) -> Reader {
        let key = Arc::new(SealKey::generate().unwrap());
        let mut reader = Reader { key, stream: self.connect().await, buffer: Vec::new() };
        let key = reader.key.public().to_string();
        let ask = format!(
            "GET /v1/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nDoorward-Seal-Key: {key}\r\n\r\n",
            token(agent)
        );
        reader.stream.write_all(ask.as_bytes()).await.unwrap();
        reader
    }

    #[expect(clippy::disallowed_methods, reason = "the server of the test, on loopback")]
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// One call with `Connection: close`: status and body.
    async fn call(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = self.connect().await;
        let ask = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let status = text.get(9..12).unwrap().parse().unwrap();
        (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }
}

async fn unlocked(db: &Database, dir: &tempfile::TempDir) -> LocalVault {
    let source = KeySource::File(dir.path().join("master.key"));
    LocalVault::unlock(Arc::new(db.clone()), &source, clock).await.unwrap()
}

/// A sidecar that only reads.
struct Reader {
    key: Arc<SealKey>,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Reader {
    /// The next message that is no ping; `None`: the stream ended.
    async fn next(&mut self) -> Option<Message> {
        let reading = async {
            loop {
                while let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                    let line: Vec<u8> = self.buffer.drain(..=end).collect();
                    // What else comes are heads and the lengths of chunks.
                    let message = line.starts_with(b"{").then(|| Message::parse(&line).unwrap());
                    if let Some(message) = message.filter(|one| !matches!(one, Message::Ping(_))) {
                        return Some(message);
                    }
                }
                if self.stream.read_buf(&mut self.buffer).await.unwrap() == 0 {
                    return None;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reading).await.expect("a message")
    }

    /// The status of the answer.
    async fn status(&mut self) -> u16 {
        let mut head = [0; 12];
        self.stream.read_exact(&mut head).await.unwrap();
        str::from_utf8(&head[9..]).unwrap().parse().unwrap()
    }

    async fn snapshot(&mut self) -> Snapshot {
        match self.next().await {
            Some(Message::Snapshot(snapshot) | Message::Change(snapshot)) => snapshot,
            other => panic!("{other:?}"),
        }
    }

    fn value(&self, snapshot: &Snapshot, secret: &str) -> Option<Vec<u8>> {
        assert!(Held::new(snapshot.clone(), Arc::clone(&self.key)).is_ok());
        let sealed = snapshot.secrets.iter().find(|sealed| sealed.name.as_str() == secret)?;
        let opened = seal::open(&self.key, snapshot, sealed).unwrap();
        Some(opened[0].1.expose().to_vec())
    }
}

#[tokio::test]
async fn refuses_everybody_but_a_living_agents_sidecar_with_a_key() {
    let bed = Bed::new().await;
    bed.agent("coder").await;
    let key = "Doorward-Seal-Key: ".to_owned() + &SealKey::generate().unwrap().public().to_string() + "\r\n";
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let good = bearer(&token("coder"));
    for (headers, status) in [
        (key.clone(), 401),
        (key.clone() + &bearer(&token("nobody")), 401),
        (key.clone() + &bearer("dwa_short"), 401),
        (key.clone() + "Authorization: Basic YTpi\r\n", 401),
        (key.clone() + &good + &good, 401),
        (key.clone() + &bearer(&token("coder").replace("dwa_", "dwt_")), 403),
        (key.clone() + &bearer(&token("coder").replace("dwa_", "dwb_")), 403),
        (key.clone() + &bearer(&token("coder").replace("dwa_", "dwp_")), 403),
        (good.clone(), 400),
        (key.clone() + &key + &good, 400),
        (good.clone() + "Doorward-Seal-Key: AAAA\r\n", 400),
        // Of low order: it agrees with every key.
        (good.clone() + "Doorward-Seal-Key: " + &"A".repeat(43) + "\r\n", 400),
    ] {
        let found = bed.call("GET", STREAM_PATH, &headers, "").await;
        assert_eq!(found.0, status, "{headers}{}", found.1);
        assert!(!found.1.contains("dwa_short"));
    }
    for (path, body, status) in [
        (ACK_PATH, "{}", 400),
        (ACK_PATH, r#"{"revision":1,"more":2}"#, 400),
        (ACK_PATH, r#"{"revision":999999}"#, 400),
        (AUDIT_PATH, "{}", 400),
        (AUDIT_PATH, r#"{"source":"../../../../etc/","behind":null,"lines":[]}"#, 400),
        (AUDIT_PATH, r#"{"source":"0123456789abcdef","behind":null,"lines":["x"]}"#, 409),
    ] {
        let found = bed.call("POST", path, &(key.clone() + &good), body).await;
        assert_eq!(found.0, status, "{body} {}", found.1);
    }
    bed.db.revoke_agent(PROJECT, "coder", Seen::Any, act()).await.unwrap();
    assert_eq!(bed.call("GET", STREAM_PATH, &(key + &good), "").await.0, 401);
}

#[tokio::test]
async fn a_sidecar_gets_what_is_attached_to_its_agent_and_every_change_of_it() {
    let bed = Bed::new().await;
    for (secret, provider) in [("one", "first"), ("two", "second")] {
        bed.secret(secret, &format!("value-of-{secret}")).await;
        bed.provider(provider, secret).await;
    }
    bed.agent("coder").await;
    bed.agent("other").await;
    bed.attach("coder", "first").await;
    bed.attach("other", "second").await;
    let mut coder = bed.follow("coder").await;
    let mut other = bed.follow("other").await;
    let first = coder.snapshot().await;
    assert_eq!((first.project.as_str(), first.agent.as_str()), (PROJECT, "coder"));
    assert_eq!(first.documents.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["first"]);
    assert_eq!(coder.value(&first, "one").unwrap(), b"value-of-one");
    assert_eq!(coder.value(&first, "two"), None);
    let theirs = other.snapshot().await;
    assert_eq!(other.value(&theirs, "two").unwrap(), b"value-of-two");
    bed.rotate("one", "next-value-of-one").await;
    let change = coder.snapshot().await;
    assert!(change.revision > first.revision && change.secrets[0].version == 2);
    assert_eq!(coder.value(&change, "one").unwrap(), b"next-value-of-one");
    // Nothing of it was the other's business: the next that it hears is its own.
    let what = Attached::Document(DocumentKind::Provider, "first".into());
    bed.db.detach(PROJECT, "coder", &what, Seen::Any, act()).await.unwrap();
    let bare = coder.snapshot().await;
    assert!(bare.documents.is_empty() && bare.secrets.is_empty());
    bed.rotate("two", "next-value-of-two").await;
    let theirs = other.snapshot().await;
    assert_eq!(other.value(&theirs, "two").unwrap(), b"next-value-of-two");
    bed.db.revoke_agent(PROJECT, "coder", Seen::Any, act()).await.unwrap();
    assert_eq!(coder.next().await, Some(Message::End(End::Revoked)));
    bed.ends.send(true).unwrap();
    assert_eq!(other.next().await, Some(Message::End(End::Draining)));
}

#[tokio::test]
async fn changes_that_come_together_are_each_said_once_and_in_order() {
    let bed = Bed::new().await;
    bed.secret("one", "value-of-one").await;
    bed.provider("first", "one").await;
    bed.agent("coder").await;
    bed.attach("coder", "first").await;
    let mut coder = bed.follow("coder").await;
    let mut revision = coder.snapshot().await.revision;
    let writing = async {
        for number in 0..40 {
            bed.rotate("one", &format!("value-{number}-of-one")).await;
        }
    };
    let reading = async {
        loop {
            let change = coder.snapshot().await;
            assert!(change.revision > revision, "{} after {revision}", change.revision);
            revision = change.revision;
            if coder.value(&change, "one").unwrap() == b"value-39-of-one" {
                return;
            }
        }
    };
    tokio::join!(writing, reading);
}

#[tokio::test]
async fn a_sidecar_that_comes_back_is_not_waited_for_as_another() {
    let bed = Bed::new().await;
    bed.secret("one", "value-of-one").await;
    bed.provider("first", "one").await;
    bed.agent("coder").await;
    bed.attach("coder", "first").await;
    let acknowledge = async |process: &str, revision: u64| {
        let (token, key) = (token("coder"), SealKey::generate().unwrap().public());
        let headers = format!(
            "Authorization: Bearer {token}\r\nDoorward-Seal-Key: {key}\r\nDoorward-Sidecar: {process}\r\n"
        );
        bed.call("POST", ACK_PATH, &headers, &format!("{{\"revision\":{revision}}}")).await.0
    };
    let synced = async || {
        let all = bed.db.attachments(PROJECT, "coder", clock().unix_timestamp()).await.unwrap().unwrap();
        all.iter().all(|one| one.synced)
    };
    let process = "AAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(acknowledge("short", 1).await, 400);
    assert_eq!(acknowledge(process, bed.db.latest().await.unwrap()).await, 204);
    bed.rotate("one", "next-value-of-one").await;
    assert!(!synced().await);
    assert_eq!(acknowledge(process, bed.db.latest().await.unwrap()).await, 204);
    assert!(synced().await);
}

#[tokio::test]
async fn what_a_sidecar_acknowledges_is_kept_for_synced() {
    let bed = Bed::new().await;
    bed.secret("one", "value-of-one").await;
    bed.provider("first", "one").await;
    bed.agent("coder").await;
    bed.attach("coder", "first").await;
    let mut coder = bed.follow("coder").await;
    let revision = coder.snapshot().await.revision;
    let synced = async || {
        let all = bed.db.attachments(PROJECT, "coder", clock().unix_timestamp()).await.unwrap().unwrap();
        all.iter().all(|one| one.synced)
    };
    assert!(!synced().await);
    let headers =
        format!("Authorization: Bearer {}\r\nDoorward-Seal-Key: {}\r\n", token("coder"), coder.key.public());
    let body = format!("{{\"revision\":{revision}}}");
    assert_eq!(bed.call("POST", ACK_PATH, &headers, &body).await.0, 204);
    assert!(synced().await);
    bed.rotate("one", "next-value-of-one").await;
    assert!(!synced().await);
}

#[tokio::test]
async fn an_agent_has_so_many_streams_and_no_more() {
    let bed = Bed::new().await;
    bed.agent("coder").await;
    let mut readers = Vec::new();
    for _ in 0..AGENT_STREAMS_MAX {
        let mut reader = bed.follow("coder").await;
        reader.snapshot().await;
        readers.push(reader);
    }
    let key = SealKey::generate().unwrap().public();
    let headers = format!("Authorization: Bearer {}\r\nDoorward-Seal-Key: {key}\r\n", token("coder"));
    assert_eq!(bed.call("GET", STREAM_PATH, &headers, "").await.0, 429);
    readers.clear();
    // The places are given back when the server sees that nobody reads.
    while bed.follow("coder").await.status().await != 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_body_is_neither_waited_for_nor_read_before_its_token() {
    let bed = Bed::new().await;
    bed.agent("coder").await;
    for (path, headers) in [(AUDIT_PATH, String::new()), (ACK_PATH, "Authorization: Bearer dwa_x\r\n".into())]
    {
        let mut stream = bed.connect().await;
        // Of this body nothing ever comes.
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2097152\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start[9..], b"401");
    }
    let key = SealKey::generate().unwrap().public();
    let headers = format!("Authorization: Bearer {}\r\nDoorward-Seal-Key: {key}\r\n", token("coder"));
    let large = "x".repeat(LINES_MAX + 1);
    assert_eq!(bed.call("POST", AUDIT_PATH, &headers, &large).await.0, 413);
}
