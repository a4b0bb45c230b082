//! Bringing a file into a workspace.
//!
//! A file has its name in `attachments/` only after its size and its SHA-256 were found equal to what was asked for.
//! It is a copy, never a hard link, so no agent can reach stored bytes. Delivering again changes nothing. Where the
//! bytes come from is up to the caller.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::beneath;
use super::workspace::{ATTACHMENTS, RESERVED, Workspace};
use crate::attachments::filename::{fold, numbered};
use crate::hex;

/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;
/// How many numbered names are tried for one file.
const NAMES_TRIED: u32 = 10_000;

/// A file that a session is to be given.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Id of the attachment, of letters, digits, `-` and `_`.
    pub attachment_id: String,
    /// A name that is already safe as one component of a path.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 as 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// A file that lies in the workspace, whole and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Its path as the agent reaches it from its working folder, such as `attachments/data.csv`.
    pub path: String,
}

/// Why a file was not delivered. Nothing of it is left in the workspace.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The stored bytes are not those that were uploaded.
    #[error("the stored file has SHA-256 {found}, and {wanted} was taken at upload")]
    Digest {
        /// Digest taken at upload.
        wanted: String,
        /// Digest of what was read.
        found: String,
    },
    /// The stored file is shorter or longer than what was uploaded.
    #[error(
        "the stored file does not have the {wanted} bytes that were uploaded: reading it stopped after {found}"
    )]
    Size {
        /// Size taken at upload, in bytes.
        wanted: u64,
        /// Bytes that were read; one more than wanted where the stored file is longer.
        found: u64,
    },
    /// The caller asked for something that is not one safe name or id.
    #[error("{0:?} cannot be used in a workspace: it must be one plain name")]
    Name(String),
    /// Reading the store or writing the workspace failed.
    #[error("the file could not be copied into the workspace")]
    Io(#[from] io::Error),
}

