//! `doorward login`, `doorward context`: the servers that this user works with, and which of them, or the local vault, now.
//!
//! Logins are kept in one file of the user's alone (0600), tokens in it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::client::{Body, Client};
use crate::api::{CanI, GrantView, LoggedIn, LoginWay};
use crate::cli::listing::{Item, Listing};
use crate::cli::vault::{block_on, home, not_found};
use crate::cli::{Away, Browser, Env, Exit, Failure};
use crate::outgoing::{OutgoingError, Place};
use crate::private;
use crate::secret::Secret;
use crate::vault::value::without_final_line_break;

/// The context that is the local vault.
const LOCAL: &str = "local";
/// The longest token file.
const TOKEN_MAX: usize = 1024;
/// The largest file of logins.
const LOGINS_MAX: usize = 1024 * 1024;

/// A server, and who we are there.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) server: String,
    pub(crate) token: Secret,
    pub(crate) ca: Option<PathBuf>,
}

/// Work with a server from now on.
#[derive(Args, Clone, Debug)]
pub struct Login {
    /// The server: `https://HOST[:PORT]`, http on loopback, or unix:PATH.
    #[arg(long, env = "DOORWARD_SERVER", value_name = "URL")]
    pub server: String,
    /// The file with the API token; without it, the token is asked for.
    #[arg(long, env = "DOORWARD_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Log in with the server's issuer, in a browser; the token that it gives ends within 12 hours.
    #[arg(long, conflicts_with = "token_file")]
    pub oidc: bool,
    /// With --oidc: open no browser; print the address, and read the one that a browser ended at.
    #[arg(long, requires = "oidc")]
    pub no_browser: bool,
    /// Extra roots that the server's certificate may come from, PEM.
    #[arg(long, env = "DOORWARD_SERVER_CA", value_name = "FILE")]
    pub server_ca: Option<PathBuf>,
    /// What this login is called; default: the server's host.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// Choose between servers and the local vault.
#[derive(Subcommand, Clone, Debug)]
pub enum Context {
    /// Show all logins, the chosen one marked.
    #[command(visible_alias = "get")]
    List,
    /// Choose a login, or `local`.
    Use {
        /// Its name.
        name: String,
    },
    /// Forget a login and its token.
    Forget {
        /// Its name.
        name: String,
    },
}

/// The file of logins.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Logins {
    current: Option<String>,
    servers: BTreeMap<String, Stored>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    server: String,
    #[serde(with = "wiped")]
    token: Zeroizing<String>,
    ca: Option<PathBuf>,
}

/// A text that is wiped.
mod wiped {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(text: &Zeroizing<String>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(from).map(Zeroizing::new)
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Logins {
    fn load(env: &Env) -> Result<Self, Failure> {
        let path = home(env)?.logins();
        match private::read(&path, LOGINS_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| {
                Failure::new(
                    Exit::Error,
                    format!("{} is damaged; remove it and log in again", path.display()),
                )
            }),
            Err(error) if error.is_absent() => Ok(Self::default()),
            Err(error) => Err(Failure::new(Exit::Error, error.to_string())),
        }
    }

    fn save(&self, env: &Env) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Error, error.to_string());
        let home = home(env)?;
        home.prepare().map_err(|error| failed(&error))?;
        let bytes = Zeroizing::new(serde_json::to_vec(self).map_err(|error| failed(&error))?);
        private::replace(&home.logins(), &bytes).map_err(|error| failed(&error))
    }

    fn named(&self, name: &str) -> Result<&Stored, Failure> {
        self.servers
            .get(name)
            .ok_or_else(|| not_found("context", name, self.servers.keys().map(String::as_str).chain([LOCAL])))
    }
}

/// Whether commands go to a server.
///
/// # Errors
/// A context that is not there, or whose files cannot be read.
pub(crate) fn is_chosen(env: &Env) -> Result<bool, Failure> {
    chosen(env).map(|chosen| chosen.is_some())
}

