//! The SQL of identity.

use std::str::FromStr;

use sqlx::Row as _;

use super::key::KeyHash;
use super::{Caller, KeyKind, PrincipalKind, Role};
use crate::clock::Moment;
use crate::db::{Conn, DbError, Row};
use crate::id::{KeyId, OrgId};

/// An organisation.
#[derive(Debug, Clone)]
pub struct Organization {
    /// `org-…`.
    pub id: OrgId,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Moment,
}

/// A key as it is listed: everything but the secret, which is not kept.
#[derive(Debug, Clone)]
pub struct ListedKey {
    /// `key-…`.
    pub id: String,
    /// Which kind of credential it is.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whose key it is.
    pub principal_id: String,
    /// Its principal's name.
    pub principal_name: String,
    /// The one organisation of a v1 key.
    pub org_id: Option<String>,
    /// When it was made.
    pub created_at: Moment,
    /// When it ceases to be good.
    pub expires_at: Option<Moment>,
    /// When it was revoked.
    pub revoked_at: Option<Moment>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Moment>,
}

const CALLER: &str = "SELECT k.id AS key_id, k.kind AS key_kind, k.name AS key_name, \
    k.expires_at AS expires_at, COALESCE(k.org_id, p.org_id) AS org_id, p.id AS principal_id, \
    p.kind AS principal_kind, p.name AS principal_name, p.email AS email, \
    r.org_id AS role_org_id, r.role_id AS role_id \
    FROM api_keys k JOIN principals p ON p.id = k.principal_id \
    LEFT JOIN role_assignments r ON r.principal_id = p.id \
    WHERE k.revoked_at IS NULL AND p.deleted_at IS NULL \
    AND (k.expires_at IS NULL OR k.expires_at > $2) AND ";
const BY_HASH: &str = "k.hash = $1";
const BY_ID: &str = "k.id = $1";

/// The caller behind a key, if the key is good now.
pub(super) async fn caller_by_hash(
    conn: &mut Conn,
    hash: &KeyHash,
    now: Moment,
) -> Result<Option<Caller>, DbError> {
    caller(conn, BY_HASH, &hash.hex(), now).await
}

/// The caller behind a key that was good earlier, judged again: `None` if it is good no more.
pub async fn reload_caller(conn: &mut Conn, key: &KeyId, now: Moment) -> Result<Option<Caller>, DbError> {
    caller(conn, BY_ID, key.as_str(), now).await
}

async fn caller(
    conn: &mut Conn,
    by: &'static str,
    value: &str,
    now: Moment,
) -> Result<Option<Caller>, DbError> {
    let sql = sqlx::AssertSqlSafe(format!("{CALLER}{by}"));
    // One row for each role, or one without a role.
    let rows = sqlx::query(sql).bind(value).bind(now.0).fetch_all(conn).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let roles = rows.iter().filter_map(|row| role_of(row).transpose()).collect::<Result<_, _>>()?;
    let key_kind: String = row.try_get("key_kind")?;
    let principal_kind: String = row.try_get("principal_kind")?;
    Ok(Some(Caller {
        principal_id: row.try_get("principal_id")?,
        principal_kind: match principal_kind.as_str() {
            "user" => PrincipalKind::User,
            "service_user" => PrincipalKind::ServiceUser,
            _ => return Err(DbError::Corrupt("principals.kind")),
        },
        principal_name: row.try_get("principal_name")?,
        email: row.try_get("email")?,
        key_id: parsed(row, "key_id")?,
        key_name: row.try_get("key_name")?,
        key_kind: KeyKind::ALL
            .into_iter()
            .find(|kind| kind.name() == key_kind)
            .ok_or(DbError::Corrupt("api_keys.kind"))?,
        expires_at: row.try_get::<Option<i64>, _>("expires_at")?.map(Moment),
        org_id: row
            .try_get::<Option<String>, _>("org_id")?
            .map(|id| id.parse().map_err(|_| DbError::Corrupt("org_id")))
            .transpose()?,
        roles,
    }))
}

fn role_of(row: &Row) -> Result<Option<(Option<OrgId>, Role)>, DbError> {
    let Some(org) = row.try_get::<Option<String>, _>("role_org_id")? else { return Ok(None) };
    let role = parsed(row, "role_id")?;
    let org = match org.as_str() {
        "" => None,
        id => Some(id.parse().map_err(|_| DbError::Corrupt("role_assignments.org_id"))?),
    };
    Ok(Some((org, role)))
}

fn parsed<T: FromStr>(row: &Row, column: &'static str) -> Result<T, DbError> {
    row.try_get::<String, _>(column)?.parse().map_err(|_| DbError::Corrupt(column))
}

/// Whether an organisation, principal or key exists yet: an empty catalogue is set up first.
pub async fn standing(conn: &mut Conn) -> Result<bool, DbError> {
    let orgs: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM organizations").fetch_one(conn).await?;
    Ok(orgs > 0)
}

