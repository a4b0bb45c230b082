//! An agent that speaks the Agent Client Protocol (ACP, version 1) on its standard streams: one process for many turns.
//!
//! It is contained like a command, or behind the prefix of its profile. Every step has an end: a start and a turn have
//! their time limits, and whatever the agent does with a request to end, SIGTERM and SIGKILL follow. What it writes is
//! bounded line by line and never trusted. This folder alone knows the protocol and its crate.

mod check;
mod connection;
mod handshake;
mod lines;
mod permissions;
mod pieces;
mod process;
mod unanswered;
mod updates;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use agent_client_protocol::v1::schema::{CancelNotification, ContentBlock, PromptRequest};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use check::{Checked, check};
pub use handshake::Introduction;
pub use permissions::Permissions;

use super::agent::{Agent, Failure, How, Start, Told, TurnEnd};
use super::command::{CommandProfile, DRAIN};
use connection::Refusal;
use handshake::{Opening, Trouble, shake_hands};
use process::{Process, Watched};

/// How long an agent may take to end a turn that somebody wants to end.
const CANCEL_WITHIN: Duration = Duration::from_secs(5);
/// Between SIGTERM and SIGKILL then.
const THEN_KILL: Duration = Duration::from_secs(1);

/// How an agent is spoken to.
#[derive(Debug, Clone)]
pub struct AcpSettings {
    /// The mode to put each session into (`session/set_mode`).
    pub mode: Option<String>,
    /// Options to set in each session (`session/set_config_option`).
    pub config_options: BTreeMap<String, OptionValue>,
    /// What it is answered that asks for leave.
    pub permissions: Permissions,
    /// Longest time from its start until it is ready for a prompt.
    pub start_timeout: Duration,
    /// Bytes of the longest line that it may write.
    pub max_line_bytes: usize,
    /// Words before the program: what isolates it in the place of the service's own isolation. See [`Prefix`].
    pub prefix: Vec<String>,
    /// The working folder as the agent sees it; by default [`INSIDE`] where the prefix mounts the delivered files, else
    /// where it really is.
    pub cwd: Option<PathBuf>,
}

/// Placeholders in a prefix: the session's working folder, the agent's HOME, and the folder of the delivered files.
pub const PLACEHOLDERS: [&str; 3] = ["{workspace}", "{home}", "{attachments}"];
/// Words of a prefix behind which a variable is named that it hands on.
const HANDS_ON: [&str; 4] = ["-e", "-E", "--env", "--setenv"];
/// Where a prefix that mounts the delivered files is expected to show the working folder.
pub const INSIDE: &str = "/workspace";

/// The value of an option of an agent's session.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum OptionValue {
    /// On or off.
    Flag(bool),
    /// One of those that the agent offers.
    Text(String),
}

impl Default for AcpSettings {
    /// No mode and no options, leave given, 120 s to start, lines of 16 MiB, no prefix.
    fn default() -> Self {
        Self {
            mode: None,
            config_options: BTreeMap::new(),
            permissions: Permissions::Allow,
            start_timeout: Duration::from_secs(120),
            max_line_bytes: 16 << 20,
            prefix: Vec::new(),
            cwd: None,
        }
    }
}

impl AcpSettings {
    /// Whether the agent is isolated by its prefix and not by the service.
    pub fn isolates_itself(&self) -> bool {
        !self.prefix.is_empty()
    }

    /// Whether a variable that a session brings along may be given to the program. A prefix runs outside of every
    /// isolation, and many variables make a program run what they name, so it gets only those that it names itself: as
    /// the word behind one of [`HANDS_ON`] (`-e NAME`) or at the end of one (`--env=NAME`).
    pub(super) fn hands_on(&self, name: &str) -> bool {
        let by_word = |words: &[String]| HANDS_ON.contains(&&*words[0]) && words[1] == name;
        let in_word = |word: &String| word.strip_suffix(name).is_some_and(|before| before.ends_with('='));
        self.prefix.is_empty() || self.prefix.windows(2).any(by_word) || self.prefix.iter().any(in_word)
    }
}

/// An agent that is ready for a prompt.
pub(super) struct AcpAgent {
    process: Process,
    profile: CommandProfile,
    conversation: String,
    remembers: bool,
    auth_methods: Vec<String>,
}

