//! An agent that is a command: one run of a program is one turn.
//!
//! The prompt goes in on standard input or as the path of a file, never as an argument; what the program prints is
//! its answer. A run has an end whatever the program does: it may leave its input unread, print without end, ignore
//! SIGTERM or leave processes behind. Nothing that it started is left when [`run_turn`] answers. Its environment holds
//! what its profile names and nothing else of the service's.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::agent::{self, Agent, Failure, How, Told};
use super::complaints::Complaints;
use super::confine::ProcessLimits;
use super::contain::End;
use super::environment::Environment;
use super::process::{Contained, Control};
use super::sandbox::{Launch, Network, Sandbox, find_program};
use super::workspace::Workspace;

/// What stands in an argument for the path of the prompt's file.
pub const PROMPT_FILE: &str = "{prompt_file}";
/// How long a pipe may stay open after everything that could write to it is gone.
pub(super) const DRAIN: Duration = Duration::from_secs(2);

/// A program that an operator named as an agent.
#[derive(Debug, Clone)]
pub struct CommandProfile {
    /// Name of the profile.
    pub name: String,
    /// Absolute path, or a name to be looked up in PATH at each start.
    pub program: String,
    /// Arguments; with [`PromptVia::File`] each `{prompt_file}` becomes the path of the prompt.
    pub args: Vec<String>,
    /// Variables to set, over everything else.
    pub env: BTreeMap<String, String>,
    /// Variables to pass on from the service's environment, where they are set and UTF-8.
    pub pass_env: Vec<String>,
    /// How the prompt reaches the program.
    pub prompt_via: PromptVia,
    /// Longest turn.
    pub turn_timeout: Duration,
    /// Between SIGTERM and SIGKILL.
    pub kill_grace: Duration,
    /// Bytes of standard output that are kept; the rest is read and counted.
    pub max_output_bytes: usize,
    /// Files and folders to read besides the system's programs, such as the folder of an interpreter in `/opt`.
    pub read_paths: Vec<PathBuf>,
    /// What it reaches over the network.
    pub network: Network,
    /// Limits of its processes.
    pub limits: ProcessLimits,
}

impl CommandProfile {
    /// A profile with the defaults: the prompt on standard input, 60 minutes a turn, 10 s between SIGTERM and SIGKILL,
    /// 1 MiB of output, the host's network.
    pub fn new(name: impl Into<String>, program: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            prompt_via: PromptVia::Stdin,
            turn_timeout: Duration::from_secs(60 * 60),
            kill_grace: Duration::from_secs(10),
            max_output_bytes: 1 << 20,
            read_paths: Vec::new(),
            network: Network::Host,
            limits: ProcessLimits::default(),
        }
    }
}

impl CommandProfile {
    /// Whether the profile decides what this variable is.
    pub(super) fn sets(&self, name: &str) -> bool {
        self.env.contains_key(name) || self.pass_env.iter().any(|passed| passed == name)
    }
}

/// How a prompt reaches a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptVia {
    /// On standard input, which is closed after it.
    Stdin,
    /// As a file in the working folder, whose path takes the place of `{prompt_file}`; standard input is empty.
    File,
}

/// What became of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnEnd {
    /// How it ended.
    pub how: HowEnded,
    /// What the program printed, with a last line that says so where it was cut; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Whether `stdout` was cut.
    pub truncated: bool,
    /// The last 20 lines of standard error.
    pub stderr_tail: Vec<String>,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HowEnded {
    /// With this exit status.
    Exited(i32),
    /// By this signal, not sent by the service.
    Signalled(i32),
    /// Stopped, because the turn took too long.
    TimedOut,
    /// Stopped, because it was asked for.
    Cancelled,
    /// The program never ran, and will not until an operator changes something. The reason may hold paths of the
    /// machine: it is for the log.
    FailedToStart(String),
    /// The program never ran, because the system refused something just then: processes, descriptors, room. The
    /// reason is for the log.
    Refused(String),
    /// The supervisor was lost while the program ran or was about to. The reason is for the log.
    Lost(String),
}

