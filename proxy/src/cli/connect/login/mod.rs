//! `connect --oauth`: a person logs in at the vendor, and what the vendor gives goes into the vault.
//!
//! The authorization code flow with PKCE (RFC 6749, RFC 7636, RFC 8252) by a browser on this machine or by a pasted code,
//! or a code that is typed on another device (RFC 8628). Refuses answers that belong to another login. Invariant: no token
//! and no code is printed, logged or given to another program; tokens are asked for at the provider's token endpoint alone,
//! by the address guard and the verified TLS that serve the agents.

mod answer;
mod callback;
mod device;
mod facts;
mod pkce;
mod tokens;
mod way;

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use clap::Args;
use control::cli::vault::{ask_hidden, block_on};
use control::cli::{Away, Browser, Came, Env, Exit, Failure};
use control::refusal::Code;
use control::secret::Secret;
use control::types::{self, OAUTH};
use zeroize::Zeroizing;

use self::callback::Callback;
use self::facts::{Facts, Redirect};
use self::pkce::Pkce;
use self::way::Way;
use super::draft::Draft;
use super::{Connect, failed, usage};
use crate::process;
use crate::schemes::Failed;
use crate::schemes::shared::issuer::Issuer;
use crate::schemes::shared::token::Because;

/// How long a person has for the login.
const PATIENCE: Duration = Duration::from_secs(600);
/// The longest text that is pasted: an address with a code in it.
const PASTED_MOST: u64 = 8 << 10;

/// Whether and how to log in.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct LoginArgs {
    /// Log in at the vendor instead of giving a key: openai (ChatGPT, for Codex), anthropic (Claude); or http-token with
    /// --authorize-url.
    #[arg(long)]
    pub(super) oauth: bool,
    /// Open no browser and listen nowhere: print the address, and read what the browser shows or where it ended up.
    #[arg(long, requires = "oauth")]
    pub(super) no_browser: bool,
    /// Show a code that is typed into a browser on another device (openai; http-token with --device-url).
    #[arg(long, requires = "oauth", conflicts_with = "no_browser")]
    pub(super) device: bool,
    /// Where a person agrees, for http-token: the issuer's authorization endpoint.
    #[arg(long, requires = "oauth", value_name = "URL")]
    pub(super) authorize_url: Option<String>,
    /// Where a code to be typed is asked for, for http-token: the issuer's device authorization endpoint.
    #[arg(long, requires = "oauth", value_name = "URL")]
    pub(super) device_url: Option<String>,
}

impl LoginArgs {
    /// Whether a browser is started, which shall inherit no limit of ours.
    pub(super) fn opens_browser(&self) -> bool {
        self.oauth && !self.no_browser && !self.device
    }
}

/// What a login gave.
#[derive(Debug)]
pub(super) struct LoggedIn {
    /// The values of the secret.
    pub(super) values: Vec<(String, Secret)>,
    /// Whose login it is, where the vendor says it.
    pub(super) who: Option<String>,
}

/// The keys that a login fills.
pub(super) const KEYS: [&str; 4] = [tokens::ACCESS, tokens::REFRESH, tokens::END, tokens::ACCOUNT];

/// The auth type that carries a login of this provider type.
pub(super) fn auth_type(connect: &Connect) -> Result<&'static str, Failure> {
    let kind = types::by_name(&connect.kind);
    let carries = match kind {
        Some(kind) if kind.login().is_some() => OAUTH,
        Some(kind) if kind.auth.is_empty() => "oauth2-refresh",
        // The draft says that there is no such type.
        None => return Ok(OAUTH),
        Some(kind) => {
            return Err(usage(format!("--oauth: type `{}` has no login; give its key", kind.name)));
        }
    };
    match connect.auth.as_deref() {
        Some(other) if other != carries => {
            Err(usage(format!("--auth {other}: a login is auth type `{carries}`")))
        }
        _ => Ok(carries),
    }
}

/// Logs in. `given` is what the person gave beside.
pub(super) fn run(
    env: &Env,
    connect: &Connect,
    draft: &Draft,
    given: &[(String, Secret)],
) -> Result<LoggedIn, Failure> {
    let facts = Facts::of(connect, draft, given)?;
    let way = Way::new(connect, draft, env)?;
    block_on(async {
        let reply = if connect.login.device {
            device::login(env, &facts, &way).await?
        } else {
            let pkce = Pkce::new().map_err(|error| failed(format!("no randomness: {error}")))?;
            let (redirect, code) = match connect.login.no_browser {
                true => pasted(env, &facts, &pkce)?,
                false => by_browser(env, connect, &facts, &pkce).await?,
            };
            let ask = facts.exchange(&code, &redirect, &pkce.verifier, Some(&pkce.state));
            way.ask(ask.map_err(|fault| failed(fault.to_string()))?).await.map_err(told)?
        };
        if !reply.status.is_success() {
            return Err(told(reply.refused()));
        }
        let values = tokens::values(&reply, &facts, SystemTime::now()).map_err(refused)?;
        Ok(LoggedIn { values, who: tokens::who(&reply) })
    })
}

/// A browser on this machine brings the code to a listener of ours.
async fn by_browser(
    env: &Env,
    connect: &Connect,
    facts: &Facts<'_>,
    pkce: &Pkce,
) -> Result<(String, Secret), Failure> {
    let closed = connect.vault.key.master_key_fd.is_some();
    through_browser(env, &facts.redirect, closed, pkce, &mut |redirect| facts.authorize_url(redirect, pkce))
        .await
}

