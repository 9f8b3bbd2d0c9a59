//! Who may do what: the one table from roles to permissions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::registry::Role;

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum Permission {
    /// Names, fingerprints, descriptions; also variables, providers, agents.
    #[serde(rename = "secrets:read")]
    SecretsRead,
    /// Create, rotate, delete, clone secrets; approve where they may go.
    #[serde(rename = "secrets:manage")]
    SecretsManage,
    /// Providers, model providers, variables.
    #[serde(rename = "providers:manage")]
    ProvidersManage,
    /// Agents, their tokens, what is attached to them.
    #[serde(rename = "agents:manage")]
    AgentsManage,
    /// The audit.
    #[serde(rename = "audit:read")]
    AuditRead,
    /// The project itself and its API tokens.
    #[serde(rename = "project:admin")]
    ProjectAdmin,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SecretsRead,
        Self::SecretsManage,
        Self::ProvidersManage,
        Self::AgentsManage,
        Self::AuditRead,
        Self::ProjectAdmin,
    ];

    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            Self::SecretsRead => "secrets:read",
            Self::SecretsManage => "secrets:manage",
            Self::ProvidersManage => "providers:manage",
            Self::AgentsManage => "agents:manage",
            Self::AuditRead => "audit:read",
            Self::ProjectAdmin => "project:admin",
        }
    }

    /// Reads it as it is written.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.name() == text)
    }
}

/// The table.
pub const fn permissions(role: Role) -> &'static [Permission] {
    use Permission::*;
    match role {
        Role::Owner | Role::Admin => &Permission::ALL,
        Role::Manager => &[SecretsRead, SecretsManage, ProvidersManage, AgentsManage, AuditRead],
        Role::Developer => &[SecretsRead, ProvidersManage, AgentsManage],
        Role::Viewer => &[SecretsRead],
    }
}

/// Whether a holder of `own` may make tokens of `wanted`: nobody makes more than he has.
pub(crate) fn may_grant(own: Role, wanted: Role) -> bool {
    permissions(own).contains(&Permission::ProjectAdmin) && own <= wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_role_has_nothing_that_a_higher_one_lacks() {
        for pair in Role::ALL.windows(2) {
            assert!(permissions(pair[1]).iter().all(|one| permissions(pair[0]).contains(one)), "{pair:?}");
        }
        assert!(!permissions(Role::Manager).contains(&Permission::ProjectAdmin));
        assert!(!permissions(Role::Developer).contains(&Permission::SecretsManage));
        assert_eq!(permissions(Role::Viewer), [Permission::SecretsRead]);
    }

    #[test]
    fn refuses_to_grant_more_than_one_has() {
        assert!(!may_grant(Role::Admin, Role::Owner));
        assert!(!may_grant(Role::Manager, Role::Viewer));
        assert!(may_grant(Role::Admin, Role::Admin) && may_grant(Role::Owner, Role::Owner));
    }

    #[test]
    fn names_read_back() {
        for permission in Permission::ALL {
            assert_eq!(Permission::parse(permission.name()), Some(permission));
        }
        assert_eq!(Permission::parse("secrets"), None);
    }
}