/// The server that was chosen; `None`: the local vault.
pub(super) fn chosen(env: &Env) -> Result<Option<Chosen>, Failure> {
    let wanted = env.globals.context.as_deref();
    if wanted == Some(LOCAL) {
        return Ok(None);
    }
    if let (None, Some(server)) = (wanted, env.var("DOORWARD_SERVER")) {
        let file = env
            .var("DOORWARD_TOKEN_FILE")
            .ok_or_else(|| Failure::new(Exit::Login, "DOORWARD_SERVER is set without DOORWARD_TOKEN_FILE"))?;
        let token = token(file.as_ref())?;
        let ca = env.var("DOORWARD_SERVER_CA").map(PathBuf::from);
        return Ok(Some(Chosen { server: server.to_owned(), token, ca }));
    }
    let logins = match Logins::load(env) {
        Ok(logins) => logins,
        // Nobody who never logged in has to have a place for logins.
        Err(_) if wanted.is_none() && home(env).is_err() => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let Some(name) = wanted.or(logins.current.as_deref()) else { return Ok(None) };
    let stored = logins.named(name)?;
    Ok(Some(Chosen {
        server: stored.server.clone(),
        token: Secret::new(stored.token.as_bytes().to_vec()),
        ca: stored.ca.clone(),
    }))
}

fn token(path: &std::path::Path) -> Result<Secret, Failure> {
    let mut bytes =
        private::read(path, TOKEN_MAX).map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
    Ok(without_final_line_break(std::mem::take(&mut *bytes)))
}

impl Login {
    /// Whether a browser is started.
    pub fn opens_browser(&self) -> bool {
        self.oidc && !self.no_browser
    }

    /// Checks the token with the server, and keeps both.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let token = match &self.token_file {
            Some(file) => token(file)?,
            None if self.oidc => self.with_issuer(env)?,
            None => crate::cli::vault::ask_hidden(env, "API token", "--token-file FILE or --oidc")?,
        };
        // exposed: kept in the file of logins, which only its owner can read
        let text = String::from_utf8(token.expose().to_vec());
        let text = text.map(Zeroizing::new).map_err(|_| Failure::new(Exit::Login, "that is no API token"))?;
        let ca = self.server_ca.as_ref().map(std::path::absolute).transpose();
        let ca = ca.map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
        let name = self.name.clone().unwrap_or_else(|| host(&self.server));
        if name == LOCAL || name.is_empty() {
            return Err(Failure::new(Exit::Usage, "--name: that name is taken by the local vault"));
        }
        let client = Client::new(env, Chosen { server: self.server.clone(), token, ca: ca.clone() })?;
        let who: CanI = block_on(async { client.get("/v1/can-i").await?.read() })?;
        let mut logins = Logins::load(env)?;
        logins.servers.insert(name.clone(), Stored { server: self.server, token: text, ca });
        logins.current = Some(name.clone());
        logins.save(env)?;
        let grant = |grant: &GrantView| {
            let place = grant.project.as_ref().map(|project| format!("project `{project}`"));
            format!("{}, {}", grant.role, place.unwrap_or_else(|| "all projects".to_owned()))
        };
        let grants: Vec<String> = who.grants.iter().map(grant).collect();
        env.output.say(format!(
            "logged in to {name} as {} ({}); `doorward context use local` returns to the local vault",
            who.name,
            grants.join("; ")
        ));
        Ok(Exit::Ok)
    }

    /// Lets a person log in with the server's issuer; the token that the server gives for it.
    fn with_issuer(&self, env: &Env) -> Result<Secret, Failure> {
        let chosen = Chosen {
            server: self.server.clone(),
            token: Secret::new(Vec::new()),
            ca: self.server_ca.clone(),
        };
        let client = Client::new(env, chosen)?;
        let way: LoginWay = block_on(async { client.get(PATH).await?.read() })?;
        let odd = |error: OutgoingError| Failure::new(Exit::Error, format!("the issuer's page: {error}"));
        // Nothing but an address of a page may be opened.
        Place::parse(&way.authorization_url).map_err(odd)?;
        let nonce = nonce()?;
        let browser = if self.no_browser { Browser::Pasted } else { Browser::Opened };
        let came = (env.browse)(env, browser, &mut |away| Ok(page(&way, away, &nonce)))?;
        let facts = json!({"nonce": nonce, "redirectUri": came.redirect});
        let body = Body::with_texts(&facts, &[("code", &came.code), ("verifier", &came.verifier)])?;
        let given: LoggedIn = block_on(async { client.post(PATH, body).await?.read() })?;
        env.output.say(format!("the login ends {}", given.expires));
        Ok(Secret::new(given.token.into_bytes()))
    }
}

