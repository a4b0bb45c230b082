//! What an agent writes to standard error: the last lines for a message, the last megabyte in `log/`.

use std::collections::VecDeque;
use std::ops::Deref;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

use super::workspace::Workspace;

/// Name of the newer half of the kept standard error.
const LOG: &str = "stderr.log";
/// Name of its older half.
const OLD_LOG: &str = "stderr.old.log";
/// Bytes of each half.
const LOG_HALF: u64 = 512 * 1024;
/// Lines that a message shows, and bytes of each.
const TAIL_LINES: usize = 20;
const TAIL_LINE_BYTES: usize = 2000;

/// Standard error of one process.
pub(super) struct Complaints<W> {
    workspace: W,
    log: Option<tokio::fs::File>,
    logged: u64,
    lines: VecDeque<Vec<u8>>,
    line: Vec<u8>,
}

impl<W: Deref<Target = Workspace>> Complaints<W> {
    /// To be read for the agent of a workspace.
    pub(super) fn new(workspace: W) -> Self {
        let mut complaints =
            Self { workspace, log: None, logged: 0, lines: VecDeque::new(), line: Vec::new() };
        complaints.open_log();
        complaints
    }

    /// Reads to the end, at once whatever comes.
    pub(super) async fn read(&mut self, stderr: &mut pipe::Receiver) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
            self.log(&buffer[..read]).await;
            for &byte in &buffer[..read] {
                if byte == b'\n' {
                    self.finish_line();
                } else if self.line.len() < TAIL_LINE_BYTES {
                    self.line.push(byte);
                }
            }
        }
    }

    /// The last lines.
    pub(super) fn tail(mut self) -> Vec<String> {
        if !self.line.is_empty() {
            self.finish_line();
        }
        self.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    fn finish_line(&mut self) {
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(std::mem::take(&mut self.line));
    }

    async fn log(&mut self, bytes: &[u8]) {
        if self.logged + bytes.len() as u64 > LOG_HALF {
            self.log = None;
            match self.workspace.rename_log(LOG, OLD_LOG) {
                Ok(()) => self.open_log(),
                Err(error) => tracing::warn!(%error, "the log of an agent could not be turned over"),
            }
        }
        let Some(log) = &mut self.log else { return };
        self.logged += bytes.len() as u64;
        let written = async {
            log.write_all(bytes).await?;
            log.flush().await
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, "the standard error of an agent could not be logged");
            self.log = None;
        }
    }

    fn open_log(&mut self) {
        let opened = self.workspace.open_log(LOG).and_then(|log| Ok((log.metadata()?.len(), log)));
        match opened {
            Ok((length, log)) => (self.logged, self.log) = (length, Some(tokio::fs::File::from_std(log))),
            Err(error) => tracing::warn!(%error, "the log of an agent could not be opened"),
        }
    }
}
