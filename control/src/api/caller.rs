//! Who calls: the holder of a token, and what he may do where.
//!
//! A token that was made has its role in one project, or in all. One that a login gave has those of the person as they are
//! at this call: a role that was taken away opens nothing from then on.

use http::header::{AUTHORIZATION, HeaderMap};

use super::Api;
use super::permission::{Permission, permissions};
use super::problem::{Answer, Problem};
use super::token::{self, Class};
use crate::refusal::Code;
use crate::registry::{Grant, Role, Token, TokenDigest};
use crate::sync::token::is_jwt;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) id: String,
    /// As the record of what he does names him.
    pub(crate) name: String,
    /// The only project that the token is for; `None`: it is one of the installation, or of a person.
    token_project: Option<String>,
    grants: Vec<Grant>,
    /// When the token ends, and with it what it makes; `None`: never, or it is a login of a person, whose rights do not end
    /// with it.
    pub(super) ends: Option<i64>,
}

impl Caller {
    /// What he is in a project, or in the installation.
    pub(crate) fn role_in(&self, project: Option<&str>) -> Option<Role> {
        let counts = |grant: &&Grant| {
            grant.project.is_none() || (project.is_some() && grant.project.as_deref() == project)
        };
        self.grants.iter().filter(counts).map(|grant| grant.role).min()
    }

    /// Whether he may do this there.
    pub(crate) fn may_in(&self, project: Option<&str>, permission: Permission) -> bool {
        self.role_in(project).is_some_and(|role| permissions(role).contains(&permission))
    }

    /// Whether he may do this anywhere.
    pub(crate) fn may_somewhere(&self, permission: Permission) -> bool {
        self.grants.iter().any(|grant| permissions(grant.role).contains(&permission))
    }

    /// What he may do in all that he knows: his least role.
    pub(crate) fn least(&self) -> Option<Role> {
        self.role_in(None).or_else(|| self.grants.iter().map(|grant| grant.role).max())
    }

    /// Whether he knows of this project.
    pub(crate) fn knows(&self, project: &str) -> bool {
        self.role_in(Some(project)).is_some()
    }

    /// The projects that he knows, in order; `None`: all.
    pub(crate) fn projects(&self) -> Option<Vec<&str>> {
        let mut all: Vec<&str> =
            self.grants.iter().map(|grant| grant.project.as_deref()).collect::<Option<_>>()?;
        all.sort_unstable();
        all.dedup();
        Some(all)
    }

    /// The only project that he knows.
    pub(crate) fn only_project(&self) -> Option<&str> {
        match self.projects().as_deref() {
            Some([only]) => Some(only),
            Some(_) | None => None,
        }
    }

    /// Everything that he is.
    pub(crate) fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Whether he still is all this: streams ask from time to time.
    pub(crate) async fn is_unchanged(&self, api: &Api) -> bool {
        let row = api.registry.token(self.token_project.as_deref(), &self.id).await;
        let Ok(Some(token)) = row else { return false };
        let is_alive = token.token.expires.is_none_or(|end| api.now() < end);
        is_alive && of(api, &token).await.is_ok_and(|now| now == *self)
    }
}

/// The digest of the token that came with the call, if it is of a class that this opens to.
///
/// # Errors
/// One sentence for all that is no token; another for an agent's, which is told by its prefix before any look-up.
pub(super) fn digest(headers: &HeaderMap) -> Answer<TokenDigest> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(unknown()) };
    let (scheme, rest) = value.as_bytes().split_at_checked(7).ok_or_else(unknown)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err(unknown());
    }
    match Class::of(rest) {
        Some(Class::Api | Class::Root) => Ok(token::digest(rest)),
        Some(Class::Agent) => Err(Problem::new(Code::Dw6006, "an agent's token opens nothing here")),
        None if is_jwt(rest) => {
            Err(Problem::new(Code::Dw6006, "the token of a ServiceAccount opens nothing here"))
        }
        None => Err(unknown()),
    }
}

/// The token with this digest.
///
/// # Errors
/// One sentence for those that are unknown, ended or revoked.
pub(super) async fn token(api: &Api, digest: &TokenDigest) -> Answer<Token> {
    let token = api.registry.token_by_digest(digest).await?.ok_or_else(unknown)?;
    let is_alive = token.token.expires.is_none_or(|end| api.now() < end);
    if is_alive && token.token.digest.matches(digest) { Ok(token) } else { Err(unknown()) }
}

/// Who its holder is.
///
/// # Errors
/// A person who is no member any more is unknown.
pub(super) async fn of(api: &Api, token: &Token) -> Answer<Caller> {
    let token = &token.token;
    let grants = match &token.person {
        Some(person) => api.registry.grants(person).await?,
        None => vec![Grant { project: token.project.clone(), role: token.role }],
    };
    if grants.is_empty() {
        return Err(unknown());
    }
    let name = match &token.person {
        Some(_) => person_name(&token.name),
        None => &token.name,
    };
    Ok(Caller {
        id: token.id.clone(),
        name: name.to_owned(),
        token_project: token.project.clone(),
        grants,
        ends: token.expires.filter(|_| token.person.is_none()),
    })
}

/// The name of a token that a login gives: the person's, and something that tells his logins apart.
pub(super) fn token_name(person: &str, id: &str) -> String {
    format!("{person} ({id})")
}

fn person_name(token: &str) -> &str {
    token.rsplit_once(" (").map_or(token, |(person, _)| person)
}

/// The one sentence about tokens that open nothing.
pub(super) fn unknown() -> Problem {
    Problem::new(Code::Dw6004, "an API token is needed: Authorization: Bearer dwt_…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(grants: &[(Option<&str>, Role)]) -> Caller {
        let grants = grants
            .iter()
            .map(|(project, role)| Grant { project: project.map(str::to_owned), role: *role })
            .collect();
        Caller { id: "i".to_owned(), name: "n".to_owned(), token_project: None, grants, ends: None }
    }

    #[test]
    fn a_role_in_one_project_is_none_in_another_or_in_the_installation() {
        let caller = caller(&[(Some("a"), Role::Admin), (Some("b"), Role::Viewer)]);
        assert_eq!(caller.role_in(Some("c")), None);
        assert_eq!(caller.role_in(None), None);
        assert!(!caller.may_in(Some("b"), Permission::SecretsManage));
        assert!(caller.may_in(Some("a"), Permission::SecretsManage));
        assert_eq!(caller.least(), Some(Role::Viewer));
        assert_eq!(caller.projects(), Some(vec!["a", "b"]));
        assert_eq!(caller.only_project(), None);
    }

    #[test]
    fn a_role_in_the_installation_holds_in_every_project_beside_a_higher_one_there() {
        let caller = caller(&[(None, Role::Viewer), (Some("a"), Role::Owner)]);
        assert_eq!(caller.role_in(Some("a")), Some(Role::Owner));
        assert_eq!(caller.role_in(Some("b")), Some(Role::Viewer));
        assert_eq!(caller.role_in(None), Some(Role::Viewer));
        assert_eq!(caller.projects(), None);
    }

    #[test]
    fn the_name_of_a_person_is_without_what_tells_logins_apart() {
        assert_eq!(person_name(&token_name("a@example.com", "0f")), "a@example.com");
        assert_eq!(person_name(&token_name("a (b)", "0f")), "a (b)");
    }
}
