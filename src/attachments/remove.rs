//! The end of an attachment: its row says so, then its bytes are freed.
//!
//! In one transaction the attachment is marked as gone and its blob as discarded; afterwards the
//! bytes are freed and the mark is taken away. A crash in between loses nothing: the next start
//! frees what is marked, and removes files that no row names.

use std::io;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::{Attachment, Attachments, Gone, store};
use crate::blobs::Locator;
use crate::clock;
use crate::db::DbError;
use crate::identity::{Grant, audit};

/// Discarded blobs looked at in one go.
const SWEEP_BATCH: i64 = 256;

impl Attachments {
    /// Deletes an attachment at its owner's request; `false` if it was gone before.
    pub async fn delete(self: &Arc<Self>, grant: &Grant, attachment: &Attachment) -> Result<bool, DbError> {
        let gone = Gone { at: clock::now(), reason: "deleted on request".to_owned() };
        let act = grant.act("attachment.delete", attachment.id.to_string());
        let (room, attachment) = (Arc::clone(self), attachment.clone());
        // A task of its own: once marked, the bytes are freed even if the client goes away.
        let deleted = tokio::spawn(async move {
            let mut tx = room.db.write().await?;
            if !store::mark_gone(&mut tx, &attachment, &gone).await? {
                return Ok(false);
            }
            audit::record(&mut tx, &act).await?;
            tx.commit().await?;
            tokio::spawn(async move { room.free_or_warn(&attachment.blob, attachment.size).await });
            Ok(true)
        });
        deleted.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    async fn free_or_warn(&self, blob: &Locator, size: u64) {
        if let Err(error) = self.free(blob, size).await {
            tracing::warn!(%error, %blob, "bytes of a deleted attachment could not be freed; the next start tries again");
        }
    }

    /// Finishes what an earlier run left undone: frees discarded blobs and removes files that no
    /// row names. Runs beside the service.
    pub async fn sweep(self: &Arc<Self>) -> Result<(), SweepError> {
        loop {
            let mut conn = self.db.read().await?;
            let discarded = store::discarded(&mut conn, SWEEP_BATCH).await?;
            drop(conn);
            let many = discarded.len();
            for (blob, size) in discarded {
                let locator = blob.parse().map_err(|_| DbError::Corrupt("discarded_blobs.blob"))?;
                self.free_or_warn(&locator, size).await;
            }
            if (many as i64) < SWEEP_BATCH {
                break;
            }
        }
        self.sweep_packs().await?;
        for folder in 0..=u8::MAX {
            let blobs = Arc::clone(&self.blobs);
            let files =
                spawn_blocking(move || blobs.stray_files(folder)).await.map_err(io::Error::other)??;
            for file in files {
                let mut conn = self.db.read().await?;
                if !store::is_named(&mut conn, &file.to_string()).await? {
                    tracing::info!(blob = %file, "removing a file that no attachment names");
                    let blobs = Arc::clone(&self.blobs);
                    spawn_blocking(move || blobs.discard(&file, 0)).await.map_err(io::Error::other)??;
                }
            }
        }
        Ok(())
    }

    /// Removes packs that hold nothing any more, and frees what the last run wrote without a row.
    async fn sweep_packs(&self) -> Result<(), SweepError> {
        let blobs = Arc::clone(&self.blobs);
        let closed = spawn_blocking(move || blobs.closed_packs()).await.map_err(io::Error::other)??;
        for segment in &closed {
            let (segment, last) = (*segment, closed.last() == Some(segment));
            let limit = if last { i64::MAX } else { 1 };
            let mut conn = self.db.read().await?;
            let kept = store::live_blobs(&mut conn, &format!("pack:{segment}:"), limit).await?;
            drop(conn);
            let blobs = Arc::clone(&self.blobs);
            // The last one stays even when it is empty: its number says where the next one begins, and
            // a place is never given twice, since the rows of what is gone still name theirs.
            let work = move || match (last, kept.is_empty()) {
                (true, _) => blobs.keep_only(segment, &kept),
                (false, true) => blobs.remove_pack(segment),
                (false, false) => Ok(()),
            };
            spawn_blocking(work).await.map_err(io::Error::other)??;
        }
        Ok(())
    }

    async fn free(&self, blob: &Locator, size: u64) -> Result<(), SweepError> {
        let (blobs, at) = (Arc::clone(&self.blobs), blob.clone());
        spawn_blocking(move || blobs.discard(&at, size)).await.map_err(io::Error::other)??;
        let mut tx = self.db.write().await?;
        store::forget_discarded(&mut tx, &blob.to_string()).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Why a sweep stopped.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The catalogue failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The store failed.
    #[error("the storage failed")]
    Io(#[from] io::Error),
}

impl From<sqlx::Error> for SweepError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}
