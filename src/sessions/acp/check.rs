//! Trying an agent out before a session needs it: it is started as a session would start it, in a folder that is
//! removed afterwards, and asked what it can do.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::handshake::{Introduction, Opening, Trouble, shake_hands};
use super::process::{self, Watched};
use super::{AcpSettings, How};
use crate::sessions::agent::{Failure, Start};
use crate::sessions::command::CommandProfile;
use crate::sessions::environment::Environment;
use crate::sessions::sandbox::Sandbox;
use crate::sessions::words;
use crate::sessions::workspace::{Workspace, remove_workspace};

/// What was found out.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// What the agent said of itself, as far as it came.
    #[serde(flatten)]
    pub introduction: Introduction,
    /// What is wrong and what would be right; none for an agent that is ready for a prompt.
    pub problem: Option<String>,
    /// The last lines that it wrote to standard error, where something is wrong.
    pub stderr: Vec<String>,
}

/// Starts an agent in a new folder at `folder`, opens a session, sets mode and options, and ends it.
///
/// # Errors
/// The folder cannot be made or removed.
pub async fn check(
    profile: &CommandProfile,
    settings: &AcpSettings,
    sandbox: &Sandbox,
    folder: &Path,
) -> io::Result<Checked> {
    let workspace = Arc::new(Workspace::open(folder)?);
    let checked = try_out(profile, settings, sandbox, workspace).await;
    remove_workspace(folder)?;
    Ok(checked)
}

async fn try_out(
    profile: &CommandProfile,
    settings: &AcpSettings,
    sandbox: &Sandbox,
    workspace: Arc<Workspace>,
) -> Checked {
    let cancel = CancellationToken::new();
    let with = Start {
        sandbox,
        workspace,
        extra_env: Environment::default(),
        mcp_servers: Vec::new(),
        conversation: None,
        cancel: &cancel,
    };
    let mut introduction = Introduction::default();
    let (mut process, cwd) = match process::start(profile, settings, &with).await {
        Ok(started) => started,
        Err(how) => return Checked { introduction, problem: told(profile, how), stderr: Vec::new() },
    };
    let shaken = {
        let opening = Opening { cwd: &cwd, mcp_servers: &[], earlier: None };
        let work = std::pin::pin!(shake_hands(&mut process.connection, settings, opening, &mut introduction));
        process::watch(&mut process.control, settings.start_timeout, &cancel, work).await
    };
    let how = match shaken {
        Watched::Done(Ok(_)) => How::Done,
        Watched::Done(Err(Trouble::Closed)) | Watched::Ended => process.end().await,
        Watched::Done(Err(Trouble::Passing(failure) | Trouble::Lasting(failure))) => How::NoStart(failure),
        Watched::TimedOut | Watched::Cancelled => {
            How::Crashed(Failure::StartTimeout(settings.start_timeout, process.connection.step()))
        }
    };
    process.stop(profile.kill_grace).await;
    let problem = told(profile, how);
    let stderr = if problem.is_some() { process.last_words().await } else { Vec::new() };
    Checked { introduction, problem, stderr }
}

/// In words; an operator may read the reasons that are otherwise for the log.
fn told(profile: &CommandProfile, how: How) -> Option<String> {
    match how {
        How::Done => None,
        How::Refused(why) | How::NoStart(Failure::NotStarted(why)) => {
            Some(format!("it cannot be started: {why}"))
        }
        How::Failed(failure) | How::Crashed(failure) | How::NoStart(failure) => {
            Some(words::failure(&profile.name, &failure, &[]))
        }
        How::Because(_) | How::Cancelled => Some("it did not become ready for a prompt".to_owned()),
    }
}