/// Runs one turn: starts the program, gives it the prompt, and answers when it and everything it started is gone. A
/// future that is dropped kills all of it too. `extra` are variables of the session's own; the profile's win.
pub async fn run_turn(
    profile: &CommandProfile,
    sandbox: &Sandbox,
    workspace: &Workspace,
    prompt: &str,
    extra: &Environment,
    cancel: CancellationToken,
) -> TurnEnd {
    let lent = match profile.prompt_via {
        PromptVia::Stdin => None,
        PromptVia::File => Some(format!(".prompt-{}.txt", uuid::Uuid::new_v4())),
    };
    let end = match start(profile, sandbox, workspace, prompt, extra, lent.as_deref()).await {
        Ok(agent) => follow(profile, workspace, prompt, agent, cancel).await,
        Err(error) => TurnEnd {
            how: not_started(&error),
            stdout: String::new(),
            truncated: false,
            stderr_tail: Vec::new(),
        },
    };
    if let Some(name) = lent
        && let Err(error) = workspace.take_back(&name).await
    {
        tracing::warn!(%error, agent.profile = profile.name, "the prompt's file could not be removed");
    }
    end
}

/// A command as the agent of a session: a process of its own for each turn.
pub(super) struct CommandAgent {
    profile: CommandProfile,
    sandbox: Sandbox,
    workspace: Arc<Workspace>,
    extra: Environment,
}

impl CommandAgent {
    pub(super) fn new(profile: CommandProfile, with: agent::Start<'_>) -> Self {
        Self { profile, sandbox: with.sandbox.clone(), workspace: with.workspace, extra: with.extra_env }
    }
}

impl Agent for CommandAgent {
    fn conversation(&self) -> Option<&str> {
        None
    }

    fn remembers(&self) -> bool {
        false
    }

    fn turn<'a>(
        &'a mut self,
        prompt: &'a str,
        _told: mpsc::Sender<Told>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, agent::TurnEnd> {
        Box::pin(async {
            let Self { profile, sandbox, workspace, extra } = &*self;
            let end = run_turn(profile, sandbox, workspace, prompt, extra, cancel.clone()).await;
            let how = match end.how {
                HowEnded::Exited(0) => How::Done,
                HowEnded::Exited(status) => How::Failed(Failure::Exited(status)),
                HowEnded::Signalled(signal) => How::Failed(Failure::Signalled(signal)),
                HowEnded::TimedOut => How::Failed(Failure::TurnTimeout(self.profile.turn_timeout)),
                HowEnded::Cancelled => How::Cancelled,
                HowEnded::FailedToStart(why) => How::NoStart(Failure::NotStarted(why)),
                HowEnded::Refused(why) => How::Refused(why),
                HowEnded::Lost(why) => How::Failed(Failure::Lost(why)),
            };
            agent::TurnEnd { how, answer: end.stdout, stderr_tail: end.stderr_tail }
        })
    }

    fn lives(&self) -> bool {
        false
    }

