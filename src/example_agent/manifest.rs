//! What `attachments/MANIFEST.json` says about the delivered files.
//!
//! The manifest is a convenience: a missing, oversized or unreadable one counts as an empty one, and
//! nothing in it is trusted beyond being compared or shown.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

/// The name of the manifest inside `attachments/`.
pub const FILE_NAME: &str = "MANIFEST.json";
/// Files in `attachments/` that are the service's own.
pub const OF_THE_SERVICE: [&str; 2] = [FILE_NAME, "structured_output.schema.json"];

/// Bytes of a manifest that are read; a longer one is ignored.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What the manifest declares about one file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Declared {
    name: Option<String>,
    path: Option<String>,
    /// The media type, as the service determined it.
    #[serde(rename = "type")]
    pub media_type: Option<String>,
    /// The SHA-256 taken at upload, in hexadecimal.
    pub sha256: Option<String>,
}

/// The manifest's entries by file name.
#[derive(Debug, Default)]
pub struct Manifest(HashMap<String, Declared>);

/// The two shapes a manifest may have.
#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Bare(Vec<Declared>),
    Wrapped { files: Vec<Declared> },
}

impl Manifest {
    /// Reads the manifest at `path`; anything wrong with it gives an empty one.
    pub fn read(path: &Path) -> Manifest {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
        if read.is_err() {
            return Manifest::default();
        }
        let entries = match serde_json::from_slice(&bytes) {
            Ok(Document::Bare(files) | Document::Wrapped { files }) => files,
            Err(_) => return Manifest::default(),
        };
        Manifest(entries.into_iter().filter_map(by_file_name).collect())
    }

    /// What is declared about the file called `name`, if anything is.
    pub fn declared(&self, name: &str) -> Option<&Declared> {
        self.0.get(name)
    }
}

/// The entry under the last component of its path, or under its name where it has no path.
fn by_file_name(entry: Declared) -> Option<(String, Declared)> {
    let path = entry.path.as_deref().or(entry.name.as_deref())?;
    let name = path.rsplit('/').next()?.to_owned();
    Some((name, entry))
}
