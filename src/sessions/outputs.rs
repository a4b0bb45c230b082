//! What an agent left in `ws/output/`.
//!
//! The folder is walked while no turn runs. Every file is reached by descriptor, is a regular file with one link and
//! is hashed as it is read, so a link, a FIFO or a device never leads out of the folder or blocks. What was left out
//! is named with the reason. Nothing is changed but that `ws/` and `ws/output/` are folders that can be entered again,
//! and the files are not copied: the caller reads them again from the open descriptor and compares the digest.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use sha2::{Digest, Sha256};

use super::beneath;
use super::workspace::{OUTPUT, Workspace};
use crate::hex;

/// How much one collection takes.
#[derive(Debug, Clone)]
pub struct OutputLimits {
    /// New files in one collection.
    pub files: usize,
    /// Bytes in one file.
    pub file_bytes: u64,
    /// Bytes in all new files of one collection.
    pub total_bytes: u64,
    /// Folders inside one another below `output/`.
    pub depth: usize,
    /// Names that are looked at, new or known, folders among them.
    pub entries: usize,
}

impl Default for OutputLimits {
    fn default() -> Self {
        Self { files: 100, file_bytes: 512 << 20, total_bytes: 2 << 30, depth: 16, entries: 10_000 }
    }
}

/// A new file in `output/`.
#[derive(Debug)]
pub struct Output {
    /// Path below `output/`, with `/` between components.
    pub path: String,
    /// SHA-256 of what was read, as lower-case hexadecimal digits.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
    /// The file, open for reading at its start.
    pub file: File,
}

/// What was found in `output/`.
#[derive(Debug, Default)]
pub struct Outputs {
    /// New files, sorted by path.
    pub files: Vec<Output>,
    /// What was not taken, sorted by path, at most as many as there may be entries.
    pub left_out: Vec<LeftOut>,
}

/// Something in `output/` that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Path below the working folder, such as `output/pipe`; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// Why.
    pub why: Why,
}

/// Why something in `output/` was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// `output` was replaced; the folder was made anew.
    #[error(
        "it was no folder any more; it is an empty one again, and what took its place is now `{moved_to}`"
    )]
    NotAFolder {
        /// Name in the working folder of what took its place.
        moved_to: String,
    },
    /// A symbolic link.
    #[error("it is a symbolic link")]
    Symlink,
    /// A FIFO, a socket or a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// More than one name leads to the file.
    #[error("it is a hard link")]
    HardLink,
    /// The name cannot be written in a message.
    #[error("its name is not UTF-8")]
    Name,
    /// One file over the limit.
    #[error("it has {size} bytes, and a file may have {limit}")]
    TooLarge {
        /// Bytes of the file.
        size: u64,
        /// Bytes that are allowed.
        limit: u64,
    },
    /// All new files together over the limit.
    #[error("the new files of one turn may have {limit} bytes together")]
    TooMuch {
        /// Bytes that are allowed.
        limit: u64,
    },
    /// Too many new files.
    #[error("one turn may leave {limit} new files")]
    TooManyFiles {
        /// Files that are allowed.
        limit: usize,
    },
    /// Too many names.
    #[error("only the first {limit} names below the output folder are looked at")]
    TooManyNames {
        /// Names that are looked at.
        limit: usize,
    },
    /// Folders too deep.
    #[error("it lies more than {limit} folders deep")]
    TooDeep {
        /// Folders that are allowed.
        limit: usize,
    },
    /// A process still writes to it.
    #[error("it changed while it was read")]
    Changed,
    /// The kernel refused.
    #[error("it could not be read: {0}")]
    Unreadable(String),
}

/// Walks `ws/output/` and hashes every file in it. A file that has the SHA-256 that `known` has for its path is passed
/// over and counts towards no limit but that of names. Reads every byte: run it where blocking is allowed.
///
/// # Errors
/// The session's folder itself cannot be read. What an agent can cause is in [`Outputs::left_out`] instead.
pub fn collect(
    workspace: &Workspace,
    limits: &OutputLimits,
    known: &HashMap<String, String>,
) -> io::Result<Outputs> {
    let mut outputs = Outputs::default();
    let restored = workspace
        .restore_output()
        .and_then(|moved_to| Ok((moved_to, beneath::open_folder(workspace.ws()?, Path::new(OUTPUT))?)));
    let folder = match restored {
        Ok((None, folder)) => folder,
        Ok((Some(moved_to), _)) => {
            outputs.leave_out("", Why::NotAFolder { moved_to });
            return Ok(outputs);
        }
        Err(error) => {
            outputs.leave_out("", Why::Unreadable(error.to_string()));
            return Ok(outputs);
        }
    };
    let mut found = Vec::new();
    let mut entries_left = limits.entries;
    walk(&folder, "", 0, limits, &mut entries_left, &mut found, &mut outputs);
    found.sort_unstable();
    let mut total_left = limits.total_bytes;
    for path in found {
        // Only its digest tells a known file from a new one of the same path, so that one is read in any case.
        let may_be_known = known.contains_key(&path);
        let is_full = outputs.files.len() == limits.files;
        if is_full && !may_be_known {
            outputs.leave_out(&path, Why::TooManyFiles { limit: limits.files });
            continue;
        }
        match take(&folder, &path, limits, if may_be_known { u64::MAX } else { total_left }) {
            Ok(output) if known.get(&output.path) == Some(&output.sha256) => {}
            Ok(_) if is_full => outputs.leave_out(&path, Why::TooManyFiles { limit: limits.files }),
            Ok(output) if output.size > total_left => {
                outputs.leave_out(&path, Why::TooMuch { limit: limits.total_bytes });
            }
            Ok(output) => {
                total_left -= output.size;
                outputs.files.push(output);
            }
            Err(why) => outputs.leave_out(&path, why),
        }
    }
    outputs.left_out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(outputs)
}

