//! What the units promise systemd, and what systemd is told: by its own tools, and by the programs that the units start.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixDatagram as StdUnixDatagram};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use harness::binary::doorward;
use harness::{Origin, Proxy, Server, canary, within};
use rustix::fs::XattrFlags;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixDatagram, UnixStream};
use tokio::process::Command;

use super::{ROOT, installed};
use crate::world::HOST;

const UNITS: [&str; 2] = ["doorward", "doorward-server"];
/// In tenths: systemd calls up to 2.0 "OK" for a service with network access.
const EXPOSURE: &str = "--threshold=13";

/// What systemd listens to, under a name without a file (`@…`).
fn unnamed() -> (UnixDatagram, String) {
    let name = format!("doorward-{}", canary::fresh());
    let socket = StdUnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_nonblocking(true).unwrap();
    (UnixDatagram::from_std(socket).unwrap(), format!("@{name}"))
}

async fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let read = within("systemd is told", socket.recv(&mut buffer)).await.unwrap();
    String::from_utf8_lossy(&buffer[..read]).trim_end().to_owned()
}

fn is_told_nothing(socket: &UnixDatagram) -> bool {
    socket.try_recv(&mut [0; 256]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn systemd_is_told_when_the_proxy_serves_and_when_it_drains() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let origin = Origin::start(HOST).await;
    let builder = Proxy::builder().env("NOTIFY_SOCKET", path.to_str().unwrap());
    let proxy = builder.bearer(HOST).origin(&origin).start().await;
    assert_eq!(told(&socket).await, "READY=1");
    // It serves: the socket is no way around the process's confinement, nor hindered by it.
    proxy.agent().get(HOST, "/").await.assert_ok();
    proxy.signal(Signal::TERM);
    assert_eq!(told(&socket).await, "STOPPING=1");
}

#[tokio::test]
async fn systemd_is_told_of_the_server_not_before_it_listens_and_when_it_drains() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let pipe = at("key");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let (socket, name) = unnamed();
    let setup = Server::setup().shell(&format!("NOTIFY_SOCKET={name} exec \"$@\""));
    let setup = setup.flags(&["--master-key-command", &format!("/bin/cat {pipe}")]);
    let setup = setup.flags(&["--listen", &format!("unix:{}", at("own.sock"))]);
    let starting = tokio::spawn(setup.start());
    // Returns when the server's command waits for the key: nothing is open then, and nothing bound.
    let opened = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(pipe));
    let mut key = within("the server asks for its key", opened).await.unwrap().unwrap();
    assert!(is_told_nothing(&socket) && !Path::new(&at("own.sock")).exists());
    std::io::Write::write_all(&mut key, "5a".repeat(32).as_bytes()).unwrap();
    drop(key);
    assert_eq!(told(&socket).await, "READY=1");
    // At the first attempt.
    let mut stream = UnixStream::connect(at("own.sock")).await.expect("it listens");
    stream
        .write_all(b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut server = starting.await.unwrap();
    assert!(is_told_nothing(&socket));
    assert!(server.stop().await.success());
    assert_eq!(told(&socket).await, "STOPPING=1");
}

#[tokio::test]
async fn systemd_is_never_told_of_a_server_that_cannot_read_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, name) = unnamed();
    let key = folder.path().join("master.key");
    std::fs::write(&key, "no key").unwrap();
    let mut command = Command::new(doorward());
    command.arg("--home").arg(folder.path().join("home")).args(["server", "--listen", "127.0.0.1:0"]);
    command.arg("--master-key-file").arg(key).env_clear().env("NOTIFY_SOCKET", name).stdin(Stdio::null());
    let ended = within("the server ends", command.output()).await.unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(is_told_nothing(&socket));
}

fn unit(name: &str) -> String {
    std::fs::read_to_string(format!("{ROOT}/deploy/systemd/{name}.service")).unwrap()
}

/// What `systemd-analyze` says, and whether it is content.
async fn analyzed(words: &[&str], text: &str) -> Option<(bool, String)> {
    let tool = installed("/usr/bin/systemd-analyze".into())?;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("doorward-test.service");
    std::fs::write(&file, text).unwrap();
    let output = within("systemd-analyze", Command::new(tool).args(words).arg(&file).output()).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[tokio::test]
async fn the_services_are_confined_as_far_as_systemd_can_tell() {
    for name in UNITS {
        let judge = ["security", "--offline=true", EXPOSURE];
        let Some((is_good, said)) = analyzed(&judge, &unit(name)).await else { return };
        assert!(is_good && said.contains("Overall exposure level"), "{name}: {said}");
        // Systemd's group of a service's system calls lacks, up to version 252 at least, those by which doorward confines itself.
        let text = unit(name);
        let allowed: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("SystemCallFilter="))
            .filter(|calls| !calls.starts_with('~'))
            .flat_map(str::split_whitespace)
            .collect();
        for call in ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"] {
            assert!(allowed.contains(&call), "{name}: {call}");
        }
        assert!(allowed.contains(&"@system-service"));
    }
}

#[tokio::test]
async fn systemd_understands_every_line_of_the_units() {
    let verify = ["verify", "--man=no", "--generators=no", "--recursive-errors=no"];
    for name in UNITS {
        let text = unit(name).replace("/usr/bin/doorward", doorward().to_str().unwrap());
        let Some((is_good, said)) = analyzed(&verify, &text).await else { return };
        assert!(is_good && said.is_empty(), "{name}: {said}");
        // The tool looks: a misspelt line is found.
        let misspelt = text.replace("ProtectSystem=", "ProtectSistem=");
        assert!(analyzed(&verify, &misspelt).await.is_some_and(|(is_good, _)| !is_good), "{name}");
    }
}

