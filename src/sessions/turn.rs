//! One turn of a session, from its files to its answer.
//!
//! A turn takes the messages that waited when the session was claimed, or taken up again, up to 1 MiB of them; the
//! others wait for the next. Its end is one transaction: what is still to be said, what came back, and where the
//! session stands.
//!
//! What a command does is reported and not repeated: one that fails, is killed or takes too long has run, and its
//! effects outside of the workspace are unknown, so the session is suspended and a person decides. The same holds for
//! an ACP agent whose turn took too long; one that crashed is started again, told so, and goes on. A turn that the
//! service itself cut short runs again.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::agent::{self, Agent, Failure, How, Start, TurnEnd};
use super::environment::Environment;
use super::inputs::HandedOver;
use super::leaving::{After, Report, restart_wait};
use super::prompt::{self, Telling, ToldFile};
use super::sandbox::Isolation;
use super::store::{self, Claim, Held};
use super::structured::{Channel, Left};
use super::workspace::Workspace;
use super::{AgentProfile, MAX_ATTEMPTS, Message, Sessions, words};
use crate::attachments::{Attachment, find_many};
use crate::clock;
use crate::db::{DbError, Tx};
use crate::id::AttachmentId;

/// Pieces of what an agent tells that wait to be written down.
pub(super) const TOLD_QUEUE: usize = 64;

/// Why a claim was not brought to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkError {
    /// Another worker has the session, or it was ended: nothing more may be written.
    #[error("the claim on the session is lost")]
    Lost,
    /// The catalogue failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A file of the session, by its name, does not fit on the disk now.
    #[error("the disk has no room for {0}")]
    NoRoom(String),
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

/// An agent that waits for its next turn.
pub(super) struct Living {
    pub(super) agent: Box<dyn Agent>,
    pub(super) workspace: Arc<Workspace>,
}

/// What a turn's prompt is made from.
struct Beginning {
    earlier: Vec<Message>,
    new: Vec<Message>,
    files: Vec<ToldFile>,
}

impl Sessions {
    /// Runs one turn, with the agent of the turn before if it lives, and hands it back if it still does; then the
    /// claim is kept. Otherwise the session was let go of.
    pub(super) async fn take_turn(
        &self,
        claim: &Claim,
        living: Option<Living>,
        cancel: &CancellationToken,
    ) -> Result<Option<Living>, WorkError> {
        if claim.stop_requested {
            return self.end_stopped(claim).await.map(|()| None);
        }
        if claim.attempts >= MAX_ATTEMPTS {
            let report = Report::notice(words::given_up(claim.attempts));
            return self.leave(claim, After::Failure, report).await.map(|()| None);
        }
        let Some(profile) = self.settings.agents.get(&claim.agent) else {
            let report = Report::notice(words::no_profile(&claim.agent));
            return self.leave(claim, After::NoStart, report).await.map(|()| None);
        };
        let workspace = match &living {
            Some(living) => Arc::clone(&living.workspace),
            None => Arc::new(self.open_workspace(claim).await?),
        };
        let agent = living.map(|living| living.agent);
        let mut secrets = Environment::default();
        let left_undone = match self.deliver(claim, &workspace, cancel).await? {
            HandedOver::All if agent.is_some() => None,
            HandedOver::All => match self.secrets_of(claim).await? {
                Ok(found) => {
                    secrets = found;
                    None
                }
                Err(why) => Some(Some(Report::notice(why))),
            },
            HandedOver::Stopped => Some(None),
            HandedOver::NotAll { failures, for_good } => {
                Some(Some(Report::notice(words::undelivered(&failures, for_good))))
            }
        };
        let wants = self.prepare_structured(claim, &workspace).await?.then(|| Channel::of(profile));
        let beginning = match left_undone {
            None => self.begin(claim).await?.ok_or(None),
            Some(left_undone) => Err(left_undone),
        };
        let beginning = match beginning {
            Ok(beginning) => beginning,
            Err(undelivered) => {
                stop(agent).await;
                match undelivered {
                    Some(report) => self.leave(claim, After::NotDelivered, report).await?,
                    None => self.stop_short(claim, workspace, "").await?,
                }
                return Ok(None);
            }
        };
        let started = match agent {
            Some(agent) => Ok(agent),
            None => self.start_agent(claim, profile, &workspace, secrets, wants, cancel).await?,
        };
        let mut structured = Left::default();
        let (agent, end, said) = match started {
            Ok(mut agent) => {
                let (mut end, mut said) =
                    self.prompt(claim, profile, &mut *agent, &beginning, wants, cancel).await?;
                if let Some(channel) = wants
                    && end.how == How::Done
                    && agent.lives()
                    && !cancel.is_cancelled()
                {
                    structured = self.take_structured(claim, &workspace).await?;
                    if structured.is_missing() {
                        let asked = words::structured_asked(channel);
                        let (then, more) = self.tell(claim, profile, &mut *agent, &asked, cancel).await?;
                        (end, said) = (then, said || more);
                    }
                }
                (Some(agent), end, said)
            }
            Err(end) => (None, end, false),
        };
        tracing::info!(session.id = %claim.id, how = ?end.how, "a turn ended");
        let (after, mut report) = match self.judge(claim, profile, &end) {
            Ok(judged) => judged,
            Err(None) => {
                stop(agent).await;
                return self.stop_short(claim, workspace, &end.answer).await.map(|()| None);
            }
            Err(Some(error)) => {
                self.take_back_turn(claim).await?;
                return Err(error);
            }
        };
        report.structured = structured;
        let done = end.how == How::Done;
        let living = agent.filter(|agent| after == After::Turn && agent.lives());
        let living = if cancel.is_cancelled() {
            stop(living).await;
            None
        } else {
            living
        };
        self.finish(claim, workspace, living, after, report, done && !said).await
    }

