//! `satchel secret-key`: make the key that session secrets are encrypted with.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::print;
use crate::sessions::secrets::make_key_file;

pub(super) fn make(path: &Path) -> anyhow::Result<ExitCode> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = parent.canonicalize().with_context(|| format!("{} is no folder", parent.display()))?;
    if let Some(data) = folder.ancestors().find(|folder| folder.join("satchel.db").exists()) {
        bail!(
            "{} lies in the data folder {}, so that a copy of the data would hold its key: name a place elsewhere",
            path.display(),
            data.display()
        );
    }
    let id = make_key_file(path)?;
    print(&format!(
        "wrote the key {id} to {path}\nstart the service with --secret-key-file {path}\n\
         keep a copy apart from the data folder: without the key the secrets of sessions are lost\n",
        path = path.display()
    ))
}
