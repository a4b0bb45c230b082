//! How the sessions room is set up: which agents there are, and its limits.
//!
//! Every limit has its default here; the configuration may set each of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::acp::AcpSettings;
use super::command::CommandProfile;
use super::outputs::OutputLimits;
use super::sandbox::Sandbox;
use super::secrets::{SecretFault, SecretKey};

/// An agent that sessions can be given to.
#[derive(Debug, Clone)]
pub struct AgentProfile {
    /// The program, and how it is run.
    pub command: CommandProfile,
    /// How it is spoken to where it speaks the Agent Client Protocol; otherwise each of its runs is one turn.
    pub acp: Option<AcpSettings>,
    /// What the agent is told once, after the first prompt: where files go that it hands back. May
    /// be empty.
    pub output_hint: String,
}

impl AgentProfile {
    /// What an agent is told about `output/` unless its profile says otherwise.
    pub const OUTPUT_HINT: &'static str =
        "Write every file that is to be handed back into the folder output/.";

    /// A profile that tells its agent [`Self::OUTPUT_HINT`].
    pub fn new(command: CommandProfile) -> Self {
        Self { command, acp: None, output_hint: Self::OUTPUT_HINT.to_owned() }
    }

    /// What there is against a session's secret of this name.
    pub(super) fn refuses(&self, name: &str) -> Option<SecretFault> {
        if self.command.sets(name) {
            return Some(SecretFault::OfProfile(name.to_owned()));
        }
        let hands_on = self.acp.as_ref().is_none_or(|acp| acp.hands_on(name));
        (!hands_on).then(|| SecretFault::BehindPrefix(name.to_owned()))
    }
}

/// The room's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the profile that works in new sessions.
    pub default_agent: String,
    /// The profiles by name.
    pub agents: BTreeMap<String, AgentProfile>,
    /// What was found, at start, to hold the agents.
    pub sandbox: Sandbox,
    /// Sessions that run at once.
    pub slots: usize,
    /// Sessions of one organisation that run at once.
    pub running_per_org: usize,
    /// The folder with one folder for each session.
    pub sessions_dir: PathBuf,
    /// The folder in which the workers of this machine are seen.
    pub workers_dir: PathBuf,
    /// The service's address, for the URLs of sessions.
    pub public_url: String,
    /// Bytes in a prompt or message.
    pub max_prompt_bytes: usize,
    /// Files handed to one session.
    pub max_attachments: usize,
    /// Bytes in all files handed to one session.
    pub max_delivered_bytes: u64,
    /// Messages that may wait for one session's agent.
    pub max_queued_messages: u64,
    /// Event streams of one key that may be open at once.
    pub streams_per_key: usize,
    /// How long a session waits for a message before it is suspended.
    pub idle_limit: Duration,
    /// How long the workspace of a session that is over is kept.
    pub workspace_keep: Duration,
    /// What one turn may hand back.
    pub outputs: OutputLimits,
    /// Whether near misses that are unmistakable are delivered, with a notice.
    pub lenient_references: bool,
    /// How long turns may go on once the service was asked to stop.
    pub drain: Duration,
    /// Waits before a failed delivery is tried again; their number plus one is the number of tries.
    pub delivery_waits: Vec<Duration>,
    /// How long a session rests that could not be worked on for a reason of the service's own, a full disk for example.
    pub rest: Duration,
    /// Waits before a crashed agent is started again, the first and the second time.
    pub restart_waits: [Duration; 2],
    /// Agents that may wait for a message, their processes alive, in one worker.
    pub max_parked: usize,
    /// How long a worker's claim on a session holds without being renewed; it is renewed after a third of it.
    pub lease: Duration,
    /// What the secrets of sessions are encrypted with; without it there are none.
    pub secret_key: Option<SecretKey>,
}

impl Settings {
    /// Default settings with one agent.
    pub fn new(agent: AgentProfile, sandbox: Sandbox, sessions_dir: PathBuf, public_url: &str) -> Self {
        let name = agent.command.name.clone();
        Self {
            default_agent: name.clone(),
            agents: BTreeMap::from([(name, agent)]),
            sandbox,
            slots: std::thread::available_parallelism().map_or(1, usize::from),
            running_per_org: 5,
            workers_dir: sessions_dir.with_file_name("workers"),
            sessions_dir,
            public_url: public_url.to_owned(),
            max_prompt_bytes: 256 << 10,
            max_attachments: 50,
            max_delivered_bytes: 20 << 30,
            max_queued_messages: 200,
            streams_per_key: 64,
            idle_limit: Duration::from_secs(10 * 60),
            workspace_keep: Duration::from_secs(24 * 60 * 60),
            outputs: OutputLimits::default(),
            lenient_references: false,
            drain: Duration::from_secs(10),
            delivery_waits: vec![Duration::from_secs(1), Duration::from_secs(4)],
            rest: Duration::from_secs(30),
            restart_waits: [Duration::from_secs(5), Duration::from_secs(30)],
            max_parked: 64,
            lease: Duration::from_secs(30),
            secret_key: None,
        }
    }
}
