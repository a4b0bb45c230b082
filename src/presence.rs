//! Which processes live: a file for each, locked from its start to its end.
//!
//! The kernel takes a lock (`flock(2)`) away from a process that ends, however it ends, so a free
//! lock says that its process is dead, and a held one that it is not, without a clock and without a
//! process number that could have been given to another. True on one machine and its own file
//! systems; nothing is said of other machines.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// What the file of a process is called, behind its name.
const SUFFIX: &str = ".lock";

/// This process, as others see it, for as long as it lives.
#[derive(Debug)]
pub struct Presence {
    name: String,
    file: File,
}

impl Presence {
    /// Makes itself seen in a folder, which is made where it is missing, under a name that nobody
    /// there has.
    ///
    /// # Errors
    /// The folder cannot be made or written to.
    pub fn enter(folder: &Path, mut name: impl FnMut() -> String) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
        loop {
            let name = name();
            let mut options = OpenOptions::new();
            options.append(true).create_new(true).mode(0o600);
            let file = match options.open(path(folder, &name)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                opened => opened?,
            };
            rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
            // Before it was locked it looked like that of a dead process, and may have been removed.
            if file.metadata()?.nlink() > 0 {
                File::open(folder)?.sync_all()?;
                return Ok(Self { name, file });
            }
        }
    }

    /// The name under which the process is seen.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a line to what is to be known of the process after its death. It is on the disk when
    /// this returns.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note(&self, line: &str) -> io::Result<()> {
        (&self.file).write_all(format!("{line}\n").as_bytes())?;
        self.file.sync_data()
    }
}

/// What a folder says of one process.
#[derive(Debug)]
pub struct Trace {
    /// The name under which it was seen.
    pub name: String,
    /// The lines that it noted.
    pub notes: Vec<String>,
    path: PathBuf,
    /// The lock, where its process does not have it any more; so nobody else takes it for dead.
    dead: Option<File>,
}

impl Trace {
    /// Whether the process lives, or another has just found it dead and sees to what it left.
    pub fn lives(&self) -> bool {
        self.dead.is_none()
    }

    /// Forgets a dead process, once nothing is left to be done about it.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn forget(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// Every process that was seen in a folder and not forgotten.
///
/// # Errors
/// The folder is there and cannot be read.
pub fn traces(folder: &Path) -> io::Result<Vec<Trace>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)) {
            found.extend(trace(folder, name)?);
        }
    }
    Ok(found)
}

/// Takes a lock for as long as the file is kept; `None` while another process has it.
///
/// # Errors
/// The file cannot be made or locked.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    Ok(is_free(&file)?.then_some(file))
}

fn trace(folder: &Path, name: &str) -> io::Result<Option<Trace>> {
    let path = path(folder, name);
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let dead = is_free(&file)?;
    let mut notes = String::new();
    file.read_to_string(&mut notes)?;
    let notes = notes.lines().map(str::to_owned).collect();
    // Another may have forgotten it between the two calls above.
    let there = file.metadata()?.nlink() > 0;
    Ok(there.then(|| Trace { name: name.to_owned(), notes, path, dead: dead.then_some(file) }))
}

fn is_free(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{SUFFIX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_seen_while_it_lives_and_dead_once_its_lock_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let presence = Presence::enter(folder.path(), || "one".to_owned()).unwrap();
        presence.note("7").unwrap();
        assert!(traces(folder.path()).unwrap()[0].lives());
        drop(presence);
        let found = traces(folder.path()).unwrap().pop().unwrap();
        assert_eq!((found.lives(), found.notes.as_slice()), (false, &["7".to_owned()][..]));
        assert!(traces(folder.path()).unwrap()[0].lives(), "while one sees to it, nobody else does");
        found.forget().unwrap();
        assert!(traces(folder.path()).unwrap().is_empty());
    }

    #[test]
    fn a_name_that_is_taken_is_not_given_twice() {
        let folder = tempfile::tempdir().unwrap();
        let names = || {
            let mut next = ["one", "two"].into_iter();
            move || next.next().unwrap().to_owned()
        };
        let first = Presence::enter(folder.path(), names()).unwrap();
        let second = Presence::enter(folder.path(), names()).unwrap();
        assert_eq!((first.name(), second.name()), ("one", "two"));
    }
}
