//! What drives a session's agent, turn by turn, whatever kind of program it is.
//!
//! There are two kinds. A command (`command.rs`) is one process a turn and remembers nothing. An ACP agent (`acp/`) is
//! one process that lives across turns and tells what it does while it does it. Both are contained in the same way.
//! What became of a turn is told in the words of this file, so that the room need not know which kind it was.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::acp;
use super::command::CommandAgent;
use super::environment::Environment;
use super::sandbox::Sandbox;
use super::settings::AgentProfile;
use super::workspace::Workspace;

/// What an agent is started with.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) workspace: Arc<Workspace>,
    /// Variables of the session's own; those of the profile win.
    pub(super) extra_env: Environment,
    /// Tool servers that an ACP agent is to start itself.
    pub(super) mcp_servers: Vec<McpServer>,
    /// The conversation to take up again, as an earlier process of this session called it.
    pub(super) conversation: Option<String>,
    /// Ends the start.
    pub(super) cancel: &'a CancellationToken,
}

/// A tool server that speaks the Model Context Protocol on its standard streams.
#[derive(Debug, Clone)]
pub(super) struct McpServer {
    pub(super) name: String,
    /// Absolute, as the agent sees it.
    pub(super) command: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
}

/// An agent that takes prompts.
pub(super) trait Agent: Send {
    /// What it calls the conversation, where another process could take it up again.
    fn conversation(&self) -> Option<&str>;

    /// Whether it knows what was said in earlier turns, so that it needs to be told only what is new.
    fn remembers(&self) -> bool;

    /// Runs one turn. What the agent tells meanwhile goes to `told`, which is dropped at the end; it need not be read
    /// fast, but it must be read.
    fn turn<'a>(
        &'a mut self,
        prompt: &'a str,
        told: mpsc::Sender<Told>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, TurnEnd>;

    /// Whether it can be given another prompt.
    fn lives(&self) -> bool;

    /// Waits, between turns, until it is gone by itself, and says how. What it tells meanwhile goes to `told`. Safe to
    /// drop and call again.
    fn gone(&mut self, told: mpsc::Sender<Told>) -> BoxFuture<'_, Failure>;

    /// Ends it and everything that it started; answers when nothing of it is left.
    fn stop(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// What an agent tells during a turn.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    /// A piece of what it says. Pieces of one message follow each other.
    Text(String),
    /// The message, if there was one, is complete.
    Pause,
    /// Something that it does; `data` is the text of a JSON object.
    Event { kind: &'static str, data: String },
}

/// What became of a turn.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TurnEnd {
    pub(super) how: How,
    /// What it answered, as far as that was not told during the turn.
    pub(super) answer: String,
    /// The last lines that it wrote to standard error.
    pub(super) stderr_tail: Vec<String>,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum How {
    /// The agent says that it is done.
    Done,
    /// The agent ended the turn for another reason, in the words of its protocol.
    Because(String),
    /// It was stopped, because that was asked for.
    Cancelled,
    /// It failed, and what it did is not to be done again.
    Failed(Failure),
    /// It failed in a way that another start may overcome.
    Crashed(Failure),
    /// It never ran, and will not until an operator changes something.
    NoStart(Failure),
    /// It never ran, because the system refused something just then. The reason is for the log.
    Refused(String),
}

/// What went wrong with an agent.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Failure {
    /// Its process ended with this exit status.
    Exited(i32),
    /// Its process ended by this signal.
    Signalled(i32),
    /// It could not be started; the reason may hold paths of the machine and is for the log.
    NotStarted(String),
    /// What supervises it was lost; the reason is for the log.
    Lost(String),
    /// Its turn took longer than this.
    TurnTimeout(Duration),
    /// It was not ready for a prompt in this time; the step that it did not answer.
    StartTimeout(Duration, &'static str),
    /// It closed its standard output and went on running.
    Silent,
    /// It wrote a line with more bytes than this.
    LongLine(usize),
    /// It answered with more bytes than this, or more values than this.
    LargeAnswer(usize, usize),
    /// It answered a step of the protocol with an error, in its own words.
    Answered(&'static str, String),
    /// It wants somebody to log in first; the ways that it offers.
    Authentication(Vec<String>),
    /// It does not have what the profile asks for, or speaks another protocol: what is wrong and what would be right.
    Unfit(String),
}

impl TurnEnd {
    /// An end without an answer and without last words.
    pub(super) fn of(how: How) -> Self {
        Self { how, answer: String::new(), stderr_tail: Vec::new() }
    }
}

/// Starts the agent of a profile, or makes it ready to be started with its first prompt.
pub(super) async fn start(profile: &AgentProfile, with: Start<'_>) -> Result<Box<dyn Agent>, TurnEnd> {
    match &profile.acp {
        None => Ok(Box::new(CommandAgent::new(profile.command.clone(), with))),
        Some(settings) => Ok(Box::new(acp::start(&profile.command, settings, with).await?)),
    }
}