impl Outputs {
    fn leave_out(&mut self, path: &str, why: Why) {
        let path = if path.is_empty() { "output".to_owned() } else { format!("output/{path}") };
        self.left_out.push(LeftOut { path, why });
    }
}

/// Gathers the paths of everything that may be a file; folders that are too deep and names that are too many are left
/// out here.
fn walk(
    folder: &OwnedFd,
    prefix: &str,
    depth: usize,
    limits: &OutputLimits,
    entries_left: &mut usize,
    found: &mut Vec<String>,
    outputs: &mut Outputs,
) {
    let mut names = match beneath::names(folder, *entries_left + 1) {
        Ok(names) => names,
        Err(error) => return outputs.leave_out(prefix, Why::Unreadable(error.to_string())),
    };
    names.sort_unstable();
    for name in names {
        let Ok(text) = name.to_str() else {
            outputs.leave_out(&join(prefix, &name.to_string_lossy()), Why::Name);
            continue;
        };
        let path = join(prefix, text);
        let Some(left) = entries_left.checked_sub(1) else {
            return outputs.leave_out(prefix, Why::TooManyNames { limit: limits.entries });
        };
        *entries_left = left;
        match beneath::look(folder, &*name).map(|stat| stat.map(|stat| beneath::kind(&stat))) {
            Ok(None) => {}
            Ok(Some(FileType::Directory)) if depth == limits.depth => {
                outputs.leave_out(&path, Why::TooDeep { limit: limits.depth });
            }
            Ok(Some(FileType::Directory)) => match beneath::open_folder(folder, Path::new(text)) {
                Ok(inner) => walk(&inner, &path, depth + 1, limits, entries_left, found, outputs),
                Err(error) => outputs.leave_out(&path, Why::Unreadable(error.to_string())),
            },
            Ok(Some(FileType::RegularFile)) => found.push(path),
            Ok(Some(FileType::Symlink)) => outputs.leave_out(&path, Why::Symlink),
            Ok(Some(_)) => outputs.leave_out(&path, Why::NotAFile),
            Err(error) => outputs.leave_out(&path, Why::Unreadable(error.to_string())),
        }
    }
}

/// Opens and hashes one file. What it is decides the descriptor, not the look that was taken before.
fn take(folder: &OwnedFd, path: &str, limits: &OutputLimits, total_left: u64) -> Result<Output, Why> {
    let unreadable = |error: io::Error| Why::Unreadable(error.to_string());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = beneath::open(folder, Path::new(path), flags, Mode::empty()).map_err(unreadable)?;
    let before = rustix::fs::fstat(&fd).map_err(|errno| unreadable(errno.into()))?;
    if beneath::kind(&before) != FileType::RegularFile {
        return Err(Why::NotAFile);
    }
    if before.st_nlink != 1 {
        return Err(Why::HardLink);
    }
    let size = u64::try_from(before.st_size).unwrap_or(u64::MAX);
    if size > limits.file_bytes {
        return Err(Why::TooLarge { size, limit: limits.file_bytes });
    }
    if size > total_left {
        return Err(Why::TooMuch { limit: limits.total_bytes });
    }
    let mut file = File::from(fd);
    let (mut hash, mut read, mut buffer) = (Sha256::new(), 0_u64, vec![0; 256 * 1024]);
    while read <= size {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => break,
            count => {
                hash.update(&buffer[..count]);
                read += count as u64;
            }
        }
    }
    let after = rustix::fs::fstat(&file).map_err(|errno| unreadable(errno.into()))?;
    let times =
        |stat: &rustix::fs::Stat| (stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec);
    if read != size || after.st_size != before.st_size || times(&after) != times(&before) {
        return Err(Why::Changed);
    }
    file.rewind().map_err(unreadable)?;
    Ok(Output { path: path.to_owned(), sha256: hex::encode(hash.finalize()), size, file })
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

#[cfg(test)]
mod tests;
