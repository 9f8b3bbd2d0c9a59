//! Each measure is taken in a child process: it cannot be taken back.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

/// Runs one of the ignored tests below in a process of its own, with a folder as its standard input.
fn in_child(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    for part in ["read", "write", "outside"] {
        fs::create_dir(folder.path().join(part)).unwrap();
        fs::write(folder.path().join(part).join("file"), "content").unwrap();
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("process::tests::{name}"), "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", folder.path().display()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(
        output.status.success() && text.contains("1 passed") && text.contains("reached the end"),
        "{text}"
    );
}

/// The folder; `None` when the test was not started by `in_child`.
fn folder() -> Option<PathBuf> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    Some(PathBuf::from(line.trim_end())).filter(|path| path.is_dir())
}

fn end() {
    println!("reached the end");
}

fn status(key: &str) -> String {
    let text = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

fn state(found: &SelfCheck, name: &str) -> State {
    found.measure(name).unwrap().state
}

#[test]
fn hardens_the_process_and_reports_what_it_found() {
    in_child("child_hardens");
}

#[test]
#[ignore = "run in a child process by the test above"]
fn child_hardens() {
    let Some(_) = folder() else { return };
    let before = status("Seccomp");
    let found = harden();
    assert_eq!(state(&found, SelfCheck::NOT_DUMPABLE), State::On);
    assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self/mem").unwrap()), 0);
    assert_eq!(state(&found, SelfCheck::NO_CORE), State::On);
    assert_eq!(rustix::process::getrlimit(Resource::Core).maximum, Some(0));
    assert_eq!(state(&found, SelfCheck::NO_NEW_PRIVS), State::On);
    assert_eq!(status("NoNewPrivs"), "1");
    assert_eq!(state(&found, SelfCheck::SECCOMP), State::Off);
    assert_eq!(status("Seccomp"), before);
    assert!(!found.is_complete());
    end();
}

#[test]
fn a_launcher_passes_no_limit_on_to_its_child() {
    in_child("child_launches");
}

#[test]
#[ignore = "run in a child process by the test above"]
fn child_launches() {
    let Some(_) = folder() else { return };
    let before = fs::read_to_string("/proc/self/limits").unwrap();
    let found = harden_launcher();
    assert_eq!(state(&found, SelfCheck::NOT_DUMPABLE), State::On);
    let output = Command::new("cat").args(["/proc/self/limits", "/proc/self/status"]).output().unwrap();
    let child = String::from_utf8(output.stdout).unwrap();
    assert!(child.starts_with(&before) && child.contains("NoNewPrivs:\t0"), "{child}");
    end();
}

#[test]
fn a_confined_process_starts_no_program_and_still_serves() {
    in_child("child_confined");
}

#[test]
#[ignore = "run in a child process by the test above"]
fn child_confined() {
    let Some(folder) = folder() else { return };
    // A thread from before: the filter has to reach it too.
    let (ask, asked) = std::sync::mpsc::channel();
    let earlier = std::thread::spawn(move || {
        asked.recv().unwrap();
        Command::new("/bin/true").spawn().map(drop).map_err(|error| error.kind())
    });
    let mut found = harden();
    let confinement = Confinement {
        read: vec![folder.join("read")],
        write: vec![folder.join("write")],
        programs: Programs::Refused,
    };
    confine(&mut found, &confinement);
    assert_eq!(state(&found, SelfCheck::SECCOMP), State::On, "{found}");
    assert_eq!(status("Seccomp"), "2");
    assert!(Command::new("/bin/true").spawn().is_err());
    ask.send(()).unwrap();
    assert_eq!(earlier.join().unwrap(), Err(std::io::ErrorKind::PermissionDenied));
    assert_eq!(rustix::process::chroot("/").err(), Some(rustix::io::Errno::PERM));
    serves(&folder);
    files_are_confined_or_reported(&found, &folder);
    end();
}

/// What a proxy does while it runs.
fn serves(folder: &Path) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", listener.local_addr().unwrap()).unwrap();
    let _socket = UnixListener::bind(folder.join("write/socket")).unwrap();
    std::thread::spawn(|| ()).join().unwrap();
    assert!(std::thread::available_parallelism().is_ok());
    assert_eq!(fs::read_to_string(folder.join("read/file")).unwrap(), "content");
    assert!(fs::read_dir(folder.join("read")).unwrap().count() > 0);
    assert!(!fs::read_to_string("/etc/hosts").unwrap().is_empty());
    assert!(!fs::read_to_string("/proc/self/statm").unwrap().is_empty());
    for device in ["/dev/urandom", "/dev/random"] {
        assert!(fs::File::open(device).is_ok(), "{device}");
    }
    let (new, named) = (folder.join("write/new"), folder.join("write/named"));
    fs::write(&new, "x").unwrap();
    fs::rename(&new, &named).unwrap();
    fs::OpenOptions::new().write(true).truncate(true).open(&named).unwrap();
    fs::create_dir(folder.join("write/folder")).unwrap();
    fs::remove_file(&named).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let mut watcher = notify::recommended_watcher(tell).unwrap();
    notify::Watcher::watch(&mut watcher, &folder.join("read"), notify::RecursiveMode::NonRecursive).unwrap();
    notify::Watcher::watch(&mut watcher, &folder.join("write"), notify::RecursiveMode::NonRecursive).unwrap();
    fs::write(folder.join("write/file"), "changed").unwrap();
    assert!(told.recv_timeout(std::time::Duration::from_secs(30)).unwrap().is_ok());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::net::UnixStream::connect(folder.join("write/socket")).await.unwrap() });
}

