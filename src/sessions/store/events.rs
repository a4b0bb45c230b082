//! The SQL of what happened in a session: written beside the change that it tells of, in the same transaction, and
//! read by those who follow the session.
//!
//! Positions grow with the order of the commits, so a follower that has read up to a position misses nothing by
//! asking for what lies behind it.

use sqlx::Row as _;

use crate::clock::Moment;
use crate::db::{Conn, DbError};
use crate::id::SessionId;

const NEXT: &str = "UPDATE sessions SET event_seq = event_seq + 1 WHERE id = $1 RETURNING event_seq";
const INSERT: &str = "INSERT INTO session_events (session_id, position, kind, data, created_at) \
    VALUES ($1, $2, $3, $4, $5)";

/// Adds an event at the session's end. `data` is a JSON object. NUL characters are written as `\u0000` by JSON.
pub(in crate::sessions) async fn add_event(
    conn: &mut Conn,
    session: &SessionId,
    kind: &str,
    data: &serde_json::Value,
    now: Moment,
) -> Result<(), DbError> {
    let next = sqlx::query(NEXT).bind(session.as_str()).fetch_one(&mut *conn).await?;
    sqlx::query(INSERT)
        .bind(session.as_str())
        .bind(next.try_get::<i64, _>("event_seq")?)
        .bind(kind)
        .bind(data.to_string())
        .bind(now.0)
        .execute(conn)
        .await?;
    Ok(())
}
