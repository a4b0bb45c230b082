//! The group commit: one write, one sync and one transaction for all uploads that wait.
//!
//! One task takes whatever has gathered and packs the small blobs; another judges every key again,
//! inserts every row with its audit row, commits, and only then answers. An upload is therefore either
//! durable with its row, or refused; the order is sync, commit, answer.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::receive::ReceiveError;
use super::{Attachment, Metrics, store};
use crate::blobs::{BlobError, Blobs, Locator, Published};
use crate::clock;
use crate::db::{Conn, Db, DbError};
use crate::id::KeyId;
use crate::identity::{Caller, Grant, audit, reload_caller};

/// Most uploads in one transaction.
const BATCH: usize = 64;
/// Most uploads waiting for the task.
const QUEUE: usize = 1024;

/// An attachment whose bytes are in, waiting for its row.
#[derive(Debug)]
pub(super) struct Arrival {
    /// The row; its locator counts only when the bytes are already in place.
    pub attachment: Attachment,
    /// The session that the file came out of, if it did.
    pub session_id: Option<String>,
    /// Small bytes still to be packed.
    pub to_pack: Option<Vec<u8>>,
    /// On whose behalf: judged again before the commit. `None`: a session's output.
    pub grant: Option<Grant>,
}

#[derive(Debug)]
struct Waiting {
    arrival: Arrival,
    reply: oneshot::Sender<Result<Attachment, ReceiveError>>,
}

/// The way to the task.
#[derive(Debug)]
pub(super) struct Committer {
    queue: mpsc::Sender<Waiting>,
    /// Cancelled once one of the tasks is gone.
    pub broken: CancellationToken,
}

impl Committer {
    pub fn start(db: Db, blobs: Arc<Blobs>, metrics: Metrics) -> Self {
        let broken = CancellationToken::new();
        let (queue, mut waiting) = mpsc::channel(QUEUE);
        // While one batch is committed, the next is packed.
        let (packed, mut to_commit) = mpsc::channel::<Vec<Waiting>>(1);
        let store = Arc::clone(&blobs);
        spawn_vital(&broken, async move {
            loop {
                let mut batch = Vec::with_capacity(BATCH);
                if waiting.recv_many(&mut batch, BATCH).await == 0 {
                    break;
                }
                pack_or_refuse(&store, &mut batch).await;
                if packed.send(batch).await.is_err() {
                    break;
                }
            }
        });
        spawn_vital(&broken, async move {
            while let Some(batch) = to_commit.recv().await {
                commit(&db, &blobs, &metrics, batch).await;
            }
        });
        Self { queue, broken }
    }

