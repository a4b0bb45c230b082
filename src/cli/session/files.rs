//! Files on their way to a service and back: streamed, verified by SHA-256, with progress on a terminal.
//!
//! A file that comes back is written under another name first and gets its own only when it is whole and its digest
//! right. Its place is below the folder and its own, whatever it is called (see [`Places`]). Nothing is overwritten unless
//! that is asked for.

use std::fs::OpenOptions;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures_util::TryStreamExt as _;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::Fetch;
use super::client::Client;
use super::places::Places;
use super::show::{clean, size};
use crate::cli::say;
use crate::hex;
use crate::id::SessionId;

/// Bytes read from a file at once.
const PIECE: usize = 128 * 1024;
/// How long a download may stand still.
const SILENCE: Duration = Duration::from_secs(60);
/// Where what comes back goes unless said otherwise.
const OUTPUT: &str = "./output";

/// A file that can be read and is about to be sent.
pub(super) struct Upload {
    file: tokio::fs::File,
    name: String,
    bytes: u64,
}

impl Upload {
    /// Opens a regular file.
    pub(super) async fn open(path: &Path) -> anyhow::Result<Self> {
        let unreadable = || format!("{} cannot be read", path.display());
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} has no name in UTF-8", path.display()))?.to_owned();
        let meta = tokio::fs::metadata(path).await.with_context(unreadable)?;
        ensure!(meta.is_file(), "{} is no regular file", path.display());
        let mut file = tokio::fs::File::open(path).await.with_context(unreadable)?;
        // What the kernel makes up as it is read (proc(5)) says that it has no bytes.
        let is_as_long = meta.len() > 0 || file.read(&mut [0]).await.with_context(unreadable)? == 0;
        ensure!(
            is_as_long,
            "{} says that it has 0 bytes, and has more: copy it, and hand the copy over",
            path.display()
        );
        Ok(Self { file, name, bytes: meta.len() })
    }
}

/// Sends a file; the URL that it got. The service's digest is compared with that of what was read.
pub(super) async fn upload(client: &Client, Upload { file, name, bytes }: Upload) -> anyhow::Result<String> {
    let sent = Arc::new(Mutex::new((Sha256::new(), Progress::new(&name, bytes))));
    let seen = Arc::clone(&sent);
    let pieces = ReaderStream::with_capacity(file.take(bytes), PIECE).inspect_ok(move |piece| {
        let (digest, progress) = &mut *seen.lock().unwrap_or_else(PoisonError::into_inner);
        digest.update(piece);
        progress.add(piece.len());
    });
    let part = Part::stream_with_length(Body::wrap_stream(pieces), bytes).file_name(name.clone());
    let request = client.request(Method::POST, &client.attachments());
    let answered = client.send(request.multipart(Form::new().part("file", part))).await;
    let sha256 = {
        let (digest, progress) = &mut *sent.lock().unwrap_or_else(PoisonError::into_inner);
        progress.clear();
        hex::encode(std::mem::take(digest).finalize())
    };
    let response = answered.with_context(|| format!("{name} was not uploaded"))?;
    if let Some(theirs) = response.headers().get("x-content-sha256") {
        ensure!(
            theirs.as_bytes() == sha256.as_bytes(),
            "{name} arrived changed: the service has another SHA-256"
        );
    }
    let answer: Value = response.json().await.map_err(reqwest::Error::without_url)?;
    say(&format!("uploaded {} ({}) sha256 {sha256}", clean(&name), size(bytes)));
    let url = if client.is_v3() { &answer["url"] } else { &answer };
    Ok(url.as_str().context("the service's answer has no URL")?.to_owned())
}

/// A file that was downloaded.
pub(super) struct Saved<'a> {
    place: PathBuf,
    /// Whether it has the name that the session gave it.
    renamed: bool,
    receipt: &'a Value,
}

impl Saved<'_> {
    /// Where it went, for people.
    pub(super) fn line(&self) -> String {
        let called = self.receipt["path"].as_str().map(clean).unwrap_or_default();
        let of = if self.renamed { format!(", which is {called}") } else { String::new() };
        format!("-- saved {}{of}\n", self.place.display())
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        let Self { place, receipt, .. } = self;
        json!({ "file": place.to_string_lossy(), "path": receipt["path"], "sha256": receipt["sha256"],
                "size": receipt["size"] })
    }
}

/// Makes sure that there can be a folder for what comes back, where one was named.
pub(super) fn prepare(fetch: &Fetch) -> anyhow::Result<()> {
    let Some(folder) = &fetch.output else { return Ok(()) };
    let unusable = || format!("{} cannot be the folder for what comes back", folder.display());
    std::fs::create_dir_all(folder).with_context(unusable)
}

