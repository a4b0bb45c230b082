//! The end of an attachment: its row says so, then its bytes are freed.
//!
//! In one transaction the attachment is marked as gone and its blob as discarded; afterwards the
//! bytes are freed and the mark is taken away. A crash in between loses nothing: the next start
//! frees what is marked, and removes files that no row names.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::{Attachment, Attachments, Gone, store};
use crate::blobs::{ClosedPack, Locator, Sweep};
use crate::clock;
use crate::db::{DbError, Tx};
use crate::id::SessionId;
use crate::identity::{Grant, audit};

/// Discarded blobs looked at in one go.
const SWEEP_BATCH: i64 = 256;
/// How often it is looked whether another process has ended its sweep.
const WAIT: Duration = Duration::from_secs(1);

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

    /// Outputs that no session names: their turn is not over, or was cut short just before its end. The
    /// sessions that they came out of say which.
    pub async fn unnamed_outputs(&self) -> Result<Vec<(SessionId, Attachment)>, DbError> {
        let mut conn = self.db.read().await?;
        store::unnamed_outputs(&mut conn, SWEEP_BATCH).await
    }

    /// Removes an output that no session names, unless one does meanwhile. `tx`: in which the caller
    /// found that nobody holds the session.
    pub async fn drop_output(
        self: &Arc<Self>,
        mut tx: Tx,
        session: &SessionId,
        output: Attachment,
    ) -> Result<(), DbError> {
        if !store::name_output(&mut tx, output.id).await? {
            return Ok(());
        }
        let gone = Gone { at: clock::now(), reason: "its turn was cut short and ran again".to_owned() };
        if store::mark_gone(&mut tx, &output, &gone).await? {
            let act = audit::Act {
                action: "attachment.delete",
                at: gone.at,
                org_id: Some(output.org_id.to_string()),
                principal_id: Some(session.to_string()),
                key_id: None,
                address: None,
                subject: Some(output.id.to_string()),
            };
            audit::record(&mut tx, &act).await?;
        }
        tx.commit().await?;
        self.free_or_warn(&output.blob, output.size).await;
        Ok(())
    }

    async fn free_or_warn(&self, blob: &Locator, size: u64) {
        if let Err(error) = self.free(blob, size).await {
            tracing::warn!(%error, %blob, "bytes of a deleted attachment could not be freed; the next start tries again");
        }
    }

    /// Finishes what dead processes left undone: frees discarded blobs and what no row names. Runs
    /// beside the service, and beside others on the same folder.
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
        let sweep = self.begin_sweep().await?;
        self.sweep_packs(&sweep).await?;
        for folder in 0..=u8::MAX {
            let of = Arc::clone(&sweep);
            let files = spawn_blocking(move || of.stray_files(folder)).await.map_err(io::Error::other)??;
            for file in files {
                let mut conn = self.db.read().await?;
                if !store::is_named(&mut conn, &file.to_string()).await? {
                    tracing::info!(blob = %file, "removing a file that no attachment names");
                    let blobs = Arc::clone(&self.blobs);
                    spawn_blocking(move || blobs.discard(&file, 0)).await.map_err(io::Error::other)??;
                }
            }
        }
        if let Some(sweep) = Arc::into_inner(sweep) {
            spawn_blocking(move || sweep.finish()).await.map_err(io::Error::other)??;
        }
        Ok(())
    }

    /// Waits until no other process sweeps.
    async fn begin_sweep(&self) -> Result<Arc<Sweep>, SweepError> {
        loop {
            let blobs = Arc::clone(&self.blobs);
            let begun = spawn_blocking(move || blobs.begin_sweep()).await.map_err(io::Error::other)??;
            match begun {
                Some(sweep) => return Ok(Arc::new(sweep)),
                None => tokio::time::sleep(WAIT).await,
            }
        }
    }

    /// Removes packs that hold nothing any more, and frees what dead processes wrote without a row.
    async fn sweep_packs(&self, sweep: &Arc<Sweep>) -> Result<(), SweepError> {
        let of = Arc::clone(sweep);
        let closed = spawn_blocking(move || of.closed_packs()).await.map_err(io::Error::other)??;
        for ClosedPack { segment, may_be_torn } in closed {
            let limit = if may_be_torn { i64::MAX } else { 1 };
            let mut conn = self.db.read().await?;
            let kept = store::live_blobs(&mut conn, &format!("pack:{segment}:"), limit).await?;
            drop(conn);
            let of = Arc::clone(sweep);
            let work = move || {
                if may_be_torn {
                    of.keep_only(segment, &kept)?;
                }
                if kept.is_empty() { of.remove_pack(segment) } else { Ok(()) }
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
