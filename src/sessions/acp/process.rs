//! The process of an ACP agent: how it is started, watched and ended.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Rules};
use super::{AcpSettings, INSIDE, PLACEHOLDERS};
use crate::sessions::agent::{Failure, How, Start};
use crate::sessions::command::{self, CommandProfile, DRAIN};
use crate::sessions::complaints::Complaints;
use crate::sessions::contain::End;
use crate::sessions::process::{Contained, Control};
use crate::sessions::sandbox::{Launch, Network, find_program};
use crate::sessions::workspace::Workspace;

/// A process, the connection to it, and what reads its standard error. Dropped, it is killed.
pub(super) struct Process {
    pub(super) connection: Connection,
    pub(super) control: Control,
    stderr: Option<JoinHandle<Vec<String>>>,
    over: bool,
}

/// What became of work that was watched.
pub(super) enum Watched<T> {
    /// It was done.
    Done(T),
    /// The process ended before.
    Ended,
    /// It took too long.
    TimedOut,
    /// Somebody wants it to end.
    Cancelled,
}

/// Starts the program of a profile; with it, its working folder as it sees it.
pub(super) async fn start(
    profile: &CommandProfile,
    settings: &AcpSettings,
    with: &Start<'_>,
) -> Result<(Process, PathBuf), How> {
    let not_started = |error: io::Error| match error.raw_os_error() {
        Some(_) => How::Refused(error.to_string()),
        None => How::NoStart(Failure::NotStarted(error.to_string())),
    };
    let (contained, cwd) = launch(profile, settings, with).await.map_err(not_started)?;
    let Contained { stdin, stdout, mut stderr, control } = contained;
    let mut complaints = Complaints::new(Arc::clone(&with.workspace));
    let stderr = tokio::spawn(async move {
        complaints.read(&mut stderr).await;
        complaints.tail()
    });
    let rules = Rules {
        profile: &profile.name,
        permissions: settings.permissions,
        max_line_bytes: settings.max_line_bytes,
        max_text_bytes: profile.max_output_bytes,
    };
    let connection = Connection::open(stdin, stdout, &rules).await.map_err(not_started)?;
    Ok((Process { connection, control, stderr: Some(stderr), over: false }, cwd))
}

async fn launch(
    profile: &CommandProfile,
    settings: &AcpSettings,
    with: &Start<'_>,
) -> io::Result<(Contained, PathBuf)> {
    let workspace: &Workspace = &with.workspace;
    let mut words = settings.prefix.iter().map(|word| filled(word, workspace));
    let (sandbox, name, mut args, cwd) = match words.next() {
        None => {
            let cwd = with.sandbox.places(workspace).workspace;
            (with.sandbox.clone(), profile.program.clone(), Vec::new(), cwd)
        }
        Some(first) => {
            let mounts = settings.prefix.iter().any(|word| word.contains(PLACEHOLDERS[2]));
            let sandbox = with.sandbox.behind_prefix(mounts);
            let cwd = match &settings.cwd {
                Some(cwd) => cwd.clone(),
                None if mounts => PathBuf::from(INSIDE),
                None => sandbox.places(workspace).workspace,
            };
            let args = words.chain([profile.program.clone()]).collect();
            (sandbox, first, args, cwd)
        }
    };
    args.extend(profile.args.iter().cloned());
    let Some(program) = find_program(&name) else {
        let problem = format!("the program {name:?} is not an executable file, nor one in PATH");
        return Err(io::Error::new(io::ErrorKind::NotFound, problem));
    };
    let mut env = command::environment(profile, &with.extra_env);
    if settings.isolates_itself() {
        // What the program of the prefix finds in its HOME, it may run: nothing of the agent's is to lie there.
        env.set_if_missing("HOME", workspace.path().join("tmp").to_string_lossy().into_owned());
    }
    let tools = with.mcp_servers.iter().map(|server| server.command.clone());
    let read_paths: Vec<PathBuf> = profile.read_paths.iter().cloned().chain(tools).collect();
    let launch = Launch {
        program: &program,
        args,
        env,
        read_paths: &read_paths,
        network: if settings.isolates_itself() { Network::Host } else { profile.network },
        limits: profile.limits.clone(),
    };
    Ok((sandbox.start(workspace, launch).await?, cwd))
}

/// A word of a prefix with the session's folders in the places of the placeholders.
fn filled(word: &str, workspace: &Workspace) -> String {
    let folder = |path: &Path| path.to_string_lossy().into_owned();
    let [ws, home, attachments] =
        ["ws", "home", "attachments"].map(|name| folder(&workspace.path().join(name)));
    let [a, b, c] = PLACEHOLDERS;
    word.replace(a, &ws).replace(b, &home).replace(c, &attachments)
}

/// Does some work while watching the process that it needs.
pub(super) async fn watch<T>(
    control: &mut Control,
    limit: Duration,
    cancel: &CancellationToken,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Watched<T> {
    tokio::select! {
        biased;
        done = work.as_mut() => return Watched::Done(done),
        () = cancel.cancelled() => return Watched::Cancelled,
        _ = control.ended() => {}
        () = tokio::time::sleep(limit) => return Watched::TimedOut,
    }
    // What it wrote before its end is still to be read.
    match tokio::time::timeout(DRAIN, work).await {
        Ok(done) => Watched::Done(done),
        Err(_) => Watched::Ended,
    }
}

impl Process {
    /// Finds out how a process ended that does not write any more, and sees to it that it is gone.
    pub(super) async fn end(&mut self) -> How {
        if let Some(failure) = self.connection.oddities().too_much().cloned() {
            self.stop(DRAIN).await;
            return How::Crashed(failure);
        }
        let Ok(ended) = tokio::time::timeout(DRAIN, self.control.ended()).await else {
            self.stop(DRAIN).await;
            return How::Crashed(Failure::Silent);
        };
        self.over = true;
        match ended {
            Ok(End::Exited(status)) => How::Crashed(Failure::Exited(status)),
            Ok(End::Signalled(signal)) => How::Crashed(Failure::Signalled(signal)),
            Ok(End::NotStarted(why)) => {
                // Bubblewrap says on standard error what it could not do.
                let last = self.last_words().await.pop().unwrap_or_default();
                How::NoStart(Failure::NotStarted(format!("{why}: {last}")))
            }
            Err(error) => How::Crashed(Failure::Lost(error.to_string())),
        }
    }

    /// Takes note of it if the process has ended by itself.
    pub(super) fn look(&mut self) {
        self.over |= self.control.ended().now_or_never().is_some();
    }

    /// Whether it is known to be gone.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// SIGTERM, then after `grace` SIGKILL; answers when nothing of it is left. A process that is gone stays so. Safe to
    /// drop and call again.
    pub(super) async fn stop(&mut self, grace: Duration) {
        if !self.over {
            if let Err(error) = self.control.stop(grace).await {
                tracing::error!(%error, "an agent could not be stopped");
            }
            // Only now: whoever drops this in between and calls it again has to wait as well.
            self.over = true;
        }
        let [garbage, notifications, updates, requests] = self.connection.oddities().counts();
        if garbage + notifications + updates + requests > 0 {
            tracing::info!(
                garbage,
                notifications,
                updates,
                requests,
                "what an agent wrote and was not understood"
            );
        }
    }

    /// The last lines of standard error, once, of a process that is gone.
    pub(super) async fn last_words(&mut self) -> Vec<String> {
        let Some(stderr) = self.stderr.take() else { return Vec::new() };
        match tokio::time::timeout(DRAIN, stderr).await {
            Ok(Ok(lines)) => lines,
            _ => Vec::new(),
        }
    }
}
