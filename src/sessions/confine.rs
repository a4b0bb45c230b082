//! What a process takes from itself before it becomes an agent: resource limits, capabilities, and with Landlock the
//! right to reach anything but its own folders.
//!
//! Landlock (Linux 6.2 or later, ABI 3) covers opening, making, renaming, removing and truncating files, reading
//! another process's `/proc` secrets (its ptrace rule), TCP where the network is "none" (ABI 4), and signals and
//! abstract sockets (ABI 6). It does not cover `stat`, `chmod`, `chown`, UDP, and, before ABI 9, Unix sockets by path.

use std::io;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

/// Limits of one agent and everything that it starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProcessLimits {
    /// Bytes in one file that it writes (`RLIMIT_FSIZE`).
    pub file_bytes: u64,
    /// Processes and threads of the service's user altogether (`RLIMIT_NPROC`); the kernel does not hold root to it.
    pub processes: Option<u64>,
}

impl Default for ProcessLimits {
    fn default() -> Self {
        Self { file_bytes: 4 << 30, processes: Some(4096) }
    }
}

/// What Landlock leaves reachable.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LandlockRules {
    /// Files and folders to read and run.
    pub(crate) read: Vec<PathBuf>,
    /// Devices to read and write, none of which keeps anything.
    pub(crate) devices: Vec<PathBuf>,
    /// Folders in which everything is allowed.
    pub(crate) write: Vec<PathBuf>,
    /// Whether TCP is denied.
    pub(crate) no_network: bool,
}

/// Why a process could not be confined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfineError {
    /// The kernel lacks what is needed.
    #[error(
        "this kernel cannot enforce the Landlock rules: {0}; file rules need Linux 6.2, network = \"none\" needs 6.7"
    )]
    Landlock(#[from] RulesetError),
    /// The kernel enforces nothing.
    #[error("Landlock is not enabled in this kernel: it must be in the boot parameter lsm=")]
    NotEnforced,
    /// A system call failed.
    #[error("a limit could not be set: {0}")]
    Io(#[from] io::Error),
}

/// Sets the limits of this process and those that it starts. No core files are written.
pub(crate) fn set_limits(limits: &ProcessLimits) -> io::Result<()> {
    lower(Resource::Fsize, limits.file_bytes)?;
    lower(Resource::Core, 0)?;
    if let Some(processes) = limits.processes {
        lower(Resource::Nproc, processes)?;
    }
    Ok(())
}

/// Gives up all capabilities for good. For root this leaves the rights of an owner of files and nothing more.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    if rustix::thread::capabilities(None)?.permitted.is_empty() {
        return Ok(());
    }
    for capability in CapabilitySet::all().iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // This kernel is older than the capability, or the right to drop it was never there.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let none = CapabilitySet::empty();
    Ok(rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?)
}

/// Restricts this thread, and what it starts, to `rules`. A path that does not exist is passed over.
pub(crate) fn landlock(rules: &LandlockRules) -> Result<(), ConfineError> {
    let newest = ABI::V9;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V3))?;
    if rules.no_network {
        ruleset = ruleset.handle_access(AccessNet::from_all(ABI::V4))?;
    }
    let device: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let status = ruleset
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))?
        .scope(Scope::from_all(newest))?
        .create()?
        .add_rules(path_beneath_rules(&rules.read, AccessFs::from_read(newest)))?
        .add_rules(path_beneath_rules(&rules.devices, device))?
        .add_rules(path_beneath_rules(&rules.write, AccessFs::from_all(newest)))?
        .restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(ConfineError::NotEnforced);
    }
    Ok(())
}

/// Lowers a limit, never raises one.
fn lower(resource: Resource, to: u64) -> io::Result<()> {
    let now = rustix::process::getrlimit(resource);
    let capped = |limit: Option<u64>| Some(limit.map_or(to, |limit| limit.min(to)));
    Ok(rustix::process::setrlimit(
        resource,
        Rlimit { current: capped(now.current), maximum: capped(now.maximum) },
    )?)
}
