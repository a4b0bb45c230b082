//! The append-only record: who did what, when, from where.
//!
//! A row is written in the same transaction as the change that it records, so neither exists
//! without the other. Rows name ids only, never keys, prompts or file contents.

use std::net::IpAddr;

use uuid::Uuid;

use crate::clock::Moment;
use crate::db::{Conn, DbError, in_rows, placeholders};

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

/// Records one act.
pub async fn record(conn: &mut Conn, act: &Act) -> Result<(), DbError> {
    record_many(conn, std::slice::from_ref(act)).await
}

/// Records several acts.
pub async fn record_many(conn: &mut Conn, acts: &[Act]) -> Result<(), DbError> {
    for rows in in_rows(acts) {
        insert(conn, rows).await?;
    }
    Ok(())
}

async fn insert(conn: &mut Conn, acts: &[Act]) -> Result<(), DbError> {
    let sql = format!(
        "INSERT INTO audit_logs (id, created_at, action, org_id, principal_id, key_id, address, \
         subject) VALUES {}",
        placeholders(acts.len(), 8)
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
    for act in acts {
        query = query
            .bind(Uuid::now_v7().to_string())
            .bind(act.at.0)
            .bind(act.action)
            .bind(act.org_id.as_deref())
            .bind(act.principal_id.as_deref())
            .bind(act.key_id.as_deref())
            .bind(act.address.map(|a| a.to_string()))
            .bind(act.subject.as_deref());
    }
    query.execute(conn).await?;
    Ok(())
}
