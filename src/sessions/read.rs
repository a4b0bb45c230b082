//! What callers read of sessions.
//!
//! Reading demands a [`Grant`] as changing does; a session of another organisation is answered
//! exactly as one that does not exist.

use std::collections::HashMap;

use super::store::{self, FileRow, IdleSince};
use super::{Filter, Message, Page, Receipt, Session, SessionError, Sessions};
use crate::attachments::{Attachment, Source, find_many};
use crate::clock::{self, Moment};
use crate::db::{Conn, DbError};
use crate::id::{AttachmentId, SessionId};
use crate::identity::Grant;

impl Sessions {
    /// One session.
    ///
    /// # Errors
    /// There is none with this id in the organisation.
    pub async fn get(&self, grant: &Grant, id: &SessionId) -> Result<Session, SessionError> {
        let mut conn = self.db.read().await?;
        let found = store::get(&mut conn, grant.org(), id, self.idle_since(clock::now())).await?;
        found.ok_or(SessionError::NotFound)
    }

    /// The organisation's sessions that a filter lets through, newest first.
    ///
    /// # Errors
    /// A cursor that no page ended with.
    pub async fn list(&self, grant: &Grant, filter: &Filter) -> Result<Page<Session>, SessionError> {
        let after = filter.after.as_deref().map(session_cursor).transpose()?;
        let idle = self.idle_since(clock::now());
        let mut conn = self.db.read().await?;
        let more = filter.first.saturating_add(1);
        let items = store::list(&mut conn, grant.org(), filter, after.as_ref(), more, idle).await?;
        let total = store::count(&mut conn, grant.org(), filter).await?;
        Ok(page(items, filter.first, total, |last| format!("{}.{}", last.created_at.0, last.id)))
    }

    /// Up to `first` messages behind a cursor, oldest first.
    ///
    /// # Errors
    /// Unknown session; a cursor that no page ended with.
    pub async fn messages(
        &self,
        grant: &Grant,
        id: &SessionId,
        first: usize,
        after: Option<&str>,
    ) -> Result<Page<Message>, SessionError> {
        let position = after.map_or(Ok(0), message_cursor)?;
        let mut conn = self.db.read().await?;
        exists(&mut conn, grant, id).await?;
        let items = store::after(&mut conn, id, position, first.saturating_add(1)).await?;
        let total = store::last_position(&mut conn, id).await?.unsigned_abs();
        Ok(page(items, first, total, |last| format!("m{}", last.position)))
    }

    /// Every message, oldest first.
    ///
    /// # Errors
    /// Unknown session.
    pub async fn all_messages(&self, grant: &Grant, id: &SessionId) -> Result<Vec<Message>, SessionError> {
        let mut conn = self.db.read().await?;
        exists(&mut conn, grant, id).await?;
        Ok(store::all(&mut conn, id).await?)
    }

    /// The session's files in the order in which they came, each once, with who brought it in: the
    /// user or the agent.
    ///
    /// # Errors
    /// Unknown session.
    pub async fn attachments(
        &self,
        grant: &Grant,
        id: &SessionId,
    ) -> Result<Vec<(Attachment, Source)>, SessionError> {
        let mut files = self.files(grant, id).await?;
        let mut seen = std::collections::HashSet::new();
        files.retain(|(_, attachment)| seen.insert(attachment.id));
        Ok(files.into_iter().map(|(row, attachment)| (attachment, row.source)).collect())
    }

    /// What became of each file, in the order in which they came. A file that came back and was
    /// handed in again has two.
    ///
    /// # Errors
    /// Unknown session.
    pub async fn receipts(&self, grant: &Grant, id: &SessionId) -> Result<Vec<Receipt>, SessionError> {
        let files = self.files(grant, id).await?;
        let receipt = |(row, attachment): (FileRow, Attachment)| Receipt {
            attachment_id: row.attachment_id,
            url: row.url,
            path: row.path,
            size: attachment.size,
            sha256: attachment.sha256,
            source: row.source,
            state: row.state,
            at: row.at,
            error: row.error,
        };
        Ok(files.into_iter().map(receipt).collect())
    }

    /// Since when a session must have stood still to be past the idle limit.
    pub(super) fn idle_since(&self, now: Moment) -> IdleSince {
        IdleSince(now.minus(self.settings.idle_limit))
    }

    async fn files(&self, grant: &Grant, id: &SessionId) -> Result<Vec<(FileRow, Attachment)>, SessionError> {
        let mut conn = self.db.read().await?;
        exists(&mut conn, grant, id).await?;
        let rows = store::files(&mut conn, id).await?;
        let ids: Vec<AttachmentId> = rows.iter().map(|row| row.attachment_id).collect();
        let found = find_many(&mut conn, grant.org(), &ids).await?;
        let known: HashMap<AttachmentId, Attachment> =
            found.into_iter().flatten().map(|attachment| (attachment.id, attachment)).collect();
        rows.into_iter()
            .map(|row| {
                let attachment = known.get(&row.attachment_id).cloned();
                let corrupt = DbError::Corrupt("session_attachments.attachment_id");
                Ok((row, attachment.ok_or(corrupt)?))
            })
            .collect()
    }
}

async fn exists(conn: &mut Conn, grant: &Grant, id: &SessionId) -> Result<(), SessionError> {
    store::inner(conn, grant.org(), id).await?.map(|_| ()).ok_or(SessionError::NotFound)
}

/// Makes a page of up to one item more than it holds.
fn page<T>(mut items: Vec<T>, first: usize, total: u64, cursor: impl Fn(&T) -> String) -> Page<T> {
    let has_next_page = items.len() > first;
    items.truncate(first);
    Page { end_cursor: items.last().map(cursor), has_next_page, total, items }
}

fn session_cursor(text: &str) -> Result<(Moment, SessionId), SessionError> {
    let (at, id) = text.split_once('.').ok_or(SessionError::BadCursor)?;
    match (at.parse(), id.parse()) {
        (Ok(at), Ok(id)) => Ok((Moment(at), id)),
        _ => Err(SessionError::BadCursor),
    }
}

fn message_cursor(text: &str) -> Result<i64, SessionError> {
    let position = text.strip_prefix('m').and_then(|position| position.parse::<u32>().ok());
    position.map(i64::from).ok_or(SessionError::BadCursor)
}
