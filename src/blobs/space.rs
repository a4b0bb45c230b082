//! How full the file system may become.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::BlobError;

/// How long a reading of the free space is taken on trust.
const FRESH: Duration = Duration::from_millis(500);

/// Watches the free space of one file system.
#[derive(Debug)]
pub(super) struct Space {
    root: PathBuf,
    floor: u64,
    last: Mutex<Option<(Instant, u64)>>,
}

impl Space {
    pub fn new(root: &Path, floor: u64) -> Self {
        Self { root: root.to_owned(), floor, last: Mutex::default() }
    }

    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Refuses what would bring the free space below the floor.
    pub fn check(&self, wanted: u64) -> Result<(), BlobError> {
        if self.free()? < self.floor.saturating_add(wanted) {
            return Err(BlobError::Full { floor: self.floor });
        }
        Ok(())
    }

    /// Bytes that an ordinary user may still write.
    pub fn free(&self) -> io::Result<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, free)) = *last
            && at.elapsed() < FRESH
        {
            return Ok(free);
        }
        let stat = rustix::fs::statvfs(&self.root)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        *last = Some((Instant::now(), free));
        Ok(free)
    }
}
