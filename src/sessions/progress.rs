//! Writing down, during a turn, what the agent tells, so that those who poll or follow see it go on.
//!
//! Pieces of text are put together and become a message when it is complete; what the agent does becomes events. Both
//! are written in their order, in one fenced transaction for what came within a quarter of a second, so that an agent
//! that tells a great deal costs little. While that waits for the database the agent waits too.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::agent::Told;
use super::store::{self, Claim};
use super::turn::WorkError;
use super::{Sessions, words};
use crate::clock;

/// How long what was told waits for more.
const GATHER: Duration = Duration::from_millis(250);
/// How much is written at once.
const MAX_GATHERED: usize = 64;
/// Bytes of text that become a message before it is complete.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Events that one turn may leave; what comes after them is not kept.
pub(super) const MAX_EVENTS: usize = 10_000;
/// Bytes of them together, likewise.
pub(super) const MAX_EVENT_BYTES: usize = 16 << 20;
/// Messages that one turn may leave; what is said after them becomes one more, or as many as its length needs.
pub(super) const MAX_MESSAGES: usize = 2000;
/// Between two tries to write.
const AGAIN: Duration = Duration::from_millis(500);

/// What waits to be written.
#[derive(Debug, Default)]
struct Gathered {
    written_text: usize,
    messages: usize,
    events: usize,
    event_bytes: usize,
    text: String,
    items: Vec<Item>,
}

#[derive(Debug)]
enum Item {
    Message(String),
    /// What the service has to say.
    Notice(String),
    Event(&'static str, String),
}

impl Sessions {
    /// Writes down what is told until nothing more comes; whether anything was said. `max_text_bytes`: so much text is
    /// kept of one turn, and the rest is cut with a note.
    pub(super) async fn write_down(
        &self,
        claim: &Claim,
        mut told: mpsc::Receiver<Told>,
        max_text_bytes: usize,
        cancel: &CancellationToken,
    ) -> Result<bool, WorkError> {
        let mut gathered = Gathered::default();
        let mut due: Option<Instant> = None;
        loop {
            let next = match due {
                None => told.recv().await,
                Some(due) => tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(due) => Some(Told::Text(String::new())),
                    next = told.recv() => next,
                },
            };
            let ended = next.is_none();
            match next {
                Some(told) => gathered.take(told, max_text_bytes),
                None => gathered.complete(),
            }
            let full = gathered.items.len() >= MAX_GATHERED;
            if ended || full || due.is_some_and(|due| due <= Instant::now()) {
                self.write(claim, &mut gathered.items, cancel).await?;
                due = None;
            }
            if ended {
                return Ok(gathered.written_text > 0);
            }
            if due.is_none() && !gathered.items.is_empty() {
                due = Some(Instant::now() + GATHER);
            }
        }
    }

