//! Structured output: a result as JSON that a session's creator asks for with a JSON Schema of draft 7.
//!
//! The schema lies beside the delivered files, read-only where the isolation makes it so. An agent that speaks to tool
//! servers gives the output to ours (`server.rs`), which tells it at once what is wrong; a command writes it into a file
//! of its working folder. Either is read by descriptor, bounded, and judged against the schema in the catalogue
//! (`judge.rs`) before it becomes the session's. The newest valid one counts.
//!
//! What the agent's own copy of the schema says, or the tool server found, is not relied on.

pub mod judge;
pub mod schema;
pub mod server;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;

use self::judge::{Verdict, judge};
use self::schema::Fault;
use super::agent::McpServer;
use super::reach::Places;
use super::store::{self, Claim};
use super::turn::WorkError;
use super::workspace::{ATTACHMENTS, SCHEMA, Workspace};
use super::{AgentProfile, SessionError, Sessions, beneath, words};
use crate::identity::{Grant, Slots};

/// Bytes of an output as JSON (1 MiB).
pub const MAX_OUTPUT: usize = 1 << 20;
/// Bytes of an output up to which a list shows it.
pub(super) const MAX_LISTED: usize = 16 << 10;
/// Where a command writes its output, from its working folder.
pub(super) const FILE: &str = "structured_output.json";
/// Where the tool server writes it, from the agent's HOME.
const PROVIDED: &str = ".satchel/structured_output.json";
/// What some programs begin a text with; no JSON begins with it (RFC 8259, section 8.1: it may be passed over).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Schemas of requests, and outputs of turns, that are judged at once.
const JUDGED_AT_ONCE: usize = 2;
/// Schemas of one key's requests that may be judged or wait for it.
const JUDGED_PER_KEY: usize = 8;

/// Places for those who have something judged. Requests take none from turns, and one key not all from the others.
#[derive(Debug)]
pub(super) struct Judges {
    requests: Semaphore,
    turns: Semaphore,
    keys: Arc<Slots>,
}

impl Default for Judges {
    fn default() -> Self {
        let [requests, turns] = [(); 2].map(|()| Semaphore::new(JUDGED_AT_ONCE));
        Self { requests, turns, keys: Slots::new(JUDGED_PER_KEY) }
    }
}

/// The structured output that a session wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// A JSON Schema of draft 7.
    pub schema: Value,
    /// Whether the session is not done without one.
    pub required: bool,
}

/// A structured output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provided {
    /// The output.
    pub output: Value,
    /// Whether the work is done with it.
    pub is_final: bool,
}

/// What a turn left of structured output.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// A valid one.
    pub provided: Option<Provided>,
    /// What is to be said about one that was not taken.
    pub refused: Option<String>,
    /// Whether one is required, and the session had none before.
    pub wanting: bool,
    /// Where valid ones lie.
    taken: Vec<Taken>,
}

/// A file that was taken over.
#[derive(Debug)]
struct Taken {
    folder: OwnedFd,
    path: &'static str,
    mark: Mark,
}

/// What tells a file from a later one of its name: inode, and time of its last change.
type Mark = (u64, i64, i64);

impl Left {
    /// Whether one is required, and there is none.
    pub(super) fn is_missing(&self) -> bool {
        self.wanting && self.provided.is_none()
    }

    /// What was found later; of two outputs the later one counts.
    pub(super) fn add(&mut self, later: Self) {
        self.refused = later.refused.or_else(|| self.refused.take().filter(|_| later.provided.is_none()));
        self.provided = later.provided.or_else(|| self.provided.take());
        self.wanting |= later.wanting;
        self.taken.extend(later.taken);
    }

    /// Removes the files of what is kept now, so that the next turn does not hand it over again. Not before: a turn that
    /// a kill cuts short hands it over once more.
    pub(super) async fn forget(self) {
        // The folder of the tool server may itself be a link by now; then the file is left.
        let removed = beneath::blocking(move || {
            self.taken.iter().try_for_each(|taken| remove(&taken.folder, Path::new(taken.path), taken.mark))
        });
        let _ = removed.await;
    }
}

/// How an agent gives its structured output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    /// By the tool server, which it starts itself.
    Tool,
    /// In a file of its working folder.
    File,
}

impl Channel {
    /// The channel of a profile's agents. One that a prefix isolates may run where this program is not.
    pub(super) fn of(profile: &AgentProfile) -> Self {
        match &profile.acp {
            Some(acp) if !acp.isolates_itself() => Self::Tool,
            _ => Self::File,
        }
    }
}

/// How a session's agent starts the tool server, inside of its own containment.
fn tool_server(places: &Places) -> io::Result<McpServer> {
    let program = std::env::current_exe()?;
    // A program that was replaced since it started is called so; its successor serves as well.
    let program = match program.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        Some(path) => PathBuf::from(path),
        None => program,
    };
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let schema = text(places.workspace.join(ATTACHMENTS).join(SCHEMA));
    let output = text(places.home.join(PROVIDED));
    Ok(McpServer {
        name: "satchel".to_owned(),
        command: program,
        args: vec!["structured-output".to_owned(), schema, output],
        env: BTreeMap::new(),
    })
}

impl Sessions {
    /// Judges the schema of a request.
    ///
    /// # Errors
    /// It is none of draft 7, or cannot be judged within the bounds; the key has too many judged at once.
    pub(super) async fn check_demand(&self, grant: &Grant, demand: &Demand) -> Result<(), SessionError> {
        let too_many = SessionError::TooManySchemas { limit: JUDGED_PER_KEY };
        let _slot = self.judging.keys.take(&grant.caller().key_id).ok_or(too_many)?;
        let judged = self.judged(&self.judging.requests, &demand.schema, None).await;
        match judged.map_err(SessionError::Judging)? {
            Verdict::BadSchema(fault) => Err(SessionError::Schema(fault)),
            Verdict::TooHard => {
                let what = "it cannot be read within 5 s of processor time and 1 GiB of memory".to_owned();
                Err(SessionError::Schema(Fault { at: String::new(), what }))
            }
            Verdict::Good | Verdict::BadOutput(_) => Ok(()),
        }
    }

