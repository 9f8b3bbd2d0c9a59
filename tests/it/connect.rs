//! `doorward connect`: a credential that works is kept with its provider; of one that does not, nothing is.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::binary::doorward;
use harness::ca::TestCa;
use harness::home::{Ran, finish};
use harness::origin::Seen;
use harness::within::eventually;
use harness::{Home, Origin, Proxy, answer, canary, within};
use http::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

mod cloud;
mod each_type;

/// A home, what reaches its origin, and a credential.
struct World {
    home: Home,
    origin: Origin,
    secret: String,
}

impl World {
    async fn with(hosts: &[&str], answer: answer::Answer) -> Self {
        let home = Home::keyed();
        home.write("ca.pem", TestCa::world().pem());
        fs::create_dir(home.path("tmp")).unwrap();
        Self { home, origin: Origin::builder(hosts).answer(answer).start().await, secret: canary::fresh() }
    }

    /// `doorward connect` with these words, towards the origin.
    async fn connect(&self, words: &[&str]) -> Ran {
        self.connect_with(words, &self.secret).await
    }

    /// The same with this value on stdin.
    async fn connect_with(&self, words: &[&str], value: &str) -> Ran {
        let resolve: Vec<String> =
            self.origin.hosts().iter().map(|host| format!("{host}:443:{}", self.origin.address())).collect();
        let ca = self.home.path("ca.pem");
        let reach = [
            "--upstream-ca",
            ca.to_str().unwrap(),
            "--allow-cidr",
            "127.0.0.1/32",
            "--resolve",
            &resolve.join(","),
        ];
        self.run(&[words, &reach].concat(), value).await
    }

    /// The same without the way to the origin.
    async fn alone(&self, words: &[&str]) -> Ran {
        self.run(words, &self.secret).await
    }

    async fn run(&self, words: &[&str], value: &str) -> Ran {
        let words = [&["--no-input", "connect"], words, &self.home.vault_flags()].concat();
        let mut command = self.home.command(&words);
        command.env("TMPDIR", self.home.path("tmp"));
        let secret = value.to_owned();
        let ran = tokio::task::spawn_blocking(move || finish(command, &secret)).await.unwrap();
        for text in [&ran.stdout, &ran.stderr] {
            assert_eq!(canary::search(text.as_bytes(), value), None, "{text}");
        }
        assert_eq!(fs::read_dir(self.home.path("tmp")).unwrap().count(), 0, "something stayed behind");
        ran
    }

    fn providers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home.path("home/config/providers")).into_iter().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn secrets(&self) -> String {
        self.home.run(&["get", "secrets", "-o", "name"], "").stdout
    }

    #[track_caller]
    fn assert_nothing_kept(&self) {
        assert_eq!((self.providers(), self.secrets().trim()), (Vec::new(), ""));
    }

    fn provider(&self, name: &str) -> String {
        fs::read_to_string(self.home.path(&format!("home/config/providers/{name}.yaml"))).unwrap()
    }
}