impl DeliveryError {
    /// Whether the file may well be delivered once the disk has room again.
    pub fn is_for_want_of_room(&self) -> bool {
        matches!(self, Self::Io(error)
            if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

impl Workspace {
    /// Copies `reader` to `attachments/<name>`, mode 0444, if it has the wanted size and digest. Where another file
    /// has the name (compared case-folded) it is numbered: `data-2.csv`. A file of the name, or of a number of it,
    /// that already has the wanted size and digest is kept and answered, so delivering again changes nothing.
    /// Deliver to one workspace one file at a time.
    ///
    /// # Errors
    /// See [`DeliveryError`]. A future that is dropped leaves nothing either.
    pub async fn deliver(
        &self,
        wanted: &Wanted,
        mut reader: impl AsyncRead + Unpin,
    ) -> Result<Delivered, DeliveryError> {
        check_plain(&wanted.attachment_id)?;
        check_plain(&wanted.name)?;
        let folder = self.attachments().try_clone()?;
        let asked = wanted.clone();
        let there = beneath::blocking(move || find_delivered(&folder, &asked)).await?;
        if let Some(name) = there {
            return Ok(delivered(&name));
        }
        let part = Part::create(self.attachments(), &wanted.attachment_id)?;
        let mut file = tokio::fs::File::from_std(part.file.try_clone()?);
        let (mut hash, mut size, mut buffer) = (Sha256::new(), 0_u64, vec![0; CHUNK]);
        // One byte more than wanted is enough to know that the file is too long.
        let mut reader = (&mut reader).take(wanted.size.saturating_add(1));
        loop {
            let read = reader.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            size += read as u64;
            file.write_all(&buffer[..read]).await?;
        }
        file.flush().await?;
        if size != wanted.size {
            return Err(DeliveryError::Size { wanted: wanted.size, found: size });
        }
        let found = hex::encode(hash.finalize());
        if found != wanted.sha256 {
            return Err(DeliveryError::Digest { wanted: wanted.sha256.clone(), found });
        }
        Ok(delivered(&part.publish(&wanted.name)?))
    }
}

impl Workspace {
    /// Whether a file that was delivered to `path`, as [`Delivered::path`] has it, is still there: a regular file of
    /// this size in bytes that nobody may write to. Its bytes are not read again.
    pub fn still_has(&self, path: &str, size: u64) -> bool {
        let Some(name) = path.strip_prefix(ATTACHMENTS).and_then(|rest| rest.strip_prefix('/')) else {
            return false;
        };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        beneath::open(self.attachments(), Path::new(name), flags, Mode::empty())
            .and_then(|file| Ok(rustix::fs::fstat(file)?))
            .is_ok_and(|stat| is_as_delivered(&stat, size))
    }
}

/// A file on its way in; without [`Part::publish`] it is removed.
struct Part<'a> {
    folder: &'a OwnedFd,
    name: String,
    file: File,
    published: bool,
}

impl<'a> Part<'a> {
    fn create(folder: &'a OwnedFd, id: &str) -> io::Result<Self> {
        let name = format!(".{id}.part");
        beneath::remove(folder, name.as_str())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = File::from(beneath::open(folder, Path::new(&name), flags, Mode::from_raw_mode(0o600))?);
        Ok(Self { folder, name, file, published: false })
    }

    /// Makes the file read-only and gives it the first name that is free.
    fn publish(mut self, wanted: &str) -> io::Result<String> {
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(0o444))?;
        let taken = taken_names(self.folder)?;
        for name in candidates(wanted) {
            if is_taken(&taken, &name) {
                continue;
            }
            match beneath::rename_to_new(self.folder, &self.name, &name) {
                Ok(()) => {
                    self.published = true;
                    return Ok(name);
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many files of one name in the workspace"))
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if !self.published {
            // There is nobody to tell; `Workspace::open` removes what is left.
            let _ = rustix::fs::unlinkat(self.folder, self.name.as_str(), AtFlags::empty());
        }
    }
}

/// The name under which the wanted bytes already lie there.
fn find_delivered(folder: &OwnedFd, wanted: &Wanted) -> io::Result<Option<String>> {
    let taken = taken_names(folder)?;
    for name in candidates(&wanted.name) {
        if is_reserved(&name) {
            continue;
        }
        if !is_taken(&taken, &name) {
            return Ok(None);
        }
        if has_content(folder, &name, wanted)? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn has_content(folder: &OwnedFd, name: &str, wanted: &Wanted) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let mut file = match beneath::open(folder, Path::new(name), flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        // The name differs in letter case, or it is not a file that could be kept.
        Err(_) => return Ok(false),
    };
    let stat = rustix::fs::fstat(&file)?;
    if !is_as_delivered(&stat, wanted.size) {
        return Ok(false);
    }
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize()) == wanted.sha256),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn is_as_delivered(stat: &rustix::fs::Stat, size: u64) -> bool {
    beneath::kind(stat) == FileType::RegularFile
        && stat.st_nlink == 1
        && stat.st_mode & 0o7777 == 0o444
        && u64::try_from(stat.st_size) == Ok(size)
}

/// The name itself, then its numbered forms from 2 on.
fn candidates(name: &str) -> impl Iterator<Item = String> {
    std::iter::once(name.to_owned()).chain((2..NAMES_TRIED).map(|n| numbered(name, n)))
}

/// Whether `attachments/` keeps a name for itself.
fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|reserved| fold(name) == fold(reserved))
}

fn is_taken(taken: &HashSet<String>, name: &str) -> bool {
    is_reserved(name) || taken.contains(&fold(name))
}

fn taken_names(folder: &OwnedFd) -> io::Result<HashSet<String>> {
    let names = beneath::names(folder, usize::MAX)?;
    Ok(names.iter().map(|name| fold(&name.to_string_lossy())).collect())
}

fn delivered(name: &str) -> Delivered {
    Delivered { path: format!("{ATTACHMENTS}/{name}") }
}

fn check_plain(name: &str) -> Result<(), DeliveryError> {
    if name.is_empty() || name.starts_with('.') || name.len() > 255 || name.contains(['/', '\0']) {
        return Err(DeliveryError::Name(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
