//! Handing a session its files: from the store into its workspace, each with its receipt.
//!
//! Guarantees: an attachment is `delivered` only once it lies in the workspace with the size and
//! the SHA-256 that were taken at its upload; every reference ends as delivered or failed, and
//! `MANIFEST.json` lists all of them; the agent starts only when all were delivered. The workspace
//! is a cache: where it is not there, everything is delivered again. Nothing is copied below the floor
//! of free space, and a disk without room is no failure of a file: the session says so and waits for room, for ten tries.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::delivery::Wanted;
use super::store::{self, Claim, FileRow};
use super::turn::WorkError;
use super::workspace::{ManifestEntry, Workspace};
use super::{Delivery, Sessions, words};
use crate::attachments::{Attachment, Source, find_many};
use crate::clock;
use crate::id::SessionId;

/// How often it is looked whether a workspace is free.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// How the delivery of all files ended.
#[derive(Debug)]
pub(super) enum HandedOver {
    /// All of them lie in the workspace.
    All,
    /// Not all.
    NotAll {
        /// Name and reason of each that does not.
        failures: Vec<(String, String)>,
        /// Whether one of them is gone.
        for_good: bool,
    },
    /// It was stopped before its end.
    Stopped,
}

impl Sessions {
    /// Opens the session's workspace, with its `output/`, or makes it anew; then every file has to be delivered again.
    pub(super) async fn open_workspace(&self, claim: &Claim) -> Result<Workspace, WorkError> {
        let path = self.workspace_path(&claim.id);
        if !path.exists() {
            let mut tx = self.fenced(claim).await?.0;
            store::forget_deliveries(&mut tx, &claim.id, clock::now()).await?;
            tx.commit().await?;
        }
        let workspace = self.open_alone(&path).await?;
        // A turn that came to its end left a folder; one that a kill cut short may have left anything.
        if let Some(moved_to) = workspace.restore_output()? {
            let mut tx = self.fenced(claim).await?.0;
            let text = words::output_replaced(&moved_to);
            store::add_message(&mut tx, &claim.id, &words::notice(&text), clock::now()).await?;
            tx.commit().await?;
        }
        Ok(workspace)
    }

