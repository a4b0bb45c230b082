//! One claim of a session, from its files to its answer.
//!
//! A turn takes every message that waited when the session was claimed; later ones wait for the
//! next. Its end is one transaction: the answer, what came back, and where the session stands.
//!
//! What an agent does is reported and not repeated: a command that fails, is killed or takes too
//! long has run, and its effects outside of the workspace are unknown, so the session is suspended
//! and a person decides. Only a turn that the service itself cut short runs again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::command::{HowEnded, TurnEnd, run_turn};
use super::inputs::HandedOver;
use super::outputs::{self, Output};
use super::prompt::{self, Telling, ToldFile};
use super::sandbox::Isolation;
use super::store::{self, Claim, Held, Settled};
use super::workspace::Workspace;
use super::{AgentProfile, MAX_ATTEMPTS, Sessions, Status, StatusDetail, words};
use crate::attachments::{Attachment, Source, filename, find_many};
use crate::clock;
use crate::db::{DbError, Tx};
use crate::id::AttachmentId;

/// How long a session rests that could not be worked on for a reason of the service's own.
pub(super) const REST: Duration = Duration::from_secs(30);
/// After how many such failures in a row it is suspended.
const MAX_RESTS: i64 = 10;

/// Why a claim was not brought to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkError {
    /// Another worker has the session, or it was ended: nothing more may be written.
    #[error("the claim on the session is lost")]
    Lost,
    /// The catalogue failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The files of the session do not fit on the disk now.
    #[error("the disk has no room for the files of the session")]
    NoRoom,
    /// The system refused something that the start of the agent needs, so it never ran.
    #[error("the agent could not be started now: {0}")]
    NotStarted(String),
    /// Another worker, or an agent of it, is still at work in the session's folder.
    #[error("another agent is still at work in the folder of the session")]
    Busy,
    /// The workspace failed.
    #[error("the workspace cannot be used")]
    Workspace(#[from] std::io::Error),
}

impl From<sqlx::Error> for WorkError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Where a claim leaves its session, if nobody asked for its end meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// The turn ended; the session waits for a message.
    Turn,
    /// The turn failed; a message may overcome it.
    Failure,
    /// The agent had not all of its files, or the service failed too often: the messages are still to
    /// be handled, and another message has that tried.
    NotDelivered,
    /// The agent cannot be started.
    NoStart,
    /// The service stops: as if the claim had never been.
    Stop,
    /// Something of the service failed: again after a rest.
    Rest,
    /// The same before the agent ran: its start does not count as an attempt.
    RestBeforeTurn,
    /// The claim could not be kept, so the turn was cut short: again after a rest.
    NotKept,
}

/// What a claim has to say at its end.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// What the agent answered.
    answer: String,
    /// What it handed back: path, attachment.
    outputs: Vec<(String, Attachment)>,
    /// What was not taken over: path, reason.
    left_out: Vec<(String, String)>,
    /// What the service says.
    notice: Option<String>,
}

impl Report {
    fn notice(text: String) -> Self {
        Self { notice: Some(text), ..Self::default() }
    }
}

impl Sessions {
    /// Does what a claim asks for and lets go of the session.
    pub(super) async fn work(&self, claim: &Claim, cancel: &CancellationToken) -> Result<(), WorkError> {
        if claim.stop_requested {
            return self.end_stopped(claim).await;
        }
        if claim.attempts >= MAX_ATTEMPTS {
            let report = Report::notice(words::given_up(claim.attempts));
            return self.leave(claim, After::Failure, report).await;
        }
        let Some(profile) = self.settings.agents.get(&claim.agent) else {
            let report = Report::notice(words::no_profile(&claim.agent));
            return self.leave(claim, After::NoStart, report).await;
        };
        let workspace = self.open_workspace(claim).await?;
        match self.deliver(claim, &workspace, cancel).await? {
            HandedOver::All => {}
            HandedOver::Stopped => return self.stop_short(claim, workspace, "").await,
            HandedOver::NotAll(failures) => {
                let report = Report::notice(words::undelivered(&failures));
                return self.leave(claim, After::NotDelivered, report).await;
            }
        }
        let Some(prompt) = self.begin(claim, profile).await? else {
            return self.stop_short(claim, workspace, "").await;
        };
        let sandbox = &self.settings.sandbox;
        let end = run_turn(&profile.command, sandbox, &workspace, &prompt, cancel.clone()).await;
        match end.how {
            HowEnded::Refused(why) => return Err(WorkError::NotStarted(why)),
            HowEnded::FailedToStart(ref why) | HowEnded::Lost(ref why) => {
                tracing::error!(session.id = %claim.id, agent.profile = profile.command.name, why, "a turn failed");
            }
            _ => {}
        }
        tracing::info!(session.id = %claim.id, how = ?end.how, "a turn ended");
        self.finish(claim, profile, workspace, end).await
    }