    fn gone(&mut self, _: mpsc::Sender<Told>) -> BoxFuture<'_, Failure> {
        Box::pin(std::future::pending())
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What the system itself refused may go well later; what was judged here will not.
pub(super) fn not_started(error: &io::Error) -> HowEnded {
    match error.raw_os_error() {
        Some(_) => HowEnded::Refused(error.to_string()),
        None => HowEnded::FailedToStart(error.to_string()),
    }
}

async fn start(
    profile: &CommandProfile,
    sandbox: &Sandbox,
    workspace: &Workspace,
    prompt: &str,
    extra: &Environment,
    lent: Option<&str>,
) -> io::Result<Contained> {
    let Some(program) = find_program(&profile.program) else {
        let problem = format!("the program {:?} is not an executable file, nor one in PATH", profile.program);
        return Err(io::Error::new(io::ErrorKind::NotFound, problem));
    };
    let mut args = profile.args.clone();
    if let Some(name) = lent {
        workspace.lend(name, prompt.as_bytes())?;
        let path = sandbox.places(workspace).workspace.join(name).to_string_lossy().into_owned();
        for arg in &mut args {
            *arg = arg.replace(PROMPT_FILE, &path);
        }
    }
    let launch = Launch {
        program: &program,
        args,
        env: environment(profile, extra),
        read_paths: &profile.read_paths,
        network: profile.network,
        limits: profile.limits.clone(),
    };
    sandbox.start(workspace, launch).await
}

/// The whole environment of the agent but for the folders of its session.
pub(super) fn environment(profile: &CommandProfile, extra: &Environment) -> Environment {
    let mut env = Environment::default();
    env.set("PATH", "/usr/local/bin:/usr/bin:/bin");
    env.set("LANG", "C.UTF-8");
    env.extend(extra);
    for name in &profile.pass_env {
        if let Ok(value) = std::env::var(name) {
            env.set(name.as_str(), value);
        }
    }
    for (name, value) in &profile.env {
        env.set(name.as_str(), value.as_str());
    }
    env
}

/// Feeds the agent and reads from it until it ends or has to.
async fn follow(
    profile: &CommandProfile,
    workspace: &Workspace,
    prompt: &str,
    agent: Contained,
    cancel: CancellationToken,
) -> TurnEnd {
    let Contained { stdin, mut stdout, mut stderr, mut control } = agent;
    let prompt = if profile.prompt_via == PromptVia::Stdin { prompt } else { "" };
    let mut answer = Answer::new(profile.max_output_bytes);
    let mut complaints = Complaints::new(workspace);
    let how = {
        let streams = async {
            tokio::join!(feed(stdin, prompt), answer.read(&mut stdout), complaints.read(&mut stderr));
        };
        let mut streams = std::pin::pin!(streams);
        let mut drained = false;
        let mut end = std::pin::pin!(ending(profile, &mut control, cancel));
        // The streams may end long before the agent does, and must be read all the time until then.
        let how = loop {
            tokio::select! {
                how = &mut end => break how,
                () = &mut streams, if !drained => drained = true,
            }
        };
        if !drained && tokio::time::timeout(DRAIN, streams).await.is_err() {
            tracing::warn!(agent.profile = profile.name, "a stream of an agent that ended is still open");
        }
        how
    };
    let stderr_tail = complaints.tail();
    let how = match how {
        // Bubblewrap says on standard error what it could not do.
        HowEnded::FailedToStart(why) => match stderr_tail.last() {
            Some(line) => HowEnded::FailedToStart(format!("{why}: {line}")),
            None => HowEnded::FailedToStart(why),
        },
        how => how,
    };
    let (stdout, truncated) = answer.text();
    TurnEnd { how, stdout, truncated, stderr_tail }
}

async fn ending(profile: &CommandProfile, control: &mut Control, cancel: CancellationToken) -> HowEnded {
    let stopped = tokio::select! {
        end = control.ended() => return match end {
            Ok(End::Exited(status)) => HowEnded::Exited(status),
            Ok(End::Signalled(signal)) => HowEnded::Signalled(signal),
            Ok(End::NotStarted(why)) => HowEnded::FailedToStart(why),
            Err(error) => HowEnded::Lost(error.to_string()),
        },
        () = tokio::time::sleep(profile.turn_timeout) => HowEnded::TimedOut,
        () = cancel.cancelled() => HowEnded::Cancelled,
    };
    if let Err(error) = control.stop(profile.kill_grace).await {
        tracing::error!(%error, agent.profile = profile.name, "an agent could not be stopped");
    }
    stopped
}

/// Writes the prompt and closes the pipe. A program need not read it.
async fn feed(mut stdin: pipe::Sender, prompt: &str) {
    let _ = stdin.write_all(prompt.as_bytes()).await;
}

/// Standard output: the first bytes of it, and how many there were.
struct Answer {
    kept: Vec<u8>,
    limit: usize,
    total: u64,
}

impl Answer {
    fn new(limit: usize) -> Self {
        Self { kept: Vec::new(), limit, total: 0 }
    }

    async fn read(&mut self, stdout: &mut pipe::Receiver) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = stdout.read(&mut buffer).await {
            self.total += read as u64;
            let room = (self.limit - self.kept.len()).min(read);
            self.kept.extend_from_slice(&buffer[..room]);
        }
    }

    fn text(self) -> (String, bool) {
        let mut text = String::from_utf8_lossy(&self.kept).into_owned();
        let truncated = self.total > self.kept.len() as u64;
        if truncated {
            text.push_str(&format!(
                "\n[cut after {} bytes; the agent printed {}]",
                self.kept.len(),
                self.total
            ));
        }
        (text, truncated)
    }
}
