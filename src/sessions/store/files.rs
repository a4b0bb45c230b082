//! The SQL of a session's files: what was handed in, what came back, and how far each came.

use sqlx::Row as _;

use super::source;
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
    FROM session_attachments WHERE session_id = $1 ORDER BY position";
const LAST: &str = "SELECT COALESCE(MAX(position), 0) AS last FROM session_attachments WHERE session_id = $1";
const INSERT: &str = "INSERT INTO session_attachments \
    (session_id, attachment_id, source, position, seq, url, path, state, at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const SET_DELIVERY: &str = "UPDATE session_attachments SET state = $1, path = $2, error = $3, at = $4 \
    WHERE session_id = $5 AND attachment_id = $6 AND source = 'user'";
const FORGET: &str = "UPDATE session_attachments SET state = 'pending', at = $1 \
    WHERE session_id = $2 AND source = 'user'";

/// Every file of a session, in the order in which they came.
pub(in crate::sessions) async fn files(conn: &mut Conn, id: &SessionId) -> Result<Vec<FileRow>, DbError> {
    let rows = sqlx::query(SELECT).bind(id.as_str()).fetch_all(conn).await?;
    rows.iter().map(file).collect()
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
        .execute(conn)
        .await?;
    Ok(())
}

/// The workspace is not there: every file handed in waits for its delivery again.
pub(in crate::sessions) async fn forget_deliveries(
    conn: &mut Conn,
    id: &SessionId,
    now: Moment,
) -> Result<(), DbError> {
    sqlx::query(FORGET).bind(now.0).bind(id.as_str()).execute(conn).await?;
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
        .execute(conn)
        .await?;
    Ok(())
}

fn file(row: &Row) -> Result<FileRow, DbError> {
    let id: &str = row.try_get("attachment_id")?;
    let state: &str = row.try_get("state")?;
    let states = [Delivery::Pending, Delivery::Delivered, Delivery::Failed];
    Ok(FileRow {
        attachment_id: id.parse().map_err(|_| DbError::Corrupt("session_attachments.attachment_id"))?,
        source: source(row)?,
        seq: row.try_get("seq")?,
        url: row.try_get("url")?,
        path: row.try_get("path")?,
        state: states
            .into_iter()
            .find(|known| known.name() == state)
            .ok_or(DbError::Corrupt("session_attachments.state"))?,
        error: row.try_get("error")?,
        at: Moment(row.try_get("at")?),
    })
}
