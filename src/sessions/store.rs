//! The SQL of sessions: the rows themselves. Messages, files and the queue are in files of their
//! own below this one.
//!
//! Every function takes an open connection or transaction and does one thing; what belongs
//! together is put into one transaction by the caller.

mod events;
mod files;
mod list;
mod messages;
mod queue;
mod secrets;
mod structured;
mod workspaces;

use sqlx::Row as _;

use super::structured::MAX_OUTPUT;
use super::{Api, Session, Status, StatusDetail};
use crate::attachments::Source;
use crate::clock::Moment;
use crate::db::{Conn, DbError, Row};
use crate::id::{OrgId, SessionId};

pub(super) use events::{EventRow, add_event, event_after, last_event, tell_status};
pub(super) use files::{FileRow, add_input, add_output, file, files, forget_deliveries, set_delivery};
pub(super) use list::{count, list};
pub(super) use messages::{NewMessage, add_message, after, all, at, between, earlier, last_position};
pub(super) use queue::{
    Claim, Held, HeldRow, Settled, begin_turn, claim, claim_at_once, end_unclaimed, enough_for_a_turn, fence,
    held, is_held, park, request_stop, set_agent_session, settle, suspend_idle, take_back, take_back_all,
    take_back_turn, take_up, waiting, waits,
};
pub(super) use secrets::{add_secret, remove_secrets, secrets};
pub(super) use structured::{add_demand, demand, set_structured_output};
pub(super) use workspaces::{abandoned_workspaces, forget_workspace};

/// How a read session is judged: one that has stood still since this moment is past the idle limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdleSince(pub Moment);

/// What only the room itself needs to know of a session.
#[derive(Debug, Clone)]
pub(super) struct Inner {
    pub status: Status,
    pub detail: Option<StatusDetail>,
    pub inbox_seq: i64,
    pub done_seq: i64,
    pub stop_requested: bool,
}

const INSERT: &str = "INSERT INTO sessions (id, org_id, created_by, created_by_email, \
    title, tags, fields, agent, status, status_at, api_version, idempotency_key, playbook_id, snapshot_id, \
    inbox_seq, done_seq, epoch, attempts, rests, not_before, created_at, updated_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, 0, 0, 0, 0, $10, $10, $10)";
const GET: &str = "WHERE org_id = $1 AND id = $2";
const EQUAL: &str = "WHERE org_id = $1 AND created_by = $2 AND idempotency_key = $3 AND created_at >= $4 \
    AND status NOT IN ('exit', 'error') AND stop_requested_at IS NULL \
    ORDER BY created_at DESC, id DESC LIMIT 1";
const INNER: &str = "SELECT status, status_detail, inbox_seq, done_seq, stop_requested_at FROM sessions \
    WHERE org_id = $1 AND id = $2";
/// A change, so that on any engine nobody else changes the row until the transaction ends.
const LOCK: &str = "UPDATE sessions SET updated_at = updated_at WHERE org_id = $1 AND id = $2";
const SET_TAGS: &str = "UPDATE sessions SET tags = $1, updated_at = $2 WHERE id = $3";
const CLEAR_TAGS: &str = "DELETE FROM session_tags WHERE session_id = $1";
const ADD_TAG: &str = "INSERT INTO session_tags (session_id, tag) VALUES ($1, $2)";
const ARCHIVE: &str = "UPDATE sessions SET archived_at = COALESCE(archived_at, $1), updated_at = $1 \
    WHERE id = $2";
const TAKE_MESSAGE: &str = "UPDATE sessions SET inbox_seq = $1, status = $2, status_detail = $3, \
    status_at = CASE WHEN status = $2 AND COALESCE(status_detail, '') = COALESCE($3, '') \
    THEN status_at ELSE $4 END, \
    attempts = CASE WHEN status = 'suspended' THEN 0 ELSE attempts END, \
    not_before = CASE WHEN inbox_seq > done_seq AND status <> 'suspended' THEN not_before ELSE $4 END, \
    updated_at = $4 WHERE id = $5";

