//! Writing past the page cache.
//!
//! A large file that is written once and read later by somebody else gains nothing from the page
//! cache, and the copy into it costs more than all the rest of an upload. Where the file system can,
//! whole blocks go straight to the disk (`O_DIRECT`); what does not fill a block waits for more, and
//! the last block is padded and cut off again. Where it cannot, writes are ordinary ones.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The alignment that direct writes keep, in memory and in the file.
const BLOCK: usize = 4096;
/// Bytes that may wait for more before they are written.
const PATIENCE: usize = 16 * 1024;
/// Most bytes of one write.
const BUFFER: usize = 1024 * 1024;
/// Writers at once, each with a buffer: memory does not grow with the number of uploads, and threads
/// that others need are not held.
const WRITERS: usize = 8;

static TURNS: Semaphore = Semaphore::const_new(WRITERS);
static BUFFERS: Mutex<Vec<Aligned>> = Mutex::new(Vec::new());

/// Waits for a turn to write; [`Tail`] is used only by who has one.
pub(super) async fn turn() -> Option<SemaphorePermit<'static>> {
    // The semaphore is never closed.
    TURNS.acquire().await.ok()
}

/// The end of a file that grows.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Bytes in the file: a multiple of [`BLOCK`].
    written: u64,
    /// Bytes that come after them.
    waiting: Vec<u8>,
}

/// Has a file written past the page cache, if its file system can.
pub(super) fn prepare(file: &File) {
    set_direct(file, true);
}

fn set_direct(file: &File, direct: bool) -> bool {
    let Ok(flags) = fcntl_getfl(file) else { return false };
    let flags = if direct { flags | OFlags::DIRECT } else { flags - OFlags::DIRECT };
    fcntl_setfl(file, flags).is_ok()
}

impl Tail {
    /// How many bytes the file has received.
    pub fn len(&self) -> u64 {
        self.written + self.waiting.len() as u64
    }

    /// Appends pieces; up to [`PATIENCE`] bytes wait for more.
    pub fn append(&mut self, file: &File, pieces: &[Bytes]) -> io::Result<()> {
        let total = self.waiting.len() + pieces.iter().map(Bytes::len).sum::<usize>();
        if total < PATIENCE {
            pieces.iter().for_each(|piece| self.waiting.extend_from_slice(piece));
            return Ok(());
        }
        let mut buffer = Aligned::take();
        let mut filled = 0;
        let waiting = Bytes::from(std::mem::take(&mut self.waiting));
        for mut piece in std::iter::once(&waiting).chain(pieces).cloned() {
            while !piece.is_empty() {
                let part = piece.split_to(piece.len().min(BUFFER - filled));
                buffer.bytes()[filled..filled + part.len()].copy_from_slice(&part);
                filled += part.len();
                if filled == BUFFER {
                    self.write(file, buffer.bytes())?;
                    filled = 0;
                }
            }
        }
        let whole = filled - filled % BLOCK;
        self.write(file, &buffer.bytes()[..whole])?;
        self.waiting.extend_from_slice(&buffer.bytes()[whole..filled]);
        buffer.give_back();
        Ok(())
    }

    /// Writes what still waits; the file then has exactly the bytes that it received.
    pub fn finish(mut self, file: &File) -> io::Result<()> {
        let length = self.len();
        if !self.waiting.is_empty() {
            let mut buffer = Aligned::take();
            let padded = self.waiting.len().next_multiple_of(BLOCK);
            buffer.bytes()[..self.waiting.len()].copy_from_slice(&self.waiting);
            buffer.bytes()[self.waiting.len()..padded].fill(0);
            self.write(file, &buffer.bytes()[..padded])?;
            buffer.give_back();
        }
        file.set_len(length)
    }

    fn write(&mut self, file: &File, blocks: &[u8]) -> io::Result<()> {
        match file.write_all_at(blocks, self.written) {
            // The file system said that it could, and cannot, or wants a larger alignment.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                set_direct(file, false);
                file.write_all_at(blocks, self.written)?;
            }
            other => other?,
        }
        self.written += blocks.len() as u64;
        Ok(())
    }
}

/// A buffer whose first byte lies at a multiple of [`BLOCK`].
#[derive(Debug)]
struct Aligned {
    memory: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// Takes a buffer that is not in use, or makes one.
    fn take() -> Self {
        let idle = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| {
            let memory = vec![0; BUFFER + BLOCK];
            let start = memory.as_ptr().align_offset(BLOCK);
            Self { memory, start }
        })
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + BUFFER]
    }

    /// Keeps the buffer for the next writer. After an error it is simply dropped.
    fn give_back(self) {
        BUFFERS.lock().unwrap_or_else(PoisonError::into_inner).push(self);
    }
}
