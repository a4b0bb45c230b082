//! Agent profiles as they stand in the configuration, and whether they make sense.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Config, ConfigError};
use crate::sessions::acp::{OptionValue, PLACEHOLDERS, Permissions};
use crate::sessions::command::{PROMPT_FILE, PromptVia};
use crate::sessions::sandbox::{Isolation, Network};

/// How the program of a profile is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AgentKind {
    /// One run is one turn.
    #[default]
    Command,
    /// The Agent Client Protocol on its standard streams.
    Acp,
}

/// One agent profile.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// How it is spoken to.
    #[serde(default)]
    pub kind: AgentKind,
    /// Absolute path, or a name looked up in PATH.
    pub program: String,
    /// Arguments; `{prompt_file}` stands for the prompt's path where `prompt = "file"`.
    #[serde(default)]
    pub args: Vec<String>,
    /// How the prompt reaches the program.
    pub prompt: Option<PromptVia>,
    /// Variables to set.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Variables to take over.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// Further paths to read.
    #[serde(default)]
    pub read_paths: Vec<PathBuf>,
    /// What it reaches over the network.
    pub network: Option<Network>,
    /// Longest turn.
    pub turn_timeout_seconds: Option<u64>,
    /// Between SIGTERM and SIGKILL, and for an ACP agent between being asked to end its turn and SIGTERM.
    pub kill_grace_seconds: Option<u64>,
    /// Bytes of a turn's text that are kept.
    pub max_answer_bytes: Option<usize>,
    /// What the agent is told about `output/`.
    pub output_hint: Option<String>,
    /// Bytes in one file that it writes.
    pub max_file_bytes: Option<u64>,
    /// Processes and threads.
    pub max_processes: Option<u64>,
    /// The mode of its sessions.
    pub mode: Option<String>,
    /// Options of its sessions.
    #[serde(default)]
    pub config_options: BTreeMap<String, OptionValue>,
    /// What it is answered that asks for leave.
    pub permissions: Option<Permissions>,
    /// Longest start.
    pub start_timeout_seconds: Option<u64>,
    /// Longest line that it writes.
    pub max_line_bytes: Option<usize>,
    /// Words before the program.
    #[serde(default)]
    pub prefix: Vec<String>,
    /// Its working folder behind the prefix.
    pub cwd: Option<PathBuf>,
}

pub(super) const AGENT_KEYS: [&str; 21] = [
    "kind",
    "program",
    "args",
    "prompt",
    "env",
    "pass_env",
    "read_paths",
    "network",
    "turn_timeout_seconds",
    "kill_grace_seconds",
    "max_answer_bytes",
    "output_hint",
    "max_file_bytes",
    "max_processes",
    "mode",
    "config_options",
    "permissions",
    "start_timeout_seconds",
    "max_line_bytes",
    "prefix",
    "cwd",
];

impl AgentConfig {
    /// Refuses what does not go together in the profile `name`.
    pub(super) fn check(&self, name: &str, config: &Config) -> Result<(), ConfigError> {
        let refuse = |text: String| Err(ConfigError::Contradiction(format!("[agents.{name}]: {text}")));
        let limits = [
            ("turn_timeout_seconds", self.turn_timeout_seconds == Some(0)),
            ("start_timeout_seconds", self.start_timeout_seconds == Some(0)),
            ("max_answer_bytes", self.max_answer_bytes == Some(0)),
            ("max_line_bytes", self.max_line_bytes == Some(0)),
            ("max_file_bytes", self.max_file_bytes == Some(0)),
            ("max_processes", self.max_processes == Some(0)),
        ];
        if let Some((limit, _)) = limits.iter().find(|(_, is_zero)| *is_zero) {
            return refuse(format!(
                "`{limit}` is 0, with which no turn could come to anything: 1 is the least"
            ));
        }
        if let Some(path) = self.read_paths.iter().find(|path| !path.is_absolute()) {
            return refuse(format!(
                "`{}` in `read_paths` is relative, and nothing says to which folder: write the path from `/` on",
                path.display()
            ));
        }
        if config.isolation == Some(Isolation::None) && self.network == Some(Network::None) {
            return refuse("`network = \"none\"` needs an isolation, and `isolation` is \"none\"".to_owned());
        }
        match self.kind {
            AgentKind::Command => self.check_command().or_else(refuse),
            AgentKind::Acp => self.check_acp().or_else(refuse),
        }
    }

    fn check_command(&self) -> Result<(), String> {
        let foreign = [
            ("mode", self.mode.is_some()),
            ("config_options", !self.config_options.is_empty()),
            ("permissions", self.permissions.is_some()),
            ("start_timeout_seconds", self.start_timeout_seconds.is_some()),
            ("max_line_bytes", self.max_line_bytes.is_some()),
            ("prefix", !self.prefix.is_empty()),
            ("cwd", self.cwd.is_some()),
        ];
        if let Some((key, _)) = foreign.iter().find(|(_, is_set)| *is_set) {
            return Err(format!("`{key}` is for agents of `kind = \"acp\"`: set the kind, or leave it out"));
        }
        let by_file = self.prompt == Some(PromptVia::File);
        if by_file != self.args.iter().any(|arg| arg.contains(PROMPT_FILE)) {
            return Err(format!("`prompt = \"file\"` and `{PROMPT_FILE}` in `args` go together"));
        }
        Ok(())
    }

    fn check_acp(&self) -> Result<(), String> {
        if self.prompt.is_some() {
            return Err("`prompt` is for agents of `kind = \"command\"`: leave it out".to_owned());
        }
        if self.prefix.is_empty() {
            return match self.cwd {
                Some(_) => Err("`cwd` is only for an agent behind a `prefix`: leave it out".to_owned()),
                None => Ok(()),
            };
        }
        let [workspace, _, attachments] = PLACEHOLDERS;
        let names = |placeholder: &str| self.prefix.iter().any(|word| word.contains(placeholder));
        if names(workspace) && !names(attachments) {
            return Err(format!(
                "the `prefix` names `{workspace}` but not `{attachments}`, so the agent would not find its files: mount \
                 `{attachments}` read-only over `attachments` in the working folder"
            ));
        }
        if self.network.is_some() || !self.read_paths.is_empty() {
            let text = "behind a `prefix` the service isolates nothing: say with the prefix what the agent reaches, and leave \
                `network` and `read_paths` out";
            return Err(text.to_owned());
        }
        match &self.cwd {
            Some(cwd) if !cwd.is_absolute() => {
                Err("`cwd` is relative: write the path from `/` on".to_owned())
            }
            _ => Ok(()),
        }
    }
}
