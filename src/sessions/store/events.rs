//! The SQL of what happened in a session: written beside the change that it tells of, in the same transaction, and
//! read by those who follow the session.
//!
//! Positions grow with the order of the commits, so a follower that has read up to a position misses nothing by
//! asking for what lies behind it.

use sqlx::Row as _;

use super::{detail, status};
use crate::clock::Moment;
use crate::db::{Conn, DbError};
use crate::id::SessionId;
use crate::sessions::StatusDetail;

/// One event as it was written.
#[derive(Debug, Clone)]
pub(in crate::sessions) struct EventRow {
    pub position: i64,
    pub kind: String,
    pub data: serde_json::Value,
    pub at: Moment,
}

const NEXT: &str = "UPDATE sessions SET event_seq = event_seq + 1 WHERE id = $1 RETURNING event_seq";
const INSERT: &str = "INSERT INTO session_events (session_id, position, kind, data, created_at) \
    VALUES ($1, $2, $3, $4, $5)";
const TELL: &str = "UPDATE sessions SET told_status = status || '/' || COALESCE(status_detail, '') WHERE id = $1 \
    AND told_status <> status || '/' || COALESCE(status_detail, '') RETURNING status, status_detail";
const AFTER: &str = "SELECT position, kind, data, created_at FROM session_events \
    WHERE session_id = $1 AND position > $2 ORDER BY position LIMIT 1";
const LAST: &str = "SELECT event_seq FROM sessions WHERE id = $1";

/// Adds an event at the session's end. `data` is the text of a JSON object. NUL characters are written as `\u0000` by JSON.
pub(in crate::sessions) async fn add_event(
    conn: &mut Conn,
    session: &SessionId,
    kind: &str,
    data: &str,
    now: Moment,
) -> Result<(), DbError> {
    let next = sqlx::query(NEXT).bind(session.as_str()).fetch_one(&mut *conn).await?;
    sqlx::query(INSERT)
        .bind(session.as_str())
        .bind(next.try_get::<i64, _>("event_seq")?)
        .bind(kind)
        .bind(data)
        .bind(now.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Adds an event that tells where a session stands now, unless the last one told so. To be called after every change
/// of a status.
pub(in crate::sessions) async fn tell_status(
    conn: &mut Conn,
    session: &SessionId,
    now: Moment,
) -> Result<(), DbError> {
    let changed = sqlx::query(TELL).bind(session.as_str()).fetch_optional(&mut *conn).await?;
    let Some(row) = changed else { return Ok(()) };
    let data = serde_json::json!({
        "status": status(&row)?.name(),
        "status_detail": detail(&row)?.map(StatusDetail::name),
    });
    add_event(conn, session, "status", &data.to_string(), now).await
}

/// The first event behind a position.
pub(in crate::sessions) async fn event_after(
    conn: &mut Conn,
    session: &SessionId,
    position: i64,
) -> Result<Option<EventRow>, DbError> {
    let row = sqlx::query(AFTER).bind(session.as_str()).bind(position).fetch_optional(conn).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(EventRow {
        position: row.try_get("position")?,
        kind: row.try_get("kind")?,
        data: serde_json::from_str(row.try_get("data")?)
            .map_err(|_| DbError::Corrupt("session_events.data"))?,
        at: Moment(row.try_get("created_at")?),
    }))
}

/// Position of the last event, 0 where there is none.
pub(in crate::sessions) async fn last_event(conn: &mut Conn, session: &SessionId) -> Result<i64, DbError> {
    Ok(sqlx::query(LAST).bind(session.as_str()).fetch_one(conn).await?.try_get("event_seq")?)
}
