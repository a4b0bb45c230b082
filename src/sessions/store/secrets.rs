//! The SQL of a session's secrets, which are kept encrypted.

use sqlx::Row as _;

use crate::db::{Conn, DbError};
use crate::id::SessionId;
use crate::sessions::secrets::Sealed;

const INSERT: &str = "INSERT INTO session_secrets (session_id, name, key_id, sealed) VALUES ($1, $2, $3, $4)";
const SELECT: &str = "SELECT name, key_id, sealed FROM session_secrets WHERE session_id = $1 ORDER BY name";
const DELETE: &str = "DELETE FROM session_secrets WHERE session_id = $1";

/// Keeps a secret of a session.
pub(in crate::sessions) async fn add_secret(
    conn: &mut Conn,
    id: &SessionId,
    secret: &Sealed,
) -> Result<(), DbError> {
    sqlx::query(INSERT)
        .bind(id.as_str())
        .bind(secret.name.as_str())
        .bind(secret.key_id.as_str())
        .bind(secret.sealed.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

/// The secrets of a session.
pub(in crate::sessions) async fn secrets(conn: &mut Conn, id: &SessionId) -> Result<Vec<Sealed>, DbError> {
    let rows = sqlx::query(SELECT).bind(id.as_str()).fetch_all(conn).await?;
    let sealed = |row: &crate::db::Row| {
        Ok(Sealed {
            name: row.try_get("name")?,
            key_id: row.try_get("key_id")?,
            sealed: row.try_get("sealed")?,
        })
    };
    rows.iter().map(sealed).collect()
}

/// Removes the secrets of a session that is over.
pub(in crate::sessions) async fn remove_secrets(conn: &mut Conn, id: &SessionId) -> Result<(), DbError> {
    sqlx::query(DELETE).bind(id.as_str()).execute(conn).await?;
    Ok(())
}
