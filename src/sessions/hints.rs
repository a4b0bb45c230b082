//! Hints between the processes of one machine: that there may be something to do.
//!
//! Each worker hears on a datagram socket beside its lock (`workers/<id>.sock`). Nothing relies on a
//! hint: the table of sessions is looked at every two seconds anyway. Where a socket cannot be made,
//! because the path is too long for one for example, there are no hints.

use std::os::unix::net::UnixDatagram as StdUnixDatagram;
use std::path::{Path, PathBuf};

use tokio::net::UnixDatagram;

/// What a socket is called, behind the worker's name.
const SUFFIX: &str = "sock";

/// Where a worker hears.
#[derive(Debug)]
pub(super) struct Ear(UnixDatagram);

impl Ear {
    /// Makes the socket of a worker.
    pub fn open(folder: &Path, worker: &str) -> Option<Self> {
        match UnixDatagram::bind(path(folder, worker)) {
            Ok(socket) => Some(Self(socket)),
            Err(error) => {
                tracing::info!(%error, "other processes cannot wake this worker; it looks every 2 s");
                None
            }
        }
    }

    /// Waits for a hint; for ever where there is no ear.
    pub async fn hear(ear: Option<&Self>) {
        let Some(Self(socket)) = ear else { return std::future::pending().await };
        if socket.recv(&mut [0]).await.is_err() {
            std::future::pending::<()>().await;
        }
        while socket.try_recv(&mut [0]).is_ok() {}
    }

    /// Removes the socket of a worker.
    pub fn remove(folder: &Path, worker: &str) {
        let _ = std::fs::remove_file(path(folder, worker));
    }
}

/// Gives a hint to at most `most` of the workers on this machine.
pub(super) fn give(folder: &Path, most: usize) {
    let (Ok(entries), Ok(socket)) = (std::fs::read_dir(folder), StdUnixDatagram::unbound()) else { return };
    if socket.set_nonblocking(true).is_err() {
        return;
    }
    let ears = entries.flatten().map(|entry| entry.path());
    let ears = ears.filter(|path| path.extension().is_some_and(|extension| extension == SUFFIX));
    // A dead worker's socket refuses, and does not count.
    ears.filter(|ear| socket.send_to(&[0], ear).is_ok()).take(most).for_each(drop);
}

fn path(folder: &Path, worker: &str) -> PathBuf {
    folder.join(worker).with_extension(SUFFIX)
}
