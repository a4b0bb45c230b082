//! The SQL of a session's messages.

use sqlx::Row as _;

use super::{add_event, source};
use crate::attachments::Source;
use crate::clock::Moment;
use crate::db::{Conn, DbError, Row};
use crate::id::{SessionId, new_event_id};
use crate::sessions::Message;

/// A message to append.
#[derive(Debug, Clone)]
pub(in crate::sessions) struct NewMessage<'a> {
    pub source: Source,
    pub is_notice: bool,
    /// Number among the user's messages.
    pub seq: Option<i64>,
    pub text: &'a str,
    pub user_id: Option<&'a str>,
    pub username: Option<&'a str>,
}

const LAST: &str = "SELECT COALESCE(MAX(position), 0) AS last FROM session_messages WHERE session_id = $1";
const INSERT: &str = "INSERT INTO session_messages \
    (session_id, position, seq, event_id, source, kind, message, user_id, username, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const TOUCH: &str = "UPDATE sessions SET updated_at = $1 WHERE id = $2";
const SELECT: &str = "SELECT position, event_id, source, kind, message, user_id, username, created_at \
    FROM session_messages WHERE session_id = $1 ";
const ALL: &str = "ORDER BY position";
const AT: &str = "AND position = $2";
const AFTER: &str = "AND position > $2 ORDER BY position LIMIT $3";
const EARLIER: &str = "SELECT position, event_id, source, kind, SUBSTR(message, 1, CAST($4 AS INTEGER)) AS message, user_id, \
    username, created_at FROM session_messages \
    WHERE session_id = $1 AND position < $2 AND kind = 'message' ORDER BY position DESC LIMIT $3";
const BETWEEN: &str = "AND seq > $2 AND seq <= $3 ORDER BY position";

/// Position of the last message, 0 where there is none.
pub(in crate::sessions) async fn last_position(conn: &mut Conn, id: &SessionId) -> Result<i64, DbError> {
    Ok(sqlx::query(LAST).bind(id.as_str()).fetch_one(conn).await?.try_get("last")?)
}

/// Appends a message, and the event that tells of it. NUL characters, which PostgreSQL does not keep, become U+FFFD.
pub(in crate::sessions) async fn add_message(
    conn: &mut Conn,
    id: &SessionId,
    new: &NewMessage<'_>,
    now: Moment,
) -> Result<(), DbError> {
    let position = last_position(conn, id).await? + 1;
    sqlx::query(INSERT)
        .bind(id.as_str())
        .bind(position)
        .bind(new.seq)
        .bind(new_event_id())
        .bind(new.source.name())
        .bind(if new.is_notice { "notice" } else { "message" })
        .bind(new.text.replace('\0', "\u{fffd}"))
        .bind(new.user_id)
        .bind(new.username)
        .bind(now.0)
        .execute(&mut *conn)
        .await?;
    sqlx::query(TOUCH).bind(now.0).bind(id.as_str()).execute(&mut *conn).await?;
    add_event(conn, id, "message", &serde_json::json!({ "position": position }).to_string(), now).await
}

/// Every message.
pub(in crate::sessions) async fn all(conn: &mut Conn, id: &SessionId) -> Result<Vec<Message>, DbError> {
    let sql = sqlx::AssertSqlSafe(format!("{SELECT}{ALL}"));
    let rows = sqlx::query(sql).bind(id.as_str()).fetch_all(conn).await?;
    rows.iter().map(message).collect()
}

/// The message at a position.
pub(in crate::sessions) async fn at(
    conn: &mut Conn,
    id: &SessionId,
    position: i64,
) -> Result<Message, DbError> {
    let sql = sqlx::AssertSqlSafe(format!("{SELECT}{AT}"));
    message(&sqlx::query(sql).bind(id.as_str()).bind(position).fetch_one(conn).await?)
}

/// Up to `limit` messages behind a position.
pub(in crate::sessions) async fn after(
    conn: &mut Conn,
    id: &SessionId,
    position: i64,
    limit: usize,
) -> Result<Vec<Message>, DbError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT}{AFTER}")))
        .bind(id.as_str())
        .bind(position)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(conn)
        .await?;
    rows.iter().map(message).collect()
}

/// The last `limit` messages before a position, notices left out, each cut after so many characters;
/// oldest first.
pub(in crate::sessions) async fn earlier(
    conn: &mut Conn,
    id: &SessionId,
    position: i64,
    limit: usize,
    characters: usize,
) -> Result<Vec<Message>, DbError> {
    let rows = sqlx::query(EARLIER)
        .bind(id.as_str())
        .bind(position)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(i64::try_from(characters).unwrap_or(i64::MAX))
        .fetch_all(conn)
        .await?;
    rows.iter().rev().map(message).collect()
}

/// The user's messages numbered from behind `done` to `inbox`.
pub(in crate::sessions) async fn between(
    conn: &mut Conn,
    id: &SessionId,
    done: i64,
    inbox: i64,
) -> Result<Vec<Message>, DbError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT}{BETWEEN}")))
        .bind(id.as_str())
        .bind(done)
        .bind(inbox)
        .fetch_all(conn)
        .await?;
    rows.iter().map(message).collect()
}

fn message(row: &Row) -> Result<Message, DbError> {
    Ok(Message {
        event_id: row.try_get("event_id")?,
        position: row.try_get("position")?,
        source: source(row)?,
        is_notice: row.try_get::<String, _>("kind")? == "notice",
        message: row.try_get("message")?,
        user_id: row.try_get("user_id")?,
        username: row.try_get("username")?,
        created_at: Moment(row.try_get("created_at")?),
    })
}
