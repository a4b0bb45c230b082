//! The SQL by which workers take sessions, keep them, and let go of them.
//!
//! A claim raises the session's epoch and holds until it is given up or taken back; `worker_id` says
//! whose it is. Nothing here compares `lease_until` with a clock: that it changes shows that the
//! holder lives. Every write of a worker comes after [`fence`] in the same transaction, so that a worker whose session was claimed by
//! another, or ended, writes nothing. `fence` changes the row, which on any engine also keeps
//! others from changing it until the transaction ends.

use sqlx::Row as _;

use super::{detail, org_id, remove_secrets, session_id, status, tell_status};
use crate::clock::Moment;
use crate::db::{Conn, DbError, Row};
use crate::id::{OrgId, SessionId};
use crate::sessions::{Status, StatusDetail};

/// A session that a worker has taken.
#[derive(Debug, Clone)]
pub(in crate::sessions) struct Claim {
    pub id: SessionId,
    pub org_id: OrgId,
    pub agent: String,
    /// What fences this worker's writes.
    pub epoch: i64,
    /// The newest message when it was taken.
    pub newest_seq: i64,
    /// The last message that this claim is to handle.
    pub inbox_seq: i64,
    /// The last message that was handled.
    pub done_seq: i64,
    /// Turns begun for these messages and not ended.
    pub attempts: i64,
    /// How many of them ended in a failure that was told.
    pub told_attempts: i64,
    /// Whether a turn for these messages was begun and did not come to its end.
    pub turn_open: bool,
    /// What the agent called its conversation, if it had one that can be taken up again.
    pub agent_session: Option<String>,
    /// Claims in a row that failed for reasons of the service's own.
    pub rests: i64,
    /// Whether it was taken only to be ended.
    pub stop_requested: bool,
}

/// What a fenced write finds.
#[derive(Debug, Clone, Copy)]
pub(in crate::sessions) struct Held {
    /// The newest message.
    pub inbox_seq: i64,
    /// Whether somebody asked for the session's end.
    pub stop_requested: bool,
    /// Where it stands.
    pub status: Status,
    /// More about that.
    pub detail: Option<StatusDetail>,
    /// Turns begun and not ended.
    pub attempts: i64,
}

/// A claim as anybody sees it.
#[derive(Debug, Clone)]
pub(in crate::sessions) struct HeldRow {
    pub id: SessionId,
    /// Whose it is.
    pub worker: String,
    pub epoch: i64,
    /// Changes whenever it is renewed.
    pub lease_until: Option<i64>,
    /// Whether somebody asked for the session's end.
    pub stop_requested: bool,
}

impl HeldRow {
    /// Whether it was neither renewed nor given up between two looks.
    pub fn is_same_claim(&self, later: &Self) -> bool {
        (&self.worker, self.epoch, self.lease_until) == (&later.worker, later.epoch, later.lease_until)
    }
}

/// Where a worker leaves a session.
#[derive(Debug, Clone, Copy)]
pub(in crate::sessions) struct Settled {
    pub status: Status,
    pub detail: Option<StatusDetail>,
    pub done_seq: i64,
    pub attempts: i64,
    pub told_attempts: i64,
    pub rests: i64,
    pub not_before: Moment,
}

/// The two conditions on what is still to be done are written as the index `sessions_claimable` has
/// them, so that sessions at rest cost nothing.
const NEXT: &str = "SELECT id, org_id, agent, status, status_detail, epoch, inbox_seq, done_seq, attempts, rests, \
    told_attempts, turn_open, agent_session, stop_requested_at FROM sessions WHERE ended_at IS NULL AND not_before <= $1 \
    AND worker_id IS NULL \
    AND (stop_requested_at IS NOT NULL OR inbox_seq > done_seq) \
    AND (stop_requested_at IS NOT NULL OR status IN ('new', 'claimed', 'running', 'resuming')) \
    AND (stop_requested_at IS NOT NULL OR \
    (SELECT COUNT(*) FROM sessions r WHERE r.org_id = sessions.org_id AND r.worker_id IS NOT NULL \
        AND r.parked_at IS NULL) < $2) \
    ORDER BY not_before, id LIMIT 1";
