//! What the tests stand on: a service that runs ([`TestApp`]), those who use it ([`User`]), bytes on
//! the wire where a well-behaved client would be in the way ([`wire`]), and forms ([`form`]).

#![allow(dead_code, unused_imports)] // Each test takes what it needs.

pub mod app;
pub mod catalogue;
pub mod events;
pub mod form;
pub mod sessions;
pub mod strace;
pub mod user;
pub mod wire;
pub mod worker;

use std::time::{Duration, Instant};

pub use app::{Cli, TestApp};
pub use user::{Answer, Uploaded, User};
pub use worker::Worker;

/// How long anything may take before a test gives up on it: far longer than it ever should, since
/// many services run beside each other on few cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer. Panics, saying `what`, when [`PATIENCE`] ends.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Bytes that do not repeat within any block: the same for the same seed, so that a block in the
/// wrong place shows.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// The SHA-256 of some bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    satchel::hex::encode(Sha256::digest(bytes))
}
