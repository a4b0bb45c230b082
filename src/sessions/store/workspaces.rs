//! The SQL of what is left of sessions that are over: their workspaces.

use super::session_id;
use crate::clock::Moment;
use crate::db::{Conn, DbError};
use crate::id::SessionId;

const ABANDONED: &str = "SELECT id FROM sessions WHERE ended_at IS NOT NULL AND ended_at <= $1 AND workspace_removed_at IS NULL \
    ORDER BY ended_at LIMIT 100";
const FORGET_WORKSPACE: &str = "UPDATE sessions SET workspace_removed_at = $1 WHERE id = $2";

/// Sessions that are over since `before` or longer and whose workspace may still be there.
pub(in crate::sessions) async fn abandoned_workspaces(
    conn: &mut Conn,
    before: Moment,
) -> Result<Vec<SessionId>, DbError> {
    let rows = sqlx::query(ABANDONED).bind(before.0).fetch_all(conn).await?;
    rows.iter().map(|row| session_id(row, "id")).collect()
}

/// Notes that a session's workspace was removed.
pub(in crate::sessions) async fn forget_workspace(
    conn: &mut Conn,
    id: &SessionId,
    now: Moment,
) -> Result<(), DbError> {
    sqlx::query(FORGET_WORKSPACE).bind(now.0).bind(id.as_str()).execute(conn).await?;
    Ok(())
}