/// Bytes of the messages that one turn takes; what is behind them waits for the next turn, so that
/// the memory for one turn's prompt does not grow with what waits.
const TURN_BYTES: i64 = 1 << 20;
const LENGTHS: &str = "SELECT seq, OCTET_LENGTH(message) AS bytes FROM session_messages \
    WHERE session_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq";
const TAKE: &str = "UPDATE sessions SET epoch = $1, worker_id = $2, lease_until = $3, \
    parked_at = NULL, status = $4, status_detail = $5, \
    status_at = CASE WHEN status = $4 THEN status_at ELSE $6 END, \
    updated_at = CASE WHEN status = $4 THEN updated_at ELSE $6 END WHERE id = $7 AND epoch = $8";
const FENCE: &str = "UPDATE sessions SET lease_until = $1 \
    WHERE id = $2 AND epoch = $3 AND ended_at IS NULL AND worker_id IS NOT NULL";
/// The condition is that of [`claim`], among the others of the organisation: an agent that lives gets no precedence.
const TAKE_UP: &str = "UPDATE sessions SET parked_at = NULL, status = 'running', status_detail = 'working' \
    WHERE id = $1 AND (SELECT COUNT(*) FROM sessions r WHERE r.org_id = sessions.org_id AND r.id <> sessions.id \
        AND r.worker_id IS NOT NULL AND r.parked_at IS NULL) < $2";
const PARK: &str = "UPDATE sessions SET status = $1, status_detail = $2, status_at = $3, updated_at = $3, \
    done_seq = $4, attempts = 0, told_attempts = 0, turn_open = 0, rests = 0, not_before = $3, parked_at = $3 WHERE id = $5";
const WAITING: &str = "SELECT inbox_seq, stop_requested_at FROM sessions WHERE id = $1 AND epoch = $2";
const SET_AGENT_SESSION: &str = "UPDATE sessions SET agent_session = $1 WHERE id = $2";
const HELD: &str = "SELECT inbox_seq, stop_requested_at, status, status_detail, attempts \
    FROM sessions WHERE id = $1";
const BEGIN: &str = "UPDATE sessions SET status = 'running', status_detail = 'working', status_at = $1, \
    updated_at = $1, attempts = attempts + 1, turn_open = 1 WHERE id = $2";
const TAKE_BACK_TURN: &str = "UPDATE sessions SET attempts = $1, turn_open = $2 WHERE id = $3";
const SETTLE: &str = "UPDATE sessions SET status = $1, status_detail = $2, status_at = $3, updated_at = $3, \
    done_seq = $4, attempts = $5, not_before = $6, ended_at = $7, rests = $8, told_attempts = $9, \
    turn_open = CASE WHEN done_seq = $4 THEN turn_open ELSE 0 END, worker_id = NULL, \
    lease_until = NULL, parked_at = NULL WHERE id = $10";
const REQUEST_STOP: &str =
    "UPDATE sessions SET stop_requested_at = COALESCE(stop_requested_at, $1), not_before = $1 WHERE id = $2";
const END_UNCLAIMED: &str = "UPDATE sessions SET status = 'exit', status_detail = 'user_request', \
    status_at = $1, updated_at = $1, ended_at = $1, epoch = epoch + 1, worker_id = NULL, lease_until = NULL \
    WHERE id = $2 AND ended_at IS NULL AND attempts = 0 AND turn_open = 0 \
    AND worker_id IS NULL";
const SUSPEND_IDLE: &str = "UPDATE sessions SET status = 'suspended', status_detail = 'inactivity', \
    status_at = $1, updated_at = $1 WHERE status = 'running' \
    AND status_detail IN ('waiting_for_user', 'finished') \
    AND status_at <= $2 AND inbox_seq = done_seq AND worker_id IS NULL AND stop_requested_at IS NULL \
    RETURNING id";
const ALL_HELD: &str = "SELECT id, epoch, worker_id, lease_until, stop_requested_at FROM sessions \
    WHERE worker_id IS NOT NULL";