/// Downloads what a session handed back, and tells of each file; whether all of it is there now. What was handed back
/// twice under one path is taken as it was last.
pub(super) async fn download(
    client: &Client,
    id: &SessionId,
    fetch: &Fetch,
    mut told: impl FnMut(&Saved) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let receipts = client.get(&client.sessions(&format!("/{id}/receipts"))).await?;
    let (mut places, mut files) = (Places::default(), Vec::<(&str, PathBuf, &Value)>::new());
    for receipt in receipts.as_array().into_iter().flatten().filter(|r| r["source"] == "devin") {
        let path = receipt["path"].as_str().unwrap_or_default();
        match files.iter_mut().find(|(earlier, ..)| *earlier == path) {
            Some((.., last)) => *last = receipt,
            None => files.push((path, places.of(path), receipt)),
        }
    }
    let folder = fetch.output.as_deref().unwrap_or(Path::new(OUTPUT));
    let mut whole = true;
    for (path, place, receipt) in files {
        let target = folder.join(&place);
        match fetch_one(client, receipt, &target, fetch.force).await {
            Ok(()) => {
                let renamed = Path::new(path.strip_prefix("output/").unwrap_or(path)) != place;
                told(&Saved { place: target, renamed, receipt })?;
            }
            Err(error) => {
                say(&format!("satchel: {error:#}"));
                whole = false;
            }
        }
    }
    Ok(whole)
}

async fn fetch_one(client: &Client, receipt: &Value, target: &Path, force: bool) -> anyhow::Result<()> {
    let shown = target.display();
    // Asked before the bytes are fetched, and once more when the file gets its name.
    let taken = || {
        format!(
            "{shown} is there already and is not overwritten without --force; --output names another folder"
        )
    };
    ensure!(force || target.symlink_metadata().is_err(), taken());
    let text = |name: &str| receipt[name].as_str().with_context(|| format!("a receipt has no {name}"));
    let (id, sha256) = (text("attachment_id")?, text("sha256")?);
    ensure!(id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'), "a receipt names no attachment");
    let folder = target.parent().context("a file has no folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;

    let mut response = client.send(client.request(Method::GET, &format!("/attachments/{id}/file"))).await?;
    let etag = response.headers().get("etag").and_then(|etag| etag.to_str().ok()).unwrap_or_default();
    ensure!(
        etag.trim_matches('"') == sha256,
        "{shown}: the service offers other bytes than its receipt says"
    );
    let part = folder.join(format!(".{id}.part"));
    let unwritable = || format!("{} cannot be written", part.display());
    let remains = Remains(&part);
    let _ = std::fs::remove_file(&part);
    let mut file = OpenOptions::new().write(true).create_new(true).open(&part).with_context(unwritable)?;
    let mut digest = Sha256::new();
    let mut progress = Progress::new(&target.to_string_lossy(), receipt["size"].as_u64().unwrap_or_default());
    loop {
        let piece = tokio::time::timeout(SILENCE, response.chunk()).await;
        let piece = piece.map_err(|_| anyhow::anyhow!("nothing came for {} s", SILENCE.as_secs()));
        let Some(piece) = piece?.map_err(reqwest::Error::without_url)? else { break };
        digest.update(&piece);
        progress.add(piece.len());
        file.write_all(&piece).with_context(unwritable)?;
    }
    progress.clear();
    ensure!(
        hex::encode(digest.finalize()) == sha256,
        "{shown} arrived with another SHA-256 than its receipt says"
    );
    // A disk that takes its time does not keep ^C waiting.
    tokio::fs::File::from_std(file).sync_all().await.with_context(unwritable)?;
    let flags = if force { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    match renameat_with(CWD, &part, CWD, target, flags).map_err(std::io::Error::from) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(taken()),
        Err(error) => return Err(error).with_context(|| format!("{shown} cannot be written")),
    }
    drop(remains);
    Ok(())
}

/// What an unfinished download leaves goes with it.
struct Remains<'a>(&'a Path);

impl Drop for Remains<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0);
    }
}

/// How far a file has come: one line on a terminal, nothing elsewhere.
struct Progress {
    name: String,
    bytes: u64,
    done: u64,
    said: Option<Instant>,
    terminal: bool,
}

impl Progress {
    fn new(name: &str, bytes: u64) -> Self {
        Self { name: clean(name), bytes, done: 0, said: None, terminal: std::io::stderr().is_terminal() }
    }

    fn add(&mut self, bytes: usize) {
        self.done += bytes as u64;
        if !self.terminal || self.said.is_some_and(|at| at.elapsed() < Duration::from_millis(100)) {
            return;
        }
        self.said = Some(Instant::now());
        let percent = self.done.saturating_mul(100) / self.bytes.max(1);
        let filled = usize::try_from(percent.min(100) / 4).unwrap_or_default();
        let bar = format!("{}{}", "#".repeat(filled), "-".repeat(25 - filled));
        eprint!("\r\u{1b}[K[{bar}] {percent:>3} % of {}  {}", size(self.bytes), self.name);
    }

    fn clear(&mut self) {
        if self.said.take().is_some() {
            eprint!("\r\u{1b}[K");
        }
    }
}