pub(super) async fn stamp_last_use(conn: &mut Conn, key: &KeyId, now: Moment) -> Result<(), DbError> {
    sqlx::query("UPDATE api_keys SET last_used_at = $2 WHERE id = $1")
        .bind(key.as_str())
        .bind(now.0)
        .execute(conn)
        .await?;
    Ok(())
}

pub(super) async fn insert_org(conn: &mut Conn, org: &Organization) -> Result<(), DbError> {
    sqlx::query("INSERT INTO organizations (id, name, created_at) VALUES ($1, $2, $3)")
        .bind(org.id.as_str())
        .bind(&org.name)
        .bind(org.created_at.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Every organisation, oldest first.
pub async fn list_orgs(conn: &mut Conn) -> Result<Vec<Organization>, DbError> {
    let rows = sqlx::query("SELECT id, name, created_at FROM organizations ORDER BY created_at, id")
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Organization {
                id: parsed(row, "id")?,
                name: row.try_get("name")?,
                created_at: Moment(row.try_get("created_at")?),
            })
        })
        .collect()
}

/// A principal to be made.
pub(super) struct NewPrincipal<'a> {
    pub id: &'a str,
    pub kind: PrincipalKind,
    pub name: &'a str,
    pub email: Option<&'a str>,
    pub org: Option<&'a OrgId>,
    pub role: Option<(Option<&'a OrgId>, Role)>,
    pub created_at: Moment,
}

pub(super) async fn insert_principal(conn: &mut Conn, new: &NewPrincipal<'_>) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO principals (id, kind, name, email, org_id, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(new.id)
    .bind(new.kind.name())
    .bind(new.name)
    .bind(new.email)
    .bind(new.org.map(OrgId::as_str))
    .bind(new.created_at.0)
    .execute(&mut *conn)
    .await?;
    if let Some((org, role)) = new.role {
        sqlx::query("INSERT INTO role_assignments (principal_id, org_id, role_id) VALUES ($1, $2, $3)")
            .bind(new.id)
            .bind(org.map_or("", OrgId::as_str))
            .bind(role.id())
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// A key to be made.
pub(super) struct NewKey<'a> {
    pub id: &'a KeyId,
    pub kind: KeyKind,
    pub name: &'a str,
    pub hash: KeyHash,
    pub principal_id: &'a str,
    pub org: Option<&'a OrgId>,
    pub created_at: Moment,
    pub expires_at: Option<Moment>,
}

pub(super) async fn insert_key(conn: &mut Conn, new: &NewKey<'_>) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO api_keys (id, kind, name, hash, principal_id, org_id, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(new.id.as_str())
    .bind(new.kind.name())
    .bind(new.name)
    .bind(new.hash.hex())
    .bind(new.principal_id)
    .bind(new.org.map(OrgId::as_str))
    .bind(new.created_at.0)
    .bind(new.expires_at.map(|at| at.0))
    .execute(conn)
    .await?;
    Ok(())
}

/// Every key ever made, oldest first; never a secret.
pub async fn list_keys(conn: &mut Conn) -> Result<Vec<ListedKey>, DbError> {
    let rows = sqlx::query(
        "SELECT k.id, k.kind, k.name, k.principal_id, p.name AS principal_name, \
         COALESCE(k.org_id, p.org_id) AS org_id, k.created_at, k.expires_at, k.revoked_at, k.last_used_at \
         FROM api_keys k JOIN principals p ON p.id = k.principal_id ORDER BY k.created_at, k.id",
    )
    .fetch_all(conn)
    .await?;
    let moment = |row: &Row, column: &str| -> Result<Option<Moment>, DbError> {
        Ok(row.try_get::<Option<i64>, _>(column)?.map(Moment))
    };
    rows.iter()
        .map(|row| {
            Ok(ListedKey {
                id: row.try_get("id")?,
                kind: row.try_get("kind")?,
                name: row.try_get("name")?,
                principal_id: row.try_get("principal_id")?,
                principal_name: row.try_get("principal_name")?,
                org_id: row.try_get("org_id")?,
                created_at: Moment(row.try_get("created_at")?),
                expires_at: moment(row, "expires_at")?,
                revoked_at: moment(row, "revoked_at")?,
                last_used_at: moment(row, "last_used_at")?,
            })
        })
        .collect()
}

/// Revokes a key; `false` if there is no such key or it was revoked before.
pub(super) async fn revoke_key(conn: &mut Conn, key: &str, now: Moment) -> Result<bool, DbError> {
    let done = sqlx::query("UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
        .bind(key)
        .bind(now.0)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn org_exists(conn: &mut Conn, org: &OrgId) -> Result<bool, DbError> {
    let found: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM organizations WHERE id = $1")
        .bind(org.as_str())
        .fetch_one(conn)
        .await?;
    Ok(found > 0)
}
