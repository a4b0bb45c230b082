//! The folder of one session, and the files that are handed over in it.
//!
//! ```text
//! <session id>/              0700
//!   attachments/  data.csv   0444, outside every tree that an agent may write to
//!                 MANIFEST.json  structured_output.schema.json
//!   ws/                      the agent's working folder
//!   ws/attachments           the way to `../attachments`: a mount point or a link, as the isolation needs it
//!   ws/output/               what the agent hands back
//!   home/  tmp/              the agent's HOME and TMPDIR
//!   log/                     the agent's standard error
//! ```
//!
//! How a file comes into `attachments/` is in `delivery.rs`. The folder is a cache: nothing here is synced, and whoever
//! opens it delivers again what is missing.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;

use super::beneath;

/// Name of the folder with delivered files, as the agent reaches it from its working folder.
pub const ATTACHMENTS: &str = "attachments";
/// Name of the list of all references; no delivered file takes it, in any letter case.
pub const MANIFEST: &str = "MANIFEST.json";
/// Name of the file with the JSON Schema of the structured output that a session wants; reserved likewise.
pub const SCHEMA: &str = "structured_output.schema.json";
/// Names in `attachments/` that no delivered file takes.
pub(crate) const RESERVED: [&str; 2] = [MANIFEST, SCHEMA];
/// Name of the folder for what is handed back.
pub(crate) const OUTPUT: &str = "output";
/// How many names are tried for what stood in the place of `ws/output/`.
const NAMES_TRIED: u32 = 10_000;

/// One line of `MANIFEST.json`: a reference of the prompt and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct ManifestEntry {
    /// The URL of the reference, as written.
    pub url: String,
    /// The name that the file was uploaded under.
    pub name: Option<String>,
    /// Where it lies from the working folder.
    pub path: Option<String>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Media type.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
    /// SHA-256 as hexadecimal digits.
    pub sha256: Option<String>,
    /// Why it was not delivered.
    pub error: Option<String>,
}

/// How `ws/attachments` leads to the delivered files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// An empty folder, over which the delivered files are mounted.
    MountPoint,
    /// A symbolic link to `../attachments`.
    Link,
}

/// The folder of one session.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    root: OwnedFd,
    attachments: OwnedFd,
}

impl Workspace {
    /// Opens the folder of a session and makes what is missing of it. Parts of deliveries that a crash cut short are
    /// removed, so call this before anything is delivered, and once for each claim of a session.
    ///
    /// # Errors
    /// The folder's parent is not there, or a folder cannot be made; [`io::ErrorKind::ResourceBusy`] while another has
    /// the workspace open, or an agent that was started in it has not ended with all that it started.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        match std::fs::DirBuilder::new().create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let root = beneath::open_root(&path)?;
        match rustix::fs::flock(&root, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(io::ErrorKind::ResourceBusy.into()),
            locked => locked?,
        }
        rustix::fs::fchmod(&root, Mode::from_raw_mode(0o700))?;
        for name in ["home", "tmp", "log"] {
            beneath::make_folder(&root, name, 0o700)?;
        }
        let ws = beneath::make_folder(&root, "ws", 0o755)?;
        match rustix::fs::mkdirat(&ws, OUTPUT, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let attachments = beneath::make_folder(&root, ATTACHMENTS, 0o755)?;
        for name in beneath::names(&attachments, usize::MAX)? {
            if name.to_bytes().starts_with(b".") && name.to_bytes().ends_with(b".part") {
                beneath::remove(&attachments, &*name)?;
            }
        }
        Ok(Self { path, root, attachments })
    }

    /// What keeps others out of the workspace, for whoever is in it: it is free once nobody has one any more.
    pub(crate) fn lock(&self) -> io::Result<OwnedFd> {
        self.root.try_clone()
    }

    /// The session's folder, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `attachments/`, open.
    pub(crate) fn attachments(&self) -> &OwnedFd {
        &self.attachments
    }

