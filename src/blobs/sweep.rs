//! What dead processes left in the store, for the caller to say what of it rows name.
//!
//! The rule: nothing that a living process wrote is ever touched, because it may be about to get its
//! row. Whether a process is dead is looked at first and the rows afterwards; what a dead process
//! committed is in them, and it commits nothing more. Each file carries the name of its process, and
//! each process notes its packs in its [`crate::presence::Presence`] before it makes them.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::sync::Arc;

use super::{Blobs, Locator};
use crate::presence::{self, Trace};

/// The folder in which processes that have the store open are seen.
pub(super) const PROCESSES: &str = "processes";
/// Held by the one who sweeps.
const LOCK: &str = "sweep.lock";

/// A sweep under way. One at a time: others wait until it is dropped.
#[derive(Debug)]
pub struct Sweep {
    blobs: Arc<Blobs>,
    /// Processes whose traces are still there.
    dead: Vec<Trace>,
    names: HashSet<String>,
    _lock: File,
}

/// A pack that nobody writes to any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedPack {
    /// Its number.
    pub segment: u64,
    /// Whether there may be bytes in it that never got a row: nobody looked since its writer died.
    pub may_be_torn: bool,
}

impl Blobs {
    /// Begins a sweep; `None` while another process, or this one, sweeps.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn begin_sweep(self: &Arc<Self>) -> io::Result<Option<Sweep>> {
        let Some(lock) = presence::try_lock(&self.root.join(LOCK))? else { return Ok(None) };
        let dead = self.dead()?;
        let names = dead.iter().map(|trace| trace.name.clone()).collect();
        Ok(Some(Sweep { blobs: Arc::clone(self), dead, names, _lock: lock }))
    }

    /// Removes what dead processes left in staging.
    pub(super) fn clear_staging(&self) -> io::Result<()> {
        let dead = self.dead()?;
        self.files.clear_staging(&dead.iter().map(|trace| trace.name.clone()).collect())
    }

    /// The dead processes that nobody else sees to.
    fn dead(&self) -> io::Result<Vec<Trace>> {
        let mut traces = presence::traces(&self.root.join(PROCESSES))?;
        traces.retain(|trace| !trace.lives());
        Ok(traces)
    }
}

impl Sweep {
    /// Public files of dead processes, a folder at a time (`0..=255`): the caller removes those that
    /// no row names.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn stray_files(&self, folder: u8) -> io::Result<Vec<Locator>> {
        if self.names.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.blobs.files.list_of(folder, &self.names)?.into_iter().map(Locator::File).collect())
    }

    /// The packs that no living process writes to, in their order.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn closed_packs(&self) -> io::Result<Vec<ClosedPack>> {
        // The packs first: one that is made from now on is not among them, and whoever made one of
        // them had noted it before.
        let packs = self.blobs.packs.list()?;
        let traces = presence::traces(&self.blobs.root.join(PROCESSES))?;
        let numbers = |traces: &[Trace], of_dead: bool| -> HashSet<u64> {
            let chosen = traces.iter().filter(|trace| self.names.contains(&trace.name) == of_dead);
            chosen.flat_map(|trace| &trace.notes).filter_map(|note| note.parse().ok()).collect()
        };
        let (open, torn) = (numbers(&traces, false), numbers(&self.dead, true));
        let closed = packs.into_iter().filter(|segment| !open.contains(segment));
        Ok(closed.map(|segment| ClosedPack { segment, may_be_torn: torn.contains(&segment) }).collect())
    }

    /// Removes a closed pack that no row names. The highest pack stays even so: its number says where
    /// the next one begins, and a place is never given twice, since the rows of what is gone still
    /// name theirs.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_pack(&self, segment: u64) -> io::Result<()> {
        self.blobs.packs.remove(segment)
    }

    /// Frees what of a closed pack belongs to no blob. `kept`: place and size of those that do.
    ///
    /// # Errors
    /// The pack cannot be written.
    pub fn keep_only(&self, segment: u64, kept: &[(Locator, u64)]) -> io::Result<()> {
        let mut places: Vec<(u64, u64)> = kept
            .iter()
            .filter_map(|(at, size)| match at {
                Locator::Pack { segment: of, offset } if *of == segment => Some((*offset, *size)),
                _ => None,
            })
            .collect();
        self.blobs.packs.keep_only(segment, &mut places)
    }

    /// All that the dead left is seen to: forgets them.
    ///
    /// # Errors
    /// A trace cannot be removed; the next sweep looks again.
    pub fn finish(self) -> io::Result<()> {
        self.blobs.files.clear_staging(&self.names)?;
        self.dead.into_iter().try_for_each(Trace::forget)
    }
}
