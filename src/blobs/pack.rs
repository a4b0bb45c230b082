//! Small blobs: appended to packs, many sharing one write and one sync.
//!
//! A pack is a file `packs/<number>.pack` of up to [`SEGMENT_BYTES`]. Blobs begin at multiples of
//! [`ALIGNMENT`], so that a discarded blob's blocks are given back to the file system by punching a
//! hole; even an empty blob has a block, and with it a place of its own.
//!
//! A pack is written by one process, which notes its number in its [`Presence`] before it makes it.
//! Nothing is ever overwritten, and nothing is appended to a pack of another process, living or
//! dead: what no committed row names is never read. A pack whose write or sync failed is never
//! written to again. A number is never used twice: the highest pack stays, and packs are made and
//! removed one at a time, under a lock of their folder.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FallocateFlags, FlockOperation};

use super::files::{make_dir_durably, sync_dir};
use super::{BlobError, Locator};
use crate::presence::Presence;

/// A pack is closed once it holds this much.
const SEGMENT_BYTES: u64 = 256 * 1024 * 1024;
/// The block size of common file systems.
const ALIGNMENT: u64 = 4096;
/// Packs kept open for reading, at most.
const OPEN_SEGMENTS: usize = 64;

#[derive(Debug)]
pub(super) struct Packs {
    dir: PathBuf,
    presence: Arc<Presence>,
    active: Mutex<Active>,
    readers: Mutex<HashMap<u64, Arc<File>>>,
}

/// The pack that is written to; `file` is `None` until one is needed.
#[derive(Debug)]
struct Active {
    file: Option<File>,
    segment: u64,
    end: u64,
}

impl Packs {
    pub fn open(dir: &Path, presence: Arc<Presence>) -> io::Result<Self> {
        make_dir_durably(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            presence,
            active: Mutex::new(Active { file: None, segment: 0, end: 0 }),
            readers: Mutex::default(),
        })
    }

    /// Appends blobs and syncs them.
    pub fn append(&self, blobs: &[&[u8]]) -> io::Result<Vec<Locator>> {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.append_to(&mut active, blobs);
        if written.is_err() {
            active.file = None;
        }
        written
    }

    fn append_to(&self, active: &mut Active, blobs: &[&[u8]]) -> io::Result<Vec<Locator>> {
        if active.end >= SEGMENT_BYTES {
            active.file = None;
        }
        let file = match active.file.take() {
            Some(file) => file,
            None => {
                let (segment, file) = self.begin()?;
                (active.segment, active.end) = (segment, 0);
                file
            }
        };
        let mut places = Vec::with_capacity(blobs.len());
        let mut bytes = Vec::with_capacity(blobs.iter().map(|b| room_for(b.len() as u64) as usize).sum());
        for blob in blobs {
            let start = bytes.len();
            places.push(Locator::Pack { segment: active.segment, offset: active.end + start as u64 });
            bytes.extend_from_slice(blob);
            bytes.resize(start + room_for(blob.len() as u64) as usize, 0);
        }
        file.write_all_at(&bytes, active.end)?;
        file.sync_data()?;
        active.end += bytes.len() as u64;
        active.file = Some(file);
        Ok(places)
    }

    /// Makes the next pack.
    fn begin(&self) -> io::Result<(u64, File)> {
        let _alone = self.alone()?;
        let segment = self.highest()? + 1;
        // Before the pack is there, so that nobody ever takes it for one without a writer.
        self.presence.note(&segment.to_string())?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(segment))?;
        sync_dir(&self.dir)?;
        Ok((segment, file))
    }

    /// A pack, open for reading.
    pub fn open_segment(&self, segment: u64) -> Result<Arc<File>, BlobError> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = readers.get(&segment) {
            return Ok(Arc::clone(file));
        }
        let file = File::open(self.path(segment)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::Missing,
            _ => BlobError::Io(error),
        })?;
        let file = Arc::new(file);
        if readers.len() >= OPEN_SEGMENTS {
            readers.clear();
        }
        readers.insert(segment, Arc::clone(&file));
        Ok(file)
    }

    /// Every pack there is, in their order.
    pub fn list(&self) -> io::Result<Vec<u64>> {
        let mut found = numbers(&self.dir)?;
        found.sort_unstable();
        Ok(found)
    }

    /// Removes a pack that holds nothing any more, unless it is the highest.
    pub fn remove(&self, segment: u64) -> io::Result<()> {
        let _alone = self.alone()?;
        if segment == self.highest()? {
            return Ok(());
        }
        std::fs::remove_file(self.path(segment))?;
        sync_dir(&self.dir)
    }

    fn highest(&self) -> io::Result<u64> {
        Ok(numbers(&self.dir)?.into_iter().max().unwrap_or(0))
    }

    /// Keeps others from making and removing packs, until the file is dropped.
    fn alone(&self) -> io::Result<File> {
        let dir = File::open(&self.dir)?;
        rustix::fs::flock(&dir, FlockOperation::LockExclusive)?;
        Ok(dir)
    }

    /// Frees what of a closed pack belongs to no blob; `kept`: offset and size of those that do.
    pub fn keep_only(&self, segment: u64, kept: &mut [(u64, u64)]) -> io::Result<()> {
        kept.sort_unstable();
        let file = OpenOptions::new().write(true).open(self.path(segment))?;
        let end = file.metadata()?.len().next_multiple_of(ALIGNMENT);
        let mut free_from = 0;
        for (offset, size) in kept.iter().copied().chain([(end, 0)]) {
            if offset > free_from {
                punch(&file, free_from, offset - free_from)?;
            }
            free_from = offset + room_for(size);
        }
        file.sync_data()
    }

    /// Frees one blob's blocks; they stay free after a power cut when this returns.
    pub fn discard(&self, segment: u64, offset: u64, size: u64) -> io::Result<()> {
        let file = match OpenOptions::new().write(true).open(self.path(segment)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        punch(&file, offset, room_for(size))?;
        file.sync_data()
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.dir.join(format!("{segment}.pack"))
    }
}

/// How much of a pack a blob takes. An empty one has a place of its own too, since a place belongs
/// to one blob.
fn room_for(size: u64) -> u64 {
    size.max(1).next_multiple_of(ALIGNMENT)
}

/// The packs in a folder.
fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".pack"));
        found.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(found)
}

/// Gives blocks back to the file system; overwrites them with zeroes where it cannot take them.
fn punch(file: &File, offset: u64, size: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, flags, offset, size) {
        Err(rustix::io::Errno::OPNOTSUPP) => {}
        done => return Ok(done?),
    }
    let zeroes = vec![0; 64 * 1024];
    let mut done = 0;
    while done < size {
        let piece = zeroes.len().min((size - done) as usize);
        file.write_all_at(&zeroes[..piece], offset + done)?;
        done += piece as u64;
    }
    Ok(())
}
