//! The beginning of an installation: its first project, and the token of its owner, once.
//!
//! The token goes into a file of ours alone and nowhere else; one that lies there before the first start is taken (an
//! orchestrator's secret). An installation that has tokens gets no other one by this way,
//! except where whoever holds the database and the master key asks for it.

use std::path::{Path, PathBuf};

use super::token::{self, Class};
use crate::private::{self, PrivateError};
use crate::registry::{
    Act, NewProject, NewToken, OWNER, Page, ProjectSettings, Registry, RegistryError, Role, SELF, Seen,
    TokenDigest,
};

/// The project of those who name none.
pub const DEFAULT_PROJECT: &str = "default";
/// The name and id of the first token.
pub(super) const ROOT: &str = "root";
/// The longest file of a token.
const TEXT_MAX: usize = 256;

/// Why the first token was not made.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// There is one.
    #[error("the server has its root token already; --replace makes another one and ends the first")]
    Installed,
    /// What lies in the token's file is none.
    #[error("{} holds no root token: `dwb_` and 32 random bytes in base64url", .0.display())]
    NoToken(PathBuf),
    /// The token's file could not be read or written.
    #[error(transparent)]
    File(#[from] PrivateError),
    /// The database failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] token::NoRandom),
}

/// Whether a root token that is there is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// It stays, and asking is a mistake.
    Keep,
    /// It ends, and another one is made.
    Replace,
}

/// Whether nobody has used this database as a server's.
///
/// # Errors
/// The database failed.
pub async fn is_new(registry: &dyn Registry) -> Result<bool, RegistryError> {
    let first = || Page { after: None, limit: 1 };
    Ok(registry.tokens(None, first()).await?.is_empty() && registry.project(DEFAULT_PROJECT).await?.is_none())
}

/// The digest of the token that lies there before the first start.
fn given(file: &Path, root: Root) -> Result<Option<TokenDigest>, InstallError> {
    if root == Root::Replace {
        return Ok(None);
    }
    let text = match private::read(file, TEXT_MAX) {
        Ok(text) => text,
        Err(error) if error.is_absent() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let text = text.trim_ascii_end();
    match Class::of(text) {
        Some(Class::Root) => Ok(Some(token::digest(text))),
        Some(Class::Agent | Class::Api) | None => Err(InstallError::NoToken(file.to_owned())),
    }
}

/// Writes a fresh token.
fn make(file: &Path, root: Root) -> Result<TokenDigest, InstallError> {
    let (token, digest) = token::mint(Class::Root)?;
    // exposed: written to the file of the root token, which only its owner can read
    let text = zeroize::Zeroizing::new([token.expose(), b"\n"].concat());
    match root {
        Root::Keep => private::create(file, &text)?,
        Root::Replace => private::replace(file, &text)?,
    }
    Ok(digest)
}

/// Makes the first project, if there is none, and the root token: what lies in `file`, or a fresh one that is written to it.
///
/// # Errors
/// See [`InstallError`]. The file is written before the token counts: one that could not be kept opens nothing.
pub async fn install(registry: &dyn Registry, file: &Path, root: Root, now: i64) -> Result<(), InstallError> {
    let before = registry.token(None, ROOT).await?;
    if before.is_some() && root == Root::Keep {
        return Err(InstallError::Installed);
    }
    let (digest, is_ours) = match given(file, root)? {
        Some(digest) => (digest, false),
        None => (make(file, root)?, true),
    };
    if before.is_some() {
        let act = Act::by(now, OWNER, "token root revoked, to be replaced");
        registry.delete_token(None, ROOT, Seen::Any, act).await?;
    }
    let new = NewToken {
        id: ROOT.to_owned(),
        name: ROOT.to_owned(),
        digest,
        project: None,
        role: Role::Owner,
        expires: None,
        person: None,
    };
    let act = Act::by(now, OWNER, "token root created, owner of the installation, id root");
    match registry.add_token(new, act).await {
        Ok(_) => {}
        // Another server of the same database was first: its token is the one.
        Err(RegistryError::Exists(_)) => {
            if is_ours {
                std::fs::remove_file(file).ok();
            }
            return Err(InstallError::Installed);
        }
        Err(error) => return Err(error.into()),
    }
    if registry.project(DEFAULT_PROJECT).await?.is_none() {
        let settings = ProjectSettings { unbound_secrets: true, ..ProjectSettings::default() };
        let project = NewProject { name: DEFAULT_PROJECT.to_owned(), description: None, settings };
        let act = Act::by(now, SELF, "project default created, secrets without hosts allowed");
        registry.add_project(project, act).await?;
    }
    Ok(())
}
