//! Letting go of a session: what is to be said at the end of a claim, and where the session stands then.
//!
//! It is one transaction, fenced by the claim, so that a session is never left with a part of it. Messages that came
//! meanwhile keep it in the queue; a wish to end it wins over everything else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::settings::Settings;
use super::store::{self, Claim, Held, Settled};
use super::structured::Left;
use super::turn::WorkError;
use super::workspace::Workspace;
use super::{Sessions, Status, StatusDetail, words};
use crate::attachments::Attachment;
use crate::clock;

/// After how many failures of the service's own in a row a session is suspended.
const MAX_RESTS: i64 = 10;
/// How often the end of a turn is tried to be written, and how long after each other.
const SETTLE_TRIES: u32 = 150;
const SETTLE_AGAIN: Duration = Duration::from_secs(2);

/// Where a claim leaves its session, if nobody asked for its end meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// The turn ended; the session waits for a message.
    Turn,
    /// The turn ended with the final structured output.
    Finished,
    /// The turn failed; a message may overcome it.
    Failure,
    /// The agent had not all of its files, or the service failed too often: the messages are still to
    /// be handled, and another message has that tried.
    NotDelivered,
    /// The agent failed in a way that another start may overcome: again after a wait.
    Crashed,
    /// The agent cannot be started.
    NoStart,
    /// The agent waited for a message for too long, or others have waited less.
    Idle,
    /// The service stops: as if the claim had never been.
    Stop,
    /// Something of the service failed: again after a rest.
    Rest,
    /// The claim could not be kept, so the turn was cut short: again after a rest.
    NotKept,
}

/// What a claim has to say at its end.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// What the agent answered.
    pub(super) answer: String,
    /// What it handed back: path, attachment.
    pub(super) outputs: Vec<(String, Attachment)>,
    /// What was not taken over: path, reason.
    pub(super) left_out: Vec<(String, String)>,
    /// What the service says.
    pub(super) notice: Option<String>,
    /// What became of the structured output.
    pub(super) structured: Left,
}

impl Report {
    pub(super) fn notice(text: String) -> Self {
        Self { notice: Some(text), ..Self::default() }
    }
}

impl Sessions {
    /// Ends a claim: what is to be said, and where the session stands, in one transaction.
    pub(super) async fn leave(&self, claim: &Claim, after: After, report: Report) -> Result<(), WorkError> {
        self.settle(claim, after, report, false).await.map(drop)
    }

    /// Ends the turn of an agent that lives: as [`Self::leave`], but the claim is kept, unless somebody wants the
    /// session's end. Whether it is kept.
    pub(super) async fn park(&self, claim: &Claim, report: Report) -> Result<bool, WorkError> {
        self.settle(claim, After::Turn, report, true).await
    }

    /// What the agent did is not lost because the catalogue cannot be written for a while, a full disk for example: as
    /// long as nobody else has the session, it is tried again.
    async fn settle(
        &self,
        claim: &Claim,
        after: After,
        report: Report,
        keep: bool,
    ) -> Result<bool, WorkError> {
        let mut tries = 1;
        let kept = loop {
            match self.settle_once(claim, after, &report, keep).await {
                Err(WorkError::Db(error)) if tries < self.settle_tries() && error.may_pass() => {
                    let error = words::with_causes(&error);
                    tracing::warn!(session.id = %claim.id, error, "the end of a turn could not be written yet");
                    tries += 1;
                    tokio::time::sleep(SETTLE_AGAIN).await;
                }
                settled => break settled?,
            }
        };
        report.structured.forget().await;
        Ok(kept)
    }

    /// A service that stops does not wait for a catalogue that cannot be written.
    fn settle_tries(&self) -> u32 {
        if self.stopping.load(Ordering::Relaxed) { 2 } else { SETTLE_TRIES }
    }

    async fn settle_once(
        &self,
        claim: &Claim,
        after: After,
        report: &Report,
        keep: bool,
    ) -> Result<bool, WorkError> {
        let (mut tx, held) = self.fenced(claim).await?;
        let now = clock::now();
        let urls: Vec<String> = report
            .outputs
            .iter()
            .map(|(_, attachment)| self.attachments.urls().attachment_url(attachment.id.0, &attachment.name))
            .collect();
        for ((path, attachment), url) in report.outputs.iter().zip(&urls) {
            let (id, path) = (attachment.id, format!("output/{path}"));
            store::add_output(&mut tx, &claim.id, id, claim.inbox_seq, url, &path, now).await?;
        }
        if !report.answer.is_empty() {
            store::add_message(&mut tx, &claim.id, &words::said(&report.answer), now).await?;
        }
        if let Some(text) = words::handed_back(&urls, &report.left_out) {
            store::add_message(&mut tx, &claim.id, &words::said(&text), now).await?;
        }
        let begun = held.attempts > claim.attempts;
        let cut_short = match after {
            After::Stop => Some(words::STOPPING),
            After::NotKept => Some(words::NOT_KEPT),
            _ => None,
        };
        let cut_short = cut_short.filter(|_| begun && !held.stop_requested);
        let structured = &report.structured;
        let after = match &structured.provided {
            Some(provided) if provided.is_final && after == After::Turn => After::Finished,
            _ => after,
        };
        if let Some(provided) = &structured.provided {
            store::set_structured_output(&mut tx, &claim.id, provided).await?;
        }
        let missing = (structured.is_missing() && after == After::Turn).then_some(words::STRUCTURED_MISSING);
        let notices = report.notice.as_deref().into_iter().chain(cut_short);
        for notice in notices.chain(structured.refused.as_deref()).chain(missing) {
            store::add_message(&mut tx, &claim.id, &words::notice(notice), now).await?;
        }
        let to = settled(claim, &held, after, &self.settings);
        let keep = keep && !held.stop_requested;
        if keep {
            store::park(&mut tx, &claim.id, &to, now).await?;
        } else {
            store::settle(&mut tx, &claim.id, &to, now).await?;
        }
        tx.commit().await?;
        self.hint(&claim.id);
        tracing::info!(session.id = %claim.id, status = to.status.name(), agent.lives = keep, "a session was left");
        Ok(keep)
    }

