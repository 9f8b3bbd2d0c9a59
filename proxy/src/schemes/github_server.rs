//! `github-server`: a token for GitHub Enterprise Server, where one host answers everything: its API takes a bearer token, git
//! takes Basic.
//!
//! Which of both goes on follows from the path alone, the same that policy judged.

use control::catalog::{FieldValue, Fields, SchemeSpec};
use control::refusal::Refusal;

use super::shared::bearer;
use super::shared::surface::Surface;
use super::{ArmFault, Armed, BuildError, Outgoing, Rendered, Scheme, Values, basic};

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "github-server",
    auth_types: &[],
    inject_key: Some("github-server"),
    summary: "For a GitHub Enterprise Server: `Authorization: Bearer` below `/api`, Basic with the user `x-access-token` for git and all else.",
    auth_fields: &[],
    inject_fields: &[],
    default_keys: &["token"],
};

pub(super) fn build(_: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    Ok(Box::new(GithubServer { surface: bearer::surface(), git: git()? }))
}

/// As git takes a token.
pub(super) fn git() -> Result<Box<dyn Scheme>, BuildError> {
    let user = FieldValue::Text("x-access-token".to_owned());
    basic::build(&Fields([("username", user)].into_iter().collect()))
}

#[derive(Debug)]
struct GithubServer {
    surface: Surface,
    git: Box<dyn Scheme>,
}

impl Scheme for GithubServer {
    fn surface(&self) -> &Surface {
        &self.surface
    }

    fn arm(&self, values: &Values<'_>) -> Result<Rendered, ArmFault> {
        by_path(&*self.git, values)
    }
}

/// Both forms of the token, of which the path chooses one.
pub(super) fn by_path(git: &dyn Scheme, values: &Values<'_>) -> Result<Rendered, ArmFault> {
    let Rendered { armed: api, mut echoes } = bearer::arm(values)?;
    let Rendered { armed: git, echoes: more } = git.arm(values)?;
    echoes.extend(more);
    Ok(Rendered { armed: Box::new(ByPath { api, git }), echoes })
}

#[derive(Debug)]
struct ByPath {
    api: Box<dyn Armed>,
    git: Box<dyn Armed>,
}

impl Armed for ByPath {
    fn place(&self, out: &mut Outgoing<'_>) -> Result<(), Refusal> {
        let path = out.head().target.path();
        if path == "/api" || path.starts_with("/api/") { self.api.place(out) } else { self.git.place(out) }
    }
}
