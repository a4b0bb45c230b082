//! The worker: takes sessions that wait, as many as it has slots, and keeps its claims on them.
//!
//! The table of sessions is the queue. A notification wakes the worker at once; a look every two
//! seconds is what is relied on. A claim holds for a lease that is renewed while the work goes on;
//! where it cannot be renewed the agent is stopped before the lease has run out, and the epoch
//! keeps whatever comes later from being written.
//!
//! Any number of workers may run on one queue; `watch.rs` is about the others.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::hints::Ear;
use super::parked::Hold;
use super::store::{self, Claim};
use super::turn::WorkError;
use super::workspace::remove_workspace;
use super::{Sessions, words};
use crate::clock;
use crate::db::DbError;
use crate::id::SessionId;
use crate::presence::Presence;

/// How often the queue is looked at.
pub(super) const POLL: Duration = Duration::from_secs(2);
/// How often sessions are suspended that wait, and workspaces removed that nobody needs.
const SWEEP: Duration = Duration::from_secs(15);
/// How long agents may take to be stopped and their sessions to be released at the end.
const RELEASE_WITHIN: Duration = Duration::from_secs(45);

impl Sessions {
    /// Works until `shutdown`, then lets running turns go on for the drain time of the settings,
    /// stops the rest and releases their sessions, so that another worker, or the next start, takes
    /// them up again.
    ///
    /// # Errors
    /// A folder that it needs cannot be made; nothing was done then.
    pub async fn run_worker(self: Arc<Self>, shutdown: CancellationToken) -> io::Result<()> {
        let presence = self.enter()?;
        let worker = presence.name().to_owned();
        if let Err(error) = self.bury_workers().await {
            tracing::error!(
                error = words::with_causes(&error),
                "the claims of dead workers could not be taken back"
            );
        }
        let ear = Ear::open(&self.settings.workers_dir, &worker);
        let drained = CancellationToken::new();
        let watching = tokio::spawn(Arc::clone(&self).watch_until(worker.clone(), ear, drained.clone()));
        let sweeping = tokio::spawn(Arc::clone(&self).sweep_until(shutdown.clone()));
        // Parked sessions are among the tasks, but hold no slot.
        let mut tasks = JoinSet::new();
        let slots = Arc::new(Semaphore::new(self.settings.slots.max(1)));
        let mut was_full = false;
        while !shutdown.is_cancelled() {
            // Below the floor of free space nothing is begun: a delivery might not end. What is only
            // to be ended waits for neither room nor a slot.
            let full = !self.attachments.has_room_for(0);
            if full && !was_full {
                tracing::warn!("sessions wait: the disk is as full as it may become");
            }
            was_full = full;
            loop {
                let slot = if full { None } else { Arc::clone(&slots).try_acquire_owned().ok() };
                let per_org = if slot.is_some() { self.settings.running_per_org } else { 0 };
                match self.claim_next(&worker, per_org).await {
                    Ok(Some(claim)) => {
                        let (cancel, shutdown) = (CancellationToken::new(), shutdown.clone());
                        let hold = Hold { slots: Arc::clone(&slots), slot, cancel, shutdown };
                        tasks.spawn(Arc::clone(&self).hold(claim, hold));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::error!(error = words::with_causes(&error), "the queue cannot be read");
                        break;
                    }
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                Some(ended) = tasks.join_next() => note_panic(ended),
            }
        }
        self.drain(tasks).await;
        drained.cancel();
        note_panic(watching.await);
        note_panic(sweeping.await);
        Ear::remove(&self.settings.workers_dir, &worker);
        Ok(())
    }

    /// Stops the turn of a session, if this process runs one.
    pub(super) fn stop_turn(&self, id: &SessionId) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cancel)) = running.get(id) {
            cancel.cancel();
        }
    }

    /// No longer stops what a claim does, unless another claim of this process has its session by now.
    fn forget_running(&self, claim: &Claim) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.get(&claim.id).is_some_and(|(epoch, _)| *epoch == claim.epoch) {
            running.remove(&claim.id);
        }
    }

    /// Makes the folder of the workspaces and makes itself seen among the workers.
    fn enter(&self) -> io::Result<Presence> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.settings.sessions_dir)?;
        Presence::enter(&self.settings.workers_dir, || Uuid::new_v4().to_string())
    }

    /// Takes a session that waits. The only writer is asked for only where there is one.
    async fn claim_next(&self, worker: &str, per_org: usize) -> Result<Option<Claim>, DbError> {
        let now = clock::now();
        if !store::waits(&mut *self.db.read().await?, per_org, now).await? {
            return Ok(None);
        }
        let until = now.plus(self.settings.lease);
        let mut tx = self.db.write().await?;
        let claim = store::claim(&mut tx, worker, per_org, now, until).await?;
        tx.commit().await?;
        if let Some(claim) = &claim {
            self.hint(&claim.id);
        }
        Ok(claim)
    }

    /// Works on one session while keeping the claim on it.
    async fn hold(self: Arc<Self>, mut claim: Claim, mut hold: Hold) {
        let (kept, cancel) = (claim.clone(), hold.cancel.clone());
        let entry = (claim.id.clone(), (claim.epoch, cancel.clone()));
        self.running.lock().unwrap_or_else(PoisonError::into_inner).extend([entry]);
        let worked = tokio::select! {
            worked = self.work(&mut claim, &mut hold) => worked,
            never = self.keep(&kept, &cancel) => match never {},
        };
        drop(hold);
        self.forget_running(&claim);
        match worked {
            Ok(()) => {}
            Err(WorkError::Lost) => {
                tracing::warn!(session.id = %claim.id, "a claim was lost; nothing was written");
            }
            Err(reason) => {
                let error = words::with_causes(&reason);
                tracing::error!(session.id = %claim.id, error, "a session could not be worked on; it rests");
                if let Err(error) = self.rest(&claim, &reason).await {
                    let error = words::with_causes(&error);
                    tracing::error!(session.id = %claim.id, error, "its lease has to run out by itself");
                }
            }
        }
        self.released.notify_waiters();
        self.wake.notify_one();
    }

    /// Renews a claim for as long as it is polled; stops the turn where the claim is lost, could not
    /// be renewed for the length of a lease, or the session is to be ended.
    async fn keep(&self, claim: &Claim, cancel: &CancellationToken) -> std::convert::Infallible {
        let lease = self.settings.lease;
        let mut renewed = Instant::now();
        let mut ticks = tokio::time::interval_at(renewed + lease / 3, lease / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let asked = Instant::now();
            let renewal = async {
                let (tx, held) = self.fenced(claim).await?;
                tx.commit().await?;
                Ok::<bool, WorkError>(held.stop_requested)
            };
            // A third of the lease is left for the agent to be stopped in.
            let outcome = tokio::time::timeout(lease / 3, renewal).await;
            match outcome {
                Ok(Ok(false)) => renewed = asked,
                Ok(Ok(true) | Err(WorkError::Lost)) => cancel.cancel(),
                Ok(Err(_)) | Err(_) if renewed.elapsed() >= lease * 2 / 3 => cancel.cancel(),
                Ok(Err(_)) | Err(_) => tracing::warn!(session.id = %claim.id, "a claim could not be renewed"),
            }
        }
    }

    async fn drain(&self, mut tasks: JoinSet<()>) {
        let all = async |tasks: &mut JoinSet<()>| {
            while let Some(ended) = tasks.join_next().await {
                note_panic(ended);
            }
        };
        if tokio::time::timeout(self.settings.drain, all(&mut tasks)).await.is_ok() {
            return;
        }
        self.stopping.store(true, Ordering::Relaxed);
        tracing::info!(
            sessions = tasks.len(),
            "turns are stopped; they run again with another worker or at the next start"
        );
        for (_, cancel) in self.running.lock().unwrap_or_else(PoisonError::into_inner).values() {
            cancel.cancel();
        }
        if tokio::time::timeout(RELEASE_WITHIN, all(&mut tasks)).await.is_err() {
            tracing::error!(sessions = tasks.len(), "sessions could not be released in time");
        }
    }

    async fn sweep_until(self: Arc<Self>, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(SWEEP.min(self.settings.idle_limit.max(POLL)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.sweep().await {
                tracing::error!(
                    error = words::with_causes(&error),
                    "idle sessions could not be looked after"
                );
            }
        }
    }

    /// Suspends sessions that have waited for longer than the idle limit; removes outputs whose turn
    /// was cut short after they were taken over, and the workspaces of sessions that were over long
    /// enough ago.
    async fn sweep(&self) -> Result<(), DbError> {
        let now = clock::now();
        let mut tx = self.db.write().await?;
        store::suspend_idle(&mut tx, now.minus(self.settings.idle_limit), now).await?;
        let longest = self.settings.rest.max(self.settings.restart_waits[1]);
        store::claim_at_once(&mut tx, now.plus(longest), now).await?;
        tx.commit().await?;
        for (session, output) in self.attachments.unnamed_outputs().await? {
            let mut tx = self.db.write().await?;
            if !store::is_held(&mut tx, &session).await? {
                self.attachments.drop_output(tx, &session, output).await?;
            }
        }
        let before = now.minus(self.settings.workspace_keep);
        let abandoned = store::abandoned_workspaces(&mut *self.db.read().await?, before).await?;
        for id in abandoned {
            let path = self.workspace_path(&id);
            match tokio::task::spawn_blocking(move || remove_workspace(&path)).await {
                Ok(Ok(())) => {
                    let mut tx = self.db.write().await?;
                    store::forget_workspace(&mut tx, &id, clock::now()).await?;
                    tx.commit().await?;
                }
                Ok(Err(error)) => {
                    tracing::warn!(session.id = %id, %error, "a workspace could not be removed");
                }
                Err(panic) => note_panic(Err(panic)),
            }
        }
        Ok(())
    }
}

/// What a task that panicked held is found again once its lease has run out.
fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task of the worker ended early");
    }
}
