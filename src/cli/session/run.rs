//! `satchel session run`: upload files, create a session, follow its turn, download what comes back.

use std::cell::RefCell;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;

use super::client::Client;
use super::follow::{Outcome, Until, follow};
use super::{Common, Fetch, early, files, show, with_files};
use crate::cli::{print, say};
use crate::id::SessionId;

/// The exit code of a run that took longer than `--timeout`, as timeout(1) has it.
const TIMED_OUT: u8 = 124;

#[derive(Debug, Args)]
pub(in crate::cli) struct Run {
    #[command(flatten)]
    asked: Asked,
    /// Files for the agent; may be repeated.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    attach: Vec<PathBuf>,
    /// A title for people.
    #[arg(long)]
    title: Option<String>,
    /// A tag; may be repeated.
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Give up following after that many seconds; the session goes on.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    fetch: Fetch,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Asked {
    /// What the agent is to do.
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// File with what the agent is to do; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
}

/// How far a run has come, for whoever interrupts it.
#[derive(Debug, Clone)]
enum Stage {
    /// No session was asked for.
    Before,
    /// One was asked for, and the answer is on its way.
    Asked,
    /// There is one.
    Session(SessionId),
}

pub(super) async fn start(command: Run) -> anyhow::Result<ExitCode> {
    // Before ^C is taken over, so that it ends a wait for standard input as it does elsewhere.
    let prompt = prompt(&command.asked)?;
    files::prepare(&command.fetch)?;
    ensure!(!prompt.trim().is_empty() || !command.attach.is_empty(), "the prompt is empty");
    let stage = RefCell::new(Stage::Before);
    early::unless_ended(work(&command, &prompt, &stage), || {
        if std::io::stderr().is_terminal() {
            say("");
        }
        say(&format!("satchel: {}", interrupted(&stage.borrow())));
    })
    .await
}

async fn work(command: &Run, prompt: &str, stage: &RefCell<Stage>) -> anyhow::Result<ExitCode> {
    let json = command.common.json;
    let client = Client::connect(&command.common.connection).await?;
    let prompt = with_files(&client, prompt, &command.attach).await?;
    let asked = json!({ "prompt": prompt, "title": command.title, "tags": command.tag });
    stage.replace(Stage::Asked);
    let created = client.post(&client.sessions(""), &asked).await?;
    show::notices(&created);
    let id: SessionId = created["session_id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .context("the service's answer names no session")?;
    stage.replace(Stage::Session(id.clone()));
    say(&format!("session {id}"));
    if json {
        print(&format!("{}\n", json!({ "event": "session", "data": created })))?;
    }
    let limit = command.timeout.map_or(Duration::MAX, Duration::from_secs);
    let Ok(outcome) = tokio::time::timeout(limit, follow(&client, &id, Until::Idle, json)).await else {
        say(&format!("satchel: no end within {} s; {}", limit.as_secs(), goes_on(&id)));
        return Ok(ExitCode::from(TIMED_OUT));
    };
    let outcome = outcome?;
    let told =
        |file: &files::Saved| print(&if json { format!("{}\n", file.json()) } else { file.line() }).map(drop);
    let fetched = files::download(&client, &id, &command.fetch, told).await?;
    if !fetched {
        say(&format!("to fetch what was not saved: satchel session show {id} --download"));
    }
    if let Outcome::Failed(standing) = &outcome {
        say(&format!("satchel: the session stands at {standing}; its last message says why"));
    }
    Ok(if fetched && outcome == Outcome::Well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn prompt(asked: &Asked) -> anyhow::Result<String> {
    match (&asked.prompt, &asked.prompt_file) {
        (Some(prompt), _) => Ok(prompt.clone()),
        (None, Some(path)) if path.as_os_str() == "-" => {
            std::io::read_to_string(std::io::stdin()).context("standard input cannot be read")
        }
        (None, Some(path)) => {
            std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
        }
        (None, None) => anyhow::bail!("there is no prompt: give --prompt or --prompt-file"),
    }
}

fn interrupted(stage: &Stage) -> String {
    match stage {
        Stage::Before => "interrupted; no session was created".to_owned(),
        Stage::Asked => {
            "interrupted while the session was created; `satchel session list` says whether it is there"
                .to_owned()
        }
        Stage::Session(id) => goes_on(id),
    }
}

fn goes_on(id: &SessionId) -> String {
    format!(
        "the session goes on\n  to follow it:        satchel session logs {id} --follow\n  \
         to fetch its files:  satchel session show {id} --download"
    )
}
