//! Bytes on their way in: hashed, counted and limited while they are written.
//!
//! Hashing and writing happen side by side, off the asynchronous threads. While they work, the bytes
//! that arrive wait; the next round takes them all, so a fast sender is served in large pieces and a
//! slow one costs little. How many bytes may wait is shared out among all large uploads.

use std::io;
use std::mem;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::task::{JoinHandle, spawn_blocking};

use super::direct::{self, Tail};
use super::files::StagedFile;
use super::{BlobError, Blobs, PACKED_LIMIT, Staged, StagedBytes};

/// How many first bytes are kept to tell the kind of content from.
pub const HEAD_BYTES: usize = 8 * 1024;
/// How many bytes of one upload may wait for the running round, and how few at the least.
const WAITING_BYTES: RangeInclusive<usize> = 64 * 1024..=1024 * 1024;
/// How many bytes may wait in all large uploads together, as long as each has its least.
const ALL_WAITING_BYTES: usize = 16 * 1024 * 1024;
/// After how many bytes the free space is looked at again.
const SPACE_CHECK_BYTES: u64 = 16 * 1024 * 1024;

/// One blob on its way in.
#[derive(Debug)]
pub struct Intake {
    blobs: Arc<Blobs>,
    limit: u64,
    size: u64,
    head: Vec<u8>,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    /// Not yet more than fits into a pack.
    Memory(Vec<u8>),
    File {
        waiting: Vec<Bytes>,
        waiting_bytes: usize,
        work: Work,
        _share: Share,
    },
}

/// A large upload's part in what may wait; given back when dropped.
#[derive(Debug)]
struct Share(Arc<Blobs>);

impl Share {
    fn of(blobs: &Arc<Blobs>) -> Self {
        blobs.large_intakes.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(blobs))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.large_intakes.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Blobs {
    /// How many bytes of one large upload may wait.
    fn waiting_limit(&self) -> usize {
        let sharers = self.large_intakes.load(Ordering::Relaxed).max(1);
        (ALL_WAITING_BYTES / sharers).clamp(*WAITING_BYTES.start(), *WAITING_BYTES.end())
    }
}

/// A round of work on the same pieces: the digest and the file grow side by side.
#[derive(Debug)]
struct Work {
    hasher: JoinHandle<Sha256>,
    writer: JoinHandle<Result<Writer, BlobError>>,
}

/// A file that grows.
#[derive(Debug)]
struct Writer {
    staged: StagedFile,
    tail: Tail,
}

impl Intake {
    pub(super) fn new(blobs: Arc<Blobs>, limit: u64) -> Self {
        Self { blobs, limit, size: 0, head: Vec::new(), sink: Sink::Memory(Vec::new()) }
    }

    /// Takes more bytes; waits while the disk is behind.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        let before = self.size;
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(BlobError::TooLarge { limit: self.limit });
        }
        if before / SPACE_CHECK_BYTES != self.size / SPACE_CHECK_BYTES {
            self.blobs.space.check(0)?;
        }
        if self.head.len() < HEAD_BYTES {
            let wanted = bytes.len().min(HEAD_BYTES - self.head.len());
            self.head.extend_from_slice(&bytes[..wanted]);
        }
        match &mut self.sink {
            Sink::Memory(small) if small.len() + bytes.len() <= PACKED_LIMIT => {
                small.extend_from_slice(&bytes);
            }
            Sink::Memory(small) => {
                let pieces = vec![Bytes::from(mem::take(small)), bytes];
                let blobs = Arc::clone(&self.blobs);
                let work = Work::begin(
                    Sha256::new(),
                    move || Writer::create(&blobs),
                    pieces,
                    self.blobs.space.floor(),
                );
                let share = Share::of(&self.blobs);
                self.sink = Sink::File { waiting: Vec::new(), waiting_bytes: 0, work, _share: share };
            }
            Sink::File { waiting, waiting_bytes, work, .. } => {
                *waiting_bytes += bytes.len();
                waiting.push(bytes);
                if work.is_finished() || *waiting_bytes >= self.blobs.waiting_limit() {
                    let (hasher, writer) = work.end().await?;
                    let pieces = mem::take(waiting);
                    *waiting_bytes = 0;
                    *work = Work::begin(hasher, move || Ok(writer), pieces, self.blobs.space.floor());
                }
            }
        }
        Ok(())
    }

    /// All bytes have come: their size, digest and first bytes.
    pub async fn finish(self) -> Result<Staged, BlobError> {
        let (sha256, bytes) = match self.sink {
            Sink::Memory(small) => (hex(Sha256::digest(&small).as_slice()), StagedBytes::InMemory(small)),
            Sink::File { waiting, mut work, .. } => {
                let floor = self.blobs.space.floor();
                let (hasher, writer) = work.end().await?;
                let (hasher, writer) = Work::begin(hasher, move || Ok(writer), waiting, floor).end().await?;
                let staged =
                    spawn_blocking(move || writer.finish(floor)).await.map_err(io::Error::other)??;
                (hex(hasher.finalize().as_slice()), StagedBytes::File(staged))
            }
        };
        Ok(Staged { size: self.size, sha256, head: self.head, bytes })
    }
}

impl Work {
    fn begin(
        mut hasher: Sha256,
        writer: impl FnOnce() -> Result<Writer, BlobError> + Send + 'static,
        pieces: Vec<Bytes>,
        floor: u64,
    ) -> Self {
        let same = pieces.clone();
        let hasher = spawn_blocking(move || {
            same.iter().for_each(|piece| hasher.update(piece));
            hasher
        });
        let writer = tokio::spawn(async move {
            let _turn = direct::turn().await;
            let write = move || {
                let mut writer = writer()?;
                let appended = writer.tail.append(&writer.staged.file, &pieces);
                appended.map_err(|e| BlobError::from_write(e, floor)).map(|()| writer)
            };
            spawn_blocking(write).await.map_err(io::Error::other)?
        });
        Self { hasher, writer }
    }

    fn is_finished(&self) -> bool {
        self.hasher.is_finished() && self.writer.is_finished()
    }

    async fn end(&mut self) -> Result<(Sha256, Writer), BlobError> {
        let writer = (&mut self.writer).await.map_err(io::Error::other)??;
        let hasher = (&mut self.hasher).await.map_err(io::Error::other)?;
        Ok((hasher, writer))
    }
}

impl Writer {
    fn create(blobs: &Blobs) -> Result<Self, BlobError> {
        let staged = blobs.files.stage().map_err(|e| BlobError::from_write(e, blobs.space.floor()))?;
        direct::prepare(&staged.file);
        Ok(Self { staged, tail: Tail::default() })
    }

    fn finish(self, floor: u64) -> Result<StagedFile, BlobError> {
        self.tail.finish(&self.staged.file).map_err(|e| BlobError::from_write(e, floor))?;
        Ok(self.staged)
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}
