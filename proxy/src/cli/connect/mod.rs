//! `doorward connect TYPE`: a secret, its provider file, and the call that tells whether the credential works, in one step.
//!
//! The credential is tried before anything is kept: sealed in a vault whose key is in memory only, through a proxy of its
//! own, so by the very injection, address guard and TLS that will serve the agent. A login (`--oauth`) gives the credential
//! where there is no key to be typed. Invariant: when it ends with a failure,
//! neither secret nor provider were made.

mod draft;
mod login;
mod trial;

pub(crate) use self::login::browse;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use control::cli::add;
use control::cli::remote::keep::{self, Keeper, Kept};
use control::cli::values::Sources;
use control::cli::vault::{VaultArgs, block_on, home, project};
use control::cli::{Env, Exit, Failure};
use control::provider;
use control::secret::{Secret, SecretName};
use control::vault::local::{Entry, LocalVault};
use control::vault::store::StoreError;
use ipnet::IpNet;

use self::draft::Draft;
use self::trial::Tried;

/// Make a secret and its provider, and see that the credential works, in one step.
#[derive(Args, Clone, Debug)]
pub struct Connect {
    /// The provider type, as `doorward get types` lists them.
    #[arg(value_name = "TYPE")]
    kind: String,
    /// The provider's name; the type's where it has hosts of its own, else the host's.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The secret's name; the provider's with its key where it is left out.
    #[arg(long, value_name = "NAME")]
    secret: Option<SecretName>,
    /// The auth type, where the type has several.
    #[arg(long, value_name = "AUTH")]
    auth: Option<String>,
    /// The host, or several, of a type without hosts of its own, or instead of them.
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    host: Vec<String>,
    /// The URL of an MCP server.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A field of the provider's spec (repeatable): `config.region=eu-west-1`, `auth.header=X-Api-Key`, `policy.allow=["issues:*"]`.
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// The URL whose GET tells whether the credential works, where the type has none of its own.
    #[arg(long, value_name = "URL")]
    verify: Option<String>,
    /// Keep both without trying the credential.
    #[arg(long)]
    no_verify: bool,
    #[command(flatten)]
    login: login::LoginArgs,
    /// When the secret ends: `2027-01-31`, `2027-01-31T12:00:00Z`, or from now on `90d`, `12h`, `30m`.
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// What the secret is for.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    sources: Sources,
    /// More roots (PEM) for this provider's hosts; written into the provider file.
    #[arg(long, value_name = "FILE")]
    upstream_ca: Option<PathBuf>,
    /// A range that is refused by default and that this provider needs (repeatable); written into the provider file.
    #[arg(long, value_name = "CIDR")]
    allow_cidr: Vec<IpNet>,
    /// For the trial alone: `HOST:PORT:ADDR[:PORT]` instead of DNS, as curl's (repeatable).
    #[arg(long, env = "DOORWARD_RESOLVE", value_name = "HOST:PORT:ADDR", value_delimiter = ',')]
    resolve: Vec<String>,
    #[command(flatten)]
    vault: VaultArgs,
}

impl Connect {
    /// Whether a browser is started, which shall inherit no limit of ours.
    pub(crate) fn opens_browser(&self) -> bool {
        self.login.opens_browser()
    }

    /// Whether `--set` gives this field.
    fn sets(&self, path: &str) -> bool {
        self.set.iter().any(|pair| pair.split_once('=').is_some_and(|(own, _)| own == path))
    }

    /// Makes both, or neither.
    pub fn run(mut self, env: &Env) -> Result<Exit, Failure> {
        if self.login.oauth {
            self.auth = Some(login::auth_type(&self)?.to_owned());
        }
        let draft = Draft::of(&self, env)?;
        // Before the value is asked for: nobody should type a secret for nothing.
        let place = self.place(env, &draft)?;
        let mut values = self.sources.read_for(env, &draft.keys)?;
        let mut who = None;
        if self.login.oauth {
            if let Some((key, _)) = values.iter().find(|(key, _)| login::KEYS.contains(&key.as_str())) {
                return Err(usage(format!("key `{key}` is what the login gives")));
            }
            let given = login::run(env, &self, &draft, &values)?;
            values.extend(given.values);
            who = given.who;
        }
        let mut tried = None;
        if self.no_verify || draft.provider.verify.is_none() {
            env.output.say(format!(
                "{}: not verified{}",
                draft.name,
                if self.no_verify { "" } else { ": the type has no call for it (--verify URL names one)" }
            ));
        } else {
            let trial = trial::run(env, &draft, &self.resolve, &values);
            let nothing =
                |failure: Failure| Failure::new(failure.exit, format!("{failure}; nothing was kept"));
            let went_well = trial.map_err(nothing)?;
            env.output.say(&went_well.told);
            tried = Some(went_well);
        }
        let shown = match place {
            Place::Server(keeper) => {
                self.keep_at(env, &keeper, &draft, &values, tried.as_ref())?;
                keeper.place().to_owned()
            }
            Place::Local(file, unlocked) => {
                self.keep(env, &draft, &file, values, tried.as_ref(), unlocked)?;
                file.display().to_string()
            }
        };
        env.output.say(format!("secret/{} added, bound to {}", draft.secret, draft.hosts));
        env.output.say(format!("provider/{} added: {shown}", draft.name));
        if let Some(who) = who {
            env.output.say(format!("logged in as {who}"));
        }
        Ok(Exit::Ok)
    }

