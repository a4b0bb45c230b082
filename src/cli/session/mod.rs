//! `satchel session`: the client commands. They speak to a service over its API, as any client does, and touch no
//! data folder.
//!
//! What was said and handed back goes to standard output, everything about the command itself to standard error. The
//! key comes from the environment or a file, never from an argument.

mod client;
mod early;
mod files;
mod follow;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::client::{Client, Connection};
use self::follow::{Outcome, Until};
use super::{print, say};
use crate::id::SessionId;

/// The exit code of a run that took longer than `--timeout`, as timeout(1) has it.
const TIMED_OUT: u8 = 124;
/// The exit code after ^C, as shells have it.
const INTERRUPTED: u8 = 130;

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// Upload files, create a session, follow its turn, download what comes back.
    ///
    /// Exits with 0 when the turn ended well, 1 when it did not, 124 when it took longer than --timeout. ^C leaves the
    /// session running.
    Run(Run),
    /// List sessions, newest first.
    List(List),
    /// Show a session: where it stands, what was said, its files.
    Show(Show),
    /// Send a message to a session.
    Send(Send),
    /// End a session for good.
    Stop(Stop),
    /// Print what happened in a session, in order.
    Logs(Logs),
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// What the agent is to do.
    #[arg(long, value_name = "TEXT", required_unless_present = "prompt_file")]
    prompt: Option<String>,
    /// File with what the agent is to do; `-` for standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    prompt_file: Option<PathBuf>,
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
struct Fetch {
    /// Folder for what comes back [default: ./output].
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Overwrite files that are there.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// At most this many.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
    /// Only sessions with this tag; with several, with any of them.
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The session.
    id: SessionId,
    /// Download what came back as well, to --output.
    #[arg(long)]
    download: bool,
    #[command(flatten)]
    fetch: Fetch,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Send {
    /// The session.
    id: SessionId,
    /// What to say.
    #[arg(long, value_name = "TEXT")]
    message: String,
    /// Files for the agent; may be repeated.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    attach: Vec<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Stop {
    /// The session.
    id: SessionId,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// The session.
    id: SessionId,
    /// Go on until the session is over.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    common: Common,
}

/// What every client command takes.
#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    connection: Connection,
    /// Print JSON; of events, one object a line.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: SessionCommand) -> anyhow::Result<ExitCode> {
    early::unless_ended(async {
        match command {
            SessionCommand::Run(command) => start(command).await,
            SessionCommand::List(command) => list(command).await,
            SessionCommand::Show(command) => show(command).await,
            SessionCommand::Send(command) => send(command).await,
            SessionCommand::Stop(command) => stop(command).await,
            SessionCommand::Logs(command) => logs(command).await,
        }
    })
    .await
}

