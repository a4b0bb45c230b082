//! The client's end of a stream of server-sent events (WHATWG HTML, section "Server-sent events").
//!
//! A stream that breaks is taken up again behind the last event that arrived, so nothing is shown twice or left out.
//! That it has ended the service says itself, with 204 to a reconnect.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::client::{Client, Refused};
use super::show;
use crate::cli::{print, say};
use crate::id::SessionId;

/// The service sends something at least every 15 s; after this much silence the connection is taken for dead.
const SILENCE: Duration = Duration::from_secs(45);
/// Between two tries to take a stream up again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long it is tried.
const GIVE_UP: Duration = Duration::from_secs(5 * 60);
/// Bytes of one event at most.
const MAX_EVENT: usize = 64 << 20;

/// Until when a session is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// What has happened so far.
    Now,
    /// Until it waits for a message, is suspended or over.
    Idle,
    /// Until it is over.
    Over,
}

/// How a session was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its turn ended.
    Well,
    /// It failed or was ended: where it stands.
    Failed(String),
}

/// One event.
#[derive(Debug)]
pub(super) struct Event {
    /// Its position.
    pub(super) id: u64,
    /// Its kind.
    pub(super) kind: String,
    /// What it says.
    pub(super) data: Value,
}

/// The events of a session, one after the other.
pub(super) struct Stream<'a> {
    client: &'a Client,
    path: String,
    last: u64,
    open: Option<Response>,
    unread: Vec<u8>,
    /// Whether an event has come since the stream was opened, or it never was.
    fruitful: bool,
    lost: Option<Instant>,
}

/// Prints what happens in a session until then.
pub(super) async fn follow(
    client: &Client,
    id: &SessionId,
    until: Until,
    json: bool,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Well;
    let mut stream = Stream::new(client, id, until);
    while let Some(event) = stream.next().await? {
        if event.kind == "status" {
            outcome = outcome_of(&event.data);
        }
        let text = match json {
            true => {
                Some(json!({ "id": event.id, "event": event.kind, "data": event.data }).to_string() + "\n")
            }
            false => show::event(&event.kind, &event.data),
        };
        if let Some(text) = text {
            print(&text)?;
        }
    }
    Ok(outcome)
}

impl<'a> Stream<'a> {
    pub(super) fn new(client: &'a Client, id: &SessionId, until: Until) -> Self {
        let until = match until {
            Until::Now => "now",
            Until::Idle => "idle",
            Until::Over => "over",
        };
        let path = client.sessions(&format!("/{id}/events?until={until}"));
        Self { client, path, last: 0, open: None, unread: Vec::new(), fruitful: true, lost: None }
    }

    /// The next event; `None` once the service says that this was all.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            if let Some(event) = self.take()? {
                self.last = event.id;
                self.fruitful = true;
                return Ok(Some(event));
            }
            let Some(open) = &mut self.open else {
                if !self.reconnect().await? {
                    return Ok(None);
                }
                continue;
            };
            match tokio::time::timeout(SILENCE, open.chunk()).await {
                Ok(Ok(Some(piece))) => {
                    ensure!(
                        self.unread.len() + piece.len() <= MAX_EVENT,
                        "an event has more than {MAX_EVENT} bytes"
                    );
                    self.unread.extend_from_slice(&piece);
                    self.lost = None;
                }
                // Ended in order, broken or silent: the reconnect finds out what there is to come.
                Ok(Ok(None) | Err(_)) | Err(_) => {
                    self.open = None;
                    self.unread.clear();
                }
            }
        }
    }

    /// Opens the stream behind the last event; whether there is one.
    async fn reconnect(&mut self) -> anyhow::Result<bool> {
        if !std::mem::take(&mut self.fruitful) {
            tokio::time::sleep(PAUSE).await;
        }
        let mut request = self.client.request(Method::GET, &self.path);
        if self.last > 0 {
            request = request.header("Last-Event-ID", self.last.to_string());
        }
        match tokio::time::timeout(SILENCE, self.client.send(request)).await {
            Ok(Ok(response)) if response.status() == StatusCode::NO_CONTENT => return Ok(false),
            Ok(Ok(response)) => {
                self.open = Some(response);
                return Ok(true);
            }
            Ok(Err(error))
                if error.downcast_ref::<Refused>().is_some_and(|refused| !refused.is_passing()) =>
            {
                return Err(error);
            }
            Ok(Err(error)) if self.last == 0 => return Err(error),
            Ok(Err(_)) | Err(_) => {}
        }
        if self.lost.is_none() {
            say("satchel: the connection is lost; trying again");
        }
        if self.lost.get_or_insert_with(Instant::now).elapsed() > GIVE_UP {
            bail!("the service was not reached again within {} s", GIVE_UP.as_secs());
        }
        Ok(true)
    }

    /// Takes the next whole event from what was read; comments and blocks without data are passed over.
    fn take(&mut self) -> anyhow::Result<Option<Event>> {
        while let Some(end) = memchr::memmem::find(&self.unread, b"\n\n") {
            let block: Vec<u8> = self.unread.drain(..end + 2).collect();
            let block = std::str::from_utf8(&block).context("the stream of events is not UTF-8")?;
            let field = |name: &str| {
                block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_start)
            };
            let Some(data) = field("data") else { continue };
            return Ok(Some(Event {
                id: field("id").and_then(|id| id.parse().ok()).context("an event has no position")?,
                kind: field("event").unwrap_or("message").to_owned(),
                data: serde_json::from_str(data).context("an event holds no JSON")?,
            }));
        }
        Ok(None)
    }
}

fn outcome_of(status: &Value) -> Outcome {
    let standing = show::standing(status);
    match standing.as_str() {
        "error" | "suspended/error" | "exit" | "exit/user_request" => Outcome::Failed(standing),
        _ => Outcome::Well,
    }
}
