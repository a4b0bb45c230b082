//! Checkpoints beside the commits: what a commit appended to the log is moved into the database by another connection.
//!
//! SQLite would otherwise do so inside a commit, and with it hold up everybody who waits for that commit. Durability
//! does not hang on any of this: a commit is durable with its log.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Conn, Db, DbError};

/// How often the log is looked at.
const EVERY: Duration = Duration::from_millis(500);
/// Transactions of this process in the log from which on their pages are moved.
const WORTH_MOVING: u32 = 32;

impl Db {
    /// Keeps the log short until `stop`.
    pub async fn keep_log_short(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.shorten_log().await {
                tracing::warn!(
                    error = format!("{:#}", anyhow::Error::from(error)),
                    "the log of the database could not be shortened"
                );
            }
        }
    }

    /// Moves nearly all of the log while commits go on, and the rest while none does: only a log of which nothing is
    /// left to move is written from its beginning again.
    async fn shorten_log(&self) -> Result<(), DbError> {
        if self.writes.load(Ordering::Relaxed) < WORTH_MOVING {
            return Ok(());
        }
        self.writes.store(0, Ordering::Relaxed);
        move_pages(&mut *self.read().await?).await?;
        move_pages(&mut *self.writer.lock().await).await
    }
}

async fn move_pages(conn: &mut Conn) -> Result<(), DbError> {
    sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(conn).await?;
    Ok(())
}
