//! Large blobs: one file each.
//!
//! `staging/<uuid>` while bytes come in, then, synced, renamed to `files/<xx>/<uuid>` (`xx`: the
//! first byte of the uuid), then the folder synced. All 256 folders are made, and synced, when the
//! store is, so that no upload has to make one. The last four bytes of a name tell the process that made the file.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::BlobError;

/// Where in a file's name its process is told.
const PROCESS: std::ops::Range<usize> = 12..16;

#[derive(Debug)]
pub(super) struct Files {
    staging: PathBuf,
    public: PathBuf,
    /// What the name of every file of this process ends in.
    process: [u8; 4],
}

/// A file in staging; removed when dropped unpublished.
#[derive(Debug)]
pub(super) struct StagedFile {
    id: Uuid,
    path: PathBuf,
    pub file: File,
    published: bool,
}

impl Files {
    /// `process`: the name under which it is present, as [`process_name`] makes them.
    pub fn open(root: &Path, process: &str) -> io::Result<Self> {
        let process = u32::from_str_radix(process, 16).map_err(io::Error::other)?.to_be_bytes();
        let files = Self { staging: root.join("staging"), public: root.join("files"), process };
        make_dir_durably(&files.staging)?;
        make_dir_durably(&files.public)?;
        for first in 0..=u8::MAX {
            fs::create_dir(files.folder(first)).or_else(ignore(io::ErrorKind::AlreadyExists))?;
        }
        sync_dir(&files.public)?;
        Ok(files)
    }

    /// A new file in staging, open for writing.
    pub fn stage(&self) -> io::Result<StagedFile> {
        let mut id = Uuid::new_v4().into_bytes();
        id[PROCESS].copy_from_slice(&self.process);
        let id = Uuid::from_bytes(id);
        let path = self.staging.join(id.simple().to_string());
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(StagedFile { id, path, file, published: false })
    }

    /// Syncs a staged file, gives it its public name, syncs the folder.
    pub fn publish(&self, mut staged: StagedFile) -> io::Result<Uuid> {
        staged.file.sync_data()?;
        fs::rename(&staged.path, self.path(staged.id))?;
        staged.published = true;
        sync_dir(&self.folder(staged.id.as_bytes()[0]))?;
        Ok(staged.id)
    }

    pub fn open_public(&self, id: Uuid) -> Result<File, BlobError> {
        File::open(self.path(id)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::Missing,
            _ => BlobError::Io(error),
        })
    }

    /// Removes a file for good: the removal survives a power cut when this returns.
    pub fn remove(&self, id: Uuid) -> io::Result<()> {
        fs::remove_file(self.path(id)).or_else(ignore(io::ErrorKind::NotFound))?;
        sync_dir(&self.folder(id.as_bytes()[0]))
    }

    /// The public files in one folder that certain processes made.
    pub fn list_of(&self, folder: u8, processes: &HashSet<String>) -> io::Result<Vec<Uuid>> {
        made_by(&self.folder(folder), processes)
    }

    /// Removes what certain processes left in staging.
    pub fn clear_staging(&self, processes: &HashSet<String>) -> io::Result<()> {
        for id in made_by(&self.staging, processes)? {
            let path = self.staging.join(id.simple().to_string());
            fs::remove_file(path).or_else(ignore(io::ErrorKind::NotFound))?;
        }
        Ok(())
    }

    fn folder(&self, first: u8) -> PathBuf {
        self.public.join(format!("{first:02x}"))
    }

    fn path(&self, id: Uuid) -> PathBuf {
        self.folder(id.as_bytes()[0]).join(id.simple().to_string())
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, "a staged file could not be removed; the next start after this process removes it");
        }
    }
}

/// A name for a process, short enough to be a part of the name of each of its files.
pub(super) fn process_name() -> String {
    let [.., a, b, c, d] = Uuid::new_v4().into_bytes();
    format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
}

/// The files in a folder that certain processes made.
fn made_by(folder: &Path, processes: &HashSet<String>) -> io::Result<Vec<Uuid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| Uuid::try_parse(name).ok()) else { continue };
        let [.., a, b, c, d] = id.into_bytes();
        if processes.contains(&format!("{:08x}", u32::from_be_bytes([a, b, c, d]))) {
            found.push(id);
        }
    }
    Ok(found)
}

/// Makes a folder, unless it is there, and syncs the folder above it: an earlier run may have been
/// killed between the two.
pub(super) fn make_dir_durably(path: &Path) -> io::Result<()> {
    fs::create_dir(path).or_else(ignore(io::ErrorKind::AlreadyExists))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a folder durable.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn ignore(kind: io::ErrorKind) -> impl Fn(io::Error) -> io::Result<()> {
    move |error| if error.kind() == kind { Ok(()) } else { Err(error) }
}
