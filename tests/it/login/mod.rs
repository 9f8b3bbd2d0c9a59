//! `doorward connect --oauth`: what a login gives is in the vault and nowhere else, and serves an agent; what is no login
//! of ours gives nothing.

mod browser;
mod renewal;
mod vendor;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::ca::TestCa;
use harness::home::{Ran, finish};
use harness::within::{eventually, until};
use harness::{Home, Proxy, canary};

use vendor::{ANTHROPIC, ANY, OPENAI, Vendor};

const SOON: Duration = harness::within::DEADLINE;
const CODEX: &str = "/backend-api/codex/responses";

/// A home, a vendor, and a browser: curl that follows.
struct World {
    home: Home,
    vendor: Vendor,
}

impl World {
    async fn of(hosts: &[&str]) -> Self {
        let home = Home::keyed();
        home.write("ca.pem", TestCa::world().pem());
        fs::create_dir(home.path("tmp")).unwrap();
        let world = Self { home, vendor: Vendor::start(hosts).await };
        world.browser("exec $curl -L -o page \"$1\"");
        world
    }

    /// What is run as the browser; `$curl` reaches the vendor.
    fn browser(&self, script: &str) {
        let to = self.vendor.origin.address();
        let ways: String =
            self.vendor.origin.hosts().iter().map(|host| format!(" --connect-to {host}:443:{to}")).collect();
        let at = self.home.folder().display();
        let text = format!(
            "#!/bin/sh\ncd {at}\ncurl=\"curl -sS --max-time 20 --cacert {at}/ca.pem{ways}\"\n{script}\n"
        );
        self.home.write("browser", &text);
        fs::set_permissions(self.home.path("browser"), fs::Permissions::from_mode(0o700)).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let to = self.vendor.origin.address();
        let resolve: Vec<String> =
            self.vendor.origin.hosts().iter().map(|host| format!("{host}:443:{to}")).collect();
        let (ca, resolve) = (self.home.path("ca.pem"), resolve.join(","));
        let reach =
            ["--upstream-ca", ca.to_str().unwrap(), "--allow-cidr", "127.0.0.1/32", "--resolve", &resolve];
        let words = [&["--no-input", "connect"], words, &reach, &self.home.vault_flags()].concat();
        let mut command = self.home.command(&words);
        command.env("TMPDIR", self.home.path("tmp")).env("BROWSER", self.home.path("browser"));
        command
    }

    /// `doorward connect` with these words; nothing secret may be seen of it.
    async fn connect(&self, words: &[&str]) -> Ran {
        let command = self.command(words);
        let ran = tokio::task::spawn_blocking(move || finish(command, "")).await.unwrap();
        self.assert_silent(&ran);
        ran
    }

    #[track_caller]
    fn assert_silent(&self, ran: &Ran) {
        for secret in self.vendor.secrets() {
            for text in [&ran.stdout, &ran.stderr] {
                assert_eq!(canary::search(text.as_bytes(), &secret), None, "{text}");
            }
        }
        assert_eq!(fs::read_dir(self.home.path("tmp")).unwrap().count(), 0, "something stayed behind");
    }

    fn kept(&self) -> (Vec<String>, String) {
        let entries = fs::read_dir(self.home.path("home/config/providers")).into_iter().flatten();
        let files = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        (files, self.home.run(&["get", "secrets", "-o", "name"], "").stdout)
    }

    #[track_caller]
    fn assert_nothing_kept(&self) {
        let (files, secrets) = self.kept();
        assert_eq!((files, secrets.trim()), (Vec::new(), ""));
    }

    /// The provider file that was made.
    fn provider(&self, name: &str) -> String {
        let text = fs::read_to_string(self.home.path(&format!("home/config/providers/{name}.yaml"))).unwrap();
        for secret in self.vendor.secrets() {
            assert!(!text.contains(&secret), "{text}");
        }
        text
    }

    /// A proxy with what was made, for an agent.
    async fn proxy(&self, name: &str) -> Proxy {
        let builder = Proxy::builder().vault(&self.home).file("kept", &self.provider(name));
        let mut proxy = builder.origin(&self.vendor.origin).start().await;
        self.watch(&mut proxy);
        proxy
    }