fn ok() -> answer::Answer {
    answer::fixed(200, &[("content-type", "application/json")], br#"{"ok": true, "jsonrpc": "2.0", "id": 1}"#)
}

const OPENAI: &str = "api.openai.com";
const KEY: [&str; 3] = ["openai", "--from-stdin", "api-key"];

#[tokio::test]
async fn of_a_credential_that_the_service_refuses_nothing_is_kept() {
    let world = World::with(&[OPENAI], answer::fixed(401, &[], b"no")).await;
    let ran = world.connect(&KEY).await;
    ran.assert_fails(
        1,
        "the credential is refused: GET to api.openai.com was answered 401; nothing was kept",
    );
    world.assert_nothing_kept();
    assert_eq!(world.origin.only().headers_named("authorization"), [format!("Bearer {}", world.secret)]);
    // Slack answers every call with 200.
    let no = answer::fixed(
        200,
        &[("content-type", "application/json")],
        br#"{"ok": false, "error": "invalid_auth"}"#,
    );
    let world = World::with(&["slack.com"], no).await;
    world.connect(&["slack", "--from-stdin", "token"]).await.assert_fails(1, "the credential is refused");
    world.assert_nothing_kept();
    let world = World::with(&[OPENAI], answer::fixed(500, &[], b"no")).await;
    world.connect(&KEY).await.assert_fails(1, "was answered 500, and 200 was expected");
    world.assert_nothing_kept();
}

#[tokio::test]
async fn a_service_that_is_not_reached_is_said_to_be_and_nothing_is_kept() {
    let world = World::with(&[OPENAI], ok()).await;
    let resolve = format!("{OPENAI}:443:{}", world.origin.address());
    let closed = format!("{OPENAI}:443:127.0.0.1:1");
    for (words, code) in [
        (&["--resolve", &*resolve][..], "DW2005"),
        (&["--resolve", &resolve, "--allow-cidr", "127.0.0.1/32"], "DW2004"),
        (&["--resolve", &closed, "--allow-cidr", "127.0.0.1/32"], "DW2006"),
    ] {
        let ran = world.alone(&[&KEY, words].concat()).await;
        ran.assert_fails(7, &format!("not reached: GET to api.openai.com: {code}"));
        world.assert_nothing_kept();
    }
    assert!(world.origin.requests().is_empty());
}

#[tokio::test]
async fn what_cannot_be_made_is_refused_before_a_value_is_read() {
    let world = World::with(&[OPENAI], ok()).await;
    for (words, exit, why) in [
        (&["opanai", "--from-stdin", "api-key"][..], 5, "did you mean `openai`"),
        (&["openai"], 2, "key `api-key`: --from-stdin KEY"),
        (&["openai", "--auth", "pat"], 5, "auth type `pat`"),
        (&["openai", "--url", "https://a.example"], 2, "--url: type `openai` has none"),
        (&["custom", "--from-stdin", "api-key"], 2, "give --host HOST"),
        (&["mcp", "--from-stdin", "token"], 2, "give --url URL"),
        (&["mcp", "--url", "http://m.example.com/mcp"], 2, "`mcp.url` is an absolute URL"),
        (&["http-token", "--host", "a.example.com", "--auth", "header"], 2, "give --set auth.header=VALUE"),
        (&["openai", "--set", "auth.heder=x"], 2, "unknown field"),
        (&["openai", "--set", "nothing"], 2, "--set FIELD=VALUE"),
    ] {
        let ran = world.alone(words).await;
        ran.assert_fails(exit, why);
        world.assert_nothing_kept();
    }
    world.origin.assert_untouched();
}

#[tokio::test]
async fn a_name_or_host_that_is_taken_is_a_conflict() {
    let world = World::with(&[OPENAI], ok()).await;
    world.connect(&KEY).await.assert_ok();
    let kept = (world.providers(), world.secrets());
    world.connect(&KEY).await.assert_fails(6, "exists; --name gives the provider another name");
    let other = [&KEY[..], &["--name", "other"]].concat();
    world.connect(&other).await.assert_fails(6, "is for the same host");
    fs::remove_file(world.home.path("home/config/providers/openai.yaml")).unwrap();
    world.connect(&KEY).await.assert_fails(6, "exists");
    assert_eq!((vec!["openai.yaml".to_owned()], world.secrets()), kept);
}

#[tokio::test]
async fn each_type_is_verified_as_its_vendor_wants_it_and_kept() {
    for (host, words, name, sent) in [
        ("api.anthropic.com", &["anthropic", "--from-stdin", "api-key"][..], "anthropic", "x-api-key: @"),
        ("api.github.com", &["github", "--from-stdin", "token"], "github", "authorization: Bearer @"),
        ("slack.com", &["slack", "--from-stdin", "token"], "slack", "authorization: Bearer @"),
        (
            "mcp.example.com",
            &[
                "mcp",
                "--url",
                "https://mcp.example.com/v1/mcp",
                "--from-stdin",
                "token",
                "--set",
                "policy.mcp.allowedTools=[\"get_*\"]",
            ],
            "mcp.example.com",
            "authorization: Bearer @",
        ),
        (
            "llm.example.com",
            &[
                "http-token",
                "--host",
                "llm.example.com",
                "--auth",
                "header",
                "--set",
                "auth.header=X-Key",
                "--from-stdin",
                "token",
                "--verify",
                "https://llm.example.com/me",
            ],
            "llm.example.com",
            "x-key: @",
        ),
    ] {
        let world = World::with(&[host], ok()).await;
        let ran = world.connect(words).await;
        ran.assert_ok();
        assert!(ran.stderr.contains(&format!(" to {host} was answered 200")), "{ran:?}");
        assert!(
            ran.stderr.contains("bound to") && ran.stderr.contains(&format!("provider/{name} added")),
            "{ran:?}"
        );
        let seen = world.origin.only();
        let (field, value) = sent.split_once(": ").unwrap();
        assert_eq!(seen.headers_named(field), [value.replace('@', &world.secret)], "{name}");
        let file = format!("home/config/providers/{name}.yaml");
        world.home.run(&["check", "provider", "-f", world.home.path(&file).to_str().unwrap()], "");
        let text = world.provider(name);
        assert!(!text.contains(&world.secret) && text.contains("secretRef: "), "{text}");
        // What was kept serves an agent.
        let proxy =
            Proxy::builder().vault(&world.home).file("kept", &text).origin(&world.origin).start().await;
        let path = seen.target.clone();
        if name != "mcp.example.com" {
            proxy.agent().get(host, &path).await.assert_ok();
            assert_eq!(
                world.origin.last().headers_named(field),
                [value.replace('@', &world.secret)],
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn a_credential_in_the_path_is_verified_there_and_audited() {
    let told = answer::made(|seen: &Seen| {
        let status = if seen.target.starts_with("/bot123456789:AA") { 200 } else { 404 };
        Response::builder().status(status).body(answer::full("{}")).unwrap()
    });
    let mut world = World::with(&["api.telegram.org"], told).await;
    world.secret = "123456789:AAcanaryCANARY0123456789abcdefghijk".to_owned();
    world.connect(&["telegram", "--from-stdin", "token"]).await.assert_ok();
    assert_eq!(world.origin.only().target, format!("/bot{}/getMe", world.secret));
    let audit: String = fs::read_dir(world.home.path("home/state/audit"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap_or_default())
        .collect();
    assert!(audit.contains("\"host\":\"api.telegram.org\"") && !audit.contains(&world.secret), "{audit}");
}

#[tokio::test]
async fn unverified_on_request_or_where_there_is_no_call() {
    let world = World::with(&[OPENAI], ok()).await;
    let ran = world.connect(&[&KEY[..], &["--no-verify"]].concat()).await;
    assert!(ran.assert_ok().stderr.contains("openai: not verified"), "{ran:?}");
    let ran = world.connect(&["http-token", "--host", "a.example.com", "--from-stdin", "token"]).await;
    assert!(ran.assert_ok().stderr.contains("not verified: the type has no call for it"), "{ran:?}");
    world.origin.assert_untouched();
    assert_eq!(world.providers(), ["a.example.com.yaml", "openai.yaml"]);
    assert_eq!(world.secrets().lines().count(), 2);
}

/// Whether a terminal does not show what is typed.
fn is_silent(tty: &str) -> Option<()> {
    let told = std::process::Command::new("stty").args(["-F", tty, "-a"]).output().unwrap();
    String::from_utf8_lossy(&told.stdout).contains(" -echo ").then_some(())
}

#[tokio::test]
async fn a_person_is_asked_for_host_and_key_and_the_key_is_not_shown() {
    let host = "llm.example.com";
    let world = World::with(&[host], ok()).await;
    let resolve = format!("{host}:443:{}", world.origin.address());
    let (at, ca) = (world.home.path("home"), world.home.path("ca.pem"));
    let line = format!(
        "tty; exec {} --home {} connect custom --verify https://{host}/v1/models --upstream-ca {} --allow-cidr 127.0.0.1/32 --resolve {resolve} {}",
        doorward().display(),
        at.display(),
        ca.display(),
        world.home.vault_flags().join(" ")
    );
    // On a terminal of its own.
    let mut command = tokio::process::Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env("TMPDIR", world.home.path("tmp"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().expect("script(1) of bsdutils starts");
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = Vec::new();
    for (question, answer) in [("Host of the service:", host), ("Value of key `api-key`: ", &world.secret)] {
        while !String::from_utf8_lossy(&seen).contains(question) {
            assert!(
                within("a question", stdout.read_buf(&mut seen)).await.unwrap() > 0,
                "{}",
                String::from_utf8_lossy(&seen)
            );
        }
        if answer == world.secret {
            let text = String::from_utf8_lossy(&seen).into_owned();
            let tty = text.lines().next().unwrap();
            eventually("the terminal to show nothing", Duration::from_secs(20), || is_silent(tty)).await;
        }
        stdin.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
    }
    within("the end", stdout.read_to_end(&mut seen)).await.unwrap();
    let status = within("the end", child.wait()).await.unwrap();
    let seen = String::from_utf8_lossy(&seen);
    assert!(status.success() && seen.contains("verified: GET to llm.example.com was answered 200"), "{seen}");
    assert_eq!(canary::search(seen.as_bytes(), &world.secret), None, "{seen}");
    assert_eq!(world.origin.only().headers_named("authorization"), [format!("Bearer {}", world.secret)]);
    assert_eq!(world.providers(), ["llm.example.com.yaml"]);
}

#[tokio::test]
async fn credentials_of_several_keys_are_put_on_together() {
    let hosts = ["sts.amazonaws.com", "api.twilio.com"];
    let world = World::with(&hosts, ok()).await;
    world.home.write("access_key_id", "AKIAREALREALREALREAL");
    world.home.write("account_sid", "AC0123456789");
    let at = |name: &str| world.home.path(name).to_str().unwrap().to_owned();
    let (id, sid) = (at("access_key_id"), at("account_sid"));
    let aws = ["aws", "--from-file", &id, "--from-stdin", "secret_access_key"];
    world.connect(&aws).await.assert_ok();
    let seen = world.origin.last();
    let signed = seen.header("authorization").unwrap();
    assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=AKIAREALREALREALREAL/"), "{signed}");
    let url = "https://api.twilio.com/2010-04-01/Accounts.json";
    let twilio = ["twilio", "--from-file", &sid, "--from-stdin", "auth_token", "--verify", url];
    world.connect(&twilio).await.assert_ok();
    let pair = STANDARD.encode(format!("AC0123456789:{}", world.secret));
    assert_eq!(world.origin.last().headers_named("authorization"), [format!("Basic {pair}")]);
}

#[tokio::test]
async fn a_credential_that_is_exchanged_is_bound_to_its_issuer_as_well() {
    let hosts = ["login.example.com", "api.example.com"];
    let told = answer::made(|seen: &Seen| {
        let body = if seen.authority.starts_with("login.") {
            r#"{"access_token": "issued-c4nary-of-the-issuer", "token_type": "Bearer", "expires_in": 3600}"#
        } else {
            "{}"
        };
        Response::builder().header("content-type", "application/json").body(answer::full(body)).unwrap()
    });
    let world = World::with(&hosts, told).await;
    world.home.write("client_id", "the-client-of-the-team");
    let id = world.home.path("client_id");
    let ran = world
        .connect(&[
            "http-token",
            "--host",
            "api.example.com",
            "--auth",
            "oauth2-client-credentials",
            "--set",
            "auth.tokenUrl=https://login.example.com/token",
            "--verify",
            "https://api.example.com/me",
            "--from-file",
            id.to_str().unwrap(),
            "--from-stdin",
            "client_secret",
        ])
        .await;
    assert!(ran.assert_ok().stderr.contains("bound to api.example.com,login.example.com"), "{ran:?}");
    let sent = world.origin.last();
    assert_eq!(
        (&*sent.target, sent.header("authorization")),
        ("/me", Some("Bearer issued-c4nary-of-the-issuer"))
    );
}