const TAKE_BACK: &str = "UPDATE sessions SET worker_id = NULL, lease_until = NULL, parked_at = NULL, epoch = epoch + 1 \
    WHERE id = $1 AND epoch = $2 AND lease_until = $3";
const TAKE_BACK_ALL: &str = "UPDATE sessions SET worker_id = NULL, lease_until = NULL, parked_at = NULL, epoch = epoch + 1 \
    WHERE worker_id = $1";
const CLAIM_AT_ONCE: &str = "UPDATE sessions SET not_before = $1 WHERE ended_at IS NULL \
    AND (stop_requested_at IS NOT NULL OR inbox_seq > done_seq) \
    AND (stop_requested_at IS NOT NULL OR status IN ('new', 'claimed', 'running', 'resuming')) AND not_before > $2";

/// Whether [`claim`] would find a session to take.
pub(in crate::sessions) async fn waits(
    conn: &mut Conn,
    running_per_org: usize,
    now: Moment,
) -> Result<bool, DbError> {
    Ok(next(conn, running_per_org, now).await?.is_some())
}

/// Takes the session that has waited longest, if one waits whose organisation may run one more, or
/// that is only to be ended: that waits for nobody. So none but these are taken where
/// `running_per_org` is 0.
pub(in crate::sessions) async fn claim(
    conn: &mut Conn,
    worker: &str,
    running_per_org: usize,
    now: Moment,
    lease_until: Moment,
) -> Result<Option<Claim>, DbError> {
    let Some(row) = next(conn, running_per_org, now).await? else { return Ok(None) };
    let before: i64 = row.try_get("epoch")?;
    let (id, newest_seq, done_seq) =
        (session_id(&row, "id")?, row.try_get("inbox_seq")?, row.try_get("done_seq")?);
    let claim = Claim {
        inbox_seq: enough_for_a_turn(conn, &id, done_seq, newest_seq).await?,
        id,
        org_id: org_id(&row)?,
        agent: row.try_get("agent")?,
        epoch: before + 1,
        newest_seq,
        done_seq,
        attempts: row.try_get("attempts")?,
        rests: row.try_get("rests")?,
        told_attempts: row.try_get("told_attempts")?,
        turn_open: row.try_get::<i64, _>("turn_open")? != 0,
        agent_session: row.try_get("agent_session")?,
        stop_requested: row.try_get::<Option<i64>, _>("stop_requested_at")?.is_some(),
    };
    let (status, detail) = match (status(&row)?, detail(&row)?) {
        (Status::New, _) => (Status::Claimed, None),
        unchanged => unchanged,
    };
    let taken = sqlx::query(TAKE)
        .bind(claim.epoch)
        .bind(worker)
        .bind(lease_until.0)
        .bind(status.name())
        .bind(detail.map(StatusDetail::name))
        .bind(now.0)
        .bind(claim.id.as_str())
        .bind(before)
        .execute(&mut *conn)
        .await?;
    if taken.rows_affected() != 1 {
        return Ok(None);
    }
    tell_status(conn, &claim.id, now).await?;
    Ok(Some(claim))
}

/// Renews a claim's lease and says what is new about its session; `None` where the claim is lost.
pub(in crate::sessions) async fn fence(
    conn: &mut Conn,
    claim: &Claim,
    lease_until: Moment,
) -> Result<Option<Held>, DbError> {
    let id = claim.id.as_str();
    let held = sqlx::query(FENCE).bind(lease_until.0).bind(id).bind(claim.epoch).execute(&mut *conn).await?;
    if held.rows_affected() != 1 {
        return Ok(None);
    }
    let row = sqlx::query(HELD).bind(id).fetch_one(conn).await?;
    Ok(Some(Held {
        inbox_seq: row.try_get("inbox_seq")?,
        stop_requested: row.try_get::<Option<i64>, _>("stop_requested_at")?.is_some(),
        status: status(&row)?,
        detail: detail(&row)?,
        attempts: row.try_get("attempts")?,
    }))
}

/// The agent is about to start. After [`fence`].
pub(in crate::sessions) async fn begin_turn(
    conn: &mut Conn,
    id: &SessionId,
    now: Moment,
) -> Result<(), DbError> {
    sqlx::query(BEGIN).bind(now.0).bind(id.as_str()).execute(&mut *conn).await?;
    tell_status(conn, id, now).await
}

