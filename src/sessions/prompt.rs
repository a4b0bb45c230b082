//! From a prompt as sent to the text that is kept, and from that to what an agent reads.
//!
//! Reading a prompt finds its references and judges each by its URL alone; whether the attachment
//! exists is for [`resolve`] to say, inside the caller's organisation and in the same words for an
//! unknown attachment and a foreign one. What is kept has every reference as a line
//! `ATTACHMENT:"url"` with the canonical URL; `attachment_urls` are such lines at the end. No
//! request is ever made to a URL (contract, section 2).

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::{Message, Place, SessionError, Unresolved};
use crate::attachments::reference::{Finding, Mode, Notice, ServiceUrls, Target, line_for, scan};
use crate::attachments::{Attachment, Source, find_many};
use crate::db::Conn;
use crate::id::{AttachmentId, OrgId};

/// Messages of the transcript that goes before a later prompt.
pub(super) const TRANSCRIPT_MESSAGES: usize = 50;
/// Its length in characters.
pub(super) const TRANSCRIPT_CHARS: usize = 12_000;

/// What an agent is told first whose turn was cut short.
const INTERRUPTED: &str = "Your last turn was interrupted before it ended, so what you had begun may be half done: look \
    before you do it again.";

/// A text and the references found in it.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    text: &'a str,
    references: Vec<Reference>,
    /// The attachments named, each once, in the order of their first mention.
    pub named: Vec<AttachmentId>,
    /// How many of these the text itself names; they come first.
    pub in_text: usize,
    /// What was nearly a reference.
    pub notices: Vec<Notice>,
}

#[derive(Debug)]
struct Reference {
    place: Place,
    /// The line to replace; none for those of `attachment_urls`.
    line: Option<Range<usize>>,
    /// The attachment named, or why the URL names none.
    named: Result<AttachmentId, String>,
}

/// A text whose references were all found.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The text to keep.
    pub text: String,
    /// The files it names, each once, in the order of their first mention.
    pub attachments: Vec<Attachment>,
    /// How many of these the text itself names; they come first.
    pub in_text: usize,
}

/// Finds the references of a prompt or message.
pub(super) fn read<'a>(
    text: &'a str,
    attachment_urls: &[String],
    service: &ServiceUrls,
    mode: Mode,
) -> Reading<'a> {
    let mut reading =
        Reading { text, references: Vec::new(), named: Vec::new(), in_text: 0, notices: Vec::new() };
    for finding in scan(text, service, mode) {
        match finding {
            Finding::NearMiss(notice) => reading.notices.push(notice),
            Finding::Reference { span, target, notice, .. } => {
                reading.notices.extend(notice);
                reading.references.push(Reference {
                    place: Place::Line(span.line),
                    line: Some(span.bytes),
                    named: named_by(target),
                });
            }
        }
    }
    let urls = attachment_urls.iter().enumerate().map(|(index, url)| Reference {
        place: Place::AttachmentUrl(index),
        line: None,
        named: named_by(service.resolve(url)),
    });
    let in_text = reading.references.len();
    reading.references.extend(urls);
    let mut seen = HashSet::new();
    for (index, reference) in reading.references.iter().enumerate() {
        if let Ok(id) = reference.named
            && seen.insert(id)
        {
            reading.named.push(id);
            reading.in_text += usize::from(index < in_text);
        }
    }
    reading
}

/// Finds the attachments that a text names, in the caller's organisation: all of them, or the list
/// of what cannot be followed. Looks each attachment up by itself, so the caller sees to it that they
/// are few.
pub(super) async fn resolve(
    conn: &mut Conn,
    org: &OrgId,
    service: &ServiceUrls,
    reading: &Reading<'_>,
) -> Result<Resolved, SessionError> {
    let ids = &reading.named;
    let found: HashMap<AttachmentId, Option<Attachment>> =
        ids.iter().copied().zip(find_many(conn, org, ids).await?).collect();
    let mut unresolved = Vec::new();
    let mut text = Rewriting { from: reading.text, done: 0, text: String::new() };
    for reference in &reading.references {
        let judged = match &reference.named {
            Err(reason) => Err(reason.clone()),
            Ok(id) => match found.get(id).and_then(Option::as_ref) {
                None => Err("there is no attachment with this id in this organization".to_owned()),
                Some(attachment) => match &attachment.gone {
                    Some(gone) => {
                        Err(format!("the attachment is gone since {}: {}", gone.at.iso8601(), gone.reason))
                    }
                    None => Ok(line_for(&service.attachment_url(id.0, &attachment.name))),
                },
            },
        };
        match judged {
            Err(reason) => unresolved.push(Unresolved { place: reference.place, reason }),
            Ok(line) => text.put(reference.line.clone(), &line),
        }
    }
    if !unresolved.is_empty() {
        return Err(SessionError::Unresolved(unresolved));
    }
    let attachments = ids.iter().filter_map(|id| found.get(id).cloned().flatten()).collect();
    Ok(Resolved { text: text.end(), attachments, in_text: reading.in_text })
}

