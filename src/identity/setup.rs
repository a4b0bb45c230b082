//! Making organisations and keys: the operator's side, used by the command line.
//!
//! A key is made together with its principal, and its secret is returned once. Each change leaves
//! an audit row without a principal: the operator did it on the machine itself.

use super::audit::{self, Act};
use super::store::{self, NewKey, NewPrincipal};
use super::{KeyKind, PlainKey, PrincipalKind, Role};
use crate::clock::{self, Moment};
use crate::db::{Conn, Db, DbError};
use crate::id::{KeyId, OrgId, ServiceUserId, UserId};

pub use super::store::{ListedKey, Organization, list_keys, list_orgs};

/// What the operator may ask for in vain.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No organisation has that id.
    #[error("there is no organisation `{0}`; `satchel orgs list` names them")]
    UnknownOrg(OrgId),
    /// An organisation is told from others by its name.
    #[error("an organisation needs a name that is not blank")]
    NoName,
    /// The key holds for one organisation, and none was named.
    #[error(
        "this key needs an organisation: name one; only a service user with an enterprise role needs none"
    )]
    NoOrg,
    /// The key would be no good from the beginning.
    #[error("the key would have expired already, at {}: name a time to come", .0.iso8601())]
    Expired(Moment),
    /// No key has that id, or it was revoked before.
    #[error("there is no active key `{0}`; `satchel keys list` names them")]
    UnknownKey(String),
    /// A v1 key holds what v1 keys hold; a role would have no effect.
    #[error(
        "a {} key takes no role: every v1 key may use and view the sessions of its organisation; \
         roles go with service_user keys", .0.name()
    )]
    RoleOnV1(KeyKind),
    /// The catalogue failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] super::key::NoRandomness),
}

impl From<sqlx::Error> for SetupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// What a key is to be.
#[derive(Debug, Clone)]
pub struct KeyOrder {
    /// Which kind of credential.
    pub kind: KeyKind,
    /// Its name, and its principal's.
    pub name: String,
    /// The organisation: of a v1 key, or in which an organisation role is held. With an enterprise
    /// role there need be none.
    pub org: Option<OrgId>,
    /// The role of a service user; `org_member` unless said otherwise.
    pub role: Option<Role>,
    /// A person's address.
    pub email: Option<String>,
    /// When it ceases to be good.
    pub expires_at: Option<Moment>,
}

/// A key just made, with its secret.
#[derive(Debug)]
pub struct MadeKey {
    /// `key-…`.
    pub id: KeyId,
    /// `user-…` or `service-user-…`.
    pub principal_id: String,
    /// The secret, shown once.
    pub key: PlainKey,
}

/// Makes an organisation.
pub async fn create_org(db: &Db, name: &str) -> Result<Organization, SetupError> {
    let mut tx = db.write().await?;
    let org = create_org_in(&mut tx, name).await?;
    tx.commit().await?;
    Ok(org)
}

/// Makes an organisation within a transaction.
pub async fn create_org_in(conn: &mut Conn, name: &str) -> Result<Organization, SetupError> {
    if name.trim().is_empty() {
        return Err(SetupError::NoName);
    }
    let org = Organization { id: OrgId::new(), name: name.to_owned(), created_at: clock::now() };
    store::insert_org(conn, &org).await?;
    audit::record(conn, &act("organization.create", Some(&org.id), org.id.as_str())).await?;
    Ok(org)
}

/// Makes a principal and its key.
pub async fn create_key(db: &Db, order: &KeyOrder) -> Result<MadeKey, SetupError> {
    let mut tx = db.write().await?;
    let made = create_key_in(&mut tx, order).await?;
    tx.commit().await?;
    Ok(made)
}

/// Makes a principal and its key within a transaction.
pub async fn create_key_in(conn: &mut Conn, order: &KeyOrder) -> Result<MadeKey, SetupError> {
    if order.kind.is_v1() && order.role.is_some() {
        return Err(SetupError::RoleOnV1(order.kind));
    }
    let now = clock::now();
    if let Some(at) = order.expires_at.filter(|at| *at <= now) {
        return Err(SetupError::Expired(at));
    }
    let role = order.role.unwrap_or(Role::OrgMember);
    match &order.org {
        Some(org) if !store::org_exists(&mut *conn, org).await? => {
            return Err(SetupError::UnknownOrg(org.clone()));
        }
        None if !role.is_enterprise() => return Err(SetupError::NoOrg),
        _ => {}
    }
    let person = order.kind == KeyKind::Personal;
    let principal_id = if person { UserId::new().to_string() } else { ServiceUserId::new().to_string() };
    let org = order.org.as_ref().filter(|_| !role.is_enterprise());
    store::insert_principal(
        &mut *conn,
        &NewPrincipal {
            id: &principal_id,
            kind: if person { PrincipalKind::User } else { PrincipalKind::ServiceUser },
            name: &order.name,
            email: order.email.as_deref(),
            org,
            role: (!order.kind.is_v1()).then_some((org, role)),
            created_at: now,
        },
    )
    .await?;
    let id = KeyId::new();
    let key = PlainKey::generate(order.kind)?;
    store::insert_key(
        &mut *conn,
        &NewKey {
            id: &id,
            kind: order.kind,
            name: &order.name,
            hash: key.hash(),
            principal_id: &principal_id,
            org: order.org.as_ref().filter(|_| order.kind.is_v1()),
            created_at: now,
            expires_at: order.expires_at,
        },
    )
    .await?;
    audit::record(&mut *conn, &act("key.create", order.org.as_ref(), id.as_str())).await?;
    Ok(MadeKey { id, principal_id, key })
}

/// Revokes a key by its id.
pub async fn revoke_key(db: &Db, key: &str) -> Result<(), SetupError> {
    let mut tx = db.write().await?;
    if !store::revoke_key(&mut tx, key, clock::now()).await? {
        return Err(SetupError::UnknownKey(key.chars().take(80).collect()));
    }
    audit::record(&mut tx, &act("key.revoke", None, key)).await?;
    tx.commit().await?;
    Ok(())
}

fn act(action: &'static str, org: Option<&OrgId>, subject: &str) -> Act {
    Act {
        action,
        at: clock::now(),
        org_id: org.map(ToString::to_string),
        principal_id: None,
        key_id: None,
        address: None,
        subject: Some(subject.to_owned()),
    }
}
