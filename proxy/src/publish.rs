//! `--publish DIR`: what agents may see, and nothing else: the CA, the combined bundle, the environment.
//!
//! The one secret in it is the agent's own proxy token, when one agent is configured (or in its own file, when there are
//! several). Files are written beside and renamed, so that no reader sees half of one.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use control::agent::AgentName;
use control::secret::Secret;
use control::sync::source::Exposed;

use crate::java;
use crate::listen::Entrance;

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

/// Makes a folder for a program of the agent, which may be another user's, or takes the one that is there; a link is not
/// followed.
pub(crate) fn folder(path: &Path) -> io::Result<PathBuf> {
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Err(error) if !fs::symlink_metadata(path)?.is_dir() => Err(error),
        Ok(()) | Err(_) => Ok(path.to_owned()),
    }
}

/// Where the agent finds the proxy and its certificates.
#[derive(Clone, Debug)]
pub(crate) struct Doorway {
    /// `None`: only by listeners that need none of this.
    pub(crate) entrance: Option<Entrance>,
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
    /// What a control server has it given.
    pub(crate) exposed: Vec<Exposed>,
}

/// Every variable of an agent (CLI.md, "What `run` and `agent.env` set"), in order.
pub(crate) fn agent_env(doorway: &Doorway, own: &Own<'_>) -> Vec<(String, String)> {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    if let Some(entrance) = &doorway.entrance {
        let token = own.token.map(|token| {
            // exposed: the agent's own token, into the agent's own environment
            String::from_utf8_lossy(token.expose()).into_owned()
        });
        let url = entrance.url(&format!("agent:{}@", token.as_deref().unwrap_or("none")));
        if entrance.is_tls {
            env.insert("GIT_PROXY_SSL_CAINFO".to_owned(), doorway.bundle.display().to_string());
        }
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
    for Exposed { variable, value, secret } in &own.exposed {
        // exposed: the server was told, by somebody who manages secrets, to give this value to the agent itself
        let text = str::from_utf8(value.expose()).ok().filter(|text| !text.contains(['\n', '\r', '\0']));
        match text {
            // What leads the agent here is not to be replaced.
            _ if env.contains_key(variable) => tracing::warn!(%variable, "set by doorward, so not exposed"),
            None => tracing::warn!(%variable, "its value does not fit into a variable, so it is not exposed"),
            Some(text) => {
                if let Some(secret) = secret {
                    tracing::warn!(%variable, %secret, "the agent itself is given the value of this secret");
                }
                env.insert(variable.clone(), text.to_owned());
            }
        }
    }
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

/// Removes the environments of agents that are gone: with their proxy tokens, and naming a proxy that refuses them. Only
/// files are removed that are named as [`env_file`] does, that are ours, and that say what we wrote into them.
pub(crate) fn remove_stale(dir: &Path, doorway: &Doorway, agents: &[AgentName]) -> io::Result<()> {
    let current: Vec<_> = agents.iter().map(|agent| env_file(dir, agent, agents.len() == 1)).collect();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if !current.contains(&path) && is_env_file(&path) && is_ours(&path, doorway) {
            tracing::info!(file = %path.display(), "environment of an agent that is gone removed");
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn is_env_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let agent = name.strip_prefix("agent-").and_then(|name| name.strip_suffix(".env"));
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    name == "agent.env" || agent.is_some_and(is_name)
}

/// It is a plain file of our own user, of the form that we write, for agents of a proxy that publishes in this place.
fn is_ours(path: &Path, doorway: &Doorway) -> bool {
    let own = rustix::process::getuid().as_raw();
    let is_plain = fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.uid() == own);
    if !is_plain {
        return false;
    }
    // It may hold a token.
    let text = fs::read_to_string(path).map(zeroize::Zeroizing::new);
    let Some(env) = text.ok().and_then(|text| read_dotenv(&text)) else { return false };
    let ca = doorway.ca.display().to_string();
    CA.iter().all(|name| env.iter().any(|(known, value)| known == name && *value == ca))
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
            entrance: Some(Entrance { is_tls: false, authority: "127.0.0.1:3128".into() }),
            ca: "/p/ca.crt".into(),
            bundle: "/p/b.crt".into(),
            truststore: "/p/t.p12".into(),
        };
        let token = Secret::new(b"0123456789abcdef".to_vec());
        let dummies = vec![("GITHUB_TOKEN".into(), "ghp_x".into())];
        let own = Own { token: Some(&token), dummies, asks_nothing: None, exposed: Vec::new() };
        let env: BTreeMap<_, _> = agent_env(&doorway, &own).into_iter().collect();
        assert_eq!(env["https_proxy"], "http://agent:0123456789abcdef@127.0.0.1:3128");
        assert_eq!(env["NODE_EXTRA_CA_CERTS"], "/p/ca.crt");
        assert_eq!(env["SSL_CERT_FILE"], "/p/b.crt");
        assert_eq!(env["GITHUB_TOKEN"], "ghp_x");
        assert_eq!(env["GIT_CONFIG_VALUE_0"], "basic");
        let far = Entrance { is_tls: true, authority: "proxy.example:3128".into() };
        let far: BTreeMap<_, _> =
            agent_env(&Doorway { entrance: Some(far), ..doorway.clone() }, &own).into_iter().collect();
        assert_eq!(far["HTTPS_PROXY"], "https://agent:0123456789abcdef@proxy.example:3128");
        assert_eq!(far["GIT_PROXY_SSL_CAINFO"], "/p/b.crt");
        assert!(!env.contains_key("GIT_PROXY_SSL_CAINFO"));
        // A JVM cannot answer the 407 of a listener that asks for a token.
        assert!(!env.contains_key("JAVA_TOOL_OPTIONS"));
        let own = Own { asks_nothing: Some(([127, 0, 0, 1], 4).into()), ..own };
        let env: BTreeMap<_, _> = agent_env(&doorway, &own).into_iter().collect();
        assert!(env["JAVA_TOOL_OPTIONS"].contains("https.proxyPort=4 "), "{env:?}");
    }

    #[test]
    fn removes_only_what_it_wrote_for_agents_that_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let doorway = Doorway {
            entrance: None,
            ca: at("ca.crt"),
            bundle: at("ca-bundle.crt"),
            truststore: at("ca.p12"),
        };
        let ours = dotenv(&agent_env(&doorway, &Own::default()));
        let elsewhere = ours.replace("ca.crt", "other.crt");
        for (name, text) in [
            ("agent.env", &*ours),
            ("agent-a.env", &ours),
            ("agent-gone.env", &ours),
            ("agent-by-hand.env", "A='b'\n"),
            ("agent-elsewhere.env", &elsewhere),
            ("agent-not a name.env", &ours),
            ("agents.env", &ours),
            ("agent-gone.env.old", &ours),
        ] {
            fs::write(at(name), text).unwrap();
        }
        std::os::unix::fs::symlink(at("agents.env"), at("agent-link.env")).unwrap();
        let tokens = "a:token-0123456789-of-a\nb:token-0123456789-of-b\n";
        let agents = control::agent::Agents::parse("tokens", tokens).unwrap();
        let names: Vec<_> = agents.names().into_iter().cloned().collect();
        remove_stale(dir.path(), &doorway, &names).unwrap();
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort_unstable();
        let kept = [
            "agent-a.env",
            "agent-by-hand.env",
            "agent-elsewhere.env",
            "agent-gone.env.old",
            "agent-link.env",
            "agent-not a name.env",
            "agents.env",
        ];
        assert_eq!(left, kept);
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