    /// Lays the schema of a session that wants structured output into its workspace; whether it does.
    pub(super) async fn prepare_structured(
        &self,
        claim: &Claim,
        workspace: &Workspace,
    ) -> Result<bool, WorkError> {
        let demand = store::demand(&mut *self.db.read().await?, &claim.id).await?;
        let Some((demand, _)) = demand else { return Ok(false) };
        workspace.write_schema(&demand.schema)?;
        Ok(true)
    }

    /// The tool servers that an agent is to start.
    pub(super) fn tool_servers(&self, channel: Channel, workspace: &Workspace) -> io::Result<Vec<McpServer>> {
        match channel {
            Channel::Tool => Ok(vec![tool_server(&self.settings.sandbox.places(workspace))?]),
            Channel::File => Ok(Vec::new()),
        }
    }

    /// Takes the structured output that a turn left. A good one is to be removed with [`Left::forget`]; one with faults
    /// is left to be mended.
    pub(super) async fn take_structured(
        &self,
        claim: &Claim,
        workspace: &Workspace,
    ) -> Result<Left, WorkError> {
        let demand = store::demand(&mut *self.db.read().await?, &claim.id).await?;
        let Some((demand, given)) = demand else { return Ok(Left::default()) };
        let mut left = Left::default();
        for (name, folder, path) in [
            ("The structured output", workspace.home()?, PROVIDED),
            ("The file `structured_output.json`", workspace.ws()?, FILE),
        ] {
            let read = folder.try_clone()?;
            let found = beneath::blocking(move || Ok(read_small(&read, Path::new(path)))).await?;
            let provided = match found {
                Ok(None) => continue,
                Ok(Some((text, mark))) if path == FILE => {
                    serde_json::from_slice(&text).map(|output| (Provided { output, is_final: true }, mark))
                }
                Ok(Some((text, mark))) => serde_json::from_slice(&text).map(|provided| (provided, mark)),
                Err(why) => {
                    left.refused = Some(words::structured_refused(name, &why));
                    continue;
                }
            };
            let why = match provided {
                Err(error) => format!("it is not JSON: {error}"),
                // It is kept as it is written here, which may be longer.
                Ok((provided, _)) if provided.output.to_string().len() > MAX_OUTPUT => {
                    format!("it has more than {MAX_OUTPUT} bytes, its numbers written out")
                }
                Ok((provided, mark)) => {
                    match self.judged(&self.judging.turns, &demand.schema, Some(&provided.output)).await? {
                        Verdict::Good => {
                            left.taken.push(Taken { folder, path, mark });
                            left.provided = Some(provided);
                            continue;
                        }
                        Verdict::BadOutput(faults) => {
                            format!("it is not as the schema has it:\n{}", schema::lines(&faults))
                        }
                        Verdict::BadSchema(fault) => {
                            format!("the schema cannot be used any more: {}", fault.what)
                        }
                        Verdict::TooHard => "it could not be judged in the time that there is".to_owned(),
                    }
                }
            };
            left.refused = Some(words::structured_refused(name, &why));
        }
        left.wanting = demand.required && !given;
        Ok(left)
    }

    async fn judged(
        &self,
        places: &Semaphore,
        schema: &Value,
        output: Option<&Value>,
    ) -> io::Result<Verdict> {
        let _place = places.acquire().await.map_err(io::Error::other)?;
        judge(self.settings.sandbox.supervisor(), schema, output).await
    }
}

/// Reads a file below a folder of an agent's, or says why not; nothing where there is none.
fn read_small(folder: &OwnedFd, path: &Path) -> Result<Option<(Vec<u8>, Mark)>, String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match beneath::open(folder, path, flags, Mode::empty()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("it could not be read: {error}")),
        Ok(file) => file,
    };
    let stat = rustix::fs::fstat(&file).map_err(|error| format!("it could not be read: {error}"))?;
    if beneath::kind(&stat) != FileType::RegularFile || stat.st_nlink != 1 {
        return Err("it is not a regular file with one name".to_owned());
    }
    let mut text = Vec::new();
    // The envelope of the tool server adds a little.
    let most = MAX_OUTPUT as u64 + 64;
    let read = File::from(file).take(most + 1).read_to_end(&mut text);
    read.map_err(|error| format!("it could not be read: {error}"))?;
    if text.len() as u64 > most {
        return Err(format!("it has more than {MAX_OUTPUT} bytes"));
    }
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(Some((text, mark(&stat))))
}

#[allow(clippy::unnecessary_cast, reason = "the types of these fields differ between architectures")]
fn mark(stat: &rustix::fs::Stat) -> Mark {
    (stat.st_ino as u64, stat.st_mtime as i64, stat.st_mtime_nsec as i64)
}

/// Removes a file. What an agent that lives put in its place since is left: it is a later output, or a folder that might
/// never come to its end.
fn remove(folder: &OwnedFd, path: &Path, taken: Mark) -> io::Result<()> {
    let (Some(inner), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let inner = match inner.as_os_str().is_empty() {
        true => folder.try_clone()?,
        false => beneath::open_folder(folder, inner)?,
    };
    if mark(&rustix::fs::statat(&inner, name, AtFlags::SYMLINK_NOFOLLOW)?) != taken {
        return Ok(());
    }
    Ok(rustix::fs::unlinkat(inner, name, AtFlags::empty())?)
}
