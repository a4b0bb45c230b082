//! Bytes on their way in: hashed, counted and limited while they are written.
//!
//! Hashing and writing happen off the asynchronous threads. While one job works, the bytes that
//! arrive wait; the next job takes them all, so a fast sender is served in large pieces and a slow
//! one costs little. At most [`WAITING_BYTES`] wait, besides those in the job.

use std::io;
use std::mem;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::task::{JoinHandle, spawn_blocking};

use super::files::StagedFile;
use super::{BlobError, Blobs, PACKED_LIMIT, Staged, StagedBytes};

/// How many first bytes are kept to tell the kind of content from.
pub const HEAD_BYTES: usize = 8 * 1024;
/// How many bytes may wait for the running job.
const WAITING_BYTES: usize = 512 * 1024;
/// After how many bytes the disk is told to begin writing back.
const FLUSH_BYTES: u64 = 32 * 1024 * 1024;
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
        job: JoinHandle<Result<Writer, BlobError>>,
    },
}

/// What a job works with.
#[derive(Debug)]
struct Writer {
    staged: Arc<StagedFile>,
    hasher: Sha256,
    written: u64,
    flushed: u64,
    flush: Option<JoinHandle<io::Result<()>>>,
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
                let first = Bytes::from(mem::take(small));
                let blobs = Arc::clone(&self.blobs);
                let job = spawn_blocking(move || Writer::create(&blobs)?.write(&blobs, &[first, bytes]));
                self.sink = Sink::File { waiting: Vec::new(), waiting_bytes: 0, job };
            }
            Sink::File { waiting, waiting_bytes, job } => {
                *waiting_bytes += bytes.len();
                waiting.push(bytes);
                if job.is_finished() || *waiting_bytes >= WAITING_BYTES {
                    let writer = joined(job).await?;
                    let pieces = mem::take(waiting);
                    *waiting_bytes = 0;
                    let blobs = Arc::clone(&self.blobs);
                    *job = spawn_blocking(move || writer.write(&blobs, &pieces));
                }
            }
        }
        Ok(())
    }

    /// All bytes have come: their size, digest and first bytes.
    pub async fn finish(self) -> Result<Staged, BlobError> {
        let (sha256, bytes) = match self.sink {
            Sink::Memory(small) => (hex(Sha256::digest(&small).as_slice()), StagedBytes::InMemory(small)),
            Sink::File { waiting, mut job, .. } => {
                let writer = joined(&mut job).await?;
                let blobs = Arc::clone(&self.blobs);
                let done = spawn_blocking(move || writer.write(&blobs, &waiting)?.finish(&blobs));
                let (sha256, file) = done.await.map_err(io::Error::other)??;
                (sha256, StagedBytes::File(file))
            }
        };
        Ok(Staged { size: self.size, sha256, head: self.head, bytes })
    }
}

async fn joined(job: &mut JoinHandle<Result<Writer, BlobError>>) -> Result<Writer, BlobError> {
    job.await.map_err(io::Error::other)?
}

impl Writer {
    fn create(blobs: &Blobs) -> Result<Self, BlobError> {
        let staged = blobs.files.stage().map_err(|e| BlobError::from_write(e, blobs.space.floor()))?;
        Ok(Self { staged: Arc::new(staged), hasher: Sha256::new(), written: 0, flushed: 0, flush: None })
    }

    fn write(mut self, blobs: &Blobs, pieces: &[Bytes]) -> Result<Self, BlobError> {
        for piece in pieces {
            self.hasher.update(piece);
            self.staged
                .file
                .write_all_at(piece, self.written)
                .map_err(|e| BlobError::from_write(e, blobs.space.floor()))?;
            self.written += piece.len() as u64;
        }
        if self.written - self.flushed >= FLUSH_BYTES
            && self.flush.as_ref().is_none_or(JoinHandle::is_finished)
        {
            self.flushed = self.written;
            let staged = Arc::clone(&self.staged);
            // The sync whose result counts is the one before the rename; this one only makes sure
            // that little is left for it to do.
            self.flush = Some(spawn_blocking(move || staged.file.sync_data()));
        }
        Ok(self)
    }

    fn finish(self, blobs: &Blobs) -> Result<(String, StagedFile), BlobError> {
        if let Some(flush) = self.flush {
            let handle = tokio::runtime::Handle::current();
            handle
                .block_on(flush)
                .map_err(io::Error::other)?
                .map_err(|e| BlobError::from_write(e, blobs.space.floor()))?;
        }
        let file =
            Arc::into_inner(self.staged).ok_or_else(|| io::Error::other("a flush outlived its intake"))?;
        Ok((hex(self.hasher.finalize().as_slice()), file))
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