/// A file as an agent is told of it.
#[derive(Debug, Clone)]
pub(super) struct ToldFile {
    /// The URL of its line.
    pub url: String,
    /// Where it lies from the working folder.
    pub path: String,
    /// Its media type.
    pub content_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it was handed to the agent or back by it.
    pub source: Source,
}

/// What an agent is told in one turn.
#[derive(Debug)]
pub(super) struct Telling<'a> {
    /// The messages before the new ones.
    pub earlier: &'a [Message],
    /// The new ones, which go together.
    pub new: &'a [Message],
    /// Every file of the session.
    pub files: &'a [ToldFile],
    /// Whether what was delivered cannot be changed.
    pub read_only: bool,
    /// Where files go that are to be handed back; may be empty.
    pub output_hint: &'a str,
    /// Whether these messages were told before, in a turn that did not come to its end.
    pub interrupted: bool,
}

impl Telling<'_> {
    /// The prompt of the turn. An agent without memory of earlier turns gets the transcript with it and, once, at its
    /// end, the sentence about the output folder.
    pub(super) fn prompt(&self) -> String {
        let lines: HashMap<String, String> =
            self.files.iter().map(|file| (line_for(&file.url), self.sentence(file))).collect();
        let new: Vec<String> = self.new.iter().map(|message| rewrite(&message.message, &lines)).collect();
        let transcript = transcript(self.earlier, &lines);
        let mut parts = Vec::new();
        parts.extend(self.interrupted.then(|| INTERRUPTED.to_owned()));
        if transcript.is_empty() {
            parts.extend(new);
        } else {
            parts.push(format!("The conversation so far, oldest message first:\n\n{transcript}"));
            parts.push(format!("The new message:\n\n{}", new.join("\n\n")));
        }
        parts.extend(Some(self.output_hint.trim().to_owned()).filter(|hint| !hint.is_empty()));
        parts.join("\n\n") + "\n"
    }

    fn sentence(&self, file: &ToldFile) -> String {
        let ToldFile { path, content_type, .. } = file;
        let size = readable_size(file.size);
        match file.source {
            Source::User => {
                let read_only = if self.read_only { " Read-only." } else { "" };
                format!("[Attached file: {path} ({content_type}, {size}).{read_only}]")
            }
            Source::Devin => format!("[File handed back: {path} ({content_type}, {size}).]"),
        }
    }
}

fn named_by(target: Target) -> Result<AttachmentId, String> {
    match target {
        Target::Attachment(id) => Ok(AttachmentId(id)),
        Target::NoAttachment => {
            Err("the URL is one of this service, but not one of an attachment".to_owned())
        }
        Target::Foreign { host } => Err(format!(
            "the URL is not one of this service: its host is `{host}`; upload the file here and name the URL \
             that the upload answers"
        )),
        Target::UserInfo => Err("a URL with a user name or password is refused: leave them out".to_owned()),
        Target::NotAbsoluteHttp => {
            Err("this is not an absolute http or https URL: name the one that the upload answered".to_owned())
        }
    }
}

/// A text in which whole lines are replaced, in order.
struct Rewriting<'a> {
    from: &'a str,
    done: usize,
    text: String,
}

impl Rewriting<'_> {
    /// Puts a line in the place of another, or at the end.
    fn put(&mut self, place: Option<Range<usize>>, line: &str) {
        let place = place.unwrap_or(self.from.len()..self.from.len());
        self.text.push_str(&self.from[self.done..place.start]);
        self.done = place.end;
        let at_end = place.is_empty() && place.start == self.from.len();
        if at_end && !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        self.text.push_str(line);
    }

    fn end(mut self) -> String {
        self.text.push_str(&self.from[self.done..]);
        self.text
    }
}

/// Replaces whole lines by what they stand for.
fn rewrite(text: &str, lines: &HashMap<String, String>) -> String {
    text.split_inclusive(['\n', '\r'])
        .map(|line| {
            let content = line.trim_end_matches(['\n', '\r']);
            match lines.get(content) {
                Some(instead) => format!("{instead}{}", &line[content.len()..]),
                None => line.to_owned(),
            }
        })
        .collect()
}

/// The last messages of a conversation, what the service itself said left out.
fn transcript(messages: &[Message], lines: &HashMap<String, String>) -> String {
    let mut room = TRANSCRIPT_CHARS;
    let mut parts = Vec::new();
    for message in messages.iter().rev().filter(|message| !message.is_notice).take(TRANSCRIPT_MESSAGES) {
        let who = if message.source == Source::User { "User" } else { "You" };
        let text = format!("{who}: {}", rewrite(&message.message, lines).trim_end());
        let length = text.chars().count();
        if length > room {
            let kept: String = text.chars().take(room).collect();
            parts.extend(Some(kept + " […]").filter(|_| room > 100));
            break;
        }
        room -= length;
        parts.push(text);
    }
    parts.reverse();
    parts.join("\n\n")
}

/// A size as people read it: `12 bytes`, `1.2 MB`.
fn readable_size(bytes: u64) -> String {
    let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => {
            let tenths = bytes / (unit / 10);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None if bytes == 1 => "1 byte".to_owned(),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests;
