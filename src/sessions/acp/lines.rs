//! The lines that an agent writes, sorted on their way in.
//!
//! The protocol's crate queues without bound whatever it is given. So updates are taken out before it and go through a
//! queue of our own, which makes an agent that tells more than can be written down wait. What is not a message of the
//! protocol, and notifications that nobody knows, are counted and dropped here. A line over the limit ends the stream.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::BytesMut;
use futures_util::{Stream, StreamExt};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio_util::codec::{Decoder, FramedRead, LinesCodec, LinesCodecError};

use super::updates::Reader;
use crate::sessions::agent::Told;

/// What an agent wrote that was not understood.
#[derive(Debug, Default)]
pub(super) struct Oddities {
    profile: String,
    counts: [AtomicU64; 4],
    long_line: AtomicBool,
}

/// A kind of these.
#[derive(Debug, Clone, Copy)]
pub(super) enum Oddity {
    /// A line that is no message of the protocol.
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

    /// Whether a line was over the limit.
    pub(super) fn had_long_line(&self) -> bool {
        self.long_line.load(Ordering::Relaxed)
    }
}

/// The lines that are for the crate: requests and answers. Updates go to `told`.
pub(super) fn incoming(
    stdout: pipe::Receiver,
    max_line_bytes: usize,
    max_text_bytes: usize,
    told: mpsc::Sender<Told>,
    oddities: Arc<Oddities>,
) -> impl Stream<Item = io::Result<String>> + Send + 'static {
    let lines = FramedRead::new(stdout, Lines(LinesCodec::new_with_max_length(max_line_bytes)));
    let reader = Reader::new(max_text_bytes);
    futures_util::stream::unfold((lines, reader, told, oddities), |mut state| async move {
        loop {
            let (lines, reader, told, oddities) = (&mut state.0, &mut state.1, &state.2, &state.3);
            let line = match lines.next().await? {
                Ok(Some(line)) => line,
                Ok(None) => {
                    oddities.note(Oddity::Garbage);
                    continue;
                }
                Err(error) => {
                    oddities
                        .long_line
                        .fetch_or(error.kind() == io::ErrorKind::InvalidData, Ordering::Relaxed);
                    return Some((Err(error), state));
                }
            };
            match sort(&line) {
                Sorted::Message => return Some((Ok(line), state)),
                Sorted::Blank => {}
                Sorted::Odd(oddity) => oddities.note(oddity),
                Sorted::Update(update) => match reader.read(update) {
                    None => oddities.note(Oddity::Update),
                    Some(updates) => {
                        for update in updates {
                            // Nobody listens only when the agent is being left.
                            let _ = told.send(update).await;
                        }
                    }
                },
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
        understood(self.0.decode(bytes))
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

enum Sorted {
    Message,
    Update(Value),
    Odd(Oddity),
    Blank,
}

/// What of a message tells its kind (JSON-RPC 2.0, section 4).
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    id: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Notification {
    params: Params,
}

#[derive(Deserialize)]
struct Params {
    update: Value,
}

fn sort(line: &str) -> Sorted {
    if line.trim().is_empty() {
        return Sorted::Blank;
    }
    match serde_json::from_str(line) {
        Ok(Envelope { method: Some(method), id: None }) if method == "session/update" => {
            match serde_json::from_str(line) {
                Ok(Notification { params: Params { update } }) => Sorted::Update(update),
                Err(_) => Sorted::Odd(Oddity::Update),
            }
        }
        Ok(Envelope { method: Some(_), id: None }) => Sorted::Odd(Oddity::Notification),
        Ok(Envelope { id: Some(_), .. }) => Sorted::Message,
        Ok(Envelope { method: None, id: None }) | Err(_) => Sorted::Odd(Oddity::Garbage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_by_what_they_are() {
        let kind = |line: &str| match sort(line) {
            Sorted::Message => "message",
            Sorted::Update(_) => "update",
            Sorted::Odd(Oddity::Garbage) => "garbage",
            Sorted::Odd(Oddity::Notification) => "notification",
            Sorted::Odd(_) => "odd",
            Sorted::Blank => "blank",
        };
        for (line, expected) in [
            ("", "blank"),
            ("Loading model...", "garbage"),
            ("[]", "garbage"),
            ("17", "garbage"),
            ("{}", "garbage"),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "message"),
            (r#"{"jsonrpc":"2.0","id":0,"method":"session/request_permission","params":{}}"#, "message"),
            (r#"{"jsonrpc":"2.0","method":"_vendor/thing"}"#, "notification"),
            (r#"{"jsonrpc":"2.0","method":"session\/update","params":{"update":{}}}"#, "update"),
            (r#"{"jsonrpc":"2.0","method":"session/update","params":7}"#, "odd"),
        ] {
            assert_eq!(kind(line), expected, "{line}");
        }
    }
}
