//! What a worker looks at while it works: claims whose worker is dead, and what other processes ask
//! of its own.
//!
//! A worker of this machine is dead when its lock is free ([`crate::presence`]); its claims are taken
//! back at once. Any claim, on whatever machine its worker is, is taken back when it was not renewed
//! for the length of a lease *as this process sees it*: the same row, looked at again and again, with
//! this process's monotonic clock. What the row says of the time is only compared with what it said
//! before, so a wall clock that jumps neither ends a claim that is kept nor keeps one that is not.
//!
//! Whoever was wrongly taken for dead, because its process stood still for that long, finds its epoch
//! gone and writes nothing; that its agent has ended is told by the lock of the workspace.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::hints::Ear;
use super::store::{self, HeldRow};
use super::worker::POLL;
use super::{Sessions, words};
use crate::db::DbError;
use crate::id::SessionId;
use crate::presence;

/// Claims as they were seen, and since when they have looked the same.
type Seen = HashMap<SessionId, (HeldRow, Instant)>;

impl Sessions {
    /// Looks around every two seconds, or when another process gives a hint, until told to stop.
    pub(super) async fn watch_until(
        self: Arc<Self>,
        worker: String,
        ear: Option<Ear>,
        stop: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = Seen::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
                () = Ear::hear(ear.as_ref()) => {
                    self.parked.wake_all();
                    self.wake.notify_one();
                }
            }
            if let Err(error) = self.look_around(&worker, &mut seen).await {
                tracing::error!(error = words::with_causes(&error), "claims could not be looked at");
            }
        }
    }

    /// Takes back the claims of this machine's dead workers.
    pub(super) async fn bury_workers(&self) -> Result<(), DbError> {
        let folder = &self.settings.workers_dir;
        let traces = match presence::traces(folder) {
            Ok(traces) => traces,
            Err(error) => {
                tracing::warn!(%error, "it cannot be told which workers live; their leases have to run out");
                return Ok(());
            }
        };
        for trace in traces.into_iter().filter(|trace| !trace.lives()) {
            let mut tx = self.db.write().await?;
            let many = store::take_back_all(&mut tx, &trace.name).await?;
            tx.commit().await?;
            if many > 0 {
                tracing::info!(
                    worker = trace.name,
                    sessions = many,
                    "a worker is dead; its sessions are taken up again"
                );
                self.wake.notify_one();
            }
            Ear::remove(folder, &trace.name);
            if let Err(error) = trace.forget() {
                tracing::warn!(%error, "the lock of a dead worker could not be removed");
            }
        }
        Ok(())
    }

    async fn look_around(&self, worker: &str, seen: &mut Seen) -> Result<(), DbError> {
        self.bury_workers().await?;
        let held = store::held(&mut *self.db.read().await?).await?;
        let now = Instant::now();
        let mut still = Seen::with_capacity(held.len());
        for row in held {
            if row.worker == worker && row.stop_requested {
                self.stop_turn(&row.id);
            }
            let since = match seen.get(&row.id) {
                Some((before, since)) if before.is_same_claim(&row) => *since,
                _ => now,
            };
            if now.duration_since(since) >= self.settings.lease {
                let mut tx = self.db.write().await?;
                let taken = store::take_back(&mut tx, &row).await?;
                tx.commit().await?;
                if taken {
                    tracing::warn!(session.id = %row.id, worker = row.worker, "a lease ran out; its session is taken up again");
                    self.wake.notify_one();
                }
            }
            still.insert(row.id.clone(), (row, since));
        }
        *seen = still;
        Ok(())
    }
}
