//! `tls:` listeners: agents on other hosts, whose tokens cross a network. Somebody listens on the wire.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::agent::Via;
use harness::within::{DEADLINE, until};
use harness::{Agent, Origin, Proxy, ProxyBuilder, canary, within};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Client, PATIENCE, Printed, node_modules, python, script};

const HOST: &str = "api.openai.com";
const SPEC: &str = "type: openai\nauth: {type: api-key, secretRef: canary, agentEnvVar: OPENAI_API_KEY}";

/// Somebody between the agent and the proxy who only listens.
struct Wire {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Wire {
    async fn to(proxy: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, heard) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<u8>>>::default());
        let hears = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((agent, _)) = listener.accept().await {
                let (from_agent, to_agent) = agent.into_split();
                let (from_proxy, to_proxy) = TcpStream::connect(proxy).await.unwrap().into_split();
                tokio::spawn(carry(from_agent, to_proxy, Arc::clone(&hears)));
                tokio::spawn(carry(from_proxy, to_agent, Arc::clone(&hears)));
            }
        });
        Self { address, heard }
    }

    /// Both directions were carried, and say nothing.
    fn assert_says_nothing(&self, token: &str) {
        let heard = self.heard.lock().unwrap();
        assert!(heard.len() > 1000, "{} bytes", heard.len());
        assert_eq!(canary::search(&heard, token), None, "the token");
        let basic = STANDARD.encode(format!("agent:{token}"));
        for text in ["CONNECT ", "Proxy-Auth", "proxy-auth", "HTTP/1.1", HOST, &basic] {
            assert!(!heard.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
        }
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    heard: Arc<Mutex<Vec<u8>>>,
) {
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(count) = from.read(&mut chunk).await {
        heard.lock().unwrap().extend_from_slice(&chunk[..count]);
        if count == 0 || to.write_all(&chunk[..count]).await.is_err() {
            break;
        }
    }
    drop(to.shutdown().await);
}

fn secured() -> ProxyBuilder {
    Proxy::builder().listen(&["tls:127.0.0.1:0"]).provider("vendor", SPEC)
}

async fn client() -> Client {
    Client::built(Origin::builder(&[HOST]), secured()).await
}

/// An agent that speaks in clear to whatever listens there.
fn in_clear(proxy: &Proxy) -> Agent {
    let agent = Agent::new(Via::Tcp(proxy.address()), proxy.ca_pem(), proxy.sweep().clone());
    agent.with_basic("agent", proxy.token())
}

/// Runs a client with the published environment, over the wire that is listened on.
async fn over(wire: &Wire, client: &Client, program: &Path, args: &[&str]) -> Printed {
    let (own, theirs) = (client.proxy.address().to_string(), wire.address.to_string());
    let mut command = super::command(&client.proxy, client.home(), program);
    for (name, value) in client.proxy.agent_env() {
        command.env(name, value.replace(&own, &theirs));
    }
    let ended = tokio::time::timeout(PATIENCE, command.args(args).output()).await;
    let output = ended.expect("the client ends").expect("the client starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Printed { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// What TLS shows of the listener: the certificate's serial number and all else.
async fn certificate(proxy: &Proxy, ca: &str, name: &str) -> std::io::Result<Vec<u8>> {
    let config = harness::ca::client_config(ca, &["http/1.1"], rustls::DEFAULT_VERSIONS);
    let name = rustls_pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let stream = TcpStream::connect(listener(proxy)).await?;
    let tls = within("tls", tokio_rustls::TlsConnector::from(config).connect(name, stream)).await?;
    Ok(tls.get_ref().1.peer_certificates().unwrap()[0].to_vec())
}

fn listener(proxy: &Proxy) -> SocketAddr {
    proxy.ready()["listeners"][0].as_str().unwrap().strip_prefix("tls:").unwrap().parse().unwrap()
}

#[tokio::test]
async fn refuses_what_comes_in_clear_and_says_nothing_in_clear() {
    let client = client().await;
    let agent = in_clear(&client.proxy);
    for head in [
        agent.connect_head("api.openai.com:443"),
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        format!("GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
    ] {
        let mut stream = TcpStream::connect(client.proxy.address()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // It may end by a reset: there are bytes that nobody read.
        drop(within("the end", stream.read_to_end(&mut answer)).await);
        assert!(answer.len() <= 16 && !answer.starts_with(b"HTTP"), "{answer:?}");
    }
    client.origin.assert_untouched();
    assert_eq!(client.proxy.audit().code("DW2003").await["verdict"], "deny");
}

#[tokio::test]
async fn refuses_a_client_that_does_not_finish_its_handshake() {
    let origin = Origin::builder(&[HOST]).start().await;
    let proxy = secured().limit("tls-handshake", "1s").origin(&origin).start().await;
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(begun).await.unwrap();
        let mut answer = Vec::new();
        drop(within("the end", stream.read_to_end(&mut answer)).await);
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
}

#[tokio::test]
async fn refuses_more_unknown_clients_than_the_limit_before_their_handshake() {
    let origin = Origin::builder(&[HOST]).start().await;
    let builder = secured().arg("--workers").arg("1").limit("unidentified-connections", "2").origin(&origin);
    let proxy = builder.start().await;
    let silent = [(); 2].map(|()| TcpStream::connect(proxy.address()));
    let [first, second] = silent;
    let held = (first.await.unwrap(), second.await.unwrap());
    let refused = certificate(&proxy, &proxy.ca_pem(), "127.0.0.1").await;
    assert!(refused.is_err(), "a third got its handshake");
    drop(held);
    let (proxy, ca) = (&proxy, proxy.ca_pem());
    until("a place", DEADLINE, async || certificate(proxy, &ca, "127.0.0.1").await.is_ok()).await;
}

#[tokio::test]
async fn refuses_a_wrong_token_with_407_and_speaks_http_1_alone() {
    let client = client().await;
    let bundle = client.proxy.ready()["ca_bundle"].as_str().unwrap().to_owned();
    let url = format!("https://{HOST}/v1/models");
    for credentials in ["", "agent:wrong-token-0123456789abcdef@"] {
        let proxy = format!("https://{credentials}{}", client.proxy.address());
        let args = ["-sS", "--proxy-cacert", &bundle, "-x", &proxy, &url];
        client.run("curl", &args).await.assert_failed().assert_says("407");
    }
    assert_eq!(client.proxy.audit().code("DW3001").await["verdict"], "deny");
    assert_eq!(client.proxy.audit().code("DW3002").await["verdict"], "deny");
    client.origin.assert_untouched();
    let config = harness::ca::client_config(&client.proxy.ca_pem(), &["h2"], rustls::DEFAULT_VERSIONS);
    let stream = TcpStream::connect(client.proxy.address()).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let tls = within("tls", tokio_rustls::TlsConnector::from(config).connect(name, stream)).await;
    assert!(tls.is_err(), "h2 is offered");
}

#[tokio::test]
async fn refuses_to_start_without_tokens_or_with_a_certificate_that_is_not_for_its_name() {
    let (certificate, key) = harness::ca::server_pem(&["other.example"]);
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), &certificate, &key);
    let files = |builder: ProxyBuilder| {
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        builder.arg("--listen-cert").arg(&at("tls.crt")).arg("--listen-key").arg(&at("tls.key"))
    };
    let cases = [
        (secured().no_token(), 1, "every agent needs a token"),
        (files(secured()), 1, "not for `127.0.0.1`"),
        (secured().listen(&["tls:0.0.0.0:0"]), 2, "--listen-name"),
        (files(secured().listen(&["127.0.0.1:0"])), 2, "--listen tls:ADDR"),
    ];
    for (builder, code, why) in cases {
        let failure = builder.try_start().await.err().unwrap();
        assert_eq!(failure.code, Some(code), "{}", failure.stderr);
        assert!(failure.stderr.contains(why), "{}", failure.stderr);
    }
    std::fs::set_permissions(dir.path().join("tls.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let failure = files(secured()).try_start().await.err().unwrap();
    assert!(failure.stderr.contains("chmod"), "{}", failure.stderr);
}

#[tokio::test]
async fn no_token_crosses_the_wire_in_clear_with_curl() {
    let client = client().await;
    let wire = Wire::to(client.proxy.address()).await;
    let env = client.proxy.agent_env();
    let published = env.iter().find(|(name, _)| name == "HTTPS_PROXY").unwrap().1.clone();
    let own = format!("https://agent:{}@{}", client.proxy.token(), client.proxy.address());
    assert_eq!(published, own);
    let bundle = client.proxy.ready()["ca_bundle"].as_str().unwrap();
    let url = format!("https://{HOST}/v1/models");
    for version in ["--http1.1", "--http2"] {
        let args = ["-sS", "--fail", version, "--proxy-cacert", bundle, &url];
        let printed = over(&wire, &client, Path::new("curl"), &args).await.assert_ok();
        printed.assert_says("GET /v1/models").assert_says(&client.masked());
    }
    // Whoever does not trust the listener's certificate sends it nothing.
    let nobody = ["-sS", "--proxy-cacert", "/dev/null", &url];
    over(&wire, &client, Path::new("curl"), &nobody).await.assert_failed();
    assert_eq!(client.origin.requests().len(), 2);
    wire.assert_says_nothing(client.proxy.token());
}

#[tokio::test]
async fn git_asks_through_it_by_the_published_environment() {
    let origin = Origin::builder(&["github.com"]);
    let spec =
        "type: github\nhosts: [github.com]\nauth: {type: pat, secretRef: canary, agentEnvVar: GITHUB_TOKEN}";
    let builder = Proxy::builder().listen(&["tls:127.0.0.1:0"]).provider("vendor", spec);
    let client = Client::built(origin, builder).await;
    let wire = Wire::to(client.proxy.address()).await;
    let args = ["ls-remote", "https://github.com/acme/api.git"];
    // The origin is no repository: that it was asked is what counts.
    over(&wire, &client, Path::new("git"), &args).await.assert_failed();
    assert!(client.origin.last().target.starts_with("/acme/api.git/info/refs"));
    wire.assert_says_nothing(client.proxy.token());
}

#[tokio::test]
async fn python_and_node_ask_through_it_by_the_published_environment() {
    let (Some(python), Some(modules)) = (python(), node_modules()) else { return };
    let client = client().await;
    let wire = Wire::to(client.proxy.address()).await;
    let url = format!("https://{HOST}/v1/chat/completions");
    let (undici, requests) = (script("undici_client.cjs"), script("requests_client.py"));
    let (httpx, node) = (script("httpx_client.py"), Path::new("node"));
    let ways: [(&Path, Vec<&str>); 4] = [
        (&python, vec![&requests]),
        (&python, vec![&httpx]),
        (node, vec![&undici, &modules, "EnvHttpProxyAgent"]),
        (node, vec![&undici, &modules, "ProxyAgent"]),
    ];
    for (program, mut args) in ways {
        let seen = client.origin.requests().len();
        args.extend(["POST", &url, r#"{"model":"gpt"}"#]);
        let printed = over(&wire, &client, program, &args).await;
        printed.assert_ok().assert_says("200").assert_says(&client.masked());
        assert_eq!(client.origin.requests().len(), seen + 1, "{args:?}");
    }
    wire.assert_says_nothing(client.proxy.token());
}

fn put(dir: &Path, certificate: &str, key: &str) {
    for (name, text) in [("tls.key", key), ("tls.crt", certificate)] {
        let fresh = dir.join(format!("{name}.new"));
        std::fs::write(&fresh, text).unwrap();
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(fresh, dir.join(name)).unwrap();
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_restart_and_half_a_renewal_is_not() {
    const NAME: &str = "doorward.example";
    let dir = tempfile::tempdir().unwrap();
    let (first, key) = harness::ca::server_pem(&[NAME]);
    put(dir.path(), &first, &key);
    let builder = secured().arg("--listen-name").arg(NAME);
    let builder = builder.arg("--listen-cert").arg(dir.path().join("tls.crt").to_str().unwrap());
    let proxy = builder.arg("--listen-key").arg(dir.path().join("tls.key").to_str().unwrap()).start().await;
    let url = proxy.ready()["proxy"].as_str().unwrap();
    assert_eq!(url, format!("https://{NAME}:{}", listener(&proxy).port()));
    let world = harness::ca::TestCa::world().pem();
    let before = certificate(&proxy, world, NAME).await.unwrap();
    assert!(certificate(&proxy, &proxy.ca_pem(), NAME).await.is_err(), "our own CA signed it");
    let (second, second_key) = harness::ca::server_pem(&[NAME]);
    put(dir.path(), &second, &key);
    until("the report", DEADLINE, async || proxy.log().contains("the one before goes on")).await;
    assert_eq!(certificate(&proxy, world, NAME).await.unwrap(), before);
    put(dir.path(), &second, &second_key);
    let proxy = &proxy;
    let is_new = async || certificate(proxy, world, NAME).await.unwrap() != before;
    until("the new certificate", DEADLINE, is_new).await;
    proxy.audit().wait_for("its line", |line| line["reason"] == "listener certificate renewed").await;
}

#[tokio::test]
async fn a_certificate_of_our_own_is_made_for_its_names_and_no_other() {
    let builder = secured().listen(&["tls:0.0.0.0:0"]).arg("--listen-name").arg("127.0.0.1,doorward.example");
    let proxy = builder.start().await;
    let ca = proxy.ca_pem();
    // Whoever calls an address names nothing, and gets the first.
    for name in ["127.0.0.1", "doorward.example"] {
        certificate(&proxy, &ca, name).await.unwrap();
    }
    assert!(certificate(&proxy, &ca, "other.example").await.is_err());
    assert!(proxy.ready()["proxy"].as_str().unwrap().starts_with("https://127.0.0.1:"));
}
