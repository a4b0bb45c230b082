//! What is kept and handed back: files with a name, a kind, a digest and an organisation.
//!
//! Invariants: a row never points at bytes that are not durable; an attachment's bytes, digest and
//! organisation never change; every look-up names the organisation or the caller's scope, so that
//! what belongs to another organisation cannot be told from what does not exist. A deleted
//! attachment keeps its row without its bytes, so that its owner can be told when and why it went.

mod commit;
mod deliver;
pub mod filename;
pub mod http;
pub mod kind;
pub mod receive;
pub mod reference;
mod remove;
mod store;

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use prometheus_client::metrics::counter::Counter;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;
use tokio_util::sync::CancellationToken;

pub use receive::ReceiveError;
pub use reference::ServiceUrls;
pub use store::{find_many, name_output};

use crate::blobs::{BlobError, BlobReader, Blobs, Locator};
use crate::clock::Moment;
use crate::db::{Db, DbError};
use crate::id::{AttachmentId, OrgId};
use crate::identity::{Caller, Scope, Slot, Slots};

/// Who an attachment came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A client uploaded it.
    User,
    /// An agent left it in its session's `output/`.
    Devin,
}

impl Source {
    /// The name on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Source::User => "user",
            Source::Devin => "devin",
        }
    }
}

/// A file that is kept, or was.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Its public id.
    pub id: AttachmentId,
    /// Whose it is.
    pub org_id: OrgId,
    /// Its own name, made safe.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// The digest taken when it came in, lower-case hexadecimal.
    pub sha256: String,
    /// Media type; a charset where the bytes are text of another encoding than UTF-8.
    pub content_type: String,
    /// Who it came from.
    pub source: Source,
    /// When it came.
    pub created_at: Moment,
    /// When and why its bytes went, if they are gone.
    pub gone: Option<Gone>,
    blob: Locator,
}

/// When and by which rule an attachment ceased to be available.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// When.
    pub at: Moment,
    /// By which rule, as a clause: `deleted on request`.
    pub reason: String,
}

impl Gone {
    /// The sentence for whoever asks within the organisation.
    pub fn sentence(&self) -> String {
        format!("This attachment is no longer available: {} at {}", self.reason, self.at.iso8601())
    }
}

/// Limits of the room.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Largest file, in bytes.
    pub max_upload_bytes: u64,
    /// How long a client may be silent in the middle of an upload.
    pub body_silence: Duration,
    /// How many uploads of one key may be in flight at once.
    pub uploads_per_key: usize,
}

/// What the room has done since the start.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Attachments made durable.
    pub received: Counter,
    /// Their bytes.
    pub received_bytes: Counter,
    /// Transactions in which they were.
    pub commits: Counter,
}

/// The room's state.
#[derive(Debug)]
pub struct Attachments {
    db: Db,
    blobs: Arc<Blobs>,
    urls: ServiceUrls,
    settings: Settings,
    uploads: Arc<Slots>,
    committer: commit::Committer,
    metrics: Metrics,
}

/// Why a kept file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AttachmentError {
    /// The bytes are missing or have changed, or cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The catalogue failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// An output could not be taken in.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
}

impl Attachments {
    /// The room over an opened catalogue and store. Must be called within the runtime: the task
    /// that commits uploads runs as long as the room is there.
    pub fn new(db: Db, blobs: Arc<Blobs>, urls: ServiceUrls, settings: Settings) -> Self {
        let metrics = Metrics::default();
        Self {
            committer: commit::Committer::start(db.clone(), Arc::clone(&blobs), metrics.clone()),
            uploads: Slots::new(settings.uploads_per_key),
            db,
            blobs,
            urls,
            settings,
            metrics,
        }
    }

    /// The addresses under which attachments are named.
    pub fn urls(&self) -> &ServiceUrls {
        &self.urls
    }

    /// The room's limits.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the room has done since the start.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Cancelled once a task is gone without which nothing can be taken in any more; only a new
    /// start of the service helps then.
    pub fn broken(&self) -> &CancellationToken {
        &self.committer.broken
    }

    /// The canonical URL of an attachment (contract, section 1).
    pub fn url_of(&self, attachment: &Attachment) -> String {
        self.urls.attachment_url(attachment.id.0, &attachment.name)
    }

    /// An attachment within a scope; `None` for what is unknown and what is foreign alike.
    pub async fn find(&self, scope: &Scope, id: AttachmentId) -> Result<Option<Attachment>, DbError> {
        let mut conn = self.db.read().await?;
        store::find(&mut conn, scope, id).await
    }

    /// The stored bytes of an attachment, as they are: whoever hands them on verifies them.
    pub async fn open(
        &self,
        attachment: &Attachment,
    ) -> Result<impl AsyncRead + Unpin + Send + use<>, AttachmentError> {
        let reader = self.open_blob(attachment)?;
        let stream = reader.stream(0..attachment.size).map_err(std::io::Error::other);
        Ok(StreamReader::new(Box::pin(stream)))
    }

    /// Whether so many more bytes can be written to the file system without going below the floor.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        self.blobs.has_room_for(bytes)
    }

    /// A place among the uploads of a key; `None` when all are taken.
    fn take_upload_slot(&self, caller: &Caller) -> Option<Slot> {
        self.uploads.take(&caller.key_id)
    }

    fn open_blob(&self, attachment: &Attachment) -> Result<BlobReader, BlobError> {
        self.blobs.open_blob(&attachment.blob, attachment.size, &attachment.sha256)
    }
}
