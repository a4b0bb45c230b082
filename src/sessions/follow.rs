//! Following a session: what happened in it, from a position on, and what happens from then.
//!
//! The table of events is the truth and is looked at every second, so it does not matter which process works on the
//! session; a hint within this process has it looked at sooner. Nobody is told an event twice or misses one that lies
//! between two others. One event is held at a time, so a follower who takes nothing costs no memory. Whether the key may
//! still read the session is asked again every second.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::store::{self, EventRow};
use super::{Delivery, Message, Receipt, SessionError, Sessions, Status, StatusDetail};
use crate::attachments::find_many;
use crate::clock;
use crate::db::{Conn, DbError};
use crate::id::SessionId;
use crate::identity::{Grant, Slot, reload_caller};

/// How often the table is looked at, and how often the key is judged again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Hints kept for a follower who is busy; whoever misses some looks at once.
pub(super) const HINTS: usize = 256;

/// Something that happened in a session.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its place in the session, from 1; grows, never given twice.
    pub position: i64,
    /// What kind of event: the name on the wire.
    pub kind: String,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// The session came to stand there.
    Status(Status, Option<StatusDetail>),
    /// Somebody said something.
    Message(Message),
    /// A file came so far.
    Receipt(Box<Receipt>),
    /// What the agent told of its work, as it was kept.
    Other(Value),
}

/// Until when a session is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until it is over for good.
    Over,
    /// Until nothing more happens by itself: it waits for a message, is suspended or over.
    Idle,
}

impl Until {
    fn is_reached(self, status: Status, detail: Option<StatusDetail>) -> bool {
        match (self, status) {
            (_, Status::Exit | Status::Error) => true,
            (Until::Over, _) => false,
            (Until::Idle, Status::Suspended) => true,
            (Until::Idle, Status::Running) => detail != Some(StatusDetail::Working),
            (Until::Idle, Status::New | Status::Claimed | Status::Resuming) => false,
        }
    }
}

/// A session that is being followed; one of its key's places.
#[derive(Debug)]
pub struct Following {
    sessions: Arc<Sessions>,
    grant: Grant,
    id: SessionId,
    position: i64,
    until: Until,
    hints: broadcast::Receiver<SessionId>,
    judged: Instant,
    _place: Slot,
}

impl Sessions {
    /// Follows a session from behind the event `after` (0: from its beginning). `None` where there is nothing to
    /// follow: everything was told, and what is waited for has come.
    ///
    /// # Errors
    /// Unknown session; an event that was not told yet; too many streams of the key.
    pub async fn follow(
        self: &Arc<Self>,
        grant: Grant,
        id: &SessionId,
        after: i64,
        until: Until,
    ) -> Result<Option<Following>, SessionError> {
        let session = self.get(&grant, id).await?;
        let last = store::last_event(&mut *self.db.read().await?, id).await?;
        if after > last {
            return Err(SessionError::NoSuchEvent { after, last });
        }
        if after == last && until.is_reached(session.status, session.status_detail) {
            return Ok(None);
        }
        let limit = self.streams.limit();
        let place =
            self.streams.take(&grant.caller().key_id).ok_or(SessionError::TooManyStreams { limit })?;
        Ok(Some(Following {
            sessions: Arc::clone(self),
            grant,
            id: id.clone(),
            position: after,
            until,
            hints: self.happened.subscribe(),
            judged: Instant::now(),
            _place: place,
        }))
    }

    /// Has those who follow a session look for what happened. To be called once it is committed.
    pub(super) fn hint(&self, id: &SessionId) {
        // Without a follower there is nobody to be told.
        let _ = self.happened.send(id.clone());
    }
}

impl Following {
    /// Waits for the next event. `None` at the end: what is waited for has come, or the key may not read the session
    /// any more. Nothing is lost where the wait is given up.
    ///
    /// # Errors
    /// Those of the catalogue.
    pub async fn next(&mut self) -> Result<Option<Event>, DbError> {
        loop {
            if self.judged.elapsed() >= LOOK_EVERY {
                if !self.may_still().await? {
                    return Ok(None);
                }
                self.judged = Instant::now();
            }
            let mut conn = self.sessions.db.read().await?;
            // The standing before the events: an end is not seen before what led to it.
            let inner = store::inner(&mut conn, self.grant.org(), &self.id).await?;
            if let Some(row) = store::event_after(&mut conn, &self.id, self.position).await? {
                let event = told(&mut conn, &self.grant, &self.id, row).await?;
                self.position = event.position;
                return Ok(Some(event));
            }
            drop(conn);
            if inner.is_none_or(|inner| self.until.is_reached(inner.status, inner.detail)) {
                return Ok(None);
            }
            // What another process does is not heard here.
            let _ = tokio::time::timeout(LOOK_EVERY, self.hint()).await;
        }
    }

    /// Waits until something may have happened.
    async fn hint(&mut self) {
        loop {
            match self.hints.recv().await {
                Ok(id) if id != self.id => {}
                Ok(_) | Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }

    async fn may_still(&self) -> Result<bool, DbError> {
        let mut conn = self.sessions.db.read().await?;
        let caller = reload_caller(&mut conn, &self.grant.caller().key_id, clock::now()).await?;
        Ok(caller.is_some_and(|caller| caller.holds(self.grant.permission(), self.grant.org())))
    }
}

/// An event with what it speaks of.
async fn told(conn: &mut Conn, grant: &Grant, id: &SessionId, row: EventRow) -> Result<Event, DbError> {
    let corrupt = || DbError::Corrupt("session_events.data");
    let text = |name: &str| row.data[name].as_str();
    let what = match row.kind.as_str() {
        "status" => What::Status(
            text("status").and_then(Status::from_name).ok_or_else(corrupt)?,
            text("status_detail").and_then(StatusDetail::from_name),
        ),
        "message" => {
            let position = row.data["position"].as_i64().ok_or_else(corrupt)?;
            What::Message(store::at(conn, id, position).await?)
        }
        "receipt" => {
            let (file, source) = (text("attachment_id"), text("source"));
            let file = store::file(conn, id, file.ok_or_else(corrupt)?, source.ok_or_else(corrupt)?).await?;
            let found = find_many(conn, grant.org(), &[file.attachment_id]).await?.pop().flatten();
            let attachment = found.ok_or_else(corrupt)?;
            What::Receipt(Box::new(Receipt {
                attachment_id: file.attachment_id,
                url: file.url,
                path: text("path").map(str::to_owned),
                size: attachment.size,
                sha256: attachment.sha256,
                source: file.source,
                state: text("state").and_then(Delivery::from_name).ok_or_else(corrupt)?,
                at: row.at,
                error: text("error").map(str::to_owned),
            }))
        }
        _ => What::Other(row.data),
    };
    Ok(Event { position: row.position, kind: row.kind, what })
}
