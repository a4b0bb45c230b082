//! Whether a configuration makes sense: keys that exist, values that go together.
//!
//! What is refused is refused before the service opens anything, with what was wrong and what would
//! be right. What only the machine can tell (a program, a folder) is judged where it is used.

use confique::Config as _;
use confique::meta::FieldKind;

use super::{CLIENT_VARIABLES, Config, ConfigError, Role};

impl Config {
    /// Refuses values that do not go together or with which nothing could be done.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let contradiction = |text: String| Err(ConfigError::Contradiction(text));
        if !self.listen.ip().is_loopback() && self.public_url.is_none() {
            return contradiction(format!(
                "listening on {} needs `public_url`: the address under which clients reach the service \
                 (`--public-url https://files.example.org`)",
                self.listen
            ));
        }
        if self.role == Role::Worker && self.listen.port() == 0 && self.public_url.is_none() {
            return contradiction(
                "a worker needs `public_url`, or in `listen` the port that the service listens on: the URLs of \
                 what agents hand back begin with it"
                    .into(),
            );
        }
        if let Some(name) = &self.default_agent
            && !self.agents.contains_key(name)
        {
            return contradiction(format!("`default_agent` is `{name}`, but there is no [agents.{name}]"));
        }
        if self.default_agent.is_none() && self.agents.len() > 1 {
            return contradiction(
                "there are several agents: say with `default_agent` which one is to work".into(),
            );
        }
        let limits = [
            ("max_connections", self.max_connections == 0),
            ("requests_per_key", self.requests_per_key == 0),
            ("uploads_per_key", self.uploads_per_key == 0),
            ("streams_per_key", self.streams_per_key == 0),
            ("sessions_per_org", self.sessions_per_org == 0),
            ("max_parked_agents", self.max_parked_agents == 0),
            ("session_slots", self.session_slots == Some(0)),
            ("header_timeout_seconds", self.header_timeout_seconds == 0),
            ("body_silence_seconds", self.body_silence_seconds == 0),
            ("max_upload_bytes", self.max_upload_bytes == 0),
            ("max_prompt_bytes", self.max_prompt_bytes == 0),
            ("retry_seconds", self.retry_seconds == 0),
            ("max_queued_messages", self.max_queued_messages == 0),
        ];
        if let Some((name, _)) = limits.iter().find(|(_, is_zero)| *is_zero) {
            return contradiction(format!(
                "`{name}` is 0, with which nothing would ever be done: 1 is the least"
            ));
        }
        if self.agent_restart_seconds.len() != 2 {
            return contradiction(format!(
                "`agent_restart_seconds` has {} numbers: it takes two, for the first and the second crash",
                self.agent_restart_seconds.len()
            ));
        }
        for (name, agent) in &self.agents {
            agent.check(name, self)?;
        }
        Ok(())
    }
}

/// Refuses `SATCHEL_…` variables that mean nothing.
pub(super) fn check_environment(names: impl Iterator<Item = String>) -> Result<(), ConfigError> {
    let options = Config::META.fields.iter().filter_map(|field| match field.kind {
        FieldKind::Leaf { env, .. } => env,
        FieldKind::Nested { .. } => None,
    });
    let known: Vec<&str> = options.chain(CLIENT_VARIABLES).collect();
    for name in names.filter(|name| name.starts_with("SATCHEL_")) {
        check_key("environment variable".to_owned(), &name, &known)?;
    }
    Ok(())
}

/// Refuses a key that is not known, naming the nearest that is.
pub(super) fn check_key(place: String, key: &str, known: &[&str]) -> Result<(), ConfigError> {
    if known.contains(&key) {
        return Ok(());
    }
    let nearest =
        known.iter().max_by(|a, b| strsim::jaro_winkler(key, a).total_cmp(&strsim::jaro_winkler(key, b)));
    let nearest = nearest.copied().unwrap_or_default().to_owned();
    Err(ConfigError::UnknownKey { place, key: key.to_owned(), nearest })
}