    /// Ends a session whose turn was cut short, by a kill of the service, and that was then to be
    /// ended: what the turn left is still handed back.
    pub(super) async fn end_stopped(&self, claim: &Claim) -> Result<(), WorkError> {
        let mut report = Report::default();
        let path = self.workspace_path(&claim.id);
        if path.exists() {
            self.take_over(claim, Arc::new(self.open_alone(&path).await?), &mut report).await?;
        }
        self.leave(claim, After::Stop, report).await
    }

    /// Lets go of a session before its turn came to an end. Where the session is to end, what its
    /// turns left, also one that a kill cut short, is still handed back, and so is what was `printed`; any other turn
    /// runs again and prints it anew.
    pub(super) async fn stop_short(
        &self,
        claim: &Claim,
        workspace: Arc<Workspace>,
        printed: &str,
    ) -> Result<(), WorkError> {
        let (tx, held) = self.fenced(claim).await?;
        tx.commit().await?;
        let mut report = Report::default();
        if held.stop_requested {
            self.take_over(claim, workspace, &mut report).await?;
            report.answer = printed.trim().to_owned();
        }
        let after = if self.stopping.load(Ordering::Relaxed) { After::Stop } else { After::NotKept };
        self.leave(claim, after, report).await
    }

    /// Lets go of a session that could not be worked on for a reason of the service's own; after
    /// [`MAX_RESTS`] of them in a row a person decides.
    pub(super) async fn rest(&self, claim: &Claim, error: &WorkError) -> Result<(), WorkError> {
        let rests = claim.rests + 1;
        if rests >= MAX_RESTS {
            let text = match error {
                WorkError::NoRoom(file) => {
                    words::undelivered(&[(file.clone(), words::NO_ROOM.to_owned())], false)
                }
                _ => words::rested_too_often(rests),
            };
            return self.leave(claim, After::NotDelivered, Report::notice(text)).await;
        }
        let report = match error {
            // It is told once: the tries that follow have nothing to add.
            WorkError::NoRoom(file) if rests == 1 => {
                Report::notice(words::waits_for_room(file, self.settings.rest, MAX_RESTS))
            }
            _ => Report::default(),
        };
        self.leave(claim, After::Rest, report).await
    }
}

/// How long a crashed agent waits for its next start after so many.
pub(super) fn restart_wait(waits: [Duration; 2], attempts: i64) -> Duration {
    if attempts <= 1 { waits[0] } else { waits[1] }
}

/// Where a claim leaves its session. Messages that came meanwhile keep it in the queue.
fn settled(claim: &Claim, held: &Held, after: After, settings: &Settings) -> Settled {
    let now = clock::now();
    let newer = held.inbox_seq > claim.inbox_seq;
    // What waited before is no reason to try again what failed without the agent.
    let sent_meanwhile = held.inbox_seq > claim.newest_seq;
    let (handled, unhandled) = (claim.inbox_seq, claim.done_seq);
    let to = |status, detail, done_seq| Settled {
        status,
        detail,
        done_seq,
        attempts: 0,
        told_attempts: 0,
        rests: 0,
        not_before: now,
    };
    let suspended = |again| {
        if again { (Status::Resuming, None) } else { (Status::Suspended, Some(StatusDetail::Error)) }
    };
    if held.stop_requested {
        return to(Status::Exit, Some(StatusDetail::UserRequest), handled);
    }
    match after {
        After::Turn | After::Finished if newer => to(Status::Running, Some(StatusDetail::Working), handled),
        After::Turn => to(Status::Running, Some(StatusDetail::WaitingForUser), handled),
        After::Finished => to(Status::Running, Some(StatusDetail::Finished), handled),
        After::Failure => to(suspended(newer).0, suspended(newer).1, handled),
        After::NotDelivered => to(suspended(sent_meanwhile).0, suspended(sent_meanwhile).1, unhandled),
        After::Crashed => {
            let attempts = held.attempts;
            let not_before = now.plus(restart_wait(settings.restart_waits, attempts));
            Settled {
                attempts,
                told_attempts: attempts,
                not_before,
                ..to(held.status, held.detail, unhandled)
            }
        }
        After::Idle if newer => to(held.status, held.detail, handled),
        After::Idle => to(Status::Suspended, Some(StatusDetail::Inactivity), handled),
        After::NoStart => to(Status::Error, None, handled),
        After::Stop => {
            let (attempts, told_attempts, rests) = (claim.attempts, claim.told_attempts, claim.rests);
            Settled { attempts, told_attempts, rests, ..to(held.status, held.detail, unhandled) }
        }
        After::Rest | After::NotKept => {
            let attempts = held.attempts;
            let (rests, not_before) = (claim.rests + 1, now.plus(settings.rest));
            let told_attempts = claim.told_attempts;
            Settled { attempts, told_attempts, rests, not_before, ..to(held.status, held.detail, unhandled) }
        }
    }
}
