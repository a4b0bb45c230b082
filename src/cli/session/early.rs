//! What ends a client command before its work is done: ^C, and a reader of its output that goes away.
//!
//! The work is dropped where it waits, and what it has not finished, such as a part of a file, goes with it.

use std::io;
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;

use crate::cli::Unread;

/// The exit code after ^C, as shells have it.
const INTERRUPTED: u8 = 130;

/// Does a command's work, unless something ends it early. `last_word` is what ^C has it say.
///
/// From the first moment on ^C is heard here and nowhere else, so no part of the work may wait in another way than
/// asynchronously.
pub(super) async fn unless_ended(
    work: impl Future<Output = anyhow::Result<ExitCode>>,
    last_word: impl FnOnce(),
) -> anyhow::Result<ExitCode> {
    tokio::select! {
        biased;
        Ok(()) = tokio::signal::ctrl_c() => {
            last_word();
            Ok(ExitCode::from(INTERRUPTED))
        }
        ended = work => ended,
        () = unread() => Err(Unread.into()),
    }
}

/// Waits until nobody reads standard output any more; for ever if it is none that can be watched, such as a file.
///
/// A write would find it out too, but a session that says nothing has nothing written.
async fn unread() {
    // Nothing is written to this copy, so the output need not become a non-blocking one.
    if let Ok(copy) = io::stdout().as_fd().try_clone_to_owned()
        && let Ok(output) = Sender::from_owned_fd_unchecked(copy)
        && output.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}
