//! Bytes on disk: taken in, made durable, read back, discarded.
//!
//! A blob belongs to exactly one attachment and is never shared, so discarding it can never take
//! bytes from another. The room knows nothing of attachments or organisations; whoever keeps a
//! [`Locator`] in a committed row owns the blob; [`Blobs::discard`] and a [`Sweep`] clean up what no
//! row names.
//!
//! Two places, chosen by size (docs/storage.md says why):
//!
//! - up to [`PACKED_LIMIT`] bytes: appended to a pack, many blobs sharing one sync;
//! - above: a file of its own, written in staging, synced, renamed to its public name, folder
//!   synced.
//!
//! Guarantees: when [`Blobs::publish`] has returned, the bytes survive a power cut; nothing is ever
//! visible under a locator but whole blobs; memory does not grow with the size of a blob. Any number
//! of processes of one machine may have the store open: each writes files and packs of its own, and
//! nobody touches what a living one wrote.

mod direct;
mod files;
mod intake;
mod pack;
mod read;
mod space;
mod sweep;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use uuid::Uuid;

pub use intake::{HEAD_BYTES, Intake};
pub use read::BlobReader;
pub use sweep::{ClosedPack, Sweep};

use crate::presence::Presence;

/// Blobs up to this many bytes go into packs.
pub const PACKED_LIMIT: usize = 64 * 1024;

/// Where a blob lies. The catalogue keeps it as text: `file:<uuid>` or `pack:<segment>:<offset>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Locator {
    /// A file of its own.
    File(Uuid),
    /// A place in a pack.
    Pack {
        /// Number of the pack's segment.
        segment: u64,
        /// First byte in the segment.
        offset: u64,
    },
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Locator::File(id) => write!(f, "file:{}", id.simple()),
            Locator::Pack { segment, offset } => write!(f, "pack:{segment}:{offset}"),
        }
    }
}

/// A text that is no locator.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no place of a blob")]
pub struct BadLocator(String);

impl FromStr for Locator {
    type Err = BadLocator;

    fn from_str(text: &str) -> Result<Self, BadLocator> {
        let bad = || BadLocator(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(bad)?;
        match kind {
            "file" => Uuid::try_parse(rest).map(Locator::File).map_err(|_| bad()),
            "pack" => {
                let (segment, offset) = rest.split_once(':').ok_or_else(bad)?;
                Ok(Locator::Pack {
                    segment: segment.parse().map_err(|_| bad())?,
                    offset: offset.parse().map_err(|_| bad())?,
                })
            }
            _ => Err(bad()),
        }
    }
}

/// What the store may refuse or fail in.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// More bytes came than are allowed.
    #[error("larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The disk is full, or as full as it may become.
    #[error("the storage is full: less than {floor} bytes would stay free")]
    Full {
        /// How many bytes are to stay free.
        floor: u64,
    },
    /// The blob is not where it should be.
    #[error("the stored bytes are missing")]
    Missing,
    /// The stored bytes are not the bytes that were sent.
    #[error("the stored bytes have changed: their SHA-256 is {found}, not {wanted}")]
    Changed {
        /// The digest taken when the bytes came in.
        wanted: String,
        /// The digest of what is there now.
        found: String,
    },
    /// There are more or fewer stored bytes than were sent.
    #[error("the stored bytes have changed: there are {found}, not {wanted}")]
    Resized {
        /// How many bytes came in.
        wanted: u64,
        /// How many are there now.
        found: u64,
    },
    /// The operating system failed.
    #[error("the storage failed")]
    Io(#[from] io::Error),
}

impl BlobError {
    /// The error for an I/O error met while writing: a full disk is told apart.
    fn from_write(error: io::Error, floor: u64) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { floor },
            _ => Self::Io(error),
        }
    }
}

/// Bytes taken in, hashed, counted, and not yet public. Dropped without being published, they are
/// gone.
#[derive(Debug)]
pub struct Staged {
    /// How many bytes.
    pub size: u64,
    /// Their SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// The first bytes, at most [`HEAD_BYTES`], to tell the kind of content from.
    pub head: Vec<u8>,
    bytes: StagedBytes,
}