async fn start(command: Run) -> anyhow::Result<ExitCode> {
    let prompt = match (&command.prompt, &command.prompt_file) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(path)) if path.as_os_str() == "-" => {
            std::io::read_to_string(std::io::stdin()).context("standard input cannot be read as UTF-8")?
        }
        (None, Some(path)) => std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read as UTF-8", path.display()))?,
        (None, None) => bail!("there is no prompt: give --prompt or --prompt-file"),
    };
    let json = command.common.json;
    let client = Client::connect(&command.common.connection).await?;
    let prompt = with_files(&client, &prompt, &command.attach).await?;
    let asked = json!({ "prompt": prompt, "title": command.title, "tags": command.tag });
    let created = client.post(&client.sessions(""), &asked).await?;
    show::notices(&created);
    let id: SessionId = created["session_id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .context("the service's answer names no session")?;
    say(&format!("session {id}"));
    let limit = command.timeout.map_or(Duration::MAX, Duration::from_secs);
    let outcome = tokio::select! {
        outcome = follow::follow(&client, &id, Until::Idle, json) => outcome?,
        () = tokio::time::sleep(limit) => {
            say(&format!("satchel: no end within {} s; {}", limit.as_secs(), goes_on(&id)));
            return Ok(ExitCode::from(TIMED_OUT));
        }
        _ = tokio::signal::ctrl_c() => {
            say(&format!("\nsatchel: {}", goes_on(&id)));
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    let fetched = files::download(&client, &id, &command.fetch, json).await?;
    if let Outcome::Failed(standing) = &outcome {
        say(&format!("satchel: the session stands at {standing}; its last message says why"));
    }
    Ok(if fetched && outcome == Outcome::Well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn list(command: List) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&command.common.connection).await?;
    let limit = if client.is_v3() { "first" } else { "limit" };
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair(limit, &command.limit.to_string());
    query.extend_pairs(command.tag.iter().map(|tag| ("tags", tag)));
    let mut page = client.get(&client.sessions(&format!("?{}", query.finish()))).await?;
    let sessions = page[if client.is_v3() { "items" } else { "sessions" }].take();
    if command.common.json {
        return print(&format!("{sessions:#}\n"));
    }
    let rows = sessions.as_array().map(Vec::as_slice).unwrap_or_default();
    print(&rows.iter().map(show::row).collect::<String>())
}

async fn show(command: Show) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&command.common.connection).await?;
    let (id, json) = (&command.id, command.common.json);
    let mut session = client.get(&client.sessions(&format!("/{id}"))).await?;
    let receipts = client.get(&client.sessions(&format!("/{id}/receipts"))).await?;
    let mut messages = Vec::new();
    let mut events = follow::Stream::new(&client, id, Until::Now);
    while let Some(event) = events.next().await? {
        if event.kind == "message" {
            messages.push(event.data);
        }
    }
    if json {
        session["messages"] = Value::Array(messages);
        session["receipts"] = receipts;
        print(&format!("{session:#}\n"))?;
    } else {
        print(&show::session(&session, &messages, &receipts))?;
    }
    let fetched = !command.download || files::download(&client, id, &command.fetch, false).await?;
    Ok(if fetched { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn send(command: Send) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&command.common.connection).await?;
    let message = with_files(&client, &command.message, &command.attach).await?;
    let path = if client.is_v3() { "messages" } else { "message" };
    let path = client.sessions(&format!("/{}/{path}", command.id));
    let sent = client.post(&path, &json!({ "message": message })).await?;
    show::notices(&sent);
    if command.common.json {
        return print(&format!("{sent:#}\n"));
    }
    say(&format!("sent; to follow: satchel session logs {} --follow", command.id));
    Ok(ExitCode::SUCCESS)
}

async fn stop(command: Stop) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&command.common.connection).await?;
    let stopped = client.delete(&client.sessions(&format!("/{}", command.id))).await?;
    if command.common.json {
        return print(&format!("{stopped:#}\n"));
    }
    print(&format!("{} is stopped\n", command.id))
}

async fn logs(command: Logs) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&command.common.connection).await?;
    let until = if command.follow { Until::Over } else { Until::Now };
    follow::follow(&client, &command.id, until, command.common.json).await?;
    Ok(ExitCode::SUCCESS)
}

/// Uploads files and adds the lines that name them. Nothing is sent unless every file can be read.
async fn with_files(client: &Client, text: &str, paths: &[PathBuf]) -> anyhow::Result<String> {
    let mut opened = Vec::new();
    for path in paths {
        opened.push(files::Upload::open(path).await?);
    }
    let mut text = text.to_owned();
    for (index, file) in opened.into_iter().enumerate() {
        let url = files::upload(client, file).await?;
        ensure!(!url.contains(['"', '\n']), "the service answered an address that no line can name");
        text.push_str(if index == 0 { "\n\n" } else { "\n" });
        text.push_str(&format!("ATTACHMENT:\"{url}\""));
    }
    Ok(text)
}

fn goes_on(id: &SessionId) -> String {
    format!("the session goes on; to follow it again: satchel session logs {id} --follow")
}
