//! `satchel serve`: set up what is empty, open everything, say where, run until told to stop.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{ServeArgs, Unread, first_run, print};
use crate::app::{App, DataFolder, EXAMPLE_AGENT};
use crate::config::{Config, Flags};
use crate::sessions::contain::protect_self;
use crate::telemetry;

pub(super) fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    // What this process inherited is nothing for the agents that it starts.
    close_fds::set_fds_cloexec(3, &[]);
    protect_self().context("the process cannot be protected from others of the same user")?;
    let config = Config::load(Flags {
        role: args.role,
        listen: args.listen,
        public_url: args.public_url,
        secret_key_file: args.secret_key_file,
        ..args.folder.flags()
    })?;
    telemetry::start_logging(&config.log)?;
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(config))
}

async fn run(config: Config) -> anyhow::Result<ExitCode> {
    // A worker makes no folder: a mistyped name would be an empty service that it works for in vain.
    let folder = if config.role.listens() {
        DataFolder::open(&config.data)?
    } else {
        DataFolder::open_existing(&config.data)?
    };
    let app = App::open(&config, &folder).await?;
    let fresh = if config.role.listens() { first_run::set_up_if_empty(&folder).await? } else { None };
    announce(&app, &config, &folder, fresh.as_ref())?;

    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopper = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: requests and turns in flight may finish");
        stopper.cancel();
    });
    app.run(stop).await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Says where the service listens and keeps its data, and, the first time, what to do next.
fn announce(
    app: &App,
    config: &Config,
    folder: &DataFolder,
    fresh: Option<&first_run::FirstRun>,
) -> anyhow::Result<()> {
    let address = app.address()?;
    let mut text = match address {
        Some(address) => format!("listening on http://{address}\n"),
        None => "working on sessions\n".to_owned(),
    };
    text.push_str(&format!("data in {}\n", folder.path().display()));
    if address.is_none_or(|address| app.public_url() != format!("http://{address}")) {
        text.push_str(&format!("public address {}\n", app.public_url()));
    }
    if let Some(fresh) = fresh {
        text.push_str(&fresh.welcome(app.public_url(), folder, std::io::stdout().is_terminal()));
    }
    if let Err(error) = print(&text)
        && !error.is::<Unread>()
    {
        return Err(error);
    }
    let address = address.map(tracing::field::display);
    tracing::info!(role = ?config.role, address, isolation = ?app.sandbox().isolation(), "ready");
    if config.default_agent().is_none() {
        tracing::warn!(
            "the agent is `{EXAMPLE_AGENT}`, which is not a language model: name one under [agents] in the configuration"
        );
    }
    Ok(())
}

/// Many connections need many descriptors: takes as many as the system allows.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}
