//! People who log in with an issuer: who they are there, and what they may do here.

use super::objects::Role;

/// Somebody, as the issuer names him: this pair never means anybody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The issuer's URL.
    pub issuer: String,
    /// The issuer's own name for him (`sub`).
    pub subject: String,
}

/// How a member is named before he has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// By the issuer's own name for him.
    Subject(String),
    /// By his e-mail address, in lower case; the issuer has to have verified it.
    Email(String),
}

/// A member to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMember {
    /// Its id: shown, no secret.
    pub id: String,
    /// The project; `None`: the installation.
    pub project: Option<String>,
    /// The issuer's URL.
    pub issuer: String,
    /// Who.
    pub named: Named,
    /// What he may do there.
    pub role: Role,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: String,
    /// The project; `None`: the installation.
    pub project: Option<String>,
    /// The issuer's URL.
    pub issuer: String,
    /// The e-mail address that he was named by.
    pub email: Option<String>,
    /// The issuer's own name for him; known from his first login on, if he was named by e-mail.
    pub subject: Option<String>,
    /// What he may do there.
    pub role: Role,
    /// When he was added, unix seconds.
    pub created: i64,
    /// The revision of the last write.
    pub version: u64,
}

/// What a person may do somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The project; `None`: the installation, and so every project.
    pub project: Option<String>,
    /// As what.
    pub role: Role,
}

/// When a document's credential was seen to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When, unix seconds.
    pub at: i64,
    /// The revision of the server then: what was written later was not tried.
    pub revision: u64,
    /// Who says so.
    pub who: String,
}
