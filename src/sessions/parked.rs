//! Agents that live and wait for a message: parked.
//!
//! After its turn such an agent keeps its process, and its worker keeps the claim, but it takes no slot and does not
//! count for its organisation. A message has it taken up in place, once there is a slot and the organisation may run
//! one more. It is let go of when the idle limit passes, when it dies, when somebody ends its session, when the worker
//! stops, or, the longest idle first, when more are parked than may be. A notification wakes it; a look every two
//! seconds is what is relied on.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::agent::{Failure, Told};
use super::leaving::{After, Report};
use super::store::{self, Claim};
use super::turn::{Living, TOLD_QUEUE, WorkError};
use super::workspace::Workspace;
use super::{Sessions, words};
use crate::clock;
use crate::id::{OrgId, SessionId};

/// How often a parked session is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Every agent that is parked in this process.
#[derive(Debug, Default)]
pub(super) struct Parked(Mutex<HashMap<SessionId, Place>>);

#[derive(Debug, Clone)]
struct Place {
    org: OrgId,
    since: Instant,
    /// A message may have come.
    wake: Arc<Notify>,
    /// Another one needs the place.
    leave: CancellationToken,
}

/// What one claim works with besides the session itself.
pub(super) struct Hold {
    /// One for each session that is at work.
    pub(super) slots: Arc<Semaphore>,
    /// The place of this one; none while it is parked.
    pub(super) slot: Option<OwnedSemaphorePermit>,
    /// Ends what this claim does.
    pub(super) cancel: CancellationToken,
    /// The worker stops.
    pub(super) shutdown: CancellationToken,
}

/// What ended the waiting.
enum Next {
    /// A message: the claim is for it now.
    Turn,
    /// The idle limit, or too many parked.
    Idle,
    /// The worker stops.
    Shutdown,
    /// The session is to end, or the claim could not be kept.
    Cancelled,
    /// The agent is gone.
    Gone(Failure),
}

