//! `doorward demo`, as a stranger runs it.

use std::path::Path;
use std::process::{Output, Stdio};

use harness::binary::doorward;
use harness::{canary, within};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// What the demo's secret begins with.
const SECRET: &str = "demo_live_";

fn demo(folder: &Path, path: &str) -> Command {
    let mut command = Command::new(doorward());
    command.arg("demo").env_clear().env("PATH", path).env("TMPDIR", folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn assert_held(output: &Output, folder: &Path) {
    let (text, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{complaints}");
    assert!(text.contains("all of it held"), "{text}");
    for part in [
        "DEMO_API_TOKEN",
        "the origin received",
        "the agent received",
        "DW1002",
        "DW1001",
        "agents never delete",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    for stream in [&output.stdout, &output.stderr] {
        assert_eq!(canary::search(stream, SECRET), None, "{text}\n{complaints}");
    }
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "something stayed behind");
}

#[tokio::test]
async fn a_stranger_sees_the_whole_journey_hold_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = within("the demo", demo(folder.path(), &path).output()).await.unwrap();
    assert_held(&output, folder.path());
}

#[tokio::test]
async fn without_curl_doorwards_own_client_is_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let output = within("the demo", demo(folder.path(), "/nonexistent").output()).await.unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("there is no curl"));
    assert_held(&output, folder.path());
}

#[tokio::test]
async fn a_demo_that_is_kept_says_how_to_use_it_and_ends_when_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = demo(folder.path(), "/nonexistent").arg("--keep").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut shown = String::new();
    while let Some(line) = within("a line", lines.next_line()).await.unwrap() {
        shown.push_str(&line);
        shown.push('\n');
        if line.contains("Ctrl-C ends it") {
            break;
        }
    }
    assert!(shown.contains("agent.env"), "{shown}");
    super::run::signal(&child, rustix::process::Signal::TERM);
    assert!(within("its end", child.wait()).await.unwrap().success());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something stayed behind");
}
