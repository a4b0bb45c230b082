//! The lines that an agent writes, sorted on their way in.
//!
//! The protocol's crate queues without bound whatever it is given, in both directions. So it is given little:
//!
//! - updates are taken out before it and go through a queue of our own, which makes an agent that tells more than can
//!   be written down wait;
//! - of the agent's requests it gets what counts for the answer, a kilobyte or so, and no more of them than
//!   `unanswered.rs` has places for; an agent that does not read its answers waits;
//! - of answers it gets the one to what was asked last, once, if it is not too large.
//!
//! What is not a message of the protocol, answers that nobody waits for, and notifications that nobody knows, are
//! counted and dropped here. A line or an answer over its limit ends the stream. So one agent takes, while a line of it
//! is under way, a few times the bytes of that line, and between lines next to nothing.

use std::borrow::Cow;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use futures_util::{Stream, StreamExt};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio_util::codec::{Decoder, FramedRead, LinesCodec, LinesCodecError};

use super::permissions;
use super::unanswered::{Id, Unanswered};
use super::updates::Reader;
use crate::sessions::agent::{Failure, Told};

/// Bytes of an answer.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Values in an answer, roughly: each takes up to some hundred bytes of memory, whatever its length.
const MAX_ANSWER_VALUES: usize = 50_000;
/// The room for lines that is kept between them.
const ROOM: usize = 64 * 1024;

/// What an agent wrote that was not understood, and what was too much.
#[derive(Debug, Default)]
pub(super) struct Oddities {
    profile: String,
    counts: [AtomicU64; 4],
    too_much: OnceLock<Failure>,
}

/// A kind of these.
#[derive(Debug, Clone, Copy)]
pub(super) enum Oddity {
    /// A line that is no message of the protocol, or an answer to nothing that was asked.
    Garbage,
    /// A notification of another kind than updates.
    Notification,
    /// An update of an unknown kind, or one that does not hold what its kind has.
    Update,
    /// A request that this client does not answer.
    Request,
}

impl Oddities {
    pub(super) fn of(profile: &str) -> Self {
        Self { profile: profile.to_owned(), ..Self::default() }
    }

    /// Counts one, and logs the first of its kind.
    pub(super) fn note(&self, oddity: Oddity) {
        if self.counts[oddity as usize].fetch_add(1, Ordering::Relaxed) == 0 {
            let profile = &self.profile;
            tracing::info!(
                agent.profile = profile,
                ?oddity,
                "an agent wrote what was not understood; more is counted"
            );
        }
    }

    /// How many there were, by kind.
    pub(super) fn counts(&self) -> [u64; 4] {
        [0, 1, 2, 3].map(|kind: usize| self.counts[kind].load(Ordering::Relaxed))
    }

    /// What was over its limit and ended the stream, if anything was.
    pub(super) fn too_much(&self) -> Option<&Failure> {
        self.too_much.get()
    }
}

/// The lines that are for the crate: requests and answers. Updates go to `told`.
pub(super) fn incoming(
    stdout: pipe::Receiver,
    max_line_bytes: usize,
    max_text_bytes: usize,
    told: mpsc::Sender<Told>,
    unanswered: Arc<Unanswered>,
    oddities: Arc<Oddities>,
) -> impl Stream<Item = io::Result<String>> + Send + 'static {
    let lines = FramedRead::new(stdout, Lines(LinesCodec::new_with_max_length(max_line_bytes)));
    let reader = Reader::new(max_text_bytes);
    futures_util::stream::unfold((lines, reader, told, oddities), move |mut state| {
        let unanswered = Arc::clone(&unanswered);
        async move {
            let (lines, reader, told, oddities) = (&mut state.0, &mut state.1, &state.2, &state.3);
            let too_much = |failure| {
                let _ = oddities.too_much.set(failure);
                io::Error::new(io::ErrorKind::InvalidData, "what an agent wrote is over the limit")
            };
            loop {
                let sorted = match lines.next().await? {
                    Ok(Some(line)) => sort(line, &unanswered, reader),
                    Ok(None) => Sorted::Odd(Oddity::Garbage),
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        let error = too_much(Failure::LongLine(max_line_bytes));
                        return Some((Err(error), state));
                    }
                    Err(error) => return Some((Err(error), state)),
                };
                match sorted {
                    Sorted::Request(line) => {
                        unanswered.place().await;
                        return Some((Ok(line), state));
                    }
                    Sorted::Answer(line) => return Some((Ok(line), state)),
                    Sorted::LargeAnswer => {
                        let error = too_much(Failure::LargeAnswer(MAX_ANSWER_BYTES, MAX_ANSWER_VALUES));
                        return Some((Err(error), state));
                    }
                    Sorted::Blank => {}
                    Sorted::Odd(oddity) => oddities.note(oddity),
                    Sorted::Told(updates) => {
                        for update in updates {
                            // Nobody listens only when the agent is being left.
                            let _ = told.send(update).await;
                        }
                    }
                }
            }
        }
    })
}

/// The codec of lines, for which a line that is not UTF-8 is no error: `None` stands for it.
struct Lines(LinesCodec);

impl Decoder for Lines {
    type Item = Option<String>;
    type Error = io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Self::Item>> {
        let line = understood(self.0.decode(bytes))?;
        if line.as_ref().is_some_and(|line| line.as_ref().is_none_or(|line| line.len() > ROOM)) {
            // The room that a long line took is given back.
            let mut rest = BytesMut::with_capacity(ROOM.max(bytes.len()));
            rest.extend_from_slice(bytes);
            *bytes = rest;
        }
        Ok(line)
    }