/// What a unit's start is given, in a folder in the place of the machine's.
struct Started {
    folder: tempfile::TempDir,
    words: Vec<String>,
}

impl Started {
    fn of(name: &str) -> Self {
        let (folder, text) = (tempfile::tempdir().unwrap(), unit(name));
        let at = |place: &str| folder.path().join(place).to_str().unwrap().to_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/doorward ")).unwrap();
        let lent =
            line.split("${CREDENTIALS_DIRECTORY}/").skip(1).map(|rest| rest.split(' ').next().unwrap());
        for credential in lent {
            let is_loaded = text
                .lines()
                .any(|line| line.starts_with("LoadCredential") && line.contains(&format!("={credential}:")));
            assert!(is_loaded, "{name}: nothing loads {credential}");
        }
        // Addresses of ours: other tests run beside.
        let words = line.split(' ').map(|word| {
            let word = word.replace("${CREDENTIALS_DIRECTORY}", &at("lent")).replace("%H", "localhost");
            match word.split_once("/doorward") {
                Some(("/var/lib" | "/run" | "/etc", _)) => at(&word[1..]),
                _ if word.starts_with("127.0.0.1:") || word.starts_with("0.0.0.0:") => {
                    "127.0.0.1:0".to_owned()
                }
                _ => word,
            }
        });
        let words = words.collect();
        // As systemd makes them.
        let listed = |key: &str, below: &str| -> Vec<PathBuf> {
            let value = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            value.split_whitespace().map(|name| folder.path().join(below).join(name)).collect()
        };
        let made = [listed("StateDirectory=", "var/lib"), listed("RuntimeDirectory=", "run")].concat();
        for place in made.into_iter().chain([at("etc/doorward").into(), at("lent").into()]) {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(place).unwrap();
        }
        Self { folder, words }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A credential as systemd 254 and later lends it: nobody may write it, and an access list names the service's user.
    fn lend(&self, name: &str, text: &str) {
        const NOBODY: u32 = u32::MAX;
        let path = self.path("lent").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        let user = rustix::process::geteuid().as_raw();
        let entries =
            [(1_u16, 4_u16, NOBODY), (2, 4, user), (4, 0, NOBODY), (16, 4, NOBODY), (32, 0, NOBODY)];
        let entry = |(tag, rights, id): (u16, u16, u32)| {
            [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let list = [2_u32.to_le_bytes().to_vec(), entries.into_iter().flat_map(entry).collect()].concat();
        rustix::fs::setxattr(&path, "system.posix_acl_access", &list, XattrFlags::empty()).unwrap();
    }

    /// Starts it, waits until systemd would go on, and returns what its ready file says when its probe is content.
    async fn serves(&self) -> (tokio::process::Child, UnixDatagram, Value) {
        let (socket, name) = unnamed();
        let log = std::fs::File::create(self.path("log")).unwrap();
        let mut command = Command::new(doorward());
        command.args(&self.words).env_clear().env("NOTIFY_SOCKET", name).env("HOME", "/proc/nowhere");
        command.env("DOORWARD_READY_FILE", self.path("ready")).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().unwrap();
        tokio::select! {
            said = told(&socket) => assert_eq!(said, "READY=1"),
            ended = child.wait() => panic!("{ended:?}: {}", self.log()),
        }
        let ready = std::fs::read(self.path("ready")).expect("the ready file");
        let ready: Value = serde_json::from_slice(&ready).unwrap();
        (child, socket, ready)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }
}

/// Whether `doorward health` is content with it.
async fn is_healthy(ready: &Value) -> bool {
    let mut probe = Command::new(doorward());
    probe.arg("health").env_clear().env("DOORWARD_ADMIN", ready["admin"].as_str().expect("an admin port"));
    within("health", probe.output()).await.unwrap().status.success()
}

async fn ends(mut child: tokio::process::Child, socket: &UnixDatagram) {
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(told(socket).await, "STOPPING=1");
    assert!(within("it ends", child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn the_unit_of_the_server_starts_one_with_what_systemd_lends_it() {
    let started = Started::of("doorward-server");
    let (certificate, key) = harness::ca::server_pem(&["localhost"]);
    let root = format!("dwb_{}", "A".repeat(43));
    for (name, text) in [
        ("master.key", "5a".repeat(32)),
        ("root.token", root.clone()),
        ("tls.crt", certificate),
        ("tls.key", key),
    ] {
        started.lend(name, &text);
    }
    let (child, socket, ready) = started.serves().await;
    assert!(is_healthy(&ready).await && ready["api"].as_str().unwrap().starts_with("https://"), "{ready}");
    // Nothing of what was lent lies beside the data.
    let kept = |name: &str| started.path("var/lib/doorward-server").join(name).exists();
    assert!(kept("data/server.db") && !kept("config/master.key") && !kept("config/root.token"));
    let log = started.log();
    assert!(!log.contains(&root) && !log.contains("5a5a"), "{log}");
    ends(child, &socket).await;
}

#[tokio::test]
async fn the_unit_of_the_proxy_starts_one_with_what_systemd_lends_it() {
    let started = Started::of("doorward");
    let secret = canary::fresh();
    started.lend("github-pat", &secret);
    let providers = started.path("etc/doorward/providers");
    std::fs::create_dir(&providers).unwrap();
    std::fs::write(providers.join("github.yaml"), super::GITHUB).unwrap();
    std::fs::write(started.path("etc/doorward/agents"), "builder:0123456789abcdef0\n").unwrap();
    let (child, socket, ready) = started.serves().await;
    // Not degraded: the secret was found.
    assert!(is_healthy(&ready).await && !started.log().contains("degraded"), "{}", started.log());
    assert!(canary::search(started.log().as_bytes(), &secret).is_none());
    ends(child, &socket).await;
}