/// The agent could not be started after all: as if [`begin_turn`] had not been called in this claim. After [`fence`].
pub(in crate::sessions) async fn take_back_turn(conn: &mut Conn, claim: &Claim) -> Result<(), DbError> {
    sqlx::query(TAKE_BACK_TURN)
        .bind(claim.attempts)
        .bind(i64::from(claim.turn_open))
        .bind(claim.id.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

/// Notes what the agent calls its conversation. After [`fence`].
pub(in crate::sessions) async fn set_agent_session(
    conn: &mut Conn,
    id: &SessionId,
    conversation: &str,
) -> Result<(), DbError> {
    sqlx::query(SET_AGENT_SESSION).bind(conversation).bind(id.as_str()).execute(conn).await?;
    Ok(())
}

/// Leaves a session without letting go of it: its agent lives and waits for a message. After [`fence`].
pub(in crate::sessions) async fn park(
    conn: &mut Conn,
    id: &SessionId,
    to: &Settled,
    now: Moment,
) -> Result<(), DbError> {
    sqlx::query(PARK)
        .bind(to.status.name())
        .bind(to.detail.map(StatusDetail::name))
        .bind(now.0)
        .bind(to.done_seq)
        .bind(id.as_str())
        .execute(&mut *conn)
        .await?;
    tell_status(conn, id, now).await
}

/// The newest message of a parked session, and whether somebody wants its end; `None` where the claim is lost.
pub(in crate::sessions) async fn waiting(
    conn: &mut Conn,
    claim: &Claim,
) -> Result<Option<(i64, bool)>, DbError> {
    let row = sqlx::query(WAITING).bind(claim.id.as_str()).bind(claim.epoch).fetch_optional(conn).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some((row.try_get("inbox_seq")?, row.try_get::<Option<i64>, _>("stop_requested_at")?.is_some())))
}

/// Takes a parked session up again, if its organisation may run one more; whether it did. After [`fence`].
pub(in crate::sessions) async fn take_up(
    conn: &mut Conn,
    id: &SessionId,
    running_per_org: usize,
    now: Moment,
) -> Result<bool, DbError> {
    let running_per_org = i64::try_from(running_per_org).unwrap_or(i64::MAX);
    let taken = sqlx::query(TAKE_UP).bind(id.as_str()).bind(running_per_org).execute(&mut *conn).await?;
    let taken = taken.rows_affected() == 1;
    if taken {
        tell_status(conn, id, now).await?;
    }
    Ok(taken)
}

/// Leaves a session and lets go of it; the secrets of one that is over are removed. After [`fence`].
pub(in crate::sessions) async fn settle(
    conn: &mut Conn,
    id: &SessionId,
    to: &Settled,
    now: Moment,
) -> Result<(), DbError> {
    sqlx::query(SETTLE)
        .bind(to.status.name())
        .bind(to.detail.map(StatusDetail::name))
        .bind(now.0)
        .bind(to.done_seq)
        .bind(to.attempts)
        .bind(to.not_before.0)
        .bind(to.status.is_over().then_some(now.0))
        .bind(to.rests)
        .bind(to.told_attempts)
        .bind(id.as_str())
        .execute(&mut *conn)
        .await?;
    if to.status.is_over() {
        remove_secrets(conn, id).await?;
    }
    tell_status(conn, id, now).await
}

/// Notes that somebody wants the session to end.
pub(in crate::sessions) async fn request_stop(
    conn: &mut Conn,
    id: &SessionId,
    now: Moment,
) -> Result<(), DbError> {
    sqlx::query(REQUEST_STOP).bind(now.0).bind(id.as_str()).execute(conn).await?;
    Ok(())
}

/// Ends a session that no worker holds and of which no turn was cut short; whether it was one.
pub(in crate::sessions) async fn end_unclaimed(
    conn: &mut Conn,
    id: &SessionId,
    now: Moment,
) -> Result<bool, DbError> {
    let ended = sqlx::query(END_UNCLAIMED).bind(now.0).bind(id.as_str()).execute(&mut *conn).await?;
    let ended = ended.rows_affected() == 1;
    if ended {
        remove_secrets(conn, id).await?;
    }
    tell_status(conn, id, now).await?;
    Ok(ended)
}

/// Suspends the sessions that have waited for a message since `idle_since` or longer.
pub(in crate::sessions) async fn suspend_idle(
    conn: &mut Conn,
    idle_since: Moment,
    now: Moment,
) -> Result<u64, DbError> {
    let rows = sqlx::query(SUSPEND_IDLE).bind(now.0).bind(idle_since.0).fetch_all(&mut *conn).await?;
    for row in &rows {
        tell_status(conn, &session_id(row, "id")?, now).await?;
    }
    Ok(rows.len() as u64)
}

/// Every claim there is.
pub(in crate::sessions) async fn held(conn: &mut Conn) -> Result<Vec<HeldRow>, DbError> {
    let rows = sqlx::query(ALL_HELD).fetch_all(conn).await?;
    let held = |row: &Row| {
        Ok(HeldRow {
            id: session_id(row, "id")?,
            worker: row.try_get("worker_id")?,
            epoch: row.try_get("epoch")?,
            lease_until: row.try_get("lease_until")?,
            stop_requested: row.try_get::<Option<i64>, _>("stop_requested_at")?.is_some(),
        })
    };
    rows.iter().map(held).collect()
}

/// Whether a worker has the session.
pub(in crate::sessions) async fn is_held(conn: &mut Conn, id: &SessionId) -> Result<bool, DbError> {
    let sql = "SELECT COUNT(*) FROM sessions WHERE id = $1 AND worker_id IS NOT NULL";
    Ok(sqlx::query_scalar::<_, i64>(sql).bind(id.as_str()).fetch_one(conn).await? > 0)
}

/// Takes a session from its worker, if the claim is still as it was seen; whether it was.
pub(in crate::sessions) async fn take_back(conn: &mut Conn, seen: &HeldRow) -> Result<bool, DbError> {
    let taken = sqlx::query(TAKE_BACK)
        .bind(seen.id.as_str())
        .bind(seen.epoch)
        .bind(seen.lease_until)
        .execute(conn)
        .await?;
    Ok(taken.rows_affected() == 1)
}

/// Takes every session from a worker that is dead; how many they were.
pub(in crate::sessions) async fn take_back_all(conn: &mut Conn, worker: &str) -> Result<u64, DbError> {
    Ok(sqlx::query(TAKE_BACK_ALL).bind(worker).execute(conn).await?.rows_affected())
}

/// Lets sessions be claimed that wait for a moment after `latest`, which none can have been told to
/// wait for: the clock was set back meanwhile.
pub(in crate::sessions) async fn claim_at_once(
    conn: &mut Conn,
    latest: Moment,
    now: Moment,
) -> Result<u64, DbError> {
    Ok(sqlx::query(CLAIM_AT_ONCE).bind(now.0).bind(latest.0).execute(conn).await?.rows_affected())
}

/// The last of the messages behind `done` that one turn takes: as many as have [`TURN_BYTES`]
/// together, and at least one.
pub(in crate::sessions) async fn enough_for_a_turn(
    conn: &mut Conn,
    id: &SessionId,
    done: i64,
    newest: i64,
) -> Result<i64, DbError> {
    let rows = sqlx::query(LENGTHS).bind(id.as_str()).bind(done).bind(newest).fetch_all(conn).await?;
    let (mut last, mut total) = (None, 0);
    for row in rows {
        total += row.try_get::<i64, _>("bytes")?;
        if last.is_some() && total > TURN_BYTES {
            break;
        }
        last = Some(row.try_get("seq")?);
    }
    Ok(last.unwrap_or(newest))
}

async fn next(conn: &mut Conn, running_per_org: usize, now: Moment) -> Result<Option<Row>, DbError> {
    let running_per_org = i64::try_from(running_per_org).unwrap_or(i64::MAX);
    Ok(sqlx::query(NEXT).bind(now.0).bind(running_per_org).fetch_optional(conn).await?)
}
