//! The SQL of a session's files: what was handed in, what came back, and how far each came.

use sqlx::Row as _;

use super::{add_event, source};
use crate::attachments::{Source, name_output};
use crate::clock::Moment;
use crate::db::{Conn, DbError, Row};
use crate::id::{AttachmentId, SessionId};
use crate::sessions::Delivery;

/// One file of a session.
#[derive(Debug, Clone)]
pub(in crate::sessions) struct FileRow {
    pub attachment_id: AttachmentId,
    pub source: Source,
    /// Number of the user's message that named it first.
    pub seq: i64,
    pub url: String,
    pub path: Option<String>,
    pub state: Delivery,
    pub error: Option<String>,
    pub at: Moment,
}

const SELECT: &str = "SELECT attachment_id, source, seq, url, path, state, error, at \
    FROM session_attachments WHERE session_id = $1 ";
const ALL: &str = "ORDER BY position";
const ONE: &str = "AND attachment_id = $2 AND source = $3";
const LAST: &str = "SELECT COALESCE(MAX(position), 0) AS last FROM session_attachments WHERE session_id = $1";
const INSERT: &str = "INSERT INTO session_attachments \
    (session_id, attachment_id, source, position, seq, url, path, state, at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const SET_DELIVERY: &str = "UPDATE session_attachments SET state = $1, path = $2, error = $3, at = $4 \
    WHERE session_id = $5 AND attachment_id = $6 AND source = 'user'";
const FORGET: &str = "UPDATE session_attachments SET state = 'pending', at = $1 \
    WHERE session_id = $2 AND source = 'user' AND state <> 'pending' \
    RETURNING attachment_id, source, seq, url, path, state, error, at";

/// Every file of a session, in the order in which they came.
pub(in crate::sessions) async fn files(conn: &mut Conn, id: &SessionId) -> Result<Vec<FileRow>, DbError> {
    let sql = sqlx::AssertSqlSafe(format!("{SELECT}{ALL}"));
    let rows = sqlx::query(sql).bind(id.as_str()).fetch_all(conn).await?;
    rows.iter().map(row_of).collect()
}

/// One file of a session.
pub(in crate::sessions) async fn file(
    conn: &mut Conn,
    id: &SessionId,
    attachment: &str,
    source: &str,
) -> Result<FileRow, DbError> {
    let sql = sqlx::AssertSqlSafe(format!("{SELECT}{ONE}"));
    let row = sqlx::query(sql).bind(id.as_str()).bind(attachment).bind(source).fetch_one(conn).await?;
    row_of(&row)
}

/// A file that the user's message `seq` names; it waits for its delivery.
pub(in crate::sessions) async fn add_input(
    conn: &mut Conn,
    id: &SessionId,
    attachment: AttachmentId,
    seq: i64,
    url: &str,
    now: Moment,
) -> Result<(), DbError> {
    let row = (attachment, Source::User, seq, url, None, Delivery::Pending);
    insert(conn, id, row, now).await
}

/// A file that came back from `path`.
pub(in crate::sessions) async fn add_output(
    conn: &mut Conn,
    id: &SessionId,
    attachment: AttachmentId,
    seq: i64,
    url: &str,
    path: &str,
    now: Moment,
) -> Result<(), DbError> {
    name_output(conn, attachment).await?;
    let row = (attachment, Source::Devin, seq, url, Some(path), Delivery::Delivered);
    insert(conn, id, row, now).await
}

/// How far the delivery of a file came: to a path, or to an error.
pub(in crate::sessions) async fn set_delivery(
    conn: &mut Conn,
    id: &SessionId,
    attachment: AttachmentId,
    outcome: Result<&str, &str>,
    now: Moment,
) -> Result<(), DbError> {
    let state = if outcome.is_ok() { Delivery::Delivered } else { Delivery::Failed };
    sqlx::query(SET_DELIVERY)
        .bind(state.name())
        .bind(outcome.ok())
        .bind(outcome.err())
        .bind(now.0)
        .bind(id.as_str())
        .bind(attachment.to_string())
        .execute(&mut *conn)
        .await?;
    tell(conn, id, (attachment, Source::User, outcome.ok(), state, outcome.err()), now).await
}

/// The workspace is not there: every file handed in waits for its delivery again.
pub(in crate::sessions) async fn forget_deliveries(
    conn: &mut Conn,
    id: &SessionId,
    now: Moment,
) -> Result<(), DbError> {
    let rows = sqlx::query(FORGET).bind(now.0).bind(id.as_str()).fetch_all(&mut *conn).await?;
    for row in &rows {
        let row = row_of(row)?;
        let path = row.path.as_deref();
        tell(conn, id, (row.attachment_id, row.source, path, row.state, row.error.as_deref()), now).await?;
    }
    Ok(())
}

async fn insert(
    conn: &mut Conn,
    id: &SessionId,
    (attachment, source, seq, url, path, state): (AttachmentId, Source, i64, &str, Option<&str>, Delivery),
    now: Moment,
) -> Result<(), DbError> {
    let last: i64 = sqlx::query(LAST).bind(id.as_str()).fetch_one(&mut *conn).await?.try_get("last")?;
    sqlx::query(INSERT)
        .bind(id.as_str())
        .bind(attachment.to_string())
        .bind(source.name())
        .bind(last + 1)
        .bind(seq)
        .bind(url)
        .bind(path)
        .bind(state.name())
        .bind(now.0)
        .execute(&mut *conn)
        .await?;
    tell(conn, id, (attachment, source, path, state, None), now).await
}

/// Adds the event that tells how far a file has come: what changes of a receipt, and which one it is.
async fn tell(
    conn: &mut Conn,
    id: &SessionId,
    (attachment, source, path, state, error): (AttachmentId, Source, Option<&str>, Delivery, Option<&str>),
    now: Moment,
) -> Result<(), DbError> {
    let data = serde_json::json!({
        "attachment_id": attachment.to_string(),
        "source": source.name(),
        "path": path,
        "state": state.name(),
        "error": error,
    });
    add_event(conn, id, "receipt", &data.to_string(), now).await
}

fn row_of(row: &Row) -> Result<FileRow, DbError> {
    let id: &str = row.try_get("attachment_id")?;
    let state: &str = row.try_get("state")?;
    Ok(FileRow {
        attachment_id: id.parse().map_err(|_| DbError::Corrupt("session_attachments.attachment_id"))?,
        source: source(row)?,
        seq: row.try_get("seq")?,
        url: row.try_get("url")?,
        path: row.try_get("path")?,
        state: Delivery::from_name(state).ok_or(DbError::Corrupt("session_attachments.state"))?,
        error: row.try_get("error")?,
        at: Moment(row.try_get("at")?),
    })
}
