//! The command line: what an operator and a user type.
//!
//! Errors go to standard error as one line with its causes, and the exit code is 1; what was typed
//! wrong exits with 2. A command whose output nobody reads any more (`| head`) ends quietly with 141, as
//! one that SIGPIPE ended. Commands that change the catalogue work beside a running server.

mod admin;
mod agents;
mod check_prompt;
mod first_run;
mod secret_key;
mod serve;
mod session;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::app::DataFolder;
use crate::config::{Config, Flags, Role};
use crate::{example_agent, sessions};

/// The exit code when nobody reads the output any more, as shells have it for SIGPIPE.
const UNREAD: u8 = 141;

/// A self-hosted attachment service for coding agents.
#[derive(Debug, Parser)]
#[command(name = "satchel", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service. On an empty data folder, set it up first.
    Serve(ServeArgs),
    /// Set an empty data folder up: an organisation and three credentials.
    Init {
        #[command(flatten)]
        folder: FolderArgs,
        /// Print the credentials as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make, list and revoke API keys.
    #[command(subcommand)]
    Keys(admin::KeysCommand),
    /// Make and list organisations.
    #[command(subcommand)]
    Orgs(admin::OrgsCommand),
    /// Hand files and a prompt to an agent, follow it, and fetch what comes back.
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Say how the ATTACHMENT lines of a prompt will be read, before it is sent.
    CheckPrompt(check_prompt::CheckPrompt),
    /// Try agent profiles out, and list them.
    #[command(subcommand)]
    Agents(agents::AgentsCommand),
    /// Make the key that session secrets are encrypted with.
    SecretKey {
        /// The file to write, outside of the data folder; nothing may be there.
        file: PathBuf,
    },
    /// Print the commented example configuration.
    ExampleConfig,
    /// The built-in agent: reads the files it was handed and writes output/report.md.
    ExampleAgent,
    /// Takes structured output from an agent, over the Model Context Protocol; agents start it.
    #[command(hide = true)]
    StructuredOutput {
        /// The JSON Schema.
        schema: PathBuf,
        /// The file to write.
        output: PathBuf,
    },
    /// Judges a JSON Schema and a value; used by the service itself.
    #[command(hide = true)]
    JudgeOutput,
    /// Runs one agent contained; used by the service itself.
    #[command(hide = true)]
    Contain,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// What the process does: take requests, run sessions, or both [default: all].
    #[arg(long)]
    role: Option<Role>,
    /// Address to listen on [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Address under which clients reach the service [default: http://ADDR].
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// File with the key that session secrets are encrypted with; `satchel secret-key` makes one.
    #[arg(long, value_name = "FILE")]
    secret_key_file: Option<PathBuf>,
}

/// Where the service keeps everything.
#[derive(Debug, Clone, Args)]
struct FolderArgs {
    /// Folder of everything that is kept [default: ./satchel-data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Configuration file (TOML); `satchel example-config` prints one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl FolderArgs {
    fn flags(&self) -> Flags {
        Flags { config: self.config.clone(), data: self.data.clone(), ..Flags::default() }
    }

    /// The folder of a service that was set up; a mistyped name makes no new one.
    fn open_existing(&self) -> anyhow::Result<DataFolder> {
        let config = Config::load(self.flags())?;
        DataFolder::open_existing(&config.data)
    }

    fn open(&self) -> anyhow::Result<DataFolder> {
        let config = Config::load(self.flags())?;
        DataFolder::open(&config.data)
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // Before anything else: the supervisor of an agent is this program too.
    if std::env::args_os().nth(1).is_some_and(|arg| arg == "contain") {
        return sessions::contain::contain_main();
    }
    // Whatever is kept is for the service's user alone, whoever made the data folder.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) if error.is::<Unread>() => ExitCode::from(UNREAD),
        Err(error) => {
            say(&format!("satchel: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::serve(args),
        Command::Init { folder, json } => within_runtime(first_run::init(folder, json)),
        Command::Keys(command) => within_runtime(admin::keys(command)),
        Command::Orgs(command) => within_runtime(admin::orgs(command)),
        Command::Session(command) => within_runtime(session::run(command)),
        Command::CheckPrompt(command) => check_prompt::check(&command),
        Command::Agents(command) => within_runtime(agents::run(command)),
        Command::SecretKey { file } => secret_key::make(&file),
        Command::ExampleConfig => print(&Config::example()),
        Command::ExampleAgent => {
            let workspace = std::env::current_dir().context("the working folder is gone")?;
            example_agent::run(&workspace, &mut io::stdin().lock(), &mut io::stdout().lock())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::StructuredOutput { schema, output } => {
            let (mut input, mut answers) = (io::stdin().lock(), io::stdout().lock());
            sessions::structured::server::serve(&schema, &output, &mut input, &mut answers)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::JudgeOutput => Ok(sessions::structured::judge::judge_main()),
        Command::Contain => Ok(sessions::contain::contain_main()),
    }
}

fn within_runtime(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(work);
    // A command that ended early waits for nothing that it began, such as a name that is being looked up.
    runtime.shutdown_background();
    ended
}

/// Nobody reads standard output any more.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
struct Unread;

/// Prints to standard output.
///
/// # Errors
/// [`Unread`] if its reader went away; any other reason why it cannot be written.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Unread.into()),
        Err(error) => Err(error).context("standard output cannot be written"),
    }
}

/// Says a line on standard error; that nobody hears it is no error.
fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