/// Inserts a session with its tags and the fields that are kept as sent, and the event that tells of it; its messages
/// come after it.
pub(super) async fn insert(
    conn: &mut Conn,
    session: &Session,
    fields: &serde_json::Map<String, serde_json::Value>,
    idempotency_key: Option<&str>,
) -> Result<(), DbError> {
    sqlx::query(INSERT)
        .bind(session.id.as_str())
        .bind(session.org_id.as_str())
        .bind(session.created_by.as_str())
        .bind(session.created_by_email.as_deref())
        .bind(session.title.as_deref())
        .bind(serde_json::json!(session.tags).to_string())
        .bind(serde_json::json!(fields).to_string())
        .bind(session.agent.as_str())
        .bind(session.status.name())
        .bind(session.created_at.0)
        .bind(api_name(session.api))
        .bind(idempotency_key)
        .bind(session.playbook_id.as_deref())
        .bind(session.snapshot_id.as_deref())
        .execute(&mut *conn)
        .await?;
    set_tags(conn, &session.id, &session.tags, session.created_at).await?;
    tell_status(conn, &session.id, session.created_at).await
}

/// A session of an organisation.
pub(super) async fn get(
    conn: &mut Conn,
    org: &OrgId,
    id: &SessionId,
    idle: IdleSince,
) -> Result<Option<Session>, DbError> {
    let sql = sqlx::AssertSqlSafe(columns(MAX_OUTPUT) + GET);
    let row = sqlx::query(sql).bind(org.as_str()).bind(id.as_str()).fetch_optional(conn).await?;
    row.map(|row| session(&row, idle)).transpose()
}

/// The newest session that an equal request of the same principal made, if it can still be used.
pub(super) async fn find_equal(
    conn: &mut Conn,
    org: &OrgId,
    created_by: &str,
    idempotency_key: &str,
    since: Moment,
    idle: IdleSince,
) -> Result<Option<Session>, DbError> {
    let row = sqlx::query(sqlx::AssertSqlSafe(columns(MAX_OUTPUT) + EQUAL))
        .bind(org.as_str())
        .bind(created_by)
        .bind(idempotency_key)
        .bind(since.0)
        .fetch_optional(conn)
        .await?;
    row.map(|row| session(&row, idle)).transpose()
}

/// Keeps a session as it is until the transaction ends, so that what is then read of it counts.
pub(super) async fn lock(conn: &mut Conn, org: &OrgId, id: &SessionId) -> Result<(), DbError> {
    sqlx::query(LOCK).bind(org.as_str()).bind(id.as_str()).execute(conn).await?;
    Ok(())
}

/// What the room needs to know before it changes a session; within a change after [`lock`].
pub(super) async fn inner(conn: &mut Conn, org: &OrgId, id: &SessionId) -> Result<Option<Inner>, DbError> {
    let row = sqlx::query(INNER).bind(org.as_str()).bind(id.as_str()).fetch_optional(conn).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Inner {
        status: status(&row)?,
        detail: detail(&row)?,
        inbox_seq: row.try_get("inbox_seq")?,
        done_seq: row.try_get("done_seq")?,
        stop_requested: row.try_get::<Option<i64>, _>("stop_requested_at")?.is_some(),
    }))
}

