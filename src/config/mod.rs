//! The one configuration: file < environment < flags.
//!
//! Every option is a field here; its documentation is the operator's, and `satchel.example.toml` is
//! made from it. Unknown keys are refused, with the nearest right one named.

mod agents;
mod judge;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use confique::{Config as _, Layer as _};
use serde::Deserialize;

use crate::sessions::sandbox::Isolation;

pub use agents::{AgentConfig, AgentKind};

use agents::AGENT_KEYS;
use judge::{check_environment, check_key};

/// The configuration of one service.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(derive(Debug)))]
pub struct Config {
    /// What this process does: "all"; "api" (takes requests and runs no session); or "worker" (runs
    /// sessions and takes no requests). One process per data folder takes requests; any number of
    /// workers run beside it, on the same machine and with the same configuration.
    #[config(env = "SATCHEL_ROLE", default = "all")]
    pub role: Role,

    /// Address to listen on. Any address but a loopback one needs `public_url`.
    #[config(env = "SATCHEL_LISTEN", default = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Folder of everything that is kept: the database, the files, the sessions' workspaces.
    #[config(env = "SATCHEL_DATA", default = "./satchel-data")]
    pub data: PathBuf,

    /// The address under which clients reach the service, without a slash at the end; the URLs of
    /// attachments and sessions begin with it. Default: `http://` and the address listened on.
    #[config(env = "SATCHEL_PUBLIC_URL")]
    pub public_url: Option<String>,

    /// Further addresses of the service under which prompts may name files.
    #[config(env = "SATCHEL_OTHER_URLS", default = [], parse_env = confique::env::parse::list_by_comma)]
    pub other_urls: Vec<String>,

    /// Networks (CIDR) of reverse proxies whose `X-Forwarded-For` is believed.
    #[config(env = "SATCHEL_TRUSTED_PROXIES", default = [], parse_env = confique::env::parse::list_by_comma)]
    pub trusted_proxies: Vec<ipnet::IpNet>,

    /// Address of a listener of its own for `/metrics` (Prometheus), `/health/live` and
    /// `/health/ready`; the only one that a worker has. Default: none.
    #[config(env = "SATCHEL_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,

    /// What is logged to standard error: `error`, `warn`, `info`, `debug`, or a filter such as
    /// `info,satchel=debug`.
    #[config(env = "SATCHEL_LOG", default = "info")]
    pub log: String,

    /// Largest file that may be uploaded, in bytes.
    #[config(env = "SATCHEL_MAX_UPLOAD_BYTES", default = 10_737_418_240u64)]
    pub max_upload_bytes: u64,

    /// Bytes of the file system that are to stay free: below, uploads are answered 507 while
    /// reading goes on, and no session is started.
    #[config(env = "SATCHEL_MIN_FREE_BYTES", default = 1_073_741_824)]
    pub min_free_bytes: u64,

    /// Seconds in which a request's head must have arrived.
    #[config(env = "SATCHEL_HEADER_TIMEOUT_SECONDS", default = 10)]
    pub header_timeout_seconds: u64,

    /// Seconds for which a client may be silent in the middle of a body.
    #[config(env = "SATCHEL_BODY_SILENCE_SECONDS", default = 60)]
    pub body_silence_seconds: u64,

    /// Connections open at once; more wait to be accepted.
    #[config(env = "SATCHEL_MAX_CONNECTIONS", default = 4096)]
    pub max_connections: usize,

    /// Requests of one key in flight at once; more are answered 429.
    #[config(env = "SATCHEL_REQUESTS_PER_KEY", default = 1024)]
    pub requests_per_key: usize,

    /// Uploads of one key in flight at once; more are answered 429.
    #[config(env = "SATCHEL_UPLOADS_PER_KEY", default = 512)]
    pub uploads_per_key: usize,

    /// Event streams of one key open at once; more are answered 429.
    #[config(env = "SATCHEL_STREAMS_PER_KEY", default = 64)]
    pub streams_per_key: usize,

    /// Seconds for which requests and turns in flight may go on once the service is to stop.
    #[config(env = "SATCHEL_DRAIN_SECONDS", default = 10)]
    pub drain_seconds: u64,

    /// Whether near misses of an `ATTACHMENT:"url"` line that are unmistakable (a space after the
    /// colon, other case, plural, other quotes) are delivered, with a notice, instead of only
    /// being reported.
    #[config(env = "SATCHEL_LENIENT_REFERENCES", default = false)]
    pub lenient_references: bool,

