//! Taking over what an agent left in its output folder, while no turn runs.

use std::collections::HashMap;
use std::sync::Arc;

use super::leaving::Report;
use super::outputs::{self, Output};
use super::store::{self, Claim};
use super::turn::WorkError;
use super::workspace::Workspace;
use super::{Sessions, words};
use crate::attachments::{Source, filename, find_many};
use crate::id::AttachmentId;

impl Sessions {
    /// Makes attachments of the new files in the output folder. They are durable before the session
    /// names them; those that a kill in between leaves unnamed are removed by the next sweep.
    pub(super) async fn take_over(
        &self,
        claim: &Claim,
        workspace: Arc<Workspace>,
        report: &mut Report,
    ) -> Result<(), WorkError> {
        if report.structured.provided.is_none() {
            report.structured.add(self.take_structured(claim, &workspace).await?);
        }
        let known = self.known_outputs(claim).await?;
        let limits = self.settings.outputs.clone();
        let collected = tokio::task::spawn_blocking(move || outputs::collect(&workspace, &limits, &known));
        let found = collected.await.map_err(std::io::Error::other)??;
        report.left_out = found.left_out.into_iter().map(|left| (left.path, left.why.to_string())).collect();
        for Output { path, sha256, size, file } in found.files {
            let name = filename::safe_name(&path);
            let (org, session) = (&claim.org_id, &claim.id);
            match self.attachments.receive_output(org, session, &name, file, size, &sha256).await {
                Ok(attachment) => report.outputs.push((path, attachment)),
                Err(error) => report.left_out.push((format!("output/{path}"), words::with_causes(&error))),
            }
        }
        Ok(())
    }

    /// What came back last from each path below the output folder: its SHA-256.
    async fn known_outputs(&self, claim: &Claim) -> Result<HashMap<String, String>, WorkError> {
        let mut conn = self.db.read().await?;
        let mut rows = store::files(&mut conn, &claim.id).await?;
        rows.retain(|row| row.source == Source::Devin);
        let ids: Vec<AttachmentId> = rows.iter().map(|row| row.attachment_id).collect();
        let digests: HashMap<AttachmentId, String> = find_many(&mut conn, &claim.org_id, &ids)
            .await?
            .into_iter()
            .flatten()
            .map(|attachment| (attachment.id, attachment.sha256))
            .collect();
        // In the order in which they came, so that the newest of a path is kept.
        let known = rows.into_iter().filter_map(|row| {
            let path = row.path?.strip_prefix("output/")?.to_owned();
            Some((path, digests.get(&row.attachment_id)?.clone()))
        });
        Ok(known.collect())
    }
}