impl Staged {
    /// Whether the bytes are few enough to be packed together with others.
    pub fn is_small(&self) -> bool {
        matches!(self.bytes, StagedBytes::InMemory(_))
    }
}

#[derive(Debug)]
enum StagedBytes {
    InMemory(Vec<u8>),
    File(files::StagedFile),
}

/// The store under a folder of its own.
#[derive(Debug)]
pub struct Blobs {
    root: PathBuf,
    files: files::Files,
    packs: pack::Packs,
    space: space::Space,
    /// Uploads on their way in that are too large for a pack.
    large_intakes: AtomicUsize,
}

impl Blobs {
    /// Opens, or makes, the store in a folder; drops what dead processes left in staging. `floor`:
    /// how many bytes of the file system are to stay free.
    pub fn open(root: &Path, floor: u64) -> io::Result<Self> {
        files::make_dir_durably(root)?;
        let processes = root.join(sweep::PROCESSES);
        files::make_dir_durably(&processes)?;
        let presence = Arc::new(Presence::enter(&processes, files::process_name)?);
        let blobs = Self {
            root: root.to_owned(),
            files: files::Files::open(root, presence.name())?,
            packs: pack::Packs::open(&root.join("packs"), presence)?,
            space: space::Space::new(root, floor),
            large_intakes: AtomicUsize::new(0),
        };
        blobs.clear_staging()?;
        Ok(blobs)
    }

    /// Begins to take a blob in, of at most `limit` bytes. `expected`: how many bytes will come, if
    /// that is known; a blob for which there is no room is refused here.
    pub fn take_in(self: &Arc<Self>, limit: u64, expected: Option<u64>) -> Result<Intake, BlobError> {
        self.space.check(expected.unwrap_or(0))?;
        Ok(Intake::new(Arc::clone(self), limit))
    }

    /// Makes one large blob durable and public. Blocks; many at once share the disk's journal.
    /// Small blobs are handed back for [`Blobs::publish_packed`].
    pub fn publish(&self, staged: Staged) -> Result<Published, BlobError> {
        match staged.bytes {
            StagedBytes::InMemory(bytes) => Ok(Published::ToPack(bytes)),
            StagedBytes::File(file) => {
                let id =
                    self.files.publish(file).map_err(|e| BlobError::from_write(e, self.space.floor()))?;
                Ok(Published::At(Locator::File(id)))
            }
        }
    }

    /// Makes small blobs durable with one write and one sync. Blocks.
    pub fn publish_packed(&self, blobs: &[&[u8]]) -> Result<Vec<Locator>, BlobError> {
        self.packs.append(blobs).map_err(|e| BlobError::from_write(e, self.space.floor()))
    }

    /// Opens a blob for reading. `size` and `sha256` are the catalogue's: a blob that is a file and
    /// has another size is refused here, a packed blob whose bytes have changed on reading.
    pub fn open_blob(&self, at: &Locator, size: u64, sha256: &str) -> Result<BlobReader, BlobError> {
        let (file, base) = match at {
            Locator::File(id) => {
                let file = self.files.open_public(*id)?;
                let found = file.metadata()?.len();
                if found != size {
                    return Err(BlobError::Resized { wanted: size, found });
                }
                (Arc::new(file), 0)
            }
            Locator::Pack { segment, offset } => (self.packs.open_segment(*segment)?, *offset),
        };
        let verify = matches!(at, Locator::Pack { .. }).then(|| sha256.to_owned());
        Ok(BlobReader::new(file, base, size, verify))
    }

    /// Frees a blob's bytes. Doing so twice is no error; readers that have it open read on where
    /// the blob is a file.
    pub fn discard(&self, at: &Locator, size: u64) -> io::Result<()> {
        match at {
            Locator::File(id) => self.files.remove(*id),
            Locator::Pack { segment, offset } => self.packs.discard(*segment, *offset, size),
        }
    }

    /// Whether so many more bytes would leave the floor of free space alone.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        self.space.check(bytes).is_ok()
    }
}

/// Where a blob went, or that it is to go into a pack.
#[derive(Debug)]
pub enum Published {
    /// Durable and public.
    At(Locator),
    /// Small: to be packed together with others.
    ToPack(Vec<u8>),
}