    /// File with the key that the secrets of sessions are encrypted with (`satchel secret-key FILE`
    /// makes one); outside of the data folder, and closed to others. Default: none, and session
    /// secrets are refused.
    #[config(env = "SATCHEL_SECRET_KEY_FILE")]
    pub secret_key_file: Option<PathBuf>,

    /// How agents are contained: "bubblewrap", "landlock" or "none". Default: the first of
    /// bubblewrap and Landlock that a probe at start finds to work; the service does not start if
    /// neither does. With "none" agents can read and change whatever the service can.
    #[config(env = "SATCHEL_ISOLATION")]
    pub isolation: Option<Isolation>,

    /// Name of the agent profile that works in new sessions. Default: the only profile in
    /// `agents`, or the built-in example agent if there is none.
    #[config(env = "SATCHEL_DEFAULT_AGENT")]
    pub default_agent: Option<String>,

    /// Sessions that run at once in one process. Default: the number of cores.
    #[config(env = "SATCHEL_SESSION_SLOTS")]
    pub session_slots: Option<usize>,

    /// Sessions of one organisation that run at once.
    #[config(env = "SATCHEL_SESSIONS_PER_ORG", default = 5)]
    pub sessions_per_org: usize,

    /// Largest prompt or message, in bytes.
    #[config(env = "SATCHEL_MAX_PROMPT_BYTES", default = 262_144)]
    pub max_prompt_bytes: usize,

    /// Files handed to one session.
    #[config(env = "SATCHEL_MAX_SESSION_ATTACHMENTS", default = 50)]
    pub max_session_attachments: usize,

    /// Bytes in all files handed to one session.
    #[config(env = "SATCHEL_MAX_SESSION_BYTES", default = 21_474_836_480u64)]
    pub max_session_bytes: u64,

    /// Messages that may wait for one session's agent.
    #[config(env = "SATCHEL_MAX_QUEUED_MESSAGES", default = 200)]
    pub max_queued_messages: u64,

    /// Seconds for which a session waits for a message before it is suspended.
    #[config(env = "SATCHEL_IDLE_LIMIT_SECONDS", default = 600)]
    pub idle_limit_seconds: u64,

    /// Agents of one worker that may wait for a message with their process alive; the longest idle one of the
    /// organisation that has the most is stopped first.
    #[config(env = "SATCHEL_MAX_PARKED_AGENTS", default = 64)]
    pub max_parked_agents: usize,

    /// Seconds before a crashed ACP agent is started again, the first time and the second time.
    #[config(env = "SATCHEL_AGENT_RESTART_SECONDS", default = [5, 30], parse_env = confique::env::parse::list_by_comma)]
    pub agent_restart_seconds: Vec<u64>,

    /// Seconds after which a session is tried again that could not be worked on for a reason of the service's own,
    /// such as a disk without room for its files; after ten tries it is suspended.
    #[config(env = "SATCHEL_RETRY_SECONDS", default = 30)]
    pub retry_seconds: u64,

    /// Seconds for which the workspace of a session that is over is kept.
    #[config(env = "SATCHEL_WORKSPACE_KEEP_SECONDS", default = 86_400)]
    pub workspace_keep_seconds: u64,

    /// Files that one turn may hand back.
    #[config(env = "SATCHEL_MAX_OUTPUT_FILES", default = 100)]
    pub max_output_files: usize,

    /// Largest file that a turn may hand back, in bytes.
    #[config(env = "SATCHEL_MAX_OUTPUT_FILE_BYTES", default = 536_870_912)]
    pub max_output_file_bytes: u64,

    /// Bytes in all files that one turn may hand back.
    #[config(env = "SATCHEL_MAX_OUTPUT_BYTES", default = 2_147_483_648u64)]
    pub max_output_bytes: u64,