    fn watch(&self, proxy: &mut Proxy) {
        self.vendor.secrets().iter().for_each(|secret| proxy.watch(secret));
    }

    /// The stored token of Claude's login has ended.
    fn end_stored_token(&self) {
        let refresh = self.vendor.get(|state| state.refresh_token.clone());
        let text = format!("access_token=ended-long-ago\nrefresh_token={refresh}\nexpires_at=1700000000\n");
        self.home.write("ended.env", &text);
        let file = self.home.path("ended.env");
        let words = ["rotate", "secret", "anthropic-login", "--from-env-file", file.to_str().unwrap()];
        self.home.run(&words, "").assert_ok();
    }

    /// Starts `connect`, which waits for a pasted code, and says where the person shall log in.
    async fn begin(&self, words: &[&str]) -> (Child, String) {
        let log = self.home.path("stderr");
        let mut command = self.command(words);
        command.stderr(File::create(&log).unwrap()).stdout(Stdio::piped());
        let child = command.spawn().unwrap();
        let url = eventually("the address", SOON, || {
            let text = fs::read_to_string(&log).unwrap();
            let url = text.split_whitespace().find(|word| word.starts_with("https://"))?.to_owned();
            text.contains("and paste").then_some(url)
        })
        .await;
        (child, url)
    }

    /// Pastes, and waits for the end.
    async fn end(&self, mut child: Child, pasted: &str) -> Ran {
        child.stdin.take().unwrap().write_all(pasted.as_bytes()).unwrap();
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
        let mut ran: Ran = output.into();
        ran.stderr = fs::read_to_string(self.home.path("stderr")).unwrap();
        self.assert_silent(&ran);
        ran
    }

