//! Who may do what: organisations, principals, keys, roles.
//!
//! A request's credential becomes a [`Caller`]; a caller asked whether it may do something in an
//! organisation gives a [`Grant`] or refuses. Operations of the other rooms demand a grant, so an
//! unchecked request does not compile. What a caller may not see is answered exactly as what does
//! not exist.

pub mod audit;
pub mod authenticate;
pub mod http;
pub mod key;
pub mod path;
pub mod permission;
pub mod setup;
mod slots;
mod store;

use std::net::IpAddr;
use std::sync::Arc;

pub use authenticate::Identity;
pub use key::{KeyKind, PlainKey};
pub use permission::{Permission, Role};
pub use slots::{Slot, Slots};
pub use store::{reload_caller, standing};

use crate::clock::{self, Moment};
use crate::id::{KeyId, OrgId};

/// Whether a principal is a person or a service user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrincipalKind {
    /// A person.
    User,
    /// A service user.
    ServiceUser,
}

impl PrincipalKind {
    /// The kind's name in the database and in `principal_type`.
    pub fn name(self) -> &'static str {
        match self {
            PrincipalKind::User => "user",
            PrincipalKind::ServiceUser => "service_user",
        }
    }
}

/// A credential that was found good: the principal behind it and what it may do.
#[derive(Debug, Clone)]
pub struct Caller {
    /// `user-…` or `service-user-…`.
    pub principal_id: String,
    /// Whether that is a person or a service user.
    pub principal_kind: PrincipalKind,
    /// The principal's name.
    pub principal_name: String,
    /// The person's address, if known.
    pub email: Option<String>,
    /// The key that was presented.
    pub key_id: KeyId,
    /// That key's name.
    pub key_name: String,
    /// That key's kind.
    pub key_kind: KeyKind,
    /// When the key ceases to be good, if ever.
    pub expires_at: Option<Moment>,
    /// v1 keys: the one organisation of the key. `cog_` keys: the principal's home, if it has one.
    pub org_id: Option<OrgId>,
    /// Roles held; `None` stands for the whole enterprise.
    roles: Vec<(Option<OrgId>, Role)>,
}

/// In which organisations a caller holds a permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// In these alone, perhaps in none.
    Only(Vec<OrgId>),
    /// In every organisation there is.
    Everywhere,
}

/// The caller lacks a permission (403).
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("Missing required permission '{}' on this organization", .0.wire_name())]
pub struct Denied(pub Permission);

impl Caller {
    /// Where the caller holds a permission. A v1 key holds `UseDevinSessions` and
    /// `ViewOrgSessions` on exactly one organisation, whatever its principal's roles are.
    pub fn scope(&self, permission: Permission) -> Scope {
        if self.key_kind.is_v1() {
            let held = Role::OrgMember.permissions().contains(&permission);
            return Scope::Only(self.org_id.iter().filter(|_| held).cloned().collect());
        }
        let mut orgs = Vec::new();
        for (org, role) in &self.roles {
            match org {
                Some(org) if role.permissions().contains(&permission) => orgs.push(org.clone()),
                None if permission.implied_by().is_some_and(|p| role.permissions().contains(&p)) => {
                    return Scope::Everywhere;
                }
                _ => {}
            }
        }
        Scope::Only(orgs)
    }

    /// Whether the caller holds a permission in an organisation.
    pub fn holds(&self, permission: Permission, org: &OrgId) -> bool {
        match self.scope(permission) {
            Scope::Everywhere => true,
            Scope::Only(orgs) => orgs.contains(org),
        }
    }

    /// Whether the caller holds an enterprise permission.
    pub fn holds_on_enterprise(&self, permission: Permission) -> bool {
        !self.key_kind.is_v1()
            && self.roles.iter().any(|(org, role)| org.is_none() && role.permissions().contains(&permission))
    }
}

/// A request's caller, where it came from, and its place among the key's requests in flight.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who asks.
    pub caller: Arc<Caller>,
    /// From which address, `X-Forwarded-For` of trusted proxies taken into account.
    pub address: Option<IpAddr>,
    /// Held as long as the request (or its answer's body) is in flight.
    pub slot: Arc<Slot>,
}

impl Request {
    /// Asks for a permission in an organisation. The answer is the same for an organisation that
    /// does not exist.
    pub fn may(&self, permission: Permission, org: &OrgId) -> Result<Grant, Denied> {
        if !self.caller.holds(permission, org) {
            return Err(Denied(permission));
        }
        Ok(Grant { caller: Arc::clone(&self.caller), address: self.address, org: org.clone(), permission })
    }

    /// Asks for a permission in the organisation of a v1 key.
    pub fn may_at_home(&self, permission: Permission) -> Result<Grant, Denied> {
        match &self.caller.org_id {
            Some(org) => self.may(permission, org),
            None => Err(Denied(permission)),
        }
    }
}

/// Proof that a caller was found to hold a permission in an organisation.
#[derive(Debug, Clone)]
pub struct Grant {
    caller: Arc<Caller>,
    address: Option<IpAddr>,
    org: OrgId,
    permission: Permission,
}

impl Grant {
    /// The organisation in which the permission is held.
    pub fn org(&self) -> &OrgId {
        &self.org
    }

    /// Who holds it.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What is held.
    pub fn permission(&self) -> Permission {
        self.permission
    }

    /// The record of an act done under this grant, now.
    pub fn act(&self, action: &'static str, subject: impl Into<String>) -> audit::Act {
        audit::Act {
            action,
            at: clock::now(),
            org_id: Some(self.org.to_string()),
            principal_id: Some(self.caller.principal_id.clone()),
            key_id: Some(self.caller.key_id.to_string()),
            address: self.address,
            subject: Some(subject.into()),
        }
    }
}