impl Parked {
    /// Wakes a session that is parked here.
    pub(super) fn wake(&self, id: &SessionId) {
        if let Some(place) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            place.wake.notify_one();
        }
    }

    /// Wakes every session that is parked here.
    pub(super) fn wake_all(&self) {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.values().for_each(|place| place.wake.notify_one());
    }

    /// Takes a place; where there are `most` already, one is asked to leave: the longest idle one of the organisation
    /// that has the most, so that no other has to make room for it.
    fn enter(&self, id: &SessionId, org: &OrgId, most: usize) -> Place {
        let place = Place {
            org: org.clone(),
            since: Instant::now(),
            wake: Arc::new(Notify::new()),
            leave: CancellationToken::new(),
        };
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let staying: Vec<&Place> = places.values().filter(|place| !place.leave.is_cancelled()).collect();
        if staying.len() >= most.max(1) {
            let of = |org: &OrgId| {
                staying.iter().filter(|place| place.org == *org).count() + usize::from(*org == place.org)
            };
            let longest = staying.iter().min_by_key(|place| (Reverse(of(&place.org)), place.since));
            if let Some(longest) = longest {
                longest.leave.cancel();
            }
        }
        places.insert(id.clone(), place.clone());
        place
    }

    fn leave(&self, id: &SessionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl Sessions {
    /// Works on a claim to its end: turn after turn while the agent lives, else one. `claim` is changed to what is
    /// worked on.
    pub(super) async fn work(&self, claim: &mut Claim, hold: &mut Hold) -> Result<(), WorkError> {
        let mut living = None;
        while let Some(mut agent) = self.take_turn(claim, living, &hold.cancel).await? {
            claim.done_seq = claim.inbox_seq;
            claim.agent_session = agent.agent.conversation().map(str::to_owned);
            (claim.attempts, claim.told_attempts, claim.rests, claim.turn_open) = (0, 0, 0, false);
            hold.slot = None;
            self.released.notify_waiters();
            self.wake.notify_one();
            let place = self.parked.enter(&claim.id, &claim.org_id, self.settings.max_parked);
            let next = self.wait_parked(claim, hold, &mut agent, &place).await;
            self.parked.leave(&claim.id);
            let next = match next {
                Ok(Next::Turn) => {
                    living = Some(agent);
                    continue;
                }
                next => next,
            };
            let Living { agent, workspace } = agent;
            agent.stop().await;
            return self.unpark(claim, workspace, next?).await;
        }
        Ok(())
    }

    /// Waits for a message, or for an end.
    async fn wait_parked(
        &self,
        claim: &mut Claim,
        hold: &mut Hold,
        living: &mut Living,
        place: &Place,
    ) -> Result<Next, WorkError> {
        // What the agent says between turns is written down as it comes.
        let (tell, told) = mpsc::channel(TOLD_QUEUE);
        let held = claim.clone();
        let most = self.settings.agents.get(&held.agent).map_or(0, |agent| agent.command.max_output_bytes);
        let cancel = hold.cancel.clone();
        let mut writing = pin!(self.write_down(&held, told, most, &cancel));
        let next = tokio::select! {
            biased;
            next = self.wait_for_next(claim, hold, living, place, tell) => next,
            written = &mut writing => return Err(written.err().unwrap_or(WorkError::Lost)),
        };
        match (writing.await, next) {
            (Err(WorkError::Db(error)), Ok(next)) => {
                let error = words::with_causes(&error);
                tracing::warn!(session.id = %held.id, error, "what an agent said between turns was not written");
                Ok(next)
            }
            (Err(error), _) => Err(error),
            (Ok(_), next) => next,
        }
    }

    async fn wait_for_next(
        &self,
        claim: &mut Claim,
        hold: &mut Hold,
        living: &mut Living,
        place: &Place,
        tell: mpsc::Sender<Told>,
    ) -> Result<Next, WorkError> {
        let idle = place.since + self.settings.idle_limit;
        // One wait for a slot outlives the looks at the session, so that it keeps its place among those who wait.
        let mut slot = pin!(Arc::clone(&hold.slots).acquire_owned());
        // It takes its time to end one that does not write any more, and is not begun anew at each look.
        let mut gone = living.agent.gone(tell);
        loop {
            // Asked for before looking, so that a slot or place that is given back in between is not missed.
            let released = self.released.notified();
            let waiting = self.has_message(claim).await?;
            let ready = waiting && self.attachments.has_room_for(0);
            if !ready {
                slot.set(Arc::clone(&hold.slots).acquire_owned());
            }
            tokio::select! {
                biased;
                () = hold.cancel.cancelled() => return Ok(Next::Cancelled),
                () = hold.shutdown.cancelled() => return Ok(Next::Shutdown),
                failure = &mut gone => return Ok(Next::Gone(failure)),
                taken = &mut slot, if ready => {
                    let Ok(taken) = taken else { return Ok(Next::Shutdown) };
                    // Not raced with anything: a transaction that is dropped half-way may still be committed.
                    if let Some(taken_up) = self.take_up(claim).await? {
                        (hold.slot, *claim) = (Some(taken), taken_up);
                        return Ok(Next::Turn);
                    }
                    drop(taken);
                    slot.set(Arc::clone(&hold.slots).acquire_owned());
                    // Its organisation runs as many as it may, or it is to end.
                    tokio::select! {
                        () = hold.cancel.cancelled() => {}
                        () = released => {}
                        () = tokio::time::sleep(LOOK) => {}
                    }
                }
                () = place.leave.cancelled(), if !waiting => return Ok(Next::Idle),
                () = tokio::time::sleep_until(idle), if !waiting => return Ok(Next::Idle),
                () = place.wake.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Whether a message came for a parked session. A wish to end it, and the loss of the claim, end it.
    async fn has_message(&self, claim: &Claim) -> Result<bool, WorkError> {
        let looked = async { store::waiting(&mut *self.db.read().await?, claim).await };
        match looked.await {
            Ok(Some((_, true))) => {
                self.stop_turn(&claim.id);
                Ok(false)
            }
            Ok(Some((inbox_seq, false))) => Ok(inbox_seq > claim.inbox_seq),
            Ok(None) => Err(WorkError::Lost),
            Err(error) => {
                let error = words::with_causes(&error);
                tracing::warn!(session.id = %claim.id, error, "a parked session could not be looked at");
                Ok(false)
            }
        }
    }

    /// Takes a parked session up again for the messages that came; `None` where its organisation runs as many as it may,
    /// or where somebody wants its end, which is seen at the next look.
    async fn take_up(&self, claim: &Claim) -> Result<Option<Claim>, WorkError> {
        let (mut tx, held) = self.fenced(claim).await?;
        if held.stop_requested {
            return Ok(None);
        }
        if !store::take_up(&mut tx, &claim.id, self.settings.running_per_org, clock::now()).await? {
            return Ok(None);
        }
        let newest_seq = held.inbox_seq;
        let inbox_seq = store::enough_for_a_turn(&mut tx, &claim.id, claim.done_seq, newest_seq).await?;
        tx.commit().await?;
        self.hint(&claim.id);
        Ok(Some(Claim { newest_seq, inbox_seq, ..claim.clone() }))
    }

    /// Lets go of a session whose agent was parked and is gone now.
    async fn unpark(&self, claim: &Claim, workspace: Arc<Workspace>, next: Next) -> Result<(), WorkError> {
        match next {
            Next::Cancelled => self.stop_short(claim, workspace, "").await,
            Next::Gone(failure) => {
                tracing::info!(session.id = %claim.id, ?failure, "an agent ended while it waited for a message");
                let report = Report::notice(words::gone(&claim.agent, &failure));
                self.leave(claim, After::Stop, report).await
            }
            Next::Idle => self.leave(claim, After::Idle, Report::default()).await,
            Next::Shutdown | Next::Turn => self.leave(claim, After::Stop, Report::default()).await,
        }
    }
}
