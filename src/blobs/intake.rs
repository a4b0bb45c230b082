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

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tokio::task::{JoinHandle, spawn_blocking};

use super::direct::{self, Tail};
use super::files::StagedFile;
use super::{BlobError, Blobs, PACKED_LIMIT, Staged, StagedBytes};
use crate::hex;

/// How many first bytes are kept to tell the kind of content from.
pub const HEAD_BYTES: usize = 8 * 1024;
/// How many bytes of one upload may wait for the running round, and how few at the least.
const WAITING_BYTES: RangeInclusive<usize> = 16 * 1024..=1024 * 1024;
/// How many bytes may wait in all large uploads together, as long as each has its least.
const ALL_WAITING_BYTES: usize = 8 * 1024 * 1024;
/// Pieces below this many bytes are put together while they wait.
const CRUMB_BYTES: usize = 4096;
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
        waiting: Waiting,
        work: Work,
        _share: Share,
    },
}

/// Bytes that wait for the running round.
#[derive(Debug, Default)]
struct Waiting {
    pieces: Vec<Bytes>,
    /// Small pieces that came last, put together: each would cost more than it holds.
    crumbs: BytesMut,
    bytes: usize,
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
type Work = JoinHandle<Result<(Sha256, Writer), BlobError>>;

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
                let floor = self.blobs.space.floor();
                let work = begin(Sha256::new(), move || Writer::create(&blobs), pieces, floor);
                let share = Share::of(&self.blobs);
                self.sink = Sink::File { waiting: Waiting::default(), work, _share: share };
            }
            Sink::File { waiting, work, .. } => {
                waiting.push(bytes);
                if work.is_finished() || waiting.bytes >= self.blobs.waiting_limit() {
                    let (hasher, writer) = end(work).await?;
                    *work = begin(hasher, move || Ok(writer), waiting.take(), self.blobs.space.floor());
                }
            }
        }
        Ok(())
    }

    /// All bytes have come: their size, digest and first bytes.
    pub async fn finish(self) -> Result<Staged, BlobError> {
        let (sha256, bytes) = match self.sink {
            Sink::Memory(small) => (hex::encode(Sha256::digest(&small)), StagedBytes::InMemory(small)),
            Sink::File { mut waiting, mut work, .. } => {
                let floor = self.blobs.space.floor();
                let (hasher, writer) = end(&mut work).await?;
                let mut last = begin(hasher, move || Ok(writer), waiting.take(), floor);
                let (hasher, writer) = end(&mut last).await?;
                let _turn = direct::turn().await;
                let staged =
                    spawn_blocking(move || writer.finish(floor)).await.map_err(io::Error::other)??;
                (hex::encode(hasher.finalize()), StagedBytes::File(staged))
            }
        };
        Ok(Staged { size: self.size, sha256, head: self.head, bytes })
    }
}

impl Waiting {
    fn push(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        if bytes.len() < CRUMB_BYTES {
            self.crumbs.extend_from_slice(&bytes);
        } else {
            self.sweep_up();
            self.pieces.push(bytes);
        }
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.sweep_up();
        self.bytes = 0;
        mem::take(&mut self.pieces)
    }

    fn sweep_up(&mut self) {
        if !self.crumbs.is_empty() {
            self.pieces.push(mem::take(&mut self.crumbs).freeze());
        }
    }
}

/// Begins a round, once it has its turn.
fn begin(
    mut hasher: Sha256,
    writer: impl FnOnce() -> Result<Writer, BlobError> + Send + 'static,
    pieces: Vec<Bytes>,
    floor: u64,
) -> Work {
    tokio::spawn(async move {
        let _turn = direct::turn().await;
        let same = pieces.clone();
        let hashing = spawn_blocking(move || {
            same.iter().for_each(|piece| hasher.update(piece));
            hasher
        });
        let writing = spawn_blocking(move || {
            let mut writer = writer()?;
            let appended = writer.tail.append(&writer.staged.file, &pieces);
            appended.map_err(|e| BlobError::from_write(e, floor)).map(|()| writer)
        });
        let writer = writing.await.map_err(io::Error::other)??;
        Ok((hashing.await.map_err(io::Error::other)?, writer))
    })
}

async fn end(work: &mut Work) -> Result<(Sha256, Writer), BlobError> {
    work.await.map_err(io::Error::other)?
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
