//! What callers do to sessions: create, send, tag, end, put away.
//!
//! Each operation demands a [`Grant`] and is one transaction with its audit row: it happens whole or
//! not at all. A session of another organisation is answered exactly as one that does not exist.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Map, Value};

use super::prompt::{self, Reading, Resolved};
use super::store::{self, Inner, NewMessage};
use super::{
    Api, Created, MAX_TAGS, NewSession, Sent, Session, SessionError, Sessions, Status, StatusDetail, hints,
    words,
};
use crate::attachments::reference::{Mode, Notice};
use crate::attachments::{Attachment, Source, find_many};
use crate::clock::{self, Moment};
use crate::db::Conn;
use crate::id::SessionId;
use crate::identity::{Grant, audit};

/// How long an equal request gets the first one's session (contract, section 3).
const EQUAL_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);
/// How long [`Sessions::terminate`] waits for the agent's end.
const END_WITHIN: Duration = Duration::from_secs(15);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Sessions {
    /// Creates a session and puts it into the queue. With an idempotency key, an equal request of
    /// the same principal within 24 h gets the first one's session, unless that one is over.
    ///
    /// # Errors
    /// References that cannot be followed and every limit of the prompt; nothing is created then.
    pub async fn create(&self, grant: &Grant, new: NewSession) -> Result<Created, SessionError> {
        self.check_length(&new.prompt)?;
        let tags = distinct(new.tags)?;
        let key = self.key_for(&new.secrets)?;
        if let Some(demand) = &new.structured_output {
            self.check_demand(grant, demand).await?;
        }
        let idempotency_key = new.idempotency_key.map(|digest| match key {
            Some(key) => format!("{digest}.{}", key.digest(&new.secrets)),
            None => digest,
        });
        let reading =
            prompt::read(&new.prompt, &new.attachment_urls, self.attachments.urls(), self.reference_mode());
        self.check_number(&reading)?;
        let now = clock::now();
        let caller = grant.caller();
        let mut tx = self.db.write().await?;
        if let Some(key) = &idempotency_key {
            let since = now.minus(EQUAL_WITHIN);
            let (org, by, idle) = (grant.org(), &caller.principal_id, self.idle_since(now));
            if let Some(session) = store::find_equal(&mut tx, org, by, key, since, idle).await? {
                return Ok(Created { session, is_new: false, notices: Vec::new() });
            }
        }
        let resolved = prompt::resolve(&mut tx, grant.org(), self.attachments.urls(), &reading).await?;
        let id = SessionId::new();
        let session = Session {
            id: id.clone(),
            org_id: grant.org().clone(),
            created_by: caller.principal_id.clone(),
            created_by_email: caller.email.clone(),
            title: new.title,
            tags,
            playbook_id: text_of(&new.fields, "playbook_id"),
            snapshot_id: text_of(&new.fields, "snapshot_id"),
            agent: self.settings.default_agent.clone(),
            status: Status::New,
            status_detail: None,
            status_at: now,
            idle_limit_passed: false,
            structured_output: None,
            archived: false,
            api: new.api,
            created_at: now,
            updated_at: now,
        };
        store::insert(&mut tx, &session, &new.fields, idempotency_key.as_deref()).await?;
        if let Some(demand) = &new.structured_output {
            store::add_demand(&mut tx, &id, demand).await?;
        }
        for sealed in key.map(|key| key.seal_all(&id, &new.secrets)).transpose()?.unwrap_or_default() {
            store::add_secret(&mut tx, &id, &sealed).await?;
        }
        self.add_to_inbox(&mut tx, grant, &id, 1, &resolved, &reading.notices).await?;
        if let Some(warning) = self.isolation_notice() {
            store::add_message(&mut tx, &id, &words::notice(warning), now).await?;
        }
        store::take_message(&mut tx, &id, 1, Status::New, None, now).await?;
        audit::record(&mut tx, &grant.act("session.create", id.as_str())).await?;
        tx.commit().await?;
        self.wake.notify_one();
        hints::give(&self.settings.workers_dir, 1);
        let api = if new.api == Api::V1 { "v1" } else { "v3" };
        tracing::info!(session.id = %id, org.id = %session.org_id, api, "a session was created");
        Ok(Created { session, is_new: true, notices: reading.notices })
    }

    /// Sends a message. A session that waits or is suspended is taken up again; one at work gets it
    /// with its next turn.
    ///
    /// # Errors
    /// As [`Sessions::create`]; besides, the session is not there, is over, or has too many
    /// messages waiting.
    pub async fn send(
        &self,
        grant: &Grant,
        id: &SessionId,
        text: &str,
        attachment_urls: &[String],
    ) -> Result<Sent, SessionError> {
        let reading = prompt::read(text, attachment_urls, self.attachments.urls(), self.reference_mode());
        self.check_number(&reading)?;
        let now = clock::now();
        let mut tx = self.db.write().await?;
        let inner = known(&mut tx, grant, id).await?;
        if inner.status.is_over() || inner.stop_requested {
            return Err(SessionError::Over(if inner.status.is_over() { inner.status } else { Status::Exit }));
        }
        self.check_length(text)?;
        let (waiting, limit) =
            ((inner.inbox_seq - inner.done_seq).unsigned_abs(), self.settings.max_queued_messages);
        if waiting >= limit {
            return Err(SessionError::QueueFull { waiting, limit });
        }
        let resolved = prompt::resolve(&mut tx, grant.org(), self.attachments.urls(), &reading).await?;
        let seq = inner.inbox_seq + 1;
        self.add_to_inbox(&mut tx, grant, id, seq, &resolved, &reading.notices).await?;
        let (status, detail) = match inner.status {
            Status::Suspended => (Status::Resuming, None),
            Status::Running => (Status::Running, Some(StatusDetail::Working)),
            unchanged => (unchanged, None),
        };
        store::take_message(&mut tx, id, seq, status, detail, now).await?;
        audit::record(&mut tx, &grant.act("session.message", id.as_str())).await?;
        let session = self.load(&mut tx, grant, id).await?;
        tx.commit().await?;
        self.parked.wake(id);
        self.hint(id);
        self.wake.notify_one();
        // All of them: the agent that waits for it may be any one's.
        hints::give(&self.settings.workers_dir, usize::MAX);
        Ok(Sent { session, notices: reading.notices })
    }

    /// Replaces the tags; answers with what they are now, each once.
    ///
    /// # Errors
    /// Unknown session; more than [`MAX_TAGS`].
    pub async fn set_tags(
        &self,
        grant: &Grant,
        id: &SessionId,
        tags: &[String],
    ) -> Result<Vec<String>, SessionError> {
        self.change_tags(grant, id, tags, false).await
    }

    /// Adds tags; answers with all tags, each once.
    ///
    /// # Errors
    /// Unknown session; more than [`MAX_TAGS`] in all.
    pub async fn add_tags(
        &self,
        grant: &Grant,
        id: &SessionId,
        tags: &[String],
    ) -> Result<Vec<String>, SessionError> {
        self.change_tags(grant, id, tags, true).await
    }

    /// Ends a session for good: its agent is stopped and its outputs are collected first. Answers
    /// when that is done, or after 15 s, while it goes on.
    ///
    /// # Errors
    /// Unknown session; one that was over before.
    pub async fn terminate(&self, grant: &Grant, id: &SessionId) -> Result<Session, SessionError> {
        let now = clock::now();
        let mut tx = self.db.write().await?;
        let inner = known(&mut tx, grant, id).await?;
        if inner.status.is_over() {
            return Err(SessionError::Over(inner.status));
        }
        store::request_stop(&mut tx, id, now).await?;
        store::end_unclaimed(&mut tx, id, now).await?;
        audit::record(&mut tx, &grant.act("session.terminate", id.as_str())).await?;
        tx.commit().await?;
        self.hint(id);
        self.stop_turn(id);
        self.wake.notify_one();
        hints::give(&self.settings.workers_dir, usize::MAX);
        let deadline = tokio::time::Instant::now() + END_WITHIN;
        loop {
            // Asked for before looking, so that an end in between is not missed.
            let released = self.released.notified();
            let session = self.get(grant, id).await?;
            if session.status.is_over() || tokio::time::Instant::now() >= deadline {
                return Ok(session);
            }
            // What another process lets go of is not heard here, so look every now and then.
            let _ = tokio::time::timeout(LOOK_EVERY, released).await;
        }
    }

    /// Puts a session away. It goes on with its work and can still be read; doing it twice is doing
    /// it once.
    ///
    /// # Errors
    /// Unknown session.
    pub async fn archive(&self, grant: &Grant, id: &SessionId) -> Result<Session, SessionError> {
        let mut tx = self.db.write().await?;
        known(&mut tx, grant, id).await?;
        store::archive(&mut tx, id, clock::now()).await?;
        audit::record(&mut tx, &grant.act("session.archive", id.as_str())).await?;
        let session = self.load(&mut tx, grant, id).await?;
        tx.commit().await?;
        Ok(session)
    }

    /// Appends a user's message with its notices, and adds its files to the session's.
    #[allow(clippy::too_many_arguments)]
    async fn add_to_inbox(
        &self,
        tx: &mut Conn,
        grant: &Grant,
        id: &SessionId,
        seq: i64,
        resolved: &Resolved,
        notices: &[Notice],
    ) -> Result<(), SessionError> {
        let now = clock::now();
        self.add_inputs(tx, grant, id, seq, resolved, now).await?;
        let message = NewMessage {
            source: Source::User,
            is_notice: false,
            seq: Some(seq),
            text: &resolved.text,
            user_id: Some(&grant.caller().principal_id),
            username: Some(&grant.caller().principal_name),
        };
        store::add_message(tx, id, &message, now).await?;
        if !notices.is_empty() {
            store::add_message(tx, id, &words::notice(&words::near_misses(notices)), now).await?;
        }
        Ok(())
    }

    /// Adds the files of a message that the session does not have yet, within its limits.
    async fn add_inputs(
        &self,
        tx: &mut Conn,
        grant: &Grant,
        id: &SessionId,
        seq: i64,
        resolved: &Resolved,
        now: Moment,
    ) -> Result<(), SessionError> {
        let rows = store::files(tx, id).await?;
        let there: Vec<_> =
            rows.iter().filter(|row| row.source == Source::User).map(|row| row.attachment_id).collect();
        let is_new = |attachment: &&Attachment| !there.contains(&attachment.id);
        let (by_text, by_urls) = resolved.attachments.split_at(resolved.in_text);
        let by_text: Vec<&Attachment> = by_text.iter().filter(is_new).collect();
        let by_urls: Vec<&Attachment> = by_urls.iter().filter(is_new).collect();
        if by_text.is_empty() && by_urls.is_empty() {
            return Ok(());
        }
        let (with_text, limit) = (there.len() + by_text.len(), self.settings.max_attachments);
        let found = with_text + by_urls.len();
        if found > limit {
            return Err(SessionError::TooManyAttachments { found, limit, by_urls: with_text <= limit });
        }
        let before = find_many(tx, grant.org(), &there).await?;
        let before: u64 = before.iter().flatten().map(|attachment| attachment.size).sum();
        let bytes = |files: &[&Attachment]| files.iter().map(|file| file.size).sum::<u64>();
        let (with_text, limit) = (before + bytes(&by_text), self.settings.max_delivered_bytes);
        let found = with_text + bytes(&by_urls);
        if found > limit {
            return Err(SessionError::TooManyBytes { found, limit, by_urls: with_text <= limit });
        }
        for attachment in by_text.into_iter().chain(by_urls) {
            let url = self.attachments.urls().attachment_url(attachment.id.0, &attachment.name);
            store::add_input(tx, id, attachment.id, seq, &url, now).await?;
        }
        Ok(())
    }

    async fn change_tags(
        &self,
        grant: &Grant,
        id: &SessionId,
        tags: &[String],
        keep: bool,
    ) -> Result<Vec<String>, SessionError> {
        let mut tx = self.db.write().await?;
        let session = self.load(&mut tx, grant, id).await?;
        let mut all = if keep { session.tags } else { Vec::new() };
        all.extend_from_slice(tags);
        let all = distinct(all)?;
        store::set_tags(&mut tx, id, &all, clock::now()).await?;
        audit::record(&mut tx, &grant.act("session.tag", id.as_str())).await?;
        tx.commit().await?;
        Ok(all)
    }

    async fn load(&self, conn: &mut Conn, grant: &Grant, id: &SessionId) -> Result<Session, SessionError> {
        let found = store::get(conn, grant.org(), id, self.idle_since(clock::now())).await?;
        found.ok_or(SessionError::NotFound)
    }

    /// What is to be said of the isolation in a new session, if anything.
    fn isolation_notice(&self) -> Option<&'static str> {
        let acp = self.settings.agents.get(&self.settings.default_agent).and_then(|agent| agent.acp.as_ref());
        if acp.is_some_and(|acp| acp.isolates_itself()) {
            return Some(words::PREFIXED);
        }
        words::isolation(self.settings.sandbox.isolation())
    }

    fn check_length(&self, text: &str) -> Result<(), SessionError> {
        let (found, limit) = (text.len(), self.settings.max_prompt_bytes);
        if found > limit { Err(SessionError::TooLong { found, limit }) } else { Ok(()) }
    }

    /// Refuses a text that alone names more files than a session may hold, before anything is looked
    /// up for it.
    fn check_number(&self, reading: &Reading<'_>) -> Result<(), SessionError> {
        let (found, limit) = (reading.named.len(), self.settings.max_attachments);
        let by_urls = reading.in_text <= limit;
        if found > limit { Err(SessionError::TooManyAttachments { found, limit, by_urls }) } else { Ok(()) }
    }

    fn reference_mode(&self) -> Mode {
        if self.settings.lenient_references { Mode::Lenient } else { Mode::Strict }
    }
}

/// A session that is about to be changed.
async fn known(conn: &mut Conn, grant: &Grant, id: &SessionId) -> Result<Inner, SessionError> {
    store::lock(conn, grant.org(), id).await?;
    store::inner(conn, grant.org(), id).await?.ok_or(SessionError::NotFound)
}

/// A field that was kept as sent, where it is a text.
fn text_of(fields: &Map<String, Value>, name: &str) -> Option<String> {
    fields.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// Each tag once, in the order of first mention.
fn distinct(mut tags: Vec<String>) -> Result<Vec<String>, SessionError> {
    let mut seen = HashSet::new();
    tags.retain(|tag| seen.insert(tag.clone()));
    if tags.len() > MAX_TAGS {
        return Err(SessionError::TooManyTags { found: tags.len() });
    }
    Ok(tags)
}