    /// Where both are kept; refuses names that are taken there.
    fn place(&self, env: &Env, draft: &Draft) -> Result<Place, Failure> {
        if let Some(keeper) = Keeper::of(env)? {
            if self.upstream_ca.is_some() {
                return Err(usage(
                    "--upstream-ca: a server's document names no file; give the sidecar --upstream-ca",
                ));
            }
            block_on(keeper.refuse_taken(&draft.secret, &draft.name))?;
            return Ok(Place::Server(keeper));
        }
        let file = home(env)?.providers_dir().join(format!("{}.yaml", draft.name));
        refuse_taken(draft, &file)?;
        block_on(async {
            let store = self.vault.store(env).await?;
            if store.secret(project(env)?, &draft.secret).await?.is_some() {
                return Err(StoreError::SecretExists(draft.secret.clone()).into());
            }
            Ok(())
        })?;
        // A login that cannot be kept would be lost; and a descriptor with the key is read out before a program is started.
        let unlocked = match self.login.oauth {
            true => Some(block_on(self.vault.unlock(env))?),
            false => None,
        };
        Ok(Place::Local(file, unlocked))
    }

    /// The same at a server, which is told that the credential works if it was tried from here.
    fn keep_at(
        &self,
        env: &Env,
        keeper: &Keeper,
        draft: &Draft,
        values: &[(String, Secret)],
        tried: Option<&Tried>,
    ) -> Result<(), Failure> {
        let kept = Kept {
            secret: &draft.secret,
            description: self.description.as_deref(),
            expires: add::end(self.expires.as_deref())?,
            hosts: &draft.hosts,
            kind: draft.provider.kind,
            values,
            provider: &draft.name,
            document: &draft.text,
            tried: if tried.is_some() { keep::Tried::Works } else { keep::Tried::Not },
        };
        block_on(async {
            if let Some(tried) = tried
                && tried.was_renewed(env, draft).await?
            {
                return Err(failed(
                    "the issuer gives another refresh token with each use, which a server cannot keep; \
                     connect it in the vault of the sidecar (--context local); nothing was kept",
                ));
            }
            keeper.keep(env, &kept).await
        })
    }

    /// Stores the secret, then the file that refers to it: a proxy that runs must not see a provider without its secret.
    fn keep(
        &self,
        env: &Env,
        draft: &Draft,
        file: &Path,
        values: Vec<(String, Secret)>,
        tried: Option<&Tried>,
        unlocked: Option<LocalVault>,
    ) -> Result<(), Failure> {
        let project = project(env)?;
        let entry = Entry {
            name: draft.secret.clone(),
            description: self.description.clone(),
            expires: add::end(self.expires.as_deref())?,
            hosts: Some(draft.hosts.clone()),
            values,
        };
        let staged = Staged::write(file, &draft.text)?;
        block_on(async {
            let vault = match unlocked {
                Some(vault) => vault,
                None => self.vault.unlock(env).await?,
            };
            vault.add(project, vec![entry], vec![]).await?;
            let carried = match tried {
                Some(tried) => tried.carry_renewed(env, draft, &vault).await,
                None => Ok(()),
            };
            let Err(failure) = carried.and_then(|()| staged.put()) else { return Ok(()) };
            let gone = vault.store().delete_secret(project, &draft.secret).await;
            if !matches!(gone, Ok(true)) {
                env.output.say(format!("secret/{} could not be removed again", draft.secret));
            }
            Err(failure)
        })
    }
}

/// Where a secret and its provider are kept.
enum Place {
    Server(Keeper),
    /// The provider file; the vault, if it had to be unlocked first.
    Local(PathBuf, Option<LocalVault>),
}

/// Whether the file, a provider of the name or one for the same hosts is there already.
fn refuse_taken(draft: &Draft, file: &Path) -> Result<(), Failure> {
    let conflict = |what: String| Err(Failure::new(Exit::Conflict, what));
    if file.exists() {
        return conflict(format!("{} exists; --name gives the provider another name", file.display()));
    }
    let Some(folder) = file.parent().filter(|folder| folder.is_dir()) else { return Ok(()) };
    let loaded = provider::load(&[folder.to_owned()], crate::schemes::specs()).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        failed(format!("the provider files that are there have mistakes:\n{}", lines.join("\n")))
    })?;
    let same = |other: &&std::sync::Arc<provider::Provider>| {
        other.project == draft.provider.project && other.name == draft.provider.name
    };
    if let Some(other) = loaded.providers.iter().find(same) {
        return conflict(format!(
            "provider `{}` exists ({}); --name gives another name",
            draft.name, other.source
        ));
    }
    let overlaps = |other: &&std::sync::Arc<provider::Provider>| {
        other.hosts.iter().any(|own| draft.provider.hosts.contains(own))
    };
    if let Some(other) = loaded.providers.iter().find(overlaps) {
        return conflict(format!("provider `{}` ({}) is for the same host", other.name, other.source));
    }
    Ok(())
}

/// A file that is whole before it has its name.
struct Staged {
    temporary: PathBuf,
    file: PathBuf,
}

impl Staged {
    fn write(file: &Path, text: &str) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| failed(format!("{}: {error}", file.display()));
        let folder = file.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(cannot)?;
        // No reader of provider files takes a name that begins so.
        let temporary = folder.join(format!(".{}.new", std::process::id()));
        let staged = Self { temporary, file: file.to_owned() };
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged.temporary);
        opened
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .map_err(cannot)?;
        Ok(staged)
    }

    /// Gives it its name, unless somebody else took it meanwhile.
    fn put(&self) -> Result<(), Failure> {
        fs::hard_link(&self.temporary, &self.file)
            .map_err(|error| failed(format!("{}: {error}", self.file.display())))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // It has its other name by now, or is not wanted.
        drop(fs::remove_file(&self.temporary));
    }
}

fn usage(why: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, why)
}

fn failed(why: impl Into<String>) -> Failure {
    Failure::new(Exit::Error, why)
}
