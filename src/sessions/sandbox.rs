//! What an agent can reach: bubblewrap, else Landlock, else everything that the service can.
//!
//! | | bubblewrap | Landlock | none |
//! | --- | --- | --- | --- |
//! | delivered files | read-only mount | outside the writable tree | the owner can change them |
//! | the service's data, other sessions | not there | not readable | readable |
//! | the service's processes | not visible | not readable, not signalled (Linux 6.12) | readable by root |
//! | network "none" | no interfaces | no TCP (Linux 6.7) | refused |
//!
//! Descendants are another matter: the supervisor (`contain.rs`) kills them in every mode. Network "host" reaches the
//! loopback and link-local addresses of the machine in every mode. What Landlock leaves open is in
//! [`Sandbox::uncovered`].

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::confine::ProcessLimits;
use super::contain::{Confinement, End, Spec};
use super::environment::Environment;
use super::process::{Contained, Supervisor};
use super::reach::{Places, SYSTEM, Shown, text};
use super::workspace::{Way, Workspace};

/// How an agent is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Namespaces, made by `bwrap`.
    Bubblewrap,
    /// Rules that the kernel holds the process to.
    Landlock,
    /// Not at all; only its descendants are watched over.
    None,
}

impl Isolation {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bubblewrap => "bubblewrap",
            Self::Landlock => "landlock",
            Self::None => "none",
        }
    }
}

/// What an agent reaches over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Whatever the machine reaches, its own loopback included.
    Host,
    /// Nothing.
    None,
}

/// An isolation that was tried and works.
#[derive(Debug, Clone)]
pub struct Sandbox {
    isolation: Isolation,
    way: Way,
    bubblewrap: PathBuf,
    supervisor: Supervisor,
}

/// Why no isolation was found.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The wanted one does not work.
    #[error("isolation = \"{}\" does not work here: {why}", .wanted.name())]
    Wanted {
        /// What was asked for.
        wanted: Isolation,
        /// What happened.
        why: String,
    },
    /// None works.
    #[error(
        "agents cannot be isolated here. bubblewrap: {bubblewrap}. Landlock: {landlock}. Install bubblewrap, or set \
         isolation = \"none\" to let agents read and change everything that this service can"
    )]
    Neither {
        /// What happened with bubblewrap.
        bubblewrap: String,
        /// What happened with Landlock.
        landlock: String,
    },
}

/// A program to run in a workspace.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// Absolute path.
    pub(crate) program: &'a Path,
    pub(crate) args: Vec<String>,
    /// The whole environment but HOME and TMPDIR, which are given here.
    pub(crate) env: Environment,
    /// What it may read besides the system's programs and the delivered files.
    pub(crate) read_paths: &'a [PathBuf],
    pub(crate) network: Network,
    pub(crate) limits: ProcessLimits,
}

/// A probe that takes longer than this failed.
const PROBE: Duration = Duration::from_secs(20);
/// Reads a delivered file, fails to change it, and fails to read a file of the service, whose path it is given.
const PROBE_SCRIPT: &str = "read -r word < attachments/probe || exit 11; \
    if (echo x > attachments/probe) 2>/dev/null; then exit 12; fi; \
    if (read -r word < \"$1\") 2>/dev/null; then exit 13; fi; \
    echo x > output/probe || exit 14";

impl Sandbox {
    /// Finds the isolation to use: the wanted one, else bubblewrap, else Landlock. Each is tried for real, by a
    /// program in a workspace below `scratch` (a folder on the file system where sessions will lie) with `network` as
    /// the strictest network that a profile asks for. [`Isolation::None`] comes only when it is wanted.
    ///
    /// # Errors
    /// What failed and what would be right.
    pub async fn probe(
        wanted: Option<Isolation>,
        network: Network,
        scratch: &Path,
        supervisor: &Supervisor,
    ) -> Result<Self, ProbeError> {
        let attempt = |isolation| Self::attempt(isolation, network, scratch, supervisor);
        if let Some(wanted) = wanted {
            return attempt(wanted).await.map_err(|why| ProbeError::Wanted { wanted, why });
        }
        let bubblewrap = match attempt(Isolation::Bubblewrap).await {
            Ok(sandbox) => return Ok(sandbox),
            Err(why) => why,
        };
        attempt(Isolation::Landlock).await.map_err(|landlock| ProbeError::Neither { bubblewrap, landlock })
    }