/// The server's path for logins.
const PATH: &str = "/v1/login";

/// 256 random bits, which the issuer puts into the id token.
fn nonce() -> Result<String, Failure> {
    let mut bits = [0_u8; 32];
    getrandom::fill(&mut bits)
        .map_err(|error| Failure::new(Exit::Error, format!("no randomness: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bits))
}

/// The issuer's page for this login (OpenID Connect Core 1.0, section 3.1.2.1).
fn page(way: &LoginWay, away: &Away<'_>, nonce: &str) -> String {
    // exposed: in the address that the browser is sent to, and worth nothing to others
    let state = String::from_utf8_lossy(away.state.expose());
    let coded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mark = if way.authorization_url.contains('?') { '&' } else { '?' };
    let fields = [
        ("response_type", "code"),
        ("client_id", &way.client_id),
        ("redirect_uri", away.redirect),
        ("scope", &way.scope),
        ("state", &state),
        ("nonce", nonce),
        ("code_challenge", away.challenge),
        ("code_challenge_method", "S256"),
    ];
    let query: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", coded(value))).collect();
    format!("{}{mark}{}", way.authorization_url, query.join("&"))
}

/// End a login.
#[derive(Args, Clone, Debug)]
pub struct Logout {}

impl Logout {
    /// Ends the token at the server, and forgets it here.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let client = super::server(env)?.ok_or_else(|| Failure::new(Exit::Login, "nobody is logged in"))?;
        block_on(client.delete(PATH))?;
        let mut logins = Logins::load(env)?;
        let name = env.globals.context.clone().or_else(|| logins.current.clone());
        if let Some(name) = name {
            logins.servers.remove(&name);
            logins.current = logins.current.filter(|current| *current != name);
            logins.save(env)?;
        }
        env.output.say("logged out");
        Ok(Exit::Ok)
    }
}

fn host(server: &str) -> String {
    let uri: Option<http::Uri> = server.parse().ok();
    uri.and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_else(|| "server".to_owned())
}

impl Context {
    /// Shows, chooses or forgets.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let mut logins = Logins::load(env)?;
        match self {
            Self::List => return listing(&logins).print(env),
            Self::Use { name } if name == LOCAL => logins.current = None,
            Self::Use { name } => {
                logins.named(&name)?;
                logins.current = Some(name);
            }
            Self::Forget { name } => {
                logins.named(&name)?;
                logins.servers.remove(&name);
                logins.current = logins.current.filter(|current| *current != name);
            }
        }
        logins.save(env)?;
        env.output.say(format!("working with {}", logins.current.as_deref().unwrap_or("the local vault")));
        Ok(Exit::Ok)
    }
}

fn listing(logins: &Logins) -> Listing {
    let item = |name: &str, server: &str| {
        let is_current = logins.current.as_deref().unwrap_or(LOCAL) == name;
        Item {
            name: name.to_owned(),
            cells: vec![if is_current { "*" } else { "" }.to_owned(), name.to_owned(), server.to_owned()],
            object: json!({"kind": "Context", "name": name, "server": server, "current": is_current}),
        }
    };
    let mut items = vec![item(LOCAL, "-")];
    items.extend(logins.servers.iter().map(|(name, stored)| item(name, &stored.server)));
    Listing { kind: "context", columns: &["CURRENT", "NAME", "SERVER"], wide_from: 3, items }
}
