//! How much one key may have in flight at once.
//!
//! A client that opens ever more requests is answered 429 instead of starving the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::id::KeyId;

/// Counts what is in flight for each key, up to a limit.
#[derive(Debug)]
pub struct Slots {
    limit: usize,
    taken: Mutex<HashMap<KeyId, usize>>,
}

/// One place among those of a key; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    key: KeyId,
}

impl Slots {
    /// At most `limit` places for each key.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, taken: Mutex::default() })
    }

    /// The limit for each key.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Takes a place; `None` when all of the key's places are taken.
    pub fn take(self: &Arc<Self>, key: &KeyId) -> Option<Slot> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(key.clone()).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Slot { slots: Arc::clone(self), key: key.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}