    /// How agents are held.
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// The program that holds the agents: this one.
    pub(crate) fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// The same without an isolation of its own, for a program that is behind a prefix of the operator's.
    /// `mounts`: whether the prefix mounts the delivered files over `attachments/`.
    pub(crate) fn behind_prefix(&self, mounts: bool) -> Self {
        let way = if mounts { Way::MountPoint } else { Way::Link };
        Self { isolation: Isolation::None, way, ..self.clone() }
    }

    /// What the isolation leaves open, as sentences for the operator.
    pub fn uncovered(&self) -> &'static [&'static str] {
        match self.isolation {
            Isolation::Bubblewrap => {
                &["With network \"host\" an agent reaches this machine's own loopback and abstract sockets."]
            }
            Isolation::Landlock => &[
                "Landlock does not stop an agent from changing modes, owners or times of the service's files.",
                "Landlock does not hide names and sizes of files with a known path, nor command lines of processes.",
                "With network \"none\" Landlock stops TCP only: UDP and other protocols stay open.",
                "Before Landlock ABI 9 sockets by path, such as Docker's, stay open: do not run the service as root.",
                "Before Linux 6.12 an agent can send signals to other processes of the service's user.",
            ],
            Isolation::None => &[
                "Nothing isolates agents: they can read and change whatever this service can, other sessions included.",
            ],
        }
    }

    /// The session's folders as the agent sees them.
    pub fn places(&self, workspace: &Workspace) -> Places {
        match self.isolation {
            Isolation::Bubblewrap => {
                Places { workspace: "/workspace".into(), home: "/home/agent".into(), tmp: "/tmp".into() }
            }
            Isolation::Landlock | Isolation::None => {
                let folder = |name| workspace.path().join(name);
                Places { workspace: folder("ws"), home: folder("home"), tmp: folder("tmp") }
            }
        }
    }

    /// Starts a program in a workspace, isolated and supervised.
    ///
    /// # Errors
    /// The supervisor cannot be started, or a path that the agent is to read holds the session's own folder.
    pub(crate) async fn start(&self, workspace: &Workspace, launch: Launch<'_>) -> io::Result<Contained> {
        if self.isolation != Isolation::None {
            let shown = SYSTEM.iter().map(Path::new).chain(launch.read_paths.iter().map(PathBuf::as_path));
            for path in shown {
                let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
                if workspace.path().canonicalize()?.starts_with(&resolved) {
                    return Err(io::Error::other(format!(
                        "agents may read {}, and the service's data lie in it: name a narrower path or move the data",
                        path.display()
                    )));
                }
            }
        }
        workspace.lead_to_attachments(self.way).await?;
        Contained::start(&self.supervisor, &self.spec(workspace, launch)?, workspace.lock()?).await
    }

    fn spec(&self, workspace: &Workspace, launch: Launch<'_>) -> io::Result<Spec> {
        let places = self.places(workspace);
        let shown = Shown::new(workspace, &places, launch.program, launch.read_paths, launch.network);
        let mut env = launch.env;
        for (name, path) in [("HOME", &places.home), ("TMPDIR", &places.tmp)] {
            env.set_if_missing(name, text(path)?);
        }
        let (program, args, cwd, confinement) = match self.isolation {
            Isolation::Bubblewrap => {
                let mut args = shown.bubblewrap_args()?;
                args.extend(["--".to_owned(), text(launch.program)?]);
                args.extend(launch.args);
                (self.bubblewrap.clone(), args, PathBuf::from("/"), Confinement::Bubblewrap)
            }
            Isolation::Landlock => {
                let rules = shown.landlock_rules();
                (launch.program.to_owned(), launch.args, places.workspace, Confinement::Landlock(rules))
            }
            Isolation::None => {
                if launch.network == Network::None {
                    return Err(io::Error::other("network = \"none\" needs an isolation"));
                }
                // What a prefix mounts, its own program need not stand in: some run what they find where they start.
                let cwd = if self.way == Way::MountPoint { places.tmp } else { places.workspace };
                (launch.program.to_owned(), launch.args, cwd, Confinement::None)
            }
        };
        Ok(Spec { supervisor: None, program, args, env, cwd, limits: launch.limits, confinement })
    }

    async fn attempt(
        isolation: Isolation,
        network: Network,
        scratch: &Path,
        supervisor: &Supervisor,
    ) -> Result<Self, String> {
        let bubblewrap = find_program("bwrap").unwrap_or_default();
        if isolation == Isolation::Bubblewrap && bubblewrap.as_os_str().is_empty() {
            return Err("the program bwrap is not in PATH".to_owned());
        }
        let way = if isolation == Isolation::Bubblewrap { Way::MountPoint } else { Way::Link };
        let sandbox = Self { isolation, way, bubblewrap, supervisor: supervisor.clone() };
        if isolation == Isolation::None {
            return Ok(sandbox);
        }
        let folder = scratch.join(format!(".probe-{}", uuid::Uuid::new_v4()));
        let tried = sandbox.try_out(&folder, network).await;
        if let Err(error) = super::workspace::remove_workspace(&folder) {
            tracing::warn!(%error, "the folder of an isolation probe could not be removed");
        }
        tried.map(|()| sandbox)
    }

    async fn try_out(&self, folder: &Path, network: Network) -> Result<(), String> {
        let prepared = || -> io::Result<(Workspace, String)> {
            let workspace = Workspace::open(folder)?;
            std::fs::write(workspace.path().join("attachments/probe"), "probe\n")?;
            let secret = workspace.path().join("log/secret");
            std::fs::write(&secret, "secret\n")?;
            Ok((workspace, text(&secret)?))
        };
        let (workspace, secret) = prepared().map_err(|error| error.to_string())?;
        let launch = Launch {
            program: Path::new("/bin/sh"),
            args: ["-c", PROBE_SCRIPT, "probe", &secret].map(str::to_owned).to_vec(),
            env: Environment::default(),
            read_paths: &[],
            network,
            limits: ProcessLimits::default(),
        };
        let mut shell = self.start(&workspace, launch).await.map_err(|error| error.to_string())?;
        let complaint = first_words(&mut shell.stderr);
        let (complaint, end) =
            tokio::time::timeout(PROBE, async { tokio::join!(complaint, shell.control.ended()) })
                .await
                .map_err(|_| format!("the probe did not end within {} s", PROBE.as_secs()))?;
        match end.map_err(|error| error.to_string())? {
            End::Exited(0) => Ok(()),
            End::Exited(11) => Err("a delivered file could not be read inside".to_owned()),
            End::Exited(12) => Err("a delivered file could be changed from inside".to_owned()),
            End::Exited(13) => Err("a file of the service could be read from inside".to_owned()),
            End::Exited(14) => Err("the output folder could not be written inside".to_owned()),
            End::NotStarted(why) => Err(format!("{why}: {complaint}")),
            other => Err(format!("the probe ended as {other:?}: {complaint}")),
        }
    }
}

/// Looks a program up in PATH; one with a slash is taken as it is. Either must be an executable file.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let executable =
        |path: &Path| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if name.contains('/') {
        return std::path::absolute(name).ok().filter(|path| executable(path));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| executable(path))
}

/// The first kilobyte of what a program complains about, on one line; everything is read.
async fn first_words(stderr: &mut tokio::net::unix::pipe::Receiver) -> String {
    use tokio::io::AsyncReadExt;
    let (mut words, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        let room = 1024_usize.saturating_sub(words.len()).min(read);
        words.extend_from_slice(&buffer[..room]);
    }
    String::from_utf8_lossy(&words).split_whitespace().collect::<Vec<_>>().join(" ")
}
