//! From an `Authorization` header to a [`Caller`].
//!
//! A credential that was found good is remembered for at most one second, so a key that is revoked,
//! which only the command line does, is refused within two seconds. Everything that is not a good key gets one and the same refusal: unknown, expired and
//! revoked keys cannot be told apart from outside.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::key::{self, KeyHash};
use super::slots::Slots;
use super::{Caller, Slot, store};
use crate::clock;
use crate::db::{Db, DbError};
use crate::id::KeyId;

/// How long a verified credential is taken on trust.
const TRUST: Duration = Duration::from_secs(1);
/// How stale the recorded time of a key's last use may be.
const LAST_USE_PRECISION: Duration = Duration::from_secs(60);
/// Verified credentials remembered at most.
const REMEMBERED: usize = 10_000;

/// The room's state: the catalogue, the remembered credentials, the keys' requests in flight.
#[derive(Debug)]
pub struct Identity {
    db: Db,
    verified: Mutex<HashMap<KeyHash, Verified>>,
    last_use: Mutex<HashMap<KeyId, Instant>>,
    requests: Arc<Slots>,
    trusted_proxies: Vec<ipnet::IpNet>,
}

#[derive(Debug, Clone)]
struct Verified {
    caller: Arc<Caller>,
    at: Instant,
}

/// Why a request has no caller.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No `Authorization: Bearer` header.
    #[error("Missing credential: send `Authorization: Bearer <key>`")]
    Missing,
    /// The credential is not a good key.
    #[error("Invalid credential: the key is malformed, unknown, expired or revoked")]
    Bad,
    /// The key has too much in flight.
    #[error("Too many requests at once with this key: at most {0} may be in flight")]
    Busy(usize),
    /// The catalogue could not be asked.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Identity {
    /// The room over an opened catalogue. `requests_per_key`: how many requests of one key may be
    /// in flight at once.
    pub fn new(db: Db, requests_per_key: usize, trusted_proxies: Vec<ipnet::IpNet>) -> Self {
        Self {
            db,
            verified: Mutex::default(),
            last_use: Mutex::default(),
            requests: Slots::new(requests_per_key),
            trusted_proxies,
        }
    }

    /// The proxies whose `X-Forwarded-For` is believed.
    pub fn trusted_proxies(&self) -> &[ipnet::IpNet] {
        &self.trusted_proxies
    }

    /// Finds the caller behind a bearer token.
    pub async fn authenticate(&self, token: &str) -> Result<Arc<Caller>, AuthError> {
        let (_, hash) = key::parse(token).ok_or(AuthError::Bad)?;
        if let Some(caller) = self.remembered(&hash) {
            return Ok(caller);
        }
        let mut conn = self.db.read().await?;
        let found = store::caller_by_hash(&mut conn, &hash, clock::now()).await?;
        let caller = Arc::new(found.ok_or(AuthError::Bad)?);
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= REMEMBERED {
            verified.retain(|_, v| v.at.elapsed() < TRUST);
        }
        if verified.len() < REMEMBERED {
            let at = Instant::now();
            verified.insert(hash, Verified { caller: Arc::clone(&caller), at });
        }
        Ok(caller)
    }

    /// Takes one of the key's places for requests in flight.
    pub fn take_slot(&self, caller: &Caller) -> Result<Slot, AuthError> {
        self.requests.take(&caller.key_id).ok_or(AuthError::Busy(self.requests.limit()))
    }

    /// Notes that a key was used; written down at most once a minute for each key, and never waited
    /// for.
    pub fn stamp(&self, caller: &Caller) {
        if self.is_stamped(&caller.key_id) {
            return;
        }
        let (db, key) = (self.db.clone(), caller.key_id.clone());
        tokio::spawn(async move {
            if let Err(error) = stamp(&db, &key).await {
                tracing::warn!(%error, "a key's last use could not be noted");
            }
        });
    }

    fn is_stamped(&self, key: &KeyId) -> bool {
        let mut last_use = self.last_use.lock().unwrap_or_else(PoisonError::into_inner);
        if last_use.get(key).is_some_and(|at| at.elapsed() < LAST_USE_PRECISION) {
            return true;
        }
        if last_use.len() >= REMEMBERED {
            last_use.clear();
        }
        last_use.insert(key.clone(), Instant::now());
        false
    }

    fn remembered(&self, hash: &KeyHash) -> Option<Arc<Caller>> {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let found = verified.get(hash)?;
        let expired = found.caller.expires_at.is_some_and(|at| at <= clock::now());
        if expired || found.at.elapsed() >= TRUST {
            verified.remove(hash);
            return None;
        }
        Some(Arc::clone(&found.caller))
    }
}

async fn stamp(db: &Db, key: &KeyId) -> Result<(), DbError> {
    let mut tx = db.write().await?;
    store::stamp_last_use(&mut tx, key, clock::now()).await?;
    tx.commit().await?;
    Ok(())
}