    /// Opens a transaction of a claim; nothing of a lost claim gets past it.
    pub(super) async fn fenced(&self, claim: &Claim) -> Result<(Tx, Held), WorkError> {
        let mut tx = self.db.write().await?;
        let until = clock::now().plus(self.settings.lease);
        let held = store::fence(&mut tx, claim, until).await?.ok_or(WorkError::Lost)?;
        Ok((tx, held))
    }

    /// Notes that the agent starts, and says with what; `None` where the session is to end.
    async fn begin(&self, claim: &Claim) -> Result<Option<Beginning>, WorkError> {
        let id = &claim.id;
        // Only this claim changes them, so that the only writer need not wait for it.
        let files = self.told_files(claim).await?;
        let (mut tx, held) = self.fenced(claim).await?;
        if held.stop_requested {
            return Ok(None);
        }
        let now = clock::now();
        let new = store::between(&mut tx, id, claim.done_seq, claim.inbox_seq).await?;
        let first = new.first().map_or(i64::MAX, |message| message.position);
        let (messages, characters) = (prompt::TRANSCRIPT_MESSAGES, prompt::TRANSCRIPT_CHARS);
        let earlier = store::earlier(&mut tx, id, first, messages, characters).await?;
        if claim.attempts > claim.told_attempts {
            let text = words::interrupted(claim.attempts);
            store::add_message(&mut tx, id, &words::notice(&text), now).await?;
        }
        store::begin_turn(&mut tx, id, now).await?;
        tx.commit().await?;
        self.hint(id);
        Ok(Some(Beginning { earlier, new, files }))
    }

    /// The files of the session that lie in its workspace, as its agent is told of them.
    async fn told_files(&self, claim: &Claim) -> Result<Vec<ToldFile>, WorkError> {
        let mut conn = self.db.read().await?;
        let rows = store::files(&mut conn, &claim.id).await?;
        let ids: Vec<AttachmentId> = rows.iter().map(|row| row.attachment_id).collect();
        let attachments = find_many(&mut conn, &claim.org_id, &ids).await?;
        let told = rows.into_iter().zip(attachments).filter_map(|(row, attachment)| {
            let Attachment { content_type, size, .. } = attachment?;
            Some(ToldFile { url: row.url, path: row.path?, content_type, size, source: row.source })
        });
        Ok(told.collect())
    }