    /// Opens a workspace once nobody else is at work in it: the agent of a worker that died a moment
    /// ago may need another to end.
    pub(super) async fn open_alone(&self, path: &Path) -> Result<Workspace, WorkError> {
        let until = Instant::now() + self.settings.lease;
        loop {
            match Workspace::open(path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    if Instant::now() >= until {
                        return Err(WorkError::Busy);
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                opened => return Ok(opened?),
            }
        }
    }

    /// Delivers what the messages of a claim name and what does not lie in the workspace.
    pub(super) async fn deliver(
        &self,
        claim: &Claim,
        workspace: &Workspace,
        cancel: &CancellationToken,
    ) -> Result<HandedOver, WorkError> {
        let mut entries = Vec::new();
        let (mut failures, mut for_good) = (Vec::new(), false);
        for row in self.inputs(claim).await? {
            let attachment = self.look_up(claim, &row).await?;
            let there = row.path.as_ref().filter(|path| {
                let still = |file: &Attachment| workspace.still_has(path, file.size);
                row.state == Delivery::Delivered && attachment.as_ref().is_some_and(still)
            });
            let outcome = match there {
                Some(path) => Ok(path.clone()),
                None => {
                    let tried = self.try_delivery(claim, &row, attachment.clone(), workspace, cancel).await?;
                    let Some(outcome) = tried else { return Ok(HandedOver::Stopped) };
                    let mut tx = self.fenced(claim).await?.0;
                    let noted = outcome.as_deref().map_err(String::as_str);
                    store::set_delivery(&mut tx, &claim.id, row.attachment_id, noted, clock::now()).await?;
                    tx.commit().await?;
                    self.hint(&claim.id);
                    outcome
                }
            };
            let name = attachment.as_ref().map(|a| a.name.clone());
            if let Err(reason) = &outcome {
                for_good |= self.look_up(claim, &row).await?.is_none_or(|file| file.gone.is_some());
                failures.push((name.unwrap_or_else(|| row.url.clone()), reason.clone()));
            }
            entries.push(manifest_entry(&row, attachment.as_ref(), outcome));
        }
        workspace.write_manifest(&entries)?;
        Ok(if failures.is_empty() { HandedOver::All } else { HandedOver::NotAll { failures, for_good } })
    }

    /// The folder of a session.
    pub(super) fn workspace_path(&self, id: &SessionId) -> PathBuf {
        self.settings.sessions_dir.join(id.as_str())
    }

    /// What is handed in with the messages of a claim and those before.
    async fn inputs(&self, claim: &Claim) -> Result<Vec<FileRow>, WorkError> {
        let mut conn = self.db.read().await?;
        let mut rows = store::files(&mut conn, &claim.id).await?;
        rows.retain(|row| row.source == Source::User && row.seq <= claim.inbox_seq);
        Ok(rows)
    }

    async fn look_up(&self, claim: &Claim, row: &FileRow) -> Result<Option<Attachment>, WorkError> {
        let mut conn = self.db.read().await?;
        Ok(find_many(&mut conn, &claim.org_id, &[row.attachment_id]).await?.pop().flatten())
    }

    /// Tries until it succeeds or the waits of the settings are used up; the path, or the reason of
    /// the last failure. `None` where it was stopped.
    async fn try_delivery(
        &self,
        claim: &Claim,
        row: &FileRow,
        mut attachment: Option<Attachment>,
        workspace: &Workspace,
        cancel: &CancellationToken,
    ) -> Result<Option<Result<String, String>>, WorkError> {
        let mut waits = self.settings.delivery_waits.iter();
        loop {
            let Some(file) = &attachment else {
                return Ok(Some(Err("the attachment does not exist any more".to_owned())));
            };
            if let Some(gone) = &file.gone {
                let reason = format!("it is gone since {}: {}", gone.at.iso8601(), gone.reason);
                return Ok(Some(Err(reason)));
            }
            let tried = tokio::select! {
                () = cancel.cancelled() => return Ok(None),
                tried = self.deliver_one(file, workspace) => tried?,
            };
            let reason = match tried {
                Ok(path) => return Ok(Some(Ok(path))),
                Err(reason) => reason,
            };
            tracing::warn!(session.id = %claim.id, attachment.id = %row.attachment_id, reason, "a delivery failed");
            let Some(wait) = waits.next() else { return Ok(Some(Err(reason))) };
            tokio::select! {
                () = cancel.cancelled() => return Ok(None),
                () = tokio::time::sleep(*wait) => {}
            }
            attachment = self.look_up(claim, row).await?;
        }
    }

    /// Delivers one file; its path, or why it failed.
    async fn deliver_one(
        &self,
        file: &Attachment,
        workspace: &Workspace,
    ) -> Result<Result<String, String>, WorkError> {
        if !self.attachments.has_room_for(file.size) {
            return Err(WorkError::NoRoom(file.name.clone()));
        }
        let wanted = Wanted {
            attachment_id: file.id.to_string(),
            name: file.name.clone(),
            size: file.size,
            sha256: file.sha256.clone(),
        };
        let bytes = match self.attachments.open(file).await {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(words::with_causes(&error))),
        };
        match workspace.deliver(&wanted, bytes).await {
            Ok(delivered) => Ok(Ok(delivered.path)),
            Err(error) if error.is_for_want_of_room() => Err(WorkError::NoRoom(file.name.clone())),
            Err(error) => Ok(Err(words::with_causes(&error))),
        }
    }
}

fn manifest_entry(
    row: &FileRow,
    attachment: Option<&Attachment>,
    outcome: Result<String, String>,
) -> ManifestEntry {
    let (path, error) = match outcome {
        Ok(path) => (Some(path), None),
        Err(reason) => (None, Some(reason)),
    };
    ManifestEntry {
        url: row.url.clone(),
        name: attachment.map(|a| a.name.clone()),
        path,
        size: attachment.map(|a| a.size),
        content_type: attachment.map(|a| a.content_type.clone()),
        sha256: attachment.map(|a| a.sha256.clone()),
        error,
    }
}
