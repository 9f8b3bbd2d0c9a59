//! One running `doorward server` with a database, a CA and a root token of its own, and calls to it over real TLS.
//!
//! Everything that it answers, logs and keeps is searched for every value that was handed in, when the test ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::binary::doorward;
use crate::ca::Svid;
use crate::canary;
use crate::home::Ran;
use crate::within::{eventually, within};

/// The client's end of a connection over TLS.
pub type TlsStream = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    database: Option<String>,
    flags: Vec<String>,
    shell: Option<String>,
}

/// The server's process and what is known of it.
pub struct Server {
    child: Child,
    home: tempfile::TempDir,
    ready: Value,
    root: String,
    seen: Arc<Mutex<Vec<u8>>>,
    secrets: Mutex<Vec<String>>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The code of a problem.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn etag(&self) -> String {
        self.headers["etag"].to_str().unwrap().to_owned()
    }

    /// A success of this status.
    #[track_caller]
    pub fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// A problem of this status and code.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.json());
        assert_eq!(self.headers["content-type"], "application/problem+json");
        self
    }

    /// Everything of a problem but the id of its call: two that must not be told apart are equal in it.
    pub fn without_id(&self) -> Value {
        let mut body = self.json();
        body.as_object_mut().expect("a problem").remove("request_id");
        body
    }
}

impl Setup {
    /// On this database, instead of a SQLite file of its own.
    #[must_use]
    pub fn database(mut self, url: impl Into<String>) -> Self {
        self.database = Some(url.into());
        self
    }

    #[must_use]
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// Starts it from a shell, which sets something up and ends with `exec "$@"`.
    #[must_use]
    pub fn shell(mut self, script: &str) -> Self {
        self.shell = Some(script.to_owned());
        self
    }

    /// Starts it and waits until it serves.
    pub async fn start(self) -> Server {
        Server::start_in(tempfile::tempdir().unwrap(), self).await
    }
}

impl Server {
    pub fn setup() -> Setup {
        Setup::default()
    }

    pub async fn start() -> Self {
        Self::setup().start().await
    }