    /// Opens a transaction of a claim; nothing of a lost claim gets past it.
    pub(super) async fn fenced(&self, claim: &Claim) -> Result<(Tx, Held), WorkError> {
        let mut tx = self.db.write().await?;
        let until = clock::now().plus(self.settings.lease);
        let held = store::fence(&mut tx, claim, until).await?.ok_or(WorkError::Lost)?;
        Ok((tx, held))
    }

    /// Ends a claim: what is to be said, and where the session stands, in one transaction.
    pub(super) async fn leave(&self, claim: &Claim, after: After, report: Report) -> Result<(), WorkError> {
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
        for notice in report.notice.as_deref().into_iter().chain(cut_short) {
            store::add_message(&mut tx, &claim.id, &words::notice(notice), now).await?;
        }
        let to = settled(claim, &held, after);
        store::settle(&mut tx, &claim.id, &to, now).await?;
        tx.commit().await?;
        tracing::info!(session.id = %claim.id, status = to.status.name(), "a session was left");
        Ok(())
    }

    /// Ends a session whose turn was cut short, by a kill of the service, and that was then to be
    /// ended: what the turn left is still handed back.
    async fn end_stopped(&self, claim: &Claim) -> Result<(), WorkError> {
        let mut report = Report::default();
        let path = self.workspace_path(&claim.id);
        if path.exists() {
            self.take_over(claim, self.open_alone(&path).await?, &mut report).await?;
        }
        self.leave(claim, After::Stop, report).await
    }

