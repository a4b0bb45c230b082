//! Blobs on their way out: any range, in pieces, in bounded memory.
//!
//! A piece is read directly where the bytes are in the page cache, else off the asynchronous
//! threads. Large pieces are the fastest, and memory is bounded: only [`LARGE_READERS`] readers at
//! a time may use them, the others use small ones. A packed blob is checked against its digest
//! before its first byte goes out.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use rustix::io::{Errno, IoSliceMut, ReadWriteFlags};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;

use super::BlobError;

const LARGE_PIECE: u64 = 1024 * 1024;
const SMALL_PIECE: u64 = 64 * 1024;
/// How many readers may use large pieces at once.
const LARGE_READERS: usize = 16;
/// A reader whose taker needs longer than this for a piece goes back to small ones.
const SLOW: Duration = Duration::from_millis(200);

static LARGE: Semaphore = Semaphore::const_new(LARGE_READERS);

/// An opened blob.
#[derive(Debug)]
pub struct BlobReader {
    file: Arc<File>,
    base: u64,
    size: u64,
    verify: Option<String>,
}

impl BlobReader {
    pub(super) fn new(file: Arc<File>, base: u64, size: u64, verify: Option<String>) -> Self {
        Self { file, base, size, verify }
    }

    /// The whole blob, which is small, checked against its digest; `None` for a large one.
    pub async fn small(&self) -> Result<Option<Bytes>, BlobError> {
        let Some(wanted) = &self.verify else { return Ok(None) };
        let bytes = read(&self.file, self.base, self.size).await?;
        let found = crate::hex::encode(Sha256::digest(&bytes));
        if found != *wanted {
            return Err(BlobError::Changed { wanted: wanted.clone(), found });
        }
        Ok(Some(bytes))
    }

    /// The bytes of a range within the blob, in order.
    pub fn stream(self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, BlobError>> + Send + 'static {
        let state = Reading { reader: self, next: range.start, end: range.end, permit: None, asked: None };
        futures_util::stream::try_unfold(state, |mut state| async move {
            match state.piece().await? {
                Some(bytes) => Ok(Some((bytes, state))),
                None => Ok(None),
            }
        })
    }
}

/// A range half read.
struct Reading {
    reader: BlobReader,
    next: u64,
    end: u64,
    permit: Option<SemaphorePermit<'static>>,
    /// When the last piece was handed out.
    asked: Option<Instant>,
}

impl Reading {
    async fn piece(&mut self) -> Result<Option<Bytes>, BlobError> {
        if self.next >= self.end {
            return Ok(None);
        }
        if let Some(whole) = self.reader.small().await? {
            let range = self.next as usize..self.end as usize;
            self.next = self.end;
            return Ok(Some(whole.slice(range)));
        }
        let slow = self.asked.is_some_and(|at| at.elapsed() > SLOW);
        if slow || self.asked.is_none() {
            self.permit = None;
        } else if self.permit.is_none() {
            self.permit = LARGE.try_acquire().ok();
        }
        let most = if self.permit.is_some() { LARGE_PIECE } else { SMALL_PIECE };
        let length = most.min(self.end - self.next);
        let bytes = read(&self.reader.file, self.reader.base + self.next, length).await?;
        self.next += length;
        self.asked = Some(Instant::now());
        Ok(Some(bytes))
    }
}

/// Reads exactly `length` bytes.
async fn read(file: &Arc<File>, offset: u64, length: u64) -> Result<Bytes, BlobError> {
    let mut buffer = vec![0; length as usize];
    let at_once = {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        match rustix::io::preadv2(file, &mut slices, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => read,
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR | Errno::INVAL) => 0,
            Err(error) => return Err(BlobError::Io(error.into())),
        }
    };
    if at_once as u64 == length {
        return Ok(buffer.into());
    }
    let file = Arc::clone(file);
    let done = spawn_blocking(move || {
        file.read_exact_at(&mut buffer[at_once..], offset + at_once as u64).map(|()| buffer)
    });
    match done.await.map_err(io::Error::other)? {
        Ok(buffer) => Ok(buffer.into()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(BlobError::Missing),
        Err(error) => Err(error.into()),
    }
}