    async fn start_in(home: tempfile::TempDir, setup: Setup) -> Self {
        let at = |name: &str| home.path().join(name);
        let mut command = match &setup.shell {
            None => Command::new(doorward()),
            Some(script) => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", script, "sh"]).arg(doorward());
                command
            }
        };
        command.arg("--home").arg(at("home")).args(["server", "--self-signed", "--log", "debug"]);
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--ready-file"]).arg(at("ready"));
        command.arg("--listen").arg(format!("unix:{}", at("api.sock").display()));
        if let Some(database) = &setup.database {
            command.args(["--database", database]);
        }
        command.args(&setup.flags).env_clear().env("PATH", "/usr/bin:/bin");
        let log = std::fs::File::create(at("stderr")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().expect("doorward starts");
        let ready = eventually("the server is ready", Duration::from_secs(60), || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{status}: {}", std::fs::read_to_string(at("stderr")).unwrap_or_default());
            }
            serde_json::from_slice::<Value>(&std::fs::read(at("ready")).ok()?).ok()
        })
        .await;
        // Another server on the same database may have made it.
        let file = ready["root_token_file"].as_str().unwrap_or_default();
        let root = std::fs::read_to_string(file).unwrap_or_default().trim().to_owned();
        Self { child, home, ready, root, seen: Arc::default(), secrets: Mutex::default() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn url(&self) -> &str {
        self.ready["api"].as_str().unwrap()
    }

    pub fn ready(&self) -> &Value {
        &self.ready
    }

    pub fn ca(&self) -> &Path {
        Path::new(self.ready["ca"].as_str().unwrap())
    }

    pub fn root(&self) -> &str {
        &self.root
    }

    /// Another server on the same database has told the root token.
    pub fn act_as(&mut self, root: &str) {
        root.clone_into(&mut self.root);
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.url().strip_prefix("https://").unwrap().parse().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a lost machine would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }

    /// A value that must not be seen anywhere from now on.
    pub fn canary(&self) -> String {
        let value = canary::fresh();
        self.secrets.lock().unwrap().push(value.clone());
        value
    }

    /// Another one, that whoever made it was shown once.
    pub fn watch(&self, value: &str) {
        let mut seen = self.seen.lock().unwrap();
        if let Some(at) = seen.windows(value.len()).position(|some| some == value.as_bytes()) {
            seen.drain(at..at + value.len());
        }
        self.secrets.lock().unwrap().push(value.to_owned());
    }

    /// A connection over TLS, on which a test writes its own bytes.
    pub async fn connect(&self) -> TlsStream {
        let stream = tokio::net::TcpStream::connect(self.address()).await.unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.ca()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config));
        tls.connect(name, stream).await.expect("TLS")
    }

    /// A call with these headers and this body, over TLS.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let stream = self.connect().await;
        let has_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = if has_host { None } else { self.url().strip_prefix("https://") };
        self.over(stream, (method, path), host, headers, body).await
    }

    /// A call of whoever shows this certificate, or why there was no answer.
    pub async fn send_certified(
        &self,
        svid: &Svid,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String> {
        let address = self.url().strip_prefix("https://").unwrap();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.ca()).unwrap()).unwrap();
        let chain = CertificateDer::pem_slice_iter(svid.certificate.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(svid.key.as_bytes()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(crate::ca::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = tls.connect(name, stream).await.map_err(|error| error.to_string())?;
        self.try_over(stream, (method, path), Some(address), headers, body).await
    }

    /// The same over the unix socket.
    pub async fn send_unix(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let stream = tokio::net::UnixStream::connect(self.path("api.sock")).await.unwrap();
        self.over(stream, (method, path), Some("localhost"), headers, body).await
    }

    async fn over<S>(
        &self,
        stream: S,
        (method, path): (&str, &str),
        host: Option<&str>,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.try_over(stream, (method, path), host, headers, body).await.expect("an answer")
    }

    async fn try_over<S>(
        &self,
        stream: S,
        (method, path): (&str, &str),
        host: Option<&str>,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let answer = within("an answer", sender.send_request(request)).await;
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        let (head, body) = answer.into_parts();
        let body = within("a body", body.collect()).await.expect("a body").to_bytes();
        let mut seen = self.seen.lock().unwrap();
        seen.extend_from_slice(format!("{:?}\n", head.headers).as_bytes());
        seen.extend_from_slice(&body);
        seen.push(b'\n');
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// A stream of changes, as the owner.
    pub async fn watch_changes(&self, path: &str) -> Changes {
        self.watch_changes_as(&self.root, path).await
    }

    /// The same as the holder of a token.
    pub async fn watch_changes_as(&self, token: &str, path: &str) -> Changes {
        let stream = tokio::net::UnixStream::connect(self.path("api.sock")).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .uri(path)
            .header("host", "localhost")
            .header("authorization", format!("Bearer {token}"))
            .body(Full::new(Bytes::new()))
            .unwrap();
        let answer = within("a stream", sender.send_request(request)).await.expect("a stream");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Changes { body: answer.into_body(), text: String::new(), seen: Arc::clone(&self.seen) }
    }

    /// A call as the holder of a token, with JSON.
    pub async fn call_as(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.call_with(token, method, path, &[], body).await
    }

    /// The same with more headers.
    pub async fn call_with(
        &self,
        token: &str,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        headers.extend_from_slice(more);
        let bytes = body.map(ToString::to_string).unwrap_or_default();
        self.send(method, path, &headers, bytes.as_bytes()).await
    }

    /// A call as the owner.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.call_as(&self.root, method, path, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, Some(&body)).await
    }

    /// A change of an object in this version.
    pub async fn change(&self, method: &str, path: &str, etag: &str, body: Option<Value>) -> Answer {
        self.call_with(&self.root, method, path, &[("if-match", etag)], body.as_ref()).await
    }

    /// A fresh token of this role.
    pub async fn token(&self, project: Option<&str>, role: &str) -> String {
        let path =
            project.map_or("/v1/tokens".to_owned(), |project| format!("/v1/projects/{project}/tokens"));
        let name = format!("{role}-{}", canary::fresh());
        let made = self.post(&path, json!({"name": name, "role": role})).await;
        made.is(201).json()["token"].as_str().unwrap().to_owned()
    }

    /// A project, and a secret with the key `token` in it.
    pub async fn project(&self, name: &str) {
        self.post("/v1/projects", json!({"name": name, "allowUnboundSecrets": true})).await.is(201);
    }

    pub async fn secret(&self, project: &str, name: &str) -> (String, Answer) {
        let value = self.canary();
        let body = json!({"name": name, "values": {"token": value}, "for": "github"});
        let made = self.post(&format!("/v1/projects/{project}/secrets"), body).await;
        made.is(201);
        (value, made)
    }

    /// `GET` on the admin port.
    pub async fn admin(&self, path: &str) -> Answer {
        let address = self.ready["admin"].as_str().unwrap().strip_prefix("http://").unwrap();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        self.over(stream, ("GET", path), Some(address), &[], b"").await
    }

    /// `doorward` with these words, logged in to this server with this token by files and environment.
    pub fn doorward(&self, token: &str, words: &[&str], input: &str) -> Ran {
        self.doorward_with(token, words, input, &[])
    }

    /// The same with more environment.
    pub fn doorward_with(&self, token: &str, words: &[&str], input: &str, vars: &[(&str, &str)]) -> Ran {
        let mut command = self.command(token, words);
        command.envs(vars.iter().copied());
        let ran = crate::home::finish(command, input);
        self.seen.lock().unwrap().extend_from_slice(format!("{ran:?}").as_bytes());
        ran
    }

    /// The same, to be started.
    pub fn command(&self, token: &str, words: &[&str]) -> Command {
        let file = self.path(&format!("token-{}", canary::fresh()));
        crate::proxy::build::put(&file, token);
        let mut command = Command::new(doorward());
        command.arg("--home").arg(self.path("client")).args(words).env_clear();
        command.env("HOME", self.home.path()).env("PATH", "/usr/bin:/bin");
        command.env("DOORWARD_SERVER", self.url()).env("DOORWARD_SERVER_CA", self.ca());
        command.env("DOORWARD_TOKEN_FILE", file);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Asks it to end, and waits for that.
    pub async fn stop(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().unwrap() {
            return status;
        }
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let child = &mut self.child;
        eventually("the server ends", Duration::from_secs(60), || child.try_wait().unwrap()).await
    }

    /// The same home and database, started again.
    pub async fn restart(mut self, setup: Setup) -> Self {
        self.again(setup).await;
        self
    }

    /// The same in its place.
    pub async fn again(&mut self, setup: Setup) {
        self.stop().await;
        let home = std::mem::replace(&mut self.home, tempfile::tempdir().unwrap());
        drop(std::fs::remove_file(home.path().join("ready")));
        let mut fresh = Self::start_in(home, setup).await;
        fresh.secrets = std::mem::take(&mut self.secrets);
        fresh.seen = Arc::clone(&self.seen);
        if fresh.root.is_empty() {
            fresh.root = std::mem::take(&mut self.root);
        }
        *self = fresh;
    }

    /// Everything that must hold no value: answers, logs, database, audit.
    fn search(&self) {
        let secrets = self.secrets.lock().unwrap();
        let answers = self.seen.lock().unwrap();
        let log = self.log();
        let (answers, log) = (canary::Reading::of(&answers), canary::Reading::of(log.as_bytes()));
        for secret in secrets.iter() {
            let found = answers.holds(secret);
            assert!(found.is_none(), "an answer holds a value: {found:?}");
            let found = log.holds(secret);
            assert!(found.is_none(), "the log holds a value: {found:?}");
        }
        let mut folders = vec![self.path("home")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let Ok(bytes) = std::fs::read(&path) else { continue };
                for secret in secrets.iter() {
                    assert!(!canary::contains(&bytes, secret.as_bytes()), "{} holds a value", path.display());
                }
            }
        }
    }
}

/// A stream of server-sent events.
pub struct Changes {
    body: hyper::body::Incoming,
    text: String,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Changes {
    /// The data of the next event of this name; others are passed over. `Null` if the stream ends first.
    pub async fn event(&mut self, name: &str) -> Value {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                let field =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                if field("event: ").as_deref() == Some(name) {
                    return serde_json::from_str(&field("data: ").unwrap_or_default()).unwrap();
                }
            }
            let Some(frame) = within("an event", self.body.frame()).await else { return Value::Null };
            let Ok(data) = frame.expect("a frame").into_data() else { continue };
            self.seen.lock().unwrap().extend_from_slice(&data);
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A child that has ended already is no mistake.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            self.search();
        }
    }
}
