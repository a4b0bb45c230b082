//! `satchel session`: the client commands. They speak to a service over its API, as any client does, and touch no
//! data folder.
//!
//! What was said and handed back goes to standard output, everything about the command itself to standard error. The
//! key comes from the environment or a file, never from an argument.

mod client;
mod early;
mod files;
mod follow;
mod places;
mod run;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::client::{Client, Connection};
use self::early::unless_ended;
use self::follow::Until;
use super::{print, say};
use crate::id::SessionId;

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// Upload files, create a session, follow its turn, download what comes back.
    ///
    /// Exits with 0 when the turn ended well, 1 when it did not, 124 when it took longer than --timeout. ^C leaves the
    /// session running.
    Run(run::Run),
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
    /// A file for the agent; may be repeated.
    #[arg(long, value_name = "FILE")]
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
    let silence = || ();
    match command {
        SessionCommand::Run(command) => run::start(command).await,
        SessionCommand::List(command) => unless_ended(list(command), silence).await,
        SessionCommand::Show(command) => unless_ended(show(command), silence).await,
        SessionCommand::Send(command) => unless_ended(send(command), silence).await,
        SessionCommand::Stop(command) => unless_ended(stop(command), silence).await,
        SessionCommand::Logs(command) => unless_ended(logs(command), silence).await,
    }
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
    if rows.is_empty() {
        say("no sessions");
    }
    print(&rows.iter().map(show::row).collect::<String>())
}

async fn show(command: Show) -> anyhow::Result<ExitCode> {
    ensure!(
        command.download || (command.fetch.output.is_none() && !command.fetch.force),
        "--output and --force are for what comes back: add --download to fetch it"
    );
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
    if !json {
        print(&show::session(&session, &messages, &receipts))?;
    }
    let mut saved = Vec::new();
    let told = |file: &files::Saved| {
        saved.push(file.json());
        if json { Ok(()) } else { print(&file.line()).map(drop) }
    };
    let fetched = !command.download || files::download(&client, id, &command.fetch, told).await?;
    if json {
        session["messages"] = Value::Array(messages);
        session["receipts"] = receipts;
        if command.download {
            session["saved"] = Value::Array(saved);
        }
        print(&format!("{session:#}\n"))?;
    }
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