    /// Takes back that a turn began: its agent never ran, so it is neither an attempt nor a turn that was interrupted.
    async fn take_back_turn(&self, claim: &Claim) -> Result<(), WorkError> {
        let (mut tx, _) = self.fenced(claim).await?;
        store::take_back_turn(&mut tx, claim).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Starts the agent and notes what it calls its conversation; or says how the start failed.
    async fn start_agent(
        &self,
        claim: &Claim,
        profile: &AgentProfile,
        workspace: &Arc<Workspace>,
        secrets: Environment,
        wants: Option<Channel>,
        cancel: &CancellationToken,
    ) -> Result<Result<Box<dyn Agent>, TurnEnd>, WorkError> {
        let with = Start {
            sandbox: &self.settings.sandbox,
            workspace: Arc::clone(workspace),
            extra_env: secrets,
            mcp_servers: wants.map_or(Ok(Vec::new()), |channel| self.tool_servers(channel, workspace))?,
            conversation: claim.agent_session.clone(),
            cancel,
        };
        let started = agent::start(profile, with).await;
        if let Ok(agent) = &started
            && let Some(conversation) = agent.conversation()
            && claim.agent_session.as_deref() != Some(conversation)
        {
            let (mut tx, _) = self.fenced(claim).await?;
            store::set_agent_session(&mut tx, &claim.id, conversation).await?;
            tx.commit().await?;
        }
        Ok(started)
    }

    /// Runs the turn with the prompt that it begins with; how it ended, and whether anything was said.
    async fn prompt(
        &self,
        claim: &Claim,
        profile: &AgentProfile,
        agent: &mut dyn Agent,
        beginning: &Beginning,
        wants: Option<Channel>,
        cancel: &CancellationToken,
    ) -> Result<(TurnEnd, bool), WorkError> {
        let remembers = agent.remembers();
        let contained = self.settings.sandbox.isolation() != Isolation::None;
        let prefixed = profile.acp.as_ref().is_some_and(|acp| acp.isolates_itself());
        let telling = Telling {
            earlier: if remembers { &[] } else { &beginning.earlier },
            new: &beginning.new,
            files: &beginning.files,
            read_only: contained && !prefixed,
            output_hint: if remembers && claim.done_seq > 0 { "" } else { &profile.output_hint },
            interrupted: claim.turn_open,
        };
        let hint = wants.filter(|_| !(remembers && claim.done_seq > 0)).map(words::structured_hint);
        let prompt = hint.into_iter().fold(telling.prompt(), |prompt, hint| format!("{prompt}\n{hint}\n"));
        self.tell(claim, profile, agent, &prompt, cancel).await
    }

    /// Gives the agent a prompt and writes down what it tells until the turn ends; how it ended, and whether anything
    /// was said.
    async fn tell(
        &self,
        claim: &Claim,
        profile: &AgentProfile,
        agent: &mut dyn Agent,
        prompt: &str,
        cancel: &CancellationToken,
    ) -> Result<(TurnEnd, bool), WorkError> {
        let (tell, told) = mpsc::channel(TOLD_QUEUE);
        let writing = async {
            let written = self.write_down(claim, told, profile.command.max_output_bytes, cancel).await;
            if written.is_err() {
                // What the agent does now could not be told any more.
                cancel.cancel();
            }
            written
        };
        let (end, written) = tokio::join!(agent.turn(prompt, tell, cancel), writing);
        Ok((end, written?))
    }

    /// Where a turn that ended so leaves the session, and what is to be said of it. `Err(None)`: it was cut short.
    fn judge(
        &self,
        claim: &Claim,
        profile: &AgentProfile,
        end: &TurnEnd,
    ) -> Result<(After, Report), Option<WorkError>> {
        let name = &profile.command.name;
        let attempts = claim.attempts + 1;
        let failed = |failure: &Failure| {
            if let Failure::NotStarted(why) | Failure::Lost(why) = failure {
                tracing::error!(session.id = %claim.id, agent.profile = name, why, "a turn failed");
            }
            words::failure(name, failure, &end.stderr_tail)
        };
        let (after, notice) = match &end.how {
            How::Done => (After::Turn, None),
            How::Because(reason) => (After::Turn, Some(words::because(name, reason))),
            How::Cancelled => return Err(None),
            How::Refused(why) => return Err(Some(WorkError::NotStarted(why.clone()))),
            How::Failed(failure) => (After::Failure, Some(failed(failure))),
            How::NoStart(failure) => (After::NoStart, Some(failed(failure))),
            How::Crashed(failure) if attempts < MAX_ATTEMPTS => {
                let wait = restart_wait(self.settings.restart_waits, attempts).as_secs();
                let again = words::started_again(wait, attempts);
                (After::Crashed, Some(format!("{}\n\n{again}", failed(failure))))
            }
            How::Crashed(failure) => {
                let given_up = words::crashed_too_often(attempts);
                (After::Failure, Some(format!("{}\n\n{given_up}", failed(failure))))
            }
        };
        Ok((after, Report { answer: end.answer.trim().to_owned(), notice, ..Report::default() }))
    }

    /// Takes over what a turn left and lets go of the session, unless its agent lives.
    async fn finish(
        &self,
        claim: &Claim,
        workspace: Arc<Workspace>,
        living: Option<Box<dyn Agent>>,
        after: After,
        mut report: Report,
        said_nothing: bool,
    ) -> Result<Option<Living>, WorkError> {
        self.take_over(claim, Arc::clone(&workspace), &mut report).await?;
        let empty = report.answer.is_empty() && report.outputs.is_empty() && report.left_out.is_empty();
        if said_nothing && empty && report.structured.provided.is_none() {
            report.notice = Some(words::SILENT.to_owned());
        }
        let Some(agent) = living else {
            return self.leave(claim, after, report).await.map(|()| None);
        };
        if self.park(claim, report).await? {
            return Ok(Some(Living { agent, workspace }));
        }
        agent.stop().await;
        Ok(None)
    }
}

async fn stop(agent: Option<Box<dyn Agent>>) {
    if let Some(agent) = agent {
        agent.stop().await;
    }
}
