//! The built-in agent: it looks at the files it was handed and writes down what it found.
//!
//! It stands in for a real agent, so that a fresh installation does something useful and checkable
//! with nothing else installed. It is no language model: the prompt is counted, never interpreted,
//! and every answer says so in its first sentence.
//!
//! Guarantees: memory stays flat whatever the size of the files; `output/report.md` appears whole or
//! not at all; a file that cannot be read is named in the report and does not stop the others; names
//! and cells are shown in a form that cannot act as Markdown or HTML. Running again in the same
//! workspace replaces the report.
//!
//! It does not open anything outside the workspace, start programs or use the network.

mod answer;
mod cell;
mod column;
mod inspect;
mod json;
mod manifest;
mod markdown;
mod numbers;
mod report;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod text;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use self::inspect::Findings;
use self::manifest::Manifest;

/// The sentence that begins every answer of this agent.
pub const FIRST_SENTENCE: &str = "Example agent, not a language model: it did not act on your prompt.";

/// Files that the answer describes one by one; the report has all of them.
const FILES_IN_ANSWER: usize = 20;

/// Why the agent could not do its work. What is wrong with a single file is no such reason: that goes
/// into the report.
#[derive(Debug, thiserror::Error)]
pub enum ExampleAgentError {
    /// The prompt could not be read to its end.
    #[error("cannot read the prompt from standard input")]
    Prompt(#[source] io::Error),
    /// `attachments/` exists and could not be listed.
    #[error("cannot list the folder attachments/ of the workspace")]
    Attachments(#[source] io::Error),
    /// `output/` or the report in it could not be written.
    #[error("cannot write output/report.md; output/ must be a writable folder of the workspace")]
    Report(#[source] io::Error),
    /// The answer could not be written.
    #[error("cannot write the answer to standard output")]
    Answer(#[source] io::Error),
}

/// Describes every regular file of `workspace/attachments/` in `workspace/output/report.md` and writes
/// a short message for a person to `answer`, which begins with [`FIRST_SENTENCE`].
///
/// `MANIFEST.json` and the schema of structured output are not described; where the manifest parses, the
/// types and digests it declares are used. A missing `attachments/` counts as an empty one; `output/` is
/// made when it is missing.
///
/// # Errors
///
/// [`ExampleAgentError`]: the prompt cannot be read, the folder cannot be listed, or the report or the
/// answer cannot be written.
pub fn run(workspace: &Path, prompt: &mut dyn Read, answer: &mut dyn Write) -> Result<(), ExampleAgentError> {
    let prompt_bytes = io::copy(prompt, &mut io::sink()).map_err(ExampleAgentError::Prompt)?;
    let attachments = workspace.join("attachments");
    let names = file_names(&attachments).map_err(ExampleAgentError::Attachments)?;
    let manifest = Manifest::read(&attachments.join(manifest::FILE_NAME));

    let mut lines = Vec::new();
    write_report(&workspace.join("output"), |out| {
        report::write_opening(out, prompt_bytes, names.len())?;
        for name in &names {
            let shown = name.to_string_lossy();
            let findings = inspect_file(&attachments.join(name), &shown, &manifest);
            report::write_file(out, &shown, &findings)?;
            if lines.len() < FILES_IN_ANSWER {
                lines.push(answer::line(&shown, &findings));
            }
        }
        report::write_notes(out)
    })
    .map_err(ExampleAgentError::Report)?;

    answer::write(answer, &lines, names.len()).map_err(ExampleAgentError::Answer)
}

/// The names of the regular files of `folder` except the manifest, sorted by their bytes.
fn file_names(folder: &Path) -> io::Result<Vec<OsString>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_file() && !manifest::OF_THE_SERVICE.iter().any(|own| name == *own) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// What the file holds, or why it could not be read, in words.
fn inspect_file(path: &Path, name: &str, manifest: &Manifest) -> Result<Findings, String> {
    inspect::inspect(path, manifest.declared(name)).map_err(|error| error.to_string())
}

/// Lets `fill` write a file beside `folder/report.md` and puts it in place when it is complete.
fn write_report(folder: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let unfinished = folder.join(".report.md.part");
    let outcome = File::create(&unfinished).and_then(|file| {
        let mut out = BufWriter::new(file);
        fill(&mut out)?;
        out.flush()?;
        fs::rename(&unfinished, folder.join("report.md"))
    });
    if outcome.is_err() {
        // The first error is the one to report; a left-over part is replaced by the next run.
        let _ = fs::remove_file(&unfinished);
    }
    outcome
}
