//! Permissions, roles, and the table between them (contract, section 4).
//!
//! A role is given to a principal either on one organisation or on the whole enterprise. An
//! enterprise permission implies the organisation permission of the same kind in every
//! organisation.

use std::fmt;
use std::str::FromStr;

use Permission as P;

/// What a caller may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Permission {
    UseDevinSessions,
    ViewOrgSessions,
    ManageOrgSessions,
    ImpersonateOrgSessions,
    ViewOrgMembership,
    ManageOrgServiceUsers,
    ReadAccountMeta,
    ManageEnterpriseSettings,
    ManageOrganizations,
    ManageAccountMembership,
    ViewAccountMembership,
    ManageAccountServiceUsers,
    ViewAccountSessions,
    ManageAccountSessions,
    ViewAccountAuditLogs,
}

impl Permission {
    /// The name in error messages: `org.devins.use` and its like.
    pub fn wire_name(self) -> &'static str {
        match self {
            P::UseDevinSessions => "org.devins.use",
            P::ViewOrgSessions => "org.sessions.view",
            P::ManageOrgSessions => "org.sessions.manage",
            P::ImpersonateOrgSessions => "org.sessions.impersonate",
            P::ViewOrgMembership => "org.membership.view",
            P::ManageOrgServiceUsers => "org.service_users.manage",
            P::ReadAccountMeta => "account.meta.read",
            P::ManageEnterpriseSettings => "account.settings.manage",
            P::ManageOrganizations => "account.organizations.manage",
            P::ManageAccountMembership => "account.membership.manage",
            P::ViewAccountMembership => "account.membership.view",
            P::ManageAccountServiceUsers => "account.service_users.manage",
            P::ViewAccountSessions => "account.sessions.view",
            P::ManageAccountSessions => "account.sessions.manage",
            P::ViewAccountAuditLogs => "account.audit_logs.view",
        }
    }

    /// The enterprise permission that implies this one in every organisation, if there is one.
    pub fn implied_by(self) -> Option<Permission> {
        match self {
            P::ViewOrgSessions => Some(P::ViewAccountSessions),
            P::ManageOrgSessions => Some(P::ManageAccountSessions),
            P::ViewOrgMembership => Some(P::ViewAccountMembership),
            P::ManageOrgServiceUsers => Some(P::ManageAccountServiceUsers),
            _ => None,
        }
    }
}

/// The built-in roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Role {
    AccountAdmin,
    AccountMember,
    OrgAdmin,
    OrgMember,
}

impl Role {
    /// Every role there is.
    pub const ALL: [Role; 4] = [Role::AccountAdmin, Role::AccountMember, Role::OrgAdmin, Role::OrgMember];

    /// Whether the role is given on the whole enterprise rather than on one organisation.
    pub fn is_enterprise(self) -> bool {
        matches!(self, Role::AccountAdmin | Role::AccountMember)
    }

    /// The role's `role_id`.
    pub fn id(self) -> &'static str {
        match self {
            Role::AccountAdmin => "account_admin",
            Role::AccountMember => "account_member",
            Role::OrgAdmin => "org_admin",
            Role::OrgMember => "org_member",
        }
    }

    /// The permissions that the role gives where it is held.
    pub fn permissions(self) -> &'static [Permission] {
        match self {
            Role::AccountAdmin => &[
                P::ReadAccountMeta,
                P::ManageEnterpriseSettings,
                P::ManageOrganizations,
                P::ManageAccountMembership,
                P::ViewAccountMembership,
                P::ManageAccountServiceUsers,
                P::ViewAccountSessions,
                P::ManageAccountSessions,
                P::ViewAccountAuditLogs,
            ],
            Role::AccountMember => &[P::ReadAccountMeta],
            Role::OrgAdmin => &[
                P::UseDevinSessions,
                P::ViewOrgSessions,
                P::ManageOrgSessions,
                P::ImpersonateOrgSessions,
                P::ViewOrgMembership,
                P::ManageOrgServiceUsers,
            ],
            Role::OrgMember => &[P::UseDevinSessions, P::ViewOrgSessions],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// A text that names no built-in role.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no role; the roles are account_admin, account_member, org_admin and org_member")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Role::ALL.into_iter().find(|role| role.id() == text).ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_gives_only_permissions_of_its_own_level() {
        for role in Role::ALL {
            for permission in role.permissions() {
                assert_eq!(
                    permission.wire_name().starts_with("account."),
                    role.is_enterprise(),
                    "{role} gives {permission:?}"
                );
            }
            assert_eq!(role.id().parse(), Ok(role));
        }
    }
}
