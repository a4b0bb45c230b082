//! The SQL of structured outputs.

use sqlx::Row as _;

use crate::db::{Conn, DbError};
use crate::id::SessionId;
use crate::sessions::structured::{Demand, Provided};

const INSERT: &str =
    "INSERT INTO structured_outputs (session_id, schema, required, is_final) VALUES ($1, $2, $3, 0)";
const SELECT: &str = "SELECT schema, required, CASE WHEN output IS NULL THEN 0 ELSE 1 END AS given \
    FROM structured_outputs WHERE session_id = $1";
const SET: &str = "UPDATE structured_outputs SET output = $1, is_final = $2 WHERE session_id = $3";

/// Notes that a session wants structured output.
pub(in crate::sessions) async fn add_demand(
    conn: &mut Conn,
    id: &SessionId,
    demand: &Demand,
) -> Result<(), DbError> {
    sqlx::query(INSERT)
        .bind(id.as_str())
        .bind(demand.schema.to_string())
        .bind(i64::from(demand.required))
        .execute(conn)
        .await?;
    Ok(())
}

/// What structured output a session wants, and whether it has one.
pub(in crate::sessions) async fn demand(
    conn: &mut Conn,
    id: &SessionId,
) -> Result<Option<(Demand, bool)>, DbError> {
    let Some(row) = sqlx::query(SELECT).bind(id.as_str()).fetch_optional(conn).await? else {
        return Ok(None);
    };
    let schema = serde_json::from_str(row.try_get("schema")?)
        .map_err(|_| DbError::Corrupt("structured_outputs.schema"))?;
    let required = row.try_get::<i64, _>("required")? != 0;
    Ok(Some((Demand { schema, required }, row.try_get::<i64, _>("given")? != 0)))
}

/// Keeps the newest structured output of a session.
pub(in crate::sessions) async fn set_structured_output(
    conn: &mut Conn,
    id: &SessionId,
    provided: &Provided,
) -> Result<(), DbError> {
    sqlx::query(SET)
        .bind(provided.output.to_string())
        .bind(i64::from(provided.is_final))
        .bind(id.as_str())
        .execute(conn)
        .await?;
    Ok(())
}
