//! The supervisor of one agent: a process of its own (`satchel contain`, hidden) between the service and the agent.
//!
//! It guarantees that nothing of an agent outlives it: the supervisor adopts every orphan below it
//! (`PR_SET_CHILD_SUBREAPER`), and when the agent ends, when it is told to, or when the service is gone (its end of
//! the control socket closes, `SIGKILL` included), it kills and reaps until no child is left, `setsid` and double
//! forks included. If the supervisor itself is killed the agent dies with it (`PR_SET_PDEATHSIG`, bubblewrap's
//! `--die-with-parent`). The agent cannot signal it, except where nothing isolates the two.
//!
//! What to run comes over a socket on standard input, so that neither arguments nor environment of this process hold
//! a secret. Without bubblewrap the supervisor starts this program once more to confine itself and become the agent,
//! because the confinement must hold the agent and not the supervisor.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::io::{FdFlags, IoSlice, IoSliceMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::confine::{self, LandlockRules, ProcessLimits};
use super::descendants::descendants;
use super::environment::Environment;

/// Asks the supervisor to send SIGTERM to the agent and what it started.
pub(crate) const TERMINATE: u8 = b'T';
/// Asks the supervisor to kill everything.
pub(crate) const KILL: u8 = b'K';
/// When an order is passed on again that came before the agent was there.
const SAY_AGAIN: Duration = Duration::from_millis(10);
/// Bytes of the largest description of an agent.
const MAX_SPEC: u32 = 16 << 20;

/// What to run, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// The supervisor's process id in the message to the process that becomes the agent; none for the supervisor.
    pub(crate) supervisor: Option<i32>,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Environment,
    pub(crate) cwd: PathBuf,
    pub(crate) limits: ProcessLimits,
    pub(crate) confinement: Confinement,
}

/// How the agent is held.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Confinement {
    /// `program` is bubblewrap, which does it.
    Bubblewrap,
    /// By these rules.
    Landlock(LandlockRules),
    /// Not at all.
    None,
}

/// How an agent ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It was never started, for this reason.
    NotStarted(String),
}

/// Standard input, output and error of the agent.
pub(crate) type Streams = [OwnedFd; 3];

/// Makes this process unreadable for others of the same user: no `ptrace`, no `/proc/PID/environ` or `mem`, no core
/// file (`PR_SET_DUMPABLE`). The service calls it before it opens anything.
///
/// # Errors
/// The kernel refuses, which no known one does.
pub fn protect_self() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The hidden command `contain`: runs one agent as the socket on standard input says. The exit status only says
/// whether the supervisor worked; how the agent ended goes over the socket.
pub fn contain_main() -> ExitCode {
    match receive(rustix::stdio::stdin()).and_then(|(spec, streams, socket)| match spec.supervisor {
        None => supervise(spec, streams, socket),
        Some(supervisor) => {
            let failure = become_agent(&spec, supervisor, &streams);
            (&socket).write_all(failure.as_bytes())
        }
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is that of the service.
            eprintln!("the supervisor of an agent failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends the length of a description, and with it the agent's streams (`SCM_RIGHTS`, unix(7)).
pub(crate) fn send_streams(socket: BorrowedFd<'_>, body: &[u8], streams: &Streams) -> io::Result<()> {
    let length = u32::try_from(body.len()).ok().filter(|length| *length <= MAX_SPEC);
    let length =
        length.ok_or_else(|| io::Error::other("arguments and environment of the agent are over 16 MiB"))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [streams[0].as_fd(), streams[1].as_fd(), streams[2].as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let header = length.to_be_bytes();
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(&header)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == header.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

fn receive(stdin: BorrowedFd<'_>) -> io::Result<(Spec, Streams, UnixStream)> {
    let mut socket = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(stdin, 3)?);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut header = [0; 4];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let read = rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut header)], &mut control, flags)?.bytes;
    let streams: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    let length = u32::from_be_bytes(header);
    let (4, Ok(streams), true) = (read, Streams::try_from(streams), length <= MAX_SPEC) else {
        return Err(io::Error::other("this command is started by the service, not by hand"));
    };
    let mut body = vec![0; length as usize];
    socket.read_exact(&mut body)?;
    Ok((serde_json::from_slice(&body)?, streams, socket))
}

fn supervise(spec: Spec, streams: Streams, socket: UnixStream) -> io::Result<()> {
    // A session of its own: no controlling terminal for the agent, and Ctrl-C on the service's does not come here.
    rustix::process::setsid()?;
    protect_self()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    confine::set_limits(&spec.limits)?;
    socket.set_nonblocking(true)?;
    // One thread only, because the agent dies with the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut socket = tokio::net::UnixStream::from_std(socket)?;
        let mut children = signal(SignalKind::child())?;
        // Asked for and never looked at: whoever stops the service stops this process by closing the socket.
        let _ignored = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        let end = match Agent::start(spec, streams) {
            Err(error) => End::NotStarted(error.to_string()),
            Ok(agent) => {
                let status = watch(&agent, &mut socket, &mut children).await?;
                let status = bury(&agent, status).await?;
                agent.end(status)?
            }
        };
        let mut line = serde_json::to_vec(&end)?;
        line.push(b'\n');
        // The service may be gone.
        let _ = socket.write_all(&line).await;
        Ok(())
    })
}

