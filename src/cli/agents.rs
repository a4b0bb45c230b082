//! `satchel agents`: whether an agent profile does what it is to do, before a session needs it.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::{FolderArgs, print};
use crate::app;
use crate::config::{AgentKind, Config};
use crate::sessions::acp::Checked;

#[derive(Debug, Subcommand)]
pub(super) enum AgentsCommand {
    /// List the profiles of the configuration.
    List {
        #[command(flatten)]
        folder: FolderArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Start an ACP agent contained, shake hands, and say what it can do or what is wrong. Exit code 1 if something is.
    Check {
        /// Name of the profile.
        name: String,
        #[command(flatten)]
        folder: FolderArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(command: AgentsCommand) -> anyhow::Result<ExitCode> {
    match command {
        AgentsCommand::List { folder, json } => list(&Config::load(folder.flags())?, json),
        AgentsCommand::Check { name, folder, json } => {
            let config = Config::load(folder.flags())?;
            let scratch = std::env::temp_dir().join(format!("satchel-check-{}", uuid::Uuid::new_v4()));
            let checked = app::check_agent(&config, &name, &scratch).await?;
            let good = checked.problem.is_none();
            if json {
                print(&format!("{:#}\n", json!({ "name": name, "ok": good, "agent": checked })))?;
            } else {
                print(&told(&name, &checked))?;
            }
            Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn list(config: &Config, as_json: bool) -> anyhow::Result<ExitCode> {
    let default = config.default_agent().unwrap_or(app::EXAMPLE_AGENT);
    let kind = |kind| if kind == AgentKind::Acp { "acp" } else { "command" };
    if as_json {
        let row = |(name, agent): (&String, &crate::config::AgentConfig)| json!({ "name": name, "kind": kind(agent.kind), "program": agent.program, "default": name == default });
        let rows: Vec<_> = config.agents.iter().map(row).collect();
        return print(&format!("{:#}\n", json!(rows)));
    }
    let mut text = String::new();
    let width = config.agents.keys().map(|name| name.chars().count()).max().unwrap_or_default();
    for (name, agent) in &config.agents {
        let mark = if name == default { "  (works in new sessions)" } else { "" };
        text.push_str(&format!("{name:<width$}  {:<7}  {}{mark}\n", kind(agent.kind), agent.program));
    }
    if text.is_empty() {
        text.push_str(&format!("no profiles; `{default}` works in new sessions\n"));
    }
    print(&text)
}

fn told(name: &str, checked: &Checked) -> String {
    let known = &checked.introduction;
    let mut text = String::new();
    let mut line = |what: &str, value: String| text.push_str(&format!("{what:<18}{value}\n"));
    let listed = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    if let Some(version) = known.protocol_version {
        let agent = known.name.as_deref().unwrap_or("(it does not say)");
        line(
            "agent",
            format!("{agent} {}", known.version.as_deref().unwrap_or_default()).trim_end().to_owned(),
        );
        line("protocol", version.to_string());
        let restores = match (known.can_resume, known.can_load) {
            (true, _) => "yes (session/resume)",
            (false, true) => "yes (session/load)",
            (false, false) => "no: after a restart it is told the transcript",
        };
        line("goes on later", restores.to_owned());
        line("ways to log in", listed(&known.auth_methods));
        line("modes", listed(&known.modes));
        line("begins in mode", known.mode.clone().unwrap_or_else(|| "none".to_owned()));
        line("options", listed(&known.config_options));
    }
    match &checked.problem {
        None => text.push_str(&format!("OK: `{name}` is ready for a prompt\n")),
        Some(problem) => {
            text.push_str(&format!("WRONG: {problem}\n"));
            for complaint in &checked.stderr {
                text.push_str(&format!("      {complaint}\n"));
            }
        }
    }
    text
}