    fn decode_eof(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Self::Item>> {
        understood(self.0.decode_eof(bytes))
    }
}

fn understood(line: Result<Option<String>, LinesCodecError>) -> io::Result<Option<Option<String>>> {
    match line {
        Ok(line) => Ok(line.map(Some)),
        Err(LinesCodecError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(None)),
        Err(LinesCodecError::Io(error)) => Err(error),
        Err(LinesCodecError::MaxLineLengthExceeded) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "a line of the agent is over the limit"))
        }
    }
}

/// What a line is, and what of it is kept.
enum Sorted {
    /// A request, as the crate gets it.
    Request(String),
    /// The answer that is waited for.
    Answer(String),
    /// The same, over its limit.
    LargeAnswer,
    Told(Vec<Told>),
    Odd(Oddity),
    Blank,
}

/// What of a message tells its kind (JSON-RPC 2.0, section 4).
#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub(super) method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    update: &'a RawValue,
}

fn sort(line: String, unanswered: &Unanswered, reader: &mut Reader) -> Sorted {
    if line.trim().is_empty() {
        return Sorted::Blank;
    }
    let Ok(Envelope { method, id, params }) = serde_json::from_str(&line) else {
        return Sorted::Odd(Oddity::Garbage);
    };
    match (method, id.map(Id::read)) {
        (Some(method), None) if method == "session/update" => {
            let update = params.and_then(|params| serde_json::from_str(params.get()).ok());
            let told = update.and_then(|Params { update }| reader.read(update));
            told.map_or(Sorted::Odd(Oddity::Update), Sorted::Told)
        }
        (Some(_), None) => Sorted::Odd(Oddity::Notification),
        (Some(method), Some(Some(id))) => Sorted::Request(request(&id, &method, params)),
        (None, Some(Some(id))) if unanswered.was_asked(&id) => {
            let values = line.bytes().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
            if line.len() > MAX_ANSWER_BYTES || values > MAX_ANSWER_VALUES {
                return Sorted::LargeAnswer;
            }
            Sorted::Answer(line)
        }
        _ => Sorted::Odd(Oddity::Garbage),
    }
}

/// A request with what counts of it. Those that are refused, all alike, go under one name.
fn request(id: &Id, method: &str, params: Option<&RawValue>) -> String {
    let line = match method {
        permissions::METHOD => {
            json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": permissions::read(params) })
        }
        _ => json!({ "jsonrpc": "2.0", "id": id, "method": "_other" }),
    };
    line.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_by_what_they_are() {
        let unanswered = Unanswered::default();
        let kind = |line: &str| {
            unanswered.sent(r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#);
            match sort(line.to_owned(), &unanswered, &mut Reader::new(1000)) {
                Sorted::Request(line) if line.contains("_other") => "other request",
                Sorted::Request(_) => "request",
                Sorted::Answer(_) => "answer",
                Sorted::LargeAnswer => "large",
                Sorted::Told(_) => "update",
                Sorted::Odd(Oddity::Garbage) => "garbage",
                Sorted::Odd(Oddity::Notification) => "notification",
                Sorted::Odd(_) => "odd",
                Sorted::Blank => "blank",
            }
        };
        let of = |length: usize| format!(r#"{{"id":1,"result":"{}"}}"#, "x".repeat(length));
        for (line, expected) in [
            ("", "blank"),
            ("Loading model...", "garbage"),
            ("[]", "garbage"),
            ("17", "garbage"),
            ("{}", "garbage"),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "answer"),
            (r#"{"jsonrpc":"2.0","id":2,"result":{}}"#, "garbage"),
            (&of(MAX_ANSWER_BYTES - 100), "answer"),
            (&of(MAX_ANSWER_BYTES), "large"),
            (&of(0).replace("\"\"", &format!("[{}0]", "0,".repeat(MAX_ANSWER_VALUES))), "large"),
            (r#"{"jsonrpc":"2.0","id":0,"method":"session/request_permission","params":{}}"#, "request"),
            (r#"{"jsonrpc":"2.0","id":"0","method":"fs/read_text_file","params":{}}"#, "other request"),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"fs/read_text_file","params":{}}"#, "garbage"),
            (&format!(r#"{{"id":"{}","method":"x"}}"#, "x".repeat(300)), "garbage"),
            (r#"{"jsonrpc":"2.0","method":"_vendor/thing"}"#, "notification"),
            (
                r#"{"jsonrpc":"2.0","method":"session\/update","params":{"update":{"sessionUpdate":"plan"}}}"#,
                "update",
            ),
            (r#"{"jsonrpc":"2.0","method":"session/update","params":7}"#, "odd"),
        ] {
            assert_eq!(kind(line), expected, "{}", &line[..line.len().min(100)]);
        }
    }

    #[test]
    fn an_answer_is_taken_once() {
        let unanswered = Unanswered::default();
        unanswered.sent(r#"{"jsonrpc":"2.0","id":"a","method":"initialize"}"#);
        let is_answer = || {
            let line = r#"{"id":"a","result":{}}"#.to_owned();
            matches!(sort(line, &unanswered, &mut Reader::new(1000)), Sorted::Answer(_))
        };
        assert!(is_answer() && !is_answer());
    }
}
