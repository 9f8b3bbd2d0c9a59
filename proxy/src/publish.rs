//! `--publish DIR`: what agents may see, and nothing else: the CA, the combined bundle, the environment.
//!
//! The one secret in it is the agent's own proxy token, when one agent is configured (or in its own file, when there are
//! several). Files are written beside and renamed, so that no reader sees half of one.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use control::agent::AgentName;
use control::secret::Secret;

use crate::java;

/// Who may read a published file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Public: certificates.
    All,
    /// It holds a token.
    Owner,
}

/// Writes a file beside its place and renames it.
pub(crate) fn write(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let mode = match readers {
        Readers::All => 0o644,
        Readers::Owner => 0o600,
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    // A file left by a killed process of the same id.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// Where the agent finds the proxy and its certificates.
#[derive(Clone, Debug)]
pub(crate) struct Doorway {
    /// `127.0.0.1:3128`, or `None` with only unix listeners.
    pub(crate) address: Option<String>,
    /// Our CA alone.
    pub(crate) ca: PathBuf,
    /// System roots and our CA.
    pub(crate) bundle: PathBuf,
    /// The same for Java.
    pub(crate) truststore: PathBuf,
}

/// What differs from agent to agent.
#[derive(Debug, Default)]
pub(crate) struct Own<'a> {
    /// The agent's own token.
    pub(crate) token: Option<&'a Secret>,
    /// A listener that asks the agent for nothing, for Java; `None`: there is none.
    pub(crate) asks_nothing: Option<SocketAddr>,
    /// The dummies of its providers, by variable.
    pub(crate) dummies: Vec<(String, String)>,
}

/// Every variable of an agent (CLI.md, "What `run` and `agent.env` set"), in order.
pub(crate) fn agent_env(doorway: &Doorway, own: &Own<'_>) -> Vec<(String, String)> {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    if let Some(address) = &doorway.address {
        let token = own.token.map(|token| {
            // exposed: the agent's own token, into the agent's own environment
            String::from_utf8_lossy(token.expose()).into_owned()
        });
        let url = format!("http://agent:{}@{address}", token.as_deref().unwrap_or("none"));
        for name in PROXY {
            env.insert((*name).to_owned(), url.clone());
        }
        for name in ["no_proxy", "NO_PROXY"] {
            env.insert(name.to_owned(), "localhost,127.0.0.1,::1".to_owned());
        }
        env.insert("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned());
        for (name, value) in [("COUNT", "1"), ("KEY_0", "http.proxyAuthMethod"), ("VALUE_0", "basic")] {
            env.insert(format!("GIT_CONFIG_{name}"), value.to_owned());
        }
    }
    for name in BUNDLE {
        env.insert((*name).to_owned(), doorway.bundle.display().to_string());
    }
    for name in CA {
        env.insert((*name).to_owned(), doorway.ca.display().to_string());
    }
    if let Some(address) = own.asks_nothing {
        env.insert(java::VARIABLE.to_owned(), java::options(&address.to_string(), &doorway.truststore));
    }
    env.extend(own.dummies.iter().cloned());
    env.into_iter().collect()
}

const PROXY: &[&str] =
    &["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WSS_PROXY", "grpc_proxy"];
const BUNDLE: &[&str] = &[
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "PIP_CERT",
    "NPM_CONFIG_CAFILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "WEBSOCKET_CLIENT_CA_BUNDLE",
];
const CA: &[&str] = &["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// One `KEY='value'` per line, readable by a shell and by dotenv readers.
pub(crate) fn dotenv(env: &[(String, String)]) -> String {
    env.iter().map(|(name, value)| format!("{name}='{}'\n", value.replace('\'', "'\\''"))).collect()
}

/// Reads back what [`dotenv`] wrote; `None` where a line is not of its form.
pub(crate) fn read_dotenv(text: &str) -> Option<Vec<(String, String)>> {
    let line = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let value = value.strip_prefix('\'')?.strip_suffix('\'')?;
        Some((name.to_owned(), value.replace("'\\''", "'")))
    };
    text.lines().map(line).collect()
}

/// The file of one agent: `agent.env` where there is one agent, else `agent-NAME.env`.
pub(crate) fn env_file(dir: &Path, agent: &AgentName, alone: bool) -> PathBuf {
    if alone { dir.join("agent.env") } else { dir.join(format!("agent-{agent}.env")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_so_that_a_shell_reads_the_value_back() {
        let text = dotenv(&[("A".to_owned(), "it's $HOME".to_owned())]);
        assert_eq!(text, "A='it'\\''s $HOME'\n");
    }

    #[test]
    fn reads_back_what_it_wrote_and_refuses_anything_else() {
        let env = vec![("A".to_owned(), "it's $HOME = \\".to_owned()), ("B".to_owned(), String::new())];
        assert_eq!(read_dotenv(&dotenv(&env)), Some(env));
        for odd in ["A=b", "A", "A='b", "\n"] {
            assert_eq!(read_dotenv(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn the_environment_carries_the_proxy_in_the_one_form_that_every_client_authenticates_with() {
        let doorway = Doorway {
            address: Some("127.0.0.1:3128".into()),
            ca: "/p/ca.crt".into(),
            bundle: "/p/b.crt".into(),
            truststore: "/p/t.p12".into(),
        };
        let token = Secret::new(b"0123456789abcdef".to_vec());
        let dummies = vec![("GITHUB_TOKEN".into(), "ghp_x".into())];
        let own = Own { token: Some(&token), dummies, asks_nothing: None };
        let env: BTreeMap<_, _> = agent_env(&doorway, &own).into_iter().collect();
        assert_eq!(env["https_proxy"], "http://agent:0123456789abcdef@127.0.0.1:3128");
        assert_eq!(env["NODE_EXTRA_CA_CERTS"], "/p/ca.crt");
        assert_eq!(env["SSL_CERT_FILE"], "/p/b.crt");
        assert_eq!(env["GITHUB_TOKEN"], "ghp_x");
        assert_eq!(env["GIT_CONFIG_VALUE_0"], "basic");
        // A JVM cannot answer the 407 of a listener that asks for a token.
        assert!(!env.contains_key("JAVA_TOOL_OPTIONS"));
        let own = Own { asks_nothing: Some(([127, 0, 0, 1], 4).into()), ..own };
        let env: BTreeMap<_, _> = agent_env(&doorway, &own).into_iter().collect();
        assert!(env["JAVA_TOOL_OPTIONS"].contains("https.proxyPort=4 "), "{env:?}");
    }

    #[test]
    fn replaces_a_file_whole_with_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.env");
        write(&path, b"a", Readers::Owner).unwrap();
        write(&path, b"b", Readers::Owner).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"b");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