    /// Waits until the arrival is durable with its row, or refused.
    pub async fn commit(&self, arrival: Arrival) -> Result<Attachment, ReceiveError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || ReceiveError::Stopped;
        self.queue.send(Waiting { arrival, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// Starts a task without which uploads would be refused for good; however it ends, `broken` tells.
fn spawn_vital(broken: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    let gone = broken.clone().drop_guard();
    tokio::spawn(async move {
        let _gone = gone;
        work.await;
    });
}

/// Gives the small blobs of a batch their places, or refuses these uploads.
async fn pack_or_refuse(blobs: &Arc<Blobs>, batch: &mut Vec<Waiting>) {
    let Err(error) = pack(blobs, batch).await else { return };
    let error = Arc::new(error);
    for waiting in batch.extract_if(.., |waiting| waiting.arrival.to_pack.is_some()) {
        let _ = waiting.reply.send(Err(ReceiveError::Store(Arc::clone(&error))));
    }
}

async fn commit(db: &Db, blobs: &Arc<Blobs>, metrics: &Metrics, mut batch: Vec<Waiting>) {
    match insert(db, &batch).await {
        Ok(refused) => {
            metrics.commits.inc();
            for (waiting, refused) in batch.drain(..).zip(refused) {
                let attachment = waiting.arrival.attachment;
                if refused {
                    discard(blobs, attachment).await;
                    let _ = waiting.reply.send(Err(ReceiveError::NoLongerAllowed));
                } else {
                    metrics.received.inc();
                    metrics.received_bytes.inc_by(attachment.size);
                    let _ = waiting.reply.send(Ok(attachment));
                }
            }
        }
        Err(error) => {
            // Whether a failed commit took effect is not known, so the bytes stay; the next start
            // removes those that no row names.
            let error = Arc::new(error);
            for waiting in batch.drain(..) {
                let _ = waiting.reply.send(Err(ReceiveError::Catalogue(Arc::clone(&error))));
            }
        }
    }
}

/// Gives the small blobs of a batch their places.
async fn pack(blobs: &Arc<Blobs>, batch: &mut [Waiting]) -> Result<(), BlobError> {
    let small: Vec<Vec<u8>> =
        batch.iter_mut().filter_map(|w| w.arrival.to_pack.as_mut().map(std::mem::take)).collect();
    if small.is_empty() {
        return Ok(());
    }
    let blobs = Arc::clone(blobs);
    let work = move || blobs.publish_packed(&small.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let places = spawn_blocking(work).await.map_err(io::Error::other)??;
    let packed = batch.iter_mut().filter(|waiting| waiting.arrival.to_pack.is_some());
    for (waiting, place) in packed.zip(places) {
        waiting.arrival.attachment.blob = place;
        waiting.arrival.to_pack = None;
    }
    Ok(())
}

/// One transaction for the batch; says of each whether it was refused.
async fn insert(db: &Db, batch: &[Waiting]) -> Result<Vec<bool>, DbError> {
    let mut tx = db.write().await?;
    let mut callers: HashMap<KeyId, Option<Caller>> = HashMap::new();
    let mut refused = Vec::with_capacity(batch.len());
    for waiting in batch {
        let allowed = match &waiting.arrival.grant {
            Some(grant) => still_holds(&mut tx, &mut callers, grant).await?,
            None => true,
        };
        refused.push(!allowed);
    }
    let admitted: Vec<&Arrival> =
        batch.iter().zip(&refused).filter(|(_, refused)| !**refused).map(|(w, _)| &w.arrival).collect();
    let acts: Vec<audit::Act> = admitted.iter().map(|arrival| act_of(arrival)).collect();
    store::insert_many(&mut tx, &admitted).await?;
    audit::record_many(&mut tx, &acts).await?;
    tx.commit().await?;
    Ok(refused)
}

async fn still_holds(
    conn: &mut Conn,
    callers: &mut HashMap<KeyId, Option<Caller>>,
    grant: &Grant,
) -> Result<bool, DbError> {
    let key = &grant.caller().key_id;
    if !callers.contains_key(key) {
        let caller = reload_caller(conn, key, clock::now()).await?;
        callers.insert(key.clone(), caller);
    }
    let caller = callers.get(key).and_then(Option::as_ref);
    Ok(caller.is_some_and(|caller| caller.holds(grant.permission(), grant.org())))
}

fn act_of(arrival: &Arrival) -> audit::Act {
    const ACTION: &str = "attachment.create";
    let id = arrival.attachment.id.to_string();
    match &arrival.grant {
        Some(grant) => grant.act(ACTION, id),
        None => audit::Act {
            action: ACTION,
            at: arrival.attachment.created_at,
            org_id: Some(arrival.attachment.org_id.to_string()),
            principal_id: arrival.session_id.clone(),
            key_id: None,
            address: None,
            subject: Some(id),
        },
    }
}

async fn discard(blobs: &Arc<Blobs>, attachment: Attachment) {
    let blobs = Arc::clone(blobs);
    let done = spawn_blocking(move || blobs.discard(&attachment.blob, attachment.size)).await;
    if let Ok(Err(error)) = done {
        tracing::warn!(%error, "the bytes of a refused upload could not be removed; the next start removes them");
    }
}

/// Where the bytes of an arrival are, or are to go: splits what the store said.
pub(super) fn place(published: Published) -> (Locator, Option<Vec<u8>>) {
    match published {
        Published::At(locator) => (locator, None),
        Published::ToPack(bytes) => (Locator::Pack { segment: 0, offset: 0 }, Some(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_told() {
        let broken = CancellationToken::new();
        let (go, wait) = oneshot::channel::<()>();
        spawn_vital(&broken, async move {
            wait.await.unwrap();
            panic!("as a test wants it");
        });
        assert!(!broken.is_cancelled());
        go.send(()).unwrap();
        broken.cancelled().await;
    }
}
