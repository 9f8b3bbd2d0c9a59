//! Java, which can send a proxy no token and reads no PEM: through `doorward run`, whose listener knows it by its uid.
//!
//! A program of one file needs the JDK's compiler. `.ci/run` installs it: where it is absent, a test says so and returns, but fails under
//! `CI=true`.

use std::process::Output;

use harness::origin::answer;
use harness::{Origin, canary, within};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::{PATIENCE, script};
use crate::home::Home;
use crate::world::HOST;

/// Answers 401 unless the real credential comes.
async fn guarded(secret: &str) -> Origin {
    let wanted = format!("Bearer {secret}");
    let answer = answer::made(move |seen| {
        let is_real = seen.header("authorization") == Some(&wanted);
        let text = if is_real { format!("welcome, {wanted}") } else { "who are you?".to_owned() };
        let status = if is_real { 200 } else { 401 };
        http::Response::builder().status(status).body(answer::full(text)).unwrap()
    });
    Origin::builder(&[HOST]).answer(answer).start().await
}

/// Whether there is a JDK.
fn has_jdk() -> bool {
    let found = std::path::Path::new("/usr/bin/javac").exists();
    assert!(found || std::env::var("CI").as_deref() != Ok("true"), "there is no JDK, and CI skips nothing");
    if !found {
        eprintln!("skipped: needs a JDK in /usr/bin (default-jdk-headless)");
    }
    found
}

async fn java(home: &Home, origin: &Origin, url: &str) -> Output {
    let mut command = home.run(&["--", "java", &script("JavaClient.java"), url]);
    home.towards(&mut command, origin);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("java ends").unwrap();
    for text in [&output.stdout, &output.stderr] {
        assert_eq!(canary::search(text, &home.secret), None);
    }
    output
}

#[tokio::test]
async fn java_shows_the_code_when_the_host_is_not_allowed() {
    if !has_jdk() {
        return;
    }
    let home = Home::new();
    let origin = guarded(&home.secret).await;
    let output = java(&home, &origin, "https://example.net/").await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.matches(" 403 ").count(), 2, "{output:?}");

    assert!(text.contains("DW1001"), "{text}");
    origin.assert_untouched();
}

#[tokio::test]
async fn refuses_other_users_what_run_gives_its_java() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can connect as another user");
        return;
    }
    let home = Home::new();
    let origin = guarded(&home.secret).await;
    let mut command = home.run(&["--", "sh", "-c", "echo $JAVA_TOOL_OPTIONS; exec sleep 60"]);
    home.towards(&mut command, &origin);
    let mut run = command.spawn().unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
    let options = within("the options", lines.next_line()).await.unwrap().unwrap();
    let value = |name: &str| options.split(name).nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let proxy = format!("http://{}:{}", value("https.proxyHost="), value("https.proxyPort="));
    let curl = |uid| {
        let mut curl = Command::new("curl");
        curl.args(["-sSk", "-x", &proxy, &format!("https://{HOST}/")]).uid(uid);
        async move { within("curl", curl.output()).await.unwrap() }
    };
    let stranger = curl(4242).await;
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("407"), "{stranger:?}");
    origin.assert_untouched();
    assert!(curl(0).await.stdout.starts_with(b"welcome"));
    crate::run::signal(&run, rustix::process::Signal::TERM);
    within("the end of run", run.wait()).await.unwrap();
}

#[tokio::test]
async fn both_clients_of_java_get_their_answers_with_the_dummy() {
    if !has_jdk() {
        return;
    }
    let home = Home::new();
    let origin = guarded(&home.secret).await;
    let output = java(&home, &origin, &format!("https://{HOST}/v1/user")).await;
    let masked = format!("200 welcome, Bearer {}", "*".repeat(home.secret.len()));
    let text = String::from_utf8_lossy(&output.stdout);
    for client in ["HttpClient", "HttpsURLConnectionImpl"] {
        assert!(text.contains(&format!("{client} {masked}")), "{client}: {output:?}");
    }
    let real = format!("Bearer {}", home.secret);
    let seen: Vec<_> =
        origin.requests().iter().map(|seen| seen.headers_named("authorization").join(",")).collect();
    assert_eq!(seen, [real.clone(), real]);
}