/// Starts the program and brings it to where it takes a prompt.
pub(super) async fn start(
    profile: &CommandProfile,
    settings: &AcpSettings,
    with: Start<'_>,
) -> Result<AcpAgent, TurnEnd> {
    let (mut process, cwd) = process::start(profile, settings, &with).await.map_err(TurnEnd::of)?;
    let opening = Opening { cwd: &cwd, mcp_servers: &with.mcp_servers, earlier: with.conversation.clone() };
    let mut known = Introduction::default();
    let shaken = {
        let work = pin!(shake_hands(&mut process.connection, settings, opening, &mut known));
        process::watch(&mut process.control, settings.start_timeout, with.cancel, work).await
    };
    let how = match shaken {
        Watched::Done(Ok(opened)) => {
            return Ok(AcpAgent {
                process,
                profile: profile.clone(),
                conversation: opened.conversation,
                remembers: opened.remembers,
                auth_methods: known.auth_methods,
            });
        }
        Watched::Done(Err(Trouble::Closed)) | Watched::Ended => process.end().await,
        Watched::Done(Err(Trouble::Passing(failure))) => How::Crashed(failure),
        Watched::Done(Err(Trouble::Lasting(failure))) => How::NoStart(failure),
        Watched::TimedOut => {
            How::Crashed(Failure::StartTimeout(settings.start_timeout, process.connection.step()))
        }
        Watched::Cancelled => How::Cancelled,
    };
    process.stop(profile.kill_grace).await;
    Err(TurnEnd { how, answer: String::new(), stderr_tail: process.last_words().await })
}

impl AcpAgent {
    async fn take_turn(
        &mut self,
        prompt: &str,
        told: mpsc::Sender<Told>,
        cancel: &CancellationToken,
    ) -> TurnEnd {
        let (limit, grace) = (self.profile.turn_timeout, self.profile.kill_grace);
        let request = PromptRequest::new(self.conversation.clone(), vec![ContentBlock::from(prompt)]);
        let never = CancellationToken::new();
        let cancelled = CancelNotification::new(self.conversation.clone());
        let watched = {
            let Process { connection, control, .. } = &mut self.process;
            let link = connection.canceller();
            let mut work = pin!(connection.ask("session/prompt", request, Some(&told)));
            let watched = process::watch(control, limit, cancel, work.as_mut()).await;
            if let Watched::TimedOut | Watched::Cancelled = watched {
                link.cancel(cancelled);
                let wait = if let Watched::TimedOut = watched { grace } else { CANCEL_WITHIN.min(grace) };
                // Whatever it answers now, the turn is over; what it says until then is still kept.
                let _ = process::watch(control, wait, &never, work).await;
            }
            watched
        };
        self.remembers = true;
        let how = match watched {
            Watched::Done(Ok(answer)) => reason(&answer),
            Watched::Done(Err(Refusal::Authentication)) => {
                How::NoStart(Failure::Authentication(self.auth_methods.clone()))
            }
            Watched::Done(Err(Refusal::Answered(text))) => {
                How::Failed(Failure::Answered("session/prompt", text))
            }
            Watched::Done(Err(Refusal::Closed)) | Watched::Ended => self.process.end().await,
            Watched::TimedOut => How::Failed(Failure::TurnTimeout(limit)),
            Watched::Cancelled => How::Cancelled,
        };
        if matches!(how, How::Done | How::Because(_)) {
            // One that ends with its turn is not waited for as if it lived.
            self.process.look();
            return TurnEnd::of(how);
        }
        self.process.stop(if how == How::Cancelled { THEN_KILL.min(grace) } else { grace }).await;
        TurnEnd { how, answer: String::new(), stderr_tail: self.process.last_words().await }
    }
}

impl Agent for AcpAgent {
    fn conversation(&self) -> Option<&str> {
        Some(&self.conversation)
    }

    fn remembers(&self) -> bool {
        self.remembers
    }

    fn turn<'a>(
        &'a mut self,
        prompt: &'a str,
        told: mpsc::Sender<Told>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, TurnEnd> {
        Box::pin(self.take_turn(prompt, told, cancel))
    }

    fn lives(&self) -> bool {
        !self.process.is_over()
    }

    fn gone(&mut self, told: mpsc::Sender<Told>) -> BoxFuture<'_, Failure> {
        Box::pin(async move {
            let Process { connection, control, .. } = &mut self.process;
            let ended = tokio::select! {
                () = connection.closed(&told) => false,
                _ = control.ended() => true,
            };
            if ended {
                // What it wrote before its end is still to be read.
                let _ = tokio::time::timeout(DRAIN, connection.closed(&told)).await;
            }
            match self.process.end().await {
                How::Crashed(failure) | How::NoStart(failure) | How::Failed(failure) => failure,
                _ => Failure::Silent,
            }
        })
    }

    fn stop(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.process.stop(self.profile.kill_grace).await })
    }
}

/// What a turn that was answered ended with.
fn reason(answer: &Value) -> How {
    match answer["stopReason"].as_str() {
        Some("end_turn") => How::Done,
        Some(reason) => How::Because(reason.chars().take(100).collect()),
        None => How::Because("none".to_owned()),
    }
}
