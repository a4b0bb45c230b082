//! Agents: from their profiles in the configuration to what sessions work with, and trying one out.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use super::{DataFolder, probe};
use crate::config::{AgentConfig, AgentKind, Config};
use crate::sessions::AgentProfile;
use crate::sessions::acp::{self, AcpSettings, Checked};
use crate::sessions::command::{CommandProfile, PromptVia};
use crate::sessions::sandbox::{Isolation, Network, find_program};

/// Name of the profile of the built-in example agent.
pub const EXAMPLE_AGENT: &str = "example-agent";

/// Tries an ACP agent out in a folder at `folder` that is made and removed.
///
/// # Errors
/// There is no such profile, or not of that kind; agents cannot be isolated here; the folder cannot be used.
pub async fn check_agent(config: &Config, name: &str, folder: &Path) -> anyhow::Result<Checked> {
    let Some(agent) = config.agents.get(name) else {
        let known: Vec<&str> = config.agents.keys().map(String::as_str).collect();
        let known = if known.is_empty() {
            "the configuration names no agents; --config gives another file".to_owned()
        } else {
            format!("the configuration has: {}", known.join(", "))
        };
        bail!("there is no [agents.{name}]: {known}");
    };
    let profile = profile(name, agent);
    let Some(settings) = &profile.acp else {
        bail!(
            "[agents.{name}] is a command, which has nothing to ask before its first turn: start a session with it"
        );
    };
    std::fs::create_dir(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    let sandbox = probe(config, std::slice::from_ref(&profile), folder).await;
    let checked = match sandbox {
        Ok(sandbox) => {
            let workspace = folder.join("session");
            acp::check(&profile.command, settings, &sandbox, &workspace).await.map_err(anyhow::Error::from)
        }
        Err(error) => Err(error),
    };
    std::fs::remove_dir_all(folder)
        .with_context(|| format!("the folder {} cannot be removed", folder.display()))?;
    checked
}

/// The agent profiles, and the name of the one that works in new sessions.
pub fn profiles(config: &Config) -> anyhow::Result<(Vec<AgentProfile>, String)> {
    let mut profiles = Vec::new();
    for (name, agent) in &config.agents {
        // Behind a prefix the program need not be on this machine.
        let first = agent.prefix.first().unwrap_or(&agent.program);
        if find_program(first).is_none() {
            bail!("[agents.{name}]: the program `{first}` was not found or cannot be executed");
        }
        profiles.push(profile(name, agent));
    }
    if let Some(name) = config.default_agent() {
        return Ok((profiles, name.to_owned()));
    }
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let mut command = CommandProfile::new(EXAMPLE_AGENT, program.to_string_lossy());
    command.args = vec![EXAMPLE_AGENT.to_owned()];
    // Without an isolation there is nothing that could take the network away.
    command.network = if config.isolation == Some(Isolation::None) { Network::Host } else { Network::None };
    profiles.push(AgentProfile { command, acp: None, output_hint: String::new() });
    Ok((profiles, EXAMPLE_AGENT.to_owned()))
}

/// Refuses paths for agents to read that are not there, or that have something in common with the data folder: an
/// agent could read other sessions' files by them.
pub(super) fn check_read_paths(config: &Config, folder: &DataFolder) -> anyhow::Result<()> {
    for (name, agent) in &config.agents {
        for path in &agent.read_paths {
            let shown = path.display();
            let resolved = path.canonicalize().with_context(|| {
                format!(
                    "[agents.{name}]: `{shown}` in `read_paths` cannot be read; name a path that is there"
                )
            })?;
            let data = folder.path();
            if data.starts_with(&resolved) {
                bail!(
                    "[agents.{name}]: `{shown}` in `read_paths` holds the data folder {}: name a narrower path, or another folder with `data`",
                    data.display()
                );
            }
            if resolved.starts_with(data) {
                bail!(
                    "[agents.{name}]: `{shown}` in `read_paths` lies in the data folder {}: name a path outside of it",
                    data.display()
                );
            }
        }
    }
    Ok(())
}

fn acp_settings(agent: &AgentConfig) -> AcpSettings {
    let defaults = AcpSettings::default();
    AcpSettings {
        mode: agent.mode.clone(),
        config_options: agent.config_options.clone(),
        permissions: agent.permissions.unwrap_or_default(),
        start_timeout: agent.start_timeout_seconds.map_or(defaults.start_timeout, Duration::from_secs),
        max_line_bytes: agent.max_line_bytes.unwrap_or(defaults.max_line_bytes),
        prefix: agent.prefix.clone(),
        cwd: agent.cwd.clone(),
    }
}

fn profile(name: &str, agent: &AgentConfig) -> AgentProfile {
    let mut command = CommandProfile::new(name, agent.program.as_str());
    command.args.clone_from(&agent.args);
    command.env.clone_from(&agent.env);
    command.pass_env.clone_from(&agent.pass_env);
    command.read_paths.clone_from(&agent.read_paths);
    command.prompt_via = agent.prompt.unwrap_or(PromptVia::Stdin);
    command.network = agent.network.unwrap_or(Network::Host);
    let seconds = |value: Option<u64>, default| value.map_or(default, Duration::from_secs);
    command.turn_timeout = seconds(agent.turn_timeout_seconds, command.turn_timeout);
    command.kill_grace = seconds(agent.kill_grace_seconds, command.kill_grace);
    command.max_output_bytes = agent.max_answer_bytes.unwrap_or(command.max_output_bytes);
    let limits = &mut command.limits;
    limits.file_bytes = agent.max_file_bytes.unwrap_or(limits.file_bytes);
    limits.processes = agent.max_processes.or(limits.processes);
    let mut profile = AgentProfile::new(command);
    profile.acp = (agent.kind == AgentKind::Acp).then(|| acp_settings(agent));
    if let Some(hint) = &agent.output_hint {
        profile.output_hint.clone_from(hint);
    }
    profile
}