fn files_are_confined_or_reported(found: &SelfCheck, folder: &Path) {
    let outside = folder.join("outside/file");
    let measure = found.measure(SelfCheck::LANDLOCK).unwrap();
    if kernel_has_landlock() {
        assert_eq!(measure.state, State::On, "{measure}");
        assert!(fs::read(&outside).is_err());
        assert!(fs::write(folder.join("read/new"), "x").is_err());
        assert!(fs::write(folder.join("outside/new"), "x").is_err());
    } else {
        assert_eq!(measure.state, State::Unsupported, "{measure}");
        assert!(fs::read(&outside).is_ok());
    }
}

/// Asks for a ruleset, with no way to do with less, and drops it.
fn kernel_has_landlock() -> bool {
    use landlock::{AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset.handle_access(AccessFs::ReadFile).and_then(Ruleset::create).is_ok()
}

#[test]
fn commands_that_give_secrets_can_still_be_started() {
    in_child("child_with_programs");
}

#[test]
#[ignore = "run in a child process by the test above"]
fn child_with_programs() {
    let Some(_) = folder() else { return };
    let mut found = harden();
    confine(&mut found, &Confinement { programs: Programs::Allowed, ..Confinement::default() });
    assert_eq!(state(&found, SelfCheck::SECCOMP), State::On);
    assert_eq!(state(&found, SelfCheck::LANDLOCK), State::Off);
    assert!(Command::new("/bin/true").status().unwrap().success());
    assert_eq!(rustix::process::chroot("/").err(), Some(rustix::io::Errno::PERM));
    end();
}

#[test]
fn the_report_reads_as_words_and_as_json() {
    let mut found = SelfCheck::default();
    found.put(Measure::off(SelfCheck::LANDLOCK, "not yet applied"));
    found.put(Measure::on(SelfCheck::NO_CORE, ""));
    found.put(Measure::unsupported(SelfCheck::LANDLOCK, "the kernel does not have it"));
    assert_eq!(found.to_string(), "landlock: unsupported (the kernel does not have it), no_core: on");
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(
        json[0],
        serde_json::json!({"name": "landlock", "state": "unsupported", "detail": "the kernel does not have it"})
    );
    assert_eq!(json[1]["state"], "on");
}
