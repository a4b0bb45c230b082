//! A contained process as the service holds it: its three streams and a hand on its supervisor.
//!
//! Dropping [`Control`] kills the process and every descendant of it; so does the end of the service, however it
//! comes. [`Control::ended`] answers only after the last descendant is gone. Reading the streams is up to the caller,
//! who must go on reading while it waits.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretSlice};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use super::contain::{self, End, Spec};

/// How long a supervisor may take to kill everything before it is given up.
const BURIAL: Duration = Duration::from_secs(30);

/// The program that supervises: this one, called anew.
#[derive(Debug, Clone)]
pub struct Supervisor {
    program: PathBuf,
}

impl Default for Supervisor {
    /// The running program, even if its file was replaced since it started.
    fn default() -> Self {
        Self { program: PathBuf::from("/proc/self/exe") }
    }
}

impl Supervisor {
    /// The program's path.
    pub(crate) fn program(&self) -> &std::path::Path {
        &self.program
    }

    /// Another build of this program; it must answer to the same hidden commands.
    pub fn at(program: PathBuf) -> Self {
        Self { program }
    }
}

/// A process that runs under a supervisor.
#[derive(Debug)]
pub struct Contained {
    /// Where it reads.
    pub stdin: pipe::Sender,
    /// What it prints.
    pub stdout: pipe::Receiver,
    /// What it complains about.
    pub stderr: pipe::Receiver,
    /// The hand on it.
    pub control: Control,
}

/// Ends a contained process and tells how it ended. Dropped, it kills the process.
#[derive(Debug)]
pub struct Control {
    socket: UnixStream,
    supervisor: tokio::process::Child,
    heard: Vec<u8>,
}

impl Contained {
    /// Starts the supervisor and hands it `spec`, and `lock` to keep open until it ends, also where this process ends
    /// before it. That the program itself could not be started shows in
    /// [`Control::ended`].
    ///
    /// # Errors
    /// The supervisor could not be started.
    pub(crate) async fn start(supervisor: &Supervisor, spec: &Spec, lock: OwnedFd) -> io::Result<Self> {
        let body = SecretSlice::from(serde_json::to_vec(spec)?);
        let body = body.expose_secret();
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut socket = UnixStream::from_std(ours)?;
        let (agent_in, stdin) = io::pipe()?;
        let (stdout, agent_out) = io::pipe()?;
        let (stderr, agent_err) = io::pipe()?;
        let child = tokio::process::Command::new(&supervisor.program)
            .arg("contain")
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            // It prints nothing.
            .stdout(lock)
            .spawn()?;
        let streams = [OwnedFd::from(agent_in), agent_out.into(), agent_err.into()];
        contain::send_streams(socket.as_fd(), body, &streams)?;
        drop(streams);
        socket.write_all(body).await?;
        Ok(Self {
            stdin: pipe::Sender::from_owned_fd(stdin.into())?,
            stdout: pipe::Receiver::from_owned_fd(stdout.into())?,
            stderr: pipe::Receiver::from_owned_fd(stderr.into())?,
            control: Control { socket, supervisor: child, heard: Vec::new() },
        })
    }
}

impl Control {
    /// Sends SIGTERM to the process and everything that it started.
    pub async fn terminate(&mut self) {
        // A supervisor that is gone has nothing left to signal.
        let _ = self.socket.write_all(&[contain::TERMINATE]).await;
    }

    /// Kills the process and everything that it started.
    pub async fn kill(&mut self) {
        let _ = self.socket.write_all(&[contain::KILL]).await;
    }

    /// Waits until the process and everything that it started is gone. Safe to cancel and call again.
    ///
    /// # Errors
    /// The supervisor was killed from outside or failed; what it held is killed by the kernel then, except for
    /// orphans outside bubblewrap.
    pub async fn ended(&mut self) -> io::Result<End> {
        let mut buffer = [0; 512];
        while !self.heard.ends_with(b"\n") {
            match self.socket.read(&mut buffer).await {
                Ok(0) | Err(_) => {
                    let status = self.supervisor.wait().await?;
                    return Err(io::Error::other(format!(
                        "the supervisor of the agent ended early: {status}"
                    )));
                }
                Ok(read) => self.heard.extend_from_slice(&buffer[..read]),
            }
        }
        self.supervisor.wait().await?;
        Ok(serde_json::from_slice(&self.heard)?)
    }

    /// SIGTERM, then after `grace` SIGKILL, and the end.
    ///
    /// # Errors
    /// As [`Self::ended`], and when something cannot be killed within 30 s, which is the case while it waits for a
    /// broken disk.
    pub async fn stop(&mut self, grace: Duration) -> io::Result<End> {
        self.terminate().await;
        if let Ok(end) = tokio::time::timeout(grace, self.ended()).await {
            return end;
        }
        self.kill().await;
        match tokio::time::timeout(BURIAL, self.ended()).await {
            Ok(end) => end,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "a process of the agent does not end when killed",
            )),
        }
    }
}