/// The same to any page, whose address is made of the redirect. `inherits`: whether a browser would inherit a descriptor.
async fn through_browser(
    env: &Env,
    redirect: &Redirect,
    inherits: bool,
    pkce: &Pkce,
    page: &mut dyn FnMut(&str) -> Result<String, Failure>,
) -> Result<(String, Secret), Failure> {
    let mut callback = Callback::bind(redirect).await.map_err(|error| {
        failed(format!("cannot listen for the browser: {error}; --no-browser takes what it shows"))
    })?;
    let redirect = callback.uri();
    let url = page(&redirect)?;
    let said = if inherits {
        // No safe code can close a bare number for it.
        "no browser is opened, it would inherit the descriptor of --master-key-fd; log in at"
    } else if open(env, &callback.lead(&pkce.entry, &url)) {
        "a browser opens; if none does, log in at"
    } else {
        "log in at"
    };
    // What it would have inherited follows when it runs.
    process::harden();
    env.output.say(format!("{said}:\n\n  {url}\n"));
    let code = callback.code(&pkce.state, PATIENCE).await.map_err(|error| refused(error.to_string()))?;
    Ok((redirect, code))
}

/// Where the browser of a login to a server is sent back to, when nobody listens: the person pastes where it ended.
const UNHEARD: &str = "http://127.0.0.1:3131/callback";

/// A login to a server: the browser's part of it, for [`control::cli::Env`].
///
/// # Errors
/// No code came, or one of another login.
pub(crate) fn browse(
    env: &Env,
    browser: Browser,
    page: &mut dyn FnMut(&Away<'_>) -> Result<String, Failure>,
) -> Result<Came, Failure> {
    let pkce = Pkce::new().map_err(|error| failed(format!("no randomness: {error}")))?;
    let challenge = pkce.challenge();
    let mut page = |redirect: &str| page(&Away { redirect, state: &pkce.state, challenge: &challenge });
    let (redirect, code) = match browser {
        Browser::Opened => {
            let redirect =
                Redirect { host: "127.0.0.1".to_owned(), ports: Vec::new(), path: "/callback".to_owned() };
            block_on(through_browser(env, &redirect, false, &pkce, &mut page))?
        }
        Browser::Pasted => {
            let url = page(UNHEARD)?;
            let what =
                "Paste the address that the browser ended at (it shows an error, nobody listens there):";
            env.output.say(format!("log in at:\n\n  {url}\n\n{what}"));
            let text = read_pasted(env)?;
            // exposed: taken apart here; what belongs to another login is refused
            let code = answer::pasted(text.expose(), UNHEARD, &pkce.state);
            (UNHEARD.to_owned(), code.map_err(|error| refused(error.to_string()))?)
        }
    };
    Ok(Came { redirect, code, verifier: pkce.verifier })
}

/// The person brings it.
fn pasted(env: &Env, facts: &Facts<'_>, pkce: &Pkce) -> Result<(String, Secret), Failure> {
    let redirect = facts.shown_redirect();
    let url = facts.authorize_url(&redirect, pkce)?;
    env.output.say(format!("log in at:\n\n  {url}\n\n{}", facts.what_to_paste()));
    let text = read_pasted(env)?;
    // exposed: taken apart here; what belongs to another login is refused
    let code = answer::pasted(text.expose(), &redirect, &pkce.state);
    Ok((redirect, code.map_err(|error| refused(error.to_string()))?))
}

fn read_pasted(env: &Env) -> Result<Secret, Failure> {
    if std::io::stdin().is_terminal() {
        return ask_hidden(env, "Code", "it on standard input");
    }
    let mut line = Zeroizing::new(Vec::with_capacity(usize::try_from(PASTED_MOST).unwrap_or(0) + 1));
    let read = std::io::stdin().lock().take(PASTED_MOST).read_until(b'\n', &mut line);
    read.map_err(|error| failed(format!("standard input: {error}")))?;
    Ok(Secret::new(std::mem::take(&mut *line)))
}

/// Starts the person's browser at a page of ours; whether there is one. It outlives us, and what ends us does not end it.
fn open(env: &Env, page: &str) -> bool {
    let named = env.var("BROWSER").filter(|name| !name.is_empty());
    let browser = named.unwrap_or(if cfg!(target_os = "macos") { "open" } else { "xdg-open" });
    let vars = env.vars.iter().filter(|(name, _)| !name.to_string_lossy().starts_with("DOORWARD_"));
    let mut command = Command::new(browser);
    command.arg(page).env_clear().envs(vars).process_group(0);
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = started else { return false };
    let reaper = std::thread::Builder::new().name("doorward-browser".into());
    if let Err(error) = reaper.spawn(move || child.wait().map(drop)) {
        tracing::debug!(%error, "browser not waited for");
    }
    true
}

fn refused(why: impl std::fmt::Display) -> Failure {
    failed(format!("the login failed: {why}; nothing was kept"))
}

/// What an exchange says, for a person.
fn told(error: Failed) -> Failure {
    let Failed { refusal, because } = error;
    match because {
        Because::Refused | Because::PartRefused | Because::Spent => refused(refusal.detail),
        Because::Unavailable(_) => {
            // What was answered tells itself; all other codes are of the way there.
            let answered = matches!(refusal.code, Code::Dw1005 | Code::Dw2010);
            let why = if answered {
                refusal.detail.to_string()
            } else {
                format!("not reached: {}: {}", refusal.code, refusal.detail)
            };
            let why = format!("the login failed: {why}; nothing was kept");
            Failure::new(Exit::Unhealthy, why)
        }
    }
}