    /// Lets go of a session before its turn came to an end. Where the session is to end, what its
    /// turns left, also one that a kill cut short, is still handed back, and so is what was `printed`; any other turn
    /// runs again and prints it anew.
    async fn stop_short(&self, claim: &Claim, workspace: Workspace, printed: &str) -> Result<(), WorkError> {
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
            let report = Report::notice(words::rested_too_often(rests));
            return self.leave(claim, After::NotDelivered, report).await;
        }
        let never_ran = matches!(error, WorkError::NotStarted(_) | WorkError::NoRoom | WorkError::Busy);
        let after = if never_ran { After::RestBeforeTurn } else { After::Rest };
        self.leave(claim, after, Report::default()).await
    }

    /// Notes that the agent starts, and says with what prompt; `None` where the session is to end.
    async fn begin(&self, claim: &Claim, profile: &AgentProfile) -> Result<Option<String>, WorkError> {
        let (mut tx, held) = self.fenced(claim).await?;
        if held.stop_requested {
            return Ok(None);
        }
        let id = &claim.id;
        let now = clock::now();
        let new = store::between(&mut tx, id, claim.done_seq, claim.inbox_seq).await?;
        let first = new.first().map_or(i64::MAX, |message| message.position);
        let (messages, characters) = (prompt::TRANSCRIPT_MESSAGES, prompt::TRANSCRIPT_CHARS);
        let earlier = store::earlier(&mut tx, id, first, messages, characters).await?;
        let rows = store::files(&mut tx, id).await?;
        let ids: Vec<AttachmentId> = rows.iter().map(|row| row.attachment_id).collect();
        let attachments = find_many(&mut tx, &claim.org_id, &ids).await?;
        let files: Vec<ToldFile> = rows
            .into_iter()
            .zip(attachments)
            .filter_map(|(row, attachment)| {
                let Attachment { content_type, size, .. } = attachment?;
                Some(ToldFile { url: row.url, path: row.path?, content_type, size, source: row.source })
            })
            .collect();
        if claim.attempts > 0 {
            let text = words::interrupted(claim.attempts);
            store::add_message(&mut tx, id, &words::notice(&text), now).await?;
        }
        store::begin_turn(&mut tx, id, now).await?;
        tx.commit().await?;
        let telling = Telling {
            earlier: &earlier,
            new: &new,
            files: &files,
            read_only: self.settings.sandbox.isolation() != Isolation::None,
            output_hint: &profile.output_hint,
        };
        Ok(Some(telling.prompt()))
    }

    /// Takes over what a turn left and reports how it ended.
    async fn finish(
        &self,
        claim: &Claim,
        profile: &AgentProfile,
        workspace: Workspace,
        end: TurnEnd,
    ) -> Result<(), WorkError> {
        if end.how == HowEnded::Cancelled {
            return self.stop_short(claim, workspace, &end.stdout).await;
        }
        let mut report = Report::default();
        self.take_over(claim, workspace, &mut report).await?;
        report.answer = end.stdout.trim().to_owned();
        let seconds = profile.command.turn_timeout.as_secs();
        report.notice = words::failure(&profile.command.name, &end, seconds);
        let after = match end.how {
            HowEnded::FailedToStart(_) => After::NoStart,
            _ if report.notice.is_some() => After::Failure,
            _ => After::Turn,
        };
        let silent = report.answer.is_empty() && report.outputs.is_empty() && report.left_out.is_empty();
        if after == After::Turn && silent {
            report.notice = Some(words::SILENT.to_owned());
        }
        self.leave(claim, after, report).await
    }

    /// Makes attachments of the new files in the output folder. They are durable before the session
    /// names them; those that a kill in between leaves unnamed are removed by the next sweep.
    async fn take_over(
        &self,
        claim: &Claim,
        workspace: Workspace,
        report: &mut Report,
    ) -> Result<(), WorkError> {
        let known = self.known_outputs(claim).await?;
        let limits = self.settings.outputs.clone();
        let collected = tokio::task::spawn_blocking(move || outputs::collect(&workspace, &limits, &known));
        let found = collected.await.map_err(std::io::Error::other)??;
        report.left_out = found.left_out.into_iter().map(|left| (left.path, left.why.to_string())).collect();
        for Output { path, sha256, size, file } in found.files {
            let name = filename::safe_name(&path);
            let (org, session) = (&claim.org_id, &claim.id);
            match self.attachments.receive_output(org, session, &name, file, size, &sha256).await {
                Ok(attachment) => report.outputs.push((path, attachment)),
                Err(error) => report.left_out.push((format!("output/{path}"), words::with_causes(&error))),
            }
        }
        Ok(())
    }

    /// What came back before: path below the output folder, SHA-256.
    async fn known_outputs(&self, claim: &Claim) -> Result<HashSet<(String, String)>, WorkError> {
        let mut conn = self.db.read().await?;
        let mut rows = store::files(&mut conn, &claim.id).await?;
        rows.retain(|row| row.source == Source::Devin);
        let ids: Vec<AttachmentId> = rows.iter().map(|row| row.attachment_id).collect();
        let digests: HashMap<AttachmentId, String> = find_many(&mut conn, &claim.org_id, &ids)
            .await?
            .into_iter()
            .flatten()
            .map(|attachment| (attachment.id, attachment.sha256))
            .collect();
        let known = rows.into_iter().filter_map(|row| {
            let path = row.path?.strip_prefix("output/")?.to_owned();
            Some((path, digests.get(&row.attachment_id)?.clone()))
        });
        Ok(known.collect())
    }
}

/// Where a claim leaves its session. Messages that came meanwhile keep it in the queue.
fn settled(claim: &Claim, held: &Held, after: After) -> Settled {
    let now = clock::now();
    let newer = held.inbox_seq > claim.inbox_seq;
    let (handled, unhandled) = (claim.inbox_seq, claim.done_seq);
    let to = |status, detail, done_seq| Settled {
        status,
        detail,
        done_seq,
        attempts: 0,
        rests: 0,
        not_before: now,
    };
    let suspended =
        if newer { (Status::Resuming, None) } else { (Status::Suspended, Some(StatusDetail::Error)) };
    if held.stop_requested {
        return to(Status::Exit, Some(StatusDetail::UserRequest), handled);
    }
    match after {
        After::Turn if newer => to(Status::Running, Some(StatusDetail::Working), handled),
        After::Turn => to(Status::Running, Some(StatusDetail::WaitingForUser), handled),
        After::Failure => to(suspended.0, suspended.1, handled),
        After::NotDelivered => to(suspended.0, suspended.1, unhandled),
        After::NoStart => to(Status::Error, None, handled),
        After::Stop => {
            let (attempts, rests) = (claim.attempts, claim.rests);
            Settled { attempts, rests, ..to(held.status, held.detail, unhandled) }
        }
        After::Rest | After::RestBeforeTurn | After::NotKept => {
            let attempts = if after == After::RestBeforeTurn { claim.attempts } else { held.attempts };
            let (rests, not_before) = (claim.rests + 1, now.plus(REST));
            Settled { attempts, rests, not_before, ..to(held.status, held.detail, unhandled) }
        }
    }
}