    /// Writes until it succeeds, the claim is lost, or the turn is to end.
    async fn write(
        &self,
        claim: &Claim,
        items: &mut Vec<Item>,
        cancel: &CancellationToken,
    ) -> Result<(), WorkError> {
        while !items.is_empty() {
            match self.write_once(claim, items).await {
                Ok(()) => items.clear(),
                Err(WorkError::Db(error)) if !cancel.is_cancelled() => {
                    let error = words::with_causes(&error);
                    tracing::warn!(session.id = %claim.id, error, "what an agent told could not be written; again");
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn write_once(&self, claim: &Claim, items: &[Item]) -> Result<(), WorkError> {
        let (mut tx, _) = self.fenced(claim).await?;
        let now = clock::now();
        for item in items {
            match item {
                Item::Message(text) => {
                    store::add_message(&mut tx, &claim.id, &words::said(text), now).await?;
                }
                Item::Notice(text) => {
                    store::add_message(&mut tx, &claim.id, &words::notice(text), now).await?;
                }
                Item::Event(kind, data) => store::add_event(&mut tx, &claim.id, kind, data, now).await?,
            }
        }
        tx.commit().await?;
        self.hint(&claim.id);
        Ok(())
    }
}

impl Gathered {
    fn take(&mut self, told: Told, max_text_bytes: usize) {
        match told {
            Told::Text(text) => self.say(&text, max_text_bytes),
            Told::Pause => self.pause(),
            Told::Event { kind, data } => {
                self.pause();
                let had_room = self.has_room();
                self.events += 1;
                self.event_bytes += data.len();
                if self.has_room() {
                    self.items.push(Item::Event(kind, data));
                } else if had_room {
                    self.items.push(Item::Notice(words::events_cut()));
                }
            }
        }
    }

    /// Whether no event was left out so far.
    fn has_room(&self) -> bool {
        self.events <= MAX_EVENTS && self.event_bytes <= MAX_EVENT_BYTES
    }

    fn say(&mut self, text: &str, max_text_bytes: usize) {
        let room = max_text_bytes.saturating_sub(self.written_text);
        if text.is_empty() || self.written_text > max_text_bytes {
            return;
        }
        self.written_text += text.len();
        self.text.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() > room {
            self.text.push_str(&format!("\n[cut after {max_text_bytes} bytes of this turn]"));
        }
        while self.text.len() > MAX_MESSAGE_BYTES {
            let rest = self.text.split_off(self.text.floor_char_boundary(MAX_MESSAGE_BYTES));
            let text = std::mem::replace(&mut self.text, rest);
            self.push(text);
        }
    }

    /// A message is complete, if the turn may have another; else it goes on in the same one.
    fn pause(&mut self) {
        if self.messages < MAX_MESSAGES {
            self.complete();
        } else if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    fn complete(&mut self) {
        let text = std::mem::take(&mut self.text);
        if !text.trim().is_empty() {
            self.push(text.trim().to_owned());
        }
    }

    fn push(&mut self, text: String) {
        self.items.push(Item::Message(text));
        self.messages += 1;
        if self.messages == MAX_MESSAGES {
            self.items.push(Item::Notice(words::messages_joined()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(told: impl IntoIterator<Item = Told>) -> Vec<String> {
        let mut gathered = Gathered::default();
        for told in told {
            gathered.take(told, 100_000);
        }
        gathered.complete();
        let shown = |item| match item {
            Item::Message(text) | Item::Notice(text) => text,
            Item::Event(kind, _) => format!("<{kind}>"),
        };
        gathered.items.into_iter().map(shown).collect()
    }

    fn text(text: &str) -> Told {
        Told::Text(text.to_owned())
    }

    #[test]
    fn pieces_become_messages_where_something_else_follows() {
        let event = Told::Event { kind: "plan", data: "{}".to_owned() };
        let told = [text("one "), text("two\n"), Told::Pause, Told::Pause, text(" \n"), event, text("three")];
        assert_eq!(gathered(told), ["one two", "<plan>", "three"]);
    }

    #[test]
    fn more_messages_than_a_turn_may_have_become_one() {
        let told = gathered((0..MAX_MESSAGES + 3).flat_map(|_| [text("x"), Told::Pause]));
        assert_eq!(told.len(), MAX_MESSAGES + 2);
        assert_eq!(told[MAX_MESSAGES..], [words::messages_joined(), "x\nx\nx".to_owned()]);
    }

    #[test]
    fn events_end_at_their_number_or_their_bytes_and_that_is_said_once() {
        for (bytes, kept) in [(2, MAX_EVENTS), (64 * 1024, MAX_EVENT_BYTES / (64 * 1024))] {
            let event = || Told::Event { kind: "plan", data: "x".repeat(bytes) };
            let told = gathered(std::iter::repeat_with(event).take(kept + 3));
            assert_eq!(told.len(), kept + 1);
            assert_eq!(told[kept], words::events_cut());
        }
    }

    #[test]
    fn long_messages_are_split_and_endless_ones_cut() {
        let told = gathered(std::iter::repeat_n(text(&"ä".repeat(15_000)), 4));
        assert_eq!(told.len(), 2);
        assert_eq!(told[0].len(), MAX_MESSAGE_BYTES);
        assert!(
            told[1].ends_with("ä\n[cut after 100000 bytes of this turn]"),
            "{}",
            &told[1][told[1].len() - 60..]
        );
    }
}
