//! What is unanswered on a connection, on either side.
//!
//! The agent's requests are counted, because the protocol's crate keeps each with its answer until the agent has read
//! it: where all places are taken, nothing more of the agent is read. Ours is known by its id, because there is only
//! one at a time, and an answer to anything else is nobody's.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use super::lines::Envelope;

/// Requests of an agent that may be unanswered; behind them it waits.
const MAX_REQUESTS: usize = 64;
/// Bytes of the id of a message, as it is written; one that is longer is no message.
const MAX_ID_BYTES: usize = 256;

/// The id of a request and its answer, as the crate takes it.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum Id {
    Number(i64),
    Text(String),
}

impl Id {
    /// `None` for what can be none.
    pub(super) fn read(id: &RawValue) -> Option<Self> {
        (id.get().len() <= MAX_ID_BYTES).then(|| serde_json::from_str(id.get()).ok()).flatten()
    }
}

/// What is unanswered.
#[derive(Debug)]
pub(super) struct Unanswered {
    theirs: Semaphore,
    ours: Mutex<Option<Id>>,
}

impl Default for Unanswered {
    fn default() -> Self {
        Self { theirs: Semaphore::new(MAX_REQUESTS), ours: Mutex::default() }
    }
}

impl Unanswered {
    /// Waits for a place for a request of the agent, and takes it until the answer is on its way.
    pub(super) async fn place(&self) {
        // It is never closed.
        if let Ok(place) = self.theirs.acquire().await {
            place.forget();
        }
    }

    /// Takes note of a line that goes to the agent.
    pub(super) fn sent(&self, line: &str) {
        let Ok(Envelope { method, id: Some(id), .. }) = serde_json::from_str(line) else { return };
        if method.is_none() {
            self.theirs.add_permits(1);
        } else {
            *self.ours.lock().unwrap_or_else(PoisonError::into_inner) = Id::read(id);
        }
    }

    /// Whether an answer of this id is waited for; from then on it is not any more.
    pub(super) fn was_asked(&self, id: &Id) -> bool {
        let mut ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        ours.take_if(|ours| ours == id).is_some()
    }
}
