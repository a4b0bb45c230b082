//! The one way an attachment is born: bytes in, made durable, then its row.
//!
//! The order is that of promise 1: bytes synced, name published, folder synced, row committed,
//! answer. Whatever goes wrong before the commit leaves nothing behind; a client that goes away
//! before its last byte is as if it had never come.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::commit::{self, Arrival};
use super::{Attachment, Attachments, Source, filename, kind};
use crate::blobs::{BlobError, Intake, Staged};
use crate::clock;
use crate::db::DbError;
use crate::http::form::{Form, FormError};
use crate::id::{AttachmentId, OrgId, SessionId};
use crate::identity::Grant;

/// The field that holds the file (seed pages: `file`, required).
const FIELD: &str = "file";
/// Pieces in which an agent's output is read.
const PIECE: usize = 256 * 1024;

/// Why a file was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The request's form is at fault.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The form has no file in the field `file`.
    #[error("Field required")]
    NoFile,
    /// The store refused or failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The store failed for a whole batch.
    #[error(transparent)]
    Store(Arc<BlobError>),
    /// The catalogue failed for a whole batch.
    #[error(transparent)]
    Catalogue(Arc<DbError>),
    /// The bytes are not those that the client said it sent.
    #[error("the file's SHA-256 is {found}, not {wanted} as its Content-Digest says; nothing was kept")]
    OtherBytes {
        /// What the client said.
        wanted: String,
        /// What came.
        found: String,
    },
    /// The key was revoked or lost its permission while the upload was on its way.
    #[error("the key was revoked, expired or lost its permission while the upload was on its way")]
    NoLongerAllowed,
    /// An agent's output is not what was measured a moment ago.
    #[error("the file changed while it was read")]
    Changed,
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopped,
    /// The operating system failed.
    #[error("reading failed")]
    Io(#[from] std::io::Error),
}

impl Attachments {
    /// Takes the file of an upload's form in. Of several parts in the field the last counts, and no
    /// other is kept: a text behind a file leaves no file.
    /// `expected`: the length of the whole body, if the client said it.
    pub async fn receive_form(
        self: &Arc<Self>,
        grant: &Grant,
        mut form: Form,
        expected: Option<u64>,
    ) -> Result<Attachment, ReceiveError> {
        let mut last = None;
        while let Some(head) = form.next_part(FIELD).await? {
            drop(last.take());
            if head.filename.is_none() {
                continue;
            }
            let mut intake = self.blobs.take_in(self.settings.max_upload_bytes, expected)?;
            while let Some(bytes) = form.chunk().await? {
                intake.write(bytes).await?;
            }
            last = Some((head, intake));
        }
        let (head, intake) = last.ok_or(ReceiveError::NoFile)?;
        let staged = intake.finish().await?;
        if let Some(wanted) = head.sha256.filter(|wanted| *wanted != staged.sha256) {
            return Err(ReceiveError::OtherBytes { wanted, found: staged.sha256.clone() });
        }
        let raw_name = head.filename.unwrap_or_default();
        let sent = Sent { org: grant.org().clone(), raw_name, source: Source::User, session_id: None };
        self.keep(sent, staged, Some(grant.clone())).await
    }

    /// Takes an agent's output in; the bytes must be those that were measured.
    pub async fn receive_output(
        self: &Arc<Self>,
        org: &OrgId,
        session: &SessionId,
        name: &str,
        file: File,
        expected_size: u64,
        expected_sha256: &str,
    ) -> Result<Attachment, ReceiveError> {
        let intake = self.blobs.take_in(expected_size, Some(expected_size))?;
        let staged = match read_all(intake, file).await {
            Err(ReceiveError::Blob(BlobError::TooLarge { .. })) => Err(ReceiveError::Changed),
            other => other,
        }?;
        if staged.size != expected_size || staged.sha256 != expected_sha256 {
            return Err(ReceiveError::Changed);
        }
        let sent = Sent {
            org: org.clone(),
            raw_name: name.to_owned(),
            source: Source::Devin,
            session_id: Some(session.to_string()),
        };
        self.keep(sent, staged, None).await
    }

    /// Makes staged bytes durable and gives them their row.
    async fn keep(
        self: &Arc<Self>,
        sent: Sent,
        staged: Staged,
        grant: Option<Grant>,
    ) -> Result<Attachment, ReceiveError> {
        if staged.is_small() {
            return self.publish_and_commit(sent, staged, grant).await;
        }
        // A file with a public name needs a row: once begun, this goes to its end even if the
        // client goes away. Small bytes lie in memory until the committer has them.
        let room = Arc::clone(self);
        let kept = tokio::spawn(async move { room.publish_and_commit(sent, staged, grant).await });
        kept.await.map_err(std::io::Error::other)?
    }

    async fn publish_and_commit(
        &self,
        sent: Sent,
        staged: Staged,
        grant: Option<Grant>,
    ) -> Result<Attachment, ReceiveError> {
        let name = filename::safe_name(&sent.raw_name);
        let content_type = kind::content_type(&staged.head, &name);
        let (size, sha256) = (staged.size, staged.sha256.clone());
        let blobs = Arc::clone(&self.blobs);
        let published = if staged.is_small() {
            blobs.publish(staged)?
        } else {
            spawn_blocking(move || blobs.publish(staged)).await.map_err(std::io::Error::other)??
        };
        let (blob, to_pack) = commit::place(published);
        let attachment = Attachment {
            id: AttachmentId::new(),
            org_id: sent.org,
            name,
            size,
            sha256,
            content_type,
            source: sent.source,
            created_at: clock::now(),
            gone: None,
            blob,
        };
        let arrival = Arrival { attachment, session_id: sent.session_id, to_pack, grant };
        self.committer.commit(arrival).await
    }
}

/// Whose file it is and what it was called.
struct Sent {
    org: OrgId,
    raw_name: String,
    source: Source,
    session_id: Option<String>,
}

async fn read_all(mut intake: Intake, mut file: File) -> Result<Staged, ReceiveError> {
    loop {
        let (read, back) = spawn_blocking(move || {
            let mut piece = vec![0; PIECE];
            let read = file.read(&mut piece).map(|length| {
                piece.truncate(length);
                piece
            });
            (read, file)
        })
        .await
        .map_err(std::io::Error::other)?;
        file = back;
        let piece = read?;
        if piece.is_empty() {
            return Ok(intake.finish().await?);
        }
        intake.write(Bytes::from(piece)).await?;
    }
}