/// Waits until the agent ended or must end, and passes signals on. The status is there if it ended by itself.
async fn watch(
    agent: &Agent,
    socket: &mut tokio::net::UnixStream,
    children: &mut tokio::signal::unix::Signal,
) -> io::Result<Option<WaitStatus>> {
    let mut order = [0];
    // Bubblewrap takes a moment to start the agent; until then there is nobody to hear that it is to end.
    let mut unheard = false;
    loop {
        tokio::select! {
            read = socket.read(&mut order) => match read {
                Ok(1) if order[0] == TERMINATE => unheard = !agent.signal(Signal::TERM)?,
                // Told to kill, or nobody is there any more.
                _ => return Ok(None),
            },
            () = tokio::time::sleep(SAY_AGAIN), if unheard => unheard = !agent.signal(Signal::TERM)?,
            _ = children.recv() => {
                if let (Some(status), _) = reap(agent.pid)? {
                    return Ok(Some(status));
                }
            }
        }
    }
}

/// Kills and reaps until no child is left, and answers the status of the agent.
async fn bury(agent: &Agent, mut status: Option<WaitStatus>) -> io::Result<WaitStatus> {
    loop {
        for process in descendants(rustix::process::getpid())? {
            process.signal(Signal::KILL);
        }
        let (ended, children_left) = reap(agent.pid)?;
        status = status.or(ended);
        if !children_left {
            return status.ok_or_else(|| io::Error::other("the agent was reaped by somebody else"));
        }
        // Killed processes need a moment to end; what they leave behind comes to this process.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Reaps all children that ended: the agent's status if it is among them, and whether other children are left.
fn reap(agent: Pid) -> io::Result<(Option<WaitStatus>, bool)> {
    let mut status = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, ended))) if pid == agent => status = Some(ended),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return Ok((status, true)),
            Err(rustix::io::Errno::CHILD) => return Ok((status, false)),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The agent as its supervisor sees it.
struct Agent {
    pid: Pid,
    /// What is said about the start: by bubblewrap as lines of JSON, else a reason for failure.
    report: OwnedFd,
    bubblewrap: bool,
}

impl Agent {
    fn start(mut spec: Spec, streams: Streams) -> io::Result<Self> {
        let bubblewrap = matches!(spec.confinement, Confinement::Bubblewrap);
        let (child, report) = if bubblewrap {
            let (report, writer) = io::pipe()?;
            // Only this process's child inherits it; there is no other thread that could start one.
            rustix::io::fcntl_setfd(&writer, FdFlags::empty())?;
            let [stdin, stdout, stderr] = streams;
            let child = Command::new(&spec.program)
                .args(["--json-status-fd", &writer.as_raw_fd().to_string()])
                .args(&spec.args)
                .env_clear()
                .envs(spec.env.iter())
                .current_dir(&spec.cwd)
                .stdin(stdin)
                .stdout(stdout)
                .stderr(stderr)
                .spawn()?;
            (child, OwnedFd::from(report))
        } else {
            let (report, theirs) = UnixStream::pair()?;
            let child = Command::new("/proc/self/exe")
                .args(std::env::args_os().skip(1))
                .env_clear()
                .stdin(OwnedFd::from(theirs))
                .stdout(Stdio::null())
                .spawn()?;
            spec.supervisor = Some(rustix::process::getpid().as_raw_nonzero().get());
            let body = serde_json::to_vec(&spec)?;
            send_streams(report.as_fd(), &body, &streams)?;
            (&report).write_all(&body)?;
            (child, OwnedFd::from(report))
        };
        Ok(Self { pid: Pid::from_child(&child), report, bubblewrap })
    }

    /// Sends a signal to the agent and what it started, and says whether anybody was there. Bubblewrap's own two
    /// processes are left out: they would end at once and take the agent with them.
    fn signal(&self, signal: Signal) -> io::Result<bool> {
        let first = if self.bubblewrap { 3 } else { 1 };
        let mut heard = false;
        for process in descendants(rustix::process::getpid())? {
            if process.generation >= first {
                process.signal(signal);
                heard = true;
            }
        }
        Ok(heard)
    }

    /// How the agent ended. Everything that could hold the other end of the report is gone by now.
    fn end(self, status: WaitStatus) -> io::Result<End> {
        let mut report = Vec::new();
        std::fs::File::from(self.report).read_to_end(&mut report)?;
        let report = String::from_utf8_lossy(&report).into_owned();
        if let Some(signal) = status.terminating_signal() {
            return Ok(End::Signalled(signal));
        }
        let code = status.exit_status().unwrap_or_default();
        if !self.bubblewrap {
            return Ok(if report.is_empty() { End::Exited(code) } else { End::NotStarted(report) });
        }
        if !report.contains("\"exit-code\"") {
            return Ok(End::NotStarted("bubblewrap could not start it".to_owned()));
        }
        // Bubblewrap passes on a death by signal as 128 and its number, as a shell does.
        Ok(if (129..=192).contains(&code) { End::Signalled(code - 128) } else { End::Exited(code) })
    }
}

/// Confines this process and becomes the agent. It comes back only with the reason why it could not.
fn become_agent(spec: &Spec, supervisor: i32, streams: &Streams) -> String {
    let confined = || -> Result<(), confine::ConfineError> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
        if parent != Some(supervisor) {
            return Err(io::Error::other("the supervisor is gone").into());
        }
        rustix::stdio::dup2_stdin(&streams[0]).map_err(io::Error::from)?;
        rustix::stdio::dup2_stdout(&streams[1]).map_err(io::Error::from)?;
        // A setuid program could not be killed by an ordinary user's supervisor.
        rustix::thread::set_no_new_privs(true).map_err(io::Error::from)?;
        if let Confinement::Landlock(rules) = &spec.confinement {
            confine::drop_capabilities()?;
            confine::landlock(rules)?;
        }
        rustix::stdio::dup2_stderr(&streams[2]).map_err(io::Error::from)?;
        Ok(())
    };
    if let Err(error) = confined() {
        return error.to_string();
    }
    Command::new(&spec.program)
        .args(&spec.args)
        .env_clear()
        .envs(spec.env.iter())
        .current_dir(&spec.cwd)
        .exec()
        .to_string()
}