    /// Agent profiles by name: programs that are run with the prompt. For example a table
    /// `[agents.claude]` with `program = "claude"`, `args = ["-p"]` and
    /// `pass_env = ["ANTHROPIC_API_KEY"]`.
    ///
    /// `kind = "command"` (the default) is a program that is run once for each turn; `kind = "acp"` is one that
    /// speaks the Agent Client Protocol on its standard streams and lives across turns.
    ///
    /// Keys of a profile: `program` (absolute, or looked up in PATH); `args`; `prompt` ("stdin", or
    /// "file": its path stands in place of `{prompt_file}` in `args`); `env` (a table of variables
    /// to set); `pass_env` (names to take over from the service's environment; nothing else is);
    /// `read_paths` (files and folders outside /usr that the program needs); `network` ("host", the
    /// machine's own loopback included, or "none"); `turn_timeout_seconds` (3600);
    /// `kill_grace_seconds` (10); `max_answer_bytes` (1048576); `output_hint` (what the agent is
    /// told about `output/`; may be empty); `max_file_bytes` (4294967296) and `max_processes` (4096),
    /// the limits of its processes.
    ///
    /// Besides, with `kind = "acp"`: `mode` and `config_options` (a table), set in each of its sessions;
    /// `permissions` ("allow", or "reject": what it is answered that asks for leave);
    /// `start_timeout_seconds` (120); `max_line_bytes` (16777216); `prefix` (words before the program that
    /// isolate it in the place of the service's own isolation, such as `docker run -i …`, in which
    /// `{workspace}`, `{attachments}` and `{home}` stand for the session's folders); `cwd` (the working
    /// folder as it is seen behind the prefix: `/workspace` where the prefix names `{attachments}`).
    /// `satchel agents check NAME` tries a profile out.
    #[config(default = {})]
    pub agents: BTreeMap<String, AgentConfig>,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes requests and runs sessions.
    All,
    /// Takes requests and runs no session.
    Api,
    /// Runs sessions and takes no requests.
    Worker,
}

impl Role {
    /// Whether it takes requests.
    pub fn listens(self) -> bool {
        self != Self::Worker
    }

    /// Whether it runs sessions.
    pub fn works(self) -> bool {
        self != Self::Api
    }
}

/// Variables of the client commands: known here, and of no effect on the service.
pub const CLIENT_VARIABLES: [&str; 2] = ["SATCHEL_URL", "SATCHEL_API_KEY"];

/// What the command line may say over file and environment.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--role`.
    pub role: Option<Role>,
    /// `--config`: the file to read.
    pub config: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--data`.
    pub data: Option<PathBuf>,
    /// `--public-url`.
    pub public_url: Option<String>,
    /// `--secret-key-file`.
    pub secret_key_file: Option<PathBuf>,
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("the configuration file {path} is not valid TOML: {message}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        message: String,
    },
    /// A key that does not exist.
    #[error("unknown {place} `{key}`; did you mean `{nearest}`?")]
    UnknownKey {
        /// What kind of key: of the configuration, of an agent, of the environment.
        place: String,
        /// The key.
        key: String,
        /// The right one that is most like it.
        nearest: String,
    },
    /// A value of the wrong kind.
    #[error("the configuration has a wrong value: {0}")]
    Value(String),
    /// Values that do not go together.
    #[error("{0}")]
    Contradiction(String),
}

impl Config {
    /// Reads the configuration: the flags, then the environment, then the file, then the defaults.
    pub fn load(flags: Flags) -> Result<Self, ConfigError> {
        check_environment(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
        let mut over = <Self as confique::Config>::Layer::empty();
        over.role = flags.role;
        over.listen = flags.listen;
        over.data = flags.data;
        over.public_url = flags.public_url;
        over.secret_key_file = flags.secret_key_file;
        let mut builder = Self::builder().preloaded(over).env();
        if let Some(path) = &flags.config {
            builder = builder.preloaded(read_file(path)?);
        }
        let config = builder.load().map_err(|error| ConfigError::Value(format!("{error:#}")))?;
        config.check()?;
        Ok(config)
    }

    /// The commented example file, made from the documentation of the fields.
    pub fn example() -> String {
        confique::toml::template::<Self>(confique::toml::FormatOptions::default())
    }

    /// The address that URLs begin with, given the address that is really listened on.
    pub fn public_url(&self, listening: SocketAddr) -> String {
        match &self.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{listening}"),
        }
    }

    /// Name of the profile for new sessions; `None` stands for the built-in example agent.
    pub fn default_agent(&self) -> Option<&str> {
        self.default_agent.as_deref().or_else(|| match self.agents.len() {
            1 => self.agents.keys().next().map(String::as_str),
            _ => None,
        })
    }
}

fn read_file(path: &Path) -> Result<<Config as confique::Config>::Layer, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let syntax = |error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    };
    let table: toml::Table = toml::from_str(&text).map_err(syntax)?;
    let known: Vec<&str> = Config::META.fields.iter().map(|field| field.name).collect();
    for key in table.keys() {
        check_key("configuration key".to_owned(), key, &known)?;
    }
    for (name, agent) in table.get("agents").and_then(toml::Value::as_table).into_iter().flatten() {
        for key in agent.as_table().into_iter().flat_map(|agent| agent.keys()) {
            check_key(format!("key of [agents.{name}]"), key, &AGENT_KEYS)?;
        }
    }
    toml::from_str(&text).map_err(|error| ConfigError::Value(error.to_string()))
}

#[cfg(test)]
mod tests;