    /// What the browser shows at this address, without following.
    async fn page(&self, url: &str, more: &str) -> String {
        self.browser(&format!("exec $curl {more} \"$1\""));
        let mut command = Command::new(self.home.path("browser"));
        command.arg(url);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// The ports of Codex's login are the same for every test, and for every run of the tests.
async fn ports_of_codex() -> File {
    let file = File::create(std::env::temp_dir().join("doorward-tests-1455.lock")).unwrap();
    tokio::task::spawn_blocking(move || {
        file.lock().unwrap();
        file
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn an_answer_that_gives_no_login_is_told_and_nothing_is_kept() {
    let words = ["anthropic", "--oauth"];
    for (fails, exit, why) in [
        (
            (400, r#"{"error":"invalid_grant","error_description":"c4nary-words"}"#),
            1,
            "refused the credential: invalid_grant",
        ),
        ((401, "c4nary-words"), 1, "refused the credential (status 401)"),
        ((302, ""), 1, "a redirect (302), which is not followed"),
        ((503, "c4nary-words"), 7, "cannot answer now (status 503)"),
        ((200, "<html>c4nary-words</html>"), 1, "it is not one JSON object"),
        ((200, r#"{"access_token":"c4nary-words","token_type":"mac"}"#), 1, "another type than Bearer"),
    ] {
        let world = World::of(&ANTHROPIC).await;
        world.vendor.set(|state| state.fails = Some((fails.0, fails.1.to_owned())));
        let ran = world.connect(&words).await;
        ran.assert_fails(exit, why);
        assert!(!ran.stderr.contains("not reached"), "{ran:?}");
        assert!(ran.stderr.contains("nothing was kept") && !ran.stderr.contains("c4nary-words"), "{ran:?}");
        world.assert_nothing_kept();
    }
    let world = World::of(&ANTHROPIC).await;
    world.vendor.set(|state| state.lacks = Some("refresh_token"));
    world.connect(&words).await.assert_fails(1, "gave no refresh token");
    world.assert_nothing_kept();
    world.vendor.set(|state| (state.lacks, state.denies) = (None, true));
    world.connect(&words).await.assert_fails(1, "the vendor says access_denied; nothing was kept");
    world.assert_nothing_kept();
    // The login is given, and the API does not take it.
    world.vendor.set(|state| (state.denies, state.life) = (false, Duration::ZERO));
    world.connect(&words).await.assert_fails(1, "has expired already");
    world.assert_nothing_kept();
}

#[tokio::test]
async fn what_no_login_can_be_made_of_is_refused_before_a_browser_opens() {
    let world = World::of(&ANY).await;
    let generic = ["http-token", "--host", "api.example.com", "--oauth"];
    let full = [&generic[..], &["--set", "auth.tokenUrl=https://login.example.com/oauth/token"]].concat();
    for (words, exit, why) in [
        (vec!["github", "--oauth"], 2, "type `github` has no login"),
        (vec!["opanai", "--oauth"], 5, "did you mean `openai`"),
        (vec!["openai", "--oauth", "--auth", "api-key"], 2, "a login is auth type `oauth`"),
        (vec!["anthropic", "--oauth", "--device"], 2, "this vendor offers none"),
        (vec!["openai", "--oauth", "--authorize-url", "https://evil.example/a"], 2, "has its own login"),
        (vec!["openai", "--device"], 2, "--oauth"),
        (vec!["openai", "--oauth", "--host", "evil.example"], 2, "none of them"),
        (vec!["openai", "--oauth", "--from-literal", "refresh_token=12345678"], 2, "is what the login gives"),
        (full.clone(), 2, "client_id"),
        ([&full[..], &["--set", "auth.clientId=c"]].concat(), 2, "give --authorize-url URL"),
        ([&full[..], &["--set", "auth.clientId=c", "--device"]].concat(), 2, "give --device-url URL"),
        (
            [&full[..], &["--set", "auth.clientId=c", "--authorize-url", "http://login.example.com/a"]]
                .concat(),
            2,
            "has to begin with `https://`",
        ),
    ] {
        world.connect(&words).await.assert_fails(exit, why);
        world.assert_nothing_kept();
    }
    world.vendor.origin.assert_untouched();
}

#[tokio::test]
async fn a_pasted_code_of_another_login_or_one_that_was_used_gives_nothing() {
    let world = World::of(&ANTHROPIC).await;
    let words = ["anthropic", "--oauth", "--no-browser"];
    let (child, url) = world.begin(&words).await;
    let shown = world.page(&url, "").await;
    let (code, _) = shown.split_once('#').unwrap();
    let ran = world.end(child, &format!("{code}#{}\n", "x".repeat(43))).await;
    ran.assert_fails(1, "is not of this login: its `state` is another one; nothing was kept");
    let (child, _) = world.begin(&words).await;
    world.end(child, &format!("{code}\n")).await.assert_fails(1, "paste all of it");
    // The code of the first login, with the state of the second: it is bound to the first one's verifier.
    let (child, url) = world.begin(&words).await;
    let second = world.page(&url, "").await;
    let state = second.split_once('#').unwrap().1;
    world.end(child, &format!("{code}#{state}\n")).await.assert_fails(1, "invalid_grant; nothing was kept");
    world.assert_nothing_kept();
    let (child, url) = world.begin(&words).await;
    let shown = world.page(&url, "").await;
    world.end(child, &format!("{shown}\n")).await.assert_ok();
    // A code is used up.
    fs::remove_file(world.home.path("home/config/providers/anthropic.yaml")).unwrap();
    world.home.run(&["delete", "secret", "anthropic-login"], "").assert_ok();
    let (child, url) = world.begin(&words).await;
    let state = world.page(&url, "").await.split_once('#').unwrap().1.to_owned();
    let used = shown.split_once('#').unwrap().0;
    world.end(child, &format!("{used}#{state}\n")).await.assert_fails(1, "invalid_grant");
    world.assert_nothing_kept();
    assert_eq!(world.vendor.get(|state| (state.granted.len(), state.refused)), (1, 2));
}

#[tokio::test]
async fn a_browser_that_is_sent_elsewhere_first_changes_nothing() {
    let world = World::of(&ANTHROPIC).await;
    // What a hostile page could make the browser send, while the login waits.
    world.browser(
        "to=$($curl -o /dev/null -w '%{redirect_url}' \"$1\")\n\
         back=$($curl -o /dev/null -w '%{redirect_url}' \"$to\")\n\
         base=${back%%\\?*}; host=${base#http://}; port=${host#*:}; port=${port%%/*}\n\
         for url in \"$base?code=evil&state=guess\" \"$base\" \"http://localhost:$port/\" \"$base?error=access_denied\"\n\
         do $curl -o /dev/null -w '%{http_code} ' \"$url\"; done > seen\n\
         $curl -o /dev/null -w '%{http_code} ' -H 'Host: evil.example' \"$back\" >> seen\n\
         $curl -o /dev/null -w '%{http_code} ' -X POST \"$back\" >> seen\n\
         $curl -o page -w '%{http_code} ' \"$back\" >> seen",
    );
    world.connect(&["anthropic", "--oauth"]).await.assert_ok();
    let page = eventually("the page", SOON, || {
        fs::read_to_string(world.home.path("page")).ok().filter(|page| page.contains("close this window"))
    })
    .await;
    assert!(!page.contains('<'), "{page}");
    let seen = || fs::read_to_string(world.home.path("seen")).unwrap();
    until("the browser's end", SOON, async || seen().ends_with("200 ")).await;
    assert_eq!(seen(), "400 404 404 400 421 405 200 ");
}

#[tokio::test]
async fn a_codex_login_by_browser_is_kept_and_serves_its_agent_alone() {
    let _ports = ports_of_codex().await;
    let world = World::of(&OPENAI).await;
    let ran = world.connect(&["openai", "--oauth"]).await;
    ran.assert_ok();
    assert!(ran.stderr.contains("verified: GET to chatgpt.com was answered 200"), "{ran:?}");
    assert!(
        ran.stderr.contains("secret/openai-login added, bound to auth.openai.com,chatgpt.com"),
        "{ran:?}"
    );
    let text = world.provider("openai");
    assert!(text.contains("allow: [\"responses:create\",\"models:read\",\"usage:read\"]"), "{text}");
    let mut proxy = world.proxy("openai").await;
    let account = world.vendor.get(|state| state.account.clone());
    proxy.watch(&account);
    let reply = proxy.agent().post("chatgpt.com", CODEX, "chatgpt-account-id: own", b"{}").await;
    reply.assert_ok();
    // The login's own token serves while it lives: nothing was used up for it.
    assert_eq!(world.vendor.get(|state| state.granted.clone()), ["authorization_code"]);
    // The account behind the subscription is larger than what it is for.
    proxy.agent().get("chatgpt.com", "/backend-api/conversations").await.assert_refused(403, "DW1002");
    // Codex starts with what is published, and its own renewals get dummies.
    let env = proxy.agent_env();
    let folder = &env.iter().find(|(name, _)| name == "CODEX_HOME").unwrap().1;
    let login = fs::read_to_string(format!("{folder}/auth.json")).unwrap();
    let login: serde_json::Value = serde_json::from_str(&login).unwrap();
    let dummy = login["tokens"]["refresh_token"].as_str().unwrap();
    let body =
        format!("{{\"client_id\":\"app\",\"grant_type\":\"refresh_token\",\"refresh_token\":\"{dummy}\"}}");
    let kind = "content-type: application/json";
    let asked = world.vendor.origin.requests().len();
    let reply = proxy.agent().post("auth.openai.com", "/oauth/token", kind, body.as_bytes()).await;
    reply.assert_ok();
    assert_eq!(reply.json()["access_token"], dummy);
    assert_eq!(reply.json()["refresh_token"], dummy);
    let code = r#"{"grant_type":"authorization_code","code":"x"}"#;
    let reply = proxy.agent().post("auth.openai.com", "/oauth/token", kind, code.as_bytes()).await;
    reply.assert_refused(403, "DW1002");
    assert_eq!(world.vendor.origin.requests().len(), asked);
}

#[tokio::test]
async fn a_claude_login_answers_its_client_at_every_endpoint_and_may_make_no_key() {
    let world = World::of(&ANTHROPIC).await;
    world.connect(&["anthropic", "--oauth", "--name", "claude"]).await.assert_ok();
    let scopes = world.vendor.origin.requests()[0].target.clone();
    assert!(scopes.contains("scope=user%3Aprofile%20user%3Ainference&"), "{scopes}");
    let proxy = world.proxy("claude").await;
    let dummy = proxy.dummy("CLAUDE_CODE_OAUTH_TOKEN");
    assert!(dummy.starts_with("sk-ant-oat01-dw0"), "{dummy}");
    let asked = world.vendor.origin.requests().len();
    let body =
        format!("{{\"grant_type\":\"refresh_token\",\"refresh_token\":\"{dummy}\",\"client_id\":\"x\"}}");
    for host in ["platform.claude.com", "console.anthropic.com", "api.anthropic.com"] {
        let kind = "content-type: application/json";
        let reply = proxy.agent().post(host, "/v1/oauth/token", kind, body.as_bytes()).await;
        reply.assert_ok();
        assert_eq!(reply.json()["access_token"], dummy.as_str(), "{host}");
        assert_eq!(reply.json()["scope"], "user:profile user:inference", "{host}");
    }
    let agent = proxy.agent();
    let key = agent.post("api.anthropic.com", "/api/oauth/claude_cli/create_api_key", "", b"").await;
    key.assert_refused(403, "DW1002");
    assert_eq!(world.vendor.origin.requests().len(), asked);
}

#[tokio::test]
async fn a_typed_code_logs_in_when_it_was_typed_and_not_when_it_was_refused() {
    let world = World::of(&OPENAI).await;
    let words = ["openai", "--oauth", "--device"];
    world.vendor.set(|state| state.typed = vec![(403, "{}"), (403, r#"{"error":"access_denied"}"#)]);
    world.connect(&words).await.assert_fails(1, "the person or the issuer said no; nothing was kept");
    world.assert_nothing_kept();
    world.vendor.set(|state| state.typed = vec![(403, ""), (404, "")]);
    let ran = world.connect(&words).await;
    assert!(ran.assert_ok().stderr.contains("WDJB-MJHTX"), "{ran:?}");
    assert!(ran.stderr.contains("https://auth.openai.com/codex/device"), "{ran:?}");
    let proxy = world.proxy("openai").await;
    proxy.agent().post("chatgpt.com", CODEX, "", b"{}").await.assert_ok();
}

#[tokio::test]
async fn any_issuer_is_logged_in_to_by_flags() {
    let device = ["--device", "--device-url", "https://login.example.com/oauth/device"];
    let browser = ["--authorize-url", "https://login.example.com/oauth/authorize"];
    for way in [&device[..], &browser[..]] {
        let world = World::of(&ANY).await;
        world.vendor.set(|state| state.typed = vec![(400, r#"{"error":"authorization_pending"}"#)]);
        let words = [
            &["http-token", "--host", "api.example.com", "--oauth"],
            way,
            &["--set", "auth.tokenUrl=https://login.example.com/oauth/token"],
            &["--set", "auth.clientId=the-client", "--set", "auth.scopes=[\"read\",\"offline_access\"]"],
            &["--verify", "https://api.example.com/me"],
        ]
        .concat();
        let ran = world.connect(&words).await;
        assert!(ran.assert_ok().stderr.contains("bound to api.example.com,login.example.com"), "{ran:?}");
        let proxy = world.proxy("api.example.com").await;
        proxy.agent().get("api.example.com", "/me").await.assert_ok();
        assert_eq!(world.vendor.get(|state| state.granted.len()), 1);
    }
}

#[tokio::test]
async fn run_gives_codex_and_claude_code_their_dummies() {
    let world = World::of(&[&ANTHROPIC[..], &OPENAI[..]].concat()).await;
    world.vendor.set(|state| state.typed = Vec::new());
    world.connect(&["openai", "--oauth", "--device"]).await.assert_ok();
    world.connect(&["anthropic", "--oauth"]).await.assert_ok();
    let script =
        "cat \"$CODEX_HOME/auth.json\"; echo \"$CLAUDE_CODE_OAUTH_TOKEN\"; touch \"$CODEX_HOME/history\"";
    let words = ["run"].iter().copied().chain(world.home.vault_flags()).chain(["--", "sh", "-c", script]);
    let words: Vec<&str> = words.collect();
    let mut command = world.home.command(&words);
    command.env("TMPDIR", world.home.path("tmp"));
    let ran = tokio::task::spawn_blocking(move || finish(command, "")).await.unwrap();
    ran.assert_ok();
    assert!(
        ran.stdout.contains("\"auth_mode\": \"chatgpt\"") && ran.stdout.contains("sk-ant-oat01-dw0"),
        "{ran:?}"
    );
    world.assert_silent(&ran);
}