    /// Writes `attachments/MANIFEST.json`: an object whose `files` are the references in order. A reader sees the old
    /// list or the new one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_manifest(&self, entries: &[ManifestEntry]) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(&serde_json::json!({ "files": entries }))?;
        text.push(b'\n');
        beneath::write_atomically(&self.attachments, MANIFEST, &text, 0o444)
    }

    /// Writes the schema of the structured output beside the delivered files.
    pub(crate) fn write_schema(&self, schema: &serde_json::Value) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(schema)?;
        text.push(b'\n');
        beneath::write_atomically(&self.attachments, SCHEMA, &text, 0o444)
    }

    /// Makes `ws/attachments` the way that the isolation needs. An agent can replace a link, so this is done before
    /// every start; what stood in the way is removed.
    pub(crate) async fn lead_to_attachments(&self, way: Way) -> io::Result<()> {
        let ws = self.ws()?;
        beneath::blocking(move || lead_to_attachments(&ws, way)).await
    }

    /// Makes `ws/output/` a folder again, one that can be entered. What an agent put in its place (a link, a file, a
    /// FIFO) is moved aside unopened, to the first free name of `output-2`, `output-3`, …, which is answered.
    ///
    /// # Errors
    /// The working folder cannot be changed, or all those names are taken.
    pub(crate) fn restore_output(&self) -> io::Result<Option<String>> {
        let ws = self.ws()?;
        let mut moved_to = None;
        if beneath::look(&ws, OUTPUT)?.is_some_and(|stat| beneath::kind(&stat) != FileType::Directory) {
            for name in (2..NAMES_TRIED).map(|number| format!("{OUTPUT}-{number}")) {
                match beneath::rename_to_new(&ws, OUTPUT, &name) {
                    Ok(()) => {
                        moved_to = Some(name);
                        break;
                    }
                    Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        beneath::make_folder(&ws, OUTPUT, 0o755)?;
        Ok(moved_to)
    }

    /// Writes a file into the agent's working folder under a name that nothing has, for [`Self::take_back`].
    pub(crate) fn lend(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        beneath::write_atomically(self.ws()?, name, bytes, 0o444)
    }

    /// Removes a file that was lent, or whatever the agent put in its place.
    pub(crate) async fn take_back(&self, name: &str) -> io::Result<()> {
        let (ws, name) = (self.ws()?, name.to_owned());
        beneath::blocking(move || beneath::remove(ws, name.as_str())).await
    }

    /// Opens a file of `log/` to append to it; a link or anything else but a file in its place is removed first.
    pub(crate) fn open_log(&self, name: &str) -> io::Result<File> {
        let log = self.log()?;
        if beneath::look(&log, name)?.is_some_and(|stat| beneath::kind(&stat) != FileType::RegularFile) {
            beneath::remove(&log, name)?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NONBLOCK;
        Ok(File::from(beneath::open(&log, Path::new(name), flags, Mode::from_raw_mode(0o600))?))
    }

    /// Renames a file of `log/`.
    pub(crate) fn rename_log(&self, from: &str, to: &str) -> io::Result<()> {
        let log = self.log()?;
        beneath::remove(&log, to)?;
        Ok(rustix::fs::renameat(&log, from, &log, to)?)
    }

    /// `ws/`, open, even where an agent took its permissions away.
    pub(crate) fn ws(&self) -> io::Result<OwnedFd> {
        beneath::make_folder(&self.root, "ws", 0o755)
    }

    /// `home/`, open, even where an agent took its permissions away.
    pub(crate) fn home(&self) -> io::Result<OwnedFd> {
        beneath::make_folder(&self.root, "home", 0o700)
    }

    fn log(&self) -> io::Result<OwnedFd> {
        beneath::open_folder(&self.root, Path::new("log"))
    }
}

/// Removes the folder of a session with all that is in it, whatever permissions an agent left. Links are removed, never
/// followed; a folder that is not there is not an error. Call it when no process of the session is left.
///
/// # Errors
/// Something could not be removed, for example because it is owned by another user, or the path has no last component.
pub fn remove_workspace(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path of a workspace must end in a name",
        ));
    };
    match beneath::open_root(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        parent => beneath::remove(parent?, name),
    }
}

fn lead_to_attachments(ws: &OwnedFd, way: Way) -> io::Result<()> {
    if let Some(stat) = beneath::look(ws, ATTACHMENTS)? {
        let right = match way {
            Way::MountPoint => beneath::kind(&stat) == FileType::Directory,
            Way::Link => {
                beneath::kind(&stat) == FileType::Symlink
                    && rustix::fs::readlinkat(ws, ATTACHMENTS, Vec::new())?.as_c_str() == c"../attachments"
            }
        };
        if right {
            return Ok(());
        }
        beneath::remove(ws, ATTACHMENTS)?;
    }
    match way {
        Way::MountPoint => rustix::fs::mkdirat(ws, ATTACHMENTS, Mode::from_raw_mode(0o755))?,
        Way::Link => rustix::fs::symlinkat("../attachments", ws, ATTACHMENTS)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests;
