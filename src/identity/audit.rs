//! The append-only record: who did what, when, from where.
//!
//! A row is written in the same transaction as the change that it records, so neither exists
//! without the other. Rows name ids only, never keys, prompts or file contents.

use std::net::IpAddr;

use uuid::Uuid;

use crate::clock::Moment;
use crate::db::{Conn, DbError};

/// One act to record.
#[derive(Debug, Clone)]
pub struct Act {
    /// What was done: `attachment.create`, `session.terminate`, `key.revoke` …
    pub action: &'static str,
    /// When.
    pub at: Moment,
    /// In which organisation, if in one.
    pub org_id: Option<String>,
    /// By whom, if a principal did it (the command line acts for the operator: none).
    pub principal_id: Option<String>,
    /// With which key.
    pub key_id: Option<String>,
    /// From which address.
    pub address: Option<IpAddr>,
    /// To what: an id.
    pub subject: Option<String>,
}

const INSERT: &str = "INSERT INTO audit_logs \
    (id, created_at, action, org_id, principal_id, key_id, address, subject) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

/// Records one act.
pub async fn record(conn: &mut Conn, act: &Act) -> Result<(), DbError> {
    sqlx::query(INSERT)
        .bind(Uuid::now_v7().to_string())
        .bind(act.at.0)
        .bind(act.action)
        .bind(act.org_id.as_deref())
        .bind(act.principal_id.as_deref())
        .bind(act.key_id.as_deref())
        .bind(act.address.map(|a| a.to_string()))
        .bind(act.subject.as_deref())
        .execute(conn)
        .await?;
    Ok(())
}