/// Replaces the tags.
pub(super) async fn set_tags(
    conn: &mut Conn,
    id: &SessionId,
    tags: &[String],
    now: Moment,
) -> Result<(), DbError> {
    let all = serde_json::json!(tags).to_string();
    sqlx::query(SET_TAGS).bind(all).bind(now.0).bind(id.as_str()).execute(&mut *conn).await?;
    sqlx::query(CLEAR_TAGS).bind(id.as_str()).execute(&mut *conn).await?;
    for tag in tags {
        sqlx::query(ADD_TAG).bind(id.as_str()).bind(tag.as_str()).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Puts a session away.
pub(super) async fn archive(conn: &mut Conn, id: &SessionId, now: Moment) -> Result<(), DbError> {
    sqlx::query(ARCHIVE).bind(now.0).bind(id.as_str()).execute(conn).await?;
    Ok(())
}

/// Notes that the session has a message of the number `inbox_seq`, and where it stands now. It
/// joins the queue unless it is in it.
pub(super) async fn take_message(
    conn: &mut Conn,
    id: &SessionId,
    inbox_seq: i64,
    status: Status,
    detail: Option<StatusDetail>,
    now: Moment,
) -> Result<(), DbError> {
    sqlx::query(TAKE_MESSAGE)
        .bind(inbox_seq)
        .bind(status.name())
        .bind(detail.map(StatusDetail::name))
        .bind(now.0)
        .bind(id.as_str())
        .execute(&mut *conn)
        .await?;
    tell_status(conn, id, now).await
}

/// What a session is read from; a structured output of more characters than `longest_output` is left out.
fn columns(longest_output: usize) -> String {
    format!(
        "SELECT id, org_id, created_by, created_by_email, title, tags, playbook_id, snapshot_id, agent, status, status_detail, \
         status_at, api_version, archived_at, created_at, updated_at, \
         (SELECT o.output FROM structured_outputs o WHERE o.session_id = sessions.id \
         AND LENGTH(o.output) <= {longest_output}) AS structured_output FROM sessions "
    )
}

fn session(row: &Row, idle: IdleSince) -> Result<Session, DbError> {
    let corrupt = DbError::Corrupt;
    let status_at = Moment(row.try_get("status_at")?);
    let output: Option<String> = row.try_get("structured_output")?;
    Ok(Session {
        id: session_id(row, "id")?,
        org_id: org_id(row)?,
        created_by: row.try_get("created_by")?,
        created_by_email: row.try_get("created_by_email")?,
        title: row.try_get("title")?,
        tags: serde_json::from_str(row.try_get("tags")?).map_err(|_| corrupt("sessions.tags"))?,
        playbook_id: row.try_get("playbook_id")?,
        snapshot_id: row.try_get("snapshot_id")?,
        agent: row.try_get("agent")?,
        status: status(row)?,
        status_detail: detail(row)?,
        status_at,
        idle_limit_passed: status_at <= idle.0,
        structured_output: output
            .map(|text| serde_json::from_str(&text).map_err(|_| corrupt("structured_outputs.output")))
            .transpose()?,
        archived: row.try_get::<Option<i64>, _>("archived_at")?.is_some(),
        api: match row.try_get("api_version")? {
            "v1" => Api::V1,
            "v3" => Api::V3,
            _ => return Err(corrupt("sessions.api_version")),
        },
        created_at: Moment(row.try_get("created_at")?),
        updated_at: Moment(row.try_get("updated_at")?),
    })
}

fn api_name(api: Api) -> &'static str {
    match api {
        Api::V1 => "v1",
        Api::V3 => "v3",
    }
}

fn source(row: &Row) -> Result<Source, DbError> {
    match row.try_get("source")? {
        "user" => Ok(Source::User),
        "devin" => Ok(Source::Devin),
        _ => Err(DbError::Corrupt("source")),
    }
}

fn status(row: &Row) -> Result<Status, DbError> {
    Status::from_name(row.try_get("status")?).ok_or(DbError::Corrupt("sessions.status"))
}

fn detail(row: &Row) -> Result<Option<StatusDetail>, DbError> {
    let name: Option<String> = row.try_get("status_detail")?;
    name.map(|name| StatusDetail::from_name(&name).ok_or(DbError::Corrupt("sessions.status_detail")))
        .transpose()
}

fn session_id(row: &Row, column: &str) -> Result<SessionId, DbError> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|_| DbError::Corrupt("sessions.id"))
}

fn org_id(row: &Row) -> Result<OrgId, DbError> {
    let text: &str = row.try_get("org_id")?;
    text.parse().map_err(|_| DbError::Corrupt("sessions.org_id"))
}
